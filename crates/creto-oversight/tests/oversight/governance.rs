//! Groups, documents, stand-ins, edits, grants, batches and time, on the database and behind the real Gate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use creto_db::params;
use creto_db::testkit::each_engine;
use creto_enablement_common::{Admission, Outcome};
use creto_kernel::id::RequestId;
use creto_kernel::{Coded, NhiId};
use creto_nhi::{Principal, Role, Roles, VerifiedChain};
use creto_oversight::desk::{BatchItem, NewGrant, NewRequest};
use creto_oversight::model::case::{Choice, Kind};
use creto_oversight::model::command::{Ballot, Command};
use creto_oversight::model::notice::{Notice, TOPIC, Told};
use creto_oversight::model::plan::Risk;
use creto_oversight::model::policy::Policy;
use creto_oversight::model::request::{Request, RequestFilter, State};
use creto_oversight::model::voter::Voter;
use creto_oversight::{Desk, Edits, OversightError, People};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::decisions::{asked, id};
use super::house::{House, SETS, approver, human, request, server};

const RULE: &str = "require_approval";

fn policy(change: Value) -> Policy {
    let mut body = json!({ "requirement": { "at_least": { "count": 2, "of": ["group:finance"] } } });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    serde_json::from_value(body).unwrap()
}

fn named(name: &str) -> Principal {
    human("default", name, Roles::only(Role::Approver))
}

fn boss() -> Principal {
    human("default", "olga", Roles::OPERATOR_AND_APPROVER)
}

async fn finance(house: &House, members: &[&str]) {
    let members: BTreeSet<NhiId> = members.iter().map(|name| named(name).identity).collect();
    house.desk.set_group(&boss().identity, &"finance".parse().unwrap(), members).await.unwrap();
}

async fn governed(house: &House, change: Value, members: &[&str]) -> VerifiedChain {
    finance(house, members).await;
    house.desk.publish(&boss().identity, RULE, policy(change), None).await.unwrap();
    house.chain("default", None, &["planner"]).await
}

async fn vote(desk: &Desk, name: &str, open: &Request, choice: Choice) -> Result<Request, OversightError> {
    let ballot = Ballot {
        voter: Voter::of(&named(name)).unwrap(),
        stands_in_for: None,
        choice,
        digest: Some(open.digest),
        shown: None,
        revision: Some(open.revision),
        comment: None,
        option: None,
    };
    desk.vote(id(open), ballot).await
}

