//! Keys that identities keep themselves, over HTTP: registered, listed, ended; and links that such keys signed, handed in.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use creto_crypto::KeyId;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::{Coded, ErrorCode, Kind, NhiId, NhiKind, Timestamp};
use creto_nhi::{DelegationChain, KeyRegistration, NhiError, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::runs::Runs;
use crate::server::identity::named;
use crate::wiring::House;

pub(super) fn endpoints(house: &Arc<House>, runs: &Runs) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    let with_runs = || (Arc::clone(house), runs.clone());
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    vec![
        Endpoint::new(get.clone(), "/v1/own/keys", Access::Authenticated, "Your keys", own, state()).answers::<Keys>(),
        Endpoint::new(post.clone(), "/v1/own/keys", Access::Authenticated, "Register a key that you keep yourself", register, state())
            .takes::<RegistrationInput>()
            .answers::<Registered>(),
        Endpoint::new(
            delete.clone(),
            "/v1/own/keys/{key}",
            Access::Authenticated,
            "End a key of yours: nothing it signed counts any more",
            revoke_own,
            with_runs(),
        )
        .answers::<Revoked>(),
        Endpoint::new(get, "/v1/identities/{kind}/{name}/keys", Access::Operator, "Keys of an identity", of_identity, state())
            .answers::<Keys>(),
        Endpoint::new(delete, "/v1/identities/{kind}/{name}/keys/{key}", Access::Operator, "End a key of an identity", revoke, with_runs())
            .answers::<Revoked>(),
        Endpoint::new(post, "/v1/chains", Access::Authenticated, "Hand in a delegation whose last link you signed", hand_in, state())
            .takes::<ChainInput>()
            .answers::<HandedIn>(),
    ]
}

#[derive(Debug, thiserror::Error)]
enum OwnKeyError {
    #[error("`{0}` is not one of: human, agent, service")]
    Kind(String),
    #[error("the last link is by `{0}`, and only its signer hands it in")]
    NotTheSigner(NhiId),
}

impl Coded for OwnKeyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Kind(_) => ErrorCode::new("app.bad_identity_request"),
            Self::NotTheSigner(_) => ErrorCode::new("app.not_your_chain"),
        }
    }
    fn kind(&self) -> Kind {
        match self {
            Self::Kind(_) => Kind::Invalid,
            Self::NotTheSigner(_) => Kind::Denied,
        }
    }
}

/// One key.
#[derive(Debug, Serialize, ToSchema)]
struct KeyView {
    key: String,
    suite: String,
    /// Whether the server holds its private half.
    custodial: bool,
    /// Whether its identity signs with it now.
    current: bool,
    /// Whether it was ended: then nothing it ever signed counts.
    revoked: bool,
    #[schema(value_type = String)]
    valid_from: Timestamp,
    #[schema(value_type = Option<String>)]
    valid_until: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Keys {
    identity: String,
    keys: Vec<KeyView>,
}

fn keys_of(house: &House, id: &NhiId) -> Result<Json<Keys>, NhiError> {
    let identity = house.authority.identity(id)?;
    let view = |key: &creto_nhi::IdentityKey| KeyView {
        key: key.id.to_string(),
        suite: key.public.suite().to_string(),
        custodial: key.custodial,
        current: key.is_current(),
        revoked: key.withdrawn,
        valid_from: key.valid_from,
        valid_until: key.valid_until,
    };
    Ok(Json(Keys { identity: id.to_string(), keys: identity.keys.iter().map(view).collect() }))
}

async fn own(State(house): State<Arc<House>>, caller: Caller) -> Result<Json<Keys>, Problem> {
    Ok(keys_of(&house, &caller.0.identity)?)
}

async fn of_identity(
    State(house): State<Arc<House>>,
    caller: Caller,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Keys>, Problem> {
    Ok(keys_of(&house, &named(&house, caller.0.tenant(), kind_of(kind)?, &name)?)?)
}

/// A statement that offers a key, signed by that very key in the domain `creto/key-registration/v1`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
struct RegistrationInput {
    /// `{identity, public: {suite, key}, created, signature: {suite, key, signature}}`.
    #[schema(value_type = Object)]
    offered: KeyRegistration,
}

/// A key that was registered.
#[derive(Debug, Serialize, ToSchema)]
struct Registered {
    key: String,
    identity: String,
    /// For an agent: the token of the chain it acts under, to sign requests with.
    chain: Option<String>,
}

async fn register(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<RegistrationInput>,
) -> Result<Json<Registered>, Problem> {
    let principal = &caller.0;
    let key = house.authority.register_own_key(principal, &input.offered).await?;
    let links = match &principal.chain {
        Some(chain) => house.authority.chain(principal.tenant(), chain.digest()).await?,
        None => None,
    };
    let chain = links.map(|links| links.to_token()).transpose()?;
    Ok(Json(Registered { key: key.to_string(), identity: principal.identity.to_string(), chain }))
}

/// A key that was ended.
#[derive(Debug, Serialize, ToSchema)]
struct Revoked {
    key: String,
}

async fn revoke_own(
    State((house, runs)): State<(Arc<House>, Runs)>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Json<Revoked>, Problem> {
    end(&house, &runs, &caller, &caller.0.identity, &key).await
}

async fn revoke(
    State((house, runs)): State<(Arc<House>, Runs)>,
    caller: Caller,
    Path((kind, name, key)): Path<(String, String, String)>,
) -> Result<Json<Revoked>, Problem> {
    let id = named(&house, caller.0.tenant(), kind_of(kind)?, &name)?;
    end(&house, &runs, &caller, &id, &key).await
}

async fn end(house: &House, runs: &Runs, caller: &Caller, id: &NhiId, key: &str) -> Result<Json<Revoked>, Problem> {
    let key: KeyId = key.parse().map_err(NhiError::from)?;
    house.authority.withdraw_key(&caller.0.identity, id, key).await?;
    // Whoever has the key may be behind what runs now.
    runs.end_of(id);
    Ok(Json(Revoked { key: key.to_string() }))
}

fn kind_of(word: String) -> Result<NhiKind, OwnKeyError> {
    let known = [NhiKind::Human, NhiKind::Agent, NhiKind::Service].into_iter().find(|known| known.as_str() == word);
    known.ok_or(OwnKeyError::Kind(word))
}

/// A chain with one more link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChainInput {
    /// Its token.
    chain: String,
}

/// A delegation that is on record.
#[derive(Debug, Serialize, ToSchema)]
struct HandedIn {
    /// Its last link.
    link: String,
    /// From the root to the agent.
    hops: Vec<String>,
    #[schema(value_type = String)]
    not_after: Timestamp,
}

async fn hand_in(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<ChainInput>,
) -> Result<Json<HandedIn>, Problem> {
    let links = DelegationChain::from_token(&input.chain)?;
    let principal = &caller.0;
    house.verify_own(&principal.identity, &links)?;
    let last = links.links().last().ok_or(NhiError::ChainEmpty)?;
    // The signature is what counts; who hands it in decides only whether we keep a record of it.
    if last.from != principal.identity && !principal.roles.has(Role::Operator) {
        return Err(OwnKeyError::NotTheSigner(last.from.clone()).into());
    }
    let verified = house.authority.accept(&links).await?;
    Ok(Json(HandedIn {
        link: last.id.to_string(),
        hops: verified.hops().iter().map(|hop| hop.identity.to_string()).collect(),
        not_after: verified.not_after(),
    }))
}
