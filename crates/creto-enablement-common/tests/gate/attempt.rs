//! Answers that are lost on their way, and asked for again.

use std::sync::Arc;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::gate::ActionState;
use creto_enablement_common::{Admission, AdmitRequest, Granted, Outcome, Refusal};
use creto_kernel::id::{AdmissionId, RequestId};
use creto_kernel::{Coded, Kind, Micros};
use creto_nhi::VerifiedChain;
use creto_oversight::model::request::State;

use super::house::{House, SETS, approver, request, server};

const ASKING: &str = "tool.call_with_approval";

fn payment<'a>(chain: &'a VerifiedChain, attempt: &str) -> AdmitRequest<'a> {
    let mut asked = request(chain, ASKING, "tool:pay");
    (asked.wait, asked.reserve, asked.reserve_is_asked) = (Duration::from_secs(600), Micros::new(70), true);
    asked.attempt = Some(attempt.parse().unwrap());
    asked
}

async fn ask(house: &House, asked: AdmitRequest<'_>) -> Result<Admission, Refusal> {
    house.gate.admit_within(asked, Duration::ZERO).await
}

fn pending(answer: Result<Admission, Refusal>) -> RequestId {
    // Whatever else it was is shown.
    let answer = match answer.unwrap() {
        Admission::Pending(id, _) => Ok(id),
        other => Err(other),
    };
    answer.unwrap()
}

fn granted(answer: Result<Admission, Refusal>) -> Box<Granted> {
    // Whatever else it was is shown.
    let answer = match answer.unwrap() {
        Admission::Granted(granted) => Ok(granted),
        other => Err(other),
    };
    answer.unwrap()
}

fn again(answer: Result<Admission, Refusal>) -> AdmissionId {
    // Whatever else it was is shown.
    let answer = match answer.unwrap() {
        Admission::Again(admission) => Ok(admission),
        other => Err(other),
    };
    answer.unwrap()
}

async fn approve(house: &House, chain: &VerifiedChain, id: RequestId) {
    let digest = house.desk.get(chain.tenant(), id).await.unwrap().digest;
    house.desk.decide(&approver("default"), id, Some(digest), None).await.unwrap();
}

#[tokio::test]
async fn the_same_attempt_gets_the_same_admission_and_neither_uses_nor_asks_for_a_second_approval() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", Some(1_000_000), &["planner"]).await;
        let id = pending(ask(&house, payment(&chain, "a")).await);
        assert_eq!(pending(ask(&house, payment(&chain, "a")).await), id);
        approve(&house, &chain, id).await;
        let first = granted(ask(&house, payment(&chain, "a")).await);
        for _ in 0..2 {
            assert_eq!(again(ask(&house, payment(&chain, "a")).await), first.admission());
        }
        assert_eq!((house.held().await, house.record(&chain).await.len()), (3 * 70, 1));
        assert_eq!(house.desk.list(chain.tenant(), None).await.unwrap().len(), 1, "nobody was asked twice");
        // Another attempt is another payment, and is asked about.
        assert_ne!(pending(ask(&house, payment(&chain, "b")).await), id);

        house.gate.settle(*first, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
        let over = ask(&house, payment(&chain, "a")).await.unwrap_err();
        assert_eq!((over.code().as_str(), over.kind()), ("gate.attempt_used", Kind::Conflict), "what is over is not admitted again");
        assert_eq!(house.record(&chain).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn another_action_under_the_same_attempt_is_refused() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        pending(ask(&house, payment(&chain, "a")).await);
        let changes: [fn(&mut AdmitRequest<'_>); 4] = [
            |r| r.resource = "tool:other".parse().unwrap(),
            |r| _ = r.arguments.insert("to".to_owned(), "mallory".into()),
            |r| r.reserve = Micros::new(71),
            |r| r.context = creto_authz::Context::default().label("prod").unwrap(),
        ];
        for change in changes {
            let mut other = payment(&chain, "a");
            change(&mut other);
            let refusal = ask(&house, other).await.unwrap_err();
            assert_eq!((refusal.code().as_str(), refusal.kind()), ("gate.attempt_conflict", Kind::Conflict));
        }
        // An attempt is of one agent: what another calls its own has nothing to do with it.
        let writer = house.chain("default", None, &["writer"]).await;
        let mut others = request(&writer, "tool.call", "tool:report");
        others.attempt = Some("a".parse().unwrap());
        drop(granted(ask(&house, others).await));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_calls_of_one_attempt_at_once_all_get_one_admission() {
    each_engine(SETS, async |db| {
        let house = Arc::new(House::open(db, Vec::new()).await);
        let chain = house.chain("default", None, &["planner"]).await;
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let (house, chain) = (Arc::clone(&house), chain.clone());
                tokio::spawn(async move {
                    let mut asked = request(&chain, "tool.call", "tool:report");
                    asked.attempt = Some("a".parse().unwrap());
                    ask(&house, asked).await
                })
            })
            .collect();
        let mut answers = Vec::new();
        for call in calls {
            // Kept, so that what is granted stays under way.
            answers.push(call.await.unwrap().unwrap());
        }
        let of = |answer: &Admission| match answer {
            Admission::Granted(granted) => granted.admission(),
            Admission::Again(admission) => *admission,
            Admission::Pending(request, _) => panic!("{request}: nobody is asked"),
        };
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Admission::Granted(_))).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| of(answer) == of(&answers[0])), "{answers:?}");
        assert_eq!(house.record(&chain).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_admission_whose_server_died_is_taken_up_by_the_attempt_that_never_got_it() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let id = pending(ask(&house, payment(&chain, "a")).await);
        approve(&house, &chain, id).await;
        let lost = granted(ask(&house, payment(&chain, "a")).await).admission();

        // The next server begins by marking what the dead one left.
        let next = House::of(house.world, Vec::new()).await;
        assert_eq!(next.gate.mark_in_doubt(&server("default")).await.unwrap(), 1);
        let taken = granted(ask(&next, payment(&chain, "a")).await);
        assert_eq!((taken.admission(), taken.approval(), taken.again()), (lost, Some(id), true));
        assert_eq!(next.record(&chain).await[0].state, ActionState::Intent);
        assert_eq!(again(ask(&next, payment(&chain, "a")).await), lost);
        next.gate.settle(*taken, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
        assert_eq!(next.desk.get(chain.tenant(), id).await.unwrap().state, State::Executed);
        assert_eq!((next.held().await, next.record(&chain).await[0].state), (0, ActionState::Done));
        let decisions: Vec<String> =
            next.leaves(&chain).await.into_iter().map(|leaf| format!("{} {}", leaf.action, leaf.decision)).collect();
        let expected = [
            "tool.call_with_approval requires_oversight",
            "oversight.decide approved",
            "tool.call_with_approval allow",
            "gate.in_doubt in_doubt",
            "gate.take_up intent",
            "tool.call_with_approval done",
        ];
        assert_eq!(decisions, expected);
    })
    .await;
}

