//! Prepaid credits on both engines: balanced whatever happens, drawn in order, never below nothing.

use std::time::Duration;

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, Coded as _, Micros, Timestamp};
use creto_metering::model::customer::Customer;
use creto_metering::model::page::Page;
use creto_metering::model::wallets::{Movement, MovementKind, MovementStatus, WalletId, WalletInput, WalletState, WalletTransaction};
use creto_metering::{Accounts, Catalog, MeteringError, MovementFilter, Wallets};
use creto_nhi::testkit::World;
use serde_json::{Value, json};

use super::catalog::read;
use super::house::{SETS, server};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Purse {
    world: World,
    wallets: Wallets,
    accounts: Accounts,
}

impl Purse {
    async fn open(db: Db) -> Self {
        let world = World::open(db.clone()).await;
        let catalog = Catalog::new(db.clone(), world.clock.clone());
        catalog.create(&server("default"), Customer::new("acme")).await.unwrap();
        Self { wallets: Wallets::new(db.clone(), world.clock.clone(), catalog), accounts: Accounts::new(db), world }
    }

    async fn wallet(&self, change: Value) -> WalletId {
        let mut body = json!({
            "external_customer_id": "acme", "wallet": { "currency": "EUR", "rate_amount": "1" }
        });
        merge(&mut body, change);
        self.wallets.create(&server("default"), read::<WalletInput>(body)).await.unwrap().record.id
    }

    async fn moved(&self, id: WalletId, movement: Value) -> Result<Vec<WalletTransaction>, MeteringError> {
        let moved = self.wallets.move_credits(&server("default"), id, read::<Movement>(movement)).await;
        self.balanced().await;
        moved
    }

    async fn state(&self, id: WalletId) -> WalletState {
        self.wallets.get(server("default").tenant(), id).await.unwrap()
    }

    async fn balance(&self, id: WalletId) -> i64 {
        self.state(id).await.balance.get()
    }

    /// Debits equal credits, and the wallets are what the ledger says.
    async fn balanced(&self) {
        let report = self.accounts.check(server("default").tenant()).await.unwrap();
        assert!(report.ok, "{report:?}");
    }
}

fn merge(into: &mut Value, from: Value) {
    for (key, value) in from.as_object().unwrap() {
        match (into.get_mut(key), value) {
            (Some(Value::Object(_)), Value::Object(_)) => merge(&mut into[key], value.clone()),
            _ => into[key] = value.clone(),
        }
    }
}

const UNIT: i64 = 1_000_000;

#[tokio::test]
async fn credits_come_in_are_drawn_in_order_and_every_movement_balances() {
    each_engine(SETS, async |db| {
        let purse = Purse::open(db).await;
        let id = purse.wallet(json!({ "granted_credits": "30" })).await;
        purse.balanced().await;
        let now = purse.world.clock.now();
        let soon = now.saturating_add(DAY * 3);
        purse.world.clock.advance(DAY);
        let first = purse.moved(id, json!({ "granted_credits": "20", "priority": 1 })).await.unwrap();
        let expiring = purse.moved(id, json!({ "granted_credits": "25", "expires_at": soon })).await.unwrap();
        let bought = purse.moved(id, json!({ "paid_credits": "25" })).await.unwrap();
        assert_eq!((bought[0].status, purse.balance(id).await), (MovementStatus::Pending, 75 * UNIT));
        assert_eq!(purse.state(id).await.pending, Micros::new(25 * UNIT));
        purse.wallets.settle(&server("default"), bought[0].id).await.unwrap();
        purse.balanced().await;
        assert_eq!(purse.balance(id).await, 100 * UNIT);
        let taken = purse.moved(id, json!({ "voided_credits": "80" })).await.unwrap();
        let tenant = server("default").tenant().clone();
        let used = |uses: Vec<creto_metering::model::wallets::CreditUse>| -> Vec<(String, i64)> {
            uses.into_iter().map(|it| (it.lot.to_string(), it.amount.get() / UNIT)).collect()
        };
        let mut uses = used(purse.wallets.uses(&tenant, taken[0].id).await.unwrap());
        uses.sort_by_key(|(_, amount)| *amount);
        // Priority 1, then what expires, then what was granted, then what was bought.
        assert_eq!(uses[0], (bought[0].id.to_string(), 5));
        assert!(uses.contains(&(first[0].id.to_string(), 20)) && uses.contains(&(expiring[0].id.to_string(), 25)), "{uses:?}");
        assert_eq!((uses.iter().map(|(_, amount)| amount).sum::<i64>(), uses.len()), (80, 4));
        assert_eq!(purse.balance(id).await, 20 * UNIT);
        let too_much = purse.moved(id, json!({ "voided_credits": "20.01" })).await.unwrap_err();
        assert_eq!(too_much.code().as_str(), "metering.insufficient_credits", "{too_much}");
        assert_eq!(purse.balance(id).await, 20 * UNIT);
        let of_kind = MovementFilter { kind: Some(MovementKind::Granted), status: None, inbound: None };
        assert_eq!(purse.wallets.transactions(&tenant, id, of_kind, Page::default()).await.unwrap().total, 3);
    })
    .await;
}

