//! Who signs checkpoints, and whose signatures a verifier demands.

use std::sync::{Arc, PoisonError, RwLock};

use creto_crypto::{KeyRing, PublicKey, Purpose, SignSuite, SigningKey};
use creto_kernel::canonical::{self, Limits};
use creto_kernel::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::core::checkpoint::{Checkpoint, Origin, OriginPrefix};
use crate::core::note::{Note, NoteAlgorithm, NoteKeyId, NoteSignature, verifier_key};
use crate::error::AuditError;

mod succession;

pub use succession::Succession;
pub(crate) use succession::rotate;

/// Under which name the key ring keeps the log's keys.
const RING_NAME: &str = "log";
/// The suites of the two keys of a log.
const SUITES: [SignSuite; 2] = [SignSuite::Ed25519, SignSuite::MlDsa44];

/// The two keys that sign every checkpoint of this server. Each tenant's log has its own name, and both signatures cover it.
#[derive(Clone, Debug)]
pub struct LogKeys {
    ed25519: Arc<SigningKey>,
    ml_dsa_44: Arc<SigningKey>,
}

impl LogKeys {
    /// Takes a key of each suite.
    ///
    /// # Errors
    /// `audit.bad_keys` when one is of another suite.
    pub fn new(ed25519: Arc<SigningKey>, ml_dsa_44: Arc<SigningKey>) -> Result<Self, AuditError> {
        match (ed25519.suite(), ml_dsa_44.suite()) {
            (SignSuite::Ed25519, SignSuite::MlDsa44) => Ok(Self { ed25519, ml_dsa_44 }),
            (a, b) => Err(AuditError::BadKeys(format!("a log is signed by `ed25519` and `ml-dsa-44`, not by `{a}` and `{b}`"))),
        }
    }

    /// Those the ring has for the log, made on first use.
    ///
    /// # Errors
    /// Keys that cannot be used or made.
    pub fn of_ring(ring: &KeyRing) -> Result<Self, AuditError> {
        let [classic, post_quantum] = SUITES.map(|suite| ring.format_key(Purpose::Audit, RING_NAME, suite));
        Self::new(classic?, post_quantum?)
    }

    /// What a verifier needs to know of them.
    #[must_use]
    pub fn trusted(&self, prefix: OriginPrefix) -> TrustedKeys {
        let (ed25519, ml_dsa_44) = (vec![self.ed25519.public()], vec![self.ml_dsa_44.public()]);
        TrustedKeys { prefix, ed25519, ml_dsa_44, successions: Vec::new() }
    }

    /// The signed note of a checkpoint.
    pub(crate) fn sign(&self, checkpoint: &Checkpoint, now: Timestamp) -> Result<Vec<u8>, AuditError> {
        let (text, name) = (checkpoint.text(), checkpoint.origin.as_str());
        let time_s = u64::try_from(now.as_secs()).unwrap_or(0);
        let too_long = || AuditError::BadKeys(format!("the log name `{name}` is longer than 255 bytes"));
        let message = checkpoint.cosigned_message(name, time_s).ok_or_else(too_long)?;
        let cosignature = [time_s.to_be_bytes().as_slice(), &self.ml_dsa_44.sign_format(&message)?].concat();
        let line = |algorithm, key: &SigningKey, bytes| NoteSignature {
            name: name.to_owned(),
            key: NoteKeyId::of(name, algorithm, key.public().as_bytes()),
            bytes,
        };
        let signatures = vec![
            line(NoteAlgorithm::Ed25519, &self.ed25519, self.ed25519.sign_format(text.as_bytes())?),
            line(NoteAlgorithm::MlDsa44, &self.ml_dsa_44, cosignature),
        ];
        Ok(Note { text, signatures }.encode())
    }
}

