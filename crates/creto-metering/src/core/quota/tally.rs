//! What was counted under a quota of one subject, and what may be handed out of it.

use creto_kernel::Micros;
use serde::{Deserialize, Serialize};

use super::{Span, kept};
use crate::model::quota::Quota;

/// One unit, in millionths.
const ONE: i64 = creto_kernel::money::MICROS_PER_UNIT;
/// A lease beyond what is asked for is at most this part of the limit …
const LEASE_OF_LIMIT: i64 = 64;
/// … and this part of what is left, so that leases shrink towards the limit and the last units are handed out one by one.
const LEASE_OF_ROOM: i64 = 16;
/// A shared pool takes so much of the limit, and so much of what is left, at once.
const POOL_OF_LIMIT: i64 = 16;
const POOL_OF_ROOM: i64 = 4;

/// One slice of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// When it began, in microseconds.
    pub start: i64,
    /// What was debited in it, in millionths.
    pub counted: i64,
    /// The highest threshold that was told of, in percent.
    #[serde(default)]
    pub told: u16,
}

/// The counts of one subject, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The slices.
    pub buckets: Vec<Bucket>,
}

/// How much is taken beyond what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing.
    Exact,
    /// A lease of one server.
    Lease,
    /// A pool that servers share.
    Pool,
}

/// What a debit came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Debit {
    /// So much was debited: what was asked for and perhaps more.
    Granted {
        /// How much, in millionths.
        amount: i64,
        /// Thresholds that were reached and not told of, in percent; they are noted as told.
        crossed: Vec<u16>,
    },
    /// There is not that much.
    Short {
        /// How much there is.
        room: i64,
    },
}

impl Tally {
    /// What counts at a span.
    #[must_use]
    pub fn counted(&self, span: &Span) -> i64 {
        self.counting(span).fold(0, |sum, bucket| sum.saturating_add(bucket.counted))
    }

    fn counting(&self, span: &Span) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter().filter(|bucket| bucket.start >= span.since)
    }

    /// Takes `want` and, as `room` says, more. Where the quota refuses, never more than is left.
    #[must_use]
    pub fn debit(&mut self, quota: &Quota, span: &Span, want: i64, room: Room) -> Debit {
        let (limit, counted) = (quota.limit.get(), self.counted(span));
        let left = limit.saturating_sub(counted).max(0);
        if quota.blocks() && (want > left || left == 0) {
            return Debit::Short { room: left };
        }
        let amount = want.saturating_add(spare(quota, counted, want, room)).max(0);
        if !self.add(quota, span, amount) {
            return Debit::Short { room: 0 };
        }
        Debit::Granted { amount, crossed: self.cross(quota, span) }
    }

    /// Debits what has happened, whatever is left.
    pub fn charge(&mut self, quota: &Quota, span: &Span, amount: i64) {
        if !self.add(quota, span, amount) {
            // Too old for a slice of its own: it counts in the oldest one.
            if let Some(oldest) = self.buckets.first_mut() {
                oldest.counted = oldest.counted.saturating_add(amount);
            }
        }
    }

    /// Gives back what was debited in a slice and not used.
    pub fn give_back(&mut self, start: i64, amount: i64) {
        if let Some(bucket) = self.buckets.iter_mut().find(|bucket| bucket.start == start) {
            bucket.counted = bucket.counted.saturating_sub(amount).max(0);
        }
    }

    /// Thresholds that are reached and were not told of; from now on they were.
    pub fn cross(&mut self, quota: &Quota, span: &Span) -> Vec<u16> {
        let counted = self.counted(span);
        let told = self.counting(span).map(|bucket| bucket.told).max().unwrap_or(0);
        let reached = |percent: &&u16| **percent > told && counted >= at_percent(quota.limit, **percent);
        let crossed: Vec<u16> = quota.thresholds.iter().filter(reached).copied().collect();
        if let (Some(highest), Some(newest)) = (crossed.last(), self.buckets.last_mut()) {
            newest.told = *highest;
        }
        crossed
    }

    /// Whether a slice can still be counted in.
    fn add(&mut self, quota: &Quota, span: &Span, amount: i64) -> bool {
        match self.buckets.binary_search_by_key(&span.start, |bucket| bucket.start) {
            Ok(place) => {
                if let Some(bucket) = self.buckets.get_mut(place) {
                    bucket.counted = bucket.counted.saturating_add(amount);
                }
            }
            Err(0) if self.buckets.len() >= kept(quota.window) => return false,
            Err(place) => self.buckets.insert(place, Bucket { start: span.start, counted: amount, told: 0 }),
        }
        let surplus = self.buckets.len().saturating_sub(kept(quota.window));
        self.buckets.drain(..surplus);
        true
    }
}

/// How much more than `want` is taken at once: less the nearer the limit is, and never beyond the next threshold, so that it is told of
/// when it is reached and not when a lease is taken.
fn spare(quota: &Quota, counted: i64, want: i64, room: Room) -> i64 {
    let limit = quota.limit.get();
    let asked = counted.saturating_add(want);
    let left = limit.saturating_sub(asked).max(0);
    let wished = match room {
        Room::Exact => return 0,
        Room::Lease => (limit / LEASE_OF_LIMIT).min(left / LEASE_OF_ROOM),
        Room::Pool => (limit / POOL_OF_LIMIT).min(left / POOL_OF_ROOM),
    };
    // Beyond a limit that refuses nothing there is nothing to be near to.
    let wished = if quota.blocks() || left > 0 { wished } else { limit / LEASE_OF_LIMIT };
    // Whoever asks for whole units gets whole units.
    let wished = if want % ONE == 0 { wished - wished % ONE } else { wished };
    let next = quota.thresholds.iter().map(|percent| at_percent(quota.limit, *percent)).find(|at| *at > asked);
    next.map_or(wished, |at| wished.min(at.saturating_sub(asked).saturating_sub(if want % ONE == 0 { ONE } else { 1 })).max(0))
}

