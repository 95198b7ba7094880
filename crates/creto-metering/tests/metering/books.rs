//! Events through the catalog: aggregates of every kind, taken back and amended, in any order, against a replay of everything.

use std::sync::Arc;
use std::time::Duration;

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, Coded as _, Digest, Micros, Timestamp};
use creto_metering::core::batch_tree;
use creto_metering::model::billable_metric::BillableMetric;
use creto_metering::model::customer::Customer;
use creto_metering::model::event::EventInput;
use creto_metering::model::plan::Plan;
use creto_metering::{Answered, Catalog, Meter, MeteringError, Outcome, Taking};
use creto_nhi::VerifiedChain;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::catalog::{read, subscription};
use super::house::{House, SETS, server};

const TRUSTED: Taking = Taking { trusted: true, all_or_none: false };
const DAY: u64 = 24 * 3600;

pub(crate) struct Books {
    pub(crate) house: House,
    pub(crate) meter: Meter,
    pub(crate) chain: VerifiedChain,
    /// When the subscription began.
    pub(crate) start: Timestamp,
}

impl Books {
    /// A subscription `s` of customer `acme` in New York, whose plan has a charge for each aggregation, and one with filters and groups.
    pub(crate) async fn open(db: Db) -> Self {
        let house = House::open(db.clone(), Vec::new()).await;
        let meter = Meter::new(db.clone(), Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
        let catalog = Catalog::new(db, house.world.clock.clone());
        let by = server("default");
        let kinds = ["count", "sum", "unique_count", "max", "min", "avg", "latest", "weighted_sum", "custom"];
        let mut charges = Vec::new();
        for kind in kinds {
            let metric = json!({
                "code": kind, "aggregation_type": kind, "field_name": (kind != "count").then_some("n"),
                "expression": (kind == "custom").then_some("sum + max")
            });
            catalog.create(&by, read::<BillableMetric>(metric)).await.unwrap();
            charges.push(json!({ "billable_metric_code": kind, "charge_model": "standard", "properties": { "amount": "0.0000003" } }));
        }
        for (code, recurring) in [("grouped", false), ("level", true)] {
            let filters = json!([{ "key": "size", "values": ["small", "large"] }]);
            let metric = json!({ "code": code, "aggregation_type": "sum", "field_name": "n", "recurring": recurring, "filters": filters });
            catalog.create(&by, read::<BillableMetric>(metric)).await.unwrap();
        }
        let tiers = json!([
            { "to_value": "100", "per_unit_amount": "0.01", "flat_amount": "1" }, { "to_value": null, "per_unit_amount": "0.001", "flat_amount": "0" }
        ]);
        charges.push(json!({
            "billable_metric_code": "grouped", "charge_model": "graduated",
            "properties": { "graduated_ranges": tiers, "pricing_group_keys": ["region"], "presentation_group_keys": ["agent"] },
            "filters": [{ "values": { "size": ["large"] }, "properties": { "graduated_ranges": tiers } }]
        }));
        charges.push(json!({ "billable_metric_code": "level", "charge_model": "standard", "properties": { "amount": "0.5" } }));
        let plan = json!({ "code": "all", "interval": "monthly", "amount_cents": 0, "amount_currency": "USD", "charges": charges });
        catalog.create(&by, read::<Plan>(plan)).await.unwrap();
        let customer = Customer { timezone: Some("America/New_York".to_owned()), ..Customer::new("acme") };
        catalog.create(&by, customer).await.unwrap();
        let start = house.world.clock.now();
        catalog.subscribe(&by, subscription("s", "acme", "all")).await.unwrap();
        house.world.clock.advance(Duration::from_secs(50 * DAY));
        let chain = house.chain("default", None, &["planner"]).await;
        Self { house, meter, chain, start }
    }

    pub(crate) fn event(&self, id: &str, code: &str, secs: u64, properties: Value) -> EventInput {
        read(json!({
            "transaction_id": id, "external_subscription_id": "s", "code": code,
            "timestamp": self.start.saturating_add(Duration::from_secs(secs)), "properties": properties
        }))
    }

    pub(crate) async fn send(&self, events: Vec<EventInput>) -> Answered {
        self.send_as(&self.chain, events).await
    }

    /// Booked to another chain.
    pub(crate) async fn send_as(&self, chain: &VerifiedChain, events: Vec<EventInput>) -> Answered {
        self.meter.ingest_all(chain, TRUSTED, events.into_iter().map(Ok).collect()).await.unwrap()
    }

    /// Aggregates are what a replay gives, debits are credits, and both are what the events cost.
    pub(crate) async fn balance(&self) -> Micros {
        let report = self.meter.check(self.chain.tenant()).await.unwrap();
        assert!(report.ok, "{report:?}");
        let sql = "SELECT CAST(COALESCE(SUM(cost_micros - given_back), 0) AS BIGINT) FROM meter_record";
        let cost = self.house.db.query_optional(sql, vec![]).await.unwrap().unwrap().int(0).unwrap();
        let sql = "SELECT CAST(COALESCE(SUM(posted_micros), 0) AS BIGINT) FROM meter_running";
        let posted = self.house.db.query_optional(sql, vec![]).await.unwrap().unwrap().int(0).unwrap();
        assert_eq!((report.debits.get(), posted), (cost, cost), "the ledger, the aggregates and the events agree");
        super::over_time::adds_up(self, report.debits).await;
        report.debits
    }

    async fn units(&self, code: &str) -> String {
        let usage = self.meter.usage(self.chain.tenant(), "s", Timestamp::EPOCH, Timestamp::MAX).await.unwrap();
        usage.iter().find(|line| line.code == code).map(|line| line.units.to_string()).unwrap_or_default()
    }
}

fn codes(answered: &Answered) -> Vec<&'static str> {
    let code = |outcome: &Outcome| match outcome {
        Outcome::Recorded { .. } => "recorded",
        Outcome::Duplicate { .. } => "duplicate",
        Outcome::Refused(error) | Outcome::Quarantined(error) => error.code().as_str(),
    };
    answered.events.iter().map(|(_, outcome)| code(outcome)).collect()
}

