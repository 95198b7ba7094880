//! What holds for all requests: groups, stand-ins, standing grants, policy documents, reports, legal holds.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::LeafId;
use creto_kernel::{NhiId, Timestamp};
use creto_nhi::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::request_id;
use crate::desk::{Checkpoint, Decider, Desk, Grant, NewGrant, Published, Rehearsed};
use crate::error::OversightError;
use crate::model::policy::Policy;
use crate::model::requirement::GroupName;
use crate::model::roster::Delegation;
use crate::model::voter::Voter;

pub(super) fn endpoints(desk: &Desk) -> Vec<Endpoint> {
    let at = || desk.clone();
    vec![
        Endpoint::new(Method::GET, "/v1/oversight/groups", Access::Approver, "Groups and their members", groups, at()).answers::<Groups>(),
        Endpoint::new(Method::PUT, "/v1/oversight/groups/{name}", Access::Operator, "Replace the members of a group", set_group, at())
            .takes::<GroupInput>()
            .answers::<Groups>(),
        Endpoint::new(Method::GET, "/v1/oversight/delegations", Access::Approver, "Who stands in for whom", delegations, at())
            .answers::<Delegations>(),
        Endpoint::new(Method::POST, "/v1/oversight/delegations", Access::Approver, "Let somebody stand in for a while", delegate, at())
            .takes::<DelegationInput>()
            .answers::<Delegation>(),
        Endpoint::new(Method::DELETE, "/v1/oversight/delegations/{id}", Access::Approver, "End a delegation", end_delegation, at()),
        Endpoint::new(Method::GET, "/v1/oversight/grants", Access::Approver, "Standing grants", grants, at()).answers::<Grants>(),
        Endpoint::new(Method::POST, "/v1/oversight/grants", Access::Approver, "Approve alike requests ahead", give, at())
            .takes::<NewGrant>()
            .answers::<Grant>(),
        Endpoint::new(Method::DELETE, "/v1/oversight/grants/{id}", Access::Approver, "Take a standing grant back", revoke_grant, at()),
        Endpoint::new(Method::GET, "/v1/oversight/policies", Access::Approver, "Policy documents in force", policies, at())
            .answers::<Policies>(),
        Endpoint::new(Method::PUT, "/v1/oversight/policies/{rule}", Access::Operator, "Publish a policy document", publish, at())
            .takes::<PolicyInput>()
            .answers::<Published>(),
        Endpoint::new(
            Method::POST,
            "/v1/oversight/policies/{rule}/rehearsal",
            Access::Operator,
            "What a document would have asked of past requests",
            rehearse,
            at(),
        )
        .takes::<Policy>()
        .answers::<Rehearsal>(),
        Endpoint::new(
            Method::GET,
            "/v1/oversight/reports/deciders",
            Access::Operator,
            "Approvers who decide faster than they can read",
            deciders,
            at(),
        )
        .answers::<Deciders>(),
        Endpoint::new(Method::GET, "/v1/oversight/export/ocsf", Access::Operator, "The latest requests for a SIEM (OCSF 1.3)", ocsf, at()),
        Endpoint::new(Method::PUT, "/v1/oversight/requests/{id}/hold", Access::Operator, "Keep a request's words", hold, at())
            .takes::<HoldInput>(),
        Endpoint::new(Method::DELETE, "/v1/oversight/requests/{id}/hold", Access::Operator, "End a legal hold", release, at()),
        Endpoint::new(Method::PUT, "/v1/oversight/checkpoints/{run}", Access::Agent, "Keep where a workflow stands", keep, at())
            .takes::<CheckpointInput>()
            .answers::<Checkpoint>(),
        Endpoint::new(Method::GET, "/v1/oversight/checkpoints/{run}", Access::Agent, "Where a workflow of the caller stands", resume, at())
            .answers::<Checkpoint>(),
    ]
}

/// Every group with its members.
#[derive(Debug, Serialize, ToSchema)]
struct Groups {
    #[schema(value_type = Object)]
    groups: BTreeMap<String, BTreeSet<NhiId>>,
}

/// The members of a group, all of them; none ends the group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GroupInput {
    #[schema(value_type = Vec<String>)]
    members: BTreeSet<NhiId>,
}

/// Every delegation that is not over.
#[derive(Debug, Serialize, ToSchema)]
struct Delegations {
    delegations: Vec<Delegation>,
}

/// Who stands in for the caller, or for `from`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DelegationInput {
    /// For whom; the caller when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    from: Option<NhiId>,
    #[schema(value_type = String)]
    to: NhiId,
    #[schema(value_type = String)]
    starts: Timestamp,
    #[schema(value_type = String)]
    ends: Timestamp,
    /// Whether notifications go to `to` instead.
    #[serde(default)]
    out_of_office: bool,
}

/// Every standing grant, newest first.
#[derive(Debug, Serialize, ToSchema)]
struct Grants {
    grants: Vec<Grant>,
}

/// The latest version of each document.
#[derive(Debug, Serialize, ToSchema)]
struct Policies {
    policies: Vec<Published>,
}

/// A document to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicyInput {
    policy: Policy,
    /// The version it was written against; refused when another was published since.
    #[serde(default)]
    based_on: Option<u32>,
}

