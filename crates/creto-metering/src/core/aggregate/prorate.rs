//! Units by the days they were active: each event counts from its local day to the period's last, both included, over the period's days.

use crate::core::exact::Exact;
use crate::core::zone::Day;

/// Days ÷ period, as a fraction; 0 for a period without days.
#[must_use]
pub fn share(days: u32, period_days: u32) -> Exact {
    Exact::ratio(days, period_days).unwrap_or_default()
}

/// Units that were there from before the period, for as many days of it.
#[must_use]
pub fn persisted(units: &Exact, days: u32, period_days: u32) -> Exact {
    units * &share(days, period_days)
}

/// Σ units of a day × (days from it to `last_day`, both included) ÷ `period_days`. Days after the last count nothing.
#[must_use]
pub fn sum<'a>(days: impl IntoIterator<Item = (Day, &'a Exact)>, last_day: Day, period_days: u32) -> Exact {
    let unit_days: Exact = days.into_iter().map(|(day, units)| units * &Exact::from(day.days_through(last_day))).sum();
    unit_days.over(&Exact::from(period_days)).unwrap_or_default()
}

/// A recurring sum: what was there before the period for its days of it, and what came in it from its day on.
#[must_use]
pub fn recurring_sum<'a>(
    carried: &Exact,
    carried_days: u32,
    days: impl IntoIterator<Item = (Day, &'a Exact)>,
    last_day: Day,
    period_days: u32,
) -> Exact {
    persisted(carried, carried_days, period_days) + sum(days, last_day, period_days)
}

/// Σ active days of each value ÷ `period_days`.
#[must_use]
pub fn unique(active_days: impl IntoIterator<Item = u32>, period_days: u32) -> Exact {
    let days: u64 = active_days.into_iter().map(u64::from).sum();
    Exact::ratio(days, period_days).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_billed() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let twelve = Exact::from(12);
        let events = [(day("2023-05-26"), &twelve), (day("2023-05-26"), &twelve), (day("2023-06-01"), &twelve)];
        assert_eq!(sum(events, day("2023-05-31"), 31), Exact::ratio(144_u8, 31_u8).unwrap());
        assert_eq!(persisted(&Exact::from(5), 31, 31), Exact::from(5));
        assert_eq!(unique([31, 16], 31), Exact::ratio(47_u8, 31_u8).unwrap());
        assert_eq!(share(1, 0), Exact::ZERO);
    }
}
