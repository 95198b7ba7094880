//! What-if: what a plan would bill of these events, computed by what invoices are made by. Nothing is recorded.

use std::collections::{BTreeMap, BTreeSet};

use creto_kernel::{Micros, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::catalog::Catalog;
use crate::core::bill::{self, Bill, BillLine, Terms};
use crate::core::credits::{self, Balance};
use crate::core::exact::Exact;
use crate::core::expression::EventScope;
use crate::core::period::Period;
use crate::core::posting;
use crate::core::replay;
use crate::core::zone::{Day, Zone};
use crate::error::MeteringError;
use crate::model::billable_metric::{BillableMetric, RoundingFunction};
use crate::model::definition::DefinitionError;
use crate::model::plan::Plan;
use crate::model::tax::{Coupon, Tax};
use crate::model::wallet::Wallet;

/// Most events of one preview.
pub const PREVIEW_EVENTS_MAX: usize = 10_000;
/// Decimal places that average prices are shown with.
const SHOWN_PLACES: i32 = 15;

/// What is to be billed: a plan by its code or as it would be, events, and what is taken off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewInput {
    /// A plan as it would be.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub plan: Option<Plan>,
    /// Or the code of one that there is.
    #[serde(default)]
    pub plan_code: Option<String>,
    /// Metrics as they would be; the catalog's where a charge names another.
    #[serde(default)]
    pub billable_metrics: Vec<BillableMetric>,
    /// The period's first day.
    #[schema(value_type = String)]
    pub first_day: Day,
    /// The period's last day.
    #[schema(value_type = String)]
    pub last_day: Day,
    /// The first day that is billed, where that is not the period's.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub billed_from: Option<Day>,
    /// The last day that is billed, where that is not the period's.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub billed_to: Option<Day>,
    /// Whose days they are; UTC where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub timezone: Option<Zone>,
    /// What happened, in the order it arrived. What is before the period is carried in where a metric recurs.
    #[serde(default)]
    pub events: Vec<PreviewEvent>,
    /// Taxes that plan and charges may name.
    #[serde(default)]
    pub taxes: Vec<Tax>,
    /// Coupons of the customer, in the order they were redeemed.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub coupons: Vec<Coupon>,
    /// Credit notes, in minor units.
    #[serde(default)]
    pub credit_notes_cents: i64,
    /// A wallet that pays.
    #[serde(default)]
    pub wallet: Option<PreviewWallet>,
}

/// An event of a preview.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewEvent {
    /// The metric.
    pub code: String,
    /// When.
    #[schema(value_type = String)]
    pub timestamp: Timestamp,
    /// What.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
}

/// A wallet with what is in it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewWallet {
    /// Its definition.
    pub definition: Wallet,
    /// Its credits.
    #[schema(value_type = String)]
    pub balance_credits: Exact,
}

/// What would be billed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Preview {
    /// Of all amounts.
    #[schema(value_type = String)]
    pub currency: crate::model::currency::Currency,
    /// Line by line.
    pub lines: Vec<PreviewLine>,
    /// What coupons take off, in minor units.
    pub coupons_cents: i64,
    /// Fees without coupons' part.
    pub subtotal_cents: i64,
    /// Tax, rounded once.
    pub taxes_cents: i64,
    /// With tax.
    pub total_cents: i64,
    /// Credit notes that are used.
    pub credit_notes_cents: i64,
    /// Prepaid credits that are used, as money.
    pub prepaid_cents: i64,
    /// What is left to be paid.
    pub to_pay_cents: i64,
    /// What the wallet's rules would do then.
    pub top_ups: Vec<TopUp>,
}

