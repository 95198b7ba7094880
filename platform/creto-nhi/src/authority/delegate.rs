//! Delegation: links made, handed in and revoked.

use creto_db::Sealed;
use creto_kernel::id::LinkId;
use creto_kernel::{Digest, NhiId, TenantId};

use super::{Authority, Epoch, check_tenant, resource};
use crate::error::NhiError;
use crate::model::chain::VerifiedChain;
use crate::model::grant::Grant;
use crate::model::link::{DELEGATION_DOMAIN, DelegationChain, LinkBody, root_anchor};
use crate::store;

/// Where a delegation starts.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A human or a service, on its own authority.
    Root(&'a NhiId),
    /// The acting identity of a chain, within what the chain grants.
    Chain(&'a DelegationChain),
}

impl<'a> From<&'a NhiId> for Source<'a> {
    fn from(root: &'a NhiId) -> Self {
        Self::Root(root)
    }
}

impl<'a> From<&'a DelegationChain> for Source<'a> {
    fn from(chain: &'a DelegationChain) -> Self {
        Self::Chain(chain)
    }
}

impl Authority {
    /// What a new link from `source` to `to` says, for its signer to sign: an identity that keeps its own key signs
    /// [`LinkBody::canonical_bytes`] in [`DELEGATION_DOMAIN`] and hands the chain in by [`Self::accept`].
    ///
    /// # Errors
    /// `nhi.chain_empty`.
    pub fn draft<'a>(&self, source: impl Into<Source<'a>>, to: &NhiId, grant: Grant) -> Result<LinkBody, NhiError> {
        let (from, parent) = match source.into() {
            Source::Root(root) => (root, root_anchor(root)),
            Source::Chain(chain) => {
                let last = chain.links().last().ok_or(NhiError::ChainEmpty)?;
                (&last.to, last.digest()?)
            }
        };
        Ok(LinkBody { id: LinkId::generate(), from: from.clone(), to: to.clone(), grant, parent, issued_at: self.now() })
    }

    /// Delegates with a key this server holds. The leaf says so: such a link proves that this server signed, not that the delegating
    /// identity did.
    ///
    /// # Errors
    /// `nhi.not_custodial` when the identity keeps its own key, and everything [`Self::verify`] refuses: a wider grant, a suspended
    /// identity, an expired parent.
    pub async fn delegate<'a>(&self, source: impl Into<Source<'a>>, to: &NhiId, grant: Grant) -> Result<DelegationChain, NhiError> {
        let source = source.into();
        let body = self.draft(source, to, grant)?;
        let signer = self.active(&body.from)?;
        let current = signer.current_key().filter(|key| key.custodial).ok_or_else(|| NhiError::NotCustodial(signer.id.clone()))?;
        let key = self.custodial_key(&signer.id).await?;
        if key.key_id() != current.id {
            return Err(NhiError::NotCustodial(signer.id.clone()));
        }
        let link = key.sign(DELEGATION_DOMAIN, &body.canonical_bytes()?).map(|signature| body.signed(signature))?;
        let chain = match source {
            Source::Root(_) => DelegationChain::from_links(vec![link])?,
            Source::Chain(parent) => parent.extended(link)?,
        };
        self.record(&chain).await?;
        Ok(chain)
    }

    /// Takes in a chain whose last link was signed elsewhere, so that it is recorded and keys can be bound to it. The leaf says who held
    /// the key that signed it.
    ///
    /// # Errors
    /// Everything [`Self::verify`] refuses.
    pub async fn accept(&self, chain: &DelegationChain) -> Result<VerifiedChain, NhiError> {
        self.record(chain).await
    }

    async fn record(&self, chain: &DelegationChain) -> Result<VerifiedChain, NhiError> {
        let now = self.now();
        let verified = self.verify(chain, now)?;
        let last = chain.links().last().ok_or(NhiError::ChainEmpty)?;
        // Read from the key that signed, not from how the chain came here: one that was handed back may be signed in custody.
        let signer = self.identity(&last.from)?;
        let custodial = signer.keys.iter().any(|key| key.id == last.signature.key && key.custodial);
        let leaf = self
            .leaf(&last.from, "nhi.delegate", &resource(&last.to), "done")?
            .digest("chain", verified.digest())
            .digest("authority", verified.authority())
            .fact("link", last.id)
            .fact("custodial", custodial);
        self.db().commit(Sealed::new(leaf).step(store::insert_chain(&verified, chain.to_token()?, now))).await?;
        Ok(verified)
    }

    /// Revokes a link: every chain through it is refused from the moment this answers, and before.
    ///
    /// A link that was never handed in can be revoked too; a link of another tenant is not touched.
    ///
    /// # Errors
    /// What the database says.
    pub async fn revoke_link(&self, actor: &NhiId, link: LinkId) -> Result<(), NhiError> {
        let tenant = actor.tenant().clone();
        let leaf = self.leaf(actor, "nhi.revoke_link", &format!("link:{link}"), "done")?;
        let sealed = Sealed::new(leaf).step(store::revoke_link(&tenant, link, self.now())).step(store::next_epoch());
        self.change(sealed, Epoch::Next, move |state| {
            state.revoked.insert((tenant, link));
        })
        .await
    }

    /// Whether a recorded chain of the tenant has this link. It reads them all: for the rare moment before a revocation.
    pub async fn records_link(&self, tenant: &TenantId, link: LinkId) -> Result<bool, NhiError> {
        Ok(store::chains(self.db(), tenant).await?.iter().any(|chain| chain.links().iter().any(|known| known.id == link)))
    }

    /// A recorded chain by its digest: what the `chain` of an audit leaf names.
    pub async fn chain(&self, tenant: &TenantId, digest: Digest) -> Result<Option<DelegationChain>, NhiError> {
        store::chain(self.db(), tenant, digest).await
    }

    /// The recorded chains that end at an identity, newest first; expired and revoked ones too.
    ///
    /// # Errors
    /// `nhi.other_tenant`.
    pub async fn chains_of(&self, actor: &NhiId, leaf: &NhiId) -> Result<Vec<DelegationChain>, NhiError> {
        check_tenant(actor, leaf)?;
        store::chains_of(self.db(), leaf).await
    }
}
