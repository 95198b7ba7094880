//! The next invoice, before there is one: of subscriptions that run or wait, of one that ends or changes its plan, of one that nobody has.
//!
//! INVARIANT: nothing is written. Lines are made by what drafts are made by, and what takes off and pays is decided by what decides it when
//! an invoice becomes final; the steps that would use it up are dropped.

use std::collections::BTreeMap;

use creto_kernel::{TenantId, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use super::coupons::redeemed;
use super::drafting::{Due, dates, first_fee_once, of_period, too_large};
use super::{Billing, store};
use crate::catalog::{SubscriptionView, check_currency};
use crate::core::invoicing::{self, Reduction};
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::definition::DefinitionError;
use crate::model::entry::{Defined, Definition as _, DefinitionId};
use crate::model::invoice::{AppliedCoupon, Fee, Invoice, InvoiceDocument, InvoiceKind};
use crate::model::plan::{BillingTime, Plan};
use crate::model::subscription::{Subscription, SubscriptionId, SubscriptionInput, SubscriptionStatus};
use crate::model::tax::{Coupon, Discount, Tax};

/// Most subscriptions of one preview.
const SUBSCRIPTIONS_MAX: usize = 100;
/// What is checked in the place of an identifier of somebody who has none yet.
const NOBODY: &str = "nobody";

/// Whose next invoice, and what would change before it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoicePreviewInput {
    /// Who pays, of those who are there.
    #[serde(default)]
    pub external_customer_id: Option<String>,
    /// Who pays, as it would be: somebody who is not there, or the one above with another definition.
    #[serde(default)]
    pub customer: Option<Customer>,
    /// The next invoice of these subscriptions of a customer who is there.
    #[serde(default)]
    pub subscriptions: Vec<String>,
    /// The last invoice of the one subscription, were it to end at this moment, which is not over.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub terminated_at: Option<Timestamp>,
    /// The invoice that a change of the one subscription to this plan makes: at once to one that costs as much or more, else at the end of
    /// the period.
    #[serde(default)]
    pub next_plan_code: Option<String>,
    /// The first invoice of a subscription to this plan, in the place of subscriptions.
    #[serde(default)]
    pub plan_code: Option<String>,
    /// Where its periods would begin.
    #[serde(default)]
    pub billing_time: BillingTime,
    /// When it would begin; now when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub subscription_at: Option<Timestamp>,
    /// Coupons as if they were redeemed, beside those that the customer redeemed.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub coupons: Vec<Coupon>,
}

/// An invoice that is not there, with what it names and is not there either.
#[derive(Debug)]
pub struct InvoicePreview {
    /// It, as a draft. Its identifiers name nothing.
    pub document: InvoiceDocument,
    /// Who pays.
    pub customer: Defined<Customer>,
    /// The plan of each subscription it bills.
    pub plans: BTreeMap<SubscriptionId, DefinitionId>,
    /// The coupons that take something off, and those that do not.
    pub coupons: Vec<AppliedCoupon>,
}

/// A subscription and what of it is billed next.
struct Piece {
    view: SubscriptionView,
    next: Next,
}

enum Next {
    /// The first fee of a plan that is paid in advance.
    First(Timestamp),
    /// A period.
    Period(Due),
}

impl InvoicePreviewInput {
    fn check(&self) -> Result<(), DefinitionError> {
        let wrong = |field: &str, problem: &str| Err(DefinitionError::new(field, problem));
        let changes = self.terminated_at.is_some() || self.next_plan_code.is_some();
        if self.plan_code.is_some() != self.subscriptions.is_empty() {
            return wrong("plan_code", "or `subscriptions` is needed, and not both");
        }
        if self.subscriptions.len() > SUBSCRIPTIONS_MAX {
            return wrong("subscriptions", "are too many at once");
        }
        if self.subscriptions.is_empty() && changes {
            return wrong("subscriptions", "are needed by a change of them");
        }
        if !self.subscriptions.is_empty() && (self.subscription_at.is_some() || self.external_customer_id.is_none()) {
            return wrong("subscriptions", "have a customer and a start already");
        }
        if changes && (self.subscriptions.len() > 1 || (self.terminated_at.is_some() && self.next_plan_code.is_some())) {
            return wrong("subscriptions", "change one at a time, and in one way");
        }
        let mut named = self.subscriptions.clone();
        named.sort_unstable();
        named.dedup();
        if named.len() < self.subscriptions.len() {
            return wrong("subscriptions", "name one twice");
        }
        Ok(())
    }
}

