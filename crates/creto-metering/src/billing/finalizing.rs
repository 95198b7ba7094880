//! An invoice becomes final: everything is computed once more, coupons, credit notes and prepaid credits are used, and it gets its
//! number, in one commit. Whoever lost a race looks again.

use creto_db::{Sealed, Write};
use creto_kernel::{Digest, Micros, NhiId, TenantId, Timestamp};

use super::drafting::too_large;
use super::{Billing, TRIES_MAX, billed_to_text, contended, fee_rows, steps, store};
use crate::catalog::{canonical_text, commit, event_leaf, fresh_salt};
use crate::core::bill::{self, cents_as_units};
use crate::core::credits::Purse;
use crate::core::exact::Exact;
use crate::core::invoicing;
use crate::error::MeteringError;
use crate::model::invoice::{
    AppliedCoupon, CreditNoteStatus, Fee, Invoice, InvoiceCredit, InvoiceDocument, InvoiceId, InvoiceKind, InvoiceStatus, PaymentStatus,
};
use crate::model::page::{PER_PAGE_MAX, Page};
use crate::model::wallets::WalletStatus;
use crate::payments::Task;
use crate::store::catalog::CHANGED;
use crate::store::fees;
use crate::store::wallets as purses;

impl Billing {
    /// Computes a draft again: late events come in, and what coupons would take off.
    pub async fn refresh(&self, by: &NhiId, id: InvoiceId) -> Result<InvoiceDocument, MeteringError> {
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let mut kept = self.draft(tenant, id).await?;
            let now = self.now(tenant).await?;
            let (fees, built) = self.rebuilt(tenant, &mut kept.invoice, now).await?;
            (kept.invoice.sums, kept.invoice.taxes) = (built.sums, built.taxes);
            let mut writes = vec![self.next(tenant, &mut kept, now)?, store::seen_to(tenant, id, now)];
            writes.extend(fees::replace(tenant, &kept.invoice, &fee_rows(fees)?, kept.invoice.created_at));
            let leaf = event_leaf(&*self.clock, by, "metering.refresh_invoice", &format!("invoice:{id}"))?
                .fact("total_cents", kept.invoice.sums.total_cents);
            match commit(&self.db, Sealed::new(leaf).steps(steps(writes))).await {
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {}
                Err(error) => return Err(error),
                Ok(()) => return self.get(tenant, id).await,
            }
        }
        Err(contended())
    }

    /// Makes a draft final now.
    pub async fn finalize(&self, by: &NhiId, id: InvoiceId) -> Result<InvoiceDocument, MeteringError> {
        let _turn = self.turns.lock().await;
        for _ in 0..TRIES_MAX {
            match self.finalize_once(by, id).await {
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED || code == purses::ONCE => {}
                Err(error) => return Err(error),
                Ok(()) => return self.get(by.tenant(), id).await,
            }
        }
        Err(contended())
    }

    async fn draft(&self, tenant: &TenantId, id: InvoiceId) -> Result<store::Kept, MeteringError> {
        let kept = self.kept(tenant, id).await?;
        if kept.invoice.status == InvoiceStatus::Draft {
            return Ok(kept);
        }
        Err(MeteringError::WrongState(format!("the invoice is {}, not a draft", kept.invoice.status.as_str())))
    }

    /// The lines of a draft, computed again, with what was billed of them before.
    async fn rebuilt(
        &self,
        tenant: &TenantId,
        invoice: &mut Invoice,
        now: Timestamp,
    ) -> Result<(Vec<Fee>, invoicing::Built), MeteringError> {
        let kept = fees::of_invoice(&self.db, tenant, invoice.id).await?;
        let (mut fees, mut billed_before) = (kept.clone(), 0);
        if invoice.kind == InvoiceKind::Subscription && !invoice.periods.is_empty() {
            fees = Vec::new();
            for period in &mut invoice.periods {
                let now_agreed = self.catalog.view_of(tenant, period.subscription).await?;
                let view = self.catalog.view_before(tenant, &now_agreed, period.to).await?.unwrap_or(now_agreed);
                let due = Self::due_of(&view, period);
                fees.extend(self.period_fees(tenant, &view, &due, Some(invoice.id)).await?);
                billed_before += self.billed_before(tenant, &view, period.from, period.to).await?;
                period.seen_to = now;
            }
        }
        if invoice.kind == InvoiceKind::ProgressiveBilling {
            billed_before = invoice.sums.progressive_billing_cents;
        }
        keep_ids(&mut fees, &kept);
        let coupons = self.reductions(tenant, invoice).await?;
        let built = invoicing::build(&mut fees, billed_before, &coupons).ok_or_else(too_large)?;
        Ok((fees, built))
    }

    async fn finalize_once(&self, by: &NhiId, id: InvoiceId) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let mut kept = self.draft(tenant, id).await?;
        let now = self.now(tenant).await?;
        let using = self.using(tenant, &kept.invoice).await?;
        let (fees, built) = self.rebuilt(tenant, &mut kept.invoice, now).await?;
        let customer = self.customer(tenant, kept.invoice.customer).await?;
        let invoice = &mut kept.invoice;
        (invoice.sums, invoice.taxes) = (built.sums, built.taxes.clone());
        invoice.finalized_at = Some(now);
        let mut writes = vec![store::seen_to(tenant, id, now)];
        if invoice.sums.fees_cents == 0 && customer.finalize_zero_amount_invoice == Some(false) {
            invoice.status = InvoiceStatus::Closed;
        } else {
            let number = store::last_number(&self.db, tenant, store::SERIES).await? + 1;
            writes.push(store::take_number(tenant, store::SERIES, number));
            invoice.status = InvoiceStatus::Finalized;
            invoice.sequence = Some(number);
            invoice.number = format!("{}-{number:06}", if invoice.test { "TEST" } else { "INV" });
            writes.extend(self.settle(tenant, invoice, &fees, using, &built, now).await?);
            if invoice.sums.total_cents == 0 {
                invoice.payment_status = PaymentStatus::Succeeded;
            }
        }
        kept.billed_to = Some(customer);
        self.commit_final(by, kept, fees, writes, now).await
    }

    /// What takes off an invoice that becomes final and what pays it, noted on it; the steps that use both up.
    pub(super) async fn settle(
        &self,
        tenant: &TenantId,
        invoice: &mut Invoice,
        fees: &[Fee],
        using: Vec<AppliedCoupon>,
        built: &invoicing::Built,
        now: Timestamp,
    ) -> Result<Vec<Write>, MeteringError> {
        invoice.credits = progressive_credit(invoice).into_iter().collect();
        let (coupons, mut writes) = Self::use_coupons(tenant, using, built, now)?;
        invoice.credits.extend(coupons);
        writes.extend(self.pay_with_notes(tenant, invoice, now).await?);
        writes.extend(self.pay_with_credits(tenant, invoice, fees).await?);
        Ok(writes)
    }

    async fn commit_final(
        &self,
        by: &NhiId,
        mut kept: store::Kept,
        fees: Vec<Fee>,
        mut writes: Vec<Write>,
        now: Timestamp,
    ) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let invoice = &mut kept.invoice;
        (invoice.revision, invoice.updated_at) = (invoice.revision.saturating_add(1), now);
        let (body, billed_to) = (canonical_text(&*invoice)?, billed_to_text(kept.billed_to.as_ref())?);
        let lines = canonical_text(&fees)?;
        let salt = fresh_salt()?;
        let digest = |text: &str| Digest::of_parts(&[salt.as_bytes(), text.as_bytes()]);
        let leaf = event_leaf(&*self.clock, by, "metering.finalize_invoice", &format!("invoice:{}", invoice.id))?
            .digest("invoice", digest(&body))
            .digest("fees", digest(&lines))
            .digest("billed_to", digest(&billed_to))
            .fact("kind", invoice.kind.as_str())
            .fact("number", &invoice.number)
            .fact("status", invoice.status.as_str())
            .fact("currency", invoice.currency)
            .fact("total_cents", invoice.sums.total_cents);
        let id = leaf.id.to_string();
        let written = store::Written { invoice, body: &body, billed_to: &billed_to, salt: &salt, leaf: &id };
        writes.push(store::replace_invoice(tenant, &written));
        writes.extend(fees::replace(tenant, invoice, &fee_rows(fees)?, invoice.created_at));
        let sealed = self.catalog.collecting(tenant, Sealed::new(leaf).steps(steps(writes)), Task::Invoice(invoice.id));
        commit(&self.db, sealed).await
    }

    /// Credit notes pay what is owed with tax, the oldest first.
    async fn pay_with_notes(&self, tenant: &TenantId, invoice: &mut Invoice, now: Timestamp) -> Result<Vec<Write>, MeteringError> {
        let mut writes = Vec::new();
        if invoice.kind == InvoiceKind::Credit {
            return Ok(writes);
        }
        for mut note in store::paying_notes(&self.db, tenant, invoice.customer, invoice.currency.as_str()).await? {
            let paid = note.balance_cents.min(invoice.sums.total_cents);
            if paid <= 0 {
                break;
            }
            note.balance_cents -= paid;
            note.status = if note.balance_cents == 0 { CreditNoteStatus::Consumed } else { CreditNoteStatus::Available };
            (note.updated_at, note.revision) = (now, note.revision.saturating_add(1));
            invoice.sums.credit_notes_cents += paid;
            invoice.sums.total_cents -= paid;
            invoice.credits.push(InvoiceCredit {
                kind: "credit_note".to_owned(),
                id: note.id.to_string(),
                name: note.number.clone(),
                amount_cents: paid,
                before_taxes: false,
            });
            writes.push(store::replace_note(tenant, &note, &canonical_text(&note)?));
        }
        Ok(writes)
    }

    /// Prepaid credits pay what is left, wallet by wallet.
    async fn pay_with_credits(&self, tenant: &TenantId, invoice: &mut Invoice, fees: &[Fee]) -> Result<Vec<Write>, MeteringError> {
        let mut writes = Vec::new();
        if invoice.kind == InvoiceKind::Credit || invoice.sums.total_cents <= 0 {
            return Ok(writes);
        }
        let page = Page::new(1, PER_PAGE_MAX);
        let listed = purses::wallets(&self.db, tenant, Some(invoice.customer), Some(WalletStatus::Active), page).await?;
        let own = listed.items.into_iter().filter(|wallet| wallet.wallet.currency == invoice.currency);
        let (mut wallets, mut shown) = (Vec::new(), Vec::new());
        let subunits = invoice.currency.subunits();
        for wallet in own {
            let now = self.clock.now();
            let lots = purses::lots(&self.db, tenant, wallet.id).await?;
            let alive = lots.iter().filter(|lot| lot.expires_at.is_none_or(|at| at > now));
            let micros: Exact = alive.map(|lot| Exact::from(lot.left)).sum();
            shown.push(Purse {
                balance: (&micros * &subunits).floor(),
                priority: u32::from(wallet.wallet.priority),
                created_at: wallet.created_at,
                applies_to: wallet.wallet.applies_to.clone(),
            });
            wallets.push(wallet);
        }
        let paid = bill::prepaid(invoice.sums.total_cents, &shown, fees);
        for (wallet, cents) in wallets.iter().zip(paid).filter(|(_, cents)| *cents > 0) {
            let amount = cents_as_units(cents, invoice.currency).to_micros().unwrap_or(Micros::ZERO);
            let (transaction, more) = self.wallets.pay(tenant, wallet, amount, &invoice.id.to_string()).await?;
            writes.extend(more);
            invoice.sums.prepaid_credits_cents += cents;
            invoice.sums.total_cents -= cents;
            invoice.credits.push(InvoiceCredit {
                kind: "wallet".to_owned(),
                id: transaction.id.to_string(),
                name: wallet.wallet.name.clone(),
                amount_cents: cents,
                before_taxes: false,
            });
        }
        Ok(writes)
    }

    /// What a voided invoice had used of credit notes comes back.
    pub(super) async fn give_back_notes(&self, tenant: &TenantId, invoice: &Invoice, now: Timestamp) -> Result<Vec<Write>, MeteringError> {
        let mut writes = Vec::new();
        for credit in invoice.credits.iter().filter(|credit| credit.kind == "credit_note") {
            let Ok(id) = credit.id.parse() else { continue };
            let mut note = self.note(tenant, id).await?;
            note.balance_cents += credit.amount_cents;
            if note.status == CreditNoteStatus::Consumed {
                note.status = CreditNoteStatus::Available;
            }
            (note.updated_at, note.revision) = (now, note.revision.saturating_add(1));
            writes.push(store::replace_note(tenant, &note, &canonical_text(&note)?));
        }
        Ok(writes)
    }
}

fn progressive_credit(invoice: &Invoice) -> Option<InvoiceCredit> {
    let amount_cents = invoice.sums.progressive_billing_cents;
    (amount_cents > 0).then(|| InvoiceCredit {
        kind: "progressive_billing".to_owned(),
        id: String::new(),
        name: "Billed before".to_owned(),
        amount_cents,
        before_taxes: true,
    })
}

/// A line that is the same line keeps its identifier over a refresh.
fn keep_ids(fees: &mut [Fee], before: &[Fee]) {
    let mut before: Vec<&Fee> = before.iter().collect();
    for fee in fees {
        let same = |other: &&Fee| {
            (other.kind, &other.code, other.filter, &other.group, other.from) == (fee.kind, &fee.code, fee.filter, &fee.group, fee.from)
        };
        if let Some(at) = before.iter().position(same) {
            fee.id = before.swap_remove(at).id;
        }
    }
}
