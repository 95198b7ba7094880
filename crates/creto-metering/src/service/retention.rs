//! Events lose what they are not billed of, by age or because somebody is forgotten.
//!
//! What stays of an event is what its aggregates keep anyway: the number that was summed, the value that was counted, the groups. So usage,
//! bills, corrections and the replay that checks the books are the same before and after; the digest in the batch still proves the
//! event to whoever kept it, and its identifier stays used.
//!
//! INVARIANT: an event is erased only where what is left of it is read the same, and only in a period that nobody disputes any more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use creto_db::{DbError, Sealed};
use creto_kernel::id::AdmissionId;
use creto_kernel::{NhiId, TenantId, Timestamp};

use super::Meter;
use super::drafting::{Drafting, house_metric};
use crate::catalog::{CatalogReader, SubscriptionView};
use crate::core::recording::Share;
use crate::core::stripping;
use crate::core::zone::Zone;
use crate::error::MeteringError;
use crate::model::event::{Event, OWN_PREFIX};
use crate::model::retention::{ErasedEvents, Retention, RetentionState};
use crate::model::source::Source;
use crate::model::subscription::SubscriptionId;
use crate::store::events::{self, Record};
use crate::store::retention::{self as store, Received, Settled, Stripped};

/// Events looked at, and at most erased, in one commit.
const STEP_MAX: i64 = 1_000;
/// How long a pass that is over waits for the next.
const PASS_EVERY_MICROS: i64 = 6 * 3_600 * 1_000_000;
/// The database tables in which copies of what was erased stand.
const TABLES: &[&str] = &["meter_record", "gate_action"];
/// How often a step is tried again when somebody else was faster.
const TRIES_MAX: usize = 128;

/// Whose events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventsOf {
    /// The whole tenant's.
    Everybody,
    /// Those booked to this agent.
    Agent(NhiId),
    /// Those of a customer's subscriptions, by its external identifier.
    Customer(String),
}

impl Meter {
    /// How long a tenant keeps its events whole, and how far erasing came.
    pub async fn retention(&self, tenant: &TenantId) -> Result<RetentionState, MeteringError> {
        let kept = store::kept(&self.db, tenant).await?;
        Ok(RetentionState { retention: kept.setting, erased_to: kept.erased_to, erased: kept.erased })
    }

    /// Says how long a tenant keeps its events whole.
    pub async fn put_retention(&self, by: &NhiId, setting: Retention) -> Result<RetentionState, MeteringError> {
        let (tenant, setting) = (by.tenant(), setting.check()?);
        let said = serde_json::to_string(&setting).map_err(|e| DbError::Corrupt(e.to_string()))?;
        for _ in 0..TRIES_MAX {
            let kept = store::kept(&self.db, tenant).await?;
            let next = store::Kept { setting: setting.clone(), due_at: 0, revision: kept.revision + 1, ..kept };
            let leaf = self.leaf(by, "metering.put_retention", &format!("tenant:{tenant}"))?.fact("setting", &said);
            match self.db.commit(Sealed::new(leaf).step(store::put(tenant, &next)?)).await {
                Err(DbError::Conflict { code, .. }) if code == store::FASTER => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return self.retention(tenant).await,
            }
        }
        Err(contended())
    }

    /// Tenants that keep events whole for a time only.
    pub async fn tenants_with_retention(&self) -> Result<Vec<TenantId>, MeteringError> {
        Ok(store::tenants(&self.db).await?)
    }

    /// Whether a pass has anything to look at by now.
    pub async fn is_retention_due(&self, tenant: &TenantId) -> Result<bool, MeteringError> {
        let (kept, now) = (store::kept(&self.db, tenant).await?, self.now());
        let Some(before) = kept.setting.old_before(now).filter(|_| kept.due_at <= now.as_micros()) else { return Ok(false) };
        let next = store::received(&self.db, tenant, (kept.erased_to + 1, kept.erased_to + 1)).await?;
        let has_more = events::record(&self.db, tenant, kept.erased_to + 1).await?.is_some();
        Ok(has_more && next.last().is_some_and(|batch| batch.received_at < before))
    }

    /// Erases what is older than the tenant keeps it. Each step is one commit that can happen only once, so that a pass that was killed goes
    /// on where it stopped, and several at once erase the same.
    pub async fn pass_retention(&self, by: &NhiId) -> Result<ErasedEvents, MeteringError> {
        let tenant = by.tenant();
        let Some(before) = store::kept(&self.db, tenant).await?.setting.old_before(self.now()) else {
            return Ok(ErasedEvents::default());
        };
        let done = self.erase_events(by, &EventsOf::Everybody, before).await?;
        for _ in 0..TRIES_MAX {
            let kept = store::kept(&self.db, tenant).await?;
            let due_at = self.now().as_micros().saturating_add(PASS_EVERY_MICROS);
            let next = store::Kept { due_at, revision: kept.revision + 1, ..kept };
            let leaf = self
                .leaf(by, "metering.end_retention_pass", &format!("tenant:{tenant}"))?
                .fact("before", before)
                .fact("erased", done.erased)
                .fact("kept", done.kept);
            match self.db.commit(Sealed::new(leaf).step(store::put(tenant, &next)?)).await {
                Err(DbError::Conflict { code, .. }) if code == store::FASTER => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(done),
            }
        }
        Err(contended())
    }

