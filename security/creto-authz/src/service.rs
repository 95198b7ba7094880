//! The authorizer: the deciding half, and publishing on the database.

use std::fmt;
use std::sync::Arc;

use creto_db::{Db, DbError, Sealed};
use creto_kernel::id::LeafId;
use creto_kernel::{ActionName, Clock, Digest, Leaf, NhiId, ResourceName, TenantId, Timestamp};
use creto_nhi::VerifiedChain;

use crate::core::compile::{Compiled, DEFAULT_POLICY};
use crate::decider::{Decider, InForce, RevocationEpoch, judge};
use crate::error::AuthzError;
use crate::handle::{ActionHandle, CtxClass, ResourceHandle, Session, Subject};
use crate::model::context::Context;
use crate::model::decision::{Decision, RuleId};
use crate::model::explained::Explained;
use crate::model::version::{Change, DryRun, PastRequest, PolicyVersion};
use crate::store;

/// Most versions one call answers.
pub(crate) const HISTORY_MAX: u32 = 1_000;

/// Decides, explains and publishes.
pub struct Authorizer {
    pub(crate) decider: Decider,
    db: Db,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("decider", &self.decider).finish_non_exhaustive()
    }
}

impl Authorizer {
    /// Loads what is published. A tenant whose stored policy does not compile any more is denied everything until it publishes
    /// another; [`Authorizer::unusable`] names it.
    ///
    /// Errors: `authz.store_damaged`, and those of the database.
    pub async fn start(db: Db, revocations: RevocationEpoch, clock: Arc<dyn Clock>) -> Result<Self, AuthzError> {
        let authorizer = Self { decider: Decider::new(revocations)?, db, clock };
        authorizer.refresh().await?;
        Ok(authorizer)
    }

    /// Puts in force what another server published to the same database.
    pub async fn refresh(&self) -> Result<(), AuthzError> {
        for (tenant, version) in store::latest(&self.db).await? {
            let state = self.decider.tenant(&tenant);
            if version.epoch > state.in_force().epoch {
                let compiled = Compiled::new(&version.text).ok().map(Arc::new);
                state.install(InForce { epoch: version.epoch, compiled });
            }
        }
        Ok(())
    }

    /// Opens a session: once per verified chain, before the hot path.
    #[must_use]
    pub fn open(&self, chain: &VerifiedChain) -> Session {
        self.decider.open(Subject::from(chain))
    }

    /// The handle of an action.
    #[must_use]
    pub fn action(&self, name: &ActionName) -> ActionHandle {
        self.decider.action(name)
    }

    /// The handle of a resource.
    #[must_use]
    pub fn resource(&self, name: &ResourceName) -> ResourceHandle {
        self.decider.resource(name)
    }

    /// The class of a context.
    #[must_use]
    pub fn classify(&self, context: &Context) -> CtxClass {
        self.decider.classify(context)
    }

    /// Decides: the hot path. Without approval.
    #[must_use]
    #[inline]
    pub fn check(
        &self,
        session: &Session,
        action: &ActionHandle,
        resource: &ResourceHandle,
        context: &CtxClass,
        now: Timestamp,
    ) -> Decision {
        self.decider.check(session, action, resource, context, now)
    }

    /// Decides again after humans approved this very action under these rules. Only the Gate calls it, having looked the approvals up
    /// by the action's digest. Where another rule asks too, it is [`Decision::RequiresOversight`] by that rule. Never cached.
    #[must_use]
    pub fn check_approved(
        &self,
        session: &Session,
        action: &ActionHandle,
        resource: &ResourceHandle,
        context: &CtxClass,
        approved: &[RuleId],
        now: Timestamp,
    ) -> Decision {
        self.decider.check_approved(session, action, resource, context, approved, now)
    }

    /// Decides with reasons and a hint, without the cache.
    #[must_use]
    pub fn evaluate(
        &self,
        session: &Session,
        action: &ActionHandle,
        resource: &ResourceHandle,
        context: &CtxClass,
        now: Timestamp,
    ) -> Explained {
        self.decider.evaluate(session, action, resource, context, now)
    }

    /// The digest of the policy text in force, from memory; `None` where the stored text is unusable and everything is denied.
    #[must_use]
    pub fn policy_digest(&self, tenant: &TenantId) -> Option<Digest> {
        self.decider.tenant(tenant).in_force().compiled.map(|compiled| compiled.digest)
    }

    /// The version in force.
    pub async fn current(&self, tenant: &TenantId) -> Result<PolicyVersion, AuthzError> {
        Ok(store::history(&self.db, tenant, 1).await?.pop().unwrap_or_else(default_version))
    }

