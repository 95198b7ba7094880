//! Wallets and their ledger in the database.

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Write, params};
use creto_kernel::{ErrorCode, Micros, TenantId, Timestamp};

use crate::core::exact::Exact;
use crate::model::entry::DefinitionId;
use crate::model::page::{Listed, Page};
use crate::model::wallet::{Grant, GrantKind};
use crate::model::wallets::{CreditUse, MovementKind, WalletId, WalletRecord, WalletStatus, WalletTransaction, WalletTransactionId};
use crate::store::catalog::CHANGED;
use crate::store::paging::listed;

/// The tables of wallets.
pub const WALLET_MIGRATIONS: MigrationSet = MigrationSet {
    name: "metering_wallets",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../../migrations/wallets/0001_wallets.sql"),
        postgres: include_str!("../../migrations/wallets/0001_wallets.sql"),
    }],
};

const EXISTS: ErrorCode = ErrorCode::new("metering.already_exists");
pub(crate) const ONCE: ErrorCode = ErrorCode::new("metering.already_moved");

pub(crate) fn insert_wallet(tenant: &TenantId, it: &WalletRecord, body: &str) -> Write {
    Write::new(
        "INSERT INTO meter_wallet (tenant, id, customer, code, currency, status, revision, body, expires_at, created_at) \
         SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,$10 FROM meter_definition \
         WHERE tenant = $1 AND kind = 'customer' AND id = $3 AND deleted_at IS NULL",
        params![
            tenant,
            it.id,
            it.customer,
            it.code.as_str(),
            it.wallet.currency.as_str(),
            it.status.as_str(),
            it.revision,
            body,
            it.wallet.expiration_at,
            it.created_at
        ],
    )
    .exactly(1, crate::store::catalog::UNKNOWN, "the customer was deleted meanwhile")
    .unique(EXISTS, format!("the customer has an active wallet `{}` already", it.code))
}

pub(crate) fn replace_wallet(tenant: &TenantId, it: &WalletRecord, body: &str) -> Write {
    Write::new(
        "UPDATE meter_wallet SET status = $1, revision = $2, body = $3, expires_at = $4 WHERE tenant = $5 AND id = $6 AND revision = $7",
        params![it.status.as_str(), it.revision, body, it.wallet.expiration_at, tenant, it.id, it.revision.saturating_sub(1)],
    )
    .exactly(1, CHANGED, format!("the wallet `{}` was changed meanwhile", it.code))
}

pub(crate) fn insert_transaction(tenant: &TenantId, it: &WalletTransaction, once: &str, body: &str) -> Write {
    Write::new(
        "INSERT INTO meter_wallet_transaction (tenant, id, wallet, kind, status, micros, once, invoice, body, created_at, settled_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)",
        params![
            tenant,
            it.id,
            it.wallet,
            it.kind.as_str(),
            it.status.as_str(),
            it.amount,
            once,
            it.invoice.as_str(),
            body,
            it.created_at,
            it.settled_at
        ],
    )
    .unique(ONCE, "this movement was made before")
}

/// Settles or fails a movement that waits.
pub(crate) fn decide_transaction(tenant: &TenantId, it: &WalletTransaction, body: &str) -> Write {
    Write::new(
        "UPDATE meter_wallet_transaction SET status = $1, settled_at = $2, body = $3, invoice = $4 \
         WHERE tenant = $5 AND id = $6 AND status = 'pending'",
        params![it.status.as_str(), it.settled_at, body, it.invoice.as_str(), tenant, it.id],
    )
    .exactly(1, CHANGED, "the movement was decided meanwhile")
}

/// Credits that came in together.
pub(crate) fn insert_lot(tenant: &TenantId, it: &WalletTransaction, now: Timestamp) -> Write {
    Write::new(
        "INSERT INTO meter_credit_lot (tenant, id, wallet, kind, priority, micros, left_over, expires_at, created_at) \
         VALUES ($1,$2,$3,$4,$5,$6,$6,$7,$8)",
        params![tenant, it.id, it.wallet, it.kind.as_str(), it.priority, it.amount, it.expires_at, now],
    )
}

/// Takes credits of a lot that still holds what was seen of it.
pub(crate) fn use_lot(tenant: &TenantId, transaction: WalletTransactionId, lot: &Lot, amount: Micros) -> [Write; 2] {
    [
        Write::new(
            "UPDATE meter_credit_lot SET left_over = left_over - $1 WHERE tenant = $2 AND id = $3 AND left_over = $4",
            params![amount, tenant, lot.id, lot.left],
        )
        .exactly(1, CHANGED, "the wallet was drawn from meanwhile"),
        Write::new(
            "INSERT INTO meter_credit_use (tenant, transaction_id, lot, micros) VALUES ($1,$2,$3,$4)",
            params![tenant, transaction, lot.id, amount],
        ),
    ]
}

