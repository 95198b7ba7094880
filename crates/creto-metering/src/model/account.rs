//! Accounts: one for the tenant, one for the root of the chain, one for each link.

use creto_kernel::{Micros, NhiId};
use creto_nhi::VerifiedChain;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::raise::RaiseTerms;

/// One account that a chain's spending passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRef {
    /// `tenant`, `identity:<name>` or `link:<id>`; unique in its tenant.
    pub account: String,
    /// Whose.
    pub identity: NhiId,
    /// The ceiling the link was signed with.
    pub ceiling: Option<Micros>,
    /// The account of the hop before it: whatever passes this one passes that one too. The tenant's has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// The accounts of a chain, outermost first: tenant, root, then each link. Each hop below the root spends under the link it was given,
/// so that two delegations to the same agent have two budgets.
#[must_use]
pub fn of_chain(chain: &VerifiedChain) -> Vec<AccountRef> {
    let mut accounts = vec![AccountRef { account: "tenant".to_owned(), identity: chain.root().clone(), ceiling: None, parent: None }];
    for hop in chain.hops() {
        accounts.push(AccountRef {
            account: match hop.link {
                Some(link) => format!("link:{link}"),
                None => format!("identity:{}/{}", hop.identity.kind().as_str(), hop.identity.name()),
            },
            identity: hop.identity.clone(),
            ceiling: hop.budget,
            parent: accounts.last().map(|above| above.account.clone()),
        });
    }
    accounts
}

/// An account's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccountState {
    /// Its name.
    pub account: String,
    /// Whose, as a SPIFFE ID.
    pub identity: String,
    /// Most that may be spent and held; none where absent.
    #[schema(value_type = Option<String>)]
    pub ceiling: Option<Micros>,
    /// Spent so far, by this hop and everybody below it.
    #[schema(value_type = String)]
    pub spent: Micros,
    /// Held for actions that are under way.
    #[schema(value_type = String)]
    pub held: Micros,
    /// The currency of its ceiling and of what is spent: the budgets' of the tenant, once it has a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// How a human may be asked to raise the ceiling; nobody is asked where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_to_raise: Option<RaiseTerms>,
    /// The account it was delegated from: what is spent here is spent there too.
    pub parent: Option<String>,
    /// The name of those terms.
    #[serde(skip)]
    pub(crate) terms: Option<String>,
}

impl AccountState {
    /// What may still be held and spent; below zero where more was spent than the ceiling allows by now. No end where there is none.
    #[must_use]
    pub fn left(&self) -> i128 {
        let wide = |amount: Micros| i128::from(amount.get());
        self.ceiling.map_or(i128::from(i64::MAX), wide) - wide(self.spent) - wide(self.held)
    }
}
