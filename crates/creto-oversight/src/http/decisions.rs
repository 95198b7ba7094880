//! What humans and agents do with one request: vote, edit, ask back, answer, acknowledge, cancel, wait.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::sse::{Event, KeepAlive, Sse};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::RequestId;
use creto_kernel::{Digest, NhiId};
use creto_nhi::Role;
use futures::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{page_for, request_for, request_id, shown_to};
use crate::actions::Actions;
use crate::desk::{BatchItem, Desk, Revision};
use crate::edits::Edits;
use crate::error::OversightError;
use crate::http::agents::check_option;
use crate::model::case::Choice;
use crate::model::command::{Ballot, Command};
use crate::model::redaction::redact;
use crate::model::request::{Page, Request, RequestFilter};
use crate::model::requirement::Selector;
use crate::model::voter::Voter;

/// Longest time one call waits for something to happen.
const WAIT_MAX: Duration = Duration::from_secs(55);

/// The endpoints: those of the desk alone, and the one that has policy look at new arguments.
pub(super) fn endpoints(desk: &Desk, actions: &Actions) -> Vec<Endpoint> {
    let edits = Edits::new(desk.clone(), actions.gate());
    let edit = Endpoint::new(Method::POST, "/v1/oversight/requests/{id}/edit", Access::Approver, "Change the arguments", edit, edits)
        .takes::<EditInput>()
        .answers::<Request>();
    let mut all = of_desk(desk);
    all.push(edit);
    all
}

/// What needs the desk and nothing else.
#[must_use]
pub fn of_desk(desk: &Desk) -> Vec<Endpoint> {
    let at = || desk.clone();
    let post = |path, access, summary| (Method::POST, path, access, summary);
    macro_rules! route {
        ($route:expr, $handler:expr, $state:expr) => {{
            let (method, path, access, summary) = $route;
            Endpoint::new(method, path, access, summary, $handler, $state)
        }};
    }
    vec![
        Endpoint::new(Method::GET, "/v1/oversight/inbox", Access::Approver, "Waiting requests the caller may decide", inbox, at())
            .answers::<Page>(),
        Endpoint::new(Method::GET, "/v1/oversight/requests/{id}/history", Access::Approver, "What happened to a request", history, at()),
        Endpoint::new(Method::GET, "/v1/oversight/requests/{id}/revisions", Access::Approver, "What each edit changed", revisions, at())
            .answers::<Revisions>(),
        Endpoint::new(
            Method::GET,
            "/v1/oversight/requests/{id}/watch",
            Access::Authenticated,
            "Wait, at most 55 seconds, for what happens after the event `seen`",
            watch,
            at(),
        )
        .answers::<Request>(),
        Endpoint::new(
            Method::GET,
            "/v1/oversight/requests/{id}/events",
            Access::Authenticated,
            "Server-sent events: the request each time something happened to it, for at most 55 seconds",
            events,
            at(),
        ),
        route!(post("/v1/oversight/requests/{id}/vote", Access::Approver, "Vote"), vote, at()).takes::<VoteInput>().answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/answer", Access::Approver, "Answer a question"), answer, at())
            .takes::<AnswerInput>()
            .answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/ask", Access::Approver, "Ask the agent back"), ask, at())
            .takes::<SayInput>()
            .answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/reply", Access::Agent, "Answer what was asked back"), reply, at())
            .takes::<SayInput>()
            .answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/acknowledge", Access::Approver, "Take care of it"), acknowledge, at())
            .answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/escalate", Access::Authenticated, "Begin the next step now"), escalate, at())
            .takes::<EscalateInput>()
            .answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/reassign", Access::Operator, "Give it to others"), reassign, at())
            .takes::<ReassignInput>()
            .answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/cancel", Access::Authenticated, "Withdraw it"), cancel, at())
            .takes::<CancelInput>()
            .answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/break-glass", Access::Approver, "Approve around the requirement"), glass, at())
            .takes::<GlassInput>()
            .answers::<Request>(),
        route!(post("/v1/oversight/requests/{id}/review", Access::Approver, "Look at a broken glass"), review, at())
            .takes::<ReviewInput>()
            .answers::<Request>(),
        route!(post("/v1/oversight/batch", Access::Approver, "Decide several requests, all or none"), batch, at())
            .takes::<BatchInput>()
            .answers::<Batch>(),
    ]
}

/// A page of the caller's inbox.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InboxQuery {
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    limit: Option<u32>,
}

/// How long to wait, and after which event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchQuery {
    #[serde(default)]
    seen: i64,
    #[serde(default)]
    wait_secs: Option<u32>,
}

