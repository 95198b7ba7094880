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
        if self.subscription == root || self.customer == Some(root) {
            return true;
        }
        let listed = |name: &str| self.reporters.iter().any(|reporter| reporter == name);
        listed(ANYBODY) || chain.hops().iter().any(|hop| listed(&name_of(&hop.identity)))
    }
}
