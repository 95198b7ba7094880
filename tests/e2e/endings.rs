//! How runs and connections end when somebody stalls, money runs out, or the server is told to stop.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::spine::{governed, newest_run, processes_of, run, said};
use crate::support::{Options, Server, list, micros, text, until};

/// A server that is told to stop has this long; what waits for a human or a reader must not use it up.
const STOP_MAX: Duration = Duration::from_secs(8);

/// Writes without end, and counts on the side how far it got.
const CHATTER: &str = "n=0; while head -c 100000 /dev/zero; do n=$((n+1)); echo $n > \"$0/written\"; done";

#[test]
fn a_reader_that_stalls_keeps_neither_its_run_nor_the_server_alive() {
    let Some((server, home)) = governed() else { return };
    let data = home.data().canonicalize().unwrap();
    let shared = tempfile::tempdir().unwrap();
    let folder = shared.path().display().to_string();
    let body = json!({ "argv": ["sh", "-c", CHATTER, folder], "mounts": [format!("{folder}:rw")] });
    let stalled = || {
        // Of an earlier round, or not there yet.
        let _ = fs::remove_file(shared.path().join("written"));
        let mut events = server.operator().open("POST", "/v1/runs", Some(&body)).unwrap();
        let run = text(&events.event().unwrap().unwrap(), "run").to_owned();
        let (mut last, mut same) = (String::new(), 0);
        until("the command is held up", || {
            let written = fs::read_to_string(shared.path().join("written")).unwrap_or_default();
            same = if written == last && !written.is_empty() { same + 1 } else { 0 };
            last = written;
            same > 25
        });
        (events, run)
    };
    let (events, run) = stalled();
    let ended = home.command(["runs", "end", &run]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    until("the sandbox is gone", || processes_of(&data).is_empty());
    until("the run is settled", || {
        let recorded = server.owner().get(&format!("/v1/runs/{run}")).ok();
        list(&recorded, "actions").iter().all(|action| action["state"] != "intent")
    });
    drop(events);

    let (events, _) = stalled();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < STOP_MAX, "it stopped after {:?}", begun.elapsed());
    assert_eq!(processes_of(&data), Vec::<String>::new());
    drop(events);
}

/// A human is asked about every command.
fn ask_about_commands(server: &Server) {
    let owner = server.owner();
    let rule = "@id(\"t.exec\") @oversight(\"exec_review\") forbid (principal, action == Action::\"runtime.exec\", resource) \
                unless { context.approved };";
    let current = owner.get("/v1/policy").ok();
    owner.put("/v1/policy", json!({ "text": format!("{}\n{rule}\n", text(&current, "text")) })).ok();
}

#[test]
fn a_server_that_is_told_to_stop_does_not_wait_for_the_human_a_run_waits_for() {
    let Some((server, home)) = governed() else { return };
    ask_about_commands(&server);
    let operator = server.operator();
    let waiting = thread::spawn(move || operator.attempt("POST", "/v1/runs", Some(&json!({ "argv": ["echo", "hi"] }))));
    let pending = |server: &Server| {
        let open = server.owner().get("/v1/oversight/requests?state=pending").ok();
        list(&open, "requests").iter().map(|request| text(request, "id").to_owned()).collect::<Vec<_>>()
    };
    until("somebody is asked", || !pending(&server).is_empty());
    let asked = pending(&server);
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < STOP_MAX, "it stopped after {:?}", begun.elapsed());
    waiting.join().unwrap().unwrap().refused(409, "app.run_ended");

    let server = home.serve(&Options::with_sandboxes());
    assert_eq!(pending(&server), asked, "the question outlives the server that asked it");
}

/// An HTTP server that sends so many bytes to everybody, until the test ends.
fn talker(bytes: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // Whoever hangs up early is what the test is about.
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&vec![b'x'; bytes]);
        }
    });
    port
}

/// Reads as much of a URL as it gets.
const READ: &str = "
import http.client, sys, urllib.request
try:
    print(len(urllib.request.urlopen(sys.argv[1], timeout=20).read()))
except http.client.IncompleteRead as cut:
    print('cut', len(cut.partial))
";

