//! What is sold, billed and prepaid, as an operator types it.

use super::house::House;

const PLAN: &str = r#"{ "code": "pro", "name": "Pro", "interval": "monthly", "amount_cents": 1500, "amount_currency": "EUR",
    "charges": [{ "billable_metric_code": "tokens", "charge_model": "standard", "properties": { "amount": "0.01" } }] }"#;

#[test]
fn what_is_sold_is_billed_paid_exported_and_printed() {
    let house = House::new();
    let _server = house.serve();
    let put = |kind: &str, name: &str, text: &str| house.run(&["catalog", kind, "--put", &house.file(name, text)]);
    put("plans", "early.json", PLAN).refused("metering.unknown_definition");
    put("metrics", "metric.json", r#"{ "code": "tokens", "aggregation_type": "sum", "field_name": "n" }"#).ok();
    put("plans", "plan.json", PLAN).ok();
    put("plans", "again.json", PLAN).refused("metering.already_exists");
    put("plans", "bad.json", "{").refused("app.usage");
    let dearer = house.file("dearer.json", &PLAN.replace("1500", "2000"));
    assert!(house.run(&["catalog", "plans", "pro", "--put", &dearer]).ok().contains("\"version\": 2"));
    put("customers", "customer.json", r#"{ "external_id": "acme", "name": "Acme" }"#).ok();
    let begun = r#"{ "external_id": "s1", "external_customer_id": "acme", "plan_code": "pro", "subscription_at": "2020-01-31T00:00:00Z",
        "ending_at": "2020-02-29T00:00:00Z" }"#;
    put("subscriptions", "subscription.json", begun).ok();
    let plans = house.run(&["catalog", "plans"]).ok();
    assert!(plans.lines().any(|line| line.contains("pro") && line.contains("2000") && line.contains("EUR")), "{plans}");
    house.run(&["catalog", "metrics", "tokens", "--delete"]).refused("metering.in_use");

    let wallet = house.run(&["wallet", "create", "acme", "--currency", "EUR", "--granted", "5", "--json"]).json();
    let wallet = wallet["id"].as_str().unwrap().to_owned();
    house.run(&["wallet", "move", &wallet, "--voided", "9"]).refused("metering.insufficient_credits");
    assert!(house.run(&["wallet", "list"]).ok().contains("acme"));

    // Two calendar months are over: one day of the first, 28 of the second.
    let run = house.run(&["invoice", "run", "--json"]).json();
    assert_eq!((&run["finalized"], &run["done"]), (&2.into(), &true.into()), "{run}");
    let invoices = house.run(&["invoice", "list"]).ok();
    assert!(invoices.contains("INV-000001") && invoices.contains("INV-000002"), "{invoices}");
    let all = house.run(&["invoice", "list", "--json"]).json();
    let last = all["items"][0]["id"].as_str().unwrap().to_owned();
    let shown = house.run(&["invoice", "show", &last]).ok();
    assert!(shown.contains("prepaid_credits_cents"), "{shown}");
    assert!(house.run(&["wallet", "show", &wallet]).ok().contains("invoiced"));
    let pdf = house.path("invoice.pdf");
    house.run(&["invoice", "pdf", &last, "--output", pdf.to_str().unwrap()]).ok();
    assert!(std::fs::read(&pdf).unwrap().starts_with(b"%PDF-"));
    let csv = house.run(&["invoice", "export", "invoices"]).ok();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    house.run(&["invoice", "export", "secrets"]).refused("metering.bad_definition");
    assert!(house.run(&["invoice", "void", &last, "--rebill"]).ok().contains("voided"));
    assert_eq!(house.run(&["invoice", "run", "--json"]).json()["finalized"], 1);
    house.run(&["invoice", "finalize", &last]).refused("metering.wrong_state");
    assert!(house.run(&["meter", "check"]).ok().contains("the ledger balances"));
    assert!(house.run(&["wallet", "close", &wallet]).ok().contains("terminated"));
}
