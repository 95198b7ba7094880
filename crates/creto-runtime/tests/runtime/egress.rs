//! The way out: refused, allowed, and never to where it was not judged to go.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use creto_kernel::id::{RunId, SandboxId};
use creto_runtime::core::env::{Env, compose};
use creto_runtime::egress::{
    EgressAdmission, EgressJudge, EgressLimits, EgressOutcome, EgressRequest, EgressVerdict, Gateway, InternalRoute, Resolver,
    SandboxContext,
};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Notify;

use super::support::{argv, host, run, shell};

/// Allows the listed destinations, after a human's `go` where it has to wait, and keeps every outcome.
#[derive(Default)]
struct Judge {
    allowed: Vec<String>,
    bytes_max: Option<u64>,
    go: Option<Arc<Notify>>,
    asked: Mutex<Vec<EgressRequest>>,
    closed: Mutex<Vec<(String, EgressOutcome)>>,
}

impl EgressJudge for Judge {
    fn judge<'a>(&'a self, _: &'a SandboxContext, request: &'a EgressRequest) -> BoxFuture<'a, EgressVerdict> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(request.clone());
            if let Some(go) = &self.go {
                go.notified().await;
            }
            let destination = request.destination.to_string();
            if self.allowed.contains(&destination) {
                EgressVerdict::Allow(EgressAdmission { held: Box::new(destination), bytes_max: self.bytes_max })
            } else {
                EgressVerdict::Deny { message: format!("`{destination}` is not allowed"), hint: None }
            }
        })
    }

    fn closed<'a>(&'a self, _: &'a SandboxContext, admission: EgressAdmission, outcome: EgressOutcome) -> BoxFuture<'a, ()> {
        let destination = *admission.held.downcast::<String>().unwrap();
        self.closed.lock().unwrap().push((destination, outcome));
        Box::pin(async {})
    }
}

/// Every name resolves to this address.
struct Always(IpAddr);

impl Resolver for Always {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(vec![self.0]) })
    }
}

fn context(explicit: &[&str], internal: Option<InternalRoute>) -> SandboxContext {
    SandboxContext {
        sandbox: SandboxId::generate(),
        agent: "spiffe://creto.local/tenant/default/agent/a".parse().unwrap(),
        run: RunId::generate(),
        explicit: explicit.iter().map(|text| text.parse().unwrap()).collect(),
        internal,
    }
}

fn gateway(socket: &Path, context: SandboxContext, judge: &Arc<Judge>, address: &str) -> Gateway {
    let resolver = Arc::new(Always(address.parse().unwrap()));
    Gateway::start(socket, context, Arc::clone(judge) as Arc<dyn EgressJudge>, resolver, EgressLimits::default()).unwrap()
}

/// A server that answers each connection with what it was sent, in an HTTP response.
async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(echo(stream));
        }
    });
    address
}

async fn echo(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", head.len());
    let _gone = stream.write_all(&[answer.as_bytes(), &head].concat()).await;
}

async fn ask(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_refusal_says_what_would_allow_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let judge = Arc::<Judge>::default();
    let gateway = gateway(&socket, context(&[], None), &judge, "127.0.0.1");
    for request in [
        "CONNECT api.example.com:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET http://api.example.com:443/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let answer = ask(&socket, request).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("x-creto-error: runtime.egress_denied"), "{answer}");
        assert!(answer.contains("--allow-host api.example.com:443"), "{answer}");
    }
    gateway.close().await;
    assert!(judge.closed.lock().unwrap().is_empty());
    assert!(!socket.exists());
}

#[tokio::test]
async fn an_admitted_name_that_leads_inside_is_refused_after_resolution() {
    let folder = tempfile::tempdir().unwrap();
    let server = echo_server().await;
    for (address, word) in
        [("127.0.0.1", "loopback"), ("10.1.2.3", "private"), ("169.254.169.254", "metadata"), ("::ffff:127.0.0.1", "loopback")]
    {
        let socket = folder.path().join(format!("{}.sock", address.len()));
        let name = format!("rebound.example.com:{}", server.port());
        let judge = Arc::new(Judge { allowed: vec![name.clone()], ..Judge::default() });
        // Even a name written down for the run does not open the inside.
        let gateway = gateway(&socket, context(&[&name], None), &judge, address);
        for request in [
            format!("CONNECT {name} HTTP/1.1\r\nConnection: close\r\n\r\n"),
            format!("GET http://{name}/ HTTP/1.1\r\nConnection: close\r\n\r\n"),
        ] {
            let answer = ask(&socket, &request).await;
            assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(word), "{answer}");
        }
        gateway.close().await;
        let closed = judge.closed.lock().unwrap();
        assert_eq!(closed.len(), 2);
        assert!(closed.iter().all(|(_, outcome)| outcome.error.is_some() && outcome.address.is_none() && outcome.bytes_up == 0));
    }
}

