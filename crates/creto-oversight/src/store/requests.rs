//! Requests: their events, what these made of them, and who sees them.

use creto_db::{Db, DbError, Row, Sql, Step, Write, params};
use creto_kernel::id::{LeafId, RequestId};
use creto_kernel::{Digest, ErrorCode, NhiId, TenantId, Timestamp};

use crate::core::{quorum, timers};
use crate::model::case::{Case, Kind};
use crate::model::event::{Event, Recorded};
use crate::model::plan::Separation;
use crate::model::request::{Request, RequestFilter, State};

/// Most requests one page holds.
pub(crate) const PAGE_MAX: u32 = 200;

/// Most requests of one agent that wait for a human at one time: one that asks and asks does not bury what others ask.
pub const OPEN_PER_AGENT_MAX: u32 = 100;

/// Refuses an agent that has as many requests waiting as it may.
pub(crate) const TOO_MANY_OPEN: ErrorCode = ErrorCode::new("oversight.too_many_open");
const ALREADY_OPEN: ErrorCode = ErrorCode::new("oversight.already_open");
const NOT_APPROVED: ErrorCode = ErrorCode::new("oversight.not_approved");
/// The request or the roster is another than the one that was decided on.
pub(crate) const MOVED_ON: ErrorCode = ErrorCode::new("oversight.already_decided");

/// A query for rows that [`read`] reads: the columns stand here once.
macro_rules! select_requests {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.seq, r.digest, r.salt, r.action, r.rule, r.run, r.call, r.reason, r.extra, r.body, r.lookup, ",
            "r.first_digest, r.policy, r.presented, r.context, r.tool_schema FROM oversight_request r ",
            $rest
        )
    };
}
pub(crate) use select_requests;

/// A request with what only the server needs of it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) case: Case,
    pub(crate) seq: i64,
    pub(crate) salt: Vec<u8>,
    pub(crate) action: String,
    pub(crate) rule: String,
    pub(crate) run: Option<String>,
    pub(crate) call: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) extra: Option<String>,
    pub(crate) lookup: Option<Digest>,
    pub(crate) first_digest: Digest,
    pub(crate) policy: Option<Digest>,
    pub(crate) presented: Option<Digest>,
    pub(crate) context: Option<String>,
    pub(crate) tool_schema: Option<String>,
}

impl Stored {
    /// As approvers see it.
    pub(crate) fn shown(&self) -> Request {
        let case = &self.case;
        Request {
            id: case.id.to_string(),
            kind: case.kind,
            binding: case.binding,
            digest: case.digest,
            action: self.action.clone(),
            revision: case.revision,
            editable: case.editable,
            rule: self.rule.clone(),
            risk: case.plan.risk,
            requirement: case.requirement(),
            deny_threshold: case.plan.deny_threshold,
            policy: case.plan.policy,
            votes: case.votes.clone(),
            run: self.run.clone(),
            call: self.call.clone(),
            hops: case.hops.iter().map(ToString::to_string).collect(),
            reason: self.reason.clone(),
            state: case.state,
            step: case.step,
            acknowledged: case.acknowledged.clone(),
            thread: case.thread.clone(),
            mail: Vec::new(),
            opened_at: case.opened_at,
            deadline: case.deadline,
            due_at: timers::due(case),
            decided_by: case.decided_by.as_ref().map(ToString::to_string),
            decided_at: case.decided_at,
            how: case.how.clone(),
            comment: case.comment.clone(),
            answer: case.answer.clone(),
            option: case.option.clone(),
            glass: case.glass.clone(),
            grant: case.grant.clone(),
            admission: case.admission.clone(),
            extra: self.extra.clone(),
            redacted: Vec::new(),
            view: None,
            test: case.test,
            secrets: case.plan.secrets.clone(),
            seq: self.seq,
        }
    }
}

fn unreadable(what: &str) -> DbError {
    DbError::Corrupt(format!("an oversight request has a bad {what}"))
}

