//! The protocol, pure: handshake, ratchet, sessions and limits as functions of their arguments.
//!
//! INVARIANT: no clock, no randomness, no I/O here. Time is an argument; randomness comes through [`suite::Entropy`].

pub mod bucket;
pub mod handshake;
pub mod padding;
pub mod ratchet;
pub mod session;
pub mod suite;
