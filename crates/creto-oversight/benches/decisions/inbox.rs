//! Pages of the inbox over HTTP: the real routes behind a socket, asked by a client that reads the whole answer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use axum::Extension;
use creto_enablement_common::http::{Caller, Endpoints};
use creto_nhi::{Principal, Role, Roles};
use creto_oversight::Desk;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Fallible, identity, quantile};

const PAGES: usize = 300;
const PAGE_ROWS: usize = 50;

/// The inbox of `person`, served on loopback as the server serves it; who is calling is decided before any route.
async fn serve(desk: &Desk, person: &str) -> Fallible<SocketAddr> {
    let caller = Caller(Principal::local(identity(creto_kernel::NhiKind::Human, person)?, Roles::only(Role::Approver))?, None);
    let router = Endpoints::new().and(creto_oversight::http::decisions::of_desk(desk)).into_router().layer(Extension(caller));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// One request on a connection that stays open.
async fn get(stream: &mut BufReader<TcpStream>, path: &str) -> Fallible<Value> {
    stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes()).await?;
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).await?;
    if !line.contains(" 200 ") {
        return Err(format!("the inbox answered {line}").into());
    }
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Milliseconds for one page, at the 99th percentile, from the request's first byte to the answer's last one parsed. Every request on a
/// page is one that this human may decide, and none is shown twice.
pub(super) async fn page_ms(desk: &Desk, person: &str, other: &str) -> Fallible<f64> {
    let address = serve(desk, person).await?;
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let (mut times, mut seen, mut before) = (Vec::new(), BTreeSet::new(), String::new());
    for _ in 0..PAGES {
        let started = Instant::now();
        let page = get(&mut stream, &format!("/v1/oversight/inbox?limit={PAGE_ROWS}{before}")).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        for request in page.get("requests").and_then(Value::as_array).into_iter().flatten() {
            let id = request.get("id").and_then(Value::as_str).unwrap_or_default();
            if request.to_string().contains(other) || !seen.insert(id.to_owned()) {
                return Err(format!("`{id}` is not this human's, or was shown before").into());
            }
        }
        before = page.get("next").and_then(Value::as_str).map_or_else(String::new, |next| format!("&before={next}"));
        if before.is_empty() {
            seen.clear();
        }
    }
    Ok(quantile(&mut times, 0.99))
}
