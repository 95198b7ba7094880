//! Sealed objects: bytes at rest, each under a key of its own, bound to owner, class and name.
//!
//! An object's random data key encrypts it; the key ring seals the data key. Owner, class and reference are authenticated in both, so an
//! object moved to another owner's place on disk, or relabelled to a lower class, does not open.
//!
//! The reference is content-addressed within its owner: `SHA-256(owner, class, content)`. Putting the same content twice gives one object;
//! whoever reads an object knows that it is what the reference named. A reference does let someone who already knows the owner and
//! guesses the whole content confirm the guess.
//!
//! A retention lock names the moment before which the object cannot be deleted. A lock can only be extended.
//!
//! INVARIANT: what is not the caller's is [`StorageError::NotFound`], exactly like what is not there.

pub mod error;
mod format;
pub mod model;
pub mod store;

pub use error::StorageError;
pub use model::{Class, Object, Reference};
pub use store::SealedStore;
