//! Which limits there are, and which of them a chain meets.

use std::collections::HashMap;
use std::sync::Arc;

use creto_kernel::{Digest, NhiId, TenantId};
use creto_nhi::{Standing, VerifiedChain, subject_hash};
use smallvec::SmallVec;

use super::counter::{Counter, Counters};
use crate::core::gcra::Rate;
use crate::core::quota::bloom::Bloom;
use crate::model::quota::{Quota, QuotaId, Scope, TENANT_KEY, subject_key};
use crate::store::quotas::Kept;

/// A quota of a tenant, as counters refer to it.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) tenant: TenantId,
    pub(super) id: QuotaId,
    pub(super) revision: i64,
    pub(super) quota: Arc<Quota>,
    pub(super) rate: Option<Rate>,
}

/// The limits of one tenant, as they were at an epoch.
#[derive(Debug, Default)]
pub(super) struct OfTenant {
    pub(super) epoch: i64,
    pub(super) limits: Vec<Arc<Limit>>,
    named: HashMap<(Scope, String), Vec<Arc<Limit>>>,
    /// Of the tenant as a whole, and of each root and each agent.
    common: Vec<Arc<Limit>>,
}

impl OfTenant {
    pub(super) fn new(tenant: &TenantId, epoch: i64, kept: Vec<Kept>) -> Self {
        let mut all = Self { epoch, ..Self::default() };
        for Kept { id, revision, quota, .. } in kept {
            let rate = quota.rate();
            let limit = Arc::new(Limit { tenant: tenant.clone(), id, revision, quota: Arc::new(quota), rate });
            match &limit.quota.subject {
                Some(name) => all.named.entry((limit.quota.scope, name.clone())).or_default().push(Arc::clone(&limit)),
                None => all.common.push(Arc::clone(&limit)),
            }
            all.limits.push(limit);
        }
        all
    }

    fn of(&self, scope: Scope, name: &str) -> impl Iterator<Item = &Arc<Limit>> {
        let named = if self.named.is_empty() { None } else { self.named.get(&(scope, name.to_owned())) };
        self.common.iter().filter(move |limit| limit.quota.scope == scope).chain(named.into_iter().flatten())
    }
}

/// All limits of a server. It is never changed, but replaced.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Rises with every replacement.
    version: u64,
    pub(super) tenants: HashMap<TenantId, Arc<OfTenant>>,
    /// Tenants with a quota of everybody, and everybody named in a quota. Absent where there is no quota at all.
    subjects: Option<Bloom>,
}

impl Index {
    /// The index after this one, with these tenants.
    pub(super) fn next(&self, tenants: HashMap<TenantId, Arc<OfTenant>>) -> Self {
        let keys: Vec<u32> = tenants
            .iter()
            .flat_map(|(tenant, of)| {
                let common = (!of.common.is_empty()).then(|| subject_hash(tenant, Standing::Tenant, ""));
                common.into_iter().chain(of.named.keys().map(move |(scope, name)| subject_hash(tenant, standing(*scope), name)))
            })
            .collect();
        let mut bloom = Bloom::with_capacity(keys.len());
        keys.iter().for_each(|key| bloom.insert(spread(*key)));
        let subjects = (!keys.is_empty()).then_some(bloom);
        Self { version: self.version + 1, tenants, subjects }
    }

    /// Whether anybody on the chain may have a limit; never no for one who has.
    pub(super) fn may_limit(&self, chain: &VerifiedChain) -> bool {
        let Some(bloom) = &self.subjects else { return false };
        // The filter only asks to look; what is found is compared as text. A chain too long to be kept beside its hashes is looked at.
        chain.subjects().is_none_or(|mut subjects| subjects.any(|subject| bloom.may_contain(spread(subject))))
    }
}

/// Over 64 bits, as the filter asks for (the golden ratio's multiplier; Knuth, The Art of Computer Programming 3, 6.4).
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

const fn standing(scope: Scope) -> Standing {
    match scope {
        Scope::Tenant => Standing::Tenant,
        Scope::Root => Standing::Root,
        Scope::Agent => Standing::Agent,
    }
}

/// How many counters stand in a plan itself, and parts in a reservation: more are elsewhere in memory.
pub(super) const COUNTERS: usize = 6;

/// The counters a chain meets, each once: of the tenant, of its root, of each agent in it.
#[derive(Debug)]
pub(super) struct Plan {
    /// The chain's digest.
    pub(super) chain: Digest,
    /// The index it was made of.
    pub(super) version: u64,
    pub(super) counters: SmallVec<[Arc<Counter>; COUNTERS]>,
}

impl Plan {
    pub(super) fn new(index: &Index, chain: &VerifiedChain, counters: &Counters) -> Self {
        let mut met: SmallVec<[Arc<Counter>; COUNTERS]> = SmallVec::new();
        if let Some(of) = index.tenants.get(chain.tenant()) {
            let mut meet = |scope: Scope, name: &str, subject: &str| {
                for limit in of.of(scope, name) {
                    let counter = counters.of(limit, subject);
                    if !met.iter().any(|known| Arc::ptr_eq(known, &counter)) {
                        met.push(counter);
                    }
                }
            };
            meet(Scope::Tenant, "", TENANT_KEY);
            let root: &NhiId = chain.root();
            meet(Scope::Root, root.name(), &subject_key(root));
            for hop in chain.hops().iter().skip(1) {
                meet(Scope::Agent, hop.identity.name(), &subject_key(&hop.identity));
            }
        }
        Self { chain: chain.digest(), version: index.version, counters: met }
    }

    /// Whether it was made of this index.
    pub(super) const fn is_of(&self, index: &Index) -> bool {
        self.version == index.version
    }

    /// Whether there is any counter.
    pub(super) fn is_any(&self) -> bool {
        !self.counters.is_empty()
    }
}
