//! Charges that are paid in advance: each event is billed at once and once, the period does not bill it again, and what is taken back comes
//! back as a credit note.

use creto_db::testkit::each_engine;
use creto_metering::model::invoice::{CreditNoteStatus, Fee, FeeKind, InvoiceDocument, InvoiceKind, InvoiceStatus};
use creto_metering::model::page::Page;
use creto_metering::{FeeFilter, NoteFilter};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::bills::{Sent, Shop, at};
use super::catalog::read;
use super::house::{SETS, server};

const BEGAN: &str = "2026-05-11T10:00:00Z";

/// A plan whose charge `calls` is paid in advance, with `more` of it.
fn plan(more: &Value) -> Value {
    let mut charge = json!({
        "billable_metric_code": "calls", "charge_model": "standard", "properties": { "amount": "0.004" }, "pay_in_advance": true
    });
    charge.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 0, "charges": [charge] })
}

fn metric(kind: &str, recurring: bool) -> Value {
    json!({ "code": "calls", "aggregation_type": kind, "field_name": "n", "recurring": recurring })
}

fn call(id: &str, moment: &str, n: impl Into<Value>) -> Sent {
    Sent::of(id, "calls", moment, json!({ "n": n.into() }))
}

/// What each event was billed, on invoices of its own.
fn at_once(invoices: &[InvoiceDocument]) -> Vec<(String, i64)> {
    let own = invoices.iter().filter(|it| matches!(it.invoice.kind, InvoiceKind::InAdvance | InvoiceKind::AdvanceCharges));
    let of = |fee: &Fee| (fee.advance.as_ref().unwrap().transaction_id.clone(), fee.amount_cents);
    own.flat_map(|it| it.fees.iter().map(of)).collect()
}

fn billed(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(id, cents)| ((*id).to_owned(), *cents)).collect()
}

/// Lines of periods, without those that come to nothing.
fn of_periods(invoices: &[InvoiceDocument]) -> Vec<(FeeKind, i64)> {
    let own = invoices.iter().filter(|it| it.invoice.kind == InvoiceKind::Subscription);
    own.flat_map(|it| &it.fees).map(|fee| (fee.kind, fee.amount_cents)).filter(|(_, cents)| *cents != 0).collect()
}

#[tokio::test]
async fn an_event_is_billed_at_once_by_what_it_adds_and_its_period_does_not_bill_it_again() {
    each_engine(SETS, async |db| {
        let shop = Shop::open(db, &[metric("sum", false)], &plan(&json!({}))).await;
        // 0.4 cents a unit: rounded so far, so that fractions of a cent are never lost.
        shop.send(&[call("a", BEGAN, 1), call("b", BEGAN, 1), call("c", BEGAN, 1), call("d", BEGAN, 100)]).await;
        let invoices = shop.bill(BEGAN).await;
        assert_eq!(at_once(&invoices), billed(&[("b", 1), ("d", 40)]));
        let [one] = invoices.as_slice() else { panic!("a request is one invoice: {invoices:?}") };
        assert_eq!((one.invoice.status, one.invoice.sums.total_cents), (InvoiceStatus::Finalized, 41));
        let fee = &one.fees[1];
        assert_eq!((fee.units.to_string(), fee.precise_amount.to_string(), fee.events), ("100".to_owned(), "0.4".to_owned(), 1));
        assert!(fee.proof.as_ref().unwrap().first_admission.is_some() && fee.advance.as_ref().unwrap().invoiceable);
        shop.send(&[call("e", BEGAN, 10)]).await;
        assert_eq!(at_once(&shop.bill(BEGAN).await), billed(&[("b", 1), ("d", 40), ("e", 4)]));
        // The month brings nothing more; an event that comes late for it is billed when it comes, and July knows nothing of it.
        let may = shop.bill("2026-05-31T22:00:00Z").await;
        assert_eq!(of_periods(&may), []);
        shop.send(&[call("late", "2026-05-20T00:00:00Z", 50)]).await;
        let july = shop.bill("2026-06-30T22:00:00Z").await;
        assert_eq!((at_once(&july).pop(), of_periods(&july)), (Some(("late".to_owned(), 20)), vec![]));
        assert!(shop.meter.check(server("default").tenant()).await.unwrap().ok);
        let listed = shop.billing.fees(server("default").tenant(), &FeeFilter::default(), Page::new(1, 100)).await.unwrap();
        assert_eq!(listed.items.iter().filter(|(_, fee)| fee.advance.is_some()).count(), 4);
    })
    .await;
}

