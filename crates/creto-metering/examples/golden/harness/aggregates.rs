//! Aggregates, prorations, idempotency and periods.

use std::collections::BTreeMap;

use creto_kernel::{Digest, Timestamp};
use creto_metering::core::aggregate::unique::{self, History, Operation};
use creto_metering::core::aggregate::{self, DayState, Reading, Value as Read, prorate};
use creto_metering::core::dedupe::{self as rule, Key, Verdict};
use creto_metering::core::exact::Exact;
use creto_metering::core::period;
use creto_metering::core::zone::{Day, Zone};
use creto_metering::model::billable_metric::{Aggregation, RoundingFunction};
use serde::Deserialize;
use serde_json::Value;

use super::input::{Moment, Whole, Word, read};
use super::{Got, Outputs};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    timestamp: Moment,
    value: Exact,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberEvent {
    timestamp: Moment,
    value: Word,
    #[serde(default)]
    op: Option<Operation>,
}

/// The state of readings, each in its place of arrival.
fn state(aggregation: Aggregation, readings: impl IntoIterator<Item = (Timestamp, Read)>) -> Result<DayState, String> {
    let mut state = DayState::empty(aggregation);
    for (sequence, (at, value)) in (0_u64..).zip(readings) {
        let reading = Reading { at, sequence, value, precise_total_amount_cents: Exact::ZERO };
        state.apply(&reading).map_err(|error| error.to_string())?;
    }
    Ok(state)
}

/// A state of numbers whose moments do not matter.
fn numbers(aggregation: Aggregation, values: &[Exact]) -> Result<DayState, String> {
    state(aggregation, values.iter().map(|value| (Timestamp::EPOCH, Read::Number(value.clone()))))
}

fn units(aggregation: Aggregation, carried: Option<&DayState>, inside: &DayState) -> Result<Exact, String> {
    aggregate::units(aggregation, carried, inside, Timestamp::EPOCH, Timestamp::MAX).map_err(|error| error.to_string())
}

pub(super) fn round_units(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        value: Exact,
        function: Option<RoundingFunction>,
        precision: Option<Exact>,
    }
    let input: Input = read(input)?;
    let precision = input
        .precision
        .map(|precision| precision.to_i64().and_then(|places| i32::try_from(places).ok()).ok_or("a precision is a small whole number"));
    let value = RoundingFunction::apply(input.function, precision.transpose()?, &input.value);
    Ok(BTreeMap::from([("value", value.into())]))
}

pub(super) fn weighted_sum(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        from: Moment,
        to_exclusive: Moment,
        #[serde(default, rename = "period_days")]
        _period_days: Option<Whole>,
        initial: Exact,
        events: Vec<Event>,
    }
    let input: Input = read(input)?;
    let (from, to) = (input.from.0, input.to_exclusive.0);
    let aggregation = Aggregation::WeightedSum;
    let before = state(aggregation, [(from, Read::Number(input.initial))])?;
    let inside = state(aggregation, input.events.into_iter().map(|event| (event.timestamp.0, Read::Number(event.value))))?;
    let value = aggregate::units(aggregation, Some(&before), &inside, from, to).map_err(|error| error.to_string())?;
    Ok(BTreeMap::from([("value", value.into()), ("count", aggregate::count(None, &inside).into())]))
}

pub(super) fn prorated_sum(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        events: Vec<Event>,
        last_day: Day,
        period_days: Whole,
        timezone: Zone,
    }
    let input: Input = read(input)?;
    prorate_events(&input.events, input.last_day, input.period_days, &input.timezone, (Exact::ZERO, 0))
}

fn prorate_events(events: &[Event], last_day: Day, period_days: Whole, zone: &Zone, persisted: (Exact, u32)) -> Result<Outputs, String> {
    let (carried, carried_days) = persisted;
    let days = events.iter().map(|event| (zone.day(event.timestamp.0), &event.value));
    let prorated = prorate::recurring_sum(&carried, carried_days, days, last_day, period_days.small());
    let before = numbers(Aggregation::Sum, &[carried])?;
    let inside = numbers(Aggregation::Sum, &events.iter().map(|event| event.value.clone()).collect::<Vec<_>>())?;
    Ok(BTreeMap::from([("prorated", prorated.into()), ("value", units(Aggregation::Sum, Some(&before), &inside)?.into())]))
}

pub(super) fn prorated_persisted(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        value: Exact,
        days: Whole,
        period_days: Whole,
    }
    let input: Input = read(input)?;
    let prorated = prorate::persisted(&input.value, input.days.small(), input.period_days.small());
    Ok(BTreeMap::from([("prorated", prorated.into())]))
}

pub(super) fn prorated_recurring_sum(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        persisted: Exact,
        persisted_days: Whole,
        period_days: Whole,
        events: Vec<Event>,
        last_day: Day,
        timezone: Zone,
    }
    let input: Input = read(input)?;
    let persisted = (input.persisted, input.persisted_days.small());
    prorate_events(&input.events, input.last_day, input.period_days, &input.timezone, persisted)
}

