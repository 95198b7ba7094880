//! `webhook_endpoints`, and the key that `webhooks` are signed by.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_enablement_common::webhook::{Endpoint as Hook, EndpointInput, WebhookError, WebhookId, Webhooks};
use creto_kernel::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::body::{Fields, Form};
use super::hooks::{FORMAT, organization_id, words};
use super::query::Parameters;
use super::refusal::{INVALID, No, UNSUPPORTED};
use super::shape::{lago_id, many, one, own_id};
use super::signing::{Algorithm, SigningKeys};
use super::{Answer, Asked, Body, Document, Documents, Named};
use crate::error::MeteringError;
use crate::model::page::Listed;

const ROOT: &str = "webhook_endpoint";

/// Endpoints that are told in Lago's format, and the keys that sign what they are told.
#[derive(Debug, Clone)]
pub struct HookEndpoints {
    webhooks: Webhooks,
    keys: SigningKeys,
}

impl HookEndpoints {
    /// Over the endpoints of all formats.
    #[must_use]
    pub const fn new(webhooks: Webhooks, keys: SigningKeys) -> Self {
        Self { webhooks, keys }
    }
}

/// The routes of Lago's webhooks.
#[must_use]
pub fn endpoints(hooks: &HookEndpoints) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/webhook_endpoints", "/lago/api/v1/webhook_endpoints/{id}");
    let (operator, state) = (Access::Operator, || hooks.clone());
    vec![
        Endpoint::new(Method::GET, all, operator, "Lago: webhook endpoints", list, state()).answers::<Documents>(),
        Endpoint::new(Method::POST, all, operator, "Lago: send webhooks to an address; its secret is shown once", create, state())
            .takes::<Document>()
            .answers::<Document>(),
        Endpoint::new(Method::GET, each, operator, "Lago: a webhook endpoint", get, state()).answers::<Document>(),
        Endpoint::new(Method::PUT, each, operator, "Lago: change a webhook endpoint", update, state())
            .takes::<Document>()
            .answers::<Document>(),
        Endpoint::new(Method::DELETE, each, operator, "Lago: send nothing there any more", delete, state()).answers::<Document>(),
        Endpoint::new(
            Method::GET,
            "/lago/api/v1/webhooks/json_public_key",
            Access::Authenticated,
            "Lago: the public key of webhooks signed by JWT, in base64 of PEM",
            json_public_key,
            state(),
        )
        .answers::<Document>(),
        Endpoint::new(
            Method::GET,
            "/lago/api/v1/webhooks/public_key",
            Access::Authenticated,
            "Lago: the same key as text",
            public_key,
            state(),
        ),
    ]
}

/// What Lago keeps with an endpoint beside its address.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Settings {
    #[serde(default)]
    signature_algo: Algorithm,
    #[serde(default)]
    name: Option<String>,
}

impl Settings {
    fn of(hook: &Hook) -> Self {
        serde_json::from_value(hook.settings.clone()).unwrap_or_default()
    }
}

/// As Lago's clients model it. Its events are all where none are named.
fn shown(tenant: &TenantId, hook: &Hook) -> Value {
    let settings = Settings::of(hook);
    json!({
        "lago_id": lago_id(&hook.id),
        "lago_organization_id": organization_id(tenant),
        "webhook_url": hook.url,
        "signature_algo": settings.signature_algo,
        "name": settings.name,
        "event_types": (!hook.events.is_empty()).then_some(&hook.events),
        "created_at": hook.created_at,
        "creto": { "id": hook.id, "state": hook.state },
    })
}

fn wanted(body: Value, before: Option<&Hook>) -> Result<EndpointInput, No> {
    let mut fields = Fields::of(body, ROOT)?;
    let mut settings = before.map(Settings::of).unwrap_or_default();
    let url = match before {
        Some(before) => fields.text("webhook_url").unwrap_or_else(|| before.url.clone()),
        None => fields.needed("webhook_url"),
    };
    match fields.text("signature_algo").as_deref() {
        None => {}
        Some("jwt") => settings.signature_algo = Algorithm::Jwt,
        Some("hmac") => settings.signature_algo = Algorithm::Hmac,
        Some(other) => fields.fault("signature_algo", INVALID, format!("`{other}` is neither `jwt` nor `hmac`")),
    }
    settings.name = fields.text("name").or(settings.name);
    let mut carried = Map::new();
    fields.carry("event_types", Form::Texts, &mut carried);
    let events = match carried.remove("event_types").and_then(|sent| serde_json::from_value::<Vec<String>>(sent).ok()) {
        // A star is Lago's word for all.
        Some(sent) if sent.iter().any(|word| word == "*") => Vec::new(),
        Some(sent) => {
            if let Some(other) = sent.iter().find(|word| !words().any(|known| known == *word)) {
                fields.fault("event_types", UNSUPPORTED, format!("`{other}` is never sent from here"));
            }
            sent
        }
        None => before.map(|before| before.events.clone()).unwrap_or_default(),
    };
    fields.done()?;
    Ok(EndpointInput { url, events, format: Some(FORMAT), settings: json!(settings) })
}

