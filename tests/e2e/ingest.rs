//! Events through the real binary: what is refused and why, killed servers, files, and the disk before the answer.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Home, Options, Server, list, make_key, text, until};

fn metered(server: &Server) -> (Client, String) {
    let owner = server.owner();
    owner.put("/v1/metering/metrics/pages", json!({ "aggregation": "sum", "field": "n", "unit_price": "0.000001" })).ok();
    owner.put("/v1/metering/reporters/reading", json!({ "reporters": ["*"] })).ok();
    let token = text(&make_key(&owner, json!({ "role": "agent", "name": "worker" })), "token").to_owned();
    (owner, token)
}

fn event(id: &str) -> Value {
    json!({ "transaction_id": id, "external_subscription_id": "reading", "code": "pages", "properties": { "n": "1" } })
}

fn without(field: &str) -> String {
    let mut event = event("t");
    event.as_object_mut().unwrap().remove(field);
    event.to_string()
}

fn with(field: &str, value: &Value) -> String {
    let mut event = event("t");
    event[field] = value.clone();
    event.to_string()
}

#[test]
fn each_bad_input_is_refused_with_its_own_code_and_leaves_nothing() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let (owner, token) = metered(&server);
    let agent = server.bearer(&token).with("content-type", "application/json");
    let large = "x".repeat(1 << 20);
    let digits = "1234567890".repeat(4);
    let cases: Vec<(String, u16, &str)> = vec![
        (without("transaction_id"), 422, "metering.bad_event"),
        (without("external_subscription_id"), 422, "metering.bad_event"),
        (without("code"), 422, "metering.bad_event"),
        (without("properties"), 422, "metering.bad_event"),
        (with("transaction_id", &json!(7)), 422, "metering.bad_event"),
        (with("transaction_id", &json!("")), 422, "metering.bad_event"),
        (with("external_subscription_id", &json!([])), 422, "metering.bad_event"),
        (with("code", &json!(null)), 422, "metering.bad_event"),
        (with("timestamp", &json!("soon")), 422, "metering.bad_event"),
        (with("timestamp", &json!({})), 422, "metering.bad_event"),
        (with("timestamp", &json!("9999-01-01T00:00:00Z")), 422, "metering.bad_event"),
        (with("timestamp", &json!("10000-01-01T00:00:00Z")), 422, "metering.bad_event"),
        (with("properties", &json!({ "n": "NaN" })), 422, "metering.bad_event"),
        (with("properties", &json!({ "n": true })), 422, "metering.bad_event"),
        (with("properties", &json!({ "n": "-1" })), 422, "metering.bad_event"),
        (with("properties", &json!({ "n": digits })), 422, "metering.bad_event"),
        (with("properties", &json!({ "n": "1", "note": large })), 422, "metering.bad_event"),
        (with("chain", &json!("no token")), 422, "metering.bad_event"),
        (with("colour", &json!("red")), 422, "metering.bad_event"),
        (with("code", &json!("runtime.seconds")), 422, "metering.bad_event"),
        (with("code", &json!("nothing")), 404, "metering.unknown_metric"),
        (with("external_subscription_id", &json!("nobody")), 404, "metering.unknown_subscription"),
        (with("properties", &json!({ "n": "1000000000000000" })), 422, "metering.cost_overflow"),
        (event("t").to_string().replace("\"1\"", "NaN"), 422, "http.bad_body"),
        (event("t").to_string().replace("\"1\"", &digits), 422, "http.bad_body"),
        ("{".to_owned(), 422, "http.bad_body"),
        ("[]".to_owned(), 422, "http.bad_body"),
    ];
    for (body, status, code) in &cases {
        let answer = agent.octets("POST", "/v1/metering/events", body.as_bytes());
        let shown: String = body.chars().take(200).collect();
        assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{shown}: {}", answer.text());
    }
    // The same in a list: each by itself, and the good one among them is recorded.
    let cases: Vec<_> = cases.iter().filter(|(_, _, code)| *code != "http.bad_body").collect();
    let events: Vec<Value> = cases.iter().map(|(body, ..)| serde_json::from_str(body).unwrap()).collect();
    let sent = events.len();
    let mut all = events;
    all.push(event("good"));
    let answer = agent.post("/v1/metering/events", json!({ "events": all })).ok();
    assert_eq!((answer["recorded"].as_u64(), answer["refused"].as_u64()), (Some(1), Some(sent as u64)), "{answer}");
    for (told, (_, _, code)) in list(&answer, "events").iter().zip(&cases) {
        assert_eq!(told["code"], *code, "{told}");
    }
    // Any past moment is accepted.
    let old = json!({ "transaction_id": "old", "external_subscription_id": "reading", "code": "pages", "properties": { "n": "1" },
        "timestamp": "0000-01-02T00:00:00Z" });
    agent.post("/v1/metering/events", old).ok();
    let usage = owner.get("/v1/metering/usage?subscription=reading").ok();
    assert_eq!(list(&usage, "usage")[0]["events"], 1, "from the epoch on: {usage}");
    let check = owner.get("/v1/metering/check").ok();
    assert_eq!(check["ok"], true, "{check}");
}

