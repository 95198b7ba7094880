//! A mail that answers one of ours, as far as its bytes say.
//!
//! INVARIANT: what is read here is somebody's words. Nothing in a mail is a decision, whatever it says.

use creto_kernel::Digest;
use mail_parser::{Address, HeaderValue, Message, MessageParser, MimeHeaders as _};

use super::{authentication, quote};
use crate::channels::people::is_mail;
use crate::error::MailError;
use crate::model::comment::Sender;

/// Largest mail that is read, in bytes.
pub const MAIL_BYTES_MAX: usize = 1 << 20;
/// Random bytes of a token; twice as many hexadecimal digits, which keep their meaning where a mail server folds case.
pub(crate) const TOKEN_BYTES: usize = 16;
/// Longest part of an address before its `@` (RFC 5321, section 4.5.3.1.1).
const LOCAL_BYTES_MAX: usize = 64;
/// Most `Content-Type` fields of a mail, which bounds its parts and how deep they lie in each other.
const PARTS_MAX: usize = 100;
/// Header fields in which the address that was written to may stand: the writer's, and what mail servers add on delivery.
const RECIPIENTS: [&str; 6] = ["to", "cc", "resent-to", "delivered-to", "x-original-to", "envelope-to"];

/// How answers to mails are taken.
#[derive(Debug, Clone, Default)]
pub struct RepliesOptions {
    /// Where answers go: `local@domain`; a mail's own address is `local+TOKEN@domain`.
    pub address: String,
    /// The mail servers (authserv-id, RFC 8601) whose `Authentication-Results` are believed.
    pub authserv_ids: Vec<String>,
    /// Whether mails are refused of which no such server says that their sender's domain sent them.
    pub authenticated_only: bool,
}

/// How answers to mails are taken, checked.
#[derive(Debug, Clone)]
pub struct Replies {
    local: String,
    domain: String,
    authserv_ids: Vec<String>,
    /// Whether mails whose sender nothing vouches for are refused.
    pub(crate) authenticated_only: bool,
    /// Our own address: what comes from it goes round in a circle.
    from: String,
}

/// What the header of a mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The token of the mail it answers, in small letters.
    pub token: String,
    /// Its one sender's address.
    pub from: String,
    /// What shows that it comes from there.
    pub sender: Sender,
    /// Equal for the same mail delivered again.
    pub message: Digest,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The text, without quotation.
    pub text: String,
    /// How many lines of quotation were left out.
    pub left_out: u32,
    /// How many attachments were left out.
    pub attachments: u32,
}

