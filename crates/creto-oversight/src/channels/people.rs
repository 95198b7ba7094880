//! People as channels reach them: addresses, links to outside identities that were proved, what they do not want to hear, and what
//! comes back from them.

use std::time::Duration;

use creto_crypto::Secret;
use creto_db::Sealed;
use creto_kernel::id::LeafId;
use creto_kernel::{Digest, Leaf, NhiId, TenantId, Timestamp};
use creto_nhi::core::webauthn::Assertion;
use creto_nhi::{AuthMethod, PasskeyQuestion, Principal};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Callback, ChannelError, Channels, Wish, requested};
use crate::error::OversightError;
use crate::model::case::{Choice, Glass};
use crate::model::command::Ballot;
use crate::model::notice::Notice;
use crate::model::request::Request;
use crate::model::voter::{PASSKEY, Voter};
use crate::store::channels as store;
use creto_kernel::id::RequestId;

/// How long a linking code is good.
const CODE_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a mail's link is good beyond the request's own deadline: never.
const MAIL_TOKEN_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a callback is remembered: longer than its signature is accepted.
const CALLBACK_KEPT: Duration = Duration::from_secs(15 * 60);
/// Letters of a code: none that looks like another. Thirty of them, twelve places: 58 bits.
const ALPHABET: &[u8; 30] = b"ABCDEFGHJKMNPQRSTVWXYZ23456789";
const CODE_LETTERS: usize = 12;
const MAIL_BYTES_MAX: usize = 254;

/// What a decision is about, as the one who decides saw it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The action's digest; a denial may leave it out.
    pub digest: Option<Digest>,
    /// The digest of the view, where some of the action was hidden from them.
    pub shown: Option<Digest>,
}

/// What a passkey is used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signs {
    /// An approval.
    #[default]
    Vote,
    /// Breaking the glass.
    Glass,
}

impl Signs {
    /// What is signed for this action.
    fn over(self, action: Digest) -> Digest {
        match self {
            Self::Vote => action,
            Self::Glass => Glass::signed(action),
        }
    }
}

/// An outside identity that a person proved to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Link {
    /// The channel.
    pub channel: String,
    /// The identity, in the channel's words.
    pub subject: String,
    /// Since when.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// How a person wants to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// Where mail goes; none is sent without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Channels that tell them nothing. The inbox always has everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mute: Vec<String>,
}

impl Channels {
    /// Where a person is reached by a channel; `None` where they are not.
    pub(super) async fn address(&self, person: &NhiId, channel: &str) -> Result<Option<String>, OversightError> {
        let preferences = store::preferences(&self.0.db, person).await?;
        if preferences.mute.iter().any(|muted| muted == channel) {
            return Ok(None);
        }
        if channel == "email" {
            return Ok(preferences.email);
        }
        let links = store::links(&self.0.db, person).await?;
        Ok(links.into_iter().find(|link| link.channel == channel).map(|link| link.subject))
    }

    /// How a person wants to be told, and what they linked.
    pub async fn of(&self, person: &NhiId) -> Result<(Preferences, Vec<Link>), OversightError> {
        Ok((store::preferences(&self.0.db, person).await?, store::links(&self.0.db, person).await?))
    }

    /// Sets how a person wants to be told; their own doing, or an operator's.
    ///
    /// # Errors
    /// `oversight.bad_input`.
    pub async fn prefer(&self, by: &NhiId, person: &NhiId, preferences: &Preferences) -> Result<(), OversightError> {
        if preferences.email.as_deref().is_some_and(|address| !is_mail(address)) {
            return Err(OversightError::BadInput("`email` is no mail address".to_owned()));
        }
        if let Some(unknown) = preferences.mute.iter().find(|name| self.channel(name).is_none()) {
            let shown: String = unknown.chars().take(40).collect();
            return Err(OversightError::BadInput(format!("`{shown}` is no channel of this server")));
        }
        let body = serde_json::to_string(preferences).map_err(|e| OversightError::BadInput(e.to_string()))?;
        // An address is personal: the leaf says that it was set, and by whom, and no more.
        let leaf = self.leaf(by, "oversight.prefer", person)?;
        self.0.db.commit(Sealed::new(leaf).step(store::prefer(person, body))).await?;
        Ok(())
    }

