//! One tlog-tiles transparency log per tenant, its sequencer, proofs and offline verifier.

pub mod core;
