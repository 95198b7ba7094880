//! Events that nothing can price yet are refused; a tenant that asks for it has them kept aside instead, until an operator replays or
//! discards them. What is kept aside is not recorded: it counts in no usage, costs nothing, and is answered as such.

use std::collections::BTreeMap;
use std::sync::Arc;

use creto_db::{DbError, Deciding, Sealed};
use creto_enablement_common::gate::Acting;
use creto_kernel::id::AdmissionId;
use creto_kernel::{Coded as _, Digest, Micros, NhiId, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::intake::{refused, request_for, said_by_draft};
use super::{Meter, Outcome};
use crate::core::batch_tree;
use crate::core::recording::Fate as Drawn;
use crate::core::reporting::Bound;
use crate::error::MeteringError;
use crate::model::event::{self, Event};
use crate::model::quarantine::{KeptEvent, KeptSource, QuarantinedEvent};
use crate::model::source::Source;
use crate::service::drafting::Drafting;
use crate::store::quarantine::{self as store, Fate, Keep, Kept, Told};
use crate::store::recording;
use crate::store::{events, reporters};

/// Most events of one page, and of one replay.
const PAGE_MAX: usize = 100;

/// An event that was refused for what may be there later.
pub(super) struct Aside {
    /// Its place among those that were sent.
    pub(super) place: usize,
    pub(super) event: Arc<Event>,
    pub(super) source: Source,
    /// Why it cannot be recorded.
    pub(super) why: MeteringError,
}

/// What became of a kept event that was replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Replayed {
    /// The sender's identifier.
    pub transaction_id: String,
    /// Whose usage.
    pub external_subscription_id: String,
    /// `recorded`; `duplicate` where the same event had been recorded meanwhile; `kept` where it still cannot be.
    pub status: &'static str,
    /// What it cost.
    #[schema(value_type = Option<String>)]
    pub cost: Option<Micros>,
    /// Why it is still kept: the code of the error.
    pub code: Option<&'static str>,
    /// Why, in words.
    pub detail: Option<String>,
}

/// Whether this refuses an event for what may be there later.
pub(super) const fn is_for(error: &MeteringError) -> bool {
    matches!(
        error,
        MeteringError::UnknownMetric(_)
            | MeteringError::UnknownSubscription(_)
            | MeteringError::NotCharged { .. }
            | MeteringError::NotRunning { .. }
    )
}

impl Meter {
    /// Says whether a tenant keeps events that nothing can price yet.
    pub async fn put_quarantine(&self, by: &NhiId, keeps: bool) -> Result<(), MeteringError> {
        let leaf = self.leaf(by, "metering.put_quarantine", "quarantine:events")?.fact("keeps", keeps);
        self.db.commit(Sealed::new(leaf).step(store::put_keeps(by.tenant(), keeps))).await?;
        Ok(())
    }

    /// Whether a tenant keeps events that nothing can price yet.
    pub async fn keeps_quarantine(&self, tenant: &TenantId) -> Result<bool, MeteringError> {
        Ok(store::keeps(&self.db, tenant).await?)
    }

    /// Kept events in the order of their keys, after `after`.
    pub async fn quarantined(&self, tenant: &TenantId, after: Option<Digest>) -> Result<Vec<QuarantinedEvent>, MeteringError> {
        let kept = store::list(&self.db, tenant, after, PAGE_MAX as i64).await?;
        Ok(kept.into_iter().map(|kept| QuarantinedEvent::of(kept.key, kept.event, kept.source, (kept.received_at, kept.reason))).collect())
    }

    /// Lets go of a kept event without recording it.
    pub async fn discard_quarantined(&self, by: &NhiId, subscription: &str, transaction_id: &str) -> Result<(), MeteringError> {
        let key = event::used_key(by.tenant(), subscription, transaction_id);
        let leaf = self.leaf(by, "metering.discard_event", &format!("event:{key}"))?;
        match self.db.commit(Sealed::new(leaf).step(store::remove(by.tenant(), &key))).await {
            Err(DbError::Conflict { .. }) => Err(MeteringError::UnknownEvent(transaction_id.to_owned())),
            done => done.map(|_| ()).map_err(MeteringError::from),
        }
    }

