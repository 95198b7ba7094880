//! `creto msg`: end-to-end messages, sealed and opened here. The server gets what it cannot read.
//!
//! The keys live in one sealed file (`$CRETO_MSG_STATE`, else `~/.local/share/creto-msg/<agent>.state`), its key beside it. Whoever
//! loses the file loses the sessions: peers then see another identity key and refuse it until somebody tells them.

mod state;

use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use creto_kernel::id::MessageId;
use creto_kernel::{Clock as _, Coded as _, Digest, NhiId, SystemClock, Timestamp};
use creto_messaging::model::bundle::ONE_TIME_KEYS_MAX;
use creto_messaging::{Agent, Authorization, FileStore, MessagingError, Mode, Purpose, Received, SealedMessage, SystemEntropy};
use http::Method;
use serde_json::{Value, json};

use crate::cli::agent::{MsgArgs, MsgCommand};
use crate::commands::answer::{encode, print, rows, safe, seconds, short, show, text, typed};
use crate::commands::remote::Remote;
use crate::failure::Failure;

/// One-time keys of each kind in one publication.
const ONE_TIME_KEYS: usize = 50;
/// Fewer unused one-time keys than this, and more are published.
const STOCK_LOW: u64 = 10;
/// A signed prekey is replaced a week before it ends (it lives two).
const SIGNED_LEFT_MIN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Messages fetched at once.
const BATCH: usize = 50;
/// How often a waiting receiver looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// This agent's end: its state here, and the way to the server.
struct End {
    remote: Remote,
    agent: Agent<FileStore>,
    id: NhiId,
}

/// Sends, receives, publishes.
pub(super) async fn msg(args: MsgArgs, json: bool) -> Result<ExitCode, Failure> {
    let remote = Remote::as_agent(&args.reach)?;
    let whoami = remote.whoami().await?;
    let id: NhiId = whoami
        .get("identity")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .parse()
        .map_err(|_| Failure::protocol("the server does not say who we are"))?;
    let agent = state::open(&id)?;
    let end = End { remote, agent, id };
    match args.command {
        MsgCommand::Publish => {
            let stock = end.publish().await?;
            show(json, &stock, |stock| format!("published: {} unused one-time keys of each kind\n", text(stock, "kem_once")))
        }
        MsgCommand::Send { to, text: words, expires, wait, purpose, fresh } => {
            end.keep_published().await?;
            let lifetime = Duration::from_secs(seconds("--expires", &expires)?);
            let authorization = end.authorization(&purpose, lifetime).await?;
            let way = Way { to: &to, authorization, fresh, wait_secs: seconds("--wait", &wait)? };
            let message = end.send(&way, &typed(words)?).await?;
            show(json, &json!({ "message": message, "to": to }), |_| format!("delivered to `{}`, sealed for it alone\n", safe(&to)))
        }
        MsgCommand::Receive { wait, discard } => {
            end.keep_published().await?;
            let patience = wait.as_deref().map(|text| seconds("--wait", text)).transpose()?.map_or(Duration::ZERO, Duration::from_secs);
            end.receive(patience, discard, json).await
        }
    }
}

/// How a message goes.
struct Way<'a> {
    to: &'a str,
    authorization: Authorization,
    fresh: bool,
    wait_secs: u64,
}

impl End {
    /// Publishes where nothing of ours is published, where little is left, and where the signed key is about to end.
    async fn keep_published(&self) -> Result<(), Failure> {
        let known = self.remote.json(Method::GET, "/v1/messaging/prekeys", None).await?;
        let ours = state::statement(&self.agent, &self.id)?.key_id().to_string();
        let left = |name: &str| known.get(name).and_then(Value::as_u64).unwrap_or(0);
        let until = known.get("signed_not_after").and_then(Value::as_str).and_then(|time| time.parse::<Timestamp>().ok());
        let fine = known.get("key").and_then(Value::as_str) == Some(ours.as_str())
            && left("agreement_once").min(left("kem_once")) >= STOCK_LOW
            && until.is_some_and(|until| until.since(SystemClock.now()) >= SIGNED_LEFT_MIN);
        if !fine {
            self.publish().await?;
        }
        Ok(())
    }

    async fn publish(&self) -> Result<Value, Failure> {
        state::statement(&self.agent, &self.id)?;
        let publication = self.agent.publication(ONE_TIME_KEYS.min(ONE_TIME_KEYS_MAX), &mut SystemEntropy)?.to_bytes();
        self.remote.octets(Method::POST, "/v1/messaging/prekeys", Bytes::from(publication)).await?.json("/v1/messaging/prekeys")
    }

