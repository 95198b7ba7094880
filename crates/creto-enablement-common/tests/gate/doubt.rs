//! An intent without an outcome.

use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::gate::{ActionFilter, ActionState};
use creto_enablement_common::{Admission, Outcome};
use creto_kernel::{Coded, Micros, Phase};
use creto_oversight::model::request::State;

use super::house::{House, SETS, approver, request, server};

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_without_an_outcome_is_in_doubt_until_a_human_says_what_came_of_it() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        // The server marks for every tenant; the leaf stands in the log of the action's own.
        let chain = house.chain("acme", None, &["planner"]).await;
        let ask = || {
            let mut asked = request(&chain, "tool.call_with_approval", "tool:pay");
            (asked.wait, asked.reserve) = (Duration::from_secs(600), Micros::new(70));
            house.gate.admit_within(asked, Duration::ZERO)
        };
        let Admission::Pending(approval, _) = ask().await.unwrap() else { panic!("nobody approved it") };
        let digest = house.desk.get(chain.tenant(), approval).await.unwrap().digest;
        house.desk.decide(&approver("acme"), approval, Some(digest), None).await.unwrap();
        let Admission::Granted(granted) = ask().await.unwrap() else { panic!("it was approved") };
        let admission = granted.admission();
        let settled_before = house.gate.resolve_in_doubt(chain.root(), admission, true).await.unwrap_err();
        assert_eq!(settled_before.code().as_str(), "gate.state_changed", "what is under way is not in doubt");

        assert_eq!(house.gate.mark_in_doubt(&server("default")).await.unwrap(), 1);
        assert_eq!(house.gate.mark_in_doubt(&server("default")).await.unwrap(), 0, "once is enough");
        let filter = ActionFilter { state: Some(ActionState::InDoubt), ..ActionFilter::default() };
        let shown = house.gate.actions(chain.tenant(), &filter).await.unwrap();
        assert_eq!(shown.iter().map(|row| row.admission).collect::<Vec<_>>(), [admission]);
        let leaf = house.leaves(&chain).await.pop().unwrap();
        assert_eq!((leaf.action.as_str(), leaf.decision.as_str(), leaf.chain), ("gate.in_doubt", "in_doubt", Some(chain.digest())));
        assert_eq!(house.held().await, 3 * 70, "nobody knows whether it was spent");

        // The outcome comes too late, and says so.
        let late = house.gate.settle(*granted, Outcome { ok: true, ..Outcome::default() }).await.unwrap_err();
        assert_eq!(late.code().as_str(), "gate.state_changed");

        let settled = house.gate.resolve_in_doubt(chain.root(), admission, true).await.unwrap();
        let row = house.gate.action(chain.tenant(), admission).await.unwrap().unwrap();
        assert_eq!((row.state, row.closed_leaf, house.held().await), (ActionState::Done, Some(settled.leaf), 0));
        assert_eq!(house.desk.get(chain.tenant(), approval).await.unwrap().state, State::Executed);
        let leaf = house.leaves(&chain).await.pop().unwrap();
        assert_eq!((leaf.id, leaf.actor, leaf.phase), (settled.leaf, chain.root().clone(), Phase::Outcome { admission }));
        let twice = house.gate.resolve_in_doubt(chain.root(), admission, false).await.unwrap_err();
        assert_eq!(twice.code().as_str(), "gate.state_changed");
        assert!(house.accounts.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}