#[tokio::test]
async fn a_batch_is_one_commit_that_answers_each_event_and_proves_it() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let leaves = books.house.leaves(&books.chain).await.len();
        let mut events: Vec<EventInput> = (0..20).map(|n| books.event(&format!("t{n}"), "sum", n * 3_600, json!({ "n": n }))).collect();
        events.push(books.event("t3", "sum", 3 * 3_600, json!({ "n": "3" })));
        events.push(books.event("t4", "sum", 4 * 3_600, json!({ "n": 5 })));
        events.push(books.event("u1", "nothing", 0, json!({})));
        events.push(books.event("u2", "sum", 0, json!({ "n": "many" })));
        events.push(EventInput { external_subscription_id: "nobody".to_owned(), ..books.event("u3", "sum", 0, json!({ "n": 1 })) });
        let answered = books.send(events.clone()).await;
        let told = codes(&answered);
        assert!(told.iter().take(20).all(|code| *code == "recorded"), "{told:?}");
        let rest =
            ["duplicate", "metering.duplicate_conflict", "metering.not_charged", "metering.bad_event", "metering.unknown_subscription"];
        assert_eq!(told.iter().skip(20).copied().collect::<Vec<_>>(), rest);
        let after = books.house.leaves(&books.chain).await;
        assert_eq!(after.len(), leaves + 1, "one leaf for all");
        let leaf = after.last().unwrap();
        assert_eq!((leaf.facts.get("events").map(String::as_str), leaf.digests.get("events")), (Some("20"), answered.root.as_ref()));
        for n in 0..20 {
            let proof = books.meter.event_proof(books.chain.tenant(), "s", &format!("t{n}")).await.unwrap();
            assert_eq!((proof.size, Some(proof.root)), (20, answered.root));
            assert!(batch_tree::verify(&proof.event, proof.index, proof.size, &proof.proof, &proof.root), "t{n}");
            assert!(!batch_tree::verify(&Digest::of(b"x"), proof.index, proof.size, &proof.proof, &proof.root), "t{n}");
        }
        // The whole request again changes nothing and asks nobody.
        let again = books.send(events.into_iter().take(20).collect()).await;
        assert!(codes(&again).iter().all(|code| *code == "duplicate"));
        assert_eq!(books.house.leaves(&books.chain).await.len(), leaves + 1);
        assert_eq!(books.units("sum").await, "190");
        books.balance().await;
    })
    .await;
}

#[tokio::test]
async fn fractions_of_a_micro_add_up_over_events_of_any_size() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        // 0.3 micros each: a price that rounds every event by itself to nothing.
        for n in 0..10 {
            books.send(vec![books.event(&format!("t{n}"), "count", n, json!({}))]).await;
        }
        let events = (10..100).map(|n| books.event(&format!("t{n}"), "count", n, json!({}))).collect();
        books.send(events).await;
        assert_eq!(books.balance().await, Micros::new(30));
    })
    .await;
}

