//! Pure decisions about units and money: no clock, no randomness, no I/O.

pub mod aggregate;
pub mod allocate;
pub mod batch_tree;
pub mod charging;
pub mod credits;
pub mod dedupe;
pub mod exact;
pub mod expression;
pub mod fee;
pub mod gcra;
pub mod invoice;
pub mod invoicing;
pub mod matching;
pub mod paper;
pub mod period;
pub mod posting;
pub mod price;
pub mod purse;
pub mod rate;
pub mod reading;
pub mod recording;
pub mod reporting;
pub mod rounding;
pub mod sheet;
pub mod tree;
pub mod zone;
