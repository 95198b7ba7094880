//! Envelopes: one message as it travels. The server reads the clear part to route, admit and expire; the rest is for the endpoints.
//!
//! ```text
//! version ‖ suite ‖ message id ‖ sender ‖ recipient ‖ authorization ‖ opening? ‖ route ‖ salt ‖ commitment     prefix
//! body: length ‖ encrypted padded text
//! header: encrypted (ratchet key, PN, N)
//! ```
//!
//! The header comes last because it authenticates every byte before it: a forged packet fails at the header, before any ratchet work.

use std::fmt;

use creto_kernel::id::MessageId;
use creto_kernel::{Digest, NhiId, Timestamp};

use crate::model::bundle::{PrekeyId, PrekeyKind};
use crate::model::identity::IdentityStatement;
use crate::model::ids::{AgreementPublic, RouteId};
use crate::model::suite::SuiteId;
use crate::model::wire::{Reader, VERSION, WireError, Writer};

/// Longest text, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest encrypted body, in bytes: the padded text and its tag.
pub const BODY_BYTES_MAX: usize = (80 << 10) + TAG_BYTES;
/// Longest envelope, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 112 << 10;
/// Longest purpose, in bytes.
pub const PURPOSE_BYTES_MAX: usize = 64;
/// An authentication tag.
pub const TAG_BYTES: usize = 16;
/// An encrypted header: ratchet key, PN, N and the tag.
pub const HEADER_BYTES: usize = 32 + 4 + 4 + TAG_BYTES;

/// Why a message is sent, in the sender's policy's words: 1 to 64 of `a-z`, `0-9`, `_`, `.` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purpose(String);

impl Purpose {
    /// Parses the text.
    pub fn new(text: &str) -> Result<Self, WireError> {
        let fits = (1..=PURPOSE_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'));
        if fits { Ok(Self(text.to_owned())) } else { Err(WireError::Value("purpose")) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Purpose({self})")
    }
}

/// Under which decision a message travels (recipe 2.8). Bound into the ciphertext, so that a message cannot be moved to another decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Names the decision: the digest of the admitted action or of the authority it was decided for.
    pub decision: Digest,
    /// Names the policies it was decided by.
    pub policy: Digest,
    /// Why.
    pub purpose: Purpose,
    /// End of validity, exclusive: the server drops and the recipient refuses the message from then on.
    pub expires: Timestamp,
}

impl Authorization {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.digest(&self.decision).digest(&self.policy).bytes(self.purpose.0.as_bytes()).time(self.expires);
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            decision: input.digest("decision")?,
            policy: input.digest("policy")?,
            purpose: {
                let bytes = input.bytes(PURPOSE_BYTES_MAX, "purpose")?;
                Purpose::new(std::str::from_utf8(bytes).map_err(|_| WireError::Value("purpose"))?)?
            },
            expires: input.time("expires")?,
        })
    }
}

/// Whether the initiator can later deny the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The initiator signs the transcript: post-quantum authentication and non-repudiation. The default.
    Accountable,
    /// No signature: the initiator is authenticated by the classical agreement only, and could deny the session.
    Deniable,
}

/// Which of the responder's prekeys a handshake used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrekeysNamed {
    /// The signed agreement key.
    pub signed: PrekeyId,
    /// The one-time agreement key, if one was left.
    pub agreement_once: Option<PrekeyId>,
    /// One-time or last resort.
    pub kem_kind: PrekeyKind,
    /// The encapsulation key.
    pub kem: PrekeyId,
}

impl PrekeysNamed {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u32(self.signed.0);
        out.optional(self.agreement_once.as_ref(), |out, id| {
            out.u32(id.0);
        });
        out.u8(self.kem_kind.byte()).u32(self.kem.0);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let signed = PrekeyId(input.u32("signed prekey")?);
        let agreement_once = input.optional("one-time prekey", |input| input.u32("one-time prekey").map(PrekeyId))?;
        let kem_kind = PrekeyKind::decode(input)?;
        if !matches!(kem_kind, PrekeyKind::KemOnce | PrekeyKind::KemLastResort) {
            return Err(WireError::Value("encapsulation prekey kind"));
        }
        Ok(Self { signed, agreement_once, kem_kind, kem: PrekeyId(input.u32("encapsulation prekey")?) })
    }
}

/// The initiator's half of a handshake, sent with each message until the first answer arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The initiator.
    pub statement: IdentityStatement,
    /// The initiator's ephemeral agreement key.
    pub ephemeral: AgreementPublic,
    /// The responder's keys it used.
    pub prekeys: PrekeysNamed,
    /// To the named encapsulation key; its length is the suite's.
    pub kem_ciphertext: Vec<u8>,
    /// Under which decision the session was opened.
    pub authorization: Authorization,
    /// Over the transcript in accountable mode; absent in deniable mode.
    pub signature: Option<Vec<u8>>,
}

