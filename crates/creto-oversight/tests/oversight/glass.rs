//! Broken glasses: who breaks them, with what proof, who looks at them afterwards, and what the log says of it.

use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_db::{Db, Sealed, Sql};
use creto_enablement_common::erasure::{Erasure, Whose};
use creto_kernel::id::LeafId;
use creto_kernel::{Clock as _, Coded as _, Digest, Leaf, NhiId};
use creto_nhi::{Role, Roles};
use creto_oversight::OversightError;
use creto_oversight::model::case::Choice;
use creto_oversight::model::command::{Ballot, Command, Revised};
use creto_oversight::model::event::Event;
use creto_oversight::model::plan::{Plan, Risk, Separation};
use creto_oversight::model::request::{Request, RequestFilter, State};
use creto_oversight::model::requirement::Requirement;
use creto_oversight::model::voter::{PASSKEY, Voter};
use serde_json::{Value, json};

use super::cases::{Sheet, ballot, digest, group, operator, person, plan, roster, voter};
use super::decisions::{asked, id};
use super::house::{House, SETS, approver, human};
use super::http::call;

fn code<T: std::fmt::Debug>(result: Result<T, OversightError>) -> &'static str {
    result.unwrap_err().code().as_str()
}

fn breaks(who: Voter, digest: Digest) -> Command {
    Command::BreakGlass { voter: who, digest, reason: "the plant burns".to_owned() }
}

fn looks(who: Voter) -> Command {
    Command::Review { voter: who, justified: true, comment: "it burned".to_owned() }
}

fn by_passkey(name: &str) -> Voter {
    Voter::through(&human("default", name, Roles::OPERATOR_AND_APPROVER), "http", PASSKEY, Some("assertion".to_owned())).unwrap()
}

fn two_of_finance(change: impl FnOnce(&mut Plan)) -> Sheet {
    let mut two = plan(Requirement::at_least(2, vec![group("finance")]));
    change(&mut two);
    Sheet::open(two, 600, roster(&[("finance", &["bob", "carol", "dave"])]))
}

/// A request of alice's planner that erin, who runs the installation, edited.
fn edited(separation: Separation) -> Sheet {
    let mut sheet = two_of_finance(|plan| plan.separation = separation);
    sheet.roster.groups.get_mut(&"finance".parse().unwrap()).unwrap().insert(person("erin"));
    let revised = Revised {
        voter: operator("erin"),
        revision: 1,
        action: String::new(),
        digest: Digest::of(b"smaller"),
        tool: sheet.case.tool.clone(),
        target: sheet.case.target.clone(),
        plan: sheet.case.plan.clone(),
    };
    sheet.run(&Command::Edit(Box::new(revised)), &person("erin"), 1).unwrap();
    sheet
}

#[test]
fn nobody_breaks_the_glass_of_a_request_of_their_own_whatever_its_document_separates() {
    for separation in [Separation::Full, Separation::Agents] {
        let mut sheet = edited(separation);
        let before = sheet.case.clone();
        for own in ["alice", "erin"] {
            for who in [operator(own), by_passkey(own)] {
                assert_eq!(code(sheet.run(&breaks(who, before.digest), &person(own), 2)), "oversight.own_glass", "{separation:?} {own}");
            }
        }
        assert_eq!(sheet.case, before, "nothing was decided");
        sheet.run(&breaks(operator("olga"), before.digest), &person("olga"), 3).unwrap();
        assert_eq!(sheet.case.state, State::Approved);
    }
    let refused = OversightError::OwnGlass("alice".to_owned()).hint();
    assert!(refused.unwrap().contains("`hops`"));
}

