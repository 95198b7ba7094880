//! Events kept aside: what nothing could price when it was sent.

use creto_kernel::{Digest, NhiId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::MeteringError;
use crate::model::account::AccountRef;
use crate::model::event::Event;
use crate::model::source::{Attribution, Source};

/// An event as it is kept, with all that its digest is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEvent {
    transaction_id: String,
    subscription: String,
    code: String,
    occurred_at: Timestamp,
    timed: bool,
    properties: Map<String, Value>,
    total_cents: Option<String>,
}

impl From<&Event> for KeptEvent {
    fn from(event: &Event) -> Self {
        Self {
            transaction_id: event.transaction_id.clone(),
            subscription: event.subscription.clone(),
            code: event.code.clone(),
            occurred_at: event.occurred_at,
            timed: event.timed,
            properties: event.fields.clone(),
            total_cents: event.total_cents.clone(),
        }
    }
}

impl KeptEvent {
    /// The event, as it was parsed.
    pub fn event(self) -> Result<Event, MeteringError> {
        let bad = |problem: String| MeteringError::BadEvent { field: "properties", problem };
        let bytes = creto_kernel::canonical::of_object(&self.properties).map_err(|e| bad(e.to_string()))?;
        let mut event = Event {
            transaction_id: self.transaction_id,
            subscription: self.subscription,
            code: self.code,
            occurred_at: self.occurred_at,
            timed: self.timed,
            properties: String::from_utf8(bytes).map_err(|e| bad(e.to_string()))?,
            fields: self.properties,
            total_cents: self.total_cents,
            digest: Digest::of(b""),
        };
        event.digest = event.digest_of_content()?;
        Ok(event)
    }
}

/// Whom a kept event will be booked to, and who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSource {
    chain: Digest,
    attribution: Attribution,
    /// Who used it.
    pub agent: NhiId,
    accounts: Vec<AccountRef>,
    /// Who sent it.
    pub collector: NhiId,
}

impl KeptSource {
    /// What is kept of a source.
    #[must_use]
    pub fn of(source: Source, collector: NhiId) -> Self {
        let Source { chain, attribution, agent, accounts } = source;
        Self { chain, attribution, agent, accounts, collector }
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { chain: self.chain, attribution: self.attribution, agent: self.agent.clone(), accounts: self.accounts.clone() }
    }

    /// The identities of the chain, the root first.
    pub fn path(&self) -> impl Iterator<Item = &NhiId> {
        self.accounts.iter().skip(1).map(|account| &account.identity)
    }
}

/// An event kept aside, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct QuarantinedEvent {
    /// Its place in the list: what a further page begins after.
    pub key: String,
    /// The sender's identifier.
    pub transaction_id: String,
    /// Whose usage it is said to be.
    pub external_subscription_id: String,
    /// The metric it names.
    pub code: String,
    /// When it happened.
    #[schema(value_type = String)]
    pub timestamp: Timestamp,
    /// What it says.
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
    /// When it was sent.
    #[schema(value_type = String)]
    pub received_at: Timestamp,
    /// The code of the error it would have been refused with.
    pub reason: String,
    /// The agent it is about.
    #[schema(value_type = String)]
    pub agent: NhiId,
    /// Who sent it.
    #[schema(value_type = String)]
    pub collector: NhiId,
}

impl QuarantinedEvent {
    /// What is shown of a kept event.
    #[must_use]
    pub fn of(key: Digest, event: KeptEvent, source: KeptSource, (received_at, reason): (Timestamp, String)) -> Self {
        Self {
            key: key.to_string(),
            transaction_id: event.transaction_id,
            external_subscription_id: event.subscription,
            code: event.code,
            timestamp: event.occurred_at,
            properties: event.properties,
            received_at,
            reason,
            agent: source.agent,
            collector: source.collector,
        }
    }
}
