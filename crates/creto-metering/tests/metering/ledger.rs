//! Whatever happens in whatever order, the ledger is what a model on paper says.

use creto_db::Db;
use creto_kernel::Coded;
use creto_kernel::id::HoldId;
use proptest::prelude::*;

use super::budgets::{hold, post, priced, void};
use super::house::{House, SETS};

const CEILING: i64 = 100;

#[derive(Clone, Copy, Debug)]
enum Op {
    Hold(i64),
    /// Settles the nth hold ever made, for so much.
    Settle(usize, i64),
    Void(usize),
    Direct(i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1_i64..60).prop_map(Op::Hold),
        2 => (0_usize..8, 0_i64..80).prop_map(|(n, amount)| Op::Settle(n, amount)),
        1 => (0_usize..8).prop_map(Op::Void),
        1 => (1_i64..60).prop_map(Op::Direct),
    ]
}

/// What must be, on paper: holds are (amount, open).
#[derive(Default)]
struct Paper {
    spent: i64,
    holds: Vec<(i64, bool)>,
}

impl Paper {
    fn held(&self) -> i64 {
        self.holds.iter().filter(|(_, open)| *open).map(|(amount, _)| amount).sum()
    }

    fn has_room(&self, amount: i64) -> bool {
        self.spent + self.held() + amount <= CEILING
    }

    fn close(&mut self, nth: usize) -> bool {
        self.holds.get_mut(nth).is_some_and(|(_, open)| std::mem::take(open))
    }
}

async fn follow(ops: Vec<Op>) {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(Db::open_sqlite(&folder.path().join("ledger.db"), SETS).unwrap(), Vec::new()).await;
    let chain = house.chain("default", Some(CEILING), &["planner", "researcher"]).await;
    let meter = priced(&house, &chain).await;
    let (mut paper, mut ids): (Paper, Vec<HoldId>) = Default::default();
    for op in ops {
        let (expected, outcome) = match op {
            Op::Hold(amount) => {
                let fits = paper.has_room(amount);
                let outcome = hold(&house, &chain, amount).await.map(|id| ids.push(id));
                if fits {
                    paper.holds.push((amount, true));
                }
                (fits.then_some(()).ok_or("metering.budget_exceeded"), outcome)
            }
            Op::Direct(amount) => {
                let fits = paper.has_room(amount);
                paper.spent += if fits { amount } else { 0 };
                (fits.then_some(()).ok_or("metering.budget_exceeded"), post(&house, &chain, None, amount).await)
            }
            Op::Settle(nth, amount) => {
                let Some(id) = ids.get(nth).copied() else { continue };
                let open = paper.close(nth);
                paper.spent += if open { amount } else { 0 };
                (open.then_some(()).ok_or("metering.hold_closed"), post(&house, &chain, Some(id), amount).await)
            }
            Op::Void(nth) => {
                let Some(id) = ids.get(nth).copied() else { continue };
                (paper.close(nth).then_some(()).ok_or("metering.hold_closed"), void(&house, &chain, id).await)
            }
        };
        assert_eq!(outcome.map_err(|e| e.code().as_str()), expected, "{op:?}");
        let report = meter.check(chain.tenant()).await.unwrap();
        assert!(report.ok && report.debits == report.credits && report.debits.get() == paper.spent, "{op:?}: {report:?}");
        for account in meter.accounts(chain.tenant()).await.unwrap() {
            assert_eq!((account.spent.get(), account.held.get()), (paper.spent, paper.held()), "{op:?}: {account:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_holds_postings_and_voids_keeps_debits_equal_to_credits(ops in prop::collection::vec(op(), 1..24)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(follow(ops));
    }
}