impl Replies {
    /// Checks the options; `from` is who our mails are from.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(options: &RepliesOptions, from: &str) -> Result<Self, String> {
        let (local, domain) = options.address.split_once('@').unwrap_or_default();
        if !is_mail(&options.address) || local.contains('+') || local.len() + 1 + TOKEN_BYTES * 2 > LOCAL_BYTES_MAX {
            let longest = LOCAL_BYTES_MAX - 1 - TOKEN_BYTES * 2;
            return Err(format!("`replies.address` is no mail address, or has a `+` or more than {longest} characters before its `@`"));
        }
        if options.authserv_ids.iter().any(|name| name.trim().is_empty()) {
            return Err("an entry of `replies.authserv_ids` is empty".to_owned());
        }
        if options.authenticated_only && options.authserv_ids.is_empty() {
            return Err("`replies.authenticated_only` without `replies.authserv_ids` would refuse every mail".to_owned());
        }
        Ok(Self {
            local: local.to_ascii_lowercase(),
            domain: domain.to_ascii_lowercase(),
            authserv_ids: options.authserv_ids.clone(),
            authenticated_only: options.authenticated_only,
            from: from.to_owned(),
        })
    }

    /// The address of a token.
    #[must_use]
    pub fn address(&self, token: &str) -> String {
        format!("{}+{token}@{}", self.local, self.domain)
    }

    /// Reads the header of a mail.
    ///
    /// # Errors
    /// `oversight.mail_too_large`, `oversight.mail_unreadable`, `oversight.mail_automatic`; `oversight.mail_unknown` where it is addressed
    /// to no token.
    pub fn envelope(&self, bytes: &[u8]) -> Result<Envelope, MailError> {
        if bytes.len() > MAIL_BYTES_MAX {
            return Err(MailError::TooLarge(MAIL_BYTES_MAX));
        }
        let message = MessageParser::default().parse_headers(bytes).ok_or(MailError::Unreadable("it has no header"))?;
        let fields = fields(&message);
        let from = sender_of(&message)?;
        let id = value(&fields, "message-id").unwrap_or_default();
        self.automatic(&message, &fields, &from, id)?;
        let (_, domain) = from.rsplit_once('@').unwrap_or_default();
        let results = fields.iter().filter(|(name, _)| name == "authentication-results").map(|(_, value)| value.as_str());
        let message = match id {
            // Without a name of its own it is the same mail where its bytes are the same.
            "" => Digest::of_parts(&[b"creto mail without an id\n", bytes]),
            id => Digest::of_parts(&[b"creto mail with an id\n", id.as_bytes()]),
        };
        Ok(Envelope { token: self.token(&fields)?, sender: authentication::sender(results, &self.authserv_ids, domain), from, message })
    }

    /// The one token that the mail is addressed to.
    fn token(&self, fields: &[(String, String)]) -> Result<String, MailError> {
        let recipients = fields.iter().filter(|(name, _)| RECIPIENTS.contains(&name.as_str()));
        let mut tokens: Vec<String> = recipients.flat_map(|(_, value)| self.tokens(&value.to_ascii_lowercase())).collect();
        tokens.sort_unstable();
        tokens.dedup();
        match tokens.as_slice() {
            [token] => Ok(token.clone()),
            [] => Err(MailError::Unknown),
            _ => Err(MailError::Unreadable("it answers several mails at once")),
        }
    }

    fn tokens(&self, value: &str) -> Vec<String> {
        let (before, after) = (format!("{}+", self.local), format!("@{}", self.domain));
        let is_part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.\"\\".contains(c);
        let found = |(at, _): (usize, &str)| {
            let (head, rest) = (value.get(..at)?, value.get(at + before.len()..)?);
            let (token, rest) = (rest.get(..TOKEN_BYTES * 2)?, rest.get(TOKEN_BYTES * 2..)?.strip_prefix(after.as_str())?);
            let whole = !head.ends_with(is_part) && !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-');
            (whole && token.bytes().all(|b| b.is_ascii_hexdigit())).then(|| token.to_owned())
        };
        value.match_indices(before.as_str()).filter_map(found).collect()
    }

    /// Refuses what a program sent: an answer to it would be no human's word, and an answer to an answer goes on for ever.
    fn automatic(&self, message: &Message<'_>, fields: &[(String, String)], from: &str, id: &str) -> Result<(), MailError> {
        let says = |name: &str| value(fields, name).map(str::to_ascii_lowercase);
        let first = |text: &str| text.split([';', '(', ' ', '\t']).next().unwrap_or_default().to_owned();
        // RFC 3834, section 5.
        if says("auto-submitted").is_some_and(|said| first(&said) != "no") {
            return Err(MailError::Automatic("`Auto-Submitted` says so"));
        }
        if says("precedence").is_some_and(|said| matches!(first(&said).as_str(), "bulk" | "list" | "junk" | "auto_reply")) {
            return Err(MailError::Automatic("`Precedence` says so"));
        }
        if says("x-auto-response-suppress").is_some() {
            return Err(MailError::Automatic("`X-Auto-Response-Suppress` says so"));
        }
        if says("return-path").is_some_and(|said| matches!(said.as_str(), "<>" | "")) {
            return Err(MailError::Automatic("it has no return path"));
        }
        if message.is_content_type("multipart", "report") {
            return Err(MailError::Automatic("it is a report"));
        }
        if from.eq_ignore_ascii_case(&self.from) || from.to_ascii_lowercase() == format!("{}@{}", self.local, self.domain) {
            return Err(MailError::Automatic("it is from this server itself"));
        }
        if super::is_ours(id, self.from.rsplit_once('@').map_or("", |(_, domain)| domain)) {
            return Err(MailError::Automatic("it is a mail of this server itself"));
        }
        Ok(())
    }

    /// Reads what a mail says. Texts are plain where there are such; of markup the words are taken.
    ///
    /// The parser nests as its input does, and so does the release of what it made: call it where the stack is large.
    ///
    /// # Errors
    /// `oversight.mail_unreadable`, `oversight.mail_empty`.
    pub fn words(&self, bytes: &[u8], token: &str) -> Result<Words, MailError> {
        if bytes.len() > MAIL_BYTES_MAX {
            return Err(MailError::TooLarge(MAIL_BYTES_MAX));
        }
        if parts_at_most(bytes) > PARTS_MAX {
            return Err(MailError::Unreadable("it has too many parts"));
        }
        let message = MessageParser::default().parse(bytes).ok_or(MailError::Unreadable("it has no header"))?;
        let texts: Vec<_> = (0..message.text_body_count()).filter_map(|at| message.body_text(at)).collect();
        // No database keeps a zero byte in a text.
        let text = texts.join("\n").replace("\r\n", "\n").replace('\r', "\n").replace('\0', "␀");
        let (text, left_out) = quote::own(&without_secrets(&text, token));
        if text.is_empty() {
            return Err(MailError::Empty);
        }
        let attachments = u32::try_from(message.attachment_count()).unwrap_or(u32::MAX);
        Ok(Words { text, left_out, attachments })
    }
}