fn body(case: &Case) -> Result<String, DbError> {
    serde_json::to_string(case).map_err(|_| unreadable("state"))
}

fn review_by(case: &Case) -> Option<Timestamp> {
    case.glass.as_ref().filter(|glass| glass.reviewed_by.is_none()).map(|glass| glass.review_by)
}

fn is_reviewed(case: &Case) -> bool {
    case.glass.as_ref().is_some_and(|glass| glass.reviewed_by.is_some())
}

/// Steps that write a request with its first events.
pub(crate) fn insert(tenant: &TenantId, stored: &Stored, events: &[Recorded], leaf: Option<LeafId>) -> Result<Vec<Box<dyn Step>>, DbError> {
    let case = &stored.case;
    let row = Write::new(
        "INSERT INTO oversight_request (tenant, id, seq, lookup, first_digest, digest, policy, salt, action, rule, run, call, agent, \
         presented, context, tool_schema, reason, extra, kind, state, risk, body, opened_at, decided_at, decided_by, deadline) \
         SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26 \
         WHERE (SELECT COUNT(*) FROM oversight_request r WHERE r.tenant = $1 AND r.agent = $13 AND r.state = 'pending' \
         AND r.deadline > $23) < $27",
        params![
            tenant,
            case.id,
            stored.seq,
            stored.lookup,
            stored.first_digest,
            case.digest,
            stored.policy,
            stored.salt.clone(),
            &stored.action,
            &stored.rule,
            stored.run.as_deref(),
            stored.call.as_deref(),
            &case.agent,
            stored.presented,
            stored.context.as_deref(),
            stored.tool_schema.as_deref(),
            stored.reason.as_deref(),
            stored.extra.as_deref(),
            kind_word(case.kind),
            case.state.as_str(),
            case.plan.risk.as_str(),
            body(case)?,
            case.opened_at,
            case.decided_at,
            case.decided_by.as_ref(),
            case.deadline,
            OPEN_PER_AGENT_MAX
        ],
    )
    .exactly(1, TOO_MANY_OPEN, format!("{OPEN_PER_AGENT_MAX} requests of this agent wait for a human already"))
    .unique(ALREADY_OPEN, "a request for this action is open already");
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(row)];
    steps.push(Box::new(revision(tenant, stored, None, case.opened_at)));
    steps.extend(append(tenant, case, 1, events, leaf)?);
    steps.extend(audience(tenant, case));
    steps.extend(timer(tenant, None, case));
    Ok(steps)
}

/// The word of a kind in the store.
pub(crate) const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Approval => "approval",
        Kind::Question => "question",
    }
}

/// A decision that is to be written: the request before, after, and the events between.
#[derive(Debug)]
pub(crate) struct Transition<'a> {
    pub(crate) before: &'a Stored,
    pub(crate) after: &'a Stored,
    pub(crate) events: &'a [Recorded],
    /// The roster it was decided with; `None` where people do not matter.
    pub(crate) roster: Option<i64>,
    pub(crate) leaf: Option<LeafId>,
}

