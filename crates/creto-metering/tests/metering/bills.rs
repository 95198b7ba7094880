//! One bill: a preview of the events is the invoice made of them, line by line and in every sum, whatever the plan; and the usage that is
//! shown while the period goes on is what is billed then.

use std::collections::BTreeMap;
use std::sync::Arc;

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_kernel::Timestamp;
use creto_metering::model::billable_metric::{BillableMetric, RoundingFunction};
use creto_metering::model::customer::Customer;
use creto_metering::model::event::EventInput;
use creto_metering::model::invoice::{AppliedTax, Fee, FeeKind, InvoiceCredit, InvoiceDocument, InvoiceKind, Sums};
use creto_metering::model::page::Page;
use creto_metering::model::plan::Plan;
use creto_metering::model::tax::{Coupon, Tax};
use creto_metering::{Billing, Catalog, InvoiceFilter, InvoicePreviewInput, Meter, Outcome, Preview, PreviewInput, Taking, Wallets};
use creto_nhi::VerifiedChain;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::catalog::read;
use super::house::{House, SETS, server};

const TRUSTED: Taking = Taking { trusted: true, all_or_none: false };
/// The subscription begins in the middle of May, at noon in Berlin.
const BEGAN: &str = "2026-05-11T10:00:00Z";
const MAY: [&str; 3] = ["2026-05-01", "2026-05-11", "2026-05-31"];
const JUNE: [&str; 3] = ["2026-06-01", "2026-06-01", "2026-06-30"];

/// A customer in Berlin on a plan, with a meter and billing.
pub(super) struct Shop {
    pub(super) house: House,
    pub(super) catalog: Catalog,
    pub(super) meter: Meter,
    pub(super) billing: Billing,
}

impl Shop {
    pub(super) async fn open(db: Db, metrics: &[Value], plan: &Value) -> Self {
        let shop = Self::again(db).await;
        let (catalog, by) = (&shop.catalog, server("default"));
        for metric in metrics {
            catalog.create(&by, read::<BillableMetric>(metric.clone())).await.unwrap();
        }
        catalog.create(&by, read::<Plan>(plan.clone())).await.unwrap();
        let customer = Customer { timezone: Some("Europe/Berlin".to_owned()), ..Customer::new("acme") };
        catalog.create(&by, customer).await.unwrap();
        catalog.subscribe(&by, read(json!({ "external_id": "s", "external_customer_id": "acme", "plan_code": "p" }))).await.unwrap();
        shop
    }

    /// The same over a database that a server left behind.
    pub(super) async fn again(db: Db) -> Self {
        let house = House::open(db.clone(), Vec::new()).await;
        let clock = house.world.clock.clone();
        clock.set(at(BEGAN));
        let meter = Meter::new(db.clone(), Arc::clone(&house.gate), house.accounts.clone(), clock.clone());
        let catalog = Catalog::new(db.clone(), clock.clone());
        let wallets = Wallets::new(db.clone(), clock.clone(), catalog.clone());
        let billing = Billing::new(db, clock, catalog.clone(), wallets, Arc::new(meter.clone()));
        Self { house, catalog, meter, billing }
    }

    /// Sends events in their order.
    pub(super) async fn send(&self, events: &[Sent]) {
        self.send_as(&self.house.chain("default", None, &["planner"]).await, events).await;
    }

    pub(super) async fn send_as(&self, chain: &VerifiedChain, events: &[Sent]) {
        let inputs: Vec<_> = events.iter().map(|event| Ok(event.input())).collect();
        let answered = self.meter.ingest_all(chain, TRUSTED, inputs).await.unwrap();
        for (_, outcome) in &answered.events {
            assert!(matches!(outcome, Outcome::Recorded { .. } | Outcome::Duplicate { .. }), "{outcome:?}");
        }
    }

