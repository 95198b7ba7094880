//! HumanLayer's calls over the desk: how they end where no human answers, and what they never do. Their own clients are tested against the
//! binary in `sdk/python/tests/test_humanlayer.py`.

use std::collections::BTreeSet;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::Approvals as _;
use creto_enablement_common::gate::Acting;
use creto_kernel::id::AdmissionId;
use creto_kernel::{Coded as _, Digest};
use creto_nhi::{Principal, VerifiedChain};
use creto_oversight::humanlayer::wire::{Asked, Page, Wanted};
use creto_oversight::humanlayer::{HumanLayer, Refused};
use creto_oversight::model::case::{Binding, Kind};
use creto_oversight::model::command::{Command, Revised};
use creto_oversight::model::voter::Voter;
use serde_json::{Value, json};

use super::house::{House, SETS, approver};

const PAGE: Page = Page { limit: 200, offset: 0 };

fn here(house: &House) -> HumanLayer {
    HumanLayer::new(house.db.clone(), house.desk.clone())
}

fn call(id: &str) -> Wanted {
    let spec = json!({ "fn": "pay", "kwargs": { "amount": 5 }, "reject_options": [{ "name": "later" }] });
    Wanted::read(Asked::FunctionCall, json!({ "run_id": "run", "call_id": id, "spec": spec })).unwrap()
}

fn question(id: &str) -> Wanted {
    Wanted::read(Asked::HumanContact, json!({ "run_id": "run", "call_id": id, "spec": { "msg": "which one?" } })).unwrap()
}

fn by(chain: &VerifiedChain) -> Principal {
    Principal::in_sandbox(chain.clone())
}

async fn ask(house: &House, chain: &VerifiedChain, wanted: &Wanted) -> Value {
    here(house).create(Acting { chain, run: None }, wanted).await.unwrap()
}

async fn status(house: &House, chain: &VerifiedChain, asked: Asked, id: &str) -> Value {
    here(house).get(&by(chain), asked, id).await.unwrap()["status"].clone()
}

fn request(call: &Value) -> creto_kernel::id::RequestId {
    call["creto"]["request"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_call_nobody_decides_ends_as_a_refusal_with_words_and_a_name() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        ask(&house, &chain, &call("late")).await;
        ask(&house, &chain, &question("late")).await;
        let taken_back = ask(&house, &chain, &call("taken-back")).await;
        let cancel = Command::Cancel { by: chain.leaf().clone(), reason: None };
        house.desk.command(chain.leaf(), request(&taken_back), &cancel).await.unwrap();
        let ended = status(&house, &chain, Asked::FunctionCall, "taken-back").await;
        assert_eq!((&ended["approved"], &ended["reject_option_name"]), (&json!(false), &json!("cancelled")), "{ended}");

        house.world.clock.advance(Duration::from_secs(24 * 3600));
        // Nobody swept: reading alone writes down that time is up.
        let ended = status(&house, &chain, Asked::FunctionCall, "late").await;
        assert_eq!((&ended["approved"], &ended["reject_option_name"]), (&json!(false), &json!("timed_out")), "{ended}");
        assert!(!ended["comment"].as_str().unwrap().is_empty() && !ended["responded_at"].is_null(), "{ended}");
        let ended = status(&house, &chain, Asked::HumanContact, "late").await;
        assert_eq!(ended["response_option_name"], "timed_out", "{ended}");
        assert!(ended["response"].as_str().unwrap().starts_with("no answer: "), "a client that polls must not poll for ever: {ended}");
    })
    .await;
}

#[tokio::test]
async fn an_approval_nobody_used_in_time_is_told_as_no_more() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        ask(&house, &chain, &call("c")).await;
        here(&house).decide(&approver("default"), "c", json!({ "approved": true })).await.unwrap();
        house.world.clock.advance(Duration::from_secs(23 * 3600));
        assert_eq!(status(&house, &chain, Asked::FunctionCall, "c").await["approved"], true);
        house.world.clock.advance(Duration::from_secs(2 * 3600));
        let ended = status(&house, &chain, Asked::FunctionCall, "c").await;
        assert_eq!((&ended["approved"], &ended["reject_option_name"]), (&json!(false), &json!("expired")), "{ended}");
    })
    .await;
}

