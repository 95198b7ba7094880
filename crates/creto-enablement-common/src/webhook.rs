//! Webhooks out, after [Standard Webhooks](https://www.standardwebhooks.com): what any product tells whoever asked to be told.
//!
//! A product adds [`Webhooks::message`] to the commit that changes its state. After the commit the outbox hands it to [`Webhooks`], which
//! makes one delivery for each endpoint of the tenant that wants the type; [`Webhooks::run`] sends deliveries, again and again by the
//! specification's schedule, until the receiver answers 2xx or the schedule ends and the delivery is a dead letter, which an operator
//! may send again.
//!
//! INVARIANT: delivery is at least once. `webhook-id` is the outbox message's and stays through every attempt, so that a receiver can
//! tell a repetition; `webhook-timestamp` is that of the attempt.
//!
//! INVARIANT: secrets are sealed at rest and shown once, when they are made.

mod deliver;
mod error;
mod format;
pub mod http;
pub mod signature;
mod store;

use std::sync::Arc;
use std::time::Duration;

use creto_crypto::{KeyRing, Purpose, Secret};
use creto_db::{Db, Message, Sealed};
use creto_kernel::id::{LeafId, OutboxId};
use creto_kernel::{Clock, Leaf, NhiId, NhiKind, TenantId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use utoipa::ToSchema;

use crate::outbound::{Outbound, Target};

pub use error::WebhookError;
pub use format::{Format, FormatError, Formatted, Sending};
pub use signature::SigningSecret;
pub use store::MIGRATIONS;

creto_kernel::typed_ids! {
    /// One endpoint that is told of events.
    WebhookId = "wh";
}
creto_db::value_from_text!(WebhookId);

/// The outbox topic of events that endpoints may want.
pub const TOPIC: &str = "webhook.event";
/// Most endpoints of one tenant.
pub const ENDPOINTS_MAX: usize = 50;
/// Most event types one endpoint names.
pub const EVENTS_MAX: usize = 32;
/// Longest name of an event type.
const EVENT_BYTES_MAX: usize = 80;
/// How long the secret before a rotation signs beside the new one, where nobody says.
pub const OVERLAP_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Longest such time.
pub const OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether an endpoint is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It is.
    Active,
    /// It answered 410: it wants nothing any more.
    Gone,
}

/// Where events are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Endpoint {
    /// Which.
    #[schema(value_type = String)]
    pub id: WebhookId,
    /// Where to.
    pub url: String,
    /// Event types, or beginnings such as `oversight.`; empty is all.
    pub events: Vec<String>,
    /// The format of what it is told, where that is not Standard Webhooks'; its `events` are that format's words.
    pub format: Option<String>,
    /// What the format keeps with it.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// Whether it is served.
    pub state: EndpointState,
    /// Until when the secret before the last rotation signs too.
    #[schema(value_type = Option<String>)]
    pub old_secret_until: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// An endpoint to make, or what an endpoint becomes.
#[derive(Debug, Clone, Default)]
pub struct EndpointInput {
    /// Where to.
    pub url: String,
    /// Event types, or beginnings such as `oversight.`; empty is all.
    pub events: Vec<String>,
    /// The name of a format, where it is not Standard Webhooks'.
    pub format: Option<&'static str>,
    /// What the format keeps with it.
    pub settings: Value,
}

/// An endpoint with a secret that was just made: the only time it is shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WithSecret {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// `whsec_…`, for the receiver's configuration.
    pub secret: String,
}

/// One event on its way to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delivery {
    /// The message: `webhook-id`.
    pub message: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// How often it was sent.
    pub attempts: i64,
    /// When it is sent next, while pending.
    #[schema(value_type = String)]
    pub due: Timestamp,
    /// The status of the last answer.
    pub status: Option<i64>,
    /// Why the last attempt failed.
    pub problem: Option<String>,
}

/// What webhooks are built from.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// The database.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Seals secrets.
    pub ring: Arc<KeyRing>,
    /// Sends.
    pub outbound: Outbound,
    /// The formats that endpoints can ask for, beside Standard Webhooks.
    pub formats: Vec<Arc<dyn Format>>,
}

/// Endpoints and what is sent to them. Clones share everything.
#[derive(Debug, Clone)]
pub struct Webhooks(Arc<WebhookOptions>, Arc<Notify>);

impl Webhooks {
    /// Webhooks over their ports.
    #[must_use]
    pub fn new(options: WebhookOptions) -> Self {
        Self(Arc::new(options), Arc::default())
    }

    /// An event as a message for a commit: `{"type", "timestamp", "data"}`, as the specification advises. `data` goes to whoever the
    /// tenant's operators named: nothing secret belongs in it.
    #[must_use]
    pub fn message(tenant: &TenantId, kind: &str, now: Timestamp, data: &Value) -> Message {
        Self::message_as(tenant, kind, &json!({ "type": kind, "timestamp": now, "data": data }))
    }