/// The fields of a header, in order: names in small letters, values unfolded.
fn fields(message: &Message<'_>) -> Vec<(String, String)> {
    let raw = message.raw_message.as_ref();
    let part = message.parts.first();
    let of = |header: &mail_parser::Header<'_>| {
        let range = usize::try_from(header.offset_start).ok()?..usize::try_from(header.offset_end).ok()?;
        let value = String::from_utf8_lossy(raw.get(range)?).replace(['\r', '\n'], "");
        Some((header.name.as_str().to_ascii_lowercase(), value.trim().to_owned()))
    };
    part.map(|part| part.headers.iter().filter_map(of).collect()).unwrap_or_default()
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// The address of the one sender: RFC 5322 has one `From`, and a mail with several would be judged by one and shown by another.
fn sender_of(message: &Message<'_>) -> Result<String, MailError> {
    let from = message.parts.first().map(|part| part.headers.as_slice()).unwrap_or_default();
    let mut from = from.iter().filter(|header| header.name == mail_parser::HeaderName::From);
    let (Some(header), None) = (from.next(), from.next()) else { return Err(MailError::Unreadable("it has not one sender")) };
    let address = match &header.value {
        HeaderValue::Address(Address::List(list)) => match list.as_slice() {
            [one] => one.address.as_deref(),
            _ => None,
        },
        _ => None,
    };
    address.filter(|address| is_mail(address)).map(str::to_owned).ok_or(MailError::Unreadable("it has not one sender"))
}

/// An upper bound for the parts of a mail: each brings a `Content-Type`. The parser takes a name with spaces in it for the same name.
fn parts_at_most(bytes: &[u8]) -> usize {
    let squeezed: Vec<u8> = bytes.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect();
    squeezed.windows(b"content-type".len()).filter(|part| *part == b"content-type").count()
}

/// The text without the secrets of the mail that is quoted in it: the token it was answered by, and that of its link.
fn without_secrets(text: &str, token: &str) -> String {
    const LINK: &str = "/#/mail/";
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.to_ascii_lowercase().match_indices(token) {
        out.push_str(text.get(from..at).unwrap_or_default());
        out.push('…');
        from = at + token.len();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    let mut parts = out.split(LINK);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str(LINK);
        match part.split_once('/') {
            Some((request, secret)) if request.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                clean.push_str(request);
                clean.push_str("/…");
                clean.push_str(secret.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
            }
            _ => clean.push_str(part),
        }
    }
    clean
}
