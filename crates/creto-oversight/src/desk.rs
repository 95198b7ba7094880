//! The desk: requests are opened, wait, are decided and consumed here.
//!
//! Every change goes one way: read the request, [`decide`] what happens, commit events, projection, timer, notices and leaf together
//! under compare-and-set on the position of the latest event; whoever was slower reads and decides again.

mod approvals;
mod batch;
mod checkpoints;
mod comments;
mod glass;
mod grants;
mod opening;
mod originals;
mod people;
mod policies;
mod receipts;
mod reports;
mod timers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use creto_db::{Db, DbError, Message, Sealed};
use creto_enablement_common::erasure::{Erasing, Erasure};
use creto_enablement_common::{Change, Verdict};
use creto_kernel::id::{LeafId, OutboxId, RequestId};
use creto_kernel::{Clock, Digest, Leaf, NhiId, TenantId, Timestamp};
use creto_nhi::Principal;
use tokio::sync::watch;

use crate::core::decide::{Facts, decide};
use crate::core::evolve::evolve;
use crate::core::{tell, timers as moments};
use crate::error::OversightError;
use crate::model::case::{Case, Choice, Kind};
use crate::model::command::{Ballot, Command};
use crate::model::event::{Event, Recorded};
use crate::model::notice;
use crate::model::request::{Page, Request, RequestFilter, State};
use crate::model::roster::Roster;
use crate::model::voter::Voter;
use crate::receipt::Decision;
use crate::store::requests::{self, MOVED_ON, Stored, Transition};

pub use crate::store::grants::Grant;
pub use crate::store::policies::Published;
pub use batch::{BATCH_MAX, BatchItem};
pub use checkpoints::{CHECKPOINT_BYTES_MAX, Checkpoint};
pub use glass::Revision;
pub use grants::NewGrant;
pub use opening::{ACTION_BYTES_MAX, CALL_BYTES_MAX, NewRequest};
pub use policies::Rehearsed;
pub use receipts::{Decided, Testimony};
pub use reports::{Decider, READ_CHARS_PER_SEC};

/// Longest time a waiter goes without reading the database again: what bounds the delay of a decision made through another server.
const RECHECK_MAX: Duration = Duration::from_secs(2);

/// How often a change is decided again because somebody else was faster.
const ATTEMPTS_MAX: usize = 32;

/// Tells which people may act: the authority's word on identities, from memory.
pub trait People: Send + Sync + std::fmt::Debug {
    /// Whether this person may act now.
    fn is_active(&self, person: &NhiId) -> bool;
}

/// Everybody may act: what holds where no authority is asked.
#[derive(Debug)]
struct Everybody;

impl People for Everybody {
    fn is_active(&self, _: &NhiId) -> bool {
        true
    }
}

/// Requests to humans, over a database.
#[derive(Debug, Clone)]
pub struct Desk {
    db: Db,
    clock: Arc<dyn Clock>,
    server: NhiId,
    people: Arc<dyn People>,
    test_mode: bool,
    changes: watch::Sender<u64>,
    rosters: Arc<Mutex<HashMap<TenantId, Arc<Roster>>>>,
}

