//! `creto oversight`.

use std::path::Path;
use std::process::ExitCode;

use creto_audit::TrustedKeys;
use creto_kernel::Coded as _;
use creto_oversight::receipt::Receipt;
use http::Method;
use serde_json::{Value, json};

use crate::cli::govern::{OversightCommand, OversightPolicyArgs, ReceiptArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, safe, show, text};
use crate::failure::Failure;

/// Verifies a receipt with nothing but keys; exit code 1 says what does not fit.
pub(super) fn verify(args: &ReceiptArgs, json: bool) -> Result<ExitCode, Failure> {
    let keys = TrustedKeys::from_json(&read(&args.trust)?)?;
    let verified = Receipt::from_json(&read(&args.receipt)?).and_then(|receipt| receipt.verify(&keys).cloned());
    match verified {
        Ok(decision) => {
            let answer = json!({ "ok": true, "decision": decision });
            show(json, &answer, |_| {
                let voters: Vec<String> =
                    decision.votes.iter().map(|vote| format!("{} by {}", vote.by.name(), vote.proof.method)).collect();
                let test = if decision.test { " MADE IN A TEST: it binds nobody." } else { "" };
                safe(&format!(
                    "the log holds it: request {} revision {} was {}, digest {}; voters: {}.{test}\n",
                    decision.request,
                    decision.revision,
                    decision.state.as_str(),
                    decision.digest,
                    voters.join(", ")
                ))
            })
        }
        Err(error) => {
            let answer = json!({ "ok": false, "code": error.code().as_str(), "detail": error.to_string() });
            show(json, &answer, |_| safe(&format!("{error} ({})\n", error.code())))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::usage(format!("`{}` cannot be read: {e}", path.display()), "name a file you may read"))
}

/// The commands that ask a server.
pub(super) async fn oversight(session: &Session, command: OversightCommand) -> Result<ExitCode, Failure> {
    match command {
        OversightCommand::Verify(args) => verify(&args, session.json),
        OversightCommand::Policy(args) => policy(session, &args).await,
        OversightCommand::Receipt { request } => {
            let path = format!("/v1/oversight/requests/{}/receipt", encode(&request));
            session.answer(&session.send(Method::GET, &path, &Value::Null).await?, |answer| format!("{answer}\n"))
        }
        OversightCommand::Kill { agent, reason } => {
            let body = json!({ "agent": agent, "reason": reason });
            session.answer(&session.send(Method::POST, "/v1/oversight/kill", &body).await?, |answer| {
                format!("`{}` is suspended; {} requests were taken back\n", text(answer, "agent"), text(answer, "requests"))
            })
        }
    }
}

async fn policy(session: &Session, args: &OversightPolicyArgs) -> Result<ExitCode, Failure> {
    let (Some(rule), Some(file)) = (&args.rule, &args.file) else {
        let answer = session.send(Method::GET, "/v1/oversight/policies", &Value::Null).await?;
        return session.answer(&answer, |answer| format!("{answer:#}\n"));
    };
    let bad = |e: serde_json::Error| Failure::usage(format!("`{}` is no JSON: {e}", file.display()), "see docs/sdd/products/oversight.md");
    let document: Value = serde_json::from_slice(&read(file)?).map_err(bad)?;
    let at = format!("/v1/oversight/policies/{}", encode(rule));
    if args.rehearse {
        let answer = session.send(Method::POST, &format!("{at}/rehearsal"), &document).await?;
        return session.answer(&answer, |answer| format!("{answer:#}\n"));
    }
    let answer = session.send(Method::PUT, &at, &json!({ "policy": document })).await?;
    session.answer(&answer, |answer| format!("version {} of `{}` is in force\n", text(answer, "version"), text(answer, "rule")))
}