    /// Bills at a moment; every invoice, oldest first.
    pub(super) async fn bill(&self, now: &str) -> Vec<InvoiceDocument> {
        self.house.world.clock.set(at(now));
        let by = server("default");
        let run = self.billing.run(&by).await.unwrap();
        assert_eq!((run.done, run.failures), (true, Vec::<String>::new()));
        let listed = self.billing.list(by.tenant(), &InvoiceFilter::default(), Page::new(1, 1_000)).await.unwrap();
        let mut all = Vec::new();
        for invoice in listed.items.iter().rev() {
            all.push(self.billing.get(by.tenant(), invoice.id).await.unwrap());
        }
        all
    }

    async fn preview(&self, body: Value) -> Preview {
        read::<PreviewInput>(body).compute(&self.catalog, server("default").tenant()).await.unwrap()
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) code: String,
    pub(super) at: Timestamp,
    pub(super) properties: Value,
}

impl Sent {
    pub(super) fn of(id: &str, code: &str, moment: &str, properties: Value) -> Self {
        Self { id: id.to_owned(), code: code.to_owned(), at: at(moment), properties }
    }

    fn input(&self) -> EventInput {
        read(json!({
            "transaction_id": self.id, "external_subscription_id": "s", "code": self.code, "timestamp": self.at, "properties": self.properties
        }))
    }

    pub(super) fn previewed(&self) -> Value {
        json!({ "code": self.code, "timestamp": self.at, "properties": self.properties })
    }
}

/// A line, as both say it: kind, charge, filter, group, events, units, cents, what is taken off it, tax rate, tax.
type Line = (String, Option<String>, Option<usize>, BTreeMap<String, Option<String>>, u64, String, i64, i64, String, i64);

fn invoiced(document: &InvoiceDocument) -> Vec<Line> {
    let shown =
        |number: &creto_metering::core::exact::Exact| RoundingFunction::apply(Some(RoundingFunction::Round), Some(15), number).to_string();
    let parts: Vec<_> = document.fees.iter().map(|fee| fee.taken_off_cents.clone()).collect();
    let taken = document.invoice.sums.progressive_billing_cents + document.invoice.sums.coupons_cents;
    let printed = creto_metering::core::allocate::whole_parts(&creto_metering::core::exact::Exact::from(taken), &parts);
    document
        .fees
        .iter()
        .zip(printed)
        .map(|(fee, off)| {
            let of_charge = fee.billable_metric_code.is_some();
            let kind = if fee.kind == FeeKind::Commitment && of_charge { "true_up" } else { fee.kind.as_str() };
            let units = if fee.kind == FeeKind::Charge { shown(&fee.units) } else { "0".to_owned() };
            (
                kind.to_owned(),
                of_charge.then(|| fee.code.clone()),
                fee.filter,
                fee.group.clone(),
                fee.events,
                units,
                fee.amount_cents,
                off.to_i64().unwrap(),
                shown(&fee.taxes_rate),
                fee.taxes_amount_cents,
            )
        })
        .collect()
}

fn previewed(preview: &Preview) -> Vec<Line> {
    preview
        .lines
        .iter()
        .map(|line| {
            (
                line.kind.clone(),
                line.charge.clone(),
                line.filter,
                line.group.clone(),
                line.events,
                line.units.clone(),
                line.amount_cents,
                line.coupons_cents,
                line.tax_rate.clone(),
                line.tax_cents,
            )
        })
        .collect()
}

/// Everything of an invoice but what it and its lines are called.
#[derive(Debug, PartialEq)]
pub(super) struct Essence {
    fees: Vec<Fee>,
    sums: Sums,
    taxes: Vec<AppliedTax>,
    credits: Vec<InvoiceCredit>,
    periods: Vec<(Timestamp, Timestamp)>,
}

pub(super) fn essence(document: &InvoiceDocument) -> Essence {
    let invoice = &document.invoice;
    let mut credits = invoice.credits.clone();
    // A payment of credits is a movement of its own.
    credits.iter_mut().filter(|credit| credit.kind == "wallet").for_each(|credit| credit.id.clear());
    Essence {
        fees: document.fees.iter().map(|fee| Fee { id: "fee_00000000000070008000000000000000".parse().unwrap(), ..fee.clone() }).collect(),
        sums: invoice.sums,
        taxes: invoice.taxes.clone(),
        credits,
        periods: invoice.periods.iter().map(|period| (period.from, period.to)).collect(),
    }
}

