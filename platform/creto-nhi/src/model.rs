//! What a delegation is: grants, links, chains, and the proof that a chain was verified.

pub mod chain;
pub mod grant;