#[tokio::test]
async fn what_is_collected_becomes_one_invoice_when_its_period_ends() {
    each_engine(SETS, async |db| {
        let more = json!({ "invoiceable": false, "regroup_paid_fees": "invoice" });
        let shop = Shop::open(db, &[metric("sum", false)], &plan(&more)).await;
        shop.send(&[call("a", BEGAN, 250)]).await;
        let drafted = shop.bill(BEGAN).await;
        shop.send(&[call("b", BEGAN, 500)]).await;
        let [draft] = shop.bill(BEGAN).await.try_into().unwrap();
        assert_eq!((drafted[0].invoice.id, draft.invoice.status), (draft.invoice.id, InvoiceStatus::Draft));
        assert_eq!(at_once(std::slice::from_ref(&draft)), billed(&[("a", 100), ("b", 200)]));
        // Taken back while it is collected, it leaves the line.
        shop.meter.cancel(&server("default"), "s", "a").await.unwrap();
        let ended = shop.bill("2026-05-31T22:00:00Z").await;
        let collected: Vec<_> = ended.iter().filter(|it| it.invoice.kind == InvoiceKind::AdvanceCharges).collect();
        let [one] = collected.as_slice() else { panic!("{ended:?}") };
        assert_eq!((one.invoice.status, one.invoice.sums.total_cents), (InvoiceStatus::Finalized, 200));
        assert_eq!(of_periods(&ended), []);
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_back_is_credited_once_and_an_amendment_bills_the_difference() {
    each_engine(SETS, async |db| {
        let tiers = json!([{ "to_value": 10, "per_unit_amount": "1", "flat_amount": "2" }, { "to_value": null, "per_unit_amount": "0.5", "flat_amount": "0" }]);
        let more = json!({ "charge_model": "graduated", "properties": { "graduated_ranges": tiers } });
        let shop = Shop::open(db, &[metric("sum", false)], &plan(&more)).await;
        let by = server("default");
        shop.send(&[call("a", BEGAN, 10), call("b", BEGAN, 4)]).await;
        assert_eq!(at_once(&shop.bill(BEGAN).await), billed(&[("a", 1_200), ("b", 200)]));
        // Without a, b alone is 6: 8 come back, 2 of the newest line and 6 of the one before.
        shop.meter.cancel(&by, "s", "a").await.unwrap();
        shop.bill(BEGAN).await;
        shop.bill(BEGAN).await;
        let notes = shop.billing.notes(by.tenant(), &NoteFilter::default(), Page::new(1, 100)).await.unwrap().items;
        let mut worth: Vec<_> = notes.iter().map(|note| note.total_cents).collect();
        worth.sort_unstable();
        assert_eq!((worth, notes[0].status), (vec![200, 600], CreditNoteStatus::Available));
        let chain = shop.house.chain("default", None, &["planner"]).await;
        let instead = read(json!({ "transaction_id": "b2", "external_subscription_id": "s", "code": "calls", "timestamp": BEGAN, "properties": { "n": 7 } }));
        shop.meter.amend(&by, &chain, ("s", "b"), instead).await.unwrap();
        let invoices = shop.bill(BEGAN).await;
        assert_eq!(at_once(&invoices).pop(), Some(("b2".to_owned(), 900)));
        let notes = shop.billing.notes(by.tenant(), &NoteFilter::default(), Page::new(1, 100)).await.unwrap().items;
        let billed: i64 = at_once(&invoices).iter().map(|(_, cents)| cents).sum();
        assert_eq!(billed - notes.iter().map(|note| note.total_cents).sum::<i64>(), 900, "what is billed is what seven cost");
        assert_eq!(of_periods(&shop.bill("2026-05-31T22:00:00Z").await), []);
        assert!(shop.meter.check(by.tenant()).await.unwrap().ok);
    })
    .await;
}

#[tokio::test]
async fn a_seat_is_paid_for_the_days_that_are_left_and_nothing_comes_back_when_it_goes() {
    each_engine(SETS, async |db| {
        let more = json!({ "properties": { "amount": "31" }, "prorated": true });
        let shop = Shop::open(db, &[metric("unique_count", true)], &plan(&more)).await;
        let seat = |id: &str, moment: &str, who: &str, operation: &str| {
            Sent::of(id, "calls", moment, json!({ "n": who, "operation_type": operation }))
        };
        shop.house.world.clock.set(at("2026-05-21T10:00:00Z"));
        shop.send(&[seat("a", "2026-05-12T00:00:00Z", "ann", "add"), seat("b", "2026-05-21T00:00:00Z", "bob", "add")]).await;
        // Twenty days and eleven of thirty-one.
        assert_eq!(at_once(&shop.bill("2026-05-21T10:00:00Z").await), billed(&[("a", 2_000), ("b", 1_100)]));
        shop.send(&[seat("c", "2026-05-21T09:00:00Z", "ann", "remove"), seat("d", "2026-05-21T09:30:00Z", "cem", "add")]).await;
        // What ann no longer pays, cem pays first: ten days of hers, eleven of his.
        let invoices = shop.bill("2026-05-21T10:00:00Z").await;
        assert_eq!(at_once(&invoices).split_off(2), billed(&[("d", 100)]));
        let may = shop.bill("2026-05-31T22:00:00Z").await;
        assert_eq!(of_periods(&may), []);
        // Two are carried into June: that month bills them, as no event of it did; dea pays for herself.
        shop.house.world.clock.set(at("2026-06-16T10:00:00Z"));
        shop.send(&[seat("e", "2026-06-16T00:00:00Z", "dea", "add")]).await;
        let june = shop.bill("2026-06-30T22:00:00Z").await;
        assert_eq!(at_once(&june).pop(), Some(("e".to_owned(), 1_550)));
        assert_eq!(of_periods(&june), [(FeeKind::Charge, 6_200)]);
        assert!(shop.meter.check(server("default").tenant()).await.unwrap().ok);
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever the price, the events of a period and the period itself come to what all of it costs at most at any event.
    #[test]
    #[test]
    fn the_events_and_their_period_add_up_to_what_the_period_costs(
        which in 0_usize..14, aggregation in 0_usize..9, recurring in any::<bool>(), drawn in prop::collection::vec((0_i64..19 * 24, 0_i64..120), 1..9)
    ) {
        let (name, properties) = super::bills::model(which);
        prop_assume!(name != "volume" && name != "flat");
        let kind = super::bills::AGGREGATIONS[aggregation];
        let recurring = recurring && ["sum", "latest", "max", "weighted_sum"].contains(&kind);
        let mut metric = metric(kind, recurring);
        if kind == "custom" {
            metric["expression"] = json!("sum + max");
        }
        if kind == "count" {
            metric["field_name"] = Value::Null;
        }
        let plan = plan(&json!({ "charge_model": name, "properties": properties }));
        let mut drawn = drawn;
        drawn.sort_unstable();
        let sent: Vec<Sent> = drawn
            .iter()
            .enumerate()
            .map(|(n, (hours, tenths))| super::bills::sent(n, &(0, *hours, *tenths, true, tenths % 4 == 0), BEGAN, 1))
            .map(|event| Sent { code: "calls".to_owned(), ..event })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let shop = Shop::open(creto_db::Db::open_sqlite(&folder.path().join("advance.db"), SETS).unwrap(), &[metric.clone()], &plan).await;
            shop.house.world.clock.set(at("2026-05-30T22:00:00Z"));
            for event in &sent {
                shop.send(std::slice::from_ref(event)).await;
                shop.bill("2026-05-30T22:00:00Z").await;
            }
            let invoices = shop.bill("2026-05-31T22:00:00Z").await;
            let all: i64 = invoices.iter().map(|it| it.invoice.sums.fees_cents).sum();
            let events: Vec<Value> = sent.iter().map(Sent::previewed).collect();
            let body = json!({
                "plan": plan, "billable_metrics": [metric], "first_day": "2026-05-01", "last_day": "2026-05-31", "billed_from": "2026-05-11",
                "timezone": "Europe/Berlin", "events": events
            });
            let preview = read::<creto_metering::PreviewInput>(body).compute(&shop.catalog, server("default").tenant()).await.unwrap();
            assert_eq!(all, preview.total_cents, "{:?}", at_once(&invoices));
            assert!(shop.meter.check(server("default").tenant()).await.unwrap().ok);
        });
    }
}
