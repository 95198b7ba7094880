//! A ceiling without room: where its owner wants that, a human is asked whether to raise it, and the action is judged again.
//!
//! INVARIANT: a raise is applied at most once, in the commit that uses its approval, by compare-and-set on the ceiling that was asked
//! about. Whoever finds the approval applies it: the one that asked may be dead.
//!
//! INVARIANT: while a human is asked nothing is held for the waiting action, neither money nor what its leases counted.

use std::time::{Duration, Instant};

use creto_db::Sealed;
use creto_kernel::canonical;
use creto_kernel::id::{AdmissionId, LeafId, RequestId};
use creto_kernel::{CanonicalAction, Coded, Digest, ErrorCode, Kind, Leaf, Micros, NhiId, ResourceName, TenantId};
use serde_json::{Map, Value, json};

use super::asking::Reviewed;
use super::{ActionRow, ActionState, AdmitRequest, Gate, Salt, Stopped, commitment, refusal_of, with};
use crate::ports::{Asking, OpenRequest, Raise, Room, Verdict};
use crate::refusal::Refusal;

/// The action a human approves. Nobody can ask for it: the Gate does, where an account has no room.
pub const RAISE_ACTION: &str = "metering.raise_budget";
/// The rule whose document says who decides about raises.
pub const RAISE_RULE: &str = "raise_budget";
/// How long such a question waits for a human, where its rule's document says nothing shorter.
const QUESTION_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Longest wait of an effect that is one commit: its caller holds a connection open and can send it again.
const EFFECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Most times one action is judged again for room: once for each account of a long chain.
const ROUNDS_MAX: u32 = 16;

/// How long an action may still wait for room.
#[derive(Debug)]
pub(super) struct Waiting {
    since: Instant,
    at_most: Duration,
    for_policy: Duration,
    /// Whether the caller takes "not decided yet" for an answer.
    takes_pending: bool,
    rounds: u32,
}

impl Waiting {
    pub(super) fn for_admission(request: &AdmitRequest<'_>, patience: Duration) -> Self {
        let takes_pending = patience < Duration::MAX;
        let at_most = if takes_pending { patience } else { request.wait };
        Self { since: Instant::now(), at_most, for_policy: patience, takes_pending, rounds: 0 }
    }

    pub(super) fn for_effect(request: &AdmitRequest<'_>) -> Self {
        let at_most = request.wait.min(EFFECT_WAIT_MAX);
        Self { since: Instant::now(), at_most, for_policy: Duration::MAX, takes_pending: false, rounds: 0 }
    }

    /// What is left of the caller's patience.
    pub(super) fn left(&self) -> Duration {
        if self.takes_pending { self.for_policy.saturating_sub(self.since.elapsed()) } else { self.for_policy }
    }
}

/// What asking for room came to.
#[derive(Debug)]
pub(super) enum Made {
    /// There is room, or there may be: the action is judged again.
    Again,
    /// A human has not decided yet.
    Pending(RequestId, Digest),
    /// Nobody is asked.
    Nothing,
}

impl Gate {
    /// Asks for room on the chain of `request` where its owners let a human be asked, and waits as long as the request does. `true` says
    /// that the action may be judged again, `false` that nobody is asked. For products that find a ceiling too low before they ask for
    /// an action.
    ///
    /// Errors: `short` with what became of the question.
    pub async fn make_room(&self, request: &AdmitRequest<'_>, wanted: Micros, short: Refusal) -> Result<bool, Refusal> {
        let mut waiting = Waiting::for_admission(request, Duration::MAX);
        match self.room_for(request, wanted, &mut waiting, &short).await? {
            Made::Nothing => Ok(false),
            Made::Again | Made::Pending(..) => Ok(true),
        }
    }

    /// As [`Gate::make_room`] for an action that was stopped; its refusal stands where nobody is asked.
    pub(super) async fn room_instead_of(
        &self,
        request: &AdmitRequest<'_>,
        wanted: Micros,
        waiting: &mut Waiting,
        mut stopped: Stopped,
    ) -> Result<Made, Stopped> {
        if let Some(cleared) = &mut stopped.cleared {
            cleared.leases.clear();
        }
        match self.room_for(request, wanted, waiting, &stopped.refusal).await {
            Ok(Made::Nothing) => Err(stopped),
            Ok(made) => Ok(made),
            Err(refusal) => Err(Stopped { refusal, ..stopped }),
        }
    }

