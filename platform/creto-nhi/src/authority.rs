//! The embedded authority: it keeps identities and their keys, signs delegations for those whose keys it holds, verifies chains and
//! revokes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use creto_crypto::{KeyRing, Purpose, SignSuite};
use creto_db::{Db, Sealed};
use creto_kernel::id::{LeafId, LinkId};
use creto_kernel::{Clock, Digest, Leaf, NhiId, TenantId, Timestamp};
use quick_cache::sync::Cache;

use crate::core::verify::{self, Knowledge, Rules};
use crate::error::NhiError;
use crate::model::chain::VerifiedChain;
use crate::model::identity::Identity;
use crate::model::link::DelegationChain;
use crate::store::{self, Loaded};

mod delegate;
mod identities;
mod own_keys;

pub use delegate::Source;
pub(crate) use identities::{check_tenant, resource};

/// Verified chains remembered, so that a chain sent with every request is verified once.
const VERIFIED_MAX: usize = 10_000;
/// How long a remembered verification counts: a suite that policy retires is refused at most this much later.
const VERIFIED_AGE_MAX: Duration = Duration::from_secs(60);

/// The authority. Clones share it.
///
/// INVARIANT: what is in memory is what is stored: a change is committed first and learned in the same task, so that a caller who
/// stops waiting cannot separate the two; and changes are made one after another, so that memory learns them in commit order.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    db: Db,
    keys: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
    trust_domain: String,
    epoch: AtomicU64,
    state: RwLock<State>,
    changing: tokio::sync::Mutex<()>,
    verified: Cache<Digest, (VerifiedChain, Timestamp)>,
}

#[derive(Debug, Default)]
struct State {
    identities: HashMap<NhiId, Arc<Identity>>,
    revoked: HashSet<(TenantId, LinkId)>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.0.trust_domain)
    }
}

/// What a committed change means for memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Epoch {
    /// Nothing that held before stops holding.
    Stays,
    /// Something may no longer hold: everything verified before is verified again.
    Next,
}

impl Authority {
    /// Reads what is stored and begins to serve identities of `trust_domain`.
    ///
    /// # Errors
    /// The database cannot be read, or holds what is not ours.
    pub async fn new(db: Db, keys: Arc<KeyRing>, clock: Arc<dyn Clock>, trust_domain: &str) -> Result<Self, NhiError> {
        let authority = Self(Arc::new(Inner {
            db,
            keys,
            clock,
            trust_domain: trust_domain.to_owned(),
            epoch: AtomicU64::new(0),
            state: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            verified: Cache::new(VERIFIED_MAX),
        }));
        authority.reload().await?;
        Ok(authority)
    }

    /// Reads everything again, for a server that shares its database with others: call it when one of them may have changed identities.
    pub async fn reload(&self) -> Result<(), NhiError> {
        let _turn = self.0.changing.lock().await;
        let Loaded { identities, revoked, epoch } = store::load(&self.0.db).await?;
        self.0.learn(|state| {
            state.identities = identities.into_iter().map(|identity| (identity.id.clone(), Arc::new(identity))).collect();
            state.revoked = revoked.into_iter().collect();
            self.0.epoch.fetch_max(epoch, Ordering::AcqRel);
        });
        Ok(())
    }

    /// Reads everything again where another server of the same database has changed something since; says whether it had.
    pub async fn follow(&self) -> Result<bool, NhiError> {
        let (epoch, identities) = store::mark(&self.0.db).await?;
        let known = self.0.state.read().unwrap_or_else(PoisonError::into_inner).identities.len();
        // Our own change is counted here once it is learned; seen in between, it is only read twice.
        let behind = epoch > self.revocation_epoch() || identities != known;
        if behind {
            self.reload().await?;
        }
        Ok(behind)
    }

