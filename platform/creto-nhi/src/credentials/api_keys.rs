//! Bearer keys: `creto_<role>_<32 hexadecimal digits of the id>_<64 of the secret>`.

use std::sync::Arc;
use std::time::Duration;

use creto_db::Sealed;
use creto_kernel::id::CredentialId;
use creto_kernel::{NhiId, TenantId, Timestamp};
use subtle::ConstantTimeEq as _;

use super::{Credentials, Token, read_secret, secret, stored_form};
use crate::authority::check_tenant;
use crate::error::NhiError;
use crate::model::link::DelegationChain;
use crate::model::principal::{AuthMethod, Principal, Role, Roles};
use crate::store;
use crate::store::keys::ApiKey;

/// The longest life of a key, in days.
pub const KEY_DAYS_MAX: u32 = 366;
/// The length of the longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 128;

/// A key just made, with its token: the one time it is seen.
#[derive(Debug, Clone)]
pub struct IssuedKey {
    /// What is stored.
    pub key: ApiKey,
    /// The bearer token.
    pub token: Token,
}

/// A stored key with its chain, as of a revocation epoch.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    key: Arc<ApiKey>,
    chain: Option<Arc<DelegationChain>>,
    epoch: u64,
}

impl Credentials {
    /// Makes a key for `identity`. For the role `agent` it is bound to `chain`, which must end at the identity and is recorded.
    ///
    /// # Errors
    /// `nhi.role_refused` when the role does not fit the identity's kind; `nhi.credential_chain` when an agent's chain is missing, not
    /// its own, or given for another role; `nhi.credential_lifetime`; `nhi.other_tenant`; everything [`crate::Authority::verify`]
    /// refuses.
    pub async fn issue_api_key(
        &self,
        actor: &NhiId,
        identity: &NhiId,
        role: Role,
        chain: Option<&DelegationChain>,
        not_after: Timestamp,
    ) -> Result<IssuedKey, NhiError> {
        check_tenant(actor, identity)?;
        Roles::only(role).fit(identity.kind())?;
        let now = self.authority.now();
        let longest = Duration::from_secs(u64::from(KEY_DAYS_MAX) * 86_400);
        if not_after <= now || not_after.since(now) > longest {
            return Err(NhiError::CredentialLifetime(KEY_DAYS_MAX));
        }
        self.authority.active(identity)?;
        let bound = match (role, chain) {
            (Role::Agent, Some(chain)) => Some((self.authority.verify(chain, now)?, chain)),
            (Role::Agent, None) => return Err(NhiError::CredentialChain("a key of an agent needs the delegation chain it acts under")),
            (_, None) => None,
            (_, Some(_)) => return Err(NhiError::CredentialChain("only a key of an agent is bound to a delegation chain")),
        };
        if bound.as_ref().is_some_and(|(verified, _)| verified.leaf() != identity) {
            return Err(NhiError::CredentialChain("the delegation chain ends at another identity"));
        }
        let secret = secret()?;
        let key = ApiKey {
            id: CredentialId::generate(),
            identity: identity.clone(),
            role,
            chain: bound.as_ref().map(|(verified, _)| verified.digest()),
            created_at: now,
            not_after,
            revoked_at: None,
            secret_digest: stored_form(&secret),
        };
        let leaf = self.authority.leaf(actor, "nhi.issue_key", &format!("credential:{}", key.id), "done")?;
        let mut leaf = leaf.fact("role", role).fact("identity", identity);
        let mut sealed_steps: Vec<Box<dyn creto_db::Step>> = vec![Box::new(store::keys::insert(&key))];
        if let Some((verified, chain)) = &bound {
            leaf = leaf.digest("bound_chain", verified.digest());
            sealed_steps.push(Box::new(store::insert_chain(verified, chain.to_token()?, now)));
        }
        self.authority.db().commit(Sealed::new(leaf).steps(sealed_steps)).await?;
        let token = format!("creto_{role}_{}_{}", hex::encode(key.id.as_bytes()), hex::encode(secret));
        Ok(IssuedKey { key, token: Token(token) })
    }

