//! The same commands inside a sandbox: no key, and the agent's own identity.

use serde_json::Value;

use super::house::{BIN, House, Ran};

/// Whether sandboxes can run here; where they must and cannot, the test fails.
fn sandboxes(house: &House) -> bool {
    let doctor = house.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&doctor.out).unwrap();
    let missing = report["checks"].as_array().unwrap().iter().find(|check| check["ok"] == false && check["required"] == true).cloned();
    let Some(missing) = missing else { return true };
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "sandboxes must run here: {missing}");
    eprintln!("SKIPPED runsc: {missing}");
    false
}

#[test]
fn inside_a_sandbox_an_agent_tracks_remembers_and_talks_as_itself() {
    let house = House::new();
    if !sandboxes(&house) {
        return;
    }
    let _server = house.serve();
    house.run(&["meter", "price", "tokens", "--sum", "quantity", "--unit-price", "0.5"]).ok();
    let tools = house.path("tools");
    std::fs::create_dir(&tools).unwrap();
    std::fs::copy(BIN, tools.join("creto")).unwrap();
    let binary = tools.join("creto").display().to_string();
    let mount = tools.display().to_string();
    let inside = |agent: &str, script: &str| -> Ran {
        let script = script.replace("creto ", &format!("{binary} "));
        house.run(&["run", "--quiet", "--agent", agent, "--mount", &mount, "--", "/bin/sh", "-ec", &script])
    };
    inside("ann", "creto meter track tokens --quantity 3; creto memory put 'seen inside' >/dev/null").ok();
    assert!(inside("ann", "creto memory search inside").ok().contains("seen inside"));
    assert!(inside("ben", "creto memory search inside").ok().contains("nothing was found"), "another agent sees none of it");
    let state = house.path("state");
    std::fs::create_dir(&state).unwrap();
    let kept = format!("{}:rw", state.display());
    let with_state = |script: &str| -> Ran {
        let script = format!("export CRETO_MSG_STATE={}/ben; {script}", state.display()).replace("creto ", &format!("{binary} "));
        house.run(&["run", "-q", "--agent", "ben", "--mount", &mount, "--mount", &kept, "--", "/bin/sh", "-ec", &script])
    };
    with_state("creto msg publish").ok();
    inside("ann", "creto msg send --to ben 'from one sandbox to another'").ok();
    assert_eq!(with_state("creto msg receive").ok(), "ann  from one sandbox to another\n");
    let runs = house.run(&["runs", "--json"]).json();
    let first = runs["runs"].as_array().unwrap().last().unwrap()["run"].as_str().unwrap().to_owned();
    let timeline = house.run(&["runs", &first]).ok();
    assert!(timeline.contains("runtime.exec") && timeline.contains("leaf_"), "{timeline}");
    house.run(&["audit", "verify"]).ok();
}