    /// The epoch of revocations. It grows with each one; what was verified at an earlier one is verified again.
    #[must_use]
    pub fn revocation_epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// The trust domain of all identities.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.0.trust_domain
    }

    /// Verifies a chain, in memory: no disk, no waiting.
    ///
    /// # Errors
    /// `nhi.chain_*`, `nhi.link_revoked`, `nhi.identity_suspended`, `nhi.identity_revoked`, `nhi.grant_invalid`, `crypto.refused_suite`.
    pub fn verify(&self, chain: &DelegationChain, now: Timestamp) -> Result<VerifiedChain, NhiError> {
        let digest = chain.digest()?;
        if let Some((verified, at)) = self.0.verified.get(&digest) {
            let fresh = at <= now && now.since(at) <= VERIFIED_AGE_MAX && now < verified.not_after();
            if fresh && verified.revocation_epoch() == self.revocation_epoch() {
                return Ok(verified);
            }
        }
        let links = chain.links();
        let named = links.iter().flat_map(|link| [&link.from, &link.to]);
        let known = self.known(named, links.iter().map(|link| (link.from.tenant().clone(), link.id)));
        let accepted = self.accepted(now);
        let rules = Rules { trust_domain: &self.0.trust_domain, accepted: &accepted };
        let verified = verify::verify(chain, &known, rules, now)?;
        self.0.verified.insert(digest, (verified.clone(), now));
        Ok(verified)
    }

    /// The chain of a human or a service that acts for itself. The caller has authenticated it: this proves nothing about who asks.
    ///
    /// # Errors
    /// `nhi.chain_root_kind`, `nhi.chain_trust_domain`, `nhi.chain_stranger`, `nhi.identity_suspended`, `nhi.identity_revoked`.
    pub fn direct(&self, root: &NhiId) -> Result<VerifiedChain, NhiError> {
        verify::direct(root, &self.known([root], []), &self.0.trust_domain)
    }

    /// An identity that may act.
    pub(crate) fn active(&self, id: &NhiId) -> Result<Arc<Identity>, NhiError> {
        let known = self.known([id], []);
        verify::active(&known, id)?;
        known.identities.get(id).cloned().ok_or_else(|| NhiError::Stranger(id.clone()))
    }

    /// What is known of these identities and links, at one moment. The epoch is read under the same lock as the rest.
    fn known<'a>(&self, identities: impl IntoIterator<Item = &'a NhiId>, links: impl IntoIterator<Item = (TenantId, LinkId)>) -> Knowledge {
        let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
        Knowledge {
            identities: identities
                .into_iter()
                .filter_map(|id| state.identities.get(id).map(|known| (id.clone(), Arc::clone(known))))
                .collect(),
            revoked: links.into_iter().filter(|link| state.revoked.contains(link)).map(|(_, link)| link).collect(),
            epoch: self.revocation_epoch(),
        }
    }

    /// The suites accepted for the keys of identities.
    pub(crate) fn accepted(&self, now: Timestamp) -> Vec<SignSuite> {
        let policy = self.0.keys.policy();
        SignSuite::ALL.iter().copied().filter(|suite| policy.check(Purpose::Delegation, *suite, now).is_ok()).collect()
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Commits a change and lets memory learn it, as one task: a caller who stops waiting changes nothing about either.
    async fn change(&self, sealed: Sealed, epoch: Epoch, learn: impl FnOnce(&mut State) + Send + 'static) -> Result<(), NhiError> {
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            // One change at a time, commit and learning together: otherwise a resume could be learned after the suspension that
            // followed it. The lock is an async one and nothing else is ever waited for under it.
            let _turn = inner.changing.lock().await;
            inner.db.commit(sealed).await?;
            inner.learn(|state| {
                learn(state);
                if epoch == Epoch::Next {
                    inner.epoch.fetch_add(1, Ordering::AcqRel);
                }
            });
            Ok(())
        });
        task.await.map_err(|_| NhiError::Stopping)?
    }

    /// As [`Self::change`], for a change that ends what was in force: the epoch moves in the same commit.
    pub(crate) async fn end(&self, sealed: Sealed) -> Result<(), NhiError> {
        self.change(sealed.step(store::next_epoch()), Epoch::Next, |_| {}).await
    }

    pub(crate) fn leaf(&self, actor: &NhiId, action: &str, resource: &str, decision: &str) -> Result<Leaf, NhiError> {
        let name = |e: creto_kernel::action::NameError| NhiError::Stored(e.to_string());
        let (action, resource) = (action.parse().map_err(name)?, resource.parse().map_err(name)?);
        Ok(Leaf::event(LeafId::generate(), self.now(), actor.clone(), action, resource, decision))
    }
}

impl Inner {
    fn learn(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}