#[test]
fn where_very_much_is_at_stake_a_glass_is_broken_with_a_passkey_alone() {
    let mut sheet = two_of_finance(|plan| plan.risk = Risk::Critical);
    assert_eq!(code(sheet.run(&breaks(operator("olga"), digest()), &person("olga"), 1)), "oversight.stronger_proof_needed");
    assert_eq!(sheet.case.state, State::Pending);
    sheet.run(&breaks(by_passkey("olga"), digest()), &person("olga"), 2).unwrap();
    let proof = sheet.case.glass.as_ref().unwrap().proof.as_ref().unwrap();
    assert_eq!((sheet.case.state, proof.method.as_str(), proof.evidence.as_deref()), (State::Approved, PASSKEY, Some("assertion")));
}

#[test]
fn a_broken_glass_is_looked_at_by_nobody_who_broke_it_asked_for_it_or_edited_it() {
    for separation in [Separation::Full, Separation::Agents] {
        let mut sheet = edited(separation);
        assert_eq!(code(sheet.run(&looks(voter("bob")), &person("bob"), 2)), "oversight.bad_input", "nothing was broken");
        sheet.run(&breaks(operator("olga"), sheet.case.digest), &person("olga"), 2).unwrap();
        sheet.roster.inactive.insert(person("dave"));
        for who in ["olga", "alice", "erin", "dave"] {
            let refused = code(sheet.run(&looks(operator(who)), &person(who), 3));
            assert_eq!(refused, "oversight.separation_of_duties", "{separation:?} {who}");
        }
        sheet.run(&looks(voter("bob")), &person("bob"), 4).unwrap();
        let refused = sheet.run(&looks(voter("carol")), &person("carol"), 5).unwrap_err();
        assert!(matches!(&refused, OversightError::AlreadyVoted(by) if by == "bob"), "who looked is named: {refused}");
        let glass = sheet.case.glass.unwrap();
        assert_eq!((glass.reviewed_by, glass.review.as_deref()), (Some(person("bob")), Some("it burned")));
    }
}

#[test]
fn a_glass_that_was_broken_before_proofs_were_kept_is_read_and_looked_at() {
    let stored = r#"{"at":"2026-11-22T00:00:00.000000Z","by":"spiffe://creto.test/tenant/default/human/olga","event":EVENT}"#;
    let mut sheet = two_of_finance(|_| {});
    sheet.run(&breaks(operator("olga"), digest()), &person("olga"), 1).unwrap();
    let Event::GlassBroken { reason, review_by, how, .. } = sheet.events.last().unwrap().event.clone() else { panic!("it was broken") };
    let mut old = serde_json::to_value(Event::GlassBroken { reason, review_by, how, proof: None }).unwrap();
    assert!(!old.to_string().contains("proof"), "as it was written then: {old}");
    old = serde_json::from_str(&stored.replace("EVENT", &old.to_string())).unwrap();
    *sheet.events.last_mut().unwrap() = serde_json::from_value(old).unwrap();
    sheet.case = creto_oversight::core::evolve::replay(&sheet.events).unwrap();
    assert_eq!((sheet.case.state, &sheet.case.glass.as_ref().unwrap().proof), (State::Approved, &None));
    sheet.run(&looks(voter("bob")), &person("bob"), 4).unwrap();
}

/// A house where two approvers decide.
async fn house(db: Db, risk: &str) -> (House, creto_nhi::VerifiedChain) {
    let house = House::open(db, Vec::new()).await;
    let document = json!({ "requirement": { "at_least": { "count": 2, "of": ["role:approver"] } }, "separation": "agents", "risk": risk });
    let document = serde_json::from_value(document).unwrap();
    house.desk.publish(operator("olga").person(), "require_approval", document, None).await.unwrap();
    let chain = house.chain("default", None, &["planner"]).await;
    (house, chain)
}

fn through(name: &str, channel: &str, method: &str) -> Voter {
    Voter::through(&human("default", name, Roles::OPERATOR_AND_APPROVER), channel, method, None).unwrap()
}

async fn done(house: &House, open: &Request, by: &Voter, command: &Command) -> Request {
    house.desk.command(by.person(), id(open), command).await.unwrap()
}