#[test]
fn a_connection_ends_where_its_held_money_ends_and_what_it_carried_is_posted_in_full() {
    let Some((server, home)) = governed() else { return };
    let owner = server.owner();
    // A millionth for each byte.
    let price = json!({ "aggregation": "sum", "field": "quantity", "unit_price": "0.000001" });
    owner.put("/v1/metering/metrics/runtime.egress_bytes", price).ok();
    let port = talker(2_000_000);
    let place = format!("127.0.0.1:{port}");
    let url = format!("http://{place}/");
    let output = run(&home, &["--budget", "1.00", "--timeout", "60s", "--allow-host", &place, "--", "python3", "-c", READ, &url]);
    let (stdout, stderr) = said(&output);
    let got: i64 = stdout.trim().strip_prefix("cut ").unwrap_or_else(|| panic!("{stdout}{stderr}")).parse().unwrap();

    let recorded = newest_run(&server);
    let egress = list(&recorded, "actions").iter().find(|action| action["action"] == "runtime.egress").expect("it is on record");
    let facts: Value = serde_json::from_str(text(egress, "note")).unwrap();
    let bytes: i64 = ["bytes_up", "bytes_down"].iter().map(|name| text(&facts, name).parse::<i64>().unwrap()).sum();
    assert_eq!(micros(text(egress, "cost")), bytes, "every byte that moved is posted, the last one too: {egress}");
    assert!(bytes > got && bytes > 200_000, "{bytes} moved, {got} arrived");
    assert!(bytes <= 250_000, "a quarter of what the budget has is what one connection may spend: {bytes}");
    let accounts = owner.get("/v1/metering/accounts").ok();
    for account in list(&accounts, "accounts") {
        assert_eq!(account["held"], "0", "{account}");
        assert!(account["ceiling"].is_null() || micros(text(account, "spent")) <= micros(text(account, "ceiling")), "{account}");
    }
    assert_eq!(owner.get("/v1/metering/check").ok()["ok"], true);
}

#[test]
fn an_approval_of_a_command_is_for_the_input_it_was_shown_with() {
    let Some((server, home)) = governed() else { return };
    ask_about_commands(&server);
    let script = home.data().join("script.sh");
    fs::write(&script, "echo approved\n").unwrap();
    let start = |words: &[&str], stdin: Stdio| {
        let mut command = home.command(["run", "-q"]);
        command.args(words).args(["--", "sh"]).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap()
    };
    // Waits for the one request, gives what is shown of its input, and approves it.
    let approve_next = || {
        let owner = server.owner();
        let mut open = Value::Null;
        until("somebody is asked", || {
            open = owner.get("/v1/oversight/requests?state=pending").ok()["requests"][0].clone();
            open.is_object()
        });
        let action: Value = serde_json::from_str(text(&open, "action")).unwrap();
        owner.post(&format!("/v1/oversight/requests/{}/approve", text(&open, "id")), json!({ "digest": open["digest"] })).ok();
        action["arguments"]["stdin"].clone()
    };
    // SHA-256 of the script above.
    let digest = "ecb20d43266db712ae17201bde55eefda7383c5e7718e6a563863f8e17d0450c";
    let file = start(&[], fs::File::open(&script).unwrap().into());
    assert_eq!(approve_next(), json!({ "sha256": digest }), "a file is bound");
    assert_eq!(said(&file.wait_with_output().unwrap()).0, "approved\n");

    let mut piped = start(&[], Stdio::piped());
    assert_eq!(approve_next(), "stream", "a pipe is not, and the approver is told");
    piped.stdin.take().unwrap().write_all(b"echo piped\n").unwrap();
    assert_eq!(said(&piped.wait_with_output().unwrap()).0, "piped\n");

    let mut bound = start(&["--bind-stdin"], Stdio::piped());
    bound.stdin.take().unwrap().write_all(b"echo approved\n").unwrap();
    assert_eq!(approve_next(), json!({ "sha256": digest }), "a pipe that was read to its end is");
    assert_eq!(said(&bound.wait_with_output().unwrap()).0, "approved\n");

    let nothing = start(&[], Stdio::null());
    assert_eq!(approve_next(), "none");
    assert_eq!(said(&nothing.wait_with_output().unwrap()).0, "");

    // A client that has one input approved and sends another.
    let body = json!({ "argv": ["sh"], "stdin_digest": digest });
    let operator = server.operator();
    let cheat = thread::spawn(move || {
        let mut events = operator.open("POST", "/v1/runs", Some(&body)).unwrap();
        let run = text(&events.event().unwrap().unwrap(), "run").to_owned();
        operator.octets("POST", &format!("/v1/runs/{run}/stdin"), b"echo forged\n").refused(409, "app.other_input");
        let mut last = Value::Null;
        while let Some(event) = events.event().unwrap() {
            assert_ne!(event["event"], "stdout", "nothing of it was passed on: {event}");
            last = event;
        }
        last
    });
    approve_next();
    let last = cheat.join().unwrap();
    assert_eq!((&last["event"], &last["end"]["kind"]), (&json!("finished"), &json!("killed")), "{last}");
}
