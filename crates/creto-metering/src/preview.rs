//! What-if: what a plan would bill of these events, computed by what invoices are made by: tallies, lines, sums. Nothing is recorded.

use std::collections::{BTreeMap, BTreeSet};

use creto_kernel::{Micros, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::catalog::Catalog;
use crate::core::bill::{self, Advanced, ChargeUsage, Part, Span, Terms};
use crate::core::charging;
use crate::core::credits::{self, Balance, Purse};
use crate::core::exact::Exact;
use crate::core::expression::EventScope;
use crate::core::invoicing::{self, Built, Reduction};
use crate::core::matching::Group;
use crate::core::period::Period;
use crate::core::posting;
use crate::core::price::Rated;
use crate::core::replay;
use crate::core::zone::{Day, Zone};
use crate::error::MeteringError;
use crate::model::billable_metric::{BillableMetric, RoundingFunction};
use crate::model::definition::DefinitionError;
use crate::model::invoice::{EventRange, Fee, FeeId, FeeKind};
use crate::model::plan::Plan;
use crate::model::tax::{Coupon, Tax};
use crate::model::wallet::Wallet;
use crate::store::events::utc_day;

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
    /// The day a subscription to it began, from which a trial counts; the first day that is billed, where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub subscribed_on: Option<Day>,
    /// Whose days they are; UTC where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub timezone: Option<Zone>,
    /// What happened, in the order it arrived; those of a day together, as in one request. What is before the period is carried in where a metric recurs.
    #[serde(default)]
    pub events: Vec<PreviewEvent>,
    /// Taxes that plan and charges may name.
    #[serde(default)]
    pub taxes: Vec<Tax>,
    /// Coupons of the customer, in the order they were redeemed.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub coupons: Vec<Coupon>,
    /// Usage that was billed at thresholds while the period went on, in minor units.
    #[serde(default)]
    pub progressive_billing_cents: i64,
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
    /// What was billed before the period ended, in minor units.
    pub progressive_billing_cents: i64,
    /// What coupons take off, in minor units.
    pub coupons_cents: i64,
    /// Fees without either part.
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
    /// `subscription`, `charge`, `true_up` (what a charge's minimum leaves to be paid) or `commitment`.
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
    /// What is billed, in minor units: no more than the charge's most.
    pub amount_cents: i64,
    /// What coupons, and what was billed before, take off it; these add up to what is taken off.
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
        let zone = self.timezone.clone().unwrap_or_else(Zone::utc);
        let (billed, period) = self.days()?;
        let (used, rated) = self.used(plan, metrics, period, &zone)?;
        let taxes = self.taxes.iter().map(|tax| (tax.code.clone(), tax.clone())).collect();
        let began = self.subscribed_on.unwrap_or(billed.first_day);
        let terms = Terms {
            plan,
            metrics,
            holder: None,
            trial_end: began.plus_days(i32::try_from(plan.trial_period).unwrap_or(i32::MAX)),
            zone: &zone,
            taxes: &taxes,
            customer_tax_codes: &[],
            ids: &FeeId::generate,
        };
        let part = Part { period, billed: Some(billed) };
        let window = (zone.start(billed.first_day), zone.end(billed.last_day));
        let nothing = Advanced::new();
        let (plan_fee, commitment) = (Some(part), Some(part));
        let span = Span { plan_fee, usage: part, window, commitment, billed_before_cents: 0, advanced: &nothing };
        let mut fees = bill::lines(&terms, &span, &used)?;
        let mut coupons: Vec<&Coupon> = self.coupons.iter().filter(|coupon| Reduction::fits(coupon, plan.amount_currency)).collect();
        coupons.sort_by_key(|coupon| Reduction::rank(coupon));
        let coupons: Vec<Reduction> = coupons.into_iter().map(|coupon| Reduction::of(coupon, None)).collect();
        let too_large = || MeteringError::AmountOverflow(plan.code.clone());
        let built = invoicing::build(&mut fees, self.progressive_billing_cents, &coupons).ok_or_else(too_large)?;
        self.shown(plan, &fees, &rated, &built)
    }

    /// What the events come to, and how each part of it was rated.
    fn used(
        &self,
        plan: &Plan,
        metrics: &BTreeMap<String, BillableMetric>,
        period: Period,
        zone: &Zone,
    ) -> Result<(Vec<ChargeUsage>, RatedLines), MeteringError> {
        let mut events: Vec<EventScope<'_>> =
            self.events.iter().map(|event| EventScope { code: &event.code, at: event.timestamp, properties: &event.properties }).collect();
        // As one request of them is recorded: day by day, otherwise as they came.
        events.sort_by_key(|event| utc_day(event.at));
        let (mut used, mut lines) = (Vec::with_capacity(plan.charges.len()), RatedLines::new());
        for charge in &plan.charges {
            let Some(metric) = metrics.get(&charge.billable_metric_code) else { continue };
            let subunits = plan.amount_currency.subunits();
            let terms = |filter| charging::Terms::of(metric, charge, filter, subunits.clone(), period, zone);
            for of in replay::usage(charge, &events, terms).map_err(|e| DefinitionError::new("events", e.to_string()))? {
                lines.insert((charge.code.clone(), of.filter, of.group.clone()), of.rated.clone());
                used.push(ChargeUsage {
                    charge: charge.code.clone(),
                    filter: of.filter,
                    group: of.group,
                    units: of.usage.units,
                    events: of.usage.events,
                    amount: of.rated.amount,
                    proof: EventRange::default(),
                });
            }
        }
        Ok((used, lines))
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

    fn purse(&self, plan: &Plan) -> Result<Option<Purse>, DefinitionError> {
        let Some(PreviewWallet { definition, balance_credits }) = &self.wallet else { return Ok(None) };
        if definition.currency != plan.amount_currency {
            return Err(DefinitionError::new("wallet.definition.currency", "is not the plan's"));
        }
        let worth = credits::bought(balance_credits, &definition.rate_amount, &plan.amount_currency.subunits());
        Ok(Some(Purse {
            balance: worth.map(|worth| worth.amount_cents.floor_zero()).unwrap_or_default(),
            priority: u32::from(definition.priority),
            created_at: Timestamp::EPOCH,
            applies_to: definition.applies_to.clone(),
        }))
    }

    fn top_ups(&self, plan: &Plan, prepaid_cents: i64) -> Result<Vec<TopUp>, MeteringError> {
        let Some(wallet) = &self.wallet else { return Ok(Vec::new()) };
        let subunits = plan.amount_currency.subunits();
        let rate = &wallet.definition.rate_amount;
        let drawn = Exact::from(prepaid_cents).over(&(rate * &subunits)).unwrap_or_default();
        let balance = Balance { ongoing: &wallet.balance_credits - &drawn, pending: Exact::ZERO };
        let rules = wallet.definition.recurring_transaction_rules.iter();
        let wanted = rules.map(|rule| credits::top_up(rule, &balance)).filter(Exact::is_positive);
        wanted
            .filter_map(|credits| credits::bought(&credits, rate, &subunits))
            .map(|bought| Ok(TopUp { credits: shown(&bought.credits), amount_cents: cents("wallet", &bought.amount_cents)? }))
            .collect()
    }

    fn shown(&self, plan: &Plan, fees: &[Fee], rated: &RatedLines, built: &Built) -> Result<Preview, MeteringError> {
        let (sums, totals) = (&built.sums, &built.totals);
        let parts = totals.printed_coupons.iter().zip(&totals.line_taxes);
        let none = Rated::default();
        let of = |fee: &Fee| match fee.kind {
            FeeKind::Charge => rated.get(&(fee.code.clone(), fee.filter, fee.group.clone())).unwrap_or(&none).clone(),
            _ => Rated { amount: bill::cents_as_units(fee.amount_cents, plan.amount_currency), ..Rated::default() },
        };
        let lines: Result<Vec<PreviewLine>, MeteringError> =
            fees.iter().zip(parts).map(|(fee, (coupon, own_tax))| shown_line(fee, &of(fee), [coupon, own_tax])).collect();
        let notes = self.credit_notes_cents.min(sums.total_cents).max(0);
        let owed = sums.total_cents.saturating_sub(notes);
        let purse = self.purse(plan)?;
        let prepaid = bill::prepaid(owed, purse.as_slice(), fees).into_iter().sum::<i64>();
        Ok(Preview {
            currency: plan.amount_currency,
            lines: lines?,
            progressive_billing_cents: sums.progressive_billing_cents,
            coupons_cents: sums.coupons_cents,
            subtotal_cents: sums.sub_total_excluding_taxes_cents,
            taxes_cents: sums.taxes_cents,
            total_cents: sums.total_cents,
            credit_notes_cents: notes,
            prepaid_cents: prepaid,
            to_pay_cents: owed.saturating_sub(prepaid),
            top_ups: self.top_ups(plan, prepaid)?,
        })
    }
}