impl Desk {
    /// A desk. `server` is the identity under which time-outs are recorded.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, server: NhiId) -> Self {
        let (people, changes) = (Arc::new(Everybody), watch::Sender::new(0));
        Self { db, clock, server, people, test_mode: false, changes, rosters: Arc::default() }
    }

    /// Asks this authority who may act: a person it suspends has no vote from then on, and the votes they cast no longer count.
    #[must_use]
    pub fn with_people(mut self, people: Arc<dyn People>) -> Self {
        self.people = people;
        self
    }

    /// Marks every decision, and so every receipt, as made in a test.
    #[must_use]
    pub const fn in_test_mode(mut self, test_mode: bool) -> Self {
        self.test_mode = test_mode;
        self
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
        Ok(paged(requests::list(&self.db, tenant, filter).await?, filter))
    }

    /// One page of the waiting requests that this human may decide, newest first.
    pub async fn inbox(&self, voter: &Voter, filter: &RequestFilter) -> Result<Page, OversightError> {
        let tenant = voter.person().tenant();
        let selectors = self.selectors_of(voter).await?;
        Ok(paged(requests::inbox(&self.db, tenant, voter.person(), &selectors, filter).await?, filter))
    }

    /// Erases the words of closed requests: arguments, reasons, comments, digests and salts.
    #[must_use]
    pub fn erasing(&self, what: &Erasure) -> Erasing {
        crate::store::erasing::erasing(what)
    }

    /// One request.
    pub async fn get(&self, tenant: &TenantId, id: RequestId) -> Result<Request, OversightError> {
        Ok(self.stored(tenant, id).await?.shown())
    }

    /// The latest request of a named call.
    pub async fn of_call(&self, agent: &NhiId, kind: Kind, run: &str, call: &str) -> Result<Option<Request>, OversightError> {
        Ok(requests::of_call(&self.db, agent, kind, run, call).await?.as_ref().map(Stored::shown))
    }

    /// What happened to a request, in order.
    pub async fn history(&self, tenant: &TenantId, id: RequestId) -> Result<Vec<Recorded>, OversightError> {
        self.stored(tenant, id).await?;
        Ok(requests::events(&self.db, tenant, id).await?.into_iter().map(|happened| happened.recorded).collect())
    }

    /// Approves exactly `digest`, or denies, for oneself.
    pub async fn decide(
        &self,
        by: &Principal,
        id: RequestId,
        approve: Option<Digest>,
        comment: Option<&str>,
    ) -> Result<Request, OversightError> {
        let choice = if approve.is_some() { Choice::Approve } else { Choice::Deny };
        let ballot = Ballot {
            voter: Voter::of(by)?,
            stands_in_for: None,
            choice,
            digest: approve,
            shown: None,
            revision: None,
            comment: comment.map(str::to_owned),
            option: None,
        };
        self.vote(id, ballot).await
    }

    /// Casts a vote. The vote, what it decides, its leaf and the new state are one commit; the first decision wins.
    pub async fn vote(&self, id: RequestId, ballot: Ballot) -> Result<Request, OversightError> {
        let person = ballot.voter.person().clone();
        self.command(&person, id, &Command::Vote(ballot)).await
    }

    /// Applies a command of somebody in the request's own tenant. Commands that carry a [`Voter`] were proved by it; whoever sends
    /// another one was checked by the caller.
    pub async fn command(&self, by: &NhiId, id: RequestId, command: &Command) -> Result<Request, OversightError> {
        Ok(self.apply(by.tenant(), id, by, command).await?.shown())
    }

    async fn stored(&self, tenant: &TenantId, id: RequestId) -> Result<Stored, OversightError> {
        requests::one(&self.db, tenant, id).await?.ok_or_else(|| OversightError::UnknownRequest(id.to_string()))
    }

    async fn apply(&self, tenant: &TenantId, id: RequestId, by: &NhiId, command: &Command) -> Result<Stored, OversightError> {
        for _ in 0..ATTEMPTS_MAX {
            let before = self.stored(tenant, id).await?;
            let now = self.clock.now();
            let roster = self.roster_for(tenant, &before.case, command).await?;
            let events = decide(&before.case, command, now, &Facts { roster: &roster })?;
            if events.is_empty() {
                return Ok(before);
            }
            let leaf = LeafId::generate();
            let action = match command {
                Command::Edit(revised) => Some(revised.action.as_str()),
                _ => None,
            };
            let (after, mut change) =
                self.transition(&before, events, by, now, &Setting { leaf: Some(leaf), roster: Some(roster.version), action })?;
            let mut record = self.leaf(leaf, by, &before, &after, now);
            if let Some(voter) = command.voter() {
                record = record.fact("how", &voter.proof().method).fact("channel", &voter.proof().channel);
            }
            if let Command::Vote(Ballot { stands_in_for: Some(seat), voter, .. }) = command
                && seat != voter.person()
            {
                record = record.fact("stands_in_for", seat);
            }
            record.digests.append(&mut change.digests);
            match self.db.commit(sealed(record, change)).await {
                Ok(_) => {
                    self.changed();
                    return Ok(after);
                }
                // Somebody decided in the same moment, or people changed: what holds now is looked at again.
                Err(DbError::Conflict { code, .. }) if code == MOVED_ON => self.forget(tenant),
                Err(error) => return Err(error.into()),
            }
        }
        Err(OversightError::Busy)
    }

    /// What is written when these events happen.
    fn transition(
        &self,
        before: &Stored,
        events: Vec<Event>,
        by: &NhiId,
        now: Timestamp,
        setting: &Setting<'_>,
    ) -> Result<(Stored, Change), OversightError> {
        let tenant = before.case.agent.tenant();
        let mut after = before.clone();
        if let Some(action) = setting.action {
            action.clone_into(&mut after.action);
        }
        let recorded: Vec<Recorded> = events.iter().map(|event| Recorded { at: now, by: by.clone(), event: event.clone() }).collect();
        for event in &recorded {
            after.case = evolve(Some(after.case), event).ok_or(OversightError::Unreadable)?;
        }
        after.seq = before.seq.saturating_add(i64::try_from(recorded.len()).unwrap_or(i64::MAX));
        let transition = Transition { before, after: &after, events: &recorded, roster: setting.roster, leaf: setting.leaf };
        let mut change = Change { steps: requests::update(tenant, &transition)?, ..Change::default() };
        change.messages = messages(tenant, &after.case, &events, before.seq + 1, now)?;
        change.messages.extend(crate::humanlayer::completed(&before.case, &after, self.test_mode)?);
        for event in &events {
            self.commit_to(event, &after, by, &mut change)?;
        }
        Ok((after, change))
    }

    /// Binds what stays out of the log to the leaf: what was said, and the whole decision for its receipt.
    fn commit_to(&self, event: &Event, after: &Stored, by: &NhiId, change: &mut Change) -> Result<(), OversightError> {
        let salted = |bytes: &[u8]| Digest::of_parts(&[&after.salt, bytes]);
        let said = match event {
            Event::Voted(vote) => vote.comment.as_deref(),
            Event::Answered { text, .. } | Event::Said { text } => Some(text.as_str()),
            Event::GlassBroken { reason, .. } => Some(reason.as_str()),
            Event::Reviewed { comment, .. } => comment.as_deref(),
            _ => None,
        };
        if let Some(text) = said {
            change.digests.insert("comment".to_owned(), salted(text.as_bytes()));
        }
        if matches!(event, Event::Approved { .. } | Event::GlassBroken { .. } | Event::Rejected { .. }) {
            let bytes = Decision::of(&after.case, by).canonical_bytes()?;
            change.digests.insert("decision".to_owned(), salted(&bytes));
        }
        Ok(())
    }

    /// The leaf of a transition: what ends or decides is `oversight.decide`, everything else `oversight.update`.
    fn leaf(&self, id: LeafId, by: &NhiId, before: &Stored, after: &Stored, now: Timestamp) -> Leaf {
        let case = &after.case;
        let decides = before.case.state != case.state;
        let (name, word) = match decides {
            true => (DECIDE, case.state.as_str()),
            false => (UPDATE, "done"),
        };
        let mut leaf = Leaf::event(id, now, by.clone(), case.tool.clone(), case.target.clone(), word)
            .fact("request", case.id)
            .fact("agent", &case.agent)
            .fact("rule", &after.rule)
            .fact("action", &case.tool)
            .fact("revision", case.revision)
            .digest("action", Digest::of_parts(&[&after.salt, case.digest.as_bytes()]));
        if let Ok(name) = name.parse() {
            leaf.action = name;
        }
        leaf.tenant = case.agent.tenant().clone();
        if case.test {
            leaf = leaf.fact("mode", "test");
        }
        match &after.run {
            Some(run) => leaf.fact("run", run),
            None => leaf,
        }
    }

    /// The request as it stands now: what time has done to it is written down first.
    async fn current(&self, tenant: &TenantId, id: RequestId) -> Result<Stored, OversightError> {
        let stored = self.stored(tenant, id).await?;
        if moments::due(&stored.case).is_some_and(|due| due <= self.clock.now()) {
            return self.apply(tenant, id, &self.server, &Command::Tick).await;
        }
        Ok(stored)
    }

    async fn verdict(&self, tenant: &TenantId, id: RequestId, patience: Duration) -> Result<Option<Verdict>, OversightError> {
        let mut changes = self.changes.subscribe();
        let started = Instant::now();
        loop {
            changes.mark_unchanged();
            let stored = self.current(tenant, id).await?;
            if stored.case.state != State::Pending {
                return self.said(&stored).map(Some);
            }
            let left = patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            let soon = moments::due(&stored.case).map_or(RECHECK_MAX, |due| due.since(self.clock.now()));
            // Whichever comes first: a decision here, the next moment, or the time to look for a decision made elsewhere.
            let _ = tokio::time::timeout(soon.min(RECHECK_MAX).min(left), changes.changed()).await;
        }
    }

    /// Waits until something happens to a request after its event `seen`, at most `patience`, and answers the request as it stands then.
    pub async fn watch(&self, tenant: &TenantId, id: RequestId, seen: i64, patience: Duration) -> Result<Request, OversightError> {
        let mut changes = self.changes.subscribe();
        let started = Instant::now();
        loop {
            changes.mark_unchanged();
            let stored = self.current(tenant, id).await?;
            let left = patience.saturating_sub(started.elapsed());
            if stored.seq > seen || left.is_zero() {
                return Ok(stored.shown());
            }
            let soon = moments::due(&stored.case).map_or(RECHECK_MAX, |due| due.since(self.clock.now()));
            let _ = tokio::time::timeout(soon.min(RECHECK_MAX).min(left), changes.changed()).await;
        }
    }

    fn said(&self, stored: &Stored) -> Result<Verdict, OversightError> {
        let case = &stored.case;
        let by = case.decided_by.clone().unwrap_or_else(|| self.server.clone());
        Ok(match case.state {
            State::Approved => Verdict::Approved { by, rule: stored.rule.clone(), arguments: edited(stored)? },
            State::Denied => Verdict::Denied { by, comment: case.comment.clone() },
            State::TimedOut | State::Expired => Verdict::TimedOut,
            State::Cancelled | State::Superseded | State::Revoked => Verdict::Cancelled,
            State::Answered | State::Pending => return Err(OversightError::WrongKind),
            State::Consumed | State::Executed | State::Failed | State::InDoubt => {
                return Err(OversightError::NotApproved("the approval was used by another attempt"));
            }
        })
    }

    fn rosters(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Arc<Roster>>> {
        self.rosters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, tenant: &TenantId) {
        self.rosters().remove(tenant);
    }
}

