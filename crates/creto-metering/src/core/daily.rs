//! Usage of a day by whom it is booked to, metric and model: one row for all events that share them, so that what was used over time is
//! read without an event.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use creto_kernel::Micros;
use serde::Serialize;
use utoipa::ToSchema;

use crate::core::aggregate::{DayState, Level, Value};
use crate::core::exact::Exact;
use crate::core::matching;
use crate::core::recording::{Drafted, Slot};
use crate::core::zone::Day;
use crate::model::billable_metric::Aggregation;

/// The property that says which model an event used.
pub const MODEL: &str = "model";
/// Longest name of a model that is told apart: it is part of a key, and an agent chooses it.
const MODEL_CHARS_MAX: usize = 100;

/// Which row; `S` says whom it is booked to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DailyKey<S> {
    /// The local day of the subscription.
    pub day: Day,
    /// Whom.
    pub source: S,
    /// The metric.
    pub code: String,
    /// The model; empty where the event names none.
    pub model: String,
}

/// What was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Used {
    /// How many events.
    pub events: i64,
    /// How many units were counted or summed; none where units do not add up.
    #[schema(value_type = Option<String>)]
    pub units: Option<Exact>,
    /// What was posted for it.
    #[schema(value_type = String)]
    pub cost: Micros,
}

impl Used {
    /// Nothing.
    pub const NONE: Self = Self { events: 0, units: Some(Exact::ZERO), cost: Micros::ZERO };

    /// Both together. Units that do not add up stay so; amounts saturate.
    pub fn add(&mut self, more: &Self) {
        self.events = self.events.saturating_add(more.events);
        self.cost = self.cost.checked_add(more.cost).unwrap_or(Micros::MAX);
        match (&mut self.units, &more.units) {
            (Some(units), Some(more)) => *units += more,
            (units, _) => *units = None,
        }
    }

    /// This without a part of it.
    #[must_use]
    pub fn without(mut self, part: &Self) -> Self {
        self.events = self.events.saturating_sub(part.events);
        self.cost = self.cost.checked_sub(part.cost).unwrap_or(Micros::ZERO);
        match (&mut self.units, &part.units) {
            (Some(units), Some(part)) => *units -= part,
            (units, _) => *units = None,
        }
        self
    }

    /// What an aggregate of a day says was used.
    #[must_use]
    pub fn of_day(aggregation: Aggregation, state: &DayState, cost: Micros) -> Self {
        let units = match (aggregation, &state.level) {
            (Aggregation::Count, _) => Some(Exact::from(state.events)),
            (Aggregation::Sum, Level::Sum(sum)) => Some(sum.clone()),
            _ => None,
        };
        Self { events: i64::try_from(state.events).unwrap_or(i64::MAX), units, cost }
    }
}

/// What an event says to its row.
struct Said<'a, S> {
    day: Day,
    source: S,
    code: &'a str,
    model: Cow<'a, str>,
    aggregation: Aggregation,
    value: &'a Value,
}

impl<'a, S: Copy + PartialEq> Said<'a, S> {
    /// `None` where the event counts nowhere.
    fn of(drafted: &'a Drafted, source: S, slots: &[Slot]) -> Option<Self> {
        // Every charge of the metric reads the same of the event, on the same day.
        let share = drafted.shares.first()?;
        let aggregation = slots.get(share.slot)?.terms.metric.aggregation_type;
        let event = &drafted.event;
        let model = match event.fields.get(MODEL) {
            Some(serde_json::Value::String(name)) if name.len() <= MODEL_CHARS_MAX => Cow::Borrowed(name.as_str()),
            other => Cow::Owned(other.and_then(matching::text).unwrap_or_default().chars().take(MODEL_CHARS_MAX).collect()),
        };
        Some(Self { day: share.day, source, code: &event.code, model, aggregation, value: &share.value })
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.day == other.day && self.source == other.source && self.code == other.code && self.model == other.model
    }

    fn key(&self) -> DailyKey<S> {
        DailyKey { day: self.day, source: self.source, code: self.code.to_owned(), model: self.model.clone().into_owned() }
    }

    fn add_to(&self, used: &mut Used, cost: Micros) {
        used.events = used.events.saturating_add(1);
        used.cost = used.cost.checked_add(cost).unwrap_or(Micros::MAX);
        match (self.aggregation, self.value, &mut used.units) {
            (Aggregation::Count, _, Some(units)) => *units += &Exact::ONE,
            (Aggregation::Sum, Value::Number(number), Some(units)) => *units += number,
            (_, _, units) => *units = None,
        }
    }
}

/// The row of an event, and what it adds to it at this cost.
#[must_use]
pub fn of<S: Copy + PartialEq>(drafted: &Drafted, source: S, slots: &[Slot], cost: Micros) -> Option<(DailyKey<S>, Used)> {
    let said = Said::of(drafted, source, slots)?;
    let mut used = Used::NONE;
    said.add_to(&mut used, cost);
    Some((said.key(), used))
}

/// The rows that events may change.
#[must_use]
pub fn keys(drafted: &[Drafted], slots: &[Slot]) -> Vec<DailyKey<usize>> {
    let mut keys = BTreeSet::new();
    let mut last: Option<Said<'_, usize>> = None;
    for said in drafted.iter().filter_map(|drafted| Said::of(drafted, drafted.source, slots)) {
        if !last.as_ref().is_some_and(|last| last.is_beside(&said)) {
            keys.insert(said.key());
            last = Some(said);
        }
    }
    keys.into_iter().collect()
}

/// What events with their costs add to each row. Neighbours share a row mostly, and are summed before it is looked for.
#[must_use]
pub fn sums<'a>(recorded: impl Iterator<Item = (&'a Drafted, Micros)>, slots: &[Slot]) -> BTreeMap<DailyKey<usize>, Used> {
    let mut sums: BTreeMap<DailyKey<usize>, Used> = BTreeMap::new();
    let mut add = |run: Option<(Said<'_, usize>, Used)>| {
        if let Some((said, used)) = run {
            sums.entry(said.key()).or_insert(Used::NONE).add(&used);
        }
    };
    let mut run: Option<(Said<'_, usize>, Used)> = None;
    for (drafted, cost) in recorded {
        let Some(said) = Said::of(drafted, drafted.source, slots) else { continue };
        match &mut run {
            Some((first, used)) if first.is_beside(&said) => said.add_to(used, cost),
            _ => {
                let mut used = Used::NONE;
                said.add_to(&mut used, cost);
                add(run.replace((said, used)));
            }
        }
    }
    add(run);
    sums
}
