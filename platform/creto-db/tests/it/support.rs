//! A small table of numbers, and writes to it.

use creto_db::{Db, Migration, MigrationSet, Sealed, Step, StepError, Write, params};
use creto_kernel::id::LeafId;
use creto_kernel::{ErrorCode, Leaf, Timestamp};
use futures::future::BoxFuture;

/// The tests' own code for a lost race.
pub(crate) const TAKEN: ErrorCode = ErrorCode::new("test.taken");

/// One table: what a product would bring.
pub(crate) const SETS: &[MigrationSet] = &[MigrationSet {
    name: "items",
    migrations: &[Migration {
        version: 1,
        sqlite: "CREATE TABLE item (number BIGINT PRIMARY KEY, name TEXT, body BLOB, extra BIGINT)",
        postgres: "CREATE TABLE item (number BIGINT PRIMARY KEY, name TEXT, body BYTEA, extra BIGINT)",
    }],
}];

/// A leaf of its own.
pub(crate) fn leaf() -> Leaf {
    Leaf::event(
        LeafId::generate(),
        Timestamp::EPOCH,
        "spiffe://creto.local/tenant/default/agent/a".parse().unwrap(),
        "test.write".parse().unwrap(),
        "item:one".parse().unwrap(),
        "done",
    )
}

/// Writes one row.
pub(crate) fn insert(number: i64, name: &str) -> Write {
    Write::new("INSERT INTO item (number, name) VALUES ($1, $2)", params![number, name])
}

/// One row under its own leaf.
pub(crate) fn sealed(number: i64) -> Sealed {
    Sealed::new(leaf().fact("number", number)).step(insert(number, "item"))
}

/// How many rows a table of these tests has.
pub(crate) async fn count(db: &Db, table: &'static str) -> i64 {
    let sql = match table {
        "item" => "SELECT count(*) FROM item",
        "audit_leaf" => "SELECT count(*) FROM audit_leaf",
        "outbox" => "SELECT count(*) FROM outbox",
        other => panic!("`{other}` is no table of these tests"),
    };
    db.query(sql, vec![]).await.unwrap()[0].int(0).unwrap()
}

/// A defect.
#[derive(Debug)]
pub(crate) struct Panics;

impl Step for Panics {
    fn sqlite(&self, _: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        panic!("on purpose")
    }

    fn postgres<'a>(&'a self, _: &'a mut sqlx::PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async { panic!("on purpose") })
    }
}
