//! Events kept aside, retention, and tables, as an operator types them.

use super::house::House;

#[test]
fn what_is_kept_aside_and_for_how_long_is_typed() {
    let house = House::new();
    let _server = house.serve();
    let quarantine = |rest: &[&str]| house.run(&[&["meter", "quarantine"], rest].concat());
    assert!(quarantine(&["list"]).ok().contains("what nothing can price is refused"));
    assert!(quarantine(&["keep"]).ok().contains("kept aside from now on"));
    let listed = quarantine(&["list"]).ok();
    assert!(listed.contains("nothing is kept aside") && listed.contains("what nothing can price is kept aside"), "{listed}");
    assert!(quarantine(&["replay"]).ok().starts_with("0 recorded"));
    quarantine(&["discard", "--subscription", "s", "t1"]).refused("metering.unknown_event");
    assert!(quarantine(&["refuse"]).ok().contains("refused from now on"));

    let retention = |rest: &[&str]| house.run(&[&["meter", "retention"], rest].concat());
    assert!(retention(&["show"]).ok().contains("for ever"));
    let set = retention(&["set", "--months", "13", "--hold-customer", "acme"]).ok();
    assert!(set.contains("for 13 months") && set.contains("on hold: customer acme"), "{set}");
    retention(&["set", "--days", "0"]).refused("metering.bad_definition");
    assert!(retention(&["run"]).ok().starts_with("0 events lost"));

    let file = house.path("events.parquet");
    let to = |file: &std::path::Path| house.run(&["meter", "export", "events", "--format", "parquet", "-o", file.to_str().unwrap()]);
    to(&file).ok();
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "an empty table is a file too");
    to(&house.path("no/such/folder")).refused("app.usage");
    let taken = house.path("taken");
    std::fs::create_dir(&taken).unwrap();
    to(&taken).refused("app.usage");
    assert_eq!(house.parts(), 0, "what could not be given its name is gone");
    let csv = house.run(&["meter", "export", "entries", "--since", "2026-01-01T00:00:00Z"]).ok();
    assert!(csv.starts_with("admission,side,account,"), "{csv}");
}