#[tokio::test]
async fn an_exact_inside_address_is_reached_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let place = echo_server().await.to_string();
    let judge = Arc::new(Judge { allowed: vec![place.clone()], ..Judge::default() });
    let gateway = gateway(&socket, context(&[&place], None), &judge, "192.0.2.1");
    let request = format!(
        "GET http://{place}/a?b=c HTTP/1.1\r\nHost: another.example.com\r\nProxy-Authorization: Basic x\r\nConnection: close\r\n\r\n"
    );
    let answer = ask(&socket, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The server sees the judged host, the origin form, and nothing that was meant for the proxy.
    assert!(answer.contains("GET /a?b=c HTTP/1.1") && answer.contains(&format!("host: {place}")), "{answer}");
    assert!(!answer.contains("another.example.com") && !answer.to_lowercase().contains("proxy-"), "{answer}");
    gateway.close().await;
    let closed = judge.closed.lock().unwrap();
    let [(destination, outcome)] = closed.as_slice() else { panic!("{closed:?}") };
    assert_eq!((destination.as_str(), outcome.error.as_deref()), (place.as_str(), None));
    assert!(outcome.bytes_up > 40 && outcome.bytes_down > outcome.bytes_up, "{outcome:?}");
}

/// A server that never stops talking, to whoever asks it something first.
async fn endless_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = [0; 64];
                let _read = stream.read(&mut asked).await;
                let mut said = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
                while stream.write_all(&said).await.is_ok() {
                    said = vec![b'x'; 4096];
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_carries_the_bytes_that_are_paid_for_and_not_one_more() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let place = endless_server().await.to_string();
    let paid = 100_000;
    let judge = Arc::new(Judge { allowed: vec![place.clone()], bytes_max: Some(paid), ..Judge::default() });
    let gateway = gateway(&socket, context(&[&place], None), &judge, "192.0.2.1");
    for request in
        [format!("GET http://{place}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), format!("CONNECT {place} HTTP/1.1\r\n\r\nhello")]
    {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // How the end looks to the program is the gateway's matter; that there is one is ours.
        let _end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.len() > 90_000, "what was paid for came through: {} bytes", answer.len());
    }
    gateway.close().await;
    let closed = judge.closed.lock().unwrap();
    assert_eq!(closed.len(), 2);
    for (_, outcome) in closed.iter() {
        assert_eq!(outcome.bytes_up + outcome.bytes_down, paid, "{outcome:?}");
        assert!(outcome.error.as_deref().is_some_and(|error| error.contains("limit")), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_connection_waits_for_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let place = echo_server().await.to_string();
    let go = Arc::new(Notify::new());
    let judge = Arc::new(Judge { allowed: vec![place.clone()], go: Some(Arc::clone(&go)), ..Judge::default() });
    let gateway = gateway(&socket, context(&[&place], None), &judge, "192.0.2.1");
    let request = format!("GET http://{place}/ HTTP/1.1\r\nConnection: close\r\n\r\n");
    let mut asking = Box::pin(ask(&socket, &request));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut asking).await.is_err(), "answered before the verdict");
    go.notify_one();
    assert!(asking.await.starts_with("HTTP/1.1 200 "));
    gateway.close().await;
}

#[tokio::test]
async fn closing_ends_open_tunnels_and_reports_them() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("e.sock");
    let place = echo_server().await.to_string();
    let judge = Arc::new(Judge { allowed: vec![place.clone()], ..Judge::default() });
    let gateway = gateway(&socket, context(&[&place], None), &judge, "192.0.2.1");
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    stream.write_all(format!("CONNECT {place} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    gateway.close().await;
    let closed = judge.closed.lock().unwrap();
    assert_eq!(closed.len(), 1);
    assert!(closed[0].1.error.is_some());
}

#[tokio::test]
async fn nothing_a_sandbox_sends_says_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, server) = (folder.path().join("e.sock"), folder.path().join("server.sock"));
    let listener = UnixListener::bind(&server).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(echo(stream));
        }
    });
    let headers = vec![("x-creto-sandbox".parse().unwrap(), "true-identity".parse().unwrap())];
    let judge = Arc::<Judge>::default();
    let gateway = gateway(&socket, context(&[], Some(InternalRoute { socket: server, headers })), &judge, "192.0.2.1");
    let forged = "X-Creto-Sandbox: forged\r\nx-creto-sandbox: forged\r\nX-Creto-Admin: forged\r\nAuthorization: Bearer forged\r\nCookie: forged\r\nForwarded: forged\r\nX-Forwarded-For: forged\r\nConnection: close, x-creto-sandbox\r\n";
    for line in ["GET http://creto.internal/v1/x HTTP/1.1\r\nHost: creto.internal\r\n", "GET /v1/x HTTP/1.1\r\nHost: creto.internal\r\n"] {
        let answer = ask(&socket, &format!("{line}{forged}\r\n")).await;
        assert!(answer.contains("GET /v1/x HTTP/1.1") && answer.contains("x-creto-sandbox: true-identity"), "{answer}");
        assert!(!answer.contains("forged"), "{answer}");
    }
    // A second request in the same bytes is judged as a request of its own, not carried along in the first one's connection.
    let smuggled = "GET http://creto.internal/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\nGET http://elsewhere.example.com/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = ask(&socket, smuggled).await;
    assert!(answer.contains("HTTP/1.1 403 "), "{answer}");
    assert_eq!(judge.asked.lock().unwrap().len(), 1);
    gateway.close().await;
}

