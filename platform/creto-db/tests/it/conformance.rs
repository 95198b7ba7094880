//! What every engine must do: the same tests run on SQLite and on PostgreSQL.

use crate::support::{Panics, SETS, TAKEN, count, insert, leaf, sealed};
use creto_db::testkit::each_engine;
use creto_db::{DbError, Sealed, Sql, Value, Write, params};
use creto_kernel::{Coded, ErrorCode, Leaf};

#[tokio::test]
async fn a_committed_write_is_read_back_with_its_leaf() {
    each_engine(SETS, async |db| {
        let leaf = leaf();
        let committed = db.commit(Sealed::new(leaf.clone()).step(insert(7, "seven"))).await.unwrap();
        assert_eq!(committed.leaf, leaf.id);
        let row = db.query_optional("SELECT number, name FROM item WHERE number = $1", params![7_i64]).await.unwrap().unwrap();
        assert_eq!((row.int(0).unwrap(), row.text(1).unwrap()), (7, "seven"));
        let stored = db
            .query_optional("SELECT id, tenant, body, log_index FROM audit_leaf WHERE sequence = $1", params![committed.sequence])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored.text(0).unwrap(), leaf.id.to_string());
        assert_eq!(stored.text(1).unwrap(), leaf.tenant.as_str());
        assert_eq!(stored.blob(2).unwrap(), leaf.canonical_bytes().unwrap());
        assert_eq!(serde_json::from_slice::<Leaf>(stored.blob(2).unwrap()).unwrap(), leaf);
        assert_eq!(stored.opt_int(3).unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn one_refused_step_undoes_the_steps_before_it_and_the_leaf() {
    each_engine(SETS, async |db| {
        let refused =
            Write::new("UPDATE item SET name = $2 WHERE number = $1", params![99_i64, "x"]).exactly(1, TAKEN, "nothing to rename");
        let error = db.commit(sealed(1).step(refused)).await.unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (TAKEN, "nothing to rename"));
        assert_eq!(count(&db, "item").await, 0);
        assert_eq!(count(&db, "audit_leaf").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_conflict_among_concurrent_writes_undoes_only_itself() {
    each_engine(SETS, async |db| {
        // Pairs fight for one number: one of each pair wins, whichever batch they land in.
        let writes = (0..100).map(|i| {
            let step = insert(i / 2, "x").unique(TAKEN, "the number is taken");
            db.commit(Sealed::new(leaf()).step(step))
        });
        let outcomes = futures::future::join_all(writes).await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (50, 50));
        assert!(lost.into_iter().all(|o| o.unwrap_err().code() == TAKEN));
        assert_eq!((count(&db, "item").await, count(&db, "audit_leaf").await), (50, 50));
        let mut sequences: Vec<i64> = won.into_iter().map(|o| o.unwrap().sequence).collect();
        sequences.sort_unstable();
        assert_eq!(sequences, (1..=50).collect::<Vec<_>>(), "sequences are in commit order and have no gaps");
    })
    .await;
}

#[tokio::test]
async fn the_same_leaf_is_recorded_once() {
    each_engine(SETS, async |db| {
        let leaf = leaf();
        db.commit(Sealed::new(leaf.clone()).step(insert(1, "a"))).await.unwrap();
        let again = db.commit(Sealed::new(leaf.clone()).step(insert(2, "b"))).await.unwrap_err();
        assert!(matches!(&again, DbError::LeafExists(id) if *id == leaf.id.to_string()), "{again:?}");
        assert_eq!(count(&db, "item").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_commit_is_whole_or_absent() {
    each_engine(SETS, async |db| {
        let mut kept = 0;
        for number in 0..60 {
            let commit = db.commit(sealed(number).step(insert(1_000 + number, "second half")));
            let mut commit = Box::pin(commit);
            // Polled a different number of times before it is dropped, so that it is dropped in different states.
            let mut answered = false;
            for _ in 0..number % 4 {
                answered = answered || futures::poll!(&mut commit).is_ready();
                tokio::task::yield_now().await;
            }
            if number % 10 == 9 {
                if !answered {
                    commit.await.unwrap();
                }
                kept += 1;
            }
        }
        // The queue is in order, so what was sent before this is done when this is.
        db.commit(sealed(500)).await.unwrap();
        let halves = db
            .query("SELECT count(*), coalesce(sum(CASE WHEN number >= 1000 THEN 1 ELSE 0 END), 0) FROM item WHERE number <> 500", vec![])
            .await
            .unwrap();
        let (all, second) = (halves[0].int(0).unwrap(), halves[0].int(1).unwrap());
        assert_eq!(all, 2 * second, "each write left both of its rows or none");
        assert!(second >= kept);
        assert_eq!(count(&db, "audit_leaf").await, second + 1);
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_value_survives_and_null_keeps_its_place() {
    each_engine(SETS, async |db| {
        let write = |n: i64, text: Option<&str>, blob: Option<Vec<u8>>| {
            Write::new("INSERT INTO item (number, name, body, extra) VALUES ($1, $2, $3, $4)", params![n, text, blob, None::<i64>])
        };
        // The same statement with different parameters missing: the server must not remember the first one's types.
        for (n, text, blob) in
            [(1, None, None), (2, Some("é\u{1F600}"), None), (3, None, Some(vec![0, 255, 7])), (4, Some(""), Some(vec![]))]
        {
            db.commit(Sealed::new(leaf()).step(write(n, text, blob))).await.unwrap();
        }
        let rows = db.query("SELECT name, body, extra, number FROM item ORDER BY number", vec![]).await.unwrap();
        let read: Vec<_> = rows.iter().map(|r| (r.opt_text(0).unwrap(), r.opt_blob(1).unwrap())).collect();
        assert_eq!(read, [(None, None), (Some("é\u{1F600}"), None), (None, Some(&[0, 255, 7][..])), (Some(""), Some(&[][..]))]);
        assert_eq!(rows[0].opt_int(2).unwrap(), None);
        assert!(matches!(rows[0].text(3), Err(DbError::UnexpectedRow(_))), "an integer is not text");
        assert!(matches!(rows[0].int(9), Err(DbError::UnexpectedRow(_))), "there are four columns");
        let filter = "SELECT number FROM item WHERE ($1 IS NULL OR name = $1) ORDER BY number";
        let sql = Sql::per_engine(filter, "SELECT number FROM item WHERE ($1::text IS NULL OR name = $1) ORDER BY number");
        assert_eq!(db.query(sql, params![None::<String>]).await.unwrap().len(), 4);
        assert_eq!(db.query(sql, params![""]).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn parameters_are_bound_by_their_number_wherever_they_stand() {
    each_engine(SETS, async |db| {
        db.commit(sealed(5)).await.unwrap();
        let rename = Write::new("UPDATE item SET name = $2 WHERE number = $1 AND name <> $2", params![5_i64, "renamed"]);
        db.commit(Sealed::new(leaf()).step(rename.exactly(1, TAKEN, "not renamed"))).await.unwrap();
        let found = db.query_optional("SELECT name FROM item WHERE number = $1", params![5_i64]).await.unwrap().unwrap();
        assert_eq!(found.parse::<String>(0).unwrap(), "renamed");
    })
    .await;
}

#[tokio::test]
async fn sums_of_integers_are_integers() {
    each_engine(SETS, async |db| {
        for number in [3_000_000_000, 4_000_000_000, -1] {
            db.commit(sealed(number)).await.unwrap();
        }
        let row = db.query_optional("SELECT sum(number), count(*), max(number) FROM item", vec![]).await.unwrap().unwrap();
        assert_eq!((row.int(0).unwrap(), row.int(1).unwrap(), row.int(2).unwrap()), (6_999_999_999, 3, 4_000_000_000));
    })
    .await;
}

#[tokio::test]
async fn a_wrong_statement_is_our_own_fault_and_harms_nobody_else() {
    each_engine(SETS, async |db| {
        let wrong = db.commit(Sealed::new(leaf()).step(Write::new("INSERT INTO nowhere VALUES (1)", vec![])));
        let (wrong, right) = tokio::join!(wrong, db.commit(sealed(1)));
        assert_eq!(wrong.unwrap_err().code(), ErrorCode::new("db.statement_failed"));
        right.unwrap();
        let missing = db.query("SELECT number FROM item WHERE number = $1 AND name = $2", params![1_i64]).await.unwrap_err();
        assert_eq!(missing.code(), ErrorCode::new("db.statement_failed"), "{missing}");
        let unexplained = db.commit(sealed(1)).await.unwrap_err();
        assert_eq!(unexplained.code(), ErrorCode::new("db.constraint"));
    })
    .await;
}

#[tokio::test]
async fn a_panicking_step_is_refused_and_the_writer_lives() {
    each_engine(SETS, async |db| {
        let error = db.commit(sealed(1).step(Panics)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::new("db.statement_failed"));
        assert_eq!(count(&db, "item").await, 0);
        db.commit(sealed(1)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn commits_wake_whoever_follows_them() {
    each_engine(SETS, async |db| {
        let mut commits = db.commits();
        let before = *commits.borrow_and_update();
        let committed = db.commit(sealed(1)).await.unwrap();
        commits.changed().await.unwrap();
        assert!(*commits.borrow() == committed.sequence && committed.sequence > before);
    })
    .await;
}

#[tokio::test]
async fn a_query_cannot_change_anything() {
    each_engine(SETS, async |db| {
        db.commit(sealed(1)).await.unwrap();
        for text in ["DELETE FROM audit_leaf", "UPDATE item SET name = 'x' RETURNING number", "INSERT INTO item (number) VALUES (2)"] {
            let error = db.query(text, vec![]).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::new("db.read_only"), "{text}: {error}");
        }
        assert_eq!((count(&db, "item").await, count(&db, "audit_leaf").await), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn log_positions_are_unique_kept_and_marked_all_or_none() {
    each_engine(SETS, async |db| {
        for number in 0..4 {
            db.commit(sealed(number)).await.unwrap();
        }
        db.mark_sequenced(&[(1, 0), (2, 1)]).await.unwrap();
        db.mark_sequenced(&[(1, 7), (2, 1)]).await.unwrap();
        let twice = db.mark_sequenced(&[(3, 2), (4, 2)]).await.unwrap_err();
        assert_eq!(twice.code(), ErrorCode::new("db.constraint"));
        let marks = db.query("SELECT log_index FROM audit_leaf ORDER BY sequence", vec![]).await.unwrap();
        let marks: Vec<_> = marks.iter().map(|r| r.opt_int(0).unwrap()).collect();
        assert_eq!(marks, [Some(0), Some(1), None, None], "a position is kept, and a refused list marks nothing");
    })
    .await;
}

#[test]
fn a_value_does_not_show_what_it_holds() {
    let shown = format!("{:?} {:?}", Value::from("s3cret"), Value::from(vec![1_u8, 2]));
    assert_eq!(shown, "Text(6 bytes) Blob(2 bytes)");
}
