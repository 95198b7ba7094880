//! Credentials: what a request carries, turned into the [`Principal`](crate::Principal) it speaks for.
//!
//! Three kinds. A bearer key, for clients that can send nothing else. A chain token with a request signature by the acting identity's
//! own key: whoever copies the request cannot send another. A person's login session, with a second token that a foreign page cannot
//! know.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use creto_crypto::random;
use creto_kernel::id::CredentialId;
use creto_kernel::{Digest, Timestamp};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::authority::Authority;
use crate::core::proof::{self, AGE_MAX, RequestParts, SCHEME};
use crate::core::replay::ReplayCache;
use crate::error::NhiError;
use crate::model::link::DelegationChain;
use crate::model::principal::{AuthMethod, Principal};
use crate::store::replay;

mod api_keys;
mod federated;
mod login;
mod passkeys;
mod password;

pub use crate::store::keys::ApiKey;
pub use api_keys::{IssuedKey, KEY_DAYS_MAX, read_form};
pub use federated::{Federated, FederatedEnd, FederatedStart};
pub use login::{Login, SESSION_IDLE_MAX, SESSION_MAX};
pub use passkeys::{CHALLENGE_MAX, INVITE_MAX, PASSKEYS_MAX, PasskeyInfo, PasskeyQuestion};
pub use password::{PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN};

/// Keys remembered, so that a key sent with every request is read from the database once.
const KEYS_REMEMBERED_MAX: usize = 10_000;
/// Passwords hashed at once: each takes 19 MiB and some tens of milliseconds.
const HASHES_AT_ONCE: usize = 2;

/// A secret that is shown once. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Issues and checks credentials. What makes a signed request good for one use is remembered in the database, so it holds across
/// servers and restarts; the memory beside it bounds how much one key may make it remember.
pub struct Credentials {
    authority: Authority,
    replay: Mutex<ReplayCache>,
    pruned_at: AtomicI64,
    keys: Cache<CredentialId, api_keys::Remembered>,
    hashing: Semaphore,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.authority)
    }
}

impl Credentials {
    /// Credentials of this authority's identities.
    #[must_use]
    pub fn new(authority: Authority) -> Self {
        Self {
            authority,
            replay: Mutex::default(),
            pruned_at: AtomicI64::new(0),
            keys: Cache::new(KEYS_REMEMBERED_MAX),
            hashing: Semaphore::new(HASHES_AT_ONCE),
        }
    }

    /// The authority.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A chain token and a request signature by a current key of the acting identity. Signatures are checked in memory; then the nonce
    /// is noted, durably.
    ///
    /// # Errors
    /// `nhi.proof_*`, everything [`Authority::verify`] refuses, and what the database says.
    pub async fn authenticate_request(&self, parts: &RequestParts<'_>) -> Result<Principal, NhiError> {
        let now = self.authority.now();
        let token = parts.authorization.strip_prefix(SCHEME).ok_or(NhiError::CredentialMalformed)?;
        let proof = proof::read(parts)?;
        let chain = DelegationChain::from_token(token)?;
        // One signature, that of the request, before the chain's up to eight: a stranger costs little.
        let claimed = chain.claimed_leaf().ok_or(NhiError::ChainEmpty)?;
        let suites = self.authority.accepted(now);
        let until = proof::verify(&proof, &*self.authority.active(claimed)?, &suites, now)?;
        let verified = self.authority.verify(&chain, now)?;
        self.replay.lock().unwrap_or_else(PoisonError::into_inner).admit(proof.key, &proof.nonce, until, now)?;
        if !replay::admit(self.authority.db(), verified.tenant(), proof.key, &proof.nonce, until).await? {
            return Err(NhiError::ProofReplayed);
        }
        self.forget_nonces(now).await;
        Ok(Principal::agent(verified, AuthMethod::Proof(proof.key)))
    }

    /// Forgets what ended, once in a while.
    async fn forget_nonces(&self, now: Timestamp) {
        let (seen, due) = (self.pruned_at.load(Ordering::Relaxed), now.as_secs());
        let soon = due.saturating_sub(seen) < i64::try_from(AGE_MAX.as_secs()).unwrap_or(i64::MAX);
        if !soon && self.pruned_at.compare_exchange(seen, due, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // What is not forgotten now is forgotten next time; the request does not depend on it.
            let _ = replay::forget_nonces(self.authority.db(), now).await;
        }
    }
}

/// 256 random bits.
fn secret() -> Result<[u8; 32], NhiError> {
    let mut bytes = [0; 32];
    random::fill(&mut bytes)?;
    Ok(bytes)
}

/// What is stored of a secret. It has 256 random bits, so a plain digest is as good as a slow one.
fn stored_form(secret: &[u8; 32]) -> Digest {
    Digest::of(secret)
}

fn read_secret(hex_digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let lowercase = hex_digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    (lowercase && hex::decode_to_slice(hex_digits, &mut bytes).is_ok()).then_some(bytes)
}
