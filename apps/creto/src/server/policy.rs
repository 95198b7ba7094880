//! Policies over HTTP: read, publish, try out, explain.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use creto_authz::{Context, PolicyVersion};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::{ActionName, ResourceName};
use creto_nhi::DelegationChain;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::wiring::House;

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    vec![
        Endpoint::new(Method::GET, "/v1/policy", Access::Authenticated, "The policy in force", current, state()),
        Endpoint::new(Method::PUT, "/v1/policy", Access::Operator, "Publish a policy", publish, state()).takes::<PublishInput>(),
        Endpoint::new(Method::POST, "/v1/policy/dry-run", Access::Operator, "What would change", dry_run, state()).takes::<DryRunInput>(),
        Endpoint::new(Method::GET, "/v1/policy/history", Access::Operator, "Published versions, newest first", history, state()),
        Endpoint::new(Method::POST, "/v1/policy/explain", Access::Authenticated, "Why a request is decided as it is", explain, state())
            .takes::<ExplainInput>(),
    ]
}

fn version(version: &PolicyVersion) -> Value {
    json!({
        "epoch": version.epoch, "text": version.text, "author": version.author, "published_at": version.published_at, "digest": version.digest,
    })
}

async fn current(State(house): State<Arc<House>>, caller: Caller) -> Result<Json<Value>, Problem> {
    Ok(Json(version(&house.authz.current(caller.0.tenant()).await?)))
}

/// A policy to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PublishInput {
    /// Cedar policies.
    text: String,
    /// The epoch it was written against; refused when another was published since.
    #[serde(default)]
    based_on: Option<u64>,
}

async fn publish(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<PublishInput>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(version(&house.authz.publish(&caller.0.identity, &input.text, input.based_on).await?)))
}

/// A policy to try out on the tenant's latest requests.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DryRunInput {
    /// Cedar policies.
    text: String,
}

async fn dry_run(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<DryRunInput>,
) -> Result<Json<Value>, Problem> {
    let run = house.authz.dry_run(caller.0.tenant(), &input.text, &[])?;
    let changes: Vec<Value> = run
        .changes
        .iter()
        .map(|change| {
            json!({
                "agent": change.agent, "action": change.action, "resource": change.resource,
                "before": change.before.to_string(), "after": change.after.to_string(),
            })
        })
        .collect();
    Ok(Json(json!({ "policies": run.policies, "digest": run.digest, "compared": run.compared, "changes": changes })))
}

async fn history(State(house): State<Arc<House>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let versions = house.authz.history(caller.0.tenant(), HISTORY_MAX).await?;
    Ok(Json(json!({ "versions": versions.iter().map(version).collect::<Vec<_>>() })))
}

const HISTORY_MAX: u32 = 100;

/// A request to explain, under a chain or as the caller.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExplainInput {
    /// The chain; the caller's own, or the caller acting directly, when absent.
    #[serde(default)]
    chain: Option<String>,
    #[schema(value_type = String)]
    action: ActionName,
    #[schema(value_type = String)]
    resource: ResourceName,
    #[serde(default)]
    #[schema(value_type = Object)]
    context: Map<String, Value>,
}

async fn explain(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<ExplainInput>,
) -> Result<Json<Value>, Problem> {
    let now = house.now();
    let chain = match (&input.chain, &caller.0.chain) {
        (Some(token), _) => house.verify_own(&caller.0.identity, &DelegationChain::from_token(token)?)?,
        (None, Some(own)) => own.clone(),
        (None, None) => house.authority.direct(&caller.0.identity)?,
    };
    let authz = &house.authz;
    let context = authz.classify(&Context::from_json(&input.context)?);
    let explained = authz.evaluate(&authz.open(&chain), &authz.action(&input.action), &authz.resource(&input.resource), &context, now);
    Ok(Json(json!({
        "decision": explained.decision.as_str(),
        "why": explained.decision.to_string(),
        "determining": explained.determining,
        "would_allow": explained.would_allow,
        "rules": explained.rules,
        "errors": explained.errors,
        "policy_epoch": explained.policy_epoch,
        "hint": explained.hint,
    })))
}