/// A plan and what happens under it.
#[derive(Clone, Debug)]
struct Story {
    plan: Value,
    metrics: Vec<Value>,
    taxes: Value,
    coupons: Value,
    /// Before and after billing looks in the middle of June.
    events: [Vec<Sent>; 2],
}

fn story_body(story: &Story, [first, from, last]: [&str; 3], progressive: i64) -> Value {
    let events: Vec<Value> = story.events.iter().flatten().map(Sent::previewed).collect();
    json!({
        "plan": story.plan, "billable_metrics": story.metrics, "first_day": first, "last_day": last, "billed_from": from,
        "subscribed_on": "2026-05-11", "timezone": "Europe/Berlin", "events": events, "taxes": story.taxes, "coupons": story.coupons,
        "progressive_billing_cents": progressive
    })
}

async fn preview_is_invoice(db: Db, story: &Story) {
    let shop = Shop::open(db, &story.metrics, &story.plan).await;
    let by = server("default");
    for tax in story.taxes.as_array().unwrap() {
        shop.catalog.create(&by, read::<Tax>(tax.clone())).await.unwrap();
    }
    for coupon in story.coupons.as_array().unwrap() {
        shop.catalog.create(&by, read::<Coupon>(coupon.clone())).await.unwrap();
        shop.billing.redeem(&by, "acme", coupon["code"].as_str().unwrap()).await.unwrap();
    }
    shop.house.world.clock.set(at("2026-06-20T00:00:00Z"));
    shop.send(&story.events[0]).await;
    let standing = shop.bill("2026-06-20T00:00:00Z").await;
    let of = |it: &&InvoiceDocument| it.invoice.kind == InvoiceKind::ProgressiveBilling;
    let progressive = standing.iter().filter(of).map(|it| it.invoice.sums.fees_cents).max().unwrap_or(0);
    shop.house.world.clock.set(at("2026-06-30T21:00:00Z"));
    shop.send(&story.events[1]).await;
    let current = shop.meter.current_usage(by.tenant(), "s", at("2026-06-30T21:00:00Z")).await.unwrap();
    let next = InvoicePreviewInput {
        external_customer_id: Some("acme".to_owned()),
        subscriptions: vec!["s".to_owned()],
        ..InvoicePreviewInput::default()
    };
    let next = shop.billing.preview(by.tenant(), &next).await.unwrap().document;
    let invoices = shop.bill("2026-06-30T22:00:00Z").await;
    let periods: Vec<&InvoiceDocument> = invoices.iter().filter(|it| it.invoice.kind == InvoiceKind::Subscription).collect();
    let [may, june] = periods.as_slice() else { panic!("{invoices:?}") };
    for (days, invoice, progressive) in [(MAY, may, 0), (JUNE, june, progressive)] {
        let preview = shop.preview(story_body(story, days, progressive)).await;
        assert_eq!(previewed(&preview), invoiced(invoice), "{days:?}");
        let sums = &invoice.invoice.sums;
        assert_eq!(
            (preview.progressive_billing_cents, preview.coupons_cents, preview.subtotal_cents, preview.taxes_cents, preview.total_cents),
            (
                sums.progressive_billing_cents,
                sums.coupons_cents,
                sums.sub_total_excluding_taxes_cents,
                sums.taxes_cents,
                sums.sub_total_including_taxes_cents
            ),
            "{days:?}"
        );
    }
    assert_eq!(essence(&next), essence(june), "the next invoice of the subscription");
    // What was shown at the end of June is what was billed of it, but for the most of a charge.
    let capped = story.plan["charges"].as_array().unwrap().iter().any(|charge| !charge["max_amount_cents"].is_null());
    let used: i64 = june.fees.iter().filter(|fee| fee.kind == FeeKind::Charge).map(|fee| fee.amount_cents).sum();
    let shown: i64 = current.charges.iter().filter_map(|line| line.amount_cents.as_ref()).map(|cents| cents.to_i64().unwrap()).sum();
    let unused: i64 = june
        .fees
        .iter()
        .filter(|fee| fee.kind == FeeKind::Charge && !current.charges.iter().any(|line| line.charge == fee.code))
        .map(|fee| fee.amount_cents)
        .sum();
    assert!(capped || shown + unused == used, "{shown} + {unused} is not {used}");
}

