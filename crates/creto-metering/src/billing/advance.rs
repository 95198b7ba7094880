//! Charges that are paid in advance: what each event brings is billed at once. The commit of the event says how much is due; a step after
//! it makes the lines, on an invoice that is final at once or on one that collects them until the period ends.

use std::collections::BTreeMap;

use creto_db::Write;
use creto_kernel::{NhiId, TenantId};

use super::drafting::{terms, too_large};
use super::{Billing, CreditRequest, fee_rows, store};
use crate::catalog::{SubscriptionView, commit, event_leaf};
use crate::core::bill::{Advanced, ChargeUsage, Taxes, cents_as_units};
use crate::core::invoicing;
use crate::core::period::Period;
use crate::error::MeteringError;
use crate::model::charge::Charge;
use crate::model::invoice::{AdvanceOf, CreditItem, CreditReason, EventRange, Fee, FeeId, InvoiceId, InvoiceKind, InvoiceStatus};
use crate::model::price::PriceModel;
use crate::service::drafting::Dims;
use crate::store::advance::{self, Due};
use crate::store::catalog::CHANGED;
use crate::store::{events, fees};

/// Events of one step, and most lines of one invoice.
const STEP_MAX: i64 = 200;

impl Billing {
    /// Bills what events brought of charges that are paid in advance and is not billed yet, and credits what was taken back; how many, and
    /// what could not be.
    pub async fn bill_advance(&self, by: &NhiId) -> Result<(u64, Vec<String>), MeteringError> {
        let (mut billed, mut failures) = (0, Vec::new());
        for kind in [advance::EVENT, advance::TAKEN_BACK] {
            let mut after = -1;
            loop {
                let due = advance::open(&self.db, by.tenant(), kind, after, STEP_MAX).await?;
                let Some(last) = due.last() else { break };
                after = last.seq;
                for rows in due.chunk_by(|a, b| kind == advance::EVENT && together(a, b)) {
                    match self.bill_rows(by, rows).await {
                        Ok(count) => billed += count,
                        // Somebody else was faster.
                        Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {}
                        Err(error @ MeteringError::Db(_)) => return Err(error),
                        Err(error) => failures.extend(rows.first().map(|row| format!("{}: {error}", row.subscription))),
                    }
                }
            }
        }
        Ok((billed, failures))
    }

    /// Whether any event is to be billed by itself.
    pub(super) async fn has_advance(&self, tenant: &TenantId) -> Result<bool, MeteringError> {
        for kind in [advance::EVENT, advance::TAKEN_BACK] {
            if !advance::open(&self.db, tenant, kind, -1, 1).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn bill_rows(&self, by: &NhiId, rows: &[Due]) -> Result<u64, MeteringError> {
        let Some(first) = rows.first() else { return Ok(0) };
        if first.kind == advance::TAKEN_BACK {
            return self.credit_event(by, first).await.map(|()| 1);
        }
        let tenant = by.tenant();
        let now_agreed = self.catalog.view_of(tenant, first.subscription).await?;
        let view = self.catalog.view_before(tenant, &now_agreed, first.said.to).await?.unwrap_or(now_agreed);
        let taxes = self.taxes(tenant).await?;
        let (mut fees, mut writes) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in rows {
            let fee = self.event_fee(tenant, &view, &taxes, row).await?;
            writes.push(advance::close(tenant, row, row.open, &fee.id.to_string()));
            fees.push(fee);
        }
        if first.said.invoiceable {
            let now = self.now(tenant).await?;
            let kind = InvoiceKind::InAdvance;
            let invoice = self.new_invoice(tenant, &view.customer.body, view.customer.id, view.currency, kind, now).await?;
            let once = format!("event:{}:{}:{}", first.seq, first.charge, first.dims);
            let id = self.insert_draft_with(by, invoice, fees, &once, 0, writes).await?.id;
            // Who dies here leaves a draft that is due: the next run makes it final.
            match self.finalize(by, id).await {
                Ok(_) | Err(MeteringError::WrongState(_)) => {}
                Err(error) => return Err(error),
            }
        } else {
            self.collect(by, &view, first, fees, writes).await?;
        }
        Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
    }

    /// The line of one event.
    async fn event_fee(&self, tenant: &TenantId, view: &SubscriptionView, taxes: &Taxes, row: &Due) -> Result<Fee, MeteringError> {
        let dims = Dims::parse(&row.dims)?;
        let proof = events::batch_of(&self.db, tenant, row.seq).await?.map(|batch| EventRange {
            batches: 1,
            first_admission: Some(batch.admission.to_string()),
            last_admission: Some(batch.admission.to_string()),
            roots: vec![batch.root],
            digest: Some(creto_kernel::Digest::of_parts(&[batch.root.as_bytes().as_slice()])),
        });
        let usage = ChargeUsage {
            charge: row.charge.clone(),
            filter: dims.filter,
            group: dims.group,
            units: row.said.units.clone(),
            events: 1,
            amount: row.said.amount.clone(),
            proof: proof.unwrap_or_default(),
        };
        // A charge that is gone from the plan meanwhile is billed all the same.
        let gone = Charge { code: row.charge.clone(), ..Charge::of(&row.said.metric, PriceModel::Dynamic) };
        let charge = view.plan.charge(&row.charge).unwrap_or(&gone);
        let mut fee = terms(view, taxes).charge_fee(charge, &usage, (row.said.from, row.said.to))?;
        fee.amount_cents = row.open;
        fee.advance = Some(AdvanceOf {
            transaction_id: row.said.transaction_id.clone(),
            occurred_at: row.said.occurred_at,
            invoiceable: row.said.invoiceable,
        });
        Ok(fee)
    }

    /// Puts lines on the draft that collects them until their period ends; on one of their own where that one is final.
    async fn collect(
        &self,
        by: &NhiId,
        view: &SubscriptionView,
        first: &Due,
        fees: Vec<Fee>,
        writes: Vec<Write>,
    ) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let once = format!("collected:{}:{}", first.subscription, first.period);
        let made = store::made_once(&self.db, tenant, &once).await?;
        if let Some(open) = made.as_ref().filter(|made| made.status == InvoiceStatus::Draft) {
            let added = |before: &mut Vec<Fee>| before.extend(fees);
            return self.change_draft(by, open.id, added, writes).await;
        }
        let now = self.now(tenant).await?;
        let kind = InvoiceKind::AdvanceCharges;
        let mut invoice = self.new_invoice(tenant, &view.customer.body, view.customer.id, view.currency, kind, now).await?;
        invoice.final_at = first.said.to.max(now);
        let once = if made.is_none() { once } else { format!("{once}:{}", first.seq) };
        self.insert_draft_with(by, invoice, fees, &once, 0, writes).await.map(drop)
    }

    /// Changes the lines of a draft, with what belongs into the same commit.
    async fn change_draft(
        &self,
        by: &NhiId,
        id: InvoiceId,
        change: impl FnOnce(&mut Vec<Fee>),
        mut writes: Vec<Write>,
    ) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let mut kept = self.kept(tenant, id).await?;
        let now = self.now(tenant).await?;
        let mut fees = fees::of_invoice(&self.db, tenant, id).await?;
        let before: Vec<FeeId> = fees.iter().map(|fee| fee.id).collect();
        change(&mut fees);
        let coupons = self.reductions(tenant, &kept.invoice).await?;
        let built = invoicing::build(&mut fees, 0, &coupons).ok_or_else(too_large)?;
        (kept.invoice.sums, kept.invoice.taxes) = (built.sums, built.taxes);
        writes.push(self.next(tenant, &mut kept, now)?);
        let told = fees.iter().filter(|fee| !before.contains(&fee.id)).map(|fee| fee.id).collect::<Vec<_>>();
        writes.extend(fees::replace(tenant, &kept.invoice, &fee_rows(fees)?, kept.invoice.created_at));
        let leaf = event_leaf(&*self.clock, by, "metering.collect_fees", &format!("invoice:{id}"))?
            .fact("total_cents", kept.invoice.sums.total_cents);
        let sealed = self.with_fees_told(leaf, &told).steps(super::steps(writes));
        commit(&self.db, sealed).await
    }

