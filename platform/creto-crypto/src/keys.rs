//! Signing keys, public keys and signatures.
//!
//! What is signed is the length-prefixed encoding of (`creto-sig-v1`, suite identifier, domain, message): each field as its length in
//! eight big-endian bytes, then its bytes. A signature therefore cannot be moved to another suite (one half of a hybrid passed off as
//! a signature of its own), to another domain, or to another split of the same bytes.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_kernel::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::length_prefixed;
use crate::error::CryptoError;
use crate::provider::{Ed25519Pair, MlDsa, MlDsaPair, verify_ed25519, verify_ml_dsa};
use crate::secret::Secret;
use crate::suite::SignSuite;

const CONTEXT: &[u8] = b"creto-sig-v1";
const ED25519_PUBLIC_BYTES: usize = 32;
const ED25519_SIGNATURE_BYTES: usize = 64;
const SEED_BYTES: usize = 32;

/// The name of a public key: the first 16 bytes of SHA-256(suite identifier ‖ 0 ‖ public bytes), as 32 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// Names a key of any sort by its suite identifier and public bytes.
    #[must_use]
    pub fn of(suite_id: &str, public: &[u8]) -> Self {
        let digest = Digest::of_parts(&[suite_id.as_bytes(), &[0], public]);
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = CryptoError;
    fn from_str(text: &str) -> Result<Self, CryptoError> {
        let bad = || CryptoError::BadKey("key id of 32 lowercase hexadecimal digits");
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(bad());
        }
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| bad())?;
        Ok(Self(id))
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

enum Pair {
    Hybrid { classic: Ed25519Pair, quantum: MlDsaPair },
    Ed25519(Ed25519Pair),
    MlDsa(MlDsaPair),
}

/// A signing key. Its seed is wiped on drop, its `Debug` shows the suite and key id only.
pub struct SigningKey {
    seed: Secret,
    pair: Pair,
    public: PublicKey,
}

impl SigningKey {
    /// A fresh key.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub fn generate(suite: SignSuite) -> Result<Self, CryptoError> {
        Self::from_secret(suite, Secret::random(suite.secret_bytes())?)
    }

    /// The key made from the bytes [`SigningKey::to_secret_bytes`] gave: one 32-byte seed for each algorithm, Ed25519 first.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] when the length is not the suite's.
    pub fn from_secret_bytes(suite: SignSuite, bytes: &[u8]) -> Result<Self, CryptoError> {
        Self::from_secret(suite, Secret::copy_of(bytes))
    }

    fn from_secret(suite: SignSuite, seed: Secret) -> Result<Self, CryptoError> {
        if seed.len() != suite.secret_bytes() {
            return Err(CryptoError::BadKey("signing key seed of the suite's length"));
        }
        let bytes = seed.expose();
        let pair = match suite {
            SignSuite::Ed25519 => Pair::Ed25519(Ed25519Pair::from_seed(bytes)?),
            SignSuite::MlDsa65 => Pair::MlDsa(MlDsaPair::from_seed(MlDsa::L65, bytes)?),
            SignSuite::MlDsa44 => Pair::MlDsa(MlDsaPair::from_seed(MlDsa::L44, bytes)?),
            SignSuite::Ed25519MlDsa65 => {
                let (classic, quantum) = bytes.split_at_checked(SEED_BYTES).ok_or(CryptoError::BadKey("hybrid seed"))?;
                Pair::Hybrid { classic: Ed25519Pair::from_seed(classic)?, quantum: MlDsaPair::from_seed(MlDsa::L65, quantum)? }
            }
        };
        let public = match &pair {
            Pair::Ed25519(pair) => pair.public().to_vec(),
            Pair::MlDsa(pair) => pair.public().to_vec(),
            Pair::Hybrid { classic, quantum } => [classic.public(), quantum.public()].concat(),
        };
        let public = PublicKey::new(suite, public)?;
        Ok(Self { seed, pair, public })
    }

    /// The seeds, for sealing. Whoever takes them seals and wipes them; [`Secret`] does the wiping.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Secret {
        self.seed.clone()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// The suite.
    #[must_use]
    pub fn suite(&self) -> SignSuite {
        self.public.suite
    }

    /// The name of the public half.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.public.key_id()
    }

    /// Signs `msg` in `domain`, a constant that names what sort of statement is signed, such as `creto/delegation/v1`.
    ///
    /// # Errors
    /// The library failed.
    pub fn sign(&self, domain: &str, msg: &[u8]) -> Result<Signature, CryptoError> {
        let input = signature_input(self.suite(), domain, msg);
        Ok(Signature { suite: self.suite(), key: self.key_id(), bytes: self.sign_raw(&input)? })
    }

    /// Signs the bare `msg`, for published formats that separate domains themselves: C2SP signed notes and cosignatures, JWS.
    ///
    /// # Errors
    /// [`CryptoError::UnsupportedSuite`] for the hybrid, which no such format knows; [`CryptoError::AmbiguousFormat`] when `msg` begins
    /// like the input of [`SigningKey::sign`], so that a format signature can never be passed off as a statement in a domain.
    pub fn sign_format(&self, msg: &[u8]) -> Result<Vec<u8>, CryptoError> {
        refuse_format(self.suite(), msg)?;
        self.sign_raw(msg)
    }

    fn sign_raw(&self, input: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(input),
            Pair::MlDsa(pair) => pair.sign(input),
            Pair::Hybrid { classic, quantum } => Ok([classic.sign(input)?, quantum.sign(input)?].concat()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.suite(), self.key_id())
    }
}