#[tokio::test]
async fn whole_days_come_from_aggregates_and_a_period_needs_no_event_at_all() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let events = (0..60_u64).map(|n| {
            let properties =
                json!({ "n": n % 7, "region": (["eu", "us"][usize::try_from(n % 2).unwrap()]), "agent": "a", "size": "small" });
            let code = ["grouped", "unique_count", "latest"][usize::try_from(n % 3).unwrap()];
            books.event(&format!("t{n}"), code, n * 20_000, properties)
        });
        books.send(events.collect()).await;
        let tenant = books.chain.tenant();
        let at = books.start.saturating_add(Duration::from_secs(3 * DAY));
        let whole = books.meter.usage(tenant, "s", Timestamp::EPOCH, Timestamp::MAX).await.unwrap();
        let current = books.meter.current_usage(tenant, "s", at).await.unwrap();
        assert!(whole.len() == 3 && !current.charges.is_empty() && current.posted > Micros::ZERO, "{whole:?} {current:?}");
        let groups = current.charges.iter().filter(|row| row.charge == "grouped" && row.amount.is_some()).count();
        assert_eq!(groups, 2, "a price for each region, and each agent only shown: {current:?}");
        let forget = creto_db::Write::new("DELETE FROM meter_record", vec![]);
        books.house.db.commit(creto_db::Sealed::new(super::budgets::leaf(&books.chain)).step(forget)).await.unwrap();
        assert_eq!(books.meter.usage(tenant, "s", Timestamp::EPOCH, Timestamp::MAX).await.unwrap(), whole);
        assert_eq!(books.meter.current_usage(tenant, "s", at).await.unwrap(), current);
    })
    .await;
}

#[tokio::test]
async fn edge_days_read_their_own_events_and_add_up_to_the_whole() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let events = (0..200_u64).map(|n| books.event(&format!("t{n}"), "sum", n * 1_700, json!({ "n": "0.1" })));
        books.send(events.collect()).await;
        let tenant = books.chain.tenant();
        let at = |secs: u64| books.start.saturating_add(Duration::from_secs(secs));
        let sum = async |from: Timestamp, to: Timestamp| {
            let usage = books.meter.usage(tenant, "s", from, to).await.unwrap();
            usage.first().map_or((0, 0), |line| (line.events, line.cost.get()))
        };
        let whole = sum(Timestamp::EPOCH, Timestamp::MAX).await;
        for cut in [1_u64, 1_700, 50_000, 86_400, 99_999, 200_000, 339_999] {
            let (before, after) = (sum(Timestamp::EPOCH, at(cut)).await, sum(at(cut), Timestamp::MAX).await);
            assert_eq!((before.0 + after.0, before.1 + after.1), whole, "cut at {cut}");
            assert_eq!(before.0, cut.div_ceil(1_700), "cut at {cut}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_event_no_longer_counts_and_an_amended_one_counts_as_the_other() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let by = server("default");
        for (n, value) in [4, 9, 2].into_iter().enumerate() {
            for code in ["sum", "max", "latest", "grouped"] {
                let event = books.event(&format!("{code}{n}"), code, n as u64 * 90_000, json!({ "n": value, "region": "eu" }));
                books.send(vec![event]).await;
            }
        }
        let before = books.balance().await;
        for code in ["sum", "max", "grouped"] {
            books.meter.cancel(&by, "s", &format!("{code}1")).await.unwrap();
        }
        assert_eq!((books.units("sum").await, books.units("max").await, books.units("latest").await), ("6".into(), "4".into(), "2".into()));
        let less = books.balance().await;
        assert!(less < before, "{less} is less than {before}");
        let again = books.meter.cancel(&by, "s", "sum1").await.unwrap_err();
        assert_eq!(again.code().as_str(), "metering.already_cancelled");
        let used = books.send(vec![books.event("sum1", "sum", 90_000, json!({ "n": 9, "region": "eu" }))]).await;
        assert_eq!(codes(&used), ["duplicate"], "its identifier stays used");
        let instead = books.event("latest2b", "latest", 180_000, json!({ "n": 7 }));
        books.meter.amend(&by, &books.chain, ("s", "latest2"), instead.clone()).await.unwrap();
        assert_eq!(books.units("latest").await, "7");
        let twice = books.meter.amend(&by, &books.chain, ("s", "latest2"), instead).await.unwrap_err();
        assert_eq!(twice.code().as_str(), "metering.already_cancelled");
        books.balance().await;
        assert!(matches!(books.meter.cancel(&by, "s", "none").await, Err(MeteringError::UnknownEvent(_))));
    })
    .await;
}

