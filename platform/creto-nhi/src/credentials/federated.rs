//! Signing in through an identity provider: what a login under way remembers, and whose session comes of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_db::Sealed;
use creto_kernel::{Digest, NhiId, NhiKind, TenantId};

use super::{CHALLENGE_MAX, Credentials, Login, secret};
use crate::authority::resource;
use crate::error::NhiError;
use crate::model::principal::Roles;
use crate::store::{accounts, passkeys};

/// Most logins that may be under way in one tenant: anybody can begin one.
const LOGINS_OPEN_MAX: i64 = 2_000;
const OIDC: &str = "oidc";

/// A login that begins: what goes to the provider, and what stays with the browser.
#[derive(Debug, Clone)]
pub struct FederatedStart {
    /// Ties the provider's answer to this login.
    pub state: String,
    /// Ties the token to it.
    pub nonce: String,
    /// The PKCE challenge (RFC 7636, S256).
    pub code_challenge: String,
    /// A secret for the browser's cookie: only the browser that began a login ends it.
    pub browser: String,
}

/// A login that ends: what the answer is checked with.
#[derive(Debug, Clone)]
pub struct FederatedEnd {
    /// What the token must say.
    pub nonce: String,
    /// The PKCE verifier.
    pub verifier: String,
}

/// Somebody whom a provider proved.
#[derive(Debug, Clone)]
pub struct Federated<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// Its name for them, stable and never given to somebody else.
    pub subject: &'a str,
    /// The name they get here.
    pub name: &'a str,
    /// What they may do.
    pub roles: Roles,
}

impl Credentials {
    /// Begins a login.
    ///
    /// # Errors
    /// `nhi.login_throttled` while too many are under way.
    pub async fn begin_federated(&self, tenant: &TenantId) -> Result<FederatedStart, NhiError> {
        let now = self.authority.now();
        if passkeys::open(self.authority.db(), tenant, OIDC, now).await? >= LOGINS_OPEN_MAX {
            return Err(NhiError::LoginThrottled { retry_after_secs: CHALLENGE_MAX.as_secs() });
        }
        let fresh = || secret().map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let (state, nonce, verifier, browser) = (fresh()?, fresh()?, fresh()?, fresh()?);
        let asked = passkeys::Challenge {
            challenge: Digest::of(state.as_bytes()),
            purpose: OIDC,
            identity: None,
            binding: Digest::of(browser.as_bytes()).to_string(),
            nonce: format!("{nonce}.{verifier}"),
            expires_at: now.saturating_add(CHALLENGE_MAX),
        };
        passkeys::ask(self.authority.db(), tenant, &asked, now).await?;
        let code_challenge = URL_SAFE_NO_PAD.encode(Digest::of(verifier.as_bytes()).as_bytes());
        Ok(FederatedStart { state, nonce, code_challenge, browser })
    }

    /// Ends a login: the state is good once, for the browser that began it.
    ///
    /// # Errors
    /// `nhi.login_failed`.
    pub async fn end_federated(&self, tenant: &TenantId, state: &str, browser: &str) -> Result<FederatedEnd, NhiError> {
        let taken = passkeys::take(self.authority.db(), tenant, Digest::of(state.as_bytes()), OIDC, self.authority.now()).await?;
        let (binding, secrets) = taken.ok_or(NhiError::LoginFailed)?;
        let (nonce, verifier) = secrets.split_once('.').ok_or(NhiError::LoginFailed)?;
        if binding != Digest::of(browser.as_bytes()).to_string() {
            return Err(NhiError::LoginFailed);
        }
        Ok(FederatedEnd { nonce: nonce.to_owned(), verifier: verifier.to_owned() })
    }

    /// Begins the session of somebody whom a provider proved. At their first login the name is theirs if nobody has it; from then on the
    /// provider's subject says who they are, so that a name given to somebody else there opens nothing here. Roles are those the provider
    /// says now.
    ///
    /// # Errors
    /// `nhi.login_failed` where the name is somebody else's; the status of the identity; `nhi.identity_name`.
    pub async fn login_federated(&self, tenant: &TenantId, who: Federated<'_>) -> Result<Login, NhiError> {
        let db = self.authority.db();
        let identity = NhiId::new(self.authority.trust_domain(), tenant, NhiKind::Human, who.name)?;
        let known = accounts::federated(db, tenant, who.issuer, who.subject).await?;
        let identity = match known {
            Some(identity) => identity,
            None => {
                if self.authority.identity(&identity).is_ok() {
                    return Err(NhiError::LoginFailed);
                }
                self.authority.create_identity(&identity, tenant, NhiKind::Human, who.name).await?;
                // Nobody knows this password: they come by their provider, or by an invitation.
                let unknown = URL_SAFE_NO_PAD.encode(secret()?);
                self.create_account(&identity, &identity, &unknown, who.roles).await?;
                let leaf = self.authority.leaf(&identity, "nhi.federate", &resource(&identity), "done")?.fact("issuer", who.issuer);
                let leaf = leaf.digest("subject", Digest::of_parts(&[who.issuer.as_bytes(), b"\n", who.subject.as_bytes()]));
                db.commit(Sealed::new(leaf).step(accounts::insert_federated(&identity, who.issuer, who.subject))).await?;
                identity
            }
        };
        self.authority.active(&identity)?;
        let account = accounts::account(db, &identity).await?.ok_or(NhiError::LoginFailed)?;
        if account.roles != who.roles {
            let leaf = self.authority.leaf(&identity, "nhi.set_roles", &resource(&identity), "done")?.fact("roles", who.roles);
            db.commit(Sealed::new(leaf).step(accounts::set_roles(&identity, who.roles.fit(NhiKind::Human)?))).await?;
        }
        self.begin_session(&identity, who.roles).await
    }
}
