//! The cryptographic library behind plain functions. Nothing outside this folder names it.
//!
//! INVARIANT: every function takes and gives bytes, and checks every length. Replacing the library (a FIPS build, an HSM) changes this
//! folder alone.

mod agreement;
mod encapsulation;
mod signing;
mod symmetric;

pub(crate) use agreement::{x25519_agree, x25519_public};
pub(crate) use encapsulation::{ml_kem_768_decapsulate, ml_kem_768_encapsulate, ml_kem_768_generate, ml_kem_768_public};
pub(crate) use signing::{Ed25519Pair, MlDsa, MlDsaPair, RsaPair, verify_ed25519, verify_ml_dsa, verify_p256, verify_rsa_sha256};
pub(crate) use symmetric::{aead_open, aead_seal, fill_random, hkdf_sha256, hmac_sha256, hmac_sha256_verify, sha3_256};
