//! Golden cases: facts from public test suites, and more of the same kinds from the slow oracle beside them.

#[path = "../../examples/golden/harness.rs"]
mod harness;

use std::collections::BTreeSet;

use serde_json::{Value, json};

const FACTS: &str = include_str!("../golden/metering.json");
const ORACLE: &str = include_str!("../golden/oracle.json");

#[test]
fn every_golden_fact_comes_out_of_the_production_code() {
    let report = harness::run(FACTS).unwrap();
    assert_eq!((report.passed, report.failures), (101, Vec::new()));
}

#[test]
fn the_production_code_agrees_with_a_slow_oracle_of_its_own() {
    let report = harness::run(ORACLE).unwrap();
    assert!(report.passed >= 150 && report.failures.is_empty(), "{} passed, {:#?}", report.passed, report.failures);
}

#[test]
fn the_oracles_cases_cover_every_kind_that_the_facts_have() {
    let kinds = |text: &str| -> BTreeSet<String> {
        let file: Value = serde_json::from_str(text).unwrap();
        file["cases"].as_array().unwrap().iter().map(|case| case["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(ORACLE), kinds(FACTS));
}

fn fails(case: Value) -> String {
    let report = harness::run(&json!({ "cases": [case] }).to_string()).unwrap();
    assert_eq!((report.passed, report.failures.len()), (0, 1), "{:?}", report.failures);
    report.failures.concat()
}

#[test]
fn what_is_not_known_or_not_equal_fails_and_is_named() {
    let case = |kind: &str, input: Value, expect: Value| json!({ "id": "c", "kind": kind, "input": input, "expect": expect });
    let standard = || json!({ "units": "1", "amount": "1.005" });
    for (case, named) in [
        (case("barter", json!({}), json!({})), "kind is not known"),
        (case("standard", json!({ "units": "1", "amount": "1", "colour": "red" }), json!({ "amount": "1" })), "colour"),
        (case("standard", standard(), json!({ "price": "1" })), "`price` is no result"),
        (case("standard", standard(), json!({ "amount": "1" })), "expected 1, got 1.005"),
        (case("standard", standard(), json!({ "amount": "1.00@2" })), "expected 1.00@2"),
        (case("standard", standard(), json!({ "amount": "1.00^2" })), "expected 1.00^2"),
        (case("standard", standard(), json!({ "amount": null })), "expected null"),
        (case("grant_burn", json!({ "grants": [], "usage": "5" }), json!({ "balance": { "g": "1" } })), "balance.g"),
        (json!({ "id": "c", "kind": "standard", "input": standard(), "expect": {}, "skip": true }), "skip"),
        (json!({ "id": "c", "kind": "standard", "expect": {} }), "input"),
    ] {
        let failure = fails(case.clone());
        assert!(failure.contains(named), "{case}: {failure}");
    }
}

#[test]
fn suffixes_round_what_came() {
    let case = |amount: &str, expected: &str| json!({ "id": "c", "kind": "standard", "input": { "units": "1", "amount": amount }, "expect": { "amount": expected } });
    let cases: Vec<Value> = [
        ("1.005", "1.01@2"),
        ("-1.005", "-1.01@2"),
        ("1.0001", "1.01^2"),
        ("-1.009", "-1.00^2"),
        ("1.5", "2@0"),
        ("15", "20@-1"),
        ("1.50", "1.5"),
    ]
    .map(|(amount, expected)| case(amount, expected))
    .to_vec();
    let report = harness::run(&json!({ "cases": cases }).to_string()).unwrap();
    assert_eq!((report.passed, report.failures), (7, Vec::new()));
}