#[tokio::test]
async fn a_declared_call_is_marked_so_is_never_edited_and_its_approval_never_consumed() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let asked = ask(&house, &chain, &call("c")).await;
        let id = request(&asked);
        let shown = house.desk.get(chain.tenant(), id).await.unwrap();
        assert_eq!((shown.binding, shown.kind, shown.editable), (Binding::Declared, Kind::Approval, false));
        assert_eq!(Digest::of(shown.action.as_bytes()), shown.digest, "what is shown is what the digest covers");
        let leaf = house.leaves(&chain).await.pop().unwrap();
        assert_eq!((leaf.facts["binding"].as_str(), leaf.facts["request"].clone()), ("declared", id.to_string()));

        let action: Value = serde_json::from_str(&shown.action).unwrap();
        let edit = Revised {
            voter: Voter::of(&approver("default")).unwrap(),
            revision: 1,
            action: shown.action.replace("\"amount\":5", "\"amount\":6"),
            digest: Digest::of(b"another"),
            tool: action["action"].as_str().unwrap().parse().unwrap(),
            target: action["resource"].as_str().unwrap().parse().unwrap(),
            plan: serde_json::from_value(json!({
                "policy": shown.policy, "requirement": shown.requirement, "deny_threshold": 1, "separation": "agents", "risk": "medium",
                "on_timeout": "deny", "steps": [{ "after_secs": 60 }], "repeat": 0, "ack_secs": 60, "approved_secs": 60
            }))
            .unwrap(),
        };
        let by_human = approver("default").identity;
        let refused = house.desk.command(&by_human, id, &Command::Edit(Box::new(edit))).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "oversight.not_editable");

        here(&house).decide(&approver("default"), "c", json!({ "approved": true })).await.unwrap();
        let refused = house.desk.consume(chain.tenant(), id, shown.digest, AdmissionId::generate()).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "oversight.not_approved", "{refused}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_one_call_at_once_one_request_is_made() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let (chain, wanted) = (house.chain("default", None, &["planner"]).await, call("c"));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (here, chain, wanted) = (here(&house), chain.clone(), wanted.clone());
                tokio::spawn(async move { request(&here.create(Acting { chain: &chain, run: None }, &wanted).await.unwrap()) })
            })
            .collect();
        let mut made = BTreeSet::new();
        for task in tasks {
            made.insert(task.await.unwrap().to_string());
        }
        assert_eq!(made.len(), 1, "{made:?}");
        assert_eq!(here(&house).pending(&by(&chain), Asked::FunctionCall, PAGE).await.unwrap().total, 1);
    })
    .await;
}

#[tokio::test]
async fn an_agent_decides_nothing_and_another_tenant_sees_nothing() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let (chain, rival) = (house.chain("default", None, &["planner"]).await, house.chain("rival", None, &["planner"]).await);
        let asked = ask(&house, &chain, &call("c")).await;
        ask(&house, &chain, &question("q")).await;
        let code = |refused: Refused| match refused {
            Refused::Said(error) => error.code().as_str(),
            Refused::Malformed(_) => "malformed",
        };
        let yes = || json!({ "approved": true });
        assert_eq!(code(here(&house).decide(&by(&chain), "c", yes()).await.unwrap_err()), "oversight.not_an_approver");
        assert_eq!(code(here(&house).answer(&by(&chain), "q", json!({ "response": "x" })).await.unwrap_err()), "oversight.not_an_approver");
        for stranger in [by(&rival), approver("rival")] {
            for id in ["c", asked["creto"]["request"].as_str().unwrap()] {
                let refused = here(&house).get(&stranger, Asked::FunctionCall, id).await.unwrap_err();
                assert_eq!(refused.code().as_str(), "oversight.unknown");
                assert_eq!(code(here(&house).decide(&stranger, id, yes()).await.unwrap_err()), "oversight.unknown");
            }
            assert_eq!(here(&house).pending(&stranger, Asked::FunctionCall, PAGE).await.unwrap().total, 0);
        }
        assert_eq!(status(&house, &chain, Asked::FunctionCall, "c").await["approved"], Value::Null);
    })
    .await;
}