/// Every notice in the outbox, oldest first.
async fn told(house: &House) -> Vec<Notice> {
    let rows = house.db.query("SELECT body FROM outbox WHERE topic = $1 ORDER BY position", params![TOPIC]).await.unwrap();
    rows.iter().map(|row| serde_json::from_str(row.text(0).unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn hazard_02_a_decision_and_the_word_of_it_are_one_commit() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = governed(&house, json!({}), &["bob", "carol"]).await;
        let open = asked(&house, &chain, "pay").await;
        vote(&house.desk, "bob", &open, Choice::Approve).await.unwrap();
        let decided = vote(&house.desk, "carol", &open, Choice::Approve).await.unwrap();
        assert_eq!(decided.state, State::Approved);
        let all = told(&house).await;
        assert_eq!(all.iter().map(|notice| notice.told).collect::<Vec<_>>(), [Told::Opened, Told::Updated, Told::Resolved]);
        assert!(all.iter().map(Notice::key).collect::<BTreeSet<_>>().len() == 3 && all[2].state == State::Approved);
        // The agent that was not there to hear it finds it, however late it comes back, and uses it once.
        let asking = || request(&chain, "tool.call_with_approval", "tool:pay");
        let mut again = asking();
        again.arguments.insert("to".to_owned(), "mallory".into());
        let Admission::Granted(granted) = house.gate.admit_within(again, Duration::ZERO).await.unwrap() else { panic!("it was approved") };
        house.gate.settle(*granted, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
        assert_eq!(house.desk.get(chain.tenant(), id(&open)).await.unwrap().state, State::Executed);
    })
    .await;
}

#[derive(Debug)]
struct AllBut(std::sync::Mutex<BTreeSet<NhiId>>);

impl People for AllBut {
    fn is_active(&self, person: &NhiId) -> bool {
        !self.0.lock().unwrap().contains(person)
    }
}

#[tokio::test]
async fn whoever_leaves_in_the_middle_of_a_vote_has_none_and_what_nobody_can_decide_ends() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let chain = governed(&house, json!({}), &["bob", "carol", "dave"]).await;
        let gone = Arc::new(AllBut(std::sync::Mutex::default()));
        let other = Desk::new(db, house.world.clock.clone(), server("default")).with_people(gone.clone());
        let open = asked(&house, &chain, "pay").await;
        vote(&other, "bob", &open, Choice::Approve).await.unwrap();
        gone.0.lock().unwrap().insert(named("bob").identity);
        assert_eq!(vote(&other, "carol", &open, Choice::Approve).await.unwrap().state, State::Pending, "bob was suspended since");
        // Another server remembers the group as it was; its vote is written under the group as it is.
        house.desk.inbox(&Voter::of(&named("dave")).unwrap(), &RequestFilter::default()).await.unwrap();
        other
            .set_group(&boss().identity, &"finance".parse().unwrap(), [named("bob").identity, named("carol").identity].into())
            .await
            .unwrap();
        assert_eq!(
            vote(&house.desk, "dave", &open, Choice::Approve).await.unwrap_err().code().as_str(),
            "oversight.already_decided",
            "bob is gone, dave has left, carol alone is not two: nobody waits for nobody"
        );
        let ended = house.desk.get(chain.tenant(), id(&open)).await.unwrap();
        assert_eq!(ended.state, State::Denied, "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn an_inbox_shows_what_its_owner_may_decide_and_nothing_else() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = governed(&house, json!({}), &["bob", "carol", "alice"]).await;
        let open = asked(&house, &chain, "pay").await;
        let inbox = async |who: Principal| {
            let page = house.desk.inbox(&Voter::of(&who).unwrap(), &RequestFilter::default()).await.unwrap();
            page.requests.into_iter().map(|request| request.id).collect::<Vec<_>>()
        };
        assert_eq!(inbox(named("bob")).await, std::slice::from_ref(&open.id));
        assert!(inbox(named("mallory")).await.is_empty(), "not a member");
        assert!(inbox(named("alice")).await.is_empty(), "a member, and the request is her own agent's");
        assert!(inbox(human("rival", "bob", Roles::only(Role::Approver))).await.is_empty());
        let now = creto_kernel::Clock::now(&*house.world.clock);
        let standing = creto_oversight::model::roster::Delegation {
            id: "stand_1".to_owned(),
            from: named("bob").identity,
            to: named("erin").identity,
            starts: now,
            ends: now.saturating_add(Duration::from_secs(60)),
            out_of_office: true,
        };
        house.desk.delegate(&named("bob").identity, false, standing).await.unwrap();
        assert_eq!(inbox(named("erin")).await, std::slice::from_ref(&open.id), "she stands in for bob");
        let audience = house.desk.audience(chain.tenant(), &["group:finance".parse().unwrap()]).await.unwrap();
        assert!(audience.contains(&named("erin").identity) && !audience.contains(&named("bob").identity), "bob is away");
        house.world.clock.advance(Duration::from_secs(60));
        assert!(inbox(named("erin")).await.is_empty());
        vote(&house.desk, "bob", &open, Choice::Deny).await.unwrap();
        assert!(inbox(named("bob")).await.is_empty(), "it is decided");
    })
    .await;
}

