//! Erasing what people and agents said, while the log stays whole: arguments, reasons, comments, memory, and what usage events said beyond
//! what they are billed of.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use creto_db::{DbError, Late, Lately, Sealed};
use creto_enablement_common::erasure::{Count, Erasure, Whose};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::{LeafId, RequestId, RunId};
use creto_kernel::{Coded, Digest, ErrorCode, Kind, Leaf, NhiKind, Timestamp};
use creto_memory::Erase;
use creto_metering::EventsOf;
use creto_metering::model::retention::ErasedEvents;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::server::identity::named;
use crate::wiring::House;

/// The tables that words stand in.
const TABLES: &[&str] = &[
    "gate_action",
    "gate_attempt",
    "oversight_request",
    "oversight_event",
    "oversight_revision",
    "oversight_mail_comment",
    "oversight_reply",
    "memory_item",
    "webhook_delivery",
];

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            Method::POST,
            "/v1/privacy/erase",
            Access::Operator,
            "Erase arguments, reasons, comments and memory; the log stays whole",
            erase,
            Arc::clone(house),
        )
        .takes::<EraseInput>()
        .answers::<Erased>(),
    ]
}

#[derive(Debug, thiserror::Error)]
enum PrivacyError {
    #[error("name exactly one of `request`, `run`, `agent` and `everybody`")]
    Selector,
    #[error("{0}")]
    Invalid(String),
    #[error("the words of request `{0}` were erased before")]
    NothingToErase(RequestId),
    #[error("the words are erased, and the database's files still hold copies: {0}")]
    NotScrubbed(DbError),
}

impl Coded for PrivacyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Selector | Self::Invalid(_) => ErrorCode::new("app.bad_erasure"),
            Self::NothingToErase(_) => ErrorCode::new("app.nothing_to_erase"),
            Self::NotScrubbed(_) => ErrorCode::new("app.not_scrubbed"),
        }
    }
    fn kind(&self) -> Kind {
        match self {
            Self::Selector | Self::Invalid(_) => Kind::Invalid,
            Self::NothingToErase(_) => Kind::Conflict,
            Self::NotScrubbed(_) => Kind::Unavailable,
        }
    }
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotScrubbed(_) => Some("send the same request again".to_owned()),
            _ => None,
        }
    }
}

/// What to erase: exactly one of `request`, `run`, `agent` and `everybody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EraseInput {
    /// One request for approval, and every attempt at the same action.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    request: Option<RequestId>,
    /// One run.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    run: Option<RunId>,
    /// Everything this agent did, asked and remembered.
    #[serde(default)]
    agent: Option<String>,
    /// The whole tenant.
    #[serde(default)]
    everybody: bool,
    /// Only what was recorded before this moment; now when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    before: Option<Timestamp>,
}

/// What lost its words.
#[derive(Debug, Serialize, ToSchema)]
struct Erased {
    /// Actions.
    actions: u64,
    /// Requests for approval.
    requests: u64,
    /// Items of memory.
    memories: u64,
    /// Usage events that lost what they are not billed of; those of an agent or of everybody.
    events: u64,
    /// Usage events that keep it until their period is final and paid, or while they are on hold.
    events_kept: u64,
    /// The leaf that records it.
    #[schema(value_type = String)]
    leaf: LeafId,
}

