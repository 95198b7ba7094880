//! Usage of a subscription over any window: whole local days from aggregates, the days at its edges from their events.

use std::collections::BTreeMap;
use std::sync::Arc;

use creto_kernel::{Micros, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::Meter;
use super::drafting::{Dims, Drafting, house_charge_parts, house_key, house_metric};
use crate::catalog::SubscriptionView;
use crate::core::aggregate::unique::MemberState;
use crate::core::aggregate::{self, DayState, Mismatch, Reading, Value};
use crate::core::exact::Exact;
use crate::core::zone::{Day, Zone};
use crate::error::MeteringError;
use crate::model::billable_metric::Aggregation;
use crate::store::{aggregates, events};

/// Usage of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MetricUsage {
    /// The metric.
    pub code: String,
    /// How many events.
    pub events: u64,
    /// How many units, as a decimal string.
    #[schema(value_type = String)]
    pub units: Exact,
    /// What they cost.
    #[schema(value_type = String)]
    pub cost: Micros,
}

/// A window over local days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The whole days in it, where there are any.
    pub(crate) whole: Option<(Day, Day)>,
    /// The parts of it that are no whole days.
    pub(crate) edges: [Option<(Timestamp, Timestamp)>; 2],
}

impl Window {
    /// The window from a moment until before another.
    pub(crate) fn of(from: Timestamp, to: Timestamp, zone: &Zone) -> Self {
        let first = zone.day(from);
        let first = if zone.start(first) == from { first } else { first.plus_days(1) };
        let until = zone.day(to);
        // The end of the calendar has no day after it: it counts as the end of a day.
        let last = if to == Timestamp::MAX { until } else { until.plus_days(-1) };
        if first > last {
            return Self { whole: None, edges: [Some((from, to)), None] };
        }
        let (begin, end) = (zone.start(first), if to == Timestamp::MAX { to } else { zone.start(until) });
        let part = |from: Timestamp, to: Timestamp| (from < to).then_some((from, to));
        Self { whole: Some((first, last)), edges: [part(from, begin), part(end, to)] }
    }
}

