//! One look through all pending leaves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use creto_db::{Db, DbError, Row, params};
use creto_kernel::{Coded, TenantId};

use super::{Options, Signer};
use crate::error::AuditError;
use crate::tenant_log::{BATCH_LEAVES_MAX, TenantLog};

/// Most logs whose edge is kept in memory; opening one again costs a few reads.
const LOGS_OPEN_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) failing: BTreeMap<TenantId, String>,
    pub(super) held_up: u64,
}

#[derive(Debug)]
pub(super) struct Sweeper {
    options: Options,
    signer: Signer,
    logs: HashMap<TenantId, TenantLog>,
    /// Logs that may lack leaves whose position is noted: all of them at the start, those that failed later.
    unsure: Option<BTreeSet<TenantId>>,
    /// Every leaf up to here was seen: another server may have noted the positions of later ones.
    seen: i64,
}

impl Sweeper {
    pub(super) fn new(options: Options, signer: Signer) -> Self {
        Self { options, signer, logs: HashMap::new(), unsure: None, seen: 0 }
    }

    /// Seals all pending leaves of all tenants. One tenant's failure does not hold up another's log.
    pub(super) async fn sweep(&mut self) -> Result<Swept, DbError> {
        let db = self.options.db.clone();
        // Read first: what is committed meanwhile is seen next time.
        let newest = db.query_optional("SELECT coalesce(max(sequence), 0) FROM audit_leaf", params![]).await?;
        let newest = newest.map_or(Ok(0), |row| row.int(0))?;
        let sql = match self.unsure {
            None => "SELECT DISTINCT tenant FROM audit_leaf WHERE sequence > $1 ORDER BY tenant",
            // Also leaves that have a position: another server gave it, and this one's files lack them.
            Some(_) => "SELECT tenant FROM audit_leaf WHERE log_index IS NULL UNION SELECT tenant FROM audit_leaf WHERE sequence > $1",
        };
        let mut tenants = self.unsure.clone().unwrap_or_default();
        for row in db.query(sql, params![self.seen]).await? {
            tenants.insert(row.parse(0)?);
        }
        let mut swept = Swept::default();
        for tenant in &tenants {
            if let Err(error) = self.grow(tenant).await {
                let reason = format!("{error} ({})", error.code());
                // Said once, not at each try.
                if !self.unsure.as_ref().is_some_and(|known| known.contains(tenant)) {
                    tracing::error!(%tenant, %reason, "the audit log cannot grow");
                }
                swept.failing.insert(tenant.clone(), reason);
                swept.held_up += pending(&db, tenant).await?;
            }
        }
        if self.logs.len() > LOGS_OPEN_MAX {
            self.logs.clear();
        }
        self.unsure = Some(swept.failing.keys().cloned().collect());
        self.seen = newest;
        Ok(swept)
    }

    /// Seals all pending leaves of a tenant, batch by batch.
    async fn grow(&mut self, tenant: &TenantId) -> Result<(), AuditError> {
        let mut log = match self.logs.remove(tenant) {
            Some(log) => log,
            None => self.open(tenant).await?,
        };
        loop {
            let entries = positioned(&self.options.db, tenant, log.size()).await?;
            if !entries.is_empty() {
                let ((keys, trusted), clock) = (self.signer.now(), Arc::clone(&self.options.clock));
                log = blocking(move || log.append(&entries, &keys, &trusted, clock.now())).await?;
            } else if !position(&self.options.db, tenant, log.size()).await? {
                self.logs.insert(tenant.clone(), log);
                return Ok(());
            }
        }
    }

    /// Opens a log and checks that it and the database tell one story.
    async fn open(&self, tenant: &TenantId) -> Result<TenantLog, AuditError> {
        let (store, trusted, whose) = (Arc::clone(&self.options.store), self.signer.trust.now(), tenant.clone());
        let (log, last) = blocking(move || {
            let log = TenantLog::open(store, &trusted, &whose)?;
            let last = log.last_entry()?;
            Ok((log, last))
        })
        .await?;
        let Some(last) = last else { return Ok(log) };
        let index = i64::try_from(log.size() - 1).unwrap_or(i64::MAX);
        let sql = "SELECT body FROM audit_leaf WHERE tenant = $1 AND log_index = $2";
        match self.options.db.query_optional(sql, params![tenant, index]).await? {
            None => {
                let reason = format!("the log has {} entries, and the database does not know the last of them", log.size());
                Err(AuditError::Rollback { path: "database".to_owned(), reason })
            }
            Some(row) if row.blob(0)? != last => Err(AuditError::Fork {
                path: "database".to_owned(),
                reason: format!("entry {index} is another leaf there than in the log"),
            }),
            Some(_) => Ok(log),
        }
    }
}

/// The entries from position `from` on that the database has noted.
async fn positioned(db: &Db, tenant: &TenantId, from: u64) -> Result<Vec<Vec<u8>>, AuditError> {
    let sql = "SELECT log_index, body FROM audit_leaf WHERE tenant = $1 AND log_index >= $2 ORDER BY log_index LIMIT $3";
    let first = i64::try_from(from).unwrap_or(i64::MAX);
    let rows = db.query(sql, params![tenant, first, batch_limit()]).await?;
    let entry = |(expected, row): (i64, &Row)| match row.int(0)? {
        index if index == expected => Ok(row.blob(1)?.to_vec()),
        _ => Err(AuditError::Rollback { path: "database".to_owned(), reason: format!("the leaf of entry {expected} is gone") }),
    };
    (first..).zip(&rows).map(entry).collect()
}

/// Notes positions, from `next` on, for the tenant's oldest leaves without one; false when there are none.
async fn position(db: &Db, tenant: &TenantId, next: u64) -> Result<bool, AuditError> {
    let sql = "SELECT sequence FROM audit_leaf WHERE tenant = $1 AND log_index IS NULL ORDER BY sequence LIMIT $2";
    let rows = db.query(sql, params![tenant, batch_limit()]).await?;
    let first = i64::try_from(next).unwrap_or(i64::MAX);
    let positions = rows.iter().zip(first..).map(|(row, index)| Ok((row.int(0)?, index))).collect::<Result<Vec<_>, DbError>>()?;
    if positions.is_empty() {
        return Ok(false);
    }
    match db.mark_sequenced(&positions).await {
        // Another server noted these positions in the same moment, for earlier leaves of the same order: read what it noted.
        Ok(()) | Err(DbError::Constraint(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

async fn pending(db: &Db, tenant: &TenantId) -> Result<u64, DbError> {
    let row = db.query_optional("SELECT count(*) FROM audit_leaf WHERE tenant = $1 AND log_index IS NULL", params![tenant]).await?;
    Ok(row.map_or(Ok(0), |row| row.int(0))?.unsigned_abs())
}

fn batch_limit() -> i64 {
    i64::try_from(BATCH_LEAVES_MAX).unwrap_or(i64::MAX)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, AuditError> + Send + 'static) -> Result<T, AuditError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(AuditError::Io { path: "sequencer".to_owned(), reason: e.to_string() }),
    }
}
