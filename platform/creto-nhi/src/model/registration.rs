//! A key of one's own, offered for registration: a statement signed by that very key.

use std::time::Duration;

use creto_crypto::{PublicKey, Signature, SigningKey};
use creto_kernel::canonical::{self, CanonicalError};
use creto_kernel::{NhiId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::NhiError;

/// The signature domain of a registration.
pub const REGISTRATION_DOMAIN: &str = "creto/key-registration/v1";
/// How old a registration may be, and how far its clock may run ahead.
pub const REGISTRATION_AGE_MAX: Duration = Duration::from_secs(300);

/// Says that whoever holds the private half of `public` wants it to be a key of `identity`.
///
/// Untrusted until [`Self::check`]: without the signature by the key itself, anybody could register a key that is somebody else's and
/// so pass what that one signs off as their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRegistration {
    /// Whose key it is to be.
    pub identity: NhiId,
    /// The key.
    pub public: PublicKey,
    /// When, by the signer's clock.
    pub created: Timestamp,
    /// Over the RFC 8785 bytes of all other fields, in [`REGISTRATION_DOMAIN`], by the key itself.
    pub signature: Signature,
}

#[derive(Serialize)]
struct Statement<'a> {
    identity: &'a NhiId,
    public: &'a PublicKey,
    created: Timestamp,
}

impl KeyRegistration {
    /// Offers `key` as a key of `identity`.
    ///
    /// # Errors
    /// What the cryptographic library says.
    pub fn sign(identity: &NhiId, key: &SigningKey, created: Timestamp) -> Result<Self, NhiError> {
        let public = key.public();
        let bytes = canonical::to_vec(&Statement { identity, public: &public, created })?;
        let signature = key.sign(REGISTRATION_DOMAIN, &bytes)?;
        Ok(Self { identity: identity.clone(), public, created, signature })
    }

    /// Checks that it was made for `identity`, just now, by whoever holds the key.
    ///
    /// # Errors
    /// `nhi.registration_refused`.
    pub fn check(&self, identity: &NhiId, now: Timestamp) -> Result<(), NhiError> {
        if self.identity != *identity {
            return Err(NhiError::RegistrationRefused("it was made for another identity"));
        }
        let fresh = now.since(self.created) <= REGISTRATION_AGE_MAX && self.created.since(now) <= REGISTRATION_AGE_MAX;
        if !fresh {
            return Err(NhiError::RegistrationRefused("it was made more than five minutes before or after the server's time"));
        }
        let proved = self.public.verify(REGISTRATION_DOMAIN, &self.statement()?, &self.signature);
        proved.map_err(|_| NhiError::RegistrationRefused("its signature is not one by the key it offers"))
    }

    fn statement(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_vec(&Statement { identity: &self.identity, public: &self.public, created: self.created })
    }
}

#[cfg(test)]
mod tests {
    use creto_crypto::SignSuite;
    use creto_kernel::Coded as _;

    use super::*;

    #[test]
    fn only_the_holder_of_the_key_registers_it_for_whom_they_name_and_in_time() {
        let id: NhiId = "spiffe://creto.test/tenant/default/agent/a".parse().unwrap();
        let other: NhiId = "spiffe://creto.test/tenant/default/agent/b".parse().unwrap();
        let (own, foreign) = (SigningKey::generate(SignSuite::default()).unwrap(), SigningKey::generate(SignSuite::default()).unwrap());
        let now = Timestamp::from_secs(1_800_000_000).unwrap();
        let made = KeyRegistration::sign(&id, &own, now).unwrap();
        made.check(&id, now).unwrap();
        let late = now.saturating_add(REGISTRATION_AGE_MAX + Duration::from_secs(1));
        let taken = KeyRegistration { public: foreign.public(), ..made.clone() };
        let moved = KeyRegistration { identity: other.clone(), ..made.clone() };
        for (what, refused) in [
            ("for another", made.check(&other, now)),
            ("too late", made.check(&id, late)),
            ("somebody else's key", taken.check(&id, now)),
            ("another name", moved.check(&other, now)),
            ("another moment", KeyRegistration { created: late, ..made.clone() }.check(&id, late)),
        ] {
            assert_eq!(refused.unwrap_err().code().as_str(), "nhi.registration_refused", "{what}");
        }
    }
}
