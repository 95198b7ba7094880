//! Who settles an intent: the server that opened it, for as long as that lives. What nobody will settle is marked in doubt, by the same
//! server where it noticed, by any other once the lease of a dead one is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use creto_db::{DbError, Sealed, Write, params};
use creto_kernel::id::{AdmissionId, LeafId};
use creto_kernel::{Coded, Kind, NhiId, TenantId};

use super::{ActionRow, Gate, Granted, Outcome, actions, refusal_of, with};
use crate::refusal::Refusal;

creto_kernel::typed_ids! {
    /// A server, by the name it keeps between starts.
    ServerId = "srv";
}

/// How long a server is taken to be alive after it last said so. Longer than any pause of a healthy one; clocks of servers that share a
/// database differ by much less.
pub const SERVER_LEASE: Duration = Duration::from_secs(30);
/// How often a server says that it is alive, and looks after its intents.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Most outcomes that are kept while the database cannot serve; one more leaves its intent in doubt.
const UNSETTLED_MAX: usize = 10_000;

/// Admissions somebody in this process will settle.
#[derive(Clone, Debug, Default)]
pub(super) struct Live(Arc<Mutex<HashMap<AdmissionId, usize>>>);

/// A place among the live ones; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Place {
    live: Live,
    admission: AdmissionId,
}

impl Live {
    pub(super) fn enter(&self, admission: AdmissionId) -> Place {
        *self.lock().entry(admission).or_default() += 1;
        Place { live: self.clone(), admission }
    }

    pub(super) fn has(&self, admission: AdmissionId) -> bool {
        self.lock().contains_key(&admission)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AdmissionId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut live = self.live.lock();
        match live.get_mut(&self.admission) {
            Some(holders) if *holders > 1 => *holders -= 1,
            _ => _ = live.remove(&self.admission),
        }
    }
}

/// Outcomes the database could not take.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<Vec<(Granted, Outcome)>>);

impl Unsettled {
    pub(super) fn keep(&self, granted: Granted, outcome: Outcome) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < UNSETTLED_MAX {
            kept.push((granted, outcome));
        } else {
            tracing::error!(admission = %granted.admission(), "too many outcomes wait for the database; this one is in doubt");
        }
    }

    fn take(&self) -> Vec<(Granted, Outcome)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) fn own(tenant: &TenantId, admission: AdmissionId, server: &ServerId) -> Write {
    Write::new(
        "INSERT INTO gate_open (tenant, admission, server) VALUES ($1,$2,$3) \
         ON CONFLICT (tenant, admission) DO UPDATE SET server = excluded.server",
        params![tenant, admission, server.to_string()],
    )
}

pub(super) fn disown(tenant: &TenantId, admission: AdmissionId) -> Write {
    Write::new("DELETE FROM gate_open WHERE tenant = $1 AND admission = $2", params![tenant, admission])
}

impl Gate {
    /// Marks the intents that an earlier start of this server left without outcome, and those of servers that are dead, as IN_DOUBT, each
    /// with its leaf. Called once when a server starts, before it serves. Answers how many there were.
    pub async fn mark_in_doubt(&self, by: &NhiId) -> Result<u64, Refusal> {
        self.say_alive(SERVER_LEASE).await?;
        self.mark(by, |_| true).await
    }

    /// One heartbeat: says that this server is alive, records outcomes the database could not take before, and marks as IN_DOUBT what
    /// nobody will settle: admissions that were dropped, and intents of servers that are dead. Answers how many were marked.
    ///
    /// Errors: the database cannot serve; the next heartbeat tries again, and no outcome is lost by that.
    pub async fn tend(&self, by: &NhiId) -> Result<u64, Refusal> {
        self.say_alive(SERVER_LEASE).await?;
        for (granted, outcome) in self.unsettled.take() {
            let admission = granted.admission();
            match self.settle(granted, outcome).await {
                Ok(_) => tracing::info!(%admission, "an outcome the database could not take before is recorded"),
                // Kept again by `settle`; there is no use in trying the others now.
                Err(refusal) if refusal.kind() == Kind::Unavailable => {}
                Err(refusal) => tracing::error!(%admission, %refusal, "an outcome cannot be recorded; the action is in doubt"),
            }
        }
        self.mark(by, |row| !self.live.has(row.admission)).await
    }

    /// Says that this server ends: whatever it leaves without outcome is anybody's to mark, at once.
    pub async fn leave(&self) -> Result<(), Refusal> {
        self.say_alive(Duration::ZERO).await
    }

    async fn say_alive(&self, lease: Duration) -> Result<(), Refusal> {
        let until = self.options.clock.now().saturating_add(lease);
        let sql = "INSERT INTO gate_server (server, lease_until) VALUES ($1,$2) \
                   ON CONFLICT (server) DO UPDATE SET lease_until = excluded.lease_until RETURNING server";
        self.options.db.upkeep(sql, params![self.server.to_string(), until]).await.map(drop).map_err(refusal_of)
    }

    async fn mark(&self, by: &NhiId, nobodys: impl Fn(&ActionRow) -> bool) -> Result<u64, Refusal> {
        let mut marked = 0;
        let rows = actions::intents_but_of_others(&self.options.db, &self.server, self.options.clock.now()).await.map_err(refusal_of)?;
        for row in rows.into_iter().filter(nobodys) {
            let now = self.options.clock.now();
            let leaf = row.note_leaf(LeafId::generate(), by, "gate.in_doubt", "in_doubt", now)?;
            let mut sealed = Sealed::new(leaf).step(row.mark_in_doubt(now)).step(disown(&row.tenant, row.admission));
            if let Some(approval) = row.approval {
                match self.options.approvals.conclude(&row.tenant, approval, row.admission, None).await {
                    Ok(change) => sealed = with(sealed, change),
                    // Concluded since it was read.
                    Err(refusal) if refusal.kind() == Kind::Conflict => continue,
                    Err(refusal) => return Err(refusal),
                }
            }
            match self.options.db.commit(sealed).await {
                Ok(_) => marked += 1,
                // It was settled, or marked by another server, since it was read.
                Err(DbError::Conflict { .. }) => {}
                Err(error) => return Err(refusal_of(error)),
            }
        }
        Ok(marked)
    }
}
