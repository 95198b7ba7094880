//! `creto webhooks`.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::channels::{WebhookAddArgs, WebhooksCommand};
use crate::commands::Session;
use crate::commands::answer::{encode, moment, rows, seconds, table, text};
use crate::failure::Failure;

/// Makes, lists, rotates and ends endpoints.
pub(super) async fn webhooks(session: &Session, command: WebhooksCommand) -> Result<ExitCode, Failure> {
    let at = |id: &str, rest: &str| format!("/v1/webhooks/{}{rest}", encode(id));
    match command {
        WebhooksCommand::List => session.answer(&session.get("/v1/webhooks").await?, list),
        WebhooksCommand::Add(args) => add(session, args).await,
        WebhooksCommand::Remove { id } => {
            let answer = session.send(Method::DELETE, &at(&id, ""), &json!({})).await?;
            session.answer(&answer, |answer| format!("removed `{}`: nothing is sent there any more\n", text(answer, "id")))
        }
        WebhooksCommand::Rotate { id, overlap } => {
            let overlap = overlap.as_deref().map(|text| seconds("--overlap", text)).transpose()?;
            let answer = session.send(Method::POST, &at(&id, "/rotate"), &json!({ "overlap_secs": overlap })).await?;
            secret(session, &answer)
        }
        WebhooksCommand::Test { id } => {
            let answer = session.send(Method::POST, &at(&id, "/test"), &json!({})).await?;
            session.answer(&answer, |answer| format!("sending `{}`; see `creto webhooks deliveries {id}`\n", text(answer, "message")))
        }
        WebhooksCommand::Deliveries { id } => session.answer(&session.get(&at(&id, "/deliveries")).await?, deliveries),
        WebhooksCommand::Replay { id, message } => {
            let path = at(&id, &format!("/deliveries/{}/replay", encode(&message)));
            let answer = session.send(Method::POST, &path, &json!({})).await?;
            session.answer(&answer, |answer| format!("sending `{}` again\n", text(answer, "message")))
        }
    }
}

async fn add(session: &Session, args: WebhookAddArgs) -> Result<ExitCode, Failure> {
    let answer = session.send(Method::POST, "/v1/webhooks", &json!({ "url": args.url, "events": args.events })).await?;
    secret(session, &answer)
}

/// The secret alone on standard output, so that it can be captured.
fn secret(session: &Session, answer: &Value) -> Result<ExitCode, Failure> {
    if !session.json {
        let endpoint = answer.get("endpoint").unwrap_or(&Value::Null);
        eprintln!("events go to `{}` as `{}`", text(endpoint, "url"), text(endpoint, "id"));
        eprintln!("keep the secret now, it is not shown again; receivers check signatures with it (Standard Webhooks)");
    }
    session.answer(answer, |answer| format!("{}\n", text(answer, "secret")))
}

fn list(answer: &Value) -> String {
    let rows: Vec<_> = rows(answer, "webhooks")
        .iter()
        .map(|hook| {
            let events = hook.get("events").and_then(Value::as_array).map(|all| {
                let words: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
                words.join(" ")
            });
            let events = events.filter(|words| !words.is_empty()).unwrap_or_else(|| "all".to_owned());
            vec![text(hook, "id"), text(hook, "state"), events, text(hook, "url")]
        })
        .collect();
    table(&["endpoint", "state", "events", "url"], &rows, "nobody is told; `creto webhooks add URL` adds an endpoint")
}

fn deliveries(answer: &Value) -> String {
    let rows: Vec<_> = rows(answer, "deliveries")
        .iter()
        .map(|sent| {
            let next = if text(sent, "state") == "pending" { moment(sent, "due") } else { String::new() };
            let attempts = sent.get("attempts").map(ToString::to_string).unwrap_or_default();
            vec![text(sent, "message"), text(sent, "type"), text(sent, "state"), attempts, next, text(sent, "problem")]
        })
        .collect();
    table(&["message", "type", "state", "attempts", "next", "problem"], &rows, "nothing was sent yet")
}
