//! Memory over HTTP: `memory.*` on the author's memory. A write and its admission are one commit through the Gate; a refusal, also of a
//! read, leaves a leaf.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_authz::{Context, Decision, DenyReason, RuleId};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_enablement_common::{AdmitRequest, Effect, Refusal};
use creto_kernel::{ActionName, Coded, Digest, ErrorCode, Kind, NhiId, ResourceName, Timestamp};
use creto_memory::{Item, MemoryError, MemoryId, NewItem, Planned, Search, Untrusted};
use creto_nhi::{NhiError, VerifiedChain};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::wiring::House;

/// Items of one search when nobody says how many.
const SEARCH_DEFAULT: u32 = 20;

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    let agent = Access::Agent;
    vec![
        Endpoint::new(Method::POST, "/v1/memory", agent, "Remember something", put, state()).takes::<PutInput>(),
        Endpoint::new(Method::GET, "/v1/memory", agent, "Items that have every word, latest first", search, state()),
        Endpoint::new(Method::GET, "/v1/memory/{id}", agent, "One item", get, state()),
        Endpoint::new(Method::DELETE, "/v1/memory/{id}", agent, "Erase an item's text", forget, state()),
        Endpoint::new(Method::GET, "/v1/memory/{id}/history", agent, "What happened to an item", history, state()),
        Endpoint::new(Method::POST, "/v1/memory/{id}/invalidate", agent, "End an item's validity", invalidate, state())
            .takes::<InvalidateInput>(),
        Endpoint::new(
            Method::GET,
            "/v1/memory/reasoning/{digest}",
            Access::Approver,
            "The reasons recorded for an action, as untrusted text",
            reasoning,
            state(),
        ),
    ]
}

/// Why a request for memory is refused before the store sees it.
#[derive(Debug, thiserror::Error)]
enum MemoryRefusal {
    #[error("{0}")]
    Denied(DenyReason),
    #[error("policy asks a human by rule `{0}`, and memory waits for nobody")]
    NeedsHuman(RuleId),
    #[error("{0}")]
    Invalid(String),
}

impl Coded for MemoryRefusal {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(reason) => reason.code(),
            Self::NeedsHuman(_) => ErrorCode::new("app.memory_needs_human"),
            Self::Invalid(_) => ErrorCode::new("app.bad_memory_request"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Denied(_) | Self::NeedsHuman(_) => Kind::Denied,
            Self::Invalid(_) => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Denied(_) => {
                Some("an agent's memory is its own; `creto policy explain` says which policy would have to permit it".to_owned())
            }
            Self::NeedsHuman(_) => Some("let the policy permit or forbid `memory.*` without oversight".to_owned()),
            Self::Invalid(_) => None,
        }
    }
}

/// What the caller asks to do with the memory of `author`. The words themselves are no argument: a salted digest of them is in the leaf,
/// and forgetting them must not leave them elsewhere.
fn asked<'a>(chain: &'a VerifiedChain, caller: &Caller, action: &str, author: &NhiId) -> Result<AdmitRequest<'a>, MemoryRefusal> {
    let invalid = |e: creto_kernel::action::NameError| MemoryRefusal::Invalid(e.to_string());
    let resource: ResourceName = format!("memory:{author}").parse().map_err(invalid)?;
    Ok(AdmitRequest { run: caller.1, ..AdmitRequest::new(chain, action.parse::<ActionName>().map_err(invalid)?, resource) })
}

/// The caller's chain as it stands now, where policy lets it do `action` on the memory of `author`. A refusal leaves a leaf.
///
/// A run keeps the chain it started with; one verified before the latest revocation is verified again, as the Gate does.
async fn may(house: &House, caller: &Caller, action: &str, author: &NhiId) -> Result<VerifiedChain, Problem> {
    let chain = house.gate.standing(caller.chain()?).await?;
    let request = asked(&chain, caller, action, author)?;
    let authz = &house.authz;
    let context = authz.classify(&Context::default());
    let session = authz.open(&chain);
    let refused = match authz.check(&session, &authz.action(&request.action), &authz.resource(&request.resource), &context, house.now()) {
        Decision::Allow => return Ok(chain),
        Decision::Deny(reason) => MemoryRefusal::Denied(reason),
        Decision::RequiresOversight(rule) => MemoryRefusal::NeedsHuman(rule),
    };
    let refusal = Refusal::Denied { code: refused.code(), message: refused.to_string(), hint: refused.hint() };
    Err(house.gate.refuse(&request, refusal).await.into())
}

/// Admits and writes in one commit.
async fn write(house: &House, caller: &Caller, chain: &VerifiedChain, author: &NhiId, planned: Planned) -> Result<(), Problem> {
    let request = AdmitRequest { leaf: Some(planned.leaf), ..asked(chain, caller, planned.action, author)? };
    let effect = Effect { steps: planned.steps, facts: planned.facts, digests: planned.digests, ..Effect::default() };
    house.gate.commit_effect(request, effect).await?;
    Ok(())
}

