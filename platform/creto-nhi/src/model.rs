//! What a delegation is: identities, grants, links, chains, the proof that a chain was verified, and who a request speaks for.

pub mod chain;
pub mod grant;
pub mod identity;
pub mod link;
pub mod principal;
pub mod registration;
pub mod subjects;
