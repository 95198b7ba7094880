//! Wallets: prepaid credits in a double-entry ledger. Every movement is one commit with its balanced posting and its leaf.
//!
//! INVARIANT: in each transaction debits equal credits, what the ledger says of a wallet is what its lots hold, and postings are only ever
//! inserted.

mod passes;

use std::sync::Arc;

use creto_db::{Db, Sealed, Write};
use creto_enablement_common::webhook::Webhooks;
use creto_kernel::{Clock, Micros, NhiId, TenantId, Timestamp};
use serde_json::json;

use crate::catalog::{Catalog, boxed, canonical_text, check_currency, commit, event_leaf};
use crate::core::credits;
use crate::core::exact::Exact;
use crate::error::MeteringError;
use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::definition::DefinitionError;
use crate::model::entry::DefinitionId;
use crate::model::page::{Listed, Page};
use crate::model::wallet::Wallet;
use crate::model::wallets::{
    CreditUse, Movement, MovementKind, MovementStatus, WalletId, WalletInput, WalletRecord, WalletState, WalletStatus, WalletTransaction,
    WalletTransactionId, check_metadata,
};
use crate::store::catalog::CHANGED;
use crate::store::wallets as store;

pub use passes::Filled;

/// How often a change is tried again when somebody else was faster.
const TRIES_MAX: usize = 16;
/// Most one movement is worth, in millionths: a mistake must not fill an account for ever.
const MOVEMENT_MAX: Micros = Micros::new(1_000_000_000_000_000);

/// Wallets of a database.
#[derive(Debug, Clone)]
pub struct Wallets {
    pub(crate) db: Db,
    clock: Arc<dyn Clock>,
    catalog: Catalog,
}

/// What is asked to be moved, with where it comes from.
struct Asked<'a> {
    kind: MovementKind,
    credits: &'a Exact,
    movement: &'a Movement,
    source: &'a str,
    once: String,
}

impl Wallets {
    /// The wallets in `db`, of the customers in `catalog`.
    #[must_use]
    pub const fn new(db: Db, clock: Arc<dyn Clock>, catalog: Catalog) -> Self {
        Self { db, clock, catalog }
    }

    /// The catalog its customers are in.
    pub(crate) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// A changed wallet's definition, checked like a new one.
    pub(crate) fn checked(&self, wallet: Wallet) -> Result<Wallet, MeteringError> {
        let again = serde_json::to_value(&wallet).and_then(serde_json::from_value);
        again.map_err(|e| DefinitionError::new("wallet", e.to_string()).into())
    }

    /// Makes a wallet, with the credits it begins with: one commit.
    pub async fn create(&self, by: &NhiId, input: WalletInput) -> Result<WalletState, MeteringError> {
        check_metadata(&input.metadata)?;
        check_metadata(&input.transaction_metadata)?;
        crate::model::definition::text("transaction_name", &input.transaction_name)?;
        let tenant = by.tenant();
        let customer = self.catalog.get::<Customer>(tenant, &input.external_customer_id).await?;
        check_currency(&customer.body, input.wallet.currency)?;
        let (id, now) = (WalletId::generate(), self.clock.now());
        let record = WalletRecord {
            id,
            customer: customer.id,
            external_customer_id: customer.body.external_id.clone(),
            code: input.code.unwrap_or_else(|| id.to_string()),
            rules_due: passes::first_due(&input.wallet, now),
            wallet: input.wallet,
            status: WalletStatus::Active,
            metadata: input.metadata,
            created_at: now,
            updated_at: now,
            terminated_at: None,
            revision: 1,
        };
        crate::model::definition::key("code", &record.code)?;
        let mut writes = vec![store::insert_wallet(tenant, &record, &canonical_text(&record)?)];
        writes.extend(self.catalog.first_currency(by, &customer, record.wallet.currency)?);
        let movement = Movement {
            paid_credits: input.paid_credits,
            granted_credits: input.granted_credits,
            name: input.transaction_name,
            metadata: input.transaction_metadata,
            ..Movement::default()
        };
        let mut made = Vec::new();
        for (kind, credits) in inbound(&movement) {
            let asked = Asked { kind, credits, movement: &movement, source: "manual", once: String::new() };
            let (transaction, more) = self.movement(tenant, &record, &asked, now)?;
            made.push(transaction);
            writes.extend(more);
        }
        let leaf = event_leaf(&*self.clock, by, "metering.create_wallet", &format!("wallet:{id}"))?
            .fact("customer", customer.id)
            .fact("currency", record.wallet.currency);
        commit(&self.db, told(tenant, &made, Sealed::new(leaf).steps(boxed(writes)))).await?;
        self.state(tenant, record).await
    }

