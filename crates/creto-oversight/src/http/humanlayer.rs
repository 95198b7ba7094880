//! HumanLayer's REST API under `/humanlayer/v1`, as its SDKs (PyPI `humanlayer` 0.7.9, npm `@humanlayer/sdk` 0.7.9) really speak it.
//!
//! Those clients read JSON under `application/json` whatever happened, so refusals are in their words: [`DIALECT`].

use axum::Json;
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Dialect, Endpoint, Problem};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// How this API says no: `{"error": {"message", "code"}}`, with our stable code beside it.
pub const DIALECT: Dialect = Dialect { prefix: "/humanlayer/v1/", refusal };

fn refusal(problem: &Problem) -> Value {
    let message = match problem.hint() {
        Some(hint) => format!("{}; {hint}", problem.detail()),
        None => problem.detail().to_owned(),
    };
    json!({ "error": { "message": message, "code": problem.code() }, "code": problem.code(), "detail": problem.detail() })
}

/// The routes that say what is here.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(Method::GET, "/humanlayer/v1/status", Access::Public, "HumanLayer: the API answers", status, ()).answers::<Status>(),
        Endpoint::new(Method::GET, "/humanlayer/v1/project", Access::Authenticated, "HumanLayer: whose key it is", project, ())
            .answers::<Project>(),
        Endpoint::new(Method::GET, "/version", Access::Public, "HumanLayer: the server's version", version, ()).answers::<Version>(),
    ]
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HumanLayerStatus)]
struct Status {
    status: &'static str,
}

/// The key's project: our tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HumanLayerProject)]
struct Project {
    name: String,
    slug: String,
    organization: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HumanLayerVersion)]
struct Version {
    version: &'static str,
}

async fn status() -> Json<Status> {
    Json(Status { status: "ok" })
}

async fn project(caller: Caller) -> Json<Project> {
    let tenant = caller.0.tenant().to_string();
    Json(Project { name: tenant.clone(), slug: tenant, organization: caller.0.identity.trust_domain().to_string() })
}

async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION") })
}
