//! `creto meter quarantine`.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::meter::QuarantineCommand;
use crate::commands::Session;
use crate::commands::answer::{encode, moment, rows, short, table, text};
use crate::failure::Failure;

const PATH: &str = "/v1/metering/quarantine";
/// As many as a page of the list has.
const PAGE: usize = 100;

/// Lists, replays and discards what is kept aside.
pub(super) async fn quarantine(session: &Session, command: QuarantineCommand) -> Result<ExitCode, Failure> {
    match command {
        QuarantineCommand::List => list(session).await,
        QuarantineCommand::Keep => keep(session, true).await,
        QuarantineCommand::Refuse => keep(session, false).await,
        QuarantineCommand::Replay => replay(session).await,
        QuarantineCommand::Discard { subscription, transaction_id } => {
            let event = json!({ "external_subscription_id": subscription, "transaction_id": transaction_id });
            let answer = session.send(Method::POST, &format!("{PATH}/discard"), &event).await?;
            session.answer(&answer, |answer| format!("`{}` is let go of\n", text(answer, "transaction_id")))
        }
    }
}

/// Every page as one answer.
async fn list(session: &Session) -> Result<ExitCode, Failure> {
    let mut all = session.get(PATH).await?;
    let mut page = rows(&all, "events").to_vec();
    while let Some(last) = page.last().filter(|_| page.len() >= PAGE) {
        let next = session.get(&format!("{PATH}?after={}", encode(&text(last, "key")))).await?;
        page = rows(&next, "events").to_vec();
        if let Some(Value::Array(events)) = all.get_mut("events") {
            events.extend(page.iter().cloned());
        }
    }
    session.answer(&all, |answer| {
        let cells = |row: &Value| {
            let agent = text(row, "agent");
            let mut cells = ["transaction_id", "external_subscription_id", "code"].map(|name| text(row, name)).to_vec();
            cells.extend([short(&agent).to_owned(), moment(row, "received_at"), text(row, "reason")]);
            cells
        };
        let rows: Vec<_> = rows(answer, "events").iter().map(cells).collect();
        let keeps = answer.get("keep").and_then(Value::as_bool).unwrap_or(false);
        let setting = if keeps { "what nothing can price is kept aside" } else { "what nothing can price is refused" };
        format!("{}{setting}\n", table(&["event", "subscription", "metric", "agent", "received", "why"], &rows, "nothing is kept aside"))
    })
}

async fn keep(session: &Session, keep: bool) -> Result<ExitCode, Failure> {
    let answer = session.send(Method::PUT, PATH, &json!({ "keep": keep })).await?;
    session.answer(&answer, |_| {
        let what = if keep { "kept aside" } else { "refused" };
        format!("events that nothing can price are {what} from now on\n")
    })
}

/// All pages, one after the other; those that are still kept are named with why.
async fn replay(session: &Session) -> Result<ExitCode, Failure> {
    let (mut events, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer = session.send(Method::POST, &format!("{PATH}/replay"), &json!({ "after": after })).await?;
        events.extend(rows(&answer, "events").iter().cloned());
        after = answer.get("next").cloned().unwrap_or_default();
        if after.is_null() {
            break;
        }
    }
    session.answer(&json!({ "events": events }), replayed)
}

fn replayed(answer: &Value) -> String {
    let events = rows(answer, "events");
    let of = |status: &str| events.iter().filter(|event| event.get("status").and_then(Value::as_str) == Some(status)).collect::<Vec<_>>();
    let kept = of("kept");
    let mut out =
        format!("{} recorded, {} were recorded before, {} are still kept aside\n", of("recorded").len(), of("duplicate").len(), kept.len());
    for event in kept {
        out.push_str(&format!("  {}: {}\n", text(event, "transaction_id"), text(event, "detail")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_says_what_became_of_each_and_why_it_is_still_kept() {
        let event = |id: &str, status: &str| json!({ "transaction_id": id, "status": status, "detail": "no such metric" });
        let out = replayed(&json!({ "events": [event("a", "recorded"), event("b", "kept"), event("c", "duplicate")] }));
        assert_eq!(out, "1 recorded, 1 were recorded before, 1 are still kept aside\n  b: no such metric\n");
    }
}
