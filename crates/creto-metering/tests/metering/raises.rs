//! A ceiling without room, whose owner wants a human to be asked: asked once, raised once, and the action judged again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::gate::{ActionState, RAISE_ACTION};
use creto_enablement_common::{Admission, Granted, Outcome, Refusal};
use creto_kernel::{Clock as _, Coded, Micros};
use creto_metering::Meter;
use creto_metering::model::raise::RaiseTerms;
use creto_nhi::VerifiedChain;
use creto_oversight::model::request::{Request, State};
use creto_oversight::model::voter::Voter;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::budgets::{hold, post, priced, void};
use super::house::{House, SETS, approve, approver, pending, request};

/// What every chain of the tests passes: the budget of the human at its root.
const ACCOUNT: &str = "identity:human/alice";
/// Longer than any test should take; a test that gets here has hung.
const PATIENCE: Duration = Duration::from_secs(60);

fn terms(step: i64, a_day: u32) -> RaiseTerms {
    RaiseTerms { step: Micros::new(step), a_day, until: None }
}

/// A ceiling for everybody below alice; a human may be asked to raise it.
async fn asking(house: &House, chain: &VerifiedChain, ceiling: i64, terms: RaiseTerms) -> Meter {
    let meter = priced(house, chain).await;
    // Accounts are there once something passed them.
    let opened = hold(house, chain, 1).await.unwrap();
    void(house, chain, opened).await.unwrap();
    meter.set_ceiling_asking(chain.root(), ACCOUNT, Some(Micros::new(ceiling)), Some(&terms)).await.unwrap();
    meter
}

fn admit(house: &House, chain: &VerifiedChain, reserve: i64, wait: Duration) -> JoinHandle<Result<Granted, Refusal>> {
    let (gate, chain) = (Arc::clone(&house.gate), chain.clone());
    tokio::spawn(async move {
        let mut asked = request(&chain, "tool.call", "tool:report");
        (asked.wait, asked.reserve) = (wait, Micros::new(reserve));
        gate.admit(asked).await
    })
}

