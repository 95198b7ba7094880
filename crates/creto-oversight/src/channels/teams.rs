//! Microsoft Teams, by a Workflows webhook: a card that links to the request. Deciding in the card would need a bot; this has none.

use creto_enablement_common::outbound::{Outbound, OutboundRequest, Target as Place};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Card, Channel, ChannelError, Target};

/// Longest action that the card shows.
const ACTION_CHARS_MAX: usize = 4_000;

/// The channel.
#[derive(Debug)]
pub struct Teams {
    url: Place,
    outbound: Outbound,
}

impl Teams {
    /// Cards go to this Workflows address; whoever knows it can post, so it is a secret.
    #[must_use]
    pub const fn new(url: Place, outbound: Outbound) -> Self {
        Self { url, outbound }
    }
}

/// An Adaptive Card 1.4. `TextBlock` reads Markdown, so texts of others stand in a `RichTextBlock`, which reads none.
fn content(card: &Card) -> Value {
    let shown: String = card.action.chars().take(ACTION_CHARS_MAX).collect();
    let rest =
        if shown.len() < card.action.len() { "This is not all of it; the page shows the rest." } else { "Read and decide on the page." };
    let text = |text: &str, mono: bool| json!({ "type": "RichTextBlock", "inlines": [{ "type": "TextRun", "text": text, "fontType": if mono { "Monospace" } else { "Default" } }] });
    let mut body = vec![text(&card.title, false), text(&format!("{} · {}", card.chain, card.standing()), false), text(&shown, true)];
    if let Some(reason) = &card.reason {
        body.push(text(&format!("untrusted, the agent says: {reason}"), false));
    }
    body.push(text(rest, false));
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body,
        "actions": [{ "type": "Action.OpenUrl", "title": "Read and decide", "url": card.url }],
    })
}

impl Channel for Teams {
    fn name(&self) -> &'static str {
        "teams"
    }

    fn rooms(&self) -> Vec<String> {
        vec!["teams".to_owned()]
    }

    fn send<'a>(&'a self, card: &'a Card, _: &'a Target) -> BoxFuture<'a, Result<String, ChannelError>> {
        Box::pin(async move {
            let attachment =
                json!({ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": content(card) });
            let body = json!({ "type": "message", "attachments": [attachment] }).to_string().into_bytes();
            let answer = self.outbound.send(OutboundRequest::post_json(self.url.clone(), body)).await?;
            match answer.status {
                200..=299 => Ok(String::new()),
                429 | 500..=599 => Err(ChannelError::Later(format!("teams answered {}", answer.status))),
                status => Err(ChannelError::Never(format!("teams refused with {status}"))),
            }
        })
    }

    /// A webhook cannot change what it posted; the page shows what holds.
    fn update<'a>(&'a self, _: &'a Card, _: &'a Target, _: &'a str) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async { Ok(()) })
    }
}
