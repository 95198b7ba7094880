//! The agent's side: its keys, sessions and messages, and the one way state changes.
//!
//! [`Agent`] is what a program uses; below it, [`prepare_encrypt`], [`prepare_decrypt`] and [`prepare_accept`] make [`Pending`] changes
//! that a [`SessionStore`] applies by compare-and-set.

mod endpoint;
mod file;
mod memory;
mod pending;
mod records;

pub use endpoint::{Agent, AgentPolicy};
pub use file::{FileStore, STORE_BYTES_MAX};
pub use memory::MemoryStore;
pub use pending::{Pending, SealedMessage, prepare_accept, prepare_decrypt, prepare_encrypt, prepare_session};
pub use records::{Change, Delta, IdentitySecrets, PrekeyRecord, Received, Records};

use crate::error::MessagingError;

/// Where an agent keeps its state.
pub trait SessionStore: Send + Sync {
    /// Shows the current records.
    fn view(&self, look: &mut dyn FnMut(&Records)) -> Result<(), MessagingError>;

    /// Applies a change whole and durably, or not at all. Answers [`MessagingError::StaleState`] when a session moved on since the change was
    /// prepared.
    fn apply(&self, delta: &Delta) -> Result<(), MessagingError>;
}

impl<S: SessionStore + ?Sized> SessionStore for std::sync::Arc<S> {
    fn view(&self, look: &mut dyn FnMut(&Records)) -> Result<(), MessagingError> {
        (**self).view(look)
    }

    fn apply(&self, delta: &Delta) -> Result<(), MessagingError> {
        (**self).apply(delta)
    }
}

/// What `look` sees in the current records.
pub fn read<T>(store: &dyn SessionStore, mut look: impl FnMut(&Records) -> T) -> Result<T, MessagingError> {
    let mut seen = None;
    store.view(&mut |records| seen = Some(look(records)))?;
    seen.ok_or(MessagingError::Corrupt("store"))
}
