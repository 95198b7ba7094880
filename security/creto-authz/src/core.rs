//! Pure decisions: text to checked policies, names to entities, policies and entities to an outcome.

pub(crate) mod compile;
pub(crate) mod decide;
pub(crate) mod entities;
pub(crate) mod hint;
pub(crate) mod slice;
