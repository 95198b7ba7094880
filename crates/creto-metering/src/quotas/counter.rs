//! One quota of one subject in memory: the lease, and what is known of the count behind it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use creto_enablement_common::Refusal;
use creto_kernel::Timestamp;

use super::ONE;
use super::index::{Limit, Plan};
use super::pools::Pool;
use crate::core::quota::{Span, span};
use crate::model::quota::{QuotaId, Window};
use crate::store::quotas::{TallyOf, exceeded};

/// Locks that counters are spread over.
const SHARDS: usize = 64;
/// How long a limit that was full is taken to be full without another look: others may give back.
const SHUT_MICROS: i64 = 250_000;
/// How long what others have counted is believed not to have passed the limit.
const BELIEVED_MICROS: i64 = 500_000;

/// What is asked of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// So many millionths.
    Units(i64),
    /// Only that the limit is not reached: how much will be used, nobody has said.
    Room,
}

/// Why a counter cannot answer, or does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// The lease does not reach: the database has to be asked.
    Lease,
    /// The limit is reached.
    Full {
        /// How much was asked for.
        asked: i64,
        /// How much is left.
        left: i64,
        /// Of which time.
        span: Span,
    },
    /// Of a rate: too early by so many nanoseconds.
    Early(i64),
}

impl Short {
    /// The refusal; none where the database may know better.
    pub(super) fn refusal(self, plan: &Plan, place: usize) -> Option<Refusal> {
        plan.counters.get(place).and_then(|counter| self.refusal_of(counter))
    }

    pub(super) fn refusal_of(self, counter: &Counter) -> Option<Refusal> {
        let quota = &counter.limit.quota;
        match self {
            Self::Lease => None,
            Self::Full { asked, left, span } => Some(Refusal::QuotaExceeded {
                message: exceeded(quota, counter.subject(), asked, left, &span),
                quota: Some(quota.code.clone()),
            }),
            Self::Early(nanos) => {
                let wait = Duration::from_nanos(nanos.unsigned_abs()).as_millis() + 1;
                Some(Refusal::RateLimited {
                    message: format!("quota `{}` of {}: there is room again in {wait} ms", quota.code, counter.subject()),
                })
            }
        }
    }
}

/// What every action looks at.
#[derive(Debug, Default)]
struct Lease {
    /// The span the units are of, as [`Known::span`] has it; empty where there is none.
    start: i64,
    end: i64,
    /// Units of the span that were debited and are not used.
    available: i64,
    used_at: i64,
    /// Of a rate: the theoretical arrival, in nanoseconds.
    arrival: Option<NonZero<i64>>,
}

impl Lease {
    fn reaches(&self, at: i64) -> bool {
        (self.start..self.end).contains(&at)
    }

    fn arrival(&self) -> Option<i64> {
        self.arrival.map(NonZero::get)
    }
}

/// What is looked at where the lease does not reach.
#[derive(Debug, Default)]
struct Known {
    span: Option<Span>,
    /// What was counted, as far as this server knows, and when it looked.
    counted: i64,
    counted_at: i64,
    /// Until when a limit that was full is taken to be full, with what was left.
    shut_until: i64,
    left: i64,
    /// Units of spans that are over.
    back: Vec<(i64, i64)>,
    /// What was handed out while nobody shared leases.
    safely: i64,
    /// Whether something was counted that nobody has been told of.
    untold: bool,
}

/// A quota of one subject. What every action looks at is one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Counter {
    pub(super) limit: Arc<Limit>,
    /// Locked before `known` where both are.
    lease: Mutex<Lease>,
    rest: Box<Rest>,
}

const _: () = assert!(size_of::<Counter>() == 64, "one cache line");

#[derive(Debug)]
struct Rest {
    subject: String,
    known: Mutex<Known>,
    /// Held by the one who asks the database.
    filling: tokio::sync::Mutex<()>,
}

/// Both halves, locked.
struct State<'a> {
    lease: MutexGuard<'a, Lease>,
    known: MutexGuard<'a, Known>,
}

impl State<'_> {
    /// Enters another span: what is left of the one before is given back.
    fn enter(&mut self, span: Span) {
        let (lease, known) = (&mut *self.lease, &mut *self.known);
        if known.span != Some(span) {
            if let Some(before) = known.span.filter(|_| lease.available > 0) {
                known.back.push((before.start, lease.available));
            }
            (lease.start, lease.end, lease.available) = (span.start, span.end, 0);
            (known.span, known.counted, known.counted_at, known.shut_until, known.safely) = (Some(span), 0, 0, 0, 0);
        }
    }
}

impl Counter {
    fn new(limit: &Arc<Limit>, subject: &str) -> Self {
        let rest = Rest { subject: subject.to_owned(), known: Mutex::default(), filling: tokio::sync::Mutex::default() };
        Self { limit: Arc::clone(limit), lease: Mutex::default(), rest: Box::new(rest) }
    }

    /// Whose it is.
    pub(super) fn subject(&self) -> &str {
        &self.rest.subject
    }

