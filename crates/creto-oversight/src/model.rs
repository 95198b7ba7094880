//! Plain types. A value that exists is valid.

pub mod case;
pub mod command;
pub mod comment;
pub mod event;
pub mod notice;
pub mod plan;
pub mod policy;
pub mod redaction;
pub mod request;
pub mod requirement;
pub mod roster;
pub mod voter;
