//! The way out of a sandbox: a Unix socket of its own, behind which each connection is judged, resolved, checked, made and counted.
//!
//! The order is what makes it safe: the judge sees the name that was asked for; the name is resolved once, here; the addresses are
//! judged after resolution; the connection goes to the very address that was judged. A sandbox has no resolver and no route of its own.

mod count;
mod dial;
mod gateway;
mod relay;
mod reply;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use creto_kernel::NhiId;
use creto_kernel::id::{RunId, SandboxId};
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue};

use crate::core::destination::{AllowedHost, Destination};

pub use gateway::Gateway;
#[doc(hidden)]
pub use gateway::understood;

/// Whose socket it is. Known from the socket a request came through, never from the request.
#[derive(Clone, Debug)]
pub struct SandboxContext {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Who acts in it.
    pub agent: NhiId,
    /// The run it serves.
    pub run: RunId,
    /// The places written down for this run: what inside addresses need, and what a refusal's advice refers to.
    pub explicit: Vec<AllowedHost>,
    /// Where `http://creto.internal` goes; `None` refuses it.
    pub internal: Option<InternalRoute>,
}

/// The server itself, as this sandbox reaches it.
#[derive(Clone, Debug)]
pub struct InternalRoute {
    /// The server's Unix socket.
    pub socket: PathBuf,
    /// Headers that say who is asking. Everything a sandbox sends under these names, or under any name that could stand for an
    /// identity, is removed first.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a sandbox asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRequest {
    /// Where to.
    pub destination: Destination,
    /// How.
    pub form: EgressForm,
}

/// How much of a connection is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressForm {
    /// A tunnel (`CONNECT`), usually TLS: host and port only.
    Tunnel,
    /// One plain HTTP request.
    Http {
        /// The method.
        method: String,
        /// The path, without the query: queries hold secrets.
        path: String,
    },
}

/// An admitted connection.
pub struct EgressAdmission {
    /// What the judge needs again when the connection is over.
    pub held: Box<dyn Any + Send>,
    /// Most bytes in both directions together, below the gateway's own limit: what is paid for.
    pub bytes_max: Option<u64>,
}

impl fmt::Debug for EgressAdmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EgressAdmission")
    }
}

/// The judge's answer.
#[derive(Debug)]
pub enum EgressVerdict {
    /// Admitted: exactly one `closed` follows.
    Allow(EgressAdmission),
    /// Refused.
    Deny {
        /// Why, for whoever wrote the program.
        message: String,
        /// The exact flag or policy line that would allow it; `None` where the flag of this run would.
        hint: Option<String>,
    },
}

/// What came of an admitted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressOutcome {
    /// Bytes that left the sandbox.
    pub bytes_up: u64,
    /// Bytes that came in.
    pub bytes_down: u64,
    /// The address that was connected to.
    pub address: Option<SocketAddr>,
    /// How long it was open.
    pub duration: Duration,
    /// Why it did not end as it should.
    pub error: Option<String>,
}

/// Decides about connections; in the server, the Gate.
pub trait EgressJudge: Send + Sync + 'static {
    /// Judges one request; may wait long for a human. The future is dropped when the program inside gives up.
    fn judge<'a>(&'a self, sandbox: &'a SandboxContext, request: &'a EgressRequest) -> BoxFuture<'a, EgressVerdict>;

    /// Takes the outcome of an admitted connection, exactly once for each.
    fn closed<'a>(&'a self, sandbox: &'a SandboxContext, admission: EgressAdmission, outcome: EgressOutcome) -> BoxFuture<'a, ()>;
}

/// Turns names into addresses.
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of a name.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The host's own resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Limits of a gateway.
#[derive(Clone, Copy, Debug)]
pub struct EgressLimits {
    /// Connections of one sandbox at once.
    pub connections_max: usize,
    /// Time for a request's head.
    pub head_time: Duration,
    /// Time to resolve, and to connect to one address.
    pub connect_time: Duration,
    /// Time without a byte in either direction.
    pub idle_time: Duration,
    /// Bytes of one connection in both directions together.
    pub bytes_max: u64,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            head_time: Duration::from_secs(30),
            connect_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(600),
            bytes_max: 64 << 30,
        }
    }
}

/// The advice that goes with a refusal where the judge has none of its own.
#[must_use]
pub fn allow_hint(destination: &Destination) -> String {
    format!("start the run with `creto run --allow-host {destination}`")
}
