//! Billing: what was used and agreed becomes invoices. Every step is one commit, so that a run that was cut is continued where it
//! stopped, and nothing is billed twice or forgotten.
//!
//! INVARIANT: a number is taken in the commit that finalizes: none is skipped, none is given twice. A final invoice is never changed;
//! what comes later is another line on another invoice, or a credit note.

mod advance;
mod coupons;
mod drafting;
mod export;
mod finalizing;
mod metered;
mod notes;
mod one_off;
mod parquet;
mod past;
mod previewing;
mod rerating;
mod runs;
mod usage;

use std::sync::Arc;

use creto_db::{Db, Sealed, Step, Write};
use creto_kernel::{Clock, Digest, NhiId, TenantId, Timestamp};
use tokio::sync::Mutex;

use crate::catalog::{Catalog, boxed, canonical_text, commit, event_leaf};
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::entry::DefinitionId;
use crate::model::invoice::{Fee, FeeId, Invoice, InvoiceDocument, InvoiceId, InvoiceStatus, PaymentStatus};
use crate::model::page::{Listed, Page};
use crate::model::wallets::{MovementKind, MovementStatus};
use crate::payments::Task;
use crate::store::billing as store;
use crate::store::catalog::CHANGED;
use crate::store::fees::{self, FeeFilter};
use crate::wallets::Wallets;

pub use coupons::CouponRedemption;
pub use export::{Export, Format};
pub use notes::{CreditEstimate, CreditRequest, NoteChange};
pub use one_off::{OneOff, OneOffItem};
pub use past::PastUsage;
pub use previewing::{InvoicePreview, InvoicePreviewInput};
pub use rerating::{Rerate, RerateChange, RerateInput};
pub use usage::{ChargeUsage, UsageSource};

/// How often a change is tried again when somebody else was faster.
const TRIES_MAX: usize = 128;

/// Invoices of a database.
#[derive(Clone)]
pub struct Billing {
    db: Db,
    clock: Arc<dyn Clock>,
    catalog: Catalog,
    wallets: Wallets,
    usage: Arc<dyn UsageSource>,
    /// Those who finalize in this process take turns; between processes the database decides.
    turns: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Billing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Billing").field("db", &self.db).finish_non_exhaustive()
    }
}