    /// What the message is bound to: the authority it is sent under and the policy in force, as the server names them.
    async fn authorization(&self, purpose: &str, lifetime: Duration) -> Result<Authorization, Failure> {
        let named = self.remote.json(Method::GET, "/v1/messaging/authority", None).await?;
        let digest = |name: &str| -> Result<Digest, Failure> {
            named
                .get(name)
                .and_then(Value::as_str)
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Failure::protocol(format!("the server names no {name}")))
        };
        let purpose = Purpose::new(purpose).map_err(|_| {
            Failure::usage(format!("`{}` is not a purpose", safe(purpose)), "use 1 to 64 small letters, digits, `_`, `.` and `-`")
        })?;
        let expires = SystemClock.now().saturating_add(lifetime);
        Ok(Authorization { decision: digest("decision")?, policy: digest("policy")?, purpose, expires })
    }

    async fn send(&self, way: &Way<'_>, words: &str) -> Result<MessageId, Failure> {
        self.send_left_over(way.wait_secs).await?;
        let peer = NhiId::new(self.id.trust_domain(), self.id.tenant(), creto_kernel::NhiKind::Agent, way.to)
            .map_err(|e| Failure::usage(e.to_string(), "name an agent of your tenant"))?;
        if way.fresh || !self.agent.has_session(&peer)? {
            self.open_session(&peer, &way.authorization).await?;
        }
        let message = MessageId::generate();
        let seal = || self.agent.send(&peer, message, words.as_bytes(), &way.authorization, &mut SystemEntropy);
        let sealed = match seal() {
            // Too many without an answer: a new session starts a new chain.
            Err(MessagingError::ChainExhausted) => {
                self.open_session(&peer, &way.authorization).await?;
                seal()?
            }
            sealed => sealed?,
        };
        let delivered = self.deliver(&sealed, way.wait_secs).await;
        if delivered.as_ref().is_ok_and(|answer| answer.status < 500) {
            // Taken or refused: either way it is not sent again behind the program's back.
            self.agent.sent(message)?;
        }
        delivered?.good()?;
        Ok(message)
    }

    async fn open_session(&self, peer: &NhiId, authorization: &Authorization) -> Result<(), Failure> {
        let bundle = self.remote.octets(Method::GET, &format!("/v1/messaging/bundles/{}", encode(peer.name())), Bytes::new()).await?;
        self.agent.open_session(peer, &bundle.body, None, Mode::Accountable, authorization.clone(), &mut SystemEntropy)?;
        Ok(())
    }

    async fn deliver(&self, sealed: &SealedMessage, wait_secs: u64) -> Result<crate::commands::remote::Answer, Failure> {
        let body = Bytes::copy_from_slice(&sealed.envelope);
        self.remote.send(Method::POST, &format!("/v1/messaging/deliver?wait_secs={wait_secs}"), "application/octet-stream", body).await
    }

    /// What was sealed when the connection or this process ended. The same bytes again are the same message, so nothing doubles.
    async fn send_left_over(&self, wait_secs: u64) -> Result<(), Failure> {
        for sealed in self.agent.outbox()? {
            let answer = self.deliver(&sealed, wait_secs).await?;
            if answer.status < 500 {
                self.agent.sent(sealed.message)?;
            }
            if let Err(failure) = answer.good() {
                eprintln!("creto: the earlier message `{}` was not delivered: {failure}", sealed.message);
            }
        }
        Ok(())
    }

    async fn receive(&self, patience: Duration, discard: bool, json: bool) -> Result<ExitCode, Failure> {
        let until = tokio::time::Instant::now() + patience;
        let mut failed = Vec::new();
        let received = loop {
            failed.extend(self.fetch(discard).await?);
            let received = self.agent.inbox()?;
            if !received.is_empty() || tokio::time::Instant::now() >= until {
                break received;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        failed.sort();
        failed.dedup();
        for line in &failed {
            eprintln!("creto: {line}");
        }
        if json {
            let messages: Vec<Value> = received.iter().map(|message| as_json(message)).collect();
            print(&format!("{}\n", json!({ "messages": messages })))?;
        } else if received.is_empty() {
            eprintln!("no messages");
        } else {
            print(&received.iter().map(|message| readable(message)).collect::<String>())?;
        }
        // Only now: whoever dies before is shown them again.
        for message in &received {
            self.agent.take(message.message)?;
        }
        Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Opens everything that waits; answers what could not be opened. That stays at the server unless it is to be discarded.
    async fn fetch(&self, discard: bool) -> Result<Vec<String>, Failure> {
        let mut failed = Vec::new();
        loop {
            let waiting = self.remote.json(Method::GET, &format!("/v1/messaging/inbox?limit={BATCH}"), None).await?;
            let waiting = rows(&waiting, "messages");
            let mut kept = Vec::new();
            for message in waiting {
                let envelope =
                    message.get("envelope").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
                let name = json!({ "sender": message.get("sender"), "message": message.get("message") });
                match self.agent.receive(&envelope) {
                    Ok(_) | Err(MessagingError::Duplicate) => kept.push(name),
                    // Our own store fails: that says nothing about the message.
                    Err(error @ (MessagingError::Store(_) | MessagingError::Corrupt(_))) => return Err(error.into()),
                    Err(error) => {
                        let sender = text(message, "sender");
                        let what = if discard { "dropped" } else { "left at the server; `--discard` drops it" };
                        failed.push(format!("a message from `{}` cannot be opened: {error} ({}); {what}", short(&sender), error.code()));
                        if discard {
                            kept.push(name);
                        }
                    }
                }
            }
            let done = kept.len();
            if done > 0 {
                self.remote.json(Method::POST, "/v1/messaging/acknowledge", Some(&json!({ "messages": kept }))).await?;
            }
            if done == 0 || waiting.len() < BATCH {
                return Ok(failed);
            }
        }
    }
}

/// A message for a program: its text, or its bytes in base64 where they are no text.
fn as_json(message: &Received) -> Value {
    let bytes = message.text.as_bytes();
    let (name, content) = match std::str::from_utf8(bytes) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", STANDARD.encode(bytes)),
    };
    json!({
        "message": message.message, "sender": message.sender, "at": message.at,
        "purpose": message.authorization.purpose.as_str(), name: content,
    })
}

/// A message for a person: another agent wrote it, so it is escaped.
fn readable(message: &Received) -> String {
    format!("{}  {}\n", safe(message.sender.name()), safe(&String::from_utf8_lossy(message.text.as_bytes())))
}
