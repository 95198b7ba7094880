//! Forward-only, checksummed migrations: each product brings its own set, and each set has its own numbering.

use std::collections::BTreeMap;

use creto_kernel::Digest;

use crate::error::DbError;

/// One step of a schema's history.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number: 1, 2, 3, … without gaps.
    pub version: u32,
    /// What SQLite runs; several statements are fine.
    pub sqlite: &'static str,
    /// What PostgreSQL runs.
    pub postgres: &'static str,
}

/// The schema of one crate, as its history.
///
/// INVARIANT: a published migration never changes: its text is checksummed where it was applied, and another text is refused.
#[derive(Debug, Clone, Copy)]
pub struct MigrationSet {
    /// The crate's name, without `creto-`: `metering`, `oversight`.
    pub name: &'static str,
    /// Its history, oldest first.
    pub migrations: &'static [Migration],
}

/// The tables every database has: the leaves, the outbox, and which migrations were applied.
pub(crate) const OWN: MigrationSet = MigrationSet {
    name: "db",
    migrations: &[Migration {
        version: 1,
        sqlite: "
            CREATE TABLE audit_leaf (
                sequence INTEGER PRIMARY KEY,
                id TEXT NOT NULL UNIQUE,
                tenant TEXT NOT NULL,
                body BLOB NOT NULL,
                log_index INTEGER
            ) STRICT;
            CREATE UNIQUE INDEX audit_leaf_log ON audit_leaf (tenant, log_index) WHERE log_index IS NOT NULL;
            CREATE INDEX audit_leaf_unlogged ON audit_leaf (sequence) WHERE log_index IS NULL;
            CREATE TABLE outbox (
                position INTEGER PRIMARY KEY,
                id TEXT NOT NULL UNIQUE,
                topic TEXT NOT NULL,
                body TEXT NOT NULL,
                attempts INTEGER NOT NULL DEFAULT 0,
                due INTEGER NOT NULL DEFAULT 0,
                claim TEXT
            ) STRICT;
            CREATE INDEX outbox_due ON outbox (topic, due);",
        postgres: "
            CREATE TABLE audit_leaf (
                sequence BIGINT PRIMARY KEY,
                id TEXT NOT NULL UNIQUE,
                tenant TEXT NOT NULL,
                body BYTEA NOT NULL,
                log_index BIGINT
            );
            CREATE UNIQUE INDEX audit_leaf_log ON audit_leaf (tenant, log_index) WHERE log_index IS NOT NULL;
            CREATE INDEX audit_leaf_unlogged ON audit_leaf (sequence) WHERE log_index IS NULL;
            CREATE TABLE outbox (
                position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                id TEXT NOT NULL UNIQUE,
                topic TEXT NOT NULL,
                body TEXT NOT NULL,
                attempts BIGINT NOT NULL DEFAULT 0,
                due BIGINT NOT NULL DEFAULT 0,
                claim TEXT
            );
            CREATE INDEX outbox_due ON outbox (topic, due);",
    }],
};

/// Which engine's text counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// One file, one process.
    Sqlite,
    /// A server, many processes.
    Postgres,
}

impl Migration {
    pub(crate) const fn text(&self, engine: Engine) -> &'static str {
        match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        }
    }

    pub(crate) fn checksum(&self, engine: Engine) -> String {
        Digest::of(self.text(engine).as_bytes()).to_string()
    }
}

/// What was applied: (set, version) → checksum.
pub(crate) type Applied = BTreeMap<(String, i64), String>;

/// Decides what is left to run, in order; refuses a history that is not ours.
pub(crate) fn plan(engine: Engine, sets: &[MigrationSet], applied: &Applied) -> Result<Vec<(&'static str, Migration)>, DbError> {
    let mut todo = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for set in std::iter::once(&OWN).chain(sets) {
        if seen.contains(&set.name) {
            return Err(failed(set.name, 0, "two sets have this name"));
        }
        seen.push(set.name);
        todo.extend(plan_set(engine, set, applied)?);
    }
    Ok(todo)
}

fn plan_set(engine: Engine, set: &MigrationSet, applied: &Applied) -> Result<Vec<(&'static str, Migration)>, DbError> {
    let known = i64::try_from(set.migrations.len()).unwrap_or(i64::MAX);
    let found = applied.keys().filter(|(name, _)| name == set.name).map(|(_, version)| *version).max().unwrap_or(0);
    if found > known {
        return Err(DbError::NewerSchema { set: set.name.to_owned(), found, known });
    }
    let mut todo = Vec::new();
    for (expected, migration) in (1_i64..).zip(set.migrations) {
        if i64::from(migration.version) != expected {
            return Err(failed(set.name, i64::from(migration.version), "migrations are numbered 1, 2, 3, … without gaps"));
        }
        match applied.get(&(set.name.to_owned(), expected)) {
            Some(checksum) if *checksum == migration.checksum(engine) => {}
            Some(_) => return Err(DbError::MigrationChanged { set: set.name.to_owned(), version: expected }),
            None => todo.push((set.name, *migration)),
        }
    }
    Ok(todo)
}

pub(crate) fn failed(set: &str, version: i64, reason: impl ToString) -> DbError {
    DbError::MigrationFailed { set: set.to_owned(), version, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[Migration] =
        &[Migration { version: 1, sqlite: "one", postgres: "eins" }, Migration { version: 2, sqlite: "two", postgres: "zwei" }];

    fn applied(entries: &[(&str, i64, &str)]) -> Applied {
        entries.iter().map(|(set, version, text)| (((*set).to_owned(), *version), Digest::of(text.as_bytes()).to_string())).collect()
    }

    #[test]
    fn only_what_is_missing_runs_in_order() {
        let sets = [MigrationSet { name: "x", migrations: TWO }];
        let versions = |applied: &Applied| -> Vec<(&str, u32)> {
            plan(Engine::Sqlite, &sets, applied).unwrap().iter().map(|(name, m)| (*name, m.version)).collect()
        };
        assert_eq!(versions(&Applied::new()), [("db", 1), ("x", 1), ("x", 2)]);
        assert_eq!(versions(&applied(&[("x", 1, "one")])), [("db", 1), ("x", 2)]);
    }

    #[test]
    fn a_history_that_is_not_ours_is_refused() {
        let two = [MigrationSet { name: "x", migrations: TWO }];
        let changed = plan(Engine::Sqlite, &two, &applied(&[("x", 1, "eins")]));
        assert!(matches!(changed, Err(DbError::MigrationChanged { version: 1, .. })), "{changed:?}");
        let newer = plan(Engine::Sqlite, &two, &applied(&[("x", 3, "three")]));
        assert!(matches!(newer, Err(DbError::NewerSchema { found: 3, known: 2, .. })), "{newer:?}");
        let gap = [MigrationSet { name: "x", migrations: &[Migration { version: 2, sqlite: "", postgres: "" }] }];
        assert!(matches!(plan(Engine::Sqlite, &gap, &Applied::new()), Err(DbError::MigrationFailed { .. })));
        let twice = [two[0], two[0]];
        assert!(matches!(plan(Engine::Sqlite, &twice, &Applied::new()), Err(DbError::MigrationFailed { .. })));
    }
}