/// The public keys whose signatures a verifier demands: one valid signature by an Ed25519 key *and* one by an ML-DSA-44 key.
///
/// As JSON: `{"v":1,"origin":"creto.local/log","keys":[{"suite":"ed25519","key":"<base64url>"},{"suite":"ml-dsa-44",…}]}`, and
/// `successions` where keys were rotated. Keys that were rotated out stay listed, so that old checkpoints stay verifiable. Whoever
/// verifies must hold this file from a source other than the log itself; a file kept from before a rotation is brought up to date by
/// [`TrustedKeys::follow`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKeys {
    prefix: OriginPrefix,
    ed25519: Vec<PublicKey>,
    ml_dsa_44: Vec<PublicKey>,
    successions: Vec<Succession>,
}

/// The trusted keys as whoever reads and signs at once shares them: a rotation adds to them.
#[derive(Clone, Debug)]
pub struct Trust(Arc<RwLock<TrustedKeys>>);

impl Trust {
    /// What is trusted now.
    #[must_use]
    pub fn now(&self) -> TrustedKeys {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A panic elsewhere cannot leave the keys half changed: they are replaced whole.
    pub(crate) fn replace(&self, keys: TrustedKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

impl From<TrustedKeys> for Trust {
    fn from(keys: TrustedKeys) -> Self {
        Self(Arc::new(RwLock::new(keys)))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustedKeysJson {
    v: u8,
    origin: String,
    keys: Vec<PublicKey>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    successions: Vec<Succession>,
}

/// Largest file of trusted keys, in bytes; an ML-DSA-44 key takes 1.8 KB.
const KEYS_BYTES_MAX: usize = 256 << 10;

/// A checkpoint whose signatures were accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// When, by the signer's word, in seconds since the Unix epoch.
    pub signed_at_s: u64,
}

impl TrustedKeys {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// `audit.bad_keys`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, AuditError> {
        let limits = Limits { bytes_max: KEYS_BYTES_MAX, depth_max: 6 };
        let json: TrustedKeysJson = canonical::parse_as(bytes, limits).map_err(|e| AuditError::BadKeys(e.to_string()))?;
        if json.v != 1 {
            return Err(AuditError::BadKeys(format!("version {} is not known here", json.v)));
        }
        let prefix = OriginPrefix::parse(&json.origin).map_err(|e| AuditError::BadKeys(e.to_string()))?;
        let mut keys = Self { prefix, ed25519: Vec::new(), ml_dsa_44: Vec::new(), successions: json.successions };
        keys.list(&json.keys)?;
        if keys.ed25519.is_empty() || keys.ml_dsa_44.is_empty() {
            return Err(AuditError::BadKeys("both an Ed25519 and an ML-DSA-44 key are needed".to_owned()));
        }
        Ok(keys)
    }

    /// The keys the ring has and had for the log, with what those that left said of their successors.
    ///
    /// # Errors
    /// As [`LogKeys::of_ring`]; `audit.bad_keys` for a statement that cannot be read.
    pub fn of_ring(ring: &KeyRing, prefix: OriginPrefix) -> Result<Self, AuditError> {
        let mut keys = LogKeys::of_ring(ring)?.trusted(prefix);
        for suite in SUITES {
            keys.list(&ring.format_keys(Purpose::Audit, RING_NAME, suite))?;
        }
        let statements = ring.statements(Purpose::Audit)?;
        let read = statements.iter().map(|bytes| Succession::from_json(bytes)).collect::<Result<Vec<_>, _>>()?;
        // One of a rotation that a crash cut short speaks of keys that nobody has.
        keys.successions = read.into_iter().filter(|succession| succession.keys().iter().any(|key| keys.lists(key))).collect();
        Ok(keys)
    }

    /// These keys, and those of `offered` that they lead to: each was vouched for by an Ed25519 key **and** an ML-DSA-44 key trusted
    /// before it. So a file kept from an earlier day verifies today's log, and nothing has to be believed of whoever offers.
    ///
    /// # Errors
    /// `audit.bad_keys` when a succession of another suite is offered.
    pub fn follow(mut self, offered: &Self) -> Result<Self, AuditError> {
        let mut left: Vec<&Succession> = offered.successions.iter().filter(|succession| !self.successions.contains(succession)).collect();
        while let Some(at) = left.iter().position(|succession| succession.is_vouched_for(&self)) {
            let succession = left.swap_remove(at);
            self.list(succession.keys())?;
            self.successions.push(succession.clone());
        }
        Ok(self)
    }

    fn lists(&self, key: &PublicKey) -> bool {
        self.ed25519.contains(key) || self.ml_dsa_44.contains(key)
    }

    fn list(&mut self, keys: &[PublicKey]) -> Result<(), AuditError> {
        for key in keys.iter().filter(|key| !self.lists(key)).cloned().collect::<Vec<_>>() {
            match key.suite() {
                SignSuite::Ed25519 => self.ed25519.push(key),
                SignSuite::MlDsa44 => self.ml_dsa_44.push(key),
                other => return Err(AuditError::BadKeys(format!("checkpoints are not signed by `{other}`"))),
            }
        }
        Ok(())
    }

    /// The JSON form, to be handed to verifiers.
    pub fn to_json(&self) -> Result<Vec<u8>, AuditError> {
        let keys = self.ed25519.iter().chain(&self.ml_dsa_44).cloned().collect();
        let json = TrustedKeysJson { v: 1, origin: self.prefix.as_str().to_owned(), keys, successions: self.successions.clone() };
        canonical::to_vec(&json).map_err(|e| AuditError::BadKeys(e.to_string()))
    }

    /// The name of a tenant's log.
    #[must_use]
    pub fn origin(&self, tenant: &TenantId) -> Origin {
        self.prefix.of(tenant)
    }

    /// The keys in the form other readers of signed notes take, for one tenant's log.
    #[must_use]
    pub fn verifier_keys(&self, tenant: &TenantId) -> Vec<String> {
        let origin = self.origin(tenant);
        let form = |algorithm, key: &PublicKey| verifier_key(origin.as_str(), algorithm, key.as_bytes());
        let classic = self.ed25519.iter().map(|key| form(NoteAlgorithm::Ed25519, key));
        classic.chain(self.ml_dsa_44.iter().map(|key| form(NoteAlgorithm::MlDsa44, key))).collect()
    }

    /// Reads a checkpoint of `tenant`'s log and checks that both sorts of key signed it. `path` names it in errors.
    ///
    /// Lines by keys that are not listed are ignored, as the format demands; a line by a listed key that does not verify refuses the
    /// whole note.
    ///
    /// # Errors
    /// `audit.bad_checkpoint`, `audit.bad_signature`.
    pub fn open(&self, tenant: &TenantId, path: &str, bytes: &[u8]) -> Result<Opened, AuditError> {
        let bad = |reason: String| AuditError::BadCheckpoint { path: path.to_owned(), reason };
        let unsigned = |reason: &str| AuditError::BadSignature { path: path.to_owned(), reason: reason.to_owned() };
        let note = Note::parse(bytes).map_err(|e| bad(e.to_string()))?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(|e| bad(e.to_string()))?;
        let origin = self.origin(tenant);
        if checkpoint.origin != origin {
            return Err(bad(format!("it is of `{}`, not of `{origin}`", checkpoint.origin)));
        }
        let name = origin.as_str();
        let mut classic = 0;
        for key in &self.ed25519 {
            for signature in note.by(name, NoteKeyId::of(name, NoteAlgorithm::Ed25519, key.as_bytes())) {
                key.verify_format(note.text.as_bytes(), &signature.bytes).map_err(|_| unsigned("the Ed25519 signature does not verify"))?;
                classic += 1;
            }
        }
        let mut signed_at_s = None;
        for key in &self.ml_dsa_44 {
            for signature in note.by(name, NoteKeyId::of(name, NoteAlgorithm::MlDsa44, key.as_bytes())) {
                let wrong = || unsigned("the ML-DSA-44 signature does not verify");
                let (time, bytes) = signature.bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
                let time_s = u64::from_be_bytes(*time);
                let message = checkpoint.cosigned_message(name, time_s).ok_or_else(wrong)?;
                key.verify_format(&message, bytes).map_err(|_| wrong())?;
                signed_at_s = signed_at_s.max(Some(time_s));
            }
        }
        match signed_at_s {
            _ if classic == 0 => Err(unsigned("there is no Ed25519 signature by a trusted key")),
            None => Err(unsigned("there is no ML-DSA-44 signature by a trusted key")),
            Some(signed_at_s) => Ok(Opened { checkpoint, signed_at_s }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use creto_kernel::Digest;

    fn keys() -> LogKeys {
        let key = |suite| Arc::new(SigningKey::generate(suite).unwrap());
        LogKeys::new(key(SignSuite::Ed25519), key(SignSuite::MlDsa44)).unwrap()
    }

    fn tenant() -> TenantId {
        "acme".parse().unwrap()
    }

    fn signed(keys: &LogKeys) -> Vec<u8> {
        let checkpoint = Checkpoint { origin: OriginPrefix::local().of(&tenant()), size: 7, root: Digest::of(b"root") };
        keys.sign(&checkpoint, Timestamp::from_secs(1_000).unwrap()).unwrap()
    }

    #[test]
    fn both_signatures_are_demanded() {
        let keys = keys();
        let trusted = keys.trusted(OriginPrefix::local());
        let bytes = signed(&keys);
        let opened = trusted.open(&tenant(), "acme/checkpoint", &bytes).unwrap();
        assert_eq!((opened.checkpoint.size, opened.signed_at_s), (7, 1_000));
        for missing in 0..2 {
            let mut note = Note::parse(&bytes).unwrap();
            note.signatures.remove(missing);
            let refused = trusted.open(&tenant(), "acme/checkpoint", &note.encode()).unwrap_err();
            assert!(matches!(refused, AuditError::BadSignature { .. }), "{refused}");
        }
        let refused = self::keys().trusted(OriginPrefix::local()).open(&tenant(), "c", &bytes).unwrap_err();
        assert!(matches!(refused, AuditError::BadSignature { .. }), "{refused}");
        let refused = trusted.open(&"other".parse().unwrap(), "c", &bytes).unwrap_err();
        assert!(matches!(refused, AuditError::BadCheckpoint { .. }), "{refused}");
    }

    #[test]
    fn every_flipped_bit_of_a_checkpoint_refuses_it() {
        let keys = keys();
        let trusted = keys.trusted(OriginPrefix::local());
        let bytes = signed(&keys);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(trusted.open(&tenant(), "c", &flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_rotated_key_keeps_verifying_and_strangers_are_ignored() {
        let (old, new) = (keys(), keys());
        let mut trusted = new.trusted(OriginPrefix::local());
        trusted.list(&[old.ed25519.public(), old.ml_dsa_44.public()]).unwrap();
        trusted.open(&tenant(), "c", &signed(&old)).unwrap();
        trusted.open(&tenant(), "c", &signed(&new)).unwrap();
        let mut note = Note::parse(&signed(&new)).unwrap();
        note.signatures.push(NoteSignature { name: "witness.example/w".to_owned(), key: NoteKeyId([1; 4]), bytes: vec![1; 72] });
        trusted.open(&tenant(), "c", &note.encode()).unwrap();
        assert_eq!(TrustedKeys::from_json(&trusted.to_json().unwrap()).unwrap(), trusted);
        assert_eq!(trusted.verifier_keys(&tenant()).len(), 4);
    }

    #[test]
    fn other_json_is_refused() {
        let good = String::from_utf8(keys().trusted(OriginPrefix::local()).to_json().unwrap()).unwrap();
        for bad in [
            String::new(),
            "{}".to_owned(),
            good.replace("\"v\":1", "\"v\":2"),
            good.replace("\"v\":1", "\"v\":1,\"extra\":1"),
            good.replace("creto.local/log", "a b"),
            r#"{"keys":[],"origin":"creto.local/log","v":1}"#.to_owned(),
        ] {
            assert!(matches!(TrustedKeys::from_json(bad.as_bytes()), Err(AuditError::BadKeys(_))), "{bad:.60}");
        }
    }
}
