//! Who decides, what, and when: the first decision wins.

use std::time::Duration;

use creto_db::Sealed;
use creto_db::testkit::each_engine;
use creto_enablement_common::{Admission, Approvals as _, OpenRequest};
use creto_kernel::id::{LeafId, RequestId};
use creto_kernel::{Clock as _, Coded, Digest, Kind, Leaf};
use creto_nhi::{Principal, Role, Roles, VerifiedChain};
use creto_oversight::OversightError;
use creto_oversight::model::policy::APPROVED_SECS_DEFAULT;
use creto_oversight::model::request::{COMMENT_BYTES_MAX, Request, State};

use super::house::{House, SETS, approver, human, request, server};

pub(crate) const WAIT: Duration = Duration::from_secs(600);

/// Asks and gives up at once: the request stays.
pub(crate) async fn asked(house: &House, chain: &VerifiedChain, tool: &str) -> Request {
    let mut asking = request(chain, "tool.call_with_approval", &format!("tool:{tool}"));
    asking.arguments.insert("to".to_owned(), "mallory".into());
    asking.wait = WAIT;
    let Admission::Pending(id, _) = house.gate.admit_within(asking, Duration::ZERO).await.unwrap() else { panic!("nobody approved it") };
    house.desk.get(chain.tenant(), id).await.unwrap()
}

pub(crate) fn id(request: &Request) -> RequestId {
    request.id.parse().unwrap()
}

