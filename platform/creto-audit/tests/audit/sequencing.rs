//! From commit to log, on both engines.

use std::sync::Arc;
use std::time::Duration;

use creto_audit::{AuditError, DirSource, DirStore, ENTRY_BYTES_MAX, LogKeys, LogReader, Options, Sequencer, Verifier, verify_dir};
use creto_crypto::{AlgorithmPolicy, KeyRing, MasterKey};
use creto_db::{Db, Sealed, params, testkit};
use creto_kernel::{Coded as _, Kind, SystemClock};

use crate::support::{self, MemStore, grow, tenant, trusted};

fn options(db: &Db, store: &MemStore, keys: &LogKeys) -> Options {
    Options { db: db.clone(), store: Arc::new(store.clone()), keys: keys.clone(), trusted: trusted(keys), clock: Arc::new(SystemClock) }
}

async fn commit(db: &Db, tenant: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        db.commit(Sealed::new(support::leaf(tenant, number, 1))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_leaves_reach_their_tenants_logs_in_commit_order() {
    testkit::each_engine(&[], async |db| {
        let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
        let root = dir.path().join("log");
        let store = Arc::new(DirStore::open(&root).unwrap());
        let sequencer = Sequencer::start_with(Options { store, ..options(&db, &MemStore::default(), &keys) });
        let tasks = ["acme", "other"].map(|name| {
            let db = db.clone();
            tokio::spawn(async move { commit(&db, name, 0..30).await })
        });
        for task in tasks {
            task.await.unwrap();
        }
        sequencer.flush().await.unwrap();
        assert_eq!((sequencer.lag(), sequencer.sealed_through()), (0, *db.commits().borrow()));
        sequencer.admit(&tenant("acme")).unwrap();

        // A verifier beside a running sequencer never sees a half-written log.
        let writing = tokio::spawn({
            let db = db.clone();
            async move { commit(&db, "acme", 30..60).await }
        });
        while !writing.is_finished() {
            verify_dir(&root, sequencer.trusted(), None).await.unwrap();
        }
        writing.await.unwrap();
        sequencer.stop().await.unwrap();

        let report = verify_dir(&root, &trusted(&keys), None).await.unwrap();
        assert_eq!(report.logs.iter().map(|log| log.size).collect::<Vec<_>>(), [60, 30]);
        let reader = LogReader::new(Arc::new(DirSource::new(&root)), trusted(&keys), db.clone());
        for number in [0, 29, 59] {
            let leaf = support::leaf("acme", number, 1);
            assert_eq!(reader.find_leaf(&tenant("acme"), leaf.id).await.unwrap(), Some(u64::from(number)));
            assert_eq!(reader.find_leaf(&tenant("other"), leaf.id).await.unwrap(), None, "another tenant's leaf is not found");
            assert_eq!(reader.entry(&tenant("acme"), u64::from(number)).await.unwrap(), leaf.canonical_bytes().unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn a_damaged_log_holds_up_its_tenant_only_and_is_told() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
    let db = Db::open_sqlite(&dir.path().join("db"), &[]).unwrap();
    let store = MemStore::default();
    commit(&db, "acme", 0..3).await;
    Sequencer::start_with(options(&db, &store, &keys)).stop().await.unwrap();
    let good = store.files();
    let mut damaged = good.clone();
    damaged.get_mut("acme/tile/0/000.p/3").unwrap()[5] ^= 1;
    store.replace(damaged);

    let sequencer = Sequencer::start_with(options(&db, &store, &keys));
    commit(&db, "acme", 3..4).await;
    commit(&db, "other", 0..5).await;
    assert!(matches!(sequencer.flush().await, Err(AuditError::Stuck { .. })));
    assert!(matches!(sequencer.admit(&tenant("acme")), Err(AuditError::Stuck { .. })));
    let mut state = sequencer.state();
    state.wait_for(|now| now.sealed_through == 9 && now.held_up == 1).await.unwrap();
    sequencer.admit(&tenant("other")).unwrap();
    assert_eq!(sequencer.lag(), 1);

    let mut mended = store.files();
    mended.extend(good.into_iter().filter(|(path, _)| path.starts_with("acme/")));
    store.replace(mended);
    state.wait_for(|now| now.failing.is_empty()).await.unwrap();
    sequencer.stop().await.unwrap();
    let report = Verifier::new(&store, &trusted(&keys)).settle(Duration::ZERO).all().await.unwrap();
    assert_eq!(report.logs.iter().map(|log| log.size).collect::<Vec<_>>(), [4, 5]);
}

#[tokio::test]
async fn a_log_and_a_database_that_tell_two_stories_are_never_continued() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
    for (name, variant, known, told) in [("older", 1, 2, "audit.rollback"), ("another", 2, 3, "audit.fork")] {
        let db = Db::open_sqlite(&dir.path().join(name), &[]).unwrap();
        let store = MemStore::default();
        commit(&db, "acme", 0..known).await;
        Sequencer::start_with(options(&db, &store, &keys)).stop().await.unwrap();
        store.replace([].into());
        grow(Arc::new(store.clone()), &keys, "acme", &[3], variant).unwrap();
        let before = store.files();
        commit(&db, "acme", 10..11).await;
        let refused = Sequencer::start_with(options(&db, &store, &keys)).stop().await.unwrap_err();
        assert!(matches!(&refused, AuditError::Stuck { reason, .. } if reason.contains(told)), "{refused}");
        assert_eq!(store.files(), before, "nothing was signed");
    }
}

#[tokio::test]
async fn lost_log_files_are_written_again_as_they_were() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
    let db = Db::open_sqlite(&dir.path().join("db"), &[]).unwrap();
    let store = MemStore::default();
    commit(&db, "acme", 0..20).await;
    Sequencer::start_with(options(&db, &store, &keys)).stop().await.unwrap();
    let before = support::without_signatures(store.files());
    store.replace([].into());
    Sequencer::start_with(options(&db, &store, &keys)).stop().await.unwrap();
    assert_eq!(support::without_signatures(store.files()), before);
}

#[tokio::test]
async fn positions_are_given_once() {
    testkit::each_engine(&[], async |db| {
        commit(&db, "acme", 0..2).await;
        db.mark_sequenced(&[(1, 0), (2, 1)]).await.unwrap();
        db.mark_sequenced(&[(1, 5), (2, 6)]).await.unwrap();
        let rows = db.query("SELECT log_index FROM audit_leaf ORDER BY sequence", params![]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.int(0).unwrap()).collect::<Vec<_>>(), [0, 1]);
        commit(&db, "acme", 2..3).await;
        assert!(db.mark_sequenced(&[(3, 1)]).await.is_err(), "two leaves at one position");
    })
    .await;
}

#[tokio::test]
async fn the_key_ring_signs_and_the_same_keys_continue_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open_sqlite(&dir.path().join("db"), &[]).unwrap();
    let root = dir.path().join("log");
    let mut trusted = Vec::new();
    for numbers in [0..3, 3..6] {
        let master = MasterKey::load_or_create(&dir.path().join("master.key")).unwrap();
        let ring = KeyRing::open(&dir.path().join("keys"), master, AlgorithmPolicy::default(), &SystemClock).unwrap();
        let sequencer = Sequencer::start(db.clone(), &ring, &root, Arc::new(SystemClock)).unwrap();
        commit(&db, "acme", numbers).await;
        trusted.push(sequencer.trusted().clone());
        sequencer.stop().await.unwrap();
    }
    assert_eq!(trusted[0], trusted[1]);
    assert_eq!(verify_dir(&root, &trusted[0], None).await.unwrap().logs[0].size, 6);
}

#[tokio::test]
async fn a_stopped_sequencer_closes_admission() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
    let db = Db::open_sqlite(&dir.path().join("db"), &[]).unwrap();
    let sequencer = Sequencer::start_with(options(&db, &MemStore::default(), &keys));
    sequencer.flush().await.unwrap();
    let mut state = sequencer.state();
    sequencer.halt();
    state.wait_for(|now| now.stopped).await.unwrap();
    assert!(matches!(sequencer.admit(&tenant("acme")), Err(AuditError::Stopped)));
    assert!(matches!(sequencer.flush().await, Err(AuditError::Stopped)));
}

#[tokio::test]
async fn a_leaf_that_no_log_can_hold_is_refused_before_it_is_stored() {
    testkit::each_engine(&[], async |db| {
        let sized = |extra: usize| support::leaf("acme", 1, 1).fact("note", "x".repeat(extra));
        let room = ENTRY_BYTES_MAX - sized(0).canonical_bytes().unwrap().len();
        let refused = db.commit(Sealed::new(sized(room + 1))).await.unwrap_err();
        assert_eq!((refused.code().as_str(), refused.kind()), ("db.leaf_too_large", Kind::TooLarge));
        db.commit(Sealed::new(sized(room))).await.unwrap();
        let (store, keys) = (MemStore::default(), support::keys());
        Sequencer::start_with(options(&db, &store, &keys)).stop().await.unwrap();
        let report = Verifier::new(&store, &trusted(&keys)).settle(Duration::ZERO).all().await.unwrap();
        assert_eq!(report.logs[0].size, 1);
    })
    .await;
}
