//! `creto meter alert`, `creto meter entitled`.

use std::process::ExitCode;

use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::admin::{AlertArgs, AlertCommand, EntitledArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, rows, table, text};
use crate::failure::Failure;

const ALERTS: &str = "/v1/metering/alerts";

/// Makes, lists and removes alerts.
pub(super) async fn alert(session: &Session, command: AlertCommand) -> Result<ExitCode, Failure> {
    match command {
        AlertCommand::Add(args) => {
            let answer = session.send(Method::POST, ALERTS, &body(&args)).await?;
            session.answer(&answer, |answer| shown(rows(answer, "alerts")))
        }
        AlertCommand::List => session.answer(&session.get(ALERTS).await?, |answer| shown(rows(answer, "items"))),
        AlertCommand::Remove { alert } => {
            let answer = session.client.json(Method::DELETE, &format!("{ALERTS}/{}", encode(&alert)), None).await?;
            session.answer(&answer, |answer| format!("`{}` is removed\n", text(answer, "code")))
        }
    }
}

fn body(args: &AlertArgs) -> Value {
    let watched = match (&args.subscription, &args.wallet) {
        (Some(subscription), _) => json!({ "subscription": subscription }),
        (None, wallet) => json!({ "wallet": wallet }),
    };
    let fixed = args.at.iter().map(|value| json!({ "value": value }));
    let thresholds: Vec<Value> = fixed.chain(args.every.iter().map(|value| json!({ "value": value, "recurring": true }))).collect();
    let mut alert = Map::from_iter([
        ("code".to_owned(), json!(args.code)),
        ("alert_type".to_owned(), json!(args.kind)),
        ("thresholds".to_owned(), thresholds.into()),
    ]);
    alert.extend(args.metric.iter().map(|metric| ("billable_metric_code".to_owned(), json!(metric))));
    json!({ "watched": watched, "alerts": [alert] })
}

fn shown(alerts: &[Value]) -> String {
    let cells = |row: &Value| {
        let watched = row.get("watched").and_then(Value::as_object).into_iter().flatten().next();
        let watched = watched.map(|(kind, name)| format!("{kind} {}", name.as_str().unwrap_or_default())).unwrap_or_default();
        let at: Vec<_> = rows(row, "thresholds").iter().map(threshold).collect();
        vec![text(row, "id"), text(row, "code"), text(row, "alert_type"), watched, at.join(", "), text(row, "value")]
    };
    let rows: Vec<_> = alerts.iter().map(cells).collect();
    table(&["alert", "code", "type", "of", "at", "last"], &rows, "no alerts yet: `creto meter alert add` makes one")
}

fn threshold(threshold: &Value) -> String {
    let recurring = threshold.get("recurring").and_then(Value::as_bool).unwrap_or(false);
    format!("{}{}", if recurring { "every " } else { "" }, text(threshold, "value"))
}

/// Answers whether a subscription is entitled; no is exit code 1.
pub(super) async fn entitled(session: &Session, args: &EntitledArgs) -> Result<ExitCode, Failure> {
    let mut path = format!("/v1/metering/subscriptions/{}/entitlements/{}", encode(&args.subscription), encode(&args.feature));
    let mut mark = '?';
    for (name, value) in [("privilege", &args.privilege), ("wanted", &args.wanted)] {
        if let Some(value) = value {
            path.push_str(&format!("{mark}{name}={}", encode(value)));
            mark = '&';
        }
    }
    let answer = session.get(&path).await?;
    let yes = answer.get("entitled").and_then(Value::as_bool).unwrap_or(false);
    session.answer(&answer, |answer| {
        let worth = answer.get("value").filter(|value| !value.is_null()).map(|value| format!(" ({value})")).unwrap_or_default();
        format!("{}{worth}\n", if yes { "yes" } else { "no" })
    })?;
    Ok(if yes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_asked_for_with_each_of_its_thresholds() {
        let args = AlertArgs {
            code: "warn".to_owned(),
            kind: "current_usage_amount".to_owned(),
            metric: None,
            subscription: Some("s".to_owned()),
            wallet: None,
            at: vec!["10".to_owned(), "20".to_owned()],
            every: Some("5".to_owned()),
        };
        let thresholds = json!([{ "value": "10" }, { "value": "20" }, { "value": "5", "recurring": true }]);
        let alert = json!({ "code": "warn", "alert_type": "current_usage_amount", "thresholds": thresholds });
        assert_eq!(body(&args), json!({ "watched": { "subscription": "s" }, "alerts": [alert] }));
    }
}
