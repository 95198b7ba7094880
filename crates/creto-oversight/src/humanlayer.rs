//! HumanLayer's approvals and questions, asked by its own clients.
//!
//! INVARIANT: such a request is marked `declared` in its record and its leaves: the client says what it will do (and leaves out positional
//! arguments), nothing here sees what it does, and no approval is consumed.
//!
//! INVARIANT: an agent reads its own calls only and decides none; a specification never changes after it was asked about.

mod check;
pub mod wire;

use std::time::Duration;

use creto_db::{Db, Message};
use creto_enablement_common::gate::Acting;
use creto_enablement_common::webhook::Webhooks;
use creto_kernel::{NhiId, TenantId, canonical};
use creto_nhi::{Principal, Role};
use serde_json::{Map, Value, json};

use crate::desk::{Desk, NewRequest};
use crate::error::OversightError;
use crate::model::case::{Case, Choice, Kind};
use crate::model::command::{Ballot, Command};
use crate::model::redaction;
use crate::model::request::State;
use crate::model::voter::Voter;
use crate::store::humanlayer as store;
pub use crate::store::humanlayer::MIGRATIONS;
use crate::store::requests::{Stored, kind_word};
use wire::{Asked, Escalation, Page, Reply, Verdict, Wanted};

/// The rule whose document says who decides these requests; the built-in one where there is none.
pub const RULE: &str = "humanlayer";
/// How long a call waits for a human, where policy does not say less: HumanLayer's clients name no time.
const WAIT: Duration = Duration::from_secs(24 * 3600);
/// The channel of votes that came this way.
const CHANNEL: &str = "humanlayer";

/// Whose calls somebody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// An agent's own.
    Own(NhiId),
    /// Everybody's in the tenant: an approver's view.
    All(TenantId),
}

impl Seen {
    fn by(who: &Principal) -> Result<Self, OversightError> {
        match &who.chain {
            Some(chain) => Ok(Self::Own(chain.leaf().clone())),
            None if who.roles.has(Role::Approver) => Ok(Self::All(who.tenant().clone())),
            None => Err(OversightError::NotAnApprover(who.identity.name().to_owned())),
        }
    }

    const fn tenant(&self) -> &TenantId {
        match self {
            Self::Own(agent) => agent.tenant(),
            Self::All(tenant) => tenant,
        }
    }

    /// Whether secret arguments are seen too: an agent's own, and by whoever runs the installation.
    fn in_clear(&self, who: &Principal) -> bool {
        matches!(self, Self::Own(_)) || who.roles.has(Role::Operator)
    }

    const fn agent(&self) -> Option<&NhiId> {
        match self {
            Self::Own(agent) => Some(agent),
            Self::All(_) => None,
        }
    }
}

/// HumanLayer's function calls and human contacts, over the desk.
#[derive(Debug, Clone)]
pub struct HumanLayer {
    db: Db,
    desk: Desk,
}

/// A page of calls.
#[derive(Debug)]
pub struct Calls {
    /// As the clients read them, oldest first.
    pub items: Vec<Value>,
    /// How many there are in all.
    pub total: u64,
}

impl HumanLayer {
    /// Over the desk's database.
    #[must_use]
    pub const fn new(db: Db, desk: Desk) -> Self {
        Self { db, desk }
    }

