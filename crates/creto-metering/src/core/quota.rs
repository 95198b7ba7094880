//! Quotas: when a window begins and ends, what was counted in it, how large a lease may be.
//!
//! What is counted is kept in millionths of a unit, debited before it is used: a server takes a lease, which is part of the count from
//! then on, and gives of it from memory. Whoever dies with a lease has counted more than it used, never less.

pub mod bloom;
mod tally;

pub use tally::{Bucket, Debit, Room, Tally};

use creto_kernel::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::core::zone::{Day, Zone};
use crate::model::quota::{Quota, Window};

/// Into how many slices a sliding window is cut. A slice counts until it has left the window as a whole.
pub const SLICES: u32 = 60;
const SECOND_MICROS: i64 = 1_000_000;
const HOUR_MICROS: i64 = 3_600 * SECOND_MICROS;

/// The time a lease is good for, and since when the count it was taken from counts; in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first moment: what is counted now is counted under it.
    pub start: i64,
    /// The first moment after it.
    pub end: i64,
    /// The start of the oldest slice that still counts.
    pub since: i64,
}

impl Span {
    /// Whether a moment is in it.
    #[must_use]
    pub const fn contains(&self, now: i64) -> bool {
        self.start <= now && now < self.end
    }
}

/// The span of a window that `now` is in. A rate counts nothing and has the span of a total.
///
/// A sliding window of W is counted in slices of W/60: a slice counts until all of it is older than W. So no W, wherever it begins, ever
/// holds more than the limit; what counts reaches up to one slice further back.
#[must_use]
pub fn span(quota: &Quota, now: Timestamp) -> Span {
    let at = now.as_micros();
    match quota.window {
        Window::Hourly => {
            let start = at - at.rem_euclid(HOUR_MICROS);
            Span { start, end: start + HOUR_MICROS, since: start }
        }
        Window::Daily => days(&quota.timezone, quota.timezone.day(now), 1),
        Window::Monthly => {
            let first = Day::of(quota.timezone.day(now).date().first_of_month());
            let (start, end) = (quota.timezone.start(first), quota.timezone.start(first.plus_months(1)));
            Span { start: start.as_micros(), end: end.as_micros(), since: start.as_micros() }
        }
        Window::Sliding => {
            let window = i64::from(quota.window_secs.unwrap_or(SLICES)) * SECOND_MICROS;
            let slice = window / i64::from(SLICES);
            let start = at - at.rem_euclid(slice);
            // A window that slices do not divide evenly reaches into one slice more.
            let slices = i64::from(SLICES) + i64::from(window % i64::from(SLICES) != 0);
            Span { start, end: start + slice, since: start - slices * slice }
        }
        Window::Total | Window::Rate => Span { start: 0, end: i64::MAX, since: 0 },
    }
}

/// A quantity in millionths, rounded up; what is beyond any limit is held at the type's half, and nothing is less than nothing.
#[must_use]
pub fn millionths(quantity: Decimal) -> i64 {
    let micros = quantity.checked_mul(Decimal::from(creto_kernel::money::MICROS_PER_UNIT)).and_then(|micros| micros.ceil().to_i64());
    micros.unwrap_or(i64::MAX / 2).clamp(0, i64::MAX / 2)
}

fn days(zone: &Zone, first: Day, count: i32) -> Span {
    let (start, end) = (zone.start(first).as_micros(), zone.start(first.plus_days(count)).as_micros());
    Span { start, end, since: start }
}

/// How many counts of one subject are kept: the window under way and what a server with a slow clock may still ask for.
#[must_use]
pub const fn kept(window: Window) -> usize {
    match window {
        Window::Sliding => SLICES as usize + 4,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quota::{AtLimit, Scope};

    pub(super) fn quota(window: Window, secs: Option<u32>, zone: &str, limit: i64) -> Quota {
        Quota {
            code: "q".to_owned(),
            metric: "actions".to_owned(),
            scope: Scope::Tenant,
            subject: None,
            window,
            window_secs: secs,
            timezone: zone.parse().unwrap(),
            limit: creto_kernel::Micros::new(limit),
            burst: None,
            at_limit: AtLimit::Block,
            thresholds: Vec::new(),
            shadow: false,
            actions: Vec::new(),
            safe_capacity: creto_kernel::Micros::ZERO,
        }
    }

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_micros()
    }

    #[test]
    fn windows_begin_and_end_where_their_zone_says() {
        for (window, secs, zone, now, start, end) in [
            (Window::Hourly, None, "UTC", "2026-11-23T06:25:07Z", "2026-11-23T06:00:00Z", "2026-11-23T07:00:00Z"),
            (Window::Daily, None, "UTC", "2026-11-23T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
            // The day clocks go forward has 23 hours.
            (Window::Daily, None, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            (Window::Monthly, None, "America/New_York", "2022-03-01T00:00:00Z", "2022-02-01T05:00:00Z", "2022-03-01T05:00:00Z"),
            (Window::Sliding, Some(3_600), "UTC", "2026-11-23T06:25:07Z", "2026-11-23T06:25:00Z", "2026-11-23T06:26:00Z"),
        ] {
            let span = span(&quota(window, secs, zone, 1), now.parse().unwrap());
            assert_eq!((span.start, span.end), (micros(start), micros(end)), "{window:?} {now}");
            assert!(span.contains(micros(now)) && !span.contains(span.end));
        }
    }

    #[test]
    fn everything_within_a_sliding_window_counts_at_every_moment() {
        for secs in [60_u32, 61, 3_599, 86_400] {
            let quota = quota(Window::Sliding, Some(secs), "UTC", 1);
            for now in (0..500).map(|n| 1_795_305_600_000_000 + n * 7_919_333) {
                let at = |micros| span(&quota, Timestamp::from_micros(micros).unwrap());
                let first = now - i64::from(secs) * SECOND_MICROS;
                assert!(at(now).since <= at(first).start, "what began {secs} s ago still counts");
            }
        }
    }
}
