//! The tables of leadership and ordered sequences.

use creto_db::{Migration, MigrationSet};

/// What [`creto_db::Db`] must be opened with.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "consensus",
    migrations: &[Migration {
        version: 1,
        sqlite: "
            CREATE TABLE leadership (
                role TEXT PRIMARY KEY,
                token INTEGER NOT NULL,
                holder TEXT NOT NULL,
                expires_ms INTEGER NOT NULL
            ) STRICT;
            CREATE TABLE stream (
                tenant TEXT NOT NULL,
                name TEXT NOT NULL,
                next INTEGER NOT NULL,
                PRIMARY KEY (tenant, name)
            ) STRICT;
            CREATE TABLE stream_append (
                tenant TEXT NOT NULL,
                stream TEXT NOT NULL,
                key TEXT NOT NULL,
                digest TEXT NOT NULL,
                first INTEGER NOT NULL,
                count INTEGER NOT NULL,
                PRIMARY KEY (tenant, stream, key)
            ) STRICT;
            CREATE TABLE stream_record (
                tenant TEXT NOT NULL,
                stream TEXT NOT NULL,
                position INTEGER NOT NULL,
                body BLOB NOT NULL,
                PRIMARY KEY (tenant, stream, position)
            ) STRICT;",
        postgres: "
            CREATE TABLE leadership (
                role TEXT PRIMARY KEY,
                token BIGINT NOT NULL,
                holder TEXT NOT NULL,
                expires_ms BIGINT NOT NULL
            );
            CREATE TABLE stream (
                tenant TEXT NOT NULL,
                name TEXT NOT NULL,
                next BIGINT NOT NULL,
                PRIMARY KEY (tenant, name)
            );
            CREATE TABLE stream_append (
                tenant TEXT NOT NULL,
                stream TEXT NOT NULL,
                key TEXT NOT NULL,
                digest TEXT NOT NULL,
                first BIGINT NOT NULL,
                count BIGINT NOT NULL,
                PRIMARY KEY (tenant, stream, key)
            );
            CREATE TABLE stream_record (
                tenant TEXT NOT NULL,
                stream TEXT NOT NULL,
                position BIGINT NOT NULL,
                body BYTEA NOT NULL,
                PRIMARY KEY (tenant, stream, position)
            );",
    }],
};