/// Refusals of webhooks in Lago's words.
fn refused(error: WebhookError) -> No {
    match &error {
        WebhookError::Outbound(_) => No::told(json!({ "webhook_url": ["url_invalid"] }), &error),
        WebhookError::BadEvent(_) => No::told(json!({ "event_types": [INVALID] }), &error),
        _ => creto_enablement_common::http::Problem::from(error).into(),
    }
}

fn unknown(named: &str) -> MeteringError {
    MeteringError::UnknownDefinition { kind: ROOT, code: named.chars().take(80).collect() }
}

/// The endpoint of this name, where it is one of Lago's.
async fn found(here: &HookEndpoints, tenant: &TenantId, named: &str) -> Result<Hook, No> {
    let id = own_id::<WebhookId>(WebhookId::PREFIX, named).ok_or_else(|| unknown(named))?;
    match here.webhooks.get(tenant, id).await {
        Ok(hook) if hook.format.as_deref() == Some(FORMAT) => Ok(hook),
        Ok(_) | Err(WebhookError::UnknownEndpoint(_)) => Err(unknown(named).into()),
        Err(error) => Err(refused(error)),
    }
}

type Here = State<HookEndpoints>;

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let tenant = caller.0.tenant();
    let all = here.webhooks.list(tenant).await.map_err(refused)?;
    let own: Vec<Hook> = all.into_iter().filter(|hook| hook.format.as_deref() == Some(FORMAT)).collect();
    let total = i64::try_from(own.len()).unwrap_or(i64::MAX);
    let (skip, take) = (usize::try_from(page.offset()).unwrap_or(usize::MAX), usize::try_from(page.limit()).unwrap_or(usize::MAX));
    let items: Vec<Hook> = own.into_iter().skip(skip).take(take).collect();
    Ok(Json(many("webhook_endpoints", &Listed::of(items, page, total), |hook| shown(tenant, hook))))
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let by = &caller.0.identity;
    let input = wanted(body, None)?;
    // What signs by it must be there before anything is sent.
    here.keys.public_pem(by).await?;
    let made = here.webhooks.create_as(by, input).await.map_err(refused)?;
    let mut document = shown(caller.0.tenant(), &made.endpoint);
    if let Some(Value::Object(ours)) = document.get_mut("creto") {
        ours.insert("secret".to_owned(), made.secret.into());
    }
    Ok(Json(one(ROOT, document)))
}

async fn get(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let tenant = caller.0.tenant();
    Ok(Json(one(ROOT, shown(tenant, &found(&here, tenant, &named).await?))))
}

async fn update(State(here): Here, caller: Caller, Path(named): Named, StrictJson(body): Body) -> Answer {
    let tenant = caller.0.tenant();
    let before = found(&here, tenant, &named).await?;
    let input = wanted(body, Some(&before))?;
    let after = here.webhooks.update(&caller.0.identity, before.id, input).await.map_err(refused)?;
    Ok(Json(one(ROOT, shown(tenant, &after))))
}

async fn delete(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let tenant = caller.0.tenant();
    let hook = found(&here, tenant, &named).await?;
    here.webhooks.remove(&caller.0.identity, hook.id).await.map_err(refused)?;
    Ok(Json(one(ROOT, shown(tenant, &hook))))
}

async fn json_public_key(State(here): Here, caller: Caller) -> Answer {
    let pem = here.keys.public_pem(&caller.0.identity).await?;
    Ok(Json(json!({ "webhook": { "public_key": STANDARD.encode(pem) } })))
}

async fn public_key(State(here): Here, caller: Caller) -> Result<Response, No> {
    let pem = here.keys.public_pem(&caller.0.identity).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], STANDARD.encode(pem)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_asks_for_words_that_are_sent() {
        let read = |sent: Value| wanted(json!({ ROOT: sent }), None);
        let input =
            read(json!({ "webhook_url": "https://a.example/", "event_types": ["invoice.created"], "signature_algo": "hmac" })).unwrap();
        assert_eq!((input.url.as_str(), input.events.len(), &input.settings["signature_algo"]), ("https://a.example/", 1, &json!("hmac")));
        assert!(read(json!({ "webhook_url": "https://a.example/", "event_types": ["*"] })).unwrap().events.is_empty());
        let details = |sent: Value| Value::from(read(sent).unwrap_err())["error_details"].clone();
        assert_eq!(
            details(json!({ "event_types": ["quote.created"], "signature_algo": "rot13" })),
            json!({ "webhook_url": ["value_is_mandatory"], "event_types": [UNSUPPORTED], "signature_algo": [INVALID] })
        );
    }
}
