//! Admit, do, settle: what is on record and what is held at each moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use creto_db::testkit::each_engine;
use creto_db::{Write, params};
use creto_enablement_common::gate::{ActionState, LOG_LAG_MAX, RESERVE_MAX};
use creto_enablement_common::{Answer, Demand, Effect, Extension, Lease, Outcome, Refusal, Usage};
use creto_kernel::id::RunId;
use creto_kernel::{Coded, Kind, Micros, Phase, Timestamp};
use creto_nhi::VerifiedChain;

use super::house::{House, SETS, request};

#[tokio::test]
async fn an_action_is_admitted_done_and_settled_with_its_money_and_both_leaves() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", Some(2_000_000), &["planner"]).await;
        let run = RunId::generate();
        let mut asked = request(&chain, "tool.call", "tool:report");
        asked.arguments.insert("to".to_owned(), "secret@example.com".into());
        (asked.reserve, asked.run) = (Micros::new(500_000), Some(run));
        let granted = house.gate.admit(asked).await.unwrap();
        let admission = granted.admission();
        assert_eq!(house.held().await, 3 * 500_000, "the tenant, the root and the link hold it");
        assert_eq!(house.record(&chain).await[0].state, ActionState::Intent);

        let usage = vec![Usage::measured("runtime.seconds", 100)];
        let settled = house.gate.settle(granted, Outcome { ok: true, usage, ..Outcome::default() }).await.unwrap();
        assert_eq!((settled.admission, settled.cost), (admission, Micros::new(5_000)));
        assert_eq!(house.held().await, 0);
        let row = house.gate.action(chain.tenant(), admission).await.unwrap().unwrap();
        assert_eq!((row.state, row.cost, row.run, row.closed_leaf), (ActionState::Done, settled.cost, Some(run), Some(settled.leaf)));

        let leaves = house.leaves(&chain).await;
        let phases: Vec<_> = leaves.iter().map(|leaf| (leaf.id, leaf.decision.as_str(), leaf.phase)).collect();
        let expected = [(row.opened_leaf, "allow", Phase::Intent { admission }), (settled.leaf, "done", Phase::Outcome { admission })];
        assert_eq!(phases, expected);
        for leaf in &leaves {
            let text = String::from_utf8(leaf.canonical_bytes().unwrap()).unwrap();
            assert!(!text.contains("secret@") && !text.contains(&row.digest.to_string()), "arguments and their digest stay out: {text}");
            assert_eq!((leaf.chain, leaf.facts["run"].as_str()), (Some(chain.digest()), run.to_string().as_str()));
        }
        assert!(house.accounts.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_a_leaf_and_a_row_and_says_what_would_allow_it() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let mut asked = request(&chain, "runtime.egress", "host:example.com:443");
        asked.reserve = Micros::new(1);
        let refusal = house.gate.admit(asked).await.unwrap_err();
        assert_eq!((refusal.code().as_str(), refusal.kind()), ("authz.no_permit", Kind::Denied));
        assert!(refusal.hint().unwrap().contains("example.com"), "{:?}", refusal.hint());
        let row = house.record(&chain).await.remove(0);
        assert_eq!((row.state, row.note.as_deref()), (ActionState::Refused, Some(refusal.to_string().as_str())));
        let leaf = house.leaves(&chain).await.remove(0);
        assert_eq!((leaf.id, leaf.decision.as_str(), leaf.facts["code"].as_str()), (row.opened_leaf, "deny", "authz.no_permit"));
        assert_eq!(house.held().await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_hop_without_room_refuses_the_action_and_no_other_hop_holds_anything() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", Some(1_000), &["planner", "researcher"]).await;
        let mut asked = request(&chain, "tool.call", "tool:report");
        asked.reserve = Micros::new(1_001);
        let refusal = house.gate.admit(asked).await.unwrap_err();
        assert!(matches!(&refusal, Refusal::BudgetExceeded { message } if message.contains("planner")), "{refusal}");
        assert_eq!(house.held().await, 0);
        let row = house.record(&chain).await.remove(0);
        assert_eq!((row.state, row.hold), (ActionState::Refused, None));
    })
    .await;
}

