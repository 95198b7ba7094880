//! How oversight fails.

use creto_db::DbError;
use creto_enablement_common::Refusal;
use creto_kernel::{Coded, ErrorCode, Kind};

use crate::model::request::State;

/// How an oversight request fails.
#[derive(Debug, thiserror::Error)]
pub enum OversightError {
    /// There is no such request in the caller's tenant.
    #[error("there is no request `{0}`")]
    UnknownRequest(String),
    /// The request is no longer pending.
    #[error("the request is `{}` and can no longer be decided", .0.as_str())]
    AlreadyDecided(State),
    /// The request's deadline has passed.
    #[error("the request's deadline has passed")]
    DeadlinePassed,
    /// Only a human with the role `approver` decides.
    #[error("`{0}` may not decide: only a human with the role `approver` does")]
    NotAnApprover(String),
    /// The decision names another action than the one that is asked about.
    #[error("the decision was made for another action: the request's digest is {actual}, the decision's is {sent}")]
    DigestMismatch {
        /// The request's.
        actual: String,
        /// The decision's.
        sent: String,
    },
    /// A comment is too long.
    #[error("the comment is longer than {0} bytes")]
    CommentTooLong(usize),
    /// The admission is unknown, settled, or another agent's.
    #[error("there is no admitted action `{0}` waiting for its outcome")]
    UnknownAdmission(String),
    /// The action is one that only the server does.
    #[error("`{0}` is an action of the server's own: it cannot be reported from outside")]
    ReservedAction(String),
    /// A field of an action is not what it must be.
    #[error("{0}")]
    BadAction(String),
    /// The Gate said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Coded for OversightError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownRequest(_) => ErrorCode::new("oversight.unknown_request"),
            Self::AlreadyDecided(_) => ErrorCode::new("oversight.already_decided"),
            Self::DeadlinePassed => ErrorCode::new("oversight.deadline_passed"),
            Self::NotAnApprover(_) => ErrorCode::new("oversight.not_an_approver"),
            Self::DigestMismatch { .. } => ErrorCode::new("oversight.digest_mismatch"),
            Self::CommentTooLong(_) => ErrorCode::new("oversight.comment_too_long"),
            Self::UnknownAdmission(_) => ErrorCode::new("oversight.unknown_admission"),
            Self::ReservedAction(_) => ErrorCode::new("oversight.reserved_action"),
            Self::BadAction(_) => ErrorCode::new("oversight.bad_action"),
            Self::Refused(refusal) => refusal.code(),
            Self::Db(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::UnknownRequest(_) | Self::UnknownAdmission(_) => Kind::NotFound,
            Self::AlreadyDecided(_) | Self::DeadlinePassed | Self::DigestMismatch { .. } => Kind::Conflict,
            Self::NotAnApprover(_) => Kind::Denied,
            Self::CommentTooLong(_) | Self::BadAction(_) | Self::ReservedAction(_) => Kind::Invalid,
            Self::Refused(refusal) => refusal.kind(),
            Self::Db(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotAnApprover(_) => Some("sign in to the console, or use a key made with `creto key create --role approver`".to_owned()),
            Self::DigestMismatch { .. } => Some("read the request again and decide on what it shows now".to_owned()),
            Self::UnknownAdmission(_) => Some("after a restart the action is in doubt: see `creto doubts`".to_owned()),
            Self::ReservedAction(_) => Some("name it after your application, such as `tool.call` or `payments.transfer`".to_owned()),
            Self::Refused(refusal) => refusal.hint(),
            _ => None,
        }
    }
}