/// A line of a preview.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewLine {
    /// `subscription`, `charge`, `true_up`, `maximum` or `commitment`.
    pub kind: String,
    /// The charge, where it is of one.
    pub charge: Option<String>,
    /// The place of the filter it is priced by.
    pub filter: Option<usize>,
    /// The group it is priced in.
    pub group: BTreeMap<String, Option<String>>,
    /// How many events.
    pub events: u64,
    /// Units, to fifteen places.
    pub units: String,
    /// What a unit costs on average, to fifteen places.
    pub unit_amount: String,
    /// What they cost in units of the currency, to fifteen places.
    pub amount: String,
    /// What the ledger holds of it while the period goes on: millionths, rounded once.
    #[schema(value_type = String)]
    pub posted: Micros,
    /// What is billed, in minor units.
    pub amount_cents: i64,
    /// What coupons take off it; these add up to what coupons take off.
    pub coupons_cents: i64,
    /// Percent.
    pub tax_rate: String,
    /// Its tax, rounded by itself.
    pub own_tax_cents: i64,
    /// Its tax as it is printed; these add up to the tax.
    pub tax_cents: i64,
}

/// A top-up.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopUp {
    /// Credits, to fifteen places.
    pub credits: String,
    /// What they cost, in minor units.
    pub amount_cents: i64,
}

impl PreviewInput {
    /// Computes the bill. Codes that are not defined here are the catalog's.
    pub async fn compute(self, catalog: &Catalog, tenant: &TenantId) -> Result<Preview, MeteringError> {
        if self.events.len() > PREVIEW_EVENTS_MAX {
            return Err(DefinitionError::new("events", format!("are more than {PREVIEW_EVENTS_MAX}")).into());
        }
        let plan = match (&self.plan, &self.plan_code) {
            (Some(plan), None) => plan.clone(),
            (None, Some(code)) => catalog.get::<Plan>(tenant, code).await?.body,
            _ => return Err(DefinitionError::new("plan", "or `plan_code` is needed, and not both").into()),
        };
        let mut metrics: BTreeMap<String, BillableMetric> =
            self.billable_metrics.iter().map(|metric| (metric.code.clone(), metric.clone())).collect();
        let named: BTreeSet<&str> = plan.charges.iter().map(|charge| charge.billable_metric_code.as_str()).collect();
        for code in named {
            if !metrics.contains_key(code) {
                metrics.insert(code.to_owned(), catalog.get::<BillableMetric>(tenant, code).await?.body);
            }
        }
        self.bill(&plan, &metrics)
    }

    fn bill(&self, plan: &Plan, metrics: &BTreeMap<String, BillableMetric>) -> Result<Preview, MeteringError> {
        let refused = |field: &str, error: &dyn std::error::Error| DefinitionError::new(field, error.to_string());
        let zone = self.timezone.clone().unwrap_or_else(Zone::utc);
        let (billed, period) = self.days()?;
        let events: Vec<EventScope<'_>> =
            self.events.iter().map(|event| EventScope { code: &event.code, at: event.timestamp, properties: &event.properties }).collect();
        let mut usage = Vec::with_capacity(plan.charges.len());
        for charge in &plan.charges {
            let Some(metric) = metrics.get(&charge.billable_metric_code) else { continue };
            usage.push((charge, replay::usage(metric, charge, &events, period, &zone).map_err(|e| refused("events", &e))?));
        }
        let tax_rates = self.taxes.iter().map(|tax| (tax.code.clone(), tax.rate.clone())).collect();
        let default_taxes: Vec<String> = self.taxes.iter().filter(|tax| tax.applied_to_organization).map(|tax| tax.code.clone()).collect();
        let terms = Terms {
            plan,
            billed,
            period,
            tax_rates: &tax_rates,
            default_taxes: &default_taxes,
            coupons: &self.coupons,
            credit_notes_cents: Exact::from(self.credit_notes_cents),
            prepaid_cents: self.prepaid(plan)?,
        };
        let bill = bill::bill(&terms, &usage).map_err(|e| refused("plan", &e))?;
        self.shown(plan, &bill)
    }

    fn days(&self) -> Result<(Period, Period), DefinitionError> {
        let period = Period { first_day: self.first_day, last_day: self.last_day };
        if period.days() == 0 {
            return Err(DefinitionError::new("last_day", "is before `first_day`"));
        }
        let billed = Period { first_day: self.billed_from.unwrap_or(self.first_day), last_day: self.billed_to.unwrap_or(self.last_day) };
        if billed.intersection(period) != Some(billed) {
            return Err(DefinitionError::new("billed_from", "and `billed_to` are not days of the period, in their order"));
        }
        Ok((billed, period))
    }

