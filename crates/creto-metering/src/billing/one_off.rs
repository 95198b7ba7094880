//! Invoices that no period makes: one-off sales, and purchases of prepaid credits.

use creto_db::Sealed;
use creto_kernel::{NhiId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::drafting::too_large;
use super::{Billing, fee_rows, steps, store};
use crate::catalog::{canonical_text, check_currency, commit, event_leaf, fresh_salt};
use crate::core::bill::{new_fee, set_taxes};
use crate::core::exact::Exact;
use crate::core::fee;
use crate::core::invoicing;
use crate::error::MeteringError;
use crate::model::add_on::AddOn;
use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::definition::{self, DefinitionError};
use crate::model::invoice::{Fee, FeeId, FeeKind, InvoiceDocument, InvoiceKind};
use crate::model::page::{PER_PAGE_MAX, Page};
use crate::model::wallets::{MovementKind, MovementStatus, WalletId, WalletTransaction};
use crate::store::fees;
use crate::store::wallets::MovementFilter;

/// Most lines of a one-off invoice.
const ITEMS_MAX: usize = 500;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneOffItem {
    /// What is sold.
    pub add_on_code: String,
    /// How many; one when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub units: Option<Exact>,
    /// Price of one, in minor units; the add-on's when absent.
    #[serde(default)]
    pub unit_amount_cents: Option<i64>,
    /// What the invoice calls it.
    #[serde(default)]
    pub name: Option<String>,
    /// A text of the seller.
    #[serde(default)]
    pub description: String,
    /// Its taxes; the add-on's when empty, then the customer's.
    #[serde(default)]
    pub tax_codes: Vec<String>,
    /// The time it is for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub from: Option<Timestamp>,
    /// Where that time ends, that moment not included.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub to: Option<Timestamp>,
}

/// A one-off invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneOff {
    /// Who pays.
    pub external_customer_id: String,
    /// Of all prices; the add-ons' own when absent, and refused where they differ.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub currency: Option<Currency>,
    /// What is sold.
    pub items: Vec<OneOffItem>,
    /// The caller's key: sent again, nothing is billed again.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}

impl Billing {
    /// Bills a customer once; the invoice is final at once.
    pub async fn bill_once(&self, by: &NhiId, request: OneOff) -> Result<InvoiceDocument, MeteringError> {
        let tenant = by.tenant();
        definition::count("items", &request.items, ITEMS_MAX)?;
        let customer = self.catalog.get::<Customer>(tenant, &request.external_customer_id).await?;
        let taxes = self.taxes(tenant).await?;
        let (mut fees, mut currency) = (Vec::new(), None);
        for item in &request.items {
            let add_on = self.catalog.get::<AddOn>(tenant, &item.add_on_code).await?.body;
            if *currency.get_or_insert(add_on.amount_currency) != add_on.amount_currency {
                return Err(DefinitionError::new("items", "are in two currencies").into());
            }
            let codes = [item.tax_codes.as_slice(), &add_on.tax_codes, &customer.body.tax_codes];
            let mut fee = one_off_fee(item, &add_on)?;
            set_taxes(&mut fee, codes.into_iter().find(|codes| !codes.is_empty()), &taxes);
            fees.push(fee);
        }
        let currency = currency.ok_or_else(|| DefinitionError::new("items", "are empty"))?;
        if let Some(asked) = request.currency.filter(|asked| *asked != currency) {
            return Err(MeteringError::CurrencyMismatch { expected: currency.to_string(), found: asked.to_string() });
        }
        check_currency(&customer.body, currency)?;
        let now = self.now(tenant).await?;
        let invoice = self.new_invoice(tenant, &customer.body, customer.id, currency, InvoiceKind::OneOff, now).await?;
        let once = match &request.idempotency_key {
            Some(key) => {
                definition::key("idempotency_key", key)?;
                format!("key:{key}")
            }
            None => String::new(),
        };
        let id = match self.insert_draft(by, invoice, fees, &once, 0).await {
            Ok(invoice) => invoice.id,
            Err(MeteringError::Conflict { .. }) if !once.is_empty() => {
                let before = store::made_once(&self.db, tenant, &once).await?;
                let before = before.ok_or_else(super::contended)?;
                if before.status != crate::model::invoice::InvoiceStatus::Draft {
                    return self.get(tenant, before.id).await;
                }
                before.id
            }
            Err(error) => return Err(error),
        };
        self.finalize(by, id).await
    }

    /// Asks for the payment of what was bought for a wallet: an invoice for each purchase that has none, final at once.
    pub async fn ask_for_payment(&self, by: &NhiId, wallet: WalletId) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let open = MovementFilter { kind: Some(MovementKind::Purchased), status: Some(MovementStatus::Pending), inbound: None };
        let bought = self.wallets.transactions(tenant, wallet, open, Page::new(1, PER_PAGE_MAX)).await?;
        for purchase in bought.items.into_iter().filter(|it| it.invoice.is_empty()) {
            let id = purchase.id;
            match self.bill_purchase(by, purchase).await {
                Ok(()) => {}
                // A run of billing was faster.
                Err(MeteringError::Conflict { code, .. }) if code == crate::store::catalog::CHANGED => {}
                Err(error) => return Err(error),
            }
            let Ok(invoice) = self.wallets.transaction(tenant, id).await?.invoice.parse() else { continue };
            match self.finalize(by, invoice).await {
                Ok(_) | Err(MeteringError::WrongState(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bills purchases of credits that no invoice asks payment for yet; how many.
    pub(super) async fn bill_purchases(&self, by: &NhiId) -> Result<u64, MeteringError> {
        const STEP_MAX: i64 = 200;
        let mut billed = 0;
        loop {
            let bought = store::unbilled_purchases(&self.db, by.tenant(), STEP_MAX).await?;
            if bought.is_empty() {
                return Ok(billed);
            }
            for purchase in bought {
                match self.bill_purchase(by, purchase).await {
                    Ok(()) => billed += 1,
                    Err(MeteringError::Conflict { code, .. }) if code == crate::store::catalog::CHANGED => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn bill_purchase(&self, by: &NhiId, mut bought: WalletTransaction) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let wallet = self.wallets.record_of(tenant, bought.wallet).await?;
        let customer = self.customer(tenant, wallet.customer).await?;
        let currency = wallet.wallet.currency;
        let now = self.now(tenant).await?;
        let mut invoice = self.new_invoice(tenant, &customer, wallet.customer, currency, InvoiceKind::Credit, now).await?;
        let cents = (Exact::from(bought.amount) * currency.subunits()).to_i64().ok_or_else(too_large)?;
        let name = if bought.name.is_empty() { "Prepaid credits".to_owned() } else { bought.name.clone() };
        let mut line = new_fee(FeeId::generate(), FeeKind::Credit, &wallet.code, name, cents, currency);
        line.units = bought.credits.clone();
        let mut fees = vec![line];
        let built = invoicing::build(&mut fees, 0, &[]).ok_or_else(too_large)?;
        (invoice.sums, invoice.taxes) = (built.sums, built.taxes);
        bought.invoice = invoice.id.to_string();
        let (body, salt) = (canonical_text(&invoice)?, fresh_salt()?);
        let written = store::Written { invoice: &invoice, body: &body, billed_to: "", salt: &salt, leaf: "" };
        let mut writes = vec![store::insert_invoice(tenant, &written, &format!("credits:{}", bought.id))];
        writes.extend(fees::replace(tenant, &invoice, &fee_rows(fees)?, now));
        writes.push(store::bill_purchase(tenant, &bought, &canonical_text(&bought)?));
        let leaf = event_leaf(&*self.clock, by, "metering.draft_invoice", &format!("invoice:{}", invoice.id))?
            .fact("customer", invoice.customer)
            .fact("kind", invoice.kind.as_str())
            .fact("total_cents", invoice.sums.total_cents);
        commit(&self.db, Sealed::new(leaf).steps(steps(writes))).await
    }
}

fn one_off_fee(item: &OneOffItem, add_on: &AddOn) -> Result<Fee, MeteringError> {
    let units = item.units.clone().unwrap_or(Exact::ONE);
    definition::positive("units", &units)?;
    let price = item.unit_amount_cents.unwrap_or(add_on.amount_cents);
    definition::cents("unit_amount_cents", price)?;
    definition::text("description", &item.description)?;
    let subunits = add_on.amount_currency.subunits();
    let precise = (&units * &Exact::from(price)).over(&subunits).unwrap_or_default();
    let cents = fee::of_amount(&precise, &subunits).to_i64().ok_or_else(too_large)?;
    let named = item.name.clone().or_else(|| add_on.invoice_display_name.clone());
    let name = named.unwrap_or_else(|| if add_on.name.is_empty() { add_on.code.clone() } else { add_on.name.clone() });
    definition::text("name", &name)?;
    let mut line = new_fee(FeeId::generate(), FeeKind::AddOn, &add_on.code, name, cents, add_on.amount_currency);
    (line.units, line.precise_amount, line.description) = (units, precise, item.description.clone());
    if let (Some(from), Some(to)) = (item.from, item.to)
        && from >= to
    {
        return Err(DefinitionError::new("to", "is not after `from`").into());
    }
    (line.from, line.to) = (item.from, item.to);
    Ok(line)
}
