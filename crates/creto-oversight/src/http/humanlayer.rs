//! HumanLayer's REST API under `/humanlayer/v1`, as its SDKs (PyPI `humanlayer` 0.7.9, npm `@humanlayer/sdk` 0.7.9) really speak it.
//!
//! Those clients read JSON under `application/json` whatever happened, so refusals are in their words: [`DIALECT`], and for what is
//! malformed FastAPI's `{"detail": [{"loc", "msg", "type"}]}`.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use creto_enablement_common::http::{Access, Caller, Dialect, Endpoint, Problem, StrictJson};
use creto_kernel::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::OversightError;
use crate::humanlayer::wire::{Asked, Escalation, Fault, PAGE_MAX, Page, Wanted};
use crate::humanlayer::{Calls, HumanLayer, Refused};

/// How this API says no: `{"error": {"message", "code"}}`, with our stable code beside it.
pub const DIALECT: Dialect = Dialect { prefix: "/humanlayer/v1/", refusal };

/// A body or a query that is not what the route takes.
const MALFORMED: ErrorCode = ErrorCode::new("oversight.malformed_call");

fn refusal(problem: &Problem) -> Value {
    let message = match problem.hint() {
        Some(hint) => format!("{}; {hint}", problem.detail()),
        None => problem.detail().to_owned(),
    };
    let malformed = problem.status() == StatusCode::UNPROCESSABLE_ENTITY.as_u16();
    let detail = match malformed {
        true => json!([{ "loc": ["body"], "msg": problem.detail(), "type": "value_error" }]),
        false => json!(problem.detail()),
    };
    json!({ "error": { "message": message, "code": problem.code() }, "code": problem.code(), "detail": detail })
}

/// What a handler answers when it does not do it.
enum No {
    Malformed(Vec<Fault>),
    Problem(Problem),
}

impl From<Vec<Fault>> for No {
    fn from(faults: Vec<Fault>) -> Self {
        Self::Malformed(faults)
    }
}

impl From<OversightError> for No {
    fn from(error: OversightError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Problem> for No {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(faults) => Self::Malformed(faults),
            Refused::Said(error) => error.into(),
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let faults = match self {
            Self::Problem(problem) => return problem.into_response(),
            Self::Malformed(faults) => faults,
        };
        let place = |fault: &Fault| fault.loc.iter().map(|step| step.to_string().replace('"', "")).collect::<Vec<_>>().join(".");
        let message = faults.iter().map(|fault| format!("{}: {}", place(fault), fault.msg)).collect::<Vec<_>>().join("; ");
        let code = MALFORMED.as_str();
        let body = json!({ "error": { "message": message, "code": code }, "code": code, "detail": faults });
        (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
    }
}

/// HumanLayer's endpoints.
#[must_use]
pub fn endpoints(humanlayer: &HumanLayer) -> Vec<Endpoint> {
    let state = || humanlayer.clone();
    let (get, post) = (Method::GET, Method::POST);
    let call = |endpoint: Endpoint| endpoint.takes::<Call>().answers::<Call>();
    vec![
        Endpoint::new(get.clone(), "/humanlayer/v1/status", Access::Public, "HumanLayer: the API answers", status, ()).answers::<Status>(),
        Endpoint::new(get.clone(), "/humanlayer/v1/project", Access::Authenticated, "HumanLayer: whose key it is", project, ())
            .answers::<Project>(),
        Endpoint::new(get.clone(), "/version", Access::Public, "HumanLayer: the server's version", version, ()).answers::<Version>(),
        call(Endpoint::new(post.clone(), "/humanlayer/v1/function_calls", Access::Agent, "HumanLayer: ask to call", new_call, state())),
        Endpoint::new(get.clone(), "/humanlayer/v1/function_calls/{call}", Access::Authenticated, "HumanLayer: a call", a_call, state())
            .answers::<Call>(),
        call(Endpoint::new(post.clone(), "/humanlayer/v1/contact_requests", Access::Agent, "HumanLayer: ask a human", contact, state())),
        Endpoint::new(
            get.clone(),
            "/humanlayer/v1/contact_requests/{call}",
            Access::Authenticated,
            "HumanLayer: a question",
            a_contact,
            state(),
        )
        .answers::<Call>(),
        call(Endpoint::new(post.clone(), "/humanlayer/v1/human_contacts", Access::Agent, "HumanLayer: ask a human", contact, state())),
        Endpoint::new(
            get.clone(),
            "/humanlayer/v1/human_contacts/{call}",
            Access::Authenticated,
            "HumanLayer: a question",
            a_contact,
            state(),
        )
        .answers::<Call>(),
        Endpoint::new(
            get.clone(),
            "/humanlayer/v1/agent/function_calls/pending",
            Access::Authenticated,
            "HumanLayer: calls that wait",
            pending_calls,
            state(),
        ),
        Endpoint::new(
            get,
            "/humanlayer/v1/agent/human_contacts/pending",
            Access::Authenticated,
            "HumanLayer: questions that wait",
            pending_contacts,
            state(),
        ),
        Endpoint::new(
            post.clone(),
            "/humanlayer/v1/agent/function_calls/{call}/respond",
            Access::Approver,
            "HumanLayer: decide a call",
            decide,
            state(),
        )
        .answers::<Call>(),
        Endpoint::new(
            post.clone(),
            "/humanlayer/v1/agent/human_contacts/{call}/respond",
            Access::Approver,
            "HumanLayer: answer a question",
            answer,
            state(),
        )
        .answers::<Call>(),
        Endpoint::new(
            post.clone(),
            "/humanlayer/v1/agent/function_calls/{call}/escalate_email",
            Access::Authenticated,
            "HumanLayer: ask more people about a call",
            escalate_call,
            state(),
        )
        .answers::<Call>(),
        Endpoint::new(
            post,
            "/humanlayer/v1/agent/human_contacts/{call}/escalate_email",
            Access::Authenticated,
            "HumanLayer: ask more people a question",
            escalate_contact,
            state(),
        )
        .answers::<Call>(),
    ]
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HumanLayerStatus)]
struct Status {
    status: &'static str,
}

/// The key's project: our tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HumanLayerProject)]
struct Project {
    name: String,
    slug: String,
    organization: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HumanLayerVersion)]
