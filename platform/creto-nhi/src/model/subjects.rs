//! What a filter asks of a chain: who is on it, as hashes beside each other, so that one look into memory tells all of them.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use creto_kernel::TenantId;

use crate::model::chain::Hop;

/// Most subjects that are kept with a chain: a cache line of them. Of a longer chain nothing is said.
const SUBJECTS_MAX: usize = 8;

/// As what somebody stands on a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The tenant of all.
    Tenant,
    /// The root.
    Root,
    /// Below it.
    Agent,
}

/// The hash of a subject: the same wherever it is asked for in this process, and another in every other. `name` is empty for the tenant.
#[must_use]
pub fn subject_hash(tenant: &TenantId, standing: Standing, name: &str) -> u64 {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new).hash_one((tenant.as_str(), standing, name))
}

/// The hashes of a chain's subjects: tenant, root, agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subjects {
    hashes: [u64; SUBJECTS_MAX],
    /// None where the chain has more.
    count: Option<u8>,
}

impl Subjects {
    pub(crate) fn of(hops: &[Hop]) -> Self {
        let mut all = Self { hashes: [0; SUBJECTS_MAX], count: None };
        let Some(root) = hops.first().map(|hop| &hop.identity) else { return all };
        let agents = hops.iter().skip(1).map(|hop| (Standing::Agent, hop.identity.name()));
        let subjects = [(Standing::Tenant, ""), (Standing::Root, root.name())].into_iter().chain(agents);
        let mut count = 0;
        for (standing, name) in subjects {
            let Some(place) = all.hashes.get_mut(usize::from(count)) else { return all };
            *place = subject_hash(root.tenant(), standing, name);
            count += 1;
        }
        all.count = Some(count);
        all
    }

    pub(crate) fn hashes(&self) -> Option<&[u64]> {
        self.hashes.get(..usize::from(self.count?))
    }
}
