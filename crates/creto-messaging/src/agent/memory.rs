//! A store in memory: for tests, and for agents that do not outlive their process.

use std::sync::{Mutex, PoisonError};

use crate::agent::SessionStore;
use crate::agent::records::{Delta, Records};
use crate::error::MessagingError;

/// Keeps records in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Records>);

impl MemoryStore {
    /// A store of these records.
    #[must_use]
    pub const fn new(records: Records) -> Self {
        Self(Mutex::new(records))
    }
}

impl SessionStore for MemoryStore {
    fn view(&self, look: &mut dyn FnMut(&Records)) -> Result<(), MessagingError> {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    fn apply(&self, delta: &Delta) -> Result<(), MessagingError> {
        // A poisoned lock is harmless: `perform` cannot fail between `check` and its end.
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.check(delta)?;
        records.perform(delta);
        Ok(())
    }
}