pub(super) const AGGREGATIONS: [&str; 9] = ["count", "sum", "unique_count", "max", "min", "avg", "latest", "weighted_sum", "custom"];

pub(super) fn model(which: usize) -> (&'static str, Value) {
    let tier = |to: Value, price: &str, flat: &str| json!({ "to_value": to, "per_unit_amount": price, "flat_amount": flat });
    let tiers = json!([tier(json!(3), "0.37", "0.11"), tier(json!(9), "0.205", "0"), tier(Value::Null, "0.0333", "1.5")]);
    match which {
        0 => ("standard", json!({ "amount": "0.0305" })),
        1 => ("flat", json!({ "amount": "3.335" })),
        2 => ("graduated", json!({ "graduated_ranges": tiers })),
        3 => ("volume", json!({ "volume_ranges": tiers })),
        4 => ("package", json!({ "amount": "0.75", "package_size": 4, "free_units": 2 })),
        5 => ("percentage", json!({ "rate": "12.5", "fixed_amount": "0.015" })),
        6 => ("percentage", json!({ "rate": "7", "fixed_amount": "0.1", "free_units_per_events": 2 })),
        7 => ("percentage", json!({ "rate": "7", "fixed_amount": "0.1", "free_units_per_total_aggregation": "5" })),
        8 => (
            "percentage",
            json!({ "rate": "7", "fixed_amount": "0.1", "free_units_per_events": 3, "free_units_per_total_aggregation": "6" }),
        ),
        9 => ("percentage", json!({ "rate": "9", "per_transaction_min_amount": "0.2", "per_transaction_max_amount": "0.4" })),
        10 => {
            ("percentage", json!({ "rate": "9", "fixed_amount": "0.01", "per_transaction_min_amount": "0.2", "free_units_per_events": 2 }))
        }
        11 => {
            let rate = |to: Value, rate: &str| json!({ "to_value": to, "rate": rate, "flat_amount": "0.25" });
            ("graduated_percentage", json!({ "graduated_percentage_ranges": [rate(json!(5), "11"), rate(Value::Null, "3.3")] }))
        }
        12 => ("dynamic", json!({})),
        _ => ("custom", json!({ "custom_properties": { "expression": "units * 0.1 + events * 0.013" } })),
    }
}

/// One charge with its metric: price, aggregation, and the rest as switches.
type Choice = (usize, usize, [bool; 6]);

fn charge((which, aggregation, [prorated, recurring, grouped, bounded, rounded, advance]): Choice, n: usize) -> (Value, Value) {
    let (name, mut properties) = model(which);
    let kind = AGGREGATIONS[aggregation];
    let code = format!("m{n}");
    let may_recur = ["sum", "unique_count", "weighted_sum", "latest", "max", "min", "custom"].contains(&kind);
    let may_prorate = ["standard", "graduated", "volume"].contains(&name);
    if grouped {
        properties["pricing_group_keys"] = json!(["region"]);
    }
    let metric = json!({
        "code": code, "aggregation_type": kind, "field_name": (kind != "count").then_some("n"), "recurring": recurring && may_recur,
        "expression": (kind == "custom").then_some("sum + max"),
        "rounding_function": rounded.then_some("ceil"), "rounding_precision": rounded.then_some(1)
    });
    let advance = advance && name != "volume";
    let charge = json!({
        "billable_metric_code": code, "charge_model": name, "properties": properties, "prorated": prorated && may_prorate,
        "min_amount_cents": if bounded && n.is_multiple_of(2) && !advance { 145 } else { 0 }, "max_amount_cents": (bounded && n % 2 == 1).then_some(160),
        "pay_in_advance": advance
    });
    (metric, charge)
}

