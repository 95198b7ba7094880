//! Where billing learns what was used.

use creto_kernel::{TenantId, Timestamp};
use futures::future::BoxFuture;

use crate::catalog::SubscriptionView;
pub use crate::core::bill::ChargeUsage;
use crate::error::MeteringError;

/// Tells what was used.
pub trait UsageSource: Send + Sync {
    /// Every charge's usage of a subscription from a moment until before another.
    fn used<'a>(
        &'a self,
        tenant: &'a TenantId,
        view: &'a SubscriptionView,
        from: Timestamp,
        to: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<ChargeUsage>, MeteringError>>;

    /// Whether an event from `from` until before `to` came in at or after `seen_to`, or was taken back then.
    fn is_late<'a>(
        &'a self,
        tenant: &'a TenantId,
        view: &'a SubscriptionView,
        from: Timestamp,
        to: Timestamp,
        seen_to: Timestamp,
    ) -> BoxFuture<'a, Result<bool, MeteringError>>;
}