    /// Erases what events of somebody, recorded before a moment, are not billed of. Those of periods that are not final and paid, and those
    /// on hold, are kept and counted.
    pub async fn erase_events(&self, by: &NhiId, whose: &EventsOf, before: Timestamp) -> Result<ErasedEvents, MeteringError> {
        let tenant = by.tenant();
        let (mut done, mut after) = (ErasedEvents::default(), store::kept(&self.db, tenant).await?.erased_to);
        let mut pass = Pass { meter: self, by, whose, before, sources: HashMap::new() };
        while let Some((last, step)) = pass.step(after).await? {
            (done.erased, done.kept, after) = (done.erased + step.erased, done.kept + step.kept, last);
        }
        if done.erased > 0 {
            self.db.scrub(TABLES).await?;
        }
        Ok(done)
    }
}

fn contended() -> MeteringError {
    MeteringError::Conflict { code: store::FASTER, message: "events are erased by many at once".to_owned() }
}

/// One way through the events.
struct Pass<'a> {
    meter: &'a Meter,
    by: &'a NhiId,
    whose: &'a EventsOf,
    before: Timestamp,
    /// By their numbers.
    sources: HashMap<i64, Source>,
}

impl Pass<'_> {
    /// The events after a place, in one commit: the last place looked at, and what came of them; nothing where there is no older one.
    async fn step(&mut self, after: i64) -> Result<Option<(i64, ErasedEvents)>, MeteringError> {
        let (meter, tenant) = (self.meter, self.by.tenant());
        let reader = meter.accounts.reader(tenant).await?;
        for _ in 0..TRIES_MAX {
            // INVARIANT: read before the events are. Whoever erases meanwhile makes it another revision, and this step is made again.
            let kept = store::kept(&meter.db, tenant).await?;
            let page = events::walk(&meter.db, tenant, after, STEP_MAX).await?;
            let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(None) };
            let batches = store::received(&meter.db, tenant, (first.seq, last.seq)).await?;
            if batches.iter().all(|batch| batch.received_at >= self.before) {
                return Ok(None);
            }
            let mut look = Look { reader: &reader, setting: &kept.setting, settled: HashMap::new(), drafting: Drafting::default() };
            let (mut rows, mut actions, mut left, mut erased_to) = (Vec::new(), Vec::new(), 0, kept.erased_to);
            for record in &page {
                let batch = batches.partition_point(|batch| batch.first <= record.seq).checked_sub(1).and_then(|at| batches.get(at));
                let Some(batch) = batch else { continue };
                let mut is_erased = record.erased_at.is_some();
                if !is_erased && batch.received_at < self.before && self.is_whose(record, &look).await? {
                    match self.stripped(record, batch, &mut look).await? {
                        Some(row) => {
                            actions.extend(batch.alone.clone());
                            rows.push(row);
                            is_erased = true;
                        }
                        None => left += 1,
                    }
                }
                if is_erased && record.seq == erased_to + 1 {
                    erased_to = record.seq;
                }
            }
            let done = ErasedEvents { erased: u64::try_from(rows.len()).unwrap_or(u64::MAX), kept: left };
            if rows.is_empty() && erased_to == kept.erased_to {
                return Ok(Some((last.seq, done)));
            }
            match self.commit(&kept, erased_to, &rows, actions).await {
                Err(MeteringError::Db(DbError::Conflict { code, .. })) if code == store::FASTER => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(Some((last.seq, done))),
            }
        }
        Err(contended())
    }

    async fn commit(&self, kept: &store::Kept, erased_to: i64, rows: &[Stripped], actions: Vec<String>) -> Result<(), MeteringError> {
        let (meter, tenant, now) = (self.meter, self.by.tenant(), self.meter.now());
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let next = store::Kept { erased_to, erased: kept.erased + count, revision: kept.revision + 1, ..kept.clone() };
        let place = |row: Option<&Stripped>| row.map_or(erased_to, |row| row.seq);
        let leaf = meter
            .leaf(self.by, "metering.erase_events", &format!("events:{}", place(rows.first())))?
            .fact("events", count)
            .fact("last", place(rows.last()))
            .fact("before", self.before);
        let admissions: Vec<AdmissionId> =
            actions.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(|_| DbError::Corrupt("an admission".to_owned()))?;
        let sealed = Sealed::new(leaf)
            .step(store::put(tenant, &next)?)
            .step(store::strip(tenant, now, rows))
            .steps(meter.gate.erasing_admissions(tenant, &admissions));
        meter.db.commit(sealed).await?;
        Ok(())
    }

    async fn is_whose(&mut self, record: &Record, look: &Look<'_>) -> Result<bool, MeteringError> {
        Ok(match self.whose {
            EventsOf::Everybody => true,
            EventsOf::Agent(agent) => self.source(record).await?.agent == *agent,
            EventsOf::Customer(customer) => look.view(record).await?.is_some_and(|view| view.customer.body.external_id == *customer),
        })
    }

    async fn source(&mut self, record: &Record) -> Result<Source, MeteringError> {
        if let Some(source) = self.sources.get(&record.source) {
            return Ok(source.clone());
        }
        let lost = || DbError::Corrupt(format!("the event at place {} has no source", record.seq));
        let source = events::source(&self.meter.db, self.by.tenant(), record.source).await?.ok_or_else(lost)?;
        self.sources.insert(record.source, source.clone());
        Ok(source)
    }

    /// What stays of an event, where it may be erased.
    async fn stripped(&mut self, record: &Record, batch: &Received, look: &mut Look<'_>) -> Result<Option<Stripped>, MeteringError> {
        let (tenant, event) = (self.by.tenant(), record.event()?);
        let view = look.view(record).await?;
        let customer = view.as_ref().map(|view| view.customer.body.external_id.as_str());
        if look.setting.holds(customer, &record.subscription) {
            return Ok(None);
        }
        let is_over = match &view {
            Some(view) => look.is_settled(&self.meter.db, tenant, view, record, batch).await?,
            // The house's own metrics are billed by nobody; their month is over when the next begins.
            None => month_end(record.occurred_at).max(batch.received_at) <= self.meter.now(),
        };
        if !is_over {
            return Ok(None);
        }
        let source = self.source(record).await?;
        let place = look.drafting.source(Source { accounts: Vec::new(), ..source });
        let whole = look.shares(tenant, record, event.clone(), place, view.as_ref())?;
        let left = stripping::strip(&event.fields, |fields| {
            let without = Event { fields: fields.clone(), ..event.clone() };
            match look.shares(tenant, record, without, place, view.as_ref()) {
                Ok(shares) => Ok(shares == whole),
                Err(error @ MeteringError::Db(_)) => Err(error),
                // It cannot be read without.
                Err(_) => Ok(false),
            }
        })?;
        let properties = serde_json::to_string(&left).map_err(|e| DbError::Corrupt(e.to_string()))?;
        // No sender can have chosen it.
        let transaction_id = format!("{OWN_PREFIX}erased:{}", record.seq);
        Ok(Some(Stripped { seq: record.seq, transaction_id, properties }))
    }
}

