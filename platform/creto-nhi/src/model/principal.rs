//! Who a request speaks for, once a credential was checked.

use std::fmt;
use std::str::FromStr;

use creto_crypto::KeyId;
use creto_kernel::id::CredentialId;
use creto_kernel::{NhiId, NhiKind, TenantId};

use crate::error::NhiError;
use crate::model::chain::VerifiedChain;

/// What a credential is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Runs the server: policies, keys, budgets. A human or a service.
    Operator,
    /// Answers approval requests. Only a human.
    Approver,
    /// Acts under a delegation chain. Only an agent.
    Agent,
    /// Hands in mails that answer ours. Only a service.
    Mail,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Approver, Self::Agent, Self::Mail];

    /// The word in tokens, commands and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Agent => "agent",
            Self::Mail => "mail",
        }
    }

    /// Whether an identity of `kind` may ever hold a credential with this role.
    #[must_use]
    pub const fn fits(self, kind: NhiKind) -> bool {
        matches!(
            (self, kind),
            (Self::Operator, NhiKind::Human | NhiKind::Service)
                | (Self::Approver, NhiKind::Human)
                | (Self::Agent, NhiKind::Agent)
                | (Self::Mail, NhiKind::Service)
        )
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a role: write operator, approver, agent or mail"))
    }
}

/// The roles of a request.
///
/// INVARIANT: whoever has the role of an agent, or of a mail server, has no other: there is no value that says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles(Held);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Agent,
    Mail,
    Staff { operator: bool, approver: bool },
}

impl Roles {
    /// The role of an agent, and no other.
    pub const AGENT: Self = Self(Held::Agent);
    /// Both roles of a person.
    pub const OPERATOR_AND_APPROVER: Self = Self(Held::Staff { operator: true, approver: true });

    /// One role.
    #[must_use]
    pub const fn only(role: Role) -> Self {
        match role {
            Role::Agent => Self::AGENT,
            Role::Mail => Self(Held::Mail),
            Role::Operator => Self(Held::Staff { operator: true, approver: false }),
            Role::Approver => Self(Held::Staff { operator: false, approver: true }),
        }
    }

    /// Whether `role` is among them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        match (self.0, role) {
            (Held::Agent, Role::Agent) | (Held::Mail, Role::Mail) => true,
            (Held::Staff { operator, .. }, Role::Operator) => operator,
            (Held::Staff { approver, .. }, Role::Approver) => approver,
            _ => false,
        }
    }

    /// Refuses roles that an identity of `kind` can never have.
    pub fn fit(self, kind: NhiKind) -> Result<Self, NhiError> {
        match Role::ALL.into_iter().find(|role| self.has(*role) && !role.fits(kind)) {
            Some(role) => Err(NhiError::RoleRefused { role, kind }),
            None => Ok(self),
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = Role::ALL.into_iter().filter(|role| self.has(*role)).map(Role::as_str).collect();
        f.write_str(&words.join("+"))
    }
}

impl FromStr for Roles {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "operator+approver" => Ok(Self::OPERATOR_AND_APPROVER),
            one => one.parse().map(Self::only),
        }
    }
}

/// How a request proved who it speaks for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AuthMethod {
    /// A bearer key.
    ApiKey(CredentialId),
    /// A chain token and a request signature by this key of the acting identity.
    Proof(KeyId),
    /// A person's login session.
    Session(CredentialId),
    /// A channel that proved it: a chat service whose account is linked, an identity provider. Its word.
    Channel(&'static str),
    /// The operating system: a connection to the owner's local socket.
    LocalSocket,
    /// The connection itself, made by the server for one sandbox.
    Sandbox,
}

impl AuthMethod {
    /// The word in leaves, receipts and answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "api_key",
            Self::Proof(_) => "proof_of_possession",
            Self::Session(_) => "session",
            Self::Channel(word) => word,
            Self::LocalSocket => "local_socket",
            Self::Sandbox => "sandbox",
        }
    }
}

/// Who a request speaks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Principal {
    /// Who acts.
    pub identity: NhiId,
    /// In which roles.
    pub roles: Roles,
    /// Under which delegation; `None` for a person or a service that acts for itself ([`crate::Authority::direct`] makes its chain).
    pub chain: Option<VerifiedChain>,
    /// How it was proved.
    pub how: AuthMethod,
}

impl Principal {
    pub(crate) fn staff(identity: NhiId, roles: Roles, how: AuthMethod) -> Result<Self, NhiError> {
        let roles = roles.fit(identity.kind())?;
        Ok(Self { identity, roles, chain: None, how })
    }

    pub(crate) fn agent(chain: VerifiedChain, how: AuthMethod) -> Self {
        Self { identity: chain.leaf().clone(), roles: Roles::AGENT, chain: Some(chain), how }
    }

    /// The person at this machine, who reached the server over its private local socket.
    pub fn local(human: NhiId, roles: Roles) -> Result<Self, NhiError> {
        Self::staff(human, roles, AuthMethod::LocalSocket)
    }

    /// The agent behind a connection that the server itself opened into one sandbox: it can be nobody else.
    #[must_use]
    pub fn in_sandbox(chain: VerifiedChain) -> Self {
        Self::agent(chain, AuthMethod::Sandbox)
    }

    /// Its tenant.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        self.identity.tenant()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_never_has_the_role_of_a_person() {
        for role in Role::ALL {
            assert_eq!(Roles::AGENT.has(role), role == Role::Agent);
            assert_eq!(Roles::only(role).fit(NhiKind::Agent).is_ok(), role == Role::Agent);
        }
        assert!(Roles::OPERATOR_AND_APPROVER.fit(NhiKind::Agent).is_err());
        assert!("agent+operator".parse::<Roles>().is_err());
        assert!("agent+approver".parse::<Roles>().is_err());
        assert!("mail+operator".parse::<Roles>().is_err());
        let agent: NhiId = "spiffe://creto.local/tenant/default/agent/a".parse().unwrap();
        assert!(Principal::local(agent, Roles::OPERATOR_AND_APPROVER).is_err());
    }

    #[test]
    fn only_a_human_approves() {
        assert!(Roles::only(Role::Approver).fit(NhiKind::Service).is_err());
        assert!(Roles::only(Role::Operator).fit(NhiKind::Service).is_ok());
        assert!(Roles::only(Role::Mail).fit(NhiKind::Service).is_ok());
        assert!(Roles::only(Role::Mail).fit(NhiKind::Human).is_err());
        assert!(Roles::OPERATOR_AND_APPROVER.fit(NhiKind::Human).is_ok());
    }

    #[test]
    fn roles_read_back() {
        for roles in Role::ALL.into_iter().map(Roles::only).chain([Roles::OPERATOR_AND_APPROVER]) {
            assert_eq!(roles.to_string().parse::<Roles>().unwrap(), roles);
        }
    }
}
