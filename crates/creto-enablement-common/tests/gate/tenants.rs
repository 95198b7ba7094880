//! Every public read and every write by identifier, asked with another tenant's name.

use std::sync::Arc;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::gate::{ActionFilter, ActionState};
use creto_enablement_common::{Admission, Approvals as _, Ledger as _};
use creto_kernel::{Coded, Micros, Timestamp};
use creto_metering::Meter;
use creto_metering::model::event::EventInput;
use creto_metering::model::metric::{Aggregation, Metric};
use serde_json::json;

use super::house::{House, SETS, approver, request};

#[tokio::test]
async fn nothing_of_one_tenant_is_seen_or_changed_by_another() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let ours = house.chain("acme", Some(1_000_000), &["planner"]).await;
        let theirs = house.chain("rival", Some(1_000_000), &["planner"]).await;
        let stranger = theirs.tenant();
        let meter = Meter::new(db, Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
        let metric = |price: &str| Metric { aggregation: Aggregation::Count, field: String::new(), unit_price: price.parse().unwrap() };
        meter.put_metric(ours.root(), "calls", metric("0.01")).await.unwrap();
        let event = || -> EventInput {
            serde_json::from_value(json!({ "transaction_id": "t1", "external_subscription_id": "alice", "code": "calls" })).unwrap()
        };
        meter.ingest(&ours, event()).await.unwrap();
        let mut asked = request(&ours, "tool.call", "tool:report");
        asked.reserve = Micros::new(5);
        let granted = house.gate.admit(asked).await.unwrap();
        let mut asked = request(&ours, "tool.call_with_approval", "tool:pay");
        asked.wait = Duration::from_secs(600);
        let Admission::Pending(open, _) = house.gate.admit_within(asked, Duration::ZERO).await.unwrap() else {
            panic!("nobody approved it")
        };
        let digest = house.desk.get(ours.tenant(), open).await.unwrap().digest;
        let now = Timestamp::MAX;

        // The Gate.
        assert_eq!(house.gate.action(stranger, granted.admission()).await.unwrap(), None);
        assert_eq!(house.gate.actions(stranger, &ActionFilter::default()).await.unwrap(), []);
        drop(granted);
        house.gate.mark_in_doubt(theirs.root()).await.unwrap();
        let doubtful = house.record(&ours).await.into_iter().find(|row| row.state == ActionState::InDoubt).unwrap();
        let refusal = house.gate.resolve_in_doubt(theirs.root(), doubtful.admission, true).await.unwrap_err();
        assert_eq!(refusal.code().as_str(), "gate.unknown_action");
        assert_eq!(house.world.authority.chain(stranger, ours.digest()).await.unwrap().map(|_| ()), None);

        // Oversight.
        assert_eq!(house.desk.list(stranger, None).await.unwrap(), []);
        assert_eq!(house.desk.get(stranger, open).await.unwrap_err().code().as_str(), "oversight.unknown_request");
        assert_eq!(house.desk.find(stranger, digest, now).await.unwrap(), None);
        assert_eq!(house.desk.wait(stranger, open).await.unwrap_err().code().as_str(), "oversight.unknown_request");
        let decided = house.desk.decide(&approver("rival"), open, Some(digest), None).await.unwrap_err();
        assert_eq!(decided.code().as_str(), "oversight.unknown_request");

        // Metering: the same names mean other things.
        assert_eq!(meter.usage(stranger, "alice", Timestamp::EPOCH, now).await.unwrap(), []);
        assert_eq!(meter.costs(stranger, Timestamp::EPOCH, now).await.unwrap(), []);
        assert_eq!(meter.accounts(stranger).await.unwrap(), []);
        assert_eq!(meter.check(stranger).await.unwrap().debits, Micros::ZERO);
        assert_eq!(
            meter.set_ceiling(theirs.root(), "tenant", Some(Micros::ZERO)).await.unwrap_err().code().as_str(),
            "metering.unknown_account"
        );
        assert_eq!(meter.ingest(&theirs, event()).await.unwrap_err().code().as_str(), "metering.unknown_metric");
        meter.put_metric(theirs.root(), "calls", metric("0.5")).await.unwrap();
        let receipt = meter.ingest(&theirs, event()).await.unwrap();
        assert_eq!((receipt.duplicate, receipt.cost), (false, Micros::new(500_000)));
        assert_eq!(house.accounts.available(&theirs).await.unwrap(), Some(Micros::new(500_000)));
        let own = meter.usage(ours.tenant(), "alice", Timestamp::EPOCH, now).await.unwrap();
        assert_eq!(own.iter().map(|line| (line.events, line.cost.get())).collect::<Vec<_>>(), [(1, 10_000)]);
        assert_eq!(house.accounts.available(&ours).await.unwrap(), Some(Micros::new(1_000_000 - 10_000 - 5)));
    })
    .await;
}
