//! Requests that the server itself makes to addresses somebody configured: webhooks, chat services, identity providers.
//!
//! The order is what makes it safe: the name is resolved once, the addresses are judged ([`crate::address`]), and the connection goes
//! to the very address that was judged, so that a name which resolves differently a moment later changes nothing. Redirects are not
//! followed: the answer is returned as it is.
//!
//! INVARIANT: only public addresses over TLS, unless the installation's configuration names the place. No tenant can name one.

mod client;
mod target;

use std::path::PathBuf;

use creto_kernel::{Coded, ErrorCode, Kind};

pub use client::{Answer, Outbound, OutboundRequest};
pub use target::Target;

/// What an installation allows its own requests.
#[derive(Debug, Clone, Default)]
pub struct OutboundOptions {
    /// Places (`host` or `host:port`) that may be inside addresses and may be spoken to without TLS. Exact names only.
    pub allow: Vec<String>,
    /// A file of further certificate authorities, in PEM; the system's own always count.
    pub authorities: Option<PathBuf>,
}

/// How a request to somewhere else fails. Nothing was changed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The address is not one.
    #[error("{0}")]
    BadAddress(String),
    /// The address leads where the server does not go.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody answered, or not in time, or not in the protocol.
    #[error("{0}")]
    Unreachable(String),
    /// The certificate authorities cannot be read.
    #[error("the certificate authorities cannot be read: {0}")]
    Authorities(String),
}

impl Coded for OutboundError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::BadAddress(_) => ErrorCode::new("outbound.bad_address"),
            Self::Forbidden(_) => ErrorCode::new("outbound.forbidden"),
            Self::Unreachable(_) => ErrorCode::new("outbound.unreachable"),
            Self::Authorities(_) => ErrorCode::new("outbound.authorities"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::BadAddress(_) => Kind::Invalid,
            Self::Forbidden(_) => Kind::Denied,
            Self::Unreachable(_) | Self::Authorities(_) => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Forbidden(_) => Some("if it is meant, name the place in `outbound_allow` of the server's configuration".to_owned()),
            _ => None,
        }
    }
}
