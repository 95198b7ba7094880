//! Refusals in the words of another API.
//!
//! The clients of an API we are compatible with read its error bodies, under its content type, whoever refused: our access rules, the
//! strict reader of bodies, or the product itself.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::http::extract::HttpError;
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
    let asked = spoken.map(|_| format!("{} {}", request.method(), request.uri().path()));
    let response = next.run(request).await;
    let (Some(dialect), Some(asked)) = (spoken, asked) else { return response };
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if is_unrouted(&response) => HttpError::NoRoute(asked).into(),
        None => return response,
    };
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json((dialect.refusal)(&problem))).into_response()
}

/// The router's own answer to what it has no route for says nothing: those clients expect words.
fn is_unrouted(response: &Response) -> bool {
    matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) && !response.headers().contains_key(CONTENT_TYPE)
}