    /// Asks. The same call asked again with the same specification is the same call.
    ///
    /// Errors: `oversight.call_conflict` for another specification or run under its name, `oversight.bad_input` for a function's name
    /// that no resource can have, and what the desk says.
    pub async fn create(&self, acting: Acting<'_>, wanted: &Wanted) -> Result<Value, OversightError> {
        let agent = acting.chain.leaf();
        let seen = Seen::Own(agent.clone());
        let bad = |e: &dyn std::fmt::Display| OversightError::BadInput(e.to_string());
        let extra = canonical::to_vec(&json!({ "run_id": wanted.run_id, "spec": wanted.spec })).map_err(|e| bad(&e))?;
        let extra = String::from_utf8(extra).map_err(|e| bad(&e))?;
        if let Some(known) = self.latest(&seen, wanted.asked, &wanted.call_id).await? {
            return if known.extra.as_ref() == Some(&extra) {
                shown(wanted.asked, &known, true)
            } else {
                Err(OversightError::CallConflict(wanted.call_id.clone()))
            };
        }
        let (tool, target) = match wanted.asked {
            Asked::FunctionCall => ("tool.declared", format!("tool:{}", wanted.tool())),
            Asked::HumanContact => ("human.contact", "human:approver".to_owned()),
        };
        let mut arguments = wanted.matter();
        arguments.insert("run_id".to_owned(), Value::from(wanted.run_id.as_str()));
        arguments.insert("call_id".to_owned(), Value::from(wanted.call_id.as_str()));
        let new = NewRequest {
            kind: wanted.asked.kind(),
            agent: agent.clone(),
            hops: acting.chain.hops().iter().map(|hop| hop.identity.clone()).collect(),
            tool: tool.parse().map_err(|e: creto_kernel::action::NameError| bad(&e))?,
            target: target.parse().map_err(|e: creto_kernel::action::NameError| bad(&e))?,
            arguments,
            rule: Some(RULE.to_owned()),
            requirement: None,
            run: Some(wanted.run_id.clone()),
            call: Some(wanted.call_id.clone()),
            reason: None,
            extra: Some(extra),
            wait: WAIT,
        };
        let request = self.desk.ask(new).await?;
        self.get_stored(&seen, wanted.asked, &request.id).await.and_then(|stored| shown(wanted.asked, &stored, true))
    }

    /// One call, by the client's name for it or the request's own.
    ///
    /// Errors: `oversight.unknown_call`; `oversight.call_conflict` where two agents use the name and an approver means one of both.
    pub async fn get(&self, who: &Principal, asked: Asked, id: &str) -> Result<Value, OversightError> {
        let seen = Seen::by(who)?;
        shown(asked, &self.get_stored(&seen, asked, id).await?, seen.in_clear(who))
    }

    /// Decides a function call, as an approver.
    pub async fn decide(&self, who: &Principal, id: &str, body: Value) -> Result<Value, Refused> {
        let stored = self.get_stored(&Seen::by(who)?, Asked::FunctionCall, id).await?;
        let spec = spec_of(&stored)?;
        let Verdict { approved, comment, option } = Verdict::read(body, &wire::options(Asked::FunctionCall, &spec))?;
        let ballot = Ballot {
            voter: voter(who)?,
            stands_in_for: None,
            choice: if approved { Choice::Approve } else { Choice::Deny },
            // What it is about never changes, so the name is as good as the digest.
            digest: approved.then_some(stored.case.digest),
            shown: None,
            revision: Some(stored.case.revision),
            comment,
            option,
        };
        self.desk.vote(stored.case.id, ballot).await?;
        Ok(self.get(who, Asked::FunctionCall, id).await?)
    }

    /// Answers a human contact, as an approver.
    pub async fn answer(&self, who: &Principal, id: &str, body: Value) -> Result<Value, Refused> {
        let stored = self.get_stored(&Seen::by(who)?, Asked::HumanContact, id).await?;
        let spec = spec_of(&stored)?;
        let Reply { response, option } = Reply::read(body, &wire::options(Asked::HumanContact, &spec))?;
        let answer = Command::Answer { voter: voter(who)?, text: response, option };
        self.desk.command(&who.identity, stored.case.id, &answer).await?;
        Ok(self.get(who, Asked::HumanContact, id).await?)
    }

    /// Has the next step of the escalation chain begin now, or those of the last one told again. Whom it reaches is up to policy.
    pub async fn escalate(&self, who: &Principal, asked: Asked, id: &str, wish: Escalation) -> Result<Value, OversightError> {
        let seen = Seen::by(who)?;
        let stored = self.get_stored(&seen, asked, id).await?;
        let by = seen.agent().unwrap_or(&who.identity).clone();
        let escalate = Command::Escalate { by: by.clone(), message: Some(wish.message) };
        self.desk.command(&by, stored.case.id, &escalate).await?;
        self.get(who, asked, id).await
    }

