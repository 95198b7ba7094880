//! Ceilings along a chain, and amounts at the edge of what an amount can be.

use creto_db::testkit::each_engine;
use creto_db::{DbError, Sealed};
use creto_enablement_common::{Funding, Ledger as _, Usage};
use creto_kernel::id::{AdmissionId, HoldId, LeafId};
use creto_kernel::{Clock as _, Coded, Leaf, Micros, NhiKind};
use creto_metering::Meter;
use creto_metering::model::metric::{Aggregation, Metric};
use creto_nhi::{DelegationChain, Source, VerifiedChain};
use std::sync::Arc;

use super::house::{House, SETS};

/// A leaf for what the Gate would have recorded.
pub(crate) fn leaf(chain: &VerifiedChain) -> Leaf {
    let time = creto_kernel::Timestamp::EPOCH;
    Leaf::event(LeafId::generate(), time, chain.leaf().clone(), "test.do".parse().unwrap(), "test:it".parse().unwrap(), "done")
}

pub(crate) async fn hold(house: &House, chain: &VerifiedChain, micros: i64) -> Result<HoldId, DbError> {
    let id = HoldId::generate();
    let steps = house.accounts.hold(id, chain, Micros::new(micros), house.world.clock.now()).await.unwrap();
    house.db.commit(Sealed::new(leaf(chain)).steps(steps)).await.map(|_| id)
}

/// Posts `micros`, at one micro a unit.
pub(crate) async fn post(house: &House, chain: &VerifiedChain, hold: Option<HoldId>, micros: i64) -> Result<(), DbError> {
    let usage = [Usage::measured("micros", micros)];
    let posting = house
        .accounts
        .settle(
            hold.map_or(Funding::Ahead, |hold| Funding::Happened(Some(hold))),
            chain,
            AdmissionId::generate(),
            &usage,
            house.world.clock.now(),
        )
        .await
        .unwrap();
    house.db.commit(Sealed::new(leaf(chain)).steps(posting.steps)).await?;
    assert_eq!(posting.cost.cost(), Micros::new(micros));
    Ok(())
}

pub(crate) async fn void(house: &House, chain: &VerifiedChain, hold: HoldId) -> Result<(), DbError> {
    let steps = house.accounts.void(chain.tenant(), hold, house.world.clock.now());
    house.db.commit(Sealed::new(leaf(chain)).steps(steps)).await.map(|_| ())
}

/// The metric `micros`: a unit costs a micro.
pub(crate) async fn priced(house: &House, chain: &VerifiedChain) -> Meter {
    let meter = Meter::new(house.db.clone(), Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
    let metric = Metric { aggregation: Aggregation::Sum, field: "quantity".to_owned(), unit_price: "0.000001".parse().unwrap() };
    meter.put_metric(chain.root(), "micros", metric).await.unwrap();
    meter
}

async fn further<'a>(house: &House, from: impl Into<Source<'a>>, agent: &str, budget: i64, depth: u8) -> DelegationChain {
    let to = house.world.identity("default", NhiKind::Agent, agent).await;
    house.world.authority.delegate(from, &to, house.world.grant(Some(Micros::new(budget)), depth)).await.unwrap()
}

#[tokio::test]
async fn a_ceiling_anywhere_in_a_chain_of_four_hops_binds_everything_below_it() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let alice = house.world.identity("default", NhiKind::Human, "alice").await;
        let planner = further(&house, &alice, "planner", 1_000, 3).await;
        let writer = further(&house, &planner, "writer", 800, 2).await;
        let coder = further(&house, &planner, "coder", 800, 2).await;
        let tester = further(&house, &coder, "tester", 500, 1).await;
        let now = house.world.clock.now();
        let verify = |chain: &DelegationChain| house.world.authority.verify(chain, now).unwrap();
        let (writer, coder, tester) = (verify(&writer), verify(&coder), verify(&tester));
        let meter = priced(&house, &writer).await;
        assert_eq!(tester.hops().len(), 4);

        assert_eq!(house.accounts.available(&tester).await.unwrap(), Some(Micros::new(500)));
        post(&house, &tester, None, 400).await.unwrap();
        let names = |error: DbError, who: &str| {
            assert_eq!(error.code().as_str(), "metering.budget_exceeded");
            assert!(error.to_string().contains(&format!("`{who}`")), "{error} names {who}");
        };
        names(post(&house, &tester, None, 101).await.unwrap_err(), "tester");
        names(hold(&house, &coder, 401).await.unwrap_err(), "coder");
        let held = hold(&house, &writer, 500).await.unwrap();
        // 400 spent and 500 held under the planner: the coder has 400 of its own left, and the planner only 100.
        assert_eq!(house.accounts.available(&coder).await.unwrap(), Some(Micros::new(100)));
        names(hold(&house, &coder, 101).await.unwrap_err(), "planner");
        void(&house, &writer, held).await.unwrap();
        post(&house, &coder, None, 400).await.unwrap();
        names(post(&house, &tester, None, 1).await.unwrap_err(), "coder");
        post(&house, &writer, None, 200).await.unwrap();
        assert_eq!(house.accounts.available(&writer).await.unwrap(), Some(Micros::ZERO));

        let report = meter.check(writer.tenant()).await.unwrap();
        assert_eq!((report.ok, report.debits), (true, Micros::new(1_000)), "{report:?}");
    })
    .await;
}

