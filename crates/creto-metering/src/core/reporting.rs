//! Who may report usage for a subscription.

use creto_kernel::NhiId;
use creto_nhi::VerifiedChain;

/// What stands for everybody of the tenant.
pub const ANYBODY: &str = "*";

/// The name an identity has in a list of reporters: `agent/researcher`.
#[must_use]
pub fn name_of(identity: &NhiId) -> String {
    format!("{}/{}", identity.kind().as_str(), identity.name())
}

/// What is known of a subscription when somebody reports for it.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Its external identifier.
    pub subscription: &'a str,
    /// The customer's external identifier, where the catalog has the subscription.
    pub customer: Option<&'a str>,
    /// Who may report besides its owner.
    pub reporters: &'a [String],
}

impl Bound<'_> {
    /// Whether what happens under this chain may be reported for the subscription: it is the root's own, or its customer's own, or
    /// somebody on the chain is a reporter. Who is on the chain above the agent has lent it the authority.
    #[must_use]
    pub fn admits(&self, chain: &VerifiedChain) -> bool {
        let root = chain.root().name();
        self.is_own(root) || self.lists(ANYBODY) || chain.hops().iter().any(|hop| self.lists(&name_of(&hop.identity)))
    }

    /// The same of a chain that was verified before: its identities, the root first.
    #[must_use]
    pub fn admits_path<'a>(&self, path: impl IntoIterator<Item = &'a NhiId>) -> bool {
        let mut path = path.into_iter().peekable();
        path.peek().is_some_and(|root| self.is_own(root.name()))
            || self.lists(ANYBODY)
            || path.any(|identity| self.lists(&name_of(identity)))
    }

    fn is_own(&self, root: &str) -> bool {
        self.subscription == root || self.customer == Some(root)
    }

    fn lists(&self, name: &str) -> bool {
        self.reporters.iter().any(|reporter| reporter == name)
    }
}