    /// What waits for a human, oldest first: an agent's own, or everybody's for an approver.
    pub async fn pending(&self, who: &Principal, asked: Asked, page: Page) -> Result<Calls, OversightError> {
        let seen = Seen::by(who)?;
        let clear = seen.in_clear(who);
        let (rows, total) = store::pending(&self.db, seen.tenant(), seen.agent(), kind_word(asked.kind()), page).await?;
        Ok(Calls { items: rows.iter().map(|stored| shown(asked, stored, clear)).collect::<Result<_, _>>()?, total })
    }

    async fn get_stored(&self, seen: &Seen, asked: Asked, id: &str) -> Result<Stored, OversightError> {
        let unknown = || OversightError::Unknown { what: "call", id: id.chars().take(80).collect() };
        if let Ok(request) = id.parse() {
            let found = crate::store::requests::one(&self.db, seen.tenant(), request).await?.ok_or_else(unknown)?;
            let visible = found.extra.is_some() && found.case.kind == asked.kind() && seen.agent().is_none_or(|a| *a == found.case.agent);
            return if visible { self.current(found).await } else { Err(unknown()) };
        }
        let found = self.latest(seen, asked, id).await?.ok_or_else(unknown)?;
        self.current(found).await
    }

    /// As it stands now: what time has done to it is written down first.
    async fn current(&self, stored: Stored) -> Result<Stored, OversightError> {
        let tenant = stored.case.agent.tenant().clone();
        self.desk.watch(&tenant, stored.case.id, stored.seq, Duration::ZERO).await?;
        crate::store::requests::one(&self.db, &tenant, stored.case.id).await?.ok_or(OversightError::Unreadable)
    }

    async fn latest(&self, seen: &Seen, asked: Asked, call: &str) -> Result<Option<Stored>, OversightError> {
        let mut found = store::by_call(&self.db, seen.tenant(), seen.agent(), kind_word(asked.kind()), call).await?;
        let latest = found.pop();
        match (&latest, found.pop()) {
            (Some(one), Some(other)) if one.case.agent != other.case.agent => Err(OversightError::CallConflict(call.to_owned())),
            _ => Ok(latest),
        }
    }
}

/// Why a decision was not taken: malformed, or refused.
#[derive(Debug)]
pub enum Refused {
    /// The body says nothing that could be done.
    Malformed(Vec<wire::Fault>),
    /// The desk said no.
    Said(OversightError),
}

impl From<Vec<wire::Fault>> for Refused {
    fn from(faults: Vec<wire::Fault>) -> Self {
        Self::Malformed(faults)
    }
}

impl From<OversightError> for Refused {
    fn from(error: OversightError) -> Self {
        Self::Said(error)
    }
}

impl Asked {
    const fn kind(self) -> Kind {
        match self {
            Self::FunctionCall => Kind::Approval,
            Self::HumanContact => Kind::Question,
        }
    }
}

fn voter(who: &Principal) -> Result<Voter, OversightError> {
    Voter::through(who, CHANNEL, who.how.as_str(), None)
}

fn extra_of(stored: &Stored) -> Result<Map<String, Value>, OversightError> {
    let text = stored.extra.as_deref().ok_or(OversightError::Unreadable)?;
    serde_json::from_str(text).map_err(|_| OversightError::Unreadable)
}

fn spec_of(stored: &Stored) -> Result<Map<String, Value>, OversightError> {
    match extra_of(stored)?.remove("spec") {
        Some(Value::Object(spec)) => Ok(spec),
        _ => Err(OversightError::Unreadable),
    }
}

