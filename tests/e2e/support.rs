//! A small HTTP client, servers in directories of their own, and what most tests begin with.

mod heard;
pub(crate) mod http;
pub(crate) mod mailbox;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod sink;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) use http::{Answer, Client};
pub(crate) use mailbox::Mailbox;
pub(crate) use schema::Schema;
pub(crate) use server::{Home, Options, Server};
pub(crate) use sink::Sink;

/// How long anything that is awaited may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until it holds; a test that waits in vain says for what.
pub(crate) fn until(what: &str, holds: impl FnMut() -> bool) {
    until_within(PATIENCE, what, holds);
}

/// The same, for what takes longer by design.
pub(crate) fn until_within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < patience, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where the `runsc` is that servers find; without one the test is skipped, loudly, and fails in CI.
pub(crate) fn runsc() -> Option<PathBuf> {
    let tools = std::env::var_os("CRETO_TOOLS_DIR").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = tools.into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join("runsc")).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").is_err(), "runsc is missing in CI");
        eprintln!("SKIPPED runsc: not in $CRETO_TOOLS_DIR nor on PATH; `cargo xtask setup` installs it");
    }
    found
}

/// Makes a key and gives what it answered: `id`, `token`, `identity`.
pub(crate) fn make_key(operator: &Client, body: Value) -> Value {
    operator.post("/v1/keys", body).ok()
}

/// Clients of one tenant, one for each role, each with exactly that role.
pub(crate) struct Cast {
    pub(crate) operator: Client,
    pub(crate) approver: Client,
    pub(crate) agent: Client,
}

impl Cast {
    /// Makes the three keys; the agent acts for the human behind `by`.
    pub(crate) fn of(server: &Server, by: &Client) -> Self {
        let with = |body| server.bearer(text(&make_key(by, body), "token"));
        Self {
            operator: with(json!({ "role": "operator", "name": "olga" })),
            approver: with(json!({ "role": "approver", "name": "ada" })),
            agent: with(json!({ "role": "agent", "name": "worker" })),
        }
    }
}

/// A text member, which must be there.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no text `{name}` in {value}"))
}

/// An array member, which must be there.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).unwrap_or_else(|| panic!("no list `{name}` in {value}"))
}

/// Millionths of a decimal amount.
pub(crate) fn micros(amount: &str) -> i64 {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    format!("{whole}{fraction:0<6}").parse().unwrap_or_else(|_| panic!("`{amount}` is no amount"))
}
