//! What a customer used: `current_usage`, `past_usage`, `projected_usage` and a subscription's `lifetime_usage`. Each is written from the
//! lines that an invoice of it has, so that what is shown is what is billed.

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint};
use creto_kernel::{TenantId, Timestamp};
use serde_json::{Value, json};

use super::charges::charge_id;
use super::query::Parameters;
use super::refusal::{Faults, MANDATORY, No, UNSUPPORTED};
use super::shape::{decimal, derived_id, lago_id, many, number, one};
use super::{Answer, Asked, Here, Lago, Named, lists, reads};
use crate::billing::PastUsage;
use crate::catalog::SubscriptionView;
use crate::core::exact::Exact;
use crate::core::{fee, price};
use crate::error::MeteringError;
use crate::model::billable_metric::BillableMetric;
use crate::model::charge::Charge;
use crate::model::customer::Customer;
use crate::model::invoice::{Fee, InvoiceId};
use crate::model::page::Page;
use crate::service::UsageLine;

const ROOT: &str = "customer_usage";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let ours = Access::Operator;
    vec![
        reads(lago, "/lago/api/v1/customers/{external_id}/current_usage", ours, "Lago: usage of the period under way", current),
        reads(lago, "/lago/api/v1/customers/{external_id}/projected_usage", ours, "Lago: usage if it goes on like this", projected),
        lists(lago, "/lago/api/v1/customers/{external_id}/past_usage", ours, "Lago: usage of billed periods, newest first", past),
        reads(lago, "/lago/api/v1/subscriptions/{external_id}/lifetime_usage", ours, "Lago: usage since a subscription began", lifetime),
    ]
}

/// Which part of a usage is asked for; everything where nothing is said.
#[derive(Debug, Default)]
struct Narrowed {
    charge: Option<String>,
    metric: Option<String>,
    group: Vec<(String, String)>,
}

impl Narrowed {
    fn read(asked: &mut Parameters) -> Self {
        let charge = ["charge_id", "charge_code", "filter_by_charge_id", "filter_by_charge_code"];
        let charge = charge.iter().fold(None, |found, name| asked.text(name).or(found));
        let mut group = asked.keyed("group");
        if let Some(text) = asked.text("filter_by_group") {
            match serde_json::from_str::<std::collections::BTreeMap<String, String>>(&text) {
                Ok(keys) => group.extend(keys),
                Err(_) => asked.fault("filter_by_group", "`filter_by_group` is no JSON object of texts"),
            }
        }
        for (name, same) in [("full_usage", "false"), ("filter_by_presentation", "")] {
            if asked.text(name).is_some_and(|wish| wish != same) {
                asked.fault_of(name, UNSUPPORTED, &format!("`{name}` is not supported here"));
            }
        }
        Self { charge, metric: asked.text("billable_metric_code"), group }
    }

    fn has_charge(&self, view: &SubscriptionView, charge: &Charge) -> bool {
        let named = |wish: &String| *wish == charge.code || *wish == charge_id(view.subscription.plan, &charge.code);
        self.charge.as_ref().is_none_or(named) && self.metric.as_ref().is_none_or(|code| *code == charge.billable_metric_code)
    }

    fn has_fee(&self, fee: &Fee) -> bool {
        self.group.iter().all(|(key, value)| fee.group.get(key).is_some_and(|is| is.as_ref() == Some(value)))
    }
}

/// A usage to be shown: its lines, and what of it is shown apart.
struct Used<'a> {
    view: &'a SubscriptionView,
    from: Timestamp,
    to: Timestamp,
    fees: &'a [Fee],
    apart: &'a [UsageLine],
    invoice: Option<InvoiceId>,
    taxes_cents: i64,
    projection: Option<Exact>,
}