/// The call as the clients read it, with ours beside it: they pass over members they do not know. Secret arguments are `in_clear` or hidden.
fn shown(asked: Asked, stored: &Stored, in_clear: bool) -> Result<Value, OversightError> {
    let mut extra = extra_of(stored)?;
    let case = &stored.case;
    if let Some(spec) = extra.get_mut("spec").and_then(Value::as_object_mut).filter(|_| !in_clear) {
        redaction::hide(spec, &case.plan.secrets);
    }
    let mut status = match asked {
        Asked::FunctionCall => verdict(case),
        Asked::HumanContact => reply(case),
    };
    if let Some(status) = status.as_object_mut() {
        status.insert("requested_at".to_owned(), json!(case.opened_at));
        status.insert("responded_at".to_owned(), json!(case.decided_at.filter(|_| case.state != State::Pending)));
        status.insert("user_info".to_owned(), json!(case.decided_by.as_ref().map(|by| json!({ "id": by, "how": case.how }))));
    }
    Ok(json!({
        "run_id": extra.remove("run_id"),
        "call_id": stored.call,
        "spec": extra.remove("spec"),
        "status": status,
        "creto": { "request": case.id, "digest": case.digest, "state": case.state, "binding": case.binding },
    }))
}

/// How a request ended that no human answered as it was asked: the words, and the name in place of an option's.
const fn ended(state: State) -> Option<(&'static str, &'static str)> {
    match state {
        State::TimedOut => Some(("nobody decided in time", "timed_out")),
        State::Cancelled => Some(("the request was cancelled", "cancelled")),
        State::Superseded => Some(("another request took its place", "superseded")),
        State::Expired => Some(("the approval was not used in time", "expired")),
        State::Revoked => Some(("the approval was taken back", "revoked")),
        _ => None,
    }
}

/// The status of a function call. A refusal always has words: the clients take one without for a failure.
fn verdict(case: &Case) -> Value {
    let comment = case.comment.clone().filter(|comment| !comment.trim().is_empty());
    let (approved, comment, option) = match case.state {
        State::Pending | State::Answered => (None, None, None),
        State::Approved | State::Consumed | State::Executed | State::Failed | State::InDoubt => (Some(true), comment, None),
        State::Denied => {
            let by = case.decided_by.as_ref().map_or("the server", NhiId::name);
            (Some(false), Some(comment.unwrap_or_else(|| format!("denied by {by} without a comment"))), case.option.clone())
        }
        state => {
            let (words, option) = ended(state).unwrap_or(("it ended", "ended"));
            (Some(false), Some(comment.unwrap_or_else(|| words.to_owned())), Some(option.to_owned()))
        }
    };
    json!({ "approved": approved, "comment": comment, "reject_option_name": option, "slack_message_ts": null })
}

/// The status of a human contact. One that ended without an answer says so in words: the clients would ask for ever.
fn reply(case: &Case) -> Value {
    let (response, option) = match (case.state, ended(case.state)) {
        (State::Pending, _) => (None, None),
        (_, Some((words, option))) => (Some(format!("no answer: {words}")), Some(option.to_owned())),
        _ => (case.answer.clone(), case.option.clone()),
    };
    json!({ "response": response, "response_option_name": option })
}

/// What webhooks are told when a call is over: an event of HumanLayer's type, whose body is the envelope of its models,
/// `{is_test, type, event}`. Endpoints that ask for `function_call.completed` or `human_contact.completed` get it as its clients read it.
pub(crate) fn completed(before: &Case, after: &Stored, is_test: bool) -> Result<Option<Message>, OversightError> {
    let over = before.state == State::Pending && after.case.state != State::Pending;
    if !over || after.extra.is_none() {
        return Ok(None);
    }
    let asked = match after.case.kind {
        Kind::Approval => Asked::FunctionCall,
        Kind::Question => Asked::HumanContact,
    };
    let kind = format!("{}.completed", asked.as_str());
    let envelope = json!({ "is_test": is_test, "type": kind, "event": shown(asked, after, false)? });
    Ok(Some(Webhooks::message_as(after.case.agent.tenant(), &kind, &envelope)))
}
