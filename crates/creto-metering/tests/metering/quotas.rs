//! Quotas as the Gate asks them: whom they stop, when they let go, what they count and whom they tell.

use std::sync::Arc;
use std::time::Duration;

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_enablement_common::gate::ActionState;
use creto_enablement_common::{AdmitRequest, Effect, Outcome, Refusal, Usage};
use creto_kernel::{Coded, Micros};
use creto_metering::model::quota::Quota;
use creto_metering::{Meter, QuotaEnforcer, QuotaOptions, QuotaState, SubjectState};
use creto_nhi::VerifiedChain;
use creto_nhi::testkit::World;
use serde_json::{Value, json};

use super::budgets::priced;
use super::house::{House, SETS, human, request, server};

pub(crate) async fn enforcer(db: &Db, world: &World) -> QuotaEnforcer {
    let options = QuotaOptions { db: db.clone(), clock: world.clock.clone(), server: server("default"), pools: None };
    QuotaEnforcer::start(options).await.unwrap()
}

pub(crate) async fn limited(db: Db) -> (House, QuotaEnforcer) {
    let world = World::open(db.clone()).await;
    let quotas = enforcer(&db, &world).await;
    (House::of(world, vec![Arc::new(quotas.clone())]).await, quotas)
}

pub(crate) fn quota(body: Value) -> Quota {
    serde_json::from_value(body).unwrap()
}

pub(crate) async fn put(quotas: &QuotaEnforcer, body: Value) -> QuotaState {
    let operator = human("default", "alice", creto_nhi::Roles::OPERATOR_AND_APPROVER).identity;
    quotas.put(&operator, quota(body)).await.unwrap()
}

async fn act(house: &House, request: AdmitRequest<'_>) -> Result<(), Refusal> {
    done(house, request, Vec::new()).await
}

async fn done(house: &House, request: AdmitRequest<'_>, usage: Vec<Usage>) -> Result<(), Refusal> {
    let granted = house.gate.admit(request).await?;
    house.gate.settle(granted, Outcome { ok: true, usage, ..Outcome::default() }).await.map(drop)
}

fn call(chain: &VerifiedChain) -> AdmitRequest<'_> {
    request(chain, "tool.call", "tool:report")
}

async fn subject(quotas: &QuotaEnforcer, chain: &VerifiedChain, code: &str, name: &str) -> SubjectState {
    let state = quotas.get(chain.tenant(), code).await.unwrap();
    state.subjects.into_iter().find(|subject| subject.subject == name).unwrap()
}