    /// A code that links an outside identity to a signed-in person, once they say it there.
    ///
    /// # Errors
    /// `oversight.no_channel`.
    pub async fn link_code(&self, person: &NhiId, channel: &str) -> Result<String, OversightError> {
        if self.channel(channel).is_none() {
            return Err(OversightError::NoChannel(channel.chars().take(40).collect()));
        }
        let code = new_code()?;
        let until = self.0.clock.now().saturating_add(CODE_MAX);
        let leaf = self.leaf(person, "oversight.link_code", person)?.fact("channel", channel);
        let [forget, insert] = store::insert_code(person, channel, code_digest(channel, &code), until);
        self.0.db.commit(Sealed::new(leaf).step(forget).step(insert)).await?;
        Ok(code)
    }

    /// Ends a person's links of a channel.
    pub async fn unlink(&self, by: &NhiId, person: &NhiId, channel: &str) -> Result<(), OversightError> {
        let leaf = self.leaf(by, "oversight.unlink", person)?.fact("channel", channel);
        self.0.db.commit(Sealed::new(leaf).step(store::unlink(person, channel))).await?;
        Ok(())
    }

    /// A callback of a service: proved, remembered, and turned into a vote or a link. Answers what to tell them; only what is not the
    /// service's is an error.
    ///
    /// # Errors
    /// `oversight.forged_callback`, `oversight.no_channel`; database failures.
    pub async fn callback(
        &self,
        channel: &str,
        callback: &Callback<'_>,
    ) -> Result<(Answer, Result<String, OversightError>), OversightError> {
        let found = self.channel(channel).ok_or_else(|| OversightError::NoChannel(channel.chars().take(40).collect()))?;
        let answer = found.parse_callback(callback).map_err(|e| match e {
            ChannelError::Forged(why) => OversightError::ForgedCallback(why),
            ChannelError::Later(why) | ChannelError::Never(why) => OversightError::BadInput(why),
        })?;
        let until = callback.now.saturating_add(CALLBACK_KEPT);
        if !store::first_time(&self.0.db, &self.0.tenant, answer.once, callback.now, until).await? {
            return Ok((answer, Ok("this was answered already".to_owned())));
        }
        let done = self.grant(found.name(), &answer).await;
        Ok((answer, done))
    }

    async fn grant(&self, channel: &'static str, answer: &Answer) -> Result<String, OversightError> {
        let tenant = &self.0.tenant;
        let choice = match &answer.wish {
            Wish::Link(code) => return self.link(channel, &answer.subject, code).await,
            Wish::Approve(digest) => (Choice::Approve, Some(*digest)),
            Wish::Deny => (Choice::Deny, None),
        };
        let request = answer.request.ok_or_else(|| OversightError::UnknownRequest(String::new()))?;
        // Nobody is an approver because a service says so: only a link made by proof counts, and no link means nobody.
        let person = store::linked(&self.0.db, tenant, channel, &answer.subject).await?.ok_or(OversightError::NotLinked)?;
        let asked = self.0.desk.get(tenant, request).await?;
        if !requested::lets_answer(asked.extra.as_deref(), channel, &answer.subject) {
            return Err(OversightError::NotEligible("the request names who answers it here, and you are not among them".to_owned()));
        }
        let method = if channel == "slack" { "slack_signature" } else { "channel" };
        let principal = self.0.credentials.account_principal(&person, AuthMethod::Channel(method)).await;
        let principal = principal.map_err(|_| OversightError::NotLinked)?;
        let voter = Voter::through(&principal, channel, method, None)?;
        let ballot = Ballot {
            voter,
            stands_in_for: None,
            choice: choice.0,
            digest: choice.1,
            shown: None,
            revision: answer.revision,
            comment: None,
            option: None,
        };
        let request = self.0.desk.vote(request, ballot).await?;
        Ok(format!("your vote counts; the request is {}", request.state.as_str().replace('_', " ")))
    }

