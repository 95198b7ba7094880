//! People at the console: a password, a session cookie, and a token that binds state-changing requests to the session.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_crypto::kdf;
use creto_db::Sealed;
use creto_kernel::id::CredentialId;
use creto_kernel::{NhiId, NhiKind, Timestamp};

use super::{Credentials, Token, password, read_secret, secret, stored_form};
use crate::authority::check_tenant;
use crate::core::throttle::Throttle;
use crate::error::NhiError;
use crate::model::principal::{AuthMethod, Principal, Role, Roles};
use crate::store::accounts::{self, Session};
use crate::store::replay;

/// A session ends after so long without a request.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// A session ends after so long in any case.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Uses are noted at most this often: a session may end this much early, never late.
const SEEN_STEP: Duration = Duration::from_secs(5 * 60);

const COOKIE_PREFIX: &str = "creto_session_";
const CSRF_DOMAIN: &[u8] = b"creto/csrf/v1";

/// A session just begun.
#[derive(Debug, Clone)]
pub struct Login {
    /// The value of the session cookie; send it `HttpOnly; SameSite=Strict; Path=/`, and `Secure` over TLS.
    pub cookie: Token,
    /// What state-changing requests carry in a header; a page of another origin cannot read it.
    pub csrf: String,
    /// Who logged in.
    pub principal: Principal,
    /// When the session ends in any case.
    pub not_after: Timestamp,
}

impl Credentials {
    /// Gives a person an account. Only a human has one.
    ///
    /// # Errors
    /// `nhi.password_length`, `nhi.role_refused`, `nhi.account_exists`, `nhi.other_tenant`, the status of the identity.
    pub async fn create_account(&self, actor: &NhiId, identity: &NhiId, password: &str, roles: Roles) -> Result<(), NhiError> {
        check_tenant(actor, identity)?;
        roles.fit(identity.kind())?;
        if identity.kind() != NhiKind::Human {
            return Err(NhiError::RoleRefused { role: Role::Operator, kind: identity.kind() });
        }
        password::check_length(password)?;
        self.authority.active(identity)?;
        let hashed = self.hash(password).await?;
        let leaf = self.authority.leaf(actor, "nhi.create_account", &crate::authority::resource(identity), "done")?.fact("roles", roles);
        self.authority.db().commit(Sealed::new(leaf).step(accounts::insert_account(identity, hashed, roles))).await?;
        Ok(())
    }

    /// Sets another password and ends all sessions of the account.
    ///
    /// # Errors
    /// `nhi.password_length`, `nhi.account_unknown`, `nhi.other_tenant`.
    pub async fn set_password(&self, actor: &NhiId, identity: &NhiId, password: &str) -> Result<(), NhiError> {
        check_tenant(actor, identity)?;
        password::check_length(password)?;
        let hashed = self.hash(password).await?;
        let leaf = self.authority.leaf(actor, "nhi.set_password", &crate::authority::resource(identity), "done")?;
        let sealed = Sealed::new(leaf).step(accounts::set_password(identity, hashed)).step(accounts::end_sessions_of(identity));
        self.authority.db().commit(sealed).await?;
        Ok(())
    }

    /// Begins a session. Each attempt is recorded before its password is looked at; one without a login after it has failed.
    ///
    /// # Errors
    /// `nhi.login_failed` for a wrong name as for a wrong password, `nhi.login_throttled`, `nhi.login_raced` for a second attempt at
    /// the same moment.
    pub async fn login(&self, identity: &NhiId, password: &str) -> Result<Login, NhiError> {
        let account = accounts::account(self.authority.db(), identity).await?;
        match &account {
            Some(account) => self.count_attempt(identity, account.throttle).await?,
            None => self.count_unknown(identity).await?,
        }
        let stored = account.as_ref().map(|account| account.password.clone());
        let matches = self.verify_password(password, stored).await?;
        let account = account.filter(|_| matches).ok_or(NhiError::LoginFailed)?;
        self.authority.active(identity)?;
        self.begin_session(identity, account.roles).await
    }

    async fn count_attempt(&self, identity: &NhiId, seen: Throttle) -> Result<(), NhiError> {
        let now = self.authority.now();
        refuse_early(seen, now)?;
        let leaf = self.authority.leaf(identity, "nhi.login_attempt", &crate::authority::resource(identity), "counted")?;
        self.authority.db().commit(Sealed::new(leaf).step(accounts::count_attempt(identity, seen, seen.failed(now)))).await?;
        Ok(())
    }

    /// A name without an account is throttled as one with an account is, so that the answer does not tell them apart. It leaves no
    /// record: anybody could fill the log with invented names.
    async fn count_unknown(&self, identity: &NhiId) -> Result<(), NhiError> {
        let (now, db) = (self.authority.now(), self.authority.db());
        let seen = replay::unknown_account(db, identity).await?;
        refuse_early(seen, now)?;
        if !replay::count_unknown(db, identity, seen, seen.failed(now), now).await? {
            return Err(accounts::raced().into());
        }
        if seen.failures == 0 {
            replay::forget_unknown(db).await?;
        }
        Ok(())
    }

