//! The generic cell rate algorithm (ITU-T I.371, appendix A, virtual scheduling): one moment per agent is the whole state of a rate
//! with a burst.

/// Nanoseconds in a second.
const SECOND_NANOS: i64 = 1_000_000_000;

/// How many actions in how much time, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_nanos: i64,
    tolerance_nanos: i64,
}

impl Rate {
    /// `per_second` actions a second in the long run, up to `burst` of them at once; `None` where either is zero or `burst` intervals
    /// are longer than an hour.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        Self::with_interval(SECOND_NANOS.checked_div(per_second.into())?, SECOND_NANOS % i64::from(per_second) != 0, burst)
    }

    /// As [`Rate::new`], so many a minute.
    #[must_use]
    pub fn per_minute(per_minute: u32, burst: u32) -> Option<Self> {
        let minute = 60 * SECOND_NANOS;
        Self::with_interval(minute.checked_div(per_minute.into())?, minute % i64::from(per_minute) != 0, burst)
    }

    /// As [`Rate::new`], so many in `secs` seconds.
    #[must_use]
    pub fn within(units: u32, secs: u32, burst: u32) -> Option<Self> {
        let window = i64::from(secs) * SECOND_NANOS;
        Self::with_interval(window.checked_div(units.into())?, window % i64::from(units) != 0, burst)
    }

    /// An interval that does not come out even is rounded up: never more is admitted than was said.
    fn with_interval(nanos: i64, uneven: bool, burst: u32) -> Option<Self> {
        let interval_nanos = nanos + i64::from(uneven);
        let tolerance_nanos = interval_nanos.checked_mul(i64::from(burst.checked_sub(1)?))?;
        (tolerance_nanos <= 3_600 * SECOND_NANOS).then_some(Self { interval_nanos, tolerance_nanos })
    }

    /// How long so many units take in the long run, in nanoseconds.
    #[must_use]
    pub const fn nanos(self, units: i64) -> i64 {
        self.interval_nanos.saturating_mul(units)
    }

    /// The theoretical arrival time after admitting an action at `now`, or how many nanoseconds it is too early.
    ///
    /// `arrival` is what the last admission answered. INVARIANT: an arrival at or before `now` says as much as none, so it may be
    /// forgotten.
    pub const fn admit(self, arrival: Option<i64>, now: i64) -> Result<i64, i64> {
        self.admit_many(arrival, now, 1)
    }

    /// As [`Rate::admit`], of so many units at once; nothing is counted where all of them are too early. More than the burst never pass.
    pub const fn admit_many(self, arrival: Option<i64>, now: i64, units: i64) -> Result<i64, i64> {
        let due = match arrival {
            Some(arrival) if arrival > now => arrival,
            _ => now,
        };
        let last = due.saturating_add(self.interval_nanos.saturating_mul(units.saturating_sub(1)));
        let early = last.saturating_sub(now).saturating_sub(self.tolerance_nanos);
        if early > 0 { Err(early) } else { Ok(due.saturating_add(self.interval_nanos.saturating_mul(units))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_passes_at_once_and_the_next_waits_one_interval() {
        let rate = Rate::new(10, 3).unwrap();
        let mut arrival = None;
        for _ in 0..3 {
            arrival = Some(rate.admit(arrival, 1_000).unwrap());
        }
        assert_eq!(rate.admit(arrival, 1_000), Err(100_000_000));
        assert!(rate.admit(arrival, 100_000_999).is_err() && rate.admit(arrival, 100_001_000).is_ok());
    }

    #[test]
    fn rates_that_mean_nothing_are_refused() {
        assert_eq!((Rate::new(0, 1), Rate::new(1, 0), Rate::per_minute(0, 1), Rate::per_minute(1, 62)), (None, None, None, None));
        assert_eq!(Rate::new(3, 1).unwrap().interval_nanos, 333_333_334, "rounded up, so that never more passes than was said");
        assert_eq!(Rate::per_minute(60, 5), Rate::new(1, 5));
    }

    #[test]
    fn many_units_at_once_are_as_many_one_after_another() {
        let rate = Rate::within(60, 60, 10).unwrap();
        assert_eq!(rate, Rate::new(1, 10).unwrap());
        let one_by_one = (0..7).fold(None, |arrival, _| Some(rate.admit(arrival, 5_000).unwrap()));
        assert_eq!(rate.admit_many(None, 5_000, 7).ok(), one_by_one);
        assert!(rate.admit_many(one_by_one, 5_000, 3).is_ok() && rate.admit_many(one_by_one, 5_000, 4).is_err());
        assert!(rate.admit_many(None, 5_000, 11).is_err(), "more than the burst");
    }

    proptest! {
        /// In any window of time at most burst + rate × window actions pass, and one that waits as long as it is told does pass.
        #[test]
        fn no_window_ever_holds_more_than_the_burst_and_the_rate(
            per_second in 1_u32..1_000, burst in 1_u32..50, steps in prop::collection::vec(0_i64..20_000_000, 1..300)
        ) {
            let rate = Rate::new(per_second, burst).unwrap();
            let (mut now, mut arrival, mut passed): (i64, Option<i64>, Vec<i64>) = (0, None, Vec::new());
            for step in steps {
                now += step;
                match rate.admit(arrival, now) {
                    Ok(next) => {
                        arrival = Some(next);
                        passed.push(now);
                    }
                    Err(early) => prop_assert!(rate.admit(arrival, now + early).is_ok() && rate.admit(arrival, now + early - 1).is_err()),
                }
            }
            for (first, start) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    let count = i64::try_from(last - first + 1).unwrap();
                    prop_assert!(count <= i64::from(burst) + (end - start) / rate.interval_nanos);
                }
            }
        }
    }
}