#[tokio::test]
async fn past_a_quota_an_action_is_refused_on_record_and_the_next_window_admits_it() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let chain = house.chain("default", None, &["planner"]).await;
        put(&quotas, json!({ "code": "hourly-calls", "metric": "actions", "scope": "agent", "window": "hourly", "limit": "3" })).await;
        for _ in 0..3 {
            act(&house, call(&chain)).await.unwrap();
        }
        for _ in 0..2 {
            let refusal = act(&house, call(&chain)).await.unwrap_err();
            assert_eq!(refusal.code().as_str(), "metering.quota_exceeded");
            assert!(
                refusal.to_string().contains("`hourly-calls` of agent/planner: 1 of `actions` is asked for and 0 of 3 is left"),
                "{refusal}"
            );
            assert!(refusal.hint().unwrap().contains("creto quota show hourly-calls"), "{refusal:?}");
        }
        assert_eq!(house.record(&chain).await[3].state, ActionState::Refused);
        // Each agent has its own; another tenant has none.
        let (writer, other) = (house.chain("default", None, &["writer"]).await, house.chain("other", None, &["planner"]).await);
        act(&house, call(&writer)).await.unwrap();
        for _ in 0..5 {
            act(&house, call(&other)).await.unwrap();
        }
        house.world.clock.advance(Duration::from_secs(3_599));
        assert!(act(&house, call(&chain)).await.is_err());
        house.world.clock.advance(Duration::from_secs(1));
        let chain = house.chain("default", None, &["planner"]).await;
        act(&house, call(&chain)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_quota_anywhere_on_the_chain_holds_for_everybody_below_it() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let deep = house.chain("default", None, &["planner", "researcher", "reader"]).await;
        let flat = house.chain("default", None, &["reader"]).await;
        let one = |code: &str, scope: &str, subject: Value, limit: &str| {
            json!({ "code": code, "metric": "actions", "scope": scope, "subject": subject, "window": "total", "limit": limit })
        };
        put(&quotas, one("researching", "agent", "researcher".into(), "2")).await;
        put(&quotas, one("alices", "root", "alice".into(), "5")).await;
        put(&quotas, one("all", "tenant", Value::Null, "100")).await;
        put(&quotas, one("nobodys", "agent", "stranger".into(), "0")).await;
        act(&house, call(&deep)).await.unwrap();
        act(&house, call(&deep)).await.unwrap();
        let refusal = act(&house, call(&deep)).await.unwrap_err();
        assert!(refusal.to_string().contains("`researching` of agent/researcher"), "{refusal}");
        for _ in 0..3 {
            act(&house, call(&flat)).await.unwrap();
        }
        let refusal = act(&house, call(&flat)).await.unwrap_err();
        assert!(refusal.to_string().contains("`alices` of human/alice"), "{refusal}");
        // What one of them refused, no other has counted.
        quotas.close().await.unwrap();
        for (code, name, counted) in [("researching", "agent/researcher", "2"), ("alices", "human/alice", "5"), ("all", "tenant", "5")] {
            assert_eq!(subject(&quotas, &flat, code, name).await.counted.to_string(), counted, "{code}");
        }
        // Raised, it goes on from what was counted; removed, it is nobody's business.
        put(&quotas, one("alices", "root", "alice".into(), "6")).await;
        act(&house, call(&flat)).await.unwrap();
        assert!(act(&house, call(&flat)).await.is_err());
        quotas.remove(flat.root(), "alices").await.unwrap();
        act(&house, call(&flat)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_is_expected_is_held_and_set_right_by_what_was_used() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let chain = house.chain("default", None, &["planner"]).await;
        priced(&house, &chain).await;
        let code = "micros-a-day";
        put(&quotas, json!({ "code": code, "metric": "micros", "scope": "root", "window": "daily", "limit": "100" })).await;
        let expecting = |units: i64| {
            let mut asked = call(&chain);
            asked.expects = vec![Usage::measured("micros", units)];
            asked
        };
        // Held while it runs: another one that would not fit beside it is refused.
        let running = house.gate.admit(expecting(80)).await.unwrap();
        assert_eq!(act(&house, expecting(30)).await.unwrap_err().code().as_str(), "metering.quota_exceeded");
        let usage = vec![Usage::measured("micros", 50)];
        house.gate.settle(running, Outcome { ok: true, usage, ..Outcome::default() }).await.unwrap();
        // Less was used: the rest is there again.
        done(&house, expecting(30), vec![Usage::measured("micros", 30)]).await.unwrap();
        // More was used than was said: it is counted all the same, and in the commit that says so.
        done(&house, expecting(5), vec![Usage::measured("micros", 40)]).await.unwrap();
        let state = subject(&quotas, &chain, code, "human/alice").await;
        assert_eq!((state.counted.get() - state.leased.get(), state.overage.to_string().as_str()), (120_000_000, "20"), "{state:?}");
        // Whoever says nothing is stopped too, now that the limit is reached.
        let refusal = act(&house, call(&chain)).await.unwrap_err();
        assert_eq!(refusal.code().as_str(), "metering.quota_exceeded", "{refusal}");
        // An effect that is the commit itself is refused by the commit.
        put(&quotas, json!({ "code": code, "metric": "micros", "scope": "root", "window": "daily", "limit": "150" })).await;
        let effect = |units: i64| Effect { usage: vec![Usage::measured("micros", units)], ..Effect::default() };
        assert_eq!(house.gate.commit_effect(call(&chain), effect(31)).await.unwrap_err().code().as_str(), "metering.quota_exceeded");
        house.gate.commit_effect(call(&chain), effect(30)).await.unwrap();
        let state = subject(&quotas, &chain, code, "human/alice").await;
        assert_eq!((state.counted.get() - state.leased.get(), state.left), (150_000_000, Micros::ZERO), "{state:?}");
    })
    .await;
}

