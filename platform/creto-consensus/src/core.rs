//! Pure decisions: hybrid logical time, and what a server's standby setting promises.

pub(crate) mod hlc;
pub(crate) mod standby;
