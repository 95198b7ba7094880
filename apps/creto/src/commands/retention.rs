//! `creto meter retention`.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::meter::RetentionCommand;
use crate::commands::Session;
use crate::commands::answer::rows;
use crate::failure::Failure;

const PATH: &str = "/v1/metering/retention";

/// Shows, sets and enforces how long events are kept whole.
pub(super) async fn retention(session: &Session, command: RetentionCommand) -> Result<ExitCode, Failure> {
    match command {
        RetentionCommand::Show => session.answer(&session.get(PATH).await?, shown),
        RetentionCommand::Set { days, months, held_customers, held_subscriptions } => {
            let setting = json!({
                "keep_days": days, "keep_months": months, "held_customers": held_customers, "held_subscriptions": held_subscriptions,
            });
            session.answer(&session.send(Method::PUT, PATH, &setting).await?, shown)
        }
        RetentionCommand::Run => {
            let answer = session.client.json(Method::POST, &format!("{PATH}/pass"), None).await?;
            session.answer(&answer, |answer| {
                format!(
                    "{} events lost what they are not billed of; {} keep it until their period is final and paid, or on hold\n",
                    count(answer, "erased"),
                    count(answer, "kept")
                )
            })
        }
    }
}

fn count(answer: &Value, name: &str) -> i64 {
    answer.get(name).and_then(Value::as_i64).unwrap_or_default()
}

fn shown(answer: &Value) -> String {
    let setting = answer.get("retention").unwrap_or(&Value::Null);
    let kept = match (count(setting, "keep_days"), count(setting, "keep_months")) {
        (0, 0) => "for ever".to_owned(),
        (0, months) => format!("for {months} months"),
        (days, _) => format!("for {days} days"),
    };
    let mut out = format!("events keep what they are not billed of {kept}; {} lost it\n", count(answer, "erased"));
    for (what, field) in [("customer", "held_customers"), ("subscription", "held_subscriptions")] {
        for held in rows(setting, field) {
            out.push_str(&format!("on hold: {what} {}\n", crate::commands::answer::plain(held)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_said_in_a_sentence_with_its_holds() {
        let out = shown(&json!({ "retention": { "keep_months": 13, "held_customers": ["acme"] }, "erased": 7 }));
        assert_eq!(out, "events keep what they are not billed of for 13 months; 7 lost it\non hold: customer acme\n");
        assert!(shown(&json!({ "retention": {}, "erased": 0 })).contains("for ever"));
    }
}