/// Steps that write a transition: compare-and-set on the position of the latest event and on the roster.
pub(crate) fn update(tenant: &TenantId, transition: &Transition<'_>) -> Result<Vec<Box<dyn Step>>, DbError> {
    let Transition { before, after, events, roster, leaf } = transition;
    let case = &after.case;
    // Where people do not matter it is an approval that is used, and the commit is another product's.
    let (code, message) = match roster {
        Some(_) => (MOVED_ON, "the request was decided meanwhile"),
        None => (NOT_APPROVED, "the approval was used by another attempt"),
    };
    let row = Write::new(
        "UPDATE oversight_request SET seq = $1, digest = $2, action = $3, state = $4, risk = $5, body = $6, decided_at = $7, \
         decided_by = $8, review_by = $9, deadline = $14, reviewed = $15 WHERE tenant = $10 AND id = $11 AND seq = $12 AND ($13 < 0 OR \
         COALESCE((SELECT version FROM oversight_roster WHERE tenant = $10), 0) = $13)",
        params![
            after.seq,
            case.digest,
            &after.action,
            case.state.as_str(),
            case.plan.risk.as_str(),
            body(case)?,
            case.decided_at,
            case.decided_by.as_ref(),
            review_by(case),
            tenant,
            case.id,
            before.seq,
            roster.unwrap_or(-1),
            case.deadline,
            is_reviewed(case)
        ],
    )
    .exactly(1, code, message);
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(row)];
    steps.extend(append(tenant, case, before.seq + 1, events, *leaf)?);
    for recorded in *events {
        if let Event::Edited { .. } = recorded.event {
            steps.push(Box::new(revision(tenant, after, Some(&recorded.by), recorded.at)));
        }
    }
    let (was, is) = (before.case.state == State::Pending, case.state == State::Pending);
    if was && (!is || before.case.requirement() != case.requirement() || before.case.editors != case.editors) {
        steps.push(Box::new(Write::new("DELETE FROM oversight_audience WHERE tenant = $1 AND request = $2", params![tenant, case.id])));
        if before.case.plan.separation == Separation::Full || case.plan.separation == Separation::Full {
            steps.push(Box::new(Write::new("DELETE FROM oversight_excluded WHERE tenant = $1 AND request = $2", params![tenant, case.id])));
        }
        steps.extend(audience(tenant, case));
    }
    steps.extend(timer(tenant, Some(&before.case), case));
    Ok(steps)
}

fn append(tenant: &TenantId, case: &Case, first: i64, events: &[Recorded], leaf: Option<LeafId>) -> Result<Vec<Box<dyn Step>>, DbError> {
    let mut steps: Vec<Box<dyn Step>> = Vec::new();
    for (seq, recorded) in (first..).zip(events) {
        let text = serde_json::to_string(recorded).map_err(|_| unreadable("event"))?;
        let write = Write::new(
            "INSERT INTO oversight_event (tenant, request, seq, leaf, body) VALUES ($1,$2,$3,$4,$5)",
            params![tenant, case.id, seq, leaf, text],
        );
        steps.push(Box::new(write.unique(MOVED_ON, "the request was decided meanwhile")));
    }
    Ok(steps)
}

fn revision(tenant: &TenantId, stored: &Stored, editor: Option<&NhiId>, at: Timestamp) -> Write {
    Write::new(
        "INSERT INTO oversight_revision (tenant, request, revision, digest, action, editor, at) VALUES ($1,$2,$3,$4,$5,$6,$7)",
        params![tenant, stored.case.id, stored.case.revision, stored.case.digest, &stored.action, editor, at],
    )
}

/// Steps that put a waiting request into the inboxes of those it needs.
fn audience(tenant: &TenantId, case: &Case) -> Vec<Box<dyn Step>> {
    if case.state != State::Pending {
        return Vec::new();
    }
    let mut steps: Vec<Box<dyn Step>> = Vec::new();
    for selector in case.requirement().selectors() {
        steps.push(Box::new(Write::new(
            "INSERT INTO oversight_audience (tenant, selector, request) VALUES ($1,$2,$3)",
            params![tenant, selector.to_string(), case.id],
        )));
    }
    if case.plan.separation == Separation::Full {
        let people = case.hops.iter().chain(&case.editors).filter(|person| quorum::is_excluded(case, person));
        for person in people.collect::<std::collections::BTreeSet<_>>() {
            steps.push(Box::new(Write::new(
                "INSERT INTO oversight_excluded (tenant, request, person) VALUES ($1,$2,$3)",
                params![tenant, case.id, person],
            )));
        }
    }
    steps
}

