//! Pure decisions.

pub(crate) mod words;
