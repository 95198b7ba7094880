//! The proxy of one sandbox.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::core::destination::{Destination, Host};
use crate::core::env::INTERNAL_HOST;
use crate::egress::relay::{self, Gate};
use crate::egress::reply::{self, Body};
use crate::egress::{EgressForm, EgressJudge, EgressLimits, EgressRequest, EgressVerdict, Resolver, SandboxContext, allow_hint};
use crate::error::RuntimeError;

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Longest path a Unix socket's address holds, in bytes, without the closing NUL (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// A listening gateway. Dropping it ends every connection; [`Gateway::close`] also waits until their outcomes are reported.
#[derive(Debug)]
pub struct Gateway {
    socket: PathBuf,
    closing: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
    reports: mpsc::Receiver<()>,
}

impl Gateway {
    /// Listens on a sandbox's socket.
    pub fn start(
        socket: &Path,
        context: SandboxContext,
        judge: Arc<dyn EgressJudge>,
        resolver: Arc<dyn Resolver>,
        limits: EgressLimits,
    ) -> Result<Self, RuntimeError> {
        let listener = listen(socket).map_err(RuntimeError::host(format!("listening on `{}`", socket.display())))?;
        let (closing, seen) = watch::channel(false);
        let (reported, reports) = mpsc::channel(1);
        let gate = Arc::new(Gate { context, judge, resolver, limits, closing: seen, reported });
        let accepting = tokio::spawn(accept(listener, gate));
        Ok(Self { socket: socket.to_owned(), closing, accepting, reports })
    }

    /// Ends every connection and waits until the outcome of each was reported.
    pub async fn close(mut self) {
        self.closing.send_replace(true);
        // The accepting task holds the gate, and with it the last sender of reports but the relays' own.
        let _ended = (&mut self.accepting).await;
        while self.reports.recv().await.is_some() {}
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        self.accepting.abort();
        // The sandbox's folder goes anyway; a socket that stays behind refuses connections.
        let _gone = fs::remove_file(&self.socket);
    }
}

/// Binds a socket, also where its path is longer than a socket address holds: then through its folder's file descriptor.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    if socket.as_os_str().len() <= SOCKET_PATH_MAX {
        return UnixListener::bind(socket);
    }
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = fs::File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&folder).to_string()).join(name);
    UnixListener::bind(short)
}

async fn accept(listener: UnixListener, gate: Arc<Gate>) {
    let places = Arc::new(Semaphore::new(gate.limits.connections_max));
    let mut closing = gate.closing.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        // Beyond the limit the connection is closed at once: a queue would only hide a program that leaks connections.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let gate = Arc::clone(&gate);
        tokio::spawn(async move {
            serve(stream, &gate).await;
            drop(place);
        });
    }
}

async fn serve(stream: UnixStream, gate: &Arc<Gate>) {
    let service = service_fn(|request| {
        let gate = Arc::clone(gate);
        async move { Ok::<_, Infallible>(answer(&gate, request).await) }
    });
    let connection = http1()
        .timer(TokioTimer::new())
        .header_read_timeout(gate.limits.head_time)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut closing = gate.closing.clone();
    tokio::select! {
        // What went wrong on the way to the program is the program's to notice.
        _ = connection => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
}

/// How bytes of a sandbox are read.
fn http1() -> Builder {
    let mut builder = Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    builder
}

/// What the gateway takes the bytes of one connection for: where each request wants to go; `None` for one that it answers itself or
/// refuses. For tests: nothing is asked, dialled or relayed.
#[doc(hidden)]
pub async fn understood(bytes: &[u8]) -> Vec<Option<EgressRequest>> {
    let asked = std::sync::Mutex::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let wanted = match meaning(&request) {
            Meaning::Egress(wanted) => Some(wanted),
            Meaning::Server | Meaning::Malformed(_) => None,
        };
        asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(wanted);
        std::future::ready(Ok::<_, Infallible>(reply::denied("nothing is asked here")))
    });
    let stream = tokio::io::join(bytes, tokio::io::sink());
    // What cannot be read ends the connection, as it does where a sandbox sends it.
    let _ = http1().serve_connection(TokioIo::new(stream), service).await;
    asked.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What a request means.