/// What a page of events is read with.
struct Look<'a> {
    reader: &'a CatalogReader,
    setting: &'a Retention,
    settled: HashMap<SubscriptionId, Vec<Settled>>,
    drafting: Drafting,
}

impl Look<'_> {
    /// The subscription of an event of a plan; none of the house's own metrics.
    async fn view(&self, record: &Record) -> Result<Option<Arc<SubscriptionView>>, MeteringError> {
        if record.terms.is_some() {
            return Ok(None);
        }
        let view = self.reader.subscription(&record.subscription, record.occurred_at).await?;
        view.ok_or_else(|| MeteringError::NotRunning { subscription: record.subscription.clone(), at: record.occurred_at }).map(Some)
    }

    async fn is_settled(
        &mut self,
        db: &creto_db::Db,
        tenant: &TenantId,
        view: &SubscriptionView,
        record: &Record,
        batch: &Received,
    ) -> Result<bool, MeteringError> {
        let id = view.subscription.id;
        let settled = match self.settled.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(store::settled(db, tenant, id).await?),
        };
        let at = record.occurred_at;
        // What changed after its period was billed is settled on a later invoice; that one is not looked for, so it stays.
        let changed_at = record.cancelled_at.unwrap_or(batch.received_at).max(batch.received_at);
        let covers = |period: &Settled| period.from <= at && at < period.to && changed_at < period.seen_to;
        Ok(settled.iter().any(covers))
    }

    /// What an event says to its aggregates.
    fn shares(
        &mut self,
        tenant: &TenantId,
        record: &Record,
        event: Event,
        source: usize,
        view: Option<&Arc<SubscriptionView>>,
    ) -> Result<Vec<Share>, MeteringError> {
        let lost = || DbError::Corrupt(format!("the event at place {} says not what it was read by", record.seq));
        let drafted = match (view, record.terms.as_deref().and_then(house_metric)) {
            (Some(view), _) => self.drafting.plan(tenant, 0, event, source, view),
            (None, Some(metric)) => self.drafting.house(tenant, 0, event, source, &metric),
            (None, None) => Err(lost().into()),
        };
        self.drafting.places.clear();
        let taken = self.drafting.events.drain(..).flat_map(|drafted| drafted.shares).collect();
        drafted.map(|()| taken)
    }
}

/// When the month of a moment is over, in UTC.
fn month_end(at: Timestamp) -> Timestamp {
    let zone = Zone::utc();
    let date = zone.day(at).date();
    crate::core::zone::Day::new(date.year(), date.month(), 1).map_or(Timestamp::MAX, |first| zone.start(first.plus_months(1)))
}