/// Steps that set the next moment at which time alone changes the request.
fn timer(tenant: &TenantId, before: Option<&Case>, after: &Case) -> Option<Box<dyn Step>> {
    let due = timers::due(after);
    match due {
        Some(due) => Some(Box::new(Write::new(
            "INSERT INTO oversight_timer (tenant, request, due, claimable) VALUES ($1,$2,$3,$3) \
             ON CONFLICT (tenant, request) DO UPDATE SET due = excluded.due, claimable = excluded.claimable",
            params![tenant, after.id, due],
        ))),
        None => before.and_then(timers::due).map(|_| {
            let step: Box<dyn Step> =
                Box::new(Write::new("DELETE FROM oversight_timer WHERE tenant = $1 AND request = $2", params![tenant, after.id]));
            step
        }),
    }
}

/// Records that the agent was told of a denial. Of two attempts that are told, both were.
pub(crate) fn hear(tenant: &TenantId, id: RequestId) -> Write {
    Write::new("UPDATE oversight_request SET heard = 1 WHERE tenant = $1 AND id = $2", params![tenant, id])
}

/// The open request that is looked up by this, else its latest denial since `denied_since` that the agent has not been told of.
pub(crate) async fn open_for(db: &Db, tenant: &TenantId, lookup: Digest, denied_since: Timestamp) -> Result<Option<Stored>, DbError> {
    let sql = select_requests!(
        "WHERE r.tenant = $1 AND r.lookup = $2 AND (r.state IN ('pending', 'approved') \
         OR (r.state = 'denied' AND r.heard = 0 AND r.decided_at >= $3)) \
         ORDER BY CASE r.state WHEN 'denied' THEN 1 ELSE 0 END, r.id DESC LIMIT 1"
    );
    db.query_optional(sql, params![tenant, lookup, denied_since]).await?.as_ref().map(read).transpose()
}

pub(crate) async fn one(db: &Db, tenant: &TenantId, id: RequestId) -> Result<Option<Stored>, DbError> {
    let sql = select_requests!("WHERE r.tenant = $1 AND r.id = $2");
    db.query_optional(sql, params![tenant, id]).await?.as_ref().map(read).transpose()
}

/// The latest request of a call: its agent names it, so another agent's call of that name is another one.
pub(crate) async fn of_call(db: &Db, agent: &NhiId, kind: Kind, run: &str, call: &str) -> Result<Option<Stored>, DbError> {
    let sql =
        select_requests!("WHERE r.tenant = $1 AND r.run = $2 AND r.call = $3 AND r.agent = $4 AND r.kind = $5 ORDER BY r.id DESC LIMIT 1");
    db.query_optional(sql, params![agent.tenant(), run, call, agent, kind_word(kind)]).await?.as_ref().map(read).transpose()
}

/// After every identifier a request may have.
const LAST: &str = "req_~";

/// How many requests a page of this filter holds.
pub(crate) fn page_size(filter: &RequestFilter) -> u32 {
    filter.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)
}

/// One more than a page, which tells whether there are more.
fn limit(filter: &RequestFilter) -> i64 {
    i64::from(page_size(filter)) + 1
}

