//! Passwords: argon2id (RFC 9106) with OWASP's parameters for 19 MiB, two passes, one lane.

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use creto_crypto::random;

use crate::error::NhiError;

/// Fewest bytes of a password (NIST SP 800-63B rev. 4 asks for 15 where it is the only factor).
pub const PASSWORD_BYTES_MIN: usize = 15;
/// Most bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1024;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

fn damaged(e: impl ToString) -> NhiError {
    NhiError::Stored(e.to_string())
}

fn argon2id() -> Result<Argon2<'static>, NhiError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(damaged)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

pub(super) fn check_length(password: &str) -> Result<(), NhiError> {
    match (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        true => Ok(()),
        false => Err(NhiError::PasswordLength { min: PASSWORD_BYTES_MIN, max: PASSWORD_BYTES_MAX }),
    }
}

/// The PHC string that is stored. Takes tens of milliseconds: not for an async thread.
pub(super) fn hash(password: &str) -> Result<String, NhiError> {
    let mut salt = [0; 16];
    random::fill(&mut salt)?;
    let salt = SaltString::encode_b64(&salt).map_err(damaged)?;
    Ok(argon2id()?.hash_password(password.as_bytes(), &salt).map_err(damaged)?.to_string())
}

/// Whether the password is the stored one; where nothing is stored, the same work for the answer no.
pub(super) fn verify(password: &str, stored: Option<&str>) -> Result<bool, NhiError> {
    match stored {
        Some(stored) => {
            let stored = PasswordHash::new(stored).map_err(damaged)?;
            Ok(argon2id()?.verify_password(password.as_bytes(), &stored).is_ok())
        }
        None => hash(password).map(|_| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_own_hash_only() {
        let stored = hash("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify("correct horse battery", Some(&stored)).unwrap());
        assert!(!verify("correct horse batterz", Some(&stored)).unwrap());
        assert!(!verify("correct horse battery", None).unwrap());
        assert!(verify("x", Some("$plain$x")).is_err());
        assert_ne!(hash("correct horse battery").unwrap(), stored, "each hash has a salt of its own");
    }

    #[test]
    fn length_is_bounded() {
        assert!(check_length(&"x".repeat(14)).is_err());
        assert!(check_length(&"x".repeat(15)).is_ok());
        assert!(check_length(&"x".repeat(1024)).is_ok());
        assert!(check_length(&"x".repeat(1025)).is_err());
    }
}