    /// Records kept events that can be priced by now, as they would have been: a page of them after `after`. Answers each, and where the
    /// next page begins. They are booked to whom they were sent for, within the ceilings.
    pub async fn replay_quarantined(&self, by: &NhiId, after: Option<Digest>) -> Result<(Vec<Replayed>, Option<Digest>), MeteringError> {
        let page = store::list(&self.db, by.tenant(), after, PAGE_MAX as i64).await?;
        let next = page.last().filter(|_| page.len() == PAGE_MAX).map(|kept| kept.key);
        let mut replayed = Vec::with_capacity(page.len());
        for kept in page {
            let event = kept.event.clone().event()?;
            let answer = |status, cost| Replayed {
                transaction_id: event.transaction_id.clone(),
                external_subscription_id: event.subscription.clone(),
                status,
                cost,
                code: None,
                detail: None,
            };
            replayed.push(match self.replay_one(by, &kept, event.clone()).await {
                Ok(Outcome::Recorded { cost, .. }) => answer("recorded", Some(cost)),
                Ok(Outcome::Duplicate { cost, .. }) => answer("duplicate", Some(cost)),
                Err(error @ MeteringError::Db(_)) => return Err(error),
                Ok(Outcome::Refused(error) | Outcome::Quarantined(error)) | Err(error) => {
                    Replayed { code: Some(error.code().as_str()), detail: Some(error.to_string()), ..answer("kept", None) }
                }
            });
        }
        Ok((replayed, next))
    }

    async fn replay_one(&self, by: &NhiId, kept: &Kept, event: Event) -> Result<Outcome, MeteringError> {
        let tenant = by.tenant();
        let event = &Arc::new(event);
        self.redrafting(self.accounts.reader(tenant).await?, move |reader| async move {
            let mut drafting = Drafting::default();
            let source = drafting.source(kept.source.source());
            match reader.subscription(&event.subscription, event.occurred_at).await? {
                Some(view) => {
                    if view.apart {
                        self.accounts.check_currency(tenant, &kept.source.source().accounts, view.currency, false).await?;
                    }
                    drafting.plan(tenant, 0, Arc::clone(event), source, &view)?;
                }
                None if !reader.history(&event.subscription).await?.is_empty() => {
                    return Err(MeteringError::NotRunning { subscription: event.subscription.clone(), at: event.occurred_at });
                }
                None => {
                    self.check_house(tenant, event, &kept.source).await?;
                    drafting.house(tenant, 0, Arc::clone(event), source, &self.accounts.metric(tenant, &event.code).await?)?;
                }
            }
            let (admission, told) = (AdmissionId::generate(), recording::Told::default());
            let draft = drafting.draft(&kept.source.collector, admission, reader.epoch(), reader.time(self.clock.now()), &told);
            let leaf = self.leaf(by, "metering.replay_event", &format!("event:{}", kept.key))?.fact("admission", admission);
            let sealed = Sealed::new(leaf).step(Deciding(draft)).step(store::remove(tenant, &kept.key)).late(told.lately());
            match (self.db.commit(sealed).await, told.fates().pop()) {
                (Ok(_), Some(Drawn::Recorded { seq, cost })) => Ok(Outcome::Recorded { seq, cost }),
                (Err(error), _) if error.code() == recording::CATALOG_CHANGED => Err(error.into()),
                (Err(DbError::Conflict { code, .. }), Some(Drawn::Used { seq })) if said_by_draft(code) => {
                    self.used_meanwhile(by, kept, event, seq).await
                }
                (Err(DbError::Conflict { code, .. }), Some(fate)) if said_by_draft(code) => {
                    Ok(Outcome::Refused(refused(fate, || event.transaction_id.clone())))
                }
                (Err(error), _) => Err(error.into()),
                (Ok(_), _) => Err(MeteringError::Db(DbError::Corrupt("a replayed event was not recorded".to_owned()))),
            }
        })
        .await
    }

    /// The same event was recorded meanwhile, and is kept no longer; or another one was, and then it stays.
    async fn used_meanwhile(&self, by: &NhiId, kept: &Kept, event: &Event, seq: i64) -> Result<Outcome, MeteringError> {
        let tenant = by.tenant();
        let lost = || MeteringError::Db(DbError::Corrupt(format!("the event at place {seq} has no batch")));
        let batch = events::batch_of(&self.db, tenant, seq).await?.ok_or_else(lost)?;
        let recorded = batch.digest(seq).ok_or_else(lost)?;
        if recorded != kept.digest {
            let transaction = event.transaction_id.clone();
            return Ok(Outcome::Refused(MeteringError::DuplicateConflict { transaction, recorded, sent: kept.digest }));
        }
        self.discard_quarantined(by, &event.subscription, &event.transaction_id).await?;
        let cost = events::record(&self.db, tenant, seq).await?.map_or(Micros::ZERO, |record| record.cost);
        Ok(Outcome::Duplicate { seq, cost, admission: batch.admission })
    }

