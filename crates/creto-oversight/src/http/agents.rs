//! What an agent reads and says of the requests it made: questions to a human, how a request stands, long-poll and server-sent events.
//!
//! A request is made before anybody waits for it, and waiting reads what is stored: a decision that falls between two calls, or between
//! two servers, is never lost.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::sse::{Event, KeepAlive, Sse};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::RequestId;
use creto_kernel::{Digest, NhiId, Timestamp};
use futures::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::desk::{Desk, NewRequest};
use crate::error::OversightError;
use crate::http::decisions::{CancelInput, EscalateInput};
use crate::http::request_id;
use crate::model::case::{Kind, Said};
use crate::model::command::Command;
use crate::model::request::{COMMENT_BYTES_MAX, Request, RequestFilter, State as RequestState};

/// Longest time one call waits; whoever waits calls again.
const CALL_WAIT_MAX: Duration = Duration::from_secs(55);
/// How long a question waits for a human when the agent does not say.
const QUESTION_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Longest question, in bytes.
const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Most named options of a question.
const OPTIONS_MAX: usize = 32;
/// Longest name of an option, in bytes.
const OPTION_BYTES_MAX: usize = 256;

/// The endpoints.
#[must_use]
pub fn endpoints(desk: &Desk) -> Vec<Endpoint> {
    let (state, get, post) = (|| desk.clone(), Method::GET, Method::POST);
    vec![
        Endpoint::new(post.clone(), "/v1/oversight/questions", Access::Agent, "Ask a human a question", ask, state())
            .takes::<QuestionInput>()
            .answers::<Standing>(),
        Endpoint::new(get.clone(), "/v1/oversight/asked", Access::Agent, "Requests this agent made, newest first", asked, state())
            .answers::<Standings>(),
        Endpoint::new(get.clone(), "/v1/oversight/asked/{id}", Access::Agent, "How one of them stands; may wait", one, state())
            .answers::<Standing>(),
        Endpoint::new(get, "/v1/oversight/asked/{id}/events", Access::Agent, "Server-sent events until it is over", events, state()),
        Endpoint::new(post.clone(), "/v1/oversight/asked/{id}/cancel", Access::Agent, "Take it back", cancel, state())
            .takes::<CancelInput>()
            .answers::<Standing>(),
        Endpoint::new(post.clone(), "/v1/oversight/asked/{id}/escalate", Access::Agent, "Ask more people", escalate, state())
            .takes::<EscalateInput>()
            .answers::<Standing>(),
        Endpoint::new(post, "/v1/oversight/asked/{id}/reply", Access::Agent, "Answer what was asked back", reply, state())
            .takes::<ReplyInput>()
            .answers::<Standing>(),
    ]
}

/// A question to a human.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QuestionInput {
    /// What the human is asked.
    question: String,
    /// Named answers to choose from, beside free words.
    #[serde(default)]
    options: Vec<String>,
    /// More of what the human should know.
    #[serde(default)]
    #[schema(value_type = Object)]
    context: Map<String, Value>,
    /// The run, in the agent's own words; at most 64 bytes.
    #[serde(default)]
    run_id: Option<String>,
    /// The call within the run: the same call is asked once, also across restarts.
    #[serde(default)]
    call_id: Option<String>,
    /// How long the question waits for a human, in seconds; a day when absent.
    #[serde(default)]
    timeout_secs: Option<u32>,
    /// How long this call waits for an answer, in seconds; at most 55, and none when absent.
    #[serde(default)]
    wait_secs: Option<u32>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplyInput {
    text: String,
}

