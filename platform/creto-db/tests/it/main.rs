//! Black-box tests, one file for each subject, linked once.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test helpers stop the test")]

mod conformance;
mod crash;
mod decide;
mod files;
mod lost_commit;
mod outbox;
mod postgres;
mod power;
mod scrub;
mod support;
