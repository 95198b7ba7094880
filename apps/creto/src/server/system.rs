//! Health, metrics, the OpenAPI document, who am I, and actions as the Gate recorded them.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use creto_enablement_common::Refusal;
use creto_enablement_common::gate::{ActionFilter, ActionRow, ActionState};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::{AdmissionId, RunId};
use creto_kernel::{ErrorCode, Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::wiring::House;

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    vec![
        Endpoint::new(Method::GET, "/healthz", Access::Public, "The process answers", healthz, ()),
        Endpoint::new(Method::GET, "/readyz", Access::Public, "The server can admit actions", readyz, state()),
        Endpoint::new(Method::GET, "/metrics", Access::Public, "Prometheus metrics", metrics, state()),
        Endpoint::new(Method::GET, "/v1/whoami", Access::Authenticated, "Who the credential stands for", whoami, ()).answers::<Whoami>(),
        Endpoint::new(Method::GET, "/v1/actions", Access::Authenticated, "Actions as recorded, newest first", actions, state()),
        Endpoint::new(
            Method::POST,
            "/v1/actions/{admission}/resolve",
            Access::Operator,
            "Say what came of an action in doubt",
            resolve,
            state(),
        )
        .takes::<ResolveInput>(),
    ]
}

/// The OpenAPI document of all endpoints.
pub(super) fn document(document: Value) -> Router {
    let document = Arc::new(document);
    Router::new().route("/openapi.json", get(move || async move { Json(Value::clone(&document)) }))
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(house): State<Arc<House>>) -> Response {
    match house.sequencer.admit(&house.tenant) {
        Ok(()) => "ready\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn metrics(State(house): State<Arc<House>>) -> Result<Response, Problem> {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: i64| {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
    };
    gauge("creto_log_lag_leaves", "Committed leaves not yet in a signed tree.", i64::try_from(house.sequencer.lag()).unwrap_or(i64::MAX));
    gauge("creto_commit_sequence", "Position of the newest commit.", *house.db.commits().borrow());
    for (state, word) in [(ActionState::Intent, "intent"), (ActionState::InDoubt, "in_doubt")] {
        let filter = ActionFilter { state: Some(state), ..ActionFilter::default() };
        let count = house.gate.actions(&house.tenant, &filter).await?.len();
        gauge(&format!("creto_actions_{word}"), "Actions in this state, counted up to 500.", i64::try_from(count).unwrap_or(i64::MAX));
    }
    gauge("creto_runtime_ready", "Whether sandboxes can be started.", i64::from(house.has_runtime() == Some(true)));
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// Who a credential stands for.
#[derive(Debug, Serialize, ToSchema)]
struct Whoami {
    identity: String,
    tenant: String,
    roles: String,
    chain: Option<Vec<String>>,
    how: &'static str,
}

async fn whoami(caller: Caller) -> Json<Whoami> {
    let principal = caller.0;
    Json(Whoami {
        identity: principal.identity.to_string(),
        tenant: principal.tenant().to_string(),
        roles: principal.roles.to_string(),
        chain: principal.chain.map(|chain| chain.hops().iter().map(|hop| hop.identity.to_string()).collect()),
        how: principal.how.as_str(),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    run: Option<RunId>,
    #[serde(default)]
    state: Option<ActionState>,
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Actions {
    actions: Vec<ActionRow>,
}

async fn actions(State(house): State<Arc<House>>, caller: Caller, Query(filter): Query<Filter>) -> Result<Json<Actions>, Problem> {
    let filter = ActionFilter { run: filter.run, state: filter.state, limit: filter.limit, action: None };
    let mut actions = house.gate.actions(caller.0.tenant(), &filter).await?;
    if caller.0.chain.is_some() {
        // An agent sees its own actions; what others did is for people.
        actions.retain(|row| row.agent == caller.0.identity);
    }
    Ok(Json(Actions { actions }))
}

/// What came of an action in doubt.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolveInput {
    happened: bool,
}

async fn resolve(
    State(house): State<Arc<House>>,
    caller: Caller,
    Path(admission): Path<String>,
    StrictJson(input): StrictJson<ResolveInput>,
) -> Result<Json<Value>, Problem> {
    let unknown = || Refusal::Port {
        code: ErrorCode::new("gate.unknown_action"),
        kind: Kind::NotFound,
        message: "there is no such action".to_owned(),
    };
    let admission: AdmissionId = admission.parse().map_err(|_| unknown())?;
    let settled = house.gate.resolve_in_doubt(&caller.0.identity, admission, input.happened).await?;
    Ok(Json(serde_json::json!({ "admission": settled.admission, "leaf": settled.leaf })))
}
