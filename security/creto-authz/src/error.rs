//! What can go wrong besides a deny.

use creto_db::DbError;
use creto_kernel::{Coded, ErrorCode, Kind};

/// An error of policies or their store.
#[derive(Debug, thiserror::Error)]
pub enum AuthzError {
    /// Not Cedar.
    #[error("the policy does not parse: {0}")]
    PolicySyntax(String),
    /// Cedar, but not valid here: a type error, a missing `@id`, an unknown action.
    #[error("the policy is not valid: {0}")]
    PolicyInvalid(String),
    /// A named limit was passed.
    #[error("the policy has {actual} {unit}, more than the {limit} allowed")]
    PolicyTooLarge {
        /// How many.
        actual: usize,
        /// The limit.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// Somebody else published meanwhile.
    #[error("the policy was based on version {based_on}, but version {current} is in force")]
    PublishConflict {
        /// What the author had seen.
        based_on: u64,
        /// What is there.
        current: u64,
    },
    /// A caller sent a name that only the server sets.
    #[error("context field `{0}` is set by the server and cannot be sent")]
    ContextReserved(String),
    /// Malformed context.
    #[error("the context is not valid: {0}")]
    ContextInvalid(String),
    /// A stored version cannot be read back.
    #[error("a stored policy version is damaged: {0}")]
    StoreDamaged(String),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Coded for AuthzError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::PolicySyntax(_) => ErrorCode::new("authz.policy_syntax"),
            Self::PolicyInvalid(_) => ErrorCode::new("authz.policy_invalid"),
            Self::PolicyTooLarge { .. } => ErrorCode::new("authz.policy_too_large"),
            Self::PublishConflict { .. } => ErrorCode::new("authz.publish_conflict"),
            Self::ContextReserved(_) => ErrorCode::new("authz.context_reserved"),
            Self::ContextInvalid(_) => ErrorCode::new("authz.context_invalid"),
            Self::StoreDamaged(_) => ErrorCode::new("authz.store_damaged"),
            Self::Db(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::PolicySyntax(_) | Self::PolicyInvalid(_) | Self::ContextReserved(_) | Self::ContextInvalid(_) => Kind::Invalid,
            Self::PolicyTooLarge { .. } => Kind::TooLarge,
            Self::PublishConflict { .. } => Kind::Conflict,
            Self::StoreDamaged(_) => Kind::Internal,
            Self::Db(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::PublishConflict { .. } => Some("read the version in force, apply your change to it, and publish again".to_owned()),
            Self::ContextReserved(_) => Some("leave the field out; an approval is looked up by the action's digest".to_owned()),
            Self::Db(error) => error.hint(),
            _ => None,
        }
    }
}
