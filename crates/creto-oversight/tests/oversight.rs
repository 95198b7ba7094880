//! Oversight behind the real Gate, on both engines.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests speak by panicking")]

#[path = "oversight/actions.rs"]
mod actions;
#[path = "oversight/decisions.rs"]
mod decisions;
#[path = "../../creto-enablement-common/tests/support/house.rs"]
#[expect(dead_code, reason = "the Gate's own tests use the rest")]
mod house;
#[path = "oversight/http.rs"]
mod http;
#[path = "oversight/paging.rs"]
mod paging;
#[path = "oversight/restart.rs"]
mod restart;
#[path = "oversight/waiting.rs"]
mod waiting;
