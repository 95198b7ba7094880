//! Waiting: awake at once for a decision made here, soon for one made elsewhere.

use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::{Approvals as _, Verdict};
use creto_kernel::Coded;
use creto_oversight::Desk;

use super::decisions::{asked, id};
use super::house::{House, SETS, approver, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_wakes_at_once_for_a_decision_here_and_soon_for_one_through_another_server() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let other = Desk::new(db, house.world.clock.clone(), server("default"));
        // The database is read again every two seconds: three quarters of that means it was told; the other server cannot tell it.
        for (tool, decides, within) in [("here", &house.desk, Duration::from_millis(1_500)), ("elsewhere", &other, Duration::from_secs(20))]
        {
            let open = asked(&house, &chain, tool).await;
            let waiting = tokio::spawn({
                let (desk, tenant, open) = (house.desk.clone(), chain.tenant().clone(), id(&open));
                async move { desk.wait(&tenant, open).await }
            });
            // It waits: it has read the request and found nothing decided.
            assert_eq!(house.desk.wait_at_most(chain.tenant(), id(&open), Duration::from_millis(50)).await.unwrap(), None);
            assert!(!waiting.is_finished());
            decides.decide(&approver("default"), id(&open), Some(open.digest), None).await.unwrap();
            let verdict = tokio::time::timeout(within, waiting).await.unwrap().unwrap().unwrap();
            assert_eq!(
                verdict,
                Verdict::Approved { by: approver("default").identity, rule: "require_approval".to_owned(), arguments: None },
                "{tool}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_decision_made_before_the_wait_is_not_lost() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let open = asked(&house, &chain, "pay").await;
        house.desk.decide(&approver("default"), id(&open), None, Some("no")).await.unwrap();
        let denied = Verdict::Denied { by: approver("default").identity, comment: Some("no".to_owned()) };
        assert_eq!(house.desk.wait(chain.tenant(), id(&open)).await.unwrap(), denied);
        assert_eq!(house.desk.wait_at_most(chain.tenant(), id(&open), Duration::ZERO).await.unwrap(), Some(denied));
    })
    .await;
}

#[tokio::test]
async fn who_watches_the_inbox_is_told_of_requests_and_decisions() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let mut changes = house.desk.changes();
        changes.mark_unchanged();
        let open = asked(&house, &chain, "pay").await;
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        let refused = house.desk.decide(&approver("rival"), id(&open), None, None).await.unwrap_err();
        assert_eq!((refused.code().as_str(), changes.has_changed().unwrap()), ("oversight.unknown_request", false));
        house.desk.decide(&approver("default"), id(&open), None, None).await.unwrap();
        assert!(changes.has_changed().unwrap());
    })
    .await;
}
