//! The Double Ratchet with header encryption (Signal, "The Double Ratchet Algorithm", section 4), with a lazy sending step.
//!
//! ```text
//! RK, CK, NHK = KDF_RK(RK, DH)      CK', MK = KDF_CK(CK)
//! ```
//!
//! A receiving step happens exactly when a header opens under the next header key. A sending step is due from then on and happens
//! when the cadence says so: at once (classic), or after N messages or a time on the current chain. Only the sender's key generation
//! moves; both sides apply the same derivations in the same order, because nobody can step again before the other's new key arrives.
//!
//! INVARIANT: these functions take `&self` and answer a new ratchet. A failure anywhere leaves the old one untouched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use creto_kernel::Timestamp;
use zeroize::Zeroizing;

use crate::core::suite::{self, AgreementSecret, Entropy, Key};
use crate::error::MessagingError;
use crate::model::ids::AgreementPublic;

/// Most messages that may be missing before one on a chain.
pub const SKIP_MAX: u32 = 1_000;
/// Most kept keys of missing messages in a session.
pub const SKIPPED_KEYS_MAX: usize = 2_000;
/// Most earlier receiving chains kept.
pub const CHAINS_MAX: usize = 5;
/// How long the key of a missing message is kept.
pub const SKIPPED_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most messages on one sending chain; the peer's answer begins a new one.
pub const CHAIN_MESSAGES_MAX: u32 = 1 << 24;
/// A header before encryption, in bytes.
pub const HEADER_PLAIN_BYTES: usize = 40;

const ROOT_LABEL: &[u8] = b"creto-messaging/v1/root\x01";
const HEADER_LABEL: &[u8] = b"creto-messaging/v1/header";

/// When a due sending step is taken: whichever comes first. A longer cadence is faster and heals later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// After this many messages on the current chain.
    pub messages: u32,
    /// After this long on the current chain.
    pub age: Duration,
}

impl Cadence {
    /// A step at every turn of the conversation: the classic Double Ratchet.
    pub const CLASSIC: Self = Self { messages: 1, age: Duration::ZERO };
}

impl Default for Cadence {
    fn default() -> Self {
        Self::CLASSIC
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's ratchet key.
    pub ratchet: AgreementPublic,
    /// PN: how many messages its previous chain held.
    pub previous: u32,
    /// N: which message of its chain this is.
    pub number: u32,
}

impl Header {
    /// Ratchet key, PN, N.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_PLAIN_BYTES] {
        let mut out = [0; HEADER_PLAIN_BYTES];
        let fields = self.ratchet.as_bytes().iter().copied().chain(self.previous.to_be_bytes()).chain(self.number.to_be_bytes());
        out.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ratchet, rest) = bytes.split_first_chunk::<32>()?;
        let (previous, rest) = rest.split_first_chunk::<4>()?;
        let number = rest.try_into().ok()?;
        Some(Self {
            ratchet: AgreementPublic::from_bytes(*ratchet),
            previous: u32::from_be_bytes(*previous),
            number: u32::from_be_bytes(number),
        })
    }
}

/// The chain we send on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    pub(crate) chain: Key,
    pub(crate) header: Key,
    pub(crate) number: u32,
    pub(crate) since: Timestamp,
}

/// The kept key of a message that has not arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SkippedKey {
    pub(crate) key: Key,
    pub(crate) since: Timestamp,
}

/// A chain we receive on, or received on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receiving {
    pub(crate) header: Key,
    pub(crate) remote: AgreementPublic,
    /// `None` once the chain is closed: its end is known and every missing key was kept or dropped.
    pub(crate) chain: Option<Key>,
    /// The next number.
    pub(crate) number: u32,
    /// Keys of messages below this number were dropped.
    pub(crate) dropped_below: u32,
    pub(crate) skipped: Arc<BTreeMap<u32, SkippedKey>>,
}

/// One side's ratchet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ratchet {
    pub(crate) root: Key,
    pub(crate) own: AgreementSecret,
    pub(crate) remote: Option<AgreementPublic>,
    pub(crate) sending: Option<Sending>,
    pub(crate) previous: u32,
    pub(crate) step_due: bool,
    pub(crate) next_sending_header: Key,
    pub(crate) next_receiving_header: Key,
    /// Oldest first.
    pub(crate) receiving: Arc<Vec<Receiving>>,
}

/// Under which key a header opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A chain we have, by its place.
    Chain(usize),
    /// The next chain.
    Next,
}

/// The keys of one message to be sent.
#[derive(Debug)]
pub(crate) struct SendKeys {
    pub(crate) header: Header,
    pub(crate) header_key: Key,
    pub(crate) message_key: Key,
}

