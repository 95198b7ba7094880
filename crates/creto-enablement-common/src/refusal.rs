//! Why the Gate says no.

use creto_kernel::id::RequestId;
use creto_kernel::{Coded, ErrorCode, Kind};

/// A refusal: nothing was done and no money is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Policy, or the chain's own grant, says no.
    #[error("{message}")]
    Denied {
        /// Which part said no: the chain's grant, a policy, the Gate itself.
        code: ErrorCode,
        /// Which rule or grant.
        message: String,
        /// The exact command or policy line that would allow it.
        hint: Option<String>,
    },
    /// A human said no.
    #[error("`{by}` denied the request{}", comment.as_ref().map(|c| format!(": {c}")).unwrap_or_default())]
    DeniedByHuman {
        /// The request.
        request: RequestId,
        /// Who.
        by: String,
        /// What they said.
        comment: Option<String>,
    },
    /// Nobody decided in time.
    #[error("nobody decided request `{request}` in time")]
    NotDecided {
        /// The request.
        request: RequestId,
    },
    /// A budget on the chain has no room.
    #[error("{message}")]
    BudgetExceeded {
        /// Which account, how much is left, how much was asked.
        message: String,
    },
    /// A quota has no room.
    #[error("{message}")]
    QuotaExceeded {
        /// Which quota of whom, how much is left, how much was asked, until when.
        message: String,
        /// The quota's name, where it is known.
        quota: Option<String>,
    },
    /// A rate has no room.
    #[error("{message}")]
    RateLimited {
        /// Which limit.
        message: String,
    },
    /// The chain is no longer good: expired or revoked.
    #[error("{message}")]
    ChainInvalid {
        /// Why.
        message: String,
    },
    /// The tenant's log is too far behind: nothing is admitted that might go unproven.
    #[error("the audit log is {lag} entries behind, more than the {limit} allowed")]
    LogLagging {
        /// How far.
        lag: u64,
        /// The limit.
        limit: u64,
    },
    /// A port failed; nothing was changed.
    #[error("{message}")]
    Port {
        /// The owner's code.
        code: ErrorCode,
        /// What sort of failure.
        kind: Kind,
        /// What happened.
        message: String,
    },
}

impl Refusal {
    /// The Gate's own no.
    #[must_use]
    pub fn denied(message: impl Into<String>) -> Self {
        Self::Denied { code: ErrorCode::new("gate.denied"), message: message.into(), hint: None }
    }

    /// Any coded error of a port, as a refusal that keeps its code.
    #[must_use]
    pub fn port(error: &dyn Coded) -> Self {
        Self::Port { code: error.code(), kind: error.kind(), message: error.to_string() }
    }
}

impl Coded for Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Denied { code, .. } => *code,
            Self::DeniedByHuman { .. } => ErrorCode::new("gate.denied_by_human"),
            Self::NotDecided { .. } => ErrorCode::new("gate.not_decided"),
            Self::BudgetExceeded { .. } => ErrorCode::new("metering.budget_exceeded"),
            Self::QuotaExceeded { .. } => ErrorCode::new("metering.quota_exceeded"),
            Self::RateLimited { .. } => ErrorCode::new("metering.rate_limited"),
            Self::ChainInvalid { .. } => ErrorCode::new("gate.chain_invalid"),
            Self::LogLagging { .. } => ErrorCode::new("gate.log_lagging"),
            Self::Port { code, .. } => *code,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Denied { .. } | Self::DeniedByHuman { .. } | Self::NotDecided { .. } => Kind::Denied,
            Self::BudgetExceeded { .. } | Self::QuotaExceeded { .. } | Self::RateLimited { .. } => Kind::Limited,
            Self::ChainInvalid { .. } => Kind::Unauthenticated,
            Self::LogLagging { .. } => Kind::Unavailable,
            Self::Port { kind, .. } => *kind,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { hint, .. } => hint.clone(),
            Self::NotDecided { request } => {
                Some(format!("decide it with `creto approve {request}` or `creto deny {request}`, then try again"))
            }
            Self::BudgetExceeded { .. } => Some(
                "wait until held money is released, or raise the ceiling: `creto budgets` shows it, `creto budget set` sets it".to_owned(),
            ),
            Self::QuotaExceeded { quota: Some(quota), .. } => {
                Some(format!("wait for the next window, or raise it: `creto quota show {quota}` shows it, `creto quota set` sets it"))
            }
            Self::QuotaExceeded { quota: None, .. } => Some("`creto quota list` shows the quotas and what is left".to_owned()),
            Self::ChainInvalid { .. } => Some("ask the delegator for a new link".to_owned()),
            Self::LogLagging { .. } => Some("look at the server's log for the sequencer's error; it resumes by itself".to_owned()),
            _ => None,
        }
    }
}
