//! `POST /v1/metering/preview`: what would be billed.

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};

use crate::catalog::Catalog;
use crate::preview::{Preview, PreviewInput};

/// The preview's endpoint.
#[must_use]
pub fn endpoints(catalog: &Catalog) -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            Method::POST,
            "/v1/metering/preview",
            Access::Authenticated,
            "What a plan would bill of these events; nothing is recorded",
            preview,
            catalog.clone(),
        )
        .takes::<PreviewInput>()
        .answers::<Preview>(),
    ]
}

async fn preview(
    State(catalog): State<Catalog>,
    caller: Caller,
    StrictJson(input): StrictJson<PreviewInput>,
) -> Result<Json<Preview>, Problem> {
    Ok(Json(input.compute(&catalog, caller.0.tenant()).await?))
}
