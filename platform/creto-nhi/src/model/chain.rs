//! Chains: untrusted links, and the proof that they were verified.

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

/// A chain whose every signature, narrowing, expiry and revocation was checked.
///
/// INVARIANT: only [`crate::Authority::verify`] makes one; the fields are private. All identities are of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    pub(crate) digest: Digest,
    pub(crate) subjects: Subjects,
    pub(crate) authority: Digest,
    pub(crate) hops: Vec<Hop>,
    pub(crate) effective: Grant,
    pub(crate) revocation_epoch: u64,
}

impl VerifiedChain {
    /// SHA-256 over the whole chain as presented: what the audit leaf names.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The stable digest: who delegated what to whom, without expiry, link identifiers and signatures, so that a renewed chain with the
    /// same authority finds the approvals of the old one.
    #[must_use]
    pub const fn authority(&self) -> Digest {
        self.authority
    }

    /// Root first, acting identity last; never empty.
    #[must_use]
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Hashes of its tenant, its root and its agents, as [`crate::subject_hash`] makes them; `None` of a chain with more than are kept.
    #[must_use]
    pub fn subjects(&self) -> Option<&[u64]> {
        self.subjects.hashes()
    }

    /// The human or service it all derives from.
    #[must_use]
    pub fn root(&self) -> &NhiId {
        #[expect(clippy::indexing_slicing, reason = "INVARIANT: verify refuses an empty chain")]
        &self.hops[0].identity
    }

    /// The acting identity.
    #[must_use]
    pub fn leaf(&self) -> &NhiId {
        #[expect(clippy::indexing_slicing, reason = "INVARIANT: verify refuses an empty chain")]
        &self.hops[self.hops.len() - 1].identity
    }

    /// The tenant of all its identities.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.leaf().tenant()
    }

    /// The intersection of all grants.
    #[must_use]
    pub const fn effective(&self) -> &Grant {
        &self.effective
    }

    /// The earliest expiry of any link or credential.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.effective.not_after
    }

    /// This chain, ending no later than the credential it came with.
    pub(crate) fn held_until(mut self, end: Timestamp) -> Self {
        self.effective.not_after = self.effective.not_after.min(end);
        self
    }

    /// The revocation epoch it was verified at; a later epoch asks for verification again.
    #[must_use]
    pub const fn revocation_epoch(&self) -> u64 {
        self.revocation_epoch
    }
}
