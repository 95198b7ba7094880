//! Passkeys of people: registration, login, the approval of one action, and the way back for whoever lost theirs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_db::{Sealed, Write};
use creto_kernel::{Digest, NhiId, NhiKind, TenantId, Timestamp};

use super::{Credentials, Login, Token, password, read_secret, secret, stored_form};
use crate::authority::{check_tenant, resource};
use crate::core::webauthn::{self, Assertion, Evidence, PasskeyFault, PasskeyKey, RelyingParty};
use crate::error::NhiError;
use crate::model::principal::{AuthMethod, Principal};
use crate::store::{accounts, passkeys};

/// How long a challenge waits for its answer.
pub const CHALLENGE_MAX: Duration = Duration::from_secs(5 * 60);
/// How long an invitation is good.
pub const INVITE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most passkeys of one person.
pub const PASSKEYS_MAX: usize = 20;
/// Most logins that may be under way in one tenant: anybody can begin one.
const LOGINS_OPEN_MAX: i64 = 2_000;
const LABEL_BYTES_MAX: usize = 80;
const INVITE_PREFIX: &str = "creto_invite_";

const REGISTER: &str = "register";
const LOGIN: &str = "login";
const APPROVE: &str = "approve";

/// A passkey, as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyInfo {
    /// Its identifier, base64url.
    pub credential: String,
    /// What its holder calls it.
    pub label: String,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

/// What a browser is asked: the parts of `navigator.credentials` options that only the server knows, base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyQuestion {
    /// The challenge.
    pub challenge: String,
    /// The relying party's domain.
    pub rp_id: String,
    /// The passkeys of the person: excluded at registration, allowed at an approval.
    pub credentials: Vec<String>,
    /// A stable, meaningless handle of the person, for registration.
    pub user_handle: String,
}

impl Credentials {
    /// Asks a signed-in human's browser for a new passkey, and for one they hold to allow that or a removal: both answer this challenge.
    ///
    /// # Errors
    /// `nhi.passkey_session` when the caller did not sign in; `nhi.passkey_limit`.
    pub async fn passkey_registration(&self, by: &Principal, party: &RelyingParty) -> Result<PasskeyQuestion, NhiError> {
        signed_in(by)?;
        let held = passkeys::of(self.authority.db(), &by.identity).await?;
        if held.len() >= PASSKEYS_MAX {
            return Err(NhiError::PasskeyLimit(PASSKEYS_MAX));
        }
        let challenge = Digest::from_bytes(secret()?);
        self.ask(by.tenant(), challenge, REGISTER, Some(&by.identity), String::new(), String::new()).await?;
        Ok(question(party, challenge, &held, &by.identity))
    }

    /// Registers the passkey the browser made. Whoever holds one already proves it: `proof` is its answer to the same challenge, so that a
    /// password alone adds no key to those that approve.
    ///
    /// # Errors
    /// `nhi.passkey_refused`, `nhi.passkey_exists`, `nhi.passkey_session`, `nhi.passkey_proof`.
    pub async fn register_passkey(
        &self,
        by: &Principal,
        party: &RelyingParty,
        label: &str,
        (client_data, attestation): (&str, &str),
        proof: Option<&Assertion>,
    ) -> Result<PasskeyInfo, NhiError> {
        signed_in(by)?;
        if label.trim().is_empty() || label.len() > LABEL_BYTES_MAX {
            return Err(NhiError::PasskeyLabel(LABEL_BYTES_MAX));
        }
        let (challenge, asked) = self.claimed(by.tenant(), client_data, REGISTER).await?;
        if asked.identity.as_ref() != Some(&by.identity) {
            return Err(PasskeyFault::Challenge.into());
        }
        let made = webauthn::register(party, challenge.as_bytes(), client_data, attestation)?;
        let now = self.authority.now();
        // The leaf commits to the key: an assertion in a receipt can be led back to this registration.
        let leaf = self.authority.leaf(&by.identity, "nhi.passkey_register", &resource(&by.identity), "done")?;
        let leaf = leaf.digest("key", key_digest(&made.key)?);
        let sealed = Sealed::new(leaf).step(passkeys::answer(by.tenant(), challenge));
        let sealed = if passkeys::of(self.authority.db(), &by.identity).await?.is_empty() {
            sealed.step(passkeys::insert_first(&by.identity, label.trim(), &made, now)?)
        } else {
            let proven = self.proven(by, party, challenge, proof).await?;
            sealed.step(proven).step(passkeys::insert(&by.identity, label.trim(), &made, now)?)
        };
        self.authority.db().commit(sealed).await?;
        Ok(PasskeyInfo { credential: made.credential, label: label.trim().to_owned(), created_at: now, used_at: None })
    }