/// The requests that a filter names, newest first.
pub(crate) async fn list(db: &Db, tenant: &TenantId, filter: &RequestFilter) -> Result<Vec<Stored>, DbError> {
    let before = filter.before.map_or_else(|| LAST.to_owned(), |id| id.to_string());
    let text = |value: Option<String>| value.unwrap_or_default();
    let state = filter.state.map(State::as_str);
    let (agent, run) = (filter.agent.as_ref().map(ToString::to_string), filter.run.clone());
    let rows = match (state, &agent, &run, (filter.review, filter.reviewed)) {
        (Some(state), None, None, (false, false)) => {
            let sql = select_requests!("WHERE r.tenant = $1 AND r.state = $2 AND r.id < $3 ORDER BY r.id DESC LIMIT $4");
            db.query(sql, params![tenant, state, before, limit(filter)]).await?
        }
        (None, None, None, (false, false)) => {
            let sql = select_requests!("WHERE r.tenant = $1 AND r.id < $2 ORDER BY r.id DESC LIMIT $3");
            db.query(sql, params![tenant, before, limit(filter)]).await?
        }
        // Few requests have a broken glass: each list of them has an index of its own.
        (None, None, None, (true, false)) => {
            let sql = select_requests!("WHERE r.tenant = $1 AND r.review_by IS NOT NULL AND r.id < $2 ORDER BY r.id DESC LIMIT $3");
            db.query(sql, params![tenant, before, limit(filter)]).await?
        }
        (None, None, None, (false, true)) => {
            let sql = select_requests!("WHERE r.tenant = $1 AND r.reviewed = 1 AND r.id < $2 ORDER BY r.id DESC LIMIT $3");
            db.query(sql, params![tenant, before, limit(filter)]).await?
        }
        _ => {
            let sql = select_requests!(
                "WHERE r.tenant = $1 AND ($2 = '' OR r.state = $2) AND ($3 = '' OR r.agent = $3) AND ($4 = '' OR r.run = $4) \
                 AND ($5 = 0 OR r.review_by IS NOT NULL) AND ($6 = 0 OR r.reviewed = 1) AND r.id < $7 ORDER BY r.id DESC LIMIT $8"
            );
            let state = state.unwrap_or_default();
            let (review, reviewed) = (filter.review, filter.reviewed);
            db.query(sql, params![tenant, state, text(agent), text(run), review, reviewed, before, limit(filter)]).await?
        }
    };
    rows.iter().map(read).collect()
}

/// The waiting requests that need somebody whom one of `selectors` selects, and that do not exclude `person`; newest first. Each
/// selector is read in the order of the page, so that a page costs its own length and not that of the inbox.
pub(crate) async fn inbox(
    db: &Db,
    tenant: &TenantId,
    person: &NhiId,
    selectors: &[String],
    filter: &RequestFilter,
) -> Result<Vec<Stored>, DbError> {
    let before = filter.before.map_or_else(|| LAST.to_owned(), |id| id.to_string());
    let mut ids: Vec<String> = Vec::new();
    for selector in selectors {
        let sql = "SELECT a.request FROM oversight_audience a WHERE a.tenant = $1 AND a.selector = $2 AND a.request < $3 \
                   AND NOT EXISTS (SELECT 1 FROM oversight_excluded x WHERE x.tenant = a.tenant AND x.request = a.request \
                   AND x.person = $4) ORDER BY a.request DESC LIMIT $5";
        let rows = db.query(sql, params![tenant, selector, &before, person, limit(filter)]).await?;
        for row in &rows {
            ids.push(row.text(0)?.to_owned());
        }
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.dedup();
    ids.truncate(usize::try_from(limit(filter)).unwrap_or(usize::MAX));
    let list = serde_json::to_string(&ids).map_err(|_| unreadable("identifier"))?;
    let sql = Sql::per_engine(
        select_requests!("WHERE r.tenant = $1 AND r.id IN (SELECT value FROM json_each($2)) AND r.state = 'pending' ORDER BY r.id DESC"),
        select_requests!(
            "WHERE r.tenant = $1 AND r.id IN (SELECT json_array_elements_text($2::json)) AND r.state = 'pending' ORDER BY r.id DESC"
        ),
    );
    db.query(sql, params![tenant, list]).await?.iter().map(read).collect()
}

/// Every open request of an agent.
pub(crate) async fn open_of(db: &Db, tenant: &TenantId, agent: &NhiId) -> Result<Vec<RequestId>, DbError> {
    let sql = "SELECT id FROM oversight_request WHERE tenant = $1 AND agent = $2 AND state IN ('pending', 'approved') ORDER BY id";
    db.query(sql, params![tenant, agent]).await?.iter().map(|row| row.parse(0)).collect()
}

/// Every waiting request of a tenant that a group or a person decides, at most `most`.
pub(crate) async fn waiting_for(db: &Db, tenant: &TenantId, selector: &str, most: u32) -> Result<Vec<RequestId>, DbError> {
    let sql = "SELECT request FROM oversight_audience WHERE tenant = $1 AND selector = $2 ORDER BY request LIMIT $3";
    db.query(sql, params![tenant, selector, most]).await?.iter().map(|row| row.parse(0)).collect()
}

/// Reviews that somebody owes others: broken glasses of `person` whose time to be looked at is over.
pub(crate) async fn reviews_overdue(db: &Db, tenant: &TenantId, person: &NhiId, now: Timestamp) -> Result<bool, DbError> {
    let sql =
        "SELECT 1 FROM oversight_request WHERE tenant = $1 AND review_by IS NOT NULL AND decided_by = $2 AND decided_at <= $3 LIMIT 1";
    let day = timers::REVIEW_WITHIN.as_micros();
    let since = Timestamp::from_micros(now.as_micros().saturating_sub(i64::try_from(day).unwrap_or(i64::MAX))).unwrap_or(Timestamp::EPOCH);
    Ok(db.query_optional(sql, params![tenant, person, since]).await?.is_some())
}

/// One stored event.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    pub(crate) leaf: Option<LeafId>,
    pub(crate) recorded: Recorded,
}

