//! Native routes, `/v1/oversight/…` and `/v1/actions`.

pub mod agents;
pub mod humanlayer;

pub mod decisions;
pub mod governance;

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::sse::{Event, KeepAlive, Sse};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::Digest;
use creto_kernel::id::{AdmissionId, RequestId};
use creto_nhi::Role;
use futures::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actions::{ActionInput, Actions, Admitted, OutcomeInput};
use crate::desk::Desk;
use crate::error::OversightError;
use crate::model::case::Choice;
use crate::model::command::Ballot;
use crate::model::request::{Page, Request, RequestFilter, State as RequestState};
use crate::model::voter::Voter;

/// Oversight's endpoints.
#[must_use]
pub fn endpoints(desk: &Desk, actions: &Actions) -> Vec<Endpoint> {
    let at_desk = || desk.clone();
    let mut all = vec![
        Endpoint::new(Method::GET, "/v1/oversight/requests", Access::Approver, "Requests, newest first", list, at_desk()).answers::<Page>(),
        Endpoint::new(Method::GET, "/v1/oversight/requests/{id}", Access::Approver, "One request", get, at_desk()).answers::<Request>(),
        Endpoint::new(
            Method::POST,
            "/v1/oversight/requests/{id}/approve",
            Access::Approver,
            "Approve exactly one digest",
            approve,
            at_desk(),
        )
        .takes::<ApproveInput>()
        .answers::<Request>(),
        Endpoint::new(Method::POST, "/v1/oversight/requests/{id}/deny", Access::Approver, "Deny", deny, at_desk())
            .takes::<DenyInput>()
            .answers::<Request>(),
        Endpoint::new(
            Method::GET,
            "/v1/oversight/changes",
            Access::Approver,
            "Server-sent events: one for each change",
            changes,
            at_desk(),
        ),
        Endpoint::new(
            Method::POST,
            "/v1/actions",
            Access::Agent,
            "Ask to do an action; waits for a human where policy asks",
            ask,
            actions.clone(),
        )
        .takes::<ActionInput>()
        .answers::<Admitted>(),
        Endpoint::new(Method::POST, "/v1/actions/{admission}/outcome", Access::Agent, "Report what came of it", report, actions.clone())
            .takes::<OutcomeInput>()
            .answers::<Reported>(),
    ];
    all.extend(decisions::endpoints(desk, actions));
    all.extend(governance::endpoints(desk));
    all
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    state: Option<RequestState>,
    #[serde(default)]
    run: Option<String>,
    /// Only those whose broken glass nobody else has looked at yet.
    #[serde(default)]
    review: bool,
    /// Only those whose broken glass somebody looked at.
    #[serde(default)]
    reviewed: bool,
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    limit: Option<u32>,
}

/// An approval names the digest it approves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApproveInput {
    #[schema(value_type = String)]
    digest: Digest,
    /// The digest of the view, where some of the action was hidden.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    shown: Option<Digest>,
    #[serde(default)]
    comment: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DenyInput {
    #[serde(default)]
    comment: Option<String>,
}

/// What came of an action, on record.
#[derive(Debug, Serialize, ToSchema)]
struct Reported {
    admission: String,
    leaf: String,
    cost: String,
}

pub(crate) fn request_id(text: &str) -> Result<RequestId, OversightError> {
    text.parse().map_err(|_| OversightError::UnknownRequest(text.chars().take(80).collect()))
}

/// The request as this caller may see it: secret arguments in clear for operators and the agent itself only.
pub(crate) fn request_for(caller: &Caller, request: Request) -> Request {
    let own = request.agent().as_ref() == Some(&caller.0.identity);
    if own || caller.0.roles.has(Role::Operator) { request } else { request.redacted() }
}

