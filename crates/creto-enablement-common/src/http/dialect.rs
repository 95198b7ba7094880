//! Refusals in the words of another API.
//!
//! The clients of an API we are compatible with read its error bodies, under its content type, whoever refused: our access rules, the
//! strict reader of bodies, or the product itself.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::http::problem::Problem;

/// How one compatible API says no.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Its paths begin with this, such as `/humanlayer/v1/`.
    pub prefix: &'static str,
    /// The body of a refusal, sent as `application/json` with the problem's status.
    pub refusal: fn(&Problem) -> Value,
}

/// A middleware outside of everything that can refuse: answers under a dialect's prefix that are problems are said again in its words.
/// Answers its routes made themselves pass as they are.
pub async fn in_dialect(State(dialects): State<&'static [Dialect]>, request: Request, next: Next) -> Response {
    let spoken = dialects.iter().find(|dialect| request.uri().path().starts_with(dialect.prefix)).copied();
    let response = next.run(request).await;
    let (Some(dialect), Some(problem)) = (spoken, response.extensions().get::<Problem>()) else { return response };
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json((dialect.refusal)(problem))).into_response()
}
