//! How oversight fails.

mod mail;

use creto_db::DbError;
use creto_enablement_common::Refusal;
use creto_kernel::{Coded, ErrorCode, Kind};
use creto_nhi::NhiError;

use crate::model::request::State;

pub use mail::MailError;

/// How an oversight request fails.
#[derive(Debug, thiserror::Error)]
pub enum OversightError {
    /// There is no such request in the caller's tenant.
    #[error("there is no request `{0}`")]
    UnknownRequest(String),
    /// There is no such group, delegation, grant, policy or checkpoint in the caller's tenant.
    #[error("there is no {what} `{id}`")]
    Unknown {
        /// What.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// The request is no longer pending.
    #[error("the request is `{}` and can no longer be decided", .0.as_str())]
    AlreadyDecided(State),
    /// The request's deadline has passed.
    #[error("the request's deadline has passed")]
    DeadlinePassed,
    /// Only a human with the role `approver` decides.
    #[error("`{0}` may not decide: only a human with the role `approver` does")]
    NotAnApprover(String),
    /// The human is not among those whom this request needs, or may not act now.
    #[error("{0}")]
    NotEligible(String),
    /// The human asked for it, owns it, is in its chain, edited it, or broke the glass that is reviewed.
    #[error("`{0}` may not decide this: they asked for it, are in its chain, edited it, or broke its glass")]
    SeparationOfDuties(String),
    /// The glass is that of a request which the human asked for, is in the chain of, or edited.
    #[error("`{0}` may not break this glass: they are in the request's own chain, or edited it")]
    OwnGlass(String),
    /// The seat has voted, or the review was made.
    #[error("the vote of `{0}` is in already")]
    AlreadyVoted(String),
    /// Somebody else takes care of it.
    #[error("`{0}` takes care of it already")]
    AlreadyAcknowledged(String),
    /// The decision names another action than the one that is asked about.
    #[error("the decision was made for another action: the request's digest is {actual}, the decision's is {sent}")]
    DigestMismatch {
        /// The request's.
        actual: String,
        /// The decision's.
        sent: String,
    },
    /// Some of the action is hidden from the voter, and the approval does not name what they were shown.
    #[error("some of this action is hidden from you: the approval must name, as `shown`, the SHA-256 of the view you were given")]
    ShownMismatch,
    /// The decision was made for another revision.
    #[error("the decision was made for revision {sent}, and the request is at revision {actual}")]
    WrongRevision {
        /// The request's.
        actual: u32,
        /// The decision's.
        sent: u32,
    },
    /// A question is answered, an approval is voted on.
    #[error("a question is answered and an approval is voted on, not the other way round")]
    WrongKind,
    /// What is at stake needs a key that the human alone holds.
    #[error("this request is approved with a passkey, and with nothing less")]
    StrongerProofNeeded,
    /// The approval is not there to be used.
    #[error("{0}")]
    NotApproved(&'static str),
    /// The agent does what it asked, so what it asked cannot be changed.
    #[error("this request cannot be edited: its agent does exactly what it asked for")]
    NotEditable,
    /// The new arguments are not such that the tool or policy takes them.
    #[error("{0}")]
    BadEdit(String),
    /// A field is not what it must be.
    #[error("{0}")]
    BadInput(String),
    /// A policy document could never be met, never end, or is malformed.
    #[error("{0}")]
    BadPolicy(String),
    /// A delegation would go round in a circle, or has no time.
    #[error("{0}")]
    BadDelegation(String),
    /// A decision in a batch must be made alone.
    #[error("{0}")]
    NotInBatch(String),
    /// The same call was made before with something else.
    #[error("the call `{0}` was made before with another action")]
    CallConflict(String),
    /// The agent has as many requests waiting as it may.
    #[error("{0} requests of this agent wait already")]
    TooManyPending(u32),
    /// Whoever broke the glass must have it looked at before breaking another.
    #[error("a glass that was broken before waits for its review")]
    ReviewOverdue,
    /// The action is larger than a human could read.
    #[error("the action has {bytes} bytes; a human is asked about at most {limit}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A legal hold keeps it.
    #[error("a legal hold keeps `{0}`")]
    LegalHold(String),
    /// A checkpoint is not the next one, is another agent's, or was changed.
    #[error("{0}")]
    BadCheckpoint(String),
    /// A receipt does not prove what it says.
    #[error("{0}")]
    BadReceipt(String),
    /// A bundle does not prove what it says, or lacks what it must have.
    #[error("{0}")]
    BadBundle(String),
    /// A bundle would hold more than one may.
    #[error("{0}")]
    BundleTooLarge(String),
    /// As many bundles as may be are being made.
    #[error("{0} bundles are being made, which is as many as may be at one time")]
    BundlesBusy(usize),
    /// What a bundle holds changed while it was made.
    #[error("what the bundle holds was changed while it was made")]
    BundleChanged,
    /// The database holds what was done in earnest.
    #[error("this installation is live: something was done in it that binds, so it cannot become one for tests")]
    Live,
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
    /// Somebody else was faster, again and again.
    #[error("the request changes faster than this could be written")]
    Busy,
    /// What is stored cannot be read.
    #[error("an oversight request cannot be read")]
    Unreadable,
    /// There is no such channel.
    #[error("this server has no channel `{0}`")]
    NoChannel(String),
    /// A callback that is not proved to come from the service.
    #[error("the callback was refused: {0}")]
    ForgedCallback(&'static str),
    /// Nobody here linked the account there, or who did may not decide any more.
    #[error("no approver of this server is linked to that account")]
    NotLinked,
    /// A linking code that is unknown, used or old.
    #[error("the code is not good: codes are for one use within ten minutes")]
    LinkCode,
    /// A mail's link that is for another person, request or revision, or too old.
    #[error("the mail's link is not good here: it is for another person, another request or an earlier revision, or too old")]
    MailToken,
    /// A mail that answers one of ours is not kept.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// Who somebody is could not be established.
    #[error(transparent)]
    Person(#[from] NhiError),
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
            Self::Unknown { .. } => ErrorCode::new("oversight.unknown"),
            Self::AlreadyDecided(_) => ErrorCode::new("oversight.already_decided"),
            Self::DeadlinePassed => ErrorCode::new("oversight.deadline_passed"),
            Self::NotAnApprover(_) => ErrorCode::new("oversight.not_an_approver"),
            Self::NotEligible(_) => ErrorCode::new("oversight.not_eligible"),
            Self::SeparationOfDuties(_) => ErrorCode::new("oversight.separation_of_duties"),
            Self::OwnGlass(_) => ErrorCode::new("oversight.own_glass"),
            Self::AlreadyVoted(_) => ErrorCode::new("oversight.already_voted"),
            Self::AlreadyAcknowledged(_) => ErrorCode::new("oversight.already_acknowledged"),
            Self::DigestMismatch { .. } => ErrorCode::new("oversight.digest_mismatch"),
            Self::ShownMismatch => ErrorCode::new("oversight.shown_mismatch"),
            Self::WrongRevision { .. } => ErrorCode::new("oversight.wrong_revision"),
            Self::WrongKind => ErrorCode::new("oversight.wrong_kind"),
            Self::StrongerProofNeeded => ErrorCode::new("oversight.stronger_proof_needed"),
            Self::NotApproved(_) => ErrorCode::new("oversight.not_approved"),
            Self::NotEditable => ErrorCode::new("oversight.not_editable"),
            Self::BadEdit(_) => ErrorCode::new("oversight.bad_edit"),
            Self::BadInput(_) => ErrorCode::new("oversight.bad_input"),
            Self::BadPolicy(_) => ErrorCode::new("oversight.bad_policy"),
            Self::BadDelegation(_) => ErrorCode::new("oversight.bad_delegation"),
            Self::NotInBatch(_) => ErrorCode::new("oversight.not_in_batch"),
            Self::CallConflict(_) => ErrorCode::new("oversight.call_conflict"),
            Self::TooManyPending(_) => ErrorCode::new("oversight.too_many_open"),
            Self::ReviewOverdue => ErrorCode::new("oversight.review_overdue"),
            Self::TooLarge { .. } => ErrorCode::new("oversight.too_large"),
            Self::LegalHold(_) => ErrorCode::new("oversight.legal_hold"),
            Self::BadCheckpoint(_) => ErrorCode::new("oversight.bad_checkpoint"),
            Self::BadReceipt(_) => ErrorCode::new("oversight.bad_receipt"),
            Self::BadBundle(_) => ErrorCode::new("oversight.bad_bundle"),
            Self::BundleTooLarge(_) => ErrorCode::new("oversight.bundle_too_large"),
            Self::BundlesBusy(_) => ErrorCode::new("oversight.bundles_busy"),
            Self::BundleChanged => ErrorCode::new("oversight.bundle_changed"),
            Self::Live => ErrorCode::new("oversight.live"),
            Self::CommentTooLong(_) => ErrorCode::new("oversight.comment_too_long"),
            Self::UnknownAdmission(_) => ErrorCode::new("oversight.unknown_admission"),
            Self::ReservedAction(_) => ErrorCode::new("oversight.reserved_action"),
            Self::BadAction(_) => ErrorCode::new("oversight.bad_action"),
            Self::Busy => ErrorCode::new("oversight.busy"),
            Self::Unreadable => ErrorCode::new("oversight.unreadable"),
            Self::NoChannel(_) => ErrorCode::new("oversight.no_channel"),
            Self::ForgedCallback(_) => ErrorCode::new("oversight.forged_callback"),
            Self::NotLinked => ErrorCode::new("oversight.not_linked"),
            Self::LinkCode => ErrorCode::new("oversight.link_code"),
            Self::MailToken => ErrorCode::new("oversight.mail_token"),
            Self::Mail(error) => error.code(),
            Self::Person(error) => error.code(),
            Self::Refused(refusal) => refusal.code(),
            Self::Db(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::UnknownRequest(_) | Self::Unknown { .. } | Self::UnknownAdmission(_) => Kind::NotFound,
            Self::AlreadyDecided(_)
            | Self::DeadlinePassed
            | Self::DigestMismatch { .. }
            | Self::ShownMismatch
            | Self::WrongRevision { .. }
            | Self::WrongKind
            | Self::AlreadyVoted(_)
            | Self::AlreadyAcknowledged(_)
            | Self::NotApproved(_)
            | Self::NotEditable
            | Self::CallConflict(_)
            | Self::ReviewOverdue
            | Self::LegalHold(_)
            | Self::Live
            | Self::BundleChanged
            | Self::BadCheckpoint(_) => Kind::Conflict,
            Self::NotAnApprover(_) | Self::NotEligible(_) | Self::SeparationOfDuties(_) | Self::OwnGlass(_) | Self::StrongerProofNeeded => {
                Kind::Denied
            }
            Self::CommentTooLong(_)
            | Self::BadAction(_)
            | Self::BadEdit(_)
            | Self::BadInput(_)
            | Self::BadPolicy(_)
            | Self::BadDelegation(_)
            | Self::BadReceipt(_)
            | Self::BadBundle(_)
            | Self::NotInBatch(_)
            | Self::ReservedAction(_) => Kind::Invalid,
            Self::TooManyPending(_) | Self::BundlesBusy(_) => Kind::Limited,
            Self::TooLarge { .. } | Self::BundleTooLarge(_) => Kind::TooLarge,
            Self::Busy => Kind::Unavailable,
            Self::Unreadable => Kind::Internal,
            Self::NoChannel(_) => Kind::NotFound,
            Self::ForgedCallback(_) => Kind::Unauthenticated,
            Self::NotLinked | Self::LinkCode | Self::MailToken => Kind::Denied,
            Self::Mail(error) => error.kind(),
            Self::Person(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
            Self::Db(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotAnApprover(_) => "sign in to the console, or use a key made with `creto key create --role approver`",
            Self::DigestMismatch { .. } | Self::ShownMismatch | Self::WrongRevision { .. } => {
                "read the request again and decide on what it shows now"
            }
            Self::SeparationOfDuties(_) => "ask somebody else; `GET /v1/oversight/requests/{id}` says who may decide",
            Self::OwnGlass(_) => "have it broken by an operator who is not among the request's `hops` and did not edit it",
            Self::StrongerProofNeeded => "decide in the console with a registered passkey",
            Self::BundleTooLarge(_) => "name a shorter time, or one agent, run or rule",
            Self::BundlesBusy(_) | Self::BundleChanged => "ask again in a moment",
            Self::Live => "begin a test installation in a data directory, and a database, of its own",
            Self::TooManyPending(_) => "decide or cancel some of them first",
            Self::ReviewOverdue => "ask another approver to review it: `POST /v1/oversight/requests/{id}/review`",
            Self::UnknownAdmission(_) => "after a restart the action is in doubt: see `creto doubts`",
            Self::ReservedAction(_) => "name it after your application, such as `tool.call` or `payments.transfer`",
            Self::Mail(error) => return error.hint(),
            Self::Refused(refusal) => return refusal.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