/// The key that seals one header: derived for its salt, so it seals nothing else.
pub(crate) fn header_key(chain_header: &Key, salt: &[u8; 16]) -> Key {
    let mut input = [0; HEADER_LABEL.len() + 16];
    input.iter_mut().zip(HEADER_LABEL.iter().chain(salt)).for_each(|(to, from)| *to = *from);
    suite::hmac(chain_header, &input)
}

fn chain_step(chain: &Key) -> (Key, Key) {
    (suite::hmac(chain, &[2]), suite::hmac(chain, &[1]))
}

fn root_step(root: &Key, own: &AgreementSecret, remote: &AgreementPublic) -> Result<(Key, Key, Key), MessagingError> {
    let agreed = own.agree(remote)?;
    let mut out = Zeroizing::new([0_u8; 96]);
    suite::hkdf(root.expose(), agreed.expose(), ROOT_LABEL, out.as_mut_slice())?;
    let mut keys = out.chunks_exact(32).filter_map(|key| key.try_into().ok()).map(Key::from_bytes);
    match (keys.next(), keys.next(), keys.next()) {
        (Some(root), Some(chain), Some(next_header)) => Ok((root, chain, next_header)),
        _ => Err(MessagingError::Corrupt("derivation")),
    }
}

impl Ratchet {
    pub(crate) fn initiator(
        secret: Key,
        remote: AgreementPublic,
        own_header: Key,
        peer_header: Key,
        now: Timestamp,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, MessagingError> {
        let own = AgreementSecret::generate(entropy)?;
        let (root, chain, next_sending_header) = root_step(&secret, &own, &remote)?;
        Ok(Self {
            root,
            own,
            remote: Some(remote),
            sending: Some(Sending { chain, header: own_header, number: 0, since: now }),
            previous: 0,
            step_due: false,
            next_sending_header,
            next_receiving_header: peer_header,
            receiving: Arc::default(),
        })
    }

    pub(crate) fn responder(secret: Key, signed_prekey: AgreementSecret, peer_header: Key, own_header: Key) -> Self {
        Self {
            root: secret,
            own: signed_prekey,
            remote: None,
            sending: None,
            previous: 0,
            step_due: false,
            next_sending_header: own_header,
            next_receiving_header: peer_header,
            receiving: Arc::default(),
        }
    }

    /// The ratchet after one more sent message, and that message's keys.
    pub(crate) fn send(&self, cadence: Cadence, now: Timestamp, entropy: &mut dyn Entropy) -> Result<(Self, SendKeys), MessagingError> {
        let mut next = self.clone();
        let must_step = match &self.sending {
            None => true,
            Some(chain) => self.step_due && (chain.number >= cadence.messages || now.since(chain.since) >= cadence.age),
        };
        if must_step {
            next.step_sending(now, entropy)?;
        }
        let (own, previous) = (next.own.public(), next.previous);
        let sending = next.sending.as_mut().ok_or(MessagingError::Corrupt("sending chain"))?;
        if sending.number >= CHAIN_MESSAGES_MAX {
            return Err(MessagingError::ChainExhausted);
        }
        let header = Header { ratchet: own, previous, number: sending.number };
        let (chain, message_key) = chain_step(&sending.chain);
        sending.chain = chain;
        sending.number += 1;
        let header_key = sending.header.clone();
        Ok((next, SendKeys { header, header_key, message_key }))
    }

    fn step_sending(&mut self, now: Timestamp, entropy: &mut dyn Entropy) -> Result<(), MessagingError> {
        let remote = self.remote.ok_or(MessagingError::UnknownSession)?;
        let own = AgreementSecret::generate(entropy)?;
        let (root, chain, next_header) = root_step(&self.root, &own, &remote)?;
        self.previous = self.sending.as_ref().map_or(0, |sending| sending.number);
        let header = std::mem::replace(&mut self.next_sending_header, next_header);
        self.sending = Some(Sending { chain, header, number: 0, since: now });
        self.root = root;
        self.own = own;
        self.step_due = false;
        Ok(())
    }

    /// Finds the key that opens a header: the current chain's, the next, then the kept ones, newest first. At most seven trials.
    pub(crate) fn open_header(&self, salt: &[u8; 16], aad: &[u8], sealed: &[u8]) -> Result<(Found, Header), MessagingError> {
        let current = self.receiving.len().checked_sub(1);
        let chain = |place: usize| self.receiving.get(place).map(|chain| (Found::Chain(place), &chain.header));
        let newest = current.and_then(chain);
        let kept = (0..current.unwrap_or(0)).rev().filter_map(chain);
        let candidates = newest.into_iter().chain([(Found::Next, &self.next_receiving_header)]).chain(kept);
        for (found, key) in candidates {
            if let Ok(plain) = suite::open_once(&header_key(key, salt), aad, sealed) {
                let header = Header::from_bytes(plain.expose()).ok_or(MessagingError::Undecryptable)?;
                return Ok((found, header));
            }
        }
        Err(MessagingError::Undecryptable)
    }

    /// The ratchet after the message of `header` was received, and that message's key.
    pub(crate) fn receive(&self, found: Found, header: &Header, now: Timestamp) -> Result<(Self, Key), MessagingError> {
        let mut next = self.clone();
        let message_key = match found {
            Found::Chain(place) => {
                let chain = Arc::make_mut(&mut next.receiving).get_mut(place).ok_or(MessagingError::Corrupt("receiving chain"))?;
                chain.take(header, now)?
            }
            Found::Next => next.step_receiving(header, now)?,
        };
        next.drop_excess(now);
        Ok((next, message_key))
    }

    fn step_receiving(&mut self, header: &Header, now: Timestamp) -> Result<Key, MessagingError> {
        let (root, chain, next_header) = root_step(&self.root, &self.own, &header.ratchet)?;
        let chains = Arc::make_mut(&mut self.receiving);
        if let Some(last) = chains.last_mut() {
            last.close(header.previous, now)?;
        } else if header.previous != 0 {
            return Err(MessagingError::Undecryptable);
        }
        let mut fresh = Receiving {
            header: std::mem::replace(&mut self.next_receiving_header, next_header),
            remote: header.ratchet,
            chain: Some(chain),
            number: 0,
            dropped_below: 0,
            skipped: Arc::default(),
        };
        let message_key = fresh.take(header, now)?;
        chains.push(fresh);
        self.root = root;
        self.remote = Some(header.ratchet);
        self.step_due = true;
        Ok(message_key)
    }

    fn drop_excess(&mut self, now: Timestamp) {
        let crowded = self.receiving.len() > CHAINS_MAX + 1;
        if !crowded && self.receiving.iter().all(|chain| chain.skipped.is_empty()) {
            return;
        }
        let chains = Arc::make_mut(&mut self.receiving);
        let surplus = chains.len().saturating_sub(CHAINS_MAX + 1);
        chains.drain(..surplus);
        chains.iter_mut().for_each(|chain| chain.drop_aged(now));
        let mut kept: usize = chains.iter().map(|chain| chain.skipped.len()).sum();
        for chain in chains {
            while kept > SKIPPED_KEYS_MAX && chain.drop_oldest() {
                kept -= 1;
            }
        }
    }
}

impl Receiving {
    /// The key of the message of `header`; it leaves the chain.
    fn take(&mut self, header: &Header, now: Timestamp) -> Result<Key, MessagingError> {
        if header.ratchet != self.remote {
            return Err(MessagingError::Undecryptable);
        }
        if header.number < self.number {
            return match Arc::make_mut(&mut self.skipped).remove(&header.number) {
                Some(kept) => Ok(kept.key),
                None if header.number < self.dropped_below => Err(MessagingError::KeyLost),
                None => Err(MessagingError::Duplicate),
            };
        }
        self.skip_to(header.number, now)?;
        let chain = self.chain.as_ref().ok_or(MessagingError::Undecryptable)?;
        let (next, message_key) = chain_step(chain);
        self.chain = Some(next);
        self.number = header.number + 1;
        Ok(message_key)
    }

