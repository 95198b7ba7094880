//! Sessions: sealing and opening messages on a ratchet, and the form a session has at rest.

mod state;

pub use state::SESSION_BYTES_MAX;

use std::fmt;
use std::sync::Arc;

use creto_kernel::id::MessageId;
use creto_kernel::{NhiId, Timestamp};
use zeroize::Zeroizing;

use crate::core::padding;
use crate::core::ratchet::{Cadence, Header, Ratchet, header_key};
use crate::core::suite::{self, Entropy, Key};
use crate::error::MessagingError;
use crate::model::envelope::{Authorization, Clear, Envelope, Mode, Opening, TEXT_BYTES_MAX};
use crate::model::identity::IdentityKeyId;
use crate::model::ids::{RouteId, SessionId};
use crate::model::wire::Writer;

const MESSAGE_LABEL: &[u8] = b"creto-messaging/v1/message";
const BODY_LABEL: &[u8] = b"creto-messaging/v1/body";

/// Which side of the handshake we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sent the opening.
    Initiator,
    /// Accepted it.
    Responder,
}

impl Role {
    const fn direction_out(self) -> u8 {
        match self {
            Self::Initiator => 0,
            Self::Responder => 1,
        }
    }
}

/// A session with one peer.
///
/// INVARIANT: a session is a value; sealing and opening answer a new one. Two values of the same revision must never both be stored:
/// the store's compare-and-set on the revision sees to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    pub(crate) id: SessionId,
    pub(crate) role: Role,
    pub(crate) own: NhiId,
    pub(crate) peer: NhiId,
    pub(crate) peer_key: IdentityKeyId,
    pub(crate) route_out: RouteId,
    pub(crate) route_in: RouteId,
    pub(crate) mode: Mode,
    pub(crate) last_resort: bool,
    /// Sent along until the peer has answered.
    pub(crate) opening: Option<Arc<Opening>>,
    pub(crate) revision: u64,
    pub(crate) ratchet: Ratchet,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, {} to {}, revision {})", self.id, self.own, self.peer, self.revision)
    }
}

/// A text as it came out of its envelope. Wiped on drop, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    /// Takes ownership of a text.
    #[must_use]
    pub fn new(text: Vec<u8>) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.0.len())
    }
}

/// What to seal.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its name; also its idempotency key at the server.
    pub message: MessageId,
    /// The text, at most [`TEXT_BYTES_MAX`] bytes.
    pub text: &'a [u8],
    /// Under which decision it travels.
    pub authorization: &'a Authorization,
}

/// The single-use key and its commitment: HKDF(MK, salt, label ‖ suite ‖ session ‖ direction ‖ header). The salt keeps two restored
/// copies of one session from ever sealing under one key; the commitment keeps a ciphertext from opening under two (GCM does not).
fn body_key(
    message_key: &Key,
    salt: &[u8; 16],
    session: &SessionId,
    direction: u8,
    header: &[u8],
) -> Result<(Key, [u8; 32]), MessagingError> {
    let mut info = Writer::with_capacity(128);
    info.fixed(MESSAGE_LABEL).u8(suite::SUITE.byte()).digest(session.transcript()).u8(direction).fixed(header);
    let mut out = Zeroizing::new([0_u8; 64]);
    suite::hkdf(salt, message_key.expose(), info.as_bytes(), out.as_mut_slice())?;
    match (out.first_chunk::<32>(), out.last_chunk::<32>()) {
        (Some(key), Some(commitment)) => Ok((Key::from_bytes(*key), *commitment)),
        _ => Err(MessagingError::Corrupt("derivation")),
    }
}

/// What the body authenticates besides itself: the transcript, the header, and the whole clear part with message id and decision.
fn body_aad(session: &SessionId, header: &[u8], prefix: &[u8]) -> Vec<u8> {
    [BODY_LABEL, session.transcript().as_bytes(), header, prefix].concat()
}

impl Session {
    /// The session's id: the digest of its handshake transcript.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// With whom.
    #[must_use]
    pub const fn peer(&self) -> &NhiId {
        &self.peer
    }

    /// The identity key the peer proved.
    #[must_use]
    pub const fn peer_key(&self) -> IdentityKeyId {
        self.peer_key
    }

    /// The route of messages to us.
    #[must_use]
    pub const fn route_in(&self) -> RouteId {
        self.route_in
    }

