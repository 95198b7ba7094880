//! Actions that agents ask for themselves.

use std::sync::Arc;

use creto_db::testkit::each_engine;
use creto_enablement_common::gate::ActionState;
use creto_kernel::Coded;
use creto_nhi::VerifiedChain;
use creto_oversight::model::request::State;
use creto_oversight::{ADMITTED_PER_AGENT_MAX, ActionInput, Actions, Admitted, OutcomeInput};
use serde_json::{Value, json};

use super::house::{House, SETS, approver};

fn actions(house: &House) -> Actions {
    Actions::new(Arc::clone(&house.gate))
}

fn input(change: Value) -> ActionInput {
    let mut body = json!({ "action": "tool.call_with_approval", "resource": "tool:pay", "arguments": { "amount": 5 }, "wait_secs": 0 });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    serde_json::from_value(body).unwrap()
}

async fn granted(actions: &Actions, chain: &VerifiedChain, change: Value) -> String {
    match actions.ask(chain, input(change)).await.unwrap() {
        Admitted::Granted { admission, .. } => admission,
        Admitted::Pending { .. } => panic!("it needs no human any more"),
    }
}

#[tokio::test]
async fn asking_without_waiting_is_pending_until_a_human_decided_and_then_granted() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let actions = actions(&house);
        let first = actions.ask(&chain, input(json!({}))).await.unwrap();
        let Admitted::Pending { request: Some(open), digest } = first.clone() else { panic!("{first:?}") };
        assert_eq!(actions.ask(&chain, input(json!({}))).await.unwrap(), first, "the very same action finds its request");
        // Anything else is another question.
        let other = actions.ask(&chain, input(json!({ "arguments": { "amount": 6 } }))).await.unwrap();
        assert!(matches!(other, Admitted::Pending { request: Some(id), .. } if id != open));
        house.desk.decide(&approver("default"), open.parse().unwrap(), Some(digest), None).await.unwrap();
        let admission = granted(&actions, &chain, json!({})).await;
        let settled = actions.report(chain.leaf(), admission.parse().unwrap(), &OutcomeInput { ok: true }).await.unwrap();
        assert_eq!(settled.admission.to_string(), admission);
        assert_eq!(house.desk.get(chain.tenant(), open.parse().unwrap()).await.unwrap().state, State::Executed);
        assert!(matches!(actions.ask(&chain, input(json!({}))).await.unwrap(), Admitted::Pending { request: Some(id), .. } if id != open));
    })
    .await;
}

#[tokio::test]
async fn an_action_that_needs_no_human_is_granted_however_short_the_call_waits() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let actions = actions(&house);
        let admission = granted(&actions, &chain, json!({ "action": "tool.call", "reserve": "0.5" })).await;
        let rows = house.record(&chain).await;
        assert_eq!(rows.iter().map(|row| (row.admission.to_string(), row.state)).collect::<Vec<_>>(), [(admission, ActionState::Intent)]);
    })
    .await;
}

#[tokio::test]
async fn an_outcome_is_reported_once_and_only_by_the_agent_that_was_admitted() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let (planner, writer) = (house.chain("default", None, &["planner"]).await, house.chain("default", None, &["writer"]).await);
        let rival = house.chain("rival", None, &["planner"]).await;
        let actions = actions(&house);
        let admission = granted(&actions, &planner, json!({ "action": "tool.call" })).await.parse().unwrap();
        for stranger in [writer.leaf(), rival.leaf(), planner.root()] {
            let refused = actions.report(stranger, admission, &OutcomeInput { ok: true }).await.unwrap_err();
            assert_eq!(refused.code().as_str(), "oversight.unknown_admission", "{stranger}");
        }
        actions.report(planner.leaf(), admission, &OutcomeInput { ok: false }).await.unwrap();
        assert_eq!(house.record(&planner).await[0].state, ActionState::Failed);
        let twice = actions.report(planner.leaf(), admission, &OutcomeInput { ok: true }).await.unwrap_err();
        assert_eq!(twice.code().as_str(), "oversight.unknown_admission");
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_never_reports_takes_nobody_elses_room() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let (planner, writer) = (house.chain("default", None, &["planner"]).await, house.chain("default", None, &["writer"]).await);
        let actions = actions(&house);
        let mut last = String::new();
        for _ in 0..ADMITTED_PER_AGENT_MAX {
            last = granted(&actions, &planner, json!({ "action": "tool.call" })).await;
        }
        let refused = actions.ask(&planner, input(json!({ "action": "tool.call" }))).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "metering.rate_limited");
        granted(&actions, &writer, json!({ "action": "tool.call" })).await;
        actions.report(planner.leaf(), last.parse().unwrap(), &OutcomeInput { ok: true }).await.unwrap();
        granted(&actions, &planner, json!({ "action": "tool.call" })).await;
    })
    .await;
}

#[tokio::test]
async fn an_action_that_is_not_one_is_refused_before_policy() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let actions = actions(&house);
        for (change, code) in [
            (json!({ "action": "pay" }), "oversight.bad_action"),
            (json!({ "resource": "pay" }), "oversight.bad_action"),
            (json!({ "reserve": "-1" }), "oversight.bad_action"),
            (json!({ "context": { "approved": true } }), "authz.context_reserved"),
        ] {
            let refused = actions.ask(&chain, input(change.clone())).await.unwrap_err();
            assert_eq!(refused.code().as_str(), code, "{change}: {refused}");
        }
        assert!(house.record(&chain).await.is_empty());
    })
    .await;
}
