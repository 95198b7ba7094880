//! One transparency log for each tenant, in the form of C2SP tlog-tiles: who did what, on whose authority, provable to an outsider.
//!
//! Committed leaves reach the log by the [`Sequencer`]: it notes their order in the database, writes entry bundles and hash tiles
//! (`<tenant>/tile/…`), and signs a checkpoint over them (`<tenant>/checkpoint`) by Ed25519 and by ML-DSA-44. [`LogReader`] serves
//! entries and proofs. [`verify_dir`] and [`Verifier`] trust nothing but the public keys they are given ([`TrustedKeys`]).
//!
//! INVARIANT: never dropped, never unsigned. A leaf is in the database with the change it records, or neither is; a log that cannot
//! grow closes admission ([`Sequencer::admit`]) instead of losing leaves.
//!
//! INVARIANT: what was signed is never signed otherwise: see [`mod@sequencer`].
//!
//! Who could still forge: whoever holds both log keys can sign a second history. A checkpoint pinned elsewhere shows it.

pub mod core;
mod error;
mod keys;
mod reader;
mod report;
pub mod sequencer;
mod source;
mod store;
mod tenant_log;
mod verify;

pub use self::core::checkpoint::{Checkpoint, Origin, OriginPrefix};
pub use self::core::tile::ENTRY_BYTES_MAX;
pub use error::AuditError;
pub use keys::{LogKeys, Opened, Succession, Trust, TrustedKeys};
pub use reader::{LogReader, ProvenEntry};
pub use report::{InDoubt, LogReport, Report};
pub use sequencer::{LAG_LEAVES_MAX, Options, Sequencer};
pub use source::{DirSource, FILE_BYTES_MAX, Source};
pub use store::{DirStore, LogStore};
pub use tenant_log::{BATCH_LEAVES_MAX, TenantLog, checkpoint_path};
pub use verify::{SETTLE_DEFAULT, Verifier, verify_dir};
