//! The deciding half: handles, the cache, each tenant's policies in force. Synchronous, in memory, no I/O.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use creto_kernel::{ActionName, Digest, ResourceName, TenantId, Timestamp};

use crate::cache::{DECISIONS_MAX, Decisions, Interner, Key, Remembered};
use crate::core::compile::Compiled;
use crate::core::decide::{Asked, Judged, decide};
use crate::core::entities;
use crate::core::hint::{Wanted, hint};
use crate::error::AuthzError;
use crate::handle::{ActionEntry, ActionHandle, ContextEntry, CtxClass, ResourceEntry, ResourceHandle, Session, SessionEntry, Subject};
use crate::model::context::Context;
use crate::model::decision::{Decision, DenyReason, RuleId};
use crate::model::explained::Explained;
use crate::model::version::PastRequest;

/// Reads the revocation epoch of now: `Authority::revocation_epoch` of creto-nhi, an atomic in memory.
pub type RevocationEpoch = Arc<dyn Fn() -> u64 + Send + Sync>;

const SESSIONS_MAX: usize = 1 << 14;
const ACTIONS_MAX: usize = 1 << 12;
const RESOURCES_MAX: usize = 1 << 17;
const CONTEXTS_MAX: usize = 1 << 14;
/// Requests remembered per tenant for dry runs.
pub(crate) const RECENT_MAX: usize = 1_024;

/// The policies in force.
#[derive(Debug, Clone)]
pub(crate) struct InForce {
    pub(crate) epoch: u64,
    /// `None` where the stored text does not compile: everything is denied.
    pub(crate) compiled: Option<Arc<Compiled>>,
}

/// One tenant's policies.
#[derive(Debug)]
pub(crate) struct TenantState {
    epoch: AtomicU64,
    in_force: RwLock<InForce>,
}

impl TenantState {
    #[inline]
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn in_force(&self) -> InForce {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a later version in force; an earlier one is ignored.
    pub(crate) fn install(&self, next: InForce) {
        let mut current = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        if next.epoch > current.epoch {
            let epoch = next.epoch;
            *current = next;
            // INVARIANT: the epoch moves after the policies, so a decision made under the old ones is never taken for a new one.
            self.epoch.store(epoch, Ordering::Release);
        }
    }
}

pub(crate) struct Decider {
    decisions: Decisions,
    sessions: Interner<(Digest, u64), Session>,
    actions: Interner<ActionName, ActionHandle>,
    resources: Interner<ResourceName, ResourceHandle>,
    contexts: Interner<Context, CtxClass>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantState>>>,
    recent: Mutex<HashMap<TenantId, VecDeque<PastRequest>>>,
    default_policy: Arc<Compiled>,
    revocations: RevocationEpoch,
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider").field("decisions", &self.decisions.len()).finish_non_exhaustive()
    }
}

impl Decider {
    pub(crate) fn new(revocations: RevocationEpoch) -> Result<Self, AuthzError> {
        Ok(Self {
            decisions: Decisions::new(DECISIONS_MAX),
            sessions: Interner::new(SESSIONS_MAX),
            actions: Interner::new(ACTIONS_MAX),
            resources: Interner::new(RESOURCES_MAX),
            contexts: Interner::new(CONTEXTS_MAX),
            tenants: RwLock::default(),
            recent: Mutex::default(),
            default_policy: Compiled::default_set()?,
            revocations,
        })
    }

    /// The tenant's policies; a tenant seen for the first time has the default.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> Arc<TenantState> {
        if let Some(state) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(tenant) {
            return state.clone();
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants
            .entry(tenant.clone())
            .or_insert_with(|| {
                let in_force = InForce { epoch: 0, compiled: Some(self.default_policy.clone()) };
                Arc::new(TenantState { epoch: AtomicU64::new(0), in_force: RwLock::new(in_force) })
            })
            .clone()
    }

    pub(crate) fn open(&self, subject: Subject) -> Session {
        let key = (subject.chain, subject.revocation_epoch);
        // Equal digests with other facts do not come from one authority; should they, the handle is not shared.
        if let Some(session) = self.sessions.get(&key).filter(|session| session.0.subject == subject) {
            return session;
        }
        let tenant = self.tenant(subject.leaf.tenant());
        let principal = entities::principal(&subject.root, &subject.hops, &subject.leaf).ok();
        self.sessions.insert(key, |id| {
            let (not_after, revocation_epoch) = (subject.grant.not_after, subject.revocation_epoch);
            Session(Arc::new(SessionEntry { id, not_after, revocation_epoch, tenant, subject, principal }))
        })
    }

    pub(crate) fn action(&self, name: &ActionName) -> ActionHandle {
        self.actions.get(name).unwrap_or_else(|| {
            let entry = Arc::new(ActionEntry { name: name.clone(), node: entities::action(name).ok() });
            self.actions.insert(name.clone(), |id| ActionHandle { id, entry })
        })
    }

    pub(crate) fn resource(&self, name: &ResourceName) -> ResourceHandle {
        self.resources.get(name).unwrap_or_else(|| {
            let owner_tenant = entities::owner(name).map(|owner| owner.tenant().clone());
            let entry = Arc::new(ResourceEntry { name: name.clone(), owner_tenant, node: entities::resource(name).ok() });
            self.resources.insert(name.clone(), |id| ResourceHandle { id, entry })
        })
    }

    pub(crate) fn classify(&self, context: &Context) -> CtxClass {
        self.contexts.get(context).unwrap_or_else(|| {
            let entry = Arc::new(ContextEntry { facts: context.clone(), situation: entities::situation(context).ok() });
            self.contexts.insert(context.clone(), |id| CtxClass { id, entry })
        })
    }

