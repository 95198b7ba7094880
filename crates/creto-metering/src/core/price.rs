//! Rating: what a charge's usage costs. A pure function of the usage and the price; nothing is rounded here.
//!
//! Previews, invoices, split billing and replays share it: what is billed of more usage is `rate(more) − rate(less)`.

pub mod percentage;
pub mod tiers;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// What the events have come to one by one, where [`PriceModel::reads_events`] asks for them.
    pub walk: Option<Walk>,
}

/// What single events have come to, of a price that reads them one after another as they arrive: exact, and as small after a million of
/// them as after one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Walk {
    /// A percentage of a total, part of which is free.
    Total(percentage::Seen),
    /// A percentage of each, within bounds.
    Each(percentage::Each),
    /// Tiers of prorated units.
    Tiers(tiers::Climb),
}

impl Walk {
    /// Before the first event; none where the price reads totals alone.
    #[must_use]
    pub fn begin(model: &PriceModel, prorated: bool) -> Option<Self> {
        match model {
            PriceModel::Percentage(price) if price.is_bounded() => Some(Self::Each(percentage::Each::default())),
            PriceModel::Percentage(price) if price.reads_events() => Some(Self::Total(percentage::Seen::default())),
            PriceModel::Graduated { .. } if prorated => Some(Self::Tiers(tiers::Climb::default())),
            _ => None,
        }
    }

    /// Takes the next event in.
    pub fn step(&mut self, model: &PriceModel, next: &Transaction) {
        match (self, model) {
            (Self::Total(seen), PriceModel::Percentage(price)) => seen.step(price, &next.full_units),
            (Self::Each(each), PriceModel::Percentage(price)) => each.step(price, &next.full_units),
            (Self::Tiers(climb), PriceModel::Graduated { ranges }) => climb.step(ranges, next),
            // A price of another model took its place: it reads what comes.
            _ => {}
        }
    }
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

    /// Units that count by the days they were active, event by event, at this price.
    #[must_use]
    pub fn prorated(model: &PriceModel, transactions: &[Transaction]) -> Self {
        let mut walk = Walk::begin(model, true);
        walk.iter_mut().for_each(|walk| transactions.iter().for_each(|next| walk.step(model, next)));
        Self {
            units: transactions.iter().map(|transaction| &transaction.prorated_units).sum(),
            full_units: Some(transactions.iter().map(|transaction| &transaction.full_units).sum()),
            events: u64::try_from(transactions.len()).unwrap_or(u64::MAX),
            precise_total_amount_cents: Exact::ZERO,
            walk,
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
        PriceModel::Graduated { ranges } => {
            let amount = match &usage.walk {
                Some(Walk::Tiers(climb)) => climb.amount(ranges),
                _ => tiers::graduated(ranges, &usage.units),
            };
            Rated::over(amount, usage.shown_units())
        }
        PriceModel::Volume { ranges } => Rated::over(tiers::volume(ranges, &usage.units, usage.shown_units()), usage.shown_units()),
        PriceModel::Package { amount, package_size, free_units } => package(&usage.units, amount, package_size, free_units),
        PriceModel::Percentage(price) => match &usage.walk {
            Some(Walk::Each(each)) => each.rated(),
            Some(Walk::Total(seen)) => seen.rated(price, &usage.units, usage.events),
            _ if price.is_bounded() => Rated::default(),
            _ => percentage::Seen::default().rated(price, &usage.units, usage.events),
        },
        PriceModel::GraduatedPercentage { ranges } => Rated::over(tiers::graduated_percentage(ranges, &usage.units), usage.shown_units()),
        PriceModel::Dynamic => Rated::over(usage.precise_total_amount_cents.over(subunits).unwrap_or_default(), usage.shown_units()),
        PriceModel::Custom { expression } => Rated::over(custom(expression, usage)?, usage.shown_units()),
    })
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