    /// An event whose whole body is `payload`, for receivers that expect another format.
    #[must_use]
    pub fn message_as(tenant: &TenantId, kind: &str, payload: &Value) -> Message {
        let body = json!({ "tenant": tenant, "type": kind, "payload": payload.to_string() });
        Message { id: OutboxId::generate(), topic: TOPIC.to_owned(), body }
    }

    /// The endpoints of a tenant, oldest first.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<Endpoint>, WebhookError> {
        Ok(store::endpoints(&self.0.db, tenant).await?.into_iter().map(|stored| stored.endpoint).collect())
    }

    /// Makes an endpoint.
    ///
    /// # Errors
    /// `outbound.bad_address`, `outbound.forbidden`, `webhook.bad_event`, `webhook.too_many`.
    pub async fn create(&self, by: &NhiId, url: &str, events: &[String]) -> Result<WithSecret, WebhookError> {
        let input = EndpointInput { url: url.to_owned(), events: events.to_vec(), format: None, settings: Value::Object(Map::new()) };
        self.create_as(by, input).await
    }

    /// Makes an endpoint that is told in a format.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_as(&self, by: &NhiId, input: EndpointInput) -> Result<WithSecret, WebhookError> {
        let target = self.checked(&input)?;
        if store::endpoints(&self.0.db, by.tenant()).await?.len() >= ENDPOINTS_MAX {
            return Err(WebhookError::TooMany(ENDPOINTS_MAX));
        }
        let secret = SigningSecret::generate()?;
        let endpoint = Endpoint {
            id: WebhookId::generate(),
            url: target.to_string(),
            events: input.events,
            format: input.format.map(str::to_owned),
            settings: input.settings,
            state: EndpointState::Active,
            old_secret_until: None,
            created_at: self.0.clock.now(),
            created_by: by.to_string(),
        };
        let sealed = self.seal(by.tenant(), endpoint.id, &secret)?;
        let leaf =
            self.leaf(by, "webhook.create", endpoint.id, "done")?.fact("host", target.host()).fact("events", endpoint.events.join(" "));
        self.0.db.commit(Sealed::new(leaf).step(store::insert(by.tenant(), &endpoint, sealed))).await?;
        Ok(WithSecret { endpoint, secret: secret.to_text() })
    }

    /// Changes where an endpoint is and what it is told; it keeps its format and its secret, and is served again where it was gone.
    ///
    /// # Errors
    /// As [`Self::create`]; `webhook.unknown_endpoint`.
    pub async fn update(&self, by: &NhiId, id: WebhookId, input: EndpointInput) -> Result<Endpoint, WebhookError> {
        let target = self.checked(&input)?;
        let mut endpoint = self.get(by.tenant(), id).await?;
        (endpoint.url, endpoint.events, endpoint.settings) = (target.to_string(), input.events, input.settings);
        endpoint.state = EndpointState::Active;
        let leaf = self.leaf(by, "webhook.update", id, "done")?.fact("host", target.host()).fact("events", endpoint.events.join(" "));
        self.0.db.commit(Sealed::new(leaf).step(store::update(by.tenant(), &endpoint))).await?;
        Ok(endpoint)
    }

    /// One endpoint.
    ///
    /// # Errors
    /// `webhook.unknown_endpoint`.
    pub async fn get(&self, tenant: &TenantId, id: WebhookId) -> Result<Endpoint, WebhookError> {
        Ok(self.stored(tenant, id).await?.endpoint)
    }

    fn checked(&self, input: &EndpointInput) -> Result<Target, WebhookError> {
        let target: Target = input.url.parse()?;
        self.0.outbound.check(&target)?;
        if input.events.len() > EVENTS_MAX {
            return Err(WebhookError::BadEvent(format!("{} event types; at most {EVENTS_MAX} are kept", input.events.len())));
        }
        if let Some(bad) = input.events.iter().find(|event| !is_event(event)) {
            let shown: String = bad.chars().take(EVENT_BYTES_MAX).collect();
            return Err(WebhookError::BadEvent(format!(
                "`{shown}` is no event type: write one such as `oversight.decided`, or `oversight.`"
            )));
        }
        Ok(target)
    }

    fn format(&self, name: &str) -> Option<&dyn Format> {
        self.0.formats.iter().find(|format| format.name() == name).map(|format| &**format)
    }

    /// Gives an endpoint another secret; the one before signs too for `overlap`.
    ///
    /// # Errors
    /// `webhook.unknown_endpoint`.
    pub async fn rotate(&self, by: &NhiId, id: WebhookId, overlap: Duration) -> Result<WithSecret, WebhookError> {
        let secret = SigningSecret::generate()?;
        let sealed = self.seal(by.tenant(), id, &secret)?;
        let until = self.0.clock.now().saturating_add(overlap.min(OVERLAP_MAX));
        let leaf = self.leaf(by, "webhook.rotate", id, "done")?.fact("old_until", until);
        self.0.db.commit(Sealed::new(leaf).step(store::rotate(by.tenant(), id, sealed, until))).await?;
        Ok(WithSecret { endpoint: self.stored(by.tenant(), id).await?.endpoint, secret: secret.to_text() })
    }

    /// Removes an endpoint and what was still to be sent to it.
    ///
    /// # Errors
    /// `webhook.unknown_endpoint`.
    pub async fn remove(&self, by: &NhiId, id: WebhookId) -> Result<(), WebhookError> {
        let leaf = self.leaf(by, "webhook.remove", id, "done")?;
        let sealed = Sealed::new(leaf).step(store::remove(by.tenant(), id)).step(store::remove_deliveries(by.tenant(), id));
        self.0.db.commit(sealed).await?;
        Ok(())
    }

    /// What is being sent to an endpoint and what was, newest first.
    ///
    /// # Errors
    /// `webhook.unknown_endpoint`.
    pub async fn deliveries(&self, tenant: &TenantId, id: WebhookId) -> Result<Vec<Delivery>, WebhookError> {
        self.stored(tenant, id).await?;
        Ok(store::deliveries(&self.0.db, tenant, id).await?)
    }

    /// Sends a delivery again from the start of its schedule, whatever came of it before.
    ///
    /// # Errors
    /// `webhook.unknown_delivery`.
    pub async fn replay(&self, by: &NhiId, id: WebhookId, message: OutboxId) -> Result<(), WebhookError> {
        let leaf = self.leaf(by, "webhook.replay", id, "done")?.fact("message", message);
        self.0.db.commit(Sealed::new(leaf).step(store::replay(by.tenant(), id, message, self.0.clock.now()))).await?;
        Ok(())
    }

    /// Sends an event of type `webhook.test` to one endpoint, whatever types it asked for.
    ///
    /// # Errors
    /// `webhook.unknown_endpoint`.
    pub async fn test(&self, by: &NhiId, id: WebhookId) -> Result<OutboxId, WebhookError> {
        self.stored(by.tenant(), id).await?;
        let (now, message) = (self.0.clock.now(), OutboxId::generate());
        let body = json!({ "type": "webhook.test", "timestamp": now, "data": { "endpoint": id } }).to_string();
        let leaf = self.leaf(by, "webhook.test", id, "done")?.fact("message", message);
        let delivery = store::NewDelivery { tenant: by.tenant(), endpoint: id, message, kind: "webhook.test", body: &body, now };
        self.0.db.commit(Sealed::new(leaf).step(delivery.insert())).await?;
        Ok(message)
    }

    async fn stored(&self, tenant: &TenantId, id: WebhookId) -> Result<store::Stored, WebhookError> {
        let found = store::endpoints(&self.0.db, tenant).await?.into_iter().find(|stored| stored.endpoint.id == id);
        found.ok_or_else(|| WebhookError::UnknownEndpoint(id.to_string()))
    }

    fn seal(&self, tenant: &TenantId, id: WebhookId, secret: &SigningSecret) -> Result<Vec<u8>, WebhookError> {
        Ok(self.0.ring.seal(Purpose::Credential, associated(tenant, id).as_bytes(), secret.expose())?)
    }

    fn unseal(&self, tenant: &TenantId, id: WebhookId, sealed: &[u8]) -> Result<SigningSecret, WebhookError> {
        let bytes: Secret = self.0.ring.unseal(Purpose::Credential, associated(tenant, id).as_bytes(), sealed)?;
        Ok(SigningSecret::of(bytes))
    }

    fn leaf(&self, by: &NhiId, action: &str, id: WebhookId, decision: &str) -> Result<Leaf, WebhookError> {
        let name = |e: creto_kernel::action::NameError| WebhookError::Stored(e.to_string());
        let (action, resource) = (action.parse().map_err(name)?, format!("webhook:{id}").parse().map_err(name)?);
        Ok(Leaf::event(LeafId::generate(), self.0.clock.now(), by.clone(), action, resource, decision))
    }
}