    fn prepaid(&self, plan: &Plan) -> Result<Exact, DefinitionError> {
        let Some(wallet) = &self.wallet else { return Ok(Exact::ZERO) };
        if wallet.definition.currency != plan.amount_currency {
            return Err(DefinitionError::new("wallet.definition.currency", "is not the plan's"));
        }
        let worth = credits::bought(&wallet.balance_credits, &wallet.definition.rate_amount, &plan.amount_currency.subunits());
        Ok(worth.map(|worth| worth.amount_cents.floor_zero()).unwrap_or_default())
    }

    fn top_ups(&self, plan: &Plan, bill: &Bill) -> Result<Vec<TopUp>, MeteringError> {
        let Some(wallet) = &self.wallet else { return Ok(Vec::new()) };
        let subunits = plan.amount_currency.subunits();
        let rate = &wallet.definition.rate_amount;
        let drawn = bill.settled.prepaid_used.over(&(rate * &subunits)).unwrap_or_default();
        let balance = Balance { ongoing: &wallet.balance_credits - &drawn, pending: Exact::ZERO };
        let rules = wallet.definition.recurring_transaction_rules.iter();
        let wanted = rules.map(|rule| credits::top_up(rule, &balance)).filter(Exact::is_positive);
        wanted
            .filter_map(|credits| credits::bought(&credits, rate, &subunits))
            .map(|bought| Ok(TopUp { credits: shown(&bought.credits), amount_cents: cents("wallet", &bought.amount_cents)? }))
            .collect()
    }

    fn shown(&self, plan: &Plan, bill: &Bill) -> Result<Preview, MeteringError> {
        let totals = &bill.totals;
        let parts = totals.printed_coupons.iter().zip(&totals.line_taxes).zip(&totals.printed_taxes);
        let lines: Result<Vec<PreviewLine>, MeteringError> =
            bill.lines.iter().zip(parts).map(|(line, ((coupon, own_tax), tax))| shown_line(line, [coupon, own_tax, tax])).collect();
        Ok(Preview {
            currency: plan.amount_currency,
            lines: lines?,
            coupons_cents: cents("coupons", &totals.coupons)?,
            subtotal_cents: cents("subtotal", &totals.subtotal)?,
            taxes_cents: cents("taxes", &totals.taxes)?,
            total_cents: cents("total", &totals.total)?,
            credit_notes_cents: cents("credit notes", &bill.settled.credit_notes_used)?,
            prepaid_cents: cents("prepaid", &bill.settled.prepaid_used)?,
            to_pay_cents: cents("to pay", &bill.settled.total)?,
            top_ups: self.top_ups(plan, bill)?,
        })
    }
}

fn shown_line(line: &BillLine, [coupon, own_tax, tax]: [&Exact; 3]) -> Result<PreviewLine, MeteringError> {
    let name = line.charge.as_deref().unwrap_or(line.kind.as_str());
    Ok(PreviewLine {
        kind: line.kind.as_str().to_owned(),
        charge: line.charge.clone(),
        filter: line.filter,
        group: line.group.clone(),
        events: line.usage.events,
        units: shown(&line.usage.units),
        unit_amount: shown(&line.rated.unit_amount),
        amount: shown(&line.rated.amount),
        posted: posting::rounded(&line.rated.amount).ok_or_else(|| MeteringError::AmountOverflow(name.to_owned()))?,
        amount_cents: cents(name, &line.amount_cents)?,
        coupons_cents: cents(name, coupon)?,
        tax_rate: shown(&line.tax_rate),
        own_tax_cents: cents(name, own_tax)?,
        tax_cents: cents(name, tax)?,
    })
}

/// Whole minor units, as JSON has them.
fn cents(what: &str, amount: &Exact) -> Result<i64, MeteringError> {
    amount.to_i64().ok_or_else(|| MeteringError::AmountOverflow(what.to_owned()))
}

fn shown(number: &Exact) -> String {
    RoundingFunction::apply(Some(RoundingFunction::Round), Some(SHOWN_PLACES), number).to_string()
}
