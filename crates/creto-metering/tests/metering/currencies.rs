//! Several currencies in one tenant: what is used is billed in its own, and no budget counts another one than its own.

use std::sync::Arc;

use creto_db::testkit::each_engine;
use creto_kernel::time::ManualClock;
use creto_kernel::{Coded as _, ErrorCode, Micros};
use creto_metering::model::customer::Customer;
use creto_metering::model::event::EventInput;
use creto_metering::model::page::Page;
use creto_metering::model::plan::Plan;
use creto_metering::model::wallets::WalletInput;
use creto_metering::{Catalog, FeeFilter, Outcome, Taking};
use creto_nhi::VerifiedChain;
use serde_json::{Value, json};

use super::bills::{Shop, at};
use super::catalog::read;
use super::house::{SETS, request, server};
use super::quotas::{enforcer, put};

const BEGAN: &str = "2026-05-11T10:00:00Z";

/// A plan of 1.234 a call, in a currency.
fn plan(code: &str, currency: &str) -> Value {
    let charge = json!({ "billable_metric_code": "calls", "charge_model": "standard", "properties": { "amount": "1.234" } });
    json!({ "code": code, "interval": "monthly", "amount_currency": currency, "amount_cents": 0, "charges": [charge] })
}

/// A shop whose first plan is in euros, and customers who pay in yen and in dinars.
async fn shop(db: creto_db::Db) -> Shop {
    let metric = json!({ "code": "calls", "aggregation_type": "sum", "field_name": "n" });
    let shop = Shop::open(db, &[metric], &plan("p", "EUR")).await;
    let by = server("default");
    for (whose, currency) in [("yen", "JPY"), ("dinar", "KWD")] {
        shop.catalog.create(&by, read::<Plan>(plan(whose, currency))).await.unwrap();
        shop.catalog.create(&by, Customer::new(whose)).await.unwrap();
        shop.catalog
            .subscribe(&by, read(json!({ "external_id": whose, "external_customer_id": whose, "plan_code": whose })))
            .await
            .unwrap();
    }
    shop
}

fn call(id: &str, subscription: &str, n: i64) -> EventInput {
    read(
        json!({ "transaction_id": id, "external_subscription_id": subscription, "code": "calls", "timestamp": BEGAN, "properties": { "n": n } }),
    )
}

/// What became of each event: what it cost, or why it was refused.
async fn send(shop: &Shop, chain: &VerifiedChain, events: Vec<EventInput>) -> Vec<Result<Micros, ErrorCode>> {
    let taking = Taking { trusted: true, all_or_none: false };
    let answered = shop.meter.ingest_all(chain, taking, events.into_iter().map(Ok).collect()).await.unwrap();
    let said = |outcome| match outcome {
        Outcome::Recorded { cost, .. } => Ok(cost),
        Outcome::Refused(error) => Err(error.code()),
        other => panic!("{other:?}"),
    };
    answered.events.into_iter().map(|(_, outcome)| said(outcome)).collect()
}

#[tokio::test]
async fn each_currency_is_billed_in_its_own_and_budgets_count_only_theirs() {
    each_engine(SETS, async |db| {
        let shop = shop(db).await;
        let (by, tenant) = (server("default"), server("default").tenant().clone());
        let chain = shop.house.chain("default", None, &["planner"]).await;
        let all = vec![call("e", "s", 10), call("y", "yen", 10), call("k", "dinar", 10)];
        // Twelve euros and 34 cents are posted; yen and dinars are not.
        assert_eq!(send(&shop, &chain, all).await, [Ok(Micros::new(12_340_000)), Ok(Micros::ZERO), Ok(Micros::ZERO)]);
        let accounts = shop.meter.accounts(&tenant).await.unwrap();
        assert!(accounts.iter().all(|it| it.spent.get() == 12_340_000 && it.currency.as_deref() == Some("EUR")), "{accounts:?}");
        let wallet = json!({ "external_customer_id": "yen", "wallet": { "currency": "JPY", "rate_amount": "1" }, "granted_credits": "5" });
        shop.billing.wallets().create(&by, read::<WalletInput>(wallet)).await.unwrap();
        let report = shop.meter.check(&tenant).await.unwrap();
        let sums: Vec<_> = report.currencies.iter().map(|it| (it.currency.as_deref(), it.debits.get(), it.credits.get())).collect();
        assert_eq!(sums, [(Some("EUR"), 12_340_000, 12_340_000), (Some("JPY"), 5_000_000, 5_000_000)]);
        assert!(report.ok, "{report:?}");
        // No minor unit of a yen, a thousand of a dinar.
        let usage = async |whose: &str| shop.meter.current_usage(&tenant, whose, at(BEGAN)).await.unwrap().amount_cents.to_i64().unwrap();
        assert_eq!((usage("s").await, usage("yen").await, usage("dinar").await), (1_234, 12, 12_340));
        assert_eq!(shop.meter.cancel(&by, "yen", "y").await.unwrap().given_back, Micros::ZERO, "nothing was posted of it");
        assert!(shop.meter.check(&tenant).await.unwrap().ok);
        shop.bill("2026-05-31T22:00:00Z").await;
        shop.bill("2026-06-01T00:00:00Z").await;
        let listed = shop.billing.fees(&tenant, &FeeFilter::default(), Page::new(1, 100)).await.unwrap();
        let billed = |whose: &str| -> i64 {
            listed
                .items
                .iter()
                .filter(|(_, fee)| fee.external_subscription_id.as_deref() == Some(whose))
                .map(|(_, fee)| fee.amount_cents)
                .sum()
        };
        assert_eq!((billed("s"), billed("yen"), billed("dinar")), (1_234, 0, 12_340));
    })
    .await;
}