#[tokio::test]
async fn money_is_counted_as_it_is_reserved_and_then_as_it_was_spent() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let chain = house.chain("default", Some(1_000_000), &["planner"]).await;
        priced(&house, &chain).await;
        put(&quotas, json!({ "code": "a-day", "metric": "spend", "scope": "agent", "window": "daily", "limit": "0.0001" })).await;
        let spending = |micros: i64| {
            let mut asked = call(&chain);
            asked.reserve = Micros::new(micros);
            asked
        };
        done(&house, spending(60), vec![Usage::measured("micros", 45)]).await.unwrap();
        assert_eq!(act(&house, spending(56)).await.unwrap_err().code().as_str(), "metering.quota_exceeded");
        done(&house, spending(55), vec![Usage::measured("micros", 55)]).await.unwrap();
        assert_eq!(subject(&quotas, &chain, "a-day", "agent/planner").await.counted, Micros::new(100));
        assert_eq!(act(&house, call(&chain)).await.unwrap_err().code().as_str(), "metering.quota_exceeded");
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_later_comes_back_and_what_is_in_doubt_stays_counted() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let chain = house.chain("default", Some(10), &["planner"]).await;
        put(&quotas, json!({ "code": "two", "metric": "actions", "scope": "agent", "window": "total", "limit": "2" })).await;
        for _ in 0..5 {
            let mut asked = call(&chain);
            asked.reserve = Micros::new(11);
            assert_eq!(act(&house, asked).await.unwrap_err().code().as_str(), "metering.budget_exceeded");
        }
        drop(house.gate.admit(call(&chain)).await.unwrap());
        act(&house, call(&chain)).await.unwrap();
        assert_eq!(act(&house, call(&chain)).await.unwrap_err().code().as_str(), "metering.quota_exceeded");
    })
    .await;
}

#[tokio::test]
async fn thresholds_are_told_once_with_a_leaf_and_a_webhook_and_who_is_only_told_passes() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let base = json!({ "metric": "actions", "scope": "agent", "window": "daily", "limit": "10", "thresholds": [50, 100, 150] });
        for (code, more) in [("loud", json!({ "at_limit": "allow_with_overage" })), ("shadowed", json!({ "shadow": true }))] {
            let mut body = base.clone();
            body["code"] = code.into();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            put(&quotas, body).await;
        }
        for _ in 0..16 {
            act(&house, call(&chain)).await.unwrap();
        }
        let leaves = house.leaves(&chain).await;
        let told: Vec<_> = leaves.iter().filter(|leaf| leaf.action.as_str() == "metering.quota_threshold").collect();
        let of = |code: &str, fact: &str| -> Vec<String> {
            let own = told.iter().filter(|leaf| leaf.resource.to_string() == format!("quota:{code}"));
            own.map(|leaf| leaf.facts.get(fact).cloned().unwrap_or_default()).collect()
        };
        assert_eq!(of("loud", "percent"), ["50", "100", "150"]);
        assert_eq!((of("shadowed", "percent"), of("shadowed", "shadow")), (of("loud", "percent"), vec!["true".to_owned(); 3]));
        assert_eq!(of("loud", "counted")[..2], ["5", "10"]);
        assert!(subject(&quotas, &chain, "loud", "agent/planner").await.overage.get() >= 6_000_000);
        let sent = house.db.query("SELECT body FROM outbox WHERE topic = 'webhook.event'", vec![]).await.unwrap();
        let sent = sent.iter().filter(|row| row.text(0).unwrap().contains("metering.quota_threshold")).count();
        assert_eq!(sent, told.len(), "one webhook for each");
    })
    .await;
}

