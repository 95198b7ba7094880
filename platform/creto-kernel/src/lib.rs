//! The words every floor shares: identifiers, tenants, money, time, canonical JSON, digests, actions, audit leaves and
//! error codes.
//!
//! INVARIANT: no I/O, no async runtime, no global state. The only clock and randomness here are behind [`time::Clock`]
//! and the `generate` constructors, which pure `core/` modules never call.
//!
//! INVARIANT: a value that exists is valid. Every type is parsed once, at the edge, by a constructor that fails.

pub mod action;
pub mod canonical;
pub mod digest;
pub mod error;
pub mod id;
pub mod leaf;
pub mod money;
pub mod nhi_id;
pub mod tenant;
pub mod time;

pub use action::{ActionName, CanonicalAction, ResourceName};
pub use digest::Digest;
pub use error::{Coded, ErrorCode, Kind};
pub use leaf::{Leaf, Phase};
pub use money::Micros;
pub use nhi_id::{NhiId, NhiKind};
pub use tenant::TenantId;
pub use time::{Clock, SystemClock, Timestamp};
