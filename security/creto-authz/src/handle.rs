//! Handles: what the hot path is asked with. Each is made once (when a session opens, a tool registers, a route resolves) and cheap to
//! clone; it carries both the number that keys the cache and what a miss needs.

use std::fmt;
use std::sync::Arc;

use creto_kernel::{ActionName, Digest, NhiId, ResourceName, TenantId, Timestamp};
use creto_nhi::{Grant, VerifiedChain};

use crate::core::entities::{Node, Situation};
use crate::decider::TenantState;
use crate::model::context::Context;

/// Who asks: the facts of a verified chain that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) chain: Digest,
    pub(crate) hops: Vec<NhiId>,
    pub(crate) root: NhiId,
    pub(crate) leaf: NhiId,
    pub(crate) grant: Grant,
    pub(crate) revocation_epoch: u64,
}

impl From<&VerifiedChain> for Subject {
    fn from(chain: &VerifiedChain) -> Self {
        Self {
            chain: chain.digest(),
            hops: chain.hops().iter().map(|hop| hop.identity.clone()).collect(),
            root: chain.root().clone(),
            leaf: chain.leaf().clone(),
            grant: chain.effective().clone(),
            revocation_epoch: chain.revocation_epoch(),
        }
    }
}

pub(crate) struct SessionEntry {
    pub(crate) id: u32,
    pub(crate) not_after: Timestamp,
    pub(crate) revocation_epoch: u64,
    pub(crate) tenant: Arc<TenantState>,
    pub(crate) subject: Subject,
    pub(crate) principal: Option<Node>,
}

/// A verified chain, opened.
#[derive(Clone)]
pub struct Session(pub(crate) Arc<SessionEntry>);

impl Session {
    /// Who acts.
    #[must_use]
    pub fn agent(&self) -> &NhiId {
        &self.0.subject.leaf
    }

    /// Whose policies decide.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.0.subject.leaf.tenant()
    }

    /// The chain's digest.
    #[must_use]
    pub fn chain(&self) -> Digest {
        self.0.subject.chain
    }
}

#[derive(Debug)]
pub(crate) struct ActionEntry {
    pub(crate) name: ActionName,
    pub(crate) node: Option<Node>,
}

/// An action, by its name.
#[derive(Clone)]
pub struct ActionHandle {
    pub(crate) id: u32,
    pub(crate) entry: Arc<ActionEntry>,
}

impl ActionHandle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ActionName {
        &self.entry.name
    }
}

#[derive(Debug)]
pub(crate) struct ResourceEntry {
    pub(crate) name: ResourceName,
    pub(crate) owner_tenant: Option<TenantId>,
    pub(crate) node: Option<Node>,
}

/// A resource, by its name.
#[derive(Clone)]
pub struct ResourceHandle {
    pub(crate) id: u32,
    pub(crate) entry: Arc<ResourceEntry>,
}

impl ResourceHandle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ResourceName {
        &self.entry.name
    }
}

#[derive(Debug)]
pub(crate) struct ContextEntry {
    pub(crate) facts: Context,
    pub(crate) situation: Option<Situation>,
}

/// A class of equal contexts.
#[derive(Clone)]
pub struct CtxClass {
    pub(crate) id: u32,
    pub(crate) entry: Arc<ContextEntry>,
}

impl CtxClass {
    /// The facts all of its contexts share.
    #[must_use]
    pub fn facts(&self) -> &Context {
        &self.entry.facts
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, {})", self.0.id, self.agent())
    }
}

impl fmt::Debug for ActionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionHandle({}, {})", self.id, self.entry.name)
    }
}

impl fmt::Debug for ResourceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceHandle({}, {})", self.id, self.entry.name)
    }
}

impl fmt::Debug for CtxClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CtxClass({}, {:?})", self.id, self.entry.facts)
    }
}
