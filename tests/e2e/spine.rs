//! A governed run from end to end: in a sandbox, on somebody's authority, within a budget, and provably.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Answer, Home, Options, Server, list, micros, runsc, server::binary, text, until};

/// A server that starts sandboxes, in its directory; `None` where there is no runsc.
pub(crate) fn governed() -> Option<(Server, Home)> {
    runsc()?;
    let home = Home::new();
    Some((home.serve(&Options::with_sandboxes()), home))
}

pub(crate) fn run(home: &Home, words: &[&str]) -> Output {
    home.command(["run"]).args(words).output().unwrap()
}

pub(crate) fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The newest run's actions.
pub(crate) fn newest_run(server: &Server) -> Value {
    let runs = server.owner().get("/v1/runs").ok();
    let run = text(list(&runs, "runs").first().expect("there is a run"), "run").to_owned();
    server.owner().get(&format!("/v1/runs/{run}")).ok()
}

#[test]
fn a_command_speaks_and_ends_as_it_would_alone_and_is_on_record() {
    let Some((server, home)) = governed() else { return };
    let output = run(&home, &["--", "sh", "-c", "echo hi; echo oops >&2; exit 7"]);
    let (stdout, stderr) = said(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(7), "hi\n"), "{stderr}");
    assert!(stderr.starts_with("oops\n"), "{stderr}");
    assert!(stderr.contains("owner → agent"), "the summary says on whose authority: {stderr}");

    let quiet = run(&home, &["--quiet", "--", "true"]);
    assert_eq!((quiet.status.code(), said(&quiet)), (Some(0), (String::new(), String::new())));

    let mut cat = home.command(["run", "-q", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let sent = "line\n".repeat(20_000);
    let mut stdin = cat.stdin.take().unwrap();
    let writing = thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(sent.as_bytes()).unwrap()
    });
    let output = cat.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success() && output.stdout == sent.as_bytes(), "{} of {} bytes came back", output.stdout.len(), sent.len());

    let recorded = newest_run(&server);
    let actions = list(&recorded, "actions");
    assert_eq!(actions.len(), 1, "{recorded}");
    assert_eq!((text(&actions[0], "action"), text(&actions[0], "state")), ("runtime.exec", "done"));
    let report = server.owner().get("/v1/audit/verify").ok();
    assert_eq!(report["report"]["in_doubt"], json!([]), "{report}");
}

/// An HTTP server that says one thing to everybody, until the test ends.
fn oracle() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // Whoever hangs up early is not the test's matter.
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nforty");
        }
    });
    port
}

/// Asks a URL from inside the sandbox, through the way out that its environment names; prints status and body.
const FETCH: &str = "
import sys, urllib.request, urllib.error
request = urllib.request.Request(sys.argv[1], data=sys.argv[2].encode() if len(sys.argv) > 2 else None)
request.add_header('content-type', 'application/json')
for line in sys.argv[3:]:
    name, _, value = line.partition(':')
    request.add_header(name, value)
