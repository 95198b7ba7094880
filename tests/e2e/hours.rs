//! Steps, reminders and working hours through the real binary. Hours are chosen by the present time, in a zone where it is noon or where it
//! is midnight now, so that these tests are the same at any hour of any day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{Cast, Client, Home, Options, Server, Sink, list, text};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// When work begins, as an hour of the day.
const OPENS: u64 = 9;
/// The shortest time between two reminders that a document may ask for.
const REMIND_SECS: u64 = 60;
/// How long a reminder may take on a loaded machine.
const REMINDED_MAX: Duration = Duration::from_secs(REMIND_SECS + 60);

/// A zone without summer time where it is this hour of the day now, and how far east of Greenwich it is, in seconds.
fn zone_where_it_is(hour: u64) -> (String, i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / HOUR % 24;
    let east = i64::try_from((hour + 24 - now) % 24).unwrap();
    let east = if east > 14 { east - 24 } else { east };
    // The names of these zones have the sign of POSIX: what is east of Greenwich is negative.
    (format!("Etc/GMT{:+}", -east), east * 3600)
}

/// Nine to five, seven days a week.
fn hours(zone: &str) -> Value {
    json!({ "zone": zone, "days": [1, 2, 3, 4, 5, 6, 7], "from_minute": OPENS * 60, "to_minute": 17 * 60 })
}

/// Seconds since 1970 of a time the API tells (days from a date: H. Hinnant, `days_from_civil`).
pub(crate) fn seconds(told: &Value) -> u64 {
    let told = told.as_str().unwrap_or_else(|| panic!("no time: {told}"));
    let number = |from: usize, to: usize| told[from..to].parse::<u64>().unwrap();
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    days * DAY + number(11, 13) * HOUR + number(14, 16) * 60 + number(17, 19)
}

/// When work begins next in a zone so far east, for whoever asks before it begins.
fn opens_after(asked: u64, east: i64) -> u64 {
    let local = asked.checked_add_signed(east).unwrap();
    assert!(local % DAY < OPENS * HOUR, "it is too early for work there");
    (local - local % DAY + OPENS * HOUR).checked_add_signed(-east).unwrap()
}

/// Asks under a document of its own: what was asked before keeps the document it was asked under.
fn asked(cast: &Cast, invoice: &str, steps: Value, hours: Value, timeout_secs: u64) -> Value {
    let document = json!({
        "requirement": { "at_least": { "count": 1, "of": ["role:approver"] } }, "separation": "agents", "steps": steps, "hours": hours
    });
    cast.operator.put("/v1/oversight/policies/require_approval", json!({ "policy": document })).ok();
    let action = json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "invoice": invoice }, "wait_secs": 0,
        "timeout_secs": timeout_secs
    });
    let asked = cast.agent.post("/v1/actions", action).ok();
    cast.approver.get(&format!("/v1/oversight/requests/{}", text(&asked, "request"))).ok()
}

/// The request once something happened to it after what was seen.
fn after(approver: &Client, seen: &Value) -> Value {
    approver.get(&format!("/v1/oversight/requests/{}/watch?seen={}&wait_secs=50", text(seen, "id"), seen["seq"])).ok()
}

fn events(approver: &Client, request: &Value) -> Vec<String> {
    let history = approver.get(&format!("/v1/oversight/requests/{}/history", text(request, "id"))).ok();
    list(&history, "events").iter().map(|event| text(&event["event"], "type").to_owned()).collect()
}

fn world() -> (Home, Server, Cast) {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    (home, server, cast)
}

#[test]
fn steps_and_reminders_wait_for_working_hours_and_deadlines_do_not() {
    let (_home, _server, cast) = world();
    let (zone, east) = zone_where_it_is(0);
    let chain = || json!([{ "after_secs": 1 }, { "after_secs": HOUR }]);

    let waits = asked(&cast, "a step", chain(), hours(&zone), DAY);
    assert_eq!(seconds(&waits["due_at"]), opens_after(seconds(&waits["opened_at"]), east) + 1, "{waits}");
    let step = json!([{ "after_secs": 7 * DAY, "remind_secs": REMIND_SECS }]);
    let waits = asked(&cast, "a reminder", step, hours(&zone), DAY);
    assert_eq!(seconds(&waits["due_at"]), opens_after(seconds(&waits["opened_at"]), east) + REMIND_SECS, "{waits}");

    // A deadline is absolute: it passes at night too, and no step begins before.
    let ends = asked(&cast, "a deadline", chain(), hours(&zone), 3);
    assert_eq!(ends["due_at"], ends["deadline"]);
    let ended = after(&cast.approver, &ends);
    assert_eq!((text(&ended, "state"), &ended["step"]), ("timed_out", &json!(0)), "{ended}");
    assert_eq!(events(&cast.approver, &ended), ["opened", "timed_out"]);

    // Where it is noon, the same chain goes on after its second.
    let (zone, _) = zone_where_it_is(12);
    let waits = asked(&cast, "at noon", chain(), hours(&zone), DAY);
    assert_eq!(seconds(&waits["due_at"]), seconds(&waits["opened_at"]) + 1, "{waits}");
    let reached = after(&cast.approver, &waits);
    assert_eq!((text(&reached, "state"), &reached["step"]), ("pending", &json!(1)), "{reached}");
    assert_eq!(events(&cast.approver, &reached), ["opened", "escalated"]);
    assert_eq!(reached["due_at"], reached["deadline"], "the last step has no end of its own");
    let answered = cast.approver.post(&format!("/v1/oversight/requests/{}/deny", text(&reached, "id")), json!({ "comment": "no" }));
    answered.ok();
    let denied = cast.approver.get(&format!("/v1/oversight/requests/{}", text(&reached, "id"))).ok();
    assert_eq!(denied["due_at"], Value::Null, "time changes nothing of what was decided");
}

#[test]
fn a_reminder_is_told_once_though_the_server_was_killed_and_not_while_somebody_takes_care() {
    let sink = Sink::new();
    let home = Home::new();
    let options = Options { more: sink.allowed(), ..Options::default() };
    let server = home.serve(&options);
    let cast = Cast::of(&server, &server.owner());
    cast.operator.post("/v1/webhooks", json!({ "url": sink.url() })).ok();
    let (zone, _) = zone_where_it_is(12);
    let step = || json!([{ "after_secs": 7 * DAY, "remind_secs": REMIND_SECS }]);
    let waits = asked(&cast, "INV-1", step(), hours(&zone), DAY);
    let cared_for = asked(&cast, "INV-2", step(), hours(&zone), DAY);
    assert_eq!(seconds(&waits["due_at"]), seconds(&waits["opened_at"]) + REMIND_SECS);
    let cared_for = cast.approver.post(&format!("/v1/oversight/requests/{}/acknowledge", text(&cared_for, "id")), json!({})).ok();
    assert_eq!(cared_for["due_at"], cared_for["deadline"], "whoever takes care of it needs no reminder: {cared_for}");

    server.kill();
    let server = home.serve(&options);
    let cast = Cast::of(&server, &server.owner());
    let request = text(&waits, "id");
    let told = sink.event("oversight.reminder", request, REMINDED_MAX);
    assert_eq!(told["data"]["state"], "pending", "{told}");
    let reminded = cast.approver.get(&format!("/v1/oversight/requests/{request}")).ok();
    assert_eq!(events(&cast.approver, &reminded), ["opened", "reminded"]);
    assert!(seconds(&reminded["due_at"]) >= seconds(&waits["due_at"]) + REMIND_SECS, "and again as long after: {reminded}");
    assert_eq!(events(&cast.approver, &cared_for), ["opened", "acknowledged"]);
}