/// How many events are sent while servers are killed.
fn events_wanted() -> usize {
    std::env::var("CRETO_TEST_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(12_000)
}

const BATCH: usize = 400;
/// How often the server is killed, spread over the events.
const KILLS: usize = 6;

#[test]
fn what_was_acknowledged_is_there_once_after_every_kill_nine() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let (_, token) = metered(&server);
    let total = events_wanted();
    let url = Arc::new(Mutex::new(server.url()));
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let sender = thread::spawn({
        let (url, stop, acknowledged) = (Arc::clone(&url), Arc::clone(&stop), Arc::clone(&acknowledged));
        move || {
            for first in (0..total).step_by(BATCH) {
                let events: Vec<Value> = (first..(first + BATCH).min(total)).map(|n| event(&format!("e{n}"))).collect();
                let body = json!({ "events": events });
                // Until there is an answer: the identifiers make that safe.
                loop {
                    assert!(!stop.load(Ordering::SeqCst), "the servers are gone and {first} events were acknowledged");
                    let address = url.lock().unwrap().trim_start_matches("http://").parse().unwrap();
                    let client = Client::new(crate::support::http::Place::Tcp(address)).with("authorization", &format!("Bearer {token}"));
                    let Ok(answer) = client.attempt("POST", "/v1/metering/events", Some(&body)) else {
                        thread::yield_now();
                        continue;
                    };
                    let Ok(answer) = serde_json::from_slice::<Value>(&answer.body) else { continue };
                    let of = |name: &str| answer[name].as_u64().unwrap_or(0);
                    assert_eq!(of("recorded") + of("duplicates"), events.len() as u64, "{answer}");
                    acknowledged.fetch_add(events.len(), Ordering::SeqCst);
                    break;
                }
            }
        }
    });
    // Waits until so many are acknowledged, as long as they become more.
    let reached = |wanted: usize| {
        while acknowledged.load(Ordering::SeqCst) < wanted && !sender.is_finished() {
            let before = acknowledged.load(Ordering::SeqCst);
            until("more is acknowledged", || sender.is_finished() || acknowledged.load(Ordering::SeqCst) > before);
        }
    };
    let mut server = Some(server);
    for kill in 1..=KILLS {
        reached(total * kill / (KILLS + 1));
        server.take().unwrap().kill();
        let next = home.serve(&Options::default());
        *url.lock().unwrap() = next.url();
        server = Some(next);
    }
    reached(total);
    until("the sender is done", || sender.is_finished());
    stop.store(true, Ordering::SeqCst);
    sender.join().unwrap();
    let took = started.elapsed();
    let server = server.unwrap();
    // A replay of a million events takes its time.
    let owner = server.owner().patient(Duration::from_secs(1_800));
    assert_eq!(recorded(&owner), total as u64, "none lost, none doubled, over {KILLS} kills");
    let checked = Instant::now();
    let check = owner.get("/v1/metering/check").ok();
    assert_eq!(check["ok"], true, "{check}");
    println!("{total} events over {KILLS} kills in {took:?}, checked in {:?}", checked.elapsed());
}

