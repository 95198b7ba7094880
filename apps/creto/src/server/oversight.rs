//! What of oversight reaches beyond its own crate: receipts need the log, the kill switch needs identities and runs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::{NhiId, NhiKind};
use creto_nhi::Role;
use creto_oversight::OversightError;
use creto_oversight::receipt::Receipt;
use futures::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::runs::Runs;
use crate::wiring::House;

pub(super) fn endpoints(house: &Arc<House>, runs: &Runs) -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            Method::GET,
            "/v1/oversight/requests/{id}/receipt",
            Access::Authenticated,
            "The decision with its proof, to be verified offline",
            receipt,
            Arc::clone(house),
        ),
        Endpoint::new(
            Method::GET,
            "/v1/oversight/requests/{id}/evidence",
            Access::Operator,
            "Everything about a request: its history, revisions, receipt",
            evidence,
            Arc::clone(house),
        ),
        Endpoint::new(
            Method::POST,
            "/v1/oversight/kill",
            Access::Operator,
            "Suspend an agent and take back all it has",
            kill,
            (Arc::clone(house), runs.clone()),
        )
        .takes::<KillInput>(),
    ]
}

/// Who is to be stopped.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KillInput {
    /// The agent's name, or its SPIFFE ID.
    agent: String,
    /// Why.
    reason: String,
}

async fn proven(house: &House, caller: &Caller, id: &str) -> Result<Receipt, Problem> {
    let unknown = || OversightError::UnknownRequest(id.chars().take(80).collect());
    let tenant = caller.0.tenant();
    let request = id.parse().map_err(|_| unknown())?;
    let asked = house.desk.get(tenant, request).await?;
    let own = asked.agent().as_ref() == Some(&caller.0.identity);
    if !own && !caller.0.roles.has(Role::Approver) && !caller.0.roles.has(Role::Operator) {
        return Err(unknown().into());
    }
    let decided = house.desk.decided(tenant, request).await?;
    // Whatever was committed is in the signed log when this returns.
    house.sequencer.flush().await?;
    let index = house.log.find_leaf(tenant, decided.leaf).await?.ok_or_else(unknown)?;
    let proven = house.log.prove_entry(tenant, index).await?;
    Ok(Receipt {
        v: 1,
        decision: decided.decision,
        salt: decided.salt,
        entry: proven.entry,
        index: proven.index,
        proof: proven.proof,
        checkpoint: proven.checkpoint,
    })
}

async fn receipt(State(house): State<Arc<House>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Receipt>, Problem> {
    Ok(Json(proven(&house, &caller, &id).await?))
}

async fn evidence(State(house): State<Arc<House>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let unknown = || OversightError::UnknownRequest(id.chars().take(80).collect());
    let (tenant, request) = (caller.0.tenant(), id.parse().map_err(|_| unknown())?);
    let shown = house.desk.get(tenant, request).await?;
    let history = house.desk.history(tenant, request).await?;
    let revisions = house.desk.revisions(tenant, request).await?;
    let receipt = proven(&house, &caller, &id).await.ok();
    let keys: Value = serde_json::from_slice(&house.trusted.now().to_json()?).unwrap_or(Value::Null);
    Ok(Json(json!({ "request": shown, "history": history, "revisions": revisions, "receipt": receipt, "keys": keys })))
}

async fn kill(
    State((house, runs)): State<(Arc<House>, Runs)>,
    caller: Caller,
    StrictJson(input): StrictJson<KillInput>,
) -> Result<Json<Value>, Problem> {
    let by = &caller.0.identity;
    let named = || NhiId::new(by.trust_domain(), by.tenant(), NhiKind::Agent, &input.agent);
    let agent: NhiId = input.agent.parse().or_else(|_| named()).map_err(|e| OversightError::BadInput(e.to_string()))?;
    if agent.tenant() != by.tenant() || agent.kind() != NhiKind::Agent {
        return Err(OversightError::BadInput(format!("`{agent}` is no agent of this tenant")).into());
    }
    if input.reason.trim().is_empty() {
        return Err(OversightError::BadInput("the reason is empty".to_owned()).into());
    }
    // One commit: the identity, its requests, approvals and standing grants. It is in force before we hear that it is.
    let suspend = |sealed| {
        let (authority, by, agent) = (house.authority.clone(), by.clone(), agent.clone());
        async move { Ok::<(), OversightError>(authority.suspend_identity_with(&by, &agent, sealed).await?) }.boxed()
    };
    let requests = house.desk.take_all_by(by, &agent, &input.reason, suspend).await?;
    runs.end_of(&agent);
    // What was being opened in that very moment: nothing comes after it.
    let late = if house.desk.has_open(&agent).await? { house.desk.take_all(by, &agent, &input.reason).await? } else { 0 };
    Ok(Json(json!({ "agent": agent, "status": "suspended", "requests": requests + late })))
}
