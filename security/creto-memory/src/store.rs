//! Items in the database.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Sql, Write, params};
use creto_kernel::id::LeafId;
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::core::words::{fts5, words};
use crate::model::item::{Change, ChangeKind, Item, MemoryId};
use crate::model::untrusted::Untrusted;

/// This crate's tables.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "memory",
    migrations: &[Migration {
        version: 1,
        sqlite: include_str!("../migrations/0001_memory.sqlite.sql"),
        postgres: include_str!("../migrations/0001_memory.postgres.sql"),
    }],
};

/// Most items one call answers.
pub(crate) const ITEMS_MAX: u32 = 100;

const BY_ID: &str = "SELECT id, author, source, body, valid_from, valid_to, action, supersedes, recorded_at, leaf FROM memory_item \
     WHERE tenant = $1 AND id = $2";
const BY_ACTION: &str = "SELECT id, author, source, body, valid_from, valid_to, action, supersedes, recorded_at, leaf FROM memory_item \
     WHERE tenant = $1 AND action = $2 ORDER BY position LIMIT $3";
const SEARCH_SQLITE: &str = "SELECT i.id, i.author, i.source, i.body, i.valid_from, i.valid_to, i.action, i.supersedes, i.recorded_at, i.leaf \
     FROM memory_words JOIN memory_item i ON i.position = memory_words.rowid \
     WHERE memory_words MATCH $1 AND i.tenant = $2 AND ($3 = '' OR i.author = $3) \
     AND i.valid_from <= $4 AND (i.valid_to IS NULL OR i.valid_to > $4) ORDER BY i.position DESC LIMIT $5";
const SEARCH_POSTGRES: &str = "SELECT i.id, i.author, i.source, i.body, i.valid_from, i.valid_to, i.action, i.supersedes, i.recorded_at, i.leaf \
     FROM memory_item i \
     WHERE i.words @@ to_tsquery('simple', $1) AND i.tenant = $2 AND ($3 = '' OR i.author = $3) \
     AND i.valid_from <= $4 AND (i.valid_to IS NULL OR i.valid_to > $4) ORDER BY i.position DESC LIMIT $5";

pub(crate) fn insert(tenant: &TenantId, item: &Item, text: &str, salt: &[u8]) -> Write {
    Write::new(
        "INSERT INTO memory_item (id, tenant, author, source, body, salt, valid_from, valid_to, action, supersedes, recorded_at, leaf) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        params![
            item.id,
            tenant,
            &item.author,
            item.source.raw(),
            text,
            salt,
            item.valid_from,
            item.valid_to,
            item.action,
            item.supersedes,
            item.recorded_at,
            item.leaf
        ],
    )
}

/// Ends an item's validity at a moment before its present end.
pub(crate) fn end(tenant: &TenantId, id: MemoryId, at: Timestamp) -> Write {
    Write::new(
        "UPDATE memory_item SET valid_to = $1 WHERE tenant = $2 AND id = $3 AND valid_from <= $4 AND (valid_to IS NULL OR valid_to > $4)",
        params![at, tenant, id, at],
    )
    .exactly(1, ErrorCode::new("memory.not_valid"), format!("item `{id}` is not valid at {at}: it starts later, or ended before"))
}

/// Erases an item's text and salt.
pub(crate) fn erase(tenant: &TenantId, id: MemoryId) -> Write {
    Write::new("UPDATE memory_item SET body = NULL, salt = NULL WHERE tenant = $1 AND id = $2 AND body IS NOT NULL", params![tenant, id])
        .exactly(1, ErrorCode::new("memory.forgotten"), format!("item `{id}` was forgotten before"))
}

/// Which items are erased together: of one author or of all, reasons of one action or all, recorded before a moment.
#[derive(Debug, Clone)]
pub struct Erase {
    /// Of this author only.
    pub author: Option<NhiId>,
    /// Reasons of this action only.
    pub action: Option<Digest>,
    /// Recorded before this moment.
    pub before: Timestamp,
}

