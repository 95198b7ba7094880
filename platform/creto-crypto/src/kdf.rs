//! Key derivation and message authentication: HKDF (RFC 5869) and HMAC (RFC 2104), both over SHA-256.

use crate::error::CryptoError;
use crate::provider;
use crate::secret::Secret;

/// The most HKDF-SHA-256 can give: 255 blocks of 32 bytes (RFC 5869, section 2.3).
pub const HKDF_BYTES_MAX: usize = 255 * 32;

/// HKDF-SHA-256: extract with `salt`, expand with `info` to `len` bytes.
///
/// # Errors
/// `len` is over [`HKDF_BYTES_MAX`].
pub fn hkdf(salt: &[u8], ikm: &[u8], info: &[u8], len: usize) -> Result<Secret, CryptoError> {
    if len > HKDF_BYTES_MAX {
        return Err(CryptoError::DerivedTooLong(len));
    }
    let mut out = vec![0; len];
    provider::hkdf_sha256(salt, ikm, info, &mut out)?;
    Ok(Secret::new(out))
}

/// HMAC-SHA-256 of `msg`.
#[must_use]
pub fn hmac(key: &[u8], msg: &[u8]) -> [u8; 32] {
    provider::hmac_sha256(key, msg)
}

/// Whether `tag` is the HMAC-SHA-256 of `msg`, in constant time. A truncated tag is refused.
#[must_use]
pub fn hmac_verify(key: &[u8], msg: &[u8], tag: &[u8]) -> bool {
    provider::hmac_sha256_verify(key, msg, tag)
}
