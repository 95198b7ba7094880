//! Rating: what a charge's usage costs. A pure function of the usage and the price; nothing is rounded here.
//!
//! Previews, invoices, split billing and replays share it: what is billed of more usage is `rate(more) − rate(less)`.

pub mod percentage;
pub mod tiers;

use std::collections::BTreeMap;

use crate::core::exact::Exact;
use crate::core::expression::{Expression, ExpressionError, Scope};
use crate::core::rounding;
use crate::model::price::PriceModel;

/// What a charge used over a period: everything that a price may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Units, prorated where the charge is.
    pub units: Exact,
    /// Units as if they were not prorated, where they are; they choose the tier of a volume price.
    pub full_units: Option<Exact>,
    /// How many events.
    pub events: u64,
    /// What the events themselves say they cost, in minor units.
    pub precise_total_amount_cents: Exact,
    /// The events one by one in their order, where [`PriceModel::reads_events`] asks for them.
    pub transactions: Vec<Transaction>,
}

/// One event of a usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its units.
    pub full_units: Exact,
    /// Its units by the days they were active; the same, where the charge is not prorated.
    pub prorated_units: Exact,
}

/// What usage costs, unrounded, in units of the currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rated {
    /// What it costs.
    pub amount: Exact,
    /// What a unit cost on average; 0 where there are none.
    pub unit_amount: Exact,
    /// Units that cost nothing.
    pub free_units: Exact,
    /// Events that cost nothing.
    pub free_events: u64,
}

/// A price that cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The price's expression fails for this usage.
    #[error("the price's expression fails: {0}")]
    Expression(#[from] ExpressionError),
}

impl Usage {
    /// Units of so many events, without anything else.
    #[must_use]
    pub fn of(units: Exact, events: u64) -> Self {
        Self { units, events, ..Self::default() }
    }

    /// Units that count by the days they were active, event by event.
    #[must_use]
    pub fn prorated(transactions: impl IntoIterator<Item = Transaction>) -> Self {
        let transactions: Vec<Transaction> = transactions.into_iter().collect();
        Self {
            units: transactions.iter().map(|transaction| &transaction.prorated_units).sum(),
            full_units: Some(transactions.iter().map(|transaction| &transaction.full_units).sum()),
            events: u64::try_from(transactions.len()).unwrap_or(u64::MAX),
            precise_total_amount_cents: Exact::ZERO,
            transactions,
        }
    }

    fn shown_units(&self) -> &Exact {
        self.full_units.as_ref().unwrap_or(&self.units)
    }
}

impl Rated {
    fn over(amount: Exact, units: &Exact) -> Self {
        Self { unit_amount: amount.over(units).unwrap_or_default(), amount, ..Self::default() }
    }
}

/// What `usage` costs at this price. `subunits` are the minor units in one unit of the currency: dynamic prices come in minor units.
pub fn rate(model: &PriceModel, usage: &Usage, subunits: &Exact) -> Result<Rated, PriceError> {
    Ok(match model {
        PriceModel::Standard { amount } => Rated::over(&usage.units * amount, usage.shown_units()),
        PriceModel::Flat { amount } => Rated::over(amount.clone(), usage.shown_units()),
        PriceModel::Graduated { ranges } if usage.full_units.is_some() && !usage.transactions.is_empty() => {
            Rated::over(tiers::prorated_graduated(ranges, &usage.transactions), usage.shown_units())
        }
        PriceModel::Graduated { ranges } => Rated::over(tiers::graduated(ranges, &usage.units), usage.shown_units()),
        PriceModel::Volume { ranges } => Rated::over(tiers::volume(ranges, &usage.units, usage.shown_units()), usage.shown_units()),
        PriceModel::Package { amount, package_size, free_units } => package(&usage.units, amount, package_size, free_units),
        PriceModel::Percentage(price) if price.is_bounded() => {
            let values: Vec<Exact> = usage.transactions.iter().map(|transaction| transaction.full_units.clone()).collect();
            percentage::by_transaction(price, &values)
        }
        PriceModel::Percentage(price) => percentage::total(price, &usage.units, usage.events, &running_totals(&usage.transactions)),
        PriceModel::GraduatedPercentage { ranges } => Rated::over(tiers::graduated_percentage(ranges, &usage.units), usage.shown_units()),
        PriceModel::Dynamic => Rated::over(usage.precise_total_amount_cents.over(subunits).unwrap_or_default(), usage.shown_units()),
        PriceModel::Custom { expression } => Rated::over(custom(expression, usage)?, usage.shown_units()),
    })
}

/// What each running total of the events is.
fn running_totals(transactions: &[Transaction]) -> Vec<Exact> {
    let mut total = Exact::ZERO;
    transactions
        .iter()
        .map(|transaction| {
            total += &transaction.full_units;
            total.clone()
        })
        .collect()
}

/// Begun packages beyond the free units, each at `amount`.
fn package(units: &Exact, amount: &Exact, package_size: &Exact, free_units: &Exact) -> Rated {
    let paid = (units - free_units).floor_zero();
    let packages = paid.over(package_size).map(|packages| rounding::PACKAGES.whole(&packages)).unwrap_or_default();
    let free_units = free_units.clone().min(units.clone());
    Rated { free_units, ..Rated::over(&packages * amount, &paid) }
}

/// What a custom price's expression makes of the usage.
fn custom(expression: &Expression, usage: &Usage) -> Result<Exact, ExpressionError> {
    let names = BTreeMap::from([
        ("units", usage.units.clone()),
        ("events", Exact::from(usage.events)),
        ("precise_total_amount_cents", usage.precise_total_amount_cents.clone()),
    ]);
    expression.number(Scope { event: None, names: &names })
}