    async fn room_for(&self, request: &AdmitRequest<'_>, wanted: Micros, waiting: &mut Waiting, short: &Refusal) -> Result<Made, Refusal> {
        waiting.rounds += 1;
        let raise = match self.options.ledger.room(request.chain, wanted, self.options.clock.now()).await? {
            Room::Nobody => return Ok(Made::Nothing),
            _ if waiting.rounds > ROUNDS_MAX => return Ok(Made::Nothing),
            Room::There => return Ok(Made::Again),
            Room::Raise(raise) => raise,
        };
        let tenant = request.chain.tenant();
        let Some((id, digest)) = self.question(request, &raise, short).await? else { return Ok(Made::Again) };
        let approvals = &self.options.approvals;
        match approvals.wait_at_most(tenant, id, waiting.at_most.saturating_sub(waiting.since.elapsed())).await {
            Ok(None) if waiting.takes_pending => Ok(Made::Pending(id, digest)),
            Ok(None) => Err(because(short, &raise, id, "waits for a human: try again once it is decided")),
            Ok(Some(Verdict::Denied { by, comment })) => {
                let said = comment.map(|comment| format!(": {comment}")).unwrap_or_default();
                Err(because(short, &raise, id, &format!("was denied by `{}`{said}", by.name())))
            }
            Ok(Some(Verdict::TimedOut)) => Err(because(short, &raise, id, "was not decided in time")),
            Ok(Some(Verdict::Cancelled)) => Err(because(short, &raise, id, "was withdrawn")),
            Ok(Some(Verdict::Approved { by, .. })) => {
                // Long may have passed since the chain was looked at.
                self.standing(request.chain).await?;
                self.apply(tenant, &raise, id, &by).await?;
                Ok(Made::Again)
            }
            // Another attempt has used it: the ceiling is raised.
            Err(refusal) if refusal.kind() == Kind::Conflict => Ok(Made::Again),
            Err(refusal) => Err(refusal),
        }
    }

    /// The one question about this ceiling under these terms, whoever asked it first; a new one where there is none. `None` where it was
    /// asked and answered in between.
    async fn question(&self, request: &AdmitRequest<'_>, raise: &Raise, short: &Refusal) -> Result<Option<(RequestId, Digest)>, Refusal> {
        let tenant = request.chain.tenant();
        let lookup = lookup(tenant, raise)?;
        let find = || self.options.approvals.find(tenant, lookup, self.options.clock.now());
        if let Some(found) = find().await? {
            return Ok(Some((found.id, found.digest)));
        }
        match self.put_question(request, raise, lookup).await {
            Ok(asked) => Ok(Some(asked)),
            Err(refusal) if matches!(refusal.kind(), Kind::Conflict | Kind::Limited) => match find().await? {
                Some(found) => Ok(Some((found.id, found.digest))),
                // The terms, or the agent's share of the inbox, let nobody be asked now.
                None if refusal.kind() == Kind::Limited => Err(short.clone()),
                None => Ok(None),
            },
            Err(refusal) => Err(refusal),
        }
    }

    async fn put_question(&self, request: &AdmitRequest<'_>, raise: &Raise, lookup: Digest) -> Result<(RequestId, Digest), Refusal> {
        let unfit = |e: canonical::CanonicalError| Refusal::denied(e.to_string());
        let chain = request.chain;
        let now = self.options.clock.now();
        let arguments = arguments(request, raise);
        let schema = schema(&arguments);
        let action = CanonicalAction {
            tenant: chain.tenant().clone(),
            agent: chain.leaf().clone(),
            chain: chain.authority(),
            action: RAISE_ACTION.parse().map_err(|e: creto_kernel::action::NameError| Refusal::denied(e.to_string()))?,
            resource: resource(&raise.account)?,
            arguments,
            context: Map::new(),
            reserve: None,
            schema: Some(Digest::of(&canonical::to_vec(&schema).map_err(unfit)?)),
            policy: self.options.authz.policy_digest(chain.tenant()),
        };
        let digest = action.digest().map_err(unfit)?;
        let mut salt = Salt::default();
        creto_crypto::random::fill(&mut salt).map_err(|e| Refusal::port(&e))?;
        let open = OpenRequest {
            id: RequestId::generate(),
            digest,
            lookup,
            leaf: LeafId::generate(),
            presented: chain.digest(),
            schema: Some(schema),
            editable: true,
            salt,
            rule: RAISE_RULE.to_owned(),
            run: request.run,
            hops: chain.hops().iter().map(|hop| hop.identity.clone()).collect(),
            reason: request.reason.clone(),
            now,
            deadline: now.saturating_add(QUESTION_WAIT),
            action,
        };
        let leaf = leaf(open.leaf, &open.action, chain.digest(), "requires_oversight", &salt, digest, now);
        let mut leaf = leaf.fact("request", open.id).fact("rule", RAISE_RULE);
        if let Some(run) = request.run {
            leaf = leaf.fact("run", run);
        }
        let mut change = self.options.approvals.open(&open).await?;
        leaf.digests.append(&mut change.digests);
        let sealed = with(Sealed::new(leaf), change).steps(self.options.ledger.asking(chain.tenant(), raise, now));
        self.options.db.commit(sealed).await.map_err(refusal_of)?;
        self.options.approvals.opened();
        Ok((open.id, digest))
    }