    /// Ends the chain at `end` messages, keeping the keys of those that have not arrived.
    fn close(&mut self, end: u32, now: Timestamp) -> Result<(), MessagingError> {
        if end < self.number {
            return Err(MessagingError::Undecryptable);
        }
        self.skip_to(end, now)?;
        self.chain = None;
        Ok(())
    }

    fn skip_to(&mut self, number: u32, now: Timestamp) -> Result<(), MessagingError> {
        let gap = number.saturating_sub(self.number);
        if gap == 0 {
            return Ok(());
        }
        if gap > SKIP_MAX || number >= CHAIN_MESSAGES_MAX {
            return Err(MessagingError::SkipLimit { gap, limit: SKIP_MAX });
        }
        let mut chain = self.chain.take().ok_or(MessagingError::Undecryptable)?;
        let skipped = Arc::make_mut(&mut self.skipped);
        for missing in self.number..number {
            let (next, key) = chain_step(&chain);
            skipped.insert(missing, SkippedKey { key, since: now });
            chain = next;
        }
        self.chain = Some(chain);
        self.number = number;
        Ok(())
    }

    fn drop_aged(&mut self, now: Timestamp) {
        while self.skipped.first_key_value().is_some_and(|(_, kept)| now.since(kept.since) >= SKIPPED_TTL) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) -> bool {
        match Arc::make_mut(&mut self.skipped).pop_first() {
            Some((number, _)) => {
                self.dropped_below = self.dropped_below.max(number + 1);
                true
            }
            None => false,
        }
    }
}
