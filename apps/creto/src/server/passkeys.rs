//! Passkeys and invitations over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::Response;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::{NhiKind, Timestamp};
use creto_nhi::core::webauthn::Assertion;
use creto_nhi::{PasskeyInfo, PasskeyQuestion};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::server::identity::named;
use crate::server::session::{Session, opened};
use crate::wiring::House;

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    let (post, known, public) = (Method::POST, Access::Authenticated, Access::Public);
    vec![
        Endpoint::new(Method::GET, "/v1/passkeys", known, "Your passkeys", list, state()).answers::<Passkeys>(),
        Endpoint::new(post.clone(), "/v1/passkeys/options", known, "What a browser is asked for a new passkey", options, state())
            .takes::<Nothing>()
            .answers::<Question>(),
        Endpoint::new(post.clone(), "/v1/passkeys", known, "Register the passkey a browser made", register, state())
            .takes::<NewPasskey>()
            .answers::<Passkey>(),
        Endpoint::new(Method::DELETE, "/v1/passkeys/{credential}", known, "Remove a passkey of yours", remove, state()).takes::<Removal>(),
        Endpoint::new(
            post.clone(),
            "/v1/session/passkey/options",
            public,
            "What a browser is asked to sign in by passkey",
            login_options,
            state(),
        )
        .takes::<Nothing>()
        .answers::<Question>(),
        Endpoint::new(post.clone(), "/v1/session/passkey", public, "Sign in by passkey", sign_in, state())
            .takes::<AssertionInput>()
            .answers::<Session>(),
        Endpoint::new(
            post.clone(),
            "/v1/accounts/{name}/invite",
            Access::Operator,
            "Let somebody back in who lost their way",
            invite,
            state(),
        )
        .takes::<Nothing>()
        .answers::<Invitation>(),
        Endpoint::new(post, "/v1/invites", public, "Take an invitation: a new password, and every passkey of before ends", redeem, state())
            .takes::<Redemption>(),
    ]
}

/// No input.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What `navigator.credentials` is called with; binary parts are base64url.
#[derive(Debug, Serialize, ToSchema)]
struct Question {
    challenge: String,
    rp_id: String,
    /// Excluded at registration, allowed at an approval.
    credentials: Vec<String>,
    user_handle: String,
}

impl From<PasskeyQuestion> for Question {
    fn from(q: PasskeyQuestion) -> Self {
        Self { challenge: q.challenge, rp_id: q.rp_id, credentials: q.credentials, user_handle: q.user_handle }
    }
}

/// What the browser gave for a new passkey, base64url.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPasskey {
    /// What its holder calls it.
    label: String,
    client_data: String,
    attestation: String,
    /// The same challenge answered with a passkey the person holds already, where they hold one.
    #[serde(default)]
    proof: Option<AssertionInput>,
}

/// What a passkey is removed with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Removal {
    /// The challenge of `POST /v1/passkeys/options`, answered with a passkey the person holds.
    proof: AssertionInput,
}

/// One passkey.
#[derive(Debug, Serialize, ToSchema)]
struct Passkey {
    credential: String,
    label: String,
    #[schema(value_type = String)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>)]
    used_at: Option<Timestamp>,
}

impl From<PasskeyInfo> for Passkey {
    fn from(p: PasskeyInfo) -> Self {
        Self { credential: p.credential, label: p.label, created_at: p.created_at, used_at: p.used_at }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct Passkeys {
    passkeys: Vec<Passkey>,
}

/// What the browser gave for a use of a passkey, base64url.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssertionInput {
    credential: String,
    client_data: String,
    authenticator_data: String,
    signature: String,
}

impl From<AssertionInput> for Assertion {
    fn from(input: AssertionInput) -> Self {
        let AssertionInput { credential, client_data, authenticator_data, signature } = input;
        Self { credential, client_data, authenticator_data, signature }
    }
}

/// A way back in.
#[derive(Debug, Serialize, ToSchema)]
struct Invitation {
    /// Shown once, good for one use within a day.
    token: String,
    /// Where it is used.
    url: String,
}

/// The use of an invitation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Redemption {
    token: String,
    password: String,
}

async fn list(State(house): State<Arc<House>>, caller: Caller) -> Result<Json<Passkeys>, Problem> {
    let held = house.credentials.passkeys(&caller.0.identity).await?;
    Ok(Json(Passkeys { passkeys: held.into_iter().map(Into::into).collect() }))
}

async fn options(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(Nothing {}): StrictJson<Nothing>,
) -> Result<Json<Question>, Problem> {
    Ok(Json(house.credentials.passkey_registration(&caller.0, &house.public.party()).await?.into()))
}

async fn register(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<NewPasskey>,
) -> Result<Json<Passkey>, Problem> {
    let party = house.public.party();
    let (proof, answer) = (input.proof.map(Assertion::from), (input.client_data.as_str(), input.attestation.as_str()));
    let made = house.credentials.register_passkey(&caller.0, &party, &input.label, answer, proof.as_ref()).await?;
    Ok(Json(made.into()))
}

async fn remove(
    State(house): State<Arc<House>>,
    caller: Caller,
    Path(credential): Path<String>,
    StrictJson(input): StrictJson<Removal>,
) -> Result<Json<serde_json::Value>, Problem> {
    house.credentials.remove_passkey(&caller.0, &house.public.party(), &credential, &input.proof.into()).await?;
    Ok(Json(serde_json::json!({ "credential": credential })))
}

async fn login_options(State(house): State<Arc<House>>, StrictJson(Nothing {}): StrictJson<Nothing>) -> Result<Json<Question>, Problem> {
    Ok(Json(house.credentials.passkey_login(&house.tenant, &house.public.party()).await?.into()))
}

async fn sign_in(State(house): State<Arc<House>>, StrictJson(input): StrictJson<AssertionInput>) -> Result<Response, Problem> {
    let assertion = Assertion::from(input);
    let login = house.credentials.login_by_passkey(&house.tenant, &house.public.party(), &assertion).await?;
    Ok(opened(&house, login))
}

async fn invite(
    State(house): State<Arc<House>>,
    caller: Caller,
    Path(name): Path<String>,
    StrictJson(Nothing {}): StrictJson<Nothing>,
) -> Result<Json<Invitation>, Problem> {
    let identity = named(&house, caller.0.tenant(), NhiKind::Human, &name)?;
    let token = house.credentials.invite(&caller.0.identity, &identity).await?.expose().to_owned();
    let url = format!("{}/#/invite/{token}", house.public.base());
    Ok(Json(Invitation { token, url }))
}

async fn redeem(State(house): State<Arc<House>>, StrictJson(input): StrictJson<Redemption>) -> Result<Json<serde_json::Value>, Problem> {
    let identity = house.credentials.redeem_invite(&house.tenant, &input.token, &input.password).await?;
    Ok(Json(serde_json::json!({ "identity": identity })))
}
