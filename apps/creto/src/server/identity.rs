//! Identities, delegations and keys over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::{CredentialId, LinkId};
use creto_kernel::{Coded, ErrorCode, Kind, Micros, NhiId, NhiKind, TenantId, Timestamp};
use creto_nhi::{DelegationChain, Grant, NhiError, Pattern, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::runs::Runs;
use crate::wiring::House;

/// How long a delegation lives when nobody says: a day.
const DELEGATION_TTL: u64 = 24 * 3600;
/// How long a key lives when nobody says: ninety days.
const KEY_TTL: u64 = 90 * 24 * 3600;
/// Longest life of either: a year.
const TTL_MAX: u64 = 365 * 24 * 3600;

pub(super) fn endpoints(house: &Arc<House>, runs: &Runs) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    let with_runs = || (Arc::clone(house), runs.clone());
    vec![
        Endpoint::new(Method::GET, "/v1/identities", Access::Operator, "Identities of the tenant", list, state()).answers::<Identities>(),
        Endpoint::new(Method::POST, "/v1/identities", Access::Operator, "Create an identity", create, state()).takes::<IdentityInput>(),
        Endpoint::new(
            Method::POST,
            "/v1/identities/{kind}/{name}/{change}",
            Access::Operator,
            "Suspend, resume or revoke",
            change,
            with_runs(),
        ),
        Endpoint::new(Method::POST, "/v1/delegations", Access::Authenticated, "Delegate, narrowing", delegate, state())
            .takes::<DelegationInput>()
            .answers::<Delegated>(),
        Endpoint::new(
            Method::DELETE,
            "/v1/links/{link}",
            Access::Operator,
            "Revoke a link and everything below it",
            revoke_link,
            with_runs(),
        ),
        Endpoint::new(Method::GET, "/v1/keys", Access::Operator, "Keys, without their secrets", keys, state()),
        Endpoint::new(Method::POST, "/v1/keys", Access::Operator, "Create a key; its token is shown once", create_key, state())
            .takes::<KeyInput>()
            .answers::<CreatedKey>(),
        Endpoint::new(Method::DELETE, "/v1/keys/{id}", Access::Operator, "Revoke a key", revoke_key, state()),
    ]
}

#[derive(Debug, thiserror::Error)]
enum IdentityError {
    #[error("`{0}` is not one of: human, agent, service")]
    Kind(String),
    #[error("`{0}` is not one of: suspend, resume, revoke")]
    Change(String),
    #[error("{0}")]
    Invalid(String),
    #[error("no recorded delegation has the link `{0}`")]
    NoSuchLink(LinkId),
    #[error("`{0}` may delegate only from its own chain")]
    NotYours(String),
}

impl Coded for IdentityError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Kind(_) | Self::Change(_) | Self::Invalid(_) => ErrorCode::new("app.bad_identity_request"),
            Self::NoSuchLink(_) => ErrorCode::new("app.no_such_link"),
            Self::NotYours(_) => ErrorCode::new("app.not_your_chain"),
        }
    }
    fn kind(&self) -> Kind {
        match self {
            Self::NotYours(_) => Kind::Denied,
            Self::NoSuchLink(_) => Kind::NotFound,
            _ => Kind::Invalid,
        }
    }
}

/// One identity.
#[derive(Debug, Serialize, ToSchema)]
struct Listed {
    id: String,
    kind: String,
    name: String,
    status: String,
    custodial: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Identities {
    identities: Vec<Listed>,
}

async fn list(State(house): State<Arc<House>>, caller: Caller) -> Json<Identities> {
    let listed = house.authority.identities(caller.0.tenant()).into_iter().map(|identity| Listed {
        id: identity.id.to_string(),
        kind: identity.id.kind().as_str().to_owned(),
        name: identity.id.name().to_owned(),
        status: identity.status.as_str().to_owned(),
        custodial: identity.current_key().is_some_and(|key| key.custodial),
    });
    Json(Identities { identities: listed.collect() })
}

/// A new identity; its key is held by the server.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IdentityInput {
    #[schema(value_type = String)]
    kind: NhiKind,
    name: String,
}

async fn create(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<IdentityInput>,
) -> Result<Json<Value>, Problem> {
    let identity = house.authority.create_identity(&caller.0.identity, caller.0.tenant(), input.kind, &input.name).await?;
    Ok(Json(json!({ "id": identity.id })))
}

async fn change(
    State((house, runs)): State<(Arc<House>, Runs)>,
    caller: Caller,
    Path((kind, name, change)): Path<(String, String, String)>,
) -> Result<Json<Value>, Problem> {
    let kind = [NhiKind::Human, NhiKind::Agent, NhiKind::Service]
        .into_iter()
        .find(|known| known.as_str() == kind)
        .ok_or(IdentityError::Kind(kind))?;
    let id = named(&house, caller.0.tenant(), kind, &name)?;
    let by = &caller.0.identity;
    match change.as_str() {
        "suspend" => house.authority.suspend_identity(by, &id).await?,
        "resume" => house.authority.resume_identity(by, &id).await?,
        "revoke" => house.authority.revoke_identity(by, &id).await?,
        _ => return Err(IdentityError::Change(change).into()),
    }
    if change != "resume" {
        runs.end_of(&id);
    }
    Ok(Json(json!({ "id": id, "status": house.authority.identity(&id)?.status.as_str() })))
}

