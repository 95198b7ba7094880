//! Black-box tests of the protocol, the agent's stores and the server's service.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests speak by panicking")]

#[path = "messaging/common.rs"]
mod common;
#[path = "messaging/forgery.rs"]
mod forgery;
#[path = "messaging/machine.rs"]
mod machine;
#[path = "messaging/server.rs"]
mod server;
#[path = "messaging/stores.rs"]
mod stores;
#[path = "messaging/vectors.rs"]
mod vectors;
#[path = "messaging/wire.rs"]
mod wire;