/// One balanced posting: both lines or none; and the note that the wallet changed, where somebody watches it.
pub(crate) fn post(tenant: &TenantId, it: &WalletTransaction, currency: &str, debit: &str, credit: &str, now: Timestamp) -> [Write; 3] {
    let [debit, credit] = [("debit", debit, 0), ("credit", credit, 1)].map(|(side, account, line)| {
        Write::new(
            "INSERT INTO meter_wallet_posting (tenant, transaction_id, line, account, side, micros, currency, posted_at) \
             VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
            params![tenant, it.id, line, account, side, it.amount, currency, now],
        )
    });
    [debit, credit, super::alerts::mark_wallet(tenant, it.wallet)]
}

/// Credits that came in together, with what is left of them.
#[derive(Debug, Clone)]
pub(crate) struct Lot {
    pub(crate) id: WalletTransactionId,
    pub(crate) wallet: WalletId,
    pub(crate) kind: GrantKind,
    pub(crate) priority: u8,
    pub(crate) left: Micros,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

impl Lot {
    /// As the drawing order sees it, in units of the currency.
    pub(crate) fn grant(&self) -> Grant {
        Grant {
            id: self.id.to_string(),
            remaining: Exact::from(self.left),
            priority: u32::from(self.priority),
            expires_at: self.expires_at,
            kind: self.kind,
            created_at: self.created_at,
        }
    }
}

fn read_lot(row: &Row) -> Result<Lot, DbError> {
    Ok(Lot {
        id: row.parse(0)?,
        wallet: row.parse(1)?,
        kind: if row.text(2)? == "granted" { GrantKind::Granted } else { GrantKind::Purchased },
        priority: u8::try_from(row.int(3)?).unwrap_or(u8::MAX),
        left: Micros::new(row.int(4)?),
        expires_at: row.opt_int(5)?.and_then(Timestamp::from_micros),
        created_at: row.time(6)?,
    })
}

/// What is left in a wallet, lot by lot.
pub(crate) async fn lots(db: &Db, tenant: &TenantId, wallet: WalletId) -> Result<Vec<Lot>, DbError> {
    let sql = "SELECT id, wallet, kind, priority, left_over, expires_at, created_at FROM meter_credit_lot \
               WHERE tenant = $1 AND wallet = $2 AND left_over > 0 ORDER BY created_at, id";
    db.query(sql, params![tenant, wallet]).await?.iter().map(read_lot).collect()
}

/// Lots whose time is over and that still hold something.
pub(crate) async fn expired_lots(db: &Db, tenant: &TenantId, now: Timestamp, limit: i64) -> Result<Vec<Lot>, DbError> {
    let sql = "SELECT id, wallet, kind, priority, left_over, expires_at, created_at FROM meter_credit_lot \
               WHERE tenant = $1 AND left_over > 0 AND expires_at IS NOT NULL AND expires_at <= $2 ORDER BY expires_at, id LIMIT $3";
    db.query(sql, params![tenant, now, limit]).await?.iter().map(read_lot).collect()
}

fn read_wallet(row: &Row) -> Result<WalletRecord, DbError> {
    serde_json::from_str(row.text(0)?).map_err(|e| DbError::UnexpectedRow(format!("a wallet: {e}")))
}

pub(crate) async fn wallet(db: &Db, tenant: &TenantId, id: WalletId) -> Result<Option<WalletRecord>, DbError> {
    let sql = "SELECT body FROM meter_wallet WHERE tenant = $1 AND id = $2";
    db.query_optional(sql, params![tenant, id]).await?.as_ref().map(read_wallet).transpose()
}

/// The customer's wallet of this code: the active one, or the one that was closed last.
pub(crate) async fn wallet_by_code(
    db: &Db,
    tenant: &TenantId,
    customer: DefinitionId,
    code: &str,
) -> Result<Option<WalletRecord>, DbError> {
    let sql = "SELECT body FROM meter_wallet WHERE tenant = $1 AND customer = $2 AND code = $3 \
               ORDER BY CASE status WHEN 'active' THEN 0 ELSE 1 END, created_at DESC LIMIT 1";
    db.query_optional(sql, params![tenant, customer, code]).await?.as_ref().map(read_wallet).transpose()
}

pub(crate) async fn wallets(
    db: &Db,
    tenant: &TenantId,
    customer: Option<DefinitionId>,
    status: Option<WalletStatus>,
    page: Page,
) -> Result<Listed<WalletRecord>, DbError> {
    let sql = "SELECT body FROM meter_wallet WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR status = $3) \
               ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5";
    let counted = "SELECT COUNT(*) FROM meter_wallet WHERE tenant = $1 AND ($2 = '' OR customer = $2) AND ($3 = '' OR status = $3)";
    let values = params![tenant, customer.map_or_else(String::new, |id| id.to_string()), status.map_or("", WalletStatus::as_str)];
    listed(db, sql, counted, values, page, read_wallet).await
}

fn read_transaction(row: &Row) -> Result<WalletTransaction, DbError> {
    serde_json::from_str(row.text(0)?).map_err(|e| DbError::UnexpectedRow(format!("a movement of credits: {e}")))
}

pub(crate) async fn transaction(db: &Db, tenant: &TenantId, id: WalletTransactionId) -> Result<Option<WalletTransaction>, DbError> {
    let sql = "SELECT body FROM meter_wallet_transaction WHERE tenant = $1 AND id = $2";
    db.query_optional(sql, params![tenant, id]).await?.as_ref().map(read_transaction).transpose()
}

/// The movement that was made under this key.
pub(crate) async fn made_once(db: &Db, tenant: &TenantId, once: &str) -> Result<Option<WalletTransaction>, DbError> {
    let sql = "SELECT body FROM meter_wallet_transaction WHERE tenant = $1 AND once = $2";
    db.query_optional(sql, params![tenant, once]).await?.as_ref().map(read_transaction).transpose()
}

/// Which movements a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct MovementFilter {
    /// Of this kind only.
    pub kind: Option<MovementKind>,
    /// In this state only.
    pub status: Option<crate::model::wallets::MovementStatus>,
    /// Credits that came in only, or that went out only.
    pub inbound: Option<bool>,
}

