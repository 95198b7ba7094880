//! Hybrid logical timestamps: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks and Consistent Snapshots in Globally
//! Distributed Databases" (2014), figure 5.
//!
//! A timestamp is a physical part close to real time and a counter that orders what happened within it. If one event can have caused
//! another, its timestamp is smaller.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use creto_kernel::Timestamp;

use crate::error::ConsensusError;

/// A hybrid timestamp. Text form: the RFC 3339 moment, `+`, the counter as 8 hexadecimal digits; text order is time order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HybridTimestamp {
    /// The largest physical time seen so far (`l` in the paper).
    pub physical: Timestamp,
    /// Orders events with the same physical part (`c` in the paper).
    pub counter: u32,
}

impl HybridTimestamp {
    /// Before everything.
    pub const START: Self = Self { physical: Timestamp::EPOCH, counter: 0 };

    /// The next one with this physical part; a full counter moves on to the next microsecond, which keeps the order.
    fn next(self) -> Self {
        match self.counter.checked_add(1) {
            Some(counter) => Self { counter, ..self },
            None => Self { physical: self.physical.saturating_add(Duration::from_micros(1)), counter: 0 },
        }
    }
}

impl fmt::Display for HybridTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}", self.physical, self.counter)
    }
}

impl FromStr for HybridTimestamp {
    type Err = ConsensusError;
    fn from_str(text: &str) -> Result<Self, ConsensusError> {
        let bad = || ConsensusError::NotATimestamp(text.chars().take(80).collect());
        let (physical, counter) = text.rsplit_once('+').ok_or_else(bad)?;
        let digits = counter.len() == 8 && counter.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        let read = Self {
            physical: physical.parse().map_err(|_| bad())?,
            counter: u32::from_str_radix(counter, 16).ok().filter(|_| digits).ok_or_else(bad)?,
        };
        // One text for each timestamp: other spellings of the moment would break text order.
        if read.to_string() == text { Ok(read) } else { Err(bad()) }
    }
}

/// The state of one node's hybrid clock.
///
/// INVARIANT: each answer is greater than every earlier answer and every timestamp taken in, and its physical part is at most
/// `drift_max` ahead of the node's own clock. Where both cannot hold, the answer is an error and the state stays.
#[derive(Debug, Clone, Copy)]
pub struct HybridState {
    last: HybridTimestamp,
    drift_max: Duration,
}

impl HybridState {
    /// A node that has seen nothing. `drift_max` bounds how far clocks may be apart (ε in the paper).
    #[must_use]
    pub const fn new(drift_max: Duration) -> Self {
        Self { last: HybridTimestamp::START, drift_max }
    }

    /// The newest timestamp given or seen.
    #[must_use]
    pub const fn last(&self) -> HybridTimestamp {
        self.last
    }

    /// Stamps a local event, or a message that leaves.
    ///
    /// # Errors
    /// `consensus.clock_drift` when the node's clock fell back further than the bound.
    pub fn tick(&mut self, now: Timestamp) -> Result<HybridTimestamp, ConsensusError> {
        self.advance(self.last, now)
    }

    /// Stamps the arrival of a message that carries `remote`.
    ///
    /// # Errors
    /// `consensus.clock_drift` when the sender's clock, or our own, is further off than the bound.
    pub fn receive(&mut self, remote: HybridTimestamp, now: Timestamp) -> Result<HybridTimestamp, ConsensusError> {
        self.advance(self.last.max(remote), now)
    }

    /// Figure 5: the physical part is the largest of all known; the counter grows where it stays and starts again where it moves.
    fn advance(&mut self, newest: HybridTimestamp, now: Timestamp) -> Result<HybridTimestamp, ConsensusError> {
        let next = if now > newest.physical { HybridTimestamp { physical: now, counter: 0 } } else { newest.next() };
        let ahead = next.physical.since(now);
        if ahead > self.drift_max || next <= newest {
            return Err(ConsensusError::ClockDrift { ahead, drift_max: self.drift_max });
        }
        self.last = next;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64, counter: u32) -> HybridTimestamp {
        HybridTimestamp { physical: Timestamp::from_micros(micros).unwrap(), counter }
    }

    #[test]
    fn figure_5_is_reproduced() {
        let mut node = HybridState::new(Duration::from_micros(10));
        let now = |micros| Timestamp::from_micros(micros).unwrap();
        assert_eq!(node.tick(now(10)).unwrap(), at(10, 0), "the clock moved on");
        assert_eq!(node.tick(now(10)).unwrap(), at(10, 1), "the clock stands still");
        assert_eq!(node.tick(now(9)).unwrap(), at(10, 2), "the clock fell back");
        assert_eq!(node.receive(at(12, 7), now(10)).unwrap(), at(12, 8), "the message is ahead");
        assert_eq!(node.receive(at(12, 3), now(10)).unwrap(), at(12, 9), "the same time, our counter is ahead");
        assert_eq!(node.receive(at(11, 99), now(13)).unwrap(), at(13, 0), "the clock is ahead of both");
        assert_eq!(node.receive(at(13, u32::MAX), now(13)).unwrap(), at(14, 0), "a full counter moves on");
    }

    #[test]
    fn a_clock_that_is_too_far_off_is_refused_and_changes_nothing() {
        let mut node = HybridState::new(Duration::from_micros(10));
        let now = |micros| Timestamp::from_micros(micros).unwrap();
        let last = node.tick(now(100)).unwrap();
        assert!(matches!(node.receive(at(111, 0), now(100)), Err(ConsensusError::ClockDrift { .. })));
        assert!(node.tick(now(89)).is_err());
        assert_eq!(node.last(), last);
        assert!(node.receive(at(110, 0), now(100)).is_ok());
        let mut end = HybridState::new(Duration::from_micros(10));
        let full = HybridTimestamp { physical: Timestamp::MAX, counter: u32::MAX };
        assert!(end.receive(full, Timestamp::MAX).is_err(), "time has an end, and order does not bend for it");
    }

    #[test]
    fn text_is_read_back_and_other_spellings_are_refused() {
        let stamp = at(1_700_000_000_000_001, 0x2a);
        assert_eq!(stamp.to_string(), "2023-11-14T22:13:20.000001Z+0000002a");
        assert_eq!(stamp.to_string().parse::<HybridTimestamp>().unwrap(), stamp);
        for bad in
            ["", "2023-11-14T22:13:20Z+0000002a", "2023-11-14T22:13:20.000001Z+0000002A", "2023-11-14T22:13:20.000001Z+2a", "x+00000000"]
        {
            assert!(bad.parse::<HybridTimestamp>().is_err(), "{bad}");
        }
    }
}
