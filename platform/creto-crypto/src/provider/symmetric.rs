//! Randomness, hashing, derivation and authenticated encryption.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, hmac, rand};

use crate::error::CryptoError;
use crate::suite::AeadSuite;

pub(crate) fn fill_random(out: &mut [u8]) -> Result<(), CryptoError> {
    rand::fill(out).map_err(|_| CryptoError::Provider("get randomness"))
}

pub(crate) fn sha3_256(parts: &[&[u8]]) -> Result<[u8; 32], CryptoError> {
    let mut context = digest::Context::new(&digest::SHA3_256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().map_err(|_| CryptoError::Provider("hash"))
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

pub(crate) fn hkdf_sha256(salt: &[u8], ikm: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
    let length = Length(out.len());
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(ikm);
    let failed = |_| CryptoError::Provider("derive a key");
    prk.expand(&[info], length).map_err(failed)?.fill(out).map_err(failed)
}

pub(crate) fn hmac_sha256(key: &[u8], msg: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), msg);
    let mut out = [0; 32];
    // INVARIANT: an HMAC-SHA-256 tag is 32 bytes, so nothing is cut off or left zero.
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    out
}

pub(crate) fn hmac_sha256_verify(key: &[u8], msg: &[u8], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), msg, tag).is_ok()
}

fn aead_key(suite: AeadSuite, key: &[u8]) -> Result<LessSafeKey, CryptoError> {
    let algorithm = match suite {
        AeadSuite::Aes256Gcm => &AES_256_GCM,
        AeadSuite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    };
    let key = UnboundKey::new(algorithm, key).map_err(|_| CryptoError::BadKey("32-byte encryption key"))?;
    Ok(LessSafeKey::new(key))
}

/// Turns `body` from plain text into ciphertext and tag.
pub(crate) fn aead_seal(suite: AeadSuite, key: &[u8], nonce: [u8; 12], aad: &[u8], body: &mut Vec<u8>) -> Result<(), CryptoError> {
    let key = aead_key(suite, key)?;
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body).map_err(|_| CryptoError::Provider("encrypt"))
}

/// Turns `body` from ciphertext and tag into plain text, which is its first bytes; says how many.
pub(crate) fn aead_open(suite: AeadSuite, key: &[u8], nonce: [u8; 12], aad: &[u8], body: &mut [u8]) -> Result<usize, CryptoError> {
    let key = aead_key(suite, key)?;
    let plain = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body).map_err(|_| CryptoError::BadCiphertext)?;
    Ok(plain.len())
}
