//! The Gate with the real policy, chains, accounts and desk behind it, on both engines; and HTTP as every product speaks it.
#![expect(clippy::unwrap_used, reason = "tests speak by panicking")]

#[path = "gate/admission.rs"]
mod admission;
#[path = "gate/approval.rs"]
mod approval;
#[path = "gate/attempt.rs"]
mod attempt;
#[path = "gate/doubt.rs"]
mod doubt;
#[path = "support/house.rs"]
mod house;
#[path = "gate/http.rs"]
mod http;
#[path = "gate/ownership.rs"]
mod ownership;
#[path = "support/receiver.rs"]
mod receiver;
#[path = "gate/tenants.rs"]
mod tenants;
#[path = "gate/webhook.rs"]
mod webhook;
