//! Pure decisions: what a sandbox contains, where it may connect, how many wait warm. No clock, randomness, I/O or async.

pub use creto_enablement_common::address;
pub mod bundle;
pub mod destination;
pub mod env;
pub mod pool;