fn signature_input(suite: SignSuite, domain: &str, msg: &[u8]) -> Vec<u8> {
    length_prefixed(&[CONTEXT, suite.id().as_bytes(), domain.as_bytes(), msg])
}

fn refuse_format(suite: SignSuite, msg: &[u8]) -> Result<(), CryptoError> {
    if suite == SignSuite::Ed25519MlDsa65 {
        return Err(CryptoError::UnsupportedSuite { suite: suite.id(), operation: "sign in a format of one algorithm" });
    }
    if msg.starts_with(&length_prefixed(&[CONTEXT])) {
        return Err(CryptoError::AmbiguousFormat);
    }
    Ok(())
}

/// A public key of its suite's length. Serialized as `{"suite": …, "key": base64url}`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    suite: SignSuite,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Checks the length. Whether the bytes are a point or a matrix seed is decided when a signature is verified.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] when the length is not the suite's.
    pub fn new(suite: SignSuite, bytes: Vec<u8>) -> Result<Self, CryptoError> {
        if bytes.len() == suite.public_bytes() {
            Ok(Self { suite, bytes })
        } else {
            Err(CryptoError::BadKey("public key of the suite's length"))
        }
    }

    /// The suite.
    #[must_use]
    pub fn suite(&self) -> SignSuite {
        self.suite
    }

    /// The bytes; see [`SignSuite`] for their layout.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of this key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        KeyId::of(self.suite.id(), &self.bytes)
    }

    /// Verifies a signature made by [`SigningKey::sign`]. A hybrid verifies only when both halves do.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`] when key, suite, domain, message or signature differ in any bit.
    pub fn verify(&self, domain: &str, msg: &[u8], signature: &Signature) -> Result<(), CryptoError> {
        if signature.suite != self.suite || signature.key != self.key_id() {
            return Err(CryptoError::BadSignature);
        }
        self.verify_raw(&signature_input(self.suite, domain, msg), &signature.bytes)
    }

    /// Verifies a signature made by [`SigningKey::sign_format`].
    ///
    /// # Errors
    /// As [`PublicKey::verify`] and [`SigningKey::sign_format`].
    pub fn verify_format(&self, msg: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        refuse_format(self.suite, msg)?;
        self.verify_raw(msg, signature)
    }

    fn verify_raw(&self, input: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if signature.len() != self.suite.signature_bytes() {
            return Err(CryptoError::BadSignature);
        }
        match self.suite {
            SignSuite::Ed25519 => verify_ed25519(&self.bytes, input, signature),
            SignSuite::MlDsa65 => verify_ml_dsa(MlDsa::L65, &self.bytes, input, signature),
            SignSuite::MlDsa44 => verify_ml_dsa(MlDsa::L44, &self.bytes, input, signature),
            SignSuite::Ed25519MlDsa65 => {
                let (classic_key, quantum_key) = self.bytes.split_at_checked(ED25519_PUBLIC_BYTES).ok_or(CryptoError::BadSignature)?;
                let (classic, quantum) = signature.split_at_checked(ED25519_SIGNATURE_BYTES).ok_or(CryptoError::BadSignature)?;
                verify_ed25519(classic_key, input, classic)?;
                verify_ml_dsa(MlDsa::L65, quantum_key, input, quantum)
            }
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.suite, self.key_id())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyJson {
    suite: SignSuite,
    key: String,
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PublicKeyJson { suite: self.suite, key: URL_SAFE_NO_PAD.encode(&self.bytes) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = PublicKeyJson::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&json.key).map_err(serde::de::Error::custom)?;
        Self::new(json.suite, bytes).map_err(serde::de::Error::custom)
    }
}

/// A signature with the names of its suite and key. Serialized as `{"suite": …, "key": …, "signature": base64url}`.
///
/// Nothing in it is believed before [`PublicKey::verify`] or [`crate::KeyRing::verify`] accepts it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The suite it claims.
    pub suite: SignSuite,
    /// The key it claims.
    pub key: KeyId,
    /// The signature itself; see [`SignSuite`] for its layout.
    #[serde(rename = "signature", with = "crate::encoding::base64url")]
    pub bytes: Vec<u8>,
}
