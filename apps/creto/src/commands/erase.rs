//! `creto erase`.

use std::process::ExitCode;

use creto_kernel::{Clock as _, SystemClock, Timestamp};
use http::Method;
use serde_json::{Value, json};

use crate::cli::govern::EraseArgs;
use crate::commands::Session;
use crate::commands::answer::{seconds, text};
use crate::failure::Failure;

/// Erases words, once somebody said yes.
pub(super) async fn erase(session: &Session, args: EraseArgs) -> Result<ExitCode, Failure> {
    if !args.yes {
        return Err(Failure::usage("erasing cannot be undone".to_owned(), "add `--yes` to erase; what is still open is kept"));
    }
    let age = args.older_than.as_deref().map(|text| seconds("--older-than", text)).transpose()?;
    let ago = |secs: u64| Timestamp::from_secs(SystemClock.now().as_secs().saturating_sub(i64::try_from(secs).unwrap_or(i64::MAX)));
    let before = age.and_then(ago);
    let body = json!({ "request": args.request, "run": args.run, "agent": args.agent, "everybody": args.everybody, "before": before });
    session.answer(&session.send(Method::POST, "/v1/privacy/erase", &body).await?, told)
}

fn told(answer: &Value) -> String {
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut out = format!(
        "erased the words of {} actions, {} requests, {} memories and {} usage events; recorded as leaf `{}`\n",
        count("actions"),
        count("requests"),
        count("memories"),
        count("events"),
        text(answer, "leaf")
    );
    if count("events_kept") > 0 {
        out.push_str(&format!("{} usage events keep theirs until their period is final and paid\n", count("events_kept")));
    }
    out
}