    async fn link(&self, channel: &'static str, subject: &str, code: &str) -> Result<String, OversightError> {
        let (tenant, now) = (&self.0.tenant, self.0.clock.now());
        let digest = code_digest(channel, code.trim());
        let person = store::code(&self.0.db, tenant, channel, digest, now).await?.ok_or(OversightError::LinkCode)?;
        let leaf = self.leaf(&person, "oversight.link", &person)?.fact("channel", channel);
        let leaf = leaf.digest("subject", Digest::of_parts(&[digest.as_bytes(), subject.as_bytes()]));
        let sealed = Sealed::new(leaf).step(store::use_code(tenant, digest)).step(store::link(&person, channel, subject, now));
        self.0.db.commit(sealed).await?;
        Ok(format!("linked: you decide here as {}", person.name()))
    }

    /// Makes the secret of a mail's link: 256 random bits, stored as a digest, bound to request, revision and recipient.
    pub(super) async fn mint(&self, notice: &Notice, person: &NhiId) -> Result<String, OversightError> {
        let secret = Secret::random(32).map_err(|e| OversightError::BadInput(e.to_string()))?;
        let token: String = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect();
        let bound = store::MailToken { request: notice.request, revision: i64::from(notice.revision), person: person.clone() };
        let until = notice.at.saturating_add(MAIL_TOKEN_MAX);
        store::mint(&self.0.db, &notice.tenant, Digest::of(token.as_bytes()), &bound, until).await?;
        Ok(token)
    }

    /// A decision from a mail's page: by the person the mail went to, signed in, on the revision it was about. The token alone decides
    /// nothing, and neither does having opened the link.
    ///
    /// # Errors
    /// `oversight.mail_token` for a token that is unknown, old, another person's, another request's or another revision's; everything
    /// a vote is refused for.
    pub async fn decide_by_mail(
        &self,
        by: &Principal,
        id: RequestId,
        token: &str,
        choice: Choice,
        seen: Seen,
        comment: Option<String>,
    ) -> Result<Request, OversightError> {
        let found = store::mail_token(&self.0.db, by.tenant(), Digest::of(token.as_bytes()), self.0.clock.now()).await?;
        let found = found.filter(|bound| bound.request == id && bound.person == by.identity).ok_or(OversightError::MailToken)?;
        let revision = u32::try_from(found.revision).map_err(|_| OversightError::MailToken)?;
        if self.0.desk.get(by.tenant(), id).await?.revision != revision {
            return Err(OversightError::MailToken);
        }
        let voter = Voter::through(by, "email", by.how.as_str(), None)?;
        let Seen { digest, shown } = seen;
        let ballot = Ballot { voter, stands_in_for: None, choice, digest, shown, revision: Some(revision), comment, option: None };
        self.0.desk.vote(id, ballot).await
    }

    /// What a browser is asked so that a passkey approves exactly `digest`, or breaks the glass of exactly that: neither answer is good for
    /// the other.
    ///
    /// # Errors
    /// `nhi.passkey_unknown` where the person has none; `oversight.unknown_request`; `oversight.digest_mismatch`.
    pub async fn passkey_question(
        &self,
        by: &Principal,
        id: RequestId,
        digest: Digest,
        signs: Signs,
    ) -> Result<PasskeyQuestion, OversightError> {
        let request = self.0.desk.get(by.tenant(), id).await?;
        if request.digest != digest {
            return Err(OversightError::DigestMismatch { actual: request.digest.to_string(), sent: digest.to_string() });
        }
        Ok(self.0.credentials.passkey_approval(&by.identity, &self.0.public.party(), &id.to_string(), signs.over(digest)).await?)
    }

    /// Approves by passkey: the assertion is the vote's evidence and stands by itself.
    ///
    /// # Errors
    /// `nhi.passkey_refused`, and everything a vote is refused for.
    pub async fn approve_by_passkey(
        &self,
        by: &Principal,
        id: RequestId,
        (digest, shown): (Digest, Option<Digest>),
        comment: Option<String>,
        assertion: &Assertion,
    ) -> Result<Request, OversightError> {
        let voter = self.proven(by, id, Signs::Vote.over(digest), assertion).await?;
        let choice = Choice::Approve;
        let ballot = Ballot { voter, stands_in_for: None, choice, digest: Some(digest), shown, revision: None, comment, option: None };
        self.0.desk.vote(id, ballot).await
    }

