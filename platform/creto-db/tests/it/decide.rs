//! What is read, decided and written inside one commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::support::{SETS, TAKEN, count, leaf};
use creto_db::testkit::each_engine;
use creto_db::{Column, Decide, Deciding, Late, Lately, Lazily, Many, Row, Sealed, Sql, Step, StepError, Value, Write, params};
use creto_kernel::{Coded as _, Digest, ErrorCode, Leaf};

const INSERT: Sql = Sql::per_engine(
    "INSERT INTO item (extra, number, name, body) VALUES ($1, $2, $3, $4)",
    "INSERT INTO item (extra, number, name, body) SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::bytea[])",
);
const FIND: Sql = Sql::per_engine(
    "SELECT number, name FROM item WHERE number = $1",
    "SELECT number, name FROM item WHERE number = ANY($1::bigint[]) ORDER BY number",
);

fn rows(numbers: std::ops::Range<i64>) -> Many {
    let names = numbers.clone().map(|n| (n % 3 != 0).then(|| format!("n{n}"))).collect();
    let bodies = numbers.clone().map(|n| (n % 2 == 0).then(|| vec![0, 255])).collect();
    Many::new(INSERT, params![7_i64], vec![Column::integers(numbers), Column::Text(names), Column::Blob(bodies)])
}

#[tokio::test]
async fn many_rows_are_one_step_and_null_keeps_its_place() {
    each_engine(SETS, async |db| {
        db.commit(Sealed::new(leaf()).step(rows(1..1_001)).step(rows(5..5))).await.unwrap();
        let found = db.query("SELECT number, name, body, extra FROM item ORDER BY number", vec![]).await.unwrap();
        assert_eq!(found.len(), 1_000);
        for (number, row) in (1..).zip(&found) {
            let name = (number % 3 != 0).then(|| format!("n{number}"));
            assert_eq!((row.int(0).unwrap(), row.opt_text(1).unwrap(), row.int(3).unwrap()), (number, name.as_deref(), 7));
            assert_eq!(row.opt_blob(2).unwrap(), (number % 2 == 0).then_some([0, 255].as_slice()));
        }
        let crooked = Many::new(INSERT, params![7_i64], vec![Column::integers([9_001, 9_002]), Column::texts(["x"]), Column::blobs([[1]])]);
        db.commit(Sealed::new(leaf()).step(crooked)).await.unwrap_err();
        assert_eq!(count(&db, "item").await, 1_000);
    })
    .await;
}

/// Takes the lowest free number of the ten it looks at.
#[derive(Debug)]
struct TakeFree(Arc<AtomicI64>);

impl Decide for TakeFree {
    fn questions(&self) -> Vec<Many> {
        vec![Many::new(FIND, vec![], vec![Column::integers(1..=10)])]
    }