    /// Held by the one who asks the database.
    pub(super) const fn filling(&self) -> &tokio::sync::Mutex<()> {
        &self.rest.filling
    }

    /// Its place in the database.
    pub(super) fn key(&self) -> TallyOf<'_> {
        TallyOf { tenant: &self.limit.tenant, quota: self.limit.id, subject: self.subject() }
    }

    /// Whether servers share leases of it: slices of a sliding window are too short for that, and what refuses nobody needs none.
    pub(super) fn is_pooled(&self) -> bool {
        self.limit.quota.blocks() && self.limit.quota.window != Window::Sliding
    }

    /// Its pool of a span.
    pub(super) fn pool(&self, span: Span) -> Pool<'_> {
        let limit = &self.limit;
        Pool { tenant: &limit.tenant, quota: limit.id, revision: limit.revision, subject: self.subject(), start: span.start, end: span.end }
    }

    /// The span that a moment is in.
    pub(super) fn span(&self, now: Timestamp) -> Span {
        let known = self.known().span;
        known.filter(|span| span.contains(now.as_micros())).unwrap_or_else(|| span(&self.limit.quota, now))
    }

    /// Takes from memory. Answers the start of the span it was taken from.
    pub(super) fn take(&self, want: Want, now: Timestamp) -> Result<i64, Short> {
        let at = now.as_micros();
        let mut lease = self.lease();
        if let Some(rate) = self.limit.rate {
            let units = match want {
                Want::Units(units) => units.saturating_add(ONE - 1) / ONE,
                Want::Room => 0,
            };
            return match rate.admit_many(lease.arrival(), at.saturating_mul(1_000), units) {
                Ok(next) => {
                    lease.arrival = NonZero::new(next);
                    Ok(0)
                }
                Err(_) if !self.limit.quota.blocks() => Ok(0),
                Err(early) => Err(Short::Early(early)),
            };
        }
        if !lease.reaches(at) {
            return Err(Short::Lease);
        }
        match want {
            Want::Units(units) if lease.available >= units => {
                lease.available -= units;
                lease.used_at = at;
                Ok(lease.start)
            }
            Want::Room if !self.limit.quota.blocks() => Ok(lease.start),
            want => self.room(&lease, &self.known(), want, at),
        }
    }

    /// What is known of a limit that the lease says nothing of.
    fn room(&self, lease: &Lease, known: &Known, want: Want, at: i64) -> Result<i64, Short> {
        let Some(span) = known.span else { return Err(Short::Lease) };
        match want {
            Want::Units(units) => {
                let left = known.left.saturating_add(lease.available);
                let is_full = self.limit.quota.blocks() && at < known.shut_until && units > left;
                Err(if is_full { Short::Full { asked: units, left, span } } else { Short::Lease })
            }
            Want::Room if at.saturating_sub(known.counted_at) > BELIEVED_MICROS => Err(Short::Lease),
            Want::Room if known.counted < self.limit.quota.limit.get() => Ok(span.start),
            Want::Room => Err(Short::Full { asked: 0, left: 0, span }),
        }
    }

    /// What was counted altogether, as the database says.
    pub(super) fn saw(&self, span: Span, counted: i64, now: Timestamp) {
        let mut state = self.state();
        state.enter(span);
        (state.known.counted, state.known.counted_at) = (counted, now.as_micros());
    }

    /// A lease, of which the one who asked for it has `used` already.
    pub(super) fn fill(&self, span: Span, amount: i64, used: i64, now: Timestamp) {
        let mut state = self.state();
        state.enter(span);
        state.lease.available = state.lease.available.saturating_add(amount - used);
        (state.lease.used_at, state.known.shut_until) = (now.as_micros(), 0);
    }

    /// Takes what there is of a span, at most `units`: another part of them is to be debited.
    pub(super) fn take_some(&self, span: Span, units: i64) -> OnHand<'_> {
        let mut state = self.state();
        let amount = if state.known.span == Some(span) { state.lease.available.min(units).max(0) } else { 0 };
        state.lease.available -= amount;
        OnHand { counter: self, start: span.start, amount }
    }

    /// The limit is reached but for `left`.
    pub(super) fn shut(&self, span: Span, left: i64, now: Timestamp) {
        let mut state = self.state();
        state.enter(span);
        (state.known.shut_until, state.known.left) = (now.as_micros().saturating_add(SHUT_MICROS), left);
    }

    /// What was taken and not used.
    pub(super) fn put_back(&self, start: i64, amount: i64) {
        if amount <= 0 || self.limit.rate.is_some() {
            return;
        }
        let mut state = self.state();
        if state.known.span.is_some_and(|span| span.start == start) {
            state.lease.available = state.lease.available.saturating_add(amount);
        } else {
            state.known.back.push((start, amount));
        }
    }

    /// What was counted beside the lease, in a commit.
    pub(super) fn counted(&self, amount: i64) {
        let mut known = self.known();
        known.counted = known.counted.saturating_add(amount);
        known.untold = !self.limit.quota.thresholds.is_empty();
    }

    /// Of a rate: units that were used without asking first. Who comes next waits for them.
    pub(super) fn hurry(&self, amount: i64, now: Timestamp) {
        if let Some(rate) = self.limit.rate {
            let mut lease = self.lease();
            let (at, units) = (now.as_micros().saturating_mul(1_000), amount.saturating_add(ONE - 1) / ONE);
            lease.arrival = NonZero::new(lease.arrival().unwrap_or(at).max(at).saturating_add(rate.nanos(units)));
        }
    }

    /// Whether so much may still be handed out while nobody shares leases; counts it.
    pub(super) fn safely(&self, span: Span, units: i64) -> bool {
        let mut state = self.state();
        state.enter(span);
        let fits = state.known.safely.saturating_add(units) <= self.limit.quota.safe_capacity.get();
        if fits {
            state.known.safely += units;
        }
        fits
    }

    /// Units to be given back: of spans that are over, and of a lease that nobody used for a while, or of all where it `ends`.
    pub(super) fn surplus(&self, now: Timestamp, idle: Duration, ends: bool) -> Vec<(i64, i64)> {
        let at = now.as_micros();
        let mut state = self.state();
        let mut back = std::mem::take(&mut state.known.back);
        let Some(span) = state.known.span else { return back };
        let unused = at.saturating_sub(state.lease.used_at) > i64::try_from(idle.as_micros()).unwrap_or(i64::MAX);
        if state.lease.available > 0 && (ends || unused || !span.contains(at)) {
            back.push((span.start, std::mem::take(&mut state.lease.available)));
        }
        back
    }

    /// What could not be given back yet.
    pub(super) fn keep_back(&self, back: Vec<(i64, i64)>) {
        self.known().back.extend(back);
    }

    /// Whether something was counted that nobody was told of; asked once.
    pub(super) fn untold(&self) -> bool {
        std::mem::take(&mut self.known().untold)
    }

    /// Units that this server has and nobody used.
    pub(super) fn leased(&self, span: &Span) -> i64 {
        let state = self.state();
        if state.known.span.as_ref() == Some(span) { state.lease.available } else { 0 }
    }

    /// Whether it holds nothing that would be lost with it.
    fn is_idle(&self, now: Timestamp) -> bool {
        let State { lease, known } = self.state();
        let at = now.as_micros();
        let early = lease.arrival().is_some_and(|arrival| arrival > at.saturating_mul(1_000));
        lease.available == 0 && known.back.is_empty() && known.safely == 0 && !known.untold && !early && known.shut_until < at
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.rest.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> State<'_> {
        let lease = self.lease();
        State { lease, known: self.known() }
    }
}