pub(super) fn unique_count(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        events: Vec<MemberEvent>,
    }
    let input: Input = read(input)?;
    let member = |event: MemberEvent| (event.timestamp.0, Read::Member(event.value.0, event.op.unwrap_or(Operation::Add)));
    let inside = state(Aggregation::UniqueCount, input.events.into_iter().map(member))?;
    let value = units(Aggregation::UniqueCount, None, &inside)?;
    Ok(BTreeMap::from([("value", value.into()), ("count", aggregate::count(None, &inside).into())]))
}

pub(super) fn prorated_unique_count(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        from: Moment,
        last_day: Day,
        period_days: Whole,
        timezone: Zone,
        events: Vec<MemberEvent>,
    }
    let input: Input = read(input)?;
    let mut histories: BTreeMap<String, History> = BTreeMap::new();
    for (sequence, event) in (0_u64..).zip(input.events) {
        let history = histories.entry(event.value.0).or_default();
        history.insert(event.timestamp.0, sequence, event.op.unwrap_or(Operation::Add));
    }
    let days = histories.values().map(|history| unique::active_days(&history.intervals(), input.from.0, input.last_day, &input.timezone));
    Ok(BTreeMap::from([("value", prorate::unique(days, input.period_days.small()).into())]))
}

pub(super) fn latest(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        values_by_time: Vec<Exact>,
    }
    let input: Input = read(input)?;
    let inside = numbers(Aggregation::Latest, &input.values_by_time)?;
    let value = units(Aggregation::Latest, None, &inside)?;
    Ok(BTreeMap::from([("value", value.into()), ("count", aggregate::count(None, &inside).into())]))
}

pub(super) fn sum(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        before_period: Vec<Exact>,
        in_period: Vec<Exact>,
        recurring: bool,
    }
    let input: Input = read(input)?;
    let before = numbers(Aggregation::Sum, &input.before_period)?;
    let inside = numbers(Aggregation::Sum, &input.in_period)?;
    let carried = input.recurring.then_some(&before);
    let value = units(Aggregation::Sum, carried, &inside)?;
    Ok(BTreeMap::from([("value", value.into()), ("count", aggregate::count(carried, &inside).into())]))
}

pub(super) fn dedupe(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        #[serde(default, rename = "store")]
        _store: Option<String>,
        events: Vec<Sent>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sent {
        sub: Word,
        transaction_id: Word,
        timestamp: Word,
        value: Word,
    }
    let input: Input = read(input)?;
    let batch: Vec<(Key, Digest)> = input
        .events
        .iter()
        .map(|sent| {
            let key = Key { subscription: sent.sub.0.clone(), transaction_id: sent.transaction_id.0.clone() };
            (key, Digest::of(format!("{}\n{}", sent.timestamp.0, sent.value.0).as_bytes()))
        })
        .collect();
    let verdicts = rule::judge(&batch, &BTreeMap::new());
    let accepted: Vec<Got> = input
        .events
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| **verdict == Verdict::New)
        .map(|(sent, _)| value_of(&sent.value.0))
        .collect();
    let rejected: Vec<Got> = (0_u64..)
        .zip(&verdicts)
        .filter(|(_, verdict)| **verdict != Verdict::New)
        .map(|(index, _)| {
            Got::Map(BTreeMap::from([
                ("index".to_owned(), index.into()),
                ("error".to_owned(), format!("{}: {}", rule::LAGO_FIELD, rule::LAGO_CODE).into()),
                ("http".to_owned(), u64::from(rule::LAGO_STATUS).into()),
            ]))
        })
        .collect();
    Ok(BTreeMap::from([("accepted", Got::List(accepted)), ("rejected", Got::List(rejected))]))
}

fn value_of(text: &str) -> Got {
    text.parse::<Exact>().map_or_else(|_| Got::Text(text.to_owned()), Got::Number)
}

pub(super) fn period_calendar_month(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        billing_at: Moment,
        timezone: Zone,
    }
    let input: Input = read(input)?;
    let month = period::calendar_month_closed_at(input.billing_at.0, &input.timezone);
    let (from, to) = (month.from(&input.timezone), month.last_second(&input.timezone));
    Ok(BTreeMap::from([("from", from.to_string().into()), ("to", to.to_string().into())]))
}

pub(super) fn period_anniversary(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        anchor_day: Whole,
        billing_day: Day,
    }
    let input: Input = read(input)?;
    let anchor_day = i8::try_from(input.anchor_day.0).map_err(|_| "a month has no such day")?;
    let month = period::anniversary_month_closed_on(input.billing_day, anchor_day);
    Ok(BTreeMap::from([("from", month.first_day.to_string().into()), ("to", month.last_day.to_string().into())]))
}