/// How each line of usage was rated: by charge, filter and group.
type RatedLines = BTreeMap<(String, Option<usize>, Group), Rated>;

fn shown_line(fee: &Fee, rated: &Rated, [coupon, own_tax]: [&Exact; 2]) -> Result<PreviewLine, MeteringError> {
    // A minimum is of its charge, a commitment of the plan.
    let of_charge = fee.billable_metric_code.is_some();
    let kind = if fee.kind == FeeKind::Commitment && of_charge { "true_up" } else { fee.kind.as_str() };
    let is_usage = fee.kind == FeeKind::Charge;
    Ok(PreviewLine {
        kind: kind.to_owned(),
        charge: of_charge.then(|| fee.code.clone()),
        filter: fee.filter,
        group: fee.group.clone(),
        events: fee.events,
        units: if is_usage { shown(&fee.units) } else { shown(&Exact::ZERO) },
        unit_amount: shown(&rated.unit_amount),
        amount: shown(&rated.amount),
        posted: posting::rounded(&rated.amount).ok_or_else(|| MeteringError::AmountOverflow(fee.code.clone()))?,
        amount_cents: fee.amount_cents,
        coupons_cents: cents(&fee.code, coupon)?,
        tax_rate: shown(&fee.taxes_rate),
        own_tax_cents: cents(&fee.code, own_tax)?,
        tax_cents: fee.taxes_amount_cents,
    })
}

/// Whole minor units, as JSON has them.
fn cents(what: &str, amount: &Exact) -> Result<i64, MeteringError> {
    amount.to_i64().ok_or_else(|| MeteringError::AmountOverflow(what.to_owned()))
}

fn shown(number: &Exact) -> String {
    RoundingFunction::apply(Some(RoundingFunction::Round), Some(SHOWN_PLACES), number).to_string()
}