    /// Which side we were.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether the initiator signed.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the responder's one-time encapsulation keys had run out. Such a session heals with the first answer.
    #[must_use]
    pub const fn used_last_resort(&self) -> bool {
        self.last_resort
    }

    /// Counts stored changes.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Seals one message: the session after it, and the envelope's bytes.
    pub(crate) fn seal(
        &self,
        outgoing: &Outgoing<'_>,
        cadence: Cadence,
        now: Timestamp,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Vec<u8>), MessagingError> {
        if outgoing.text.len() > TEXT_BYTES_MAX {
            return Err(MessagingError::TextTooLong { bytes: outgoing.text.len(), limit_bytes: TEXT_BYTES_MAX });
        }
        if now >= outgoing.authorization.expires {
            return Err(MessagingError::Expired("authorization"));
        }
        let (ratchet, keys) = self.ratchet.send(cadence, now, entropy)?;
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        let header = keys.header.to_bytes();
        let (key, commitment) = body_key(&keys.message_key, &salt, &self.id, self.role.direction_out(), &header)?;
        let padded = padding::padded_bytes(outgoing.text.len());
        let mut out = Writer::with_capacity(padded + 768 + if self.opening.is_some() { 12 << 10 } else { 0 });
        let clear = Clear {
            suite: suite::SUITE,
            message: outgoing.message,
            sender: &self.own,
            recipient: &self.peer,
            authorization: outgoing.authorization,
            opening: self.opening.as_deref(),
            route: self.route_out,
        };
        clear.encode(&mut out);
        out.fixed(&salt).fixed(&commitment);
        // Room for padding and tag from the start: sealing in place then leaves no copy of the text behind.
        let mut body = Vec::with_capacity(padded + crate::model::envelope::TAG_BYTES);
        body.extend_from_slice(outgoing.text);
        padding::pad(&mut body);
        suite::seal_once(&key, &body_aad(&self.id, &header, out.as_bytes()), &mut body)?;
        out.bytes(&body);
        let mut sealed_header = Vec::with_capacity(crate::model::envelope::HEADER_BYTES);
        sealed_header.extend_from_slice(&header);
        suite::seal_once(&header_key(&keys.header_key, &salt), out.as_bytes(), &mut sealed_header)?;
        out.fixed(&sealed_header);
        Ok((Self { ratchet, revision: self.revision + 1, ..self.clone() }, out.into_bytes()))
    }

    /// Opens one message: the session after it, and the text.
    pub(crate) fn open(&self, envelope: &Envelope, now: Timestamp) -> Result<(Self, Plaintext), MessagingError> {
        self.check_addresses(envelope, now)?;
        let (found, header) = self.ratchet.open_header(envelope.salt(), envelope.before_header(), envelope.header())?;
        let (ratchet, message_key) = self.ratchet.receive(found, &header, now)?;
        let text = self.open_body(envelope, &header, &message_key)?;
        Ok((Self { ratchet, revision: self.revision + 1, opening: None, ..self.clone() }, text))
    }

    fn check_addresses(&self, envelope: &Envelope, now: Timestamp) -> Result<(), MessagingError> {
        for (expected, found) in [(&self.own, envelope.recipient()), (&self.peer, envelope.sender())] {
            if expected != found {
                return Err(MessagingError::WrongIdentity { expected: expected.clone(), found: found.clone() });
            }
        }
        if envelope.route() != self.route_in {
            return Err(MessagingError::UnknownSession);
        }
        if now >= envelope.authorization().expires {
            return Err(MessagingError::Expired("authorization"));
        }
        Ok(())
    }

    fn open_body(&self, envelope: &Envelope, header: &Header, message_key: &Key) -> Result<Plaintext, MessagingError> {
        let header = header.to_bytes();
        let direction = 1 - self.role.direction_out();
        let (key, commitment) = body_key(message_key, envelope.salt(), &self.id, direction, &header)?;
        // The commitment is public and fixed by the key, so comparing it needs no constant time.
        if commitment != *envelope.commitment() {
            return Err(MessagingError::Undecryptable);
        }
        let padded = suite::open_once(&key, &body_aad(&self.id, &header, envelope.prefix()), envelope.body())?;
        let length = padding::text_bytes(padded.expose())?;
        let text = padded.expose().get(..length).ok_or(MessagingError::Undecryptable)?;
        if length > TEXT_BYTES_MAX {
            return Err(MessagingError::TextTooLong { bytes: length, limit_bytes: TEXT_BYTES_MAX });
        }
        Ok(Plaintext::new(text.to_vec()))
    }
}
