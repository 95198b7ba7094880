//! What an agent knew and why it acts: so that an approver sees the reasoning, and an auditor can ask later.
//!
//! An item says who recorded it, from which source, what it says, from when to when it holds, and which action it is the reason of.
//! Items are not edited: a correction is a new item that supersedes the old one, which stays readable as no longer valid; so "what did
//! it believe on Tuesday" has an answer. Search is by words (FTS5 on SQLite, `tsvector` on PostgreSQL), latest first.
//!
//! INVARIANT: text is untrusted. It is an [`Untrusted`], whose `Display` and JSON form escape everything that could hide or reorder what
//! a reader sees; the raw text is one explicit call away.
//!
//! INVARIANT: every change is one commit with its audit leaf. The leaf holds SHA-256(salt ‖ text). [`Memory::forget`] erases the text
//! and the salt: the log stays provable, and the digest left in it cannot be guessed back into the text. SQLite may keep erased bytes in
//! free pages until they are reused.
//!
//! INVARIANT: every read and write names its tenant; an item of another tenant does not exist.
//!
//! Whether a caller may is decided before, by `creto-authz`: actions `memory.*` on the resource `memory:<SPIFFE ID of the author>`.

mod core;
mod error;
mod model;
mod service;
mod store;

pub use error::MemoryError;
pub use model::item::{Change, ChangeKind, Item, MemoryId, NewItem, SOURCE_BYTES_MAX, Search, TEXT_BYTES_MAX};
pub use model::untrusted::Untrusted;
pub use service::{Memory, Planned};
pub use store::{Erase, MIGRATIONS};
