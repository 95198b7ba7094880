//! Authenticated encryption under a key that seals one text and no other, so that no nonce is needed or carried: it is zero.
//!
//! INVARIANT: a [`OneTimeKey`] is consumed by sealing. Its maker derives it from something that never repeats: a ratchet step, a fresh salt.

use zeroize::Zeroizing;

use crate::error::CryptoError;
use crate::provider;
use crate::secret::Secret;
use crate::suite::AeadSuite;

const NONCE: [u8; 12] = [0; 12];

/// A 32-byte key for one text. Wiped on drop.
pub struct OneTimeKey(Zeroizing<[u8; 32]>);

impl OneTimeKey {
    /// Takes a derived key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Turns `body` from plain text into ciphertext and tag. Where `body` has room for the 16 bytes of the tag, no copy of the plain text
    /// is left behind.
    ///
    /// # Errors
    /// The library failed.
    pub fn seal_in_place(self, suite: AeadSuite, aad: &[u8], body: &mut Vec<u8>) -> Result<(), CryptoError> {
        provider::aead_seal(suite, self.0.as_slice(), NONCE, aad, body)
    }

    /// Opens what [`OneTimeKey::seal_in_place`] made under the same key.
    ///
    /// # Errors
    /// [`CryptoError::BadCiphertext`] for any difference.
    pub fn open(self, suite: AeadSuite, aad: &[u8], sealed: &[u8]) -> Result<Secret, CryptoError> {
        let mut body = Zeroizing::new(sealed.to_vec());
        let len = provider::aead_open(suite, self.0.as_slice(), NONCE, aad, &mut body)?;
        body.truncate(len);
        Ok(Secret::new(std::mem::take(&mut *body)))
    }
}

impl std::fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OneTimeKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        for suite in [AeadSuite::Aes256Gcm, AeadSuite::ChaCha20Poly1305] {
            let mut body = b"text".to_vec();
            OneTimeKey::new([7; 32]).seal_in_place(suite, b"aad", &mut body).unwrap();
            assert_eq!(OneTimeKey::new([7; 32]).open(suite, b"aad", &body).unwrap().expose(), b"text");
            assert!(OneTimeKey::new([8; 32]).open(suite, b"aad", &body).is_err());
            assert!(OneTimeKey::new([7; 32]).open(suite, b"aae", &body).is_err());
            body[0] ^= 1;
            assert!(OneTimeKey::new([7; 32]).open(suite, b"aad", &body).is_err());
            assert!(OneTimeKey::new([7; 32]).open(suite, b"aad", &body[..15]).is_err());
        }
    }
}
