//! Tiered prices. A tier is (the end of the one before, its own end]; the first one's flat fee is billed with zero units too.

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

/// Graduated prices of units that count by the days they were active.
///
/// An event is laid over the tiers by its full units, and its prorated units are split by the share of them in each; removals leave
/// from the top. The flat fees are those of every tier up to the highest that was ever reached. Units that end below nothing cost
/// nothing.
#[must_use]
pub fn prorated_graduated(ranges: &[Range], transactions: &[Transaction]) -> Exact {
    let mut inside = vec![Exact::ZERO; ranges.len()];
    let (mut level, mut highest) = (Exact::ZERO, Exact::ZERO);
    for transaction in transactions {
        let after = &level + &transaction.full_units;
        let (low, high) = if after < level { (&after, &level) } else { (&level, &after) };
        let length = high - low;
        for (sum, (start, end)) in inside.iter_mut().zip(bounds(ranges)) {
            let overlap = overlap(low, high, start, end);
            if let Some(share) = overlap.over(&length) {
                *sum += &(&transaction.prorated_units * &share);
            }
        }
        level = after;
        highest = highest.max(level.clone());
    }
    if level.is_negative() {
        return Exact::ZERO;
    }
    let units: Exact = inside.iter().zip(ranges).map(|(units, range)| units * &range.per_unit_amount).sum();
    let flat: Exact =
        climb(&highest, ranges.iter().map(|range| (range.to_value.as_ref(), range))).map(|(range, _)| &range.flat_amount).sum();
    units + flat
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