/// What a sealed secret is bound to: one that is moved to another row does not open.
fn associated(tenant: &TenantId, id: WebhookId) -> String {
    format!("creto/webhook/v1/{tenant}/{id}")
}

fn is_event(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= EVENT_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_'))
}

/// Whether an endpoint that asked for `wanted` is told of `kind`.
fn wants(wanted: &[String], kind: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|want| want == kind || (want.ends_with('.') && kind.starts_with(want.as_str())))
}

/// The service of a tenant on whose behalf deliveries are given up.
fn service(domain_of: &str, tenant: &TenantId) -> Option<NhiId> {
    let creator: NhiId = domain_of.parse().ok()?;
    NhiId::new(creator.trust_domain(), tenant, NhiKind::Service, "creto").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_told_what_it_asked_for() {
        let wanted = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        for (words, kind, told) in [
            (&[] as &[&str], "oversight.decided", true),
            (&["oversight."], "oversight.decided", true),
            (&["oversight.decided"], "oversight.decided", true),
            (&["oversight"], "oversight.decided", false),
            (&["oversight.decided"], "oversight.decided_late", false),
            (&["metering."], "oversight.decided", false),
        ] {
            assert_eq!(wants(&wanted(words), kind), told, "{words:?} {kind}");
        }
        assert!(is_event("oversight.") && is_event("a.b_c") && !is_event("") && !is_event("A") && !is_event("a b") && !is_event(".a"));
    }
}
