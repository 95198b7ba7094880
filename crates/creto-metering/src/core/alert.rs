//! Which thresholds of an alert a change passes.
//!
//! INVARIANT: of what only rises within a period, a threshold is passed once in it, however often the value falls below it and comes back.
//! Of a balance, one is passed each time it is reached from the other side.

use serde::{Deserialize, Serialize};

use crate::core::aggregate::stored;
use crate::core::exact::Exact;
use crate::model::alert::{Direction, Threshold};

/// Most repetitions of a recurring threshold that one telling names: the last ones.
pub const REPETITIONS_MAX: usize = 20;

/// What an alert saw of a period, or of all time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The value at the last look.
    #[serde(with = "stored")]
    pub value: Exact,
    /// The furthest value that was told of.
    #[serde(with = "stored")]
    pub reached: Exact,
}

/// A threshold that was passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossed {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Where it is; of a recurring one, where it was passed.
    pub value: Exact,
    /// Whether it recurs.
    pub recurring: bool,
}

/// What a value passes that was `seen` before, and what is seen after it. Where nothing was seen, everything behind the value is passed.
#[must_use]
pub fn look(thresholds: &[Threshold], direction: Direction, seen: Option<&Seen>, value: &Exact) -> (Vec<Crossed>, Seen) {
    let before = match direction {
        Direction::Increasing => seen.map(|seen| &seen.reached),
        Direction::Decreasing => seen.map(|seen| &seen.value),
    };
    let passed = |at: &Exact| match direction {
        Direction::Increasing => at <= value && before.is_none_or(|before| before < at),
        Direction::Decreasing => at >= value && before.is_none_or(|before| before > at),
    };
    let mut crossed = Vec::new();
    for threshold in thresholds.iter().filter(|threshold| !threshold.recurring && passed(&threshold.value)) {
        crossed.push(Crossed { code: threshold.code.clone(), value: threshold.value.clone(), recurring: false });
    }
    for threshold in thresholds.iter().filter(|threshold| threshold.recurring) {
        crossed.extend(repetitions(thresholds, threshold, direction, before, value));
    }
    crossed.sort_by(|a, b| match direction {
        Direction::Increasing => a.value.cmp(&b.value),
        Direction::Decreasing => b.value.cmp(&a.value),
    });
    let reached = match (direction, before) {
        (Direction::Increasing, Some(before)) => before.clone().max(value.clone()),
        _ => value.clone(),
    };
    (crossed, Seen { value: value.clone(), reached })
}

/// A recurring threshold is passed at each of its distances beyond the last one that stands by itself.
fn repetitions(
    thresholds: &[Threshold],
    recurring: &Threshold,
    direction: Direction,
    before: Option<&Exact>,
    value: &Exact,
) -> Vec<Crossed> {
    let fixed = thresholds.iter().filter(|threshold| !threshold.recurring).map(|threshold| &threshold.value);
    let rises = direction == Direction::Increasing;
    let last = if rises { fixed.max() } else { fixed.min() };
    let Some(last) = last.cloned().or(rises.then_some(Exact::ZERO)) else { return Vec::new() };
    // How many distances beyond the last one a value is: whole ones, and none before it.
    let distance = |at: &Exact| {
        let beyond = if rises { at - &last } else { &last - at };
        beyond.over(&recurring.value).unwrap_or_default().floor().floor_zero()
    };
    let to = distance(value);
    let from = match before {
        // A value that stands on a repetition has passed it.
        Some(before) => distance(before),
        None => Exact::ZERO,
    };
    let mut at = to;
    let mut crossed = Vec::new();
    while at > from && crossed.len() < REPETITIONS_MAX {
        let step = &at * &recurring.value;
        let place = if rises { &last + &step } else { &last - &step };
        crossed.push(Crossed { code: recurring.code.clone(), value: place, recurring: true });
        at -= &Exact::ONE;
    }
    crossed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds(values: &[(&str, bool)]) -> Vec<Threshold> {
        let one = |(value, recurring): &(&str, bool)| Threshold { code: None, value: value.parse().unwrap(), recurring: *recurring };
        values.iter().map(one).collect()
    }

    /// What each value of a course passes.
    fn course(thresholds: &[Threshold], direction: Direction, values: &[&str]) -> Vec<String> {
        let mut seen = None;
        let told = values.iter().map(|value| {
            let (crossed, after) = look(thresholds, direction, seen.as_ref(), &value.parse().unwrap());
            seen = Some(after);
            crossed.iter().map(|crossed| crossed.value.to_string()).collect::<Vec<_>>().join(" ")
        });
        told.collect()
    }

    #[test]
    fn what_rises_passes_a_threshold_once_however_often_it_falls_back() {
        let at = thresholds(&[("10", false), ("20", false)]);
        let told = course(&at, Direction::Increasing, &["9.99", "10", "5", "12", "25", "1", "30"]);
        assert_eq!(told, ["", "10", "", "", "20", "", ""]);
        assert_eq!(course(&at, Direction::Increasing, &["25"]), ["10 20"], "what is behind the first look is told at once");
        assert_eq!(course(&at, Direction::Increasing, &["0"]), [""]);
    }

    #[test]
    fn a_recurring_threshold_is_passed_at_each_distance_beyond_the_last() {
        let at = thresholds(&[("10", false), ("5", true)]);
        assert_eq!(course(&at, Direction::Increasing, &["5", "14.9", "15", "15", "19", "26", "20"]), ["", "10", "15", "", "", "20 25", ""]);
        let alone = thresholds(&[("0.5", true)]);
        assert_eq!(course(&alone, Direction::Increasing, &["0", "0.5", "1.2"]), ["", "0.5", "1"]);
        let far = course(&alone, Direction::Increasing, &["1000"]);
        assert_eq!(far[0].split(' ').count(), REPETITIONS_MAX, "the last ones: {far:?}");
        assert!(far[0].ends_with("1000"));
    }

    #[test]
    fn a_balance_passes_a_threshold_each_time_it_comes_down_to_it() {
        let at = thresholds(&[("10", false), ("5", false), ("2", true)]);
        let told = course(&at, Direction::Decreasing, &["12", "10", "4", "20", "9", "1", "-3"]);
        assert_eq!(told, ["", "10", "5", "", "10", "5 3 1", "-1 -3"]);
        assert_eq!(course(&at, Direction::Decreasing, &["7"]), ["10"], "already below: told at once");
    }
}