/// Units that were taken and come back unless they are used.
#[derive(Debug)]
pub(super) struct OnHand<'a> {
    counter: &'a Counter,
    start: i64,
    pub(super) amount: i64,
}

impl OnHand<'_> {
    /// They are used.
    pub(super) fn used(mut self) {
        self.amount = 0;
    }
}

impl Drop for OnHand<'_> {
    fn drop(&mut self) {
        self.counter.put_back(self.start, self.amount);
    }
}

type Shard = HashMap<(QuotaId, String), Arc<Counter>>;

/// All counters. One that is missing is made; two for one subject would be two leases, never too much.
#[derive(Debug)]
pub(super) struct Counters {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Counters {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Counters {
    /// The counter of a subject under this very revision of a quota.
    pub(super) fn of(&self, limit: &Arc<Limit>, subject: &str) -> Arc<Counter> {
        let key = (limit.id, subject.to_owned());
        let mut shard = self.shard(&key);
        if let Some(known) = shard.get(&key).filter(|known| known.limit.revision == limit.revision) {
            return Arc::clone(known);
        }
        let counter = Arc::new(Counter::new(limit, subject));
        shard.insert(key, Arc::clone(&counter));
        counter
    }

    /// The counter of a subject, where there is one.
    pub(super) fn known(&self, quota: QuotaId, subject: &str) -> Option<Arc<Counter>> {
        let key = (quota, subject.to_owned());
        self.shard(&key).get(&key).map(Arc::clone)
    }

    /// Every counter.
    pub(super) fn all(&self) -> Vec<Arc<Counter>> {
        self.each().flat_map(|shard| shard.values().map(Arc::clone).collect::<Vec<_>>()).collect()
    }

    /// Forgets counters that nobody else holds and that hold nothing.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.each().for_each(|mut shard| shard.retain(|_, counter| Arc::strong_count(counter) > 1 || !counter.is_idle(now)));
    }

    /// Takes out the counters of a tenant whose quota is no longer in force as it was.
    pub(super) fn retire(&self, gone: impl Fn(&Limit) -> bool) -> Vec<Arc<Counter>> {
        self.each()
            .flat_map(|mut shard| shard.extract_if(|_, counter| gone(&counter.limit)).map(|(_, counter)| counter).collect::<Vec<_>>())
            .collect()
    }

    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn shard(&self, key: &(QuotaId, String)) -> MutexGuard<'_, Shard> {
        let [first, ..] = &self.shards;
        let number = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        self.shards.get(number).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }
}
