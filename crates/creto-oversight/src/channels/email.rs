//! Mail: one message for each person, with a link to a page where nothing is decided by looking.
//!
//! There is no deciding by reply: `From` proves nothing, a signature proves a domain and not a human, and what a mail program quotes or
//! suggests would count as words. Where answers are taken they are comments ([`reply`]), under an address that is each mail's own.

mod authentication;
mod quote;
pub mod reply;
mod secrets;

use std::time::Duration;

use creto_kernel::Digest;
use creto_kernel::id::RequestId;
use futures::future::BoxFuture;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use self::reply::{Replies, RepliesOptions};
use super::people::is_mail;
use super::visible::{html, one_line};
use super::{Card, Channel, ChannelError, Target};
use crate::model::notice::Told;

/// How long one message may take.
const SEND_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest action that a mail shows; the page shows all of it.
const ACTION_CHARS_MAX: usize = 50_000;

/// What the channel is built from.
#[derive(Debug, Clone)]
pub struct EmailOptions {
    /// `smtps://user:password@host:port`, or `smtp://host:port?tls=required`; `smtp://` without TLS only to this machine.
    pub url: String,
    /// The login's password, where the URL does not carry it.
    pub login: Option<(String, String)>,
    /// Who it is from.
    pub from: String,
    /// Domains to whose addresses requests may have mail sent, beside the one it is from.
    pub domains: Vec<String>,
    /// How answers are taken; they are read by nobody when absent.
    pub replies: Option<RepliesOptions>,
}

/// The channel.
#[derive(Debug)]
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    domain: String,
    domains: Vec<String>,
    replies: Option<Replies>,
}

impl Email {
    /// The channel over its options. `may_be_plain` says whether this host may be spoken to without TLS.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn new(options: &EmailOptions, may_be_plain: bool) -> Result<Self, String> {
        let encrypted = options.url.starts_with("smtps://") || options.url.contains("tls=required");
        if !encrypted && !may_be_plain {
            return Err(
                "the mail server's address has neither `smtps://` nor `?tls=required`: what is sent would be read on the way".to_owned()
            );
        }
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::from_url(&options.url).map_err(|e| e.to_string())?.timeout(Some(SEND_TIME_MAX));
        if let Some((user, password)) = &options.login {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        let from: Mailbox = options.from.parse().map_err(|e: lettre::address::AddressError| e.to_string())?;
        let domain = from.email.domain().to_owned();
        let domains = std::iter::once(&domain).chain(&options.domains).map(|name| name.to_ascii_lowercase()).collect();
        let replies = options.replies.as_ref().map(|replies| Replies::new(replies, from.email.as_ref())).transpose()?;
        Ok(Self { transport: builder.build(), from, domain, domains, replies })
    }

    fn message(&self, card: &Card, target: &Target) -> Result<Message, String> {
        let to: Mailbox = target.address.parse().map_err(|e: lettre::address::AddressError| e.to_string())?;
        let request = &card.request;
        let thread = format!("<{}.{}@{}>", request.id, short(&["thread", &target.address, &request.id]), self.domain);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject(card))
            // Equal for equal deliveries: a mail program shows a repetition once.
            .message_id(Some(format!("<{}.{}@{}>", request.id, short(&[&card.key, &target.address]), self.domain)))
            .references(thread)
            .date_now();
        if let (Some(replies), Some(token)) = (&self.replies, &card.reply_token) {
            let address = replies.address(token);
            builder = builder.reply_to(address.parse().map_err(|e: lettre::address::AddressError| e.to_string())?);
        }
        // RFC 3834: no out-of-office answers.
        if let Ok(name) = HeaderName::new_from_ascii("Auto-Submitted".to_owned()) {
            builder = builder.raw_header(HeaderValue::new(name, "auto-generated".to_owned()));
        }
        builder.multipart(MultiPart::alternative_plain_html(plain(card), page(card))).map_err(|e| e.to_string())
    }
}

