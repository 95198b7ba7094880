//! What the charges of a period used, ready to be rated: its aggregates, the levels carried into it, and what is counted or read again.
//! Current usage and invoices are both made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use creto_kernel::{Micros, TenantId};

use super::Meter;
use super::drafting::{Dims, Drafting, house_metric, plan_terms};
use crate::catalog::SubscriptionView;
use crate::core::aggregate::Reading;
use crate::core::charging::{ChargingError, Histories, Tally, Terms};
use crate::core::exact::Exact;
use crate::core::period::Period;
use crate::core::price::Rated;
use crate::error::MeteringError;
use crate::model::billable_metric::Aggregation;
use crate::store::{aggregates, events};

/// Events read at a time.
const PAGE: i64 = 1_000;

/// Charge and groups.
type Place = (String, String);

/// What one charge used, in one filter and group.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) charge: String,
    pub(crate) dims: Dims,
    pub(crate) terms: Arc<Terms>,
    pub(crate) tally: Tally,
    pub(crate) carried: Option<Tally>,
    /// What was posted for it.
    pub(crate) posted: Micros,
}

impl Used {
    /// Units, as they are billed.
    pub(crate) fn units(&self) -> Result<Exact, MeteringError> {
        self.terms.units(&self.tally, self.carried.as_ref()).map_err(|e| unpriced(&e))
    }

    /// What is billed of it.
    pub(crate) fn billed(&self) -> Result<Rated, MeteringError> {
        self.terms.billed(&self.tally, self.carried.as_ref()).map_err(|e| unpriced(&e))
    }
}

pub(crate) fn unpriced(error: &ChargingError) -> MeteringError {
    MeteringError::Unpriced(error.to_string())
}

impl Meter {
    /// What every charge of a subscription used in a period, by charge and groups. A charge that nobody used is not among them.
    pub(crate) async fn tallies(&self, tenant: &TenantId, view: &SubscriptionView, period: Period) -> Result<Vec<Used>, MeteringError> {
        let id = view.subscription.id.to_string();
        let from = period.from(&view.zone).as_micros();
        let mut rows: BTreeMap<Place, (Option<Tally>, Micros)> = BTreeMap::new();
        for kept in aggregates::of_period(&self.db, tenant, &id, from).await? {
            rows.insert((kept.charge, kept.dims), (Some(kept.running.tally), kept.running.posted));
        }
        let carried = self.carried(tenant, view, period).await?;
        for place in carried.keys() {
            rows.entry(place.clone()).or_insert((None, Micros::ZERO));
        }
        // One for each charge and filter, however many groups it has.
        let mut known: BTreeMap<(String, Option<usize>), Arc<Terms>> = BTreeMap::new();
        let mut all = Vec::with_capacity(rows.len());
        let mut places = Vec::with_capacity(rows.len());
        for ((code, text), (tally, posted)) in rows {
            let Some(charge) = view.plan.charge(&code) else { continue };
            let Some(metric) = view.metrics.get(&charge.billable_metric_code) else { continue };
            let dims = Dims::parse(&text)?;
            let terms =
                known.entry((code.clone(), dims.filter)).or_insert_with(|| Arc::new(plan_terms(view, metric, charge, dims.filter, period)));
            let tally = tally.unwrap_or_else(|| Tally::empty(metric.aggregation_type));
            let place = (code, text);
            let carried = carried.get(&place).cloned();
            all.push(Used { charge: place.0.clone(), dims, terms: Arc::clone(terms), tally, carried, posted });
            places.push(place);
        }
        self.count_again(tenant, view, period, &places, &mut all).await?;
        self.read_again(tenant, view, period, &places, &mut all).await?;
        Ok(all)
    }

    /// The levels that recurring metrics bring into a period.
    async fn carried(&self, tenant: &TenantId, view: &SubscriptionView, period: Period) -> Result<BTreeMap<Place, Tally>, MeteringError> {
        let mut carried: BTreeMap<Place, Tally> = BTreeMap::new();
        let recurs = |code: &str| view.metrics.get(code).is_some_and(|metric| metric.recurring);
        for charge in view.plan.charges.iter().filter(|charge| recurs(&charge.billable_metric_code)) {
            for (dims, more) in aggregates::before(&self.db, tenant, view.subscription.id, &charge.code, period.first_day).await? {
                match carried.get_mut(&(charge.code.clone(), dims.clone())) {
                    Some(before) => before.state.merge(&more.state).map_err(|e| unpriced(&e.into()))?,
                    None => drop(carried.insert((charge.code.clone(), dims), more)),
                }
            }
        }
        Ok(carried)
    }

    /// Counts values again that late events may have changed the days of.
    async fn count_again(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        period: Period,
        places: &[Place],
        all: &mut [Used],
    ) -> Result<(), MeteringError> {
        let again: BTreeSet<String> = all.iter().filter(|used| used.terms.counts_again()).map(|used| used.charge.clone()).collect();
        for code in again {
            let recurs = all.iter().any(|used| used.charge == code && used.terms.metric.recurring);
            let first = (!recurs).then_some(period.first_day);
            let days = (first, period.last_day);
            let mut histories: BTreeMap<String, Histories> = BTreeMap::new();
            for (dims, value, day, state) in aggregates::histories(&self.db, tenant, view.subscription.id, &code, days).await? {
                histories.entry(dims).or_default().entry(value).or_default().insert(day, state);
            }
            let none = Histories::new();
            for (used, (_, text)) in all.iter_mut().zip(places).filter(|(used, _)| used.charge == code) {
                used.terms.count_again(&mut used.tally, histories.get(text).unwrap_or(&none));
            }
        }
        Ok(())
    }

    /// Reads the period's events again where a price walks over them above a level that late events may have changed.
    async fn read_again(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        period: Period,
        places: &[Place],
        all: &mut [Used],
    ) -> Result<(), MeteringError> {
        let reads = |used: &Used| used.terms.walks_again() && used.terms.metric.aggregation_type != Aggregation::UniqueCount;
        if !all.iter().any(reads) {
            return Ok(());
        }
        let window = (period.from(&view.zone), period.to_exclusive(&view.zone));
        let mut readings: BTreeMap<Place, Vec<Reading>> = BTreeMap::new();
        let mut after = 0;
        let shared = Arc::new(view.clone());
        loop {
            let page = events::of_subscription(&self.db, tenant, &view.subscription.external_id, window, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            let stands = |record: &&events::Record| record.cancelled_at.is_none() && view.covers(record.occurred_at);
            for record in page.iter().filter(stands) {
                if record.terms.as_deref().and_then(house_metric).is_some() {
                    continue;
                }
                let mut drafting = Drafting::default();
                drafting.plan(tenant, 0, record.event()?, 0, &shared)?;
                for share in drafting.events.iter().flat_map(|drafted| &drafted.shares) {
                    let Some(slot) = drafting.slots.get(share.slot) else { continue };
                    readings.entry((slot.key.charge.clone(), slot.key.dims.clone())).or_default().push(Reading {
                        at: record.occurred_at,
                        sequence: u64::try_from(record.seq).unwrap_or_default(),
                        value: share.value.clone(),
                        precise_total_amount_cents: share.precise_total_amount_cents.clone(),
                    });
                }
            }
        }
        for (used, place) in all.iter_mut().zip(places).filter(|(used, _)| reads(used)) {
            let own = readings.get(place).map_or(&[][..], Vec::as_slice);
            used.terms.read_again(&mut used.tally, used.carried.as_ref(), own).map_err(|e| unpriced(&e))?;
        }
        Ok(())
    }
}
