//! A mail that answers one of ours, as far as its bytes say.
//!
//! INVARIANT: what is read here is somebody's words. Nothing in a mail is a decision, whatever it says.

use creto_kernel::Digest;
use mail_parser::{Address, HeaderValue, Message, MessageParser, MimeHeaders as _};

use super::{authentication, quote, secrets};
use crate::channels::people::is_mail;
use crate::error::MailError;
use crate::model::comment::Sender;

/// Largest mail that is read, in bytes.
pub const MAIL_BYTES_MAX: usize = 1 << 20;
/// Random bytes of a token; twice as many hexadecimal digits, which keep their meaning where a mail server folds case.
pub(crate) const TOKEN_BYTES: usize = 16;
/// Longest part of an address before its `@` (RFC 5321, section 4.5.3.1.1).
const LOCAL_BYTES_MAX: usize = 64;
/// Most `Content-Type` fields of a mail, which bounds how deep the parts lie in each other that are not encoded.
const TYPES_MAX: usize = 100;
/// Largest mail with a mail in it that may be encoded: the parser copies the whole of what was encoded for each mail within it, and in a
/// digest a mail takes six bytes. That comes to some 45 MiB for this size, and to 700 for four times as much.
const ENCODED_MAIL_BYTES_MAX: usize = 16 << 10;
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
        // Postfix's `pipe` writes `MAILER-DAEMON` for none, unless it is told otherwise.
        let path = says("return-path").map(|said| said.trim_matches(['<', '>', ' ']).to_owned());
        if path.is_some_and(|path| path.is_empty() || path.split('@').next() == Some("mailer-daemon")) {
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
        if types_at_most(bytes) > TYPES_MAX {
            return Err(MailError::Unreadable("it has too many parts"));
        }
        if bytes.len() > ENCODED_MAIL_BYTES_MAX && may_encode_mails(bytes) {
            return Err(MailError::Unreadable("it is too large for a mail with another mail in it"));
        }
        let message = MessageParser::default().parse(bytes).ok_or(MailError::Unreadable("it has no header"))?;
        let texts: Vec<_> = (0..message.text_body_count()).filter_map(|at| message.body_text(at)).collect();
        // No database keeps a zero byte in a text.
        let text = texts.join("\n").replace("\r\n", "\n").replace('\r', "\n").replace('\0', "␀");
        let (text, left_out) = quote::own(&secrets::without(&text, token));
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

/// Whether a part of the mail may be an encoded mail, which RFC 2046 forbids (section 5.2.1) and the parser takes apart.
///
/// INVARIANT: never false where the parser decodes a mail. The outermost one is plain to see, whatever its bytes hide: the parser takes the
/// words of a type as they stand, with folds, spaces and comments around them, and the encoding's too, or as an encoded word (RFC 2047).
fn may_encode_mails(bytes: &[u8]) -> bool {
    let folds = |at: usize| matches!(bytes.get(at + 1), Some(b' ' | b'\t'));
    let kept = bytes.iter().enumerate().filter(|&(at, byte)| !byte.is_ascii_whitespace() || (*byte == b'\n' && !folds(at)));
    let unfolded: Vec<u8> = kept.map(|(_, byte)| byte.to_ascii_lowercase()).collect();
    let text = String::from_utf8_lossy(&unfolded);
    let is_mail = |line: &str| {
        // A comment may hold a `;`.
        let ends: &[char] = if line.contains('(') { &[] } else { &[';'] };
        let mut types = line.split("content-type:").skip(1).filter_map(|value| value.split(ends).next());
        types.any(|kind| kind.contains("message") || kind.contains("digest"))
    };
    ["base64", "quoted-printable", "=?"].iter().any(|word| text.contains(word)) && text.split('\n').any(is_mail)
}

/// An upper bound for the `Content-Type` fields of a mail. The parser takes a name with spaces in it for the same name.
fn types_at_most(bytes: &[u8]) -> usize {
    let squeezed: Vec<u8> = bytes.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect();
    squeezed.windows(b"content-type".len()).filter(|part| *part == b"content-type").count()
}

#[cfg(test)]
mod tests {
    use creto_kernel::Coded as _;
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    const FROM: &str = "From: Ada <ada@example.com>\n";

    fn replies() -> Replies {
        let options = RepliesOptions {
            address: "Approvals@creto.example".to_owned(),
            authserv_ids: vec!["mx.creto.example".to_owned()],
            authenticated_only: false,
        };
        Replies::new(&options, "creto@creto.example").unwrap()
    }

    fn to(token: &str) -> String {
        format!("To: creto <approvals+{token}@creto.example>\n")
    }

    fn envelope(header: &str) -> Result<Envelope, MailError> {
        replies().envelope(format!("{header}\nyes\n").replace('\n', "\r\n").as_bytes())
    }

    fn words(mail: &[u8]) -> Result<Words, MailError> {
        replies().words(mail, TOKEN)
    }

    fn text(mail: &str) -> String {
        words(mail.as_bytes()).unwrap().text
    }

    #[test]
    fn a_mail_is_found_by_the_one_token_it_is_addressed_to() {
        let upper = TOKEN.to_ascii_uppercase();
        let other = TOKEN.replace('0', "f");
        for (recipients, found) in [
            (to(TOKEN), Ok(())),
            (to(&upper), Ok(())),
            (format!("Cc: bob@example.com,\n {}", &to(TOKEN)[4..]), Ok(())),
            (format!("To: bob@example.com\nDelivered-To: approvals+{TOKEN}@creto.example\n"), Ok(())),
            (format!("{}X-Original-To: approvals+{TOKEN}@CRETO.example\n", to(TOKEN)), Ok(())),
            (format!("{}{}", to(TOKEN), to(&other)), Err("oversight.mail_unreadable")),
            (to(&TOKEN[1..]), Err("oversight.mail_unknown")),
            (to(&format!("{TOKEN}0")), Err("oversight.mail_unknown")),
            (format!("To: xapprovals+{TOKEN}@creto.example\n"), Err("oversight.mail_unknown")),
            (format!("To: approvals+{TOKEN}@creto.example.evil.com\n"), Err("oversight.mail_unknown")),
            (format!("Subject: approvals+{TOKEN}@creto.example\n"), Err("oversight.mail_unknown")),
            ("To: approvals@creto.example\n".to_owned(), Err("oversight.mail_unknown")),
        ] {
            let read = envelope(&format!("{FROM}{recipients}"));
            assert_eq!(
                read.as_ref().map(|read| read.token.as_str()).map_err(|e| e.code().to_string()),
                found.map(|()| TOKEN).map_err(str::to_owned),
                "{recipients}"
            );
        }
    }

    #[test]
    fn a_mail_has_one_sender_whatever_name_stands_beside_it() {
        for (from, found) in [
            ("From: Ada <ada@example.com>\n", Some("ada@example.com")),
            ("From: \"creto@creto.example\" <ada@example.com>\n", Some("ada@example.com")),
            ("From: =?utf-8?q?Ada_L=C3=B6?= <ada@example.com>\n", Some("ada@example.com")),
            ("From: ada@example.com, eve@evil.com\n", None),
            ("From: ada@example.com\nFrom: eve@evil.com\n", None),
            ("From: ada@example.com\nF rom: eve@evil.com\n", None),
            ("From: people: ada@example.com;\n", None),
            ("From: Ada\n", None),
            ("From:\n", None),
            ("", None),
        ] {
            let read = envelope(&format!("{from}{}", to(TOKEN)));
            match found {
                Some(address) => assert_eq!(read.unwrap().from, address, "{from}"),
                None => assert_eq!(read.unwrap_err().code().as_str(), "oversight.mail_unreadable", "{from}"),
            }
        }
    }

    #[test]
    fn what_a_program_sent_is_left_alone() {
        let ours = format!("<req_{TOKEN}.{TOKEN}@creto.example>");
        for (field, automatic) in [
            ("Auto-Submitted: auto-replied\n", true),
            ("auto-submitted: Auto-Generated (vacation)\n", true),
            ("Auto-Submitted:\n", true),
            ("Auto-Submitted: no; owner=\"x\"\n", false),
            ("Precedence: bulk\n", true),
            ("Precedence: List\n", true),
            ("Precedence: auto_reply\n", true),
            ("Precedence: first-class\n", false),
            ("X-Auto-Response-Suppress: All\n", true),
            ("Return-Path: <>\n", true),
            ("Return-Path: <MAILER-DAEMON>\n", true),
            ("Return-Path: Mailer-Daemon@mx.example.com\n", true),
            ("Return-Path: <mailer-daemons@example.com>\n", false),
            ("Return-Path: <ada@example.com>\n", false),
            ("Content-Type: multipart/report; report-type=delivery-status; boundary=b\n", true),
            (&format!("Message-ID: {ours}\n"), true),
            (&format!("Message-ID: {}\n", ours.replace("creto.example", "example.com")), false),
            (&format!("In-Reply-To: {ours}\n"), false),
            ("", false),
        ] {
            let read = envelope(&format!("{FROM}{}{field}", to(TOKEN)));
            assert_eq!(matches!(read, Err(MailError::Automatic(_))), automatic, "{field}: {read:?}");
        }
        for from in ["creto@CRETO.example", "approvals@creto.example"] {
            assert!(matches!(envelope(&format!("From: {from}\n{}", to(TOKEN))), Err(MailError::Automatic(_))), "{from}");
        }
    }

    #[test]
    fn a_sender_is_vouched_for_by_our_own_server_alone() {
        let (pass, fail) =
            ("mx.creto.example;\n\tdkim=pass (good) header.d=example.com", "mx.creto.example; dkim=fail header.d=example.com");
        for (fields, sender) in [
            (format!("Authentication-Results: {pass}\n"), Sender::Dkim),
            (format!("Authentication-Results: {fail}\nAuthentication-Results: {pass}\n"), Sender::Unverified),
            (format!("Authentication-Results: {}\n", pass.replace("mx.creto", "mx.evil")), Sender::Unverified),
            (format!("Authentication-Results: {}\n", pass.replace("example.com", "evil.com")), Sender::Unverified),
            (format!("X-Authentication-Results: {pass}\nARC-Authentication-Results: i=1; {pass}\n"), Sender::Unverified),
            ("Authentication-Results: mx.creto.example; dmarc=pass header.from=example.com\n".to_owned(), Sender::Dmarc),
            (String::new(), Sender::Unverified),
        ] {
            assert_eq!(envelope(&format!("{fields}{FROM}{}", to(TOKEN))).unwrap().sender, sender, "{fields}");
        }
        // A field of ours that is no text hides nothing below it.
        let mut mail = b"Authentication-Results: mx.creto.example; spf=fail smtp.mailfrom=\xff\xfe\r\nAuthentication-Results: ".to_vec();
        mail.extend(format!("{pass}\n{FROM}{}\nyes", to(TOKEN)).bytes());
        assert_eq!(replies().envelope(&mail).unwrap().sender, Sender::Unverified);
    }

    #[test]
    fn a_mail_delivered_again_is_the_same_mail() {
        let of = |id: &str, more: &str| envelope(&format!("{more}{FROM}{}{id}", to(TOKEN))).unwrap().message;
        assert_eq!(of("Message-ID: <a@b>\n", ""), of("Message-ID: <a@b>\n", "Received: again\n"));
        assert_ne!(of("Message-ID: <a@b>\n", ""), of("Message-ID: <c@b>\n", ""));
        assert_eq!(of("", ""), of("", ""));
        assert_ne!(of("", ""), of("", "Date: now\n"));
    }

    #[test]
    fn plain_text_is_preferred_and_of_markup_the_words_are_taken() {
        let part = |kind: &str, body: &str| format!("--b\r\nContent-Type: {kind}\r\n\r\n{body}\r\n");
        let mail =
            |kind: &str, parts: &[String]| format!("{FROM}Content-Type: multipart/{kind}; boundary=b\r\n\r\n{}--b--\r\n", parts.concat());
        let (plain, html) = (part("text/plain", "plain"), part("text/html", "<p>marked <b>up</b></p><script>x</script>"));
        assert_eq!(text(&mail("alternative", &[plain.clone(), html.clone()])), "plain");
        assert!(text(&mail("alternative", std::slice::from_ref(&html))).contains("marked up"));
        assert!(text(&format!("{FROM}Content-Type: text/html\r\n\r\n<p>not <i>this</i></p>")).contains("not this"));
        let attached = part("application/pdf\r\nContent-Disposition: attachment; filename=a.pdf", "xx");
        let read = words(mail("mixed", &[plain.clone(), attached.clone(), attached, part("text/plain", "and more")]).as_bytes()).unwrap();
        assert_eq!((read.text.contains("plain"), read.text.contains("and more"), read.attachments), (true, true, 2), "{read:?}");
        assert_eq!(words(mail("mixed", &[part("image/png", "xx")]).as_bytes()), Err(MailError::Empty));
        assert_eq!(words(format!("{FROM}\r\n \r\n\r\n").as_bytes()), Err(MailError::Empty));
    }

    #[test]
    fn characters_come_as_they_were_meant_and_none_is_hidden_from_the_reader() {
        for (head, body, read) in [
            ("text/plain; charset=utf-8", "grüße \u{202e}evil".as_bytes(), "grüße \u{202e}evil"),
            ("text/plain; charset=iso-8859-1", b"gr\xfc\xdfe", "grüße"),
            ("text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64", b"Z3LDvMOfZQ==", "grüße"),
            ("text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable", b"gr=C3=BC=C3=9Fe=\r\n!", "grüße!"),
            ("text/plain", b"a\0b\rc\r\nd", "a␀b\nc\nd"),
            ("text/plain; charset=utf-8", b"a\xffb", "a\u{fffd}b"),
        ] {
            let mail = [FROM.as_bytes(), b"Content-Type: ", head.as_bytes(), b"\r\n\r\n", body].concat();
            assert_eq!(words(&mail).unwrap().text, read, "{head}");
        }
        assert_eq!(crate::channels::visible::visible("\u{202e}evil"), "⟦U+202E⟧evil");
    }

    #[test]
    fn secrets_of_the_quoted_mail_are_not_kept() {
        let upper = TOKEN.to_ascii_uppercase();
        let link = "fe".repeat(32);
        let said = format!("see approvals+{upper}@x and http://h/#/mail/req_1/{link} and http://h/#/mail/a b/c");
        assert_eq!(text(&format!("{FROM}\n{said}")), "see approvals+…@x and http://h/#/mail/req_1/… and http://h/#/mail/a b/c");
        let said = format!("I clicked https://safe.example/?url=http%3A%2F%2Fh%2F%23%2Fmail%2Freq_1%2F{link}&data=05");
        let kept = "I clicked https://safe.example/?url=http%3A%2F%2Fh%2F%23%2Fmail%2Freq_1%2F…&data=05";
        assert_eq!(text(&format!("{FROM}\n{said}")), kept);
    }

    #[test]
    fn a_mail_is_read_up_to_its_size_and_no_further() {
        let mut mail = format!("{FROM}{}\n", to(TOKEN)).into_bytes();
        mail.resize(MAIL_BYTES_MAX, b'x');
        assert!(replies().envelope(&mail).is_ok() && words(&mail).is_ok());
        mail.push(b'x');
        assert_eq!(replies().envelope(&mail), Err(MailError::TooLarge(MAIL_BYTES_MAX)));
        assert_eq!(words(&mail), Err(MailError::TooLarge(MAIL_BYTES_MAX)));
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        let of = |address: &str, ids: &[&str], only: bool| {
            let authserv_ids = ids.iter().map(|id| (*id).to_owned()).collect();
            Replies::new(&RepliesOptions { address: address.to_owned(), authserv_ids, authenticated_only: only }, "c@d").is_ok()
        };
        assert!(of("approvals@creto.example", &[], false) && of("a@b", &["mx"], true));
        for (address, ids, only) in [
            ("approvals", &[][..], false),
            ("a+b@c", &[], false),
            ("this-local-part-leaves-no-room-x@c", &[], false),
            ("a@b", &[" "], false),
            ("a@b", &[], true),
        ] {
            assert!(!of(address, ids, only), "{address} {ids:?} {only}");
        }
    }

    /// Reads as the server does, on a stack of the same size.
    fn on_a_large_stack(mail: Vec<u8>) -> Result<Words, MailError> {
        let read = move || words(&mail);
        std::thread::Builder::new().stack_size(crate::channels::mail::STACK_BYTES).spawn(read).unwrap().join().unwrap()
    }

    #[test]
    fn mails_within_mails_as_deep_as_a_mail_is_long_are_read_or_refused() {
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(MAIL_BYTES_MAX / 64);
        assert_eq!(on_a_large_stack(format!("{FROM}{nested}yes").into_bytes()), Err(MailError::Unreadable("it has too many parts")));
        let spaced = nested.replace("Content-Type", "C ontent-Typ e");
        assert_eq!(on_a_large_stack(format!("{FROM}{spaced}yes").into_bytes()), Err(MailError::Unreadable("it has too many parts")));
    }

    const BASE64: &str = "Content-Transfer-Encoding: base64";

    /// A mail that says yes, with a part of this header that is encoded.
    fn with_encoded(head: &str, part: &str) -> Vec<u8> {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(part);
        let mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nyes\r\n--b\r\n";
        let mail = format!("{FROM}{mixed}{head}\r\n\r\n{encoded}\r\n--b--\r\n");
        assert!(mail.len() <= MAIL_BYTES_MAX, "{}", mail.len());
        mail.into_bytes()
    }

    #[test]
    fn encoded_mails_are_refused_where_they_are_large_however_they_are_written() {
        // Encoded, their number cannot be seen beforehand.
        let nested = |bytes: usize| "Content-Type:message/rfc822\n\n".repeat(bytes * 3 / 4 / 32);
        let refused = Err(MailError::Unreadable("it is too large for a mail with another mail in it"));
        for head in [
            format!("Content-Type: message/rfc822\r\n{BASE64}"),
            format!("{BASE64}\r\nC ontent-Type: (a;) Message (b) / (c) Global"),
            format!("Content-Type:\r\n message\r\n\t/rfc822\r\n{BASE64}"),
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: =?utf-8?q?base=36=34?=".to_owned(),
            format!("Content-Type: multipart/digest; boundary=c\r\n\r\n--c\r\n{BASE64}"),
        ] {
            assert_eq!(on_a_large_stack(with_encoded(&head, &nested(MAIL_BYTES_MAX))), refused, "{head}");
            assert_eq!(on_a_large_stack(with_encoded(&head, &nested(ENCODED_MAIL_BYTES_MAX / 2))).unwrap().text, "yes", "{head}");
        }
    }

    #[test]
    fn what_only_speaks_of_mails_is_read_at_any_size() {
        let part = "message/rfc822 digest ".repeat(4_000);
        for head in [
            format!("Content-Type: image/png; name=\"message digest.png\"\r\n{BASE64}"),
            format!("X-Message: message/rfc822\r\nOriginal-Recipient: rfc822;a@b\r\nContent-Type: application/pdf\r\n{BASE64}"),
        ] {
            assert_eq!(on_a_large_stack(with_encoded(&head, &part)).unwrap().text, "yes", "{head}");
        }
        let plain = format!("{FROM}Content-Type: message/rfc822\r\n\r\nSubject: no\r\n\r\n{}", "yes ".repeat(8_000));
        assert!(!may_encode_mails(plain.as_bytes()), "what is not encoded is not copied");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let (_, _) = (replies().envelope(&bytes), words(&bytes));
        }

        /// Bytes that are nearly a mail.
        #[test]
        fn no_nearly_mail_makes_the_reader_panic(pieces in proptest::collection::vec(proptest::sample::select(vec![
            "From: ada@example.com\n", "To: approvals+0123456789abcdef0123456789abcdef@creto.example\n", "\n", "\r\n", ":", " ", "\t", "--b\n", "--b--\n", "--b", "--c\n",
            "Content-Type: multipart/mixed; boundary=b\n", "Content-Type: multipart/digest; boundary=\"c\"\n", "Content-Type: message/rfc822\n", "Content-Type: text/html\n",
            "Content-Type: multipart/alternative; boundary=\n", "Content-Transfer-Encoding: base64\n", "Content-Transfer-Encoding: quoted-printable\n", "=?utf-8?b?", "?=", "=C3", "Zm9v",
            "<p>", "</p", "&#x", "> q\n", "Authentication-Results: mx.creto.example; dkim=pass (", "\"", "\\", "(", ")", ";", "=", "ü", "\0", "\u{202e}", "/#/mail/", "0123456789abcdef0123456789abcdef",
        ]), 0..60)) {
            let bytes = pieces.concat().into_bytes();
            let read = (replies().envelope(&bytes), words(&bytes));
            if let Ok(words) = read.1 {
                prop_assert!(!words.text.is_empty() && !words.text.contains(['\0', '\r']) && !words.text.to_ascii_lowercase().contains(TOKEN));
            }
        }
    }
}