proxy = urllib.request.ProxyHandler({'http': 'http://127.0.0.1:3128'})
proxy.proxy_bypass = lambda *_: False
opener = urllib.request.build_opener(proxy)
urllib.request.proxy_bypass = lambda *_: False
try:
    answer = opener.open(request, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
";

#[test]
fn a_sandbox_reaches_what_its_owner_named_and_is_told_what_would_allow_the_rest() {
    let Some((server, home)) = governed() else { return };
    let port = oracle();
    let url = format!("http://127.0.0.1:{port}/");
    let refused = run(&home, &["--", "python3", "-c", FETCH, &url]);
    let (stdout, stderr) = said(&refused);
    assert!(stdout.starts_with("403 "), "{stdout}{stderr}");
    let hint = format!("--allow-host 127.0.0.1:{port}");
    assert!(stdout.contains(&hint), "the sandbox is told what would allow it: {stdout}");
    assert!(stderr.contains("refused") && stderr.contains(&format!("127.0.0.1:{port}")), "and the owner what was refused: {stderr}");
    let recorded = newest_run(&server);
    let egress: Vec<&Value> = list(&recorded, "actions").iter().filter(|action| action["action"] == "runtime.egress").collect();
    assert!(egress.iter().any(|action| action["state"] == "refused"), "the refusal is on record: {recorded}");

    let allowed = run(&home, &["--allow-host", &format!("127.0.0.1:{port}"), "--", "python3", "-c", FETCH, &url]);
    let (stdout, stderr) = said(&allowed);
    assert_eq!(stdout.trim(), "200 forty", "{stderr}");
    assert!(stderr.contains("reached"), "{stderr}");
    let recorded = newest_run(&server);
    let egress = list(&recorded, "actions").iter().find(|action| action["action"] == "runtime.egress").expect("it is on record");
    assert_eq!(text(egress, "state"), "done");

    let inside = "import socket; s = socket.socket(); s.settimeout(3); s.connect(('1.1.1.1', 53))";
    let around = run(&home, &["-q", "--", "python3", "-c", inside]);
    assert_ne!(around.status.code(), Some(0), "there is no way around the way out");
}

#[test]
fn a_run_speaks_for_its_own_agent_whatever_it_claims() {
    let Some((server, home)) = governed() else { return };
    let operator = fs::read_to_string(home.data().join("admin.token")).unwrap();
    let bearer = format!("authorization: Bearer {}", operator.trim());
    let claims = ["creto-run-token: 00", bearer.as_str(), "creto-as: owner", "cookie: creto_session=x", "signature-input: sig1=()"];
    let whoami = "http://creto.internal/v1/whoami";
    for claim in claims {
        let fetch = format!("import sys; sys.argv = ['', '{whoami}']\n{}", FETCH.replace("sys.argv[3:]", &format!("['{claim}']")));
        let output = run(&home, &["-q", "--agent", "claimant", "--", "python3", "-c", &fetch]);
        let (stdout, stderr) = said(&output);
        let (status, body) = stdout.split_once(' ').unwrap_or_else(|| panic!("{claim}: {stdout}{stderr}"));
        assert_eq!(status, "200", "{claim}: {stdout}");
        let who: Value = serde_json::from_str(body).unwrap();
        assert_eq!(text(&who, "identity"), "spiffe://creto.local/tenant/default/agent/claimant", "{claim}");
        assert_eq!((text(&who, "roles"), text(&who, "how")), ("agent", "sandbox"), "{claim}");
    }
    let accounts = run(&home, &["-q", "--", "python3", "-c", FETCH, "http://creto.internal/v1/metering/accounts"]);
    let (stdout, _) = said(&accounts);
    assert!(stdout.starts_with("403 ") && stdout.contains("http.forbidden"), "an operator's endpoint is none of its business: {stdout}");

    for token in ["", "00", text(&newest_run(&server), "run")] {
        server.internal().with("creto-run-token", token).get("/v1/whoami").refused(401, "app.run_ended");
    }
    server.internal().get("/v1/whoami").refused(401, "app.run_ended");
    let ended = text(&newest_run(&server), "run").to_owned();
    server.owner().delete(&format!("/v1/runs/{ended}")).refused(404, "app.unknown_run");
}

/// Reports usage until the budget is spent; prints how many were taken and the code that ended it.
const SPEND: &str = "
import json, urllib.request, urllib.error
opener = urllib.request.build_opener(urllib.request.ProxyHandler({'http': 'http://127.0.0.1:3128'}))
taken = 0
while taken < 100:
    event = {'transaction_id': 'spend-%d' % taken, 'external_subscription_id': 'spending', 'code': 'pages'}
    request = urllib.request.Request('http://creto.internal/v1/metering/events', data=json.dumps(event).encode())
    request.add_header('content-type', 'application/json')
    try:
        opener.open(request, timeout=20).read()
    except urllib.error.HTTPError as error:
        print(taken, json.load(error)['code'])
        break
    taken += 1
";

#[test]
fn a_budget_ends_where_it_ends_and_the_books_agree() {
    let Some((server, home)) = governed() else { return };
    let owner = server.owner();
    owner.put("/v1/metering/metrics/pages", json!({ "aggregation": "count", "unit_price": "0.10" })).ok();
    owner.put("/v1/metering/reporters/spending", json!({ "reporters": ["*"] })).ok();
    let output = run(&home, &["--budget", "1.00", "--timeout", "60s", "--", "python3", "-c", SPEND]);
    let (stdout, stderr) = said(&output);
    // Nine and not ten: the time of the run itself is paid from the same budget.
    assert_eq!(stdout.trim(), "9 metering.budget_exceeded", "{stderr}");

    let usage = owner.get("/v1/metering/usage?subscription=spending").ok();
    let pages = list(&usage, "usage").iter().find(|metric| metric["code"] == "pages").expect("there is usage").clone();
    assert_eq!((pages["events"].as_u64(), text(&pages, "cost")), (Some(9), "0.9"), "{usage}");

    let actions = owner.get("/v1/actions").ok();
    let total: i64 = list(&actions, "actions").iter().map(|action| micros(text(action, "cost"))).sum();
    let costs = owner.get("/v1/metering/costs").ok();
    let root = &list(&costs, "costs")[0];
    assert_eq!(text(root, "identity"), "spiffe://creto.local/tenant/default/human/owner");
    assert_eq!(micros(text(root, "total")), total, "the tree's root is the sum of the actions: {costs}");
    adds_up(root);
    assert!(total > 900_000 && total <= 1_000_000, "within the budget: {total}");
    let check = owner.get("/v1/metering/check").ok();
    assert_eq!((&check["ok"], &check["debits"]), (&json!(true), &check["credits"]), "{check}");
    let accounts = owner.get("/v1/metering/accounts").ok();
    assert!(list(&accounts, "accounts").iter().all(|account| account["held"] == "0"), "nothing is held after the end: {accounts}");
    verifies(&home, &server);
}

/// Reports one event and asks for one action.
const ACT: &str = "
import json, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({'http': 'http://127.0.0.1:3128'}))
def post(path, body):
    request = urllib.request.Request('http://creto.internal' + path, data=json.dumps(body).encode())
    request.add_header('content-type', 'application/json')
    return json.load(opener.open(request, timeout=20))