#[tokio::test]
async fn the_log_says_how_whoever_broke_a_glass_and_whoever_looked_proved_who_they_are() {
    each_engine(SETS, async |db| {
        let (house, chain) = house(db, "high").await;
        let open = asked(&house, &chain, "pay").await;
        // Bob voted by Slack, which is no proof of what he does later by another way.
        let slack = through("bob", "slack", "slack_signature");
        let vote = ballot(slack.clone(), Choice::Approve, &two_of_finance(|_| {}).case);
        done(&house, &open, &slack, &Command::Vote(Ballot { digest: Some(open.digest), ..vote })).await;
        let olga = through("olga", "http", "session");
        let broken = house.desk.break_glass(olga, id(&open), open.digest, "the plant burns").await.unwrap();
        assert_eq!((broken.state, broken.how.as_deref()), (State::Approved, Some("session")));
        let bob = through("bob", "http", "api_key");
        done(&house, &open, &bob, &looks(bob.clone())).await;
        let said: Vec<(String, String, String)> = house
            .leaves(&chain)
            .await
            .iter()
            .filter(|leaf| leaf.facts.contains_key("how"))
            .map(|leaf| (leaf.actor.name().to_owned(), leaf.facts["how"].clone(), leaf.facts["channel"].clone()))
            .collect();
        let expected = [("bob", "slack_signature", "slack"), ("olga", "session", "http"), ("bob", "api_key", "http")];
        assert_eq!(said, expected.map(|(who, how, channel)| (who.to_owned(), how.to_owned(), channel.to_owned())));
    })
    .await;
}

async fn listed(house: &House, tenant: &creto_kernel::TenantId, (review, reviewed): (bool, bool)) -> Vec<String> {
    let filter = RequestFilter { review, reviewed, ..RequestFilter::default() };
    house.desk.page(tenant, &filter).await.unwrap().requests.into_iter().map(|request| request.id).collect()
}

#[tokio::test]
async fn reviews_that_wait_and_those_that_were_made_are_listed_and_their_words_are_erased() {
    each_engine(SETS, async |db| {
        let (house, chain) = house(db, "high").await;
        let tenant = chain.tenant();
        let (open, other) = (asked(&house, &chain, "pay").await, asked(&house, &chain, "mail").await);
        // A zero byte is text too, and none of `jsonb`.
        for (open, reason) in [(&open, "it burns\0"), (&other, "the plant burns")] {
            house.desk.break_glass(operator("olga"), id(open), open.digest, reason).await.unwrap();
        }
        assert_eq!(listed(&house, tenant, (true, false)).await, [other.id.clone(), open.id.clone()]);
        assert_eq!(listed(&house, tenant, (false, true)).await, Vec::<String>::new());
        done(&house, &open, &voter("bob"), &looks(voter("bob"))).await;
        assert_eq!(listed(&house, tenant, (true, false)).await, [other.id.as_str()]);
        assert_eq!(listed(&house, tenant, (false, true)).await, [open.id.as_str()]);
        assert_eq!(listed(&house, tenant, (true, true)).await, Vec::<String>::new(), "nothing is both");
        // As a database that was filled before is brought up to date.
        let update = |migration: &'static str| migration.lines().find(|line| line.starts_with("UPDATE")).unwrap();
        let [sqlite, postgres] =
            [include_str!("../../migrations/sqlite/0005_reviews.sql"), include_str!("../../migrations/postgres/0005_reviews.sql")]
                .map(update);
        house.db.upkeep("UPDATE oversight_request SET reviewed = 0", vec![]).await.unwrap();
        house.db.upkeep(Sql::per_engine(sqlite, postgres), vec![]).await.unwrap();
        assert_eq!(listed(&house, tenant, (false, true)).await, [open.id.as_str()]);

        // Once it is over its words go, also those of the review, and who did what stays.
        let withdrawn = Command::Cancel { by: person("olga"), reason: None };
        house.desk.command(&person("olga"), id(&open), &withdrawn).await.unwrap();
        let before = house.world.clock.now().saturating_add(Duration::from_secs(1));
        let erasing = house.desk.erasing(&Erasure { tenant: tenant.clone(), whose: Whose::Everybody, before });
        let leaf = house.leaves(&chain).await.pop().unwrap();
        house.db.commit(Sealed::new(Leaf { id: LeafId::generate(), ..leaf }).steps(erasing.steps)).await.unwrap();
        let erased = house.desk.get(tenant, id(&open)).await.unwrap().glass.unwrap();
        assert_eq!((erased.reason.as_str(), &erased.review, &erased.reviewed_by), ("", &None, &Some(person("bob"))));
        let kept = house.desk.get(tenant, id(&other)).await.unwrap().glass.unwrap();
        assert_eq!(kept.reason, "the plant burns", "what waits to be looked at is kept");
    })
    .await;
}

