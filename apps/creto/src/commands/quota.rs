//! `creto quota`.

use std::process::ExitCode;

use clap::ValueEnum;
use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::quota::{AtLimitName, QuotaCommand, QuotaSetArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, rows, table, text};
use crate::failure::Failure;

/// What a subject is named that stands for each of them.
const EACH: &str = "each";

/// Defines, lists, shows and removes quotas.
pub(super) async fn quota(session: &Session, command: QuotaCommand) -> Result<ExitCode, Failure> {
    let path = |code: &str| format!("/v1/metering/quotas/{}", encode(code));
    match command {
        QuotaCommand::Set(args) => {
            let answer = session.send(Method::PUT, &path(&args.code), &body(&args)).await?;
            session.answer(&answer, |answer| format!("{}\n", sentence(answer.get("quota").unwrap_or(&Value::Null))))
        }
        QuotaCommand::List => session.answer(&session.get("/v1/metering/quotas").await?, |answer| {
            let cells = |state: &Value| {
                let quota = state.get("quota").unwrap_or(&Value::Null);
                vec![text(quota, "code"), text(quota, "metric"), whose(quota), text(quota, "window"), text(quota, "limit"), at_limit(quota)]
            };
            let rows: Vec<_> = rows(answer, "quotas").iter().map(cells).collect();
            table(&["quota", "metric", "of", "window", "limit", "at the limit"], &rows, "no quotas yet: `creto quota set` makes one")
        }),
        QuotaCommand::Show { code } => session.answer(&session.get(&path(&code)).await?, |answer| {
            let cells =
                |row: &Value| ["subject", "counted", "leased", "left", "overage", "window_end"].map(|name| text(row, name)).to_vec();
            let rows: Vec<_> = rows(answer, "subjects").iter().map(cells).collect();
            let shown = table(&["subject", "counted", "leased", "left", "overage", "until"], &rows, "nothing was counted yet");
            format!("{}\n{shown}", sentence(answer.get("quota").unwrap_or(&Value::Null)))
        }),
        QuotaCommand::Remove { code } => {
            let answer = session.client.json(Method::DELETE, &path(&code), None).await?;
            session.answer(&answer, |answer| format!("`{}` is removed\n", text(answer.get("quota").unwrap_or(&Value::Null), "code")))
        }
    }
}

fn body(args: &QuotaSetArgs) -> Value {
    let (scope, subject) = match (&args.agent, &args.root) {
        (Some(agent), _) => ("agent", Some(agent)),
        (None, Some(root)) => ("root", Some(root)),
        (None, None) => ("tenant", None),
    };
    let window = args.window.to_possible_value().map(|value| value.get_name().to_owned());
    let at_limit = match args.at_limit {
        AtLimitName::Block => "block",
        AtLimitName::Overage => "allow_with_overage",
        AtLimitName::Notify => "notify",
    };
    let mut body = Map::from_iter([
        ("metric".to_owned(), json!(args.metric)),
        ("limit".to_owned(), json!(args.limit)),
        ("scope".to_owned(), json!(scope)),
        ("window".to_owned(), json!(window)),
        ("at_limit".to_owned(), json!(at_limit)),
        ("thresholds".to_owned(), json!(args.alert)),
        ("actions".to_owned(), json!(args.action)),
        ("shadow".to_owned(), json!(args.shadow)),
    ]);
    let subject = subject.filter(|name| *name != EACH).map(|name| json!(name));
    for (name, value) in [
        ("subject", subject),
        ("window_secs", args.secs.map(Into::into)),
        ("burst", args.burst.map(Into::into)),
        ("timezone", args.timezone.clone().map(Into::into)),
        ("safe_capacity", args.safe.clone().map(Into::into)),
    ] {
        body.extend(value.map(|value| (name.to_owned(), value)));
    }
    Value::Object(body)
}

fn whose(quota: &Value) -> String {
    let scope = text(quota, "scope");
    match quota.get("subject").and_then(Value::as_str) {
        Some(_) => format!("{scope} {}", text(quota, "subject")),
        None if scope == "tenant" => scope,
        None => format!("each {scope}"),
    }
}

fn at_limit(quota: &Value) -> String {
    let shadow = quota.get("shadow").and_then(Value::as_bool).unwrap_or(false);
    if shadow { "shadow".to_owned() } else { text(quota, "at_limit") }
}

fn sentence(quota: &Value) -> String {
    let (code, limit, metric, window) = (text(quota, "code"), text(quota, "limit"), text(quota, "metric"), text(quota, "window"));
    format!("`{code}`: {limit} of {metric}, {window}, for {}; at the limit: {}", whose(quota), at_limit(quota))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_said_in_one_sentence() {
        let quota =
            json!({ "code": "calls", "metric": "actions", "scope": "agent", "window": "daily", "limit": "10", "at_limit": "block" });
        assert_eq!(sentence(&quota), "`calls`: 10 of actions, daily, for each agent; at the limit: block");
        let named =
            json!({ "code": "c", "metric": "spend", "scope": "root", "subject": "alice", "window": "total", "limit": "5", "shadow": true });
        assert!(sentence(&named).ends_with("for root alice; at the limit: shadow"));
    }
}
