//! The operating system's randomness.

use creto_crypto::{CryptoError, KemPublicKey, KemSecretKey, KemSuite, Secret, random};

use crate::core::suite::Entropy;

/// The operating system's randomness, reseeded by its generator after fork and restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        random::fill(out)
    }

    fn encapsulate(&mut self, key: &KemPublicKey) -> Result<(Vec<u8>, Secret), CryptoError> {
        key.encapsulate()
    }

    fn kem_secret(&mut self, suite: KemSuite) -> Result<KemSecretKey, CryptoError> {
        KemSecretKey::generate(suite)
    }
}