fn recorded(owner: &Client) -> u64 {
    let usage = owner.get("/v1/metering/usage?subscription=reading").ok();
    list(&usage, "usage").first().and_then(|line| line["events"].as_u64()).unwrap_or(0)
}

#[test]
fn a_file_is_ingested_once_however_often_and_goes_on_where_it_stopped() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let (owner, token) = metered(&server);
    let path = home.data().join("events.ndjson");
    let lines: Vec<String> =
        (0..2_300).map(|n| if n == 1_500 { "not json".to_owned() } else { event(&format!("e{n}")).to_string() }).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let ingest = || {
        let mut command = home.command(["--json", "meter", "ingest"]);
        let output = command.arg(&path).args(["--url", &server.url(), "--token", &token]).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.success(), answer["recorded"].as_u64(), answer["duplicates"].as_u64(), answer["refused"].as_u64())
    };
    assert_eq!(ingest(), (false, Some(2_299), Some(0), Some(1)), "a refused event is a failure");
    assert_eq!(ingest(), (false, Some(0), Some(2_299), Some(1)));
    // As if it had been stopped after its first two batches.
    let done: usize = lines.iter().take(2_000).map(|line| line.len() + 1).sum();
    std::fs::write(home.data().join("events.ndjson.ingested"), done.to_string()).unwrap();
    assert_eq!(ingest(), (true, Some(0), Some(300), Some(0)));
    assert!(!home.data().join("events.ndjson.ingested").exists());
    assert_eq!(recorded(&owner), 2_299);
}

/// What a traced server did, in order.
fn traced(text: &str) -> Vec<&'static str> {
    let kind = |line: &str| {
        if line.contains("fdatasync(") || line.contains("fsync(") {
            Some("sync")
        } else if line.contains("HTTP/1.1 200") {
            Some("answer")
        } else if line.contains("POST /v1/metering/events") {
            Some("request")
        } else {
            None
        }
    };
    text.lines().filter_map(kind).collect()
}

#[test]
fn the_disk_has_the_events_before_the_sender_has_the_answer() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "strace is not installed, and CI traces");
        eprintln!("SKIPPED strace: not installed");
        return;
    }
    let home = Home::new();
    let server = home.serve(&Options::default());
    let (_, token) = metered(&server);
    let agent = server.bearer(&token);
    let log = home.data().join("trace");
    let mut tracer = Command::new("strace")
        .args([
            "-f",
            "-q",
            "-s",
            "64",
            "-e",
            "trace=fdatasync,fsync,read,recvfrom,write,writev,sendto",
            "-p",
            &server.id().to_string(),
            "-o",
        ])
        .arg(&log)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    let mut sent = 0;
    until("the trace has begun", || {
        sent += 1;
        agent.post("/v1/metering/events", event(&format!("warm{sent}"))).ok();
        thread::sleep(Duration::from_millis(20));
        tracer.try_wait().unwrap().is_some() || !traced(&read()).is_empty()
    });
    if tracer.try_wait().unwrap().is_some() {
        eprintln!("SKIPPED strace: this machine does not let processes be traced");
        return;
    }
    for n in 0..20 {
        agent.post("/v1/metering/events", event(&format!("t{n}"))).ok();
    }
    Command::new("kill").args(["-INT", &tracer.id().to_string()]).status().unwrap();
    tracer.wait().unwrap();
    let did = traced(&read());
    let mut answers = 0;
    let mut since_request: Option<BTreeSet<&str>> = None;
    for what in did {
        match what {
            "request" => since_request = Some(BTreeSet::new()),
            "answer" => {
                if let Some(done) = since_request.take() {
                    assert!(done.contains("sync"), "an event was acknowledged before the disk had it");
                    answers += 1;
                }
            }
            other => {
                if let Some(done) = &mut since_request {
                    done.insert(other);
                }
            }
        }
    }
    assert!(answers >= 20, "only {answers} answers were seen");
}
