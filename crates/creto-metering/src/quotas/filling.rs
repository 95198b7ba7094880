//! Asking the database: leases are debited, limits that are only asked about are looked at.

use std::sync::Arc;

use creto_db::DbError;
use creto_enablement_common::Refusal;
use creto_kernel::{Kind, Timestamp};

use super::counter::{Counter, Short, Want};
use super::index::Plan;
use super::pools::{PoolError, Pools, UNAVAILABLE};
use super::reservation::{Part, Parts, Reservation, taken};
use super::{Asked, QuotaEnforcer};
use crate::core::quota::{Debit, Room, Span};
use crate::error::MeteringError;
use crate::store::catalog::CHANGED;
use crate::store::quotas as store;

/// How often a debit is tried again when somebody else was faster.
const TRIES_MAX: u32 = 64;
/// A lease out of a pool is at most this part of the limit.
const LEASES: i64 = 64;
/// A server keeps this part of what it debits for the pool.
const OWN_PART: i64 = 4;

/// Whether a lease reaches now.
enum Filled {
    Enough,
    /// The limit is reached but for so much.
    Short(i64),
}

impl QuotaEnforcer {
    /// Takes of one quota after another; where the lease does not reach, of what is debited for it. Dropped half way, all comes back.
    pub(super) async fn reserve_later(&self, plan: Arc<Plan>, asked: Asked<'_>, now: Timestamp) -> Result<Reservation, Refusal> {
        let mut reservation = Reservation::of(&plan, Parts::new(), now);
        for (place, counter) in plan.counters.iter().enumerate() {
            let Some(want) = asked.want(&counter.limit.quota) else { continue };
            let start = match (counter.take(want, now), want) {
                (Ok(start), _) => start,
                (Err(Short::Lease), Want::Units(units)) => self.fill(counter, units, now).await?,
                (Err(Short::Lease), Want::Room) => self.look(counter, now).await?,
                (Err(short), _) => return Err(short.refusal_of(counter).unwrap_or_else(busy)),
            };
            reservation.parts.push(Part { place, taken: taken(want), start });
        }
        Ok(reservation)
    }

    /// Sees what was counted, and whether there is room.
    async fn look(&self, counter: &Counter, now: Timestamp) -> Result<i64, Refusal> {
        let span = counter.span(now);
        let (_, tally) = store::tally(&self.0.options.db, counter.key()).await.map_err(refused)?;
        counter.saw(span, tally.counted(&span), now);
        counter.take(Want::Room, now).map_err(|short| short.refusal_of(counter).unwrap_or_else(busy))
    }

    /// Takes `units` of a lease that is debited now, unless another caller had one debited meanwhile.
    async fn fill(&self, counter: &Counter, units: i64, now: Timestamp) -> Result<i64, Refusal> {
        let _filling = counter.filling().lock().await;
        match counter.take(Want::Units(units), now) {
            Ok(start) => return Ok(start),
            Err(Short::Lease) => {}
            Err(short) => return Err(short.refusal_of(counter).unwrap_or_else(busy)),
        }
        let span = counter.span(now);
        // What is left of the lease is part of it: only what is missing is debited.
        let on_hand = counter.take_some(span, units);
        let missing = units - on_hand.amount;
        let filled = match self.0.options.pools.as_deref().filter(|_| counter.is_pooled()) {
            Some(pools) => self.fill_from_pool(counter, pools, missing, span, now).await?,
            None => self.fill_from_database(counter, missing, Room::Lease, span, now).await?,
        };
        match filled {
            Filled::Enough => {
                on_hand.used();
                Ok(span.start)
            }
            Filled::Short(left) => {
                counter.shut(span, left, now);
                let short = Short::Full { asked: units, left: left.saturating_add(on_hand.amount), span };
                Err(short.refusal_of(counter).unwrap_or_else(busy))
            }
        }
    }

    async fn fill_from_database(&self, counter: &Counter, units: i64, room: Room, span: Span, now: Timestamp) -> Result<Filled, Refusal> {
        match self.debit(counter, units, room, &span).await? {
            Debit::Granted { amount, .. } => {
                counter.fill(span, amount, units, now);
                Ok(Filled::Enough)
            }
            Debit::Short { room } => Ok(Filled::Short(room)),
        }
    }

