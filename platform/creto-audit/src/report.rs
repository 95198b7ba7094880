//! What a verification found.

use creto_kernel::id::{AdmissionId, LeafId};
use creto_kernel::{ActionName, Digest, ResourceName, TenantId, Timestamp};
use serde::Serialize;

/// All logs that were verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One for each tenant, by name.
    pub logs: Vec<LogReport>,
}

/// One log, wholly verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Whose log.
    pub tenant: TenantId,
    /// How many entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Digest,
    /// When its checkpoint was signed, by the signer's word, in seconds since the Unix epoch.
    pub signed_at_s: u64,
    /// How many files were read and compared.
    pub files: u64,
    /// Intents without an outcome, oldest first: something outside was about to happen, and the log does not say what came of it.
    pub in_doubt: Vec<InDoubt>,
    /// Entries that tell the outcome of an intent the log does not have before them.
    pub outcomes_without_intent: Vec<u64>,
}

/// An intent without an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InDoubt {
    /// Its entry.
    pub index: u64,
    /// Its leaf.
    pub leaf: LeafId,
    /// What ties an outcome to it.
    pub admission: AdmissionId,
    /// When it was recorded.
    pub time: Timestamp,
    /// What was about to be done.
    pub action: ActionName,
    /// To what.
    pub resource: ResourceName,
}
