//! Speed of the encrypted path, each beside a peer or a budget in the same run.
//!
//! `cargo bench -p creto-messaging -- encryption`; with `CRETO_BENCH_DIR` set, rows also go to `messaging.json` there.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use creto_crypto::{AeadSuite, Secret, aead};
use creto_kernel::id::MessageId;
use creto_kernel::{Digest, NhiId, SystemClock, Timestamp};
use creto_messaging::agent::{Records, prepare_decrypt, prepare_encrypt, read};
use creto_messaging::model::ids::DeviceId;
use creto_messaging::{
    Agent, AgentPolicy, Authorization, Bundle, Cadence, Envelope, MemoryStore, MessagingError, Mode, Outgoing, Purpose, Session,
    SystemEntropy,
};
use serde_json::{Value, json};

const TEXT_BYTES: usize = 1024;
const ROUNDS: usize = 15;
const ROUND_TIME: Duration = Duration::from_millis(120);

struct Side {
    agent: Agent<MemoryStore>,
    name: NhiId,
    session: Option<Arc<Session>>,
}

struct World {
    alice: Side,
    bob: Side,
    authorization: Authorization,
    number: u128,
}

fn side(name: &str) -> Result<Side, Box<dyn std::error::Error>> {
    let name: NhiId = format!("spiffe://creto.local/tenant/default/agent/{name}").parse()?;
    let agent = Agent::new(MemoryStore::new(Records::default()), Arc::new(SystemClock), AgentPolicy::default());
    agent.enrol(&name, DeviceId::from_bytes([1; 16]), &mut SystemEntropy)?;
    Ok(Side { agent, name, session: None })
}

impl World {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let authorization = Authorization {
            decision: Digest::of(b"decision"),
            policy: Digest::of(b"policy"),
            purpose: Purpose::new("bench")?,
            expires: Timestamp::MAX,
        };
        let (mut alice, mut bob) = (side("alice")?, side("bob")?);
        let publication = bob.agent.publication(1, &mut SystemEntropy)?;
        let bundle = Bundle {
            statement: publication.statement.clone(),
            signed: publication.signed.clone(),
            last_resort: publication.last_resort.clone(),
            agreement_once: None,
            kem_once: None,
        };
        let decided = authorization.clone();
        alice.agent.open_session(&bob.name, &bundle.to_bytes(), None, Mode::Accountable, decided, &mut SystemEntropy)?;
        let first = alice.agent.send(&bob.name, MessageId::generate(), b"hello", &authorization, &mut SystemEntropy)?;
        bob.agent.receive(&first.envelope)?;
        let answer = bob.agent.send(&alice.name, MessageId::generate(), b"hello", &authorization, &mut SystemEntropy)?;
        alice.agent.receive(&answer.envelope)?;
        alice.session = read(alice.agent.store(), |records| records.session_with(&bob.name).cloned())?;
        bob.session = read(bob.agent.store(), |records| records.session_with(&alice.name).cloned())?;
        Ok(Self { alice, bob, authorization, number: 0 })
    }

    /// Seals, commits, and gives the bytes: everything but the network.
    fn seal(&mut self, from_alice: bool, text: &[u8]) -> Result<Arc<[u8]>, MessagingError> {
        self.number += 1;
        let message = MessageId::from_bytes(self.number.to_be_bytes());
        let side = if from_alice { &mut self.alice } else { &mut self.bob };
        let session = side.session.as_ref().ok_or(MessagingError::UnknownSession)?;
        let outgoing = Outgoing { message, text, authorization: &self.authorization };
        let pending = prepare_encrypt(session, &outgoing, Cadence::CLASSIC, Timestamp::EPOCH, &mut SystemEntropy)?;
        let (session, sealed) = pending.commit(side.agent.store())?;
        side.session = Some(session);
        side.agent.sent(message)?;
        Ok(sealed.envelope)
    }

    fn open(&mut self, to_alice: bool, bytes: &[u8]) -> Result<(), MessagingError> {
        let side = if to_alice { &mut self.alice } else { &mut self.bob };
        let session = side.session.as_ref().ok_or(MessagingError::UnknownSession)?;
        let pending = prepare_decrypt(session, &Envelope::from_bytes(bytes.to_vec())?, Timestamp::EPOCH)?;
        let (session, received) = pending.commit(side.agent.store())?;
        side.session = Some(session);
        side.agent.take(received.message)
    }
}

