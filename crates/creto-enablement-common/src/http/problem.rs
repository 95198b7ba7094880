//! Errors on the wire: `application/problem+json` (RFC 9457) with our stable code and hint as extension members.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use creto_kernel::Coded;
use serde::Serialize;
use utoipa::ToSchema;

/// A failed request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:creto:error:<code>`; the page is `docs/errors/<code>.md`.
    #[serde(rename = "type")]
    kind: String,
    /// The code's last word, readable.
    title: String,
    /// The HTTP status code.
    status: u16,
    /// What happened, this time.
    detail: String,
    /// The stable code.
    code: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Problem {
    /// The HTTP status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What happened, this time.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl<E: Coded> From<E> for Problem {
    fn from(error: E) -> Self {
        let code = error.code().as_str();
        Self {
            kind: format!("urn:creto:error:{code}"),
            title: code.rsplit('.').next().unwrap_or(code).replace('_', " "),
            status: error.kind().http_status(),
            detail: error.to_string(),
            code: code.to_owned(),
            hint: error.hint(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = %self.code, detail = %self.detail, "request failed");
        }
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        // Kept beside its bytes for routes that answer in another API's words.
        response.extensions_mut().insert(self);
        response
    }
}