#[tokio::test]
async fn hazard_10_and_11_what_was_edited_and_approved_is_what_is_done_and_nothing_else() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain =
            governed(&house, json!({ "requirement": { "at_least": { "count": 1, "of": ["group:finance"] } } }), &["bob", "carol"]).await;
        let asking = || {
            let mut asking = request(&chain, "tool.call_with_approval", "tool:pay");
            asking.arguments.insert("amount".to_owned(), 100.into());
            asking.schema = Some(json!({ "type": "object", "properties": { "amount": { "type": "integer", "maximum": 100 } } }));
            (asking.wait, asking.editable) = (Duration::from_secs(600), true);
            asking
        };
        let Admission::Pending(open, first) = house.gate.admit_within(asking(), Duration::ZERO).await.unwrap() else {
            panic!("nobody approved it")
        };
        let edits = Edits::new(house.desk.clone(), Arc::clone(&house.gate));
        let amount = |amount: i64| json!({ "amount": amount }).as_object().unwrap().clone();
        let bob = || Voter::of(&named("bob")).unwrap();
        assert_eq!(edits.edit(bob(), open, 1, amount(101)).await.unwrap_err().code().as_str(), "oversight.bad_edit", "the tool's schema");
        let edited = edits.edit(bob(), open, 1, amount(5)).await.unwrap();
        assert_eq!((edited.revision, edited.digest == first), (2, false));
        assert_eq!(creto_kernel::Digest::of(edited.action.as_bytes()), edited.digest, "what is shown is what the digest covers");
        assert_eq!(vote(&house.desk, "bob", &edited, Choice::Approve).await.unwrap_err().code().as_str(), "oversight.separation_of_duties");
        vote(&house.desk, "carol", &edited, Choice::Approve).await.unwrap();
        // The agent asks with what it wanted first, and is admitted with what was approved.
        let Admission::Granted(granted) = house.gate.admit_within(asking(), Duration::ZERO).await.unwrap() else {
            panic!("it was approved")
        };
        assert_eq!((granted.action().arguments.clone(), granted.digest()), (amount(5), edited.digest));
        house.gate.settle(*granted, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
        let revisions = house.desk.revisions(chain.tenant(), open).await.unwrap();
        assert_eq!(revisions.iter().map(|r| (r.revision, r.digest)).collect::<Vec<_>>(), [(1, first), (2, edited.digest)]);
    })
    .await;
}

#[tokio::test]
async fn a_standing_grant_approves_so_many_alike_until_it_is_taken_back() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let open = asked(&house, &chain, "pay-1").await;
        let new = |uses_max| NewGrant { request: id(&open), resource: Some("tool:pay-*".to_owned()), arguments: None, uses_max, secs: 600 };
        let bob = Voter::of(&approver("default")).unwrap();
        assert_eq!(house.desk.give(&bob, new(2)).await.unwrap_err().code().as_str(), "oversight.already_decided", "not approved yet");
        house.desk.decide(&approver("default"), id(&open), Some(open.digest), None).await.unwrap();
        let stranger = Voter::of(&named("carol")).unwrap();
        assert_eq!(house.desk.give(&stranger, new(2)).await.unwrap_err().code().as_str(), "oversight.not_eligible");
        let wider = NewGrant { resource: Some("tool:*x".to_owned()), ..new(2) };
        assert_eq!(house.desk.give(&bob, wider).await.unwrap_err().code().as_str(), "oversight.bad_input");
        let grant = house.desk.give(&bob, new(2)).await.unwrap();
        let admit = async |tool: &str| {
            let asking = request(&chain, "tool.call_with_approval", &format!("tool:{tool}"));
            matches!(house.gate.admit_within(asking, Duration::ZERO).await, Ok(Admission::Granted(_)))
        };
        assert!(admit("pay-2").await && !admit("refund").await && admit("pay-3").await);
        assert!(!admit("pay-4").await, "used up");
        let second = house.desk.give(&bob, new(9)).await.unwrap();
        house.desk.revoke_grant(&boss().identity, &second.id).await.unwrap();
        assert!(!admit("pay-5").await, "taken back");
        // Of eight at once three are approved by it, and of the others humans are asked: nobody is refused.
        house.desk.give(&bob, new(3)).await.unwrap();
        let together = futures::future::join_all((10..18).map(async |n| {
            let mut asking = request(&chain, "tool.call_with_approval", &format!("tool:pay-{n}"));
            asking.wait = Duration::from_secs(600);
            matches!(house.gate.admit_within(asking, Duration::ZERO).await.unwrap(), Admission::Granted(_))
        }));
        assert_eq!(together.await.into_iter().filter(|granted| *granted).count(), 3);
        assert_eq!(house.desk.grants(chain.tenant()).await.unwrap().iter().find(|g| g.id == grant.id).unwrap().used, 2);
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_stopped_loses_its_requests_its_approvals_and_its_grants_at_once() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let (waiting, approved) = (asked(&house, &chain, "one").await, asked(&house, &chain, "two").await);
        house.desk.decide(&approver("default"), id(&approved), Some(approved.digest), None).await.unwrap();
        let before = house.leaves(&chain).await.len();
        let taken = house.desk.take_all(&boss().identity, chain.leaf(), "it went wild").await.unwrap();
        assert_eq!(house.leaves(&chain).await.len(), before + 1, "one commit takes it all");
        let state = async |request: &Request| house.desk.get(chain.tenant(), id(request)).await.unwrap().state;
        assert_eq!((taken, state(&waiting).await, state(&approved).await), (2, State::Cancelled, State::Revoked));
        let mut again = request(&chain, "tool.call_with_approval", "tool:two");
        again.arguments.insert("to".to_owned(), "mallory".into());
        again.wait = Duration::from_secs(600);
        assert!(matches!(house.gate.admit_within(again, Duration::ZERO).await, Ok(Admission::Pending(..))), "the approval is gone");
    })
    .await;
}

