//! Bounded tables: names to handles, and handles to decisions.

use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};

use quick_cache::sync::Cache;

use crate::model::decision::Decision;

/// The identifier of a handle that is never cached: what an exhausted table hands out.
pub(crate) const UNCACHED: u32 = 0;

/// A bounded table from names to handles.
///
/// INVARIANT: an identifier is given out once. An evicted name gets a new one when it comes back, and a table that has given out all
/// of them answers [`UNCACHED`], so no two names ever share a cached decision.
#[derive(Debug)]
pub(crate) struct Interner<K: Eq + Hash, H: Clone> {
    table: Cache<K, H>,
    next: AtomicU32,
}

impl<K: Eq + Hash, H: Clone> Interner<K, H> {
    /// A table of about `capacity` names.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { table: Cache::new(capacity), next: AtomicU32::new(UNCACHED + 1) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<H> {
        self.table.get(key)
    }

    /// Makes a handle with a fresh identifier and remembers it.
    pub(crate) fn insert(&self, key: K, make: impl FnOnce(u32) -> H) -> H {
        let id = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1)).unwrap_or(UNCACHED);
        let handle = make(id);
        self.table.insert(key, handle.clone());
        handle
    }

    #[cfg(test)]
    pub(crate) fn exhaust(&self) {
        self.next.store(u32::MAX, Ordering::Relaxed);
    }
}

/// What a decision is remembered under: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    packed: u128,
}

impl Key {
    /// `None` when one of the handles is never cached.
    #[inline]
    pub(crate) fn new(session: u32, action: u32, resource: u32, context: u32) -> Option<Self> {
        if session == UNCACHED || action == UNCACHED || resource == UNCACHED || context == UNCACHED {
            return None;
        }
        let wide = u128::from;
        Some(Self { packed: wide(session) << 96 | wide(action) << 64 | wide(resource) << 32 | wide(context) })
    }
}

/// A decision and the policy epoch it was made under. The chain's expiry and revocation epoch are compared on the session itself.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) policy_epoch: u64,
    pub(crate) decision: Decision,
}

/// Most decisions remembered: about 20 MiB.
pub(crate) const DECISIONS_MAX: usize = 1 << 18;

pub(crate) type Decisions = Cache<Key, Remembered>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exhausted_table_gives_out_handles_that_are_never_cached() {
        let interner: Interner<&str, u32> = Interner::new(8);
        assert_ne!(interner.insert("a", |id| id), interner.insert("b", |id| id));
        interner.exhaust();
        assert_eq!(interner.insert("c", |id| id), UNCACHED);
        assert_eq!(interner.insert("d", |id| id), UNCACHED);
        assert!(Key::new(1, UNCACHED, 1, 1).is_none());
    }

    #[test]
    fn every_handle_changes_the_key() {
        let base = Key::new(1, 2, 3, 4);
        for other in [Key::new(9, 2, 3, 4), Key::new(1, 9, 3, 4), Key::new(1, 2, 9, 4), Key::new(1, 2, 3, 9), Key::new(2, 1, 3, 4)] {
            assert_ne!(base, other);
        }
    }
}
