//! Sixty-four tasks against one ceiling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use creto_db::testkit::each_engine;
use creto_kernel::{Coded, Micros};

use super::budgets::{hold, post, priced, void};
use super::house::{House, SETS};

const TASKS: i64 = 64;
const ROUNDS: i64 = 4;
/// A hold is 1 to 7 times ten; all of them together would be about four times the ceiling.
const CEILING: i64 = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_tasks_never_pass_one_ceiling_and_nothing_is_lost() {
    each_engine(SETS, async |db| {
        let house = Arc::new(House::open(db, Vec::new()).await);
        let chain = house.chain("default", Some(CEILING), &["planner", "researcher", "reader"]).await;
        let meter = priced(&house, &chain).await;
        let (posted, refused, done) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));

        let watcher = tokio::spawn({
            let (meter, tenant, done) = (meter.clone(), chain.tenant().clone(), Arc::clone(&done));
            async move {
                let mut seen = 0_u32;
                while !done.load(Ordering::SeqCst) {
                    for account in meter.accounts(&tenant).await.unwrap() {
                        let used = account.spent.get() + account.held.get();
                        assert!(account.ceiling.is_none_or(|ceiling| used <= ceiling.get()), "{account:?}");
                        seen += u32::from(used > 0);
                    }
                }
                seen
            }
        });
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (house, chain, posted, refused) = (Arc::clone(&house), chain.clone(), Arc::clone(&posted), Arc::clone(&refused));
                tokio::spawn(async move {
                    for round in 0..ROUNDS {
                        let amount = (1 + (task + round) % 7) * 10;
                        match hold(&house, &chain, amount).await {
                            Ok(held) if (task + round) % 3 == 0 => void(&house, &chain, held).await.unwrap(),
                            Ok(held) => {
                                // Less than was held: the rest is released.
                                post(&house, &chain, Some(held), amount - 3).await.unwrap();
                                posted.fetch_add(amount - 3, Ordering::SeqCst);
                            }
                            Err(error) => {
                                assert_eq!(error.code().as_str(), "metering.budget_exceeded", "{error}");
                                refused.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        assert!(watcher.await.unwrap() > 0, "the watcher saw money move");
        assert!(refused.load(Ordering::SeqCst) > 0, "the ceiling was met");
        let report = meter.check(chain.tenant()).await.unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!((report.debits, house.held().await), (Micros::new(posted.load(Ordering::SeqCst)), 0));
    })
    .await;
}
