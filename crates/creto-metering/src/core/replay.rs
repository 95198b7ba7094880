//! Usage from events alone: what previews are made of, by the same tallies as usage that is kept.

use std::collections::BTreeMap;

use crate::core::aggregate::unique::MemberState;
use crate::core::aggregate::{Mismatch, Reading, Value};
use crate::core::charging::{ChargingError, Histories, Tally, Terms};
use crate::core::expression::EventScope;
use crate::core::matching::{self, Group};
use crate::core::price::{Rated, Usage};
use crate::core::reading::{self, ReadError};
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
    /// What that costs.
    pub rated: Rated,
}

/// Events that cannot be aggregated or priced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// An event cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They cannot be counted or priced.
    #[error(transparent)]
    Charging(#[from] ChargingError),
    /// Aggregates of different kinds met.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// What a charge used in a period, group by group. Events before the period are read where the metric recurs; the order of `events` is
/// the order they arrived in. Without events there is one group, the charge's own price with nothing used.
///
/// `terms` says how a filter of the charge is rated in the period.
pub fn usage(charge: &Charge, events: &[EventScope<'_>], terms: impl Fn(Option<usize>) -> Terms) -> Result<Vec<GroupUsage>, ReplayError> {
    let own = terms(None);
    let metric = &own.metric;
    let mut groups: BTreeMap<(Option<usize>, Group), Gathered> = BTreeMap::new();
    for (sequence, event) in (0_u64..).zip(events) {
        if event.code != metric.code || event.at >= own.to || (event.at < own.from && !metric.recurring) {
            continue;
        }
        if !reading::counts(metric, *event)? {
            continue;
        }
        let filter = matching::filter(metric, charge, event.properties);
        let group = matching::group(&charge.pricing(filter).pricing_group_keys, event.properties);
        let reading = reading::reading(metric, *event, sequence)?;
        groups.entry((filter, group)).or_insert_with(|| Gathered::new(terms(filter))).take(reading)?;
    }
    if groups.is_empty() {
        groups.insert((None, Group::new()), Gathered::new(own));
    }
    groups
        .into_iter()
        .map(|((filter, group), gathered)| {
            let (usage, rated) = gathered.rated()?;
            Ok(GroupUsage { filter, group, usage, rated })
        })
        .collect()
}

/// A group's events and what they amount to.
struct Gathered {
    terms: Terms,
    carried: Tally,
    inside: Tally,
    members: BTreeMap<String, MemberState>,
    histories: Histories,
    readings: Vec<Reading>,
}

impl Gathered {
    fn new(terms: Terms) -> Self {
        let empty = || Tally::empty(terms.metric.aggregation_type);
        let (carried, inside) = (empty(), empty());
        Self { terms, carried, inside, members: BTreeMap::new(), histories: Histories::new(), readings: Vec::new() }
    }

    fn take(&mut self, reading: Reading) -> Result<(), ReplayError> {
        let day = self.terms.zone.day(reading.at);
        if let Value::Member(value, operation) = &reading.value {
            let said = MemberState::of(reading.at, reading.sequence, *operation);
            let of_day = self.histories.entry(value.clone()).or_default().entry(day);
            of_day.and_modify(|known| known.merge(&said)).or_insert(said);
            if reading.at < self.terms.from {
                self.members.entry(value.clone()).and_modify(|known| known.merge(&said)).or_insert(said);
            }
        }
        if reading.at < self.terms.from {
            return Ok(self.carried.state.apply(&reading)?);
        }
        let known = match &reading.value {
            Value::Member(value, _) => self.members.get(value).copied(),
            _ => None,
        };
        let before = self.terms.charge.pay_in_advance.then(|| self.inside.clone());
        if let (Some(after), Value::Member(value, _)) = (self.inside.apply(&reading, day, &self.terms, known)?, &reading.value) {
            self.members.insert(value.clone(), after);
        }
        if let Some(before) = before {
            let carried = self.terms.metric.recurring.then_some(&self.carried);
            self.inside.advance(&before, &self.terms, carried)?;
        }
        if self.terms.walks_again() {
            self.readings.push(reading);
        }
        Ok(())
    }

    fn rated(mut self) -> Result<(Usage, Rated), ChargingError> {
        let carried = self.terms.metric.recurring.then_some(&self.carried);
        if self.terms.counts_again() {
            self.terms.count_again(&mut self.inside, &self.histories);
        } else if self.terms.walks_again() {
            self.terms.read_again(&mut self.inside, carried, &self.readings)?;
        }
        Ok((self.terms.usage(&self.inside, carried)?, self.terms.billed(&self.inside, carried)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::exact::Exact;
    use crate::core::period::Period;
    use crate::core::zone::Zone;
    use crate::model::billable_metric::BillableMetric;
    use creto_kernel::Timestamp;
    use serde_json::{Map, Value as Json, json};

    fn replayed(metric: Json, charge: Json, events: &[(&str, Json)]) -> Vec<GroupUsage> {
        let (metric, charge): (BillableMetric, Charge) = (serde_json::from_value(metric).unwrap(), serde_json::from_value(charge).unwrap());
        let properties: Vec<(Timestamp, Map<String, Json>)> =
            events.iter().map(|(at, value)| (at.parse().unwrap(), value.as_object().unwrap().clone())).collect();
        let scopes: Vec<EventScope<'_>> = properties.iter().map(|(at, properties)| EventScope { code: "m", at: *at, properties }).collect();
        let period = Period { first_day: "2022-07-09".parse().unwrap(), last_day: "2022-08-08".parse().unwrap() };
        let terms = |filter| Terms::of(&metric, &charge, filter, Exact::from(100_u8), period, &Zone::utc());
        usage(&charge, &scopes, terms).unwrap()
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
