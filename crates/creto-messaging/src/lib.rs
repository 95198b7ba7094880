//! End-to-end messages between agents: the agents hold the keys, the server carries sealed envelopes.
//!
//! An agent enrols (identity keys), publishes prekeys, and opens a session to another agent from that agent's published bundle by PQXDH
//! ([`core::handshake`]). On the session a Double Ratchet with encrypted headers ([`core::ratchet`]) gives each message its own key.
//! The server ([`service`]) keeps the prekey directory and the mailboxes, hands out each one-time prekey once, and delivers what the
//! gate admits. It learns who writes to whom, when, how much (padded), under which decision and for which purpose; never what.
//!
//! ```text
//! agent side   Agent → prepare_* → Pending → commit(SessionStore) → bytes or text        model/ core/ agent/
//! server side  Messaging → Gate → Sealed → Db                                            service.rs store/
//! ```
//!
//! INVARIANT: neither ciphertext nor plaintext leaves a [`Pending`] before the state behind it is durable. So no crash can reuse a key, and
//! none can acknowledge a message that nobody kept.
//!
//! INVARIANT: a failed decryption changes nothing, in memory or at rest.

pub mod agent;
pub mod core;
mod entropy;
pub mod error;
pub mod model;
pub mod service;
pub mod store;

pub use agent::{Agent, AgentPolicy, Delta, FileStore, MemoryStore, Pending, Received, SealedMessage, SessionStore};
pub use core::ratchet::Cadence;
pub use core::session::{Outgoing, Plaintext, Session};
pub use core::suite::Entropy;
pub use entropy::SystemEntropy;
pub use error::MessagingError;
pub use model::{Authorization, Bundle, Envelope, IdentityKeyId, Mode, Publication, Purpose, SessionId};
pub use service::Messaging;
pub use store::MIGRATIONS;