post('/v1/metering/events', {'transaction_id': 'one', 'external_subscription_id': 'acting', 'code': 'pages'})
asked = post('/v1/actions', {'action': 'tool.call_with_approval', 'resource': 'tool:mail', 'arguments': {}, 'wait_secs': 0})
print(asked['state'])
";

#[test]
fn what_a_run_does_through_the_api_is_part_of_the_run() {
    let Some((server, home)) = governed() else { return };
    server.owner().put("/v1/metering/metrics/pages", json!({ "aggregation": "count", "unit_price": "0.10" })).ok();
    server.owner().put("/v1/metering/reporters/acting", json!({ "reporters": ["*"] })).ok();
    let output = run(&home, &["--", "python3", "-c", ACT]);
    let (stdout, stderr) = said(&output);
    assert_eq!(stdout.trim(), "pending", "{stderr}");
    let recorded = newest_run(&server);
    assert_eq!(list(&recorded, "requests").len(), 1, "what a human is asked: {recorded}");
    let total: i64 = list(&recorded, "actions").iter().map(|action| micros(text(action, "cost"))).sum();
    assert!(total > 100_000, "the run's cost holds what it reported: {recorded}");
    let runs = server.owner().get("/v1/runs").ok();
    assert_eq!(micros(text(&list(&runs, "runs")[0], "cost")), total, "{runs}");
    assert!(stderr.contains("cost  0.1000"), "{stderr}");
}