    /// Whom a bearer token speaks for.
    ///
    /// # Errors
    /// `nhi.credential_malformed`, `nhi.credential_unknown` (also for a wrong secret), `nhi.credential_revoked`,
    /// `nhi.credential_expired`, the status of its identity, and everything [`crate::Authority::verify`] refuses for its chain.
    pub async fn authenticate_bearer(&self, token: &str) -> Result<Principal, NhiError> {
        let (role, id, secret) = read_token(token).ok_or(NhiError::CredentialMalformed)?;
        let Remembered { key, chain, .. } = self.stored_key(id).await?;
        let same = stored_form(&secret).as_bytes().ct_eq(key.secret_digest.as_bytes());
        if !bool::from(same) || key.role != role {
            return Err(NhiError::CredentialUnknown);
        }
        let now = self.authority.now();
        if key.revoked_at.is_some() {
            return Err(NhiError::CredentialRevoked);
        }
        if now >= key.not_after {
            return Err(NhiError::CredentialExpired(key.not_after));
        }
        self.authority.active(&key.identity)?;
        let how = AuthMethod::ApiKey(id);
        match (key.role, chain) {
            (Role::Agent, Some(chain)) => {
                let verified = self.authority.verify(&chain, now)?.held_until(key.not_after);
                match *verified.leaf() == key.identity {
                    true => Ok(Principal::agent(verified, how)),
                    false => Err(NhiError::Stored(format!("key `{id}` is bound to the chain of another identity"))),
                }
            }
            (Role::Agent, None) => Err(NhiError::Stored(format!("key `{id}` has lost its chain"))),
            (role, _) => Principal::staff(key.identity.clone(), Roles::only(role), how),
        }
    }

    /// The key as of now: a remembered one counts only while the revocation epoch stands still.
    async fn stored_key(&self, id: CredentialId) -> Result<Remembered, NhiError> {
        let epoch = self.authority.revocation_epoch();
        if let Some(remembered) = self.keys.get(&id).filter(|remembered| remembered.epoch == epoch) {
            return Ok(remembered);
        }
        let key = store::keys::find(self.authority.db(), id).await?.ok_or(NhiError::CredentialUnknown)?;
        let chain = match key.chain {
            Some(digest) => store::chain(self.authority.db(), key.identity.tenant(), digest).await?.map(Arc::new),
            None => None,
        };
        let remembered = Remembered { key: Arc::new(key), chain, epoch };
        self.keys.insert(id, remembered.clone());
        Ok(remembered)
    }

    /// Revokes a key; the next request with it is refused.
    ///
    /// # Errors
    /// `nhi.credential_not_found` when the actor's tenant has no such key, or it was revoked before.
    pub async fn revoke_api_key(&self, actor: &NhiId, id: CredentialId) -> Result<(), NhiError> {
        let leaf = self.authority.leaf(actor, "nhi.revoke_key", &format!("credential:{id}"), "done")?;
        let revoke = store::keys::revoke(actor.tenant(), id, self.authority.now());
        self.authority.end(Sealed::new(leaf).step(revoke)).await
    }

    /// The keys of a tenant, oldest first.
    pub async fn api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, NhiError> {
        store::keys::list(self.authority.db(), tenant).await
    }
}

/// Whether a text has the form of a bearer key, and then which role and identifier it names. It says nothing about who it speaks for.
#[must_use]
pub fn read_form(token: &str) -> Option<(Role, CredentialId)> {
    read_token(token).map(|(role, id, _)| (role, id))
}

/// Role, identifier and secret of a token in exactly the form it was issued in.
fn read_token(token: &str) -> Option<(Role, CredentialId, [u8; 32])> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut parts = token.split('_');
    let (Some("creto"), Some(role), Some(id), Some(secret), None) = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let id = format!("{}_{id}", CredentialId::PREFIX).parse().ok()?;
    Some((role.parse().ok()?, id, read_secret(secret)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_issued_form_is_read() {
        let good = format!("creto_agent_{}_{}", "0a".repeat(16), "0b".repeat(32));
        let (role, id, secret) = read_token(&good).unwrap();
        assert_eq!((role, id.as_bytes(), secret), (Role::Agent, &[0x0a; 16], [0x0b; 32]));
        for bad in [
            good.to_uppercase(),
            format!("{good}_"),
            format!("{good}0"),
            format!(" {good}"),
            good.replace("agent", "root"),
            good.replace("0b", "0B"),
            good.replace("creto_", ""),
            "creto_agent__".to_owned(),
            String::new(),
        ] {
            assert!(read_token(&bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            prop_assert!(read_token(&text).is_none());
        }
    }
}