impl Used<'_> {
    async fn shown(&self, lago: &Lago, tenant: &TenantId, narrowed: &Narrowed) -> Result<Value, MeteringError> {
        let mut charges = Vec::new();
        let (mut cents, mut projected_cents) = (0_i64, 0_i64);
        for charge in self.view.plan.charges.iter().filter(|charge| narrowed.has_charge(self.view, charge)) {
            let fees: Vec<&Fee> = self.fees.iter().filter(|fee| fee.code == charge.code && narrowed.has_fee(fee)).collect();
            let sum = self.sum(charge, &fees)?;
            cents = cents.saturating_add(sum.cents);
            projected_cents = projected_cents.saturating_add(sum.projected_cents);
            charges.push(self.charge(lago, tenant, charge, &fees, &sum).await?);
        }
        let period_end = Timestamp::from_secs(self.to.as_secs() - 1).unwrap_or(self.to);
        let mut document = json!({
            "from_datetime": self.from,
            "to_datetime": period_end,
            "issuing_date": self.view.zone.day(self.to).to_string(),
            "lago_invoice_id": self.invoice.map(|id| lago_id(&id)),
            "currency": self.view.currency,
            "amount_cents": cents,
            "taxes_amount_cents": self.taxes_cents,
            "total_amount_cents": cents.saturating_add(self.taxes_cents),
            "charges_usage": charges,
        });
        self.add_projection(&mut document, None, projected_cents);
        Ok(document)
    }

    async fn charge(&self, lago: &Lago, tenant: &TenantId, charge: &Charge, fees: &[&Fee], sum: &Sum) -> Result<Value, MeteringError> {
        let code = &charge.billable_metric_code;
        let (id, metric) = match lago.catalog.get::<BillableMetric>(tenant, code).await {
            Ok(metric) => (lago_id(&metric.id), Some(metric.body)),
            Err(MeteringError::UnknownDefinition { .. }) => (derived_id(&["metric", code]), self.view.metrics.get(code).cloned()),
            Err(error) => return Err(error),
        };
        let mut document = self.amounts(sum);
        let groups: Vec<Value> = match charge.pricing.pricing_group_keys.is_empty() && fees.iter().all(|fee| fee.group.is_empty()) {
            true => Vec::new(),
            false => grouped(fees).into_iter().map(|(group, fees)| self.group(charge, group, &fees)).collect::<Result<_, _>>()?,
        };
        if let Some(members) = document.as_object_mut() {
            let name = metric.as_ref().map_or(code.as_str(), |metric| metric.name.as_str());
            let kind = metric.as_ref().map(|metric| format!("{}_agg", metric.aggregation_type.as_str()));
            members.insert("amount_currency".to_owned(), json!(self.view.currency));
            members.insert(
                "charge".to_owned(),
                json!({
                    "lago_id": charge_id(self.view.subscription.plan, &charge.code),
                    "charge_model": charge.pricing.model.name(),
                    "invoice_display_name": charge.invoice_display_name,
                }),
            );
            let metric = json!({ "lago_id": id, "name": name, "code": code, "aggregation_type": kind.unwrap_or_default() });
            members.insert("billable_metric".to_owned(), metric);
            members.insert("filters".to_owned(), self.filters(charge, fees)?.into());
            members.insert("grouped_usage".to_owned(), groups.into());
            members.insert("presentation_breakdowns".to_owned(), self.breakdowns(charge));
        }
        Ok(document)
    }

    /// Each filter of a charge with what it was used for; the last one, without values, is what no filter matched.
    fn filters(&self, charge: &Charge, fees: &[&Fee]) -> Result<Vec<Value>, MeteringError> {
        if charge.filters.is_empty() {
            return Ok(Vec::new());
        }
        let all = charge.filters.iter().enumerate().map(|(at, filter)| (Some(at), Some(filter))).chain([(None, None)]);
        all.map(|(at, filter)| {
            let matched: Vec<&Fee> = fees.iter().copied().filter(|fee| fee.filter == at).collect();
            let mut document = self.amounts(&self.sum(charge, &matched)?);
            if let Some(members) = document.as_object_mut() {
                members.insert("invoice_display_name".to_owned(), json!(filter.and_then(|filter| filter.invoice_display_name.as_ref())));
                members.insert("values".to_owned(), filter.map_or_else(|| json!({}), |filter| json!(filter.values)));
            }
            Ok(document)
        })
        .collect()
    }

    fn group(&self, charge: &Charge, group: Value, fees: &[&Fee]) -> Result<Value, MeteringError> {
        let mut document = self.amounts(&self.sum(charge, fees)?);
        if let Some(members) = document.as_object_mut() {
            members.insert("grouped_by".to_owned(), group);
            members.insert("filters".to_owned(), self.filters(charge, fees)?.into());
        }
        Ok(document)
    }

    fn breakdowns(&self, charge: &Charge) -> Value {
        let apart = self.apart.iter().filter(|line| line.charge == charge.code && !line.shown.is_empty());
        let shown = apart.map(|line| {
            let by = line.shown.iter().map(|(key, value)| (key.clone(), json!(value.as_deref().unwrap_or_default())));
            json!({ "presentation_by": by.collect::<serde_json::Map<_, _>>(), "units": decimal(&line.units) })
        });
        shown.collect::<Vec<_>>().into()
    }

    fn amounts(&self, sum: &Sum) -> Value {
        let mut document = json!({
            "units": decimal(&sum.units),
            "total_aggregated_units": decimal(&sum.units),
            "events_count": sum.events,
            "amount_cents": sum.cents,
        });
        self.add_projection(&mut document, Some(&sum.projected_units), sum.projected_cents);
        document
    }

    fn add_projection(&self, document: &mut Value, units: Option<&Exact>, cents: i64) {
        if let (Some(_), Some(members)) = (&self.projection, document.as_object_mut()) {
            members.insert("projected_amount_cents".to_owned(), cents.into());
            members.extend(units.map(|units| ("projected_units".to_owned(), decimal(units).into())));
        }
    }

    fn sum(&self, charge: &Charge, fees: &[&Fee]) -> Result<Sum, MeteringError> {
        let mut sum = Sum::default();
        for fee in fees {
            sum.units += &fee.units;
            sum.events = sum.events.saturating_add(fee.events);
            sum.cents = sum.cents.saturating_add(fee.amount_cents);
            if let Some(factor) = &self.projection {
                let (units, cents) = self.projected(charge, fee, factor)?;
                sum.projected_units += &units;
                sum.projected_cents = sum.projected_cents.saturating_add(cents);
            }
        }
        Ok(sum)
    }

    /// A line if its period goes on as it began: its units grow with the days, and are priced as so many units are. What is carried over
    /// does not grow. A price that reads single events, or takes its amounts from them, grows as it is.
    fn projected(&self, charge: &Charge, fee: &Fee, factor: &Exact) -> Result<(Exact, i64), MeteringError> {
        let recurs = self.view.metrics.get(&charge.billable_metric_code).is_some_and(|metric| metric.recurring);
        if recurs {
            return Ok((fee.units.clone(), fee.amount_cents));
        }
        let units = crate::core::rounding::UNITS_ROUND.places(&(&fee.units * factor), PROJECTED_PLACES);
        let model = &charge.pricing(fee.filter).model;
        let grows_as_it_is = model.reads_events(charge.prorated) || !model.is_monotonic() || charge.prorated;
        let amount = if grows_as_it_is {
            &fee.precise_amount * factor
        } else {
            let events = (&Exact::from(fee.events) * factor).nearest().to_i64().and_then(|events| u64::try_from(events).ok());
            let usage = price::Usage::of(units.clone(), events.unwrap_or(u64::MAX));
            let rated = price::rate(model, &usage, &self.view.currency.subunits());
            rated.map_err(|e| MeteringError::Unpriced(e.to_string()))?.amount
        };
        let cents = fee::of_amount(&amount, &self.view.currency.subunits()).to_i64();
        Ok((units, cents.ok_or_else(|| MeteringError::AmountOverflow(charge.code.clone()))?))
    }
}