pub(crate) async fn transactions(
    db: &Db,
    tenant: &TenantId,
    wallet: WalletId,
    filter: MovementFilter,
    page: Page,
) -> Result<Listed<WalletTransaction>, DbError> {
    let sql = "SELECT body FROM meter_wallet_transaction WHERE tenant = $1 AND wallet = $2 AND ($3 = '' OR kind = $3) \
               AND ($4 = '' OR status = $4) \
               AND ($5 = '' OR (CASE WHEN kind IN ('purchased', 'granted') THEN 'in' ELSE 'out' END) = $5) \
               ORDER BY created_at DESC, id DESC LIMIT $6 OFFSET $7";
    let counted = "SELECT COUNT(*) FROM meter_wallet_transaction WHERE tenant = $1 AND wallet = $2 AND ($3 = '' OR kind = $3) \
                   AND ($4 = '' OR status = $4) \
                   AND ($5 = '' OR (CASE WHEN kind IN ('purchased', 'granted') THEN 'in' ELSE 'out' END) = $5)";
    let values = params![
        tenant,
        wallet,
        filter.kind.map_or("", MovementKind::as_str),
        filter.status.map_or("", crate::model::wallets::MovementStatus::as_str),
        filter.inbound.map_or("", |inbound| if inbound { "in" } else { "out" })
    ];
    listed(db, sql, counted, values, page, read_transaction).await
}

/// Movements that an invoice made or asks payment for.
pub(crate) async fn transactions_of_invoice(db: &Db, tenant: &TenantId, invoice: &str) -> Result<Vec<WalletTransaction>, DbError> {
    let sql = "SELECT body FROM meter_wallet_transaction WHERE tenant = $1 AND invoice = $2 ORDER BY created_at, id";
    db.query(sql, params![tenant, invoice]).await?.iter().map(read_transaction).collect()
}

/// What a wallet's lots, uses and open purchases come to: (left, consumed by invoices, pending, last movement).
pub(crate) async fn sums(db: &Db, tenant: &TenantId, wallet: WalletId) -> Result<(Micros, Micros, Micros, Option<Timestamp>), DbError> {
    let sql = "SELECT \
        (SELECT CAST(COALESCE(SUM(left_over), 0) AS BIGINT) FROM meter_credit_lot WHERE tenant = $1 AND wallet = $2), \
        (SELECT CAST(COALESCE(SUM(micros), 0) AS BIGINT) FROM meter_wallet_transaction WHERE tenant = $1 AND wallet = $2 AND kind = 'invoiced'), \
        (SELECT CAST(COALESCE(SUM(micros), 0) AS BIGINT) FROM meter_wallet_transaction WHERE tenant = $1 AND wallet = $2 AND status = 'pending'), \
        (SELECT MAX(created_at) FROM meter_wallet_transaction WHERE tenant = $1 AND wallet = $2)";
    let row = db.query_optional(sql, params![tenant, wallet]).await?;
    row.map_or(Ok((Micros::ZERO, Micros::ZERO, Micros::ZERO, None)), |row| {
        let last = row.opt_int(3)?.and_then(Timestamp::from_micros);
        Ok((Micros::new(row.int(0)?), Micros::new(row.int(1)?), Micros::new(row.int(2)?), last))
    })
}

