//! What the server keeps: the prekey directory and the mailboxes, as queries and as write steps. One SQL text serves both engines.

pub mod directory;
pub mod mailbox;

use creto_db::{Migration, MigrationSet};

/// The tables of this crate.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "messaging",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../migrations/sqlite/0001_messaging.sql"),
        postgres: include_str!("../migrations/postgres/0001_messaging.sql"),
    }],
};