/// Decimal places of units that are projected.
const PROJECTED_PLACES: i32 = 2;

/// What several lines come to.
#[derive(Debug, Default)]
struct Sum {
    units: Exact,
    events: u64,
    cents: i64,
    projected_units: Exact,
    projected_cents: i64,
}

/// Lines by the group they are of, in the order they come.
fn grouped<'a>(fees: &[&'a Fee]) -> Vec<(Value, Vec<&'a Fee>)> {
    let mut groups: Vec<(Value, Vec<&Fee>)> = Vec::new();
    for fee in fees {
        let group = json!(fee.group);
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, lines)) => lines.push(fee),
            None => groups.push((group, vec![fee])),
        }
    }
    groups
}

/// The subscription of a customer that runs.
async fn running(
    here: &Lago,
    tenant: &TenantId,
    customer: &str,
    asked: &mut Parameters,
) -> Result<(std::sync::Arc<SubscriptionView>, Timestamp), No> {
    here.catalog.get::<Customer>(tenant, customer).await?;
    let external_id = subscription_of(asked)?;
    let now = here.billing.now(tenant).await?;
    let view = here.catalog.reader(tenant).await?.subscription(&external_id, now).await?;
    let view = view.filter(|view| view.customer.body.external_id == customer);
    Ok((view.ok_or(MeteringError::UnknownDefinition { kind: "subscription", code: external_id })?, now))
}

fn subscription_of(asked: &mut Parameters) -> Result<String, No> {
    const NAME: &str = "external_subscription_id";
    asked.text(NAME).ok_or_else(|| Faults::of(NAME, MANDATORY, format!("`{NAME}` is needed")).into())
}

async fn current(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    let tenant = caller.0.tenant();
    let mut asked = Parameters::of(asked);
    let (view, now) = running(&here, tenant, &external_id, &mut asked).await?;
    let taxed = asked.parsed("apply_taxes").unwrap_or(true);
    let narrowed = Narrowed::read(&mut asked);
    asked.done()?;
    let (fees, sums, (from, to)) = here.billing.usage_so_far(tenant, &view, now).await?;
    let apart = here.meter.current_usage(tenant, &view.subscription.external_id, now).await?.charges;
    let taxes_cents = if taxed { sums.taxes_cents } else { 0 };
    let used = Used { view: &view, from, to, fees: &fees, apart: &apart, invoice: None, taxes_cents, projection: None };
    Ok(Json(one(ROOT, used.shown(&here, tenant, &narrowed).await?)))
}

