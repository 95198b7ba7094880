//! Previews over HTTP: every rounding of a bill is seen in one, so that breaking any of them is noticed here too.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use creto_db::Db;
use creto_enablement_common::http::{Caller, Endpoints};
use creto_metering::Catalog;
use creto_nhi::Roles;
use creto_nhi::testkit::World;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::catalog::{metric, plan};
use super::house::{SETS, human, server};

struct Shop {
    catalog: Catalog,
    router: Router,
    _folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&folder.path().join("preview.db"), SETS).unwrap();
        let world = World::open(db).await;
        let catalog = Catalog::new(world.db.clone(), world.clock.clone());
        let router = Endpoints::new().and(creto_metering::http::preview::endpoints(&catalog)).into_router();
        Self { catalog, router, _folder: folder }
    }

    async fn post(&self, body: Value) -> (StatusCode, Value) {
        let mut request = Request::builder().method(Method::POST).uri("/v1/metering/preview").body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(Caller(human("default", "olga", Roles::OPERATOR_AND_APPROVER), None));
        let response = TowerToHyperService::new(self.router.clone()).call(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn preview(&self, body: Value) -> Value {
        let (status, answer) = self.post(body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }
}

/// A bill of one metric `m` at one price, for June, of events that are each one value `v`.
fn request(aggregation: Value, charge: Value, values: &[&str]) -> Value {
    let mut metric = json!({ "code": "m", "field_name": "v" });
    metric.as_object_mut().unwrap().extend(aggregation.as_object().unwrap().clone());
    let mut of_metric = json!({ "billable_metric_code": "m" });
    of_metric.as_object_mut().unwrap().extend(charge.as_object().unwrap().clone());
    let event = |value: &&str| json!({ "code": "m", "timestamp": "2026-06-10T00:00:00Z", "properties": { "v": value } });
    json!({
        "plan": { "code": "p", "interval": "monthly", "amount_currency": "EUR", "charges": [of_metric] },
        "billable_metrics": [metric], "first_day": "2026-06-01", "last_day": "2026-06-30",
        "events": values.iter().map(event).collect::<Vec<_>>()
    })
}

fn sum() -> Value {
    json!({ "aggregation_type": "sum" })
}

/// Cents of each unit.
fn standard(amount: &str) -> Value {
    json!({ "charge_model": "standard", "properties": { "amount": amount } })
}

fn cents(answer: &Value) -> Vec<i64> {
    answer["lines"].as_array().unwrap().iter().map(|line| line["amount_cents"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn preview_units_are_rounded_by_the_metrics_own_function() {
    let shop = Shop::open().await;
    for (function, precision, value, units) in [
        ("round", 0, "2.5", "3"),
        ("round", 0, "2.4", "2"),
        ("round", 0, "2.6", "3"),
        ("ceil", 0, "2.1", "3"),
        ("floor", 0, "2.9", "2"),
        ("ceil", -2, "123.456", "200"),
        ("floor", 1, "2.58", "2.5"),
    ] {
        let metric = json!({ "aggregation_type": "sum", "rounding_function": function, "rounding_precision": precision });
        let answer = shop.preview(request(metric, standard("1"), &[value])).await;
        assert_eq!(answer["lines"][0]["units"], units, "{function} {value}");
    }
    let negative = json!({ "aggregation_type": "min", "rounding_function": "round" });
    assert_eq!(shop.preview(request(negative, standard("1"), &["-2.5"])).await["lines"][0]["units"], "0");
}

#[tokio::test]
async fn preview_fees_are_rounded_once_each_to_a_cent() {
    let shop = Shop::open().await;
    for (values, price, fee) in [
        (["0.5", "1.5", "0.5"].as_slice(), "0.01", 3),
        (&["1"], "0.0025", 0),
        (&["1"], "0.0075", 1),
        (&["1"], "0.005", 1),
        (&["5"], "0.005", 3),
        (&["0.1", "0.2"], "1", 30),
    ] {
        assert_eq!(cents(&shop.preview(request(sum(), standard(price), values)).await), [fee], "{values:?} at {price}");
    }
    let package = json!({ "charge_model": "package", "properties": { "amount": "1", "package_size": "10", "free_units": "5" } });
    for (value, fee) in [("5", 0), ("6", 100), ("15", 100), ("15.1", 200), ("22", 200)] {
        assert_eq!(cents(&shop.preview(request(sum(), package.clone(), &[value])).await), [fee], "{value}");
    }
}

#[tokio::test]
async fn preview_postings_are_rounded_once_to_a_millionth() {
    let shop = Shop::open().await;
    for (price, values, posted) in [
        ("0.0000005", ["1"].as_slice(), "0.000001"),
        ("0.0000025", &["1"], "0.000003"),
        ("0.0000004", &["1"], "0"),
        ("0.0000006", &["1"], "0.000001"),
        ("0.0000004", &["1", "1"], "0.000001"),
    ] {
        let answer = shop.preview(request(sum(), standard(price), values)).await;
        assert_eq!(answer["lines"][0]["posted"], posted, "{price}");
    }
}

#[tokio::test]
async fn preview_plan_fees_minimums_and_commitments_are_of_the_days_that_are_billed() {
    let shop = Shop::open().await;
    let mut body = request(sum(), standard("0.01"), &["100"]);
    body["billed_to"] = json!("2026-06-15");
    // Half of the period.
    for (plan_fee, minimum, expected) in
        [(1001, 0, vec![501, 100]), (1003, 0, vec![502, 100]), (0, 203, vec![100, 2]), (0, 205, vec![100, 3]), (0, 201, vec![100, 1])]
    {
        body["plan"]["amount_cents"] = json!(plan_fee);
        body["plan"]["charges"][0]["min_amount_cents"] = json!(minimum);
        assert_eq!(cents(&shop.preview(body.clone()).await), expected, "{plan_fee} {minimum}");
    }
    body["billed_to"] = json!("2026-06-10");
    // A third of it.
    for (plan_fee, minimum, expected) in
        [(1000, 0, vec![333, 100]), (1001, 0, vec![334, 100]), (0, 304, vec![100, 1]), (0, 305, vec![100, 2])]
    {
        body["plan"]["amount_cents"] = json!(plan_fee);
        body["plan"]["charges"][0]["min_amount_cents"] = json!(minimum);
        assert_eq!(cents(&shop.preview(body.clone()).await), expected, "{plan_fee} {minimum}");
    }
    body["plan"]["charges"][0]["min_amount_cents"] = json!(0);
    body["plan"]["charges"][0]["max_amount_cents"] = json!(60);
    body["plan"]["minimum_commitment"] = json!({ "amount_cents": 300 });
    let answer = shop.preview(body).await;
    let kinds: Vec<_> = answer["lines"].as_array().unwrap().iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds, cents(&answer)), (vec!["charge", "commitment"], vec![60, 40]));
    assert_eq!(answer["lines"][0]["amount"], "1", "what it would have cost is still told");
}

#[tokio::test]
async fn preview_coupons_and_taxes_are_rounded_once_and_their_lines_add_up() {
    let shop = Shop::open().await;
    let tax = |rate: &str| json!([{ "code": "vat", "rate": rate, "applied_to_organization": true }]);
    for (fee, rate, tax_cents) in [("0.05", "10", 1), ("0.25", "10", 3), ("0.12", "10", 1), ("0.17", "10", 2)] {
        let mut body = request(sum(), standard(fee), &["1"]);
        body["taxes"] = tax(rate);
        let answer = shop.preview(body).await;
        let line = &answer["lines"][0];
        assert_eq!([&line["own_tax_cents"], &line["tax_cents"], &answer["taxes_cents"]], [tax_cents; 3], "{fee}");
    }
    for (fee, percent, off) in [("0.01", "50", 1), ("0.05", "50", 3), ("0.05", "25", 1), ("0.05", "35", 2)] {
        let mut body = request(sum(), standard(fee), &["1"]);
        body["coupons"] = json!([{ "code": "c", "coupon_type": "percentage", "percentage_rate": percent, "frequency": "once" }]);
        assert_eq!(shop.preview(body).await["coupons_cents"], off, "{fee} {percent}");
    }
    // Three equal lines share two cents, and three half cents of tax are two.
    let mut grouped = standard("0.05");
    grouped["properties"]["pricing_group_keys"] = json!(["agent"]);
    let mut body = request(sum(), grouped, &["1", "1", "1"]);
    for (index, agent) in ["a", "b", "c"].into_iter().enumerate() {
        body["events"][index]["properties"]["agent"] = json!(agent);
    }
    body["taxes"] = tax("10");
    let parts = |answer: &Value, field: &str| -> Vec<i64> {
        answer["lines"].as_array().unwrap().iter().map(|line| line[field].as_i64().unwrap()).collect()
    };
    let answer = shop.preview(body.clone()).await;
    assert_eq!(
        (parts(&answer, "own_tax_cents"), parts(&answer, "tax_cents"), &answer["taxes_cents"]),
        (vec![1, 1, 1], vec![1, 1, 0], &json!(2))
    );
    body["coupons"] =
        json!([{ "code": "c", "coupon_type": "fixed_amount", "amount_cents": 2, "amount_currency": "EUR", "frequency": "once" }]);
    let answer = shop.preview(body).await;
    assert_eq!((parts(&answer, "coupons_cents"), &answer["coupons_cents"]), (vec![1, 1, 0], &json!(2)));
    assert_eq!((&answer["subtotal_cents"], &answer["taxes_cents"], &answer["total_cents"]), (&json!(13), &json!(1), &json!(14)));
}

#[tokio::test]
async fn preview_wallets_pay_after_credit_notes_and_are_filled_past_their_threshold() {
    let shop = Shop::open().await;
    let wallet = |balance: &str, rate: &str, step: &str| {
        json!({
            "balance_credits": balance,
            "definition": {
                "currency": "EUR", "rate_amount": rate,
                "recurring_transaction_rules": [{ "trigger": "threshold", "threshold_credits": "10", "paid_credits": step }]
            }
        })
    };
    let mut body = request(sum(), standard("1"), &["50"]);
    body["credit_notes_cents"] = json!(1000);
    for (balance, rate, step, prepaid, top_up) in [
        ("45", "1", "50", 4000, Some(("50", 5000))),
        // On the threshold, not past it.
        ("50", "1", "5", 4000, Some(("5", 500))),
        ("51", "1", "5", 4000, None),
        ("10", "1", "4", 1000, Some(("12", 1200))),
        ("10", "1", "3", 1000, Some(("12", 1200))),
        ("0.125", "1", "100", 13, Some(("100", 10_000))),
        ("0.225", "1", "10.0251", 23, Some(("10.03", 1003))),
        ("0.122", "1", "20.012", 12, Some(("20.01", 2001))),
    ] {
        body["wallet"] = wallet(balance, rate, step);
        let answer = shop.preview(body.clone()).await;
        let first = answer["top_ups"].as_array().unwrap().first();
        let came = first.map(|first| (first["credits"].as_str().unwrap(), first["amount_cents"].as_i64().unwrap()));
        assert_eq!((answer["prepaid_cents"].as_i64(), came), (Some(prepaid), top_up), "{balance} {step}");
        assert_eq!(answer["to_pay_cents"].as_i64(), Some(4000 - prepaid));
    }
}

#[tokio::test]
async fn preview_reads_the_catalog_where_a_code_is_named() {
    let shop = Shop::open().await;
    let by = server("default");
    shop.catalog.create(&by, metric("tokens")).await.unwrap();
    shop.catalog.create(&by, plan("pro", 4900, &["tokens"])).await.unwrap();
    let event = json!({ "code": "tokens", "timestamp": "2026-06-10T00:00:00Z", "properties": { "n": "1000" } });
    let body = json!({ "plan_code": "pro", "first_day": "2026-06-01", "last_day": "2026-06-30", "events": [event] });
    let answer = shop.preview(body.clone()).await;
    assert_eq!((cents(&answer), &answer["to_pay_cents"]), (vec![4900, 1000], &json!(5900)));
    for (change, status, code) in [
        (json!({ "plan_code": "none" }), 404, "metering.unknown_definition"),
        (json!({ "plan_code": null }), 422, "metering.bad_definition"),
        (json!({ "last_day": "2026-05-31" }), 422, "metering.bad_definition"),
        (json!({ "billed_from": "2026-05-31" }), 422, "metering.bad_definition"),
        (
            json!({ "events": [{ "code": "tokens", "timestamp": "2026-06-10T00:00:00Z", "properties": {} }] }),
            422,
            "metering.bad_definition",
        ),
        (
            json!({ "events": [{ "code": "tokens", "timestamp": "2026-06-10T00:00:00Z", "properties": { "n": "1e300" } }] }),
            422,
            "metering.amount_overflow",
        ),
    ] {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (came, problem) = shop.post(body).await;
        assert_eq!((came.as_u16(), problem["code"].as_str()), (status, Some(code)), "{change}: {problem}");
    }
}
