//! Alerts on both engines: told once for a period, whoever looks and whoever died; of balances each time they come down.

use std::sync::Arc;

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_kernel::Coded as _;
use creto_metering::model::alert::{Alert, AlertChange, AlertRecord, Watched};
use creto_metering::model::wallets::{Movement, WalletInput};
use creto_metering::{AlertOptions, Alerts, Billing, Catalog, Wallets};
use serde_json::{Value, json};

use super::books::Books;
use super::catalog::read;
use super::house::{SETS, server};

const DAY: u64 = 24 * 3600;

struct Watch {
    books: Books,
    wallets: Wallets,
    db: Db,
}

impl Watch {
    async fn open(db: Db) -> Self {
        let books = Books::open(db.clone()).await;
        let clock = books.house.world.clock.clone();
        let wallets = Wallets::new(db.clone(), clock.clone(), Catalog::new(db.clone(), clock));
        Self { books, wallets, db }
    }

    /// As another server has them: nothing is shared but the database.
    fn alerts(&self) -> Alerts {
        let (clock, meter) = (self.books.house.world.clock.clone(), self.books.meter.clone());
        let catalog = Catalog::new(self.db.clone(), clock.clone());
        let wallets = Wallets::new(self.db.clone(), clock.clone(), catalog.clone());
        let billing = Billing::new(self.db.clone(), clock.clone(), catalog, wallets, Arc::new(meter.clone()));
        Alerts::new(AlertOptions { db: self.db.clone(), clock, server: server("default"), meter, billing })
    }

    async fn watch(&self, watched: Watched, body: Value) -> AlertRecord {
        self.alerts().create(&server("default"), watched, vec![read::<Alert>(body)]).await.unwrap().remove(0)
    }

    /// Units of a SUM, `secs` after the subscription began.
    async fn used(&self, id: &str, secs: u64, n: &str) {
        self.books.send(vec![self.books.event(id, "sum", secs, json!({ "n": n }))]).await;
    }

    /// What everybody was told: value and thresholds, in order.
    async fn told(&self) -> Vec<String> {
        let leaves = self.books.house.leaves(&self.books.chain).await;
        let told = leaves.iter().filter(|leaf| leaf.action.as_str() == "metering.trigger_alert").map(|leaf| {
            let fact = |name: &str| leaf.facts.get(name).cloned().unwrap();
            let crossed: Value = serde_json::from_str(&fact("crossed")).unwrap();
            let values: Vec<_> = crossed.as_array().unwrap().iter().map(|one| one["value"].as_str().unwrap().to_owned()).collect();
            format!("{}: {}", fact("value"), values.join(" "))
        });
        told.collect()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.db.query_optional(sql, vec![]).await.unwrap().unwrap().int(0).unwrap()
    }
}

fn units(code: &str, thresholds: Value) -> Value {
    json!({ "code": code, "alert_type": "billable_metric_current_usage_units", "billable_metric_code": "sum", "thresholds": thresholds })
}

