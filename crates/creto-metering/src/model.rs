//! Plain types: events, metrics, accounts. A value that exists is valid.

pub mod account;
pub mod event;
pub mod metric;