enum Meaning {
    Egress(EgressRequest),
    Server,
    Malformed(String),
}

fn is_internal(host: &Host) -> bool {
    matches!(host, Host::Name(name) if name == INTERNAL_HOST)
}

fn meaning<B>(request: &Request<B>) -> Meaning {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        let text = uri.authority().map_or("", |authority| authority.as_str());
        return match text.parse::<Destination>() {
            Ok(destination) if is_internal(&destination.host) => {
                Meaning::Malformed(format!("reach the server as http://{INTERNAL_HOST}, without a tunnel"))
            }
            Ok(destination) => Meaning::Egress(EgressRequest { destination, form: EgressForm::Tunnel }),
            Err(error) => Meaning::Malformed(error.to_string()),
        };
    }
    let (scheme, authority) = (uri.scheme_str(), uri.authority().map(|authority| authority.as_str()));
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    match (scheme, authority, host) {
        (Some("http"), Some(authority), _) => match Destination::with_default_port(authority, 80) {
            Ok(destination) if is_internal(&destination.host) => Meaning::Server,
            Ok(destination) => {
                let form = EgressForm::Http { method: request.method().to_string(), path: uri.path().to_owned() };
                Meaning::Egress(EgressRequest { destination, form })
            }
            Err(error) => Meaning::Malformed(error.to_string()),
        },
        (None, None, Some(host)) if Destination::with_default_port(host, 80).is_ok_and(|d| is_internal(&d.host)) => Meaning::Server,
        _ => Meaning::Malformed("this is an HTTP proxy: ask with CONNECT host:port, or with a whole http:// URL".to_owned()),
    }
}

async fn answer(gate: &Arc<Gate>, request: Request<Incoming>) -> Response<Body> {
    let asked = match meaning(&request) {
        Meaning::Egress(asked) => asked,
        Meaning::Server => {
            return match &gate.context.internal {
                Some(route) => relay::to_server(gate, route, request).await,
                None => reply::denied("this sandbox was given no way to the server"),
            };
        }
        Meaning::Malformed(message) => return reply::malformed(&message),
    };
    // Taken before the verdict: a close that begins in between still waits for this relay.
    let reported = gate.reported.clone();
    match gate.judge.judge(&gate.context, &asked).await {
        EgressVerdict::Allow(admission) => {
            let response = relay::start(gate, reported, admission, asked.destination, request);
            response.await.unwrap_or_else(|_| reply::unreachable("the connection ended before an answer"))
        }
        EgressVerdict::Deny { message, hint } => {
            let hint = hint.unwrap_or_else(|| allow_hint(&asked.destination));
            reply::denied(&format!("{message}\nto allow it: {hint}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_mean_one_thing_or_are_refused() {
        let asked = |method: &str, uri: &str, host: &str| {
            let request = Request::builder().method(method).uri(uri).header("host", host).body(()).unwrap();
            match meaning(&request) {
                Meaning::Egress(asked) => asked.destination.to_string(),
                Meaning::Server => "server".to_owned(),
                Meaning::Malformed(_) => "malformed".to_owned(),
            }
        };
        for (method, uri, host, expected) in [
            ("CONNECT", "API.example.com:443", "other", "api.example.com:443"),
            ("CONNECT", "creto.internal:80", "creto.internal", "malformed"),
            ("GET", "http://example.com/x?y", "creto.internal", "example.com:80"),
            ("GET", "http://[::1]:8080/", "", "[::1]:8080"),
            ("GET", "http://user:secret@example.com/", "", "malformed"),
            ("GET", "http://127.1/", "", "malformed"),
            ("GET", "https://example.com/", "", "malformed"),
            ("GET", "http://creto.internal/healthz", "example.com", "server"),
            ("GET", "http://CRETO.internal./healthz", "", "server"),
            ("GET", "/healthz", "creto.internal", "server"),
            ("GET", "/healthz", "example.com", "malformed"),
        ] {
            assert_eq!(asked(method, uri, host), expected, "{method} {uri} ({host})");
        }
    }
}
