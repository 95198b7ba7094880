//! `creto policy`.

use std::path::Path;
use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::admin::PolicyCommand;
use crate::commands::Session;
use crate::commands::answer::{moment, plain, rows, safe, short, table, text, typed};
use crate::failure::Failure;

/// Reads, checks, publishes and explains.
pub(super) async fn policy(session: &Session, command: PolicyCommand) -> Result<ExitCode, Failure> {
    match command {
        PolicyCommand::Show => {
            let answer = session.get("/v1/policy").await?;
            if !session.json {
                eprintln!("version {}, by {}, {}", text(&answer, "epoch"), author(&answer), moment(&answer, "published_at"));
            }
            session.answer(&answer, |answer| {
                let text = answer.get("text").and_then(Value::as_str).unwrap_or_default();
                format!("{}\n", text.trim_end())
            })
        }
        PolicyCommand::Publish { file, based_on } => {
            let body = json!({ "text": read(&file)?, "based_on": based_on });
            let answer = session.send(Method::PUT, "/v1/policy", &body).await?;
            session.answer(&answer, |answer| format!("in force as version {}\n", text(answer, "epoch")))
        }
        PolicyCommand::Check { file } => {
            let answer = session.send(Method::POST, "/v1/policy/dry-run", &json!({ "text": read(&file)? })).await?;
            session.answer(&answer, checked)
        }
        PolicyCommand::History => session.answer(&session.get("/v1/policy/history").await?, history),
        PolicyCommand::Explain { action, resource, chain } => {
            let body = json!({ "action": action, "resource": resource, "chain": chain });
            let answer = session.send(Method::POST, "/v1/policy/explain", &body).await?;
            session.answer(&answer, |answer| explained(answer, &action, &resource))
        }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        return typed("-".to_owned());
    }
    std::fs::read_to_string(file)
        .map_err(|e| Failure::usage(format!("the policy `{}` cannot be read: {e}", file.display()), "name a file of Cedar policies"))
}

fn author(version: &Value) -> String {
    let author = text(version, "author");
    if author == "-" { "nobody (the default)".to_owned() } else { short(&author).to_owned() }
}

fn history(answer: &Value) -> String {
    let cells = |version: &Value| vec![text(version, "epoch"), author(version), moment(version, "published_at"), text(version, "digest")];
    let rows: Vec<_> = rows(answer, "versions").iter().map(cells).collect();
    table(&["version", "by", "published", "digest"], &rows, "nothing was published; the default policy is in force")
}

/// What a policy that compiles would change.
fn checked(answer: &Value) -> String {
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (policies, compared) = (number("policies"), number("compared"));
    let mut out = format!("the policy is good: {policies} policies, {compared} past requests decided under both\n");
    let changes = rows(answer, "changes");
    for change in changes {
        let [agent, action, resource, before, after] = ["agent", "action", "resource", "before", "after"].map(|name| text(change, name));
        out.push_str(&format!("  {agent}  {action}  {resource}: {before} → {after}\n"));
    }
    if changes.is_empty() {
        out.push_str("none of them would be decided differently\n");
    }
    out.push_str("put it in force with `creto policy publish`\n");
    out
}

fn explained(answer: &Value, action: &str, resource: &str) -> String {
    let mut out = format!("`{}` on `{}`: {}\n", safe(action), safe(resource), text(answer, "why"));
    let mut list = |name: &str, label: &str| {
        for item in rows(answer, name) {
            out.push_str(&format!("  {label:>10}  {}\n", plain(item)));
        }
    };
    list("determining", "because of");
    list("rules", "asks by");
    list("errors", "error");
    if let Some(hint) = answer.get("hint").and_then(Value::as_str) {
        out.push_str(&format!("  {:>10}  {}\n", "to allow", safe(hint)));
    }
    out
}
