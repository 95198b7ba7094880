//! Credit notes: what a final invoice should not have billed.

use std::collections::BTreeMap;

use creto_db::{Sealed, Write};
use creto_kernel::{NhiId, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Billing, TRIES_MAX, contended, store};
use crate::catalog::{boxed, canonical_text, commit, event_leaf};
use crate::core::allocate::whole_parts;
use crate::core::exact::Exact;
use crate::core::rounding::{FEE, INVOICE_TAX};
use crate::error::MeteringError;
use crate::model::definition::{self, DefinitionError};
use crate::model::invoice::{
    AppliedTax, CreditItem, CreditNote, CreditNoteId, CreditNoteStatus, CreditReason, Fee, FeeId, InvoiceDocument, InvoiceId,
    InvoiceStatus, PaymentStatus,
};
use crate::model::page::{Listed, PER_PAGE_MAX, Page};
use crate::model::wallets::check_metadata;
use crate::store::catalog::CHANGED;

/// What is to be credited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditRequest {
    /// The invoice.
    #[schema(value_type = String)]
    pub invoice: InvoiceId,
    /// Which lines, and how much of each.
    pub items: Vec<CreditItem>,
    /// Why.
    #[serde(default)]
    pub reason: CreditReason,
    /// A text of the seller.
    #[serde(default)]
    pub description: String,
    /// How much goes back to the customer's account; the rest pays further invoices.
    #[serde(default)]
    pub refund_cents: i64,
    /// Further entries of the seller.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// What of a credit note is changed. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteChange {
    /// Whether what goes back went back.
    #[serde(default)]
    pub refund_status: Option<PaymentStatus>,
    /// Further entries of the seller.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// What a credit note would come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreditEstimate {
    /// Its lines.
    pub items_cents: i64,
    /// What coupons had taken off them.
    pub coupons_cents: i64,
    /// Its tax.
    pub taxes_cents: i64,
    /// Each tax: their amounts add up to it.
    pub taxes: Vec<AppliedTax>,
    /// What it is worth.
    pub total_cents: i64,
}

impl Billing {
    /// What a credit note would come to.
    pub async fn estimate_note(&self, tenant: &TenantId, request: &CreditRequest) -> Result<CreditEstimate, MeteringError> {
        let document = self.get(tenant, request.invoice).await?;
        let before = self.credited(tenant, request.invoice).await?;
        estimate(&document, &before, &request.items)
    }

    /// Makes a credit note: what is left of it pays further invoices.
    pub async fn create_note(&self, by: &NhiId, request: CreditRequest) -> Result<CreditNote, MeteringError> {
        self.create_note_with(by, request, Vec::new()).await
    }