#[tokio::test]
async fn the_kill_switch_is_one_commit_that_happens_whole_or_not_at_all_and_is_made_again_when_a_request_moves_on() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let (waiting, moving) = (asked(&house, &chain, "one").await, asked(&house, &chain, "two").await);
        let authority = &house.world.authority;
        let state = async |request: &Request| house.desk.get(chain.tenant(), id(request)).await.unwrap().state;
        // The database says no: nothing of it has happened.
        let broken = house
            .desk
            .take_all_by(&boss().identity, chain.leaf(), "it went wild", |_| Box::pin(async { Err::<(), _>(OversightError::Busy) }))
            .await;
        assert_eq!((broken.unwrap_err().code().as_str(), state(&waiting).await), ("oversight.busy", State::Pending));
        let suspended = |sealed| async { authority.suspend_identity_with(&boss().identity, chain.leaf(), sealed).await };
        // Somebody approves one of them between reading and writing.
        let tries = std::sync::atomic::AtomicUsize::new(0);
        let suspend = |sealed| -> BoxFuture<'_, Result<(), OversightError>> {
            Box::pin(async {
                if tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                    house.desk.decide(&approver("default"), id(&moving), Some(moving.digest), None).await.unwrap();
                }
                Ok(suspended(sealed).await?)
            })
        };
        let taken = house.desk.take_all_by(&boss().identity, chain.leaf(), "it went wild", suspend).await.unwrap();
        assert_eq!((taken, tries.load(std::sync::atomic::Ordering::SeqCst)), (2, 2));
        assert_eq!((state(&waiting).await, state(&moving).await), (State::Cancelled, State::Revoked));
        assert_eq!(authority.identity(chain.leaf()).unwrap().status, creto_nhi::Status::Suspended);
        let last = house.leaves(&chain).await.pop().unwrap();
        assert_eq!((last.action.as_str(), last.facts["requests"].as_str()), ("oversight.kill", "2"));
        // Once more finds nothing, and is no error.
        let again = |sealed| -> BoxFuture<'_, Result<(), OversightError>> { Box::pin(async { Ok(suspended(sealed).await?) }) };
        assert_eq!(house.desk.take_all_by(&boss().identity, chain.leaf(), "it went wild", again).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_installation_is_for_tests_from_its_first_commit_or_never() {
    use creto_oversight::test_mode::settle;
    each_engine(SETS, async |db| {
        let (server, now) = (super::house::server("default"), creto_kernel::Timestamp::EPOCH);
        assert!(!settle(&db, &server, now, false).await.unwrap());
        let live = House::open(db.clone(), Vec::new()).await;
        let chain = live.chain("default", None, &["planner"]).await;
        asked(&live, &chain, "pay").await;
        assert_eq!(settle(&db, &server, now, true).await.unwrap_err().code().as_str(), "oversight.live");
    })
    .await;
    each_engine(SETS, async |db| {
        let (server, now) = (super::house::server("default"), creto_kernel::Timestamp::EPOCH);
        assert!(settle(&db, &server, now, true).await.unwrap());
        assert!(settle(&db, &server, now, false).await.unwrap(), "it stays one, also where nobody says so again");
        let mut house = House::open(db, Vec::new()).await;
        house.desk = house.desk.clone().in_test_mode(true);
        let new = NewRequest { kind: Kind::Approval, ..question("call-1", "shall I?") };
        let open = house.desk.ask(new).await.unwrap();
        assert!(open.test);
        house.desk.decide(&approver("default"), id(&open), Some(open.digest), None).await.unwrap();
        assert!(house.desk.decided(&"default".parse().unwrap(), id(&open)).await.unwrap().decision.test);
    })
    .await;
}

#[tokio::test]
async fn a_batch_decides_all_it_names_by_digest_or_nothing() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let (one, two) = (asked(&house, &chain, "one").await, asked(&house, &chain, "two").await);
        let item = |request: &Request| BatchItem { request: id(request), digest: request.digest, shown: None, revision: 1 };
        let bob = Voter::of(&approver("default")).unwrap();
        let batch = async |items: &[BatchItem]| house.desk.batch(&bob, Choice::Approve, items, None).await;
        let wrong = BatchItem { digest: one.digest, ..item(&two) };
        assert_eq!(batch(&[item(&one), wrong]).await.unwrap_err().code().as_str(), "oversight.digest_mismatch");
        assert_eq!(batch(&[item(&one), item(&one)]).await.unwrap_err().code().as_str(), "oversight.not_in_batch");
        assert_eq!(house.desk.get(chain.tenant(), id(&one)).await.unwrap().state, State::Pending, "nothing was decided");
        let decided = batch(&[item(&one), item(&two)]).await.unwrap();
        assert!(decided.iter().all(|request| request.state == State::Approved));
        let leaf = house.leaves(&chain).await.pop().unwrap();
        for request in [&one, &two] {
            assert!(leaf.digests.contains_key(&format!("action.{}", request.id)), "every digest is listed: {leaf:?}");
        }
        house
            .desk
            .publish(
                &boss().identity,
                RULE,
                policy(json!({ "requirement": { "at_least": { "count": 1, "of": ["role:approver"] } }, "risk": "high" })),
                None,
            )
            .await
            .unwrap();
        let high = asked(&house, &chain, "three").await;
        assert_eq!((high.risk, batch(&[item(&high)]).await.unwrap_err().code().as_str()), (Risk::High, "oversight.not_in_batch"));
    })
    .await;
}