impl Billing {
    /// Billing over the database's catalog and wallets, of the usage that `usage` tells.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, catalog: Catalog, wallets: Wallets, usage: Arc<dyn UsageSource>) -> Self {
        Self { db, clock, catalog, wallets, usage, turns: Arc::default() }
    }

    /// The catalog it bills from.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The wallets that pay.
    #[must_use]
    pub const fn wallets(&self) -> &Wallets {
        &self.wallets
    }

    /// The tenant's time: its test clock's, where it is in test mode.
    pub async fn now(&self, tenant: &TenantId) -> Result<Timestamp, MeteringError> {
        self.catalog.now(tenant).await
    }

    async fn is_test(&self, tenant: &TenantId) -> Result<bool, MeteringError> {
        Ok(store::test_clock(&self.db, tenant).await?.is_some())
    }

    /// An invoice with its lines.
    pub async fn get(&self, tenant: &TenantId, id: InvoiceId) -> Result<InvoiceDocument, MeteringError> {
        let kept = self.kept(tenant, id).await?;
        let fees = fees::of_invoice(&self.db, tenant, id).await?;
        let leaf = (!kept.leaf.is_empty()).then_some(kept.leaf);
        let payment = crate::store::payments::payment(&self.db, tenant, id).await?;
        Ok(InvoiceDocument { invoice: kept.invoice, fees, billed_to: kept.billed_to, leaf, payment })
    }

    /// A page of invoices, newest first.
    pub async fn list(&self, tenant: &TenantId, filter: &store::InvoiceFilter, page: Page) -> Result<Listed<Invoice>, MeteringError> {
        Ok(store::invoices(&self.db, tenant, filter, page).await?)
    }

    /// One line with its invoice.
    pub async fn fee(&self, tenant: &TenantId, id: FeeId) -> Result<(InvoiceId, Fee), MeteringError> {
        let found = fees::one(&self.db, tenant, id).await?;
        found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "fee", code: id.to_string() })
    }

    /// A page of lines, newest first, each with its invoice.
    pub async fn fees(&self, tenant: &TenantId, filter: &FeeFilter, page: Page) -> Result<Listed<(InvoiceId, Fee)>, MeteringError> {
        Ok(fees::page(&self.db, tenant, filter, page).await?)
    }

    /// An invoice without its lines.
    pub async fn invoice(&self, tenant: &TenantId, id: InvoiceId) -> Result<Invoice, MeteringError> {
        Ok(self.kept(tenant, id).await?.invoice)
    }

    async fn kept(&self, tenant: &TenantId, id: InvoiceId) -> Result<store::Kept, MeteringError> {
        let found = store::invoice(&self.db, tenant, id).await?;
        found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "invoice", code: id.to_string() })
    }

    /// Says whether an invoice was paid. Credits it asked payment for come in with the same commit; whoever asks for the payment learns
    /// of it.
    pub async fn set_payment(&self, by: &NhiId, id: InvoiceId, paid: PaymentStatus) -> Result<InvoiceDocument, MeteringError> {
        self.put_payment(by, id, paid, None).await
    }

    /// What the payment provider says of it, with the step that notes so.
    ///
    /// INVARIANT: a payment that succeeded is never taken back by what a provider says.
    pub(crate) async fn told_payment(
        &self,
        by: &NhiId,
        id: InvoiceId,
        paid: PaymentStatus,
        told: Told,
    ) -> Result<InvoiceDocument, MeteringError> {
        self.put_payment(by, id, paid, Some(told)).await
    }

    async fn put_payment(
        &self,
        by: &NhiId,
        id: InvoiceId,
        paid: PaymentStatus,
        told: Option<Told>,
    ) -> Result<InvoiceDocument, MeteringError> {
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let mut kept = self.kept(tenant, id).await?;
            if kept.invoice.status != InvoiceStatus::Finalized {
                return Err(MeteringError::WrongState(format!("the invoice is {}, so nobody pays it", kept.invoice.status.as_str())));
            }
            if told.is_some() && kept.invoice.payment_status == PaymentStatus::Succeeded {
                return Err(MeteringError::WrongState("the invoice was paid meanwhile".to_owned()));
            }
            let now = self.now(tenant).await?;
            let mut writes: Vec<Write> = Vec::new();
            if paid == PaymentStatus::Succeeded {
                for bought in crate::store::wallets::transactions_of_invoice(&self.db, tenant, &id.to_string()).await? {
                    if bought.kind == MovementKind::Purchased && bought.status == MovementStatus::Pending {
                        writes.extend(self.wallets.settling(tenant, bought.id).await?.1);
                    }
                }
            }
            kept.invoice.payment_status = paid;
            writes.push(self.next(tenant, &mut kept, now)?);
            let mut leaf = event_leaf(&*self.clock, by, "metering.set_payment", &format!("invoice:{id}"))?.fact("payment", paid.as_str());
            if let Some(Told { step, provider, reference }) = &told {
                leaf = leaf.fact("provider", provider).fact("reference", reference);
                writes.push(step.clone());
            }
            let sealed = Sealed::new(leaf).steps(boxed(writes));
            let sealed = if told.is_some() { sealed } else { self.catalog.collecting(tenant, sealed, Task::Invoice(id)) };
            match commit(&self.db, sealed).await {
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {}
                Err(error) => return Err(error),
                Ok(()) => return self.get(tenant, id).await,
            }
        }
        Err(contended())
    }

    /// The customer's bank took a payment back, or never made it, and will not again.
    pub async fn lose_dispute(&self, by: &NhiId, id: InvoiceId) -> Result<InvoiceDocument, MeteringError> {
        let tenant = by.tenant();
        let mut kept = self.kept(tenant, id).await?;
        if kept.invoice.status != InvoiceStatus::Finalized || kept.invoice.payment_dispute_lost_at.is_some() {
            let problem = "a dispute is about a final invoice, and is lost once";
            return Err(MeteringError::WrongState(problem.to_owned()));
        }
        let now = self.now(tenant).await?;
        kept.invoice.payment_dispute_lost_at = Some(now);
        let write = self.next(tenant, &mut kept, now)?;
        let leaf = event_leaf(&*self.clock, by, "metering.lose_dispute", &format!("invoice:{id}"))?.fact("number", &kept.invoice.number);
        commit(&self.db, Sealed::new(leaf).step(write)).await?;
        self.get(tenant, id).await
    }

    /// Puts further entries of the seller on an invoice.
    pub async fn set_metadata(
        &self,
        by: &NhiId,
        id: InvoiceId,
        metadata: std::collections::BTreeMap<String, String>,
    ) -> Result<InvoiceDocument, MeteringError> {
        crate::model::wallets::check_metadata(&metadata)?;
        let tenant = by.tenant();
        let mut kept = self.kept(tenant, id).await?;
        kept.invoice.metadata = metadata;
        let write = self.next(tenant, &mut kept, self.now(tenant).await?)?;
        let leaf = event_leaf(&*self.clock, by, "metering.set_invoice_metadata", &format!("invoice:{id}"))?;
        commit(&self.db, Sealed::new(leaf).step(write)).await?;
        self.get(tenant, id).await
    }

    /// Takes a final invoice back: its number stays taken, what paid it comes back. With `rebill` its periods are billed again by the
    /// next run.
    pub async fn void(&self, by: &NhiId, id: InvoiceId, rebill: bool) -> Result<InvoiceDocument, MeteringError> {
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let mut kept = self.kept(tenant, id).await?;
            if kept.invoice.status != InvoiceStatus::Finalized || kept.invoice.payment_status == PaymentStatus::Succeeded {
                let problem = "only a final invoice that was not paid is taken back; a paid one is corrected by a credit note";
                return Err(MeteringError::WrongState(problem.to_owned()));
            }
            let now = self.now(tenant).await?;
            kept.invoice.status = InvoiceStatus::Voided;
            kept.invoice.voided_at = Some(now);
            let mut writes = vec![self.next(tenant, &mut kept, now)?];
            writes.extend(self.wallets.give_back(tenant, &id.to_string()).await?);
            writes.extend(self.give_back_notes(tenant, &kept.invoice, now).await?);
            writes.extend(self.give_back_coupons(tenant, &kept.invoice).await?);
            if rebill {
                writes.extend(store::free_periods(tenant, id));
            }
            let leaf = event_leaf(&*self.clock, by, "metering.void_invoice", &format!("invoice:{id}"))?
                .fact("number", &kept.invoice.number)
                .fact("rebill", rebill);
            let sealed = self.catalog.collecting(tenant, Sealed::new(leaf).steps(boxed(writes)), Task::Invoice(id));
            match commit(&self.db, sealed).await {
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {}
                Err(error) => return Err(error),
                Ok(()) => return self.get(tenant, id).await,
            }
        }
        Err(contended())
    }

    /// The step that puts an invoice's next revision in place.
    fn next(&self, tenant: &TenantId, kept: &mut store::Kept, now: Timestamp) -> Result<Write, MeteringError> {
        kept.invoice.revision = kept.invoice.revision.saturating_add(1);
        kept.invoice.updated_at = now;
        let body = canonical_text(&kept.invoice)?;
        let billed_to = billed_to_text(kept.billed_to.as_ref())?;
        let written = store::Written { invoice: &kept.invoice, body: &body, billed_to: &billed_to, salt: &kept.salt, leaf: &kept.leaf };
        Ok(store::replace_invoice(tenant, &written))
    }

    /// Forgets a customer: what belongs to a person goes from the catalog and from whom invoices were billed to, in one commit. Totals,
    /// numbers, lines and their proofs stay.
    pub async fn erase_customer(&self, by: &NhiId, external_id: &str) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let customer = self.catalog.get::<Customer>(tenant, external_id).await?;
        let body = customer.body.erased();
        let (text, salt) = (canonical_text(&body)?, crate::catalog::fresh_salt()?);
        let written = crate::store::catalog::Written {
            kind: crate::model::entry::Kind::Customer,
            id: customer.id,
            code: &body.external_id,
            version: customer.version.saturating_add(1),
            body: &text,
            salt: &salt,
            now: self.clock.now(),
        };
        let mut writes = crate::store::catalog::replace(tenant, &written);
        writes.push(store::erase_billed_to(tenant, customer.id));
        let leaf = event_leaf(&*self.clock, by, "metering.erase_customer", &format!("customer:{}", customer.id))?
            .digest("definition", Digest::of_parts(&[salt.as_bytes(), text.as_bytes()]));
        let mut sealed = Sealed::new(leaf).steps(boxed(writes));
        // Who was made at the provider from here is forgotten there too.
        let made = customer.body.payment_provider.as_deref().filter(|_| customer.body.sync_with_provider);
        if let Some(reference) = made.and_then(|provider| customer.body.known_as(provider)) {
            sealed = self.catalog.collecting(tenant, sealed, Task::Forget(reference.to_owned()));
        }
        commit(&self.db, sealed).await
    }

    async fn customer(&self, tenant: &TenantId, id: DefinitionId) -> Result<Customer, MeteringError> {
        Ok(self.catalog.by_id::<Customer>(tenant, id).await?.body)
    }
}

/// What a payment provider said, as it is put on record.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) step: Write,
    pub(crate) provider: String,
    pub(crate) reference: String,
}

fn billed_to_text(customer: Option<&Customer>) -> Result<String, MeteringError> {
    customer.map_or_else(|| Ok(String::new()), canonical_text)
}

fn contended() -> MeteringError {
    MeteringError::Conflict { code: CHANGED, message: "the invoice is changed by many at once".to_owned() }
}

fn fee_rows(fees: Vec<Fee>) -> Result<Vec<(Fee, String)>, MeteringError> {
    fees.into_iter().map(|fee| canonical_text(&fee).map(|body| (fee, body))).collect()
}

fn steps(writes: Vec<Write>) -> impl Iterator<Item = Box<dyn Step>> {
    boxed(writes)
}
