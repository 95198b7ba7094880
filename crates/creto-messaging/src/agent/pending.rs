//! Changes that were computed and not yet stored.

use std::sync::Arc;

use creto_kernel::Timestamp;
use creto_kernel::id::MessageId;

use crate::agent::SessionStore;
use crate::agent::records::{Change, Delta, Received};
use crate::core::handshake::{self, AcceptPolicy, LocalIdentity, PrekeySecrets};
use crate::core::ratchet::Cadence;
use crate::core::session::{Outgoing, Session};
use crate::core::suite::Entropy;
use crate::error::MessagingError;
use crate::model::bundle::PrekeyKind;
use crate::model::envelope::Envelope;

/// A message, sealed and safe to send any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedMessage {
    /// Its name.
    pub message: MessageId,
    /// The envelope's bytes.
    pub envelope: Arc<[u8]>,
}

/// A result whose state change is not stored yet.
///
/// INVARIANT: the result is reachable only through [`Self::commit`]. Dropping a `Pending` leaves no trace, and no key it derived was
/// ever visible.
#[must_use = "nothing has happened until it is committed"]
#[derive(Debug)]
pub struct Pending<T> {
    delta: Delta,
    session: Arc<Session>,
    value: T,
}

impl<T> Pending<T> {
    /// Stores the change, then answers the session after it and the result.
    pub fn commit(self, store: &dyn SessionStore) -> Result<(Arc<Session>, T), MessagingError> {
        store.apply(&self.delta)?;
        Ok((self.session, self.value))
    }
}

/// The change that stores a session opened by [`handshake::initiate`], and pins the peer's key.
pub fn prepare_session(session: Session, at: Timestamp) -> Pending<()> {
    let session = Arc::new(session);
    let changes =
        vec![Change::Pin(session.peer().clone(), session.peer_key()), Change::Session { expected: None, session: session.clone() }];
    Pending { delta: Delta { at, changes }, session, value: () }
}

/// Seals a message on a stored session. The envelope also goes to the outbox, so that a crash before sending sends the same bytes.
pub fn prepare_encrypt(
    session: &Session,
    outgoing: &Outgoing<'_>,
    cadence: Cadence,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Pending<SealedMessage>, MessagingError> {
    let (next, bytes) = session.seal(outgoing, cadence, now, entropy)?;
    let (next, envelope): (_, Arc<[u8]>) = (Arc::new(next), bytes.into());
    let changes = vec![
        Change::Session { expected: Some(session.revision()), session: next.clone() },
        Change::Outbox(outgoing.message, envelope.clone()),
    ];
    let value = SealedMessage { message: outgoing.message, envelope };
    Ok(Pending { delta: Delta { at: now, changes }, session: next, value })
}

/// Opens a message on a stored session.
pub fn prepare_decrypt(session: &Session, envelope: &Envelope, now: Timestamp) -> Result<Pending<Arc<Received>>, MessagingError> {
    let (next, text) = session.open(envelope, now)?;
    let (next, received) = received(next, envelope, text, now);
    let changes = vec![Change::Session { expected: Some(session.revision()), session: next.clone() }, Change::Inbox(received.clone())];
    Ok(Pending { delta: Delta { at: now, changes }, session: next, value: received })
}

/// Accepts the opening of an envelope and opens its message. In one change: the new session, the used one-time keys gone, the opening
/// remembered until `seen_until`, the peer pinned, the message kept.
pub fn prepare_accept(
    own: &LocalIdentity,
    secrets: &PrekeySecrets,
    envelope: &Envelope,
    policy: &AcceptPolicy<'_>,
    seen_until: Timestamp,
    now: Timestamp,
) -> Result<Pending<Arc<Received>>, MessagingError> {
    let opening = envelope.opening().ok_or(MessagingError::UnknownSession)?;
    let (session, text) = handshake::accept(own, secrets, opening, policy, now)?.open(envelope, now)?;
    let (session, received) = received(session, envelope, text, now);
    let mut changes = vec![
        Change::Opening(session.id(), seen_until),
        Change::Pin(session.peer().clone(), session.peer_key()),
        Change::Session { expected: None, session: session.clone() },
        Change::Inbox(received.clone()),
    ];
    changes.extend(opening.prekeys.agreement_once.map(|id| Change::UsePrekey(PrekeyKind::AgreementOnce, id)));
    if opening.prekeys.kem_kind == PrekeyKind::KemOnce {
        changes.push(Change::UsePrekey(PrekeyKind::KemOnce, opening.prekeys.kem));
    }
    Ok(Pending { delta: Delta { at: now, changes }, session, value: received })
}

fn received(session: Session, envelope: &Envelope, text: crate::core::session::Plaintext, at: Timestamp) -> (Arc<Session>, Arc<Received>) {
    let received = Received {
        message: envelope.message(),
        sender: session.peer().clone(),
        session: session.id(),
        authorization: envelope.authorization().clone(),
        at,
        text,
    };
    (Arc::new(session), Arc::new(received))
}