struct Version {
    version: &'static str,
}

/// A function call or a human contact, as HumanLayer's SDKs model it; read by [`Wanted::read`] because each fault is told with its place.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = HumanLayerCall)]
#[expect(dead_code, reason = "what it is read into is `Wanted`; this describes it")]
struct Call {
    /// The run it belongs to, in the client's words; at most 64 bytes.
    run_id: String,
    /// The client's name for it; at most 64 bytes.
    call_id: String,
    /// `fn`, `kwargs`, `reject_options` or `msg`, `subject`, `response_options`; `channel`, `state`.
    #[schema(value_type = Object)]
    spec: Value,
    /// `approved`, `comment`, `reject_option_name` or `response`, `response_option_name`.
    #[schema(value_type = Option<Object>)]
    status: Option<Value>,
}

type Answer = Result<Json<Value>, No>;
type Here = State<HumanLayer>;
type Body = StrictJson<Value>;

async fn status() -> Json<Status> {
    Json(Status { status: "ok" })
}

async fn project(caller: Caller) -> Json<Project> {
    let tenant = caller.0.tenant().to_string();
    Json(Project { name: tenant.clone(), slug: tenant, organization: caller.0.identity.trust_domain().to_owned() })
}

async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION") })
}

async fn new_call(here: Here, caller: Caller, StrictJson(body): Body) -> Answer {
    create(Asked::FunctionCall, here, caller, body).await
}

async fn contact(here: Here, caller: Caller, StrictJson(body): Body) -> Answer {
    create(Asked::HumanContact, here, caller, body).await
}

async fn create(asked: Asked, State(here): Here, caller: Caller, body: Value) -> Answer {
    let acting = caller.acting().map_err(Problem::from)?;
    let wanted = Wanted::read(asked, body)?;
    Ok(Json(here.create(acting, &wanted).await?))
}

async fn a_call(State(here): Here, caller: Caller, Path(id): Path<String>) -> Answer {
    Ok(Json(here.get(&caller.0, Asked::FunctionCall, &id).await?))
}

async fn a_contact(State(here): Here, caller: Caller, Path(id): Path<String>) -> Answer {
    Ok(Json(here.get(&caller.0, Asked::HumanContact, &id).await?))
}

async fn decide(State(here): Here, caller: Caller, Path(id): Path<String>, StrictJson(body): Body) -> Answer {
    Ok(Json(here.decide(&caller.0, &id, body).await?))
}

async fn answer(State(here): Here, caller: Caller, Path(id): Path<String>, StrictJson(body): Body) -> Answer {
    Ok(Json(here.answer(&caller.0, &id, body).await?))
}

async fn escalate_call(State(here): Here, caller: Caller, Path(id): Path<String>, StrictJson(body): Body) -> Answer {
    Ok(Json(here.escalate(&caller.0, Asked::FunctionCall, &id, Escalation::read(body)?).await?))
}

async fn escalate_contact(State(here): Here, caller: Caller, Path(id): Path<String>, StrictJson(body): Body) -> Answer {
    Ok(Json(here.escalate(&caller.0, Asked::HumanContact, &id, Escalation::read(body)?).await?))
}

async fn pending_calls(here: Here, caller: Caller, query: RawQuery) -> Answer {
    pending(Asked::FunctionCall, here, caller, query).await
}

async fn pending_contacts(here: Here, caller: Caller, query: RawQuery) -> Answer {
    pending(Asked::HumanContact, here, caller, query).await
}

/// A plain array, as the OpenAPI document of HumanLayer's own server says; with `limit` or `offset` a page, as its client for Go reads it.
async fn pending(asked: Asked, State(here): Here, caller: Caller, RawQuery(query): RawQuery) -> Answer {
    let page = Page::read(query.as_deref().unwrap_or_default())?;
    let wanted = page.unwrap_or(Page { limit: PAGE_MAX, offset: 0 });
    let Calls { items, total } = here.pending(&caller.0, asked, wanted).await?;
    if page.is_none() {
        return Ok(Json(Value::Array(items)));
    }
    let seen = u64::try_from(wanted.offset.saturating_add(items.len())).unwrap_or(u64::MAX);
    let has_more = seen < total;
    Ok(Json(json!({ "items": items, "total": total, "limit": wanted.limit, "offset": wanted.offset, "has_more": has_more })))
}
