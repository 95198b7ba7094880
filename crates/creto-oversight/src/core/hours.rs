//! Working hours: time that counts only on some days between some hours, in a named zone.

use std::time::Duration;

use creto_kernel::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span};

use crate::model::plan::Hours;

/// Most days that are looked through for the next working hour: a zone or a calendar that has none in a year has none.
const DAYS_MAX: u32 = 366;

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// Refuses hours in an unknown zone, on no day, or that end before they begin.
pub fn check(hours: &Hours) -> Result<(), String> {
    zone(hours).ok_or_else(|| format!("`{}` is not a time zone, such as `Europe/Berlin`", hours.zone))?;
    if hours.days.is_empty() || hours.days.iter().any(|day| !(1..=7).contains(day)) {
        return Err("`days` are numbers from 1, Monday, to 7, Sunday, and at least one".to_owned());
    }
    if hours.from_minute >= hours.to_minute || hours.to_minute > DAY_MINUTES {
        return Err("`from_minute` is before `to_minute`, which is at most 1440".to_owned());
    }
    Ok(())
}

/// The moment by which `work` has passed since `from`, counting working hours only; without hours every second counts. Hours whose zone
/// is not known count every second too: a chain that never moves would be worse.
#[must_use]
pub fn after(hours: Option<&Hours>, from: Timestamp, work: Duration) -> Timestamp {
    hours.and_then(|hours| within(hours, from, work)).unwrap_or_else(|| from.saturating_add(work))
}

fn zone(hours: &Hours) -> Option<TimeZone> {
    jiff::tz::db().get(&hours.zone).ok()
}

fn within(hours: &Hours, from: Timestamp, work: Duration) -> Option<Timestamp> {
    let zone = zone(hours)?;
    let start = jiff::Timestamp::from_microsecond(from.as_micros()).ok()?;
    let mut left = SignedDuration::try_from(work).ok()?;
    let mut date = start.to_zoned(zone.clone()).date();
    for _ in 0..DAYS_MAX {
        if let Some((opens, closes)) = window(hours, &zone, date) {
            let begins = opens.max(start);
            if begins < closes {
                let room = closes.duration_since(begins);
                if left <= room {
                    let done = begins.checked_add(left).ok()?;
                    return Timestamp::from_micros(done.as_microsecond());
                }
                left = left.checked_sub(room)?;
            }
        }
        date = date.checked_add(Span::new().days(1)).ok()?;
    }
    None
}

/// The working hours of one day; a day whose clocks are put forward or back has more or less of them.
fn window(hours: &Hours, zone: &TimeZone, date: Date) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
    let day = u8::try_from(date.weekday().to_monday_one_offset()).ok()?;
    if !hours.days.contains(&day) {
        return None;
    }
    let at = |minute: u16| {
        let (date, minute) = if minute >= DAY_MINUTES { (date.checked_add(Span::new().days(1)).ok()?, 0) } else { (date, minute) };
        let time = Time::new(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0).ok()?;
        Some(date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp())
    };
    Some((at(hours.from_minute)?, at(hours.to_minute)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Hours {
        Hours { zone: "Europe/Berlin".to_owned(), days: vec![1, 2, 3, 4, 5], from_minute: 9 * 60, to_minute: 17 * 60 }
    }

    #[test]
    fn time_counts_only_in_working_hours_of_the_zone() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let hour = |n: u64| Duration::from_secs(n * 3600);
        for (from, work, to) in [
            // Friday 2026-11-20, 16:30 in Berlin: half an hour is left, the rest is on Monday.
            ("2026-11-20T15:30:00Z", hour(1), "2026-11-23T08:30:00Z"),
            // A Sunday: begins on Monday at nine.
            ("2026-11-22T12:00:00Z", hour(2), "2026-11-23T10:00:00Z"),
            // Before nine on a Tuesday.
            ("2026-11-24T05:00:00Z", hour(8), "2026-11-24T16:00:00Z"),
            // Over the end of summer time: Friday 16:00 CEST to Monday 10:00 CET.
            ("2026-10-23T14:00:00Z", hour(2), "2026-10-26T09:00:00Z"),
        ] {
            assert_eq!(after(Some(&berlin()), at(from), work), at(to), "{from}");
        }
        assert_eq!(after(None, at("2026-11-22T12:00:00Z"), hour(2)), at("2026-11-22T14:00:00Z"));
    }

    #[test]
    fn hours_that_never_come_are_refused() {
        assert!(check(&berlin()).is_ok());
        for change in [
            (|h: &mut Hours| h.zone = "Mars/Olympus".to_owned()) as fn(&mut Hours),
            |h| h.days.clear(),
            |h| h.days.push(8),
            |h| h.to_minute = h.from_minute,
            |h| h.to_minute = 1441,
        ] {
            let mut hours = berlin();
            change(&mut hours);
            assert!(check(&hours).is_err(), "{hours:?}");
        }
    }
}
