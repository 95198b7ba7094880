//! What rating costs: one price of each kind, and a bill of a hundred charges, of aggregates that are there already.
#![expect(clippy::unwrap_used, reason = "a bench speaks by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::time::{Duration, Instant};

use creto_bench::{Report, Row};
use creto_metering::ChargeUsage;
use creto_metering::core::bill::{self, Advanced, Part, Span, Terms};
use creto_metering::core::exact::Exact;
use creto_metering::core::invoicing::{self, Reduction};
use creto_metering::core::period::Period;
use creto_metering::core::price::{self, Usage};
use creto_metering::core::zone::Zone;
use creto_metering::model::invoice::{EventRange, FeeId};
use creto_metering::model::plan::Plan;
use creto_metering::model::price::PriceModel;
use creto_metering::model::tax::{Coupon, Tax};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::json;

const RATINGS: u32 = 200_000;
const BILLS: usize = 200;
const CHARGES: usize = 100;

fn graduated() -> PriceModel {
    let tier = |to: Option<u32>, per_unit: &str| json!({ "to_value": to, "per_unit_amount": per_unit, "flat_amount": "0.5" });
    let ranges = json!([tier(Some(10), "0.10"), tier(Some(100), "0.05"), tier(Some(1_000), "0.025"), tier(None, "0.0125")]);
    PriceModel::parse("graduated", serde_json::Map::from_iter([("graduated_ranges".to_owned(), ranges)])).unwrap()
}

/// The same by a decimal type that rounds: (end, price of a unit) and a flat fee for each tier reached, to a cent.
fn graduated_in_decimals(tiers: &[(Option<Decimal>, Decimal)], flat: Decimal, units: Decimal) -> Decimal {
    let (mut start, mut amount) = (Decimal::ZERO, Decimal::ZERO);
    for (end, price) in tiers {
        if units <= start && start > Decimal::ZERO {
            break;
        }
        let top = end.map_or(units, |end| end.min(units));
        amount += (top - start) * price + flat;
        start = end.unwrap_or(start);
    }
    amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
}

/// The median of five rounds, in nanoseconds a call.
fn median_ns(calls: u32, mut call: impl FnMut(u32)) -> f64 {
    let mut rounds: Vec<Duration> = (0..5)
        .map(|_| {
            let started = Instant::now();
            (0..calls).for_each(&mut call);
            started.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    rounds.get(2).unwrap().as_secs_f64() * 1e9 / f64::from(calls)
}

/// (ours exactly, the same in decimals that round), in nanoseconds.
fn rating_ns() -> (f64, f64) {
    let model = graduated();
    let subunits = Exact::from(100_u8);
    let ours = median_ns(RATINGS, |call| {
        let usage = Usage::of(Exact::from(call) * Exact::power_of_ten(-2), 1);
        let rated = price::rate(&model, black_box(&usage), &subunits).unwrap();
        black_box(creto_metering::core::fee::of_amount(&rated.amount, &subunits));
    });
    let tiers: Vec<(Option<Decimal>, Decimal)> = [(Some(10), 100), (Some(100), 50), (Some(1_000), 25), (None, 12)]
        .map(|(end, price)| (end.map(Decimal::from), Decimal::new(price, 3)))
        .to_vec();
    let theirs = median_ns(RATINGS, |call| {
        black_box(graduated_in_decimals(black_box(&tiers), Decimal::new(5, 1), Decimal::new(i64::from(call), 2)));
    });
    (ours, theirs)
}

/// A bill of a hundred charges with ten groups each, of a third of a month, with a coupon and a tax, in milliseconds.
fn bill_ms() -> f64 {
    let charge = |n: usize| json!({ "code": format!("c{n}"), "billable_metric_code": "m", "charge_model": "graduated", "properties": graduated().properties() });
    let plan: Plan = serde_json::from_value(json!({
        "code": "p", "interval": "monthly", "amount_cents": 4_900, "amount_currency": "EUR", "charges": (0..CHARGES).map(charge).collect::<Vec<_>>()
    }))
    .unwrap();
    let day = |text: &str| text.parse().unwrap();
    let period = Period { first_day: day("2026-06-01"), last_day: day("2026-06-30") };
    let vat: Tax = serde_json::from_value(json!({ "code": "vat", "rate": "19.6", "applied_to_organization": true })).unwrap();
    let taxes = HashMap::from([("vat".to_owned(), vat)]);
    let coupon: Coupon =
        serde_json::from_value(json!({ "code": "c", "coupon_type": "percentage", "percentage_rate": "12.5", "frequency": "once" }))
            .unwrap();
    let coupons = [Reduction::of(&coupon, None)];
    let (metrics, zone, nothing) = (BTreeMap::new(), Zone::utc(), Advanced::new());
    let terms = Terms {
        plan: &plan,
        metrics: &metrics,
        holder: None,
        trial_end: period.first_day,
        zone: &zone,
        taxes: &taxes,
        customer_tax_codes: &[],
        ids: &FeeId::generate,
    };
    let part = Part { period, billed: Some(Period { last_day: day("2026-06-10"), ..period }) };
    let window = (zone.start(period.first_day), zone.end(period.last_day));
    let span = Span { plan_fee: Some(part), usage: part, window, commitment: None, billed_before_cents: 0, advanced: &nothing };
    let bill = || {
        let used = |charge: &creto_metering::model::charge::Charge, n: u32| {
            let usage = Usage::of(Exact::ratio(n * 1_000 + 1, 31_u8).unwrap(), 7);
            ChargeUsage {
                charge: charge.code.clone(),
                filter: None,
                group: BTreeMap::from([("agent".to_owned(), Some(n.to_string()))]),
                amount: price::rate(&charge.pricing(None).model, &usage, &Exact::from(100_u8)).unwrap().amount,
                units: usage.units,
                events: usage.events,
                proof: EventRange::default(),
            }
        };
        let used: Vec<_> = plan.charges.iter().flat_map(|charge| (0..10).map(move |n| used(charge, n))).collect();
        let mut fees = bill::lines(&terms, &span, &used).unwrap();
        black_box(invoicing::build(&mut fees, 0, &coupons).unwrap());
    };
    let mut rounds: Vec<Duration> = (0..BILLS)
        .map(|_| {
            let started = Instant::now();
            bill();
            started.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    rounds.get(BILLS * 99 / 100).unwrap().as_secs_f64() * 1e3
}

fn main() {
    let (ours, theirs) = rating_ns();
    let bill = bill_ms();
    let rows = vec![
        Row {
            id: "metering.rate_graduated_ns".to_owned(),
            ours,
            peer: Some("rust_decimal, which rounds".to_owned()),
            peer_value: Some(theirs),
            unit: "ns".to_owned(),
            ratio: Some(ours / theirs),
            goal: serde_json::Value::Null,
            met: None,
        },
        Row {
            id: "metering.bill_100_charges_p99_ms".to_owned(),
            ours: bill,
            peer: None,
            peer_value: None,
            unit: "ms".to_owned(),
            ratio: None,
            goal: json!("<= 50 ms"),
            met: Some(bill <= 50.0),
        },
    ];
    if let Some(into) = std::env::var_os("CRETO_BENCH_DIR") {
        Row::write(&rows, std::path::Path::new(&into), "rating").unwrap();
    }
    print!("{}", Report { rows });
}
