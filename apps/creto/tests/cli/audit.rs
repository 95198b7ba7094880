//! The log, verified by whoever doubts it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::house::{House, files};

/// How many places of each file are tried.
const FLIPS: usize = 12;

#[test]
fn one_flipped_byte_anywhere_in_the_log_is_found_and_its_file_named() {
    let house = House::new();
    for name in ["a", "b", "c"] {
        house.run(&["agent", "create", name]).ok();
    }
    house.run(&["audit", "verify"]).ok();
    let log = house.data().join("log");
    let (mut checkpoints, mut tiles, mut bundles) = (0, 0, 0);
    for file in files(&log) {
        let named = file.strip_prefix(&log).unwrap().display().to_string();
        match &named {
            name if name.ends_with("/checkpoint") => checkpoints += 1,
            name if name.contains("/entries/") => bundles += 1,
            _ => tiles += 1,
        }
        let good = fs::read(&file).unwrap();
        for at in (0..FLIPS).map(|step| step * (good.len() - 1) / (FLIPS - 1)) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, &bad).unwrap();
            let ran = house.run(&["audit", "verify", "--json"]);
            let report: Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!((ran.code, &report["ok"]), (1, &Value::Bool(false)), "{named} at {at}: {ran:?}");
            assert_eq!(report["path"], named.as_str(), "byte {at}: {report}");
        }
        fs::write(&file, &good).unwrap();
    }
    assert!(checkpoints > 0 && tiles > 0 && bundles > 0, "every kind of file was tried: {checkpoints} {tiles} {bundles}");
    house.run(&["audit", "verify"]).ok();
}

#[test]
fn a_missing_and_a_foreign_file_are_named() {
    let house = House::new();
    house.run(&["agent", "create", "a"]).ok();
    let log = house.data().join("log");
    let foreign = log.join("default/tile/0/extra");
    fs::write(&foreign, b"x").unwrap();
    let ran = house.run(&["audit", "verify"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("default/tile/0/extra"), "{ran:?}");
    fs::remove_file(&foreign).unwrap();
    let tile = files(&log).into_iter().find(|file| file.display().to_string().contains("tile/0")).unwrap();
    fs::remove_file(&tile).unwrap();
    let ran = house.run(&["audit", "verify"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("audit.missing_file"), "{ran:?}");
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

#[test]
fn an_older_log_put_in_place_is_found_with_a_pin_and_only_with_one() {
    let house = House::new();
    house.run(&["agent", "create", "a"]).ok();
    let (log, older) = (house.data().join("log"), house.path("older"));
    copy(&log, &older);
    let early = house.run(&["audit", "pin"]).ok();
    house.run(&["agent", "create", "b"]).ok();
    let late = house.run(&["audit", "pin"]).ok();
    let (early, late) = (house.file("early", &early), house.file("late", &late));
    house.run(&["audit", "verify", "--pin", &early]).ok();
    house.run(&["audit", "verify", "--pin", &late]).ok();
    fs::remove_dir_all(&log).unwrap();
    copy(&older, &log);
    house.run(&["audit", "verify"]).ok();
    let ran = house.run(&["audit", "verify", "--pin", &late]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("audit.rollback"), "{ran:?}");
    let forged = fs::read_to_string(&late).unwrap().replacen("\u{2014}", "-", 1);
    assert_ne!(house.run(&["audit", "verify", "--pin", &house.file("forged", &forged)]).code, 0);
}

#[test]
fn the_logs_keys_are_replaced_and_a_file_kept_from_before_still_verifies() {
    let house = House::new();
    house.run(&["agent", "create", "a"]).ok();
    let kept = house.file("kept", &fs::read_to_string(house.data().join("log-keys.json")).unwrap());
    let pin = house.file("pin", &house.run(&["audit", "pin"]).ok());
    let server = house.serve();
    let token = house.agent_key("auditor");
    assert!(house.run(&["audit", "rotate"]).ok().contains("new keys, after 1 rotations"));
    assert_ne!(fs::read_to_string(house.data().join("log-keys.json")).unwrap(), fs::read_to_string(&kept).unwrap());
    house.run(&["agent", "create", "b"]).ok();
    house.run(&["audit", "verify", "--keys", &kept, "--pin", &pin]).ok();
    house.run(&["audit", "verify", "--url", &server.url, "--token", &token, "--keys", &kept]).ok();
    let refused = house.run(&["audit", "rotate", "--url", &server.url, "--token", &token]);
    assert_ne!(refused.code, 0, "an agent rotates nothing: {refused:?}");
    drop(server);
    // Without what stands beside the log nothing leads from the old keys to the new ones.
    fs::remove_file(house.data().join("log-keys.json")).unwrap();
    let ran = house.run(&["audit", "verify", "--keys", &kept]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("audit.bad_signature"), "{ran:?}");
}

#[test]
fn a_server_is_verified_over_http_by_whoever_holds_a_key() {
    let house = House::new();
    let server = house.serve();
    let token = house.agent_key("auditor");
    let run = |args: &[&str]| house.run(&[&["audit", "verify", "--url", &server.url], args].concat());
    assert!(run(&["--token", &token]).ok().contains("as signed"));
    run(&[]).refused("http.unauthenticated");
    let (_, keys) = server.ask("", "GET", "/v1/audit/keys", None);
    // An empty bearer is refused even where none is needed; the file beside the log is the same.
    assert!(keys.is_object());
    let keys = fs::read_to_string(house.data().join("log-keys.json")).unwrap();
    let keys = house.file("keys.json", &keys);
    run(&["--token", &token, "--keys", &keys]).ok();
    let other = House::new();
    other.run(&["agent", "create", "a"]).ok();
    let foreign = other.data().join("log-keys.json").display().to_string();
    let ran = run(&["--token", &token, "--keys", &foreign]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("audit.bad_signature"), "{ran:?}");
    let url = server.url.clone();
    server.stop(Signal::TERM);
    house.run(&["audit", "verify", "--url", &url, "--token", &token, "--keys", &keys]).refused("app.protocol");
}

#[test]
fn an_entry_is_shown_with_a_proof_that_was_checked_here() {
    let house = House::new();
    let _server = house.serve();
    house.run(&["agent", "create", "a"]).ok();
    let shown = house.run(&["audit", "show", "0"]).ok();
    assert!(shown.contains("lead to the root that both keys signed"), "{shown}");
    let entry = house.run(&["audit", "show", "0", "--json"]).json();
    assert_eq!(entry["verified"], true);
    let leaf = entry["entry"]["id"].as_str().unwrap();
    assert_eq!(house.run(&["audit", "show", leaf, "--json"]).json()["index"], 0);
    house.run(&["audit", "show", "100000"]).refused("app.usage");
    house.run(&["audit", "show", "leaf_none"]).refused("app.no_such_entry");
}

#[test]
fn verifying_needs_no_server_and_makes_nothing() {
    let house = House::new();
    house.run(&["audit", "verify"]).refused("app.usage");
    assert!(!house.data().exists());
    house.run(&["agent", "create", "a"]).ok();
    let before = files(&house.data());
    house.run(&["audit", "verify"]).ok();
    assert_eq!(files(&house.data()), before);
}
