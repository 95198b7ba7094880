//! Rate limits in memory: how many actions each agent is admitted to, in how much time.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use creto_enablement_common::{Answer, Demand, Extension, Lease, Refusal};
use creto_kernel::{NhiId, TenantId, Timestamp};
use creto_nhi::VerifiedChain;

use crate::core::gcra::Rate;

/// Locks the agents are spread over.
const SHARDS: usize = 16;
/// Most agents one lock remembers; an agent is forgotten when it has its whole burst again.
pub const AGENTS_PER_SHARD_MAX: usize = 8_192;

type Arrivals = HashMap<NhiId, i64>;

/// The Gate's rate limit: exact for each agent of this server, bounded in memory, closed when full.
#[derive(Debug)]
pub struct RateLimits {
    default: Rate,
    tenants: HashMap<TenantId, Rate>,
    agents: HashMap<NhiId, Rate>,
    hasher: std::hash::RandomState,
    shards: [Mutex<Arrivals>; SHARDS],
}

impl RateLimits {
    /// Every agent at this rate.
    #[must_use]
    pub fn new(default: Rate) -> Self {
        Self { default, tenants: HashMap::new(), agents: HashMap::new(), hasher: std::hash::RandomState::new(), shards: Default::default() }
    }

    /// With another rate for the agents of one tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId, rate: Rate) -> Self {
        self.tenants.insert(tenant, rate);
        self
    }

    /// With another rate for one agent, whatever its tenant's is.
    #[must_use]
    pub fn agent(mut self, agent: NhiId, rate: Rate) -> Self {
        self.agents.insert(agent, rate);
        self
    }

    /// Counts one action of `agent` at `now`, or says how long it has to wait.
    pub fn check(&self, agent: &NhiId, now: Timestamp) -> Result<(), Refusal> {
        let rate = self.agents.get(agent).or_else(|| self.tenants.get(agent.tenant())).copied().unwrap_or(self.default);
        let now = now.as_micros().saturating_mul(1_000);
        let mut arrivals = self.shard(agent);
        let known = arrivals.get(agent).copied();
        let next = rate.admit(known, now).map_err(|early| too_early(agent, early))?;
        if known.is_none() && arrivals.len() >= AGENTS_PER_SHARD_MAX {
            arrivals.retain(|_, arrival| *arrival > now);
            if arrivals.len() >= AGENTS_PER_SHARD_MAX {
                return Err(Refusal::RateLimited { message: "more agents are active than this server keeps rates of".to_owned() });
            }
        }
        match arrivals.get_mut(agent) {
            Some(arrival) => *arrival = next,
            None => {
                arrivals.insert(agent.clone(), next);
            }
        }
        Ok(())
    }

    fn shard(&self, agent: &NhiId) -> MutexGuard<'_, Arrivals> {
        let [first, ..] = &self.shards;
        let number = usize::try_from(self.hasher.hash_one(agent) % SHARDS as u64).unwrap_or_default();
        self.shards.get(number).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_early(agent: &NhiId, nanos: i64) -> Refusal {
    let wait = Duration::from_nanos(nanos.unsigned_abs()).as_millis() + 1;
    Refusal::RateLimited { message: format!("`{}` acts faster than its rate: there is room again in {wait} ms", agent.name()) }
}

impl Extension for RateLimits {
    fn admit<'a>(&'a self, chain: &'a VerifiedChain, _: Demand<'a>, now: Timestamp) -> Answer<'a> {
        self.check(chain.leaf(), now).map(Lease::new).into()
    }
}