async fn erase(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<EraseInput>,
) -> Result<Json<Erased>, Problem> {
    let (subject, whose) = whose(&house, &caller, &input).await?;
    let (by, now) = (&caller.0.identity, house.now());
    let before = input.before.unwrap_or(now).min(now);
    let what = Erasure { tenant: caller.0.tenant().clone(), whose, before };
    let invalid = |e: creto_kernel::action::NameError| PrivacyError::Invalid(e.to_string());
    let (action, resource) = ("privacy.erase".parse().map_err(invalid)?, subject.parse().map_err(invalid)?);
    let leaf = Leaf::event(LeafId::generate(), now, by.clone(), action, resource, "done").fact("before", before);
    let leaf_id = leaf.id;
    let (actions, requests) = (house.gate.erasing(&what), house.desk.erasing(&what));
    let mut sealed = Sealed::new(leaf);
    let mut counts = Counts { actions: actions.count, requests: requests.count, memories: Vec::new() };
    for which in remembered(&house, &what).await? {
        let (steps, count) = house.memory.erasing(by, &which, leaf_id);
        sealed = sealed.steps(steps);
        counts.memories.push(Count(count));
    }
    let told = counts.clone();
    let sealed = sealed.steps(requests.steps).steps(actions.steps).late(Lately::new(move || told.late()));
    house.db.commit(sealed).await?;
    house.db.scrub(TABLES).await.map_err(PrivacyError::NotScrubbed)?;
    // In commits of their own: there may be millions of them. Cut, the same request goes on where it stopped.
    let events = match events_of(&what.whose) {
        Some(of) => house.meter.erase_events(by, &of, before).await?,
        None => ErasedEvents::default(),
    };
    Ok(Json(Erased {
        actions: counts.actions.get(),
        requests: counts.requests.get(),
        memories: counts.memories(),
        events: events.erased,
        events_kept: events.kept,
        leaf: leaf_id,
    }))
}

/// The same, in metering's terms. A run's and a request's own usage is not told apart from the agent's other usage.
fn events_of(whose: &Whose) -> Option<EventsOf> {
    match whose {
        Whose::Everybody => Some(EventsOf::Everybody),
        Whose::Agent(agent) => Some(EventsOf::Agent(agent.clone())),
        Whose::Run(_) | Whose::Action(_) => None,
    }
}

/// Counted inside the commit.
#[derive(Debug, Clone)]
struct Counts {
    actions: Count,
    requests: Count,
    memories: Vec<Count>,
}

impl Counts {
    fn memories(&self) -> u64 {
        self.memories.iter().map(Count::get).sum()
    }

    fn late(&self) -> Late {
        let facts = [("actions", self.actions.get()), ("requests", self.requests.get()), ("memories", self.memories())];
        let facts: BTreeMap<String, String> = facts.into_iter().map(|(name, count)| (name.to_owned(), count.to_string())).collect();
        Late { facts, digests: BTreeMap::new() }
    }
}

/// The resource of the leaf, and whose words.
async fn whose(house: &House, caller: &Caller, input: &EraseInput) -> Result<(String, Whose), Problem> {
    match (&input.request, &input.run, &input.agent, input.everybody) {
        (Some(request), None, None, false) => {
            let digest = house.desk.get(caller.0.tenant(), *request).await?.digest;
            if digest == creto_enablement_common::erasure::ERASED {
                return Err(PrivacyError::NothingToErase(*request).into());
            }
            Ok((format!("privacy:{request}"), Whose::Action(digest)))
        }
        (None, Some(run), None, false) => Ok((format!("privacy:{run}"), Whose::Run(*run))),
        (None, None, Some(name), false) => {
            let id = named(house, caller.0.tenant(), NhiKind::Agent, name)?;
            house.authority.identity(&id)?;
            Ok((format!("privacy:agent/{name}"), Whose::Agent(id)))
        }
        (None, None, None, true) => Ok(("privacy:everybody".to_owned(), Whose::Everybody)),
        _ => Err(PrivacyError::Selector.into()),
    }
}

/// The same, in memory's terms: an agent's own items, and the reasons recorded for an action.
async fn remembered(house: &House, what: &Erasure) -> Result<Vec<Erase>, Problem> {
    let reasons = |action: Digest| Erase { author: None, action: Some(action), before: what.before };
    Ok(match &what.whose {
        Whose::Everybody => vec![Erase { author: None, action: None, before: what.before }],
        Whose::Agent(id) => vec![Erase { author: Some(id.clone()), action: None, before: what.before }],
        Whose::Action(digest) => vec![reasons(*digest)],
        Whose::Run(run) => house.gate.digests_of(&what.tenant, *run).await?.into_iter().map(reasons).collect(),
    })
}
