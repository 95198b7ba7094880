//! Published policies and what a change of them would do.

use creto_kernel::{Digest, NhiId, Timestamp};

use crate::handle::{ActionHandle, CtxClass, ResourceHandle, Session};
use crate::model::decision::Decision;

/// One published version of a tenant's policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion {
    /// 1 for the first published; 0 is the built-in default, which has no author and no time.
    pub epoch: u64,
    /// Who published it.
    pub author: Option<NhiId>,
    /// When.
    pub published_at: Option<Timestamp>,
    /// SHA-256 of the text.
    pub digest: Digest,
    /// The Cedar text.
    pub text: String,
}

/// A request that was made before, for a dry run.
#[derive(Clone, Debug)]
pub struct PastRequest {
    /// Who asked.
    pub session: Session,
    /// To do what.
    pub action: ActionHandle,
    /// To what.
    pub resource: ResourceHandle,
    /// With which facts.
    pub context: CtxClass,
}

/// A request that a new policy would decide differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who asked.
    pub agent: NhiId,
    /// To do what.
    pub action: String,
    /// To what.
    pub resource: String,
    /// What is decided now.
    pub before: Decision,
    /// What would be decided.
    pub after: Decision,
}

/// What publishing would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// How many policies the text has.
    pub policies: usize,
    /// SHA-256 of the text.
    pub digest: Digest,
    /// How many past requests were decided under both.
    pub compared: usize,
    /// Those decided differently.
    pub changes: Vec<Change>,
}
