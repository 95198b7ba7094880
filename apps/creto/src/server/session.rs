//! Signing in and out of the console, and accounts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::{NhiId, NhiKind, TenantId};
use creto_nhi::{Login, NhiError, Role, Roles};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::server::auth::{SESSION_COOKIE, session_cookie};
use crate::wiring::House;

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    vec![
        Endpoint::new(Method::POST, "/v1/session", Access::Public, "Sign in", sign_in, state()).takes::<LoginInput>().answers::<Session>(),
        Endpoint::new(Method::GET, "/v1/session", Access::Public, "The session of the cookie", current, state()).answers::<Session>(),
        Endpoint::new(Method::DELETE, "/v1/session", Access::Public, "Sign out", sign_out, state()),
        Endpoint::new(Method::POST, "/v1/accounts", Access::Operator, "Create a human with a login", create_account, state())
            .takes::<AccountInput>(),
    ]
}

/// A login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginInput {
    name: String,
    password: String,
}

/// A session, as the console needs it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Session {
    identity: String,
    roles: String,
    csrf: String,
}

async fn sign_in(State(house): State<Arc<House>>, StrictJson(input): StrictJson<LoginInput>) -> Result<Response, Problem> {
    let id = human(&house, &house.tenant, &input.name).map_err(|_| NhiError::LoginFailed)?;
    Ok(opened(&house, house.credentials.login(&id, &input.password).await?))
}

/// The answer that begins a session.
pub(super) fn opened(house: &House, login: Login) -> Response {
    // Without TLS a browser would not send it back.
    let secure = if house.public.base().starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{SESSION_COOKIE}={}; Path=/; HttpOnly; SameSite=Strict{secure}", login.cookie.expose());
    let session = Session { identity: login.principal.identity.to_string(), roles: login.principal.roles.to_string(), csrf: login.csrf };
    ([(header::SET_COOKIE, cookie)], Json(session)).into_response()
}

async fn current(State(house): State<Arc<House>>, headers: HeaderMap) -> Result<Json<Session>, Problem> {
    let cookie = session_cookie(&headers).ok_or(NhiError::SessionExpired)?;
    let principal = house.credentials.authenticate_session(&cookie).await?;
    let csrf = house.credentials.csrf_token(&cookie)?;
    Ok(Json(Session { identity: principal.identity.to_string(), roles: principal.roles.to_string(), csrf }))
}

async fn sign_out(State(house): State<Arc<House>>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(cookie) = session_cookie(&headers) {
        let presented = headers.get("x-csrf-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
        house.credentials.check_csrf(&cookie, presented)?;
        house.credentials.logout(&cookie).await?;
    }
    let cookie = format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok(([(header::SET_COOKIE, cookie)], Json(json!({}))).into_response())
}

/// A human who can sign in. Everybody who can sign in may decide requests; operators may also administer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AccountInput {
    name: String,
    password: String,
    #[serde(default)]
    operator: bool,
}

async fn create_account(
    State(house): State<Arc<House>>,
    caller: Caller,
    StrictJson(input): StrictJson<AccountInput>,
) -> Result<Json<Value>, Problem> {
    let id = human(&house, caller.0.tenant(), &input.name)?;
    if house.authority.identity(&id).is_err() {
        house.authority.create_identity(&caller.0.identity, caller.0.tenant(), NhiKind::Human, &input.name).await?;
    }
    let roles = if input.operator { Roles::OPERATOR_AND_APPROVER } else { Roles::only(Role::Approver) };
    house.credentials.create_account(&caller.0.identity, &id, &input.password, roles).await?;
    Ok(Json(json!({ "identity": id, "roles": roles.to_string() })))
}

fn human(house: &House, tenant: &TenantId, name: &str) -> Result<NhiId, NhiError> {
    Ok(NhiId::new(house.authority.trust_domain(), tenant, NhiKind::Human, name)?)
}
