//! WEIGHTED_SUM: the mean of a level over real time. Each event raises or lowers the level from its moment on.

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::exact::Exact;

/// Σ v and Σ v·t: all that a weighted sum needs to know of its events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighted {
    #[serde(with = "super::stored")]
    sum: Exact,
    /// In microseconds since the Unix epoch.
    #[serde(with = "super::stored")]
    moment: Exact,
}

impl Weighted {
    pub(super) fn apply(&mut self, at: Timestamp, value: &Exact) {
        self.sum += value;
        self.moment += &(value * &Exact::from(at.as_micros()));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.sum += &other.sum;
        self.moment += &other.moment;
    }

    /// The level after all of its events.
    #[must_use]
    pub fn level(&self) -> Exact {
        self.sum.clone()
    }

    /// The mean level from `from` until `to`, where the level was `initial` at `from` and all of the events are between the two; real
    /// seconds, so a day with a clock change weighs 23 or 25 hours. The level itself where the period has no length.
    #[must_use]
    pub fn mean(&self, initial: &Exact, from: Timestamp, to: Timestamp) -> Exact {
        let (from, to) = (Exact::from(from.as_micros()), Exact::from(to.as_micros()));
        let area = &self.sum * &to - &self.moment;
        match area.over(&(to - from)) {
            Some(mean) => mean + initial,
            None => initial + &self.sum,
        }
    }
}