impl Opening {
    /// Accountable when signed. The mode is part of the transcript, so that a signature can be neither stripped nor added.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        if self.signature.is_some() { Mode::Accountable } else { Mode::Deniable }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        self.statement.encode(out);
        out.fixed(self.ephemeral.as_bytes());
        self.prekeys.encode(out);
        out.fixed(&self.kem_ciphertext);
        self.authorization.encode(out);
        out.optional(self.signature.as_ref(), |out, signature| {
            out.fixed(signature);
        });
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let statement = IdentityStatement::decode(input)?;
        let sizes = statement.suite.sizes();
        Ok(Self {
            ephemeral: AgreementPublic::from_bytes(input.array("ephemeral key")?),
            prekeys: PrekeysNamed::decode(input)?,
            kem_ciphertext: input.take(sizes.kem_ciphertext, "encapsulation")?.to_vec(),
            authorization: Authorization::decode(input)?,
            signature: input
                .optional("transcript signature", |input| input.take(sizes.signature, "transcript signature").map(<[u8]>::to_vec))?,
            statement,
        })
    }
}

/// The clear part of an envelope, as its sender composes it.
#[derive(Clone, Debug)]
pub(crate) struct Clear<'a> {
    pub(crate) suite: SuiteId,
    pub(crate) message: MessageId,
    pub(crate) sender: &'a NhiId,
    pub(crate) recipient: &'a NhiId,
    pub(crate) authorization: &'a Authorization,
    pub(crate) opening: Option<&'a Opening>,
    pub(crate) route: RouteId,
}

impl Clear<'_> {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u8(VERSION);
        self.suite.encode(out);
        out.fixed(self.message.as_bytes()).nhi(self.sender).nhi(self.recipient);
        self.authorization.encode(out);
        out.optional(self.opening.as_ref(), |out, opening| opening.encode(out));
        out.fixed(self.route.as_bytes());
    }
}

/// One message as it travels.
///
/// INVARIANT: made only by decoding [`Self::as_bytes`], so what is authenticated is what arrived, never a re-encoding of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    bytes: Vec<u8>,
    suite: SuiteId,
    message: MessageId,
    sender: NhiId,
    recipient: NhiId,
    authorization: Authorization,
    opening: Option<Box<Opening>>,
    route: RouteId,
    salt: [u8; 16],
    commitment: [u8; 32],
    prefix_end: usize,
    body_end: usize,
}

impl Envelope {
    /// Reads bytes that hold one envelope and nothing else.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, WireError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(WireError::TooLong { field: "envelope", limit_bytes: ENVELOPE_BYTES_MAX });
        }
        let mut input = Reader::new(&bytes);
        input.version()?;
        let suite = SuiteId::decode(&mut input)?;
        let message = MessageId::from_bytes(input.array("message id")?);
        let sender = input.nhi("sender")?;
        let recipient = input.nhi("recipient")?;
        let authorization = Authorization::decode(&mut input)?;
        let opening = input.optional("opening", |input| Opening::decode(input).map(Box::new))?;
        if opening.as_ref().is_some_and(|opening| opening.statement.suite != suite) {
            return Err(WireError::Value("suite of the opening"));
        }
        let route = RouteId::from_bytes(input.array("route")?);
        let salt = input.array("salt")?;
        let commitment = input.array("commitment")?;
        let prefix_end = input.position();
        if input.bytes(BODY_BYTES_MAX, "body")?.len() < TAG_BYTES {
            return Err(WireError::Truncated("body"));
        }
        let body_end = input.position();
        input.take(HEADER_BYTES, "header")?;
        input.finish()?;
        Ok(Self { suite, message, sender, recipient, authorization, opening, route, salt, commitment, prefix_end, body_end, bytes })
    }

    /// The whole encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its suite.
    #[must_use]
    pub const fn suite(&self) -> SuiteId {
        self.suite
    }

    /// Its name, chosen by the sender.
    #[must_use]
    pub const fn message(&self) -> MessageId {
        self.message
    }

    /// Who claims to have sent it; the server checks it against the caller, the recipient against the session.
    #[must_use]
    pub const fn sender(&self) -> &NhiId {
        &self.sender
    }

    /// For whom.
    #[must_use]
    pub const fn recipient(&self) -> &NhiId {
        &self.recipient
    }

    /// Under which decision.
    #[must_use]
    pub const fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// The handshake, until the first answer.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_deref()
    }

    /// Which session and direction.
    #[must_use]
    pub const fn route(&self) -> RouteId {
        self.route
    }

    pub(crate) const fn salt(&self) -> &[u8; 16] {
        &self.salt
    }

    pub(crate) const fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Everything before the body: what the body authenticates.
    pub(crate) fn prefix(&self) -> &[u8] {
        self.bytes.get(..self.prefix_end).unwrap_or_default()
    }

    /// The encrypted body, without its length.
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(self.prefix_end + 4..self.body_end).unwrap_or_default()
    }

    /// Everything before the header: what the header authenticates.
    pub(crate) fn before_header(&self) -> &[u8] {
        self.bytes.get(..self.body_end).unwrap_or_default()
    }

    /// The encrypted header.
    pub(crate) fn header(&self) -> &[u8] {
        self.bytes.get(self.body_end..).unwrap_or_default()
    }
}