fn adds_up(node: &Value) {
    let children = list(node, "children");
    let below: i64 = children.iter().map(|child| micros(text(child, "total"))).sum();
    assert_eq!(micros(text(node, "total")), micros(text(node, "direct")) + below, "{node}");
    children.iter().for_each(adds_up);
}

/// The log verifies, online and from its files alone.
fn verifies(home: &Home, server: &Server) {
    let online = server.operator().get("/v1/audit/verify").ok();
    assert_eq!(online["report"]["outcomes_without_intent"], json!([]), "{online}");
    let offline = home.command(["audit", "verify"]).output().unwrap();
    let (stdout, stderr) = said(&offline);
    assert!(offline.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains(&online["report"]["size"].to_string()), "it names the size of the log: {stdout}");
}

/// Command lines of processes that work for this data directory, other than the server itself.
pub(crate) fn processes_of(data: &Path) -> Vec<String> {
    let data = data.display().to_string();
    let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&data) && !line.contains(" serve "))
        .collect()
}

#[test]
fn a_client_that_goes_away_takes_its_sandbox_with_it() {
    let Some((server, home)) = governed() else { return };
    let data = home.data().canonicalize().unwrap();
    let body = json!({ "argv": ["sleep", "600"] });
    let mut events = server.operator().open("POST", "/v1/runs", Some(&body)).unwrap();
    let started = events.event().unwrap().unwrap();
    let run = text(&started, "run").to_owned();
    assert!(!processes_of(&data).is_empty(), "there is a sandbox to end");
    drop(events);
    until("the sandbox is gone", || processes_of(&data).is_empty());
    until("the run is settled", || {
        let run = server.owner().get(&format!("/v1/runs/{run}")).ok();
        list(&run, "actions").iter().all(|action| action["state"] != "intent")
    });

    let mut events = server.operator().open("POST", "/v1/runs", Some(&body)).unwrap();
    let started = events.event().unwrap().unwrap();
    server.operator().delete(&format!("/v1/runs/{}", text(&started, "run"))).ok();
    let mut last = Value::Null;
    while let Some(event) = events.event().unwrap() {
        last = event;
    }
    assert_eq!(last["event"], "finished", "whoever reads on is told of the end: {last}");
    until("the sandbox is gone", || processes_of(&data).is_empty());

    let events = server.operator().open("POST", "/v1/runs", Some(&body)).unwrap();
    server.stop();
    drop(events);
    assert_eq!(processes_of(&data), Vec::<String>::new(), "a server that stopped leaves no sandbox behind");
}

#[test]
fn a_run_under_the_chain_of_a_suspended_agent_does_not_start() {
    let Some((server, _home)) = governed() else { return };
    let owner = server.owner();
    let delegated = owner.post("/v1/delegations", json!({ "to": "worker", "budget": "1" })).ok();
    let body = json!({ "argv": ["echo", "hi"], "chain": text(&delegated, "chain") });
    let start = || -> Answer { owner.post("/v1/runs", body.clone()) };
    assert!(start().is_ok(), "{}", start().text());
    owner.post("/v1/identities/agent/worker/suspend", json!({})).ok();
    assert!(!start().is_ok(), "a suspended agent runs nothing");
    owner.post("/v1/identities/agent/worker/resume", json!({})).ok();
    assert!(start().is_ok(), "{}", start().text());
    owner.delete(&format!("/v1/links/{}", text(&delegated, "link"))).ok();
    start().refused(401, "nhi.link_revoked");
}