    /// The passkeys of a person.
    pub async fn passkeys(&self, identity: &NhiId) -> Result<Vec<PasskeyInfo>, NhiError> {
        let held = passkeys::of(self.authority.db(), identity).await?;
        let info =
            |p: passkeys::Stored| PasskeyInfo { credential: p.credential, label: p.label, created_at: p.created_at, used_at: p.used_at };
        Ok(held.into_iter().map(info).collect())
    }

    /// Removes a passkey of one's own, as one who holds it or another: `proof` is its answer to the challenge of
    /// [`Self::passkey_registration`]. Whoever lost all of them is let in by an invitation, which ends them.
    ///
    /// # Errors
    /// `nhi.passkey_unknown`, `nhi.passkey_session`, `nhi.passkey_proof`, `nhi.passkey_refused`.
    pub async fn remove_passkey(&self, by: &Principal, party: &RelyingParty, credential: &str, proof: &Assertion) -> Result<(), NhiError> {
        signed_in(by)?;
        let (challenge, asked) = self.claimed(by.tenant(), &proof.client_data, REGISTER).await?;
        if asked.identity.as_ref() != Some(&by.identity) {
            return Err(PasskeyFault::Challenge.into());
        }
        let used = self.proven(by, party, challenge, Some(proof)).await?;
        let leaf = self.authority.leaf(&by.identity, "nhi.passkey_remove", &resource(&by.identity), "done")?;
        let leaf = leaf.digest("credential", Digest::of(credential.as_bytes()));
        let sealed = Sealed::new(leaf).step(passkeys::answer(by.tenant(), challenge)).step(used);
        self.authority.db().commit(sealed.step(passkeys::remove(&by.identity, credential))).await?;
        Ok(())
    }

    /// Checks that a passkey of this very person answered the challenge, and gives the step that counts its use.
    async fn proven(&self, by: &Principal, party: &RelyingParty, challenge: Digest, proof: Option<&Assertion>) -> Result<Write, NhiError> {
        let proof = proof.ok_or(NhiError::PasskeyProof)?;
        let held = passkeys::one(self.authority.db(), by.tenant(), &proof.credential).await?;
        let held = held.filter(|held| held.identity == by.identity).ok_or(NhiError::PasskeyProof)?;
        let count = webauthn::verify(party, challenge.as_bytes(), &held.key, proof)?;
        webauthn::check_count(held.count, count)?;
        Ok(passkeys::used(by.tenant(), &held, count, self.authority.now()))
    }

    /// Asks whoever wants to sign in for any passkey of theirs.
    ///
    /// # Errors
    /// `nhi.login_throttled` while too many logins are under way.
    pub async fn passkey_login(&self, tenant: &TenantId, party: &RelyingParty) -> Result<PasskeyQuestion, NhiError> {
        if passkeys::open(self.authority.db(), tenant, LOGIN, self.authority.now()).await? >= LOGINS_OPEN_MAX {
            return Err(NhiError::LoginThrottled { retry_after_secs: CHALLENGE_MAX.as_secs() });
        }
        let challenge = Digest::from_bytes(secret()?);
        self.ask(tenant, challenge, LOGIN, None, String::new(), String::new()).await?;
        let challenge = URL_SAFE_NO_PAD.encode(challenge.as_bytes());
        Ok(PasskeyQuestion { challenge, rp_id: party.id.clone(), credentials: Vec::new(), user_handle: String::new() })
    }

    /// Begins a session for the holder of a passkey.
    ///
    /// # Errors
    /// `nhi.login_failed` for an unknown passkey, `nhi.passkey_refused`, the status of the identity.
    pub async fn login_by_passkey(&self, tenant: &TenantId, party: &RelyingParty, assertion: &Assertion) -> Result<Login, NhiError> {
        let (challenge, _) = self.claimed(tenant, &assertion.client_data, LOGIN).await?;
        let passkey = passkeys::one(self.authority.db(), tenant, &assertion.credential).await?.ok_or(NhiError::LoginFailed)?;
        let account = accounts::account(self.authority.db(), &passkey.identity).await?.ok_or(NhiError::LoginFailed)?;
        self.use_passkey(party, challenge, &passkey, assertion, "nhi.passkey_login").await?;
        self.authority.active(&passkey.identity)?;
        self.begin_session(&passkey.identity, account.roles).await
    }

