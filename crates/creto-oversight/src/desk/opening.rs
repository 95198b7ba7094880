//! Opening requests: for the Gate, and for those who only declare what they do or ask a question.

use std::time::Duration;

use creto_db::DbError;
use creto_enablement_common::{Change, OpenRequest};
use creto_kernel::id::{LeafId, RequestId};
use creto_kernel::{ActionName, CanonicalAction, Digest, Leaf, NhiId, ResourceName, TenantId, Timestamp, canonical};
use serde_json::{Map, Value};

use super::{Desk, messages, sealed};
use crate::core::decide::{Facts, open};
use crate::core::evolve::replay;
use crate::core::policy;
use crate::error::OversightError;
use crate::model::case::{Binding, Kind};
use crate::model::event::{Event, Opened, Recorded};
use crate::model::plan::{Plan, Separation};
use crate::model::request::{COMMENT_BYTES_MAX, Request};
use crate::model::requirement::Requirement;
use crate::store::requests::{self, OPEN_PER_AGENT_MAX, Stored, TOO_MANY_OPEN};

/// Largest action a human is asked about, in bytes of its canonical form.
pub const ACTION_BYTES_MAX: usize = 1 << 20;
/// Longest name of a run or a call, in bytes.
pub const CALL_BYTES_MAX: usize = 64;
/// Longest time a request waits: 30 days.
const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// A request of somebody who acts outside: it declares what it will do, or asks a question.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// Whether it asks to act or for words.
    pub kind: Kind,
    /// Who asks.
    pub agent: NhiId,
    /// Everybody in its chain, root first; the agent alone where it acts under none.
    pub hops: Vec<NhiId>,
    /// The name of the action, such as `tool.declared`.
    pub tool: ActionName,
    /// What is acted on, such as `tool:pay`.
    pub target: ResourceName,
    /// All arguments, or the question.
    pub arguments: Map<String, Value>,
    /// The rule whose document says who decides; the built-in one when absent.
    pub rule: Option<String>,
    /// Who decides, where no document says so.
    pub requirement: Option<Requirement>,
    /// The run, in the client's own words.
    pub run: Option<String>,
    /// The call within the run: the same call is asked about once.
    pub call: Option<String>,
    /// Why. Untrusted.
    pub reason: Option<String>,
    /// What the client's API keeps with it, as JSON text.
    pub extra: Option<String>,
    /// How long it waits.
    pub wait: Duration,
}

/// What is known of a request before it is opened.
struct Draft {
    opened: Opened,
    action: String,
    salt: Vec<u8>,
    lookup: Option<Digest>,
    policy: Option<Digest>,
    presented: Option<Digest>,
    context: Option<String>,
    tool_schema: Option<String>,
    rule: String,
    run: Option<String>,
    call: Option<String>,
    reason: Option<String>,
    extra: Option<String>,
    grant: Option<String>,
}

