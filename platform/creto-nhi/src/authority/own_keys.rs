//! Keys that identities keep themselves: offered by their holder, and taken in.

use creto_crypto::KeyId;

use super::Authority;
use crate::error::NhiError;
use crate::model::principal::{AuthMethod, Principal};
use crate::model::registration::KeyRegistration;

impl Authority {
    /// Registers the key that an identity offers for itself, authorised by the credential it came with. What its earlier keys signed
    /// until now stays good; from now on only this one signs, and the server cannot.
    ///
    /// # Errors
    /// `nhi.registration_refused`, also out of a sandbox: a run's identity ends with the run, and a key would outlive it;
    /// `nhi.identity_changed` for a key it had before, a withdrawn one included; `crypto.refused_suite`; the status of the identity.
    pub async fn register_own_key(&self, principal: &Principal, offered: &KeyRegistration) -> Result<KeyId, NhiError> {
        if principal.how == AuthMethod::Sandbox {
            return Err(NhiError::RegistrationRefused("a run has no key of its own: its identity ends with it"));
        }
        let id = &principal.identity;
        self.active(id)?;
        offered.check(id, self.now())?;
        self.register_key(id, id, offered.public.clone()).await
    }
}