#[tokio::test]
async fn no_action_holds_more_than_any_action_may_however_rich_its_accounts_are() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let ask = |micros: i64| {
            let mut asked = request(&chain, "tool.call", "tool:report");
            asked.reserve = Micros::new(micros);
            house.gate.admit(asked)
        };
        let refusal = ask(RESERVE_MAX.get() + 1).await.unwrap_err();
        assert_eq!(refusal.code().as_str(), "metering.budget_exceeded");
        assert_eq!((house.held().await, house.record(&chain).await[0].state), (0, ActionState::Refused));
        let granted = ask(RESERVE_MAX.get()).await.unwrap();
        assert_eq!(house.held().await, 3 * RESERVE_MAX.get());
        house.gate.settle(granted, Outcome::default()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_log_too_far_behind_closes_the_gate_and_is_not_made_longer() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        house.lag.0.store(LOG_LAG_MAX + 1, Ordering::SeqCst);
        let refusal = house.gate.admit(request(&chain, "tool.call", "tool:report")).await.unwrap_err();
        assert_eq!((refusal.code().as_str(), refusal.kind()), ("gate.log_lagging", Kind::Unavailable));
        assert!(house.leaves(&chain).await.is_empty() && house.record(&chain).await.is_empty());
        house.lag.0.store(LOG_LAG_MAX, Ordering::SeqCst);
        let granted = house.gate.admit(request(&chain, "tool.call", "tool:report")).await.unwrap();
        assert!(house.gate.settle(granted, Outcome::default()).await.is_ok());
        assert_eq!(house.record(&chain).await[0].state, ActionState::Failed, "an outcome that is not ok is a failure");
    })
    .await;
}

#[tokio::test]
async fn a_revocation_reaches_a_chain_in_use_and_stops_no_other() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let revoked = house.chain("default", None, &["planner"]).await;
        let other = house.chain("default", None, &["writer"]).await;
        let link = revoked.hops()[1].link.unwrap();
        house.world.authority.revoke_link(revoked.root(), link).await.unwrap();
        let refusal = house.gate.admit(request(&revoked, "tool.call", "tool:report")).await.unwrap_err();
        assert_eq!((refusal.code().as_str(), refusal.kind()), ("gate.chain_invalid", Kind::Unauthenticated));
        assert_eq!(house.record(&revoked).await[0].state, ActionState::Refused);
        let granted = house.gate.admit(request(&other, "tool.call", "tool:report")).await.unwrap();
        assert!(house.gate.settle(granted, Outcome::default()).await.is_ok());
    })
    .await;
}

/// One place; the lease is the place.
#[derive(Debug, Default)]
struct OnePlace(Arc<AtomicUsize>);

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Extension for OnePlace {
    fn admit<'a>(&'a self, _: &'a VerifiedChain, _: Demand<'a>, _: Timestamp) -> Answer<'a> {
        if self.0.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(Refusal::RateLimited { message: "one at a time".to_owned() }).into();
        }
        Ok(Lease::new(Place(Arc::clone(&self.0)))).into()
    }
}

#[tokio::test]
async fn an_inline_limit_keeps_its_place_until_the_action_is_settled() {
    each_engine(SETS, async |db| {
        let house = House::open(db, vec![Arc::new(OnePlace::default())]).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let ask = || house.gate.admit(request(&chain, "tool.call", "tool:report"));
        let first = ask().await.unwrap();
        let refusal = ask().await.unwrap_err();
        assert_eq!((refusal.code().as_str(), refusal.kind()), ("metering.rate_limited", Kind::Limited));
        house.gate.settle(first, Outcome::default()).await.unwrap();
        let second = ask().await.unwrap();
        drop(second);
        let states: Vec<_> = house.record(&chain).await.iter().map(|row| row.state).collect();
        assert_eq!(states, [ActionState::Failed, ActionState::Refused, ActionState::Intent]);
    })
    .await;
}

#[tokio::test]
async fn an_effect_of_our_own_is_one_commit_or_nothing() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", Some(10), &["planner"]).await;
        let effect = |quantity: i64| Effect {
            steps: vec![Box::new(Write::new(
                "INSERT INTO meter_metric (tenant, code, aggregation, field, unit_price) VALUES ($1, $2, 'count', '', '0')",
                params!["default", format!("made.{quantity}")],
            ))],
            usage: vec![Usage::measured("messaging.messages", quantity)],
            ..Effect::default()
        };
        let done = house.gate.commit_effect(request(&chain, "tool.call", "tool:note"), effect(1)).await.unwrap();
        assert_eq!(done.cost, Micros::new(10));
        let refusal = house.gate.commit_effect(request(&chain, "tool.call", "tool:note"), effect(2)).await.unwrap_err();
        assert_eq!(refusal.code().as_str(), "metering.budget_exceeded");
        let made = house.db.query("SELECT code FROM meter_metric", vec![]).await.unwrap();
        assert_eq!(made.iter().map(|row| row.text(0).unwrap()).collect::<Vec<_>>(), ["made.1"]);
        let states: Vec<_> = house.record(&chain).await.iter().map(|row| (row.state, row.cost.get())).collect();
        assert_eq!(states, [(ActionState::Done, 10), (ActionState::Refused, 0)]);
        assert!(house.accounts.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}
