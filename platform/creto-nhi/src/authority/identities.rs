//! Identities and their keys: made, suspended, resumed, revoked.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use creto_crypto::{CryptoError, KeyId, PublicKey, Purpose, SigningKey};
use creto_db::Sealed;
use creto_kernel::{Digest, NhiId, NhiKind, TenantId, Timestamp};

use super::{Authority, Epoch, State};
use crate::error::NhiError;
use crate::model::identity::{Identity, IdentityKey, Status};
use crate::store::{self, IDENTITIES_MAX};

impl Authority {
    /// Makes an identity whose key this server holds. `actor` is who asks, of the same tenant.
    ///
    /// # Errors
    /// `nhi.other_tenant`, `nhi.identity_name`, `nhi.identity_exists`, `nhi.identity_limit`, or what the key ring and the database say.
    pub async fn create_identity(&self, actor: &NhiId, tenant: &TenantId, kind: NhiKind, name: &str) -> Result<Arc<Identity>, NhiError> {
        let id = NhiId::new(&self.0.trust_domain, tenant, kind, name)?;
        self.check_new(actor, &id)?;
        let public = self.custodial_key(&id).await?.public();
        self.add_identity(actor, id, public, true).await
    }

    /// Makes an identity that keeps its own key: this server can verify for it and cannot sign for it.
    ///
    /// # Errors
    /// As [`Self::create_identity`], and `crypto.refused_suite`.
    pub async fn create_identity_with_key(
        &self,
        actor: &NhiId,
        tenant: &TenantId,
        kind: NhiKind,
        name: &str,
        public: PublicKey,
    ) -> Result<Arc<Identity>, NhiError> {
        let id = NhiId::new(&self.0.trust_domain, tenant, kind, name)?;
        self.check_new(actor, &id)?;
        self.check_suite(&public)?;
        self.add_identity(actor, id, public, false).await
    }

    /// Refuses before a key is made for it. The table's primary key is what decides.
    fn check_new(&self, actor: &NhiId, id: &NhiId) -> Result<(), NhiError> {
        check_tenant(actor, id)?;
        match self.identity_count() {
            count if count < IDENTITIES_MAX => Ok(()),
            _ => Err(NhiError::IdentityLimit(IDENTITIES_MAX)),
        }
    }

    async fn add_identity(&self, actor: &NhiId, id: NhiId, public: PublicKey, custodial: bool) -> Result<Arc<Identity>, NhiError> {
        let key = fresh_key(public, custodial, self.now());
        let leaf = self.leaf(actor, "nhi.create_identity", &resource(&id), "done")?.fact("custodial", custodial).fact("key", key.id);
        let sealed = Sealed::new(leaf).step(store::insert_identity(&id, key.valid_from)).step(store::insert_key(&id, &key)?);
        let identity = Arc::new(Identity { id, status: Status::Active, keys: vec![key] });
        let learned = Arc::clone(&identity);
        self.change(sealed, Epoch::Stays, move |state| {
            state.identities.insert(learned.id.clone(), learned);
        })
        .await?;
        Ok(identity)
    }

    /// Gives an identity a key of its own. What its earlier keys signed until now stays good; from now on only this one signs.
    ///
    /// # Errors
    /// `nhi.identity_unknown`, `nhi.other_tenant`, `nhi.identity_changed` for a key it had before, `crypto.refused_suite`.
    pub async fn register_key(&self, actor: &NhiId, id: &NhiId, public: PublicKey) -> Result<KeyId, NhiError> {
        check_tenant(actor, id)?;
        self.identity(id)?;
        self.check_suite(&public)?;
        self.replace_key(actor, id, public, false).await
    }

    /// Replaces the key this server holds for an identity. What the earlier one signed until now stays good.
    ///
    /// # Errors
    /// `nhi.identity_unknown`, `nhi.other_tenant`, `nhi.not_custodial`, or what the key ring and the database say.
    pub async fn rotate_key(&self, actor: &NhiId, id: &NhiId) -> Result<KeyId, NhiError> {
        check_tenant(actor, id)?;
        if !self.identity(id)?.is_custodial() {
            return Err(NhiError::NotCustodial(id.clone()));
        }
        let (keys, name, now) = (Arc::clone(&self.0.keys), ring_name(id), self.now());
        let rotate = move || {
            keys.rotate_named(Purpose::Delegation, &name, Duration::ZERO, now)?;
            keys.signing_key(Purpose::Delegation, &name)
        };
        let key = tokio::task::spawn_blocking(rotate).await.map_err(|_| NhiError::Stopping)??;
        self.replace_key(actor, id, key.public(), true).await
    }

    async fn replace_key(&self, actor: &NhiId, id: &NhiId, public: PublicKey, custodial: bool) -> Result<KeyId, NhiError> {
        let key = fresh_key(public, custodial, self.now());
        let (key_id, from) = (key.id, key.valid_from);
        let leaf = self.leaf(actor, "nhi.register_key", &resource(id), "done")?.fact("custodial", custodial).fact("key", key_id);
        let sealed = Sealed::new(leaf).step(store::close_keys(id, from)).step(store::insert_key(id, &key)?).step(store::next_epoch());
        self.change_identity(sealed, id, move |identity| {
            for earlier in identity.keys.iter_mut().filter(|key| key.valid_until.is_none()) {
                earlier.valid_until = Some(from);
            }
            identity.keys.push(key);
        })
        .await?;
        Ok(key_id)
    }

