//! What is remembered.

pub(crate) mod item;
pub(crate) mod untrusted;