#[tokio::test]
async fn timers_fire_once_across_servers_and_none_is_lost_while_nobody_runs() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let steps = json!([{ "after_secs": 60 }, { "after_secs": 60 }, { "to": ["role:operator"], "after_secs": 60 }]);
        let chain = governed(&house, json!({ "steps": steps, "timeout_secs": 400 }), &["bob", "carol"]).await;
        let mut all = Vec::new();
        for number in 0..30 {
            all.push(asked(&house, &chain, &format!("pay{number}")).await);
        }
        let other = Desk::new(db, house.world.clock.clone(), server("default"));
        assert_eq!(house.desk.fire_due().await.unwrap(), 0);
        // Everybody was away while two steps came due.
        house.world.clock.advance(Duration::from_secs(130));
        let (one, two) = futures::future::join(house.desk.fire_due(), other.fire_due()).await;
        assert_eq!(one.unwrap() + two.unwrap(), 30, "each once");
        for open in &all {
            let events: Vec<String> =
                house.desk.history(chain.tenant(), id(open)).await.unwrap().iter().map(|e| e.event.word().to_owned()).collect();
            assert_eq!(events, ["opened", "escalated", "escalated"]);
        }
        let escalated: Vec<Notice> = told(&house).await.into_iter().filter(|notice| notice.told == Told::Escalated).collect();
        assert_eq!(escalated.len(), 30, "no burst: of two overdue steps the later is told");
        assert!(escalated.iter().all(|notice| notice.to == ["role:operator".parse().unwrap()]));
        // A deadline that passes while no server runs is past for whoever votes first.
        house.world.clock.advance(Duration::from_secs(270));
        assert_eq!(vote(&other, "bob", &all[0], Choice::Approve).await.unwrap_err().code().as_str(), "oversight.deadline_passed");
        // A server dies with all it claimed; nobody else fires it while that one may still be at work.
        assert_eq!(house.desk.claim_due().await.unwrap(), 30);
        assert_eq!(other.fire_due().await.unwrap(), 0);
        house.world.clock.advance(Duration::from_secs(31));
        assert_eq!(other.fire_due().await.unwrap(), 30);
        assert_eq!(other.list(chain.tenant(), Some(State::TimedOut)).await.unwrap().len(), 30);
        assert_eq!(other.fire_due().await.unwrap(), 0);
    })
    .await;
}