    /// The chain itself: expired or stale. Not cached, because it is what changes with time alone.
    #[inline]
    fn chain_fault(&self, session: &SessionEntry, now: Timestamp) -> Option<DenyReason> {
        if now >= session.not_after {
            Some(DenyReason::GrantExpired)
        } else if session.revocation_epoch != (self.revocations)() {
            Some(DenyReason::ChainStale)
        } else {
            None
        }
    }

    #[inline]
    pub(crate) fn check(
        &self,
        session: &Session,
        action: &ActionHandle,
        resource: &ResourceHandle,
        context: &CtxClass,
        now: Timestamp,
    ) -> Decision {
        let entry = &*session.0;
        if let Some(fault) = self.chain_fault(entry, now) {
            return Decision::Deny(fault);
        }
        let key = Key::new(entry.id, action.id, resource.id, context.id);
        if let Some(key) = &key
            && let Some(remembered) = self.decisions.get(key)
            && remembered.policy_epoch == entry.tenant.epoch()
        {
            return remembered.decision;
        }
        self.miss(key, session, action, resource, context)
    }

    #[cold]
    fn miss(&self, key: Option<Key>, session: &Session, action: &ActionHandle, resource: &ResourceHandle, context: &CtxClass) -> Decision {
        let in_force = session.0.tenant.in_force();
        let decision = judge(&in_force, session, action, resource, context, &[]).decision;
        if let Some(key) = key {
            self.decisions.insert(key, Remembered { policy_epoch: in_force.epoch, decision: decision.clone() });
        }
        self.remember_request(session, action, resource, context);
        decision
    }

    pub(crate) fn check_approved(
        &self,
        session: &Session,
        action: &ActionHandle,
        resource: &ResourceHandle,
        context: &CtxClass,
        approved: &[RuleId],
        now: Timestamp,
    ) -> Decision {
        match self.chain_fault(&session.0, now) {
            Some(fault) => Decision::Deny(fault),
            None => judge(&session.0.tenant.in_force(), session, action, resource, context, approved).decision,
        }
    }

    pub(crate) fn evaluate(
        &self,
        session: &Session,
        action: &ActionHandle,
        resource: &ResourceHandle,
        context: &CtxClass,
        now: Timestamp,
    ) -> Explained {
        let in_force = session.0.tenant.in_force();
        let judged = match self.chain_fault(&session.0, now) {
            Some(fault) => Judged::deny(fault),
            None => judge(&in_force, session, action, resource, context, &[]),
        };
        explain(&in_force, judged, session, action, resource)
    }

    fn remember_request(&self, session: &Session, action: &ActionHandle, resource: &ResourceHandle, context: &CtxClass) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = recent.entry(session.tenant().clone()).or_default();
        if ring.len() == RECENT_MAX {
            ring.pop_front();
        }
        let (session, action, resource, context) = (session.clone(), action.clone(), resource.clone(), context.clone());
        ring.push_back(PastRequest { session, action, resource, context });
    }

    /// The latest distinct requests of a tenant, oldest first.
    pub(crate) fn recent(&self, tenant: &TenantId) -> Vec<PastRequest> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.get(tenant).map(|ring| ring.iter().cloned().collect()).unwrap_or_default()
    }
}

/// Decides without the cache: tenant, grant, then policy.
pub(crate) fn judge(
    in_force: &InForce,
    session: &Session,
    action: &ActionHandle,
    resource: &ResourceHandle,
    context: &CtxClass,
    approved: &[RuleId],
) -> Judged {
    let entry = &*session.0;
    if resource.entry.owner_tenant.as_ref().is_some_and(|owner| owner != session.tenant()) {
        return Judged::deny(DenyReason::CrossTenant);
    }
    if !entry.subject.grant.permits(&action.entry.name, &resource.entry.name) {
        return Judged::deny(DenyReason::NotGranted);
    }
    let Some(compiled) = &in_force.compiled else { return Judged::deny(DenyReason::PolicyUnusable) };
    match (&entry.principal, &action.entry.node, &resource.entry.node, &context.entry.situation) {
        (Some(principal), Some(action), Some(resource), Some(situation)) => {
            decide(compiled, Asked { principal, action, resource, situation }, approved)
        }
        _ => Judged::deny(DenyReason::EvaluationError),
    }
}

fn explain(in_force: &InForce, judged: Judged, session: &Session, action: &ActionHandle, resource: &ResourceHandle) -> Explained {
    let compiled = in_force.compiled.as_ref();
    let refer = |ids: &[cedar_policy::PolicyId]| compiled.map(|c| ids.iter().map(|id| c.refer(id)).collect()).unwrap_or_default();
    let determining: Vec<_> = refer(&judged.determining);
    let would_allow = refer(&judged.would_allow);
    let hint = match (&action.entry.node, &resource.entry.node) {
        (Some(action_node), Some(resource_node)) => {
            let wanted = Wanted {
                root: &session.0.subject.root,
                leaf: &session.0.subject.leaf,
                action_name: action.entry.name.as_str(),
                resource_name: resource.entry.name.as_str(),
                action: action_node,
                resource: resource_node,
            };
            hint(&judged.decision, &determining, wanted)
        }
        _ => None,
    };
    Explained {
        decision: judged.decision,
        determining,
        would_allow,
        rules: judged.rules,
        errors: judged.errors,
        considered: (judged.considered, compiled.map_or(0, |c| c.len())),
        policy_epoch: in_force.epoch,
        hint,
    }
}