async fn decisions(house: &House, chain: &VerifiedChain) -> Vec<Leaf> {
    house.leaves(chain).await.into_iter().filter(|leaf| leaf.action.as_str() == "oversight.decide").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_approvals_and_denials_at_once_through_two_servers_the_first_wins() {
    each_engine(SETS, async |db| {
        let house = House::open(db.clone(), Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let other = creto_oversight::Desk::new(db, house.world.clock.clone(), server("default"));
        for round in 0..5 {
            let open = asked(&house, &chain, &format!("pay{round}")).await;
            let attempts: Vec<_> = (0..12)
                .map(|n| {
                    let desk = if n % 2 == 0 { house.desk.clone() } else { other.clone() };
                    let (open, yes) = (open.clone(), n % 3 == 0);
                    tokio::spawn(async move { desk.decide(&approver("default"), id(&open), yes.then_some(open.digest), None).await })
                })
                .collect();
            let mut winner = None;
            for attempt in attempts {
                match attempt.await.unwrap() {
                    Ok(request) => assert_eq!(winner.replace(request.state), None, "a second decision was taken"),
                    Err(OversightError::AlreadyDecided(State::Approved | State::Denied)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            let stands = house.desk.get(chain.tenant(), id(&open)).await.unwrap();
            assert_eq!((Some(stands.state), stands.decided_by.is_some()), (winner, true));
            assert_eq!(decisions(&house, &chain).await.len(), round + 1, "one decision, one leaf");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_only_the_time_out_happens_once() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let open = asked(&house, &chain, "pay").await;
        house.world.clock.advance(WAIT);
        // Nobody swept: the request still looks pending, and a decision is late all the same.
        let late = house.desk.decide(&approver("default"), id(&open), Some(open.digest), None).await.unwrap_err();
        assert_eq!((late.code().as_str(), late.kind()), ("oversight.deadline_passed", Kind::Conflict));
        assert_eq!(house.desk.get(chain.tenant(), id(&open)).await.unwrap().state, State::Pending);
        let (waits, late) = futures::future::join(
            futures::future::join_all((0..6).map(|_| house.desk.wait(chain.tenant(), id(&open)))),
            futures::future::join_all((0..6).map(|_| async {
                house.desk.decide(&approver("default"), id(&open), Some(open.digest), None).await.unwrap_err().code().as_str()
            })),
        )
        .await;
        assert!(waits.into_iter().all(|verdict| verdict.unwrap() == creto_enablement_common::Verdict::TimedOut));
        assert!(late.into_iter().all(|code| ["oversight.deadline_passed", "oversight.already_decided"].contains(&code)));
        let leaves = decisions(&house, &chain).await;
        assert_eq!(
            leaves.iter().map(|leaf| (&leaf.actor, leaf.decision.as_str())).collect::<Vec<_>>(),
            [(&server("default"), "timed_out")]
        );
        assert!(house.desk.list(chain.tenant(), Some(State::Pending)).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn only_a_human_with_the_role_approver_decides() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let open = asked(&house, &chain, "pay").await;
        let agent = Principal::in_sandbox(chain.clone());
        let mut promoted = agent.clone();
        promoted.roles = Roles::OPERATOR_AND_APPROVER;
        let mut delegated = human("default", "alice", Roles::OPERATOR_AND_APPROVER);
        delegated.chain = Some(chain.clone());
        for by in [agent, promoted, delegated, human("default", "olga", Roles::only(Role::Operator))] {
            for approve in [Some(open.digest), None] {
                let refused = house.desk.decide(&by, id(&open), approve, None).await.unwrap_err();
                assert_eq!((refused.code().as_str(), refused.kind()), ("oversight.not_an_approver", Kind::Denied), "{by:?}");
            }
        }
        assert_eq!(house.desk.get(chain.tenant(), id(&open)).await.unwrap().state, State::Pending);
        assert!(decisions(&house, &chain).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_approval_names_the_digest_it_approves() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let open = asked(&house, &chain, "pay").await;
        assert_eq!(Digest::of(open.action.as_bytes()), open.digest, "what is shown is what the digest covers");
        let refused = house.desk.decide(&approver("default"), id(&open), Some(Digest::of(b"another")), None).await.unwrap_err();
        assert_eq!((refused.code().as_str(), refused.kind()), ("oversight.digest_mismatch", Kind::Conflict));
        assert!(refused.to_string().contains(&open.digest.to_string()), "{refused}");
        let decided = house.desk.decide(&approver("default"), id(&open), Some(open.digest), None).await.unwrap();
        assert_eq!((decided.state, decided.how.as_deref()), (State::Approved, Some("local_socket")));
        assert_eq!(decided.decided_by, Some(approver("default").identity.to_string()));
    })
    .await;
}

#[tokio::test]
async fn a_comment_has_a_limit_and_stays_out_of_the_log() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let open = asked(&house, &chain, "pay").await;
        let comment = "é".repeat(COMMENT_BYTES_MAX / 2);
        let longer = format!("{comment}x");
        let refused = house.desk.decide(&approver("default"), id(&open), None, Some(&longer)).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "oversight.comment_too_long");
        let decided = house.desk.decide(&approver("default"), id(&open), None, Some(&comment)).await.unwrap();
        assert_eq!(decided.comment.as_deref(), Some(comment.as_str()));
        let leaf = decisions(&house, &chain).await.pop().unwrap();
        assert!(leaf.digests.contains_key("comment") && leaf.digests["comment"] != Digest::of(comment.as_bytes()), "salted");
        let text = String::from_utf8(leaf.canonical_bytes().unwrap()).unwrap();
        assert!(!text.contains('é') && !text.contains("mallory"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_second_request_for_one_digest_is_refused_while_the_first_is_open() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let asking = request(&chain, "tool.call_with_approval", "tool:pay");
        let action = creto_kernel::CanonicalAction {
            tenant: chain.tenant().clone(),
            agent: chain.leaf().clone(),
            chain: chain.authority(),
            action: asking.action.clone(),
            resource: asking.resource.clone(),
            arguments: asking.arguments.clone(),
            context: asking.context.to_json(),
            reserve: None,
            schema: None,
            policy: None,
        };
        let now = house.world.clock.now();
        let open = async || {
            let request = OpenRequest {
                id: RequestId::generate(),
                digest: action.digest().unwrap(),
                lookup: action.digest().unwrap(),
                leaf: LeafId::generate(),
                presented: chain.digest(),
                schema: None,
                editable: false,
                action: action.clone(),
                salt: [7; 32],
                rule: "require_approval".to_owned(),
                run: None,
                hops: vec![chain.root().clone(), chain.leaf().clone()],
                reason: None,
                now,
                deadline: now.saturating_add(WAIT),
            };
            let name = "oversight.request".parse().unwrap();
            let leaf = Leaf::event(LeafId::generate(), now, chain.leaf().clone(), name, action.resource.clone(), "requires_oversight");
            house.db.commit(Sealed::new(leaf).steps(house.desk.open(&request).await.unwrap().steps)).await.map(|_| request.id)
        };
        let first = open().await.unwrap();
        assert_eq!(open().await.unwrap_err().code().as_str(), "oversight.already_open");
        house.desk.decide(&approver("default"), first, Some(action.digest().unwrap()), None).await.unwrap();
        assert_eq!(
            open().await.unwrap_err().code().as_str(),
            "oversight.already_open",
            "an approval nobody used is found, not asked for again"
        );
        let found = house.desk.find(chain.tenant(), action.digest().unwrap(), now).await.unwrap().unwrap();
        assert_eq!((found.id, found.digest), (first, action.digest().unwrap()));
    })
    .await;
}

#[tokio::test]
async fn an_approval_nobody_used_for_a_day_is_asked_for_again() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let open = asked(&house, &chain, "pay").await;
        house.desk.decide(&approver("default"), id(&open), Some(open.digest), None).await.unwrap();
        house.world.clock.advance(Duration::from_secs(APPROVED_SECS_DEFAULT.into()));
        // A renewed chain has the same authority, and so its actions the same digests.
        let renewed = house.chain("default", None, &["planner"]).await;
        let again = asked(&house, &renewed, "pay").await;
        assert!(again.digest == open.digest && again.id != open.id, "{again:?}");
        let lapsed = house.desk.get(chain.tenant(), id(&open)).await.unwrap();
        assert_eq!((lapsed.state, lapsed.decided_by), (State::Expired, Some(approver("default").identity.to_string())));
        let said: Vec<String> = decisions(&house, &chain).await.into_iter().map(|leaf| leaf.decision).collect();
        assert_eq!(said, ["approved", "expired"]);
    })
    .await;
}