#[tokio::test]
async fn an_admission_is_given_again_to_the_asker_that_got_it_and_to_nobody_else_also_across_the_death_of_its_server() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let by = |asker: Option<&str>| {
            let mut asked = payment(&chain, "a");
            asked.asker = asker.map(|name| name.parse().unwrap());
            asked
        };
        // Whoever takes over finds the question of the one that died while it waited.
        let id = pending(ask(&house, by(Some("first"))).await);
        assert_eq!(pending(ask(&house, by(Some("second"))).await), id);
        approve(&house, &chain, id).await;
        let admitted = granted(ask(&house, by(Some("second"))).await);
        assert!(!admitted.again());
        assert_eq!(again(ask(&house, by(Some("second"))).await), admitted.admission());
        let lost = admitted.admission();
        for other in [Some("first"), None] {
            assert_eq!(ask(&house, by(other)).await.unwrap_err().code().as_str(), "gate.attempt_used");
        }
        let next = House::of(house.world, Vec::new()).await;
        for state in [ActionState::Intent, ActionState::InDoubt] {
            for other in [Some("first"), None] {
                assert_eq!(ask(&next, by(other)).await.unwrap_err().code().as_str(), "gate.attempt_used");
            }
            assert_eq!(next.record(&chain).await[0].state, state, "who cannot know changes nothing: a human sees the doubt");
            next.gate.mark_in_doubt(&server("default")).await.unwrap();
        }
        let taken = granted(ask(&next, by(Some("second"))).await);
        assert_eq!((taken.admission(), taken.again()), (lost, true));
        next.gate.settle(*taken, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_no_that_was_lost_is_said_again_and_a_question_nobody_answered_is_not_asked_again() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let id = pending(ask(&house, payment(&chain, "a")).await);
        house.desk.decide(&approver("default"), id, None, Some("not this week")).await.unwrap();
        for _ in 0..3 {
            let refusal = ask(&house, payment(&chain, "a")).await.unwrap_err();
            assert!(refusal.code().as_str() == "gate.denied_by_human" && refusal.to_string().contains("not this week"), "{refusal}");
        }
        assert_eq!(house.record(&chain).await.len(), 1, "one refusal is on record");

        let late = pending(ask(&house, payment(&chain, "b")).await);
        house.world.clock.advance(Duration::from_secs(600));
        for _ in 0..2 {
            assert_eq!(ask(&house, payment(&chain, "b")).await.unwrap_err(), Refusal::NotDecided { request: late });
        }
        assert_eq!(house.desk.list(chain.tenant(), None).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_approval_is_for_the_money_and_the_facts_the_human_was_shown() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let asked = |micros: i64, label: &str| {
            let mut asked = request(&chain, ASKING, "tool:pay");
            (asked.wait, asked.reserve, asked.reserve_is_asked) = (Duration::from_secs(600), Micros::new(micros), true);
            asked.context = creto_authz::Context::default().label(label).unwrap();
            asked
        };
        let id = pending(ask(&house, asked(70, "test")).await);
        let shown = house.desk.get(chain.tenant(), id).await.unwrap().action;
        assert!(shown.contains(r#""reserve":"0.00007""#) && shown.contains(r#""context":{"labels":["test"]}"#), "{shown}");
        approve(&house, &chain, id).await;
        for other in [asked(71, "test"), asked(70, "prod")] {
            assert_ne!(pending(ask(&house, other).await), id, "another question");
        }
        assert_eq!(granted(ask(&house, asked(70, "test")).await).approval(), Some(id));
    })
    .await;
}
