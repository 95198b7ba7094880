//! `creto usage --by …`: the whole tenant's usage, step by step.

use std::process::ExitCode;

use clap::ValueEnum;
use creto_kernel::{Clock as _, SystemClock, Timestamp};
use creto_metering::core::zone::{Day, Zone};
use serde_json::{Map, Value};

use crate::cli::usage::{Measure, UsageArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, rows, safe, seconds, short, table};
use crate::failure::Failure;

const DAY_SECS: u64 = 24 * 3_600;
/// Most series that are columns of their own.
const COLUMNS_MAX: usize = 6;

/// Usage over time, as a table.
pub(super) async fn over_time(session: &Session, args: UsageArgs) -> Result<ExitCode, Failure> {
    let mut query = Vec::new();
    let mut ask = |name: &str, value: Option<String>| query.extend(value.map(|value| format!("{name}={}", encode(&value))));
    let word = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    let now = SystemClock.now();
    ask("from", args.since.map(|since| day("--since", &since, now)).transpose()?);
    ask("to", args.until.map(|until| day("--until", &until, now)).transpose()?);
    ask("by", word(args.by.and_then(|by| by.to_possible_value())));
    ask("step", word(args.step.and_then(|step| step.to_possible_value())));
    ask("code", args.metric);
    ask("property", args.property);
    let measure = args.show.unwrap_or(Measure::Cost);
    let answer = session.get(&format!("/v1/metering/usage/over-time?{}", query.join("&"))).await?;
    session.answer(&answer, |answer| drawn(answer, measure))
}

/// The day of a flag: a date, or that many days back, today being the first of them.
fn day(flag: &str, text: &str, now: Timestamp) -> Result<String, Failure> {
    if let Ok(day) = text.parse::<Day>() {
        return Ok(day.to_string());
    }
    days_back(flag, text, now)?.ok_or_else(|| {
        Failure::usage(format!("`{flag} {text}` is not whole days"), "write a date such as `2026-11-01`, or days such as `30d`")
    })
}

/// The first of so many days, of which today is the last; `None` where the duration is not whole days.
fn days_back(flag: &str, text: &str, now: Timestamp) -> Result<Option<String>, Failure> {
    let secs = seconds(flag, text)?;
    let back = i32::try_from(secs / DAY_SECS).unwrap_or(i32::MAX).saturating_sub(1);
    Ok(secs.is_multiple_of(DAY_SECS).then(|| Zone::utc().day(now).plus_days(-back).to_string()))
}

/// One end of a window of costs: a day, or a moment.
pub(super) fn edge(flag: &str, text: &str, now: Timestamp) -> Result<String, Failure> {
    if let Ok(day) = text.parse::<Day>() {
        return Ok(day.to_string());
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.to_string());
    }
    if let Some(day) = days_back(flag, text, now)? {
        return Ok(day);
    }
    let secs = i64::try_from(seconds(flag, text)?).unwrap_or(i64::MAX);
    let moment = Timestamp::from_secs(now.as_secs().saturating_sub(secs));
    moment.map(|moment| moment.to_string()).ok_or_else(|| Failure::usage(format!("`{flag} {text}` is before all time"), "go less far back"))
}

/// Steps with any usage below each other, series beside each other, sums at the end.
fn drawn(answer: &Value, measure: Measure) -> String {
    let all = rows(answer, "series");
    let (shown, rest) = all.split_at(if all.len() > COLUMNS_MAX { COLUMNS_MAX - 1 } else { all.len() });
    let whole = answer.get("total").unwrap_or(&Value::Null);
    let rest_is_told = matches!(measure, Measure::Cost | Measure::Events);
    let mut names = vec![answer.get("step").and_then(Value::as_str).unwrap_or("day").to_owned()];
    names.extend(shown.iter().map(name));
    if !rest.is_empty() {
        names.push(if rest_is_told { format!("{} more", rest.len()) } else { "more".to_owned() });
    }
    names.push("all".to_owned());
    let row = |title: String, used: &dyn Fn(&Value) -> Value| {
        let mut cells = vec![title];
        cells.extend(shown.iter().map(|series| cell(&used(series), measure)));
        if !rest.is_empty() {
            cells.push(together(&rest.iter().map(used).collect::<Vec<_>>(), measure));
        }
        cells.push(cell(&used(whole), measure));
        cells
    };
    let mut lines = Vec::new();
    for (at, step) in rows(answer, "steps").iter().enumerate() {
        let used = |series: &Value| rows(series, "points").get(at).cloned().unwrap_or(Value::Null);
        if used(whole).get("events").and_then(Value::as_i64).unwrap_or_default() != 0 || cell(&used(whole), Measure::Cost) != "0" {
            lines.push(row(safe(step.as_str().unwrap_or_default()), &used));
        }
    }
    if !lines.is_empty() {
        lines.push(row("all".to_owned(), &|series| series.get("total").cloned().unwrap_or(Value::Null)));
    }
    table(&names.iter().map(String::as_str).collect::<Vec<_>>(), &lines, "nothing was used in this time")
}