/// The events of a request, in order.
pub(crate) async fn events(db: &Db, tenant: &TenantId, id: RequestId) -> Result<Vec<Happened>, DbError> {
    let sql = "SELECT leaf, body FROM oversight_event WHERE tenant = $1 AND request = $2 ORDER BY seq";
    let rows = db.query(sql, params![tenant, id]).await?;
    rows.iter()
        .map(|row| {
            let recorded = serde_json::from_str(row.text(1)?).map_err(|_| unreadable("event"))?;
            Ok(Happened { leaf: row.opt_parse(0)?, recorded })
        })
        .collect()
}

/// One revision: its number, its digest, its action, who made it and when.
pub(crate) type Revision = (u32, Digest, String, Option<NhiId>, Timestamp);

/// The revisions of a request, oldest first.
pub(crate) async fn revisions(db: &Db, tenant: &TenantId, id: RequestId) -> Result<Vec<Revision>, DbError> {
    let sql = "SELECT revision, digest, action, editor, at FROM oversight_revision WHERE tenant = $1 AND request = $2 ORDER BY revision";
    let rows = db.query(sql, params![tenant, id]).await?;
    rows.iter()
        .map(|row| {
            let number = u32::try_from(row.int(0)?).map_err(|_| unreadable("revision"))?;
            Ok((number, row.parse(1)?, row.text(2)?.to_owned(), row.opt_parse(3)?, row.time(4)?))
        })
        .collect()
}

pub(crate) fn read(row: &Row) -> Result<Stored, DbError> {
    let owned = |column: usize| row.opt_text(column).map(|text| text.map(str::to_owned));
    let case: Case = serde_json::from_str(row.text(10)?).map_err(|_| unreadable("state"))?;
    // INVARIANT: what is shown is what was digested; two columns that disagree were changed behind our back.
    let digest: Digest = row.parse(2)?;
    if digest != case.digest {
        return Err(unreadable("digest"));
    }
    Ok(Stored {
        seq: row.int(1)?,
        salt: row.blob(3)?.to_vec(),
        action: row.text(4)?.to_owned(),
        rule: row.text(5)?.to_owned(),
        run: owned(6)?,
        call: owned(7)?,
        reason: owned(8)?,
        extra: owned(9)?,
        lookup: row.opt_parse(11)?,
        first_digest: row.parse(12)?,
        policy: row.opt_parse(13)?,
        presented: row.opt_parse(14)?,
        context: owned(15)?,
        tool_schema: owned(16)?,
        case,
    })
}
