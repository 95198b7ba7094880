//! Ordered sequences, on both engines.

use std::time::Duration;

use creto_consensus::{Append, Expect, Leadership, MIGRATIONS, Sequences};
use creto_db::testkit::each_engine;
use creto_kernel::{Coded, TenantId};

use crate::support::leaf;

fn tenant() -> TenantId {
    "default".parse().unwrap()
}

fn append(expect: Expect, key: &str, records: &[&str]) -> Append {
    Append::new(&tenant(), "orders", expect, key, records.iter().map(|r| r.as_bytes().to_vec()).collect()).unwrap()
}

async fn bodies(streams: &Sequences) -> Vec<(i64, String)> {
    let read = streams.read(&tenant(), "orders", 0, 1_000).await.unwrap();
    read.into_iter().map(|r| (r.position, String::from_utf8(r.body).unwrap())).collect()
}

#[tokio::test]
async fn records_are_read_in_order_from_any_position() {
    each_engine(&[MIGRATIONS], async |db| {
        let streams = Sequences::new(db);
        let first = streams.append(leaf(), &append(Expect::Next(0), "k1", &["a", "b"]), None).await.unwrap();
        let second = streams.append(leaf(), &append(Expect::Next(2), "k2", &["c"]), None).await.unwrap();
        assert_eq!((first.first, first.count, second.first, second.replayed), (0, 2, 2, false));
        assert_eq!(bodies(&streams).await, [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())]);
        assert_eq!(streams.read(&tenant(), "orders", 1, 1).await.unwrap()[0].position, 1);
        assert_eq!(streams.next(&tenant(), "orders").await.unwrap(), 3);
        let other: TenantId = "other".parse().unwrap();
        assert!(streams.read(&other, "orders", 0, 10).await.unwrap().is_empty(), "streams belong to their tenant");
    })
    .await;
}

#[tokio::test]
async fn a_key_writes_once_and_other_records_under_it_are_refused() {
    each_engine(&[MIGRATIONS], async |db| {
        let streams = Sequences::new(db);
        let once = append(Expect::Next(0), "k", &["a"]);
        let written = streams.append(leaf(), &once, None).await.unwrap();
        let again = streams.append(leaf(), &once, None).await.unwrap();
        assert_eq!((again.first, again.replayed, written.replayed), (written.first, true, false));
        // The same bytes cut differently are other records.
        for records in [&["b"][..], &["a", ""][..]] {
            let error = streams.append(leaf(), &append(Expect::Any, "k", records), None).await.unwrap_err();
            assert_eq!(error.code().as_str(), "consensus.idempotency_conflict");
        }
        assert_eq!(bodies(&streams).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn writers_that_race_get_distinct_positions_and_one_of_equals_wins() {
    each_engine(&[MIGRATIONS], async |db| {
        let streams = Sequences::new(db);
        let appends: Vec<Append> = (0..40).map(|n| append(Expect::Any, &format!("k{}", n / 2), &[&format!("r{}", n / 2)])).collect();
        let outcomes = futures::future::join_all(appends.iter().map(|a| streams.append(leaf(), a, None))).await;
        let written = outcomes.iter().filter(|o| !o.as_ref().unwrap().replayed).count();
        assert_eq!(written, 20);
        let read = bodies(&streams).await;
        assert_eq!(read.iter().map(|(position, _)| *position).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        let race: Vec<Append> = (0..8).map(|n| append(Expect::Next(20), &format!("race{n}"), &["x"])).collect();
        let outcomes = futures::future::join_all(race.iter().map(|a| streams.append(leaf(), a, None))).await;
        let lost: Vec<_> = outcomes.into_iter().filter_map(Result::err).map(|e| e.code().as_str()).collect();
        assert_eq!(lost, ["consensus.unexpected_position"; 7]);
    })
    .await;
}

#[tokio::test]
async fn a_stale_leader_cannot_append() {
    each_engine(&[MIGRATIONS], async |db| {
        let streams = Sequences::new(db.clone());
        let role = "orders".parse().unwrap();
        let stale = Leadership::new(db.clone(), "a").unwrap().lead(&role, Duration::from_millis(20)).await.unwrap();
        let leader = Leadership::new(db, "b").unwrap().campaign(&role, Duration::from_secs(60)).await.unwrap();
        let error = streams.append(leaf(), &append(Expect::Any, "k", &["a"]), Some(stale.fence())).await.unwrap_err();
        assert_eq!(error.code().as_str(), "consensus.fenced");
        streams.append(leaf(), &append(Expect::Next(0), "k", &["a"]), Some(leader.fence())).await.unwrap();
    })
    .await;
}

#[test]
fn sizes_are_bounded() {
    let one = |stream: &str, key: &str, records: Vec<Vec<u8>>| Append::new(&tenant(), stream, Expect::Any, key, records);
    assert!(one("s", "k", vec![vec![0; 1 << 20]; 2]).is_ok());
    for bad in [
        one("", "k", vec![vec![]]),
        one("s", "", vec![vec![]]),
        one("s", &"k".repeat(257), vec![vec![]]),
        one("s", "k", vec![]),
        one("s", "k", vec![vec![]; 501]),
        one("s", "k", vec![vec![0; (1 << 20) + 1]]),
    ] {
        assert_eq!(bad.unwrap_err().code().as_str(), "consensus.invalid");
    }
}
