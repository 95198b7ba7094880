//! The next invoice before there is one: it is the one that comes, whatever ends or changes before it, and looking at it writes nothing.

use creto_db::params;
use creto_db::testkit::each_engine;
use creto_kernel::Coded as _;
use creto_metering::InvoicePreviewInput;
use creto_metering::model::add_on::AddOn;
use creto_metering::model::invoice::{Fee, FeeKind, InvoiceDocument, InvoiceStatus};
use creto_metering::model::plan::Plan;
use creto_metering::model::tax::{Coupon, Tax};
use creto_metering::model::wallets::WalletInput;
use serde_json::{Value, json};

use super::bills::{Sent, Shop, at, essence};
use super::catalog::read;
use super::house::{SETS, server};

const BEGAN: &str = "2026-05-11T10:00:00Z";

fn plan(code: &str, cents: i64, in_advance: bool) -> Value {
    json!({
        "code": code, "interval": "monthly", "amount_currency": "EUR", "amount_cents": cents, "pay_in_advance": in_advance,
        "charges": [{ "billable_metric_code": "calls", "charge_model": "standard", "properties": { "amount": "0.5" } }]
    })
}

fn metric() -> Value {
    json!({ "code": "calls", "aggregation_type": "sum", "field_name": "n" })
}

fn call(id: &str, moment: &str, n: i64) -> Sent {
    Sent::of(id, "calls", moment, json!({ "n": n }))
}

