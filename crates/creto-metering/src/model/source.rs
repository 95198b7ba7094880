//! Whom an event is booked to.

use creto_kernel::{Digest, NhiId};
use creto_nhi::VerifiedChain;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::account::{self, AccountRef};

/// What says that an event is of this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// The agent's own signed chain token came with the event.
    Token,
    /// Nothing but who called: the agent itself, or a collector for want of a token.
    Caller,
    /// The server measured it itself.
    Server,
}

impl Attribution {
    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Caller => "caller",
            Self::Server => "server",
        }
    }

    /// The attribution of a word.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        [Self::Token, Self::Caller, Self::Server].into_iter().find(|attribution| attribution.as_str() == text)
    }
}

/// A chain as events are booked to it: its accounts, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// SHA-256 over the chain as it was presented.
    pub chain: Digest,
    /// What says so.
    pub attribution: Attribution,
    /// Who used it.
    pub agent: NhiId,
    /// Tenant, root, then each link.
    pub accounts: Vec<AccountRef>,
}

impl Source {
    /// The source that a verified chain is.
    #[must_use]
    pub fn of(chain: &VerifiedChain, attribution: Attribution) -> Self {
        Self { chain: chain.digest(), attribution, agent: chain.leaf().clone(), accounts: account::of_chain(chain) }
    }

    /// The identities from the root to the acting one, as the ledger keeps them with each posting.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        self.accounts.iter().skip(1).map(|account| account.identity.as_str()).collect()
    }
}
