//! All events once more: the aggregates they give must be those that are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use creto_kernel::{Micros, TenantId};

use super::Meter;
use super::drafting::{Drafting, house_metric};
use crate::catalog::CatalogReader;
use crate::core::charging::Tally;
use crate::core::daily::{self, DailyKey, Used};
use crate::core::recording::{self, Known, Paying, Scope};
use crate::error::MeteringError;
use crate::model::billable_metric::Aggregation;
use crate::model::source::Source;
use crate::store::{aggregates, daily as dailies, events};

/// Events read at a time.
const PAGE: i64 = 1_000;
/// Most aggregates that are named.
const NAMED_MAX: usize = 100;

impl Meter {
    /// Replays every event of a tenant and names the aggregates that differ from those kept.
    pub(crate) async fn replay(&self, tenant: &TenantId) -> Result<Vec<String>, MeteringError> {
        let reader = self.accounts.reader(tenant).await?;
        let mut replayed = Replay::default();
        let mut after = 0;
        loop {
            let page = events::walk(&self.db, tenant, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for record in page {
                self.draft_again(tenant, &reader, &mut replayed, &record).await?;
                replayed.note_day(&record);
                if record.cancelled_at.is_none() {
                    replayed.take(record.seq);
                }
                replayed.drafting.events.clear();
                replayed.drafting.places.clear();
            }
        }
        let kept = aggregates::all(&self.db, tenant).await?;
        let mut named = replayed.differences(&kept);
        named.extend(replayed.days_that_differ(dailies::all(&self.db, tenant).await?));
        Ok(named.into_iter().take(NAMED_MAX).collect())
    }

    /// An event as it was drafted when it was recorded.
    async fn draft_again(
        &self,
        tenant: &TenantId,
        reader: &CatalogReader,
        Replay { drafting, sources, .. }: &mut Replay,
        record: &events::Record,
    ) -> Result<(), MeteringError> {
        let source = match sources.get(&record.source) {
            Some(source) => *source,
            None => {
                let lost = || creto_db::DbError::Corrupt(format!("the event at place {} has no source", record.seq));
                // Whom it is booked to changes no aggregate, and nothing is paid again.
                let source = Source { accounts: Vec::new(), ..events::source(&self.db, tenant, record.source).await?.ok_or_else(lost)? };
                let source = drafting.source(source);
                sources.insert(record.source, source);
                source
            }
        };
        if let Some(metric) = record.terms.as_deref().and_then(house_metric) {
            return drafting.house(tenant, 0, record.event()?, source, &metric);
        }
        let view = reader.subscription(&record.subscription, record.occurred_at).await?;
        let view = view.ok_or_else(|| MeteringError::NotRunning { subscription: record.subscription.clone(), at: record.occurred_at })?;
        drafting.plan(tenant, 0, record.event()?, source, &view)
    }
}

#[derive(Default)]
struct Replay {
    drafting: Drafting,
    known: Known,
    /// Places of the sources that events named, by their numbers.
    sources: HashMap<i64, usize>,
    daily: BTreeMap<DailyKey<i64>, Used>,
}

impl Replay {
    /// What is left of an event in the row of its day: of one that was cancelled, what was not given back of its cost.
    fn note_day(&mut self, record: &events::Record) {
        let cost = record.cost.checked_sub(record.given_back).unwrap_or(Micros::ZERO);
        let said = self.drafting.events.last().and_then(|drafted| daily::of(drafted, record.source, &self.drafting.slots, cost));
        let Some((key, used)) = said else { return };
        let day = self.daily.entry(key).or_insert(Used::NONE);
        let counted = if record.cancelled_at.is_none() { used } else { Used { cost: used.cost, ..Used::NONE } };
        day.add(&counted);
    }

    /// Names the days whose rows are not what was replayed.
    fn days_that_differ(mut self, kept: Vec<(DailyKey<i64>, Used)>) -> Vec<String> {
        let mut named = Vec::new();
        let mut name = |key: &DailyKey<i64>| named.push(format!("{} of source {} on {}", key.code, key.source, key.day));
        for (key, kept) in kept {
            if !same_day(&self.daily.remove(&key).unwrap_or(Used::NONE), &kept) {
                name(&key);
            }
        }
        self.daily.iter().filter(|(_, used)| !same_day(used, &Used::NONE)).for_each(|(key, _)| name(key));
        named
    }

    fn take(&mut self, seq: i64) {
        let (slots, sources) = (&self.drafting.slots, &self.drafting.sources);
        let mut events = std::mem::take(&mut self.drafting.events);
        for drafted in &mut events {
            drafted.seq = Some(seq);
            for share in &drafted.shares {
                let Some(slot) = slots.get(share.slot) else { continue };
                let counts = slot.terms.metric.recurring && slot.terms.metric.aggregation_type == Aggregation::UniqueCount;
                if counts && !self.known.running.contains_key(&share.slot) {
                    let ever = |(place, scope, _): &recording::MemberKey| *place == slot.level && *scope == Scope::Ever;
                    let active = self.known.members.iter().filter(|(key, state)| ever(key) && state.is_active()).count();
                    self.known.active.insert(share.slot, i64::try_from(active).unwrap_or(i64::MAX));
                }
            }
        }
        let recording = recording::record(&events, slots, sources, &self.known, Paying::InFull);
        self.known.running.extend(recording.running);
        self.known.days.extend(recording.days);
        self.known.members.extend(recording.members);
    }

    /// Names what is kept and was not replayed so, and what was replayed and is not kept.
    fn differences(&self, kept: &aggregates::All) -> Vec<String> {
        let mut named = BTreeSet::new();
        let slot = |place: &usize| self.drafting.slots.get(*place).map(|slot| &slot.key);
        let mut running = kept.running.clone();
        for (place, replayed) in &self.known.running {
            let Some(key) = slot(place) else { continue };
            let mut kept = running.remove(key);
            // What was due at most of a charge in advance depends on the level that was carried in when each event came.
            let recurs = self.drafting.slots.get(*place).is_some_and(|slot| slot.terms.metric.recurring);
            if let Some(kept) = kept.as_mut().filter(|_| recurs) {
                kept.peak_cents = replayed.tally.peak_cents;
            }
            if !same(kept.as_ref(), &replayed.tally) {
                named.insert(format!("{} {} {} from {}", key.subscription, key.charge, key.dims, key.period));
            }
        }
        let mut days = kept.days.clone();
        for ((place, day), replayed) in &self.known.days {
            let Some(key) = slot(place) else { continue };
            let found = days.remove(&(key.subscription.clone(), key.charge.clone(), key.dims.clone(), day.to_string()));
            if !same(found.as_ref(), &replayed.tally) {
                named.insert(format!("{} {} {} on {day}", key.subscription, key.charge, key.dims));
            }
        }
        // An aggregate whose every event was cancelled is empty, and a replay does not see it.
        named.extend(
            running.iter().filter(|(_, tally)| tally.state.events > 0).map(|(key, _)| format!("{} {}", key.subscription, key.charge)),
        );
        named.extend(
            days.iter()
                .filter(|(_, tally)| tally.state.events > 0)
                .map(|((subscription, charge, ..), _)| format!("{subscription} {charge}")),
        );
        named.into_iter().collect()
    }
}

/// Units that do not add up are none, whatever else a day had.
fn same_day(replayed: &Used, kept: &Used) -> bool {
    let units = kept.units.is_none() || replayed.units == kept.units;
    (replayed.events, replayed.cost) == (kept.events, kept.cost) && units
}

fn same(kept: Option<&Tally>, replayed: &Tally) -> bool {
    kept == Some(replayed)
}
