//! What can be wrong with an SQLite file, and what is said about it.

use std::path::{Path, PathBuf};

use crate::support::{SETS, count, insert, leaf, sealed};
use creto_db::{Db, DbError, Migration, MigrationSet, Write, params};
use creto_kernel::Coded;

fn refused(path: &Path, sets: &[MigrationSet], code: &str) -> DbError {
    let error = Db::open_sqlite(path, sets).expect_err(code);
    assert_eq!(error.code().as_str(), code, "{error}");
    assert!(error.hint().is_some(), "{code} says what to do");
    error
}

fn new_file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("creto.db");
    (directory, path)
}

#[test]
fn a_missing_directory_is_named() {
    let (directory, _) = new_file();
    let error = refused(&directory.path().join("nowhere/creto.db"), SETS, "db.directory_missing");
    assert!(error.hint().unwrap().contains("mkdir -p"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // procfs refuses new files from everybody, also from root.
    let error = refused(Path::new("/proc/creto.db"), SETS, "db.read_only");
    assert!(error.to_string().contains("/proc/creto.db"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let (_directory, path) = new_file();
    std::fs::write(&path, "this is somebody's shopping list\n".repeat(100)).unwrap();
    refused(&path, SETS, "db.corrupt");
}

#[tokio::test]
async fn a_damaged_page_is_reported_and_not_read_as_something_else() {
    let (_directory, path) = new_file();
    let db = Db::open_sqlite(&path, SETS).unwrap();
    for number in 0..200 {
        let body = vec![7_u8; 900];
        let write = Write::new("INSERT INTO item (number, name, body) VALUES ($1, $2, $3)", params![number, "x", body]);
        db.commit(creto_db::Sealed::new(leaf()).step(write)).await.unwrap();
    }
    drop(db);
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xFF);
    std::fs::write(&path, bytes).unwrap();
    let outcome = match Db::open_sqlite(&path, SETS) {
        Ok(db) => db.query("SELECT number, body FROM item ORDER BY number", vec![]).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert_eq!(outcome.unwrap_err().code().as_str(), "db.corrupt");
}

#[test]
fn somebody_elses_database_is_left_alone() {
    let (_directory, path) = new_file();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    refused(&path, SETS, "db.foreign_schema");
    let tables: i64 = rusqlite::Connection::open(&path).unwrap().query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn migrations_run_once_each_and_are_never_edited() {
    const ONE: Migration = Migration { version: 1, sqlite: "CREATE TABLE a (x)", postgres: "" };
    const TWO: Migration = Migration { version: 2, sqlite: "CREATE TABLE b (x)", postgres: "" };
    const EDITED: Migration = Migration { version: 1, sqlite: "CREATE TABLE a (x, y)", postgres: "" };
    const WRONG: Migration = Migration { version: 2, sqlite: "CREATE TABLE c (x); CREATE TABLE a (x)", postgres: "" };
    const fn set(migrations: &'static [Migration]) -> [MigrationSet; 1] {
        [MigrationSet { name: "set", migrations }]
    }
    let (_directory, path) = new_file();
    drop(Db::open_sqlite(&path, &set(&[ONE])).unwrap());
    refused(&path, &set(&[ONE, WRONG]), "db.migration_failed");
    refused(&path, &set(&[EDITED]), "db.migration_changed");
    drop(Db::open_sqlite(&path, &set(&[ONE, TWO])).unwrap());
    drop(Db::open_sqlite(&path, &set(&[ONE, TWO])).unwrap());
    refused(&path, &set(&[ONE]), "db.newer_schema");
    let db = Db::open_sqlite(&path, &set(&[ONE, TWO])).unwrap();
    let tables = db.query("SELECT name FROM sqlite_schema WHERE name IN ('a', 'b', 'c') ORDER BY name", vec![]).await.unwrap();
    assert_eq!(tables.iter().map(|r| r.text(0).unwrap()).collect::<Vec<_>>(), ["a", "b"], "the failed migration left nothing");
}

#[tokio::test]
async fn a_full_disk_refuses_the_write_whole_and_writing_resumes_with_room() {
    let (_directory, path) = new_file();
    let db = Db::open_sqlite(&path, SETS).unwrap();
    db.commit(sealed(0)).await.unwrap();
    let pages = db.upkeep("PRAGMA page_count", vec![]).await.unwrap()[0].int(0).unwrap();
    // Two pages of room; the limit belongs to the writer's connection.
    let limit = match pages + 2 {
        n if n < 20 => "PRAGMA max_page_count = 20",
        n => panic!("the empty schema has {n} pages"),
    };
    db.upkeep(limit, vec![]).await.unwrap();
    let big = |number: i64| {
        let body = vec![1_u8; 40_000];
        let write = Write::new("INSERT INTO item (number, name, body) VALUES ($1, $2, $3)", params![number, "big", body]);
        creto_db::Sealed::new(leaf()).step(insert(1_000 + number, "first half")).step(write)
    };
    let mut full = 0;
    for number in 1..5 {
        if let Err(error) = db.commit(big(number)).await {
            assert_eq!(error.code().as_str(), "db.disk_full", "{error}");
            full += 1;
        }
    }
    assert!(full > 0, "40 kB fit into 20 pages of 4 kB only once");
    let written = 4 - full;
    assert_eq!((count(&db, "item").await, count(&db, "audit_leaf").await), (1 + 2 * written, 1 + written));
    db.upkeep("PRAGMA max_page_count = 1000000", vec![]).await.unwrap();
    db.commit(big(9)).await.unwrap();
}

#[tokio::test]
async fn a_second_process_that_holds_the_file_makes_it_busy_not_broken() {
    let (_directory, path) = new_file();
    let db = Db::open_sqlite(&path, SETS).unwrap();
    db.upkeep("PRAGMA busy_timeout = 1", vec![]).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(db.commit(sealed(1)).await.unwrap_err().code().as_str(), "db.busy");
    other.execute_batch("ROLLBACK").unwrap();
    db.commit(sealed(1)).await.unwrap();
}

#[tokio::test]
async fn what_is_queued_is_durable_when_the_last_handle_goes() {
    let (_directory, path) = new_file();
    let db = Db::open_sqlite(&path, SETS).unwrap();
    for number in 0..50 {
        let mut commit = Box::pin(db.commit(sealed(number)));
        assert!(futures::poll!(&mut commit).is_pending());
    }
    drop(db);
    let db = Db::open_sqlite(&path, SETS).unwrap();
    assert_eq!(count(&db, "item").await, 50);
}