#[tokio::test]
async fn over_http_a_glass_is_broken_and_looked_at_only_by_whom_it_may_and_refusals_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (house, chain) = house(Db::open_sqlite(&folder.path().join("http.db"), SETS).unwrap(), "critical").await;
    let boss = |name: &str| human("default", name, Roles::OPERATOR_AND_APPROVER);
    let open = asked(&house, &chain, "pay").await;
    let path = |what: &str| format!("/v1/oversight/requests/{}/{what}", open.id);
    let glass = || json!({ "digest": open.digest, "reason": "the plant burns" });
    let refused = async |caller, what: &str, body: Value, status: u16, code: &str| {
        let (answered, problem) = call(&house, caller, "POST", &path(what), Some(body)).await;
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{what}: {problem}");
        problem
    };
    let own = refused(boss("alice"), "break-glass", glass(), 403, "oversight.own_glass").await;
    assert!(own["hint"].as_str().unwrap().contains("`hops`"), "{own}");
    refused(boss("olga"), "break-glass", glass(), 403, "oversight.stronger_proof_needed").await;
    refused(approver("default"), "break-glass", glass(), 403, "oversight.not_eligible").await;
    let after = house.desk.get(chain.tenant(), id(&open)).await.unwrap();
    assert_eq!((after.seq, after.state), (open.seq, State::Pending));

    house.desk.break_glass(by_passkey("olga"), id(&open), open.digest, "the plant burns").await.unwrap();
    let review = |comment: Value| json!({ "justified": false, "comment": comment });
    refused(approver("default"), "review", json!({ "justified": true }), 422, "http.bad_body").await;
    refused(approver("default"), "review", review(json!(" ")), 422, "oversight.bad_input").await;
    for own in ["olga", "alice"] {
        refused(boss(own), "review", review(json!("mine")), 403, "oversight.separation_of_duties").await;
    }
    let listed = async |what: &str| {
        let (status, page) = call(&house, approver("default"), "GET", &format!("/v1/oversight/requests?{what}=true"), None).await;
        assert_eq!(status, 200, "{page}");
        page["requests"].as_array().unwrap().len()
    };
    assert_eq!((listed("review").await, listed("reviewed").await), (1, 0));
    let (status, looked) = call(&house, approver("default"), "POST", &path("review"), Some(review(json!("it did not burn")))).await;
    assert_eq!(status, 200, "{looked}");
    let bob: NhiId = person("bob");
    let said = (&looked["glass"]["reviewed_by"], &looked["glass"]["review"], &looked["glass"]["justified"]);
    assert_eq!(said, (&json!(bob), &json!("it did not burn"), &json!(false)));
    assert!(looked["glass"]["reviewed_at"].is_string(), "{looked}");
    assert_eq!((listed("review").await, listed("reviewed").await), (0, 1));
    refused(human("default", "carol", Roles::only(Role::Approver)), "review", review(json!("late")), 409, "oversight.already_voted").await;
}