#[tokio::test]
async fn a_purchase_counts_once_when_it_is_paid_and_never_when_it_is_not() {
    each_engine(SETS, async |db| {
        let purse = Purse::open(db).await;
        let by = server("default");
        let id = purse.wallet(json!({ "wallet": { "rate_amount": "0.5" } })).await;
        let paid = purse.moved(id, json!({ "paid_credits": "10" })).await.unwrap().remove(0);
        assert_eq!((paid.amount.get(), paid.credits.to_string().as_str()), (5 * UNIT, "10"));
        let lost = purse.moved(id, json!({ "paid_credits": "3" })).await.unwrap().remove(0);
        purse.wallets.settle(&by, paid.id).await.unwrap();
        purse.wallets.fail(&by, lost.id).await.unwrap();
        for again in [purse.wallets.settle(&by, paid.id).await, purse.wallets.settle(&by, lost.id).await] {
            assert_eq!(again.unwrap_err().code().as_str(), "metering.wrong_state");
        }
        purse.balanced().await;
        let state = purse.state(id).await;
        assert_eq!((state.balance.get(), state.credits_balance.to_string().as_str(), state.pending.get()), (5 * UNIT, "10", 0));
    })
    .await;
}

#[tokio::test]
async fn the_same_key_moves_credits_once() {
    each_engine(SETS, async |db| {
        let purse = Purse::open(db).await;
        let id = purse.wallet(json!({})).await;
        let asked = json!({ "granted_credits": "7", "idempotency_key": "k1" });
        let first = purse.moved(id, asked.clone()).await.unwrap();
        assert_eq!(purse.moved(id, asked).await.unwrap(), first);
        assert_eq!(purse.balance(id).await, 7 * UNIT);
        let nothing = purse.wallets.move_credits(&server("default"), id, Movement::default()).await.unwrap_err();
        assert_eq!(nothing.code().as_str(), "metering.bad_definition");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_take_at_once_nobody_takes_what_is_not_there() {
    each_engine(SETS, async |db| {
        let purse = Purse::open(db).await;
        let id = purse.wallet(json!({})).await;
        for _ in 0..4 {
            purse.moved(id, json!({ "granted_credits": "10" })).await.unwrap();
        }
        let takers: Vec<_> = (0..24)
            .map(|_| {
                let wallets = purse.wallets.clone();
                tokio::spawn(async move {
                    let movement = read::<Movement>(json!({ "voided_credits": "3" }));
                    wallets.move_credits(&server("default"), id, movement).await.map(drop)
                })
            })
            .collect();
        let mut taken = 0;
        for taker in takers {
            match taker.await.unwrap() {
                Ok(()) => taken += 1,
                Err(error) => {
                    assert!(["metering.insufficient_credits", "metering.changed_meanwhile"].contains(&error.code().as_str()), "{error}")
                }
            }
        }
        purse.balanced().await;
        assert!((1..=13).contains(&taken), "{taken}");
        assert_eq!(purse.balance(id).await, (40 - 3 * taken) * UNIT);
    })
    .await;
}

#[tokio::test]
async fn credits_expire_and_rules_fill_up_once_however_often_time_is_looked_at() {
    each_engine(SETS, async |db| {
        let purse = Purse::open(db).await;
        let by = server("default");
        purse.world.clock.set("2026-01-31T10:00:00Z".parse().unwrap());
        let now = purse.world.clock.now();
        let id = purse
            .wallet(json!({ "wallet": { "recurring_transaction_rules": [
                { "trigger": "interval", "interval": "monthly", "paid_credits": "0", "granted_credits": "4" }
            ] } }))
            .await;
        purse.moved(id, json!({ "granted_credits": "9", "expires_at": now.saturating_add(DAY) })).await.unwrap();
        assert_eq!(purse.wallets.pass_time(&by, now).await.unwrap().expired, 0);
        for (at, balance) in [
            ("2026-02-01T10:00:00Z", 0),
            ("2026-02-27T23:59:59Z", 0),
            ("2026-02-28T00:00:00Z", 4),
            ("2026-03-30T00:00:00Z", 4),
            ("2026-03-31T00:00:00Z", 8),
        ] {
            let at: Timestamp = at.parse().unwrap();
            purse.world.clock.set(at);
            for _ in 0..2 {
                purse.wallets.pass_time(&by, at).await.unwrap();
                purse.balanced().await;
            }
            assert_eq!(purse.balance(id).await, balance * UNIT, "{at}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_balance_that_falls_to_its_threshold_is_filled_past_it_by_one_purchase() {
    each_engine(SETS, async |db| {
        let purse = Purse::open(db).await;
        let by = server("default");
        let rule = json!({ "trigger": "threshold", "threshold_credits": "10", "paid_credits": "50" });
        let id = purse.wallet(json!({ "wallet": { "recurring_transaction_rules": [rule] }, "granted_credits": "20.2" })).await;
        assert_eq!(purse.wallets.check_thresholds(&by, id, Micros::new(10 * UNIT)).await.unwrap(), []);
        let filled = purse.wallets.check_thresholds(&by, id, Micros::new(450 * UNIT)).await.unwrap();
        assert_eq!(filled.iter().map(|it| (it.kind, it.amount.get() / UNIT)).collect::<Vec<_>>(), [(MovementKind::Purchased, 450)]);
        let again = purse.wallets.check_thresholds(&by, id, Micros::new(450 * UNIT)).await.unwrap();
        assert_eq!(again, [], "what is pending counts");
        purse.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_closed_wallet_moves_nothing_and_keeps_what_is_in_it() {
    each_engine(SETS, async |db| {
        let purse = Purse::open(db).await;
        let id = purse.wallet(json!({ "granted_credits": "5" })).await;
        purse.wallets.terminate(&server("default"), id).await.unwrap();
        let refused = purse.moved(id, json!({ "granted_credits": "1" })).await.unwrap_err();
        assert_eq!((refused.code().as_str(), purse.balance(id).await), ("metering.wrong_state", 5 * UNIT));
        assert!(purse.wallets.get(&"other".parse().unwrap(), id).await.is_err(), "another tenant has no such wallet");
    })
    .await;
}