/// A delegation: from a human, or further along a chain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DelegationInput {
    /// The human who delegates; the caller when absent. Not together with `chain`.
    #[serde(default)]
    from: Option<String>,
    /// The chain to continue. An agent continues its own and need not name it.
    #[serde(default)]
    chain: Option<String>,
    /// The agent; made on first use when an operator delegates.
    to: String,
    /// Action names or prefixes; the delegator's when absent.
    #[serde(default)]
    actions: Option<Vec<String>>,
    /// Resource names or prefixes; the delegator's when absent.
    #[serde(default)]
    resources: Option<Vec<String>>,
    /// Most the agent and everybody below it may spend.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    budget: Option<Micros>,
    /// Life, in seconds; a day when absent.
    #[serde(default)]
    ttl_secs: Option<u64>,
    /// How many further links may follow.
    #[serde(default)]
    depth: Option<u8>,
}

/// A chain with one more link.
#[derive(Debug, Serialize, ToSchema)]
struct Delegated {
    /// The token to run or to authenticate with.
    chain: String,
    link: String,
    hops: Vec<HopView>,
    #[schema(value_type = String)]
    not_after: Timestamp,
}

/// One hop.
#[derive(Debug, Serialize, ToSchema)]
struct HopView {
    identity: String,
    #[schema(value_type = Option<String>)]
    budget: Option<Micros>,
}

async fn delegate(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<DelegationInput>,
) -> Result<Json<Delegated>, Problem> {
    let (now, principal) = (house.now(), &caller.0);
    let tenant = principal.tenant();
    let parent = parent_chain(&house, &caller, &input).await?;
    let root = match (&parent, &input.from) {
        (None, Some(name)) => named(&house, tenant, NhiKind::Human, name)?,
        _ => principal.identity.clone(),
    };
    let held = match &parent {
        Some(links) => house.authority.verify(links, now)?,
        None => house.authority.direct(&root)?,
    };
    let to = named(&house, tenant, NhiKind::Agent, &input.to)?;
    if house.authority.identity(&to).is_err() && principal.roles.has(Role::Operator) {
        house.authority.create_identity(&principal.identity, tenant, NhiKind::Agent, &input.to).await?;
    }
    let effective = held.effective();
    let grant = Grant {
        actions: patterns(input.actions)?.unwrap_or_else(|| effective.actions.clone()),
        resources: patterns(input.resources)?.unwrap_or_else(|| effective.resources.clone()),
        budget: input.budget.or(effective.budget),
        not_after: now.saturating_add(ttl(input.ttl_secs, DELEGATION_TTL)).min(effective.not_after),
        depth: input.depth.unwrap_or_else(|| effective.depth.saturating_sub(1)).min(effective.depth.saturating_sub(1)),
    };
    let links = match &parent {
        Some(links) => house.authority.delegate(links, &to, grant).await?,
        None => house.authority.delegate(&root, &to, grant).await?,
    };
    let verified = house.authority.verify(&links, now)?;
    let link = verified.hops().last().and_then(|hop| hop.link).map(|link| link.to_string()).unwrap_or_default();
    let hops = verified.hops().iter().map(|hop| HopView { identity: hop.identity.to_string(), budget: hop.budget }).collect();
    Ok(Json(Delegated { chain: links.to_token()?, link, hops, not_after: verified.not_after() }))
}

/// The chain to continue. An agent continues the chain it acts under and no other; an operator any chain of the tenant.
async fn parent_chain(house: &House, caller: &Caller, input: &DelegationInput) -> Result<Option<DelegationChain>, Problem> {
    let sent = input.chain.as_deref().map(DelegationChain::from_token).transpose()?;
    let principal = &caller.0;
    let not_yours = || IdentityError::NotYours(principal.identity.name().to_owned());
    match &principal.chain {
        Some(own) => {
            let links = match sent {
                Some(links) => links,
                None => house.authority.chain(principal.tenant(), own.digest()).await?.ok_or_else(not_yours)?,
            };
            if input.from.is_some() || links.digest().map_err(NhiError::from)? != own.digest() {
                Err(not_yours().into())
            } else {
                Ok(Some(links))
            }
        }
        None if principal.roles.has(Role::Operator) => match sent {
            Some(links) => {
                house.verify_own(&principal.identity, &links)?;
                Ok(Some(links))
            }
            None => Ok(None),
        },
        None if sent.is_none() && input.from.is_none() => Ok(None),
        None => Err(not_yours().into()),
    }
}