/// Around a transition: the leaf that records it, the roster it was decided with, and the action where it is changed.
#[derive(Debug, Default)]
struct Setting<'a> {
    leaf: Option<LeafId>,
    roster: Option<i64>,
    action: Option<&'a str>,
}

const DECIDE: &str = "oversight.decide";
const UPDATE: &str = "oversight.update";

fn sealed(leaf: Leaf, change: Change) -> Sealed {
    change.messages.into_iter().fold(Sealed::new(leaf).steps(change.steps), Sealed::message)
}

fn messages(tenant: &TenantId, case: &Case, events: &[Event], first: i64, now: Timestamp) -> Result<Vec<Message>, OversightError> {
    tell::notices(tenant, case, events, first, now)
        .into_iter()
        .map(|told| {
            let body = serde_json::to_value(&told).map_err(|_| OversightError::Unreadable)?;
            Ok(Message { id: OutboxId::generate(), topic: notice::TOPIC.to_owned(), body })
        })
        .collect()
}

/// A page of what was found, which is one more than the page where there are more.
fn paged(mut found: Vec<Stored>, filter: &RequestFilter) -> Page {
    let more = found.len() > usize::try_from(requests::page_size(filter)).unwrap_or(usize::MAX);
    if more {
        found.pop();
    }
    let requests: Vec<Request> = found.iter().map(Stored::shown).collect();
    let next = requests.last().filter(|_| more).map(|last| last.id.clone());
    Page { requests, next }
}

/// The arguments as a human changed them.
fn edited(stored: &Stored) -> Result<Option<serde_json::Map<String, serde_json::Value>>, OversightError> {
    if stored.case.digest == stored.first_digest {
        return Ok(None);
    }
    let mut action: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&stored.action).map_err(|_| OversightError::Unreadable)?;
    match action.remove("arguments") {
        Some(serde_json::Value::Object(arguments)) => Ok(Some(arguments)),
        _ => Err(OversightError::Unreadable),
    }
}