#[tokio::test]
async fn events_count_once_where_they_are_recorded_and_are_refused_where_they_do_not_fit() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let chain = house.chain("default", None, &["planner"]).await;
        priced(&house, &chain).await;
        let meter = Meter::new(house.db.clone(), Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
        let meter = meter.with_quotas(quotas.clone());
        meter.put_reporters(chain.root(), "s", vec!["*".to_owned()]).await.unwrap();
        put(&quotas, json!({ "code": "m", "metric": "micros", "scope": "agent", "window": "daily", "limit": "100" })).await;
        let event = |id: &str, units: i64, token: Option<&str>| {
            let mut body = json!({
                "transaction_id": id, "external_subscription_id": "s", "code": "micros", "properties": { "quantity": units },
            });
            if let Some(token) = token {
                body["chain"] = token.into();
            }
            serde_json::from_value(body).unwrap()
        };
        meter.ingest(&chain, event("a", 60, None)).await.unwrap();
        for _ in 0..3 {
            assert!(meter.ingest(&chain, event("a", 60, None)).await.unwrap().duplicate);
        }
        // A collector's events count for whom they are booked to.
        let collector = house.chain("default", None, &["collector"]).await;
        let token = house.world.chain("default", None, &["planner"]).await.to_token().unwrap();
        meter.ingest(&collector, event("b", 30, Some(&token))).await.unwrap();
        let refusal = meter.ingest(&collector, event("c", 11, Some(&token))).await.unwrap_err();
        assert_eq!(refusal.code().as_str(), "metering.quota_exceeded", "{refusal}");
        meter.ingest(&collector, event("d", 99, None)).await.unwrap();
        meter.ingest(&chain, event("c", 10, None)).await.unwrap();
        assert_eq!(subject(&quotas, &chain, "m", "agent/planner").await.counted.to_string(), "100");
        assert_eq!(subject(&quotas, &chain, "m", "agent/collector").await.counted.to_string(), "99");
        // What is used up stops actions, not the recording of other metrics.
        assert!(act(&house, call(&chain)).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_rate_of_a_quota_admits_its_burst_and_then_evenly() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let body = json!({
            "code": "slowly", "metric": "actions", "scope": "root", "window": "rate", "limit": "60", "window_secs": 60, "burst": 2,
            "actions": ["tool."],
        });
        put(&quotas, body).await;
        // Nobody asks this one about tools.
        let body =
            json!({ "code": "no-talk", "metric": "actions", "scope": "root", "window": "total", "limit": "0", "actions": ["messaging."] });
        put(&quotas, body).await;
        act(&house, call(&chain)).await.unwrap();
        act(&house, call(&chain)).await.unwrap();
        let refusal = act(&house, call(&chain)).await.unwrap_err();
        assert_eq!(refusal.code().as_str(), "metering.rate_limited");
        assert!(refusal.to_string().contains("quota `slowly` of human/alice: there is room again in 1001 ms"), "{refusal}");
        house.world.clock.advance(Duration::from_secs(1));
        act(&house, call(&chain)).await.unwrap();
        assert!(act(&house, call(&chain)).await.is_err());
    })
    .await;
}

#[test]
fn a_quota_that_means_nothing_is_refused_by_its_field() {
    let good = json!({ "code": "q", "metric": "actions", "scope": "agent", "window": "daily", "limit": "10" });
    quota(good.clone()).check().unwrap();
    for (field, change) in [
        ("code", json!({ "code": "" })),
        ("metric", json!({ "metric": "" })),
        ("limit", json!({ "limit": "-1" })),
        ("limit", json!({ "limit": "9000000000000" })),
        ("limit", json!({ "window": "rate", "limit": "0.5" })),
        ("limit", json!({ "window": "rate", "limit": "1", "burst": 5_000 })),
        ("subject", json!({ "scope": "tenant", "subject": "alice" })),
        ("window_secs", json!({ "window": "sliding" })),
        ("window_secs", json!({ "window": "sliding", "window_secs": 59 })),
        ("window_secs", json!({ "window_secs": 60 })),
        ("burst", json!({ "burst": 3 })),
        ("thresholds", json!({ "thresholds": [80, 50] })),
        ("thresholds", json!({ "thresholds": [0] })),
        ("thresholds", json!({ "window": "rate", "thresholds": [50] })),
        ("actions", json!({ "actions": ["a b"] })),
        ("safe_capacity", json!({ "safe_capacity": "11" })),
    ] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(quota(body.clone()).check().unwrap_err().field, field, "{body}");
    }
    for bad in [json!({ "limit": 10 }), json!({ "window": "weekly" }), json!({ "scope": "human" }), json!({ "color": "red" })] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        assert!(serde_json::from_value::<Quota>(body.clone()).is_err(), "{body}");
    }
}
