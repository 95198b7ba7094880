//! How webhooks fail.

use creto_crypto::CryptoError;
use creto_db::DbError;
use creto_kernel::{Coded, ErrorCode, Kind};

use crate::outbound::OutboundError;

/// How a webhook request fails.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is no such endpoint in the caller's tenant.
    #[error("there is no webhook endpoint `{0}`")]
    UnknownEndpoint(String),
    /// An event type is not one.
    #[error("{0}")]
    BadEvent(String),
    /// The tenant has as many endpoints as one may have.
    #[error("the tenant has {0} webhook endpoints, and no more are kept")]
    TooMany(usize),
    /// The address is none, or leads where the server does not go.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The database failed, or the row is not there.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A stored value is not what was stored.
    #[error("a stored webhook is damaged: {0}")]
    Stored(String),
}

impl Coded for WebhookError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownEndpoint(_) => ErrorCode::new("webhook.unknown_endpoint"),
            Self::BadEvent(_) => ErrorCode::new("webhook.bad_event"),
            Self::TooMany(_) => ErrorCode::new("webhook.too_many"),
            Self::Stored(_) => ErrorCode::new("webhook.stored"),
            Self::Outbound(error) => error.code(),
            Self::Crypto(error) => error.code(),
            Self::Db(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::UnknownEndpoint(_) => Kind::NotFound,
            Self::BadEvent(_) => Kind::Invalid,
            Self::TooMany(_) => Kind::Limited,
            Self::Stored(_) => Kind::Internal,
            Self::Outbound(error) => error.kind(),
            Self::Crypto(error) => error.kind(),
            // A row that is not there is how a step of another tenant's identifier fails.
            Self::Db(DbError::Conflict { code, .. })
                if *code == super::store::UNKNOWN_ENDPOINT || *code == super::store::UNKNOWN_DELIVERY =>
            {
                Kind::NotFound
            }
            Self::Db(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Outbound(error) => error.hint(),
            Self::TooMany(_) => Some("remove one with `creto webhooks remove ID`".to_owned()),
            _ => None,
        }
    }
}