    /// The same, with what belongs into the same commit. Somebody who was faster there is a conflict, and is not tried again.
    pub(super) async fn create_note_with(&self, by: &NhiId, request: CreditRequest, with: Vec<Write>) -> Result<CreditNote, MeteringError> {
        definition::text("description", &request.description)?;
        check_metadata(&request.metadata)?;
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let document = self.get(tenant, request.invoice).await?;
            let before = self.credited(tenant, request.invoice).await?;
            let worth = estimate(&document, &before, &request.items)?;
            if request.refund_cents < 0 || request.refund_cents > worth.total_cents {
                return Err(DefinitionError::new("refund_cents", format!("is not between 0 and {}", worth.total_cents)).into());
            }
            let now = self.now(tenant).await?;
            let series = format!("notes:{}", request.invoice);
            let number = store::last_number(&self.db, tenant, &series).await? + 1;
            let balance_cents = worth.total_cents - request.refund_cents;
            let note = CreditNote {
                id: CreditNoteId::generate(),
                number: format!("{}-CN{number:03}", document.invoice.number),
                invoice: request.invoice,
                customer: document.invoice.customer,
                external_customer_id: document.invoice.external_customer_id,
                status: if balance_cents > 0 { CreditNoteStatus::Available } else { CreditNoteStatus::Consumed },
                reason: request.reason,
                description: request.description.clone(),
                currency: document.invoice.currency,
                items: request.items.clone(),
                coupons_cents: worth.coupons_cents,
                taxes_cents: worth.taxes_cents,
                taxes: worth.taxes,
                total_cents: worth.total_cents,
                refund_cents: request.refund_cents,
                refund_status: (request.refund_cents > 0).then_some(PaymentStatus::Pending),
                balance_cents,
                metadata: request.metadata.clone(),
                created_at: now,
                updated_at: now,
                voided_at: None,
                revision: 1,
            };
            let leaf = event_leaf(&*self.clock, by, "metering.create_credit_note", &format!("invoice:{}", note.invoice))?
                .fact("note", note.id)
                .fact("number", &note.number)
                .fact("total_cents", note.total_cents);
            let inserted = store::insert_note(tenant, &note, &canonical_text(&note)?);
            let sealed = Sealed::new(leaf).step(store::take_number(tenant, &series, number)).step(inserted).steps(boxed(with.clone()));
            match commit(&self.db, sealed).await {
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED && with.is_empty() => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(note),
            }
        }
        Err(contended())
    }

    /// Takes back what is left of a credit note.
    pub async fn void_note(&self, by: &NhiId, id: CreditNoteId) -> Result<CreditNote, MeteringError> {
        let tenant = by.tenant();
        let mut note = self.note(tenant, id).await?;
        if note.status != CreditNoteStatus::Available {
            return Err(MeteringError::WrongState(format!("the credit note is {}", note.status.as_str())));
        }
        let now = self.now(tenant).await?;
        (note.status, note.balance_cents, note.voided_at) = (CreditNoteStatus::Voided, 0, Some(now));
        (note.updated_at, note.revision) = (now, note.revision.saturating_add(1));
        let leaf =
            event_leaf(&*self.clock, by, "metering.void_credit_note", &format!("invoice:{}", note.invoice))?.fact("number", &note.number);
        commit(&self.db, Sealed::new(leaf).step(store::replace_note(tenant, &note, &canonical_text(&note)?))).await?;
        Ok(note)
    }

    /// Says whether a refund went back, or puts entries of the seller on a credit note.
    pub async fn update_note(&self, by: &NhiId, id: CreditNoteId, change: NoteChange) -> Result<CreditNote, MeteringError> {
        let tenant = by.tenant();
        let mut note = self.note(tenant, id).await?;
        if let Some(refunded) = change.refund_status {
            if note.refund_status.is_none() {
                return Err(MeteringError::WrongState("nothing of the credit note goes back".to_owned()));
            }
            note.refund_status = Some(refunded);
        }
        if let Some(metadata) = change.metadata {
            check_metadata(&metadata)?;
            note.metadata = metadata;
        }
        (note.updated_at, note.revision) = (self.now(tenant).await?, note.revision.saturating_add(1));
        let leaf = event_leaf(&*self.clock, by, "metering.update_credit_note", &format!("invoice:{}", note.invoice))?
            .fact("number", &note.number)
            .fact("refund", note.refund_status.map_or("", PaymentStatus::as_str));
        commit(&self.db, Sealed::new(leaf).step(store::replace_note(tenant, &note, &canonical_text(&note)?))).await?;
        Ok(note)
    }

    /// One credit note.
    pub async fn note(&self, tenant: &TenantId, id: CreditNoteId) -> Result<CreditNote, MeteringError> {
        let found = store::note(&self.db, tenant, id).await?;
        found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "credit note", code: id.to_string() })
    }

    /// A page of credit notes, newest first.
    pub async fn notes(&self, tenant: &TenantId, filter: &store::NoteFilter, page: Page) -> Result<Listed<CreditNote>, MeteringError> {
        Ok(store::notes(&self.db, tenant, filter, page).await?)
    }

    /// What was credited of a line.
    pub(super) async fn credited_of(&self, tenant: &TenantId, invoice: InvoiceId, fee: FeeId) -> Result<i64, MeteringError> {
        let notes = self.credited(tenant, invoice).await?;
        Ok(notes.iter().flat_map(|note| &note.items).filter(|item| item.fee == fee).map(|item| item.amount_cents).sum())
    }

    async fn credited(&self, tenant: &TenantId, invoice: InvoiceId) -> Result<Vec<CreditNote>, MeteringError> {
        let of_invoice = store::NoteFilter { invoice: Some(invoice), ..store::NoteFilter::default() };
        let listed = store::notes(&self.db, tenant, &of_invoice, Page::new(1, PER_PAGE_MAX)).await?;
        Ok(listed.items.into_iter().filter(|note| note.status != CreditNoteStatus::Voided).collect())
    }
}

