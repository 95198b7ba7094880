//! Non-human identity: SPIFFE identifiers, signed delegation chains, credentials and revocation.

pub mod model;

pub use model::chain::{Hop, VerifiedChain};
pub use model::grant::{Grant, Pattern};