    /// Asks a human to approve exactly `digest` of `request` with a passkey: the challenge is SHA-256(digest ‖ nonce).
    ///
    /// # Errors
    /// `nhi.passkey_unknown` where the human has none.
    pub async fn passkey_approval(
        &self,
        by: &NhiId,
        party: &RelyingParty,
        request: &str,
        digest: Digest,
    ) -> Result<PasskeyQuestion, NhiError> {
        let held = passkeys::of(self.authority.db(), by).await?;
        if held.is_empty() {
            return Err(NhiError::PasskeyUnknown);
        }
        let nonce = secret()?;
        let challenge = webauthn::approval_challenge(digest, &nonce);
        self.ask(by.tenant(), challenge, APPROVE, Some(by), binding(request, digest), URL_SAFE_NO_PAD.encode(nonce)).await?;
        Ok(question(party, challenge, &held, by))
    }

    /// Checks the answer, takes the question away, and gives the evidence that stands by itself: JSON of [`Evidence`]. What the human
    /// approved is then still to be recorded; the same answer counts never again.
    ///
    /// # Errors
    /// `nhi.passkey_refused`.
    pub async fn approve_by_passkey(
        &self,
        by: &NhiId,
        party: &RelyingParty,
        request: &str,
        digest: Digest,
        assertion: &Assertion,
    ) -> Result<String, NhiError> {
        let (challenge, asked) = self.claimed(by.tenant(), &assertion.client_data, APPROVE).await?;
        let passkey = passkeys::one(self.authority.db(), by.tenant(), &assertion.credential).await?.ok_or(NhiError::PasskeyUnknown)?;
        if asked.identity.as_ref() != Some(by) || passkey.identity != *by || asked.binding != binding(request, digest) {
            return Err(PasskeyFault::Challenge.into());
        }
        let evidence = Evidence {
            rp_id: party.id.clone(),
            origin: party.origin.clone(),
            nonce: asked.nonce,
            key: passkey.key.clone(),
            assertion: assertion.clone(),
        };
        evidence.verify(digest)?;
        self.use_passkey(party, challenge, &passkey, assertion, "nhi.passkey_approve").await?;
        serde_json::to_string(&evidence).map_err(|e| NhiError::Stored(e.to_string()))
    }

    /// Lets a person who lost their passkeys or password back in: a token for one use, a day long. Only an operator calls this.
    ///
    /// # Errors
    /// `nhi.account_unknown`, `nhi.other_tenant`.
    pub async fn invite(&self, actor: &NhiId, identity: &NhiId) -> Result<Token, NhiError> {
        check_tenant(actor, identity)?;
        if accounts::account(self.authority.db(), identity).await?.is_none() {
            return Err(NhiError::IdentityUnknown(identity.clone()));
        }
        let token = secret()?;
        let until = self.authority.now().saturating_add(INVITE_MAX);
        let [forget, insert] = passkeys::insert_invite(identity, stored_form(&token), until);
        let leaf = self.authority.leaf(actor, "nhi.invite", &resource(identity), "done")?;
        self.authority.db().commit(Sealed::new(leaf).step(forget).step(insert)).await?;
        Ok(Token(format!("{INVITE_PREFIX}{}", hex::encode(token))))
    }

    /// Takes an invitation: another password; every passkey and session of before ends.
    ///
    /// # Errors
    /// `nhi.invite_unknown`, `nhi.password_length`.
    pub async fn redeem_invite(&self, tenant: &TenantId, token: &str, password: &str) -> Result<NhiId, NhiError> {
        let token = token.strip_prefix(INVITE_PREFIX).and_then(read_secret).map(|secret| stored_form(&secret));
        let token = token.ok_or(NhiError::InviteUnknown)?;
        let found = passkeys::invited(self.authority.db(), tenant, token, self.authority.now()).await?;
        let identity = found.ok_or(NhiError::InviteUnknown)?;
        password::check_length(password)?;
        self.authority.active(&identity)?;
        let hashed = self.hash(password).await?;
        let leaf = self.authority.leaf(&identity, "nhi.redeem_invite", &resource(&identity), "done")?;
        let sealed = Sealed::new(leaf)
            .step(passkeys::redeem(tenant, token))
            .step(accounts::set_password(&identity, hashed))
            .step(accounts::end_sessions_of(&identity))
            .step(passkeys::remove_all(&identity));
        self.authority.db().commit(sealed).await?;
        Ok(identity)
    }

