//! Events: recorded once, counted and summed, priced, read back.

use std::sync::Arc;
use std::time::Duration;

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, Coded, Kind, Micros, Timestamp};
use creto_metering::model::event::EventInput;
use creto_metering::model::metric::{Aggregation, Metric};
use creto_metering::{Meter, MeteringError, Outcome, Taking};
use creto_nhi::VerifiedChain;
use creto_oversight::model::request::State;
use serde_json::{Value, json};

use super::house::{House, SETS, approver};

/// Longer than any test should take; a test that gets here has hung.
const PATIENCE: Duration = Duration::from_secs(30);

async fn metered(db: Db) -> (House, Meter, VerifiedChain) {
    let house = House::open(db.clone(), Vec::new()).await;
    let chain = house.chain("default", Some(1_000_000), &["planner", "researcher"]).await;
    let meter = Meter::new(db, Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
    let metric =
        |aggregation, field: &str, price: &str| Metric { aggregation, field: field.to_owned(), unit_price: price.parse().unwrap() };
    meter.put_metric(chain.root(), "calls", metric(Aggregation::Count, "", "0.0003")).await.unwrap();
    meter.put_metric(chain.root(), "tokens", metric(Aggregation::Sum, "n", "0.00001")).await.unwrap();
    for subscription in ["s1", "s2"] {
        meter.put_reporters(chain.root(), subscription, vec!["*".to_owned()]).await.unwrap();
    }
    (house, meter, chain)
}

fn event(transaction: &str, code: &str, properties: Value) -> EventInput {
    let body = json!({ "transaction_id": transaction, "external_subscription_id": "s1", "code": code, "properties": properties });
    serde_json::from_value(body).unwrap()
}

/// (code, events, units, cost in micros) of everything ever recorded for `s1`.
async fn used(meter: &Meter, chain: &VerifiedChain) -> Vec<(String, u64, String, i64)> {
    let usage = meter.usage(chain.tenant(), "s1", Timestamp::EPOCH, Timestamp::MAX).await.unwrap();
    usage.into_iter().map(|line| (line.code, line.events, line.units.to_string(), line.cost.get())).collect()
}

#[tokio::test]
async fn the_same_event_again_is_answered_as_the_first_time_and_another_is_refused() {
    each_engine(SETS, async |db| {
        let (house, meter, chain) = metered(db).await;
        let first = meter.ingest(&chain, event("t1", "tokens", json!({ "n": 7 }))).await.unwrap();
        assert_eq!((first.duplicate, first.cost), (false, Micros::new(70)));
        // The time was left to us, and it is later now: still the same event.
        house.world.clock.advance(Duration::from_secs(60));
        let second = meter.ingest(&chain, event("t1", "tokens", json!({ "n": 7 }))).await.unwrap();
        assert_eq!((second.duplicate, &second.admission, second.cost), (true, &first.admission, first.cost));
        for other in [event("t1", "tokens", json!({ "n": 8 })), event("t1", "calls", json!({ "n": 7 }))] {
            let error = meter.ingest(&chain, other).await.unwrap_err();
            assert_eq!((error.code().as_str(), error.kind()), ("metering.duplicate_conflict", Kind::Conflict));
            let MeteringError::DuplicateConflict { recorded, sent, .. } = error else { panic!("{error}") };
            assert_ne!(recorded, sent);
        }
        assert_eq!(used(&meter, &chain).await, [("tokens".to_owned(), 1, "7".to_owned(), 70)]);
        assert!(meter.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_was_partly_recorded_costs_what_is_new_of_it_also_where_there_is_room_for_no_more() {
    each_engine(SETS, async |db| {
        let (_house, meter, chain) = metered(db).await;
        let tokens = |transaction: &str, n: i64| Ok(event(transaction, "tokens", json!({ "n": n })));
        let send = async |batch: Vec<_>| {
            let answered = meter.ingest_all(&chain, Taking::default(), batch).await.unwrap();
            answered.events.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>()
        };
        // 900,000 of the million are spent: each of the two would find no room were it paid for again.
        let first = send(vec![tokens("t1", 45_000), tokens("t2", 45_000)]).await;
        assert!(matches!(first[..], [Outcome::Recorded { .. }, Outcome::Recorded { .. }]), "{first:?}");
        let again = send(vec![tokens("t0", 5_000), tokens("t1", 45_000), tokens("t2", 45_000), tokens("t3", 5_000)]).await;
        let [Outcome::Recorded { cost, .. }, Outcome::Duplicate { .. }, Outcome::Duplicate { .. }, Outcome::Recorded { .. }] = again[..]
        else {
            panic!("{again:?}");
        };
        assert_eq!(cost, Micros::new(50_000));
        // Without any room, what was recorded is answered as then, and what is new is refused.
        let full = send(vec![tokens("t1", 45_000), tokens("t4", 100)]).await;
        assert!(matches!(full[..], [Outcome::Duplicate { .. }, Outcome::Refused(_)]), "{full:?}");
        assert_eq!(used(&meter, &chain).await, [("tokens".to_owned(), 4, "100000".to_owned(), 1_000_000)]);
        assert!(meter.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_senders_of_one_identifier_exactly_one_is_recorded() {
    each_engine(SETS, async |db| {
        let (_house, meter, chain) = metered(db).await;
        let send = |n: i64| {
            let (meter, chain) = (meter.clone(), chain.clone());
            tokio::spawn(async move { meter.ingest(&chain, event("race", "tokens", json!({ "n": n }))).await })
        };
        let same: Vec<_> = (0..24).map(|_| send(5)).collect();
        let other: Vec<_> = (0..8).map(|_| send(6)).collect();
        let (mut receipts, mut refused) = (Vec::new(), 0);
        for sender in same.into_iter().chain(other) {
            match sender.await.unwrap() {
                Ok(receipt) => receipts.push(receipt),
                Err(MeteringError::DuplicateConflict { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(receipts.iter().filter(|receipt| !receipt.duplicate).count(), 1);
        assert!(receipts.iter().all(|receipt| receipt.admission == receipts[0].admission));
        assert!([(24, 8), (8, 24)].contains(&(receipts.len(), refused)), "{} answered, {refused} refused", receipts.len());
        assert_eq!(used(&meter, &chain).await[0].1, 1);
        assert!(meter.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test]
async fn count_and_sum_are_exact_and_priced_per_unit_as_they_were_when_recorded() {
    each_engine(SETS, async |db| {
        let (_house, meter, chain) = metered(db).await;
        for (number, n) in [json!("0.1"), json!(0.2), json!(1200), json!("0")].into_iter().enumerate() {
            meter.ingest(&chain, event(&format!("t{number}"), "tokens", json!({ "n": n }))).await.unwrap();
            meter.ingest(&chain, event(&format!("c{number}"), "calls", json!({}))).await.unwrap();
        }
        let expected = [("calls".to_owned(), 4, "4".to_owned(), 1_200), ("tokens".to_owned(), 4, "1200.3".to_owned(), 12_003)];
        assert_eq!(used(&meter, &chain).await, expected);
        let dearer = Metric { aggregation: Aggregation::Count, field: String::new(), unit_price: "0.01".parse().unwrap() };
        meter.put_metric(chain.root(), "calls", dearer).await.unwrap();
        meter.ingest(&chain, event("c9", "calls", json!({}))).await.unwrap();
        assert_eq!(used(&meter, &chain).await[0], ("calls".to_owned(), 5, "5".to_owned(), 11_200));
        let report = meter.check(chain.tenant()).await.unwrap();
        assert_eq!((report.ok, report.debits, report.credits), (true, Micros::new(23_203), Micros::new(23_203)));
    })
    .await;
}

#[tokio::test]
async fn current_usage_is_of_one_subscription_from_a_moment_until_before_another() {
    each_engine(SETS, async |db| {
        let (house, meter, chain) = metered(db).await;
        let start = house.world.clock.now();
        let after = |secs: u64| start.saturating_add(Duration::from_secs(secs));
        for secs in [0, 10, 20] {
            let mut sent = event(&format!("t{secs}"), "calls", json!({}));
            sent.timestamp = Some(json!(after(secs)));
            meter.ingest(&chain, sent).await.unwrap();
        }
        let mut elsewhere = event("t0", "calls", json!({}));
        elsewhere.external_subscription_id = "s2".to_owned();
        assert!(!meter.ingest(&chain, elsewhere).await.unwrap().duplicate, "an identifier is of one subscription");
        for (from, to, events) in [(0, 20, 2), (0, 21, 3), (10, 20, 1), (11, 20, 0)] {
            let usage = meter.usage(chain.tenant(), "s1", after(from), after(to)).await.unwrap();
            assert_eq!(usage.iter().map(|line| line.events).sum::<u64>(), events, "[{from}, {to})");
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_measured_is_refused_and_leaves_nothing() {
    each_engine(SETS, async |db| {
        let (_house, meter, chain) = metered(db).await;
        let cases = [
            (event("t1", "unknown", json!({})), "metering.unknown_metric"),
            (event("t1", "tokens", json!({})), "metering.bad_event"),
            (event("t1", "tokens", json!({ "n": -1 })), "metering.bad_event"),
            (event("t1", "tokens", json!({ "n": "-0.000001" })), "metering.bad_event"),
            (event("t1", "tokens", json!({ "n": "79228162514264337593543950335" })), "metering.cost_overflow"),
            (event("t1", "tokens", json!({ "n": 1_000_000_000 })), "metering.budget_exceeded"),
            (event("t1", "a metric", json!({})), "metering.unknown_metric"),
        ];
        for (sent, code) in cases {
            let shown = format!("{sent:?}");
            let error = meter.ingest(&chain, sent).await.unwrap_err();
            assert_eq!(error.code().as_str(), code, "{shown}: {error}");
        }
        assert_eq!(used(&meter, &chain).await, []);
        // The identifier was not used up by the refusals.
        assert!(!meter.ingest(&chain, event("t1", "tokens", json!({ "n": 1 }))).await.unwrap().duplicate);
    })
    .await;
}

#[tokio::test]
async fn cost_is_rolled_up_the_delegation_tree_and_billed_once() {
    each_engine(SETS, async |db| {
        let (house, meter, researcher) = metered(db).await;
        let planner = house.chain("default", None, &["planner"]).await;
        meter.ingest(&researcher, event("t1", "tokens", json!({ "n": 5 }))).await.unwrap();
        meter.ingest(&planner, event("t2", "tokens", json!({ "n": 2 }))).await.unwrap();
        let forest = meter.costs(planner.tenant(), Timestamp::EPOCH, Timestamp::MAX).await.unwrap();
        assert_eq!(forest.len(), 1);
        let numbers = |node: &creto_metering::core::tree::CostNode| (node.identity.clone(), node.direct.get(), node.total.get());
        let (root, below) = (&forest[0], &forest[0].children[0]);
        assert_eq!(numbers(root), (planner.root().to_string(), 0, 70));
        assert_eq!(numbers(below), (planner.leaf().to_string(), 20, 70));
        assert_eq!(numbers(&below.children[0]), (researcher.leaf().to_string(), 50, 50));
    })
    .await;
}

#[tokio::test]
async fn one_line_costs_at_most_a_million_units_also_where_no_ceiling_binds() {
    each_engine(SETS, async |db| {
        let (house, meter, _) = metered(db).await;
        let unbounded = house.chain("default", None, &["writer"]).await;
        // A hundred thousand million tokens at 0.00001 are a million units; one more is past it.
        let refused = meter.ingest(&unbounded, event("t1", "tokens", json!({ "n": 100_000_000_001_i64 }))).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "metering.cost_overflow", "{refused}");
        let taken = meter.ingest(&unbounded, event("t1", "tokens", json!({ "n": 100_000_000_000_i64 }))).await.unwrap();
        assert_eq!((taken.duplicate, taken.cost), (false, Micros::new(1_000_000_000_000)));
    })
    .await;
}

const USAGE_IS_REVIEWED: &str = r#"
@id("t.permit") permit (principal, action, resource);
@id("t.usage") @oversight("usage_review") forbid (principal, action == Action::"metering.ingest", resource) unless { context.approved };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_policy_wants_a_human_for_shows_what_it_says_and_waits() {
    each_engine(SETS, async |db| {
        let (house, meter, chain) = metered(db).await;
        house.authz.publish(chain.root(), USAGE_IS_REVIEWED, None).await.unwrap();
        let mut changes = house.desk.changes();
        let ingesting = tokio::spawn({
            let (meter, chain) = (meter.clone(), chain.clone());
            async move { meter.ingest(&chain, event("t1", "tokens", json!({ "n": 7 }))).await }
        });
        let open = loop {
            changes.mark_unchanged();
            if let Some(open) = house.desk.list(chain.tenant(), Some(State::Pending)).await.unwrap().pop() {
                break open;
            }
            tokio::time::timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
        };
        let shown: Value = serde_json::from_str(&open.action).unwrap();
        assert_eq!((&shown["action"], &shown["resource"]), (&json!("metering.ingest"), &json!("metric:tokens")));
        let arguments = &shown["arguments"];
        assert_eq!(
            (&arguments["quantity"], &arguments["subscription"], &arguments["transaction_id"]),
            (&json!("7"), &json!("s1"), &json!("t1"))
        );
        assert!(!ingesting.is_finished(), "nothing is recorded before somebody decided");
        assert_eq!(used(&meter, &chain).await, []);
        house.desk.decide(&approver("default"), open.id.parse().unwrap(), Some(open.digest), None).await.unwrap();
        let receipt = tokio::time::timeout(PATIENCE, ingesting).await.unwrap().unwrap().unwrap();
        assert_eq!((receipt.duplicate, receipt.cost), (false, Micros::new(70)));
        assert_eq!(house.desk.get(chain.tenant(), open.id.parse().unwrap()).await.unwrap().state, State::Executed);
    })
    .await;
}
