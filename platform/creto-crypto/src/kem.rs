//! Key encapsulation: a sender makes a shared secret and the ciphertext that carries it to the holder of a secret key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::CryptoError;
use crate::keys::KeyId;
use crate::provider::{
    hkdf_sha256, ml_kem_768_decapsulate, ml_kem_768_encapsulate, ml_kem_768_generate, ml_kem_768_public, sha3_256, x25519_agree,
    x25519_public,
};
use crate::secret::Secret;
use crate::suite::KemSuite;

/// Bytes of every shared secret.
pub const SHARED_BYTES: usize = 32;
const X25519_BYTES: usize = 32;
/// `\.//^\`, the label of draft-connolly-cfrg-xwing-kem, section 5.3.
const X_WING_LABEL: &[u8] = &[0x5c, 0x2e, 0x2f, 0x2f, 0x5e, 0x5c];
const X25519_SALT: &[u8] = b"creto-kem-x25519-v1";

/// A decapsulation key. Its bytes are wiped on drop; its `Debug` shows the suite and key id only.
pub struct KemSecretKey {
    secret: Secret,
    public: KemPublicKey,
}

impl KemSecretKey {
    /// A fresh key.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub fn generate(suite: KemSuite) -> Result<Self, CryptoError> {
        let secret = match suite {
            KemSuite::MlKem768 => ml_kem_768_generate()?,
            KemSuite::X25519 => Secret::random(X25519_BYTES)?,
            KemSuite::XWing => {
                let scalar = Secret::random(X25519_BYTES)?;
                Secret::new([ml_kem_768_generate()?.expose(), scalar.expose()].concat())
            }
        };
        Self::from_secret(suite, secret)
    }

    /// The key made from the bytes [`KemSecretKey::to_secret_bytes`] gave.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] when the length is wrong or the key's inner hash does not hold (FIPS 203, section 7.3).
    pub fn from_secret_bytes(suite: KemSuite, bytes: &[u8]) -> Result<Self, CryptoError> {
        Self::from_secret(suite, Secret::copy_of(bytes))
    }

    fn from_secret(suite: KemSuite, secret: Secret) -> Result<Self, CryptoError> {
        if secret.len() != suite.secret_bytes() {
            return Err(CryptoError::BadKey("decapsulation key of the suite's length"));
        }
        let bytes = secret.expose();
        let public = match suite {
            KemSuite::MlKem768 => ml_kem_768_public(bytes)?,
            KemSuite::X25519 => x25519_public(bytes)?.to_vec(),
            KemSuite::XWing => {
                let (lattice, scalar) = split_tail(bytes)?;
                [ml_kem_768_public(lattice)?.as_slice(), &x25519_public(scalar)?].concat()
            }
        };
        Ok(Self { public: KemPublicKey::new(suite, public)?, secret })
    }

    /// The secret bytes, for sealing: the expanded ML-KEM key, then the X25519 scalar.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Secret {
        self.secret.clone()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> KemPublicKey {
        self.public.clone()
    }

    /// The suite.
    #[must_use]
    pub fn suite(&self) -> KemSuite {
        self.public.suite
    }

    /// The shared secret in `ciphertext`. ML-KEM rejects implicitly: a ciphertext that was tampered with gives a secret nobody else
    /// has, and the authenticated encryption that follows fails.
    ///
    /// # Errors
    /// [`CryptoError::BadEncapsulation`] for a wrong length or a degenerate X25519 share.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret, CryptoError> {
        if ciphertext.len() != self.suite().ciphertext_bytes() {
            return Err(CryptoError::BadEncapsulation);
        }
        let secret = self.secret.expose();
        match self.suite() {
            KemSuite::MlKem768 => ml_kem_768_decapsulate(secret, ciphertext),
            KemSuite::X25519 => combine_x25519(&x25519_agree(secret, ciphertext)?, ciphertext, &self.public.bytes),
            KemSuite::XWing => {
                let (lattice, scalar) = split_tail(secret)?;
                let (lattice_ciphertext, share) = split_tail(ciphertext)?;
                let (_, public) = split_tail(&self.public.bytes)?;
                let lattice_secret = ml_kem_768_decapsulate(lattice, lattice_ciphertext)?;
                combine_x_wing(&lattice_secret, &x25519_agree(scalar, share)?, share, public)
            }
        }
    }
}