impl Meter {
    /// Usage of a subscription from a moment until before another, by metric.
    pub async fn usage(
        &self,
        tenant: &TenantId,
        subscription: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<MetricUsage>, MeteringError> {
        let reader = self.accounts.reader(tenant).await?;
        let history = reader.history(subscription).await?;
        let mut sums = Sums { from, to, by_slot: BTreeMap::new(), costs: BTreeMap::new() };
        let mut whose: Vec<(String, Zone)> = vec![(house_key(subscription), Zone::utc())];
        whose.extend(history.iter().map(|view| (view.subscription.id.to_string(), view.zone.clone())));
        for (key, zone) in &whose {
            if let Some((first, last)) = Window::of(from, to, zone).whole {
                self.whole_days(tenant, key, (first, last), &history, &mut sums).await?;
            }
        }
        for (key, zone) in &whose {
            for (from, to) in Window::of(from, to, zone).edges.into_iter().flatten() {
                self.edge(tenant, (subscription, key), (from, to), &history, &mut sums).await?;
            }
        }
        sums.usage()
    }

    async fn whole_days(
        &self,
        tenant: &TenantId,
        key: &str,
        (first, last): (Day, Day),
        history: &[Arc<SubscriptionView>],
        sums: &mut Sums,
    ) -> Result<(), MeteringError> {
        for kept in aggregates::of_days(&self.db, tenant, key, first, last).await? {
            if !Dims::parse(&kept.dims)?.shown.is_empty() {
                continue;
            }
            let Some((code, aggregation)) = metric_of(key, &kept.charge, history) else { continue };
            let slot = (key.to_owned(), kept.charge, kept.dims);
            sums.sum(slot, &code, aggregation).state.merge(&kept.tally.tally.state).map_err(unpriced)?;
            sums.cost(&code, kept.tally.cost);
        }
        for (charge, dims, value, state) in aggregates::members_of_days(&self.db, tenant, key, first, last).await? {
            let Some((code, aggregation)) = metric_of(key, &charge, history) else { continue };
            if Dims::parse(&dims)?.shown.is_empty() {
                sums.sum((key.to_owned(), charge, dims), &code, aggregation).member(value, state);
            }
        }
        Ok(())
    }

    /// A part of a day, from its events.
    async fn edge(
        &self,
        tenant: &TenantId,
        (subscription, key): (&str, &str),
        (from, to): (Timestamp, Timestamp),
        history: &[Arc<SubscriptionView>],
        sums: &mut Sums,
    ) -> Result<(), MeteringError> {
        let mut after = 0;
        loop {
            let page = events::of_subscription(&self.db, tenant, subscription, (from, to), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.seq;
            for record in page.iter().filter(|record| record.cancelled_at.is_none()) {
                let mut drafting = Drafting::default();
                match record.terms.as_deref().and_then(house_metric) {
                    Some(metric) if key == house_key(subscription) => drafting.house(tenant, 0, record.event()?, 0, &metric)?,
                    Some(_) => continue,
                    None => {
                        let view = history.iter().rev().find(|view| view.covers(record.occurred_at));
                        let Some(view) = view.filter(|view| view.subscription.id.to_string() == key) else { continue };
                        drafting.plan(tenant, 0, record.event()?, 0, view)?;
                    }
                }
                sums.event(&drafting, record.seq)?;
                sums.cost(&record.code, record.cost);
            }
        }
    }
}

/// Events read at a time.
const PAGE: i64 = 1_000;

fn unpriced(error: Mismatch) -> MeteringError {
    MeteringError::Unpriced(error.to_string())
}

/// The metric of a charge.
pub(super) fn metric_of(key: &str, charge: &str, history: &[Arc<SubscriptionView>]) -> Option<(String, Aggregation)> {
    if let Some((code, metric)) = house_charge_parts(charge) {
        return Some((code.to_owned(), metric.aggregation));
    }
    let view = history.iter().find(|view| view.subscription.id.to_string() == key)?;
    let code = &view.plan.charge(charge)?.billable_metric_code;
    Some((code.clone(), view.metrics.get(code)?.aggregation_type))
}

/// Subscription, charge, groups.
type SlotName = (String, String, String);

/// What was used, aggregate by aggregate.
#[derive(Debug)]
struct Sums {
    from: Timestamp,
    to: Timestamp,
    by_slot: BTreeMap<SlotName, Sum>,
    costs: BTreeMap<String, Micros>,
}

#[derive(Debug)]
struct Sum {
    code: String,
    aggregation: Aggregation,
    state: DayState,
    members: BTreeMap<String, MemberState>,
}

impl Sum {
    fn member(&mut self, value: String, state: MemberState) {
        self.members.entry(value).and_modify(|known| known.merge(&state)).or_insert(state);
    }
}

impl Sums {
    fn sum(&mut self, slot: SlotName, code: &str, aggregation: Aggregation) -> &mut Sum {
        self.by_slot.entry(slot).or_insert_with(|| Sum {
            code: code.to_owned(),
            aggregation,
            state: DayState::empty(aggregation),
            members: BTreeMap::new(),
        })
    }

    fn cost(&mut self, code: &str, more: Micros) {
        let cost = self.costs.entry(code.to_owned()).or_default();
        *cost = cost.checked_add(more).unwrap_or(Micros::MAX);
    }

    fn event(&mut self, drafting: &Drafting, seq: i64) -> Result<(), MeteringError> {
        for drafted in &drafting.events {
            for share in &drafted.shares {
                let Some(slot) = drafting.slots.get(share.slot).filter(|slot| slot.priced) else { continue };
                let reading = Reading {
                    at: drafted.event.occurred_at,
                    sequence: u64::try_from(seq).unwrap_or_default(),
                    value: share.value.clone(),
                    precise_total_amount_cents: share.precise_total_amount_cents.clone(),
                };
                let name = (slot.key.subscription.clone(), slot.key.charge.clone(), slot.key.dims.clone());
                let sum = self.sum(name, &drafted.event.code, slot.terms.metric.aggregation_type);
                if let Value::Member(value, operation) = &share.value {
                    sum.member(value.clone(), MemberState::of(reading.at, reading.sequence, *operation));
                    sum.state.events = sum.state.events.saturating_add(1);
                } else {
                    sum.state.apply(&reading).map_err(unpriced)?;
                }
            }
        }
        Ok(())
    }

    fn usage(self) -> Result<Vec<MetricUsage>, MeteringError> {
        let mut by_code: BTreeMap<String, MetricUsage> = BTreeMap::new();
        for sum in self.by_slot.into_values() {
            let units = match sum.aggregation {
                Aggregation::UniqueCount => Exact::from(sum.members.values().filter(|state| state.is_active()).count()),
                // A custom metric's units are of a period; over any other window only its events are counted.
                Aggregation::Custom => Exact::ZERO,
                aggregation => aggregate::units(aggregation, None, &sum.state, self.from, self.to).map_err(unpriced)?,
            };
            let cost = self.costs.get(&sum.code).copied().unwrap_or_default();
            let usage = by_code.entry(sum.code.clone()).or_insert_with(|| MetricUsage {
                code: sum.code.clone(),
                events: 0,
                units: Exact::ZERO,
                cost,
            });
            usage.events = usage.events.saturating_add(sum.state.events);
            usage.units += &units;
        }
        Ok(by_code.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_whole_local_days_and_what_is_left_at_its_edges() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let day = |text: &str| text.parse::<Day>().unwrap();
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let window = Window::of(at("2026-03-27T12:00:00Z"), at("2026-03-30T12:00:00Z"), &berlin);
        assert_eq!(window.whole, Some((day("2026-03-28"), day("2026-03-29"))), "the day the clocks change is one of them");
        let edges = [(at("2026-03-27T12:00:00Z"), at("2026-03-27T23:00:00Z")), (at("2026-03-29T22:00:00Z"), at("2026-03-30T12:00:00Z"))];
        assert_eq!(window.edges, edges.map(Some));
        let inside = (at("2026-03-27T12:00:00Z"), at("2026-03-27T13:00:00Z"));
        assert_eq!(Window::of(inside.0, inside.1, &berlin), Window { whole: None, edges: [Some(inside), None] });
        let whole = Window::of(at("2026-03-27T23:00:00Z"), at("2026-03-28T23:00:00Z"), &berlin);
        assert_eq!(whole, Window { whole: Some((day("2026-03-28"), day("2026-03-28"))), edges: [None, None] });
        let ever = Window::of(Timestamp::EPOCH, Timestamp::MAX, &Zone::utc());
        assert_eq!((ever.whole.map(|(first, _)| first), ever.edges), (Some(day("1970-01-01")), [None, None]));
    }
}