fn question(call: &str, text: &str) -> NewRequest {
    let chain: NhiId = "spiffe://creto.test/tenant/default/agent/planner".parse().unwrap();
    NewRequest {
        kind: Kind::Question,
        agent: chain.clone(),
        hops: vec![chain],
        tool: "contact.human".parse().unwrap(),
        target: "human:anybody".parse().unwrap(),
        arguments: json!({ "msg": text }).as_object().unwrap().clone(),
        rule: None,
        requirement: None,
        run: Some("run-1".to_owned()),
        call: Some(call.to_owned()),
        reason: None,
        extra: None,
        wait: Duration::from_secs(600),
    }
}

#[tokio::test]
async fn a_question_is_answered_in_words_once_and_the_same_call_is_the_same_question() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let asked = house.desk.ask(question("call-1", "which one?")).await.unwrap();
        assert_eq!(house.desk.ask(question("call-1", "which one?")).await.unwrap().id, asked.id);
        assert_eq!(house.desk.ask(question("call-1", "another?")).await.unwrap_err().code().as_str(), "oversight.call_conflict");
        let bob = approver("default");
        let answer = |text: &str| Command::Answer { voter: Voter::of(&bob).unwrap(), text: text.to_owned(), option: None };
        let request: RequestId = asked.id.parse().unwrap();
        assert_eq!(house.desk.command(&bob.identity, request, &answer(" ")).await.unwrap_err().code().as_str(), "oversight.bad_input");
        assert_eq!(house.desk.decide(&bob, request, Some(asked.digest), None).await.unwrap_err().code().as_str(), "oversight.wrong_kind");
        let done = house.desk.command(&bob.identity, request, &answer("the blue one")).await.unwrap();
        assert_eq!((done.state, done.answer.as_deref()), (State::Answered, Some("the blue one")));
        assert_eq!(
            house.desk.command(&bob.identity, request, &answer("no")).await.unwrap_err().code().as_str(),
            "oversight.already_decided"
        );
        // What was asked and answered stays out of the log.
        let leaves = house.db.query("SELECT body FROM audit_leaf", vec![]).await.unwrap();
        assert!(leaves.iter().all(|row| !String::from_utf8_lossy(row.blob(0).unwrap()).contains("blue")));
    })
    .await;
}

