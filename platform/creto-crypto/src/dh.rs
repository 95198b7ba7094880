//! Raw Diffie-Hellman on X25519 (RFC 7748), for protocols that are defined on it (X3DH, the Double Ratchet) and derive their own keys.
//! Everything else uses a KEM suite, which binds both public keys and hashes the result.

use crate::error::CryptoError;
use crate::provider;
use crate::secret::Secret;

/// Bytes of a scalar, a share and a result.
pub const BYTES: usize = 32;

/// The share of `scalar`. Any 32 bytes are a scalar: RFC 7748 clamps them.
///
/// # Errors
/// The library failed.
pub fn public(scalar: &[u8; BYTES]) -> Result<[u8; BYTES], CryptoError> {
    provider::x25519_public(scalar)
}

/// What `scalar` and the peer's `share` agree on.
///
/// # Errors
/// [`CryptoError::BadEncapsulation`] when the result is all zero: the share has small order (RFC 7748, section 6.1).
pub fn agree(scalar: &[u8; BYTES], share: &[u8; BYTES]) -> Result<Secret, CryptoError> {
    provider::x25519_agree(scalar, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_iteration_of_rfc_7748_section_5_2() {
        let mut nine = [0; BYTES];
        nine[0] = 9;
        let agreed = agree(&nine, &nine).unwrap();
        assert_eq!(hex::encode(agreed.expose()), "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
        assert_eq!(public(&nine).unwrap(), agreed.expose());
    }

    #[test]
    fn both_sides_agree_and_a_degenerate_share_is_refused() {
        let (one, other) = ([1; BYTES], [2; BYTES]);
        assert_eq!(agree(&one, &public(&other).unwrap()).unwrap(), agree(&other, &public(&one).unwrap()).unwrap());
        let mut small = [0; BYTES];
        assert!(matches!(agree(&one, &small), Err(CryptoError::BadEncapsulation)));
        small[0] = 1;
        assert!(matches!(agree(&one, &small), Err(CryptoError::BadEncapsulation)));
    }
}
