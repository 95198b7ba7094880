//! Two agents, a clock that stands still, and randomness that repeats.

use std::sync::{Arc, LazyLock};

use creto_crypto::{CryptoError, KemPublicKey, KemSecretKey, KemSuite, Secret};
use creto_kernel::id::MessageId;
use creto_kernel::time::ManualClock;
use creto_kernel::{Coded, Digest, NhiId, Timestamp};
use creto_messaging::agent::{Records, SealedMessage, read};
use creto_messaging::core::suite::Entropy;
use creto_messaging::model::bundle::{Bundle, Publication};
use creto_messaging::model::ids::DeviceId;
use creto_messaging::{Agent, AgentPolicy, Authorization, Cadence, MemoryStore, MessagingError, Mode, Purpose, Received, SessionStore};

/// A stream of SHA-256(seed ‖ counter); a recorded encapsulation where there is one.
pub(crate) struct Stream {
    seed: u64,
    counter: u64,
    pub(crate) kem: Option<(Vec<u8>, Vec<u8>)>,
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, counter: 0, kem: None }
    }
}

impl Entropy for Stream {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        for block in out.chunks_mut(32) {
            let digest = Digest::of_parts(&[&self.seed.to_be_bytes(), &self.counter.to_be_bytes()]);
            self.counter += 1;
            block.copy_from_slice(&digest.as_bytes()[..block.len()]);
        }
        Ok(())
    }

    fn encapsulate(&mut self, key: &KemPublicKey) -> Result<(Vec<u8>, Secret), CryptoError> {
        match &self.kem {
            Some((ciphertext, secret)) => Ok((ciphertext.clone(), Secret::copy_of(secret))),
            None => key.encapsulate(),
        }
    }

    fn kem_secret(&mut self, suite: KemSuite) -> Result<KemSecretKey, CryptoError> {
        KemSecretKey::generate(suite)
    }
}

pub(crate) fn nhi(name: &str) -> NhiId {
    format!("spiffe://creto.local/tenant/default/agent/{name}").parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

pub(crate) fn authorization() -> Authorization {
    Authorization {
        decision: Digest::of(b"decision"),
        policy: Digest::of(b"policy"),
        purpose: Purpose::new("report").unwrap(),
        expires: "2026-11-29T10:00:00Z".parse().unwrap(),
    }
}

pub(crate) type MemoryAgent = Agent<Arc<MemoryStore>>;

pub(crate) fn agent(records: Records, cadence: Cadence) -> MemoryAgent {
    let policy = AgentPolicy { cadence, allow_deniable: true };
    Agent::new(Arc::new(MemoryStore::new(records)), Arc::new(ManualClock::at(now())), policy)
}

pub(crate) fn records<S: SessionStore>(agent: &Agent<S>) -> Records {
    read(agent.store(), Clone::clone).unwrap()
}

/// The bundle a directory would make of a publication.
pub(crate) fn bundle_of(publication: &Publication) -> Bundle {
    Bundle {
        statement: publication.statement.clone(),
        signed: publication.signed.clone(),
        last_resort: publication.last_resort.clone(),
        agreement_once: publication.agreement_once.first().cloned(),
        kem_once: publication.kem_once.first().cloned(),
    }
}

/// alice with a session to bob that bob has not seen yet, and bob with the keys for it: made once, copied for each case.
static INTRODUCED: LazyLock<(Records, Records)> = LazyLock::new(|| {
    let (alice, bob) = (agent(Records::default(), Cadence::CLASSIC), agent(Records::default(), Cadence::CLASSIC));
    let entropy = &mut Stream::new(1);
    alice.enrol(&nhi("alice"), DeviceId::from_bytes([1; 16]), entropy).unwrap();
    bob.enrol(&nhi("bob"), DeviceId::from_bytes([2; 16]), entropy).unwrap();
    let bundle = bundle_of(&bob.publication(1, entropy).unwrap()).to_bytes();
    alice.open_session(&nhi("bob"), &bundle, None, Mode::Accountable, authorization(), entropy).unwrap();
    (records(&alice), records(&bob))
});

pub(crate) struct Pair {
    pub(crate) alice: MemoryAgent,
    pub(crate) bob: MemoryAgent,
    pub(crate) entropy: Stream,
}

impl Pair {
    pub(crate) fn introduced(seed: u64, cadence: Cadence) -> Self {
        let (alice, bob) = INTRODUCED.clone();
        Self { alice: agent(alice, cadence), bob: agent(bob, cadence), entropy: Stream::new(seed) }
    }

    pub(crate) fn alice_says(&mut self, text: &[u8]) -> SealedMessage {
        self.alice.send(&nhi("bob"), MessageId::generate(), text, &authorization(), &mut self.entropy).unwrap()
    }

    pub(crate) fn bob_says(&mut self, text: &[u8]) -> SealedMessage {
        self.bob.send(&nhi("alice"), MessageId::generate(), text, &authorization(), &mut self.entropy).unwrap()
    }
}

/// Receives, and checks that a refusal changed nothing.
pub(crate) fn receive(agent: &MemoryAgent, envelope: &[u8]) -> Result<Arc<Received>, MessagingError> {
    let before = records(agent).to_bytes();
    let result = agent.receive(envelope);
    if result.is_err() {
        assert_eq!(*before, *records(agent).to_bytes(), "a failed decryption changed the state");
    }
    result
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, MessagingError>) -> &'static str {
    result.unwrap_err().code().as_str()
}
