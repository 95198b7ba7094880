//! The desk as the Gate's approvals.

use std::time::Duration;

use creto_db::{DbError, Step};
use creto_enablement_common::{Approvals, Asking, Change, Found, OpenRequest, Refusal, Verdict};
use creto_kernel::id::{AdmissionId, RequestId};
use creto_kernel::{Digest, TenantId, Timestamp};
use futures::future::BoxFuture;

use super::{Desk, Setting};
use crate::core::decide::{Facts, decide};
use crate::core::timers as moments;
use crate::error::OversightError;
use crate::model::command::Command;
use crate::model::roster::Roster;
use crate::store::requests;

/// How long a denial waits for the agent that asked; one that comes back later asks anew.
const DENIAL_KEPT: Duration = Duration::from_secs(24 * 3600);

impl Desk {
    /// What these commands write, each after the one before, for a commit that somebody else makes. Compare-and-set on the request as it
    /// is now: where it moves on before that commit, the commit does not happen.
    async fn writes(&self, tenant: &TenantId, id: RequestId, commands: &[Command]) -> Result<Change, Refusal> {
        let refused = |error: OversightError| Refusal::port(&error);
        let before = self.stored(tenant, id).await.map_err(refused)?;
        let now = self.clock.now();
        let roster = Roster::default();
        let mut case = before.case.clone();
        let mut events = Vec::new();
        for command in commands {
            for event in decide(&case, command, now, &Facts { roster: &roster }).map_err(refused)? {
                let recorded = crate::model::event::Recorded { at: now, by: case.agent.clone(), event: event.clone() };
                case = crate::core::evolve::evolve(Some(case), &recorded).ok_or_else(|| refused(OversightError::Unreadable))?;
                events.push(event);
            }
        }
        if events.is_empty() {
            return Ok(Change::default());
        }
        let by = before.case.agent.clone();
        let (_, change) = self.transition(&before, events, &by, now, &Setting::default()).map_err(refused)?;
        Ok(change)
    }
}

impl Approvals for Desk {
    fn find<'a>(&'a self, tenant: &'a TenantId, lookup: Digest, _: Timestamp) -> BoxFuture<'a, Result<Option<Found>, Refusal>> {
        Box::pin(async move {
            let now = self.clock.now();
            let port = |e: DbError| Refusal::port(&e);
            let found = requests::open_for(&self.db, tenant, lookup, earlier(now, DENIAL_KEPT)).await.map_err(port)?;
            let Some(mut stored) = found else { return Ok(None) };
            // What time has done to it changes here; whoever was faster changed it too.
            if moments::due(&stored.case).is_some_and(|due| due <= now) {
                stored = self.current(tenant, stored.case.id).await.map_err(|e| Refusal::port(&e))?;
                if !stored.case.state.is_open() {
                    return Ok(None);
                }
            }
            Ok(Some(Found { id: stored.case.id, policy: stored.policy, digest: stored.first_digest }))
        })
    }

    fn open<'a>(&'a self, request: &'a OpenRequest) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async move { self.opening_of(request).await.map_err(|e| Refusal::port(&e)) })
    }

    fn heard(&self, tenant: &TenantId, request: RequestId) -> Vec<Box<dyn Step>> {
        vec![Box::new(requests::hear(tenant, request))]
    }

    fn opened(&self) {
        self.changed();
    }

    fn wait<'a>(&'a self, tenant: &'a TenantId, request: RequestId) -> BoxFuture<'a, Result<Verdict, Refusal>> {
        Box::pin(async move {
            loop {
                if let Some(verdict) = self.wait_at_most(tenant, request, Duration::MAX).await? {
                    return Ok(verdict);
                }
            }
        })
    }

    fn wait_at_most<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: RequestId,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Option<Verdict>, Refusal>> {
        Box::pin(async move { self.verdict(tenant, request, patience).await.map_err(|e| Refusal::port(&e)) })
    }

    fn asking<'a>(&'a self, tenant: &'a TenantId, request: RequestId) -> BoxFuture<'a, Result<Option<Asking>, Refusal>> {
        Box::pin(async move {
            let stored = self.stored(tenant, request).await.map_err(|e| Refusal::port(&e))?;
            let Some(presented) = stored.presented else { return Ok(None) };
            let action = serde_json::from_str(&stored.action).map_err(|_| Refusal::port(&OversightError::Unreadable))?;
            Ok(Some(Asking { action, presented, run: stored.run.as_deref().and_then(|run| run.parse().ok()) }))
        })
    }

    fn consume<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: RequestId,
        digest: Digest,
        admission: AdmissionId,
    ) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async move { self.writes(tenant, request, &[Command::Consume { digest, admission: admission.to_string() }]).await })
    }

    fn consume_done<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: RequestId,
        digest: Digest,
        admission: AdmissionId,
    ) -> BoxFuture<'a, Result<Change, Refusal>> {
        let admission = admission.to_string();
        let commands = [Command::Consume { digest, admission: admission.clone() }, Command::Conclude { admission, ok: true }];
        Box::pin(async move { self.writes(tenant, request, &commands).await })
    }

    fn withdraw<'a>(&'a self, tenant: &'a TenantId, request: RequestId, reason: &'a str) -> BoxFuture<'a, Result<Change, Refusal>> {
        let command = Command::Revoke { by: self.server.clone(), reason: reason.to_owned() };
        Box::pin(async move { self.writes(tenant, request, &[command]).await })
    }

    fn conclude<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: RequestId,
        admission: AdmissionId,
        ok: Option<bool>,
    ) -> BoxFuture<'a, Result<Change, Refusal>> {
        let admission = admission.to_string();
        let command = match ok {
            Some(ok) => Command::Conclude { admission, ok },
            None => Command::Doubt { admission },
        };
        Box::pin(async move { self.writes(tenant, request, &[command]).await })
    }
}

pub(super) fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(micros)).unwrap_or(Timestamp::EPOCH)
}