#[tokio::test]
async fn a_metrics_condition_says_which_events_count_and_one_it_cannot_answer_of_is_refused() {
    each_engine(SETS, async |db| {
        let books = Books::open(db.clone()).await;
        let (catalog, by) = (Catalog::new(db, books.house.world.clock.clone()), server("default"));
        let condition = "event.properties.region in ['eu', 'uk'] && double(event.properties.n) > 0.1";
        let metric = json!({ "code": "europe", "aggregation_type": "sum", "field_name": "n", "condition": condition });
        catalog.create(&by, read::<BillableMetric>(metric)).await.unwrap();
        let charge = json!({ "billable_metric_code": "europe", "charge_model": "standard", "properties": { "amount": "0.5" } });
        let plan = json!({ "code": "eu", "interval": "monthly", "amount_cents": 0, "amount_currency": "USD", "charges": [charge] });
        catalog.create(&by, read::<Plan>(plan)).await.unwrap();
        catalog.subscribe(&by, subscription("t", "acme", "eu")).await.unwrap();
        let event = |id: &str, properties: Value| {
            read(json!({ "transaction_id": id, "external_subscription_id": "t", "code": "europe", "properties": properties }))
        };
        let answered = books
            .send(vec![
                event("counts", json!({ "region": "eu", "n": "2.5" })),
                event("elsewhere", json!({ "region": "us", "n": 7 })),
                event("too little", json!({ "region": "uk", "n": "0.1" })),
                event("unanswerable", json!({ "n": 1 })),
            ])
            .await;
        assert_eq!(codes(&answered), ["recorded", "recorded", "recorded", "metering.bad_event"]);
        let units = async || {
            let usage = books.meter.usage(books.chain.tenant(), "t", Timestamp::EPOCH, Timestamp::MAX).await.unwrap();
            usage.iter().find(|line| line.code == "europe").map(|line| line.units.to_string()).unwrap_or_default()
        };
        assert_eq!(units().await, "2.5");
        books.balance().await;
        for id in ["elsewhere", "counts"] {
            books.meter.cancel(&by, "t", id).await.unwrap();
        }
        assert_eq!(units().await, "0");
        books.balance().await;
    })
    .await;
}

#[tokio::test]
async fn an_agents_own_token_books_its_usage_to_it_and_without_one_the_collector_is_marked() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let links = books.house.world.chain("default", Some(Micros::new(1)), &["researcher"]).await;
        let token = links.to_token().unwrap();
        let with = |event: EventInput, token: &str| EventInput { chain: Some(token.to_owned()), ..event };
        let answered = books
            .send(vec![
                with(books.event("mine", "sum", 1, json!({ "n": 1 })), &token),
                books.event("yours", "sum", 2, json!({ "n": 1 })),
                with(books.event("forged", "sum", 3, json!({ "n": 1 })), &token.replace('A', "B")),
                with(books.event("dear", "sum", 4, json!({ "n": 1_000_000 })), &token),
            ])
            .await;
        assert_eq!(codes(&answered), ["recorded", "recorded", "metering.bad_event", "metering.budget_exceeded"]);
        let event = async |id: &str| books.meter.event(books.chain.tenant(), "s", id).await.unwrap();
        let (mine, yours) = (event("mine").await, event("yours").await);
        assert_eq!((mine.agent.name(), mine.attribution.as_str()), ("researcher", "token"));
        assert_eq!((yours.agent.name(), yours.attribution.as_str()), ("planner", "caller"));
        assert_eq!(mine.collector, yours.collector);
        books.balance().await;
    })
    .await;
}

#[tokio::test]
async fn only_its_own_and_those_named_report_for_a_subscription() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let tenant = books.chain.tenant();
        let send = async |id: &str| {
            let event = books.event(id, "sum", 1, json!({ "n": 1 }));
            books.meter.ingest(&books.chain, event).await.map(|_| ()).map_err(|error| error.code().as_str())
        };
        assert_eq!(send("t1").await, Err("metering.not_reporter"));
        for (names, allowed) in
            [(vec!["agent/other"], false), (vec!["agent/planner"], true), (vec!["human/alice"], true), (vec!["*"], true)]
        {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            books.meter.put_reporters(books.chain.root(), "s", names.clone()).await.unwrap();
            assert_eq!(books.meter.reporters(tenant, "s").await.unwrap(), names);
            assert_eq!(send(&format!("{names:?}")).await.is_ok(), allowed, "{names:?}");
        }
        // Everybody's own name is a subscription of its own.
        let own = EventInput { external_subscription_id: "alice".to_owned(), ..books.event("own", "pages", 1, json!({})) };
        let price = creto_metering::model::metric::Metric {
            aggregation: creto_metering::model::billable_metric::Aggregation::Count,
            field: String::new(),
            unit_price: "0.1".parse().unwrap(),
        };
        books.meter.put_metric(books.chain.root(), "pages", price).await.unwrap();
        assert_eq!(books.meter.ingest(&books.chain, own).await.unwrap().cost, Micros::new(100_000));
        books.balance().await;
    })
    .await;
}

