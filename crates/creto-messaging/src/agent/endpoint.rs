//! An agent's endpoint: what `creto msg` does inside the sandbox, without the network.

use std::sync::Arc;
use std::time::Duration;

use creto_kernel::id::MessageId;
use creto_kernel::{Clock, NhiId, Timestamp};

use crate::agent::pending::{SealedMessage, prepare_accept, prepare_decrypt, prepare_encrypt, prepare_session};
use crate::agent::records::{Change, Delta, IdentitySecrets, PrekeyRecord, Received};
use crate::agent::{SessionStore, read};
use crate::core::handshake::{self, AcceptPolicy, LocalIdentity};
use crate::core::ratchet::Cadence;
use crate::core::session::{Outgoing, Session};
use crate::core::suite::{self, AgreementSecret, Entropy, KemSecret, Signer};
use crate::error::MessagingError;
use crate::model::bundle::{Bundle, ONE_TIME_KEYS_MAX, Prekey, PrekeyId, PrekeyKind, Publication};
use crate::model::envelope::{Authorization, Envelope, Mode};
use crate::model::identity::{IdentityKeyId, IdentityStatement};
use crate::model::ids::DeviceId;

const DAY: Duration = Duration::from_secs(24 * 3600);
const STATEMENT_LIFE: Duration = DAY.saturating_mul(365);
/// A signed prekey is replaced weekly and accepted for a second week, for messages under way.
const SIGNED_LIFE: Duration = DAY.saturating_mul(14);
const ONE_TIME_LIFE: Duration = DAY.saturating_mul(60);

/// What an agent's owner decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct AgentPolicy {
    /// When a due sending step is taken.
    pub cadence: Cadence,
    /// Accept openings their sender could later deny.
    pub allow_deniable: bool,
}

/// One agent's end of all its sessions.
#[derive(Debug)]
pub struct Agent<S> {
    store: S,
    clock: Arc<dyn Clock>,
    policy: AgentPolicy,
}

impl<S: SessionStore> Agent<S> {
    /// An agent on its store.
    pub const fn new(store: S, clock: Arc<dyn Clock>, policy: AgentPolicy) -> Self {
        Self { store, clock, policy }
    }

    /// The store.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Makes the agent's identity keys, once; answers their statement. Calling again answers the same.
    pub fn enrol(&self, nhi: &NhiId, device: DeviceId, entropy: &mut dyn Entropy) -> Result<IdentityStatement, MessagingError> {
        if let Some(statement) = read(&self.store, |records| records.identity().map(|identity| identity.statement.clone()))? {
            return if statement.nhi == *nhi {
                Ok(statement)
            } else {
                Err(MessagingError::WrongIdentity { expected: nhi.clone(), found: statement.nhi })
            };
        }
        let now = self.clock.now();
        let signing = suite::generate_signing(entropy)?;
        let agreement = AgreementSecret::generate(entropy)?;
        let mut statement = IdentityStatement {
            suite: suite::SUITE,
            nhi: nhi.clone(),
            device,
            signing: Signer::public(&signing),
            agreement: agreement.public(),
            not_after: now.saturating_add(STATEMENT_LIFE),
            signature: Vec::new(),
        };
        suite::sign_statement(&mut statement, &signing)?;
        let identity = IdentitySecrets { statement: statement.clone(), agreement, signing: signing.to_secret_bytes() };
        self.store.apply(&Delta { at: now, changes: vec![Change::Identity(Box::new(identity))] })?;
        Ok(statement)
    }

    /// Makes fresh prekeys, `one_time` of each one-time kind, and stores their secret halves before the public ones can be published.
    pub fn publication(&self, one_time: usize, entropy: &mut dyn Entropy) -> Result<Publication, MessagingError> {
        let own = self.identity()?;
        let mut maker = PrekeyMaker {
            own: &own,
            next: read(&self.store, |records| records.next_prekey())?,
            now: self.clock.now(),
            changes: Vec::new(),
        };
        let one_time = one_time.min(ONE_TIME_KEYS_MAX);
        let publication = Publication {
            statement: own.statement.clone(),
            signed: maker.make(PrekeyKind::AgreementSigned, entropy)?,
            last_resort: maker.make(PrekeyKind::KemLastResort, entropy)?,
            agreement_once: (0..one_time).map(|_| maker.make(PrekeyKind::AgreementOnce, entropy)).collect::<Result<_, _>>()?,
            kem_once: (0..one_time).map(|_| maker.make(PrekeyKind::KemOnce, entropy)).collect::<Result<_, _>>()?,
        };
        self.store.apply(&Delta { at: maker.now, changes: maker.changes })?;
        Ok(publication)
    }

    /// Opens a session from a fetched bundle. `expected_key` is the peer's key where it is known out of band; without it and without an
    /// earlier pin, the first contact trusts the directory.
    pub fn open_session(
        &self,
        peer: &NhiId,
        bundle: &[u8],
        expected_key: Option<IdentityKeyId>,
        mode: Mode,
        authorization: Authorization,
        entropy: &mut dyn Entropy,
    ) -> Result<Arc<Session>, MessagingError> {
        let (own, now) = (self.identity()?, self.clock.now());
        let pinned = read(&self.store, |records| records.pin(peer))?.or(expected_key);
        let bundle = suite::verify_bundle(Bundle::from_bytes(bundle)?, peer, pinned, now)?;
        let session = handshake::initiate(&own, &bundle, mode, authorization, now, entropy)?;
        prepare_session(session, now).commit(&self.store).map(|(session, ())| session)
    }