    /// Raises the ceiling as it was approved. One of all who wait does; the others find the approval used. A ceiling or terms that changed
    /// since are not what was approved: then the approval is taken back.
    async fn apply(&self, tenant: &TenantId, raise: &Raise, id: RequestId, by: &NhiId) -> Result<(), Refusal> {
        let Some(Asking { action, presented, run }) = self.options.approvals.asking(tenant, id).await? else { return Ok(()) };
        let digest = action.digest().map_err(|e| Refusal::denied(e.to_string()))?;
        let now = self.options.clock.now();
        let mut salt = Salt::default();
        creto_crypto::random::fill(&mut salt).map_err(|e| Refusal::port(&e))?;
        let raised = asked(&action.arguments).filter(|asked| is_of(&action, raise) && asked.granted <= raise.step);
        let Some(ceiling) = raised.and_then(|asked| raise.ceiling.checked_add(asked.granted)) else {
            return self.take_back(&action, presented, id, "it is not what was asked for").await;
        };
        let admission = AdmissionId::generate();
        let change = match self.options.approvals.consume_done(tenant, id, digest, admission).await {
            Err(refusal) if refusal.kind() == Kind::Conflict => return Ok(()),
            change => change?,
        };
        let mut leaf = leaf(LeafId::generate(), &action, presented, "done", &salt, digest, now)
            .fact("admission", admission)
            .fact("request", id)
            .fact("approved_by", by)
            .fact("ceiling", raise.ceiling)
            .fact("raised_to", ceiling);
        if let Some(run) = run {
            leaf = leaf.fact("run", run);
        }
        let row = ActionRow::of(&action, (admission, Some(id)), (digest, presented), leaf.id, run, salt, now)?;
        let sealed = with(Sealed::new(leaf), change).steps(self.options.ledger.raised(tenant, raise, ceiling));
        match self.options.db.commit(sealed.step(row.insert(ActionState::Done))).await.map_err(refusal_of) {
            Ok(_) => {
                self.options.approvals.opened();
                Ok(())
            }
            Err(refusal) if refusal.code() == MOVED => self.take_back(&action, presented, id, "the ceiling changed since").await,
            // Another attempt was faster.
            Err(refusal) if refusal.kind() == Kind::Conflict => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    async fn take_back(&self, action: &CanonicalAction, presented: Digest, id: RequestId, reason: &str) -> Result<(), Refusal> {
        let mut salt = Salt::default();
        creto_crypto::random::fill(&mut salt).map_err(|e| Refusal::port(&e))?;
        let digest = action.digest().map_err(|e| Refusal::denied(e.to_string()))?;
        let leaf = leaf(LeafId::generate(), action, presented, "approval_withdrawn", &salt, digest, self.options.clock.now());
        let change = match self.options.approvals.withdraw(&action.tenant, id, reason).await {
            Err(refusal) if refusal.kind() == Kind::Conflict => return Ok(()),
            change => change?,
        };
        match self.options.db.commit(with(Sealed::new(leaf.fact("request", id)), change)).await.map_err(refusal_of) {
            Err(refusal) if refusal.kind() != Kind::Conflict => Err(refusal),
            _ => {
                self.options.approvals.opened();
                Ok(())
            }
        }
    }
}

/// The ceiling, or the terms, are others than those that were asked about: what a ledger's steps say.
pub const MOVED: ErrorCode = ErrorCode::new("metering.ceiling_moved");
/// The terms let nobody be asked now: what a ledger's steps say.
pub const RAISES_OVER: ErrorCode = ErrorCode::new("metering.raises_over");

fn leaf(
    id: LeafId,
    action: &CanonicalAction,
    presented: Digest,
    decision: &str,
    salt: &Salt,
    digest: Digest,
    now: creto_kernel::Timestamp,
) -> Leaf {
    let CanonicalAction { agent, action, resource, .. } = action.clone();
    Leaf::event(id, now, agent, action, resource, decision).under(presented).digest("action", commitment(salt, digest))
}

fn resource(account: &str) -> Result<ResourceName, Refusal> {
    format!("account:{account}").parse().map_err(|e: creto_kernel::action::NameError| Refusal::denied(e.to_string()))
}

/// One question for each ceiling and its terms, whichever agents run out of it: their actions differ, what is asked does not.
fn lookup(tenant: &TenantId, raise: &Raise) -> Result<Digest, Refusal> {
    let asked = (RAISE_ACTION, tenant, &raise.account, raise.ceiling, &raise.terms);
    Ok(Digest::of(&canonical::to_vec(&asked).map_err(|e| Refusal::denied(e.to_string()))?))
}

/// What a human is shown: the account, what stands, what is missing, what is asked for, and for what.
fn arguments(request: &AdmitRequest<'_>, raise: &Raise) -> Map<String, Value> {
    let text = |value: &dyn std::fmt::Display| Value::String(value.to_string());
    Map::from_iter([
        ("account".to_owned(), text(&raise.account)),
        ("whose".to_owned(), text(&raise.whose)),
        ("ceiling".to_owned(), text(&raise.ceiling)),
        ("missing".to_owned(), text(&raise.missing)),
        ("asked".to_owned(), text(&raise.step)),
        ("raise".to_owned(), text(&raise.step)),
        ("for_action".to_owned(), text(&request.action)),
        ("for_resource".to_owned(), text(&request.resource)),
    ])
}

/// Only the raise itself may be edited.
fn schema(arguments: &Map<String, Value>) -> Value {
    let rule = |(name, value): (&String, &Value)| {
        let rule = if name == "raise" { json!({ "type": "string" }) } else { json!({ "const": value }) };
        (name.clone(), rule)
    };
    json!({
        "type": "object",
        "properties": arguments.iter().map(rule).collect::<Map<_, _>>(),
        "required": arguments.keys().collect::<Vec<_>>(),
        "additionalProperties": false,
    })
}

/// What a question's arguments ask for.
struct Asked {
    ceiling: Micros,
    granted: Micros,
}

/// `None` where it is no raise, or more than was asked for.
fn asked(arguments: &Map<String, Value>) -> Option<Asked> {
    let amount = |name: &str| arguments.get(name)?.as_str()?.parse::<Micros>().ok();
    let (ceiling, most, granted) = (amount("ceiling")?, amount("asked")?, amount("raise")?);
    (granted > Micros::ZERO && granted <= most).then_some(Asked { ceiling, granted })
}

fn is_of(action: &CanonicalAction, raise: &Raise) -> bool {
    action.action.as_str() == RAISE_ACTION
        && action.resource.identifier() == raise.account
        && asked(&action.arguments).is_some_and(|asked| asked.ceiling == raise.ceiling)
}

/// Whether an edited question may be asked: it grants something, and no more than was asked for.
pub(super) fn review(arguments: &Map<String, Value>) -> Reviewed {
    match asked(arguments) {
        Some(_) => Reviewed::Allowed,
        None => Reviewed::Denied(Refusal::denied("`raise` is an amount above zero and at most what was asked for")),
    }
}

/// The refusal as it was, with what became of the question.
fn because(short: &Refusal, raise: &Raise, id: RequestId, what: &str) -> Refusal {
    Refusal::BudgetExceeded { message: format!("{short}; request `{id}` to raise `{}` by {} {what}", raise.account, raise.step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(raise: &str) -> Map<String, Value> {
        let Value::Object(map) = json!({ "ceiling": "1", "asked": "0.5", "raise": raise }) else { return Map::new() };
        map
    }

    #[test]
    fn an_edit_lowers_what_is_asked_for_and_nothing_else() {
        for good in ["0.5", "0.000001", "0.49"] {
            assert!(matches!(review(&arguments(good)), Reviewed::Allowed), "{good}");
        }
        for bad in ["0", "-0.1", "0.500001", "1", "", "much", "0.0000001"] {
            assert!(matches!(review(&arguments(bad)), Reviewed::Denied(_)), "{bad}");
        }
        assert!(matches!(review(&Map::new()), Reviewed::Denied(_)));
    }
}
