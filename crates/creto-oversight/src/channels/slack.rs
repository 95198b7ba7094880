//! Slack: a card in a room and in the direct messages of linked people, with buttons where a click may decide.
//!
//! Requests from Slack are proved by its signature over the raw body
//! (<https://docs.slack.dev/authentication/verifying-requests-from-slack>); who clicked is whoever linked that (team, user) pair by a code,
//! and nobody else, whatever Slack calls them.

mod blocks;

use creto_crypto::{Secret, kdf};
use creto_enablement_common::outbound::{Outbound, OutboundRequest, Target as Place};
use creto_kernel::Digest;
use creto_kernel::id::RequestId;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::visible::mrkdwn;
use super::{Answer, Callback, Card, Channel, ChannelError, Target, Wish};

/// How old or how far ahead a signed request may be, in seconds: Slack's own advice.
const AGE_SECS_MAX: i64 = 300;

/// What the channel is built from.
#[derive(Debug, Clone)]
pub struct SlackOptions {
    /// The Web API, `https://slack.com/api` unless somebody stands in for it.
    pub api: Place,
    /// The bot's token.
    pub bot_token: Secret,
    /// The application's signing secret.
    pub signing_secret: Secret,
    /// The room every card is posted to, if there is one.
    pub room: Option<String>,
    /// Sends.
    pub outbound: Outbound,
}

/// The channel.
#[derive(Debug)]
pub struct Slack(SlackOptions);

impl Slack {
    /// The channel over its options.
    #[must_use]
    pub const fn new(options: SlackOptions) -> Self {
        Self(options)
    }

    async fn call(&self, method: &str, body: &Value) -> Result<Value, ChannelError> {
        let path = format!("{}/{method}", self.0.api.path().trim_end_matches('/'));
        let token =
            std::str::from_utf8(self.0.bot_token.expose()).map_err(|_| ChannelError::Never("the bot's token is not text".to_owned()))?;
        let request = OutboundRequest::post_json(self.0.api.at(&path)?, body.to_string().into_bytes()).bearer(token)?;
        let answer = self.0.outbound.send(request).await?;
        if answer.status == 429 || answer.status >= 500 {
            return Err(ChannelError::Later(format!("slack answered {}", answer.status)));
        }
        let said: Value = serde_json::from_slice(&answer.body).map_err(|_| ChannelError::Later("slack's answer is not JSON".to_owned()))?;
        if said.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(said);
        }
        let error: String = said.get("error").and_then(Value::as_str).unwrap_or("unknown").chars().take(80).collect();
        // What an operator can repair is tried again; what no repetition changes is not.
        let never = matches!(
            error.as_str(),
            "channel_not_found" | "user_not_found" | "is_archived" | "message_not_found" | "cant_update_message" | "invalid_blocks"
        );
        let why = format!("slack refused: {error}");
        Err(if never { ChannelError::Never(why) } else { ChannelError::Later(why) })
    }

    fn message(card: &Card, channel: &str) -> Value {
        json!({
            "channel": channel, "text": mrkdwn(&format!("{} ({})", card.title, card.standing())), "blocks": blocks::of(card),
            "unfurl_links": false, "unfurl_media": false, "link_names": false, "parse": "none",
        })
    }

    /// Refuses a request that is not signed by Slack, or not now. The signature covers the raw body, and is compared in constant time.
    fn check(&self, callback: &Callback<'_>) -> Result<Digest, ChannelError> {
        let header = |name: &str| callback.header(name).ok_or(ChannelError::Forged("it is not signed"));
        let (stamp, signature) = (header("x-slack-request-timestamp")?, header("x-slack-signature")?);
        // Digits only: `+5` and ` 5` would be other bytes under one number.
        let at = stamp
            .parse::<i64>()
            .ok()
            .filter(|_| stamp.bytes().all(|b| b.is_ascii_digit()))
            .ok_or(ChannelError::Forged("its time is none"))?;
        let now = callback.now.as_micros().div_euclid(1_000_000);
        if now.saturating_sub(at).abs() > AGE_SECS_MAX {
            return Err(ChannelError::Forged("it is older than five minutes, or from the future"));
        }
        let tag = signature.strip_prefix("v0=").and_then(from_hex).ok_or(ChannelError::Forged("its signature is none"))?;
        let mut signed = format!("v0:{stamp}:").into_bytes();
        signed.extend_from_slice(callback.body);
        if kdf::hmac_verify(self.0.signing_secret.expose(), &signed, &tag) {
            Ok(Digest::of_parts(&[b"slack/", &signed]))
        } else {
            Err(ChannelError::Forged("its signature does not verify"))
        }
    }
}