/// So many percent of a limit, rounded up.
fn at_percent(limit: Micros, percent: u16) -> i64 {
    let exact = i128::from(limit.get()) * i128::from(percent);
    i64::try_from((exact + 99) / 100).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::quota;
    use super::*;
    use crate::model::quota::{AtLimit, Window};
    use proptest::prelude::*;

    const SPAN: Span = Span { start: 0, end: i64::MAX, since: 0 };

    #[test]
    fn leases_shrink_towards_the_limit_and_the_last_units_are_handed_out_one_by_one() {
        let (quota, mut tally, mut sizes) = (quota(Window::Total, None, "UTC", 10_000), Tally::default(), Vec::new());
        while let Debit::Granted { amount, .. } = tally.debit(&quota, &SPAN, 1, Room::Lease) {
            sizes.push(amount);
        }
        assert_eq!(tally.counted(&SPAN), 10_000, "everything is handed out");
        assert_eq!((sizes[0], sizes.last()), (157, Some(&1)));
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
        assert_eq!(tally.debit(&quota, &SPAN, 1, Room::Lease), Debit::Short { room: 0 });
        assert_eq!(tally.debit(&quota, &SPAN, 0, Room::Lease), Debit::Short { room: 0 });
    }

    #[test]
    fn a_threshold_is_told_once_and_when_it_is_reached() {
        let mut quota = quota(Window::Total, None, "UTC", 1_000);
        quota.thresholds = vec![50, 80, 100];
        let (mut tally, mut asked, mut told) = (Tally::default(), 0, Vec::new());
        while let Debit::Granted { amount, crossed } = tally.debit(&quota, &SPAN, 1, Room::Lease) {
            asked += amount;
            told.extend(crossed.into_iter().map(|percent| (percent, asked - amount + 1)));
        }
        assert_eq!(told, [(50, 500), (80, 800), (100, 1_000)]);
        let mut tally = Tally::default();
        assert!(matches!(tally.debit(&quota, &SPAN, 900, Room::Exact), Debit::Granted { crossed, .. } if crossed == [50, 80]));
    }

    #[test]
    fn who_is_only_told_passes_the_limit() {
        for (at_limit, shadow) in [(AtLimit::Notify, false), (AtLimit::AllowWithOverage, false), (AtLimit::Block, true)] {
            let mut quota = quota(Window::Total, None, "UTC", 100);
            (quota.at_limit, quota.shadow, quota.thresholds) = (at_limit, shadow, vec![100, 200]);
            let mut tally = Tally::default();
            let crossed: Vec<_> = (0..25)
                .filter_map(|_| match tally.debit(&quota, &SPAN, 10, Room::Exact) {
                    Debit::Granted { crossed, .. } => Some(crossed),
                    Debit::Short { .. } => None,
                })
                .collect();
            assert_eq!((crossed.len(), crossed.concat()), (25, vec![100, 200]));
        }
    }

    #[test]
    fn a_slow_clock_counts_in_a_window_that_is_kept_or_not_at_all() {
        let (quota, mut tally) = (quota(Window::Hourly, None, "UTC", 100), Tally::default());
        let hour = |n: i64| Span { start: n * 10, end: n * 10 + 10, since: n * 10 };
        for n in [5, 6, 7] {
            assert!(matches!(tally.debit(&quota, &hour(n), 100, Room::Exact), Debit::Granted { .. }));
        }
        assert_eq!(tally.debit(&quota, &hour(5), 1, Room::Exact), Debit::Short { room: 0 });
        assert_eq!(tally.debit(&quota, &hour(4), 1, Room::Exact), Debit::Short { room: 0 }, "what was counted then is forgotten");
    }

    proptest! {
        /// Whatever is taken, given back and charged, a quota that refuses never hands out more than its limit in any window.
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            limit in 1_i64..5_000,
            moves in prop::collection::vec((0_i64..40, 0_i64..300, 0_u8..4), 1..200),
        ) {
            let quota = quota(Window::Sliding, Some(60), "UTC", limit);
            let (mut tally, mut now, mut used): (Tally, i64, Vec<(i64, i64)>) = (Tally::default(), 1_000_000_000_000, Vec::new());
            for (seconds, want, kind) in moves {
                now += seconds * 1_000_000;
                let span = super::super::span(&quota, creto_kernel::Timestamp::from_micros(now).unwrap());
                let room = [Room::Exact, Room::Lease, Room::Pool][usize::from(kind % 3)];
                if let Debit::Granted { amount, .. } = tally.debit(&quota, &span, want, room) {
                    prop_assert!(amount >= want);
                    let back = if kind == 3 { amount / 2 } else { 0 };
                    tally.give_back(span.start, back);
                    used.push((now, amount - back));
                }
                let within: i64 = used.iter().filter(|(at, _)| *at > now - 60_000_000).map(|(_, amount)| amount).sum();
                prop_assert!(within <= limit, "{within} of {limit}");
            }
        }
    }
}
