//! Quotas are defined, looked at, taken over from other servers, and what was leased and not used is given back.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use creto_db::Sealed;
use creto_kernel::{Leaf, Micros, NhiId, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::counter::Counter;
use super::index::OfTenant;
use super::{Inner, QuotaEnforcer};
use crate::catalog::{boxed, canonical_text, commit, event_leaf};
use crate::core::quota::{Span, span};
use crate::error::MeteringError;
use crate::model::definition::DefinitionError;
use crate::model::quota::{QUOTAS_MAX, Quota, QuotaId};
use crate::store::quotas::{self as store, Kept};

/// A lease that nobody used for so long is given back.
const IDLE: Duration = Duration::from_secs(10);
/// Most counters whose leases are given back in one go: whoever acts meanwhile waits for these writes.
const RETURNED_MAX: usize = 128;
/// How often a count is tried to be changed when somebody else was faster.
const TRIES_MAX: u32 = 16;
/// Most subjects of one quota that are shown.
const SUBJECTS_MAX: u32 = 1_000;
/// The quota that is asked for.
const KIND: &str = "quota";

/// A quota with what was counted under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct QuotaState {
    /// The quota.
    pub quota: Quota,
    /// What its counts stand under.
    #[schema(value_type = String)]
    pub id: QuotaId,
    /// How often it was defined.
    pub revision: i64,
    /// When it was defined first.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it was defined last.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// What its subjects used in the window under way; at most the first thousand, and none in a list of quotas.
    pub subjects: Vec<SubjectState>,
}

/// What one subject used in the window under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubjectState {
    /// Whose: `tenant`, `human/alice`, `agent/planner`.
    pub subject: String,
    /// What was counted: used, or leased by a server.
    #[schema(value_type = String)]
    pub counted: Micros,
    /// Of that, what this server leased and nobody used yet.
    #[schema(value_type = String)]
    pub leased: Micros,
    /// What is left.
    #[schema(value_type = String)]
    pub left: Micros,
    /// What is above the limit.
    #[schema(value_type = String)]
    pub overage: Micros,
    /// When the window under way began; of a sliding one, its newest slice.
    #[schema(value_type = String)]
    pub window_start: Timestamp,
    /// When it ends; never where absent.
    #[schema(value_type = Option<String>)]
    pub window_end: Option<Timestamp>,
}

impl QuotaEnforcer {
    /// Defines a quota, or changes it: what it counted stays counted as long as it counts the same.
    pub async fn put(&self, by: &NhiId, quota: Quota) -> Result<QuotaState, MeteringError> {
        quota.check()?;
        let (db, tenant, now) = (&self.0.options.db, by.tenant(), self.0.options.clock.now());
        let before = store::quota(db, tenant, &quota.code).await?;
        if before.is_none() && store::quotas(db, tenant).await?.len() >= QUOTAS_MAX {
            return Err(DefinitionError::new("code", format!("is one more than the {QUOTAS_MAX} quotas a tenant may have")).into());
        }
        let kept = match &before {
            Some(before) => Kept {
                id: if quota.continues(&before.quota) { before.id } else { QuotaId::generate() },
                revision: before.revision + 1,
                quota,
                created_at: before.created_at,
                updated_at: now,
            },
            None => Kept { id: QuotaId::generate(), revision: 1, quota, created_at: now, updated_at: now },
        };
        let leaf = event_leaf(&*self.0.options.clock, by, "metering.put_quota", &format!("quota:{}", kept.quota.code))?
            .fact("limit", kept.quota.limit)
            .fact("metric", &kept.quota.metric)
            .fact("revision", kept.revision);
        let writes = store::put(tenant, &kept, &canonical_text(&kept.quota)?, before.map(|before| before.revision));
        commit(db, Sealed::new(leaf).steps(boxed(writes))).await?;
        self.follow().await?;
        self.state(tenant, kept).await
    }

