//! How Lago's API says no: `{"status", "error", "code", "error_details"}`.
//!
//! Its clients read the status and `error_details`; our own stable code, what happened and what to do stand beside them under `creto`.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use creto_enablement_common::http::{Dialect, HttpError, Problem};
use creto_kernel::Coded;
use serde_json::{Value, json};

use crate::error::MeteringError;
use crate::store::catalog::IN_USE;

/// Refusals that are not made here: by an access rule, by authentication, by the reader of bodies.
pub const DIALECT: Dialect = Dialect { prefix: "/lago/api/v1/", refusal: generic };

/// Lago's word for a field whose value is not what it must be.
pub(super) const INVALID: &str = "value_is_invalid";
/// Lago's word for a field that must be there.
pub(super) const MANDATORY: &str = "value_is_mandatory";
/// Lago's word for a value that is taken.
pub(super) const EXISTS: &str = "value_already_exist";
/// Ours for a field or a parameter that nobody knows.
pub(super) const UNKNOWN: &str = "field_is_unknown";
/// Ours for a field of Lago's, or a value of one, that is not there yet: it is refused rather than ignored.
pub(super) const UNSUPPORTED: &str = "value_is_not_supported";

/// What is wrong with a request, by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    by_field: BTreeMap<String, Vec<String>>,
    said: Vec<String>,
}

impl Faults {
    /// One more: the field, Lago's word for it, and ours.
    pub(super) fn add(&mut self, field: impl Into<String>, code: &str, said: impl Into<String>) {
        self.by_field.entry(field.into()).or_default().push(code.to_owned());
        self.said.push(said.into());
    }

    /// One alone.
    pub(super) fn of(field: impl Into<String>, code: &str, said: impl Into<String>) -> Self {
        let mut faults = Self::default();
        faults.add(field, code, said);
        faults
    }

    /// Whether something is wrong with this field.
    pub(super) fn names(&self, field: &str) -> bool {
        self.by_field.contains_key(field)
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.by_field.is_empty()
    }
}

/// What a handler answers when it does not do it.
#[derive(Debug)]
pub struct No {
    status: StatusCode,
    code: Option<String>,
    details: Option<Value>,
    ours: Box<Value>,
}

impl No {
    /// Whatever `details` say is wrong, told with our own error.
    pub(super) fn invalid(details: Value, error: &MeteringError) -> Self {
        Self::told(details, error)
    }

    /// Whatever `details` say is wrong, told with an error of whoever found it.
    pub(super) fn told(details: Value, error: &impl Coded) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: Some("validation_errors".to_owned()),
            details: Some(details),
            ours: ours(error),
        }
    }

    fn field(field: &str, code: &str, error: &MeteringError) -> Self {
        Self::invalid(json!({ field: [code] }), error)
    }

    /// What this refusal says of its fields, to be told as a part of another one.
    pub(super) fn as_details(&self) -> Value {
        self.details.clone().unwrap_or_else(|| json!({ "base": [self.code] }))
    }

    /// The same refusal, of several things at once.
    pub(super) fn about_all(self, details: Value) -> Self {
        // What is no matter of fields, such as a right that is missing, is said as it is.
        if self.details.is_none() && self.status != StatusCode::NOT_FOUND {
            return self;
        }
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: Some("validation_errors".to_owned()),
            details: Some(details),
            ours: self.ours,
        }
    }

    fn missing(what: &str, error: &MeteringError) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: Some(format!("{what}_not_found")), details: None, ours: ours(error) }
    }
}

fn ours(error: &impl Coded) -> Box<Value> {
    Box::new(json!({ "code": error.code().as_str(), "detail": error.to_string(), "hint": error.hint() }))
}

impl From<Faults> for No {
    fn from(faults: Faults) -> Self {
        let error = MeteringError::Malformed(faults.said.join("; "));
        Self::invalid(json!(faults.by_field), &error)
    }
}