/// A vote.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VoteInput {
    choice: Choice,
    /// The digest that was seen; an approval names it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    digest: Option<Digest>,
    /// The digest of the view, where some of the action was hidden.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    shown: Option<Digest>,
    /// The revision that was seen.
    revision: u32,
    #[serde(default)]
    comment: Option<String>,
    /// The named option of a refusal.
    #[serde(default)]
    option: Option<String>,
    /// For whom the caller stands in.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    stands_in_for: Option<NhiId>,
}

/// New arguments, all of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EditInput {
    /// The revision that was seen.
    revision: u32,
    #[schema(value_type = Object)]
    arguments: Map<String, Value>,
}

/// An answer in words.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AnswerInput {
    text: String,
    #[serde(default)]
    option: Option<String>,
}

/// Something said while the request waits.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SayInput {
    text: String,
}

/// Why the next step begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EscalateInput {
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// Who decides instead.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReassignInput {
    #[schema(value_type = Vec<String>)]
    to: Vec<Selector>,
}

/// Why it is withdrawn.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelInput {
    #[serde(default)]
    pub(super) reason: Option<String>,
}

/// Why the glass is broken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GlassInput {
    /// The digest that was seen.
    #[schema(value_type = String)]
    digest: Digest,
    reason: String,
}

/// Whether a broken glass was right.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReviewInput {
    justified: bool,
    /// What the reviewer found; never empty.
    comment: String,
}

/// Several decisions alike.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchInput {
    choice: Choice,
    requests: Vec<BatchItem>,
    #[serde(default)]
    comment: Option<String>,
}

/// What a batch came to.
#[derive(Debug, Serialize, ToSchema)]
struct Batch {
    requests: Vec<Request>,
}

/// Every revision of a request.
#[derive(Debug, Serialize, ToSchema)]
struct Revisions {
    revisions: Vec<Revision>,
}

type Answered = Result<Json<Request>, Problem>;

/// The request as this caller may see it: an approver every one, an agent its own, with secret arguments for operators only.
async fn visible(desk: &Desk, caller: &Caller, id: &str) -> Result<(RequestId, Request), OversightError> {
    let id = request_id(id)?;
    let request = desk.get(caller.0.tenant(), id).await?;
    let own = request.agent().as_ref() == Some(&caller.0.identity);
    if own || caller.0.roles.has(Role::Approver) || caller.0.roles.has(Role::Operator) {
        Ok((id, request))
    } else {
        Err(OversightError::UnknownRequest(id.to_string()))
    }
}

async fn inbox(State(desk): State<Desk>, caller: Caller, Query(query): Query<InboxQuery>) -> Result<Json<Page>, Problem> {
    let before = query.before.as_deref().map(request_id).transpose()?;
    let filter = RequestFilter { before, limit: query.limit, ..RequestFilter::default() };
    let page = desk.inbox(&Voter::of(&caller.0)?, &filter).await?;
    Ok(Json(page_for(&desk, &caller, page).await?))
}

async fn history(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let events = desk.history(caller.0.tenant(), request_id(&id)?).await?;
    Ok(Json(serde_json::json!({ "events": events })))
}

async fn revisions(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>) -> Result<Json<Revisions>, Problem> {
    let id = request_id(&id)?;
    let secrets = desk.get(caller.0.tenant(), id).await?.secrets;
    let mut revisions = desk.revisions(caller.0.tenant(), id).await?;
    if !caller.0.roles.has(Role::Operator) {
        for revision in &mut revisions {
            revision.action = redact(&revision.action, &secrets).0;
        }
    }
    Ok(Json(Revisions { revisions }))
}

async fn watch(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>, Query(query): Query<WatchQuery>) -> Answered {
    let (id, _) = visible(&desk, &caller, &id).await?;
    let wait = query.wait_secs.map_or(WAIT_MAX, |secs| Duration::from_secs(secs.into())).min(WAIT_MAX);
    Ok(Json(request_for(&caller, desk.watch(caller.0.tenant(), id, query.seen, wait).await?)))
}

