//! Pure decisions about units and money: no clock, no randomness, no I/O.

pub mod exact;
pub mod gcra;
pub mod rate;
pub mod rounding;
pub mod tree;