/// Which credits a movement used, or who used the credits of a movement.
pub(crate) async fn uses(db: &Db, tenant: &TenantId, id: WalletTransactionId) -> Result<Vec<CreditUse>, DbError> {
    let sql = "SELECT transaction_id, lot, micros FROM meter_credit_use WHERE tenant = $1 AND (transaction_id = $2 OR lot = $2) \
               ORDER BY transaction_id, lot";
    let rows = db.query(sql, params![tenant, id]).await?;
    rows.iter().map(|row| Ok(CreditUse { transaction: row.parse(0)?, lot: row.parse(1)?, amount: Micros::new(row.int(2)?) })).collect()
}

/// What is left of what a movement brought in.
pub(crate) async fn left_of(db: &Db, tenant: &TenantId, lot: WalletTransactionId) -> Result<Micros, DbError> {
    let sql = "SELECT left_over FROM meter_credit_lot WHERE tenant = $1 AND id = $2";
    db.query_optional(sql, params![tenant, lot]).await?.map_or(Ok(Micros::ZERO), |row| row.int(0).map(Micros::new))
}

/// Sums of the ledger: currency, side, how much.
pub(crate) async fn side_totals(db: &Db, tenant: &TenantId) -> Result<Vec<(String, String, Micros)>, DbError> {
    let sql = "SELECT currency, side, CAST(SUM(micros) AS BIGINT) FROM meter_wallet_posting WHERE tenant = $1 GROUP BY currency, side";
    let rows = db.query(sql, params![tenant]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), Micros::new(row.int(2)?)))).collect()
}

/// Transactions that do not balance, settled ones without postings, wallets whose lots are not what the ledger says, and lots whose uses
/// are not what is gone from them.
pub(crate) async fn disagreements(db: &Db, tenant: &TenantId) -> Result<Vec<String>, DbError> {
    let sql = "SELECT 'transaction:' || transaction_id FROM meter_wallet_posting WHERE tenant = $1 GROUP BY transaction_id \
               HAVING SUM(CASE side WHEN 'debit' THEN micros ELSE -micros END) <> 0 OR COUNT(DISTINCT currency) <> 1 \
               UNION ALL SELECT 'unposted:' || t.id FROM meter_wallet_transaction t WHERE t.tenant = $1 AND (t.status = 'settled') <> \
               EXISTS (SELECT 1 FROM meter_wallet_posting p WHERE p.tenant = t.tenant AND p.transaction_id = t.id AND p.micros = t.micros) \
               UNION ALL SELECT 'wallet:' || w.id FROM meter_wallet w WHERE w.tenant = $1 AND \
               (SELECT COALESCE(SUM(left_over), 0) FROM meter_credit_lot l WHERE l.tenant = w.tenant AND l.wallet = w.id) <> \
               (SELECT COALESCE(SUM(CASE side WHEN 'credit' THEN micros ELSE -micros END), 0) FROM meter_wallet_posting p \
               WHERE p.tenant = w.tenant AND p.account = 'wallet:' || w.id) \
               UNION ALL SELECT 'lot:' || l.id FROM meter_credit_lot l WHERE l.tenant = $1 AND l.micros - l.left_over <> \
               (SELECT COALESCE(SUM(u.micros), 0) FROM meter_credit_use u WHERE u.tenant = l.tenant AND u.lot = l.id)";
    db.query(sql, params![tenant]).await?.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Active wallets after this one: the passes over time walk them.
pub(crate) async fn walk(db: &Db, tenant: &TenantId, after: &str, limit: i64) -> Result<Vec<WalletRecord>, DbError> {
    let sql = "SELECT body FROM meter_wallet WHERE tenant = $1 AND status = 'active' AND id > $2 ORDER BY id LIMIT $3";
    db.query(sql, params![tenant, after, limit]).await?.iter().map(read_wallet).collect()
}