/// The worth of these lines: what is left of each after coupons, and its tax, rounded once each.
fn estimate(document: &InvoiceDocument, before: &[CreditNote], items: &[CreditItem]) -> Result<CreditEstimate, MeteringError> {
    if document.invoice.status != InvoiceStatus::Finalized {
        return Err(MeteringError::WrongState(format!(
            "the invoice is {}, so nothing of it is credited",
            document.invoice.status.as_str()
        )));
    }
    if items.is_empty() {
        return Err(DefinitionError::new("items", "are empty").into());
    }
    let (mut sum, mut net, mut tax) = (0_i64, Exact::ZERO, Exact::ZERO);
    let mut by_tax: BTreeMap<&str, (&AppliedTax, Exact)> = BTreeMap::new();
    for (at, item) in items.iter().enumerate() {
        let field = format!("items[{at}]");
        let fee = document.fees.iter().find(|fee| fee.id == item.fee);
        let fee = fee.ok_or_else(|| DefinitionError::new(&field, "names no line of the invoice"))?;
        let earlier = before.iter().flat_map(|note| &note.items).chain(items.iter().take(at));
        let credited: i64 = earlier.filter(|other| other.fee == item.fee).map(|other| other.amount_cents).sum();
        if item.amount_cents <= 0 || item.amount_cents > fee.amount_cents - credited {
            let problem = format!("is not between 1 and the {} that is left of the line", fee.amount_cents - credited);
            return Err(DefinitionError::new(format!("{field}.amount_cents"), problem).into());
        }
        let part = remaining(fee, item.amount_cents);
        sum += item.amount_cents;
        tax += &(&part * &fee.taxes_rate.percent());
        net += &part;
        for applied in &fee.taxes {
            by_tax.entry(&applied.code).or_insert_with(|| (applied, Exact::ZERO)).1 += &part;
        }
    }
    let whole = |value: &Exact| value.to_i64().ok_or_else(super::drafting::too_large);
    let (net, taxes_cents) = (whole(&FEE.whole(&net))?, whole(&INVOICE_TAX.whole(&tax))?);
    let taxes = shares(&by_tax, taxes_cents)?;
    Ok(CreditEstimate { items_cents: sum, coupons_cents: sum - net, taxes_cents, taxes, total_cents: net + taxes_cents })
}

/// Each tax of a credit note, on what it is taken on; their amounts add up to `total`.
fn shares(by_tax: &BTreeMap<&str, (&AppliedTax, Exact)>, total: i64) -> Result<Vec<AppliedTax>, MeteringError> {
    let parts: Vec<Exact> = by_tax.values().map(|(tax, base)| base * &tax.rate.percent()).collect();
    let whole = |value: &Exact| value.to_i64().ok_or_else(super::drafting::too_large);
    let amounts = whole_parts(&Exact::from(total), &parts);
    let share = |((tax, base), amount): (&(&AppliedTax, Exact), Exact)| {
        Ok(AppliedTax { base_cents: whole(&FEE.whole(base))?, amount_cents: whole(&amount)?, ..(*tax).clone() })
    };
    by_tax.values().zip(amounts).map(share).collect()
}

/// So much of a line, less the same share of what was taken off it.
fn remaining(fee: &Fee, cents: i64) -> Exact {
    let share = Exact::ratio(cents, fee.amount_cents).unwrap_or_default();
    Exact::from(cents) - &fee.taken_off_cents * &share
}
