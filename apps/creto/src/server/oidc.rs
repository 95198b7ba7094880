//! Signing in through an OpenID Connect provider: the authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636, RFC 9700).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use creto_config::OidcFile;
use creto_enablement_common::http::{Access, Endpoint, Problem};
use creto_enablement_common::outbound::{Outbound, OutboundError, OutboundRequest, Target};
use creto_kernel::{Coded, ErrorCode, Kind};
use creto_nhi::core::jose::{Expected, ProviderKey, TokenFault, provider_keys, verify_id_token};
use creto_nhi::{Federated, NhiError, Role, Roles};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::server::auth::cookie;
use crate::server::session::opened;
use crate::wiring::House;

/// Keeps the browser that began a login.
const COOKIE: &str = "creto_oidc";
const CALLBACK: &str = "/v1/session/oidc/callback";

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    vec![
        Endpoint::new(Method::GET, "/v1/session/oidc", Access::Public, "Go to the identity provider to sign in", begin, state()),
        Endpoint::new(Method::GET, "/v1/session/methods", Access::Public, "How people sign in here", methods, state()).answers::<Methods>(),
        Endpoint::new(Method::GET, CALLBACK, Access::Public, "Come back from the identity provider", end, state()),
    ]
}

/// The configured provider.
#[derive(Debug)]
pub(crate) struct Provider {
    file: OidcFile,
    secret: Option<String>,
    outbound: Outbound,
    known: Mutex<Option<Arc<Known>>>,
}

/// What discovery said, and the keys.
#[derive(Debug)]
struct Known {
    authorization: String,
    token: Target,
    keys: Vec<ProviderKey>,
}

#[derive(Debug, thiserror::Error)]
enum OidcError {
    #[error("this server has no identity provider")]
    NotConfigured,
    #[error("the identity provider cannot be used: {0}")]
    Provider(String),
    #[error("the identity provider's token was refused: {0}")]
    Token(#[from] TokenFault),
    #[error("the identity provider refused the sign-in: {0}")]
    Refused(String),
    #[error("`{0}` is in none of the groups that may sign in")]
    NoRole(String),
}

impl Coded for OidcError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotConfigured => ErrorCode::new("app.no_identity_provider"),
            Self::Provider(_) => ErrorCode::new("app.identity_provider"),
            Self::Token(_) | Self::Refused(_) => ErrorCode::new("app.sign_in_refused"),
            Self::NoRole(_) => ErrorCode::new("app.sign_in_no_role"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotConfigured => Kind::NotFound,
            Self::Provider(_) => Kind::Unavailable,
            Self::Token(_) | Self::Refused(_) => Kind::Unauthenticated,
            Self::NoRole(_) => Kind::Denied,
        }
    }
}

impl From<OutboundError> for OidcError {
    fn from(error: OutboundError) -> Self {
        Self::Provider(error.to_string())
    }
}

impl Provider {
    pub(crate) fn new(file: OidcFile, secret: Option<String>, outbound: Outbound) -> Self {
        Self { file, secret, outbound, known: Mutex::default() }
    }

    async fn document(&self, at: &str) -> Result<Value, OidcError> {
        let target: Target = at.parse()?;
        let answer = self.outbound.send(OutboundRequest::get(target)).await?;
        if !answer.is_success() {
            return Err(OidcError::Provider(format!("`{at}` answered {}", answer.status)));
        }
        serde_json::from_slice(&answer.body).map_err(|e| OidcError::Provider(format!("`{at}` is not JSON: {e}")))
    }

    /// Discovery and keys; read once, and again where a token names a key that is not among them.
    async fn known(&self, again: bool) -> Result<Arc<Known>, OidcError> {
        let held = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(held) = held.filter(|_| !again) {
            return Ok(held);
        }
        let issuer = self.file.issuer.trim_end_matches('/');
        let document = self.document(&format!("{issuer}/.well-known/openid-configuration")).await?;
        let word = |name: &str| {
            let found = document.get(name).and_then(Value::as_str);
            found.ok_or_else(|| OidcError::Provider(format!("its configuration names no `{name}`")))
        };
        // OpenID Connect Discovery, section 4.3: another issuer's document is another issuer's.
        if word("issuer")? != self.file.issuer {
            return Err(OidcError::Provider("its configuration names another issuer".to_owned()));
        }
        let keys = provider_keys(&self.document(word("jwks_uri")?).await?);
        let known = Known { authorization: word("authorization_endpoint")?.to_owned(), token: word("token_endpoint")?.parse()?, keys };
        let known = Arc::new(known);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok(known)
    }

    /// The ID token for a code.
    async fn exchange(&self, known: &Known, code: &str, verifier: &str, redirect: &str) -> Result<String, OidcError> {
        let mut request = OutboundRequest::post_json(known.token.clone(), self.form(code, verifier, redirect));
        request.headers = vec![
            (header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-www-form-urlencoded")),
            (header::ACCEPT, header::HeaderValue::from_static("application/json")),
        ];
        let answer = self.outbound.send(request).await?;
        if !answer.is_success() {
            return Err(OidcError::Refused(format!("the code was answered with {}", answer.status)));
        }
        let said: Value = serde_json::from_slice(&answer.body).map_err(|e| OidcError::Provider(e.to_string()))?;
        said.get("id_token").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| OidcError::Provider("it sent no ID token".to_owned()))
    }

