//! Pure decisions: no clock, no randomness, no I/O.

pub mod decide;
pub mod evolve;
pub mod hours;
pub mod policy;
pub mod quorum;
pub mod schema;
pub mod tell;
pub mod timers;