    /// Gives back what an event that was taken back had brought: by a credit note for what is on final invoices, the newest line of its
    /// charge and period first; off the line where that is on a draft. Each invoice is one commit.
    async fn credit_event(&self, by: &NhiId, row: &Due) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let mut row = row.clone();
        for id in advance::lines(&self.db, tenant, &row).await? {
            if row.open == 0 {
                return Ok(());
            }
            let (invoice, fee) = self.fee(tenant, id).await?;
            let kept = self.kept(tenant, invoice).await?;
            let credited = self.credited_of(tenant, invoice, id).await?;
            let cents = row.open.min(fee.amount_cents.saturating_sub(credited));
            if cents <= 0 || matches!(kept.invoice.status, InvoiceStatus::Voided | InvoiceStatus::Closed) {
                continue;
            }
            let closed = vec![advance::close(tenant, &row, cents, &id.to_string())];
            if kept.invoice.status == InvoiceStatus::Draft {
                let currency = kept.invoice.currency;
                let less = |fees: &mut Vec<Fee>| {
                    for fee in fees.iter_mut().filter(|fee| fee.id == id) {
                        fee.amount_cents -= cents;
                        fee.precise_amount -= &cents_as_units(cents, currency);
                    }
                };
                self.change_draft(by, invoice, less, closed).await?;
            } else {
                let request = CreditRequest {
                    invoice,
                    items: vec![CreditItem { fee: id, amount_cents: cents }],
                    reason: CreditReason::default(),
                    description: format!("taken back: {}", row.said.transaction_id.chars().take(100).collect::<String>()),
                    refund_cents: 0,
                    metadata: BTreeMap::new(),
                };
                self.create_note_with(by, request, closed).await?;
            }
            row.open -= cents;
        }
        // What is left was on invoices that were taken back whole.
        if row.open > 0 {
            let leaf = event_leaf(&*self.clock, by, "metering.close_advance", &format!("subscription:{}", row.subscription))?;
            let write = advance::close(tenant, &row, row.open, "");
            commit(&self.db, creto_db::Sealed::new(leaf).step(write)).await?;
        }
        Ok(())
    }

    /// What was billed of a period's usage at its events.
    pub(super) async fn advanced(&self, tenant: &TenantId, view: &SubscriptionView, period: Period) -> Result<Advanced, MeteringError> {
        let mut all = Advanced::new();
        if !view.plan.charges.iter().any(|charge| charge.pay_in_advance) {
            return Ok(all);
        }
        for (charge, dims, cents) in advance::sums(&self.db, tenant, view.subscription.id, period.from(&view.zone)).await? {
            let dims = Dims::parse(&dims)?;
            all.insert((charge, dims.filter, dims.group), cents);
        }
        Ok(all)
    }
}

/// Whether two events are billed together: of one subscription and period, and in the same way.
fn together(a: &Due, b: &Due) -> bool {
    (a.subscription, a.period, a.said.invoiceable) == (b.subscription, b.period, b.said.invoiceable)
}
