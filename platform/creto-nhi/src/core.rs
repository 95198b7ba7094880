//! Pure decisions: whether a chain holds, whether a request signature holds, when a login may be tried again. Time and entropy come in
//! as arguments; nothing here waits, reads or writes.

pub mod cbor;
pub mod jose;
pub mod narrow;
pub mod proof;
pub mod replay;
pub mod throttle;
pub mod verify;
pub mod webauthn;
