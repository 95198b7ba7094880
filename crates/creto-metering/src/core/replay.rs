//! Usage from events alone: what the kept aggregates must agree with, and what previews are made of.

use std::collections::BTreeMap;

use creto_kernel::Timestamp;

use crate::core::aggregate::unique::{History, Operation, active_days};
use crate::core::aggregate::{self, DayState, Mismatch, Reading, Value, prorate};
use crate::core::exact::Exact;
use crate::core::expression::{EventScope, ExpressionError, Scope};
use crate::core::matching::{self, Group};
use crate::core::period::Period;
use crate::core::price::{Transaction, Usage};
use crate::core::reading::{self, ReadError};
use crate::core::zone::Zone;
use crate::model::billable_metric::{Aggregation, BillableMetric};
use crate::model::charge::Charge;

/// What one group of a charge used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupUsage {
    /// The filter whose price it has; none: the charge's own.
    pub filter: Option<usize>,
    /// The group it is priced in.
    pub group: Group,
    /// What was used.
    pub usage: Usage,
}

/// Events that cannot be aggregated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// An event cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A custom metric's expression fails.
    #[error("the metric's expression fails: {0}")]
    Expression(#[from] ExpressionError),
    /// Aggregates of different kinds met.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// What a charge used in a period, group by group. Events before the period are read where the metric recurs; the order of `events` is
/// the order they arrived in. Without events there is one group, the charge's own price with nothing used.
pub fn usage(
    metric: &BillableMetric,
    charge: &Charge,
    events: &[EventScope<'_>],
    period: Period,
    zone: &Zone,
) -> Result<Vec<GroupUsage>, ReplayError> {
    let (from, to) = (period.from(zone), period.to_exclusive(zone));
    let mut groups: BTreeMap<(Option<usize>, Group), Gathered> = BTreeMap::new();
    for (sequence, event) in (0_u64..).zip(events) {
        if event.code != metric.code || event.at >= to || (event.at < from && !metric.recurring) {
            continue;
        }
        if !reading::counts(metric, *event)? {
            continue;
        }
        let filter = matching::filter(metric, charge, event.properties);
        let group = matching::group(&charge.pricing(filter).pricing_group_keys, event.properties);
        let reading = reading::reading(metric, *event, sequence)?;
        let gathered = groups.entry((filter, group)).or_insert_with(|| Gathered::new(metric.aggregation_type));
        gathered.take(reading, from)?;
    }
    if groups.is_empty() {
        groups.insert((None, Group::new()), Gathered::new(metric.aggregation_type));
    }
    let context = Context { metric, charge, period, zone, from, to };
    groups
        .into_iter()
        .map(|((filter, group), gathered)| Ok(GroupUsage { usage: context.usage(filter, &gathered)?, filter, group }))
        .collect()
}

/// A group's events and what they amount to.
struct Gathered {
    carried: DayState,
    inside: DayState,
    readings: Vec<Reading>,
}

impl Gathered {
    fn new(aggregation: Aggregation) -> Self {
        Self { carried: DayState::empty(aggregation), inside: DayState::empty(aggregation), readings: Vec::new() }
    }

    fn take(&mut self, reading: Reading, from: Timestamp) -> Result<(), Mismatch> {
        let state = if reading.at < from { &mut self.carried } else { &mut self.inside };
        state.apply(&reading)?;
        let place = self.readings.partition_point(|other| (other.at, other.sequence) <= (reading.at, reading.sequence));
        self.readings.insert(place, reading);
        Ok(())
    }
}

struct Context<'a> {
    metric: &'a BillableMetric,
    charge: &'a Charge,
    period: Period,
    zone: &'a Zone,
    from: Timestamp,
    to: Timestamp,
}

impl Context<'_> {
    fn usage(&self, filter: Option<usize>, gathered: &Gathered) -> Result<Usage, ReplayError> {
        let carried = self.metric.recurring.then_some(&gathered.carried);
        let full = self.metric.billable(&self.full_units(carried, &gathered.inside)?);
        let events = aggregate::count(carried, &gathered.inside);
        let precise_total_amount_cents = gathered.inside.precise_total_amount_cents.clone();
        let is_prorated = self.charge.prorated && self.metric.aggregation_type.may_prorate();
        let transactions = self.transactions(gathered, is_prorated);
        let reads_events = self.charge.pricing(filter).model.reads_events(is_prorated);
        let (units, full_units) = if is_prorated {
            let prorated: Exact = transactions.iter().map(|transaction| &transaction.prorated_units).sum();
            (self.metric.billable(&prorated), Some(full))
        } else {
            (full, None)
        };
        let transactions = if reads_events { transactions } else { Vec::new() };
        Ok(Usage { units, full_units, events, precise_total_amount_cents, transactions })
    }

    fn full_units(&self, carried: Option<&DayState>, inside: &DayState) -> Result<Exact, ReplayError> {
        match (&self.metric.expression, self.metric.aggregation_type) {
            (Some(expression), Aggregation::Custom) => {
                let mut whole = carried.cloned().unwrap_or_else(|| DayState::empty(Aggregation::Custom));
                whole.merge(inside)?;
                Ok(expression.number(Scope { event: None, names: &whole.names() })?)
            }
            (_, aggregation) => Ok(aggregate::units(aggregation, carried, inside, self.from, self.to)?),
        }
    }

    fn transactions(&self, gathered: &Gathered, is_prorated: bool) -> Vec<Transaction> {
        if is_prorated && self.metric.aggregation_type == Aggregation::UniqueCount {
            return self.member_transactions(&gathered.readings);
        }
        gathered
            .readings
            .iter()
            .map(|reading| {
                let full_units = match &reading.value {
                    Value::Number(value) => value.clone(),
                    Value::Maybe(value) => value.clone().unwrap_or_default(),
                    Value::Nothing | Value::Member(..) => Exact::ONE,
                };
                let first_day = self.zone.day(reading.at).max(self.period.first_day);
                let share = if is_prorated { self.share(first_day.days_through(self.period.last_day)) } else { Exact::ONE };
                Transaction { prorated_units: &full_units * &share, full_units }
            })
            .collect()
    }

    /// A value that comes and goes: one unit more for its days until the end, then one less for the days after it went. A day counts once.
    fn member_transactions(&self, readings: &[Reading]) -> Vec<Transaction> {
        let mut histories: BTreeMap<&str, History> = BTreeMap::new();
        for reading in readings {
            if let Value::Member(member, operation) = &reading.value {
                histories.entry(member).or_default().insert(reading.at, reading.sequence, *operation);
            }
        }
        let mut steps: Vec<(Timestamp, Transaction)> = Vec::new();
        for history in histories.values() {
            let intervals = history.intervals();
            let mut before = 0;
            for count in 1..=intervals.len() {
                let Some((interval, known)) = intervals.get(count - 1).zip(intervals.get(..count)) else { continue };
                // Days with this interval less days without it, as if it never ended; then what its end takes away again.
                let open: Vec<_> = known
                    .iter()
                    .enumerate()
                    .map(|(index, interval)| aggregate::unique::Interval {
                        until: interval.until.filter(|_| index + 1 < count),
                        ..*interval
                    })
                    .collect();
                let with = active_days(&open, self.from, self.period.last_day, self.zone);
                let closed = active_days(known, self.from, self.period.last_day, self.zone);
                if interval.until.is_some_and(|until| until < self.from) {
                    continue;
                }
                steps.push((interval.from, self.step(Operation::Add, with.saturating_sub(before))));
                if let Some(until) = interval.until {
                    steps.push((until, self.step(Operation::Remove, with.saturating_sub(closed))));
                }
                before = closed;
            }
        }
        steps.sort_by_key(|(at, _)| *at);
        steps.into_iter().map(|(_, step)| step).collect()
    }

    fn step(&self, operation: Operation, days: u32) -> Transaction {
        let share = self.share(days);
        match operation {
            Operation::Add => Transaction { full_units: Exact::ONE, prorated_units: share },
            Operation::Remove => Transaction { full_units: -Exact::ONE, prorated_units: -share },
        }
    }

    fn share(&self, days: u32) -> Exact {
        prorate::share(days, self.period.days())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value as Json, json};

    fn replayed(metric: Json, charge: Json, events: &[(&str, Json)]) -> Vec<GroupUsage> {
        let (metric, charge): (BillableMetric, Charge) = (serde_json::from_value(metric).unwrap(), serde_json::from_value(charge).unwrap());
        let properties: Vec<(Timestamp, Map<String, Json>)> =
            events.iter().map(|(at, value)| (at.parse().unwrap(), value.as_object().unwrap().clone())).collect();
        let scopes: Vec<EventScope<'_>> = properties.iter().map(|(at, properties)| EventScope { code: "m", at: *at, properties }).collect();
        let period = Period { first_day: "2022-07-09".parse().unwrap(), last_day: "2022-08-08".parse().unwrap() };
        usage(&metric, &charge, &scopes, period, &Zone::utc()).unwrap()
    }

    fn standard(prorated: bool) -> Json {
        json!({ "billable_metric_code": "m", "charge_model": "standard", "properties": { "amount": "1" }, "prorated": prorated })
    }

    #[test]
    fn prorated_units_are_those_of_the_days_and_full_units_those_of_the_end() {
        let unique = json!({ "code": "m", "aggregation_type": "unique_count", "field_name": "v", "recurring": true });
        let add = |value: &str| json!({ "v": value });
        let remove = |value: &str| json!({ "v": value, "operation_type": "remove" });
        let events = [
            ("2022-06-09T00:00:00Z", add("a")),
            ("2022-07-19T00:00:00Z", add("b")),
            ("2022-07-20T01:00:00Z", add("c")),
            ("2022-07-20T02:00:00Z", remove("c")),
            ("2022-07-20T03:00:00Z", add("c")),
            ("2022-07-21T03:00:00Z", remove("c")),
            ("2022-06-01T00:00:00Z", add("d")),
            ("2022-06-02T00:00:00Z", remove("d")),
        ];
        let [group] = replayed(unique, standard(true), &events).try_into().unwrap();
        assert_eq!(group.usage.units, Exact::ratio(31 + 21 + 2, 31).unwrap());
        assert_eq!(group.usage.full_units, Some(Exact::from(2)));
        let sum = json!({ "code": "m", "aggregation_type": "sum", "field_name": "v", "recurring": true });
        let [group] =
            replayed(sum, standard(true), &[("2022-06-09T00:00:00Z", json!({ "v": 5 })), ("2022-08-03T00:00:00Z", json!({ "v": 12 }))])
                .try_into()
                .unwrap();
        assert_eq!((group.usage.units, group.usage.full_units), (Exact::from(5) + Exact::ratio(72, 31).unwrap(), Some(Exact::from(17))));
    }

    #[test]
    fn filters_and_groups_are_told_apart_and_what_is_outside_the_period_is_not_read() {
        let metric = json!({ "code": "m", "aggregation_type": "sum", "field_name": "v", "filters": [{ "key": "model", "values": ["big", "small"] }] });
        let charge = json!({
            "billable_metric_code": "m", "charge_model": "standard", "properties": { "amount": "1", "pricing_group_keys": ["agent"] },
            "filters": [{ "values": { "model": ["big"] }, "properties": { "amount": "2" } }]
        });
        let event = |v: u32, model: &str, agent: &str| json!({ "v": v, "model": model, "agent": agent });
        let events = [
            ("2022-07-10T00:00:00Z", event(1, "big", "a")),
            ("2022-07-10T00:00:00Z", event(2, "small", "a")),
            ("2022-07-10T00:00:00Z", event(4, "small", "b")),
            ("2022-08-08T23:59:59.999999Z", event(8, "small", "b")),
            ("2022-08-09T00:00:00Z", event(16, "small", "b")),
            ("2022-07-08T23:59:59Z", event(32, "small", "b")),
        ];
        let units: Vec<_> = replayed(metric, charge, &events)
            .into_iter()
            .map(|group| (group.filter, group.group.get("agent").cloned().flatten(), group.usage.units.to_string(), group.usage.events))
            .collect();
        let agent = |name: &str| Some(name.to_owned());
        assert_eq!(
            units,
            [(None, agent("a"), "2".to_owned(), 1), (None, agent("b"), "12".to_owned(), 2), (Some(0), None, "1".to_owned(), 1)]
        );
    }

    #[test]
    fn a_custom_metric_is_an_expression_over_its_aggregates() {
        let metric = json!({ "code": "m", "aggregation_type": "custom", "field_name": "v", "expression": "max - min + count / 10" });
        let [group] = replayed(
            metric,
            standard(false),
            &[("2022-07-10T00:00:00Z", json!({ "v": 3 })), ("2022-07-11T00:00:00Z", json!({ "v": "7.5" }))],
        )
        .try_into()
        .unwrap();
        assert_eq!(group.usage.units.to_string(), "4.7");
    }

    #[test]
    fn without_events_nothing_is_used_at_the_charges_own_price() {
        let [group] = replayed(json!({ "code": "m", "aggregation_type": "count" }), standard(false), &[]).try_into().unwrap();
        assert_eq!((group.filter, group.usage.units.is_zero(), group.usage.events), (None, true, 0));
    }
}