#[tokio::test]
async fn a_watcher_is_told_of_what_happens_and_misses_nothing_that_happened_before() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = governed(&house, json!({}), &["bob", "carol"]).await;
        let open = asked(&house, &chain, "pay").await;
        let seen = house.desk.watch(chain.tenant(), id(&open), open.seq, Duration::ZERO).await.unwrap();
        assert_eq!(seen.seq, open.seq, "nothing happened, and the call ends");
        let waiting = tokio::spawn({
            let (desk, tenant, open) = (house.desk.clone(), chain.tenant().clone(), open.clone());
            async move { desk.watch(&tenant, id(&open), open.seq, Duration::from_secs(30)).await.unwrap() }
        });
        vote(&house.desk, "bob", &open, Choice::Approve).await.unwrap();
        assert_eq!(waiting.await.unwrap().votes.len(), 1);
        vote(&house.desk, "carol", &open, Choice::Approve).await.unwrap();
        let late = house.desk.watch(chain.tenant(), id(&open), open.seq + 1, Duration::from_secs(30)).await.unwrap();
        assert_eq!(late.state, State::Approved);
    })
    .await;
}

#[tokio::test]
async fn a_rehearsal_says_what_a_document_would_have_asked_and_changes_nothing() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let open = asked(&house, &chain, "pay").await;
        house.desk.decide(&approver("default"), id(&open), Some(open.digest), None).await.unwrap();
        finance(&house, &["bob", "carol"]).await;
        let changes = house.desk.rehearse(chain.tenant(), RULE, &policy(json!({}))).await.unwrap();
        assert_eq!(changes.iter().map(|c| (c.request.as_str(), c.still_met)).collect::<Vec<_>>(), [(open.id.as_str(), false)]);
        assert!(house.desk.policies(chain.tenant()).await.unwrap().is_empty());
        let deciders = house.desk.deciders(chain.tenant()).await.unwrap();
        assert_eq!((deciders[0].approvals, deciders[0].faster_than_reading), (1, 1), "in no time at all");
        let ocsf = house.desk.ocsf(chain.tenant()).await.unwrap();
        assert_eq!((ocsf[0]["class_uid"].as_u64(), ocsf[0]["metadata"]["uid"].as_str()), (Some(6003), Some(open.id.as_str())));
    })
    .await;
}

#[tokio::test]
async fn another_process_of_the_same_agent_goes_on_from_its_checkpoint_and_nobody_else_does() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let state = |step: u32| json!({ "step": step, "asked": "req_1" });
        let code = |refused: Result<creto_oversight::desk::Checkpoint, OversightError>| refused.unwrap_err().code().as_str();
        assert_eq!(code(house.desk.keep(&chain, "run-1", 2, &state(1)).await), "oversight.bad_checkpoint", "the first is 1");
        house.desk.keep(&chain, "run-1", 1, &state(1)).await.unwrap();
        house.desk.keep(&chain, "run-1", 2, &state(2)).await.unwrap();
        assert_eq!(code(house.desk.keep(&chain, "run-1", 2, &state(9)).await), "oversight.bad_checkpoint", "another process was faster");
        // Another process, under a renewed chain of the same authority.
        let renewed = house.chain("default", None, &["planner"]).await;
        let found = house.desk.resume(&renewed, "run-1").await.unwrap();
        assert_eq!((found.version, found.state), (2, state(2)));
        let writer = house.chain("default", None, &["writer"]).await;
        assert_eq!(code(house.desk.resume(&writer, "run-1").await), "oversight.unknown");
        let deeper = house.chain("default", None, &["writer", "planner"]).await;
        assert_eq!(code(house.desk.resume(&deeper, "run-1").await), "oversight.bad_checkpoint", "another authority");
        let huge = json!({ "a": "x".repeat(creto_oversight::desk::CHECKPOINT_BYTES_MAX) });
        assert_eq!(code(house.desk.keep(&chain, "run-2", 1, &huge).await), "oversight.bad_checkpoint");
        // What was changed behind our back is not what the log commits to.
        house.db.upkeep("UPDATE oversight_checkpoint SET body = $1 WHERE version = 2", params!["{\"step\":7}"]).await.unwrap();
        assert_eq!(code(house.desk.resume(&chain, "run-1").await), "oversight.bad_checkpoint");
    })
    .await;
}
