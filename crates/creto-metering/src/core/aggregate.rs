//! Aggregates: what the events of one metric on one local day amount to, as a state that events are applied to and states merge into.
//!
//! A day's state does not depend on the order its events arrive in, and the state of two days is the merge of theirs: whole periods
//! come from days, never from events. A recurring metric begins a period with the state carried in from all days before it.
//!
//! - COUNT, SUM, AVG and WEIGHTED_SUM are sums. A weighted sum is linear: Σ v·(end − t) ÷ length = (Σv·end − Σv·t) ÷ length, so it
//!   needs two sums and no order (`weighted`).
//! - MAX, MIN and LATEST are semilattices: they merge, but cannot give an event back; a cancelled event recomputes its day.
//! - UNIQUE_COUNT keeps for each value whether it was added that day and what came last (`unique`).

pub mod prorate;
pub mod unique;
pub mod weighted;

use std::collections::BTreeMap;

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::exact::Exact;
use crate::model::billable_metric::Aggregation;
use unique::{Members, Operation};
use weighted::Weighted;

/// What one event says to a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When it happened.
    pub at: Timestamp,
    /// Its place in the order of arrival; tells apart what happened at the same moment.
    pub sequence: u64,
    /// What was read.
    pub value: Value,
    /// What the event itself says it costs, in minor units: the dynamic price.
    pub precise_total_amount_cents: Exact,
}

/// What an aggregation reads of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: a COUNT.
    Nothing,
    /// The number in the metric's field.
    Number(Exact),
    /// A value that is added or removed.
    Member(String, Operation),
    /// A custom metric's number, where the event has one.
    Maybe(Option<Exact>),
}

/// The last value by (timestamp, arrival).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When.
    pub at: Timestamp,
    /// Its place in the order of arrival.
    pub sequence: u64,
    /// What.
    #[serde(with = "stored")]
    pub value: Exact,
}

/// What the events of a day, or of several days merged, amount to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayState {
    /// How many events.
    pub events: u64,
    /// What the events themselves say they cost, in minor units.
    #[serde(with = "stored", default, skip_serializing_if = "Exact::is_zero")]
    pub precise_total_amount_cents: Exact,
    /// The rest, by aggregation.
    pub level: Level,
}

