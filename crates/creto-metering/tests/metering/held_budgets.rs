//! Budgets that are held while somebody works: within every ceiling and quota, settled once, by whom they are held for.

use std::sync::Arc;

use creto_db::testkit::each_engine;
use creto_kernel::{Coded, Micros};
use creto_metering::{BudgetInput, BudgetUse, Budgets};
use serde_json::{Value, json};

use super::budgets::priced;
use super::house::SETS;
use super::quotas::{limited, put};

fn input(body: Value) -> BudgetInput {
    serde_json::from_value(body).unwrap()
}

fn of(body: Value) -> BudgetUse {
    serde_json::from_value(body).unwrap()
}

#[tokio::test]
async fn a_budget_is_held_within_every_ceiling_and_quota_and_settled_once_by_its_holder() {
    each_engine(SETS, async |db| {
        let (house, quotas) = limited(db).await;
        let chain = house.chain("default", Some(100), &["planner"]).await;
        let other = house.chain("default", Some(100), &["writer"]).await;
        let meter = priced(&house, &chain).await;
        put(&quotas, json!({ "code": "m", "metric": "micros", "scope": "agent", "window": "daily", "limit": "90" })).await;
        let budgets = Budgets::new(Arc::clone(&house.gate), house.world.clock.clone());
        let asked = |amount: &str, expects: i64| {
            input(json!({ "name": "report", "amount": amount, "expects": [{ "code": "micros", "quantity": expects.to_string() }] }))
        };
        let first = budgets.hold(&chain, asked("0.00006", 60)).await.unwrap();
        assert_eq!((house.held().await, first.amount), (3 * 60, Micros::new(60)));
        for (amount, expects, code) in [("0.00005", 10, "metering.budget_exceeded"), ("0.00001", 31, "metering.quota_exceeded")] {
            assert_eq!(budgets.hold(&chain, asked(amount, expects)).await.unwrap_err().code().as_str(), code);
        }
        let admission = first.admission.parse().unwrap();
        let used = |units: &str| of(json!({ "usage": [{ "code": "micros", "quantity": units }] }));
        assert_eq!(budgets.settle(other.leaf(), admission, used("1")).await.unwrap_err().code().as_str(), "metering.unknown_definition");
        // What cannot be posted leaves the budget held.
        let nothing = of(json!({ "usage": [{ "code": "nothing-of-this-name", "quantity": "1" }] }));
        assert_eq!(budgets.settle(chain.leaf(), admission, nothing).await.unwrap_err().code().as_str(), "metering.unknown_metric");
        assert_eq!(house.held().await, 3 * 60);
        assert_eq!(budgets.settle(chain.leaf(), admission, used("40")).await.unwrap().cost, Micros::new(40));
        assert_eq!(budgets.settle(chain.leaf(), admission, used("40")).await.unwrap_err().code().as_str(), "metering.unknown_definition");
        assert_eq!(house.held().await, 0);
        // The twenty that were not used are there again.
        let second = budgets.hold(&chain, asked("0.00005", 50)).await.unwrap();
        budgets.settle(chain.leaf(), second.admission.parse().unwrap(), of(json!({ "ok": false }))).await.unwrap();
        assert!(meter.check(chain.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test]
async fn a_budget_that_means_nothing_is_refused_by_its_field_and_one_asked_again_is_the_same() {
    each_engine(SETS, async |db| {
        let (house, _) = limited(db).await;
        let chain = house.chain("default", Some(100), &["planner"]).await;
        let budgets = Budgets::new(Arc::clone(&house.gate), house.world.clock.clone());
        let line = |code: &str, quantity: &str| json!({ "name": "b", "expects": [{ "code": code, "quantity": quantity }] });
        for (body, field) in [
            (json!({ "name": "" }), "name"),
            (json!({ "name": "b", "amount": "-1" }), "amount"),
            (line("micros", "0"), "expects"),
            (line("micros", "-1"), "expects"),
            (line("runtime.seconds", "1"), "expects"),
            (json!({ "name": "b", "attempt_id": "" }), "attempt_id"),
        ] {
            let error = budgets.hold(&chain, input(body.clone())).await.unwrap_err();
            assert_eq!(error.code().as_str(), "metering.bad_definition", "{body}");
            assert!(error.to_string().contains(&format!("`{field}`")), "{body}: {error}");
        }
        assert!(serde_json::from_value::<BudgetInput>(json!({ "name": "b", "ceiling": "1" })).is_err());
        let again = || input(json!({ "name": "b", "amount": "0.00001", "attempt_id": "first-try" }));
        let (first, second) = (budgets.hold(&chain, again()).await.unwrap(), budgets.hold(&chain, again()).await.unwrap());
        assert_eq!((&first.admission, first.again, second.again), (&second.admission, false, true));
        assert_eq!(house.held().await, 3 * 10, "held once");
    })
    .await;
}