#[tokio::test]
async fn a_socket_path_longer_than_an_address_holds_still_works() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("x".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let socket = deep.join("egress.sock");
    let judge = Arc::<Judge>::default();
    let gateway = gateway(&socket, context(&[], None), &judge, "192.0.2.1");
    assert!(socket.exists());
    gateway.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_place_is_reached_from_inside_and_another_is_not() {
    let Some(host) = host().await else { return };
    let server = echo_server().await;
    let place = server.to_string();
    let sandbox = host.sandbox().await;
    let context = context(&[&place], None);
    let judge = Arc::new(Judge { allowed: vec![place.clone()], ..Judge::default() });
    let gateway = gateway(&sandbox.egress_socket(), context.clone(), &judge, "192.0.2.1");
    sandbox.bind(compose(&context.agent.to_string(), "run", &Env::default(), &context.explicit).pairs()).await.unwrap();
    let fetch = |url: &str| {
        let script = "import sys,urllib.request\ntry: print(urllib.request.urlopen(sys.argv[1]).read().decode())\nexcept urllib.error.HTTPError as e: print(e.code, e.read().decode())";
        argv(&["python3", "-c", script, url])
    };
    let allowed = run(&sandbox, fetch(&format!("http://{place}/hello"))).await;
    assert!(allowed.text().contains("GET /hello HTTP/1.1"), "{} {}", allowed.text(), String::from_utf8_lossy(&allowed.stderr));
    let refused = run(&sandbox, fetch("http://api.example.com/")).await;
    assert!(refused.text().starts_with("403 ") && refused.text().contains("--allow-host api.example.com:80"), "{}", refused.text());
    // Without the proxy there is nothing: no route, no resolver, and the host's loopback is another one.
    let around = shell(&format!(
        "unset http_proxy HTTP_PROXY; python3 -c \"import socket; socket.create_connection(('127.0.0.1', {}), 2)\" 2>&1 | tail -1",
        server.port()
    ));
    assert!(run(&sandbox, around).await.text().contains("refused"));
    let many = run(
        &sandbox,
        shell(&format!(
            "for i in $(seq 40); do python3 -c \"import urllib.request as u; print(len(u.urlopen('http://{place}/').read()))\" & done; wait"
        )),
    )
    .await;
    assert_eq!(many.text().lines().count(), 40, "{}", String::from_utf8_lossy(&many.stderr));
    sandbox.destroy().await;
    gateway.close().await;
    assert_eq!(judge.closed.lock().unwrap().len(), 41);
    assert_eq!(host.left(), Vec::<String>::new());
}
