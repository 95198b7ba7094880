//! ML-KEM-768 (FIPS 203), with expanded decapsulation keys: `dk_pke (1152) ‖ ek (1184) ‖ H(ek) (32) ‖ z (32)`.

use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use subtle::ConstantTimeEq;

use super::symmetric::sha3_256;
use crate::error::CryptoError;
use crate::secret::Secret;

const PKE_BYTES: usize = 1152;
const PUBLIC_BYTES: usize = 1184;
const HASH_BYTES: usize = 32;
const SECRET: &str = "ML-KEM-768 decapsulation key";
const PUBLIC: &str = "ML-KEM-768 encapsulation key";

pub(crate) fn ml_kem_768_generate() -> Result<Secret, CryptoError> {
    let failed = |_| CryptoError::Provider("make a key");
    let key = DecapsulationKey::generate(&ML_KEM_768).map_err(failed)?;
    Ok(Secret::copy_of(key.key_bytes().map_err(failed)?.as_ref()))
}

/// The encapsulation key inside a decapsulation key, after the hash check of FIPS 203, section 7.3.
pub(crate) fn ml_kem_768_public(secret: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let rest = secret.get(PKE_BYTES..).ok_or(CryptoError::BadKey(SECRET))?;
    let (public, rest) = rest.split_at_checked(PUBLIC_BYTES).ok_or(CryptoError::BadKey(SECRET))?;
    let (hash, z) = rest.split_at_checked(HASH_BYTES).ok_or(CryptoError::BadKey(SECRET))?;
    if z.len() != 32 || !bool::from(sha3_256(&[public])?.as_slice().ct_eq(hash)) {
        return Err(CryptoError::BadKey(SECRET));
    }
    Ok(public.to_vec())
}

/// The library makes the modulus check of FIPS 203, section 7.2; the published vectors hold it to that.
pub(crate) fn ml_kem_768_encapsulate(public: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
    let key = EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| CryptoError::BadKey(PUBLIC))?;
    let (ciphertext, secret) = key.encapsulate().map_err(|_| CryptoError::BadKey(PUBLIC))?;
    Ok((ciphertext.as_ref().to_vec(), Secret::copy_of(secret.as_ref())))
}

pub(crate) fn ml_kem_768_decapsulate(secret: &[u8], ciphertext: &[u8]) -> Result<Secret, CryptoError> {
    let key = DecapsulationKey::new(&ML_KEM_768, secret).map_err(|_| CryptoError::BadKey(SECRET))?;
    let shared = key.decapsulate(ciphertext.into()).map_err(|_| CryptoError::BadEncapsulation)?;
    Ok(Secret::copy_of(shared.as_ref()))
}
