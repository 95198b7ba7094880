//! Billing periods: calendar ones and those of a subscription's own day, in local days of the customer's zone.
//!
//! A period is whole local days, both ends included. On an anniversary the anchor's day of the month is kept and clamped where a
//! month is shorter: 31 January, 28 February, 31 March. The length is the real one, never thirty days.

use creto_kernel::Timestamp;

use crate::core::zone::{Day, Zone};
use crate::model::plan::{BillingTime, Interval};

/// Days from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first day.
    pub first_day: Day,
    /// Its last day.
    pub last_day: Day,
}

impl Period {
    /// How many days it has.
    #[must_use]
    pub fn days(self) -> u32 {
        self.first_day.days_through(self.last_day)
    }

    /// Its first moment in a zone.
    #[must_use]
    pub fn from(self, zone: &Zone) -> Timestamp {
        zone.start(self.first_day)
    }

    /// The first moment after it in a zone.
    #[must_use]
    pub fn to_exclusive(self, zone: &Zone) -> Timestamp {
        zone.end(self.last_day)
    }

    /// Its last whole second in a zone, which is how Lago writes a period's end.
    #[must_use]
    pub fn last_second(self, zone: &Zone) -> Timestamp {
        let end = self.to_exclusive(zone);
        Timestamp::from_secs(end.as_secs() - 1).unwrap_or(end)
    }

    /// Whether a day is in it.
    #[must_use]
    pub fn contains(self, day: Day) -> bool {
        (self.first_day..=self.last_day).contains(&day)
    }

    /// What both periods have in common.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (first_day, last_day) = (self.first_day.max(other.first_day), self.last_day.min(other.last_day));
        (first_day <= last_day).then_some(Self { first_day, last_day })
    }
}

/// The period that a day is in. `anchor` is the subscription's first local day; a calendar's periods do not read it.
#[must_use]
pub fn containing(day: Day, interval: Interval, billing_time: BillingTime, anchor: Day) -> Period {
    let anchor = match billing_time {
        BillingTime::Anniversary => anchor,
        BillingTime::Calendar => calendar_anchor(day, interval),
    };
    let first_day = match interval.months() {
        None => day.plus_days(-weekday_distance(anchor, day)),
        Some(months) => month_boundary(day, i32::from(months), anchor),
    };
    Period { first_day, last_day: following(first_day, interval, anchor).plus_days(-1) }
}

/// The period after this one.
#[must_use]
pub fn next(period: Period, interval: Interval, billing_time: BillingTime, anchor: Day) -> Period {
    containing(period.last_day.plus_days(1), interval, billing_time, anchor)
}

/// The period before this one.
#[must_use]
pub fn previous(period: Period, interval: Interval, billing_time: BillingTime, anchor: Day) -> Period {
    containing(period.first_day.plus_days(-1), interval, billing_time, anchor)
}

/// The calendar month that is closed at a moment: the one before the moment's local month.
#[must_use]
pub fn calendar_month_closed_at(billing_at: Timestamp, zone: &Zone) -> Period {
    let first = Day::of(zone.day(billing_at).date().first_of_month());
    containing(first.plus_days(-1), Interval::Monthly, BillingTime::Calendar, first)
}

/// The month that is closed on a billing day, for a subscription whose day of the month is `anchor_day`: from that day in the month
/// before, clamped, until the day before the billing day.
#[must_use]
pub fn anniversary_month_closed_on(billing_day: Day, anchor_day: i8) -> Period {
    let month_before = Day::of(billing_day.date().first_of_month()).plus_months(-1);
    Period { first_day: clamped(month_before, anchor_day), last_day: billing_day.plus_days(-1) }
}

/// Where the calendar's period of a day is anchored: a Monday, or a first of a month that begins a quarter, a half year or a year.
fn calendar_anchor(day: Day, interval: Interval) -> Day {
    match interval.months() {
        None => day.plus_days(-i32::from(day.date().weekday().to_monday_zero_offset())),
        Some(_) => Day::of(day.date().first_of_year()),
    }
}

/// How many days `day` is after the last day that is a whole number of weeks away from `anchor`.
fn weekday_distance(anchor: Day, day: Day) -> i32 {
    let offset = |day: Day| i32::from(day.date().weekday().to_monday_zero_offset());
    (offset(day) - offset(anchor)).rem_euclid(7)
}

/// The last boundary that is not after `day`, of those every `months` months from `anchor`.
fn month_boundary(day: Day, months: i32, anchor: Day) -> Day {
    let apart = month_number(day) - month_number(anchor);
    let steps = apart.div_euclid(months);
    let boundary = |steps: i32| clamped(Day::of(anchor.date().first_of_month()).plus_months(steps * months), anchor.date().day());
    if boundary(steps) <= day { boundary(steps) } else { boundary(steps - 1) }
}

