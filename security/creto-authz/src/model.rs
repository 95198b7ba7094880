//! What goes in and comes out.

pub(crate) mod context;
pub(crate) mod decision;
pub(crate) mod explained;
pub(crate) mod version;
