//! What handlers take: the authenticated caller and strict JSON bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use creto_kernel::canonical::{CanonicalError, LIMITS_DEFAULT, parse_as};
use creto_kernel::id::RunId;
use creto_kernel::{Coded, ErrorCode, Kind};
use creto_nhi::{Principal, VerifiedChain};
use serde::de::DeserializeOwned;

use crate::gate::Acting;
use crate::http::problem::Problem;

/// Why a request was refused before any product saw it.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No credential, or one that proves nothing.
    #[error("the request proves no identity")]
    Unauthenticated,
    /// The caller's roles do not reach this endpoint.
    #[error("`{who}` may not call this endpoint: it needs {needs}")]
    Forbidden {
        /// Who called.
        who: String,
        /// What the endpoint asks for.
        needs: &'static str,
    },
    /// The caller acts for itself; this endpoint needs a delegation chain.
    #[error("this endpoint acts under a delegation chain, and the credential carries none")]
    NoChain,
    /// The body is not what the endpoint takes.
    #[error("{0}")]
    Body(String),
    /// The path or the query is not what the endpoint takes.
    #[error("{0}")]
    Address(String),
    /// The body is larger than allowed.
    #[error("{0}")]
    BodyTooLarge(String),
    /// A path, or a method of it, that a compatible API does not have here.
    #[error("there is no `{0}` here")]
    NoRoute(String),
}

impl Coded for HttpError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unauthenticated => ErrorCode::new("http.unauthenticated"),
            Self::Forbidden { .. } => ErrorCode::new("http.forbidden"),
            Self::NoChain => ErrorCode::new("http.no_chain"),
            Self::Body(_) => ErrorCode::new("http.bad_body"),
            Self::Address(_) => ErrorCode::new("http.bad_address"),
            Self::BodyTooLarge(_) => ErrorCode::new("http.body_too_large"),
            Self::NoRoute(_) => ErrorCode::new("http.no_route"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Unauthenticated => Kind::Unauthenticated,
            Self::Forbidden { .. } | Self::NoChain => Kind::Denied,
            Self::Body(_) | Self::Address(_) => Kind::Invalid,
            Self::BodyTooLarge(_) => Kind::TooLarge,
            Self::NoRoute(_) => Kind::NotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthenticated => Some("send `Authorization: Bearer <token>`; `creto key create` makes one".to_owned()),
            Self::Forbidden { .. } => Some("use a credential with that role; `creto key create --role …` makes one".to_owned()),
            Self::NoChain => Some("call with an agent's key or chain token".to_owned()),
            Self::Address(_) | Self::NoRoute(_) => Some("`GET /openapi.json` lists what each path and query takes".to_owned()),
            Self::Body(_) | Self::BodyTooLarge(_) => None,
        }
    }
}

/// The authenticated caller, put into the request by the server's authentication layer; with the run it calls from, where the request
/// came out of a sandbox.
#[derive(Debug, Clone)]
pub struct Caller(pub Principal, pub Option<RunId>);

impl Caller {
    /// The chain the caller acts under; refused where there is none.
    pub fn chain(&self) -> Result<&VerifiedChain, HttpError> {
        self.0.chain.as_ref().ok_or(HttpError::NoChain)
    }

    /// The chain and the run the caller acts under; refused where there is no chain.
    pub fn acting(&self) -> Result<Acting<'_>, HttpError> {
        Ok(Acting { chain: self.chain()?, run: self.1 })
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| HttpError::Unauthenticated.into())
    }
}

/// A body that is strict JSON (RFC 7493) and nothing else; an unknown field is refused by its name.
#[derive(Debug)]
pub struct StrictJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for StrictJson<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e| {
            if e.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                HttpError::BodyTooLarge(format!("the body is larger than the {} bytes allowed", LIMITS_DEFAULT.bytes_max))
            } else {
                HttpError::Body(e.to_string())
            }
        })?;
        let value = parse_as(&bytes, LIMITS_DEFAULT).map_err(|e| match e {
            CanonicalError::TooLarge { .. } => HttpError::BodyTooLarge(e.to_string()),
            other => HttpError::Body(other.to_string()),
        })?;
        Ok(Self(value))
    }
}