impl Billing {
    /// The next invoice as it would be now.
    pub async fn preview(&self, tenant: &TenantId, input: &InvoicePreviewInput) -> Result<InvoicePreview, MeteringError> {
        input.check()?;
        let now = self.now(tenant).await?;
        let customer = self.previewed_customer(tenant, input, now).await?;
        let mut pieces = Vec::new();
        match &input.plan_code {
            Some(code) => pieces.push(self.unsaved(tenant, input, code, &customer, now).await?),
            None => {
                for external_id in &input.subscriptions {
                    pieces.extend(self.upcoming(tenant, input, external_id, &customer, now).await?);
                }
            }
        }
        let plans = pieces.iter().map(|piece| (piece.view.subscription.id, piece.view.subscription.plan)).collect();
        let (mut invoice, mut fees, billed_before) = self.pieces_billed(tenant, &customer, &pieces, now).await?;
        let mut using = self.using(tenant, &invoice).await?;
        for coupon in &input.coupons {
            if let Discount::Fixed { currency, .. } = &coupon.discount {
                let (expected, found) = (invoice.currency.as_str().to_owned(), currency.as_str().to_owned());
                if expected != found {
                    return Err(MeteringError::CurrencyMismatch { expected, found });
                }
            }
            using.push(redeemed(coupon.clone(), DefinitionId::generate(), &customer, now)?);
        }
        using.sort_by_key(|it| (Reduction::rank(&it.coupon), it.created_at, it.id));
        let reductions: Vec<Reduction> = using.iter().map(|it| Reduction::of(&it.coupon, it.left_cents)).collect();
        let built = invoicing::build(&mut fees, billed_before, &reductions).ok_or_else(too_large)?;
        (invoice.sums, invoice.taxes) = (built.sums, built.taxes.clone());
        let coupons = using.clone();
        drop(self.settle(tenant, &mut invoice, &fees, using, &built, now).await?);
        let document = InvoiceDocument { invoice, fees, billed_to: Some(customer.body.clone()), leaf: None, payment: None };
        Ok(InvoicePreview { document, customer, plans, coupons })
    }

    async fn previewed_customer(
        &self,
        tenant: &TenantId,
        input: &InvoicePreviewInput,
        now: Timestamp,
    ) -> Result<Defined<Customer>, MeteringError> {
        let known = match &input.external_customer_id {
            Some(external_id) => Some(self.catalog.get::<Customer>(tenant, external_id).await?),
            None => None,
        };
        let Some(body) = &input.customer else {
            return known.ok_or_else(|| DefinitionError::new("customer", "or `external_customer_id` is needed").into());
        };
        let mut body = body.clone();
        if let Some(known) = &known {
            body.external_id.clone_from(&known.body.external_id);
        }
        let is_named = !body.external_id.is_empty();
        Customer { external_id: if is_named { body.external_id.clone() } else { NOBODY.to_owned() }, ..body.clone() }.check()?;
        for code in &body.tax_codes {
            self.catalog.get::<Tax>(tenant, code).await?;
        }
        let made =
            || Defined { id: DefinitionId::generate(), version: 1, created_at: now, updated_at: now, deleted_at: None, body: body.clone() };
        Ok(known.map_or_else(made, |known| Defined { body: body.clone(), ..known }))
    }

    /// The first invoice of a subscription that nobody has.
    async fn unsaved(
        &self,
        tenant: &TenantId,
        input: &InvoicePreviewInput,
        plan_code: &str,
        customer: &Defined<Customer>,
        now: Timestamp,
    ) -> Result<Piece, MeteringError> {
        let plan = self.catalog.get::<Plan>(tenant, plan_code).await?;
        let wanted = SubscriptionInput {
            external_id: String::new(),
            external_customer_id: customer.body.external_id.clone(),
            plan_code: plan_code.to_owned(),
            plan_version: None,
            name: String::new(),
            billing_time: input.billing_time,
            subscription_at: input.subscription_at,
            ending_at: None,
            overrides: None,
        };
        let made = Subscription::new(&wanted, customer, &plan, input.subscription_at.unwrap_or(now), now);
        self.first(tenant, made.begun(now), customer).await?.ok_or_else(too_large)
    }

    /// What is billed first of a subscription that begins.
    async fn first(&self, tenant: &TenantId, begun: Subscription, customer: &Defined<Customer>) -> Result<Option<Piece>, MeteringError> {
        let start = begun.begins_at;
        let view = self.catalog.view_for(tenant, begun, customer.clone()).await?;
        if view.plan.pay_in_advance {
            return Ok(Some(Piece { view, next: Next::First(start) }));
        }
        Ok(view.due(start, Timestamp::MAX).map(|due| Piece { view, next: Next::Period(due) }))
    }