#[derive(Clone, Debug)]
enum Op {
    /// So many events at once: (metric, seconds since the start, value, region).
    Send(Vec<(usize, u64, i64, bool)>),
    /// The nth event ever sent.
    Cancel(usize),
    /// The nth event ever sent, to another value.
    Amend(usize, i64),
    /// The nth request again.
    Again(usize),
}

fn op() -> impl Strategy<Value = Op> {
    // Over two billing periods, in any order.
    let event = (0_usize..11, 0..50 * DAY, -20_i64..50, any::<bool>());
    prop_oneof![
        6 => prop::collection::vec(event, 1..12).prop_map(Op::Send),
        2 => (0_usize..60).prop_map(Op::Cancel),
        1 => (0_usize..60, -20_i64..50).prop_map(|(n, value)| Op::Amend(n, value)),
        1 => (0_usize..6).prop_map(Op::Again),
    ]
}

/// A metric of each kind.
pub(crate) const CODES: [&str; 11] =
    ["count", "sum", "unique_count", "max", "min", "avg", "latest", "weighted_sum", "custom", "grouped", "level"];

async fn follow(db: Db, ops: Vec<Op>) {
    let books = Books::open(db).await;
    let by = server("default");
    let another = books.house.chain("default", None, &["planner", "researcher"]).await;
    let (mut sent, mut requests): (Vec<EventInput>, Vec<Vec<EventInput>>) = Default::default();
    let mut cancelled = std::collections::BTreeSet::new();
    for op in ops {
        match op {
            Op::Send(events) => {
                let events: Vec<EventInput> = events
                    .into_iter()
                    .enumerate()
                    .map(|(at, (code, secs, value, east))| {
                        let code = *CODES.get(code).unwrap();
                        let operation = if code == "unique_count" && value < 0 { "remove" } else { "add" };
                        let properties = json!({
                            "n": value.abs() % 9 * value.signum(), "region": if east { "east" } else { "west" }, "operation_type": operation,
                            "size": if value % 2 == 0 { "large" } else { "small" }, "agent": value % 3,
                            "model": (value % 4 != 0).then(|| format!("m{}", value.abs() % 4))
                        });
                        books.event(&format!("t{}-{at}", requests.len()), code, secs, properties)
                    })
                    .collect();
                let chain = if requests.len() % 2 == 0 { &books.chain } else { &another };
                let answered = books.send_as(chain, events.clone()).await;
                assert!(codes(&answered).iter().all(|code| *code == "recorded"), "{:?}", codes(&answered));
                sent.extend(events.clone());
                requests.push(events);
            }
            Op::Again(n) => {
                let Some(events) = requests.get(n) else { continue };
                let answered = books.send(events.clone()).await;
                assert!(codes(&answered).iter().all(|code| *code == "duplicate"), "{:?}", codes(&answered));
            }
            Op::Cancel(n) => {
                let Some(event) = sent.get(n) else { continue };
                let outcome = books.meter.cancel(&by, "s", &event.transaction_id).await;
                assert_eq!(outcome.is_ok(), cancelled.insert(event.transaction_id.clone()), "{outcome:?}");
            }
            Op::Amend(n, value) => {
                let Some(event) = sent.get(n).cloned() else { continue };
                let mut instead = EventInput { transaction_id: format!("{}-again{}", event.transaction_id, sent.len()), ..event.clone() };
                instead.properties.insert("n".to_owned(), json!(value));
                let outcome = books.meter.amend(&by, &books.chain, ("s", &event.transaction_id), instead.clone()).await;
                assert_eq!(outcome.is_ok(), cancelled.insert(event.transaction_id.clone()), "{outcome:?}");
                if outcome.is_ok() {
                    sent.push(instead);
                }
            }
        }
    }
    books.balance().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn after_any_history_a_replay_gives_the_aggregates_and_the_ledger_balances(ops in prop::collection::vec(op(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(each_engine(SETS, async |db| follow(db, ops.clone()).await));
    }
}