    /// Moves credits: what is bought waits for its payment, what is given or taken back is there at once. The same idempotency key again
    /// answers what was made the first time.
    pub async fn move_credits(&self, by: &NhiId, id: WalletId, movement: Movement) -> Result<Vec<WalletTransaction>, MeteringError> {
        movement.check()?;
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let record = self.record_of(tenant, id).await?;
            if record.status != WalletStatus::Active {
                return Err(MeteringError::WrongState(format!("the wallet `{}` is closed", record.code)));
            }
            if let Some(before) = self.made_before(tenant, &movement).await? {
                return Ok(before);
            }
            match self.move_once(by, &record, &movement, "manual").await {
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED || code == store::ONCE => {}
                other => return other,
            }
        }
        Err(contended())
    }

    async fn move_once(
        &self,
        by: &NhiId,
        record: &WalletRecord,
        movement: &Movement,
        source: &str,
    ) -> Result<Vec<WalletTransaction>, MeteringError> {
        let (tenant, now) = (by.tenant(), self.clock.now());
        let (mut made, mut writes) = (Vec::new(), Vec::new());
        for (kind, credits) in inbound(movement) {
            let asked = Asked { kind, credits, movement, source, once: once(movement, kind) };
            let (transaction, more) = self.movement(tenant, record, &asked, now)?;
            made.push(transaction);
            writes.extend(more);
        }
        if let Some(credits) = movement.voided_credits.as_ref().filter(|credits| credits.is_positive()) {
            let asked = Asked { kind: MovementKind::Voided, credits, movement, source, once: once(movement, MovementKind::Voided) };
            let transaction = transaction_of(record, &asked, now)?;
            writes.extend(self.draw(tenant, record, &transaction, &asked.once, "voided", now).await?);
            made.push(transaction);
        }
        let mut leaf = event_leaf(&*self.clock, by, "metering.move_credits", &format!("wallet:{}", record.id))?;
        for transaction in &made {
            leaf = leaf.fact(transaction.kind.as_str(), transaction.amount).fact("transaction", transaction.id);
        }
        commit(&self.db, told(tenant, &made, Sealed::new(leaf).steps(boxed(writes)))).await?;
        Ok(made)
    }

    /// The steps of credits that come in.
    fn movement(
        &self,
        tenant: &TenantId,
        record: &WalletRecord,
        asked: &Asked<'_>,
        now: Timestamp,
    ) -> Result<(WalletTransaction, Vec<Write>), MeteringError> {
        let transaction = transaction_of(record, asked, now)?;
        let mut writes = vec![store::insert_transaction(tenant, &transaction, &asked.once, &canonical_text(&transaction)?)];
        if transaction.status == MovementStatus::Settled {
            writes.push(store::insert_lot(tenant, &transaction, now));
            writes.extend(post_inbound(tenant, record, &transaction, now));
        }
        Ok((transaction, writes))
    }

    /// The steps of credits that go out: lots in their drawing order, the movement, its posting. Refused where there is less.
    async fn draw(
        &self,
        tenant: &TenantId,
        record: &WalletRecord,
        transaction: &WalletTransaction,
        once: &str,
        to: &str,
        now: Timestamp,
    ) -> Result<Vec<Write>, MeteringError> {
        let lots: Vec<_> = store::lots(&self.db, tenant, record.id).await?;
        let alive: Vec<_> = lots.into_iter().filter(|lot| lot.expires_at.is_none_or(|at| at > now)).collect();
        let grants: Vec<_> = alive.iter().map(store::Lot::grant).collect();
        let drawn = credits::draw_down(&grants, &Exact::from(transaction.amount)).map_err(|exceeds| {
            MeteringError::InsufficientCredits { asked: transaction.amount, available: exceeds.available.to_micros().unwrap_or_default() }
        })?;
        let mut writes = vec![store::insert_transaction(tenant, transaction, once, &canonical_text(transaction)?)];
        for (lot, amount) in alive.iter().zip(&drawn.drawn) {
            let amount = amount.to_micros().unwrap_or_default();
            if amount > Micros::ZERO {
                writes.extend(store::use_lot(tenant, transaction.id, lot, amount));
            }
        }
        let from = format!("wallet:{}", record.id);
        writes.extend(store::post(tenant, transaction, record.wallet.currency.as_str(), &from, to, now));
        Ok(writes)
    }

    /// The steps by which a wallet pays an invoice. They hold only while the wallet is as it was seen; then the caller looks again.
    pub(crate) async fn pay(
        &self,
        tenant: &TenantId,
        record: &WalletRecord,
        amount: Micros,
        invoice: &str,
    ) -> Result<(WalletTransaction, Vec<Write>), MeteringError> {
        let now = self.clock.now();
        let credits = credits_of(record, amount);
        let movement = Movement::default();
        let asked = Asked { kind: MovementKind::Invoiced, credits: &credits, movement: &movement, source: "invoice", once: String::new() };
        let mut transaction = transaction_of(record, &asked, now)?;
        (transaction.amount, transaction.invoice) = (amount, invoice.to_owned());
        let once = format!("pays:{invoice}:{}", record.id);
        let writes = self.draw(tenant, record, &transaction, &once, &format!("invoice:{invoice}"), now).await?;
        Ok((transaction, writes))
    }

    /// The steps by which what a voided invoice took from wallets comes back, each lot as it was.
    pub(crate) async fn give_back(&self, tenant: &TenantId, invoice: &str) -> Result<Vec<Write>, MeteringError> {
        let now = self.clock.now();
        let mut writes = Vec::new();
        for paid in store::transactions_of_invoice(&self.db, tenant, invoice).await? {
            if paid.kind != MovementKind::Invoiced {
                continue;
            }
            let record = self.record_of(tenant, paid.wallet).await?;
            let mut back = paid.clone();
            back.id = WalletTransactionId::generate();
            (back.kind, back.source, back.created_at, back.settled_at) = (MovementKind::Granted, "invoice".to_owned(), now, Some(now));
            writes.push(store::insert_transaction(tenant, &back, &format!("back:{}", paid.id), &canonical_text(&back)?));
            writes.push(store::insert_lot(tenant, &back, now));
            let (debit, credit) = (format!("invoice:{invoice}"), format!("wallet:{}", record.id));
            writes.extend(store::post(tenant, &back, record.wallet.currency.as_str(), &debit, &credit, now));
        }
        Ok(writes)
    }

    /// A purchase was paid: its credits come in.
    pub async fn settle(&self, by: &NhiId, id: WalletTransactionId) -> Result<WalletTransaction, MeteringError> {
        let (settled, writes) = self.settling(by.tenant(), id).await?;
        let leaf = event_leaf(&*self.clock, by, "metering.settle_credits", &format!("wallet:{}", settled.wallet))?
            .fact("transaction", settled.id)
            .fact("amount", settled.amount);
        commit(&self.db, Sealed::new(leaf).steps(boxed(writes))).await?;
        Ok(settled)
    }

    /// The steps by which a purchase that was paid comes in.
    pub(crate) async fn settling(
        &self,
        tenant: &TenantId,
        id: WalletTransactionId,
    ) -> Result<(WalletTransaction, Vec<Write>), MeteringError> {
        let now = self.clock.now();
        let mut it = self.waiting(tenant, id).await?;
        let record = self.record_of(tenant, it.wallet).await?;
        (it.status, it.settled_at) = (MovementStatus::Settled, Some(now));
        let mut writes = vec![store::decide_transaction(tenant, &it, &canonical_text(&it)?), store::insert_lot(tenant, &it, now)];
        writes.extend(post_inbound(tenant, &record, &it, now));
        Ok((it, writes))
    }

    /// A purchase was not paid: it never comes in.
    pub async fn fail(&self, by: &NhiId, id: WalletTransactionId) -> Result<WalletTransaction, MeteringError> {
        let mut it = self.waiting(by.tenant(), id).await?;
        (it.status, it.failed_at) = (MovementStatus::Failed, Some(self.clock.now()));
        let leaf = event_leaf(&*self.clock, by, "metering.fail_credits", &format!("wallet:{}", it.wallet))?.fact("transaction", it.id);
        let write = store::decide_transaction(by.tenant(), &it, &canonical_text(&it)?);
        commit(&self.db, Sealed::new(leaf).step(write)).await?;
        Ok(it)
    }

    async fn waiting(&self, tenant: &TenantId, id: WalletTransactionId) -> Result<WalletTransaction, MeteringError> {
        let it = self.transaction(tenant, id).await?;
        if it.status == MovementStatus::Pending {
            return Ok(it);
        }
        Err(MeteringError::WrongState(format!("the movement `{id}` is {}", it.status.as_str())))
    }

    /// Changes what a wallet is. Its currency and what a credit is worth stay.
    pub async fn update(
        &self,
        by: &NhiId,
        id: WalletId,
        change: impl FnOnce(&mut WalletRecord) + Send,
    ) -> Result<WalletState, MeteringError> {
        let before = self.record_of(by.tenant(), id).await?;
        let mut after = before.clone();
        change(&mut after);
        if after.wallet.currency != before.wallet.currency || after.wallet.rate_amount != before.wallet.rate_amount {
            return Err(DefinitionError::new("wallet", "keeps its `currency` and `rate_amount`: its credits have that worth").into());
        }
        check_metadata(&after.metadata)?;
        let now = self.clock.now();
        if after.wallet.recurring_transaction_rules != before.wallet.recurring_transaction_rules {
            after.rules_due = passes::first_due(&after.wallet, now);
        }
        (after.id, after.customer, after.updated_at, after.revision) = (id, before.customer, now, before.revision.saturating_add(1));
        let leaf = event_leaf(&*self.clock, by, "metering.update_wallet", &format!("wallet:{id}"))?
            .fact("revision", after.revision)
            .fact("status", after.status.as_str());
        commit(&self.db, Sealed::new(leaf).step(store::replace_wallet(by.tenant(), &after, &canonical_text(&after)?))).await?;
        self.state(by.tenant(), after).await
    }

    /// Closes a wallet: what is left in it stays in the ledger, and pays nothing.
    pub async fn terminate(&self, by: &NhiId, id: WalletId) -> Result<WalletState, MeteringError> {
        let now = self.clock.now();
        if self.record_of(by.tenant(), id).await?.status == WalletStatus::Terminated {
            return Err(MeteringError::WrongState("the wallet is closed already".to_owned()));
        }
        self.update(by, id, |it| (it.status, it.terminated_at) = (WalletStatus::Terminated, Some(now))).await
    }

    /// A wallet with what the ledger says of it.
    pub async fn get(&self, tenant: &TenantId, id: WalletId) -> Result<WalletState, MeteringError> {
        let record = self.record_of(tenant, id).await?;
        self.state(tenant, record).await
    }

    /// A customer's wallet by its code: the active one, or the one that was closed last.
    pub async fn by_code(&self, tenant: &TenantId, external_customer_id: &str, code: &str) -> Result<WalletState, MeteringError> {
        let customer = self.catalog.get::<Customer>(tenant, external_customer_id).await?.id;
        let found = store::wallet_by_code(&self.db, tenant, customer, code).await?;
        let record = found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "wallet", code: code.to_owned() })?;
        self.state(tenant, record).await
    }

    /// What is left of the credits that a movement brought in.
    pub async fn left_of(&self, tenant: &TenantId, it: &WalletTransaction) -> Result<Micros, MeteringError> {
        Ok(store::left_of(&self.db, tenant, it.id).await?)
    }

    /// A page of wallets, newest first.
    pub async fn list(
        &self,
        tenant: &TenantId,
        customer: Option<DefinitionId>,
        status: Option<WalletStatus>,
        page: Page,
    ) -> Result<Listed<WalletState>, MeteringError> {
        let Listed { items, page, per_page, total } = store::wallets(&self.db, tenant, customer, status, page).await?;
        let mut states = Vec::new();
        for record in items {
            states.push(self.state(tenant, record).await?);
        }
        Ok(Listed { items: states, page, per_page, total })
    }

    /// One movement.
    pub async fn transaction(&self, tenant: &TenantId, id: WalletTransactionId) -> Result<WalletTransaction, MeteringError> {
        let found = store::transaction(&self.db, tenant, id).await?;
        found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "movement of credits", code: id.to_string() })
    }

    /// A page of a wallet's movements, newest first.
    pub async fn transactions(
        &self,
        tenant: &TenantId,
        id: WalletId,
        filter: store::MovementFilter,
        page: Page,
    ) -> Result<Listed<WalletTransaction>, MeteringError> {
        self.record_of(tenant, id).await?;
        Ok(store::transactions(&self.db, tenant, id, filter, page).await?)
    }

    /// From a top-up to its spending and back: which credits a movement used, and who used the credits of a movement.
    pub async fn uses(&self, tenant: &TenantId, id: WalletTransactionId) -> Result<Vec<CreditUse>, MeteringError> {
        self.transaction(tenant, id).await?;
        Ok(store::uses(&self.db, tenant, id).await?)
    }

    pub(crate) async fn record_of(&self, tenant: &TenantId, id: WalletId) -> Result<WalletRecord, MeteringError> {
        let found = store::wallet(&self.db, tenant, id).await?;
        found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "wallet", code: id.to_string() })
    }

    pub(crate) async fn state(&self, tenant: &TenantId, record: WalletRecord) -> Result<WalletState, MeteringError> {
        let (balance, consumed, pending, last_movement_at) = store::sums(&self.db, tenant, record.id).await?;
        let credits_balance = credits_of(&record, balance);
        Ok(WalletState { record, balance, credits_balance, consumed, pending, last_movement_at })
    }

    async fn made_before(&self, tenant: &TenantId, movement: &Movement) -> Result<Option<Vec<WalletTransaction>>, MeteringError> {
        if movement.idempotency_key.is_none() {
            return Ok(None);
        }
        let mut before = Vec::new();
        for kind in [MovementKind::Purchased, MovementKind::Granted, MovementKind::Voided] {
            before.extend(store::made_once(&self.db, tenant, &once(movement, kind)).await?);
        }
        Ok((!before.is_empty()).then_some(before))
    }
}

