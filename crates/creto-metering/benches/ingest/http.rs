//! The same over HTTP/1.1 on a connection that stays open: batches beside the same in process, and the usage of one large customer.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::{self, Next};
use creto_bench::Row;
use creto_db::Db;
use creto_enablement_common::http::{Caller, Endpoints};
use creto_nhi::Roles;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::house::{SETS, human};
use super::ours::Ours;
use super::{BATCH, MEASURED, at_most, beside, wanted};

/// How often the usage is read.
const READS: usize = 400;
const GROUPS: usize = 100;
const USERS_MAX: usize = 100_000;
const USAGE_MS: f64 = 5.0;

/// A connection to a server of the real routes.
struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    async fn to(ours: &Ours) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let operator = human("default", "alice", Roles::OPERATOR_AND_APPROVER);
        let signed_in = middleware::from_fn(move |mut request: Request, next: Next| {
            request.extensions_mut().insert(Caller(operator.clone(), None));
            next.run(request)
        });
        let router = Endpoints::new().and(creto_metering::http::endpoints(&ours.meter)).into_router().layer(signed_in);
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Sends a request and reads the answer's body.
    async fn call(&mut self, method: &str, path: &str, body: &[u8]) -> &[u8] {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        self.stream.write_all(head.as_bytes()).await.unwrap();
        self.stream.write_all(body).await.unwrap();
        self.buffer.clear();
        let (mut body_at, mut length) = (usize::MAX, 0);
        loop {
            if body_at == usize::MAX
                && let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n")
            {
                let head = std::str::from_utf8(self.buffer.get(..end).unwrap()).unwrap().to_ascii_lowercase();
                assert!(head.starts_with("http/1.1 200"), "{head}");
                length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
                body_at = end + 4;
            }
            if body_at != usize::MAX && self.buffer.len() >= body_at + length {
                return self.buffer.get(body_at..).unwrap();
            }
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server hung up");
        }
    }
}

pub(crate) async fn measure(rows: &mut Vec<Row>) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ours = Ours::open(Db::open_sqlite(&folder.path().join("http.db"), SETS).unwrap(), &["group"]).await;
    let mut wire = Wire::to(&ours).await;
    batches(&ours, &mut wire, rows).await;
    usage(&ours, &mut wire, rows).await;
}

async fn batches(ours: &Ours, wire: &mut Wire, rows: &mut Vec<Row>) {
    let (mut inside, mut outside) = (Duration::ZERO, Duration::ZERO);
    for first in (0..2 * MEASURED).step_by(BATCH) {
        let batch = ours.batch(first);
        let started = Instant::now();
        ours.send(batch).await;
        inside += started.elapsed();
        let body = serde_json::to_vec(&json!({ "events": ours.batch(first) })).unwrap();
        let started = Instant::now();
        wire.call("POST", "/v1/metering/events", &body).await;
        outside += started.elapsed();
    }
    let rate = |took: Duration| 2.0 * MEASURED as f64 / took.as_secs_f64();
    rows.push(beside("metering.ingest_http_per_s", rate(outside), "the same in process", rate(inside), 0.4));
}

/// Ten charges of a hundred groups, one count of many users. The 99th percentile.
async fn usage(ours: &Ours, wire: &mut Wire, rows: &mut Vec<Row>) {
    let events = wanted().min(1_000_000);
    for first in (0..events).step_by(BATCH) {
        let of = |n: usize| ours.event(0, &format!("m{}", n % 10), json!({ "n": "1.5", "group": format!("g{}", n / 10 % GROUPS) }));
        ours.send((first..first + BATCH).map(of).collect()).await;
    }
    for first in (0..USERS_MAX.min(events)).step_by(BATCH) {
        ours.send((first..first + BATCH).map(|n| ours.event(0, "users", json!({ "user": format!("u{n}") }))).collect()).await;
    }
    let at = ours.start;
    let path = format!("/v1/metering/subscriptions/s0/usage?at={at}");
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..READS {
        let started = Instant::now();
        let answer = wire.call("GET", &path, b"").await;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        assert!(answer.len() > GROUPS * 1_000, "the usage of every group");
    }
    times.sort_by(f64::total_cmp);
    let of = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap();
    println!("usage of {events} events: median {:.2} ms, 90 % {:.2} ms, 99 % {:.2} ms", of(50), of(90), of(99));
    rows.push(at_most("metering.usage_http_p50_ms", of(50), "ms", USAGE_MS));
    rows.push(at_most("metering.usage_http_p99_ms", of(99), "ms", USAGE_MS));
}
