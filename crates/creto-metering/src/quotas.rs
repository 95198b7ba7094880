//! The QuotaEnforcer: an inline limit of the Gate that counts what agents, the roots of chains and tenants use.
//!
//! Asked, it looks into a Bloom filter whether anybody on the chain has a limit, and only then at counters. A counter is a lease in
//! memory: units that were debited in the database before. One that is empty is filled with one write; towards the limit leases shrink to
//! what is asked for.
//!
//! INVARIANT: what is used from memory was counted in the database before. Who dies with a lease has counted more than it used, so a limit
//! that refuses is never passed, whatever runs at the same time and whoever crashes.
//!
//! What an action uses without having said so when it was admitted is counted in the commit of its outcome.

pub(crate) mod charging;
mod counter;
mod filling;
mod index;
mod manage;
mod plans;
mod pools;
#[cfg(feature = "redis")]
mod redis;
mod reservation;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use creto_db::Db;
use creto_enablement_common::{Answer, Demand, Extension, Lease, Refusal, Usage};
use creto_kernel::{Clock, Micros, NhiId, TenantId, Timestamp};
use creto_nhi::VerifiedChain;

use counter::{Counter, Counters, Short, Want};
use index::{Index, Plan};
use plans::Plans;

pub use manage::{QuotaState, SubjectState};
pub use pools::{Pool, PoolError, Pools};
#[cfg(feature = "redis")]
pub use redis::RedisPools;
pub use reservation::Reservation;

use crate::core::quota::millionths;
use crate::error::MeteringError;
use crate::model::quota::{ACTIONS, Quota, SPEND};

/// One action, in millionths.
const ONE: i64 = creto_kernel::money::MICROS_PER_UNIT;

/// What an enforcer is built from.
#[derive(Debug, Clone)]
pub struct QuotaOptions {
    /// The database.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The server's own identity: alerts are in the name of the service of this name in each tenant.
    pub server: NhiId,
    /// What shares leases between servers, where one is configured.
    pub pools: Option<Arc<dyn Pools>>,
}

/// Quotas of a database. Clones share everything.
#[derive(Debug, Clone)]
pub struct QuotaEnforcer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: QuotaOptions,
    index: RwLock<Arc<Index>>,
    plans: Plans,
    counters: Counters,
    /// Changes of definitions are taken over one after another.
    loading: tokio::sync::Mutex<()>,
    /// What counters that are gone still have to give back.
    orphans: Mutex<Vec<Arc<Counter>>>,
}

impl QuotaEnforcer {
    /// The quotas in `options.db`, as they are now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn start(options: QuotaOptions) -> Result<Self, MeteringError> {
        let inner = Inner {
            options,
            index: RwLock::default(),
            plans: Plans::default(),
            counters: Counters::default(),
            loading: tokio::sync::Mutex::default(),
            orphans: Mutex::default(),
        };
        let enforcer = Self(Arc::new(inner));
        enforcer.follow().await?;
        Ok(enforcer)
    }

    /// Reserves for one action of a chain: of every quota that is asked about it, all or none. `Err` refuses; nothing is held then.
    pub async fn reserve(
        &self,
        chain: &VerifiedChain,
        action: &str,
        reserve: Micros,
        expects: &[Usage],
        now: Timestamp,
    ) -> Result<Reservation, Refusal> {
        match self.reserve_now(chain, Asked { action, reserve, expects }, now) {
            Ok(reservation) => Ok(reservation),
            Err(Blocked { plan, .. }) => self.reserve_later(plan, Asked { action, reserve, expects }, now).await,
        }
    }

    /// As [`QuotaEnforcer::reserve`], where memory alone can answer; `None` where it cannot.
    #[must_use]
    pub fn reserve_from_memory(
        &self,
        chain: &VerifiedChain,
        action: &str,
        reserve: Micros,
        expects: &[Usage],
        now: Timestamp,
    ) -> Option<Reservation> {
        self.reserve_now(chain, Asked { action, reserve, expects }, now).ok()
    }

    fn reserve_now(&self, chain: &VerifiedChain, asked: Asked<'_>, now: Timestamp) -> Result<Reservation, Blocked> {
        let Some(plan) = self.plan(chain) else { return Ok(Reservation::default()) };
        Reservation::take(&plan, asked, now).map_err(|(place, short)| Blocked { plan, place, short })
    }

    /// The counters of a chain; `None` where nobody on it has a limit.
    fn plan(&self, chain: &VerifiedChain) -> Option<Arc<Plan>> {
        let index = self.0.index.read().unwrap_or_else(PoisonError::into_inner);
        if !index.may_limit(chain) {
            return None;
        }
        if let Some(plan) = self.0.plans.get(&chain.digest())
            && plan.is_of(&index)
        {
            return plan.is_any().then_some(plan);
        }
        let plan = Arc::new(Plan::new(&index, chain, &self.0.counters));
        self.0.plans.put(&plan);
        plan.is_any().then_some(plan)
    }

    fn of_tenant(&self, tenant: &TenantId) -> Option<NhiId> {
        let server = &self.0.options.server;
        NhiId::new(server.trust_domain(), tenant, server.kind(), server.name()).ok()
    }
}

/// What an action asks of quotas.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    action: &'a str,
    reserve: Micros,
    expects: &'a [Usage],
}

impl<'a> From<Demand<'a>> for Asked<'a> {
    fn from(demand: Demand<'a>) -> Self {
        Self { action: demand.action.action.as_str(), reserve: demand.reserve, expects: demand.expects }
    }
}

impl Asked<'_> {
    /// How much of a quota; `None` where it is not asked about the action.
    fn want(self, quota: &Quota) -> Option<Want> {
        if !quota.concerns(self.action) {
            return None;
        }
        match quota.metric.as_str() {
            ACTIONS => Some(Want::Units(ONE)),
            _ if self.action == RECORDING => None,
            SPEND if self.reserve > Micros::ZERO => Some(Want::Units(self.reserve.get())),
            SPEND => Some(Want::Room),
            code => match used(self.expects, code) {
                0 => Some(Want::Room),
                units => Some(Want::Units(units)),
            },
        }
    }
}

/// What records usage counts it in its own commit, event by event, under the chains of the events.
const RECORDING: &str = "metering.ingest";

/// How much of a metric, in millionths, rounded up.
fn used(usage: &[Usage], code: &str) -> i64 {
    usage.iter().filter(|line| line.code == code).fold(0, |sum, line| sum.saturating_add(millionths(line.quantity)))
}

/// Why memory alone cannot answer.
struct Blocked {
    plan: Arc<Plan>,
    place: usize,
    short: Short,
}

impl Extension for QuotaEnforcer {
    fn admit<'a>(&'a self, chain: &'a VerifiedChain, demand: Demand<'a>, now: Timestamp) -> Answer<'a> {
        match self.reserve_now(chain, demand.into(), now) {
            Ok(reservation) => Answer::Now(Ok(Lease::of(reservation))),
            Err(Blocked { plan, place, short }) => match short.refusal(&plan, place) {
                Some(refusal) => Answer::Now(Err(refusal)),
                None => Answer::Later(Box::pin(async move { self.reserve_later(plan, demand.into(), now).await.map(Lease::of) })),
            },
        }
    }
}