    fn decide(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError> {
        let taken = answers[0].iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>();
        let free = (1..=10).find(|n| !taken.contains(n)).ok_or_else(|| StepError::conflict(FULL, "all are taken"))?;
        self.0.store(free, Ordering::SeqCst);
        Ok(vec![Box::new(rows(free..free + 1))])
    }
}

const FULL: ErrorCode = ErrorCode::new("test.full");

fn taking() -> (Sealed, Arc<AtomicI64>) {
    let taken = Arc::new(AtomicI64::new(0));
    let (told, named) = (Arc::clone(&taken), Arc::clone(&taken));
    let sealed = Sealed::new(leaf())
        .step(Deciding(TakeFree(Arc::clone(&taken))))
        .step(Lazily(move || Write::new("UPDATE item SET name = 'mine' WHERE number = $1", params![named.load(Ordering::SeqCst)])))
        .late(Lately::new(move || {
            let number = told.load(Ordering::SeqCst);
            let digests = BTreeMap::from([("number".to_owned(), Digest::of(number.to_string().as_bytes()))]);
            Late { facts: BTreeMap::from([("number".to_owned(), number.to_string())]), digests }
        }));
    (sealed, taken)
}

#[tokio::test]
async fn what_is_decided_inside_a_commit_sees_every_commit_before_it_and_is_in_the_leaf() {
    each_engine(SETS, async |db| {
        // All at once: they share transactions, and still each sees what those before it took.
        let (sealed, taken): (Vec<_>, Vec<_>) = (0..12).map(|_| taking()).unzip();
        let outcomes = futures::future::join_all(sealed.into_iter().map(|s| db.commit(s))).await;
        let mut numbers = Vec::new();
        for (outcome, taken) in outcomes.iter().zip(&taken) {
            match outcome {
                Ok(committed) => {
                    let number = taken.load(Ordering::SeqCst);
                    numbers.push(number);
                    let row = db.query_optional("SELECT body FROM audit_leaf WHERE id = $1", vec![Value::text(&committed.leaf)]).await;
                    let leaf: Leaf = serde_json::from_slice(row.unwrap().unwrap().blob(0).unwrap()).unwrap();
                    assert_eq!(leaf.facts["number"], number.to_string());
                    assert_eq!(leaf.digests["number"], Digest::of(number.to_string().as_bytes()));
                }
                Err(error) => assert_eq!(creto_kernel::Coded::code(error), FULL),
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
        let named = db.query("SELECT number FROM item WHERE name = 'mine'", vec![]).await.unwrap();
        assert_eq!((named.len(), count(&db, "audit_leaf").await), (10, 10));
    })
    .await;
}

/// Inserts the numbers that are not taken, and supposes that none is.
#[derive(Debug)]
struct TakeNew(std::ops::Range<i64>, Arc<AtomicI64>);

impl Decide for TakeNew {
    fn questions(&self) -> Vec<Many> {
        vec![Many::new(FIND, vec![], vec![Column::integers(self.0.clone())]).supposed_empty(true)]
    }

    fn decide(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let taken = answers[0].iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>();
        let new = self.0.clone().filter(|n| !taken.contains(n));
        Ok(new.map(|n| Box::new(rows(n..n + 1).unique(TAKEN, "a number is taken")) as Box<dyn Step>).collect())
    }
}

#[tokio::test]
async fn what_was_supposed_wrongly_is_undone_asked_and_decided_again() {
    each_engine(SETS, async |db| {
        let decided = Arc::new(AtomicI64::new(0));
        let take = |numbers| Sealed::new(leaf()).step(Deciding(TakeNew(numbers, Arc::clone(&decided))));
        db.commit(take(5..8)).await.unwrap();
        assert_eq!((count(&db, "item").await, decided.load(Ordering::SeqCst)), (3, 1), "what is supposed rightly is decided once");
        // 3 and 4 are written before 5 turns out to be taken, and still are there once.
        db.commit(take(3..10)).await.unwrap();
        assert_eq!((count(&db, "item").await, count(&db, "audit_leaf").await), (7, 2));
        let found = db.query("SELECT number FROM item ORDER BY number", vec![]).await.unwrap();
        assert_eq!(found.iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>(), (3..10).collect::<Vec<_>>());
        // What is a conflict also when it was asked stays one, and nothing of it.
        let both = take(10..12).step(rows(11..12).unique(TAKEN, "a number is taken"));
        assert_eq!(db.commit(both).await.unwrap_err().code(), TAKEN);
        assert_eq!(count(&db, "item").await, 7);
    })
    .await;
}

#[tokio::test]
async fn a_leaf_that_grows_beyond_a_log_entry_inside_the_commit_undoes_it() {
    each_engine(SETS, async |db| {
        let late = || Late { facts: BTreeMap::from([("much".to_owned(), "x".repeat(70_000))]), ..Late::default() };
        db.commit(Sealed::new(leaf()).step(rows(1..2)).late(Lately::new(late))).await.unwrap_err();
        assert_eq!((count(&db, "item").await, count(&db, "audit_leaf").await), (0, 0));
    })
    .await;
}