    /// Withdraws a key that somebody else may have: nothing it ever signed counts any more.
    ///
    /// # Errors
    /// `nhi.identity_unknown`, `nhi.other_tenant`, `nhi.identity_changed` when it has no such key.
    pub async fn withdraw_key(&self, actor: &NhiId, id: &NhiId, key: KeyId) -> Result<(), NhiError> {
        check_tenant(actor, id)?;
        self.identity(id)?;
        let leaf = self.leaf(actor, "nhi.withdraw_key", &resource(id), "done")?.fact("key", key);
        let sealed = Sealed::new(leaf).step(store::withdraw_key(id, &key.to_string())).step(store::next_epoch());
        self.change_identity(sealed, id, move |identity| {
            for withdrawn in identity.keys.iter_mut().filter(|held| held.id == key) {
                withdrawn.withdrawn = true;
            }
        })
        .await
    }

    /// Suspends an identity: every chain through it, and every credential of it, is refused until it is resumed.
    ///
    /// # Errors
    /// `nhi.identity_unknown`, `nhi.other_tenant`, `nhi.identity_revoked`.
    pub async fn suspend_identity(&self, actor: &NhiId, id: &NhiId) -> Result<(), NhiError> {
        self.set_status(actor, id, Status::Suspended, "nhi.suspend_identity").await
    }

    /// As [`Self::suspend_identity`], in one commit with what else is taken from it: `sealed` brings its own leaf. An identity that is
    /// revoked already is left so, and the rest is committed.
    ///
    /// # Errors
    /// `nhi.identity_unknown`, `nhi.other_tenant`, and what the steps of `sealed` refuse.
    pub async fn suspend_identity_with(&self, actor: &NhiId, id: &NhiId, sealed: Sealed) -> Result<(), NhiError> {
        check_tenant(actor, id)?;
        if self.identity(id)?.status == Status::Revoked {
            return self.change(sealed, Epoch::Stays, |_| {}).await;
        }
        let sealed = sealed.step(store::set_status(id, Status::Suspended)).step(store::next_epoch());
        self.change_identity(sealed, id, |identity| identity.status = Status::Suspended).await
    }

    /// Ends a suspension.
    ///
    /// # Errors
    /// As [`Self::suspend_identity`].
    pub async fn resume_identity(&self, actor: &NhiId, id: &NhiId) -> Result<(), NhiError> {
        self.set_status(actor, id, Status::Active, "nhi.resume_identity").await
    }

    /// Revokes an identity, for good.
    ///
    /// # Errors
    /// As [`Self::suspend_identity`].
    pub async fn revoke_identity(&self, actor: &NhiId, id: &NhiId) -> Result<(), NhiError> {
        self.set_status(actor, id, Status::Revoked, "nhi.revoke_identity").await
    }

    async fn set_status(&self, actor: &NhiId, id: &NhiId, status: Status, action: &str) -> Result<(), NhiError> {
        check_tenant(actor, id)?;
        if self.identity(id)?.status == Status::Revoked {
            return Err(NhiError::IdentityRevoked(id.clone()));
        }
        let sealed =
            Sealed::new(self.leaf(actor, action, &resource(id), "done")?).step(store::set_status(id, status)).step(store::next_epoch());
        self.change_identity(sealed, id, move |identity| identity.status = status).await
    }

    async fn change_identity(
        &self,
        sealed: Sealed,
        id: &NhiId,
        change: impl FnOnce(&mut Identity) + Send + 'static,
    ) -> Result<(), NhiError> {
        let id = id.clone();
        let learn = move |state: &mut State| {
            if let Some(known) = state.identities.get_mut(&id) {
                change(Arc::make_mut(known));
            }
        };
        self.change(sealed, Epoch::Next, learn).await
    }

    /// One identity, whatever its status.
    ///
    /// # Errors
    /// `nhi.identity_unknown`.
    pub fn identity(&self, id: &NhiId) -> Result<Arc<Identity>, NhiError> {
        self.known([id], []).identities.remove(id).ok_or_else(|| NhiError::IdentityUnknown(id.clone()))
    }

    /// The identities of a tenant, ordered by identifier.
    #[must_use]
    pub fn identities(&self, tenant: &TenantId) -> Vec<Arc<Identity>> {
        let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = state.identities.values().filter(|identity| identity.id.tenant() == tenant).cloned().collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    fn identity_count(&self) -> usize {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner).identities.len()
    }

    /// The key the server holds for an identity.
    pub(super) async fn custodial_key(&self, id: &NhiId) -> Result<Arc<SigningKey>, NhiError> {
        let keys = Arc::clone(&self.0.keys);
        let name = ring_name(id);
        let made = tokio::task::spawn_blocking(move || keys.signing_key(Purpose::Delegation, &name)).await;
        Ok(made.map_err(|_| NhiError::Stopping)??)
    }

    fn check_suite(&self, public: &PublicKey) -> Result<(), NhiError> {
        match self.accepted(self.now()).contains(&public.suite()) {
            true => Ok(()),
            false => Err(CryptoError::RefusedSuite { suite: public.suite().id(), purpose: Purpose::Delegation }.into()),
        }
    }
}

/// The name of an identity's key in the ring: a digest, because a SPIFFE ID is not a file name.
fn ring_name(id: &NhiId) -> String {
    Digest::of(id.as_str().as_bytes()).to_string()
}

fn fresh_key(public: PublicKey, custodial: bool, now: Timestamp) -> IdentityKey {
    IdentityKey { id: public.key_id(), public, custodial, valid_from: now, valid_until: None, withdrawn: false }
}

/// Refused before anything is looked up, so that the answer does not tell whether an identity of another tenant exists.
pub(crate) fn check_tenant(actor: &NhiId, id: &NhiId) -> Result<(), NhiError> {
    match actor.tenant() == id.tenant() {
        true => Ok(()),
        false => Err(NhiError::OtherTenant(actor.clone())),
    }
}

pub(crate) fn resource(id: &NhiId) -> String {
    format!("identity:{}/{}", id.kind().as_str(), id.name())
}
