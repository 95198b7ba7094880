//! Leadership, on both engines.

use std::time::Duration;

use creto_consensus::{ConsensusError, Durability, Leadership, MIGRATIONS, Role, durability};
use creto_db::testkit::each_engine;
use creto_db::{Db, Sealed, Write, params};
use creto_kernel::Coded;

use crate::support::leaf;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(40);

fn role() -> Role {
    "sequencer".parse().unwrap()
}

fn competitors(db: &Db) -> (Leadership, Leadership) {
    (Leadership::new(db.clone(), "a").unwrap(), Leadership::new(db.clone(), "b").unwrap())
}

fn work(name: &str) -> Write {
    Write::new("INSERT INTO stream (tenant, name, next) VALUES ('default', $1, 0)", params![name])
}

async fn written(db: &Db) -> (i64, i64) {
    let row = db.query_optional("SELECT (SELECT count(*) FROM stream), (SELECT count(*) FROM audit_leaf)", vec![]).await.unwrap().unwrap();
    (row.int(0).unwrap(), row.int(1).unwrap())
}

#[tokio::test]
async fn a_paused_leader_that_resumes_is_refused_and_writes_nothing() {
    each_engine(&[MIGRATIONS], async |db| {
        let (a, b) = competitors(&db);
        let paused = a.lead(&role(), SHORT).await.unwrap();
        // A believes that it leads: it has sealed its write, and then it stops for longer than its lease.
        let sealed = Sealed::new(leaf()).step(paused.fence()).step(work("a"));
        let next = b.campaign(&role(), LONG).await.unwrap();
        assert!(next.token() > paused.token());
        let error = db.commit(sealed).await.unwrap_err();
        assert_eq!(error.code().as_str(), "consensus.fenced");
        assert_eq!(written(&db).await, (0, 0), "neither the work nor a leaf");
        // Also when the fence comes after the work.
        let error = db.commit(Sealed::new(leaf()).step(work("a")).step(paused.fence())).await.unwrap_err();
        assert_eq!((error.code().as_str(), written(&db).await), ("consensus.fenced", (0, 0)));
        assert_eq!(paused.renew().await.unwrap_err().code().as_str(), "consensus.lease_lost");
        db.commit(Sealed::new(leaf()).step(next.fence()).step(work("b"))).await.unwrap();
        assert_eq!(written(&db).await, (1, 1));
        // The old leader resigning late takes nothing from the new one.
        paused.resign().await.unwrap();
        next.renew().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_ended_lease_is_refused_even_before_somebody_else_leads() {
    each_engine(&[MIGRATIONS], async |db| {
        let (a, _) = competitors(&db);
        let lease = a.lead(&role(), LONG).await.unwrap();
        db.upkeep("UPDATE leadership SET expires_ms = 1", vec![]).await.unwrap();
        let error = db.commit(Sealed::new(leaf()).step(lease.fence()).step(work("a"))).await.unwrap_err();
        assert_eq!(error.code().as_str(), "consensus.fenced");
        assert!(matches!(lease.renew().await, Err(ConsensusError::LeaseLost { token: 1, .. })));
    })
    .await;
}

#[tokio::test]
async fn one_of_many_competitors_leads_and_the_others_learn_who() {
    each_engine(&[MIGRATIONS], async |db| {
        let competitors: Vec<Leadership> = (0..12).map(|n| Leadership::new(db.clone(), &format!("node-{n}")).unwrap()).collect();
        let role = role();
        let outcomes = futures::future::join_all(competitors.iter().map(|c| c.lead(&role, LONG))).await;
        let leaders: Vec<_> = outcomes.iter().filter(|o| o.is_ok()).collect();
        assert_eq!(leaders.len(), 1);
        for held in outcomes.iter().filter_map(|o| o.as_ref().err()) {
            assert!(matches!(held, ConsensusError::Held { holder, remaining, .. } if holder.starts_with("node-") && *remaining <= LONG));
        }
    })
    .await;
}

#[tokio::test]
async fn tokens_only_grow_through_resignations_and_roles_do_not_meet() {
    each_engine(&[MIGRATIONS], async |db| {
        let (a, b) = competitors(&db);
        let mut last = 0;
        for turn in 0..6 {
            let lease = if turn % 2 == 0 { &a } else { &b }.lead(&role(), LONG).await.unwrap();
            assert!(lease.token() > last, "turn {turn}");
            last = lease.token();
            lease.renew().await.unwrap();
            lease.resign().await.unwrap();
        }
        let one = a.lead(&role(), LONG).await.unwrap();
        let other = b.lead(&"rating".parse().unwrap(), LONG).await.unwrap();
        assert_eq!((one.token(), other.token()), (7, 1));
    })
    .await;
}

#[tokio::test]
async fn names_and_leases_out_of_bounds_are_refused() {
    each_engine(&[MIGRATIONS], async |db| {
        for bad in ["", "two words", &"x".repeat(129)] {
            assert!(bad.parse::<Role>().is_err(), "{bad}");
            assert!(Leadership::new(db.clone(), bad).is_err(), "{bad}");
        }
        let (a, _) = competitors(&db);
        for ttl in [Duration::ZERO, Duration::from_secs(601)] {
            assert_eq!(a.lead(&role(), ttl).await.unwrap_err().code().as_str(), "consensus.invalid");
        }
    })
    .await;
}

#[tokio::test]
async fn durability_without_standbys_is_reported_as_local() {
    each_engine(&[MIGRATIONS], async |db| assert_eq!(durability(&db).await.unwrap(), Durability::Local)).await;
}
