//! Suites by identifier, algorithm policy and key ring.