    /// Breaks the glass by passkey: the assertion stays with it and stands by itself.
    ///
    /// # Errors
    /// `nhi.passkey_refused`, and everything that breaking the glass is refused for.
    pub async fn break_glass_by_passkey(
        &self,
        by: &Principal,
        id: RequestId,
        digest: Digest,
        reason: &str,
        assertion: &Assertion,
    ) -> Result<Request, OversightError> {
        let voter = self.proven(by, id, Signs::Glass.over(digest), assertion).await?;
        self.0.desk.break_glass(voter, id, digest, reason).await
    }

    /// The human whose passkey signed this for this request, with the assertion as evidence.
    async fn proven(&self, by: &Principal, id: RequestId, signed: Digest, assertion: &Assertion) -> Result<Voter, OversightError> {
        // First who may decide at all: an assertion is used up by being looked at.
        Voter::of(by)?;
        let (party, request) = (self.0.public.party(), id.to_string());
        let evidence = self.0.credentials.approve_by_passkey(&by.identity, &party, &request, signed, assertion).await?;
        Voter::through(by, "http", PASSKEY, Some(evidence))
    }

    fn leaf(&self, by: &NhiId, action: &str, person: &NhiId) -> Result<Leaf, OversightError> {
        let bad = |e: creto_kernel::action::NameError| OversightError::BadInput(e.to_string());
        let resource = format!("person:{}", person.name());
        Ok(Leaf::event(
            LeafId::generate(),
            self.0.clock.now(),
            by.clone(),
            action.parse().map_err(bad)?,
            resource.parse().map_err(bad)?,
            "done",
        ))
    }

    /// The tenant whose services are configured.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }
}

/// Random letters without bias: bytes beyond the last whole multiple of the alphabet are thrown away.
fn new_code() -> Result<String, OversightError> {
    let mut code = String::new();
    while code.len() < CODE_LETTERS {
        let bytes = Secret::random(32).map_err(|e| OversightError::BadInput(e.to_string()))?;
        let letters = bytes.expose().iter().filter(|byte| **byte < 240).filter_map(|byte| ALPHABET.get(usize::from(byte % 30)));
        code.extend(letters.map(|letter| char::from(*letter)).take(CODE_LETTERS - code.len()));
    }
    Ok(code)
}

/// 58 random bits, tried through a signed callback and good for ten minutes: a plain digest is as good as a slow one.
fn code_digest(channel: &str, code: &str) -> Digest {
    Digest::of_parts(&[b"creto/link-code/v1/", channel.as_bytes(), b"/", code.to_ascii_uppercase().as_bytes()])
}

/// Enough of RFC 5321 that nothing but one address gets into a mail: one `@`, no spaces, controls or brackets.
pub(super) fn is_mail(text: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"<>()[]\\,;:\"@".contains(&b));
    text.len() <= MAIL_BYTES_MAX && text.split_once('@').is_some_and(|(local, domain)| plain(local) && plain(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_long_enough_and_readable() {
        let codes: std::collections::BTreeSet<String> = (0..200).map(|_| new_code().unwrap()).collect();
        assert_eq!(codes.len(), 200);
        assert!(codes.iter().all(|code| code.len() == CODE_LETTERS && code.bytes().all(|b| ALPHABET.contains(&b))));
    }

    #[test]
    fn only_one_plain_address_is_a_mail_address() {
        for (text, good) in [
            ("ada@example.com", true),
            ("a.b+c@sub.example.com", true),
            ("ada", false),
            ("@example.com", false),
            ("ada@", false),
            ("ada@example.com, eve@evil.com", false),
            ("ada@example.com\r\nBcc: eve@evil.com", false),
            ("<ada@example.com>", false),
            ("ada@exa mple.com", false),
            ("a@b@c", false),
        ] {
            assert_eq!(is_mail(text), good, "{text}");
        }
    }
}
