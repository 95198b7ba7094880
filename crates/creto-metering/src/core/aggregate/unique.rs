//! UNIQUE_COUNT: how many values are active, where events add and remove them.
//!
//! Adding an active value and removing an inactive one count nothing, so after any number of events a value is active when its last
//! event, by (timestamp, arrival), added it.

use std::collections::BTreeMap;

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::zone::{Day, Zone};

/// What an event does to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// It is active from now on.
    Add,
    /// It is not active any more.
    Remove,
}

impl Operation {
    /// The operation of a name, as in `operation_type`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "add" => Some(Self::Add),
            "remove" => Some(Self::Remove),
            _ => None,
        }
    }
}

/// What happened to one value on one day, or on several days merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberState {
    /// Whether it was added at any time.
    pub added: bool,
    /// When its last event was.
    pub last_at: Timestamp,
    /// The last event's place in the order of arrival.
    pub last_sequence: u64,
    /// What the last event did.
    pub last: Operation,
}

impl MemberState {
    /// One event.
    #[must_use]
    pub const fn of(at: Timestamp, sequence: u64, operation: Operation) -> Self {
        Self { added: matches!(operation, Operation::Add), last_at: at, last_sequence: sequence, last: operation }
    }

    /// Takes another state in, in any order.
    pub fn merge(&mut self, other: &Self) {
        let added = self.added || other.added;
        if (other.last_at, other.last_sequence) > (self.last_at, self.last_sequence) {
            *self = *other;
        }
        self.added = added;
    }

    /// Whether the value is active after it.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self.last, Operation::Add)
    }
}

/// What happened to every value on one day, or on several days merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members(pub BTreeMap<String, MemberState>);

impl Members {
    pub(super) fn apply(&mut self, value: &str, at: Timestamp, sequence: u64, operation: Operation) {
        self.take(value, &MemberState::of(at, sequence, operation));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(value, state)| self.take(value, state));
    }

    fn take(&mut self, value: &str, state: &MemberState) {
        match self.0.get_mut(value) {
            Some(known) => known.merge(state),
            None => {
                self.0.insert(value.to_owned(), *state);
            }
        }
    }

    /// How many values are active.
    #[must_use]
    pub fn active(&self) -> usize {
        self.0.values().filter(|state| state.is_active()).count()
    }
}

/// One value's history: every event of it, in order. The row of an interval table that a late event is put into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(BTreeMap<(Timestamp, u64), Operation>);

/// From when a value is active, and until when; still active where there is no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// From this moment on.
    pub from: Timestamp,
    /// Until before this moment.
    pub until: Option<Timestamp>,
}

impl History {
    /// Puts an event in, late or not.
    pub fn insert(&mut self, at: Timestamp, sequence: u64, operation: Operation) {
        self.0.insert((at, sequence), operation);
    }

    /// Takes an event out.
    pub fn remove(&mut self, at: Timestamp, sequence: u64) {
        self.0.remove(&(at, sequence));
    }

    /// When the value was active.
    #[must_use]
    pub fn intervals(&self) -> Vec<Interval> {
        let mut intervals: Vec<Interval> = Vec::new();
        for ((at, _), operation) in &self.0 {
            match (operation, intervals.last_mut()) {
                (Operation::Add, None | Some(Interval { until: Some(_), .. })) => intervals.push(Interval { from: *at, until: None }),
                (Operation::Remove, Some(last)) if last.until.is_none() => last.until = Some(*at),
                _ => {}
            }
        }
        intervals
    }
}

/// Local days on which a value was active, from `from`'s day to `last_day`, both included. A day counts once, however often the value
/// came and went; the day it is removed on counts.
#[must_use]
pub fn active_days(intervals: &[Interval], from: Timestamp, last_day: Day, zone: &Zone) -> u32 {
    let first_day = zone.day(from);
    let mut counted_until: Option<Day> = None;
    let mut days = 0_u32;
    // What ended before the period began was not active in it; what ends with its first moment is removed on its first day.
    for interval in intervals.iter().filter(|interval| interval.until.is_none_or(|until| until >= from)) {
        let start = zone.day(interval.from).max(first_day);
        let end = interval.until.map_or(last_day, |until| zone.day(until)).min(last_day);
        let start = counted_until.map_or(start, |counted| start.max(counted.plus_days(1)));
        let more = start.days_through(end);
        if more > 0 {
            days = days.saturating_add(more);
            counted_until = Some(end);
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::{Add, Remove};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn history(events: &[(&str, Operation)]) -> History {
        let mut history = History::default();
        for (sequence, (moment, operation)) in (0_u64..).zip(events) {
            history.insert(at(moment), sequence, *operation);
        }
        history
    }

    #[test]
    fn repeated_adds_and_removes_of_what_is_not_there_count_nothing() {
        let mut members = Members::default();
        for (value, second, operation) in [("1", 1, Add), ("1", 2, Add), ("2", 3, Remove), ("1", 4, Remove), ("2", 5, Add)] {
            members.apply(value, Timestamp::from_secs(second).unwrap(), 0, operation);
        }
        assert_eq!(members.active(), 1);
    }

    #[test]
    fn at_the_same_moment_the_later_arrival_counts() {
        let moment = Timestamp::from_secs(1).unwrap();
        for (first, second, active) in [(Add, Remove, 0), (Remove, Add, 1)] {
            let mut members = Members::default();
            members.apply("a", moment, 2, second);
            members.apply("a", moment, 1, first);
            assert_eq!(members.active(), active);
        }
    }

    #[test]
    fn days_of_activity_are_local_whole_and_counted_once() {
        let new_york: Zone = "America/New_York".parse().unwrap();
        let (from, last) = (at("2022-07-09T00:00:00Z"), "2022-08-08".parse().unwrap());
        let days = |events: &[(&str, Operation)]| active_days(&history(events).intervals(), from, last, &Zone::utc());
        assert_eq!(days(&[("2022-06-09T00:00:00Z", Add)]), 31);
        assert_eq!(days(&[("2022-06-09T00:00:00Z", Add), ("2022-08-08T23:59:59Z", Remove)]), 31);
        assert_eq!(days(&[("2022-06-09T00:00:00Z", Add), ("2022-07-01T00:00:00Z", Remove)]), 0);
        assert_eq!(days(&[("2022-06-09T00:00:00Z", Add), ("2022-07-09T00:00:00Z", Remove)]), 1);
        assert_eq!(days(&[("2022-07-09T00:00:00Z", Add), ("2022-07-09T00:00:00Z", Remove)]), 1);
        assert_eq!(days(&[("2022-07-10T01:00:00Z", Add), ("2022-07-10T02:00:00Z", Remove), ("2022-07-10T03:00:00Z", Add)]), 30);
        assert_eq!(
            days(&[
                ("2022-07-10T01:00:00Z", Add),
                ("2022-07-11T02:00:00Z", Remove),
                ("2022-07-11T03:00:00Z", Add),
                ("2022-07-12T00:00:00Z", Remove)
            ]),
            3
        );
        assert_eq!(days(&[("2022-08-09T00:00:00Z", Add)]), 0);
        // 02:00 UTC is the day before in New York.
        let local = history(&[("2022-07-11T02:00:00Z", Add), ("2022-07-11T03:00:00Z", Remove)]).intervals();
        assert_eq!(active_days(&local, at("2022-07-11T04:00:00Z"), last, &new_york), 0);
        assert_eq!(active_days(&local, at("2022-07-10T04:00:00Z"), last, &new_york), 1);
    }
}