    /// Whether a session with `peer` exists.
    pub fn has_session(&self, peer: &NhiId) -> Result<bool, MessagingError> {
        read(&self.store, |records| records.session_with(peer).is_some())
    }

    /// Seals a message on the newest session with `peer`; it waits in the outbox until [`Self::sent`].
    pub fn send(
        &self,
        peer: &NhiId,
        message: MessageId,
        text: &[u8],
        authorization: &Authorization,
        entropy: &mut dyn Entropy,
    ) -> Result<SealedMessage, MessagingError> {
        let session = read(&self.store, |records| records.session_with(peer).cloned())?.ok_or(MessagingError::UnknownSession)?;
        let outgoing = Outgoing { message, text, authorization };
        let pending = prepare_encrypt(&session, &outgoing, self.policy.cadence, self.clock.now(), entropy)?;
        pending.commit(&self.store).map(|(_, sealed)| sealed)
    }

    /// Opens an envelope; the text is kept in the inbox until [`Self::take`]. Acknowledge to the server after this returns `Ok`, or
    /// [`MessagingError::Duplicate`].
    pub fn receive(&self, envelope: &[u8]) -> Result<Arc<Received>, MessagingError> {
        let envelope = Envelope::from_bytes(envelope.to_vec())?;
        let now = self.clock.now();
        let known = read(&self.store, |records| records.session_by_route(&envelope.route()).cloned())?;
        let pending = match (known, envelope.opening()) {
            (Some(session), _) => prepare_decrypt(&session, &envelope, now)?,
            (None, None) => return Err(MessagingError::UnknownSession),
            (None, Some(opening)) => {
                let own = self.identity()?;
                let (secrets, until) = read(&self.store, |records| records.secrets_for(opening, now))??;
                let policy = AcceptPolicy {
                    allow_deniable: self.policy.allow_deniable,
                    pinned: read(&self.store, |records| records.pin(envelope.sender()))?,
                    sender: envelope.sender(),
                };
                prepare_accept(&own, &secrets, &envelope, &policy, until, now)?
            }
        };
        pending.commit(&self.store).map(|(_, received)| received)
    }

    /// Messages opened and not yet taken.
    pub fn inbox(&self) -> Result<Vec<Arc<Received>>, MessagingError> {
        read(&self.store, |records| records.inbox().cloned().collect())
    }

    /// The program has processed the message; it is deleted.
    pub fn take(&self, message: MessageId) -> Result<(), MessagingError> {
        self.store.apply(&Delta { at: self.clock.now(), changes: vec![Change::Take(message)] })
    }

    /// Messages sealed and not yet accepted by the server.
    pub fn outbox(&self) -> Result<Vec<SealedMessage>, MessagingError> {
        read(&self.store, |records| {
            records.outbox().map(|(message, envelope)| SealedMessage { message: *message, envelope: envelope.clone() }).collect()
        })
    }

    /// The server has accepted the message; its envelope is deleted here.
    pub fn sent(&self, message: MessageId) -> Result<(), MessagingError> {
        self.store.apply(&Delta { at: self.clock.now(), changes: vec![Change::Sent(message)] })
    }

    fn identity(&self) -> Result<LocalIdentity, MessagingError> {
        read(&self.store, |records| records.identity().map(IdentitySecrets::unlock))?.ok_or(MessagingError::NotEnrolled)?
    }
}

struct PrekeyMaker<'a> {
    own: &'a LocalIdentity,
    next: u32,
    now: Timestamp,
    changes: Vec<Change>,
}

impl PrekeyMaker<'_> {
    fn make(&mut self, kind: PrekeyKind, entropy: &mut dyn Entropy) -> Result<Prekey, MessagingError> {
        let (public, secret) = match kind {
            PrekeyKind::AgreementSigned | PrekeyKind::AgreementOnce => {
                let key = AgreementSecret::generate(entropy)?;
                (key.public().as_bytes().to_vec(), creto_crypto::Secret::copy_of(key.expose()))
            }
            PrekeyKind::KemLastResort | PrekeyKind::KemOnce => {
                let key = KemSecret::generate(entropy)?;
                (key.public(), key.to_bytes())
            }
        };
        let not_after = self.now.saturating_add(if kind.is_one_time() { ONE_TIME_LIFE } else { SIGNED_LIFE });
        let id = PrekeyId(self.next);
        self.next = self.next.checked_add(1).ok_or(MessagingError::Corrupt("prekey numbers are used up"))?;
        let mut prekey = Prekey { kind, id, not_after, public, signature: Vec::new() };
        suite::sign_prekey(&mut prekey, &self.own.statement, self.own.signer.as_ref())?;
        self.changes.push(Change::AddPrekey(kind, id, PrekeyRecord { secret, not_after }));
        Ok(prekey)
    }
}
