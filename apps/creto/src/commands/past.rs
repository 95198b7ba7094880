//! `creto meter backfill`, `creto meter rerate`: what was used and billed in the past is changed only after it was shown what changes.

use std::process::ExitCode;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::cli::admin::{BackfillArgs, RerateArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, rows, table, text};
use crate::failure::Failure;

/// Shows what events of the past would change, and records them where that is confirmed.
pub(super) async fn backfill(session: &Session, args: BackfillArgs) -> Result<ExitCode, Failure> {
    let shown = args.file.display();
    let lines = std::fs::read(&args.file).map_err(|e| Failure::usage(format!("`{shown}` cannot be read: {e}"), "name a file of NDJSON"))?;
    let body = listed(&lines);
    let send = async |confirm: Option<&str>| -> Result<Value, Failure> {
        let query = confirm.map_or_else(String::new, |digest| format!("?confirm={}", encode(digest)));
        let answer = session.client.bytes(Method::POST, &format!("/v1/metering/backfill{query}"), body.clone()).await?;
        serde_json::from_slice(&answer).map_err(|e| Failure::protocol(format!("the answer to a backfill cannot be read: {e}")))
    };
    let mut answer = send(args.confirm.as_deref()).await?;
    let digest = answer.get("digest").and_then(Value::as_str).map(str::to_owned);
    if let (true, Some(digest)) = (args.yes, digest) {
        answer = send(Some(&digest)).await?;
    }
    let refused = !rows(&answer, "refused").is_empty();
    session.answer(&answer, backfilled)?;
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Lines as one list. Their bytes stay as they are, and with them every digit.
fn listed(lines: &[u8]) -> Bytes {
    let events = lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let mut body = br#"{"events":["#.to_vec();
    body.extend(events.collect::<Vec<_>>().join(&b','));
    body.extend_from_slice(b"]}");
    Bytes::from(body)
}

fn backfilled(answer: &Value) -> String {
    let mut out = String::new();
    for event in rows(answer, "refused") {
        out.push_str(&format!("`{}` {}: {}\n", text(event, "transaction_id"), text(event, "code"), text(event, "detail")));
    }
    let names = ["external_subscription_id", "from", "charge", "units_before", "units_after", "amount_before", "amount_after", "adjusts"];
    let cells = |row: &Value| names.map(|name| text(row, name)).to_vec();
    let changes: Vec<_> = rows(answer, "changes").iter().map(cells).collect();
    let heads = ["subscription", "period from", "charge", "units", "after", "amount", "after", "adjusts"];
    out.push_str(&table(&heads, &changes, "nothing would change"));
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    let recorded = answer.get("recorded").and_then(Value::as_bool).unwrap_or(false);
    let what = if recorded { "are recorded" } else { "would be recorded" };
    out.push_str(&format!("{} events {what}, {} were recorded before\n", number("events"), number("duplicates")));
    if let (false, Some(digest)) = (recorded, answer.get("digest").and_then(Value::as_str)) {
        out.push_str(&format!("record exactly this with `--confirm {digest}`\n"));
    }
    out
}

/// Shows what a final period comes to under another version of its plan, and decides it where that is confirmed.
pub(super) async fn rerate(session: &Session, args: RerateArgs) -> Result<ExitCode, Failure> {
    let path = format!("/v1/metering/subscriptions/{}/rerate", encode(&args.subscription));
    let ask = |confirm: Option<&str>| json!({ "at": args.at, "plan_version": args.plan_version, "confirm": confirm });
    let mut answer = session.send(Method::POST, &path, &ask(args.confirm.as_deref())).await?;
    let digest = text(&answer, "digest");
    if args.yes {
        answer = session.send(Method::POST, &path, &ask(Some(&digest))).await?;
    }
    session.answer(&answer, rerated)
}

fn rerated(answer: &Value) -> String {
    let cents = |row: &Value, name: &str| row.get(name).and_then(Value::as_i64).map_or_else(String::new, |cents| cents.to_string());
    let cells = |row: &Value| vec![text(row, "charge"), text(row, "units"), cents(row, "billed_cents"), cents(row, "amount_cents")];
    let changes: Vec<_> = rows(answer, "changes").iter().map(cells).collect();
    let mut out = table(&["charge", "units", "billed cents", "cents"], &changes, "it comes to the same");
    out.push_str(&format!(
        "{} from {}: {} cents more than invoice {}\n",
        text(answer, "external_subscription_id"),
        text(answer, "from"),
        cents(answer, "difference_cents"),
        text(answer, "adjusts")
    ));
    match answer.get("decided").and_then(Value::as_bool).unwrap_or(false) {
        true => out.push_str("the difference is on the next invoice\n"),
        false => out.push_str(&format!("bill exactly this with `--confirm {}`\n", text(answer, "digest"))),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_listed_with_every_digit() {
        let lines = b"{\"n\":0.10000000000000000000001}\n\n {\"n\":2}\n";
        assert_eq!(listed(lines), r#"{"events":[{"n":0.10000000000000000000001},{"n":2}]}"#);
    }

    #[test]
    fn what_would_change_ends_with_how_it_is_confirmed() {
        let change = json!({
            "external_subscription_id": "s", "from": "2026-10-01T00:00:00Z", "charge": "tokens", "units_before": "1", "units_after": "3",
            "amount_before": "0.5", "amount_after": "1.5", "adjusts": "INV-000001"
        });
        let answer = json!({ "events": 2, "duplicates": 1, "refused": [], "changes": [change], "recorded": false, "digest": "sha256:ab" });
        let shown = backfilled(&answer);
        assert!(shown.contains("INV-000001") && shown.contains("2 events would be recorded, 1 were recorded before"), "{shown}");
        assert!(shown.ends_with("`--confirm sha256:ab`\n"), "{shown}");
    }
}