/// The part of a state that its aggregation needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// COUNT: the number of events is all.
    Count,
    /// SUM and AVG.
    Sum(#[serde(with = "stored")] Exact),
    /// MAX.
    Max(#[serde(with = "stored_option")] Option<Exact>),
    /// MIN.
    Min(#[serde(with = "stored_option")] Option<Exact>),
    /// LATEST.
    Latest(Option<Last>),
    /// WEIGHTED_SUM.
    Weighted(Weighted),
    /// UNIQUE_COUNT.
    Unique(Members),
    /// CUSTOM: everything its expression may name.
    Custom(Box<Several>),
}

/// What an expression over a metric's aggregates may name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Several {
    /// `sum`.
    #[serde(with = "stored")]
    pub sum: Exact,
    /// `max`.
    #[serde(with = "stored_option")]
    pub max: Option<Exact>,
    /// `min`.
    #[serde(with = "stored_option")]
    pub min: Option<Exact>,
    /// `latest`.
    pub latest: Option<Last>,
}

/// An event cannot be taken out of this state: recompute the day from its other events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the day is to be recomputed from its events")]
pub struct Recompute;

/// Two states, or a state and a reading, of different aggregations met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("aggregates of different kinds do not merge")]
pub struct Mismatch;

impl DayState {
    /// A day without events.
    #[must_use]
    pub fn empty(aggregation: Aggregation) -> Self {
        let level = match aggregation {
            Aggregation::Count => Level::Count,
            Aggregation::Sum | Aggregation::Avg => Level::Sum(Exact::ZERO),
            Aggregation::Max => Level::Max(None),
            Aggregation::Min => Level::Min(None),
            Aggregation::Latest => Level::Latest(None),
            Aggregation::WeightedSum => Level::Weighted(Weighted::default()),
            Aggregation::UniqueCount => Level::Unique(Members::default()),
            Aggregation::Custom => Level::Custom(Box::default()),
        };
        Self { events: 0, precise_total_amount_cents: Exact::ZERO, level }
    }

    /// Takes one more event in, in any order.
    pub fn apply(&mut self, reading: &Reading) -> Result<(), Mismatch> {
        match (&mut self.level, &reading.value) {
            (Level::Count, _) => {}
            (Level::Sum(sum), Value::Number(value)) => *sum += value,
            (Level::Max(max), Value::Number(value)) => keep_max(max, Some(value)),
            (Level::Min(min), Value::Number(value)) => keep_min(min, Some(value)),
            (Level::Latest(latest), Value::Number(value)) => keep_last(latest, Some(&reading.last(value))),
            (Level::Weighted(weighted), Value::Number(value)) => weighted.apply(reading.at, value),
            (Level::Unique(members), Value::Member(value, operation)) => members.apply(value, reading.at, reading.sequence, *operation),
            (Level::Custom(several), Value::Maybe(value)) => {
                if let Some(value) = value {
                    several.sum += value;
                    keep_max(&mut several.max, Some(value));
                    keep_min(&mut several.min, Some(value));
                    keep_last(&mut several.latest, Some(&reading.last(value)));
                }
            }
            _ => return Err(Mismatch),
        }
        self.events = self.events.saturating_add(1);
        self.precise_total_amount_cents += &reading.precise_total_amount_cents;
        Ok(())
    }

    /// Takes an event out again, where the aggregation can.
    pub fn retract(&mut self, reading: &Reading) -> Result<(), Recompute> {
        match (&mut self.level, &reading.value) {
            (Level::Count, _) => {}
            (Level::Sum(sum), Value::Number(value)) => *sum -= value,
            (Level::Weighted(weighted), Value::Number(value)) => weighted.apply(reading.at, &-value),
            _ => return Err(Recompute),
        }
        self.events = self.events.checked_sub(1).ok_or(Recompute)?;
        self.precise_total_amount_cents -= &reading.precise_total_amount_cents;
        Ok(())
    }

    /// Takes another state in, in any order and grouping.
    pub fn merge(&mut self, other: &Self) -> Result<(), Mismatch> {
        match (&mut self.level, &other.level) {
            (Level::Count, Level::Count) => {}
            (Level::Sum(sum), Level::Sum(more)) => *sum += more,
            (Level::Max(max), Level::Max(more)) => keep_max(max, more.as_ref()),
            (Level::Min(min), Level::Min(more)) => keep_min(min, more.as_ref()),
            (Level::Latest(latest), Level::Latest(more)) => keep_last(latest, more.as_ref()),
            (Level::Weighted(weighted), Level::Weighted(more)) => weighted.merge(more),
            (Level::Unique(members), Level::Unique(more)) => members.merge(more),
            (Level::Custom(several), Level::Custom(more)) => {
                several.sum += &more.sum;
                keep_max(&mut several.max, more.max.as_ref());
                keep_min(&mut several.min, more.min.as_ref());
                keep_last(&mut several.latest, more.latest.as_ref());
            }
            _ => return Err(Mismatch),
        }
        self.events = self.events.saturating_add(other.events);
        self.precise_total_amount_cents += &other.precise_total_amount_cents;
        Ok(())
    }

    /// What a custom metric's expression may name: `count`, `sum`, `max`, `min`, `avg`, `latest`; 0 where there were no events.
    #[must_use]
    pub fn names(&self) -> BTreeMap<&'static str, Exact> {
        let none = Several::default();
        let several = if let Level::Custom(several) = &self.level { several } else { &none };
        let or_zero = |value: &Option<Exact>| value.clone().unwrap_or_default();
        BTreeMap::from([
            ("count", Exact::from(self.events)),
            ("sum", several.sum.clone()),
            ("max", or_zero(&several.max)),
            ("min", or_zero(&several.min)),
            ("avg", several.sum.over(&Exact::from(self.events)).unwrap_or_default()),
            ("latest", several.latest.as_ref().map(|last| last.value.clone()).unwrap_or_default()),
        ])
    }
}

impl Reading {
    fn last(&self, value: &Exact) -> Last {
        Last { at: self.at, sequence: self.sequence, value: value.clone() }
    }
}

/// What a metric's units are over a period from `from` until before `to`, unrounded. `carried` is the state of everything before the
/// period; it is read by recurring metrics alone. A custom metric's units are what its expression makes of [`DayState::names`].
///
/// A LATEST below nothing is nothing; what else falls below nothing is shown as it is, and billed as nothing
/// ([`BillableMetric::billable`](crate::model::billable_metric::BillableMetric::billable)).
pub fn units(
    aggregation: Aggregation,
    carried: Option<&DayState>,
    period: &DayState,
    from: Timestamp,
    to: Timestamp,
) -> Result<Exact, Mismatch> {
    if let Level::Weighted(inside) = &period.level {
        let initial = match carried.map(|state| &state.level) {
            Some(Level::Weighted(before)) => before.level(),
            Some(_) => return Err(Mismatch),
            None => Exact::ZERO,
        };
        return Ok(inside.mean(&initial, from, to));
    }
    let mut whole = carried.cloned().unwrap_or_else(|| DayState::empty(aggregation));
    whole.merge(period)?;
    Ok(match whole.level {
        Level::Count => Exact::from(whole.events),
        Level::Sum(sum) if aggregation == Aggregation::Avg => sum.over(&Exact::from(whole.events)).unwrap_or_default(),
        Level::Sum(sum) => sum,
        Level::Max(value) | Level::Min(value) => value.unwrap_or_default(),
        Level::Latest(last) => last.map(|last| last.value).unwrap_or_default().floor_zero(),
        Level::Unique(members) => Exact::from(members.active()),
        Level::Weighted(_) | Level::Custom(_) => return Err(Mismatch),
    })
}

/// How many events a metric's units are of: those carried in too, where it recurs.
#[must_use]
pub fn count(carried: Option<&DayState>, period: &DayState) -> u64 {
    carried.map_or(0, |state| state.events).saturating_add(period.events)
}

