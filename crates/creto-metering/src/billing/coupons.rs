//! Coupons: redeemed by customers, and used up by invoices that become final.

use creto_db::{Sealed, Write};
use creto_kernel::{NhiId, TenantId, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Billing, store};
use crate::catalog::{canonical_text, check_currency, commit, event_leaf};
use crate::core::exact::Exact;
use crate::core::invoicing::{Built, Reduction};
use crate::error::MeteringError;
use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::definition::DefinitionError;
use crate::model::entry::{Defined, DefinitionId};
use crate::model::invoice::{AppliedCoupon, AppliedCouponId, Invoice, InvoiceCredit, InvoiceKind};
use crate::model::page::{Listed, PER_PAGE_MAX, Page};
use crate::model::tax::{Coupon, Discount, Frequency};

/// A customer redeems a coupon. Terms that are named take the place of the coupon's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CouponRedemption {
    /// Who redeems it.
    pub external_customer_id: String,
    /// Which.
    pub coupon_code: String,
    /// Another amount, in minor units.
    #[serde(default)]
    pub amount_cents: Option<i64>,
    /// Of that amount; the coupon's currency when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub amount_currency: Option<Currency>,
    /// Another percentage.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub percentage_rate: Option<Exact>,
    /// Another frequency.
    #[serde(default)]
    pub frequency: Option<Frequency>,
    /// To how many invoices, where it recurs.
    #[serde(default)]
    pub frequency_duration: Option<u32>,
}

impl CouponRedemption {
    /// The coupon under these terms, checked like any coupon. Its type stays.
    fn terms(&self, coupon: &Coupon) -> Result<Coupon, DefinitionError> {
        let mut coupon = coupon.clone();
        match &mut coupon.discount {
            Discount::Fixed { amount_cents, currency } => {
                if self.percentage_rate.is_some() {
                    return Err(DefinitionError::new("percentage_rate", "goes with a coupon of a percentage"));
                }
                *amount_cents = self.amount_cents.unwrap_or(*amount_cents);
                *currency = self.amount_currency.unwrap_or(*currency);
            }
            Discount::Percentage { rate } => {
                if self.amount_cents.is_some() || self.amount_currency.is_some() {
                    return Err(DefinitionError::new("amount_cents", "goes with a coupon of an amount"));
                }
                *rate = self.percentage_rate.clone().unwrap_or_else(|| rate.clone());
            }
        }
        if let Some(frequency) = self.frequency {
            (coupon.frequency, coupon.frequency_duration) = (frequency, self.frequency_duration);
        } else if self.frequency_duration.is_some() {
            coupon.frequency_duration = self.frequency_duration;
        }
        let again = serde_json::to_value(&coupon).and_then(serde_json::from_value);
        again.map_err(|e| DefinitionError::new("coupon", e.to_string()))
    }
}

/// A coupon as a customer redeems it.
pub(super) fn redeemed(
    coupon: Coupon,
    coupon_id: DefinitionId,
    customer: &Defined<Customer>,
    now: Timestamp,
) -> Result<AppliedCoupon, MeteringError> {
    if coupon.expiration_at.is_some_and(|at| at <= now) {
        return Err(MeteringError::WrongState(format!("the coupon `{}` is over", coupon.code)));
    }
    Ok(AppliedCoupon {
        id: AppliedCouponId::generate(),
        coupon_id,
        customer: customer.id,
        external_customer_id: customer.body.external_id.clone(),
        active: true,
        left_cents: match (&coupon.discount, coupon.frequency) {
            (Discount::Fixed { amount_cents, .. }, Frequency::Once) => Some(*amount_cents),
            _ => None,
        },
        left_times: match coupon.frequency {
            Frequency::Once => Some(1),
            Frequency::Recurring => coupon.frequency_duration,
            Frequency::Forever => None,
        },
        coupon,
        created_at: now,
        terminated_at: None,
        revision: 1,
    })
}

impl Billing {
    /// A customer redeems a coupon. What the coupon says is kept as it is now.
    pub async fn redeem(&self, by: &NhiId, external_customer_id: &str, coupon_code: &str) -> Result<AppliedCoupon, MeteringError> {
        let (external_customer_id, coupon_code) = (external_customer_id.to_owned(), coupon_code.to_owned());
        self.redeem_as(by, CouponRedemption { external_customer_id, coupon_code, ..CouponRedemption::default() }).await
    }

    /// A customer redeems a coupon under terms of his own, where any are named.
    pub async fn redeem_as(&self, by: &NhiId, redemption: CouponRedemption) -> Result<AppliedCoupon, MeteringError> {
        let tenant = by.tenant();
        let coupon_code = redemption.coupon_code.as_str();
        let customer = self.catalog.get::<Customer>(tenant, &redemption.external_customer_id).await?;
        let mut coupon = self.catalog.get::<Coupon>(tenant, coupon_code).await?;
        coupon.body = redemption.terms(&coupon.body)?;
        let now = self.now(tenant).await?;
        if let Discount::Fixed { currency, .. } = &coupon.body.discount {
            check_currency(&customer.body, *currency)?;
        }
        let before = store::coupons(&self.db, tenant, Some(customer.id), "", Page::new(1, PER_PAGE_MAX)).await?;
        if !coupon.body.reusable && before.items.iter().any(|it| it.coupon_id == coupon.id) {
            return Err(MeteringError::AlreadyExists { kind: "redeemed coupon", code: coupon_code.to_owned() });
        }
        let it = redeemed(coupon.body, coupon.id, &customer, now)?;
        let leaf =
            event_leaf(&*self.clock, by, "metering.redeem_coupon", &format!("customer:{}", customer.id))?.fact("coupon", it.coupon_id);
        commit(&self.db, Sealed::new(leaf).step(store::insert_coupon(tenant, &it, &canonical_text(&it)?))).await?;
        Ok(it)
    }

