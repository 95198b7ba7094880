//! Oversight behind the real Gate, on both engines.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests speak by panicking")]

#[path = "oversight/actions.rs"]
mod actions;
#[path = "oversight/cases.rs"]
mod cases;
#[path = "oversight/decisions.rs"]
mod decisions;
#[path = "oversight/glass.rs"]
mod glass;
#[path = "oversight/governance.rs"]
mod governance;
#[path = "oversight/hazards.rs"]
mod hazards;
#[path = "../../creto-enablement-common/tests/support/house.rs"]
#[expect(dead_code, reason = "the Gate's own tests use the rest")]
mod house;
#[path = "oversight/http.rs"]
mod http;
#[path = "oversight/humanlayer.rs"]
mod humanlayer;
#[path = "oversight/kill.rs"]
mod kill;
#[cfg(feature = "email")]
#[path = "oversight/mail.rs"]
mod mail;
#[path = "oversight/paging.rs"]
mod paging;
#[path = "oversight/restart.rs"]
mod restart;
#[path = "oversight/simulation.rs"]
mod simulation;
#[path = "oversight/waiting.rs"]
mod waiting;