/// How a request stands, as the agent that made it sees it.
#[derive(Debug, Serialize, ToSchema)]
struct Standing {
    request: String,
    kind: Kind,
    state: RequestState,
    #[schema(value_type = String)]
    digest: Digest,
    revision: u32,
    /// The position of its latest event: what `?seen=` waits beyond.
    seq: i64,
    /// A question's answer.
    answer: Option<String>,
    /// The named option of an answer or a refusal.
    option: Option<String>,
    /// What was said with the decision, or why nobody decided.
    comment: Option<String>,
    /// What approvers asked back, and what the agent answered.
    thread: Vec<Said>,
    run_id: Option<String>,
    call_id: Option<String>,
    #[schema(value_type = String)]
    deadline: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
struct Standings {
    requests: Vec<Standing>,
    /// What to ask for `before` to get the older ones.
    next: Option<String>,
}

impl From<Request> for Standing {
    fn from(request: Request) -> Self {
        Self {
            request: request.id,
            kind: request.kind,
            state: request.state,
            digest: request.digest,
            revision: request.revision,
            seq: request.seq,
            answer: request.answer,
            option: request.option,
            comment: request.comment,
            thread: request.thread,
            run_id: request.run,
            call_id: request.call,
            deadline: request.deadline,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    state: Option<RequestState>,
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    /// The position of the latest event the caller has seen; absent, it waits until the request is over.
    #[serde(default)]
    seen: Option<i64>,
    #[serde(default)]
    wait_secs: Option<u32>,
}

fn check(input: &QuestionInput) -> Result<(), OversightError> {
    let bad = |problem: String| Err(OversightError::BadInput(problem));
    if input.question.trim().is_empty() || input.question.len() > QUESTION_BYTES_MAX {
        return bad(format!("`question` has 1 to {QUESTION_BYTES_MAX} bytes"));
    }
    let named = |option: &String| (1..=OPTION_BYTES_MAX).contains(&option.len());
    let mut names: Vec<&String> = input.options.iter().collect();
    names.sort_unstable();
    names.dedup();
    if input.options.len() > OPTIONS_MAX || !input.options.iter().all(named) || names.len() < input.options.len() {
        return bad(format!("`options` are at most {OPTIONS_MAX} different names of 1 to {OPTION_BYTES_MAX} bytes"));
    }
    if input.call_id.is_some() != input.run_id.is_some() {
        return bad("`run_id` and `call_id` name a call together".to_owned());
    }
    Ok(())
}

fn patience(wait_secs: Option<u32>) -> Duration {
    Duration::from_secs(wait_secs.unwrap_or_default().into()).min(CALL_WAIT_MAX)
}

async fn ask(State(desk): State<Desk>, caller: Caller, StrictJson(input): StrictJson<QuestionInput>) -> Result<Json<Standing>, Problem> {
    check(&input)?;
    let chain = caller.chain()?;
    let bad = |e: creto_kernel::action::NameError| OversightError::BadInput(e.to_string());
    let mut arguments = Map::from_iter([("question".to_owned(), Value::from(input.question))]);
    if !input.options.is_empty() {
        arguments.insert("options".to_owned(), json!(input.options));
    }
    if !input.context.is_empty() {
        arguments.insert("context".to_owned(), Value::Object(input.context));
    }
    let new = NewRequest {
        kind: Kind::Question,
        agent: chain.leaf().clone(),
        hops: chain.hops().iter().map(|hop| hop.identity.clone()).collect(),
        tool: "human.contact".parse().map_err(bad)?,
        target: "human:approver".parse().map_err(bad)?,
        arguments,
        rule: Some("human_contact".to_owned()),
        requirement: None,
        run: input.run_id,
        call: input.call_id,
        reason: None,
        extra: None,
        wait: input.timeout_secs.map_or(QUESTION_WAIT, |secs| Duration::from_secs(secs.into())),
    };
    let made = desk.ask(new).await?;
    let id = request_id(&made.id)?;
    Ok(Json(until_over(&desk, chain.leaf(), id, patience(input.wait_secs)).await?.into()))
}

/// The caller's own request, as it is once it is over, or as it stands when the patience ends.
async fn until_over(desk: &Desk, agent: &NhiId, id: RequestId, patience: Duration) -> Result<Request, OversightError> {
    let started = std::time::Instant::now();
    let mut request = own(desk, agent, id).await?;
    while request.state == RequestState::Pending {
        let left = patience.saturating_sub(started.elapsed());
        request = desk.watch(agent.tenant(), id, request.seq, left).await?;
        if left.is_zero() {
            break;
        }
    }
    Ok(request)
}

/// A request of another agent is as unknown as one that is not there.
async fn own(desk: &Desk, agent: &NhiId, id: RequestId) -> Result<Request, OversightError> {
    let request = desk.get(agent.tenant(), id).await?;
    if request.agent().as_ref() == Some(agent) { Ok(request) } else { Err(OversightError::UnknownRequest(id.to_string())) }
}

async fn asked(State(desk): State<Desk>, caller: Caller, Query(wanted): Query<Wanted>) -> Result<Json<Standings>, Problem> {
    let agent = caller.chain()?.leaf();
    let before = wanted.before.as_deref().map(request_id).transpose()?;
    let filter = RequestFilter { state: wanted.state, agent: Some(agent.clone()), before, limit: wanted.limit, ..RequestFilter::default() };
    let page = desk.page(agent.tenant(), &filter).await?;
    Ok(Json(Standings { requests: page.requests.into_iter().map(Standing::from).collect(), next: page.next }))
}

async fn one(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    Query(waiting): Query<Waiting>,
) -> Result<Json<Standing>, Problem> {
    let (agent, id) = (caller.chain()?.leaf(), request_id(&id)?);
    own(&desk, agent, id).await?;
    let patience = patience(waiting.wait_secs);
    let request = match waiting.seen {
        Some(seen) => desk.watch(agent.tenant(), id, seen, patience).await?,
        None => until_over(&desk, agent, id, patience).await?,
    };
    Ok(Json(request.into()))
}

async fn events(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (agent, id) = (caller.chain()?.leaf().clone(), request_id(&id)?);
    let first = own(&desk, &agent, id).await?;
    let told = stream::unfold(Some((None, first)), move |next| {
        let (desk, tenant) = (desk.clone(), agent.tenant().clone());
        async move {
            let (seen, request) = next?;
            // Nothing new is no event; the stream only goes on.
            let request = match seen {
                Some(seen) => newer(&desk, &tenant, id, seen).await?,
                None => request,
            };
            let over = request.state != RequestState::Pending;
            let rest = (!over).then(|| (Some(request.seq), request.clone()));
            let standing = Standing::from(request);
            let event = Event::default().id(standing.seq.to_string()).event(standing.state.as_str());
            let event = event.json_data(&standing).unwrap_or_else(|_| Event::default().event("unreadable"));
            Some((Ok(event), rest))
        }
    });
    Ok(Sse::new(told).keep_alive(KeepAlive::default()))
}

/// The request once something has happened to it after `seen`; `None` ends the stream, and whoever listened asks again.
async fn newer(desk: &Desk, tenant: &creto_kernel::TenantId, id: RequestId, seen: i64) -> Option<Request> {
    loop {
        match desk.watch(tenant, id, seen, CALL_WAIT_MAX).await {
            Ok(request) if request.seq > seen => return Some(request),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, request = %id, "a request can no longer be watched");
                return None;
            }
        }
    }
}

async fn cancel(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<CancelInput>,
) -> Result<Json<Standing>, Problem> {
    let (agent, id) = (caller.chain()?.leaf(), request_id(&id)?);
    own(&desk, agent, id).await?;
    short(input.reason.as_deref())?;
    Ok(Json(desk.command(agent, id, &Command::Cancel { by: agent.clone(), reason: input.reason }).await?.into()))
}

async fn escalate(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<EscalateInput>,
) -> Result<Json<Standing>, Problem> {
    let (agent, id) = (caller.chain()?.leaf(), request_id(&id)?);
    own(&desk, agent, id).await?;
    Ok(Json(desk.command(agent, id, &Command::Escalate { by: agent.clone(), message: input.message }).await?.into()))
}

async fn reply(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<ReplyInput>,
) -> Result<Json<Standing>, Problem> {
    let (agent, id) = (caller.chain()?.leaf(), request_id(&id)?);
    own(&desk, agent, id).await?;
    Ok(Json(desk.command(agent, id, &Command::Reply { agent: agent.clone(), text: input.text }).await?.into()))
}

fn short(text: Option<&str>) -> Result<(), OversightError> {
    if text.is_some_and(|text| text.len() > COMMENT_BYTES_MAX) { Err(OversightError::CommentTooLong(COMMENT_BYTES_MAX)) } else { Ok(()) }
}

/// Refuses an option that the question did not name.
pub(crate) fn check_option(request: &Request, option: Option<&String>) -> Result<(), OversightError> {
    match option {
        Some(option) if !options_of(request).contains(option) => {
            let shown: String = option.chars().take(80).collect();
            Err(OversightError::BadInput(format!("`{shown}` is none of the question's options")))
        }
        _ => Ok(()),
    }
}

/// The named options of a question, whoever's API asked it.
fn options_of(request: &Request) -> Vec<String> {
    let action: Value = serde_json::from_str(&request.action).unwrap_or_default();
    let list = |name: &str| action.pointer(&format!("/arguments/{name}")).and_then(Value::as_array).cloned().unwrap_or_default();
    let named = |option: &Value| option.as_str().or_else(|| option.get("name").and_then(Value::as_str)).map(str::to_owned);
    list("options").iter().chain(&list("response_options")).filter_map(named).collect()
}
