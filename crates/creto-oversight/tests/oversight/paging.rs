//! Many requests: read page by page, and bounded for each agent.

use std::collections::BTreeSet;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::{Admission, Refusal};
use creto_kernel::id::RequestId;
use creto_kernel::{Coded, Kind};
use creto_nhi::VerifiedChain;
use creto_oversight::OPEN_PER_AGENT_MAX;
use creto_oversight::model::request::{RequestFilter, State};

use super::house::{House, SETS, approver, request};

const WAIT: Duration = Duration::from_secs(600);

async fn ask(house: &House, chain: &VerifiedChain, number: u32) -> Result<RequestId, Refusal> {
    let mut asked = request(chain, "tool.call_with_approval", "tool:pay");
    asked.arguments.insert("number".to_owned(), number.into());
    asked.wait = WAIT;
    match house.gate.admit_within(asked, Duration::ZERO).await? {
        Admission::Pending(id, _) => Ok(id),
        other => Err(Refusal::denied(format!("nobody approved {other:?}"))),
    }
}

#[tokio::test]
async fn page_by_page_every_request_is_read_once_newest_first() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let mut asked = Vec::new();
        for number in 0..7 {
            asked.push(ask(&house, &chain, number).await.unwrap().to_string());
        }
        let denied: RequestId = asked.remove(3).parse().unwrap();
        house.desk.decide(&approver("default"), denied, None, None).await.unwrap();
        asked.reverse();

        let (mut read, mut filter) =
            (Vec::new(), RequestFilter { state: Some(State::Pending), limit: Some(2), ..RequestFilter::default() });
        let mut sizes = Vec::new();
        loop {
            let page = house.desk.page(chain.tenant(), &filter).await.unwrap();
            sizes.push(page.requests.len());
            read.extend(page.requests.into_iter().map(|request| request.id));
            let Some(next) = page.next else { break };
            // What comes meanwhile is newer, and moves no page.
            ask(&house, &chain, 100 + u32::try_from(sizes.len()).unwrap()).await.unwrap();
            filter.before = Some(next.parse().unwrap());
        }
        assert_eq!((read, sizes), (asked, vec![2, 2, 2]));
        let other = house.chain("other", None, &["planner"]).await;
        assert_eq!(house.desk.page(other.tenant(), &filter).await.unwrap().requests, []);
    })
    .await;
}

#[tokio::test]
async fn an_agent_has_so_many_open_requests_and_no_more_and_takes_no_others_room() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let mut open = BTreeSet::new();
        for number in 0..OPEN_PER_AGENT_MAX {
            open.insert(ask(&house, &chain, number).await.unwrap());
        }
        let refusal = ask(&house, &chain, OPEN_PER_AGENT_MAX).await.unwrap_err();
        assert_eq!((refusal.code().as_str(), refusal.kind()), ("oversight.too_many_open", Kind::Limited));
        assert!(open.contains(&ask(&house, &chain, 0).await.unwrap()), "what is open already is found as before");
        // Others are not it: not one whose name ends alike, nor one below it.
        for agents in [&["x_planner"][..], &["planner", "writer"]] {
            let other = house.chain("default", None, agents).await;
            ask(&house, &other, 0).await.unwrap();
        }
        let decided = *open.first().unwrap();
        house.desk.decide(&approver("default"), decided, None, None).await.unwrap();
        ask(&house, &chain, OPEN_PER_AGENT_MAX).await.unwrap();
        assert!(ask(&house, &chain, OPEN_PER_AGENT_MAX + 1).await.is_err());
        // Time that ran out makes room too, before anybody looked.
        house.world.clock.advance(WAIT);
        ask(&house, &chain, OPEN_PER_AGENT_MAX + 1).await.unwrap();
    })
    .await;
}
