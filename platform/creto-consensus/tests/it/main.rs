//! Black-box tests, one file for each subject, linked once.

#![expect(clippy::unwrap_used, reason = "test helpers stop the test")]

mod hlc;
mod leadership;
mod sequence;
mod support;