#[tokio::test]
async fn a_threshold_is_told_once_for_a_period_and_again_in_the_next() {
    each_engine(SETS, async |db| {
        let watch = Watch::open(db).await;
        let alerts = watch.alerts();
        watch.used("before", 0, "1").await;
        assert_eq!(watch.count("SELECT COUNT(*) FROM meter_alert_due").await, 0, "what nobody watches is noted nowhere");
        let thresholds = json!([{ "value": "10", "code": "warn" }, { "value": "20" }, { "value": "5", "recurring": true }]);
        let alert = watch.watch(Watched::Subscription("s".to_owned()), units("units", thresholds)).await;
        watch.used("a", 60, "8").await;
        assert_eq!((alerts.look().await.unwrap(), watch.told().await.len()), (0, 0));
        watch.used("b", 120, "1").await;
        assert_eq!(alerts.look().await.unwrap(), 1);
        assert_eq!(alerts.look().await.unwrap(), 0, "nothing changed since");
        watch.used("c", 180, "0.5").await;
        assert_eq!(alerts.look().await.unwrap(), 0);
        watch.books.meter.cancel(&server("default"), "s", "b").await.unwrap();
        alerts.look().await.unwrap();
        watch.used("d", 240, "3").await;
        assert_eq!(alerts.look().await.unwrap(), 0, "it fell below and came back: told already");
        watch.used("e", 300, "18.5").await;
        assert_eq!(alerts.look().await.unwrap(), 1, "three thresholds are told together");
        assert_eq!(watch.told().await, ["10: 10", "31: 20 25 30"]);
        // The next period begins with nothing; a late event belongs to the one it happened in.
        watch.used("f", 45 * DAY, "12").await;
        watch.used("late", 360, "4").await;
        assert_eq!(alerts.look().await.unwrap(), 2);
        let mut told = watch.told().await.split_off(2);
        told.sort();
        assert_eq!(told, ["12: 10", "35: 35"]);
        let shown = alerts.get(watch.books.chain.tenant(), alert.id).await.unwrap();
        assert!(shown.looked_at.is_some() && shown.value.is_some(), "{shown:?}");
        // Removed, nobody is told.
        alerts.remove(&server("default"), &[shown]).await.unwrap();
        watch.used("g", 45 * DAY + 1, "1000").await;
        assert_eq!((alerts.look().await.unwrap(), watch.count("SELECT COUNT(*) FROM meter_alert_state").await), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn who_died_before_looking_lost_nothing_and_those_who_look_at_once_tell_once() {
    each_engine(SETS, async |db| {
        let watch = Watch::open(db).await;
        watch.watch(Watched::Subscription("s".to_owned()), units("units", json!([{ "value": "10" }, { "value": "20" }]))).await;
        for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
            // Recorded, and whoever recorded it is gone: others look, all at once.
            watch.used(id, n as u64, "9").await;
            let servers: Vec<Alerts> = (0..8).map(|_| watch.alerts()).collect();
            let looked = futures::future::join_all(servers.iter().map(Alerts::look)).await;
            assert_eq!(looked.into_iter().map(Result::unwrap).sum::<u64>(), u64::from(n > 0), "{id}");
        }
        assert_eq!(watch.told().await, ["18: 10", "27: 20"]);
        let sql = "SELECT COUNT(*) FROM outbox WHERE body LIKE '%metering.trigger_alert%'";
        assert_eq!(watch.count(sql).await, 2, "each leaves with its commit");
        assert_eq!(watch.count("SELECT COUNT(*) FROM meter_alert_due").await, 0);
    })
    .await;
}

#[tokio::test]
async fn amounts_and_what_was_used_ever_are_watched_and_what_is_past_is_told_at_once() {
    each_engine(SETS, async |db| {
        let watch = Watch::open(db).await;
        let alerts = watch.alerts();
        // 1.00 flat and 0.01 each in this month: 110 cents, and 10 units in the next.
        let event = |id: &str, secs: u64| watch.books.event(id, "grouped", secs, json!({ "n": 10, "region": "eu" }));
        watch.books.send(vec![event("a", 0), event("b", 45 * DAY)]).await;
        let of = |code: &str, kind: &str, metric: Value, at: &str| {
            read::<Alert>(json!({ "code": code, "alert_type": kind, "billable_metric_code": metric, "thresholds": [{ "value": at }] }))
        };
        let all = vec![
            of("period", "current_usage_amount", Value::Null, "110"),
            of("metric", "billable_metric_current_usage_amount", json!("grouped"), "110"),
            of("other", "billable_metric_current_usage_amount", json!("sum"), "1"),
            of("ever", "billable_metric_lifetime_usage_units", json!("grouped"), "20"),
            of("spent", "lifetime_usage_amount", Value::Null, "110"),
        ];
        let watched = || Watched::Subscription("s".to_owned());
        alerts.create(&server("default"), watched(), all).await.unwrap();
        assert_eq!(alerts.look().await.unwrap(), 4);
        let mut told = watch.told().await;
        told.sort();
        assert_eq!(told, ["110: 110", "110: 110", "110: 110", "20: 20"]);
        // Several are made together or not at all, and a name is there once.
        let twice = vec![of("new", "current_usage_amount", Value::Null, "1"), of("ever", "current_usage_amount", Value::Null, "1")];
        let refused = alerts.create(&server("default"), watched(), twice).await.unwrap_err();
        assert_eq!((refused.code().as_str(), refused.to_string().contains("`ever`")), ("metering.already_exists", true), "{refused}");
        assert_eq!(alerts.of(watch.books.chain.tenant(), &watched()).await.unwrap().len(), 5);
        for (watched, alert, code) in [
            (Watched::Subscription("nobody".to_owned()), of("x", "current_usage_amount", Value::Null, "1"), "metering.unknown_definition"),
            (watched(), of("x", "wallet_balance_amount", Value::Null, "1"), "metering.bad_definition"),
            (watched(), of("x", "billable_metric_current_usage_units", json!("none"), "1"), "metering.unknown_definition"),
        ] {
            let refused = alerts.create(&server("default"), watched, vec![alert]).await.unwrap_err();
            assert_eq!(refused.code().as_str(), code, "{refused}");
        }
        // What is changed tells of what is beyond what was told.
        let spent = alerts.by_code(watch.books.chain.tenant(), &watched(), "spent").await.unwrap();
        let change = read::<AlertChange>(json!({ "thresholds": [{ "value": "50" }, { "value": "300" }] }));
        let changed = alerts.update(&server("default"), spent.id, change).await.unwrap();
        assert_eq!((changed.revision, alerts.look().await.unwrap()), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn a_balance_is_told_each_time_it_comes_down_to_a_threshold() {
    each_engine(SETS, async |db| {
        let watch = Watch::open(db).await;
        let (alerts, by) = (watch.alerts(), server("default"));
        let input = json!({ "external_customer_id": "acme", "wallet": { "currency": "USD", "rate_amount": "2" }, "granted_credits": "10" });
        let wallet = watch.wallets.create(&by, read::<WalletInput>(input)).await.unwrap().record.id;
        let of =
            |code: &str, kind: &str, at: &str| read::<Alert>(json!({ "code": code, "alert_type": kind, "thresholds": [{ "value": at }] }));
        let all = vec![
            of("cents", "wallet_balance_amount", "1000"),
            of("credits", "wallet_credits_balance", "4"),
            of("ongoing", "wallet_credits_ongoing_balance", "4"),
        ];
        alerts.create(&by, Watched::Wallet(wallet.to_string()), all).await.unwrap();
        assert_eq!((alerts.look().await.unwrap(), watch.told().await.len()), (0, 0), "2000 cents, 10 credits");
        let moved = async |body: Value| {
            watch.wallets.move_credits(&by, wallet, read::<Movement>(body)).await.unwrap();
            alerts.look().await.unwrap()
        };
        assert_eq!(moved(json!({ "voided_credits": "5" })).await, 1, "1000 cents");
        assert_eq!(moved(json!({ "granted_credits": "1" })).await, 0);
        assert_eq!(moved(json!({ "voided_credits": "3" })).await, 3, "600 cents again below; 3 credits, and 2.5 that are ongoing");
        assert_eq!(moved(json!({ "granted_credits": "7" })).await, 0, "10 credits");
        // 12.50 of the 20.00 are used and not billed, and a flat price of 1.00 is owed: 3.25 credits are left of what is ongoing.
        let now = watch.books.house.world.clock.clone();
        let at = creto_kernel::Clock::now(&*now);
        let event = creto_metering::model::event::EventInput {
            timestamp: Some(json!(at)),
            ..watch.books.event("used", "level", 0, json!({ "n": "25" }))
        };
        watch.books.send(vec![event]).await;
        assert_eq!(alerts.look().await.unwrap(), 1);
        watch.books.meter.cancel(&by, "s", "used").await.unwrap();
        assert_eq!(alerts.look().await.unwrap(), 0, "it came back");
        let told = watch.told().await;
        assert_eq!((told.len(), told[0].as_str(), told.last().unwrap().as_str()), (5, "1000: 1000", "3.25: 4"), "{told:?}");
    })
    .await;
}
