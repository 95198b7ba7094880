//! Endpoints over HTTP: `/v1/webhooks`.

use std::time::Duration;

use ::http::Method;
use axum::Json;
use axum::extract::{Path, State};
use creto_kernel::id::OutboxId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Delivery, Endpoint as Hook, OVERLAP_DEFAULT, WebhookError, WebhookId, Webhooks, WithSecret};
use crate::http::{Access, Caller, Endpoint, Problem, StrictJson};

/// The routes of webhooks.
#[must_use]
pub fn endpoints(webhooks: &Webhooks) -> Vec<Endpoint> {
    let state = || webhooks.clone();
    let operator = Access::Operator;
    vec![
        Endpoint::new(Method::GET, "/v1/webhooks", operator, "Webhook endpoints, without their secrets", list, state()).answers::<Hooks>(),
        Endpoint::new(Method::POST, "/v1/webhooks", operator, "Send events to an address; its secret is shown once", create, state())
            .takes::<HookInput>()
            .answers::<WithSecret>(),
        Endpoint::new(Method::DELETE, "/v1/webhooks/{id}", operator, "Send nothing there any more", remove, state()),
        Endpoint::new(
            Method::POST,
            "/v1/webhooks/{id}/rotate",
            operator,
            "Another secret; the old one signs too for a while",
            rotate,
            state(),
        )
        .takes::<RotateInput>()
        .answers::<WithSecret>(),
        Endpoint::new(Method::POST, "/v1/webhooks/{id}/test", operator, "Send a test event", test, state())
            .takes::<Nothing>()
            .answers::<Sent>(),
        Endpoint::new(Method::GET, "/v1/webhooks/{id}/deliveries", operator, "What was sent and what came of it", deliveries, state())
            .answers::<Deliveries>(),
        Endpoint::new(Method::POST, "/v1/webhooks/{id}/deliveries/{message}/replay", operator, "Send a dead letter again", replay, state())
            .takes::<Nothing>()
            .answers::<Sent>(),
    ]
}

#[derive(Debug, Serialize, ToSchema)]
struct Hooks {
    webhooks: Vec<Hook>,
}

/// An endpoint to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HookInput {
    /// `https://…`
    url: String,
    /// Event types, or beginnings such as `oversight.`; all when absent.
    #[serde(default)]
    events: Vec<String>,
}

/// A rotation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateInput {
    /// How long the old secret signs too, in seconds; a day when absent, at most thirty.
    #[serde(default)]
    overlap_secs: Option<u64>,
}

/// No input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What is on its way.
#[derive(Debug, Serialize, ToSchema)]
struct Sent {
    /// The message: `webhook-id`.
    message: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Deliveries {
    deliveries: Vec<Delivery>,
}

fn id_of(text: &str) -> Result<WebhookId, WebhookError> {
    text.parse().map_err(|_| WebhookError::UnknownEndpoint(text.chars().take(80).collect()))
}

async fn list(State(webhooks): State<Webhooks>, caller: Caller) -> Result<Json<Hooks>, Problem> {
    Ok(Json(Hooks { webhooks: webhooks.list(caller.0.tenant()).await? }))
}

async fn create(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    StrictJson(input): StrictJson<HookInput>,
) -> Result<Json<WithSecret>, Problem> {
    Ok(Json(webhooks.create(&caller.0.identity, &input.url, &input.events).await?))
}

async fn remove(State(webhooks): State<Webhooks>, caller: Caller, Path(id): Path<String>) -> Result<Json<serde_json::Value>, Problem> {
    webhooks.remove(&caller.0.identity, id_of(&id)?).await?;
    Ok(Json(serde_json::json!({ "id": id })))
}

async fn rotate(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<RotateInput>,
) -> Result<Json<WithSecret>, Problem> {
    let overlap = input.overlap_secs.map_or(OVERLAP_DEFAULT, Duration::from_secs);
    Ok(Json(webhooks.rotate(&caller.0.identity, id_of(&id)?, overlap).await?))
}

async fn test(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(Nothing {}): StrictJson<Nothing>,
) -> Result<Json<Sent>, Problem> {
    Ok(Json(Sent { message: webhooks.test(&caller.0.identity, id_of(&id)?).await?.to_string() }))
}

async fn deliveries(State(webhooks): State<Webhooks>, caller: Caller, Path(id): Path<String>) -> Result<Json<Deliveries>, Problem> {
    Ok(Json(Deliveries { deliveries: webhooks.deliveries(caller.0.tenant(), id_of(&id)?).await? }))
}

async fn replay(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    Path((id, message)): Path<(String, String)>,
    StrictJson(Nothing {}): StrictJson<Nothing>,
) -> Result<Json<Sent>, Problem> {
    let unknown = || WebhookError::UnknownEndpoint(message.chars().take(80).collect());
    let parsed: OutboxId = message.parse().map_err(|_| unknown())?;
    webhooks.replay(&caller.0.identity, id_of(&id)?, parsed).await?;
    Ok(Json(Sent { message }))
}