fn keep_max(kept: &mut Option<Exact>, value: Option<&Exact>) {
    if value > kept.as_ref() {
        *kept = value.cloned();
    }
}

fn keep_min(kept: &mut Option<Exact>, value: Option<&Exact>) {
    if let Some(value) = value
        && kept.as_ref().is_none_or(|least| value < least)
    {
        *kept = Some(value.clone());
    }
}

fn keep_last(kept: &mut Option<Last>, value: Option<&Last>) {
    let order = |last: &Last| (last.at, last.sequence);
    if value.map(order) > kept.as_ref().map(order) {
        *kept = value.cloned();
    }
}

/// Numbers in a stored state may be fractions.
pub(crate) mod stored {
    use super::Exact;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Exact, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.stored())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Exact, D::Error> {
        Exact::from_stored(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

mod stored_option {
    use super::Exact;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Exact>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Exact::stored).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Exact>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Exact::from_stored(&text)).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: i64, sequence: u64, value: i64) -> Reading {
        Reading {
            at: Timestamp::from_secs(at).unwrap(),
            sequence,
            value: Value::Number(Exact::from(value)),
            precise_total_amount_cents: Exact::ZERO,
        }
    }

    fn state(aggregation: Aggregation, readings: &[Reading]) -> DayState {
        let mut state = DayState::empty(aggregation);
        for reading in readings {
            state.apply(reading).unwrap();
        }
        state
    }

    #[test]
    fn each_aggregation_reads_its_own_value() {
        let readings = [reading(1, 1, 4), reading(3, 3, -2), reading(3, 2, 9), reading(2, 4, 1)];
        let over =
            |aggregation| units(aggregation, None, &state(aggregation, &readings), Timestamp::EPOCH, Timestamp::from_secs(10).unwrap());
        for (aggregation, expected) in [
            (Aggregation::Count, 4),
            (Aggregation::Sum, 12),
            (Aggregation::Avg, 3),
            (Aggregation::Max, 9),
            (Aggregation::Min, -2),
            // The last value is -2, and a level below nothing is none.
            (Aggregation::Latest, 0),
        ] {
            assert_eq!(over(aggregation), Ok(Exact::from(expected)), "{aggregation:?}");
        }
    }

    #[test]
    fn a_recurring_level_is_carried_in() {
        let before = state(Aggregation::Sum, &[reading(1, 1, 5)]);
        let inside = state(Aggregation::Sum, &[reading(5, 2, 48)]);
        let (from, to) = (Timestamp::from_secs(4).unwrap(), Timestamp::from_secs(8).unwrap());
        assert_eq!(units(Aggregation::Sum, Some(&before), &inside, from, to), Ok(Exact::from(53)));
        assert_eq!(units(Aggregation::Sum, None, &inside, from, to), Ok(Exact::from(48)));
    }

    #[test]
    fn an_event_taken_out_again_leaves_the_state_it_found_or_says_to_recompute() {
        for aggregation in [Aggregation::Count, Aggregation::Sum, Aggregation::Avg, Aggregation::WeightedSum] {
            let mut changed = state(aggregation, &[reading(1, 1, 4)]);
            changed.apply(&reading(2, 2, 7)).unwrap();
            changed.retract(&reading(2, 2, 7)).unwrap();
            assert_eq!(changed, state(aggregation, &[reading(1, 1, 4)]), "{aggregation:?}");
        }
        for aggregation in [Aggregation::Max, Aggregation::Min, Aggregation::Latest] {
            assert_eq!(state(aggregation, &[reading(1, 1, 4)]).retract(&reading(1, 1, 4)), Err(Recompute));
        }
    }

    #[test]
    fn states_of_different_aggregations_do_not_meet() {
        assert_eq!(DayState::empty(Aggregation::Sum).merge(&DayState::empty(Aggregation::Max)), Err(Mismatch));
        let member = Reading { value: Value::Member("a".to_owned(), Operation::Add), ..reading(1, 1, 1) };
        assert_eq!(DayState::empty(Aggregation::Sum).apply(&member), Err(Mismatch));
    }

    #[test]
    fn every_state_survives_the_store() {
        for aggregation in ["count", "sum", "unique_count", "max", "min", "avg", "latest", "weighted_sum", "custom"] {
            let aggregation = Aggregation::named(aggregation).unwrap();
            let mut state = DayState::empty(aggregation);
            let value = match aggregation {
                Aggregation::UniqueCount => Value::Member("a".to_owned(), Operation::Add),
                Aggregation::Custom => Value::Maybe(Some("0.1".parse().unwrap())),
                _ => Value::Number("-12.345".parse().unwrap()),
            };
            state.apply(&Reading { value, ..reading(5, 7, 0) }).unwrap();
            for state in [DayState::empty(aggregation), state] {
                let text = serde_json::to_string(&state).unwrap();
                assert_eq!(serde_json::from_str::<DayState>(&text).unwrap(), state, "{text}");
            }
        }
    }
}
