//! Who settles an intent, and what becomes of those nobody settles while servers live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use creto_db::Step;
use creto_db::testkit::each_engine;
use creto_enablement_common::gate::{ActionState, SERVER_LEASE, ServerId};
use creto_enablement_common::ports::Posting;
use creto_enablement_common::{Funding, Gate, GateOptions, Ledger, Outcome, Refusal, Usage};
use creto_kernel::id::{AdmissionId, HoldId};
use creto_kernel::{Coded, ErrorCode, Kind, Micros, TenantId, Timestamp};
use creto_metering::Accounts;
use creto_nhi::VerifiedChain;
use futures::future::BoxFuture;

use super::house::{House, SETS, request, server};

/// A Gate of its own over the house's database, as a second server has it.
fn gate(house: &House, id: ServerId, ledger: Arc<dyn Ledger>) -> Gate {
    Gate::new(GateOptions {
        authority: house.world.authority.clone(),
        authz: Arc::clone(&house.authz),
        extensions: Vec::new(),
        ledger,
        approvals: Arc::new(house.desk.clone()),
        log: house.lag.clone(),
        db: house.db.clone(),
        clock: house.world.clock.clone(),
    })
    .of_server(id)
}

async fn states(house: &House, chain: &VerifiedChain) -> Vec<ActionState> {
    house.record(chain).await.iter().map(|row| row.state).collect()
}

#[tokio::test]
async fn a_start_leaves_alone_what_a_living_server_has_under_way_and_marks_its_own_and_the_deads() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let by = server("default");
        let accounts = || Arc::new(house.accounts.clone());
        let (first, second) = (ServerId::generate(), ServerId::generate());
        let living = gate(&house, first, accounts());
        assert_eq!(living.mark_in_doubt(&by).await.unwrap(), 0);
        let under_way = living.admit(request(&chain, "tool.call", "tool:report")).await.unwrap();

        let other = gate(&house, second, accounts());
        assert_eq!(other.mark_in_doubt(&by).await.unwrap(), 0, "its server says that it lives");
        let others = other.admit(request(&chain, "tool.call", "tool:report")).await.unwrap();
        assert_eq!((other.tend(&by).await.unwrap(), living.tend(&by).await.unwrap()), (0, 0));
        living.settle(under_way, Outcome { ok: true, ..Outcome::default() }).await.unwrap();

        // The second dies, and comes back under its name: what it left is its own, whatever its lease says.
        drop(other);
        assert_eq!(living.tend(&by).await.unwrap(), 0, "another server does not know yet that it died");
        let again = gate(&house, second, accounts());
        assert_eq!(again.mark_in_doubt(&by).await.unwrap(), 1);
        assert_eq!(states(&house, &chain).await, [ActionState::Done, ActionState::InDoubt]);
        drop(others);
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_server_left_is_marked_by_another_once_its_lease_is_over_and_its_own_outcome_comes_too_late() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let by = server("default");
        let paused = gate(&house, ServerId::generate(), Arc::new(house.accounts.clone()));
        paused.tend(&by).await.unwrap();
        let under_way = paused.admit(request(&chain, "tool.call", "tool:report")).await.unwrap();
        let other = gate(&house, ServerId::generate(), Arc::new(house.accounts.clone()));
        house.world.clock.advance(SERVER_LEASE - Duration::from_secs(1));
        assert_eq!(other.tend(&by).await.unwrap(), 0);
        house.world.clock.advance(Duration::from_secs(1));
        assert_eq!(other.tend(&by).await.unwrap(), 1);
        let late = paused.settle(under_way, Outcome { ok: true, ..Outcome::default() }).await.unwrap_err();
        assert_eq!(late.code().as_str(), "gate.state_changed", "whoever was taken for dead settles nothing behind the others' backs");
        assert_eq!(states(&house, &chain).await, [ActionState::InDoubt]);

        // One that ends in good order leaves nothing for the lease to wait for.
        let ending = gate(&house, ServerId::generate(), Arc::new(house.accounts.clone()));
        ending.tend(&by).await.unwrap();
        let _unsettled = ending.admit(request(&chain, "tool.call", "tool:report")).await.unwrap();
        ending.leave().await.unwrap();
        assert_eq!(other.tend(&by).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_admission_that_was_dropped_is_in_doubt_at_the_next_heartbeat() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let by = server("default");
        let held = house.gate.admit(request(&chain, "tool.call", "tool:report")).await.unwrap();
        let dropped = house.gate.admit(request(&chain, "tool.call", "tool:report")).await.unwrap();
        assert_eq!(house.gate.tend(&by).await.unwrap(), 0);
        drop(dropped);
        assert_eq!(house.gate.tend(&by).await.unwrap(), 1);
        assert_eq!(states(&house, &chain).await, [ActionState::Intent, ActionState::InDoubt]);
        house.gate.settle(held, Outcome { ok: true, ..Outcome::default() }).await.unwrap();
        assert_eq!(house.gate.tend(&by).await.unwrap(), 0);
    })
    .await;
}

