//! Messaging over HTTP: prekeys and sealed envelopes in and out, as octets. Each command is the caller's own, under its own chain.
//!
//! INVARIANT: nothing here reads a message. What passes is what the agents sealed.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, Method, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::MessageId;
use creto_kernel::{Digest, NhiId, NhiKind, Timestamp};
use creto_messaging::model::bundle::PrekeyKind;
use creto_messaging::store::directory;
use creto_messaging::store::mailbox::MessageName;
use creto_nhi::NhiError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::wiring::House;

/// Messages of one fetch when nobody says how many.
const FETCH_DEFAULT: u32 = 20;
/// Longest time a delivery waits for a human.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// On a bundle: whether its one-time keys had run out.
const LAST_RESORT: HeaderName = HeaderName::from_static("creto-last-resort");

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    let agent = Access::Agent;
    vec![
        Endpoint::new(Method::GET, "/v1/messaging/authority", agent, "What the caller binds its messages to", authority, state())
            .answers::<Authority>(),
        Endpoint::new(Method::GET, "/v1/messaging/prekeys", agent, "What the caller has published", published, state())
            .answers::<Published>(),
        Endpoint::new(Method::POST, "/v1/messaging/prekeys", agent, "Publish prekeys (octets)", publish, state()),
        Endpoint::new(Method::GET, "/v1/messaging/bundles/{agent}", agent, "A bundle of an agent's prekeys (octets)", bundle, state()),
        Endpoint::new(Method::POST, "/v1/messaging/deliver", agent, "Deliver a sealed envelope (octets)", deliver, state())
            .answers::<DeliveredView>(),
        Endpoint::new(Method::GET, "/v1/messaging/inbox", agent, "Envelopes that wait for the caller", inbox, state()).answers::<Inbox>(),
        Endpoint::new(Method::POST, "/v1/messaging/acknowledge", agent, "The caller has kept these messages", acknowledge, state())
            .takes::<AcknowledgeInput>(),
    ]
}

/// What an envelope's authorization names: the authority it is sent under and the policy in force.
#[derive(Debug, Serialize, ToSchema)]
struct Authority {
    identity: String,
    #[schema(value_type = String)]
    decision: Digest,
    #[schema(value_type = String)]
    policy: Digest,
}

async fn authority(State(house): State<Arc<House>>, caller: Caller) -> Result<Json<Authority>, Problem> {
    let chain = caller.chain()?;
    let policy = house.authz.current(chain.tenant()).await?.digest;
    Ok(Json(Authority { identity: chain.leaf().to_string(), decision: chain.authority(), policy }))
}

/// An agent's published keys; `key` is absent where it has published none.
#[derive(Debug, Serialize, ToSchema)]
struct Published {
    /// The name of its identity key.
    key: Option<String>,
    /// When its signed prekey stops being accepted.
    #[schema(value_type = Option<String>)]
    signed_not_after: Option<Timestamp>,
    /// Unused one-time agreement keys.
    agreement_once: u32,
    /// Unused one-time encapsulation keys.
    kem_once: u32,
}

async fn published(State(house): State<Arc<House>>, caller: Caller) -> Result<Json<Published>, Problem> {
    let (owner, now) = (caller.chain()?.leaf(), house.now());
    let known = directory::published(&house.db, owner).await?;
    Ok(Json(Published {
        key: known.as_ref().map(|known| known.statement.key_id().to_string()),
        signed_not_after: known.as_ref().map(|known| known.signed.not_after),
        agreement_once: directory::stock(&house.db, owner, PrekeyKind::AgreementOnce, now).await?,
        kem_once: directory::stock(&house.db, owner, PrekeyKind::KemOnce, now).await?,
    }))
}

async fn publish(State(house): State<Arc<House>>, caller: Caller, body: Bytes) -> Result<Response, Problem> {
    Ok(Json(house.messaging.publish_prekeys(caller.chain()?, &body).await?).into_response())
}

async fn bundle(State(house): State<Arc<House>>, caller: Caller, Path(agent): Path<String>) -> Result<Response, Problem> {
    let chain = caller.chain()?;
    let target = NhiId::new(house.authority.trust_domain(), chain.tenant(), NhiKind::Agent, &agent).map_err(NhiError::from)?;
    let fetched = house.messaging.fetch_bundle(chain, &target).await?;
    let last_resort = if fetched.last_resort { "true" } else { "false" };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream"), (LAST_RESORT, last_resort)], fetched.bundle).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patience {
    /// Where policy asks a human: how long to wait.
    #[serde(default)]
    wait_secs: Option<u64>,
}

/// A delivered message.
#[derive(Debug, Serialize, ToSchema)]
struct DeliveredView {
    #[schema(value_type = String)]
    message: MessageId,
    /// It had been delivered before; then nothing was done now.
    duplicate: bool,
}

async fn deliver(
    State(house): State<Arc<House>>,
    caller: Caller,
    Query(patience): Query<Patience>,
    body: Bytes,
) -> Result<Json<DeliveredView>, Problem> {
    let wait = patience.wait_secs.map_or(WAIT_MAX, Duration::from_secs).min(WAIT_MAX);
    let delivered = house.messaging.deliver(caller.acting()?, body.to_vec(), wait).await?;
    Ok(Json(DeliveredView { message: delivered.message, duplicate: delivered.settled.is_none() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    #[serde(default)]
    limit: Option<u32>,
}

/// What waits, oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct Inbox {
    messages: Vec<WaitingView>,
}

/// A message that waits.
#[derive(Debug, Serialize, ToSchema)]
struct WaitingView {
    /// As the server authenticated it; the envelope proves it again.
    #[schema(value_type = String)]
    sender: NhiId,
    #[schema(value_type = String)]
    message: MessageId,
    #[schema(value_type = String)]
    accepted: Timestamp,
    /// Base64.
    envelope: String,
}

async fn inbox(State(house): State<Arc<House>>, caller: Caller, Query(batch): Query<Batch>) -> Result<Json<Inbox>, Problem> {
    let waiting = house.messaging.fetch(caller.chain()?, batch.limit.unwrap_or(FETCH_DEFAULT)).await?;
    let messages = waiting
        .into_iter()
        .map(|waiting| WaitingView {
            sender: waiting.sender,
            message: waiting.message,
            accepted: waiting.accepted,
            envelope: STANDARD.encode(waiting.envelope),
        })
        .collect();
    Ok(Json(Inbox { messages }))
}

/// Messages the caller has durably kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AcknowledgeInput {
    #[schema(value_type = Vec<Object>)]
    messages: Vec<MessageName>,
}

async fn acknowledge(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<AcknowledgeInput>,
) -> Result<Json<Value>, Problem> {
    let acknowledged = house.messaging.acknowledge(caller.chain()?, &input.messages).await?;
    Ok(Json(json!({ "acknowledged": acknowledged })))
}
