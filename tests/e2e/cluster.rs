//! Two servers on one PostgreSQL, sharing their keys: what one decides, the other knows; when one dies, the other goes on.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Home, Options, Server, make_key, text, until};

/// How long a revocation may take to reach the other server, on a loaded machine; the server looks twice a second.
const REACH_MAX: Duration = Duration::from_secs(10);

/// A schema of its own on the test PostgreSQL, gone with this value.
struct Schema {
    url: String,
    name: String,
}

impl Schema {
    fn new() -> Option<Self> {
        let Ok(url) = std::env::var("CRETO_TEST_POSTGRES_URL") else {
            assert!(std::env::var("CI").is_err(), "CRETO_TEST_POSTGRES_URL is missing in CI");
            eprintln!("SKIPPED postgresql: CRETO_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it");
            return None;
        };
        let schema = Self { url, name: format!("e2e_cluster_{}", std::process::id()) };
        schema.psql(&format!("CREATE SCHEMA {}", schema.name));
        Some(schema)
    }

    fn psql(&self, statement: &str) {
        let output = Command::new("psql").args([&self.url, "-q", "-c", statement]).output().expect("psql is installed with PostgreSQL");
        assert!(output.status.success(), "{statement}: {output:?}");
    }

    fn line(&self) -> String {
        let joint = if self.url.contains('?') { '&' } else { '?' };
        format!("postgres = \"{}{joint}options[search_path]={}\"\n", self.url, self.name)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let _ = Command::new("psql").args([&self.url, "-q", "-c", &format!("DROP SCHEMA {} CASCADE", self.name)]).output();
    }
}

fn caught_up(server: &Server) {
    until("the log has caught up", || server.nobody().get("/metrics").text().contains("creto_log_lag_leaves 0"));
}

/// Every entry of the tenant's log, as this server has it.
fn checkpoint(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.data().join("log/default/checkpoint")).unwrap_or_default();
    text.lines().take(3).map(str::to_owned).collect()
}

#[test]
fn what_one_server_decides_the_other_knows_and_goes_on_without_it_and_their_logs_are_one() {
    let Some(schema) = Schema::new() else { return };
    let (one, two) = (Home::new(), Home::new());
    let keys = one.data().with_file_name("keys");
    fs::create_dir_all(&keys).unwrap();
    let options = Options { more: format!("{}keys_dir = \"{}\"\n", schema.line(), keys.display()), ..Options::default() };
    let (first, second) = (one.serve(&options), two.serve(&options));

    // Identities, keys and policies made at one are good at the other.
    let key = make_key(&first.owner(), json!({ "role": "agent", "name": "worker" }));
    let there = second.bearer(text(&key, "token"));
    until("the new agent is known at the other server", || there.get("/v1/whoami").is_ok());
    there.post("/v1/memory", json!({ "text": "said at the second" })).ok();
    let policy =
        "@id(\"all\") permit (principal, action, resource);\n@id(\"no\") forbid (principal, action == Action::\"memory.put\", resource);";
    first.owner().put("/v1/policy", json!({ "text": policy })).ok();
    until("the policy is in force at the other server", || there.post("/v1/memory", json!({ "text": "x" })).status == 403);

    // A revocation reaches the other within a bound.
    first.owner().post("/v1/identities/agent/worker/suspend", json!({})).ok();
    let suspended = Instant::now();
    until("the suspension has reached the other server", || !there.get("/v1/whoami").is_ok());
    assert!(suspended.elapsed() < REACH_MAX, "{:?}", suspended.elapsed());

    // What was said at one is erased at the other, on this engine too.
    let erased = first.owner().post("/v1/privacy/erase", json!({ "agent": "worker" })).ok();
    assert!(erased["memories"].as_u64() >= Some(1) && erased["actions"].as_u64() >= Some(1), "{erased}");

    // Both write at once, and both folders hold one and the same tree.
    std::thread::scope(|scope| {
        for (server, side) in [(&first, "a"), (&second, "b")] {
            scope.spawn(move || {
                for number in 0..20 {
                    server.owner().post("/v1/identities", json!({ "kind": "agent", "name": format!("{side}{number}") })).ok();
                }
            });
        }
    });
    caught_up(&first);
    caught_up(&second);
    until("both have sealed the same tree", || checkpoint(&one) == checkpoint(&two) && checkpoint(&one).len() == 3);
    let pin = one.data().with_file_name("pin");
    fs::copy(one.data().join("log/default/checkpoint"), &pin).unwrap();

    // One dies; the other goes on, and its log continues the one that was pinned at the dead server.
    first.kill();
    second.owner().post("/v1/identities/agent/worker/resume", json!({})).ok();
    there.get("/v1/whoami").ok();
    caught_up(&second);
    let verified = two.command(["audit", "verify", "--pin"]).arg(&pin).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));

    // It comes back and catches up to the same tree.
    let first = one.serve(&options);
    until("the first is where the second is", || checkpoint(&one) == checkpoint(&two));
    assert!(first.bearer(text(&key, "token")).get("/v1/whoami").is_ok());
}
