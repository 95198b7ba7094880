//! `creto key`.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::admin::{KeyCommand, KeyCreateArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, moment, rows, seconds, short, table, text};
use crate::failure::Failure;

/// Makes, lists and ends keys.
pub(super) async fn key(session: &Session, command: KeyCommand) -> Result<ExitCode, Failure> {
    match command {
        KeyCommand::Create(args) => create(session, args).await,
        KeyCommand::List => session.answer(&session.get("/v1/keys").await?, list),
        KeyCommand::Revoke { id } => {
            let answer = session.send(Method::DELETE, &format!("/v1/keys/{}", encode(&id)), &json!({})).await?;
            session.answer(&answer, |answer| format!("revoked `{}`: whoever holds it is refused from now on\n", text(answer, "id")))
        }
    }
}

async fn create(session: &Session, args: KeyCreateArgs) -> Result<ExitCode, Failure> {
    let ttl = args.ttl.as_deref().map(|text| seconds("--ttl", text)).transpose()?;
    let body = json!({
        "role": args.role.as_str(), "name": args.name, "agent": args.agent, "chain": args.chain, "ttl_secs": ttl,
    });
    let answer = session.send(Method::POST, "/v1/keys", &body).await?;
    if !session.json {
        let (identity, id) = (text(&answer, "identity"), text(&answer, "id"));
        let until = moment(&answer, "not_after");
        // On standard error, so that the token alone can be captured.
        eprintln!("key `{id}` acts as `{}` ({}) until {until}", short(&identity), text(&answer, "role"));
        eprintln!("keep the token now, it is not shown again; `creto key revoke {id}` ends it");
    }
    session.answer(&answer, |answer| format!("{}\n", text(answer, "token")))
}

fn list(answer: &Value) -> String {
    let rows: Vec<_> = rows(answer, "keys")
        .iter()
        .map(|key| {
            let state = if key.get("revoked_at").is_some_and(|at| !at.is_null()) { "revoked" } else { "good" };
            let identity = text(key, "identity");
            vec![text(key, "id"), text(key, "role"), short(&identity).to_owned(), moment(key, "not_after"), state.to_owned()]
        })
        .collect();
    table(&["key", "role", "identity", "not after", "state"], &rows, "there are no keys; `creto key create` makes one")
}