    pub(super) async fn begin_session(&self, identity: &NhiId, roles: Roles) -> Result<Login, NhiError> {
        let now = self.authority.now();
        let secret = secret()?;
        let session = Session {
            id: CredentialId::generate(),
            identity: identity.clone(),
            roles,
            seen_at: now,
            not_after: now.saturating_add(SESSION_MAX),
        };
        let leaf = self.authority.leaf(identity, "nhi.login", &format!("session:{}", session.id), "done")?;
        let sealed = Sealed::new(leaf)
            .step(accounts::clear_attempts(identity))
            .step(accounts::drop_ended_sessions(identity, now))
            .step(accounts::insert_session(&session, stored_form(&secret)));
        self.authority.db().commit(sealed).await?;
        Ok(Login {
            cookie: Token(format!("{COOKIE_PREFIX}{}", hex::encode(secret))),
            csrf: csrf_of(&secret),
            principal: Principal::staff(identity.clone(), roles, AuthMethod::Session(session.id))?,
            not_after: session.not_after,
        })
    }

    /// Whom a session cookie speaks for. A request that changes state is checked by [`Self::check_csrf`] too.
    ///
    /// # Errors
    /// `nhi.session_unknown`, `nhi.session_expired`, the status of the identity.
    pub async fn authenticate_session(&self, cookie: &str) -> Result<Principal, NhiError> {
        let session = self.session(cookie).await?;
        let now = self.authority.now();
        if now >= session.not_after || now.since(session.seen_at) >= SESSION_IDLE_MAX {
            return Err(NhiError::SessionExpired);
        }
        self.authority.active(&session.identity)?;
        if now.since(session.seen_at) >= SEEN_STEP {
            let leaf = self.authority.leaf(&session.identity, "nhi.session_seen", &format!("session:{}", session.id), "done")?;
            self.authority.db().commit(Sealed::new(leaf).step(accounts::touch_session(session.id, now))).await?;
        }
        Principal::staff(session.identity, session.roles, AuthMethod::Session(session.id))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// `nhi.session_unknown`.
    pub async fn logout(&self, cookie: &str) -> Result<(), NhiError> {
        let session = self.session(cookie).await?;
        let leaf = self.authority.leaf(&session.identity, "nhi.logout", &format!("session:{}", session.id), "done")?;
        self.authority.db().commit(Sealed::new(leaf).step(accounts::end_session(session.id))).await?;
        Ok(())
    }

    /// The token that binds a state-changing request to its session: HMAC-SHA-256 over a constant, keyed with the cookie's secret.
    /// It needs no storage, and a page that cannot read the cookie cannot make it.
    ///
    /// # Errors
    /// `nhi.session_unknown` when the cookie is not one.
    pub fn csrf_token(&self, cookie: &str) -> Result<String, NhiError> {
        Ok(csrf_of(&session_secret(cookie)?))
    }

    /// Refuses a token that is not the session's, in constant time.
    ///
    /// # Errors
    /// `nhi.csrf_refused`, `nhi.session_unknown` when the cookie is not one.
    pub fn check_csrf(&self, cookie: &str, presented: &str) -> Result<(), NhiError> {
        let secret = session_secret(cookie)?;
        let tag = URL_SAFE_NO_PAD.decode(presented).map_err(|_| NhiError::CsrfRefused)?;
        match kdf::hmac_verify(&secret, CSRF_DOMAIN, &tag) {
            true => Ok(()),
            false => Err(NhiError::CsrfRefused),
        }
    }

    async fn session(&self, cookie: &str) -> Result<Session, NhiError> {
        let secret = session_secret(cookie)?;
        accounts::session(self.authority.db(), stored_form(&secret)).await?.ok_or(NhiError::SessionUnknown)
    }

    pub(super) async fn hash(&self, password: &str) -> Result<String, NhiError> {
        let password = password.to_owned();
        self.off_thread(move || password::hash(&password)).await
    }

    async fn verify_password(&self, password: &str, stored: Option<String>) -> Result<bool, NhiError> {
        // A password that could never have been set is not worth 19 MiB.
        if password.len() > password::PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let password = password.to_owned();
        self.off_thread(move || password::verify(&password, stored.as_deref())).await
    }

    async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, NhiError> + Send + 'static) -> Result<T, NhiError> {
        let _turn = self.hashing.acquire().await.map_err(|_| NhiError::Stopping)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| NhiError::Stopping)?
    }
}

fn refuse_early(seen: Throttle, now: Timestamp) -> Result<(), NhiError> {
    let wait = seen.wait(now);
    match wait.is_zero() {
        true => Ok(()),
        false => Err(NhiError::LoginThrottled { retry_after_secs: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) }),
    }
}

fn session_secret(cookie: &str) -> Result<[u8; 32], NhiError> {
    cookie.strip_prefix(COOKIE_PREFIX).and_then(read_secret).ok_or(NhiError::SessionUnknown)
}

fn csrf_of(secret: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(kdf::hmac(secret, CSRF_DOMAIN))
}
