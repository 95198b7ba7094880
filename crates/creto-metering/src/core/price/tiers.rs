//! Tiered prices. A tier is (the end of the one before, its own end]; the first one's flat fee is billed with zero units too.

use serde::{Deserialize, Serialize};

use crate::core::aggregate::stored;
use crate::core::exact::Exact;
use crate::core::price::Transaction;
use crate::model::price::{Range, RateRange};

/// Units in each tier at that tier's price, and the flat fee of each tier that was reached.
#[must_use]
pub fn graduated(ranges: &[Range], units: &Exact) -> Exact {
    climb(units, ranges.iter().map(|range| (range.to_value.as_ref(), range)))
        .map(|(range, inside)| &inside * &range.per_unit_amount + &range.flat_amount)
        .sum()
}

/// Units in each tier at that tier's percentage, and the flat fee of each tier that was reached.
#[must_use]
pub fn graduated_percentage(ranges: &[RateRange], units: &Exact) -> Exact {
    climb(units, ranges.iter().map(|range| (range.to_value.as_ref(), range)))
        .map(|(range, inside)| &inside * &range.rate.percent() + &range.flat_amount)
        .sum()
}

/// All units at the price of the tier that `full_units` end in, and its flat fee.
#[must_use]
pub fn volume(ranges: &[Range], units: &Exact, full_units: &Exact) -> Exact {
    let reached = ranges.iter().find(|range| range.to_value.as_ref().is_none_or(|end| full_units <= end)).or_else(|| ranges.last());
    reached.map(|range| units * &range.per_unit_amount + &range.flat_amount).unwrap_or_default()
}

/// What is billed of `line` units after `previous` ones were billed: the difference of the two totals, so that a flat fee is billed once.
/// Before the first unit nothing was billed.
#[must_use]
pub fn graduated_line(ranges: &[Range], previous: &Exact, line: &Exact) -> Exact {
    let before = if previous.is_zero() { Exact::ZERO } else { graduated(ranges, previous) };
    graduated(ranges, &(previous + line)) - before
}

/// Graduated prices of units that count by the days they were active, event by event in the order they arrived.
///
/// An event is laid over the tiers by its full units, and its prorated units are split by the share of them in each; removals leave
/// from the top. The flat fees are those of every tier up to the highest that was ever reached. Units that end below nothing cost
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Climb {
    /// Prorated units in each tier.
    inside: Vec<Part>,
    /// Full units.
    #[serde(with = "stored")]
    level: Exact,
    /// Most of them there ever were.
    #[serde(with = "stored")]
    highest: Exact,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Part(#[serde(with = "stored")] Exact);

impl Climb {
    /// Takes the next event in.
    pub fn step(&mut self, ranges: &[Range], transaction: &Transaction) {
        self.inside.resize_with(ranges.len(), Part::default);
        let after = &self.level + &transaction.full_units;
        let (low, high) = if after < self.level { (&after, &self.level) } else { (&self.level, &after) };
        let length = high - low;
        for (sum, (start, end)) in self.inside.iter_mut().zip(bounds(ranges)) {
            let overlap = overlap(low, high, start, end);
            if let Some(share) = overlap.over(&length) {
                sum.0 += &(&transaction.prorated_units * &share);
            }
        }
        self.highest = self.highest.clone().max(after.clone());
        self.level = after;
    }

    /// What they come to.
    #[must_use]
    pub fn amount(&self, ranges: &[Range]) -> Exact {
        if self.level.is_negative() {
            return Exact::ZERO;
        }
        let units: Exact = self.inside.iter().zip(ranges).map(|(units, range)| &units.0 * &range.per_unit_amount).sum();
        let flat: Exact =
            climb(&self.highest, ranges.iter().map(|range| (range.to_value.as_ref(), range))).map(|(range, _)| &range.flat_amount).sum();
        units + flat
    }
}

/// The tiers that `units` reach, each with the units inside it.
fn climb<'a, T: 'a>(units: &Exact, ends: impl Iterator<Item = (Option<&'a Exact>, T)> + 'a) -> impl Iterator<Item = (T, Exact)> {
    let units = units.clone();
    let mut start: Option<&Exact> = None;
    ends.map_while(move |(end, tier)| {
        // The first tier is reached by nothing at all, each later one by more than its start.
        if start.is_some_and(|start| units <= *start) {
            return None;
        }
        let top = end.map_or_else(|| units.clone(), |end| end.clone().min(units.clone()));
        let inside = start.map_or_else(|| top.clone(), |start| &top - start);
        start = end.or(start);
        Some((tier, inside))
    })
}

/// Each tier's start and end. The first has no start: units below nothing are its own.
fn bounds(ranges: &[Range]) -> impl Iterator<Item = (Option<&Exact>, Option<&Exact>)> {
    let starts = std::iter::once(None).chain(ranges.iter().map(|range| range.to_value.as_ref()));
    starts.zip(ranges.iter().map(|range| range.to_value.as_ref()))
}

fn overlap(low: &Exact, high: &Exact, start: Option<&Exact>, end: Option<&Exact>) -> Exact {
    let from = start.map_or(low, |start| start.max(low));
    let to = end.map_or(high, |end| end.min(high));
    (to - from).floor_zero()
}