/// The past requests that a document would have treated otherwise.
#[derive(Debug, Serialize, ToSchema)]
struct Rehearsal {
    changes: Vec<Rehearsed>,
}

/// How approvers decide.
#[derive(Debug, Serialize, ToSchema)]
struct Deciders {
    deciders: Vec<Decider>,
}

/// Why words are kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HoldInput {
    reason: String,
}

/// Where a workflow stands.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckpointInput {
    /// The version after the one the process went on from; the first is 1.
    version: u32,
    /// What the workflow needs to go on.
    #[schema(value_type = Object)]
    state: Value,
}

fn shown(roster: crate::model::roster::Roster) -> Json<Groups> {
    Json(Groups { groups: roster.groups.into_iter().map(|(name, members)| (name.to_string(), members)).collect() })
}

async fn groups(State(desk): State<Desk>, caller: Caller) -> Result<Json<Groups>, Problem> {
    Ok(shown(desk.roster(caller.0.tenant()).await?))
}

async fn set_group(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    StrictJson(input): StrictJson<GroupInput>,
) -> Result<Json<Groups>, Problem> {
    let name: GroupName = name.parse().map_err(OversightError::BadInput)?;
    Ok(shown(desk.set_group(&caller.0.identity, &name, input.members).await?))
}

async fn delegations(State(desk): State<Desk>, caller: Caller) -> Result<Json<Delegations>, Problem> {
    Ok(Json(Delegations { delegations: desk.roster(caller.0.tenant()).await?.delegations }))
}

async fn delegate(
    State(desk): State<Desk>,
    caller: Caller,
    StrictJson(input): StrictJson<DelegationInput>,
) -> Result<Json<Delegation>, Problem> {
    let delegation = Delegation {
        id: LeafId::generate().to_string().replacen(LeafId::PREFIX, "stand", 1),
        from: input.from.unwrap_or_else(|| caller.0.identity.clone()),
        to: input.to,
        starts: input.starts,
        ends: input.ends,
        out_of_office: input.out_of_office,
    };
    Ok(Json(desk.delegate(&caller.0.identity, caller.0.roles.has(Role::Operator), delegation).await?))
}

async fn end_delegation(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    desk.end_delegation(&caller.0.identity, caller.0.roles.has(Role::Operator), &id).await?;
    Ok(Json(json!({ "ended": id })))
}

async fn grants(State(desk): State<Desk>, caller: Caller) -> Result<Json<Grants>, Problem> {
    Ok(Json(Grants { grants: desk.grants(caller.0.tenant()).await? }))
}

async fn give(State(desk): State<Desk>, caller: Caller, StrictJson(input): StrictJson<NewGrant>) -> Result<Json<Grant>, Problem> {
    Ok(Json(desk.give(&Voter::of(&caller.0)?, input).await?))
}

async fn revoke_grant(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    desk.revoke_grant(&caller.0.identity, &id).await?;
    Ok(Json(json!({ "revoked": id })))
}

async fn policies(State(desk): State<Desk>, caller: Caller) -> Result<Json<Policies>, Problem> {
    Ok(Json(Policies { policies: desk.policies(caller.0.tenant()).await? }))
}

async fn publish(
    State(desk): State<Desk>,
    caller: Caller,
    Path(rule): Path<String>,
    StrictJson(input): StrictJson<PolicyInput>,
) -> Result<Json<Published>, Problem> {
    Ok(Json(desk.publish(&caller.0.identity, &rule, input.policy, input.based_on).await?))
}

async fn rehearse(
    State(desk): State<Desk>,
    caller: Caller,
    Path(rule): Path<String>,
    StrictJson(policy): StrictJson<Policy>,
) -> Result<Json<Rehearsal>, Problem> {
    Ok(Json(Rehearsal { changes: desk.rehearse(caller.0.tenant(), &rule, &policy).await? }))
}

async fn deciders(State(desk): State<Desk>, caller: Caller) -> Result<Json<Deciders>, Problem> {
    Ok(Json(Deciders { deciders: desk.deciders(caller.0.tenant()).await? }))
}

async fn ocsf(State(desk): State<Desk>, caller: Caller) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "events": desk.ocsf(caller.0.tenant()).await? })))
}

async fn hold(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<HoldInput>,
) -> Result<Json<Value>, Problem> {
    desk.hold(&caller.0.identity, request_id(&id)?, &input.reason).await?;
    Ok(Json(json!({ "held": id })))
}

async fn release(State(desk): State<Desk>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    desk.release(&caller.0.identity, request_id(&id)?).await?;
    Ok(Json(json!({ "released": id })))
}

async fn keep(
    State(desk): State<Desk>,
    caller: Caller,
    Path(run): Path<String>,
    StrictJson(input): StrictJson<CheckpointInput>,
) -> Result<Json<Checkpoint>, Problem> {
    Ok(Json(desk.keep(caller.chain()?, &run, input.version, &input.state).await?))
}

async fn resume(State(desk): State<Desk>, caller: Caller, Path(run): Path<String>) -> Result<Json<Checkpoint>, Problem> {
    Ok(Json(desk.resume(caller.chain()?, &run).await?))
}
