//! What time does: the loop that fires timers, on as many servers as there are.

use std::time::Duration;

use creto_kernel::id::RequestId;
use creto_kernel::{TenantId, Timestamp};
use tokio::sync::watch;

use super::Desk;
use crate::error::OversightError;
use crate::model::command::Command;
use crate::store::timers;

/// Most timers one claim takes.
pub(super) const CLAIM_MAX: u32 = 100;
/// Longest time between two looks: another server may have opened something that is due sooner, or died with what it claimed.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Shortest time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(10);

impl Desk {
    /// Fires what is due now, the longest overdue first, and answers how many there were. Each is one commit with its effect and its next
    /// moment; one whose server dies before is fired when its lease has run out.
    pub async fn fire_due(&self) -> Result<usize, OversightError> {
        let mut fired = 0;
        loop {
            let claimed = timers::claim(&self.db, self.clock.now(), CLAIM_MAX).await?;
            if claimed.timers.is_empty() {
                return Ok(fired);
            }
            fired += claimed.timers.len();
            // Side by side, so that they share a commit.
            let ticks = claimed.timers.iter().map(|(tenant, request)| self.fire(tenant, *request, claimed.lease));
            for outcome in futures::future::join_all(ticks).await {
                outcome?;
            }
        }
    }

    /// Claims what is due now, as [`Desk::fire_due`] does, and fires nothing: what a bench measures, and what a server that dies then leaves
    /// behind. Answers how many there were.
    pub async fn claim_due(&self) -> Result<usize, OversightError> {
        Ok(timers::claim(&self.db, self.clock.now(), CLAIM_MAX).await?.timers.len())
    }

    async fn fire(&self, tenant: &TenantId, request: RequestId, lease: Timestamp) -> Result<(), OversightError> {
        let server = self.server.clone();
        let after = self.apply(tenant, request, &server, &Command::Tick).await?;
        // Where nothing was due after all, the claim ends here.
        let due = crate::core::timers::due(&after.case);
        timers::put_back(&self.db, tenant, request, lease, due).await?;
        Ok(())
    }

    /// Fires timers until `stop` changes. A database that cannot serve is asked again.
    pub async fn run_timers(self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Err(error) = self.fire_due().await {
                tracing::warn!(%error, "timers of oversight could not be fired; they are tried again");
            }
            let next = timers::next(&self.db).await.ok().flatten();
            let pause = next.map_or(LOOK_MAX, |due| due.since(self.clock.now())).clamp(LOOK_MIN, LOOK_MAX);
            tokio::select! {
                _ = stop.changed() => return,
                _ = changes.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
