//! The bucket that bounds how fast one requester may take another's one-time keys: six at once, then one each ten minutes (recipe 2.12;
//! against targeted depletion, arXiv 2504.07323).

use std::time::Duration;

use creto_kernel::Timestamp;

/// Most requests at once.
pub const CAPACITY: u32 = 6;
/// Time for one more.
pub const REFILL: Duration = Duration::from_secs(600);

/// How many requests are left, and since when the next one accrues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Requests left.
    pub left: u32,
    /// The moment up to which refills were counted.
    pub since: Timestamp,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub const fn full(now: Timestamp) -> Self {
        Self { left: CAPACITY, since: now }
    }

    /// Takes one request, or says how long to wait. A clock that went back refills nothing.
    pub fn take(self, now: Timestamp) -> Result<Self, Duration> {
        let elapsed = now.since(self.since);
        let periods = u32::try_from(elapsed.as_micros() / REFILL.as_micros()).unwrap_or(u32::MAX);
        let filled = if self.left.saturating_add(periods) >= CAPACITY {
            Self::full(now.max(self.since))
        } else {
            Self { left: self.left + periods, since: self.since.saturating_add(REFILL * periods) }
        };
        match filled.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..filled }),
            None => Err(REFILL.saturating_sub(now.since(filled.since))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs).unwrap()
    }

    #[test]
    fn six_at_once_then_one_each_ten_minutes() {
        let mut bucket = Bucket::full(at(0));
        for _ in 0..6 {
            bucket = bucket.take(at(1)).unwrap();
        }
        let wait = bucket.take(at(2)).unwrap_err();
        assert!(wait <= REFILL && wait > Duration::from_secs(590), "{wait:?}");
        bucket = bucket.take(at(700)).unwrap();
        assert!(bucket.take(at(701)).is_err());
    }

    #[test]
    fn a_clock_that_goes_back_refills_nothing() {
        let mut bucket = Bucket::full(at(1000));
        for _ in 0..6 {
            bucket = bucket.take(at(1000)).unwrap();
        }
        assert!(bucket.take(at(0)).is_err());
        assert!(bucket.take(Timestamp::MAX).is_ok());
    }
}
