//! Order and leadership on the engines that have consensus: hybrid logical timestamps, fenced leadership and ordered sequences.
//!
//! This is an adapter, not a new consensus protocol. On SQLite one process is the order; on PostgreSQL the server is, and with
//! synchronous standbys a commit is on several disks before it is acknowledged. [`durability`] tells which of these holds, and never
//! more than that.
//!
//! INVARIANT: a fencing token is never given twice, and each new leader of a role gets a larger one. A write sealed with a [`Fence`]
//! happens only while its token is the newest and its lease runs, judged in the same transaction as the write.
//!
//! INVARIANT: positions of a stream have no gaps and are read in the order in which they became durable.

mod core;
mod durability;
mod error;
mod hybrid;
mod leadership;
mod schema;
mod sequence;

pub use crate::core::hlc::{HybridState, HybridTimestamp};
pub use durability::{Durability, durability};
pub use error::ConsensusError;
pub use hybrid::HybridClock;
pub use leadership::{Fence, Leadership, Lease, Role};
pub use schema::MIGRATIONS;
pub use sequence::{Append, Appended, Expect, Record, Sequences};