fn choice(advance: impl Strategy<Value = bool>) -> impl Strategy<Value = Choice> {
    (0_usize..14, 0_usize..9, any::<[bool; 5]>(), advance)
        .prop_map(|(model, kind, [a, b, c, d, e], advance)| (model, kind, [a, b, c, d, e, advance]))
}

/// (charge, hours since the beginning, tenths, region, whether it removes).
pub(super) type Drawn = (usize, i64, i64, bool, bool);

pub(super) fn sent(n: usize, (charge, hours, tenths, east, removes): &Drawn, from: &str, charges: usize) -> Sent {
    let moment = at(from).as_micros() + hours * 3_600_000_000;
    let value = if tenths % 3 == 0 { format!("{}", tenths / 10) } else { format!("{}.{}", tenths / 10, tenths % 10) };
    let member = tenths % 5;
    let code = format!("m{}", charge % charges);
    let properties = json!({
        "n": value, "region": if *east { "east" } else { "west" }, "operation_type": if *removes { "remove" } else { "add" },
        "precise_total_amount_cents": format!("{}.5", member * 7)
    });
    Sent { id: format!("t{n}"), code, at: Timestamp::from_micros(moment).unwrap(), properties }
}

fn story() -> impl Strategy<Value = Story> {
    let choices = prop::collection::vec(choice(Just(false)), 1..4);
    let drawn = |hours: std::ops::Range<i64>, most: usize| {
        prop::collection::vec((0_usize..4, hours, 0_i64..120, any::<bool>(), prop::bool::weighted(0.3)), 0..most)
    };
    let flags = any::<[bool; 6]>();
    // Anywhere from the beginning on, in any order; then only in the last days of June.
    (choices, drawn(0..39 * 24, 14), drawn(0..9 * 24, 6), flags, 0_i64..9_000).prop_map(|(choices, first, second, flags, cents)| {
        let [fee, trial, commitment, thresholds, taxed, coupons] = flags;
        let (metrics, charges): (Vec<Value>, Vec<Value>) = choices.iter().enumerate().map(|(n, choice)| charge(*choice, n)).unzip();
        let mut plan = json!({
            "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": if fee { cents } else { 0 }, "charges": charges,
            "trial_period": if trial { 30 } else { 0 }
        });
        if commitment {
            plan["minimum_commitment"] = json!({ "amount_cents": 4_111 });
        }
        if thresholds {
            plan["usage_thresholds"] = json!([{ "amount_cents": 40 }, { "amount_cents": 700 }]);
        }
        let taxes = if taxed {
            json!([{ "code": "vat", "rate": "19.6", "applied_to_organization": true }, { "code": "city", "rate": "1.37", "applied_to_organization": true }])
        } else {
            json!([])
        };
        let coupons = if coupons {
            json!([
                { "code": "all", "coupon_type": "percentage", "percentage_rate": "12.5", "frequency": "forever" },
                { "code": "m0", "coupon_type": "fixed_amount", "amount_cents": 31, "amount_currency": "EUR", "frequency": "forever",
                  "applies_to": { "billable_metric_codes": ["m0"] } }
            ])
        } else {
            json!([])
        };
        let events = [
            first.iter().enumerate().map(|(n, drawn)| sent(n, drawn, BEGAN, choices.len())).collect(),
            second.iter().enumerate().map(|(n, drawn)| sent(100 + n, drawn, "2026-06-21T00:00:00Z", choices.len())).collect(),
        ];
        Story { plan, metrics, taxes, coupons, events }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_preview_of_the_events_is_the_invoice_made_of_them(story in story()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            preview_is_invoice(Db::open_sqlite(&folder.path().join("bills.db"), SETS).unwrap(), &story).await;
        });
    }
}