/// Tells whoever asked of each movement by itself: a leaf says how much moved in all.
fn told(tenant: &TenantId, made: &[WalletTransaction], sealed: Sealed) -> Sealed {
    made.iter().fold(sealed, |sealed, it| {
        let facts = json!({ "transaction": it.id, "kind": it.kind, "status": it.status, "amount": it.amount });
        let data = json!({ "resource": format!("wallet:{}", it.wallet), "facts": facts });
        sealed.message(Webhooks::message(tenant, "metering.wallet_transaction", it.created_at, &data))
    })
}

/// What comes in, of a movement.
fn inbound(movement: &Movement) -> impl Iterator<Item = (MovementKind, &Exact)> {
    let both = [(MovementKind::Purchased, &movement.paid_credits), (MovementKind::Granted, &movement.granted_credits)];
    both.into_iter().filter_map(|(kind, credits)| credits.as_ref().filter(|credits| credits.is_positive()).map(|credits| (kind, credits)))
}

fn once(movement: &Movement, kind: MovementKind) -> String {
    movement.idempotency_key.as_ref().map_or_else(String::new, |key| format!("key:{}:{key}", kind.as_str()))
}

/// A movement of so many credits: they are worth whole minor units, and as many credits as that is.
fn transaction_of(record: &WalletRecord, asked: &Asked<'_>, now: Timestamp) -> Result<WalletTransaction, MeteringError> {
    let wallet = &record.wallet;
    let too_much = || DefinitionError::new("credits", "are worth nothing, or more than one movement may be");
    let bought = credits::bought(asked.credits, &wallet.rate_amount, &wallet.currency.subunits()).ok_or_else(too_much)?;
    let amount = micros_of(&bought.amount_cents, wallet.currency).filter(|amount| *amount <= MOVEMENT_MAX && *amount > Micros::ZERO);
    let settled = asked.kind != MovementKind::Purchased;
    Ok(WalletTransaction {
        id: WalletTransactionId::generate(),
        wallet: record.id,
        kind: asked.kind,
        status: if settled { MovementStatus::Settled } else { MovementStatus::Pending },
        amount: amount.ok_or_else(too_much)?,
        credits: bought.credits,
        priority: asked.movement.priority.unwrap_or(wallet.priority),
        expires_at: asked.movement.expires_at.or(wallet.expiration_at),
        name: asked.movement.name.clone(),
        source: asked.source.to_owned(),
        invoice: String::new(),
        metadata: asked.movement.metadata.clone(),
        created_at: now,
        settled_at: settled.then_some(now),
        failed_at: None,
    })
}

fn post_inbound(tenant: &TenantId, record: &WalletRecord, it: &WalletTransaction, now: Timestamp) -> [Write; 3] {
    let from = match it.kind {
        MovementKind::Purchased => format!("receivable:{}", record.customer),
        _ => "promotion".to_owned(),
    };
    store::post(tenant, it, record.wallet.currency.as_str(), &from, &format!("wallet:{}", record.id), now)
}

/// An amount of the wallet's currency in credits.
fn credits_of(record: &WalletRecord, amount: Micros) -> Exact {
    Exact::from(amount).over(&record.wallet.rate_amount).unwrap_or_default()
}

/// Minor units as millionths of the unit.
pub(crate) fn micros_of(cents: &Exact, currency: Currency) -> Option<Micros> {
    cents.over(&currency.subunits())?.to_micros()
}

fn contended() -> MeteringError {
    MeteringError::Conflict { code: CHANGED, message: "the wallet is changed by many at once".to_owned() }
}