impl Channel for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn rooms(&self) -> Vec<String> {
        self.0.room.clone().into_iter().collect()
    }

    /// A conversation or a person of the bot's own workspace, by its identifier; Slack says whether the bot may write there.
    fn takes(&self, address: &str) -> bool {
        let kind = address.bytes().next().is_some_and(|b| matches!(b, b'C' | b'D' | b'G' | b'U' | b'W'));
        kind && (2..=32).contains(&address.len()) && address.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    }

    fn send<'a>(&'a self, card: &'a Card, target: &'a Target) -> BoxFuture<'a, Result<String, ChannelError>> {
        Box::pin(async move {
            // A person's address is `team/user`; messages to a user's id go to their direct messages.
            let channel = target.address.rsplit('/').next().unwrap_or_default();
            let said = self.call("chat.postMessage", &Self::message(card, channel)).await?;
            let word = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(format!("{}/{}", word("channel"), word("ts")))
        })
    }

    fn update<'a>(&'a self, card: &'a Card, _: &'a Target, reference: &'a str) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async move {
            let (channel, ts) = reference.split_once('/').ok_or_else(|| ChannelError::Never("the card's place is none".to_owned()))?;
            let mut message = Self::message(card, channel);
            if let Some(members) = message.as_object_mut() {
                members.insert("ts".to_owned(), json!(ts));
            }
            self.call("chat.update", &message).await.map(|_| ())
        })
    }

    fn parse_callback(&self, callback: &Callback<'_>) -> Result<Answer, ChannelError> {
        let once = self.check(callback)?;
        let malformed = || ChannelError::Never("the callback is not one this server asked for".to_owned());
        let form: Vec<(String, String)> = form_urlencoded::parse(callback.body).into_owned().collect();
        let field = |name: &str| form.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        match field("payload") {
            Some(payload) => click(payload, once).ok_or_else(malformed),
            None => {
                let (team, user, channel) = (field("team_id"), field("user_id"), field("channel_id"));
                let (Some(team), Some(user), Some(channel)) = (team, user, channel) else { return Err(malformed()) };
                let code = field("text").and_then(|text| text.trim().strip_prefix("link ")).ok_or_else(malformed)?;
                let (subject, reply_to) = (format!("{team}/{user}"), format!("{channel}/{user}"));
                Ok(Answer { subject, wish: Wish::Link(code.trim().to_owned()), request: None, revision: None, reply_to, once })
            }
        }
    }

    fn reply<'a>(&'a self, reply_to: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async move {
            let (channel, user) = reply_to.split_once('/').ok_or_else(|| ChannelError::Never("nowhere to answer".to_owned()))?;
            self.call("chat.postEphemeral", &json!({ "channel": channel, "user": user, "text": mrkdwn(text) })).await.map(|_| ())
        })
    }
}

/// A click on a button of a card.
fn click(payload: &str, once: Digest) -> Option<Answer> {
    let payload: Value = serde_json::from_str(payload).ok()?;
    if payload.get("type")?.as_str()? != "block_actions" {
        return None;
    }
    let user = payload.get("user")?;
    let team = user.get("team_id").or_else(|| payload.get("team")?.get("id"))?.as_str()?;
    let user = user.get("id")?.as_str()?;
    let channel = payload.get("channel").and_then(|c| c.get("id")).and_then(Value::as_str).unwrap_or(user);
    let action = payload.get("actions")?.as_array()?.first()?;
    let mut value = action.get("value")?.as_str()?.split('|');
    let (request, revision, digest): (RequestId, u32, Digest) =
        (value.next()?.parse().ok()?, value.next()?.parse().ok()?, value.next()?.parse().ok()?);
    let wish = match action.get("action_id")?.as_str()? {
        "creto_approve" => Wish::Approve(digest),
        "creto_deny" => Wish::Deny,
        _ => return None,
    };
    Some(Answer {
        subject: format!("{team}/{user}"),
        wish,
        request: Some(request),
        revision: Some(revision),
        reply_to: format!("{channel}/{user}"),
        once,
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
        return None;
    }
    (0..32).map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use creto_enablement_common::outbound::OutboundOptions;
    use creto_kernel::Timestamp;

    use super::*;

    fn slack() -> Slack {
        Slack::new(SlackOptions {
            api: "https://slack.com/api".parse().unwrap(),
            bot_token: Secret::copy_of(b"xoxb-1"),
            signing_secret: Secret::copy_of(b"8f742231b10e8888abcd99yyyzzz85a5"),
            room: None,
            outbound: Outbound::new(OutboundOptions::default()),
        })
    }

    #[test]
    fn slacks_own_example_verifies_and_nothing_near_it_does() {
        // The example of Slack's documentation.
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let good = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let check = |stamp: &str, signature: &str, body: &str, now: i64| {
            let mut headers = http::HeaderMap::new();
            headers.insert("x-slack-request-timestamp", stamp.parse().unwrap());
            headers.insert("x-slack-signature", signature.parse().unwrap());
            slack().check(&Callback { headers: &headers, body: body.as_bytes(), now: Timestamp::from_secs(now).unwrap() }).is_ok()
        };
        assert!(check("1531420618", good, body, 1_531_420_618));
        assert!(check("1531420618", good, body, 1_531_420_918), "five minutes");
        assert!(!check("1531420618", good, body, 1_531_420_919), "older");
        assert!(!check("1531420618", good, body, 1_531_420_317), "from the future");
        assert!(!check("1531420619", good, body, 1_531_420_618));
        assert!(!check("+1531420618", good, body, 1_531_420_618));
        assert!(!check("1531420618", &good.replace("v0=", "v1="), body, 1_531_420_618));
        assert!(!check("1531420618", &good.to_uppercase(), body, 1_531_420_618));
        assert!(!check("1531420618", &good[..60], body, 1_531_420_618));
        assert!(!check("1531420618", good, &format!("{body}&x=1"), 1_531_420_618));
        assert!(!check("1531420618", "", body, 1_531_420_618));
    }
}
