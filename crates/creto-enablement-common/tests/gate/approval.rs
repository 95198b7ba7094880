//! Actions that policy wants a human for.

use std::sync::Arc;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::gate::ActionState;
use creto_enablement_common::{Admission, Granted, Outcome, Refusal};
use creto_kernel::id::RequestId;
use creto_kernel::{Coded, Micros};
use creto_nhi::VerifiedChain;
use creto_oversight::model::request::State;
use tokio::task::JoinHandle;

use super::house::{House, SETS, approve, approver, pending, request};

const ASKING: &str = "tool.call_with_approval";

/// Longer than any test should take; a test that gets here has hung.
const PATIENCE: Duration = Duration::from_secs(30);

fn admit(house: &House, chain: &VerifiedChain, wait_secs: u64) -> JoinHandle<Result<Granted, Refusal>> {
    let (gate, chain) = (Arc::clone(&house.gate), chain.clone());
    tokio::spawn(async move {
        let mut asked = request(&chain, ASKING, "tool:pay");
        (asked.wait, asked.reserve) = (Duration::from_secs(wait_secs), Micros::new(1_000));
        gate.admit(asked).await
    })
}

async fn state(house: &House, chain: &VerifiedChain, id: &str) -> State {
    house.desk.get(chain.tenant(), id.parse().unwrap()).await.unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_human_is_asked_nothing_is_held_and_the_approval_is_used_once() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", Some(1_000_000), &["planner"]).await;
        let waiting = admit(&house, &chain, 600);
        let open = pending(&house, &chain).await;
        assert_eq!((house.held().await, house.record(&chain).await.len()), (0, 0));
        // No transaction is open either: others write meanwhile.
        let other = house.gate.admit(request(&chain, "tool.call", "tool:report")).await.unwrap();
        house.gate.settle(other, Outcome { ok: true, ..Outcome::default() }).await.unwrap();

        approve(&house, &open).await;
        let granted = waiting.await.unwrap().unwrap();
        assert_eq!((granted.approval().map(|id| id.to_string()), granted.digest()), (Some(open.id.clone()), open.digest));
        assert_eq!((house.held().await, state(&house, &chain, &open.id).await), (3_000, State::Consumed));
        house.gate.settle(granted, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
        assert_eq!(state(&house, &chain, &open.id).await, State::Executed);

        // The very same action once more is another question.
        let again = admit(&house, &chain, 600);
        let second = pending(&house, &chain).await;
        assert_ne!(second.id, open.id);
        approve(&house, &second).await;
        let granted = again.await.unwrap().unwrap();
        house.gate.settle(granted, Outcome::default()).await.unwrap();
        assert_eq!(state(&house, &chain, &second.id).await, State::Failed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_attempts_at_one_action_exactly_one_is_granted_for_one_approval() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let attempts: Vec<_> = (0..16)
            .map(|_| {
                let (gate, chain) = (Arc::clone(&house.gate), chain.clone());
                tokio::spawn(async move {
                    let mut asked = request(&chain, ASKING, "tool:pay");
                    asked.wait = Duration::from_secs(600);
                    gate.admit_within(asked, Duration::from_secs(10)).await
                })
            })
            .collect();
        let open = pending(&house, &chain).await;
        approve(&house, &open).await;
        let mut granted = Vec::new();
        for attempt in attempts {
            match attempt.await.unwrap() {
                Ok(Admission::Granted(one)) => granted.push(one),
                // Asked after the approval was used: a new question.
                Ok(Admission::Pending(id, _)) => assert_ne!(id.to_string(), open.id),
                Ok(Admission::Again(admission)) => panic!("{admission}: these have no attempt"),
                Err(refusal) => assert!(
                    ["oversight.not_approved", "oversight.already_open"].contains(&refusal.code().as_str()),
                    "{}: {refusal}",
                    refusal.code()
                ),
            }
        }
        assert_eq!(granted.len(), 1);
        let opened = house.desk.list(chain.tenant(), None).await.unwrap();
        let used = opened.iter().filter(|one| one.state == State::Consumed).count();
        assert!(used == 1 && opened.len() <= 2, "{opened:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_final_for_the_request_and_tells_the_agent_what_was_said() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let waiting = admit(&house, &chain, 600);
        let open = pending(&house, &chain).await;
        house.desk.decide(&approver("default"), open.id.parse().unwrap(), None, Some("not this week")).await.unwrap();
        let refusal = waiting.await.unwrap().unwrap_err();
        assert_eq!(refusal.code().as_str(), "gate.denied_by_human");
        assert!(refusal.to_string().contains("bob") && refusal.to_string().contains("not this week"), "{refusal}");
        assert_eq!((house.held().await, house.record(&chain).await[0].state), (0, ActionState::Refused));
        let decisions: Vec<String> = house.leaves(&chain).await.into_iter().map(|leaf| leaf.decision).collect();
        assert_eq!(decisions, ["requires_oversight", "denied", "deny"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_time_is_a_refusal() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let waiting = admit(&house, &chain, 60);
        let open = pending(&house, &chain).await;
        house.world.clock.advance(Duration::from_secs(60));
        let refusal = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap_err();
        assert_eq!(refusal, Refusal::NotDecided { request: open.id.parse().unwrap() });
        assert_eq!(state(&house, &chain, &open.id).await, State::TimedOut);
        // No patience and no time at all is the same refusal, not an approval.
        let mut asked = request(&chain, ASKING, "tool:pay");
        asked.wait = Duration::ZERO;
        assert_eq!(house.gate.admit(asked).await.unwrap_err().code().as_str(), "gate.not_decided");
    })
    .await;
}

async fn ask_without_patience(house: &House, chain: &VerifiedChain) -> Admission {
    let mut asked = request(chain, ASKING, "tool:pay");
    asked.wait = Duration::from_secs(600);
    house.gate.admit_within(asked, Duration::ZERO).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finds_the_request_of_an_attempt_that_was_given_up() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let given_up = admit(&house, &chain, 600);
        let open = pending(&house, &chain).await;
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        let found: RequestId = match ask_without_patience(&house, &chain).await {
            Admission::Pending(id, _) => id,
            other => panic!("nobody approved {other:?}"),
        };
        assert_eq!(found.to_string(), open.id);
        approve(&house, &open).await;
        // Decided already, it is found however short the patience.
        match ask_without_patience(&house, &chain).await {
            Admission::Granted(granted) => assert_eq!(granted.approval(), Some(found)),
            other => panic!("it was approved: {other:?}"),
        }
        assert_eq!(house.desk.list(chain.tenant(), None).await.unwrap().len(), 1);
    })
    .await;
}

const FORBIDDING: &str = r#"
@id("t.permit") permit (principal, action, resource);
@id("t.never") forbid (principal, action == Action::"tool.call_with_approval", resource);
"#;

const ASKING_MORE: &str = r#"
@id("t.permit") permit (principal, action, resource);
@id("t.first") @oversight("require_approval") forbid (principal, action == Action::"tool.call_with_approval", resource) unless { context.approved };
@id("t.second") @oversight("second_look") forbid (principal, action == Action::"tool.call_with_approval", resource) unless { context.approved };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_does_not_outlive_a_policy_that_forbids() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let waiting = admit(&house, &chain, 600);
        let open = pending(&house, &chain).await;
        house.authz.publish(chain.root(), FORBIDDING, None).await.unwrap();
        approve(&house, &open).await;
        assert_eq!(waiting.await.unwrap().unwrap_err().code().as_str(), "authz.forbidden");
        assert_eq!((house.held().await, state(&house, &chain, &open.id).await), (0, State::Revoked), "it was not used");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_covers_only_the_rules_its_request_named() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let waiting = admit(&house, &chain, 600);
        let open = pending(&house, &chain).await;
        assert_eq!(open.rule, "require_approval");
        waiting.abort();
        approve(&house, &open).await;
        // The retry comes after policy began to ask for a second look.
        house.authz.publish(chain.root(), ASKING_MORE, None).await.unwrap();
        assert_eq!(admit(&house, &chain, 600).await.unwrap().unwrap_err().code().as_str(), "gate.denied");
        assert_eq!((house.held().await, state(&house, &chain, &open.id).await), (0, State::Revoked));
        // Asking again shows both rules, and its approval is enough.
        let again = admit(&house, &chain, 600);
        let second = pending(&house, &chain).await;
        assert_eq!(second.rule.split('+').collect::<std::collections::BTreeSet<_>>(), ["require_approval", "second_look"].into());
        approve(&house, &second).await;
        let granted = again.await.unwrap().unwrap();
        assert!(house.gate.settle(granted, Outcome::default()).await.is_ok());
    })
    .await;
}
