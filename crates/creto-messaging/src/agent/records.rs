//! Everything an agent keeps, and the changes it knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use creto_crypto::Secret;
use creto_kernel::id::MessageId;
use creto_kernel::{NhiId, Timestamp};
use zeroize::Zeroizing;

use crate::core::handshake::{LocalIdentity, PrekeySecrets};
use crate::core::session::{Plaintext, Session};
use crate::core::suite::{self, AgreementSecret, KemSecret};
use crate::error::MessagingError;
use crate::model::bundle::{PrekeyId, PrekeyKind};
use crate::model::envelope::{Authorization, Opening};
use crate::model::identity::{IdentityKeyId, IdentityStatement};
use crate::model::ids::{RouteId, SessionId};

mod codec;

/// An identity's secret keys.
#[derive(Clone, Debug)]
pub struct IdentitySecrets {
    /// What peers see.
    pub statement: IdentityStatement,
    /// The secret half of the statement's agreement key.
    pub agreement: AgreementSecret,
    /// The seeds of the statement's signing key.
    pub signing: Secret,
}

impl IdentitySecrets {
    /// The identity, ready to sign and agree.
    pub fn unlock(&self) -> Result<LocalIdentity, MessagingError> {
        Ok(LocalIdentity {
            statement: self.statement.clone(),
            agreement: self.agreement.clone(),
            signer: Arc::new(suite::signing_from_bytes(self.signing.expose())?),
        })
    }
}

/// The secret half of a prekey.
#[derive(Clone, Debug)]
pub struct PrekeyRecord {
    /// Its bytes.
    pub secret: Secret,
    /// When it stops being accepted and is deleted.
    pub not_after: Timestamp,
}

/// A message that was opened, until the program takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its name.
    pub message: MessageId,
    /// Who sent it: proved by the session.
    pub sender: NhiId,
    /// On which session.
    pub session: SessionId,
    /// Under which decision.
    pub authorization: Authorization,
    /// When it was opened.
    pub at: Timestamp,
    /// The text.
    pub text: Plaintext,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// The agent's own identity; there is at most one.
    Identity(Box<IdentitySecrets>),
    /// A new prekey.
    AddPrekey(PrekeyKind, PrekeyId, PrekeyRecord),
    /// A one-time prekey was used: its secret half goes in the same change that keeps what it opened.
    UsePrekey(PrekeyKind, PrekeyId),
    /// A session at a new revision; `expected` is the stored one, `None` when it is new.
    Session {
        /// The stored revision.
        expected: Option<u64>,
        /// The new value.
        session: Arc<Session>,
    },
    /// An opening was accepted; refused when it was before. Remembered until its prekeys are gone.
    Opening(SessionId, Timestamp),
    /// The peer's identity key; refused when another one is pinned.
    Pin(NhiId, IdentityKeyId),
    /// A message was opened.
    Inbox(Arc<Received>),
    /// The program has taken the message.
    Take(MessageId),
    /// A message was sealed and waits to be sent.
    Outbox(MessageId, Arc<[u8]>),
    /// The server has accepted the message.
    Sent(MessageId),
}

/// Changes that happen together.
#[derive(Clone, Debug)]
pub struct Delta {
    /// When.
    pub at: Timestamp,
    /// What, in order.
    pub changes: Vec<Change>,
}

/// Everything an agent keeps.
#[derive(Clone, Debug, Default)]
pub struct Records {
    identity: Option<IdentitySecrets>,
    prekeys: BTreeMap<(PrekeyKind, PrekeyId), PrekeyRecord>,
    next_prekey: u32,
    pins: BTreeMap<NhiId, IdentityKeyId>,
    openings: BTreeMap<SessionId, Timestamp>,
    sessions: BTreeMap<SessionId, Arc<Session>>,
    routes: BTreeMap<RouteId, SessionId>,
    newest: BTreeMap<NhiId, SessionId>,
    inbox: BTreeMap<MessageId, Arc<Received>>,
    outbox: BTreeMap<MessageId, Arc<[u8]>>,
}

impl Records {
    /// The agent's identity.
    #[must_use]
    pub const fn identity(&self) -> Option<&IdentitySecrets> {
        self.identity.as_ref()
    }

    /// The number the next prekey gets; numbers are never used twice.
    #[must_use]
    pub const fn next_prekey(&self) -> u32 {
        self.next_prekey
    }

    /// The identity key a peer is known by.
    #[must_use]
    pub fn pin(&self, peer: &NhiId) -> Option<IdentityKeyId> {
        self.pins.get(peer).copied()
    }