async fn events(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<WatchQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (id, _) = visible(&desk, &caller, &id).await?;
    let wait = query.wait_secs.map_or(WAIT_MAX, |secs| Duration::from_secs(secs.into())).min(WAIT_MAX);
    let ends = tokio::time::Instant::now() + wait;
    let (tenant, viewer) = (caller.0.tenant().clone(), caller);
    // Whoever comes back with the last event they saw misses none: `seen` is a position, not a moment.
    let events = stream::unfold((desk, query.seen), move |(desk, seen)| {
        let (tenant, viewer) = (tenant.clone(), viewer.clone());
        async move {
            let left = ends.saturating_duration_since(tokio::time::Instant::now());
            let request = desk.watch(&tenant, id, seen, left).await.ok()?;
            if request.seq <= seen {
                return None;
            }
            let event =
                Event::default().event("request").id(request.seq.to_string()).json_data(request_for(&viewer, request.clone())).ok()?;
            Some((Ok(event), (desk, request.seq)))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

async fn vote(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>, StrictJson(input): StrictJson<VoteInput>) -> Answered {
    let id = request_id(&id)?;
    let ballot = Ballot {
        voter: Voter::of(&caller.0)?,
        stands_in_for: input.stands_in_for,
        choice: input.choice,
        digest: input.digest,
        shown: match input.choice {
            Choice::Approve => shown_to(&desk, &caller, id, input.digest, input.shown).await?,
            Choice::Deny => None,
        },
        revision: Some(input.revision),
        comment: input.comment,
        option: input.option,
    };
    Ok(Json(request_for(&caller, desk.vote(id, ballot).await?)))
}

async fn edit(State(edits): State<Edits>, caller: Caller, Path(id): Path<String>, StrictJson(input): StrictJson<EditInput>) -> Answered {
    Ok(Json(request_for(&caller, edits.edit(Voter::of(&caller.0)?, request_id(&id)?, input.revision, input.arguments).await?)))
}

async fn answer(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>, StrictJson(input): StrictJson<AnswerInput>) -> Answered {
    let id = request_id(&id)?;
    check_option(&desk.get(caller.0.tenant(), id).await?, input.option.as_ref())?;
    let command = Command::Answer { voter: Voter::of(&caller.0)?, text: input.text, option: input.option };
    Ok(Json(request_for(&caller, desk.command(&caller.0.identity, id, &command).await?)))
}

async fn ask(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>, StrictJson(input): StrictJson<SayInput>) -> Answered {
    let command = Command::AskBack { voter: Voter::of(&caller.0)?, text: input.text };
    Ok(Json(request_for(&caller, desk.command(&caller.0.identity, request_id(&id)?, &command).await?)))
}

async fn reply(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>, StrictJson(input): StrictJson<SayInput>) -> Answered {
    let (id, _) = visible(&desk, &caller, &id).await?;
    let command = Command::Reply { agent: caller.0.identity.clone(), text: input.text };
    Ok(Json(request_for(&caller, desk.command(&caller.0.identity, id, &command).await?)))
}

async fn acknowledge(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>) -> Answered {
    let command = Command::Acknowledge { voter: Voter::of(&caller.0)? };
    Ok(Json(request_for(&caller, desk.command(&caller.0.identity, request_id(&id)?, &command).await?)))
}

async fn escalate(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<EscalateInput>,
) -> Answered {
    let (id, _) = visible(&desk, &caller, &id).await?;
    let command = Command::Escalate { by: caller.0.identity.clone(), message: input.message };
    Ok(Json(request_for(&caller, desk.command(&caller.0.identity, id, &command).await?)))
}

async fn reassign(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<ReassignInput>,
) -> Answered {
    let command = Command::Reassign { by: caller.0.identity.clone(), to: input.to };
    Ok(Json(request_for(&caller, desk.command(&caller.0.identity, request_id(&id)?, &command).await?)))
}

async fn cancel(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>, StrictJson(input): StrictJson<CancelInput>) -> Answered {
    let (id, request) = visible(&desk, &caller, &id).await?;
    // Whoever asked, whoever is in the chain, whoever runs the installation; an approver who does not want it denies it.
    let asked = request.hops.iter().any(|hop| hop == caller.0.identity.as_str());
    if !asked && !caller.0.roles.has(Role::Operator) {
        return Err(OversightError::NotEligible("only whoever asked, or an operator, withdraws a request".to_owned()).into());
    }
    let command = Command::Cancel { by: caller.0.identity.clone(), reason: input.reason };
    Ok(Json(request_for(&caller, desk.command(&caller.0.identity, id, &command).await?)))
}

async fn glass(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>, StrictJson(input): StrictJson<GlassInput>) -> Answered {
    Ok(Json(request_for(&caller, desk.break_glass(Voter::of(&caller.0)?, request_id(&id)?, input.digest, &input.reason).await?)))
}

async fn review(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>, StrictJson(input): StrictJson<ReviewInput>) -> Answered {
    let command = Command::Review { voter: Voter::of(&caller.0)?, justified: input.justified, comment: input.comment };
    Ok(Json(request_for(&caller, desk.command(&caller.0.identity, request_id(&id)?, &command).await?)))
}

async fn batch(State(desk): State<Desk>, caller: Caller, StrictJson(mut input): StrictJson<BatchInput>) -> Result<Json<Batch>, Problem> {
    let voter = Voter::of(&caller.0)?;
    for item in &mut input.requests {
        item.shown = match input.choice {
            Choice::Approve => shown_to(&desk, &caller, item.request, Some(item.digest), item.shown).await?,
            Choice::Deny => None,
        };
    }
    let decided = desk.batch(&voter, input.choice, &input.requests, input.comment.as_deref()).await?;
    Ok(Json(Batch { requests: decided.into_iter().map(|request| request_for(&caller, request)).collect() }))
}
