//! One way to write. A write is a value: [`Sealed`] holds the steps, the audit leaf and the outbox messages of one state change, and
//! [`Db::commit`] accepts nothing else.
//!
//! INVARIANT: a state change without its audit leaf does not compile: [`Sealed`] has private fields and no constructor without a leaf.
//! The one exception is [`Db::upkeep`], for rows that record nothing anybody decided: log positions, leases, delivery claims.
//!
//! INVARIANT: a [`Sealed`] is applied whole or not at all. SQLite gives each one a savepoint inside a group commit; PostgreSQL a
//! transaction. When [`Db::commit`] returns `Ok`, it is durable. A caller that stops waiting changes nothing about that.
//!
//! INVARIANT: [`Committed::sequence`] is the commit order: whoever sees a sequence sees every smaller one that will ever exist.
//!
//! What a write depends on it reads inside its commit ([`Decide`]); many rows are one step ([`Many`]).
//!
//! Reads are [`Db::query`]: one SQL text for both engines, rows of [`Value`]s, parsed by the store that owns the table.

pub mod failpoint;

mod db;
mod decide;
mod error;
mod many;
mod migrate;
mod outbox;
mod postgres;
mod sealed;
mod sqlite;
#[cfg(feature = "testkit")]
pub mod testkit;
mod value;
mod write;

pub use db::Db;
pub use decide::{Decide, Deciding, Lazily};
pub use error::{DbError, StepError};
pub use many::{Column, Many};
pub use migrate::{Engine, Migration, MigrationSet};
pub use outbox::{Dispatcher, Handled, Handler};
pub use sealed::{Committed, LEAF_BYTES_MAX, Late, Lately, Message, Sealed, Step};
pub use value::{Row, Sql, Value};
pub use write::Write;
