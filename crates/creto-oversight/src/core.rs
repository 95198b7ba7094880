//! Pure decisions about requests: no clock, no randomness, no I/O.

pub mod machine;