/// Whether a `Message-ID` is one that we give: `<REQUEST.DIGEST@domain>`.
fn is_ours(id: &str, domain: &str) -> bool {
    let parts = id.trim_matches(['<', '>']).split_once('@').and_then(|(local, at)| Some((local.split_once('.')?, at)));
    parts.is_some_and(|((request, digest), at)| {
        at.eq_ignore_ascii_case(domain)
            && request.parse::<RequestId>().is_ok()
            && digest.len() == 32
            && digest.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// Sixteen bytes that depend on all parts.
fn short(parts: &[&str]) -> String {
    Digest::of(parts.join("\n").as_bytes()).to_string().chars().take(32).collect()
}

fn subject(card: &Card) -> String {
    let what = match card.told {
        Told::Opened => "decide",
        Told::Escalated => "decide (escalated)",
        Told::Reminder => "still waits",
        Told::InDoubt => "in doubt",
        Told::ReviewNeeded => "review",
        Told::Edited | Told::Updated | Told::Resolved => "changed",
    };
    one_line(&format!("[creto] {what}: {}", card.title), 150)
}

/// The action, or as much of it as a mail holds, with a word about the rest.
fn action(card: &Card) -> (String, &'static str) {
    match card.action.char_indices().nth(ACTION_CHARS_MAX) {
        None => (card.action.clone(), ""),
        Some((at, _)) => (card.action.get(..at).unwrap_or_default().to_owned(), "This is not all of it; the page shows the rest."),
    }
}

const NOTE: &str = "Opening the page decides nothing: sign in there, read, and choose.";

/// What becomes of an answer to the mail.
const fn answers(card: &Card) -> &'static str {
    match card.reply_token {
        Some(_) => "An answer to this mail is kept as a comment on the request; it decides nothing, whatever it says.",
        None => "Answers to this mail are read by nobody.",
    }
}

fn plain(card: &Card) -> String {
    let (action, rest) = action(card);
    let mark = card.reply_token.as_ref().map(|_| format!("{}\n\n", quote::MARK)).unwrap_or_default();
    let mut text = format!("{mark}{}\n\nOn whose authority: {}\nIt {}\n\n{action}\n{rest}\n", card.title, card.chain, card.standing());
    for (label, said) in [("the agent says", &card.reason), ("said with the escalation", &card.message)] {
        if let Some(said) = said {
            text.push_str(&format!("\nUntrusted, {label}:\n> {}\n", said.replace('\n', "\n> ")));
        }
    }
    text.push_str(&format!("\nSHA-256 {}\n\n{}\n\n{NOTE} {}\n", card.request.digest, card.url, answers(card)));
    text
}

fn page(card: &Card) -> String {
    let (action, rest) = action(card);
    let mut said = String::new();
    for (label, text) in [("the agent says", &card.reason), ("said with the escalation", &card.message)] {
        if let Some(text) = text {
            said.push_str(&format!("<p><b>Untrusted</b>, {label}:</p><blockquote>{}</blockquote>", html(text).replace('\n', "<br>")));
        }
    }
    let mark = card.reply_token.as_ref().map(|_| format!("<p><small>{}</small></p>", quote::MARK)).unwrap_or_default();
    format!(
        "<!doctype html><meta charset=utf-8>{mark}<h2>{}</h2><p>On whose authority: {}<br>It {}</p><pre style=\"white-space:pre-wrap\">{}</pre>\
         <p>{rest}</p>{said}<p><small>SHA-256 {}</small></p><p><a href=\"{}\">Read and decide</a></p><p><small>{NOTE} {}</small></p>",
        html(&card.title),
        html(&card.chain),
        html(&card.standing()),
        html(&action),
        card.request.digest,
        html(&card.url),
        answers(card)
    )
}

impl Channel for Email {
    fn name(&self) -> &'static str {
        "email"
    }

    fn replies(&self) -> Option<&Replies> {
        self.replies.as_ref()
    }

    fn takes(&self, address: &str) -> bool {
        let domain = address.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
        is_mail(address) && domain.is_some_and(|domain| self.domains.contains(&domain))
    }

    fn send<'a>(&'a self, card: &'a Card, target: &'a Target) -> BoxFuture<'a, Result<String, ChannelError>> {
        Box::pin(async move {
            let message = self.message(card, target).map_err(ChannelError::Never)?;
            match self.transport.send(message).await {
                Ok(_) => Ok(String::new()),
                Err(error) if error.is_permanent() => Err(ChannelError::Never(error.to_string())),
                Err(error) => Err(ChannelError::Later(error.to_string())),
            }
        })
    }

    /// A mail that was sent stays as it is; its page shows what holds.
    fn update<'a>(&'a self, _: &'a Card, _: &'a Target, _: &'a str) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async { Ok(()) })
    }
}
