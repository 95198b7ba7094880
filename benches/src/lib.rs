//! The ratio harness.