async fn settle(house: &House, granted: Granted) {
    house.gate.settle(granted, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
}

async fn ceiling(meter: &Meter, chain: &VerifiedChain) -> Option<i64> {
    let accounts = meter.accounts(chain.tenant()).await.unwrap();
    accounts.into_iter().find(|account| account.account == ACCOUNT).unwrap().ceiling.map(Micros::get)
}

async fn all(house: &House, chain: &VerifiedChain) -> Vec<Request> {
    house.desk.list(chain.tenant(), None).await.unwrap()
}

/// How often a raise is in the record.
async fn raised(house: &House, chain: &VerifiedChain) -> usize {
    let rows = house.record(chain).await;
    let done = rows.iter().filter(|row| row.action.as_str() == RAISE_ACTION && row.state == ActionState::Done).count();
    let leaves = house.leaves(chain).await;
    assert_eq!(leaves.iter().filter(|leaf| leaf.action.as_str() == RAISE_ACTION && leaf.decision == "done").count(), done);
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_without_room_waits_holding_nothing_and_goes_on_once_a_human_has_raised_the_ceiling() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = asking(&house, &chain, 100, terms(500, 1)).await;
        let waiting = admit(&house, &chain, 130, PATIENCE);
        let open = pending(&house, &chain).await;
        assert_eq!(house.held().await, 0, "nothing is held meanwhile");
        let action: Value = serde_json::from_str(&open.action).unwrap();
        assert_eq!((action["action"].as_str(), action["resource"].as_str()), (Some(RAISE_ACTION), Some("account:identity:human/alice")));
        let shown = &action["arguments"];
        for (name, value) in [
            ("account", ACCOUNT),
            ("ceiling", "0.0001"),
            ("missing", "0.00003"),
            ("raise", "0.0005"),
            ("asked", "0.0005"),
            ("for_action", "tool.call"),
            ("for_resource", "tool:report"),
        ] {
            assert_eq!(shown[name], value, "{shown}");
        }
        assert_eq!(
            (open.rule.as_str(), open.hops.len(), action["agent"].as_str()),
            ("raise_budget", 2, open.hops.last().map(String::as_str))
        );

        approve(&house, &open).await;
        let granted = waiting.await.unwrap().unwrap();
        assert_eq!((ceiling(&meter, &chain).await, house.held().await), (Some(600), 3 * 130));
        settle(&house, granted).await;
        let request = house.desk.get(chain.tenant(), open.id.parse().unwrap()).await.unwrap();
        assert_eq!((request.state, raised(&house, &chain).await), (State::Executed, 1));

        // One question a day: the next one that does not fit is refused as ever, and asks nobody.
        let refused = admit(&house, &chain, 700, PATIENCE).await.unwrap().unwrap_err();
        assert_eq!(refused.code().as_str(), "metering.budget_exceeded");
        assert_eq!(all(&house, &chain).await.len(), 1);
        house.world.clock.advance(Duration::from_secs(24 * 3600));
        // The day's delegations are over too.
        let chain = house.chain("default", None, &["planner"]).await;
        let tomorrow = admit(&house, &chain, 700, Duration::ZERO).await.unwrap().unwrap_err();
        assert!(tomorrow.to_string().contains(&pending(&house, &chain).await.id), "{tomorrow}");
        assert!(meter.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_who_did_not_say_so_nor_where_a_raise_would_not_help() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", Some(1_000), &["planner"]).await;
        let meter = asking(&house, &chain, 100, terms(500, 9)).await;
        let refused = async |reserve| admit(&house, &chain, reserve, PATIENCE).await.unwrap().unwrap_err().to_string();
        // More than a step is missing; another account of the chain has no room either, and nobody to ask.
        for reserve in [601, 1_001] {
            assert!(refused(reserve).await.contains("has no room"), "{reserve}");
        }
        meter.set_ceiling(chain.root(), ACCOUNT, Some(Micros::new(100))).await.unwrap();
        refused(101).await;
        let over = RaiseTerms { until: Some(house.world.clock.now().saturating_add(Duration::from_secs(60))), ..terms(500, 9) };
        meter.set_ceiling_asking(chain.root(), ACCOUNT, Some(Micros::new(100)), Some(&over)).await.unwrap();
        house.world.clock.advance(Duration::from_secs(60));
        refused(101).await;
        assert_eq!((all(&house, &chain).await.len(), house.held().await), (0, 0));
        for (bad, ceiling) in [(terms(0, 1), Some(1)), (terms(1, 0), Some(1)), (terms(1, 1), None)] {
            let error = meter.set_ceiling_asking(chain.root(), ACCOUNT, ceiling.map(Micros::new), Some(&bad)).await.unwrap_err();
            assert_eq!(error.code().as_str(), "metering.bad_definition");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_of_eight_agents_find_one_question_and_one_raise_that_is_applied_once() {
    const CALLERS: usize = 64;
    each_engine(SETS, async |db| {
        let house = Arc::new(House::open(db, Vec::new()).await);
        let mut chains = Vec::new();
        for agent in 0..8 {
            chains.push(house.chain("default", None, &[&format!("agent-{agent}")]).await);
        }
        let first = chains.first().unwrap().clone();
        let meter = asking(&house, &first, 100, terms(600, 5)).await;
        let done = Arc::new(AtomicBool::new(false));
        let watcher = tokio::spawn({
            let (meter, tenant, done) = (meter.clone(), first.tenant().clone(), Arc::clone(&done));
            async move {
                while !done.load(Ordering::SeqCst) {
                    for account in meter.accounts(&tenant).await.unwrap() {
                        assert!(account.left() >= 0, "{account:?}");
                    }
                }
            }
        });
        let waiting: Vec<_> = (0..CALLERS).map(|caller| admit(&house, &chains[caller % chains.len()], 10, PATIENCE)).collect();
        let open = pending(&house, &first).await;
        // Every caller that found no room waits for this one question.
        let alike = admit(&house, &first, 10, Duration::ZERO).await.unwrap().unwrap_err();
        assert!(alike.to_string().contains(&open.id), "{alike}");
        assert_eq!(all(&house, &first).await.len(), 1);
        approve(&house, &open).await;
        let mut granted = 0;
        for caller in waiting {
            settle(&house, caller.await.unwrap().unwrap()).await;
            granted += 1;
        }
        done.store(true, Ordering::SeqCst);
        watcher.await.unwrap();
        assert_eq!((granted, raised(&house, &first).await, all(&house, &first).await.len()), (CALLERS, 1, 1));
        assert_eq!((ceiling(&meter, &first).await, house.held().await), (Some(700), 0));
        assert!(meter.check(first.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_stands_for_everybody_until_the_terms_are_set_anew_and_the_refusal_names_it() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let other = house.chain("default", None, &["writer"]).await;
        let meter = asking(&house, &chain, 100, terms(500, 9)).await;
        let waiting = admit(&house, &chain, 130, PATIENCE);
        let open = pending(&house, &chain).await;
        house.desk.decide(&approver("default"), open.id.parse().unwrap(), None, Some("not this month")).await.unwrap();
        for refused in [waiting.await, admit(&house, &chain, 130, PATIENCE).await, admit(&house, &other, 120, PATIENCE).await] {
            let refused = refused.unwrap().unwrap_err();
            assert_eq!(refused.code().as_str(), "metering.budget_exceeded");
            let said = refused.to_string();
            for part in ["has no room", &open.id, "denied by `bob`: not this month"] {
                assert!(said.contains(part), "{said}");
            }
        }
        assert_eq!((all(&house, &chain).await.len(), ceiling(&meter, &chain).await, raised(&house, &chain).await), (1, Some(100), 0));
        meter.set_ceiling_asking(chain.root(), ACCOUNT, Some(Micros::new(100)), Some(&terms(500, 9))).await.unwrap();
        let again = admit(&house, &chain, 130, PATIENCE);
        let second = pending(&house, &chain).await;
        assert_ne!(second.id, open.id);
        // Nobody decides: the same refusal.
        house.world.clock.advance(Duration::from_secs(25 * 3600));
        let refused = again.await.unwrap().unwrap_err();
        assert_eq!(
            (refused.code().as_str(), refused.to_string().contains("not decided in time")),
            ("metering.budget_exceeded", true),
            "{refused}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_whose_asker_died_is_applied_by_the_next_attempt_once() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = asking(&house, &chain, 100, terms(500, 1)).await;
        let ask = async || {
            let mut asked = request(&chain, "tool.call", "tool:report");
            (asked.wait, asked.reserve) = (PATIENCE, Micros::new(130));
            house.gate.admit_within(asked, Duration::ZERO).await
        };
        let Admission::Pending(first, _) = ask().await.unwrap() else { unreachable!("nobody has decided") };
        let Admission::Pending(second, digest) = ask().await.unwrap() else { unreachable!("nobody has decided") };
        let open = pending(&house, &chain).await;
        assert_eq!((first, second.to_string(), digest), (second, open.id.clone(), open.digest), "asking again is the same question");
        approve(&house, &open).await;
        assert_eq!(ceiling(&meter, &chain).await, Some(100), "an approval by itself changes nothing");
        let other = house.chain("default", None, &["writer"]).await;
        settle(&house, admit(&house, &other, 101, PATIENCE).await.unwrap().unwrap()).await;
        let Admission::Granted(granted) = ask().await.unwrap() else { unreachable!("there is room") };
        settle(&house, *granted).await;
        assert_eq!((ceiling(&meter, &chain).await, raised(&house, &chain).await), (Some(600), 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_is_the_ceiling_that_was_asked_about_and_not_another_one() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = asking(&house, &chain, 100, terms(500, 9)).await;
        let waiting = admit(&house, &chain, 130, PATIENCE);
        let open = pending(&house, &chain).await;
        // An operator is faster; the same ceiling under other terms is another question too.
        meter.set_ceiling_asking(chain.root(), ACCOUNT, Some(Micros::new(100)), Some(&terms(40, 9))).await.unwrap();
        approve(&house, &open).await;
        let second = loop {
            let request = pending(&house, &chain).await;
            if request.id != open.id {
                break request;
            }
        };
        assert_eq!((ceiling(&meter, &chain).await, raised(&house, &chain).await), (Some(100), 0));
        let old = house.desk.get(chain.tenant(), open.id.parse().unwrap()).await.unwrap();
        assert_eq!(old.state, State::Revoked, "an approval of what is no more is taken back");
        approve(&house, &second).await;
        settle(&house, waiting.await.unwrap().unwrap()).await;
        assert_eq!((ceiling(&meter, &chain).await, raised(&house, &chain).await), (Some(140), 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_may_lower_the_raise_and_change_nothing_else() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = asking(&house, &chain, 100, terms(500, 9)).await;
        let waiting = admit(&house, &chain, 130, PATIENCE);
        let open = pending(&house, &chain).await;
        let edits = creto_oversight::Edits::new(house.desk.clone(), Arc::clone(&house.gate));
        let carol = || Voter::of(&super::house::human("default", "carol", creto_nhi::Roles::only(creto_nhi::Role::Approver))).unwrap();
        let edit = async |name: &str, value: Value| {
            let action: Value = serde_json::from_str(&open.action).unwrap();
            let mut arguments = action["arguments"].as_object().unwrap().clone();
            arguments.insert(name.to_owned(), value);
            edits.edit(carol(), open.id.parse().unwrap(), 1, arguments).await
        };
        for (name, value) in [
            ("raise", json!("0.000501")),
            ("raise", json!("0")),
            ("raise", json!(1)),
            ("asked", json!("1")),
            ("account", json!("tenant")),
            ("ceiling", json!("0")),
            ("more", json!("1")),
        ] {
            assert_eq!(edit(name, value.clone()).await.unwrap_err().code().as_str(), "oversight.bad_edit", "{name} {value}");
        }
        let lower = edit("raise", json!("0.00004")).await.unwrap();
        approve(&house, &lower).await;
        settle(&house, waiting.await.unwrap().unwrap()).await;
        assert_eq!((ceiling(&meter, &chain).await, raised(&house, &chain).await), (Some(140), 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_and_what_an_effect_costs_ask_too() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = asking(&house, &chain, 100, terms(500, 9)).await;
        post(&house, &chain, None, 60).await.unwrap();
        let event = |transaction: &str, quantity: i64| {
            Ok(serde_json::from_value(json!({
                "transaction_id": transaction, "external_subscription_id": "alice", "code": "micros", "properties": { "quantity": quantity },
            }))
            .unwrap())
        };
        // One of the two fits: it is recorded, and the refusal of the other one names the question.
        let answered = meter.ingest_all(&chain, creto_metering::Taking::default(), vec![event("a", 30), event("b", 50)]).await.unwrap();
        let open = pending(&house, &chain).await;
        let creto_metering::Outcome::Refused(refused) = &answered.events[1].1 else { unreachable!("{answered:?}") };
        assert!(refused.to_string().contains(&open.id), "{refused}");
        assert_eq!(refused.code().as_str(), "metering.budget_exceeded");
        // One by itself waits, is recorded once there is room, and only once.
        let waiting = tokio::spawn({
            let (meter, chain, event) = (meter.clone(), chain.clone(), event("b", 50));
            async move { meter.ingest(&chain, event.unwrap()).await }
        });
        approve(&house, &open).await;
        let receipt = waiting.await.unwrap().unwrap();
        assert_eq!((receipt.cost, receipt.duplicate), (Micros::new(50), false));
        assert_eq!((ceiling(&meter, &chain).await, raised(&house, &chain).await, all(&house, &chain).await.len()), (Some(600), 1, 1));
        let report = meter.check(chain.tenant()).await.unwrap();
        assert!(report.ok && report.debits == Micros::new(140), "{report:?}");
    })
    .await;
}
