//! Where billing learns what was used.

use std::collections::BTreeMap;

use creto_kernel::{TenantId, Timestamp};
use futures::future::BoxFuture;

use crate::catalog::SubscriptionView;
use crate::core::exact::Exact;
use crate::error::MeteringError;
use crate::model::invoice::EventRange;

/// What one charge used in one period, in one filter and group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeUsage {
    /// The charge's code.
    pub charge: String,
    /// Its filter, by its place; none where no filter matched.
    pub filter: Option<usize>,
    /// What it is grouped by; events without the property are a group too.
    pub group: BTreeMap<String, Option<String>>,
    /// Units, as they are billed.
    pub units: Exact,
    /// Events.
    pub events: u64,
    /// What they cost, in units of the currency, not rounded.
    pub amount: Exact,
    /// What stands behind it.
    pub proof: EventRange,
}

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
