//! How trust passes from the keys that leave to those that come: the former say so, before their secrets are destroyed.

use creto_crypto::{KeyRing, PublicKey, Purpose, Signature, SigningKey};
use creto_kernel::Timestamp;
use creto_kernel::canonical::{self, Limits};
use serde::{Deserialize, Serialize};

use super::{LogKeys, RING_NAME, SUITES, TrustedKeys};
use crate::core::checkpoint::OriginPrefix;
use crate::error::AuditError;

/// What is signed for, so that no other signature of a log key passes for a succession.
const DOMAIN: &str = "creto-audit-succession-v1";
/// Largest statement, in bytes: two public keys and two signatures take 7 KB.
const SUCCESSION_BYTES_MAX: usize = 32 << 10;

/// The statement of both keys that leave: these come after us.
///
/// As JSON: `{"v":1,"origin":"creto.local/log","keys":[…],"signatures":[…]}`. Signed is the canonical JSON of all but the signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    v: u8,
    origin: String,
    keys: Vec<PublicKey>,
    signatures: Vec<Signature>,
}

#[derive(Serialize)]
struct Signed<'a> {
    v: u8,
    origin: &'a str,
    keys: &'a [PublicKey],
}

impl Succession {
    /// Reads the JSON form; whether it is vouched for is asked when it is followed.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, AuditError> {
        let limits = Limits { bytes_max: SUCCESSION_BYTES_MAX, depth_max: 4 };
        let read: Self = canonical::parse_as(bytes, limits).map_err(|e| AuditError::BadKeys(e.to_string()))?;
        if read.v == 1 { Ok(read) } else { Err(AuditError::BadKeys(format!("version {} is not known here", read.v))) }
    }

    fn make(prefix: &OriginPrefix, leaving: &[std::sync::Arc<SigningKey>], coming: &[PublicKey]) -> Result<Self, AuditError> {
        let (v, origin, keys) = (1, prefix.as_str().to_owned(), coming.to_vec());
        let message = message(&Signed { v, origin: &origin, keys: &keys })?;
        let signatures = leaving.iter().map(|key| key.sign(DOMAIN, &message)).collect::<Result<_, _>>()?;
        Ok(Self { v, origin, keys, signatures })
    }

    /// The keys that come.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Whether a trusted key of **each** suite says so: whoever breaks one algorithm passes nothing on.
    pub(super) fn is_vouched_for(&self, trusted: &TrustedKeys) -> bool {
        let Ok(message) = message(&Signed { v: self.v, origin: &self.origin, keys: &self.keys }) else { return false };
        let says = |key: &PublicKey| {
            self.signatures.iter().any(|signature| signature.key == key.key_id() && key.verify(DOMAIN, &message, signature).is_ok())
        };
        self.v == 1 && self.origin == trusted.prefix.as_str() && trusted.ed25519.iter().any(says) && trusted.ml_dsa_44.iter().any(says)
    }
}

fn message(signed: &Signed<'_>) -> Result<Vec<u8>, AuditError> {
    canonical::to_vec(signed).map_err(|e| AuditError::BadKeys(e.to_string()))
}

/// Makes two new keys for the log; those that were there vouch for them, and their secrets are destroyed.
///
/// INVARIANT: at every moment the ring's keys are trusted by whoever follows the successions kept beside them, also after a crash that
/// replaced one of the two.
pub(crate) fn rotate(ring: &KeyRing, prefix: &OriginPrefix, at: Timestamp) -> Result<LogKeys, AuditError> {
    ring.rotate_format(Purpose::Audit, RING_NAME, &SUITES, at, |leaving, coming| {
        let succession = Succession::make(prefix, leaving, coming)?;
        canonical::to_vec(&succession).map_err(|e| AuditError::BadKeys(e.to_string()))
    })?;
    LogKeys::of_ring(ring)
}
