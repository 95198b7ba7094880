//! The memory that makes a signed request good for one use.

use std::collections::{BTreeMap, HashMap, HashSet};

use creto_crypto::KeyId;
use creto_kernel::{Digest, Timestamp};

use crate::error::NhiError;

/// Most nonces remembered at once.
pub const NONCES_MAX: usize = 200_000;
/// Most nonces remembered for one key, so that one agent cannot use up the memory of all.
pub const NONCES_PER_KEY_MAX: usize = 20_000;

/// Nonces seen within the window.
///
/// INVARIANT: a nonce is forgotten only after its request signature is too old to be accepted; when there is no room, the request is
/// refused and nothing is forgotten early.
#[derive(Debug, Default)]
pub struct ReplayCache {
    seen: HashSet<Digest>,
    per_key: HashMap<KeyId, usize>,
    ending: BTreeMap<(Timestamp, Digest), KeyId>,
}

impl ReplayCache {
    /// Remembers the nonce until `until` (exclusive); refuses one that is remembered.
    pub fn admit(&mut self, key: KeyId, nonce: &str, until: Timestamp, now: Timestamp) -> Result<(), NhiError> {
        self.forget_ended(now);
        let entry = Digest::of_parts(&[key.to_string().as_bytes(), b"\0", nonce.as_bytes()]);
        if self.seen.contains(&entry) {
            return Err(NhiError::ProofReplayed);
        }
        if self.seen.len() >= NONCES_MAX || self.per_key.get(&key).is_some_and(|count| *count >= NONCES_PER_KEY_MAX) {
            return Err(NhiError::ProofCrowded);
        }
        self.seen.insert(entry);
        self.ending.insert((until, entry), key);
        *self.per_key.entry(key).or_default() += 1;
        Ok(())
    }

    fn forget_ended(&mut self, now: Timestamp) {
        while let Some(first) = self.ending.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, entry), key) = first.remove_entry();
            self.seen.remove(&entry);
            if let Some(count) = self.per_key.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.per_key.remove(&key);
                }
            }
        }
    }

    /// How many nonces are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs).unwrap()
    }

    #[test]
    fn a_nonce_works_once_for_each_key_and_is_forgotten_in_time() {
        let (a, b) = (KeyId::of("ed25519", b"a"), KeyId::of("ed25519", b"b"));
        let mut cache = ReplayCache::default();
        cache.admit(a, "n1", at(60), at(0)).unwrap();
        assert!(matches!(cache.admit(a, "n1", at(60), at(59)), Err(NhiError::ProofReplayed)));
        cache.admit(b, "n1", at(60), at(59)).unwrap();
        cache.admit(a, "n1", at(120), at(60)).unwrap();
        assert_eq!(cache.len(), 1, "what ended is forgotten");
    }

    #[test]
    fn one_busy_key_is_refused_and_others_go_on() {
        let (busy, other) = (KeyId::of("ed25519", b"a"), KeyId::of("ed25519", b"b"));
        let mut cache = ReplayCache::default();
        for n in 0..NONCES_PER_KEY_MAX {
            cache.admit(busy, &n.to_string(), at(60), at(0)).unwrap();
        }
        assert!(matches!(cache.admit(busy, "one more", at(60), at(0)), Err(NhiError::ProofCrowded)));
        cache.admit(other, "one more", at(60), at(0)).unwrap();
        assert!(matches!(cache.admit(busy, "0", at(60), at(1)), Err(NhiError::ProofReplayed)), "nothing was forgotten to make room");
        cache.admit(busy, "one more", at(120), at(60)).unwrap();
    }
}