/// The item, where policy lets the caller do `action` on its author's memory.
async fn item(house: &House, caller: &Caller, action: &str, id: &str) -> Result<(Item, VerifiedChain), Problem> {
    let id: MemoryId = id.parse().map_err(|e: creto_kernel::id::IdError| MemoryRefusal::Invalid(e.to_string()))?;
    let item = house.memory.get(caller.0.tenant(), id).await?.ok_or(MemoryError::NotFound(id))?;
    let chain = may(house, caller, action, &item.author).await?;
    Ok((item, chain))
}

/// Something to remember.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutInput {
    /// Where it comes from; `observation` when absent.
    #[serde(default)]
    source: Option<String>,
    /// What it says.
    text: String,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    valid_from: Option<Timestamp>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    valid_to: Option<Timestamp>,
    /// The digest of the action it is a reason of.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    action: Option<Digest>,
    /// The item it corrects.
    #[serde(default)]
    supersedes: Option<String>,
}

async fn put(State(house): State<Arc<House>>, caller: Caller, StrictJson(input): StrictJson<PutInput>) -> Result<Json<Item>, Problem> {
    let author = caller.chain()?.leaf().clone();
    let chain = may(&house, &caller, "memory.put", &author).await?;
    let supersedes = match &input.supersedes {
        // A correction ends the other item's validity: whoever may not do that may not correct it.
        Some(old) => Some(item(&house, &caller, "memory.invalidate", old).await?.0.id),
        None => None,
    };
    let new = NewItem {
        source: input.source.unwrap_or_else(|| "observation".to_owned()),
        text: Untrusted::new(input.text),
        valid_from: input.valid_from,
        valid_to: input.valid_to,
        action: input.action,
        supersedes,
    };
    let (item, planned) = house.memory.plan_put(&author, new).await?;
    write(&house, &caller, &chain, &author, planned).await?;
    Ok(Json(item))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchInput {
    #[serde(default)]
    q: String,
    /// Whose memory; the caller's own when absent.
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    at: Option<Timestamp>,
    #[serde(default)]
    limit: Option<u32>,
}

async fn search(State(house): State<Arc<House>>, caller: Caller, Query(input): Query<SearchInput>) -> Result<Json<Value>, Problem> {
    let author: NhiId = match &input.author {
        Some(author) => author.parse().map_err(NhiError::from)?,
        None => caller.chain()?.leaf().clone(),
    };
    may(&house, &caller, "memory.search", &author).await?;
    let search = Search { text: input.q, author: Some(author), at: input.at, limit: input.limit.unwrap_or(SEARCH_DEFAULT) };
    Ok(Json(json!({ "items": house.memory.search(caller.0.tenant(), &search).await? })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GetInput {
    /// Also the text exactly as it was written, as `raw`: for a program, never for showing it.
    #[serde(default)]
    raw: bool,
}

async fn get(
    State(house): State<Arc<House>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(input): Query<GetInput>,
) -> Result<Json<Value>, Problem> {
    let (item, _) = item(&house, &caller, "memory.get", &id).await?;
    let raw = item.text.as_ref().filter(|_| input.raw).map(|text| text.raw().to_owned());
    let mut answer = json!(item);
    if let (Some(fields), Some(raw)) = (answer.as_object_mut(), raw) {
        fields.insert("raw".to_owned(), json!(raw));
    }
    Ok(Json(answer))
}

async fn history(State(house): State<Arc<House>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let (item, _) = item(&house, &caller, "memory.history", &id).await?;
    Ok(Json(json!({ "changes": house.memory.history(caller.0.tenant(), item.id).await? })))
}

/// When an item stops being valid; now when absent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvalidateInput {
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    at: Option<Timestamp>,
}

async fn invalidate(
    State(house): State<Arc<House>>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(input): StrictJson<InvalidateInput>,
) -> Result<Json<Value>, Problem> {
    let (item, chain) = item(&house, &caller, "memory.invalidate", &id).await?;
    let planned = house.memory.plan_invalidate(chain.leaf(), item.id, input.at);
    write(&house, &caller, &chain, &item.author, planned).await?;
    Ok(Json(json!({ "id": item.id })))
}

async fn forget(State(house): State<Arc<House>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let (item, chain) = item(&house, &caller, "memory.forget", &id).await?;
    write(&house, &caller, &chain, &item.author, house.memory.plan_forget(chain.leaf(), item.id)).await?;
    Ok(Json(json!({ "id": item.id })))
}

async fn reasoning(State(house): State<Arc<House>>, caller: Caller, Path(digest): Path<String>) -> Result<Json<Value>, Problem> {
    let action: Digest =
        digest.parse().map_err(|_| MemoryRefusal::Invalid("an action is named by its digest: 64 hex digits".to_owned()))?;
    Ok(Json(json!({ "reasoning": house.memory.reasoning(caller.0.tenant(), action).await? })))
}
