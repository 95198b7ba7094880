//! The desk: requests are opened, wait, are decided and consumed here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use creto_db::{Db, DbError, Sealed, Step};
use creto_enablement_common::erasure::{Erasing, Erasure};
use creto_enablement_common::{Approvals, OpenRequest, Refusal, Verdict};
use creto_kernel::id::{AdmissionId, LeafId, RequestId};
use creto_kernel::{CanonicalAction, Clock, Digest, Leaf, NhiId, NhiKind, TenantId, Timestamp};
use creto_nhi::{Principal, Role};
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::core::machine::{self, Command};
use crate::error::OversightError;
use crate::model::request::{COMMENT_BYTES_MAX, Page, Request, RequestFilter, State};
use crate::store::{self, Stored};

/// How long a denial waits for the agent that asked; one that comes back later asks anew.
const DENIAL_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Longest time a waiter goes without reading the database again: what bounds the delay of a decision made through another server.
const RECHECK_MAX: Duration = Duration::from_secs(2);

/// Requests to humans, over a database.
#[derive(Debug, Clone)]
pub struct Desk {
    db: Db,
    clock: Arc<dyn Clock>,
    server: NhiId,
    changes: watch::Sender<u64>,
}

impl Desk {
    /// A desk. `server` is the identity under which time-outs are recorded.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, server: NhiId) -> Self {
        Self { db, clock, server, changes: watch::Sender::new(0) }
    }

    /// Counts up whenever a request of any tenant is opened or decided: what a live inbox waits on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The newest requests of a tenant, newest first, in one state or in all.
    pub async fn list(&self, tenant: &TenantId, state: Option<State>) -> Result<Vec<Request>, OversightError> {
        Ok(self.page(tenant, &RequestFilter { state, ..RequestFilter::default() }).await?.requests)
    }

    /// Some requests of a tenant, newest first, and where the older ones begin.
    pub async fn page(&self, tenant: &TenantId, filter: &RequestFilter) -> Result<Page, OversightError> {
        let limit = filter.limit.unwrap_or(store::LIST_MAX).clamp(1, store::LIST_MAX);
        let mut found = store::page(&self.db, tenant, filter, limit).await?;
        let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if more {
            found.pop();
        }
        let requests: Vec<Request> = found.into_iter().map(|stored| stored.request).collect();
        let next = requests.last().filter(|_| more).map(|last| last.id.clone());
        Ok(Page { requests, next })
    }

    /// Erases the words of closed requests: arguments, reasons, comments, digests and salts.
    #[must_use]
    pub fn erasing(&self, what: &Erasure) -> Erasing {
        store::erasing::erasing(what)
    }

    /// One request.
    pub async fn get(&self, tenant: &TenantId, id: RequestId) -> Result<Request, OversightError> {
        Ok(self.stored(tenant, id).await?.request)
    }

    /// Approves exactly `digest`, or denies. The decision, its leaf and the new state are one commit; the first decision wins.
    pub async fn decide(
        &self,
        by: &Principal,
        id: RequestId,
        approve: Option<Digest>,
        comment: Option<&str>,
    ) -> Result<Request, OversightError> {
        // A chain means an agent acts, whatever else the principal says.
        if !by.roles.has(Role::Approver) || by.identity.kind() != NhiKind::Human || by.chain.is_some() {
            return Err(OversightError::NotAnApprover(by.identity.name().to_owned()));
        }
        if comment.is_some_and(|text| text.len() > COMMENT_BYTES_MAX) {
            return Err(OversightError::CommentTooLong(COMMENT_BYTES_MAX));
        }
        let stored = self.stored(by.tenant(), id).await?;
        let now = self.clock.now();
        let to = machine::decide(&stored.facts, approve.map_or(Command::Deny, Command::Approve), now)?;
        let how = by.how.as_str().to_owned();
        let mut leaf = self.leaf(&by.identity, &stored, id, to, now)?.fact("how", &how);
        if let Some(text) = comment {
            leaf = leaf.digest("comment", Digest::of_parts(&[&stored.salt, text.as_bytes()]));
        }
        let decision = store::Decision { to, by: Some(&by.identity), how: Some(&how), comment, now };
        match self.db.commit(Sealed::new(leaf).step(store::decide(by.tenant(), id, &decision))).await {
            Ok(_) => self.changed(),
            Err(DbError::Conflict { .. }) => {
                let winner = self.stored(by.tenant(), id).await?;
                return Err(OversightError::AlreadyDecided(winner.facts.state));
            }
            Err(error) => return Err(error.into()),
        }
        self.get(by.tenant(), id).await
    }

    async fn stored(&self, tenant: &TenantId, id: RequestId) -> Result<Stored, OversightError> {
        store::one(&self.db, tenant, id).await?.ok_or_else(|| OversightError::UnknownRequest(id.to_string()))
    }

    /// The request as it stands now; one whose deadline has passed, or whose approval nobody used for too long, is timed out first.
    async fn current(&self, tenant: &TenantId, id: RequestId) -> Result<Stored, OversightError> {
        let stored = self.stored(tenant, id).await?;
        let now = self.clock.now();
        let Ok(to) = machine::decide(&stored.facts, Command::Expire, now) else {
            return Ok(stored);
        };
        let leaf = self.leaf(&self.server, &stored, id, to, now)?;
        let write = match stored.facts.state {
            State::Approved => store::lapse(tenant, id),
            _ => store::decide(tenant, id, &store::Decision { to, by: None, how: None, comment: None, now }),
        };
        match self.db.commit(Sealed::new(leaf).step(write)).await {
            Ok(_) => self.changed(),
            // Somebody decided in the same moment: the first commit won.
            Err(DbError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.stored(tenant, id).await
    }

    fn leaf(&self, by: &NhiId, stored: &Stored, id: RequestId, to: State, now: Timestamp) -> Result<Leaf, OversightError> {
        let corrupt = |problem: String| DbError::Corrupt(format!("an oversight request has a bad action: {problem}"));
        let action: serde_json::Value = serde_json::from_str(&stored.request.action).map_err(|e| corrupt(e.to_string()))?;
        let text = |name: &str| action.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let resource = text("resource").parse().map_err(|e: creto_kernel::action::NameError| corrupt(e.to_string()))?;
        let decided = "oversight.decide".parse().map_err(|e: creto_kernel::action::NameError| corrupt(e.to_string()))?;
        let mut leaf = Leaf::event(LeafId::generate(), now, by.clone(), decided, resource, to.as_str())
            .fact("request", id)
            .fact("action", text("action"))
            .digest("action", Digest::of_parts(&[&stored.salt, stored.facts.digest.as_bytes()]));
        leaf.tenant = text("tenant").parse().map_err(|e: creto_kernel::tenant::TenantError| corrupt(e.to_string()))?;
        Ok(match &stored.request.run {
            Some(run) => leaf.fact("run", run),
            None => leaf,
        })
    }

    async fn verdict(&self, tenant: &TenantId, id: RequestId, patience: Duration) -> Result<Option<Verdict>, OversightError> {
        let mut changes = self.changes.subscribe();
        let started = Instant::now();
        loop {
            changes.mark_unchanged();
            let Stored { request, facts, .. } = self.current(tenant, id).await?;
            let decider = || request.decided_by.as_deref().and_then(|by| by.parse::<NhiId>().ok()).unwrap_or_else(|| self.server.clone());
            match facts.state {
                State::Approved => return Ok(Some(Verdict::Approved { by: decider(), rule: request.rule.clone() })),
                State::Denied => return Ok(Some(Verdict::Denied { by: decider(), comment: request.comment.clone() })),
                State::TimedOut => return Ok(Some(Verdict::TimedOut)),
                State::Cancelled => return Ok(Some(Verdict::Cancelled)),
                State::Consumed | State::Executed | State::Failed => return Err(store::used_already().into()),
                State::Pending => {
                    let patience_left = patience.saturating_sub(started.elapsed());
                    if patience_left.is_zero() {
                        return Ok(None);
                    }
                    let left = facts.deadline.since(self.clock.now()).min(RECHECK_MAX).min(patience_left);
                    // Whichever comes first: a decision here, the deadline, or the time to look for a decision made elsewhere.
                    let _ = tokio::time::timeout(left, changes.changed()).await;
                }
            }
        }
    }
}

impl Approvals for Desk {
    fn find<'a>(&'a self, tenant: &'a TenantId, digest: Digest, now: Timestamp) -> BoxFuture<'a, Result<Option<RequestId>, Refusal>> {
        Box::pin(async move {
            let found = store::open_for(&self.db, tenant, digest, earlier(now, DENIAL_KEPT)).await.map_err(|e| Refusal::port(&e))?;
            let Some(stored) = found else { return Ok(None) };
            let id: RequestId = stored.request.id.parse().map_err(|_| Refusal::port(&DbError::Corrupt("a request's id".to_owned())))?;
            // Only what ran out changes here; whoever was faster changed it too, and it is open no more.
            if machine::decide(&stored.facts, Command::Expire, now).is_ok() {
                self.current(tenant, id).await.map_err(|e| Refusal::port(&e))?;
                return Ok(None);
            }
            Ok(Some(id))
        })
    }

    fn open(&self, request: &OpenRequest) -> Result<Vec<Box<dyn Step>>, Refusal> {
        let bad = |problem: String| Refusal::denied(problem);
        let action = action_text(&request.action).map_err(bad)?;
        let hops: Vec<&str> = request.hops.iter().map(NhiId::as_str).collect();
        let hops = serde_json::to_string(&hops).map_err(|e| bad(e.to_string()))?;
        Ok(vec![Box::new(store::insert(request, action, hops))])
    }

    fn heard(&self, tenant: &TenantId, request: RequestId) -> Vec<Box<dyn Step>> {
        vec![Box::new(store::hear(tenant, request))]
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

    fn consume(&self, tenant: &TenantId, request: RequestId, digest: Digest, admission: AdmissionId, _: Timestamp) -> Vec<Box<dyn Step>> {
        vec![Box::new(store::consume(tenant, request, digest, admission))]
    }

    fn withdraw(&self, tenant: &TenantId, request: RequestId) -> Vec<Box<dyn Step>> {
        vec![Box::new(store::withdraw(tenant, request))]
    }

    fn conclude(&self, tenant: &TenantId, request: RequestId, admission: AdmissionId, ok: bool, _: Timestamp) -> Vec<Box<dyn Step>> {
        vec![Box::new(store::conclude(tenant, request, admission, ok))]
    }
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(micros)).unwrap_or(Timestamp::EPOCH)
}

fn action_text(action: &CanonicalAction) -> Result<String, String> {
    let bytes = action.canonical_bytes().map_err(|e| e.to_string())?;
    String::from_utf8(bytes).map_err(|e| e.to_string())
}