/// The house's accounts, behind a database that goes away and comes back.
#[derive(Debug)]
struct Away {
    accounts: Accounts,
    away: Arc<AtomicBool>,
    /// With which kind it refuses.
    kind: Kind,
}

impl Ledger for Away {
    fn hold<'a>(
        &'a self,
        hold: HoldId,
        chain: &'a VerifiedChain,
        amount: Micros,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Step>>, Refusal>> {
        self.accounts.hold(hold, chain, amount, now)
    }
    fn settle<'a>(
        &'a self,
        funding: Funding,
        chain: &'a VerifiedChain,
        admission: AdmissionId,
        usage: &'a [Usage],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Posting, Refusal>> {
        if self.away.load(Ordering::SeqCst) {
            let (code, kind) = (ErrorCode::new("db.unavailable"), self.kind);
            return Box::pin(async move { Err(Refusal::Port { code, kind, message: "nobody answers".to_owned() }) });
        }
        self.accounts.settle(funding, chain, admission, usage, now)
    }
    fn void(&self, tenant: &TenantId, hold: HoldId, now: Timestamp) -> Vec<Box<dyn Step>> {
        self.accounts.void(tenant, hold, now)
    }
    fn available<'a>(&'a self, chain: &'a VerifiedChain) -> BoxFuture<'a, Result<Option<Micros>, Refusal>> {
        self.accounts.available(chain)
    }
    fn price<'a>(&'a self, tenant: &'a TenantId, usage: &'a [Usage]) -> BoxFuture<'a, Result<Micros, Refusal>> {
        self.accounts.price(tenant, usage)
    }
}

#[tokio::test]
async fn an_outcome_the_database_could_not_take_is_recorded_once_it_can_without_a_restart() {
    each_engine(SETS, async |db| {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let by = server("default");
        for (kind, states_after) in [(Kind::Unavailable, ActionState::Done), (Kind::Internal, ActionState::InDoubt)] {
            let away = Arc::new(AtomicBool::new(false));
            let ledger = Away { accounts: house.accounts.clone(), away: Arc::clone(&away), kind };
            let gate = gate(&house, ServerId::generate(), Arc::new(ledger));
            let mut asked = request(&chain, "tool.call", "tool:report");
            asked.reserve = Micros::new(500_000);
            let granted = gate.admit(asked).await.unwrap();
            let admission = granted.admission();
            away.store(true, Ordering::SeqCst);
            let usage = vec![Usage::measured("runtime.seconds", 100)];
            assert!(gate.settle(granted, Outcome { ok: true, usage, ..Outcome::default() }).await.is_err());
            let state = async || house.gate.action(chain.tenant(), admission).await.unwrap().unwrap().state;
            assert_eq!(state().await, ActionState::Intent);
            if kind == Kind::Unavailable {
                assert_eq!(gate.tend(&by).await.unwrap(), 0, "it is still kept");
                assert_eq!(state().await, ActionState::Intent);
            }
            away.store(false, Ordering::SeqCst);
            gate.tend(&by).await.unwrap();
            assert_eq!(state().await, states_after);
        }
        let rows = house.record(&chain).await;
        assert_eq!((rows[0].cost, rows[1].cost), (Micros::new(5_000), Micros::ZERO), "what was used is posted with it, once");
        assert_eq!(house.held().await, 3 * 500_000, "what is in doubt stays held");
        assert!(house.accounts.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}