#[test]
fn what_a_killed_server_left_is_ended_at_its_next_start_and_shown_as_in_doubt() {
    let Some((server, home)) = governed() else { return };
    let data = home.data().canonicalize().unwrap();
    let body = json!({ "argv": ["sleep", "600"], "budget": "1.00" });
    let mut events = server.operator().open("POST", "/v1/runs", Some(&body)).unwrap();
    let run = text(&events.event().unwrap().unwrap(), "run").to_owned();
    server.kill();

    let server = home.serve(&Options::with_sandboxes());
    until("the sandbox is gone", || processes_of(&data).is_empty());
    let owner = server.owner();
    let recorded = owner.get(&format!("/v1/runs/{run}")).ok();
    let action = &list(&recorded, "actions")[0];
    assert_eq!((text(action, "action"), text(action, "state")), ("runtime.exec", "in_doubt"), "{recorded}");
    let held = || {
        let accounts = owner.get("/v1/metering/accounts").ok();
        list(&accounts, "accounts").iter().map(|account| micros(text(account, "held"))).max().unwrap()
    };
    assert!(held() > 0, "its money stays held while nobody knows");
    owner.post(&format!("/v1/actions/{}/resolve", text(action, "admission")), json!({ "happened": true })).ok();
    assert_eq!(held(), 0, "and is free when somebody says what came of it");
    let output = run_quietly(&home);
    assert_eq!(said(&output).0, "hi\n", "sandboxes start as before");
}

fn run_quietly(home: &Home) -> Output {
    run(home, &["-q", "--", "echo", "hi"])
}

#[test]
fn what_is_taken_from_any_hop_ends_the_run_that_is_under_way() {
    let Some((server, home)) = governed() else { return };
    let owner = server.owner();
    owner.post("/v1/identities", json!({ "kind": "human", "name": "ada" })).ok();
    let delegate = || owner.post("/v1/delegations", json!({ "from": "ada", "to": "worker" })).ok();
    let change = |path: &str| owner.post(path, json!({}));
    for what in ["link", "agent/worker/suspend", "human/ada/revoke"] {
        let delegated = delegate();
        let body = json!({ "argv": ["sleep", "600"], "chain": text(&delegated, "chain") });
        let mut events = owner.open("POST", "/v1/runs", Some(&body)).unwrap();
        assert_eq!(events.event().unwrap().unwrap()["event"], "started");
        let taken = match what {
            "link" => owner.delete(&format!("/v1/links/{}", text(&delegated, "link"))),
            identity => change(&format!("/v1/identities/{identity}")),
        };
        taken.ok();
        let mut last = Value::Null;
        while let Some(event) = events.event().unwrap() {
            last = event;
        }
        assert_eq!((&last["event"], &last["end"]["kind"]), (&json!("finished"), &json!("killed")), "{what}: {last}");
        assert!(!owner.post("/v1/runs", body).is_ok(), "{what} starts no further run");
        change("/v1/identities/agent/worker/resume");
    }
    let data = home.data().canonicalize().unwrap();
    until("every sandbox is gone", || processes_of(&data).is_empty());
}

/// The account every system has.
const NOBODY: u32 = 65534;

#[test]
fn an_ordinary_user_runs_commands_too() {
    let Some(runsc) = runsc() else { return };
    let folder = tempfile::tempdir().unwrap();
    if chown(folder.path(), Some(NOBODY), Some(NOBODY)).is_err() {
        // We are an ordinary user ourselves, and every other test has shown it.
        return;
    }
    // Copies, because the originals may lie in a folder that only root may enter.
    let (tools, creto) = (folder.path().join("tools"), folder.path().join("creto"));
    fs::create_dir(&tools).unwrap();
    fs::copy(runsc, tools.join("runsc")).unwrap();
    fs::copy(binary(), &creto).unwrap();
    let output = std::process::Command::new(creto)
        .args(["run", "--", "sh", "-c", "echo hi; exit 3"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder.path())
        .env("USER", "nobody")
        .env("TMPDIR", folder.path())
        .env("CRETO_TOOLS_DIR", tools)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let (stdout, stderr) = said(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(3), "hi\n"), "{stderr}");
    assert!(stderr.contains("nobody → agent"), "{stderr}");
}