/// Nanoseconds for one call: the median of several rounds.
fn measure<E>(mut work: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let (start, mut calls) = (Instant::now(), 0_u32);
        while start.elapsed() < ROUND_TIME {
            for _ in 0..16 {
                work()?;
            }
            calls += 16;
        }
        rounds.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds.get(ROUNDS / 2).copied().unwrap_or(f64::NAN))
}

fn row(id: &str, ours: f64, peer: (&str, f64), unit: &str, goal: &str, met: bool) -> Value {
    let row = json!({
        "id": id, "ours": ours, "peer": peer.0, "peer_value": peer.1, "unit": unit, "ratio": ours / peer.1, "goal": goal, "met": met,
    });
    println!(
        "{id}: {ours:.1} {unit}; {}: {:.1}; ratio {:.3}; goal {goal}: {}",
        peer.0,
        peer.1,
        ours / peer.1,
        if met { "met" } else { "missed" }
    );
    row
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    if filters.peek().is_some()
        && !filters.any(|filter| "encryption messaging".contains(filter.as_str()) || filter.starts_with("messaging."))
    {
        return Ok(());
    }
    let text = vec![0x5A_u8; TEXT_BYTES];
    let mut world = World::new()?;

    let key = Secret::random(32)?;
    let bare_ns = measure(|| aead::seal(AeadSuite::Aes256Gcm, &key, b"", &text).map(|sealed| drop(black_box(sealed))))?;
    let seal_ns = measure(|| world.seal(true, &text).map(|sealed| drop(black_box(sealed))))?;

    let mut world = World::new()?;
    let mut from_alice = true;
    let turn_ns = measure(|| {
        let sealed = world.seal(from_alice, &text)?;
        world.open(!from_alice, &sealed)?;
        from_alice = !from_alice;
        Ok::<_, MessagingError>(())
    })?;
    let (own, peer) = ([7; 32], creto_crypto::dh::public(&[9; 32])?);
    let dh_ns = measure(|| creto_crypto::dh::agree(&own, &peer).map(|secret| drop(black_box(secret))))?;

    let genuine = world.seal(from_alice, &text)?;
    let mut forged = genuine.to_vec();
    if let Some(byte) = forged.last_mut() {
        *byte ^= 1;
    }
    let forged_ns = measure(|| match world.open(!from_alice, &forged) {
        Err(MessagingError::Undecryptable) => Ok(()),
        other => Err(format!("a forged packet was not refused: {other:?}")),
    })?;
    world.open(!from_alice, &genuine)?;

    let rows = [
        row(
            "messaging.seal_per_s",
            1e9 / seal_ns,
            ("bare AES-256-GCM of 1 KiB", 1e9 / bare_ns),
            "msg/s",
            ">= 100000 msg/s on one core",
            1e9 / seal_ns >= 100_000.0,
        ),
        row(
            "messaging.pingpong_per_s",
            1e9 / turn_ns,
            ("three bare X25519 agreements", 1e9 / (3.0 * dh_ns)),
            "msg/s",
            ">= 8000 msg/s on one core, a step each turn",
            1e9 / turn_ns >= 8_000.0,
        ),
        row("messaging.forged_us", forged_ns / 1e3, ("budget", 50.0), "us", "<= 50 us a forged packet", forged_ns <= 50_000.0),
    ];
    if let Some(folder) = std::env::var_os("CRETO_BENCH_DIR") {
        std::fs::write(std::path::Path::new(&folder).join("messaging.json"), serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}
