//! The three outcomes.

use std::fmt;
use std::sync::Arc;

use creto_kernel::{Coded, ErrorCode, Kind};
use serde::{Serialize, Serializer};

/// The text of an `@oversight("…")` annotation: which rule asks for a human.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(Arc<str>);

/// Longest rule name, in bytes.
pub(crate) const RULE_BYTES_MAX: usize = 64;

impl RuleId {
    /// A rule by its name: 1 to 64 of letters, digits, `.`, `-` and `_`; `None` for anything else.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty()
            && name.len() <= RULE_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        fits.then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleId({self})")
    }
}

impl Serialize for RuleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It may happen.
    Allow,
    /// It may not.
    Deny(DenyReason),
    /// It may once a human approved it under this rule.
    RequiresOversight(RuleId),
}

impl Decision {
    /// The word for leaves, tables and JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::RequiresOversight(_) => "requires_oversight",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Deny(reason) => write!(f, "deny ({})", reason.code()),
            Self::RequiresOversight(rule) => write!(f, "requires oversight by rule `{rule}`"),
        }
    }
}

/// Why it may not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, thiserror::Error)]
pub enum DenyReason {
    /// The chain has expired.
    #[error("the delegation chain has expired")]
    GrantExpired,
    /// Something was revoked since the chain was verified; verify it again.
    #[error("the delegation chain was verified before the latest revocation and must be verified again")]
    ChainStale,
    /// The chain's effective grant does not cover the action on the resource.
    #[error("the delegation chain does not grant this action on this resource")]
    NotGranted,
    /// The resource belongs to another tenant.
    #[error("the resource belongs to another tenant")]
    CrossTenant,
    /// No policy permits it.
    #[error("no policy permits it")]
    NoPermit,
    /// A policy forbids it, and no approval would change that.
    #[error("a policy forbids it")]
    Forbidden,
    /// A policy could not be evaluated; Cedar would skip it, we deny.
    #[error("a policy could not be evaluated for this request")]
    EvaluationError,
    /// The tenant's stored policy does not compile with this version of the program.
    #[error("the tenant's stored policy cannot be used")]
    PolicyUnusable,
}

impl Coded for DenyReason {
    fn code(&self) -> ErrorCode {
        match self {
            Self::GrantExpired => ErrorCode::new("authz.grant_expired"),
            Self::ChainStale => ErrorCode::new("authz.chain_stale"),
            Self::NotGranted => ErrorCode::new("authz.not_granted"),
            Self::CrossTenant => ErrorCode::new("authz.cross_tenant"),
            Self::NoPermit => ErrorCode::new("authz.no_permit"),
            Self::Forbidden => ErrorCode::new("authz.forbidden"),
            Self::EvaluationError => ErrorCode::new("authz.evaluation_error"),
            Self::PolicyUnusable => ErrorCode::new("authz.policy_unusable"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::GrantExpired | Self::ChainStale => Kind::Unauthenticated,
            _ => Kind::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_names_are_words() {
        assert_eq!(RuleId::new("finance.large-payment_2").unwrap().as_str(), "finance.large-payment_2");
        for bad in ["", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(RuleId::new(bad).is_none(), "{bad}");
        }
    }
}
