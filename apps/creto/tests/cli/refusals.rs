//! Surroundings that do not fit: each is refused with its code, exit code 125, and what to do.

use std::net::TcpListener;

use serde_json::Value;

use super::house::House;

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let house = House::new();
    for place in ["/dev/null/data", "/proc/creto-data"] {
        let refused = house.run(&["--data", place, "inbox"]).refused("app.data_dir");
        assert!(refused.contains(place) && refused.contains("--data DIR"), "{refused}");
    }
}

#[test]
fn a_read_only_data_directory_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    if rustix::process::geteuid().is_root() {
        // Root may write wherever a mode forbids it; the folders of the test above refuse even root.
        return;
    }
    let house = House::new();
    std::fs::create_dir(house.data()).unwrap();
    std::fs::set_permissions(house.data(), std::fs::Permissions::from_mode(0o500)).unwrap();
    house.run(&["inbox"]).refused("app.data_dir");
}

#[test]
fn a_port_in_use_is_named() {
    let house = House::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = house.run(&["serve", "--listen", &address]).refused("app.listen_failed");
    assert!(refused.contains(&address) && refused.contains("--listen"), "{refused}");
    let checks = house.run(&["doctor", "--listen", &address, "--json"]);
    let checks: Value = serde_json::from_str(&checks.out).unwrap();
    let port = checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == "port").unwrap();
    assert_eq!(port["ok"], false, "{port}");
}

#[test]
fn a_garbage_configuration_is_refused_and_an_unknown_field_named() {
    let house = House::new();
    let serve = |file: &str| house.run(&["serve", "--listen", "127.0.0.1:0", "--config", file]).refused("app.usage");
    let unknown = house.file("unknown.toml", "listne = \"127.0.0.1:1\"\n");
    assert!(serve(&unknown).contains("listne"));
    let garbage = house.file("garbage.toml", "\u{0}\u{1}[[[");
    assert!(serve(&garbage).contains("garbage.toml"));
    let wrong = house.file("wrong.toml", "warm_sandboxes = \"many\"\n");
    assert!(serve(&wrong).contains("wrong.toml"));
    assert!(serve("/nowhere.toml").contains("/nowhere.toml"));
    assert!(!house.data().exists(), "nothing was started");
}

#[test]
fn a_damaged_database_is_named_as_that() {
    let house = House::new();
    house.run(&["agent", "create", "a"]).ok();
    for name in ["creto.db-wal", "creto.db-shm"] {
        let _ = std::fs::remove_file(house.data().join(name));
    }
    std::fs::write(house.data().join("creto.db"), b"this was a database".repeat(1000)).unwrap();
    house.run(&["inbox"]).refused("db.corrupt");
}

#[test]
fn a_failure_for_programs_is_json_with_its_code() {
    let house = House::new();
    let ran = house.run(&["approve", "req_none", "--json"]);
    assert_eq!(ran.code, 125);
    let failure: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(failure["code"], "oversight.unknown_request");
}

#[test]
fn an_agents_command_outside_a_sandbox_says_what_is_missing() {
    let house = House::new();
    for command in [&["msg", "receive"][..], &["memory", "search", "x"], &["meter", "track", "tokens", "--quantity", "1"]] {
        let refused = house.run(command).refused("app.usage");
        assert!(refused.contains("--url") && refused.contains("--token"), "{refused}");
    }
    house.run(&["msg", "--url", "https://creto.example", "receive"]).refused("app.usage");
    assert!(!house.data().exists());
}

#[test]
fn the_doctor_lists_what_cannot_run_here_and_starts_no_server() {
    let house = House::new();
    let ran = house.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.code, i32::from(report["ok"] == false), "{report}");
    let checks = report["checks"].as_array().unwrap();
    for name in ["data directory", "port", "runsc", "kata"] {
        assert!(checks.iter().any(|check| check["name"] == name), "{name}: {report}");
    }
    let missing = checks.iter().filter(|check| check["ok"] == false);
    assert!(missing.clone().all(|check| !check["detail"].as_str().unwrap().is_empty()), "{report}");
    assert!(!house.data().exists());
    let ran = house.run(&["--data", "/proc/creto-data", "doctor"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("no  data directory"), "{}", ran.out);
}