    /// Checks a text and puts it in force for the author's tenant, replacing what is there: one commit with its leaf, then a new epoch
    /// that outdates every cached decision of the tenant. With `based_on`, only if that version is still the one in force.
    ///
    /// Errors: `authz.policy_syntax`, `authz.policy_invalid`, `authz.policy_too_large`, `authz.publish_conflict`, and those of the
    /// database; nothing is changed then.
    pub async fn publish(&self, author: &NhiId, text: &str, based_on: Option<u64>) -> Result<PolicyVersion, AuthzError> {
        let compiled = Arc::new(Compiled::new(text)?);
        let tenant = author.tenant();
        let current = self.current(tenant).await?.epoch;
        let based_on = based_on.unwrap_or(current);
        if based_on != current {
            return Err(AuthzError::PublishConflict { based_on, current });
        }
        let epoch = i64::try_from(current).ok().and_then(|epoch| epoch.checked_add(1));
        let epoch = epoch.ok_or_else(|| AuthzError::StoreDamaged(format!("epoch `{current}`")))?;
        let now = self.clock.now();
        let version = PolicyVersion {
            epoch: current + 1,
            author: Some(author.clone()),
            published_at: Some(now),
            digest: compiled.digest,
            text: text.to_owned(),
        };
        let leaf = publish_leaf(author, &version, now)?;
        let sealed = Sealed::new(leaf).step(store::insert(tenant, author, &version, now, epoch));
        match self.db.commit(sealed).await {
            Ok(_) => {}
            Err(DbError::Conflict { code, .. }) if code.as_str() == "authz.publish_conflict" => {
                return Err(AuthzError::PublishConflict { based_on, current: current + 1 });
            }
            Err(other) => return Err(other.into()),
        }
        self.decider.tenant(tenant).install(InForce { epoch: version.epoch, compiled: Some(compiled) });
        Ok(version)
    }

    /// What publishing a text would change for requests made before: those given, or without any the tenant's latest.
    ///
    /// Errors: as [`Authorizer::publish`] for the text; nothing is changed.
    pub fn dry_run(&self, tenant: &TenantId, text: &str, requests: &[PastRequest]) -> Result<DryRun, AuthzError> {
        let compiled = Arc::new(Compiled::new(text)?);
        let (policies, digest) = (compiled.len(), compiled.digest);
        let now = self.decider.tenant(tenant).in_force();
        let then = InForce { epoch: now.epoch, compiled: Some(compiled) };
        let recent = if requests.is_empty() { self.decider.recent(tenant) } else { requests.to_vec() };
        let mut changes = Vec::new();
        let mut compared = 0;
        for past in recent.iter().filter(|past| past.session.tenant() == tenant) {
            compared += 1;
            let decide = |set| judge(set, &past.session, &past.action, &past.resource, &past.context, &[]).decision;
            let (before, after) = (decide(&now), decide(&then));
            if before != after {
                changes.push(Change {
                    agent: past.session.agent().clone(),
                    action: past.action.name().to_string(),
                    resource: past.resource.name().to_string(),
                    before,
                    after,
                });
            }
        }
        Ok(DryRun { policies, digest, compared, changes })
    }

    /// The published versions, latest first, at most `limit` and never more than 1,000.
    pub async fn history(&self, tenant: &TenantId, limit: u32) -> Result<Vec<PolicyVersion>, AuthzError> {
        store::history(&self.db, tenant, limit.min(HISTORY_MAX)).await
    }

    /// Why the tenant's stored policy cannot be used, if it cannot.
    pub async fn unusable(&self, tenant: &TenantId) -> Result<Option<AuthzError>, AuthzError> {
        match self.decider.tenant(tenant).in_force().compiled {
            Some(_) => Ok(None),
            None => Ok(Compiled::new(&self.current(tenant).await?.text).err()),
        }
    }
}

fn default_version() -> PolicyVersion {
    let digest = Digest::of(DEFAULT_POLICY.as_bytes());
    PolicyVersion { epoch: 0, author: None, published_at: None, digest, text: DEFAULT_POLICY.to_owned() }
}

fn publish_leaf(author: &NhiId, version: &PolicyVersion, now: Timestamp) -> Result<Leaf, AuthzError> {
    let name = |e: creto_kernel::action::NameError| AuthzError::StoreDamaged(e.to_string());
    let action: ActionName = "policy.publish".parse().map_err(name)?;
    let resource: ResourceName = format!("policy:{}", author.tenant()).parse().map_err(name)?;
    Ok(Leaf::event(LeafId::generate(), now, author.clone(), action, resource, "done")
        .digest("policy", version.digest)
        .fact("epoch", version.epoch))
}