#[tokio::test]
async fn what_costs_more_than_was_held_is_posted_in_full_and_stops_what_comes_after() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", Some(100), &["planner"]).await;
        let meter = priced(&house, &chain).await;
        let held = hold(&house, &chain, 100).await.unwrap();
        post(&house, &chain, Some(held), 130).await.unwrap();
        assert_eq!(house.accounts.available(&chain).await.unwrap(), Some(Micros::ZERO));
        assert_eq!(hold(&house, &chain, 1).await.unwrap_err().code().as_str(), "metering.budget_exceeded");
        for second in [post(&house, &chain, Some(held), 1).await, void(&house, &chain, held).await] {
            assert_eq!(second.unwrap_err().code().as_str(), "metering.hold_closed");
        }
        let report = meter.check(chain.tenant()).await.unwrap();
        assert_eq!((report.ok, report.debits, house.held().await), (true, Micros::new(130), 0), "{report:?}");
    })
    .await;
}

#[tokio::test]
async fn the_largest_amount_twice_is_refused_and_poisons_no_account() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = priced(&house, &chain).await;
        let held = hold(&house, &chain, i64::MAX).await.unwrap();
        for amount in [i64::MAX, 1] {
            assert_eq!(hold(&house, &chain, amount).await.unwrap_err().code().as_str(), "metering.budget_exceeded");
        }
        assert!(meter.accounts(chain.tenant()).await.unwrap().iter().all(|account| account.held == Micros::MAX));
        void(&house, &chain, held).await.unwrap();
        post(&house, &chain, None, 5).await.unwrap();
        assert!(meter.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test]
async fn an_operator_moves_a_ceiling_and_the_next_action_meets_it() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", Some(100), &["planner"]).await;
        let meter = priced(&house, &chain).await;
        let link = format!("link:{}", chain.hops()[1].link.unwrap());
        let unknown = meter.set_ceiling(chain.root(), &link, None).await.unwrap_err();
        assert_eq!(unknown.code().as_str(), "metering.unknown_account", "an account exists from its first use");
        post(&house, &chain, None, 60).await.unwrap();
        for (ceiling, amount, fits) in [(Some(60), 1, false), (Some(61), 1, true), (Some(10), 1, false), (None, 1_000_000, true)] {
            meter.set_ceiling(chain.root(), &link, ceiling.map(Micros::new)).await.unwrap();
            assert_eq!(post(&house, &chain, None, amount).await.is_ok(), fits, "{ceiling:?}");
        }
        let negative = meter.set_ceiling(chain.root(), &link, Some(Micros::new(-1))).await.unwrap_err();
        assert_eq!(negative.code().as_str(), "metering.bad_metric");
        assert!(meter.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test]
async fn the_check_names_an_account_whose_counter_was_tampered_with() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let meter = priced(&house, &chain).await;
        post(&house, &chain, None, 60).await.unwrap();
        for column in [
            "UPDATE meter_account SET spent = spent - 1 WHERE account = 'tenant'",
            "UPDATE meter_account SET held = held + 1 WHERE account = 'tenant'",
        ] {
            house.db.upkeep(column, vec![]).await.unwrap();
            let report = meter.check(chain.tenant()).await.unwrap();
            assert_eq!((report.ok, report.disagreements), (false, vec!["tenant".to_owned()]));
            house.db.upkeep("UPDATE meter_account SET spent = 60, held = 0 WHERE account = 'tenant'", vec![]).await.unwrap();
        }
        house.db.upkeep("UPDATE meter_entry SET micros = 61 WHERE side = 'debit'", vec![]).await.unwrap();
        let report = meter.check(chain.tenant()).await.unwrap();
        assert!(!report.ok && report.debits != report.credits, "{report:?}");
    })
    .await;
}