async fn revoke_link(
    State((house, runs)): State<(Arc<House>, Runs)>,
    caller: Caller,
    Path(link): Path<String>,
) -> Result<Json<Value>, Problem> {
    let link: LinkId = link.parse().map_err(|e: creto_kernel::id::IdError| IdentityError::Invalid(e.to_string()))?;
    // A mistyped identifier must not be answered as revoked, and another tenant's is none of ours.
    if !house.authority.records_link(caller.0.tenant(), link).await? {
        return Err(IdentityError::NoSuchLink(link).into());
    }
    house.authority.revoke_link(&caller.0.identity, link).await?;
    runs.end_under(link);
    Ok(Json(json!({ "link": link })))
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyInput {
    /// `operator`, `approver`, `agent` or `mail`.
    role: String,
    /// The human it is for; with role `agent`, the agent; with role `mail`, the mail server.
    name: String,
    /// With role `agent`: the agent, where `name` only labels the key.
    #[serde(default)]
    agent: Option<String>,
    /// With role `agent`: the chain it acts under; one link from the caller when absent.
    #[serde(default)]
    chain: Option<String>,
    /// Life, in seconds; ninety days when absent.
    #[serde(default)]
    ttl_secs: Option<u64>,
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedKey {
    id: String,
    /// Shown once; only its digest is kept.
    token: String,
    identity: String,
    role: String,
    #[schema(value_type = String)]
    not_after: Timestamp,
}

async fn create_key(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<KeyInput>,
) -> Result<Json<CreatedKey>, Problem> {
    let role: Role = input.role.parse().map_err(IdentityError::Invalid)?;
    let by = &caller.0.identity;
    let not_after = house.now().saturating_add(ttl(input.ttl_secs, KEY_TTL));
    let chain = input.chain.as_deref().map(DelegationChain::from_token).transpose()?;
    let (identity, chain) = match (role, chain) {
        (Role::Agent, Some(links)) => {
            house.verify_own(by, &links)?;
            (house.authority.accept(&links).await?.leaf().clone(), Some(links))
        }
        (Role::Agent, None) => {
            let agent = ensure(&house, by, NhiKind::Agent, input.agent.as_deref().unwrap_or(&input.name)).await?;
            let held = house.authority.direct(by)?;
            let depth = held.effective().depth.saturating_sub(1);
            let grant = Grant { actions: vec![Pattern::any()], resources: vec![Pattern::any()], budget: None, not_after, depth };
            let links = house.authority.delegate(by, &agent, grant).await?;
            (agent, Some(links))
        }
        (Role::Operator | Role::Approver | Role::Mail, Some(_)) => {
            return Err(IdentityError::Invalid("only a key with role `agent` acts under a chain".to_owned()).into());
        }
        (Role::Operator | Role::Approver, None) => (ensure(&house, by, NhiKind::Human, &input.name).await?, None),
        // What the server itself records must not be taken for what a mail server handed in.
        (Role::Mail, None) if input.name == house.server.name() => {
            return Err(IdentityError::Invalid(format!("`{}` is the server's own identity", input.name)).into());
        }
        (Role::Mail, None) => (ensure(&house, by, NhiKind::Service, &input.name).await?, None),
    };
    let issued = house.credentials.issue_api_key(by, &identity, role, chain.as_ref(), not_after).await?;
    Ok(Json(CreatedKey {
        id: issued.key.id.to_string(),
        token: issued.token.expose().to_owned(),
        identity: identity.to_string(),
        role: role.to_string(),
        not_after,
    }))
}

async fn keys(State(house): State<Arc<House>>, caller: Caller) -> Result<Json<Value>, Problem> {
    let keys = house.credentials.api_keys(caller.0.tenant()).await?;
    let listed: Vec<Value> = keys
        .iter()
        .map(|key| json!({ "id": key.id, "identity": key.identity, "role": key.role.to_string(), "not_after": key.not_after, "revoked_at": key.revoked_at }))
        .collect();
    Ok(Json(json!({ "keys": listed })))
}

async fn revoke_key(State(house): State<Arc<House>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id: CredentialId = id.parse().map_err(|e: creto_kernel::id::IdError| IdentityError::Invalid(e.to_string()))?;
    house.credentials.revoke_api_key(&caller.0.identity, id).await?;
    Ok(Json(json!({ "id": id })))
}

async fn ensure(house: &House, by: &NhiId, kind: NhiKind, name: &str) -> Result<NhiId, Problem> {
    let id = named(house, by.tenant(), kind, name)?;
    if house.authority.identity(&id).is_err() {
        house.authority.create_identity(by, by.tenant(), kind, name).await?;
    }
    Ok(id)
}

pub(super) fn named(house: &House, tenant: &TenantId, kind: NhiKind, name: &str) -> Result<NhiId, NhiError> {
    Ok(NhiId::new(house.authority.trust_domain(), tenant, kind, name)?)
}

fn patterns(words: Option<Vec<String>>) -> Result<Option<Vec<Pattern>>, IdentityError> {
    let parsed = words.map(|words| words.into_iter().map(Pattern::try_from).collect::<Result<Vec<_>, _>>());
    parsed.transpose().map_err(|e| IdentityError::Invalid(e.to_string()))
}

fn ttl(wanted: Option<u64>, default: u64) -> Duration {
    Duration::from_secs(wanted.unwrap_or(default).min(TTL_MAX))
}
