//! Stopped after any write, the log resumes as if it had not been.

use std::sync::Arc;
use std::time::Duration;

use creto_audit::{Options, Sequencer, Verifier};
use creto_db::{Db, Sealed};
use creto_kernel::SystemClock;

use crate::support::{self, MemStore, grow, trusted, without_signatures};

#[tokio::test]
async fn a_writer_stopped_after_any_write_resumes_to_the_same_log() {
    let keys = support::keys();
    let sizes = [3, 200, 256, 600];
    let whole = MemStore::default();
    grow(Arc::new(whole.clone()), &keys, "acme", &sizes, 1).unwrap();
    let expected = without_signatures(whole.files());
    assert!(whole.changes() > 20, "{}", whole.changes());
    for stop in 0..whole.changes() {
        let store = MemStore::default();
        store.stop_after(Some(stop));
        grow(Arc::new(store.clone()), &keys, "acme", &sizes, 1).unwrap_err();
        store.stop_after(None);
        grow(Arc::new(store.clone()), &keys, "acme", &sizes, 1).unwrap();
        assert_eq!(without_signatures(store.files()), expected, "stopped after {stop} changes");
    }
    let report = Verifier::new(&whole, &trusted(&keys)).settle(Duration::ZERO).all().await.unwrap();
    assert_eq!(report.logs[0].size, 600);
}

#[tokio::test]
async fn a_sequencer_stopped_after_any_write_resumes_to_the_same_log() {
    let keys = support::keys();
    let dir = tempfile::tempdir().unwrap();
    let run = async |name: String, store: &MemStore, from: u32, to: u32| {
        let db = Db::open_sqlite(&dir.path().join(name), &[]).unwrap();
        let options = Options {
            db: db.clone(),
            store: Arc::new(store.clone()),
            keys: keys.clone(),
            trusted: trusted(&keys),
            clock: Arc::new(SystemClock),
        };
        let sequencer = Sequencer::start_with(options);
        for number in from..to {
            db.commit(Sealed::new(support::leaf("acme", number, 1))).await.unwrap();
        }
        sequencer.stop().await
    };
    let whole = MemStore::default();
    run("whole".to_owned(), &whole, 0, 12).await.unwrap();
    let expected = without_signatures(whole.files());
    for stop in 0..10 {
        let store = MemStore::default();
        store.stop_after(Some(stop));
        run(format!("stopped-{stop}"), &store, 0, 7).await.ok();
        store.stop_after(None);
        run(format!("stopped-{stop}"), &store, 7, 12).await.unwrap();
        assert_eq!(without_signatures(store.files()), expected, "stopped after {stop} changes");
        let report = Verifier::new(&store, &trusted(&keys)).settle(Duration::ZERO).all().await.unwrap();
        assert_eq!(report.logs[0].size, 12);
    }
}