/// Every price under every aggregation that fits it, prorated and carried over, each with the same busy two months.
#[tokio::test]
async fn every_price_and_aggregation_is_previewed_as_it_is_billed() {
    let busy: Vec<Drawn> = vec![
        (0, 0, 15, true, false),
        (0, 400, 42, true, false),
        (0, 30, 7, false, false),
        (0, 800, 15, true, false),
        (0, 700, 42, true, true),
        (0, 790, 15, true, true),
        (0, 510, 61, false, false),
        (0, 900, 7, false, true),
        (0, 900, 118, true, false),
        (0, 20, 33, true, false),
    ];
    for which in 0..14 {
        let mut choices: Vec<Choice> = Vec::new();
        for aggregation in 0..AGGREGATIONS.len() {
            choices.push((which, aggregation, [true, true, true, false, false, false]));
            choices.push((which, aggregation, [false, false, false, false, true, false]));
            choices.push((which, aggregation, [true, false, false, false, false, false]));
        }
        let (metrics, charges): (Vec<Value>, Vec<Value>) = choices.iter().enumerate().map(|(n, choice)| charge(*choice, n)).unzip();
        let plan = json!({ "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 1_000, "charges": charges });
        let each = |place: usize| busy.iter().enumerate().map(move |(n, drawn)| (place, n, *drawn));
        let events: Vec<Sent> = (0..choices.len())
            .flat_map(each)
            .map(|(place, n, (_, hours, tenths, east, removes))| {
                sent(place * 100 + n, &(place, hours, tenths, east, removes), BEGAN, choices.len())
            })
            .collect();
        let story = Story { plan, metrics, taxes: json!([]), coupons: json!([]), events: [events, Vec::new()] };
        each_engine(SETS, async |db| preview_is_invoice(db, &story).await).await;
    }
}

/// One metric at a price for each unit.
fn simple(code: &str, recurring: bool, kind: &str) -> (Value, Value) {
    let metric = json!({ "code": code, "aggregation_type": kind, "field_name": "n", "recurring": recurring });
    (metric, json!({ "billable_metric_code": code, "charge_model": "standard", "properties": { "amount": "1" } }))
}

fn usage(document: &InvoiceDocument, code: &str) -> Vec<(FeeKind, i64)> {
    document.fees.iter().filter(|fee| fee.code == code).map(|fee| (fee.kind, fee.amount_cents)).collect()
}

#[tokio::test]
async fn a_period_is_billed_by_what_was_agreed_at_its_end_however_late() {
    each_engine(SETS, async |db| {
        let (metric, charge) = simple("tokens", false, "sum");
        let plan = json!({ "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 0, "charges": [charge] });
        let shop = Shop::open(db, &[metric], &plan).await;
        let by = server("default");
        let price = |amount: &str| json!({ "overrides": { "charges": [{ "code": "tokens", "properties": { "amount": amount } }] } });
        shop.send(&[Sent::of("t1", "tokens", BEGAN, json!({ "n": 10 }))]).await;
        // The running period is billed by the new price, and the next one by the one after it, though nobody billed meanwhile.
        shop.house.world.clock.set(at("2026-05-20T00:00:00Z"));
        shop.catalog.amend(&by, "s", read(price("2"))).await.unwrap();
        shop.house.world.clock.set(at("2026-06-10T00:00:00Z"));
        shop.send(&[Sent::of("t2", "tokens", "2026-06-05T00:00:00Z", json!({ "n": 10 }))]).await;
        shop.catalog.amend(&by, "s", read(price("5"))).await.unwrap();
        let invoices = shop.bill("2026-06-30T22:00:00Z").await;
        let lines: Vec<_> = invoices.iter().map(|it| usage(it, "tokens")).collect();
        assert_eq!(lines, [vec![(FeeKind::Charge, 2_000)], vec![(FeeKind::Charge, 5_000)]]);
        // An event that comes late for May costs what May cost. Ten were posted of May at the first price; eleven units cost 22 by now.
        shop.catalog.amend(&by, "s", read(price("7"))).await.unwrap();
        let posted = shop.meter.check(by.tenant()).await.unwrap().debits;
        shop.send(&[Sent::of("t3", "tokens", "2026-05-12T00:00:00Z", json!({ "n": 1 }))]).await;
        let report = shop.meter.check(by.tenant()).await.unwrap();
        assert_eq!((report.debits.get() - posted.get(), report.ok), (12_000_000, true));
        let july = shop.bill("2026-07-31T22:00:00Z").await.pop().unwrap();
        assert_eq!(usage(&july, "tokens"), [(FeeKind::Charge, 0), (FeeKind::Adjustment, 200)]);
    })
    .await;
}

#[tokio::test]
async fn a_level_is_corrected_in_every_period_after_the_one_an_event_came_late_for() {
    each_engine(SETS, async |db| {
        let (metrics, charges): (Vec<Value>, Vec<Value>) =
            [simple("seats", true, "unique_count"), simple("disk", true, "sum")].into_iter().unzip();
        let plan = json!({ "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 10_000, "charges": charges });
        let shop = Shop::open(db, &metrics, &plan).await;
        let seat = |id: &str, moment: &str, who: &str, operation: &str| {
            Sent::of(id, "seats", moment, json!({ "n": who, "operation_type": operation }))
        };
        shop.send(&[seat("a", BEGAN, "ann", "add"), Sent::of("d", "disk", BEGAN, json!({ "n": 3 }))]).await;
        shop.house.world.clock.set(at("2026-06-10T00:00:00Z"));
        shop.send(&[seat("b", "2026-06-10T00:00:00Z", "bob", "add")]).await;
        let invoices = shop.bill("2026-06-30T22:00:00Z").await;
        let lines: Vec<_> = invoices.iter().map(|it| (usage(it, "seats"), usage(it, "disk"))).collect();
        let charge = |cents| vec![(FeeKind::Charge, cents)];
        assert_eq!(lines, [(charge(100), charge(300)), (charge(200), charge(300))]);
        // In May bob was there already, and cem too, who went before June; there was more disk; and ann went on the last of June.
        shop.house.world.clock.set(at("2026-07-02T00:00:00Z"));
        shop.send(&[
            seat("c", "2026-05-12T00:00:00Z", "bob", "add"),
            seat("e", "2026-05-13T00:00:00Z", "cem", "add"),
            seat("f", "2026-05-30T00:00:00Z", "cem", "remove"),
            seat("g", "2026-05-15T00:00:00Z", "dea", "add"),
            seat("h", "2026-06-30T00:00:00Z", "ann", "remove"),
            Sent::of("i", "disk", "2026-05-20T00:00:00Z", json!({ "n": 1 })),
        ])
        .await;
        let july = shop.bill("2026-07-31T22:00:00Z").await.pop().unwrap();
        // July begins with bob and dea. May: ann, bob, dea; June: bob, dea.
        assert_eq!(usage(&july, "seats"), [(FeeKind::Charge, 200), (FeeKind::Adjustment, 200)], "{:?}", july.fees);
        assert_eq!(usage(&july, "disk"), [(FeeKind::Charge, 400), (FeeKind::Adjustment, 100), (FeeKind::Adjustment, 100)]);
    })
    .await;
}

#[tokio::test]
async fn a_price_that_reads_events_is_exact_beyond_any_number_of_them() {
    each_engine(SETS, async |db| {
        let metric = json!({ "code": "sales", "aggregation_type": "sum", "field_name": "n" });
        let charge = json!({ "billable_metric_code": "sales", "charge_model": "percentage", "properties": {
            "rate": "10", "fixed_amount": "1", "free_units_per_events": 1_100, "per_transaction_max_amount": "3"
        } });
        let plan = json!({ "code": "p", "interval": "monthly", "amount_currency": "EUR", "amount_cents": 0, "charges": [charge] });
        let shop = Shop::open(db, &[metric], &plan).await;
        let events: Vec<Sent> = (0..1_200).map(|n| Sent::of(&format!("t{n}"), "sales", BEGAN, json!({ "n": n % 50 }))).collect();
        shop.send(&events).await;
        let invoices = shop.bill("2026-05-31T22:00:00Z").await;
        // The last hundred pay a tenth and one, no more than three: twice 1.0, 1.1, … 2.9, then thirty times 3.
        let paid = 2 * ((0..20).map(|n| 100 + 10 * n).sum::<i64>() + 30 * 300);
        assert_eq!(usage(&invoices[0], "sales"), [(FeeKind::Charge, paid)]);
        assert!(shop.meter.check(server("default").tenant()).await.unwrap().ok);
    })
    .await;
}