    /// The principal of a person whom a channel has proved to be this account's holder; refused where the account or the identity is
    /// gone or suspended, so that a link to an outside identity ends with them.
    ///
    /// # Errors
    /// `nhi.login_failed` without an account, the status of the identity.
    pub async fn account_principal(&self, identity: &NhiId, how: AuthMethod) -> Result<Principal, NhiError> {
        let account = accounts::account(self.authority.db(), identity).await?.ok_or(NhiError::LoginFailed)?;
        self.authority.active(identity)?;
        Principal::staff(identity.clone(), account.roles, how)
    }

    async fn ask(
        &self,
        tenant: &TenantId,
        challenge: Digest,
        purpose: &'static str,
        identity: Option<&NhiId>,
        binding: String,
        nonce: String,
    ) -> Result<(), NhiError> {
        let now = self.authority.now();
        let expires_at = now.saturating_add(CHALLENGE_MAX);
        let asked = passkeys::Challenge { challenge, purpose, identity: identity.cloned(), binding, nonce, expires_at };
        Ok(passkeys::ask(self.authority.db(), tenant, &asked, now).await?)
    }

    /// The question that the client data claims to answer, while it waits.
    async fn claimed(&self, tenant: &TenantId, client_data: &str, purpose: &'static str) -> Result<(Digest, Asked), NhiError> {
        let claimed = webauthn::claimed_challenge(client_data).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let challenge = Digest::from_bytes(claimed.ok_or(PasskeyFault::Malformed("client data"))?);
        let found = passkeys::asked(self.authority.db(), tenant, challenge, purpose, self.authority.now()).await?;
        let (identity, binding, nonce) = found.ok_or(PasskeyFault::Challenge)?;
        Ok((challenge, Asked { identity, binding, nonce }))
    }

    async fn use_passkey(
        &self,
        party: &RelyingParty,
        challenge: Digest,
        passkey: &passkeys::Stored,
        assertion: &Assertion,
        action: &str,
    ) -> Result<(), NhiError> {
        let count = webauthn::verify(party, challenge.as_bytes(), &passkey.key, assertion)?;
        webauthn::check_count(passkey.count, count)?;
        let (tenant, now) = (passkey.identity.tenant(), self.authority.now());
        let leaf = self.authority.leaf(&passkey.identity, action, &resource(&passkey.identity), "done")?;
        let leaf = leaf.digest("key", key_digest(&passkey.key)?);
        let sealed = Sealed::new(leaf).step(passkeys::answer(tenant, challenge)).step(passkeys::used(tenant, passkey, count, now));
        self.authority.db().commit(sealed).await?;
        Ok(())
    }
}

struct Asked {
    identity: Option<NhiId>,
    binding: String,
    nonce: String,
}

/// What a leaf holds of a passkey: SHA-256 of the JSON of its public key.
pub(crate) fn key_digest(key: &PasskeyKey) -> Result<Digest, NhiError> {
    let text = serde_json::to_string(key).map_err(|e| NhiError::Stored(e.to_string()))?;
    Ok(Digest::of(text.as_bytes()))
}

fn binding(request: &str, digest: Digest) -> String {
    format!("{request} {digest}")
}

fn question(party: &RelyingParty, challenge: Digest, held: &[passkeys::Stored], identity: &NhiId) -> PasskeyQuestion {
    PasskeyQuestion {
        challenge: URL_SAFE_NO_PAD.encode(challenge.as_bytes()),
        rp_id: party.id.clone(),
        credentials: held.iter().map(|passkey| passkey.credential.clone()).collect(),
        user_handle: URL_SAFE_NO_PAD.encode(Digest::of_parts(&[b"creto/passkey-user/v1/", identity.as_str().as_bytes()]).as_bytes()),
    }
}

/// Passkeys are for people in front of a browser: a program's key, however powerful, adds none.
fn signed_in(by: &Principal) -> Result<(), NhiError> {
    let session = matches!(by.how, AuthMethod::Session(_));
    if session && by.chain.is_none() && by.identity.kind() == NhiKind::Human { Ok(()) } else { Err(NhiError::PasskeySession) }
}
