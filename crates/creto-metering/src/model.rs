//! Plain types, parsed at the edge.

pub mod account;
pub mod billable_metric;
pub mod charge;
pub mod currency;
pub mod definition;
pub mod event;
pub mod metric;
pub mod plan;
pub mod price;
pub mod tax;
pub mod wallet;
