//! What usage costs, without billing it: the period under way as the lines an invoice of it would have, and billed periods as they were.

use creto_kernel::{TenantId, Timestamp};

use super::drafting::terms;
use super::{Billing, store};
use crate::catalog::SubscriptionView;
use crate::core::{bill, invoicing};
use crate::error::MeteringError;
use crate::model::entry::DefinitionId;
use crate::model::invoice::{Fee, FeeKind, InvoiceId, Sums};
use crate::model::page::{Listed, Page};
use crate::service::drafting::charge_period;
use crate::store::fees;

/// The usage of one billed period.
#[derive(Debug)]
pub struct PastUsage {
    /// The subscription, as it is now.
    pub view: SubscriptionView,
    /// Where the period begins.
    pub from: Timestamp,
    /// Where it ends, that moment not included.
    pub to: Timestamp,
    /// The invoice it is on.
    pub invoice: InvoiceId,
    /// Its lines of usage.
    pub fees: Vec<Fee>,
}

impl Billing {
    /// Usage of the period that `at` is in, as the lines that an invoice of it would have now, with their taxes and without coupons;
    /// their sums; and where the period begins and ends, the latter not included.
    pub async fn usage_so_far(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        at: Timestamp,
    ) -> Result<(Vec<Fee>, Sums, (Timestamp, Timestamp)), MeteringError> {
        let period = charge_period(view, at);
        let (from, to) = (period.from(&view.zone), period.to_exclusive(&view.zone));
        let used = self.usage.used(tenant, view, from, to).await?;
        let taxes = self.taxes(tenant).await?;
        let mut fees = bill::usage_lines(&terms(view, &taxes), &used, (from, to))?;
        let built = invoicing::build(&mut fees, 0, &[]).ok_or_else(super::drafting::too_large)?;
        Ok((fees, built.sums, (from, to)))
    }

    /// A page of the billed periods of a customer's subscription, newest first, with their usage.
    pub async fn past_usage(
        &self,
        tenant: &TenantId,
        customer: DefinitionId,
        external_id: &str,
        page: Page,
    ) -> Result<Listed<PastUsage>, MeteringError> {
        let periods = store::past_periods(&self.db, tenant, customer, external_id, page).await?;
        let mut past = Vec::with_capacity(periods.items.len());
        for period in &periods.items {
            let mut fees = fees::of_invoice(&self.db, tenant, period.invoice).await?;
            fees.retain(|fee| fee.kind == FeeKind::Charge && fee.subscription == Some(period.subscription));
            let view = self.catalog.view_of(tenant, period.subscription).await?;
            past.push(PastUsage { view, from: period.from, to: period.to, invoice: period.invoice, fees });
        }
        Ok(periods.with(past))
    }

    /// What was billed for usage of every subscription of an external identifier, on invoices that stand.
    pub async fn billed_usage_cents(&self, tenant: &TenantId, external_id: &str) -> Result<i64, MeteringError> {
        let mut sum = 0_i64;
        for view in self.catalog.reader(tenant).await?.history(external_id).await?.iter() {
            let fees = fees::of_usage(&self.db, tenant, view.subscription.id).await?;
            let cents = fees.iter().filter(|(_, _, fee)| fee.kind != FeeKind::Subscription).map(|(_, _, fee)| fee.amount_cents);
            sum = cents.fold(sum, i64::saturating_add);
        }
        Ok(sum)
    }
}
