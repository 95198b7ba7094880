//! What a filter asks of a chain: who is on it, as hashes beside each other, so that one look into memory tells all of them.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use creto_kernel::TenantId;

use crate::model::chain::Hop;

/// Most subjects that are kept with a chain: half a cache line of them. Of a longer chain nothing is said.
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

/// The hash of a subject: the same wherever it is asked for in this process, and another in every other; never zero. `name` is empty for
/// the tenant. Two subjects may share one: it only asks to look.
#[must_use]
pub fn subject_hash(tenant: &TenantId, standing: Standing, name: &str) -> u32 {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    let hash = HASHER.get_or_init(RandomState::new).hash_one((tenant.as_str(), standing, name));
    u32::try_from(hash >> 32).unwrap_or(1).max(1)
}

/// The hashes of a chain's subjects: tenant, root, agents; zeros after them. All zeros where the chain has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(32))]
pub(crate) struct Subjects([u32; SUBJECTS_MAX]);

impl Subjects {
    pub(crate) fn of(hops: &[Hop]) -> Self {
        let mut hashes = [0; SUBJECTS_MAX];
        let Some(root) = hops.first().map(|hop| &hop.identity).filter(|_| hops.len() < SUBJECTS_MAX) else { return Self(hashes) };
        let agents = hops.iter().skip(1).map(|hop| (Standing::Agent, hop.identity.name()));
        let subjects = [(Standing::Tenant, ""), (Standing::Root, root.name())].into_iter().chain(agents);
        hashes.iter_mut().zip(subjects).for_each(|(place, (standing, name))| *place = subject_hash(root.tenant(), standing, name));
        Self(hashes)
    }

    pub(crate) fn hashes(&self) -> Option<impl Iterator<Item = u32>> {
        let known = self.0.iter().copied().take_while(|hash| *hash != 0);
        (self.0.first() != Some(&0)).then_some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_who_is_on_it_or_nothing_at_all() {
        let hop =
            |name: &str| Hop { identity: format!("spiffe://creto.local/tenant/t/agent/{name}").parse().unwrap(), link: None, budget: None };
        let tenant: TenantId = "t".parse().unwrap();
        let hash = |standing, name: &str| subject_hash(&tenant, standing, name);
        let of = |hops: usize| Subjects::of(&(0..hops).map(|n| hop(&format!("a{n}"))).collect::<Vec<_>>()).hashes().map(Vec::from_iter);
        assert_eq!(of(1), Some(vec![hash(Standing::Tenant, ""), hash(Standing::Root, "a0")]));
        let three = [hash(Standing::Tenant, ""), hash(Standing::Root, "a0"), hash(Standing::Agent, "a1"), hash(Standing::Agent, "a2")];
        assert_eq!(of(3).as_deref(), Some(&three[..]));
        assert_eq!(of(7).map(|all| all.len()), Some(8));
        assert_eq!((of(8), of(0)), (None, None), "too many to be kept");
    }
}
