//! Admitted connections, carried to their end and accounted for.
//!
//! INVARIANT: everything after an `Allow` runs in a task of its own that ends in exactly one `closed`, whatever the program inside or
//! the server outside do in the meantime.

use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::core::destination::Destination;
use crate::core::env::INTERNAL_HOST;
use crate::egress::count::{Counted, Counts};
use crate::egress::dial::{DialError, dial};
use crate::egress::reply::{self, Body};
use crate::egress::{EgressAdmission, EgressJudge, EgressLimits, EgressOutcome, InternalRoute, Resolver, SandboxContext};

/// What every connection of one gateway shares.
pub(super) struct Gate {
    pub(super) context: SandboxContext,
    pub(super) judge: Arc<dyn EgressJudge>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) limits: EgressLimits,
    pub(super) closing: watch::Receiver<bool>,
    /// Held by each relay until its outcome is reported: the gateway's close waits for the last.
    pub(super) reported: mpsc::Sender<()>,
}

type Answer = oneshot::Sender<Response<Body>>;

/// Carries one admitted request; the response comes through the receiver.
pub(super) fn start(
    gate: &Arc<Gate>,
    reported: mpsc::Sender<()>,
    admission: EgressAdmission,
    destination: Destination,
    request: Request<Incoming>,
) -> oneshot::Receiver<Response<Body>> {
    let (answer, response) = oneshot::channel();
    let gate = Arc::clone(gate);
    tokio::spawn(async move {
        let begun = Instant::now();
        let bytes_max = admission.bytes_max.unwrap_or(u64::MAX).min(gate.limits.bytes_max);
        let counts = Arc::new(Counts::up_to(bytes_max));
        let (address, error) = match dial(&destination, &gate.context.explicit, &*gate.resolver, &gate.limits).await {
            Ok((stream, address)) => (Some(address), carry(&gate, request, &destination, stream, &counts, answer).await.err()),
            Err(error) => {
                let response = match &error {
                    DialError::Forbidden(message) => reply::denied(message),
                    DialError::Unreachable(message) => reply::unreachable(message),
                };
                // A program that gave up has no use for the reason; the outcome below keeps it.
                let _gone = answer.send(response);
                (None, Some(error.message().to_owned()))
            }
        };
        // HTTP ends a body that is cut short without a word of its own.
        let error = error.or_else(|| counts.used_up());
        let outcome = EgressOutcome { bytes_up: counts.up(), bytes_down: counts.down(), address, duration: begun.elapsed(), error };
        gate.judge.closed(&gate.context, admission, outcome).await;
        drop(reported);
    });
    response
}

async fn carry(
    gate: &Gate,
    request: Request<Incoming>,
    destination: &Destination,
    stream: TcpStream,
    counts: &Arc<Counts>,
    answer: Answer,
) -> Result<(), String> {
    // Failing to switch Nagle's algorithm off costs latency only.
    let _slower = stream.set_nodelay(true);
    let stream = Counted::new(stream, Arc::clone(counts));
    let work = async {
        if request.method() == http::Method::CONNECT {
            tunnel(request, stream, answer).await
        } else {
            let host = if destination.port == 80 { destination.host.to_string() } else { destination.to_string() };
            forward(outward(request, &host)?, stream, answer).await
        }
    };
    let mut closing = gate.closing.clone();
    tokio::select! {
        done = work => done,
        () = idle(counts, gate) => Err("nothing was sent for too long".to_owned()),
        _ = closing.wait_for(|closing| *closing) => Err("the sandbox ended first".to_owned()),
    }
}

/// Returns when no byte has moved for the idle time.
async fn idle(counts: &Counts, gate: &Gate) {
    loop {
        let before = counts.sum();
        tokio::time::sleep(gate.limits.idle_time).await;
        if counts.sum() == before {
            return;
        }
    }
}

async fn tunnel(request: Request<Incoming>, mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) -> Result<(), String> {
    answer.send(reply::established()).map_err(|_| "the program gave up".to_owned())?;
    let upgraded = hyper::upgrade::on(request).await.map_err(|error| error.to_string())?;
    let copied = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await;
    copied.map(drop).map_err(|error| error.to_string())
}

/// Sends one request over a fresh connection and gives the response out while its body still flows.
async fn forward(
    request: Request<Body>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answer: Answer,
) -> Result<(), String> {
    let (mut sender, connection) = match hyper::client::conn::http1::handshake(TokioIo::new(stream)).await {
        Ok(pair) => pair,
        Err(error) => {
            let _gone = answer.send(reply::unreachable("the server could not be spoken to"));
            return Err(error.to_string());
        }
    };
    let asking = async move {
        let (response, error) = match sender.send_request(request).await {
            Ok(mut response) => {
                strip_hop_by_hop(response.headers_mut());
                response.headers_mut().remove(reply::ERROR_HEADER);
                (response.map(|body| body.boxed()), None)
            }
            Err(error) => (reply::unreachable("the server did not answer with HTTP"), Some(error.to_string())),
        };
        let _gone = answer.send(response);
        // One request for each connection: dropping the sender ends it after the response's body.
        error.map_or(Ok(()), Err)
    };
    let (asked, carried) = tokio::join!(asking, connection);
    asked.and(carried.map_err(|error| error.to_string()))
}

/// The request as a server outside gets it: origin-form, with the host that was judged.
fn outward(request: Request<Incoming>, host: &str) -> Result<Request<Body>, String> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>().map_err(|error| error.to_string())?;
    strip_hop_by_hop(&mut parts.headers);
    // INVARIANT: the Host header names the judged destination; a program cannot be admitted for one site and ask another.
    parts.headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|error| error.to_string())?);
    Ok(Request::from_parts(parts, body.boxed()))
}

/// Removes what concerns one hop only (RFC 9110, section 7.6.1), including what `Connection` names.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    let fixed = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    for name in fixed {
        headers.remove(name);
    }
}

/// Whether a header could tell the server who is asking.
fn speaks_of_identity(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "authorization" | "cookie" | "forwarded" | "dpop" | "signature" | "signature-input" | "x-real-ip" | "x-api-key")
        || name.starts_with("x-creto-")
        || name.starts_with("x-forwarded-")
}

/// Carries a request to the server itself, as this sandbox's agent.
pub(super) async fn to_server(gate: &Arc<Gate>, route: &InternalRoute, request: Request<Incoming>) -> Response<Body> {
    let Ok(stream) = UnixStream::connect(&route.socket).await else {
        return reply::unreachable("the server does not answer on its own socket");
    };
    let Ok(mut request) = outward(request, INTERNAL_HOST) else {
        return reply::malformed("the path is malformed");
    };
    let claimed: Vec<HeaderName> = request.headers().keys().filter(|name| speaks_of_identity(name)).cloned().collect();
    for name in claimed {
        request.headers_mut().remove(name);
    }
    for (name, value) in &route.headers {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    let (answer, response) = oneshot::channel();
    let mut closing = gate.closing.clone();
    tokio::spawn(async move {
        tokio::select! {
            // A failed forward has answered already.
            _ = forward(request, stream, answer) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    });
    response.await.unwrap_or_else(|_| reply::unreachable("the server is stopping"))
}