/// What an approval names beside the action's digest: nothing where its voter sees the whole action, else the digest of what they were
/// shown, which they computed from what they read.
///
/// Errors: `oversight.shown_mismatch` for another one or none, `oversight.digest_mismatch` where the approval is not of this action.
pub(crate) async fn shown_to(
    desk: &Desk,
    caller: &Caller,
    id: RequestId,
    digest: Option<Digest>,
    shown: Option<Digest>,
) -> Result<Option<Digest>, OversightError> {
    let request = request_for(caller, desk.get(caller.0.tenant(), id).await?);
    if digest != Some(request.digest) {
        let sent = digest.map_or_else(|| "none".to_owned(), |sent| sent.to_string());
        return Err(OversightError::DigestMismatch { actual: request.digest.to_string(), sent });
    }
    let seen = request.view.as_ref().map(|view| Digest::of(view.as_bytes()));
    match (seen, shown) {
        (Some(seen), Some(sent)) if seen == sent => Ok(Some(seen)),
        (None, None) => Ok(None),
        (None, Some(sent)) if sent == request.digest => Ok(None),
        _ => Err(OversightError::ShownMismatch),
    }
}

/// A page as this caller, an approver, may see it.
async fn page_for(desk: &Desk, caller: &Caller, page: Page) -> Result<Page, OversightError> {
    let requests = desk.with_mail(caller.0.tenant(), page.requests).await?;
    Ok(Page { requests: requests.into_iter().map(|request| request_for(caller, request)).collect(), next: page.next })
}

async fn list(State(desk): State<Desk>, caller: Caller, Query(filter): Query<Filter>) -> Result<Json<Page>, Problem> {
    let filter = RequestFilter {
        state: filter.state,
        run: filter.run,
        review: filter.review,
        reviewed: filter.reviewed,
        before: filter.before.as_deref().map(request_id).transpose()?,
        limit: filter.limit,
        ..RequestFilter::default()
    };
    let page = desk.page(caller.0.tenant(), &filter).await?;
    Ok(Json(page_for(&desk, &caller, page).await?))
}

async fn get(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>) -> Result<Json<Request>, Problem> {
    let request = desk.get(caller.0.tenant(), request_id(&id)?).await?;
    let mut whole = desk.with_mail(caller.0.tenant(), vec![request]).await?;
    Ok(Json(request_for(&caller, whole.pop().ok_or(OversightError::Unreadable)?)))
}

async fn approve(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<ApproveInput>,
) -> Result<Json<Request>, Problem> {
    let id = request_id(&id)?;
    let ballot = Ballot {
        voter: Voter::of(&caller.0)?,
        stands_in_for: None,
        choice: Choice::Approve,
        digest: Some(input.digest),
        shown: shown_to(&desk, &caller, id, Some(input.digest), input.shown).await?,
        revision: None,
        comment: input.comment,
        option: None,
    };
    Ok(Json(request_for(&caller, desk.vote(id, ballot).await?)))
}

async fn deny(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<DenyInput>,
) -> Result<Json<Request>, Problem> {
    Ok(Json(request_for(&caller, desk.decide(&caller.0, request_id(&id)?, None, input.comment.as_deref()).await?)))
}

async fn changes(State(desk): State<Desk>, _: Caller) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold((desk.changes(), true), |(mut changes, first)| async move {
        if !first {
            changes.changed().await.ok()?;
        }
        let count = *changes.borrow_and_update();
        Some((Ok(Event::default().event("changed").data(count.to_string())), (changes, false)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn ask(
    State(actions): State<Actions>,
    caller: Caller,
    StrictJson(input): StrictJson<ActionInput>,
) -> Result<Json<Admitted>, Problem> {
    Ok(Json(actions.ask(caller.acting()?, input).await?))
}

async fn report(
    State(actions): State<Actions>,
    caller: Caller,
    Path(admission): Path<String>,
    StrictJson(outcome): StrictJson<OutcomeInput>,
) -> Result<Json<Reported>, Problem> {
    let id: AdmissionId = admission.parse().map_err(|_| OversightError::UnknownAdmission(admission.chars().take(80).collect()))?;
    let settled = actions.report(&caller.0.identity, id, &outcome).await?;
    Ok(Json(Reported { admission: settled.admission.to_string(), leaf: settled.leaf.to_string(), cost: settled.cost.to_string() }))
}