impl From<MeteringError> for No {
    fn from(error: MeteringError) -> Self {
        use MeteringError as E;
        match &error {
            E::BadDefinition(refused) => Self::field(field_of(&refused.field), word_of(&refused.problem), &error),
            E::BadEvent { field, .. } => Self::field(field, INVALID, &error),
            E::DuplicateConflict { .. } => Self::field("transaction_id", EXISTS, &error),
            E::AlreadyExists { kind, .. } => Self::field(if names_itself(kind) { "external_id" } else { "code" }, EXISTS, &error),
            E::CurrencyMismatch { .. } => Self::field("currency", "currencies_does_not_match", &error),
            E::InsufficientCredits { .. } => Self::field("credits", "insufficient_credits", &error),
            E::NotRunning { .. } => Self::field("timestamp", "subscription_not_active", &error),
            E::NotCharged { .. } => Self::field("code", "billable_metric_not_charged", &error),
            E::UnknownDefinition { kind, .. } => Self::missing(lagos_name(kind), &error),
            E::UnknownMetric(_) => Self::missing("billable_metric", &error),
            E::UnknownSubscription(_) => Self::missing("subscription", &error),
            E::UnknownEvent(_) => Self::missing("event", &error),
            E::NoPaymentProvider => Self::field("base", "no_linked_payment_provider", &error),
            E::WrongState(_) | E::AlreadyCancelled(_) => Self::not_allowed(&error),
            E::Conflict { code, .. } if *code == IN_USE => Self::not_allowed(&error),
            _ => Self::from(Problem::from(error)),
        }
    }
}

impl No {
    fn not_allowed(error: &MeteringError) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, code: Some("not_allowed".to_owned()), details: None, ours: ours(error) }
    }
}

impl From<Problem> for No {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (code, details) = match status {
            StatusCode::UNAUTHORIZED => (None, None),
            StatusCode::FORBIDDEN => (Some("forbidden".to_owned()), None),
            StatusCode::UNPROCESSABLE_ENTITY => (Some("validation_errors".to_owned()), Some(json!({ "base": [INVALID] }))),
            _ => (problem.code().rsplit('.').next().map(str::to_owned), None),
        };
        let ours = json!({ "code": problem.code(), "detail": problem.detail(), "hint": problem.hint() });
        Self { status, code, details, ours: Box::new(ours) }
    }
}

impl From<HttpError> for No {
    fn from(error: HttpError) -> Self {
        Self::from(Problem::from(error))
    }
}

impl From<No> for Value {
    fn from(no: No) -> Self {
        let mut body = json!({ "status": no.status.as_u16(), "error": no.status.canonical_reason() });
        if let Some(members) = body.as_object_mut() {
            members.extend(no.code.map(|code| ("code".to_owned(), Self::String(code))));
            members.extend(no.details.map(|details| ("error_details".to_owned(), details)));
            members.insert("creto".to_owned(), *no.ours);
        }
        body
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let status = self.status;
        if status.is_server_error() {
            tracing::warn!(said = %self.ours, "request failed");
        }
        (status, Json(Value::from(self))).into_response()
    }
}

fn generic(problem: &Problem) -> Value {
    No::from(problem.clone()).into()
}

/// Kinds that the seller names by an identifier of his own.
fn names_itself(kind: &str) -> bool {
    matches!(kind, "customer" | "subscription")
}

/// What Lago calls a kind of ours.
fn lagos_name(kind: &str) -> &str {
    match kind {
        "metric" => "billable_metric",
        "movement of credits" => "wallet_transaction",
        "redeemed coupon" => "applied_coupon",
        "credit note" => "credit_note",
        other => other,
    }
}

/// The field as Lago's clients know it: without what is around it.
fn field_of(path: &str) -> &str {
    if path.is_empty() { "base" } else { path }
}

fn word_of(problem: &str) -> &'static str {
    if problem == "is empty" || problem == "are empty" { MANDATORY } else { INVALID }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::definition::DefinitionError;

    #[test]
    fn refusals_have_lagos_form_and_our_code_beside_it() {
        let unknown = MeteringError::UnknownDefinition { kind: "metric", code: "x".to_owned() };
        let cases: [(MeteringError, u16, &str, Value); 5] = [
            (unknown, 404, "billable_metric_not_found", Value::Null),
            (MeteringError::AlreadyExists { kind: "plan", code: "p".to_owned() }, 422, "validation_errors", json!({ "code": [EXISTS] })),
            (
                MeteringError::AlreadyExists { kind: "customer", code: "c".to_owned() },
                422,
                "validation_errors",
                json!({ "external_id": [EXISTS] }),
            ),
            (DefinitionError::new("code", "is empty").into(), 422, "validation_errors", json!({ "code": [MANDATORY] })),
            (MeteringError::WrongState("over".to_owned()), 405, "not_allowed", Value::Null),
        ];
        for (error, status, code, details) in cases {
            let own = error.code();
            let body = Value::from(No::from(error));
            assert_eq!((&body["status"], &body["code"], &body["error_details"]), (&json!(status), &json!(code), &details), "{body}");
            assert_eq!(body["creto"]["code"], own.as_str(), "{body}");
        }
    }
}