    /// A session.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(id)
    }

    /// The session a route belongs to.
    #[must_use]
    pub fn session_by_route(&self, route: &RouteId) -> Option<&Arc<Session>> {
        self.routes.get(route).and_then(|id| self.sessions.get(id))
    }

    /// The newest session with a peer.
    #[must_use]
    pub fn session_with(&self, peer: &NhiId) -> Option<&Arc<Session>> {
        self.newest.get(peer).and_then(|id| self.sessions.get(id))
    }

    /// Messages that wait for the program, in the order of their names.
    pub fn inbox(&self) -> impl Iterator<Item = &Arc<Received>> {
        self.inbox.values()
    }

    /// Messages that wait for the server.
    pub fn outbox(&self) -> impl Iterator<Item = (&MessageId, &Arc<[u8]>)> {
        self.outbox.iter()
    }

    /// The secret halves of the prekeys an opening names, and the end of the last of them.
    pub fn secrets_for(&self, opening: &Opening, now: Timestamp) -> Result<(PrekeySecrets, Timestamp), MessagingError> {
        let named = &opening.prekeys;
        let find = |kind, id| {
            let record = self.prekeys.get(&(kind, id)).filter(|record| now < record.not_after);
            record.ok_or(MessagingError::UnknownPrekey { kind, id })
        };
        let agreement = |record: &PrekeyRecord| {
            let bytes = record.secret.expose().try_into().map_err(|_| MessagingError::Corrupt("prekey"))?;
            AgreementSecret::from_bytes(bytes)
        };
        let signed = find(PrekeyKind::AgreementSigned, named.signed)?;
        let once = named.agreement_once.map(|id| find(PrekeyKind::AgreementOnce, id)).transpose()?;
        let kem = find(named.kem_kind, named.kem)?;
        let secrets = PrekeySecrets {
            signed: agreement(signed)?,
            agreement_once: once.map(agreement).transpose()?,
            kem: KemSecret::from_bytes(kem.secret.expose())?,
        };
        Ok((secrets, signed.not_after.max(kem.not_after)))
    }

    /// Whether every change of a delta may happen.
    pub(crate) fn check(&self, delta: &Delta) -> Result<(), MessagingError> {
        delta.changes.iter().try_for_each(|change| match change {
            Change::Session { expected, session } => {
                let stored = self.sessions.get(&session.id).map(|stored| stored.revision);
                let moved = MessagingError::StaleState { expected: expected.unwrap_or(0) };
                if stored == *expected { Ok(()) } else { Err(moved) }
            }
            Change::UsePrekey(kind, id) if !self.prekeys.contains_key(&(*kind, *id)) => {
                Err(MessagingError::UnknownPrekey { kind: *kind, id: *id })
            }
            Change::Opening(id, _) if self.openings.contains_key(id) => Err(MessagingError::OpeningReplayed),
            Change::Pin(peer, key) if self.pin(peer).is_some_and(|pin| pin != *key) => Err(MessagingError::IdentityChanged(peer.clone())),
            Change::Inbox(received) if self.inbox.contains_key(&received.message) => Err(MessagingError::Duplicate),
            Change::AddPrekey(_, id, _) if id.0 < self.next_prekey => Err(MessagingError::StaleState { expected: id.0.into() }),
            Change::Identity(_) if self.identity.is_some() => Err(MessagingError::StaleState { expected: 0 }),
            _ => Ok(()),
        })
    }

    /// Makes the changes of a delta that [`Self::check`] accepted.
    pub(crate) fn perform(&mut self, delta: &Delta) {
        for change in &delta.changes {
            self.perform_one(change, delta.at);
        }
    }

    fn perform_one(&mut self, change: &Change, at: Timestamp) {
        match change {
            Change::Identity(identity) => self.identity = Some((**identity).clone()),
            Change::AddPrekey(kind, id, record) => {
                self.prekeys.retain(|_, kept| at < kept.not_after);
                self.prekeys.insert((*kind, *id), record.clone());
                self.next_prekey = self.next_prekey.max(id.0.saturating_add(1));
            }
            Change::UsePrekey(kind, id) => drop(self.prekeys.remove(&(*kind, *id))),
            Change::Session { expected, session } => {
                if expected.is_none() {
                    self.routes.insert(session.route_in, session.id);
                    self.newest.insert(session.peer.clone(), session.id);
                }
                self.sessions.insert(session.id, session.clone());
            }
            Change::Opening(id, until) => {
                self.openings.retain(|_, until| at < *until);
                self.openings.insert(*id, *until);
            }
            Change::Pin(peer, key) => drop(self.pins.insert(peer.clone(), *key)),
            Change::Inbox(received) => drop(self.inbox.insert(received.message, received.clone())),
            Change::Take(message) => drop(self.inbox.remove(message)),
            Change::Outbox(message, bytes) => drop(self.outbox.insert(*message, bytes.clone())),
            Change::Sent(message) => drop(self.outbox.remove(message)),
        }
    }

    /// The bytes to seal and store. They hold every secret: wiped on drop.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        codec::encode(self)
    }

    /// Reads stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessagingError> {
        codec::decode(bytes)
    }
}
