//! Queries, and the write steps as values. One SQL text serves both engines.

pub(crate) mod channels;
pub(crate) mod erasing;
pub(crate) mod grants;
pub(crate) mod humanlayer;
pub(crate) mod mail;
pub(crate) mod mode;
pub(crate) mod people;
pub(crate) mod policies;
#[cfg(feature = "email")]
pub(crate) mod replies;
pub(crate) mod requests;
pub(crate) mod timers;

use creto_db::{Migration, MigrationSet};

pub use requests::OPEN_PER_AGENT_MAX;

/// Oversight's tables.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "oversight",
    migrations: &[
        Migration {
            version: 1,
            sqlite: include_str!("../migrations/sqlite/0001_oversight.sql"),
            postgres: include_str!("../migrations/postgres/0001_oversight.sql"),
        },
        Migration {
            version: 2,
            sqlite: include_str!("../migrations/sqlite/0002_desk.sql"),
            postgres: include_str!("../migrations/postgres/0002_desk.sql"),
        },
        Migration {
            version: 3,
            sqlite: include_str!("../migrations/sqlite/0003_checkpoint.sql"),
            postgres: include_str!("../migrations/postgres/0003_checkpoint.sql"),
        },
        Migration {
            version: 4,
            sqlite: include_str!("../migrations/sqlite/0004_mail.sql"),
            postgres: include_str!("../migrations/postgres/0004_mail.sql"),
        },
        Migration {
            version: 5,
            sqlite: include_str!("../migrations/sqlite/0005_reviews.sql"),
            postgres: include_str!("../migrations/postgres/0005_reviews.sql"),
        },
        Migration {
            version: 6,
            sqlite: include_str!("../migrations/sqlite/0006_claims.sql"),
            postgres: include_str!("../migrations/postgres/0006_claims.sql"),
        },
    ],
};