/// What a series is called: the last part of an identity; what events do not name, or all the others, in words.
fn name(series: &Value) -> String {
    match series.get("key").and_then(Value::as_str) {
        None => "others".to_owned(),
        Some("") => "(none)".to_owned(),
        Some(key) => safe(short(key)),
    }
}

fn cell(used: &Value, measure: Measure) -> String {
    let field = match measure {
        Measure::Cost => "cost",
        Measure::Events => "events",
        Measure::Units => "units",
    };
    super::answer::text(used, field)
}

/// What several used. Units of any length are not added here.
fn together(parts: &[Value], measure: Measure) -> String {
    let number = |used: &Value| cell(used, measure).parse::<creto_kernel::Micros>().unwrap_or(creto_kernel::Micros::ZERO);
    match measure {
        Measure::Units => "-".to_owned(),
        Measure::Events => parts.iter().filter_map(|used| used.get("events")?.as_i64()).sum::<i64>().to_string(),
        Measure::Cost => {
            let sum = parts.iter().map(number).fold(creto_kernel::Micros::ZERO, |sum, cost| sum.checked_add(cost).unwrap_or(sum));
            sum.to_string()
        }
    }
}

/// The query of a window of costs.
pub(super) fn window(since: Option<&str>, until: Option<&str>) -> Result<String, Failure> {
    let now = SystemClock.now();
    let mut query = Map::new();
    for (name, flag, text) in [("from", "--since", since), ("to", "--until", until)] {
        if let Some(text) = text {
            query.insert(name.to_owned(), Value::String(edge(flag, text, now)?));
        }
    }
    let parts = query.iter().map(|(name, value)| format!("{name}={}", encode(value.as_str().unwrap_or_default())));
    let parts: Vec<String> = parts.collect();
    Ok(if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flag_is_a_date_or_days_back_of_which_today_is_one() {
        let now: Timestamp = "2026-11-28T15:00:00Z".parse().unwrap();
        for (text, first) in [("2026-11-01", "2026-11-01"), ("1d", "2026-11-28"), ("30d", "2026-10-30"), ("48h", "2026-11-27")] {
            assert_eq!(day("--since", text, now).unwrap(), first, "{text}");
        }
        assert!(day("--since", "3h", now).is_err() && day("--since", "soon", now).is_err());
        for (text, edge_at) in
            [("30d", "2026-10-30"), ("3h", "2026-11-28T12:00:00.000000Z"), ("2026-11-28T01:00:00Z", "2026-11-28T01:00:00.000000Z")]
        {
            assert_eq!(edge("--since", text, now).unwrap(), edge_at, "{text}");
        }
    }

    #[test]
    fn steps_stand_below_each_other_and_what_has_no_column_is_added_up() {
        let used = |cost: &str, events: i64| json!({ "cost": cost, "events": events, "units": null });
        let series = |key: &str| json!({ "key": format!("spiffe://t/agent/{key}"), "total": used("1.5", 2), "points": [used("0", 0), used("1.5", 2)] });
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let answer = json!({
            "step": "day", "steps": ["2026-11-27", "2026-11-28"], "series": names.map(series),
            "total": { "total": used("10.5", 14), "points": [used("0", 0), used("10.5", 14)] }
        });
        let expected = "day         a    b    c    d    e    2 more  all\n2026-11-28  1.5  1.5  1.5  1.5  1.5  3       10.5\nall         1.5  1.5  1.5  1.5  1.5  3       10.5\n";
        assert_eq!(drawn(&answer, Measure::Cost), expected);
        assert!(
            drawn(&json!({ "steps": ["2026-11-27"], "total": { "points": [used("0", 0)] } }), Measure::Cost)
                .starts_with("nothing was used")
        );
    }
}