impl Desk {
    /// Opens a request that is declared, or a question. The same run and call with the same content is the same request.
    ///
    /// Errors: `oversight.call_conflict` for a call that was made before with something else, `oversight.too_many_open`,
    /// `oversight.too_large`, `oversight.bad_input`.
    pub async fn ask(&self, new: NewRequest) -> Result<Request, OversightError> {
        check_names(&new)?;
        let tenant = new.agent.tenant().clone();
        let now = self.clock.now();
        let action = CanonicalAction {
            tenant: tenant.clone(),
            agent: new.agent.clone(),
            chain: chain_of(&new.hops)?,
            action: new.tool.clone(),
            resource: new.target.clone(),
            arguments: new.arguments.clone(),
            context: Map::new(),
            reserve: None,
            schema: None,
            policy: None,
        };
        let digest = digest_of(&action)?;
        if let (Some(run), Some(call)) = (&new.run, &new.call)
            && let Some(known) = requests::of_call(&self.db, &new.agent, new.kind, run, call).await?
        {
            return same_call(&known, digest, call);
        }
        let draft = self.draft(&new, &action, digest, now).await?;
        let leaf_id = LeafId::generate();
        let (stored, mut change) = self.opening(&tenant, draft, leaf_id, now).await?;
        let mut leaf = Leaf::event(leaf_id, now, new.agent.clone(), new.tool.clone(), new.target.clone(), "requires_oversight")
            .fact("request", stored.case.id)
            .fact("rule", &stored.rule)
            .fact("binding", "declared")
            .digest("action", Digest::of_parts(&[&stored.salt, digest.as_bytes()]));
        if let Some(run) = &stored.run {
            leaf = leaf.fact("run", run);
        }
        leaf.digests.append(&mut change.digests);
        match self.db.commit(sealed(leaf, change)).await {
            Ok(_) => {
                self.changed();
                Ok(stored.shown())
            }
            Err(DbError::Conflict { code, .. }) if code == TOO_MANY_OPEN => Err(OversightError::TooManyPending(OPEN_PER_AGENT_MAX)),
            // The same call in the same moment: whichever was first is the request.
            Err(DbError::Conflict { .. }) => match (&new.run, &new.call) {
                (Some(run), Some(call)) => {
                    let known = requests::of_call(&self.db, &new.agent, new.kind, run, call).await?.ok_or(OversightError::Busy)?;
                    same_call(&known, digest, call)
                }
                _ => Err(OversightError::Busy),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn draft(&self, new: &NewRequest, action: &CanonicalAction, digest: Digest, now: Timestamp) -> Result<Draft, OversightError> {
        let tenant = &action.tenant;
        let (mut plan, timeout) = self.plan(tenant, new.rule.as_deref().unwrap_or_default()).await?;
        if let Some(requirement) = &new.requirement {
            requirement.check().map_err(OversightError::BadInput)?;
            plan.requirement = requirement.clone();
        }
        if new.kind == Kind::Question {
            plan.separation = Separation::Agents;
        }
        let lookup = match (&new.run, &new.call) {
            (Some(run), Some(call)) => {
                let bytes = canonical::to_vec(&("declared", requests::kind_word(new.kind), &new.agent, run, call))
                    .map_err(|e| OversightError::BadInput(e.to_string()))?;
                Some(Digest::of(&bytes))
            }
            _ => None,
        };
        let opened = Opened {
            id: RequestId::generate(),
            kind: new.kind,
            binding: Binding::Declared,
            digest,
            tool: new.tool.clone(),
            target: new.target.clone(),
            agent: new.agent.clone(),
            hops: new.hops.clone(),
            editable: false,
            test: self.test_mode,
            plan,
            deadline: deadline(now, new.wait.min(WAIT_MAX), timeout),
        };
        let mut salt = vec![0; 32];
        creto_crypto::random::fill(&mut salt).map_err(|_| OversightError::Unreadable)?;
        Ok(Draft {
            opened,
            action: text_of(action)?,
            salt,
            lookup,
            policy: None,
            presented: None,
            context: None,
            tool_schema: None,
            rule: new.rule.clone().unwrap_or_else(|| "declared".to_owned()),
            run: new.run.clone(),
            call: new.call.clone(),
            reason: new.reason.clone(),
            extra: new.extra.clone(),
            grant: None,
        })
    }

    /// What opens a request of the Gate.
    pub(super) async fn opening_of(&self, request: &OpenRequest) -> Result<Change, OversightError> {
        let tenant = &request.action.tenant;
        let (plan, timeout) = self.plan(tenant, &request.rule).await?;
        // The Gate says how long; from when is the desk's clock, which all servers share.
        let (now, wait) = (self.clock.now(), request.deadline.since(request.now));
        let grant = self.grant_for(request, &plan, now).await?;
        let as_text = |value: &Value| canonical::to_vec(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let draft = Draft {
            opened: Opened {
                id: request.id,
                kind: Kind::Approval,
                binding: Binding::Enforced,
                digest: request.digest,
                tool: request.action.action.clone(),
                target: request.action.resource.clone(),
                agent: request.action.agent.clone(),
                hops: request.hops.clone(),
                editable: request.editable,
                test: self.test_mode,
                plan,
                deadline: deadline(now, wait, timeout),
            },
            action: text_of(&request.action)?,
            salt: request.salt.to_vec(),
            lookup: Some(request.lookup),
            policy: request.action.policy,
            presented: Some(request.presented),
            context: as_text(&Value::Object(request.action.context.clone())),
            tool_schema: request.schema.as_ref().and_then(as_text),
            rule: request.rule.clone(),
            run: request.run.map(|run| run.to_string()),
            call: None,
            reason: request.reason.clone(),
            extra: None,
            grant: grant.as_ref().map(|grant| grant.id.clone()),
        };
        let (_, mut change) = self.opening(tenant, draft, request.leaf, now).await?;
        if let Some(grant) = grant {
            change.steps.push(Box::new(crate::store::grants::take(tenant, &grant.id, now)));
        }
        Ok(change)
    }

    async fn opening(&self, tenant: &TenantId, draft: Draft, leaf: LeafId, now: Timestamp) -> Result<(Stored, Change), OversightError> {
        if draft.action.len() > ACTION_BYTES_MAX {
            return Err(OversightError::TooLarge { bytes: draft.action.len(), limit: ACTION_BYTES_MAX });
        }
        if draft.reason.as_ref().is_some_and(|reason| reason.len() > COMMENT_BYTES_MAX) {
            return Err(OversightError::CommentTooLong(COMMENT_BYTES_MAX));
        }
        let agent = draft.opened.agent.clone();
        let roster = self.roster_of(tenant, draft.opened.plan.requirement.selectors().into_iter()).await?;
        let first_digest = draft.opened.digest;
        let events = open(draft.opened, draft.grant, now, &Facts { roster: &roster })?;
        let by = |event: &Event| if matches!(event, Event::Opened(_)) { agent.clone() } else { self.server.clone() };
        let recorded: Vec<Recorded> = events.iter().map(|event| Recorded { at: now, by: by(event), event: event.clone() }).collect();
        let case = replay(&recorded).ok_or(OversightError::Unreadable)?;
        let stored = Stored {
            seq: i64::try_from(recorded.len()).unwrap_or(i64::MAX),
            case,
            salt: draft.salt,
            action: draft.action,
            rule: draft.rule,
            run: draft.run,
            call: draft.call,
            reason: draft.reason,
            extra: draft.extra,
            lookup: draft.lookup,
            first_digest,
            policy: draft.policy,
            presented: draft.presented,
            context: draft.context,
            tool_schema: draft.tool_schema,
        };
        let mut change = Change { steps: requests::insert(tenant, &stored, &recorded, Some(leaf))?, ..Change::default() };
        change.messages = messages(tenant, &stored.case, &events, 1, now)?;
        for event in events.iter().skip(1) {
            self.commit_to(event, &stored, &self.server, &mut change)?;
        }
        Ok((stored, change))
    }

    /// The plan of a request that these rules ask for, and how long it may wait at most.
    pub(super) async fn plan(&self, tenant: &TenantId, rules: &str) -> Result<(Plan, Option<u32>), OversightError> {
        let mut policies = Vec::new();
        for rule in rules.split('+').filter(|rule| !rule.is_empty()) {
            let found = crate::store::policies::latest(&self.db, tenant, Some(rule)).await?.pop();
            policies.push(found.map_or_else(policy::built_in, |published| published.policy));
        }
        Ok((policy::plan(&policies), policy::timeout_secs(&policies)))
    }
}

fn check_names(new: &NewRequest) -> Result<(), OversightError> {
    for (what, name) in [("run", &new.run), ("call", &new.call)] {
        if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > CALL_BYTES_MAX) {
            return Err(OversightError::BadInput(format!("`{what}` has 1 to {CALL_BYTES_MAX} bytes")));
        }
    }
    Ok(())
}

fn same_call(known: &Stored, digest: Digest, call: &str) -> Result<Request, OversightError> {
    if known.first_digest == digest { Ok(known.shown()) } else { Err(OversightError::CallConflict(call.to_owned())) }
}

/// Until when a request waits: as long as its agent asks, and no longer than its policy lets it.
fn deadline(now: Timestamp, wait: Duration, timeout_secs: Option<u32>) -> Timestamp {
    let policy = timeout_secs.map_or(Duration::MAX, |secs| Duration::from_secs(secs.into()));
    now.saturating_add(wait.min(policy))
}

/// A stable digest of who delegates to whom, where no verified chain stands behind the names.
fn chain_of(hops: &[NhiId]) -> Result<Digest, OversightError> {
    Ok(Digest::of(&canonical::to_vec(&hops).map_err(|e| OversightError::BadInput(e.to_string()))?))
}

fn digest_of(action: &CanonicalAction) -> Result<Digest, OversightError> {
    action.digest().map_err(|e| OversightError::BadInput(e.to_string()))
}

pub(super) fn text_of(action: &CanonicalAction) -> Result<String, OversightError> {
    let bytes = action.canonical_bytes().map_err(|e| OversightError::BadInput(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| OversightError::BadInput(e.to_string()))
}