fn following(first_day: Day, interval: Interval, anchor: Day) -> Day {
    match interval.months() {
        None => first_day.plus_days(7),
        Some(months) => clamped(Day::of(first_day.date().first_of_month()).plus_months(i32::from(months)), anchor.date().day()),
    }
}

fn month_number(day: Day) -> i32 {
    i32::from(day.date().year()) * 12 + i32::from(day.date().month())
}

/// This day of the month, or the month's last where it is shorter.
fn clamped(month: Day, day_of_month: i8) -> Day {
    let first = month.date().first_of_month();
    let last = first.last_of_month();
    Day::new(first.year(), first.month(), day_of_month.clamp(1, last.day())).unwrap_or(Day::of(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn periods_are_those_of_the_calendar_or_of_the_subscriptions_own_day() {
        use BillingTime::{Anniversary, Calendar};
        use Interval::{Monthly, Quarterly, Semiannual, Weekly, Yearly};
        for (at, interval, billing_time, anchor, first, last) in [
            ("2022-02-28", Monthly, Calendar, "2021-07-15", "2022-02-01", "2022-02-28"),
            ("2026-11-22", Weekly, Calendar, "2021-07-15", "2026-11-16", "2026-11-22"),
            ("2022-06-30", Quarterly, Calendar, "2021-07-15", "2022-04-01", "2022-06-30"),
            ("2022-07-01", Semiannual, Calendar, "2021-07-15", "2022-07-01", "2022-12-31"),
            ("2022-07-01", Yearly, Calendar, "2021-07-15", "2022-01-01", "2022-12-31"),
            ("2022-02-28", Monthly, Anniversary, "2021-07-31", "2022-02-28", "2022-03-30"),
            ("2022-02-27", Monthly, Anniversary, "2021-07-31", "2022-01-31", "2022-02-27"),
            ("2020-02-29", Monthly, Anniversary, "2021-07-30", "2020-02-29", "2020-03-29"),
            ("2024-05-20", Quarterly, Anniversary, "2024-04-15", "2024-04-15", "2024-07-14"),
            ("2024-02-28", Yearly, Anniversary, "2020-02-29", "2023-02-28", "2024-02-28"),
            ("2024-02-29", Yearly, Anniversary, "2020-02-29", "2024-02-29", "2025-02-27"),
            ("2026-11-22", Weekly, Anniversary, "2026-11-18", "2026-11-18", "2026-11-24"),
            ("2026-11-17", Weekly, Anniversary, "2026-11-18", "2026-11-11", "2026-11-17"),
        ] {
            let period = containing(day(at), interval, billing_time, day(anchor));
            assert_eq!(period, Period { first_day: day(first), last_day: day(last) }, "{at} {interval:?} {billing_time:?}");
        }
    }

    #[test]
    fn a_month_is_closed_in_the_customers_zone() {
        let new_york: Zone = "America/New_York".parse().unwrap();
        let period = calendar_month_closed_at("2022-03-01T00:00:00Z".parse().unwrap(), &new_york);
        assert_eq!(period.from(&new_york), "2022-01-01T05:00:00Z".parse().unwrap());
        assert_eq!(period.to_exclusive(&new_york), "2022-02-01T05:00:00Z".parse().unwrap());
        let leap = anniversary_month_closed_on(day("2020-03-31"), 31);
        assert_eq!((leap.first_day, leap.last_day, leap.days()), (day("2020-02-29"), day("2020-03-30"), 31));
    }

    proptest! {
        #[test]
        fn periods_tile_the_calendar(
            offset in 0_i32..20_000, anchor in 0_i32..20_000, interval in 0_usize..5, anniversary: bool
        ) {
            let epoch = day("1990-01-01");
            let (at, anchor) = (epoch.plus_days(offset), epoch.plus_days(anchor));
            let interval = [Interval::Weekly, Interval::Monthly, Interval::Quarterly, Interval::Semiannual, Interval::Yearly][interval];
            let billing_time = if anniversary { BillingTime::Anniversary } else { BillingTime::Calendar };
            let period = containing(at, interval, billing_time, anchor);
            prop_assert!(period.contains(at));
            let after = next(period, interval, billing_time, anchor);
            prop_assert_eq!(after.first_day, period.last_day.plus_days(1));
            prop_assert_eq!(previous(after, interval, billing_time, anchor), period);
            prop_assert_eq!(containing(period.last_day, interval, billing_time, anchor), period);
        }
    }
}