fn of_s(more: Value) -> InvoicePreviewInput {
    let mut body = json!({ "external_customer_id": "acme", "subscriptions": ["s"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read(body)
}

impl Shop {
    async fn next(&self, input: &InvoicePreviewInput) -> InvoiceDocument {
        self.billing.preview(server("default").tenant(), input).await.unwrap().document
    }

    async fn refused(&self, input: &InvoicePreviewInput) -> &'static str {
        self.billing.preview(server("default").tenant(), input).await.unwrap_err().code().as_str()
    }

    /// How many commits there were: each has its leaf.
    async fn commits(&self) -> i64 {
        self.house.db.query("SELECT COUNT(*) FROM audit_leaf", params![]).await.unwrap()[0].int(0).unwrap()
    }
}

/// Lines without those of nothing: what they are for, of which plan, cents.
fn lines(fees: &[Fee]) -> Vec<(FeeKind, String, i64)> {
    let own = |fee: &Fee| (fee.kind, fee.plan_code.clone().unwrap_or_default(), fee.amount_cents);
    fees.iter().map(own).filter(|(.., cents)| *cents != 0).collect()
}

fn named(expected: &[(FeeKind, &str, i64)]) -> Vec<(FeeKind, String, i64)> {
    expected.iter().map(|(kind, plan, cents)| (*kind, (*plan).to_owned(), *cents)).collect()
}

#[tokio::test]
async fn the_next_invoice_is_the_one_that_comes_with_all_that_pays_it_and_looking_writes_nothing() {
    each_engine(SETS, async |db| {
        let shop = Shop::open(db, &[metric()], &plan("p", 3_100, false)).await;
        let by = server("default");
        shop.catalog.create(&by, read::<Tax>(json!({ "code": "vat", "rate": "20", "applied_to_organization": true }))).await.unwrap();
        let ten =
            json!({ "code": "ten", "coupon_type": "fixed_amount", "amount_cents": 1_000, "amount_currency": "EUR", "frequency": "once" });
        shop.catalog.create(&by, read::<Coupon>(ten)).await.unwrap();
        shop.billing.redeem(&by, "acme", "ten").await.unwrap();
        let wallet: WalletInput =
            read(json!({ "external_customer_id": "acme", "wallet": { "currency": "EUR", "rate_amount": "1" }, "granted_credits": "7" }));
        shop.billing.wallets().create(&by, wallet).await.unwrap();
        let setup: AddOn = read(json!({ "code": "setup", "name": "Setup", "amount_cents": 5_000, "amount_currency": "EUR" }));
        shop.catalog.create(&by, setup).await.unwrap();
        shop.send(&[call("a", BEGAN, 40)]).await;
        let before = shop.commits().await;
        let next = shop.next(&of_s(json!({}))).await;
        assert_eq!(shop.commits().await, before, "nothing is written");
        // 21 of 31 days of 31.00, and 40 at 0.50; less ten, with a fifth more; seven are paid already.
        let sums = next.invoice.sums;
        assert_eq!(
            (sums.fees_cents, sums.coupons_cents, sums.taxes_cents, sums.prepaid_credits_cents, sums.total_cents),
            (4_100, 1_000, 620, 700, 3_020)
        );
        assert_eq!(
            (next.invoice.status, next.invoice.number.as_str(), next.invoice.issuing_date.as_str()),
            (InvoiceStatus::Draft, "", "2026-06-01")
        );
        let may = shop.bill("2026-05-31T22:00:00Z").await.pop().unwrap();
        assert_eq!(essence(&next), essence(&may));
        // What was used up is used up: June has neither.
        let june = shop.next(&of_s(json!({}))).await.invoice.sums;
        assert_eq!((june.coupons_cents, june.prepaid_credits_cents, june.total_cents), (0, 0, 3_720));
    })
    .await;
}

#[tokio::test]
async fn an_end_and_a_change_of_plan_are_previewed_as_they_are_billed_then() {
    each_engine(SETS, async |db| {
        let shop = Shop::open(db, &[metric()], &plan("p", 3_100, true)).await;
        let by = server("default");
        for (code, cents) in [("dear", 6_200), ("cheap", 310)] {
            shop.catalog.create(&by, read::<Plan>(plan(code, cents, true))).await.unwrap();
        }
        // Nothing was billed yet: first comes the fee that is paid in advance.
        let first = shop.next(&of_s(json!({}))).await;
        assert_eq!(essence(&first), essence(&shop.bill(BEGAN).await.pop().unwrap()));
        assert_eq!(lines(&first.fees), named(&[(FeeKind::Subscription, "p", 2_100)]));
        shop.send(&[call("a", BEGAN, 6)]).await;
        let next = shop.next(&of_s(json!({}))).await;
        assert_eq!(lines(&next.fees), named(&[(FeeKind::Subscription, "p", 3_100), (FeeKind::Charge, "p", 300)]));
        // Where it ends before, nothing is paid in advance.
        let ending = shop.next(&of_s(json!({ "terminated_at": "2026-05-20T12:00:00Z" }))).await;
        assert_eq!(lines(&ending.fees), named(&[(FeeKind::Charge, "p", 300)]));
        assert_eq!(ending.invoice.periods[0].to, at("2026-05-20T12:00:00Z"));
        // A cheaper plan waits for the end of the month, a dearer one begins now.
        let cheap = shop.next(&of_s(json!({ "next_plan_code": "cheap" }))).await;
        assert_eq!(lines(&cheap.fees), named(&[(FeeKind::Charge, "p", 300), (FeeKind::Subscription, "cheap", 310)]));
        shop.house.world.clock.set(at("2026-05-22T08:00:00Z"));
        let dear = shop.next(&of_s(json!({ "next_plan_code": "dear" }))).await;
        assert_eq!(lines(&dear.fees), named(&[(FeeKind::Charge, "p", 300), (FeeKind::Subscription, "dear", 2_000)]));
        let change = |plan: &str| read(json!({ "external_id": "s", "external_customer_id": "acme", "plan_code": plan }));
        shop.catalog.subscribe(&by, change("dear")).await.unwrap();
        let billed: Vec<Fee> = shop.bill("2026-05-22T08:00:00Z").await.split_off(1).into_iter().flat_map(|it| it.fees).collect();
        let mut billed = lines(&billed);
        billed.sort_by_key(|(_, plan, _)| plan == "dear");
        assert_eq!(billed, lines(&dear.fees), "both are billed when it changes, each on an invoice of its own");
        // What waits already is known to the next invoice.
        shop.catalog.subscribe(&by, change("cheap")).await.unwrap();
        let next = shop.next(&of_s(json!({}))).await;
        let june = shop.bill("2026-05-31T22:00:00Z").await.split_off(3);
        assert_eq!(lines(&next.fees), lines(&june.iter().flat_map(|it| it.fees.clone()).collect::<Vec<_>>()));
        assert_eq!(lines(&next.fees), named(&[(FeeKind::Subscription, "cheap", 310)]));
    })
    .await;
}

#[tokio::test]
async fn somebody_new_sees_what_the_first_invoice_would_be() {
    each_engine(SETS, async |db| {
        let shop = Shop::open(db, &[metric()], &plan("p", 3_100, false)).await;
        let by = server("default");
        shop.catalog.create(&by, read::<Tax>(json!({ "code": "vat", "rate": "20" }))).await.unwrap();
        shop.catalog.create(&by, read::<Plan>(plan("ahead", 3_100, true))).await.unwrap();
        let someone = |more: Value| {
            let mut body = json!({ "customer": { "external_id": "", "name": "New", "tax_codes": ["vat"] }, "plan_code": "p", "subscription_at": "2026-06-16T00:00:00Z" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read::<InvoicePreviewInput>(body)
        };
        let before = shop.commits().await;
        let calendar = shop.next(&someone(json!({}))).await;
        assert_eq!((calendar.invoice.sums.fees_cents, calendar.invoice.sums.total_cents), (1_550, 1_860), "half a June, with its tax");
        let own_month = shop.next(&someone(json!({ "billing_time": "anniversary" }))).await;
        assert_eq!((own_month.invoice.sums.fees_cents, own_month.invoice.issuing_date.as_str()), (3_100, "2026-07-16"));
        let ahead = shop.next(&someone(json!({ "plan_code": "ahead" }))).await;
        assert_eq!((ahead.invoice.sums.fees_cents, ahead.invoice.issuing_date.as_str()), (1_550, "2026-06-16"));
        let off = json!([{ "code": "half", "coupon_type": "percentage", "percentage_rate": "50", "frequency": "once" }]);
        let reduced = shop.next(&someone(json!({ "coupons": off }))).await;
        assert_eq!((reduced.invoice.sums.coupons_cents, reduced.invoice.sums.total_cents), (775, 930));
        assert_eq!(shop.commits().await, before, "nobody was made");
        let yen = json!([{ "code": "y", "coupon_type": "fixed_amount", "amount_cents": 5, "amount_currency": "JPY", "frequency": "once" }]);
        for (input, code) in [
            (someone(json!({ "coupons": yen })), "metering.currency_mismatch"),
            (someone(json!({ "customer": { "external_id": "", "currency": "USD" } })), "metering.currency_mismatch"),
            (someone(json!({ "customer": { "external_id": "", "tax_codes": ["none"] } })), "metering.unknown_definition"),
            (someone(json!({ "customer": { "external_id": "", "timezone": "Nowhere" } })), "metering.bad_definition"),
            (someone(json!({ "plan_code": "none" })), "metering.unknown_definition"),
            (someone(json!({ "customer": null })), "metering.bad_definition"),
            (someone(json!({ "subscriptions": ["s"] })), "metering.bad_definition"),
            (someone(json!({ "terminated_at": "2026-07-01T00:00:00Z" })), "metering.bad_definition"),
            (of_s(json!({ "subscriptions": ["none"] })), "metering.unknown_subscription"),
            (of_s(json!({ "subscriptions": ["s", "s"] })), "metering.bad_definition"),
            (of_s(json!({ "subscriptions": [] })), "metering.bad_definition"),
            (of_s(json!({ "terminated_at": BEGAN })), "metering.bad_definition"),
            (of_s(json!({ "next_plan_code": "p" })), "metering.already_exists"),
            (of_s(json!({ "next_plan_code": "ahead", "terminated_at": "2026-07-01T00:00:00Z" })), "metering.bad_definition"),
        ] {
            assert_eq!(shop.refused(&input).await, code, "{input:?}");
        }
    })
    .await;
}
