//! What an invoice names by an identifier: what is kept, and of a preview what is not.

use creto_kernel::TenantId;

use super::Lago;
use crate::billing::InvoicePreview;
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::entry::{Defined, DefinitionId};
use crate::model::invoice::{AppliedCoupon, AppliedCouponId};
use crate::model::subscription::SubscriptionId;

/// Looks up what an invoice names.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) lago: &'a Lago,
    pub(super) tenant: &'a TenantId,
    preview: Option<&'a InvoicePreview>,
}

impl<'a> Names<'a> {
    /// Of invoices that are kept.
    pub(super) const fn kept(lago: &'a Lago, tenant: &'a TenantId) -> Self {
        Self { lago, tenant, preview: None }
    }

    /// Of a preview.
    pub(super) const fn previewed(lago: &'a Lago, tenant: &'a TenantId, preview: &'a InvoicePreview) -> Self {
        Self { lago, tenant, preview: Some(preview) }
    }

    pub(super) async fn customer(self, id: DefinitionId) -> Result<Defined<Customer>, MeteringError> {
        match self.preview {
            Some(preview) => Ok(preview.customer.clone()),
            None => self.lago.catalog.by_id(self.tenant, id).await,
        }
    }

    /// The plan of a subscription.
    pub(super) async fn plan_of(self, id: SubscriptionId) -> Result<DefinitionId, MeteringError> {
        match self.preview.and_then(|preview| preview.plans.get(&id)) {
            Some(plan) => Ok(*plan),
            None => Ok(self.lago.catalog.subscription_by_id(self.tenant, id).await?.plan),
        }
    }

    pub(super) async fn coupon(self, id: AppliedCouponId) -> Result<AppliedCoupon, MeteringError> {
        match self.preview.and_then(|preview| preview.coupons.iter().find(|coupon| coupon.id == id)) {
            Some(coupon) => Ok(coupon.clone()),
            None => self.lago.billing.applied_coupon(self.tenant, id).await,
        }
    }
}