    /// As servers share leases: first of what is there, then of what is debited for all.
    async fn fill_from_pool(
        &self,
        counter: &Counter,
        pools: &dyn Pools,
        units: i64,
        span: Span,
        now: Timestamp,
    ) -> Result<Filled, Refusal> {
        let pool = counter.pool(span);
        let taken = match pools.take(pool, units.max(counter.limit.quota.limit.get() / LEASES)).await {
            Ok(taken) => taken,
            Err(error) => return self.fill_safely(counter, units, span, now, &error).await,
        };
        if taken >= units {
            counter.fill(span, taken, units, now);
            return Ok(Filled::Enough);
        }
        let debit = self.debit(counter, units - taken, Room::Pool, &span).await;
        let short = match debit {
            Ok(Debit::Granted { amount, .. }) => {
                let more = taken.saturating_add(amount) - units;
                let spare = more - more / OWN_PART;
                // Where there is no room they stay here; where nobody knows whether they are there they are nobody's.
                let stays = spare == 0 || pools.put(pool, spare).await.is_ok_and(|shared| !shared);
                let kept = if stays { more } else { more - spare };
                counter.fill(span, units + kept, units, now);
                return Ok(Filled::Enough);
            }
            Ok(Debit::Short { room }) => Ok(Filled::Short(room)),
            Err(refusal) => Err(refusal),
        };
        counter.fill(span, taken, 0, now);
        short
    }

    /// While what shares leases is gone: so much as the quota says is safe, and nothing where it says nothing.
    async fn fill_safely(&self, counter: &Counter, units: i64, span: Span, now: Timestamp, error: &PoolError) -> Result<Filled, Refusal> {
        if !counter.safely(span, units) {
            let message = format!("quota `{}` of {}: {error}", counter.limit.quota.code, counter.subject());
            return Err(Refusal::Port { code: UNAVAILABLE, kind: Kind::Unavailable, message });
        }
        self.fill_from_database(counter, units, Room::Exact, span, now).await
    }

    /// Debits in the database, durably, before anything of it is used.
    async fn debit(&self, counter: &Counter, units: i64, room: Room, span: &Span) -> Result<Debit, Refusal> {
        let db = &self.0.options.db;
        let quota = &counter.limit.quota;
        for _ in 0..TRIES_MAX {
            let (seen, mut tally) = store::tally(db, counter.key()).await.map_err(refused)?;
            let debit = tally.debit(quota, span, units, room);
            let Debit::Granted { crossed, .. } = &debit else { return Ok(debit) };
            let written = if crossed.is_empty() {
                store::set_tally(db, counter.key(), seen, &tally).await.map_err(refused)
            } else {
                self.tell(counter, crossed, tally.counted(span), (seen, &tally), span).await.map_err(|e| Refusal::port(&e))
            };
            if written? {
                return Ok(debit);
            }
            tokio::task::yield_now().await;
        }
        Err(busy())
    }

    /// Writes a count together with the news that it reached thresholds. Whether it was still as it was seen.
    pub(super) async fn tell(
        &self,
        counter: &Counter,
        crossed: &[u16],
        counted: i64,
        (seen, tally): (i64, &crate::core::quota::Tally),
        span: &Span,
    ) -> Result<bool, MeteringError> {
        let limit = &counter.limit;
        let Some(by) = self.of_tenant(&limit.tenant) else { return Ok(false) };
        let step = store::set_tally_step(counter.key(), seen, tally)?;
        let leaf = self.alert_leaf(&by, counter, crossed, counted, span)?;
        match crate::catalog::commit(&self.0.options.db, creto_db::Sealed::new(leaf).step(step)).await {
            Ok(()) => Ok(true),
            Err(MeteringError::Conflict { code, .. }) if code == CHANGED => Ok(false),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn busy() -> Refusal {
    Refusal::Port { code: UNAVAILABLE, kind: Kind::Unavailable, message: "others kept taking what the quota leased; try again".to_owned() }
}

fn refused(error: DbError) -> Refusal {
    Refusal::port(&error)
}