    /// What is billed next of a subscription that runs or waits, and of the one that follows it then.
    async fn upcoming(
        &self,
        tenant: &TenantId,
        input: &InvoicePreviewInput,
        external_id: &str,
        customer: &Defined<Customer>,
        now: Timestamp,
    ) -> Result<Vec<Piece>, MeteringError> {
        let waiting = self.catalog.subscription_in(tenant, external_id, SubscriptionStatus::Pending).await?;
        let running = self.catalog.subscription_in(tenant, external_id, SubscriptionStatus::Active).await?;
        let unknown = || MeteringError::UnknownSubscription(external_id.to_owned());
        if running.as_ref().or(waiting.as_ref()).is_none_or(|it| it.customer != customer.id) {
            return Err(unknown());
        }
        let is_changed = input.terminated_at.is_some() || input.next_plan_code.is_some();
        let Some(running) = running else {
            if is_changed {
                return Err(MeteringError::WrongState(format!("the subscription `{external_id}` has not begun")));
            }
            return Ok(self.first(tenant, waiting.ok_or_else(unknown)?.begun(now), customer).await?.into_iter().collect());
        };
        if input.terminated_at.is_some_and(|end| end <= now) {
            return Err(DefinitionError::new("terminated_at", "is not in the future").into());
        }
        let mut view = self.catalog.view_for(tenant, running.clone(), customer.clone()).await?;
        let billed_to = store::billed_to(&self.db, tenant, running.id).await?;
        let start = running.started_at.unwrap_or(running.begins_at);
        if !is_changed && billed_to.is_none() && view.plan.pay_in_advance && !self.has_first_fee(tenant, running.id).await? {
            return Ok(vec![Piece { view, next: Next::First(start) }]);
        }
        let billed_to = billed_to.unwrap_or(start);
        let follower = match &input.next_plan_code {
            Some(code) => Some(self.catalog.changed_to(tenant, &view, customer, code, now).await?),
            None => waiting,
        };
        let begins = follower.as_ref().map(|next| next.begins_at);
        let end = [input.terminated_at, running.ending_at, begins].into_iter().flatten().min();
        // An end that lies behind the next period is not known to that one's invoice.
        let natural = view.due(billed_to, Timestamp::MAX).map(|due| due.to);
        if let Some(end) = end.filter(|end| is_changed || natural.is_none_or(|to| *end <= to)) {
            view.subscription = running.ended(end, now);
            view.followed = begins == Some(end);
        }
        // A change shows the period that it falls into; else what is over, or will be, comes first.
        let due = if is_changed { view.last_due(billed_to) } else { view.due(billed_to, Timestamp::MAX) };
        let follows = follower.filter(|next| view.followed && due.is_none_or(|due| due.to >= next.begins_at));
        let mut pieces = Vec::new();
        if let Some(due) = due {
            // Under the terms it had when the period ended, for the customer that was given.
            let view = match view.subscription.agreed_before(due.to) {
                Some(then) => self.catalog.view_for(tenant, then, view.customer.clone()).await?,
                None => view,
            };
            pieces.push(Piece { view, next: Next::Period(due) });
        }
        if let Some(next) = follows {
            let first = self.first(tenant, next.begun(now), customer).await?;
            pieces.extend(first.filter(|piece| pieces.is_empty() || matches!(piece.next, Next::First(_))));
        }
        Ok(pieces)
    }

    async fn has_first_fee(&self, tenant: &TenantId, id: SubscriptionId) -> Result<bool, MeteringError> {
        Ok(store::made_once(&self.db, tenant, &first_fee_once(id)).await?.is_some())
    }

    /// All pieces as one draft.
    async fn pieces_billed(
        &self,
        tenant: &TenantId,
        customer: &Defined<Customer>,
        pieces: &[Piece],
        now: Timestamp,
    ) -> Result<(Invoice, Vec<Fee>, i64), MeteringError> {
        let nothing = || MeteringError::WrongState("nothing is left to be billed".to_owned());
        let currency = pieces.first().ok_or_else(nothing)?.view.currency;
        check_currency(&customer.body, currency)?;
        let kind = InvoiceKind::Subscription;
        let mut invoice = self.new_invoice(tenant, &customer.body, customer.id, currency, kind, now).await?;
        let (mut fees, mut billed_before) = (Vec::new(), 0_i64);
        for Piece { view, next } in pieces {
            if view.currency != currency {
                let (expected, found) = (currency.as_str().to_owned(), view.currency.as_str().to_owned());
                return Err(MeteringError::CurrencyMismatch { expected, found });
            }
            match next {
                Next::First(start) => {
                    fees.extend(self.first_fees(tenant, view, *start).await?);
                    dates(&mut invoice, view.zone.day((*start).max(now)));
                }
                Next::Period(due) => {
                    of_period(&mut invoice, view, due, now);
                    fees.extend(self.period_fees(tenant, view, due, None).await?);
                    billed_before = billed_before.saturating_add(self.billed_before(tenant, view, due.from, due.to).await?);
                }
            }
        }
        Ok((invoice, fees, billed_before))
    }
}
