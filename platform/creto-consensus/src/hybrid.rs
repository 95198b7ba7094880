//! The hybrid clock of this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use creto_kernel::Clock;

use crate::core::hlc::{HybridState, HybridTimestamp};
use crate::error::ConsensusError;

/// Gives hybrid timestamps by a physical clock. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct HybridClock {
    clock: Arc<dyn Clock>,
    state: Mutex<HybridState>,
}

impl HybridClock {
    /// How far the clocks of a deployment may be apart: NTP keeps them within milliseconds, so this is an alarm and not a setting.
    pub const DRIFT_MAX: Duration = Duration::from_millis(500);

    /// A clock that has seen nothing.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(HybridState::new(Self::DRIFT_MAX)) }
    }

    /// Stamps a local event, or a message that leaves.
    ///
    /// # Errors
    /// `consensus.clock_drift`.
    pub fn now(&self) -> Result<HybridTimestamp, ConsensusError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tick(self.clock.now())
    }

    /// Stamps the arrival of a message that carries `remote`.
    ///
    /// # Errors
    /// `consensus.clock_drift`.
    pub fn receive(&self, remote: HybridTimestamp) -> Result<HybridTimestamp, ConsensusError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).receive(remote, self.clock.now())
    }
}