/// Erases many items: their history first, while it can be told which.
pub(crate) fn erase_all(tenant: &TenantId, what: &Erase, by: &NhiId, at: Timestamp, leaf: LeafId, count: Arc<AtomicU64>) -> [Write; 2] {
    let text = |value: Option<String>| value.unwrap_or_default();
    let (author, action) = (text(what.author.as_ref().map(ToString::to_string)), text(what.action.map(|action| action.to_string())));
    let note = "INSERT INTO memory_change (tenant, item, kind, actor, at, leaf) SELECT tenant, id, $5, $6, $7, $8 FROM memory_item
        WHERE tenant = $1 AND recorded_at < $2 AND ($3 = '' OR author = $3) AND ($4 = '' OR action = $4) AND body IS NOT NULL";
    let erase = "UPDATE memory_item SET body = NULL, salt = NULL
        WHERE tenant = $1 AND recorded_at < $2 AND ($3 = '' OR author = $3) AND ($4 = '' OR action = $4) AND body IS NOT NULL";
    [
        Write::new(note, params![tenant, what.before, &*author, &*action, ChangeKind::Forgotten.as_str(), by, at, leaf]),
        Write::new(erase, params![tenant, what.before, &*author, &*action]).counted(count),
    ]
}

pub(crate) fn change(tenant: &TenantId, id: MemoryId, kind: ChangeKind, by: &NhiId, at: Timestamp, leaf: LeafId) -> Write {
    Write::new(
        "INSERT INTO memory_change (tenant, item, kind, actor, at, leaf) VALUES ($1, $2, $3, $4, $5, $6)",
        params![tenant, id, kind.as_str(), by, at, leaf],
    )
}

pub(crate) async fn by_id(db: &Db, tenant: &TenantId, id: MemoryId) -> Result<Option<Item>, DbError> {
    db.query_optional(BY_ID, params![tenant, id]).await?.as_ref().map(item).transpose()
}

pub(crate) async fn by_action(db: &Db, tenant: &TenantId, action: Digest) -> Result<Vec<Item>, DbError> {
    db.query(BY_ACTION, params![tenant, action, ITEMS_MAX]).await?.iter().map(item).collect()
}

/// Items whose text has every word of `text`, latest first; none where `text` has no word.
pub(crate) async fn search(
    db: &Db,
    tenant: &TenantId,
    text: &str,
    author: Option<&NhiId>,
    at: Timestamp,
    limit: u32,
) -> Result<Vec<Item>, DbError> {
    let words = words(text);
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = match db.engine() {
        creto_db::Engine::Sqlite => fts5(&words),
        creto_db::Engine::Postgres => words.join(" & "),
    };
    let author = author.map_or("", NhiId::as_str);
    let sql = Sql::per_engine(SEARCH_SQLITE, SEARCH_POSTGRES);
    db.query(sql, params![wanted, tenant, author, at, limit.min(ITEMS_MAX)]).await?.iter().map(item).collect()
}

pub(crate) async fn history(db: &Db, tenant: &TenantId, id: MemoryId) -> Result<Vec<Change>, DbError> {
    let sql = "SELECT kind, actor, at, leaf FROM memory_change WHERE tenant = $1 AND item = $2 ORDER BY position";
    let rows = db.query(sql, params![tenant, id]).await?;
    rows.iter()
        .map(|row| {
            let kind = row.text(0)?;
            let kind = ChangeKind::read(kind).ok_or_else(|| DbError::UnexpectedRow(format!("`{kind}` is no change of a memory item")))?;
            Ok(Change { kind, by: row.parse(1)?, at: row.time(2)?, leaf: row.parse(3)? })
        })
        .collect()
}

fn item(row: &Row) -> Result<Item, DbError> {
    Ok(Item {
        id: row.parse(0)?,
        author: row.parse(1)?,
        source: Untrusted::new(row.text(2)?.to_owned()),
        text: row.opt_text(3)?.map(|text| Untrusted::new(text.to_owned())),
        valid_from: row.time(4)?,
        valid_to: row.opt_int(5)?.and_then(Timestamp::from_micros),
        action: row.opt_parse(6)?,
        supersedes: row.opt_parse(7)?,
        recorded_at: row.time(8)?,
        leaf: row.parse(9)?,
    })
}
