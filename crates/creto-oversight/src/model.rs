//! Plain types: requests and decisions.

pub mod request;
