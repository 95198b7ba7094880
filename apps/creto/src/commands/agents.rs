//! `creto agent`.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::admin::{AgentCommand, DelegateArgs};
use crate::commands::Session;
use crate::commands::answer::{encode, moment, rows, safe, seconds, short, table, text};
use crate::failure::Failure;

/// Makes, lists, delegates to and stops agents.
pub(super) async fn agent(session: &Session, command: AgentCommand) -> Result<ExitCode, Failure> {
    match command {
        AgentCommand::Create { name } => {
            let answer = session.send(Method::POST, "/v1/identities", &json!({ "kind": "agent", "name": name })).await?;
            session.answer(&answer, |answer| {
                format!("made `{}`; give it authority with `creto agent delegate --to {}`\n", text(answer, "id"), safe(&name))
            })
        }
        AgentCommand::List => {
            let mut answer = session.get("/v1/identities").await?;
            if let Some(identities) = answer.get_mut("identities").and_then(Value::as_array_mut) {
                identities.retain(|identity| identity.get("kind").is_some_and(|kind| kind == "agent"));
            }
            session.answer(&answer, list)
        }
        AgentCommand::Delegate(args) => delegate(session, args).await,
        AgentCommand::Suspend { name } => change(session, &name, "suspend").await,
        AgentCommand::Resume { name } => change(session, &name, "resume").await,
        AgentCommand::Revoke { name } => change(session, &name, "revoke").await,
        AgentCommand::Key(_) => Err(Failure::protocol("keys of one's own are handled before a server is asked")),
        AgentCommand::RevokeLink { link } => {
            let answer = session.send(Method::DELETE, &format!("/v1/links/{}", encode(&link)), &json!({})).await?;
            session.answer(&answer, |answer| format!("revoked `{}` and every delegation below it\n", text(answer, "link")))
        }
    }
}

async fn change(session: &Session, name: &str, change: &str) -> Result<ExitCode, Failure> {
    let answer = session.send(Method::POST, &format!("/v1/identities/agent/{}/{change}", encode(name)), &json!({})).await?;
    session.answer(&answer, |answer| format!("`{}` is now {}\n", text(answer, "id"), text(answer, "status")))
}

async fn delegate(session: &Session, args: DelegateArgs) -> Result<ExitCode, Failure> {
    let ttl = args.ttl.as_deref().map(|text| seconds("--ttl", text)).transpose()?;
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let body = json!({
        "from": args.from, "chain": args.chain, "to": args.to, "budget": args.budget, "ttl_secs": ttl, "depth": args.depth,
        "actions": some(args.actions), "resources": some(args.resources),
    });
    let answer = session.send(Method::POST, "/v1/delegations", &body).await?;
    if !session.json {
        for hop in rows(&answer, "hops") {
            let budget =
                hop.get("budget").and_then(Value::as_str).map_or_else(|| "no budget of its own".to_owned(), |b| format!("up to {b}"));
            eprintln!("  {:<20} {budget}", short(&text(hop, "identity")));
        }
        eprintln!("link `{}`, until {}; run under it with `creto run --chain …`", text(&answer, "link"), moment(&answer, "not_after"));
    }
    session.answer(&answer, |answer| format!("{}\n", text(answer, "chain")))
}

fn list(answer: &Value) -> String {
    let rows: Vec<_> = rows(answer, "identities")
        .iter()
        .map(|agent| {
            let holder = if agent.get("custodial").and_then(Value::as_bool).unwrap_or(false) { "this server" } else { "the agent" };
            vec![text(agent, "name"), text(agent, "status"), holder.to_owned(), text(agent, "id")]
        })
        .collect();
    table(&["name", "status", "key held by", "identity"], &rows, "there are no agents; `creto run` or `creto agent create` makes one")
}
