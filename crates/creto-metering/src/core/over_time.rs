//! Usage over time: what days came to, by step and by what tells it apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::daily::Used;
use crate::core::zone::Day;

/// Most steps of one answer: a year of days, and some.
pub const STEPS_MAX: usize = 400;
/// Most series that are told apart; the rest is one more.
pub const SERIES_MAX: usize = 24;

/// How long each step of a series is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UsageStep)]
pub enum Step {
    /// A day.
    #[default]
    Day,
    /// A week, from its Monday on.
    Week,
    /// A calendar month.
    Month,
}

impl Step {
    /// The first day of the step that a day is in.
    #[must_use]
    pub fn first(self, day: Day) -> Day {
        let date = day.date();
        match self {
            Self::Day => day,
            Self::Week => day.plus_days(-i32::from(date.weekday().to_monday_zero_offset())),
            Self::Month => Day::new(date.year(), date.month(), 1).unwrap_or(day),
        }
    }

    fn next(self, first: Day) -> Day {
        match self {
            Self::Day => first.plus_days(1),
            Self::Week => first.plus_days(7),
            Self::Month => first.plus_months(1),
        }
    }

    /// Where a window begins that ends on this day and was asked for without a beginning: a month of days, a quarter of weeks, a year of
    /// months.
    #[must_use]
    pub fn back(self, to: Day) -> Day {
        match self {
            Self::Day => to.plus_days(-29),
            Self::Week => self.first(to).plus_days(-7 * 12),
            Self::Month => self.first(to).plus_months(-11),
        }
    }

    /// The first days of all steps that days from one to another are in; `None` where they are more than [`STEPS_MAX`].
    #[must_use]
    pub fn steps(self, from: Day, to: Day) -> Option<Vec<Day>> {
        let mut steps = Vec::new();
        let mut step = self.first(from);
        while step <= to {
            if steps.len() == STEPS_MAX {
                return None;
            }
            steps.push(step);
            let next = self.next(step);
            // The calendar ends.
            if next <= step {
                break;
            }
            step = next;
        }
        Some(steps)
    }
}

/// What one metric, agent, model or subscription used, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = UsageSeries)]
pub struct Series {
    /// Which; empty where the events name none. Of all the others together it is none.
    pub key: Option<String>,
    /// All of it.
    pub total: Used,
    /// Each step of it, as many as there are `steps`.
    pub points: Vec<Used>,
}

impl Series {
    fn empty(key: Option<String>, steps: usize) -> Self {
        Self { key, total: Used::NONE, points: vec![Used::NONE; steps] }
    }

    fn add(&mut self, at: usize, used: &Used) {
        self.total.add(used);
        if let Some(point) = self.points.get_mut(at) {
            point.add(used);
        }
    }

    /// Says no units: they are of different things.
    pub fn forget_units(&mut self) {
        self.total.units = None;
        self.points.iter_mut().for_each(|point| point.units = None);
    }

    /// Where the units of the whole do not add up, those of its parts say nothing.
    fn honest(mut self) -> Self {
        if self.total.units.is_none() {
            self.forget_units();
        }
        self
    }
}

/// The series of days, dearest first, and all of them together. What comes after the first [`SERIES_MAX`] is one series.
///
/// INVARIANT: the series of a step add up to the whole of it: what is outside of the steps is in none of them.
#[must_use]
pub fn series(step: Step, steps: &[Day], days: impl IntoIterator<Item = (Day, String, Used)>) -> (Vec<Series>, Series) {
    let mut all = Series::empty(None, steps.len());
    let mut by_key: BTreeMap<String, Series> = BTreeMap::new();
    for (day, key, used) in days {
        let Ok(at) = steps.binary_search(&step.first(day)) else { continue };
        all.add(at, &used);
        match by_key.get_mut(&key) {
            Some(series) => series.add(at, &used),
            None => {
                let mut series = Series::empty(Some(key.clone()), steps.len());
                series.add(at, &used);
                by_key.insert(key, series);
            }
        }
    }
    let mut series: Vec<Series> = by_key.into_values().collect();
    series
        .sort_by(|a, b| b.total.cost.cmp(&a.total.cost).then_with(|| b.total.events.cmp(&a.total.events)).then_with(|| a.key.cmp(&b.key)));
    if series.len() > SERIES_MAX {
        let mut others = Series::empty(None, steps.len());
        for rest in series.drain(SERIES_MAX - 1..) {
            for (at, point) in rest.points.iter().enumerate() {
                others.add(at, point);
            }
        }
        series.push(others);
    }
    (series.into_iter().map(Series::honest).collect(), all.honest())
}

