//! `creto doubts`, `creto resolve`: actions that were under way when the server stopped.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::govern::ResolveArgs;
use crate::commands::Session;
use crate::commands::answer::{encode, moment, rows, short, table, text};
use crate::failure::Failure;

/// Lists what nobody knows the outcome of.
pub(super) async fn doubts(session: &Session) -> Result<ExitCode, Failure> {
    session.answer(&session.get("/v1/actions?state=in_doubt").await?, list)
}

/// Records what a human found out.
pub(super) async fn resolve(session: &Session, args: ResolveArgs) -> Result<ExitCode, Failure> {
    let at = format!("/v1/actions/{}/resolve", encode(&args.admission));
    let answer = session.send(Method::POST, &at, &json!({ "happened": args.happened })).await?;
    session.answer(&answer, |answer| {
        let what = if args.happened { "happened" } else { "did not happen" };
        format!("on record as leaf `{}`: it {what}; its held money is released\n", text(answer, "leaf"))
    })
}

fn list(answer: &Value) -> String {
    let rows: Vec<_> = rows(answer, "actions")
        .iter()
        .map(|action| {
            let agent = text(action, "agent");
            let opened = moment(action, "opened_at");
            vec![text(action, "admission"), short(&agent).to_owned(), text(action, "action"), text(action, "resource"), opened]
        })
        .collect();
    let shown = table(&["admission", "agent", "action", "resource", "admitted"], &rows, "no action is in doubt");
    if rows.is_empty() {
        return shown;
    }
    format!("{shown}find out what came of each, then `creto resolve ADMISSION --happened` or `--did-not-happen`\n")
}
