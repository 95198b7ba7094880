//! Pure decisions about units and money: no clock, no randomness, no I/O.

pub mod aggregate;
pub mod exact;
pub mod expression;
pub mod gcra;
pub mod matching;
pub mod price;
pub mod rate;
pub mod reading;
pub mod rounding;
pub mod tree;
pub mod zone;