    /// A subscription of the house is somebody's own name, or has reporters.
    async fn check_house(&self, tenant: &TenantId, event: &Event, source: &KeptSource) -> Result<(), MeteringError> {
        let listed = reporters::of(&self.db, tenant, &event.subscription).await?;
        let bound = Bound { subscription: &event.subscription, customer: None, reporters: &listed };
        if listed.is_empty() && !bound.admits_path(source.path()) {
            return Err(MeteringError::UnknownSubscription(event.subscription.clone()));
        }
        Ok(())
    }

    /// Keeps events aside where the tenant wants that, and else refuses them for what they were refused for.
    pub(super) async fn keep_aside(
        &self,
        acting: Acting<'_>,
        aside: Vec<Aside>,
        now: Timestamp,
    ) -> Result<Vec<(usize, Outcome)>, MeteringError> {
        let tenant = acting.chain.tenant();
        if aside.is_empty() || !store::keeps(&self.db, tenant).await? {
            return Ok(aside.into_iter().map(|aside| (aside.place, Outcome::Refused(aside.why))).collect());
        }
        let mut outcomes = Vec::with_capacity(aside.len());
        let mut asked: BTreeMap<String, Option<MeteringError>> = BTreeMap::new();
        let mut allowed = Vec::new();
        for aside in aside {
            // Who may not report at all does not fill the quarantine either.
            if !asked.contains_key(&aside.event.code) {
                let said = match request_for(acting, &aside.event.code) {
                    Ok(request) => self.gate.permits(&request).await.err().map(MeteringError::Refused),
                    Err(error) => Some(error),
                };
                asked.insert(aside.event.code.clone(), said);
            }
            match asked.get(&aside.event.code).cloned().flatten() {
                Some(refused) => outcomes.push((aside.place, Outcome::Refused(refused))),
                None => allowed.push(aside),
            }
        }
        if allowed.is_empty() {
            return Ok(outcomes);
        }
        let fates = self.commit_aside(acting.chain.leaf(), &allowed, now).await?;
        outcomes.extend(allowed.into_iter().zip(fates).map(|(aside, fate)| {
            let outcome = match fate {
                Fate::Kept => Outcome::Quarantined(aside.why),
                Fate::Refused => Outcome::Refused(aside.why),
                Fate::Other(recorded) => Outcome::Refused(MeteringError::DuplicateConflict {
                    transaction: aside.event.transaction_id.clone(),
                    recorded,
                    sent: aside.event.digest,
                }),
            };
            (aside.place, outcome)
        }));
        Ok(outcomes)
    }

    async fn commit_aside(&self, collector: &NhiId, aside: &[Aside], now: Timestamp) -> Result<Vec<Fate>, MeteringError> {
        let tenant = collector.tenant();
        let keep = |aside: &Aside| Kept {
            key: event::used_key(tenant, &aside.event.subscription, &aside.event.transaction_id),
            received_at: now,
            reason: aside.why.code().to_string(),
            digest: aside.event.digest,
            event: KeptEvent::from(&*aside.event),
            source: KeptSource::of(aside.source.clone(), collector.clone()),
            code: aside.event.code.clone(),
        };
        let digests: Vec<Digest> = aside.iter().map(|aside| aside.event.digest).collect();
        let told = Told::default();
        let step = Keep { tenant: tenant.clone(), events: aside.iter().map(keep).collect(), told: told.clone() };
        let leaf = self.leaf(collector, "metering.quarantine_events", "quarantine:events")?.digest("offered", batch_tree::root(&digests));
        match self.db.commit(Sealed::new(leaf).step(Deciding(step)).late(told.lately())).await {
            Err(DbError::Conflict { code, .. }) if code == recording::DUPLICATE => Ok(told.fates()),
            done => done.map(|_| told.fates()).map_err(MeteringError::from),
        }
    }
}
