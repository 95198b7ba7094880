//! Events taken back: cancelled, or amended by another one. The identifier stays used for ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use creto_db::{Deciding, Sealed};
use creto_enablement_common::gate::Acting;
use creto_kernel::id::AdmissionId;
use creto_kernel::{Micros, NhiId, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::drafting::{Drafting, house_metric};
use super::{Meter, Receipt, Taking};
use crate::catalog::{CatalogReader, SubscriptionView};
use crate::error::MeteringError;
use crate::model::event::{self, EventInput};
use crate::model::metric::Metric;
use crate::store::cancelling::{self, Cancelling, GivenBack};
use crate::store::events::{self, Record};

/// How often a cancellation is tried again because the catalog changed meanwhile.
const TRIES_MAX: u32 = 8;

/// What cancelling an event answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cancelled {
    /// The sender's identifier. It stays used.
    pub transaction_id: String,
    /// What is given back to the accounts of the chain it was booked to: at most what it cost.
    #[schema(value_type = String)]
    pub given_back: Micros,
}

/// How a recorded event is read again.
#[derive(Clone, Debug)]
pub(crate) enum ReadBy {
    /// A metric of the house.
    House(Metric),
    /// A subscription of the catalog.
    Plan(Arc<SubscriptionView>),
}

impl ReadBy {
    async fn of(reader: &CatalogReader, record: &Record) -> Result<Self, MeteringError> {
        if let Some(metric) = record.terms.as_deref().and_then(house_metric) {
            return Ok(Self::House(metric));
        }
        let view = reader.subscription(&record.subscription, record.occurred_at).await?;
        let lost = || MeteringError::NotRunning { subscription: record.subscription.clone(), at: record.occurred_at };
        Ok(Self::Plan(view.ok_or_else(lost)?))
    }

    /// Drafts a record that this reads; others, of the same name, are left out.
    pub(crate) fn draft(&self, tenant: &TenantId, drafting: &mut Drafting, record: &Record, source: usize) -> Result<(), MeteringError> {
        match (self, record.terms.as_deref().and_then(house_metric)) {
            (Self::House(metric), Some(words)) if *metric == words => drafting.house(tenant, 0, record.event()?, source, metric),
            (Self::Plan(view), None) if view.covers(record.occurred_at) => drafting.plan(tenant, 0, record.event()?, source, view),
            _ => Ok(()),
        }
    }
}

impl Meter {
    /// Cancels an event: it no longer counts, what it cost is given back as far as its charge costs less without it, and its identifier
    /// stays used.
    pub async fn cancel(&self, by: &NhiId, subscription: &str, transaction_id: &str) -> Result<Cancelled, MeteringError> {
        for _ in 0..TRIES_MAX {
            let given = GivenBack::default();
            let step = self.cancelling(by, subscription, transaction_id, given.clone()).await?;
            let key = event::used_key(by.tenant(), subscription, transaction_id);
            let leaf = self.leaf(by, "metering.cancel_event", &format!("event:{key}"))?;
            match self.db.commit(Sealed::new(leaf).step(Deciding(step)).late(given.lately())).await {
                Ok(_) => return Ok(Cancelled { transaction_id: transaction_id.to_owned(), given_back: given.amount() }),
                Err(error) => self.cancel_failed(error, transaction_id)?,
            }
        }
        Err(MeteringError::Db(creto_db::DbError::Busy("the catalog kept changing".to_owned())))
    }

    /// Cancels an event and records another one in its place, under another identifier, in one commit.
    pub async fn amend(
        &self,
        by: &NhiId,
        acting: impl Into<Acting<'_>>,
        (subscription, transaction_id): (&str, &str),
        instead: EventInput,
    ) -> Result<Receipt, MeteringError> {
        if instead.transaction_id == transaction_id {
            let problem = "is the one of the amended event: a new event needs a new one".to_owned();
            return Err(MeteringError::BadEvent { field: "transaction_id", problem });
        }
        let taking = Taking { trusted: true, all_or_none: true };
        let amended = (by.clone(), subscription.to_owned(), transaction_id.to_owned());
        self.ingest_instead(acting, taking, instead, amended).await
    }

    fn cancel_failed(&self, error: creto_db::DbError, transaction_id: &str) -> Result<(), MeteringError> {
        match error {
            creto_db::DbError::Conflict { code, .. } if code == cancelling::CANCELLED => {
                Err(MeteringError::AlreadyCancelled(transaction_id.to_owned()))
            }
            creto_db::DbError::Conflict { code, .. } if code == crate::store::recording::CATALOG_CHANGED => Ok(()),
            other => Err(other.into()),
        }
    }

    /// The step that cancels an event.
    pub(super) async fn cancelling(
        &self,
        by: &NhiId,
        subscription: &str,
        transaction_id: &str,
        given: GivenBack,
    ) -> Result<Cancelling, MeteringError> {
        let tenant = by.tenant();
        let unknown = || MeteringError::UnknownEvent(transaction_id.to_owned());
        let key = event::used_key(tenant, subscription, transaction_id);
        let seq = events::place(&self.db, tenant, &key).await?.ok_or_else(unknown)?;
        let record = events::record(&self.db, tenant, seq).await?.ok_or_else(unknown)?;
        if record.cancelled_at.is_some() {
            return Err(MeteringError::AlreadyCancelled(transaction_id.to_owned()));
        }
        let source = events::source(&self.db, tenant, record.source).await?.ok_or_else(unknown)?;
        let reader = self.accounts.reader(tenant).await?;
        let read_by = ReadBy::of(&reader, &record).await?;
        let mut drafting = Drafting::default();
        let place = drafting.source(source.clone());
        read_by.draft(tenant, &mut drafting, &record, place)?;
        let drafted = drafting.events.pop().ok_or_else(unknown)?;
        let (slots, marks) = (drafting.slots, drafting.marks);
        // Of a level that is carried over all events count; else those of the periods the event is in.
        let ever = slots.iter().any(|slot| slot.terms.metric.recurring);
        let window = if ever {
            (first_moment(), Timestamp::MAX)
        } else {
            let bounds =
                |of: fn(&crate::core::charging::Terms) -> Timestamp| slots.iter().map(|slot| of(&slot.terms)).collect::<BTreeSet<_>>();
            let (from, to) = (bounds(|terms| terms.from), bounds(|terms| terms.to));
            (from.first().copied().unwrap_or(Timestamp::EPOCH), to.last().copied().unwrap_or(Timestamp::MAX))
        };
        Ok(Cancelling {
            tenant: tenant.clone(),
            admission: AdmissionId::generate(),
            by: by.clone(),
            now: reader.time(self.clock.now()),
            epoch: reader.epoch(),
            record,
            source,
            read_by,
            drafted,
            slots,
            window,
            marks,
            given,
        })
    }
}

/// The first moment there is.
fn first_moment() -> Timestamp {
    "0000-01-01T00:00:00Z".parse().unwrap_or(Timestamp::EPOCH)
}
