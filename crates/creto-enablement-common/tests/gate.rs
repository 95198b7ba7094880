//! The Gate with the real policy, chains, accounts and desk behind it, on both engines; and HTTP as every product speaks it.
#![expect(clippy::unwrap_used, reason = "tests speak by panicking")]

#[path = "gate/admission.rs"]
mod admission;
#[path = "gate/approval.rs"]
mod approval;
#[path = "gate/doubt.rs"]
mod doubt;
#[path = "support/house.rs"]
mod house;
#[path = "gate/http.rs"]
mod http;
#[path = "gate/tenants.rs"]
mod tenants;
