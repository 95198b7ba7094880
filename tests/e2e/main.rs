//! End-to-end tests of the real binary, as its clients see it: HTTP, the command line, files. One file for each subject, linked once.
//!
//! Every test has its own data directory and its own server on a free port, so they run side by side.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test helpers stop the test")]

mod approvals;
mod authorization;
mod cluster;
mod crash;
mod endings;
mod escalation;
mod governance;
mod hours;
mod humanlayer;
mod ingest;
mod oversight;
mod own_keys;
mod privacy;
mod raises;
mod spine;
mod support;
mod tenants;
mod usage;
mod votes;
