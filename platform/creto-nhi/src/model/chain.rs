//! Chains: untrusted links, and the proof that they were verified.

use std::sync::Arc;

use creto_kernel::id::LinkId;
use creto_kernel::{Digest, Micros, NhiId, TenantId, Timestamp};

use crate::model::grant::Grant;
use crate::model::subjects::Subjects;

/// One identity on a verified chain, root first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who.
    pub identity: NhiId,
    /// The link that made it a delegate; `None` for the root.
    pub link: Option<LinkId>,
    /// The ceiling this hop was given.
    pub budget: Option<Micros>,
}

/// A chain whose every signature, narrowing, expiry and revocation was checked. Clones share what was proven.
///
/// INVARIANT: only [`crate::Authority::verify`] makes one; the fields are private. All identities are of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    key: Key,
    proven: Arc<Proven>,
}

/// What is asked of a chain at every action: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
struct Key {
    digest: Digest,
    subjects: Subjects,
}

/// What was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) authority: Digest,
    pub(crate) hops: Vec<Hop>,
    pub(crate) effective: Grant,
    pub(crate) revocation_epoch: u64,
}

impl VerifiedChain {
    pub(crate) fn new(digest: Digest, proven: Proven) -> Self {
        Self { key: Key { digest, subjects: Subjects::of(&proven.hops) }, proven: Arc::new(proven) }
    }

    /// SHA-256 over the whole chain as presented: what the audit leaf names.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.key.digest
    }

    /// The stable digest: who delegated what to whom, without expiry, link identifiers and signatures, so that a renewed chain with the
    /// same authority finds the approvals of the old one.
    #[must_use]
    pub fn authority(&self) -> Digest {
        self.proven.authority
    }

    /// Root first, acting identity last; never empty.
    #[must_use]
    pub fn hops(&self) -> &[Hop] {
        &self.proven.hops
    }

    /// Hashes of its tenant, its root and its agents, as [`crate::subject_hash`] makes them; `None` of a chain with more than are kept.
    #[must_use]
    pub fn subjects(&self) -> Option<impl Iterator<Item = u32>> {
        self.key.subjects.hashes()
    }

    /// The human or service it all derives from.
    #[must_use]
    pub fn root(&self) -> &NhiId {
        #[expect(clippy::indexing_slicing, reason = "INVARIANT: verify refuses an empty chain")]
        &self.proven.hops[0].identity
    }

    /// The acting identity.
    #[must_use]
    pub fn leaf(&self) -> &NhiId {
        let hops = self.hops();
        #[expect(clippy::indexing_slicing, reason = "INVARIANT: verify refuses an empty chain")]
        &hops[hops.len() - 1].identity
    }

    /// The tenant of all its identities.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.leaf().tenant()
    }

    /// The intersection of all grants.
    #[must_use]
    pub fn effective(&self) -> &Grant {
        &self.proven.effective
    }

    /// The earliest expiry of any link or credential.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.proven.effective.not_after
    }

    /// This chain, ending no later than the credential it came with.
    pub(crate) fn held_until(mut self, end: Timestamp) -> Self {
        if end < self.not_after() {
            Arc::make_mut(&mut self.proven).effective.not_after = end;
        }
        self
    }

    /// The revocation epoch it was verified at; a later epoch asks for verification again.
    #[must_use]
    pub fn revocation_epoch(&self) -> u64 {
        self.proven.revocation_epoch
    }
}