#[cfg(test)]
mod tests {
    use creto_kernel::Micros;
    use proptest::prelude::*;

    use super::*;
    use crate::core::exact::Exact;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn steps_are_days_weeks_from_monday_and_calendar_months() {
        let steps = |step: Step, from: &str, to: &str| {
            step.steps(day(from), day(to)).map(|steps| steps.iter().map(Day::to_string).collect::<Vec<_>>()).unwrap_or_default()
        };
        assert_eq!(steps(Step::Day, "2024-02-28", "2024-03-01"), ["2024-02-28", "2024-02-29", "2024-03-01"]);
        // The first of November 2026 is a Sunday.
        assert_eq!(steps(Step::Week, "2026-11-01", "2026-11-09"), ["2026-10-26", "2026-11-02", "2026-11-09"]);
        assert_eq!(steps(Step::Month, "2026-11-30", "2027-01-01"), ["2026-11-01", "2026-12-01", "2027-01-01"]);
        assert_eq!(steps(Step::Day, "2026-11-02", "2026-11-01"), [""; 0]);
        assert!(Step::Day.steps(day("2024-01-01"), day("2025-02-03")).is_some());
        assert!(Step::Day.steps(day("2024-01-01"), day("2025-02-04")).is_none(), "{STEPS_MAX} at most");
        assert_eq!(Step::Day.steps(day("9999-12-30"), day("9999-12-31")).map(|steps| steps.len()), Some(2));
    }

    fn used(events: i64, units: Option<i64>, cost: i64) -> Used {
        Used { events, units: units.map(Exact::from), cost: Micros::new(cost) }
    }

    #[test]
    fn where_units_of_the_whole_do_not_add_up_none_are_said() {
        let steps = Step::Day.steps(day("2026-11-01"), day("2026-11-03")).unwrap();
        let rows = [
            (day("2026-11-01"), "users".to_owned(), used(2, None, 5)),
            (day("2026-11-02"), "tokens".to_owned(), used(1, Some(7), 9)),
            (day("2026-11-04"), "tokens".to_owned(), used(1, Some(7), 9)),
        ];
        let (series, all) = series(Step::Day, &steps, rows);
        assert_eq!(series[0].total, used(1, Some(7), 9), "what is after the last step is not counted");
        assert_eq!(series[0].points[0], used(0, Some(0), 0));
        assert!(series[1].points.iter().all(|point| point.units.is_none()));
        assert_eq!(all.total, used(3, None, 14));
    }

    proptest! {
        #[test]
        fn series_add_up_to_the_whole_however_many_there_are(
            rows in prop::collection::vec((0_i32..120, 0_u8..60, 0_i64..9, 0_i64..99, 0_i64..1_000), 0..200),
            step in prop::sample::select(vec![Step::Day, Step::Week, Step::Month])
        ) {
            let from = day("2026-01-15");
            let steps = step.steps(from, from.plus_days(119)).unwrap();
            let days: Vec<_> = rows
                .iter()
                .map(|(at, key, events, units, cost)| (from.plus_days(*at), format!("k{key}"), used(*events, Some(*units), *cost)))
                .collect();
            let mut whole = Used::NONE;
            days.iter().for_each(|(_, _, used)| whole.add(used));
            let (series, all) = series(step, &steps, days);
            prop_assert!(series.len() <= SERIES_MAX);
            prop_assert_eq!(&all.total, &whole);
            let mut totals = Used::NONE;
            series.iter().for_each(|series| totals.add(&series.total));
            prop_assert_eq!(totals, whole);
            for at in 0..steps.len() {
                let mut point = Used::NONE;
                series.iter().for_each(|series| point.add(&series.points[at]));
                prop_assert_eq!(&point, &all.points[at]);
            }
        }
    }
}