    fn form(&self, code: &str, verifier: &str, redirect: &str) -> Vec<u8> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code").append_pair("code", code).append_pair("redirect_uri", redirect);
        form.append_pair("client_id", &self.file.client_id).append_pair("code_verifier", verifier);
        if let Some(secret) = &self.secret {
            form.append_pair("client_secret", secret);
        }
        form.finish().into_bytes()
    }

    fn roles(&self, claims: &Map<String, Value>, name: &str) -> Result<Roles, OidcError> {
        let groups: BTreeSet<&str> = match claims.get(&self.file.groups_claim) {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
            _ => BTreeSet::new(),
        };
        let any = |wanted: &[String]| wanted.iter().any(|group| groups.contains(group.as_str()));
        match (any(&self.file.operators), any(&self.file.approvers)) {
            (true, _) => Ok(Roles::OPERATOR_AND_APPROVER),
            (false, true) => Ok(Roles::only(Role::Approver)),
            // An empty list lets nobody in.
            (false, false) => Err(OidcError::NoRole(name.chars().take(80).collect())),
        }
    }
}

/// How people sign in, besides by password and passkey.
#[derive(Debug, Serialize, ToSchema)]
struct Methods {
    oidc: bool,
}

async fn methods(State(house): State<Arc<House>>) -> Json<Methods> {
    Json(Methods { oidc: house.oidc.is_some() })
}

fn provider(house: &House) -> Result<&Provider, OidcError> {
    house.oidc.as_ref().ok_or(OidcError::NotConfigured)
}

async fn begin(State(house): State<Arc<House>>) -> Result<Response, Problem> {
    let provider = provider(&house)?;
    let known = provider.known(false).await?;
    let start = house.credentials.begin_federated(&house.tenant).await?;
    let redirect = format!("{}{CALLBACK}", house.public.base());
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("response_type", "code").append_pair("client_id", &provider.file.client_id).append_pair("redirect_uri", &redirect);
    query.append_pair("scope", &provider.file.scope).append_pair("state", &start.state).append_pair("nonce", &start.nonce);
    query.append_pair("code_challenge", &start.code_challenge).append_pair("code_challenge_method", "S256");
    let mark = if known.authorization.contains('?') { '&' } else { '?' };
    let to = format!("{}{mark}{}", known.authorization, query.finish());
    let secure = if house.public.base().starts_with("https://") { "; Secure" } else { "" };
    // Lax: the provider's answer is a navigation from elsewhere.
    let cookie = format!("{COOKIE}={}; Path=/v1/session/oidc; HttpOnly; SameSite=Lax; Max-Age=300{secure}", start.browser);
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, cookie)]).into_response())
}

/// What the provider sends back; it may say more.
#[derive(Debug, Deserialize)]
struct Returned {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    error: Option<String>,
    /// RFC 9207.
    #[serde(default)]
    iss: Option<String>,
}

async fn end(State(house): State<Arc<House>>, headers: HeaderMap, Query(returned): Query<Returned>) -> Result<Response, Problem> {
    let provider = provider(&house)?;
    let browser = cookie(&headers, COOKIE).ok_or(NhiError::LoginFailed)?;
    let state = returned.state.ok_or(NhiError::LoginFailed)?;
    let under_way = house.credentials.end_federated(&house.tenant, &state, &browser).await?;
    if returned.iss.is_some_and(|issuer| issuer != provider.file.issuer) {
        return Err(OidcError::Refused("the answer is another provider's".to_owned()).into());
    }
    let code = match (returned.code, returned.error) {
        (Some(code), None) => code,
        (_, error) => return Err(OidcError::Refused(error.unwrap_or_default().chars().take(80).collect()).into()),
    };
    let redirect = format!("{}{CALLBACK}", house.public.base());
    let known = provider.known(false).await?;
    let token = provider.exchange(&known, &code, &under_way.verifier, &redirect).await?;
    let expected = Expected { issuer: &provider.file.issuer, client: &provider.file.client_id, nonce: &under_way.nonce, now: house.now() };
    let claims = match verify_id_token(&token, &known.keys, expected) {
        // The provider may have changed its keys since they were read.
        Err(TokenFault::Key) => verify_id_token(&token, &provider.known(true).await?.keys, expected),
        other => other,
    };
    let claims = claims.map_err(OidcError::from)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = text(&provider.file.name_claim);
    let roles = provider.roles(&claims, name)?;
    let who = Federated { issuer: &provider.file.issuer, subject: text("sub"), name, roles };
    let login = house.credentials.login_federated(&house.tenant, who).await?;
    let session = opened(&house, login);
    let set = session.headers().get(header::SET_COOKIE).cloned();
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, format!("{}/", house.public.base()))]).into_response();
    if let Some(set) = set {
        response.headers_mut().append(header::SET_COOKIE, set);
    }
    Ok(response)
}
