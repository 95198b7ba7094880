//! A card as Block Kit. Texts of others stand in `plain_text` and nowhere else: there nothing is markup.

use serde_json::{Value, json};

use crate::channels::Card;

/// Longest text of one block: Slack allows 3000.
const TEXT_CHARS_MAX: usize = 2_900;
/// Most blocks for the action; Slack allows 50 for all.
const PARTS_MAX: usize = 12;

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": plain(text) })
}

fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [plain(text)] })
}

/// A text in parts of at most [`TEXT_CHARS_MAX`] characters.
fn parts(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(TEXT_CHARS_MAX).map(|part| part.iter().collect()).collect()
}

/// The blocks of a card.
pub(super) fn of(card: &Card) -> Vec<Value> {
    let request = &card.request;
    let header: String = card.title.chars().take(140).collect();
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(&header) }),
        context(
            &format!("{} · risk {} · {} · revision {}", card.standing(), request.risk.as_str(), card.chain, request.revision)
                .chars()
                .take(TEXT_CHARS_MAX)
                .collect::<String>(),
        ),
    ];
    let action = parts(&card.action);
    let whole = action.len() <= PARTS_MAX;
    blocks.extend(action.iter().take(PARTS_MAX).map(|part| section(part)));
    if !whole {
        blocks.push(context("This is not all of it: open the request to read and decide it."));
    }
    for (label, text) in [("what the agent says", &card.reason), ("said with the escalation", &card.message)] {
        if let Some(text) = text {
            let shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
            let cut = if shown.len() < text.len() { " (cut; the rest is in the console)" } else { "" };
            blocks.push(context(&format!("untrusted, {label}{cut}:")));
            blocks.push(section(&shown));
        }
    }
    blocks.push(context(&format!("SHA-256 {}", request.digest)));
    blocks.push(actions(card, whole));
    blocks
}

/// Buttons decide only what was shown whole; the link is always there.
fn actions(card: &Card, whole: bool) -> Value {
    let request = &card.request;
    let value = format!("{}|{}|{}", request.id, request.revision, request.digest);
    let button = |id: &str, text: &str, style: &str, question: &str| {
        json!({
            "type": "button", "action_id": id, "text": plain(text), "style": style, "value": value,
            "confirm": { "title": plain(text), "text": plain(question), "confirm": plain(text), "deny": plain("Not now") },
        })
    };
    let mut elements = Vec::new();
    if whole && card.may_be_clicked() {
        elements.push(button("creto_approve", "Approve", "primary", "Exactly this action, once."));
        elements.push(button("creto_deny", "Deny", "danger", "The agent is told no."));
    }
    elements.push(json!({ "type": "button", "action_id": "creto_open", "text": plain("Open in the console"), "url": card.url }));
    json!({ "type": "actions", "elements": elements })
}
