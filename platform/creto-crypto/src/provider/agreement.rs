//! X25519 (RFC 7748).

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};

use crate::error::CryptoError;
use crate::secret::Secret;

fn private(scalar: &[u8]) -> Result<PrivateKey, CryptoError> {
    PrivateKey::from_private_key(&X25519, scalar).map_err(|_| CryptoError::BadKey("32-byte X25519 secret key"))
}

pub(crate) fn x25519_public(scalar: &[u8]) -> Result<[u8; 32], CryptoError> {
    let public = private(scalar)?.compute_public_key().map_err(|_| CryptoError::Provider("compute a public key"))?;
    public.as_ref().try_into().map_err(|_| CryptoError::Provider("compute a public key"))
}

/// The shared secret. An all-zero result (a share of small order; RFC 7748, section 6.1) is refused: it would let a sender choose
/// the secret without knowing any key.
pub(crate) fn x25519_agree(scalar: &[u8], share: &[u8]) -> Result<Secret, CryptoError> {
    let share = UnparsedPublicKey::new(&X25519, share);
    let secret = agree(&private(scalar)?, share, CryptoError::BadEncapsulation, |secret| Ok(Secret::copy_of(secret)))?;
    if secret.expose().iter().fold(0, |any, byte| any | byte) == 0 {
        return Err(CryptoError::BadEncapsulation);
    }
    Ok(secret)
}
