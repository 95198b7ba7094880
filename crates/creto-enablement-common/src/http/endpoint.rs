//! Endpoints as values: method, path, who may call, what goes in and out. The router, the OpenAPI document and the authorization
//! coverage test are all made from the same list.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use creto_nhi::{Principal, Role};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::http::extract::{Caller, HttpError};
use crate::http::problem::Problem;

/// Who may call an endpoint. Everything finer (whose row, which policy) is decided behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a credential.
    Public,
    /// Anybody who proved an identity, but a mail server: its key is good for one thing.
    Authenticated,
    /// Whoever acts under a delegation chain.
    Agent,
    /// Whoever may decide requests.
    Approver,
    /// Whoever runs the installation.
    Operator,
    /// Whoever hands in mails: a mail server's key, or whoever runs the installation.
    Mail,
}

impl Access {
    /// Whether `principal` may pass.
    #[must_use]
    pub fn admits(self, principal: Option<&Principal>) -> bool {
        match (self, principal) {
            (Self::Public, _) => true,
            (_, None) => false,
            (Self::Authenticated, Some(p)) => !p.roles.has(Role::Mail),
            (Self::Agent, Some(p)) => p.chain.is_some(),
            (Self::Approver, Some(p)) => p.roles.has(Role::Approver),
            (Self::Operator, Some(p)) => p.roles.has(Role::Operator),
            (Self::Mail, Some(p)) => p.roles.has(Role::Mail) || p.roles.has(Role::Operator),
        }
    }

    const fn needs(self) -> &'static str {
        match self {
            Self::Public => "nothing",
            Self::Authenticated => "an identity",
            Self::Agent => "a delegation chain",
            Self::Approver => "the role `approver`",
            Self::Operator => "the role `operator`",
            Self::Mail => "the role `mail` or `operator`",
        }
    }
}

/// One route.
pub struct Endpoint {
    method: Method,
    path: &'static str,
    access: Access,
    summary: &'static str,
    takes: Option<(String, Value)>,
    answers: Option<(String, Value)>,
    schemas: Vec<(String, Value)>,
    router: Router,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.access)
    }
}

impl Endpoint {
    /// A route with its handler and its state.
    pub fn new<H, T, S>(method: Method, path: &'static str, access: Access, summary: &'static str, handler: H, state: S) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::TRACE);
        let router = Router::new().route(path, on(filter, handler)).with_state(state);
        Self { method, path, access, summary, takes: None, answers: None, schemas: Vec::new(), router }
    }

    /// With a limit of its own for the body, in bytes.
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.router = self.router.layer(DefaultBodyLimit::max(bytes));
        self
    }

    /// The JSON body it takes.
    #[must_use]
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Some(self.describe::<T>());
        self
    }

    /// The JSON body it answers with.
    #[must_use]
    pub fn answers<T: ToSchema>(mut self) -> Self {
        self.answers = Some(self.describe::<T>());
        self
    }

    fn describe<T: ToSchema>(&mut self) -> (String, Value) {
        let mut nested = Vec::new();
        T::schemas(&mut nested);
        let as_json = |schema: &utoipa::openapi::RefOr<utoipa::openapi::Schema>| serde_json::to_value(schema).unwrap_or(Value::Null);
        self.schemas.extend(nested.iter().map(|(name, schema)| (name.clone(), as_json(schema))));
        let name = T::name().into_owned();
        let schema = as_json(&T::schema());
        self.schemas.push((name.clone(), schema.clone()));
        (name, schema)
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The path, with `{parameters}`.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Who may call it.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }
}

/// All routes of a server.
#[derive(Debug, Default)]
pub struct Endpoints(Vec<Endpoint>);

impl Endpoints {
    /// No routes yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// With more routes.
    #[must_use]
    pub fn and(mut self, more: impl IntoIterator<Item = Endpoint>) -> Self {
        self.0.extend(more);
        self
    }

    /// The routes.
    #[must_use]
    pub fn list(&self) -> &[Endpoint] {
        &self.0
    }

    /// The router, each route behind its access rule.
    pub fn into_router(self) -> Router {
        self.0.into_iter().fold(Router::new(), |router, endpoint| {
            let access = endpoint.access;
            let guarded = endpoint.router.route_layer(from_fn(move |request: Request, next: Next| guard(access, request, next)));
            router.merge(guarded)
        })
    }

    /// The OpenAPI 3.1 document.
    #[must_use]
    pub fn openapi(&self, title: &str, version: &str) -> Value {
        let mut paths: BTreeMap<String, serde_json::Map<String, Value>> = BTreeMap::new();
        let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
        for endpoint in &self.0 {
            schemas.extend(endpoint.schemas.iter().cloned());
            paths.entry(template(endpoint.path)).or_default().insert(endpoint.method.as_str().to_lowercase(), operation(endpoint));
        }
        json!({
            "openapi": "3.1.0",
            "info": { "title": title, "version": version, "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } }
            }
        })
    }
}

/// Axum's `{*rest}` is `{rest}` in OpenAPI.
fn template(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(endpoint: &Endpoint) -> Value {
    let json =
        |(name, _): &(String, Value)| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{name}") } } });
    let path = template(endpoint.path);
    let parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let success = match &endpoint.answers {
        Some(answers) => json!({ "description": "done", "content": json(answers) }),
        None => json!({ "description": "done" }),
    };
    let body = endpoint.takes.as_ref().map(|takes| ("requestBody", json!({ "required": true, "content": json(takes) })));
    let security = (endpoint.access != Access::Public).then(|| ("security", json!([{ "bearer": [] }])));
    [
        ("operationId", json!(format!("{} {path}", endpoint.method.as_str().to_lowercase()))),
        ("summary", json!(endpoint.summary)),
        ("x-access", json!(endpoint.access.needs())),
        ("parameters", json!(parameters)),
        (
            "responses",
            json!({ "200": success, "default": { "description": "a problem (RFC 9457)", "content": { "application/problem+json": {} } } }),
        ),
    ]
    .into_iter()
    .chain(body)
    .chain(security)
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

async fn guard(access: Access, request: Request, next: Next) -> Response {
    let principal = request.extensions().get::<Caller>().map(|caller| &caller.0);
    if access.admits(principal) {
        return explained(next.run(request).await).await;
    }
    let error = match principal {
        None => HttpError::Unauthenticated,
        Some(principal) => HttpError::Forbidden { who: principal.identity.name().to_owned(), needs: access.needs() },
    };
    Problem::from(error).into_response()
}

/// Axum refuses a path or a query it cannot read in plain text; our callers get a problem for every refusal.
async fn explained(response: Response) -> Response {
    let plain = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/plain");
    if response.status() != StatusCode::BAD_REQUEST || !response.headers().get(CONTENT_TYPE).is_some_and(plain) {
        return response;
    }
    let text = to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
    Problem::from(HttpError::Address(String::from_utf8_lossy(&text).into_owned())).into_response()
}

/// Longest refusal of axum's that is passed on.
const REFUSAL_BYTES_MAX: usize = 4096;
