//! Randomness from the cryptographic library's generator, which the operating system seeds.

use crate::error::CryptoError;

/// Fills `out` with random bytes.
///
/// # Errors
/// The operating system has no randomness.
pub fn fill(out: &mut [u8]) -> Result<(), CryptoError> {
    crate::provider::fill_random(out)
}