    /// Ends a redeemed coupon.
    pub async fn end_coupon(&self, by: &NhiId, id: AppliedCouponId) -> Result<AppliedCoupon, MeteringError> {
        let tenant = by.tenant();
        let mut it = self.applied_coupon(tenant, id).await?;
        if !it.active {
            return Err(MeteringError::WrongState("the redeemed coupon is over already".to_owned()));
        }
        (it.active, it.terminated_at, it.revision) = (false, Some(self.now(tenant).await?), it.revision.saturating_add(1));
        let leaf = event_leaf(&*self.clock, by, "metering.end_coupon", &format!("customer:{}", it.customer))?.fact("coupon", it.coupon_id);
        commit(&self.db, Sealed::new(leaf).step(store::replace_coupon(tenant, &it, &canonical_text(&it)?))).await?;
        Ok(it)
    }

    /// One redeemed coupon.
    pub async fn applied_coupon(&self, tenant: &TenantId, id: AppliedCouponId) -> Result<AppliedCoupon, MeteringError> {
        let found = store::coupon(&self.db, tenant, id).await?;
        found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "redeemed coupon", code: id.to_string() })
    }

    /// A page of redeemed coupons, newest first.
    pub async fn applied_coupons(
        &self,
        tenant: &TenantId,
        customer: Option<DefinitionId>,
        active: Option<bool>,
        page: Page,
    ) -> Result<Listed<AppliedCoupon>, MeteringError> {
        let status = active.map_or("", |active| if active { "active" } else { "terminated" });
        Ok(store::coupons(&self.db, tenant, customer, status, page).await?)
    }

    /// The coupons an invoice would use, in their order: those limited to metrics, those limited to plans, then the others.
    pub(super) async fn using(&self, tenant: &TenantId, invoice: &Invoice) -> Result<Vec<AppliedCoupon>, MeteringError> {
        if invoice.kind == InvoiceKind::Credit {
            return Ok(Vec::new());
        }
        let listed = store::coupons(&self.db, tenant, Some(invoice.customer), "active", Page::new(1, PER_PAGE_MAX)).await?;
        let fits = |it: &AppliedCoupon| Reduction::fits(&it.coupon, invoice.currency);
        let mut using: Vec<AppliedCoupon> = listed.items.into_iter().filter(fits).collect();
        using.sort_by_key(|it| (Reduction::rank(&it.coupon), it.created_at, it.id));
        Ok(using)
    }

    pub(super) async fn reductions(&self, tenant: &TenantId, invoice: &Invoice) -> Result<Vec<Reduction>, MeteringError> {
        Ok(self.using(tenant, invoice).await?.iter().map(|it| Reduction::of(&it.coupon, it.left_cents)).collect())
    }

    /// What is left of redeemed coupons after an invoice used them, and what it shows of them.
    pub(super) fn use_coupons(
        tenant: &TenantId,
        using: Vec<AppliedCoupon>,
        built: &Built,
        now: Timestamp,
    ) -> Result<(Vec<InvoiceCredit>, Vec<Write>), MeteringError> {
        let (mut credits, mut writes) = (Vec::new(), Vec::new());
        for (mut it, taken) in using.into_iter().zip(&built.coupons) {
            if *taken == 0 {
                continue;
            }
            credits.push(InvoiceCredit {
                kind: "coupon".to_owned(),
                id: it.id.to_string(),
                name: it.coupon.name.clone(),
                amount_cents: *taken,
                before_taxes: true,
            });
            it.left_cents = it.left_cents.map(|left| left.saturating_sub(*taken));
            // A fixed amount that applies once is over when nothing is left of it.
            match it.left_cents {
                Some(left) => it.active = left > 0,
                None => {
                    it.left_times = it.left_times.map(|times| times.saturating_sub(1));
                    it.active = it.left_times != Some(0);
                }
            }
            it.terminated_at = (!it.active).then_some(now);
            it.revision = it.revision.saturating_add(1);
            writes.push(store::replace_coupon(tenant, &it, &canonical_text(&it)?));
        }
        Ok((credits, writes))
    }

    /// What a voided invoice had used of coupons comes back.
    pub(super) async fn give_back_coupons(&self, tenant: &TenantId, invoice: &Invoice) -> Result<Vec<Write>, MeteringError> {
        let mut writes = Vec::new();
        for credit in invoice.credits.iter().filter(|credit| credit.kind == "coupon") {
            let Ok(id) = credit.id.parse() else { continue };
            let mut it = self.applied_coupon(tenant, id).await?;
            it.left_cents = it.left_cents.map(|left| left.saturating_add(credit.amount_cents));
            if it.left_cents.is_none() {
                it.left_times = it.left_times.map(|times| times.saturating_add(1));
            }
            (it.active, it.terminated_at, it.revision) = (true, None, it.revision.saturating_add(1));
            writes.push(store::replace_coupon(tenant, &it, &canonical_text(&it)?));
        }
        Ok(writes)
    }
}
