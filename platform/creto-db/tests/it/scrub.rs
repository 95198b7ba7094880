//! What is erased leaves the files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use creto_db::testkit::each_engine;
use creto_db::{Db, Sealed, Write, params};

use crate::support::{SETS, leaf};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_tells_how_many_rows_it_changed_and_a_scrubbed_database_goes_on() {
    each_engine(SETS, async |db| {
        for number in 0..3_i64 {
            let put = Write::new("INSERT INTO item (number, name) VALUES ($1, $2)", params![number, "zebra"]);
            db.commit(Sealed::new(leaf()).step(put)).await.unwrap();
        }
        let count = Arc::new(AtomicU64::new(0));
        let erase = Write::new("UPDATE item SET name = NULL WHERE number < $1", params![2_i64]).counted(Arc::clone(&count));
        db.commit(Sealed::new(leaf()).step(erase)).await.unwrap();
        assert_eq!(count.load(Ordering::Acquire), 2);
        db.scrub(&["item"]).await.unwrap();
        let left = db.query("SELECT number FROM item WHERE name IS NOT NULL", params![]).await.unwrap();
        assert_eq!(left.len(), 1);
        db.commit(Sealed::new(leaf())).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_word_is_in_no_file_of_an_sqlite_database() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open_sqlite(&dir.path().join("a.db"), SETS).unwrap();
    let put = Write::new("INSERT INTO item (number, name) VALUES (1, $1)", params!["zebra".repeat(2_000)]);
    db.commit(Sealed::new(leaf()).step(put)).await.unwrap();
    let found = || {
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.filter(|bytes| bytes.windows(5).any(|part| part == b"zebra")).count()
    };
    assert!(found() > 0);
    let erase = Write::new("UPDATE item SET name = NULL WHERE number = 1", params![]);
    db.commit(Sealed::new(leaf()).step(erase)).await.unwrap();
    db.scrub(&["item"]).await.unwrap();
    assert_eq!(found(), 0);
}
