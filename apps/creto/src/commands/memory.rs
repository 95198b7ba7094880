//! `creto memory`: what this agent remembers, under its own identity.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use crate::cli::agent::{MemoryArgs, MemoryCommand};
use crate::commands::answer::{encode, moment, print, rows, show, table, text, typed};
use crate::commands::remote::Remote;
use crate::failure::Failure;

/// Remembers, finds, reads and forgets.
pub(super) async fn memory(args: MemoryArgs, json: bool) -> Result<ExitCode, Failure> {
    let remote = Remote::as_agent(&args.reach)?;
    match args.command {
        MemoryCommand::Put { text: words, source, action, supersedes } => {
            let body = json!({ "text": typed(words)?, "source": source, "action": action, "supersedes": supersedes });
            let answer = remote.json(Method::POST, "/v1/memory", Some(&body)).await?;
            show(json, &answer, |answer| format!("{}\n", text(answer, "id")))
        }
        MemoryCommand::Search { words, limit } => {
            let answer = remote.json(Method::GET, &format!("/v1/memory?q={}&limit={limit}", encode(&words.join(" "))), None).await?;
            show(json, &answer, found)
        }
        MemoryCommand::Get { id, raw } => {
            let query = if raw { "?raw=true" } else { "" };
            let answer = remote.json(Method::GET, &format!("/v1/memory/{}{query}", encode(&id)), None).await?;
            match answer.get("raw").and_then(Value::as_str) {
                Some(raw) if !json => print(raw).map(|()| ExitCode::SUCCESS),
                _ => show(json, &answer, describe),
            }
        }
        MemoryCommand::Forget { id } => {
            let answer = remote.json(Method::DELETE, &format!("/v1/memory/{}", encode(&id)), None).await?;
            show(json, &answer, |answer| {
                format!("forgot `{}`: its text is erased, that it was recorded stays on the log\n", text(answer, "id"))
            })
        }
    }
}

fn found(answer: &Value) -> String {
    let cells = |item: &Value| vec![text(item, "id"), moment(item, "valid_from"), escaped(item, "source"), escaped(item, "text")];
    let rows: Vec<_> = rows(answer, "items").iter().map(cells).collect();
    table(&["item", "valid from", "source", "text"], &rows, "nothing was found that has every word")
}

fn describe(item: &Value) -> String {
    let mut out = format!("{}  {}\n", text(item, "id"), escaped(item, "text"));
    let mut line = |label: &str, value: String| out.push_str(&format!("  {label:>10}  {value}\n"));
    line("source", escaped(item, "source"));
    line("author", text(item, "author"));
    line("valid", format!("{} to {}", moment(item, "valid_from"), moment(item, "valid_to")));
    for (name, label) in [("action", "reason of"), ("supersedes", "corrects"), ("leaf", "leaf")] {
        if item.get(name).is_some_and(|value| !value.is_null()) {
            line(label, text(item, name));
        }
    }
    out
}

/// A text that the server has escaped: what it left to escape is escaped, what it did is not done twice.
fn escaped(item: &Value, name: &str) -> String {
    text(item, name).replace(r"\\", r"\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_once_wherever_it_comes_from() {
        let item = json!({ "text": "a\\nb \\\\ \u{1b}" });
        assert_eq!(escaped(&item, "text"), r"a\nb \\ \u{1b}");
    }
}
