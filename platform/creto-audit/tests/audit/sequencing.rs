//! From commit to log, on both engines.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creto_audit::{
    AuditError, DirSource, DirStore, ENTRY_BYTES_MAX, LogKeys, LogReader, Options, OriginPrefix, Sequencer, TrustedKeys, Verifier,
    verify_dir,
};
use creto_crypto::{AlgorithmPolicy, KeyRing, MasterKey, SignSuite, SigningKey};
use creto_db::{Db, Sealed, params, testkit};
use creto_kernel::{Clock as _, Coded as _, Kind, SystemClock};

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
            verify_dir(&root, &sequencer.trust().now(), None).await.unwrap();
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
        trusted.push(sequencer.trust().now());
        sequencer.stop().await.unwrap();
    }
    assert_eq!(trusted[0], trusted[1]);
    assert_eq!(verify_dir(&root, &trusted[0], None).await.unwrap().logs[0].size, 6);
}

#[tokio::test]
async fn rotated_keys_sign_on_and_a_file_from_before_follows_them_but_no_stranger() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open_sqlite(&dir.path().join("db"), &[]).unwrap();
    let root = dir.path().join("log");
    let ring = || {
        let master = MasterKey::load_or_create(&dir.path().join("master.key")).unwrap();
        KeyRing::open(&dir.path().join("keys"), master, AlgorithmPolicy::default(), &SystemClock).unwrap()
    };
    let mut files = Vec::new();
    for round in 0..3_u32 {
        // Opened anew each time: what was rotated is found again.
        let ring = ring();
        let sequencer = Sequencer::start(db.clone(), &ring, &root, Arc::new(SystemClock)).unwrap();
        files.push(sequencer.trust().now());
        commit(&db, "acme", round * 10..round * 10 + 3).await;
        sequencer.flush().await.unwrap();
        sequencer.rotate(&ring, SystemClock.now()).unwrap();
        verify_dir(&root, &sequencer.trust().now(), None).await.unwrap();
        commit(&db, "acme", round * 10 + 3..round * 10 + 6).await;
        sequencer.stop().await.unwrap();
    }
    let (first, last) = (files[0].clone(), TrustedKeys::of_ring(&ring(), OriginPrefix::local()).unwrap());
    let refused = verify_dir(&root, &first, None).await.unwrap_err();
    assert!(matches!(refused, AuditError::BadSignature { .. }), "the keys of the first day did not sign today's checkpoint: {refused}");
    let followed = first.clone().follow(&last).unwrap();
    assert_eq!(verify_dir(&root, &followed, None).await.unwrap().logs[0].size, 18);
    assert_eq!(TrustedKeys::from_json(&followed.to_json().unwrap()).unwrap(), followed);

    // Another server's successions lead nowhere, and neither does one that only one of the two keys signed, or whose keys were exchanged.
    let verifies = async |offered: &[u8]| match TrustedKeys::from_json(offered) {
        Ok(offered) => verify_dir(&root, &first.clone().follow(&offered).unwrap(), None).await.is_ok(),
        Err(_) => false,
    };
    let good: serde_json::Value = serde_json::from_slice(&last.to_json().unwrap()).unwrap();
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut other = good.clone();
        for succession in other["successions"].as_array_mut().unwrap() {
            change(succession);
        }
        serde_json::to_vec(&other).unwrap()
    };
    assert!(verifies(&changed(&|_| ())).await);
    for side in 0..2 {
        assert!(!verifies(&changed(&|succession| drop(succession["signatures"].as_array_mut().unwrap().remove(side)))).await);
    }
    let stranger = serde_json::to_value(SigningKey::generate(SignSuite::Ed25519).unwrap().public()).unwrap();
    assert!(!verifies(&changed(&|succession| succession["keys"][0] = stranger.clone())).await);
    assert!(!verifies(&changed(&|succession| succession["origin"] = "elsewhere/log".into())).await);
}

#[tokio::test]
async fn a_rotation_that_a_crash_cut_in_half_is_followed_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, half) = (dir.path().join("whole"), dir.path().join("half"));
    let open = |keys: &Path| {
        let master = MasterKey::load_or_create(&dir.path().join("master.key")).unwrap();
        KeyRing::open(keys, master, AlgorithmPolicy::default(), &SystemClock).unwrap()
    };
    let names = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let db = Db::open_sqlite(&dir.path().join("db"), &[]).unwrap();
    let ring = open(&whole);
    let sequencer = Sequencer::start(db.clone(), &ring, &dir.path().join("unused"), Arc::new(SystemClock)).unwrap();
    let kept = sequencer.trust().now();
    fs::create_dir(&half).unwrap();
    for name in names(&whole) {
        fs::copy(whole.join(&name), half.join(&name)).unwrap();
    }
    sequencer.rotate(&ring, SystemClock.now()).unwrap();
    sequencer.halt();
    let made: Vec<_> = names(&whole).into_iter().filter(|name| !half.join(name).exists()).collect();
    assert_eq!(made.len(), 3, "two keys and a statement: {made:?}");
    let (keys, statement): (Vec<_>, Vec<_>) = made.iter().partition(|name| name.to_str().unwrap().ends_with(".key"));
    fs::copy(whole.join(statement[0]), half.join(statement[0])).unwrap();
    // Nothing but the statement yet, then one of the two keys, then both.
    for (round, published) in [None, Some(keys[0]), Some(keys[1])].into_iter().enumerate() {
        if let Some(name) = published {
            fs::copy(whole.join(name), half.join(name)).unwrap();
        }
        let root = dir.path().join("log");
        let sequencer = Sequencer::start(db.clone(), &open(&half), &root, Arc::new(SystemClock)).unwrap();
        let round = u32::try_from(round).unwrap();
        commit(&db, "acme", round..round + 1).await;
        sequencer.flush().await.unwrap();
        let followed = kept.clone().follow(&sequencer.trust().now()).unwrap();
        assert_eq!(verify_dir(&root, &followed, None).await.unwrap().logs[0].size, u64::from(round) + 1);
        sequencer.stop().await.unwrap();
    }
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
