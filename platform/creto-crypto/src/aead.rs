//! Authenticated encryption. A sealed text is `nonce (12) ‖ ciphertext ‖ tag (16)`; the nonce is random.
//!
//! INVARIANT: a nonce never comes from the caller, so it cannot be repeated by mistake. Random 96-bit nonces bound one key to 2³²
//! sealed texts (NIST SP 800-38D, section 8.3): keys that seal more are derived anew, as storage does for each object.

use crate::error::CryptoError;
use crate::provider;
use crate::random;
use crate::secret::Secret;
use crate::suite::AeadSuite;

/// Bytes of a key, for every suite.
pub const KEY_BYTES: usize = 32;
/// Bytes a sealed text is longer than its plain text: nonce and tag.
pub const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Seals `plain`; `aad` is authenticated and not carried.
///
/// # Errors
/// The key is not 32 bytes; the machine has no randomness.
pub fn seal(suite: AeadSuite, key: &Secret, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut nonce = [0; NONCE_BYTES];
    random::fill(&mut nonce)?;
    let mut sealed = Vec::with_capacity(plain.len().saturating_add(OVERHEAD_BYTES));
    sealed.extend_from_slice(&nonce);
    // Encrypted in its own buffer, which the provider turns into ciphertext in place: no plain text is left behind on the heap.
    let mut body = Vec::with_capacity(plain.len().saturating_add(TAG_BYTES));
    body.extend_from_slice(plain);
    provider::aead_seal(suite, key.expose(), nonce, aad, &mut body)?;
    sealed.append(&mut body);
    Ok(sealed)
}

/// Opens what [`seal`] made with the same suite, key and associated data.
///
/// # Errors
/// [`CryptoError::BadCiphertext`] for any difference, without saying which; the key is not 32 bytes.
pub fn open(suite: AeadSuite, key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Secret, CryptoError> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CryptoError::BadCiphertext)?;
    if body.len() < TAG_BYTES {
        return Err(CryptoError::BadCiphertext);
    }
    let mut body = zeroize::Zeroizing::new(body.to_vec());
    let len = provider::aead_open(suite, key.expose(), *nonce, aad, &mut body)?;
    body.truncate(len);
    Ok(Secret::new(std::mem::take(&mut *body)))
}