impl fmt::Debug for KemSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KemSecretKey({}, {})", self.public.suite, self.public.key_id())
    }
}

/// An encapsulation key of its suite's length. Serialized as `{"suite": …, "key": base64url}`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KemPublicKey {
    suite: KemSuite,
    bytes: Vec<u8>,
}

impl KemPublicKey {
    /// Checks the length; [`KemPublicKey::encapsulate`] checks the content.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] when the length is not the suite's.
    pub fn new(suite: KemSuite, bytes: Vec<u8>) -> Result<Self, CryptoError> {
        if bytes.len() == suite.public_bytes() {
            Ok(Self { suite, bytes })
        } else {
            Err(CryptoError::BadKey("encapsulation key of the suite's length"))
        }
    }

    /// The suite.
    #[must_use]
    pub fn suite(&self) -> KemSuite {
        self.suite
    }

    /// The bytes; see [`KemSuite`] for their layout.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of this key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        KeyId::of(self.suite.id(), &self.bytes)
    }

    /// A fresh shared secret, and the ciphertext that carries it.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] when an ML-KEM coefficient is out of range (FIPS 203, section 7.2); [`CryptoError::BadEncapsulation`]
    /// when the X25519 key is of small order.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, Secret), CryptoError> {
        match self.suite {
            KemSuite::MlKem768 => ml_kem_768_encapsulate(&self.bytes),
            KemSuite::X25519 => {
                let (share, agreed) = x25519_to(&self.bytes)?;
                let secret = combine_x25519(&agreed, &share, &self.bytes)?;
                Ok((share.to_vec(), secret))
            }
            KemSuite::XWing => {
                let (lattice, public) = split_tail(&self.bytes)?;
                let (lattice_ciphertext, lattice_secret) = ml_kem_768_encapsulate(lattice)?;
                let (share, agreed) = x25519_to(public)?;
                let secret = combine_x_wing(&lattice_secret, &agreed, &share, public)?;
                Ok(([lattice_ciphertext.as_slice(), &share].concat(), secret))
            }
        }
    }
}

impl fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KemPublicKey({}, {})", self.suite, self.key_id())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KemPublicKeyJson {
    suite: KemSuite,
    key: String,
}

impl Serialize for KemPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        KemPublicKeyJson { suite: self.suite, key: URL_SAFE_NO_PAD.encode(&self.bytes) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KemPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = KemPublicKeyJson::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&json.key).map_err(serde::de::Error::custom)?;
        Self::new(json.suite, bytes).map_err(serde::de::Error::custom)
    }
}

/// Splits off the last 32 bytes: the X25519 part of every X-Wing artefact.
fn split_tail(bytes: &[u8]) -> Result<(&[u8], &[u8]), CryptoError> {
    bytes.len().checked_sub(X25519_BYTES).and_then(|at| bytes.split_at_checked(at)).ok_or(CryptoError::BadKey("X-Wing artefact"))
}

/// An ephemeral share and what it agrees on with `public`.
fn x25519_to(public: &[u8]) -> Result<([u8; 32], Secret), CryptoError> {
    let scalar = Secret::random(X25519_BYTES)?;
    Ok((x25519_public(scalar.expose())?, x25519_agree(scalar.expose(), public)?))
}

/// The combiner of draft-connolly-cfrg-xwing-kem, section 5.3: SHA3-256(ss_M ‖ ss_X ‖ ct_X ‖ pk_X ‖ label).
fn combine_x_wing(lattice: &Secret, agreed: &Secret, share: &[u8], public: &[u8]) -> Result<Secret, CryptoError> {
    sha3_256(&[lattice.expose(), agreed.expose(), share, public, X_WING_LABEL]).map(|secret| Secret::copy_of(&secret))
}

/// HKDF-SHA-256 over the agreed secret; both public keys are bound, so a share that was changed on the way changes the secret.
fn combine_x25519(agreed: &Secret, share: &[u8], public: &[u8]) -> Result<Secret, CryptoError> {
    let mut out = vec![0; SHARED_BYTES];
    hkdf_sha256(X25519_SALT, agreed.expose(), &[share, public].concat(), &mut out)?;
    Ok(Secret::new(out))
}