    /// Removes a quota with what was counted under it.
    pub async fn remove(&self, by: &NhiId, code: &str) -> Result<QuotaState, MeteringError> {
        let tenant = by.tenant();
        let kept = self.kept(tenant, code).await?;
        let leaf = event_leaf(&*self.0.options.clock, by, "metering.remove_quota", &format!("quota:{code}"))?;
        let state = self.state(tenant, kept.clone()).await?;
        commit(&self.0.options.db, Sealed::new(leaf).steps(boxed(store::remove(tenant, &kept)))).await?;
        self.follow().await?;
        Ok(state)
    }

    /// The quotas of a tenant, by their names.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<QuotaState>, MeteringError> {
        Ok(store::quotas(&self.0.options.db, tenant).await?.into_iter().map(|kept| described(kept, Vec::new())).collect())
    }

    /// A quota with what its subjects used.
    pub async fn get(&self, tenant: &TenantId, code: &str) -> Result<QuotaState, MeteringError> {
        let kept = self.kept(tenant, code).await?;
        self.state(tenant, kept).await
    }

    async fn kept(&self, tenant: &TenantId, code: &str) -> Result<Kept, MeteringError> {
        let found = store::quota(&self.0.options.db, tenant, code).await?;
        found.ok_or_else(|| MeteringError::UnknownDefinition { kind: KIND, code: code.to_owned() })
    }

    async fn state(&self, tenant: &TenantId, kept: Kept) -> Result<QuotaState, MeteringError> {
        let span = span(&kept.quota, self.0.options.clock.now());
        let mut subjects = Vec::new();
        for (subject, tally) in store::tallies(&self.0.options.db, tenant, kept.id, SUBJECTS_MAX).await? {
            let (limit, counted) = (kept.quota.limit.get(), tally.counted(&span));
            let leased = self.0.counters.known(kept.id, &subject).map_or(0, |counter| counter.leased(&span));
            subjects.push(SubjectState {
                subject,
                counted: Micros::new(counted),
                leased: Micros::new(leased),
                left: Micros::new(limit.saturating_sub(counted).max(0)),
                overage: Micros::new(counted.saturating_sub(limit).max(0)),
                window_start: Timestamp::from_micros(span.start).unwrap_or(Timestamp::EPOCH),
                window_end: Timestamp::from_micros(span.end).filter(|_| span.end < i64::MAX),
            });
        }
        Ok(described(kept, subjects))
    }

    /// Takes over what changed, here or on another server: definitions that are gone or different count no more from memory.
    pub async fn follow(&self) -> Result<(), MeteringError> {
        let inner: &Inner = &self.0;
        let _loading = inner.loading.lock().await;
        let before = Arc::clone(&inner.index.read().unwrap_or_else(PoisonError::into_inner));
        let mut tenants: HashMap<TenantId, Arc<OfTenant>> = HashMap::new();
        let mut changed = Vec::new();
        for (tenant, epoch) in store::epochs(&inner.options.db).await? {
            let of = match before.tenants.get(&tenant).filter(|known| known.epoch == epoch) {
                Some(known) => Arc::clone(known),
                None => {
                    changed.push(tenant.clone());
                    Arc::new(OfTenant::new(&tenant, epoch, store::quotas(&inner.options.db, &tenant).await?))
                }
            };
            tenants.insert(tenant, of);
        }
        if changed.is_empty() {
            return Ok(());
        }
        let in_force = |id: QuotaId, revision: i64, tenant: &TenantId| {
            let limits = tenants.get(tenant).map_or(&[][..], |of| of.limits.as_slice());
            limits.iter().any(|limit| limit.id == id && limit.revision == revision)
        };
        let gone = inner.counters.retire(|limit| changed.contains(&limit.tenant) && !in_force(limit.id, limit.revision, &limit.tenant));
        let next = before.next(tenants);
        *inner.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        inner.orphans.lock().unwrap_or_else(PoisonError::into_inner).extend(gone);
        Ok(())
    }

    /// Looks after what time changes: takes over definitions, gives back what nobody uses, tells of thresholds that outcomes reached.
    pub async fn tend(&self) -> Result<(), MeteringError> {
        self.follow().await?;
        let now = self.0.options.clock.now();
        let orphans = std::mem::take(&mut *self.0.orphans.lock().unwrap_or_else(PoisonError::into_inner));
        for counter in orphans {
            self.drain_pool(&counter, now).await;
            self.return_surplus(&counter, now, true).await?;
        }
        let (counters, mut returned) = (self.0.counters.all(), 0);
        for counter in counters.iter().filter(|counter| counter.untold()) {
            self.tell_untold(counter, now).await?;
        }
        for counter in &counters {
            returned += usize::from(self.return_surplus(counter, now, false).await?);
            if returned >= RETURNED_MAX {
                break;
            }
        }
        self.0.counters.sweep(now);
        Ok(())
    }

    /// Gives everything back that is leased and not used: this server goes.
    pub async fn close(&self) -> Result<(), MeteringError> {
        let now = self.0.options.clock.now();
        for counter in self.0.counters.all() {
            self.return_surplus(&counter, now, true).await?;
        }
        Ok(())
    }

    /// What servers shared under a definition that is no longer in force is given back with the rest.
    async fn drain_pool(&self, counter: &Counter, now: Timestamp) {
        if let Some(pools) = self.0.options.pools.as_deref().filter(|_| counter.is_pooled()) {
            let span = counter.span(now);
            match pools.take(counter.pool(span), i64::MAX).await {
                Ok(units) => counter.put_back(span.start, units),
                // Then it stays counted.
                Err(error) => tracing::warn!(%error, "a pool of leases cannot be emptied"),
            }
        }
    }

    /// Whether there was anything to give back.
    async fn return_surplus(&self, counter: &Counter, now: Timestamp, ends: bool) -> Result<bool, MeteringError> {
        let back = counter.surplus(now, IDLE, ends);
        if back.is_empty() {
            return Ok(false);
        }
        let db = &self.0.options.db;
        for _ in 0..TRIES_MAX {
            let (seen, mut tally) = match store::tally(db, counter.key()).await {
                Ok(read) => read,
                Err(error) => {
                    counter.keep_back(back);
                    return Err(error.into());
                }
            };
            if seen == 0 {
                return Ok(true);
            }
            back.iter().for_each(|(start, amount)| tally.give_back(*start, *amount));
            // Whether a write that failed happened after all, nobody knows: then it is not given back a second time.
            if store::set_tally(db, counter.key(), seen, &tally).await? {
                return Ok(true);
            }
        }
        counter.keep_back(back);
        Ok(true)
    }

    async fn tell_untold(&self, counter: &Counter, now: Timestamp) -> Result<(), MeteringError> {
        let span = counter.span(now);
        for _ in 0..TRIES_MAX {
            let (seen, mut tally) = store::tally(&self.0.options.db, counter.key()).await?;
            let crossed = tally.cross(&counter.limit.quota, &span);
            if crossed.is_empty() || self.tell(counter, &crossed, tally.counted(&span), (seen, &tally), &span).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The leaf of an alert: which quota of whom reached what.
    pub(super) fn alert_leaf(
        &self,
        by: &NhiId,
        counter: &Counter,
        crossed: &[u16],
        counted: i64,
        span: &Span,
    ) -> Result<Leaf, MeteringError> {
        let quota = &counter.limit.quota;
        let percents: Vec<String> = crossed.iter().map(u16::to_string).collect();
        let overage = counted.saturating_sub(quota.limit.get()).max(0);
        let leaf = event_leaf(&*self.0.options.clock, by, "metering.quota_threshold", &format!("quota:{}", quota.code))?
            .fact("subject", counter.subject())
            .fact("percent", percents.join(" "))
            .fact("counted", Micros::new(counted))
            .fact("limit", quota.limit)
            .fact("window_start_micros", span.start);
        let leaf = if quota.shadow { leaf.fact("shadow", "true") } else { leaf };
        Ok(if overage > 0 { leaf.fact("overage", Micros::new(overage)) } else { leaf })
    }
}

fn described(kept: Kept, subjects: Vec<SubjectState>) -> QuotaState {
    let Kept { id, revision, quota, created_at, updated_at } = kept;
    QuotaState { quota, id, revision, created_at, updated_at, subjects }
}
