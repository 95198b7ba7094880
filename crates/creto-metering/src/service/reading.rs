//! Events as they are recorded, and the proof that one was.

use creto_kernel::{Digest, Micros, NhiId, TenantId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Meter;
use crate::core::batch_tree;
use crate::error::MeteringError;
use crate::model::event;
use crate::model::page::{Listed, Page};
use crate::model::source::Attribution;
use crate::store::events::{self, EventFilter, Placed, Record};

/// Most events one listing answers.
const EVENTS_MAX: usize = 1_000;

/// An event as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RecordedEvent {
    /// Its place in the order of the tenant's events.
    pub seq: i64,
    /// The sender's identifier.
    pub transaction_id: String,
    /// Whose usage.
    pub external_subscription_id: String,
    /// The metric.
    pub code: String,
    /// When it happened.
    #[schema(value_type = String)]
    pub timestamp: Timestamp,
    /// What happened.
    #[schema(value_type = Object)]
    pub properties: Map<String, Value>,
    /// What it said it costs, in cents.
    pub precise_total_amount_cents: Option<String>,
    /// When it was received.
    #[schema(value_type = String)]
    pub received_at: Timestamp,
    /// Who used it, as a SPIFFE ID.
    #[schema(value_type = String)]
    pub agent: NhiId,
    /// What says so.
    pub attribution: Attribution,
    /// The digest of the chain it is booked to.
    #[schema(value_type = String)]
    pub chain: Digest,
    /// Who sent it.
    #[schema(value_type = String)]
    pub collector: NhiId,
    /// The admission that recorded it.
    pub admission: String,
    /// What it cost.
    #[schema(value_type = String)]
    pub cost: Micros,
    /// When it was cancelled.
    #[schema(value_type = Option<String>)]
    pub cancelled_at: Option<Timestamp>,
    /// When what it was not billed of was erased: its identifier, and the properties that nothing is read from.
    #[schema(value_type = Option<String>)]
    pub erased_at: Option<Timestamp>,
    /// The digest of the normalised event.
    #[schema(value_type = String)]
    pub digest: Digest,
}

/// The proof that an event is in the batch whose root the audit leaf of its admission names as `events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventProof {
    /// The digest of the normalised event; the tree's leaf is the RFC 6962 hash of its 32 bytes.
    #[schema(value_type = String)]
    pub event: Digest,
    /// Its place in the batch, from 0.
    pub index: u64,
    /// How many events the batch has.
    pub size: u64,
    /// Hashes from the leaf's side to the root (RFC 6962 section 2.1.1).
    #[schema(value_type = Vec<String>)]
    pub proof: Vec<Digest>,
    /// The root.
    #[schema(value_type = String)]
    pub root: Digest,
    /// The admission whose audit leaf holds the root.
    pub admission: String,
}

impl Meter {
    /// One event by the sender's identifier.
    pub async fn event(&self, tenant: &TenantId, subscription: &str, transaction_id: &str) -> Result<RecordedEvent, MeteringError> {
        let (record, batch) = self.found(tenant, subscription, transaction_id).await?;
        self.shown(tenant, record, &batch).await
    }

    /// Events of a subscription and a metric from a moment until before another, in the order they were recorded, after the place
    /// `after`; at most [`EVENTS_MAX`].
    pub async fn events(
        &self,
        tenant: &TenantId,
        of: (&str, &str),
        between: (Timestamp, Timestamp),
        after: i64,
    ) -> Result<Vec<RecordedEvent>, MeteringError> {
        let limit = i64::try_from(EVENTS_MAX).unwrap_or(i64::MAX);
        let mut shown = Vec::new();
        for record in events::between(&self.db, tenant, of, between, after, limit).await? {
            let batch = self.batch(tenant, record.seq).await?;
            shown.push(self.shown(tenant, record, &batch).await?);
        }
        Ok(shown)
    }

    /// A page of a subscription's events, of all its metrics or of one, newest first; of all events where no subscription is named.
    pub(crate) async fn event_page(
        &self,
        tenant: &TenantId,
        of: Option<&EventFilter>,
        page: Page,
    ) -> Result<Listed<RecordedEvent>, MeteringError> {
        let found = match of {
            Some(filter) => events::page(&self.db, tenant, filter, page).await?,
            None => events::page_of_all(&self.db, tenant, page).await?,
        };
        let mut shown = Vec::with_capacity(found.items.len());
        for record in &found.items {
            let batch = self.batch(tenant, record.seq).await?;
            shown.push(self.shown(tenant, record.clone(), &batch).await?);
        }
        Ok(found.with(shown))
    }

    /// The proof that an event was recorded.
    pub async fn event_proof(&self, tenant: &TenantId, subscription: &str, transaction_id: &str) -> Result<EventProof, MeteringError> {
        let (record, batch) = self.found(tenant, subscription, transaction_id).await?;
        let unknown = || MeteringError::UnknownEvent(transaction_id.to_owned());
        let index = u64::try_from(record.seq - batch.first).map_err(|_| unknown())?;
        Ok(EventProof {
            event: batch.digest(record.seq).ok_or_else(unknown)?,
            index,
            size: u64::try_from(batch.digests.len()).map_err(|_| unknown())?,
            proof: batch_tree::proof(&batch.digests, index).ok_or_else(unknown)?,
            root: batch.root,
            admission: batch.admission.to_string(),
        })
    }

    async fn found(&self, tenant: &TenantId, subscription: &str, transaction_id: &str) -> Result<(Record, Placed), MeteringError> {
        let unknown = || MeteringError::UnknownEvent(transaction_id.to_owned());
        let key = event::used_key(tenant, subscription, transaction_id);
        let seq = events::place(&self.db, tenant, &key).await?.ok_or_else(unknown)?;
        let record = events::record(&self.db, tenant, seq).await?.ok_or_else(unknown)?;
        let batch = self.batch(tenant, seq).await?;
        Ok((record, batch))
    }

    async fn batch(&self, tenant: &TenantId, seq: i64) -> Result<Placed, MeteringError> {
        let batch = events::batch_of(&self.db, tenant, seq).await?;
        batch.ok_or_else(|| creto_db::DbError::Corrupt(format!("the event at place {seq} has no batch")).into())
    }

    async fn shown(&self, tenant: &TenantId, record: Record, batch: &Placed) -> Result<RecordedEvent, MeteringError> {
        let corrupt = |what: &str| MeteringError::Db(creto_db::DbError::Corrupt(format!("the event at place {}: {what}", record.seq)));
        let source = events::source(&self.db, tenant, record.source).await?.ok_or_else(|| corrupt("it has no source"))?;
        let digest = batch.digest(record.seq).ok_or_else(|| corrupt("it has no digest"))?;
        Ok(RecordedEvent {
            seq: record.seq,
            properties: serde_json::from_str(&record.properties).map_err(|_| corrupt("its properties"))?,
            transaction_id: record.transaction_id,
            external_subscription_id: record.subscription,
            code: record.code,
            timestamp: record.occurred_at,
            precise_total_amount_cents: record.total_cents,
            received_at: batch.received_at,
            agent: source.agent,
            attribution: source.attribution,
            chain: source.chain,
            collector: batch.collector.clone(),
            admission: batch.admission.to_string(),
            cost: record.cost,
            cancelled_at: record.cancelled_at,
            erased_at: record.erased_at,
            digest,
        })
    }
}
