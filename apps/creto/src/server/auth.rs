//! Who is calling: decided once, before any route, by how the request came in.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use creto_enablement_common::http::{Caller, Problem};
use creto_kernel::{Coded, Digest, ErrorCode, Kind, NhiId, NhiKind};
use creto_nhi::core::proof::RequestParts;
use creto_nhi::model::identity::Status;
use creto_nhi::{Principal, Roles};
use http_body_util::BodyExt as _;
use tokio::net::UnixListener;

use crate::runs::Runs;
use crate::server::BODY_BYTES_MAX;
use crate::server::names::HostNames;
use crate::wiring::House;

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// Over the network: a credential is needed.
    Network,
    /// Over the owner's socket: the operating system says who it is.
    Local,
    /// Over the internal socket: the egress gateway says which run it is.
    Sandbox,
}

/// What authentication needs.
#[derive(Debug, Clone)]
pub(super) struct Auth {
    pub(super) house: Arc<House>,
    pub(super) runs: Runs,
    pub(super) names: Arc<HostNames>,
    pub(super) channel: Channel,
}

/// The process at the other end of a local socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// On the local socket: which human of the tenant to act as.
const ACT_AS: &str = "creto-as";
/// On the internal socket: which run is calling. Set by the egress gateway, which removes what a sandbox sends under this name.
pub(crate) const RUN_TOKEN: &str = "creto-run-token";
/// The console's session cookie.
pub(super) const SESSION_COOKIE: &str = "creto_session";
const CSRF_HEADER: &str = "x-csrf-token";

#[derive(Debug, thiserror::Error)]
enum AuthError {
    #[error("the local socket answers its owner only")]
    NotTheOwner,
    #[error("`{0}` is not an active human of this tenant")]
    NoSuchHuman(String),
    #[error("the run has ended, and its identity with it")]
    RunEnded,
    #[error("the request's body is larger than {BODY_BYTES_MAX} bytes or broke off")]
    Body,
    #[error("`{0}` is not a name of this server, so a signature for it is not for us")]
    ForeignHost(String),
}

impl Coded for AuthError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotTheOwner => ErrorCode::new("app.not_the_owner"),
            Self::NoSuchHuman(_) => ErrorCode::new("app.no_such_human"),
            Self::RunEnded => ErrorCode::new("app.run_ended"),
            Self::Body => ErrorCode::new("app.body"),
            Self::ForeignHost(_) => ErrorCode::new("app.foreign_host"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotTheOwner | Self::RunEnded | Self::ForeignHost(_) => Kind::Unauthenticated,
            Self::NoSuchHuman(_) => Kind::NotFound,
            Self::Body => Kind::TooLarge,
        }
    }
}

/// Puts the caller into the request. A request without a credential goes on as nobody, and the endpoint's access rule decides; one whose
/// credential is not good stops here, because whoever sends a credential means it.
pub(super) async fn authenticate(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    match identify(&auth, request).await {
        Ok((mut request, caller)) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn identify(auth: &Auth, request: Request) -> Result<(Request, Option<Caller>), Problem> {
    let headers = request.headers();
    match auth.channel {
        Channel::Sandbox => {
            let token = text(headers, RUN_TOKEN).unwrap_or_default();
            let (run, chain) = auth.runs.find(token).ok_or(AuthError::RunEnded)?;
            let chain = auth.house.gate.standing(&chain).await?;
            Ok((request, Some(Caller(Principal::in_sandbox(chain), Some(run)))))
        }
        Channel::Local => {
            let peer = request.extensions().get::<ConnectInfo<Peer>>().and_then(|info| info.0.uid);
            let ours = rustix::process::geteuid().as_raw();
            if peer != Some(ours) {
                return Err(AuthError::NotTheOwner.into());
            }
            let human = local_human(&auth.house, text(headers, ACT_AS))?;
            let principal = Principal::local(human, Roles::OPERATOR_AND_APPROVER)?;
            Ok((request, Some(Caller(principal, None))))
        }
        Channel::Network => {
            let (request, principal) = from_network(auth, request).await?;
            Ok((request, principal.map(|principal| Caller(principal, None))))
        }
    }
}

async fn from_network(auth: &Auth, request: Request) -> Result<(Request, Option<Principal>), Problem> {
    let house = &*auth.house;
    let headers = request.headers();
    if let Some(bearer) = text(headers, header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer ")) {
        let principal = house.credentials.authenticate_bearer(bearer.trim()).await?;
        return Ok((request, Some(principal)));
    }
    if headers.contains_key("signature-input") {
        return signed(auth, request).await;
    }
    let Some(cookie) = session_cookie(headers) else { return Ok((request, None)) };
    if request.uri().path() == "/v1/session" || request.uri().path().starts_with("/v1/session/") {
        // Signing in and out handle the cookie themselves: an expired one must not keep anybody from signing in.
        return Ok((request, None));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        house.credentials.check_csrf(&cookie, text(headers, CSRF_HEADER).unwrap_or_default())?;
    }
    let principal = house.credentials.authenticate_session(&cookie).await?;
    Ok((request, Some(principal)))
}

/// A chain token with a signed request (RFC 9421): the signature covers the body, so the body is read first.
async fn signed(auth: &Auth, request: Request) -> Result<(Request, Option<Principal>), Problem> {
    let (parts, body) = request.into_parts();
    let body: Bytes = http_body_util::Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| AuthError::Body)?.to_bytes();
    let headers = &parts.headers;
    let host = text(headers, "host").unwrap_or_default();
    if !auth.names.has(host) {
        return Err(AuthError::ForeignHost(host.to_owned()).into());
    }
    let covered = RequestParts {
        method: parts.method.as_str(),
        authority: host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        body: Digest::of(&body),
        authorization: text(headers, "authorization").unwrap_or_default(),
        content_digest: text(headers, "content-digest").unwrap_or_default(),
        signature_input: text(headers, "signature-input").unwrap_or_default(),
        signature: text(headers, "signature").unwrap_or_default(),
    };
    let principal = auth.house.credentials.authenticate_request(&covered).await?;
    Ok((Request::from_parts(parts, Body::from(body)), Some(principal)))
}

fn local_human(house: &House, wanted: Option<&str>) -> Result<NhiId, AuthError> {
    let name = wanted.unwrap_or_else(|| house.human.name());
    let unknown = || AuthError::NoSuchHuman(name.chars().take(80).collect());
    let id = NhiId::new(house.authority.trust_domain(), &house.tenant, NhiKind::Human, name).map_err(|_| unknown())?;
    match house.authority.identity(&id) {
        Ok(identity) if identity.status == Status::Active => Ok(id),
        _ => Err(unknown()),
    }
}

pub(super) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    cookie(headers, SESSION_COOKIE)
}

/// The value of a cookie.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = text(headers, header::COOKIE.as_str())?;
    cookies.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|(found, _)| *found == name).map(|(_, v)| v.to_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