#[tokio::test]
async fn the_budgets_currency_stays_that_of_the_plan_committed_first_whatever_other_clocks_say() {
    each_engine(SETS, async |db| {
        let shop = shop(db.clone()).await;
        let (by, tenant) = (server("default"), server("default").tenant().clone());
        let chain = shop.house.chain("default", None, &["planner"]).await;
        let euros = async |id: &str| {
            assert_eq!(
                send(&shop, &chain, vec![call(id, "s", 1), call(&format!("{id}-y"), "yen", 1)]).await,
                [Ok(Micros::new(1_234_000)), Ok(Micros::ZERO)]
            );
            shop.meter.accounts(&tenant).await.unwrap().iter().all(|it| it.currency.as_deref() == Some("EUR"))
        };
        let behind = Catalog::new(db.clone(), Arc::new(ManualClock::at(at("2020-01-01T00:00:00Z"))));
        behind.create(&by, read::<Plan>(plan("early", "JPY"))).await.unwrap();
        assert!(euros("a").await);
        // What earlier versions kept is read as they read it: by what clocks said.
        db.upkeep("DELETE FROM meter_first_plan", vec![]).await.unwrap();
        let fill = include_str!("../../migrations/catalog/0002_first_plan.sql").split(';').nth(1).unwrap();
        db.upkeep(fill, vec![]).await.unwrap();
        let first =
            db.query_optional("SELECT d.code FROM meter_first_plan f JOIN meter_definition d ON d.id = f.plan", vec![]).await.unwrap();
        assert_eq!(first.unwrap().text(0).unwrap(), "early");
    })
    .await;
}

#[tokio::test]
async fn under_a_ceiling_another_currency_is_refused_wherever_the_ceiling_is() {
    each_engine(SETS, async |db| {
        let shop = shop(db).await;
        let (by, tenant) = (server("default"), server("default").tenant().clone());
        let (free, bound) =
            (shop.house.chain("default", None, &["planner"]).await, shop.house.chain("default", Some(50_000_000), &["reader"]).await);
        let refused = ErrorCode::new("metering.budget_currency");
        let both =
            |id: &str| vec![call(&format!("{id}-e"), "s", 1), call(&format!("{id}-y"), "yen", 1), call(&format!("{id}-z"), "yen", 2)];
        let euro = Micros::new(1_234_000);
        assert_eq!(send(&shop, &free, both("a")).await, [Ok(euro), Ok(Micros::ZERO), Ok(Micros::ZERO)]);
        assert_eq!(send(&shop, &bound, both("b")).await, [Ok(euro), Err(refused), Err(refused)], "the link has a ceiling");
        shop.meter.set_ceiling(&by, "tenant", Some(Micros::new(90_000_000))).await.unwrap();
        assert_eq!(send(&shop, &free, both("c")).await, [Ok(euro), Err(refused), Err(refused)], "the tenant has one now");
        // Who pays in yen holds no euros.
        let own = json!({ "external_id": "alice", "external_customer_id": "yen", "plan_code": "yen" });
        shop.catalog.subscribe(&by, read(own)).await.unwrap();
        let mut asked = request(&bound, "tool.call", "tool:report");
        asked.reserve = Micros::new(10);
        let no = shop.house.gate.admit(asked).await.unwrap_err();
        assert_eq!(no.code(), refused, "{no}");
        let report = shop.meter.check(&tenant).await.unwrap();
        assert_eq!((report.ok, report.debits.get()), (true, 3 * 1_234_000));
    })
    .await;
}

#[tokio::test]
async fn a_quota_of_spend_refuses_what_it_cannot_count() {
    each_engine(SETS, async |db| {
        let mut shop = shop(db).await;
        let quotas = enforcer(&shop.house.db, &shop.house.world).await;
        let body = json!({ "code": "spend", "metric": "spend", "scope": "agent", "subject": "reader", "window": "daily", "limit": "100" });
        put(&quotas, body).await;
        shop.meter = shop.meter.with_quotas(quotas);
        let (free, bound) = (shop.house.chain("default", None, &["planner"]).await, shop.house.chain("default", None, &["reader"]).await);
        let refused = ErrorCode::new("metering.budget_currency");
        let both = |id: &str| vec![call(&format!("{id}-e"), "s", 1), call(&format!("{id}-y"), "yen", 1)];
        assert_eq!(send(&shop, &free, both("a")).await, [Ok(Micros::new(1_234_000)), Ok(Micros::ZERO)]);
        assert_eq!(send(&shop, &bound, both("b")).await, [Ok(Micros::new(1_234_000)), Err(refused)]);
    })
    .await;
}
