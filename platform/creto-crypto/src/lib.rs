//! Cryptography by suite: signatures, key encapsulation, authenticated encryption and derivation, an allow-list of algorithms for
//! each purpose, and the ring of sealed keys.
//!
//! Callers name a suite or a purpose, never an algorithm; every artefact carries its suite's identifier.
//!
//! ```
//! use creto_crypto::{SignSuite, SigningKey};
//! let key = SigningKey::generate(SignSuite::default())?;
//! let signature = key.sign("example/greeting/v1", b"hello")?;
//! key.public().verify("example/greeting/v1", b"hello", &signature)?;
//! assert!(key.public().verify("example/farewell/v1", b"hello", &signature).is_err());
//! # Ok::<(), creto_crypto::CryptoError>(())
//! ```
//!
//! INVARIANT: only `provider` names the cryptographic library. Secrets live in [`Secret`], which wipes them and never shows them.

pub mod aead;
pub mod dh;
pub mod encoding;
pub mod error;
pub mod foreign;
pub mod kdf;
pub mod kem;
pub mod key_ring;
pub mod keys;
pub mod one_time;
pub mod policy;
mod provider;
pub mod purpose;
pub mod random;
pub mod secret;
pub mod suite;

pub use error::CryptoError;
pub use kem::{KemPublicKey, KemSecretKey};
pub use key_ring::{KeyInfo, KeyRing, MasterKey};
pub use keys::{KeyId, PublicKey, Signature, SigningKey};
pub use one_time::OneTimeKey;
pub use policy::{AlgorithmPolicy, PurposeRule};
pub use purpose::Purpose;
pub use secret::Secret;
pub use suite::{AeadSuite, KemSuite, SignSuite};
