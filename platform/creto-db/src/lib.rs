//! One way to write. A write is a value: [`Sealed`] holds the steps, the audit leaf and the outbox messages of one state change, and
//! [`Db::commit`] accepts nothing else.
//!
//! INVARIANT: a state change without its audit leaf does not compile: [`Sealed`] has private fields and no constructor without a leaf.
//!
//! INVARIANT: a [`Sealed`] is applied whole or not at all. SQLite gives each one a savepoint inside a group commit; PostgreSQL a
//! transaction. When [`Db::commit`] returns `Ok`, it is durable.
//!
//! Reads do not pass here: stores run their own queries on [`Db::sqlite_read`] or [`Db::postgres`].

mod error;
mod sealed;

pub use error::{DbError, StepError};
pub use sealed::{Committed, Message, Sealed, Step};
