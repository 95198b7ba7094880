//! Customers' time zones and their local days. The zone rules are compiled in: the same binary bills the same days everywhere.

use std::fmt;
use std::str::FromStr;

use creto_kernel::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::definition::DefinitionError;

/// A day of a calendar, without a zone: `2026-11-22`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

impl Day {
    /// The day of this date; `None` where there is none, such as 30 February.
    #[must_use]
    pub fn new(year: i16, month: i8, day: i8) -> Option<Self> {
        Date::new(year, month, day).ok().map(Self)
    }

    /// Its date.
    #[must_use]
    pub const fn date(self) -> Date {
        self.0
    }

    /// The day of a calendar date.
    #[must_use]
    pub const fn of(date: Date) -> Self {
        Self(date)
    }

    /// So many days later; held at the calendar's ends.
    #[must_use]
    pub fn plus_days(self, days: i32) -> Self {
        Self(self.0.saturating_add(days.days()))
    }

    /// So many months later, on the same day or the month's last; held at the calendar's ends.
    #[must_use]
    pub fn plus_months(self, months: i32) -> Self {
        Self(self.0.saturating_add(months.months()))
    }

    /// Days from this day to `last`, both included; 0 where `last` is before it.
    #[must_use]
    pub fn days_through(self, last: Self) -> u32 {
        let between = self.0.until(last.0).map_or(0, |span: Span| span.get_days());
        u32::try_from(between.saturating_add(1)).unwrap_or(0)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Day {
    type Err = DefinitionError;
    fn from_str(text: &str) -> Result<Self, DefinitionError> {
        // The calendar library reads a date out of a moment too; a day is ten characters.
        let refused =
            || DefinitionError::new("day", format!("`{}` is not a date such as `2026-11-22`", text.chars().take(40).collect::<String>()));
        if text.len() != 10 {
            return Err(refused());
        }
        text.parse::<Date>().map(Self).map_err(|_| refused())
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An IANA time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// Its IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The local day of a moment.
    #[must_use]
    pub fn day(&self, at: Timestamp) -> Day {
        let moment = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Day(self.zone.to_datetime(moment).date())
    }

    /// The first moment of a local day: midnight, or when clocks skip it, the moment after the gap.
    #[must_use]
    pub fn start(&self, day: Day) -> Timestamp {
        let start = self.zone.to_ambiguous_zoned(day.0.at(0, 0, 0, 0)).compatible().map(|zoned| zoned.timestamp().as_microsecond());
        let lowest = || Timestamp::from_micros(start.as_ref().map_or(0, |micros| *micros));
        match start {
            Ok(micros) => Timestamp::from_micros(micros).or_else(lowest).unwrap_or(Timestamp::MAX),
            Err(_) => Timestamp::MAX,
        }
    }

    /// The first moment after a local day.
    #[must_use]
    pub fn end(&self, day: Day) -> Timestamp {
        self.start(day.plus_days(1))
    }
}

impl FromStr for Zone {
    type Err = DefinitionError;
    fn from_str(text: &str) -> Result<Self, DefinitionError> {
        let zone = TimeZone::get(text).map_err(|_| {
            DefinitionError::new(
                "timezone",
                format!("`{}` is not an IANA zone such as `Europe/Paris`", text.chars().take(60).collect::<String>()),
            )
        })?;
        let name = zone.iana_name().unwrap_or(text).to_owned();
        Ok(Self { name, zone })
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn local_days_follow_the_zone_and_its_daylight_saving() {
        for (zone, moment, day) in [
            ("UTC", "2026-03-29T23:59:59Z", "2026-03-29"),
            ("America/New_York", "2022-03-01T00:00:00Z", "2022-02-28"),
            ("Asia/Kolkata", "2022-02-28T18:30:00Z", "2022-03-01"),
            ("Pacific/Kiritimati", "2022-02-28T10:00:00Z", "2022-03-01"),
        ] {
            assert_eq!(zone.parse::<Zone>().unwrap().day(at(moment)), day.parse().unwrap(), "{zone}");
        }
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let spring: Day = "2026-03-29".parse().unwrap();
        assert_eq!((berlin.start(spring), berlin.end(spring)), (at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z")));
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_after_the_gap() {
        // Clocks in Beirut went from 00:00 to 01:00 on this day.
        let beirut: Zone = "Asia/Beirut".parse().unwrap();
        let day: Day = "2022-03-27".parse().unwrap();
        assert_eq!(beirut.start(day), at("2022-03-26T22:00:00Z"));
        assert_eq!(beirut.day(beirut.start(day)), day);
    }

    #[test]
    fn days_count_both_ends_and_months_clamp() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        assert_eq!(day("2024-02-28").days_through(day("2024-03-01")), 3);
        assert_eq!(day("2024-02-28").days_through(day("2024-02-28")), 1);
        assert_eq!(day("2024-02-28").days_through(day("2024-02-01")), 0);
        assert_eq!(day("2024-01-31").plus_months(1), day("2024-02-29"));
        for bad in ["2024-02-30", "2024-2-3", "20240203", "", "2024-02-03T00:00"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        assert!("Mars/Olympus".parse::<Zone>().is_err());
    }
}