async fn projected(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    let tenant = caller.0.tenant();
    let mut asked = Parameters::of(asked);
    let (view, now) = running(&here, tenant, &external_id, &mut asked).await?;
    let taxed = asked.parsed("apply_taxes").unwrap_or(true);
    asked.done()?;
    let (fees, sums, (from, to)) = here.billing.usage_so_far(tenant, &view, now).await?;
    let begun = view.subscription.started_at.map_or(from, |started| started.max(from));
    let days = |to: Timestamp| i64::from(view.zone.day(begun).days_through(view.zone.day(to)));
    let last = Timestamp::from_secs(to.as_secs() - 1).unwrap_or(to);
    let factor = Exact::ratio(days(last), days(now).max(1)).unwrap_or(Exact::ONE);
    let taxes_cents = if taxed { sums.taxes_cents } else { 0 };
    let used = Used { view: &view, from, to, fees: &fees, apart: &[], invoice: None, taxes_cents, projection: Some(factor) };
    Ok(Json(one("customer_projected_usage", used.shown(&here, tenant, &Narrowed::default()).await?)))
}

/// Most periods that one page of past usage holds.
const PERIODS_MAX: u32 = 100;

async fn past(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    let tenant = caller.0.tenant();
    let mut asked = Parameters::of(asked);
    let customer = here.catalog.get::<Customer>(tenant, &external_id).await?;
    let subscription = subscription_of(&mut asked)?;
    let page = asked.page();
    let count: Option<u32> = asked.parsed("periods_count");
    let narrowed = Narrowed { metric: asked.text("billable_metric_code"), ..Narrowed::default() };
    asked.done()?;
    let page = Page::new(page.page, page.per_page.min(PERIODS_MAX).min(count.unwrap_or(PERIODS_MAX).max(1)));
    let mut periods = here.billing.past_usage(tenant, customer.id, &subscription, page).await?;
    if let Some(count) = count {
        periods.total = periods.total.min(u64::from(count));
    }
    let mut documents = Vec::with_capacity(periods.items.len());
    for PastUsage { view, from, to, invoice, fees } in &periods.items {
        let taxes_cents =
            fees.iter().filter(|fee| narrowed.metric.as_ref().is_none_or(|code| fee.billable_metric_code.as_ref() == Some(code)));
        let taxes_cents = taxes_cents.map(|fee| fee.taxes_amount_cents).sum();
        let used = Used { view, from: *from, to: *to, fees, apart: &[], invoice: Some(*invoice), taxes_cents, projection: None };
        documents.push(used.shown(&here, tenant, &narrowed).await?);
    }
    Ok(Json(many("usage_periods", &periods.with(documents), Value::clone)))
}

async fn lifetime(State(here): Here, caller: Caller, Path(external_id): Named) -> Answer {
    let tenant = caller.0.tenant();
    let subscription = here.catalog.current(tenant, &external_id).await?;
    let view = here.catalog.view_of(tenant, subscription.id).await?;
    let now = here.billing.now(tenant).await?;
    let billed = here.billing.billed_usage_cents(tenant, &external_id).await?;
    let so_far = match view.covers(now) {
        // What is paid in advance was billed already.
        true => {
            let in_advance = |fee: &&Fee| view.plan.charge(&fee.code).is_some_and(|charge| charge.pay_in_advance);
            let (fees, ..) = here.billing.usage_so_far(tenant, &view, now).await?;
            fees.iter().filter(|fee| !in_advance(fee)).map(|fee| fee.amount_cents).sum()
        }
        false => 0,
    };
    let total = billed.saturating_add(so_far);
    let thresholds = view.plan.usage_thresholds.iter().filter(|threshold| !threshold.recurring).map(|threshold| {
        let share = Exact::ratio(total, threshold.amount_cents).unwrap_or_default().min(Exact::ONE);
        json!({ "amount_cents": threshold.amount_cents, "completion_ratio": number(&share), "reached_at": null })
    });
    Ok(Json(one(
        "lifetime_usage",
        json!({
            "lago_id": derived_id(&["lifetime_usage", &subscription.id.to_string()]),
            "lago_subscription_id": lago_id(&subscription.id),
            "external_subscription_id": external_id,
            "external_historical_usage_amount_cents": 0,
            "invoiced_usage_amount_cents": billed,
            "current_usage_amount_cents": so_far,
            "from_datetime": subscription.started_at,
            "to_datetime": now,
            "usage_thresholds": thresholds.collect::<Vec<_>>(),
        }),
    )))
}
