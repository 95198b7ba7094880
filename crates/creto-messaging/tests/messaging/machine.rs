//! Two parties over a network that drops, repeats, reorders and corrupts, on machines that crash and restart.

use std::collections::{BTreeMap, BTreeSet};

use creto_kernel::id::MessageId;
use creto_messaging::agent::{Records, prepare_decrypt, prepare_encrypt, read};
use creto_messaging::{Cadence, Envelope, Outgoing};
use proptest::prelude::*;

use crate::common::{MemoryAgent, Pair, agent, authorization, nhi, now, receive, records};

#[derive(Clone, Debug)]
enum Op {
    /// One side seals a message; it enters the network.
    Send { from_alice: bool, length: usize },
    /// The network delivers any message under way, and may keep a copy.
    Deliver { pick: prop::sample::Index, keep: bool },
    /// The network loses a message.
    Drop { pick: prop::sample::Index },
    /// A corrupted copy arrives.
    Corrupt { pick: prop::sample::Index, byte: prop::sample::Index, bit: u8 },
    /// A machine stops between computing a sealed message and storing it.
    CrashSending { alice: bool },
    /// A machine stops between opening a message and storing it.
    CrashReceiving { pick: prop::sample::Index },
    /// A machine restarts from what it stored.
    Restart { alice: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<prop::sample::Index>;
    prop_oneof![
        6 => (any::<bool>(), 0..300_usize).prop_map(|(from_alice, length)| Op::Send { from_alice, length }),
        6 => (pick(), prop::bool::weighted(0.3)).prop_map(|(pick, keep)| Op::Deliver { pick, keep }),
        1 => pick().prop_map(|pick| Op::Drop { pick }),
        2 => (pick(), pick(), 0..8_u8).prop_map(|(pick, byte, bit)| Op::Corrupt { pick, byte, bit }),
        1 => any::<bool>().prop_map(|alice| Op::CrashSending { alice }),
        1 => pick().prop_map(|pick| Op::CrashReceiving { pick }),
        1 => any::<bool>().prop_map(|alice| Op::Restart { alice }),
    ]
}

#[derive(Clone)]
struct Sent {
    message: MessageId,
    from_alice: bool,
    text: Vec<u8>,
    bytes: Vec<u8>,
    /// Which turn of its sender: a turn begins with the first message after an answer, and begins at most one chain.
    turn: u32,
}

#[derive(Default)]
struct Side {
    turn: u32,
    answered: bool,
    read: BTreeSet<MessageId>,
    newest_turn_read: u32,
    salts: BTreeSet<Vec<u8>>,
}

struct World {
    pair: Pair,
    cadence: Cadence,
    sides: BTreeMap<bool, Side>,
    network: Vec<Sent>,
}

impl World {
    fn agent(&self, alice: bool) -> &MemoryAgent {
        if alice { &self.pair.alice } else { &self.pair.bob }
    }

    fn side(&mut self, alice: bool) -> &mut Side {
        self.sides.entry(alice).or_default()
    }

    fn can_send(&self, alice: bool) -> bool {
        self.agent(alice).has_session(&nhi(if alice { "bob" } else { "alice" })).unwrap()
    }

    fn send(&mut self, from_alice: bool, length: usize) {
        if !self.can_send(from_alice) {
            return;
        }
        let text: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let sealed = if from_alice { self.pair.alice_says(&text) } else { self.pair.bob_says(&text) };
        let side = self.side(from_alice);
        if std::mem::take(&mut side.answered) {
            side.turn += 1;
        }
        let turn = side.turn;
        assert!(side.salts.insert(salt_and_commitment(&sealed.envelope)), "a message key was used twice");
        self.network.push(Sent { message: sealed.message, from_alice, text, bytes: sealed.envelope.to_vec(), turn });
    }

    /// The oracle: a genuine message opens exactly once, or is a named loss.
    fn deliver(&mut self, sent: &Sent) {
        let to_alice = !sent.from_alice;
        let result = receive(self.agent(to_alice), &sent.bytes);
        // Taken at once, so that the ratchet and not the inbox is what recognises a duplicate.
        self.agent(to_alice).take(sent.message).unwrap();
        let side = self.side(to_alice);
        // Five earlier chains are kept; a message of an older one is lost, and said to be.
        let forgotten = side.newest_turn_read.saturating_sub(sent.turn) > 5;
        match result {
            Ok(received) => {
                assert_eq!(received.text.as_bytes(), sent.text);
                assert!(side.read.insert(sent.message), "a message was read twice");
                side.newest_turn_read = side.newest_turn_read.max(sent.turn);
                side.answered = true;
            }
            Err(error) => match creto_kernel::Coded::code(&error).as_str() {
                "messaging.duplicate" => assert!(side.read.contains(&sent.message), "an unread message was called a duplicate"),
                "messaging.undecryptable" => assert!(forgotten, "a genuine message was lost"),
                other => panic!("{other}: {error}"),
            },
        }
    }

    fn corrupt(&mut self, sent: &Sent, byte: usize, bit: u8) {
        let mut bytes = sent.bytes.clone();
        bytes[byte] ^= 1 << bit;
        assert!(receive(self.agent(!sent.from_alice), &bytes).is_err(), "a corrupted message was accepted");
    }

    fn crash_sending(&mut self, alice: bool) {
        if !self.can_send(alice) {
            return;
        }
        let peer = nhi(if alice { "bob" } else { "alice" });
        let session = read(self.agent(alice).store(), |records| records.session_with(&peer).cloned()).unwrap().unwrap();
        let authorization = authorization();
        let outgoing = Outgoing { message: MessageId::generate(), text: b"never sent", authorization: &authorization };
        let before = records(self.agent(alice)).to_bytes();
        drop(prepare_encrypt(&session, &outgoing, self.cadence, now(), &mut self.pair.entropy).unwrap());
        assert_eq!(*before, *records(self.agent(alice)).to_bytes());
    }

    fn crash_receiving(&self, sent: &Sent) {
        let receiver = self.agent(!sent.from_alice);
        let envelope = Envelope::from_bytes(sent.bytes.clone()).unwrap();
        let session = read(receiver.store(), |records| records.session_by_route(&envelope.route()).cloned()).unwrap();
        let before = records(receiver).to_bytes();
        drop(session.map(|session| prepare_decrypt(&session, &envelope, now())));
        assert_eq!(*before, *records(receiver).to_bytes());
    }

    fn restart(&mut self, alice: bool) {
        let stored = Records::from_bytes(&records(self.agent(alice)).to_bytes()).unwrap();
        let restarted = agent(stored, self.cadence);
        *(if alice { &mut self.pair.alice } else { &mut self.pair.bob }) = restarted;
    }

    fn step(&mut self, op: &Op) {
        let pick = |network: &Vec<Sent>, pick: &prop::sample::Index| (!network.is_empty()).then(|| pick.index(network.len()));
        match op {
            Op::Send { from_alice, length } => self.send(*from_alice, *length),
            Op::CrashSending { alice } => self.crash_sending(*alice),
            Op::Restart { alice } => self.restart(*alice),
            Op::Deliver { pick: which, keep } => {
                if let Some(at) = pick(&self.network, which) {
                    let sent = if *keep { self.network[at].clone() } else { self.network.swap_remove(at) };
                    self.deliver(&sent);
                }
            }
            Op::Drop { pick: which } => {
                pick(&self.network, which).map(|at| self.network.swap_remove(at));
            }
            Op::Corrupt { pick: which, byte, bit } => {
                if let Some(at) = pick(&self.network, which) {
                    let sent = self.network[at].clone();
                    self.corrupt(&sent, byte.index(sent.bytes.len()), *bit);
                }
            }
            Op::CrashReceiving { pick: which } => {
                if let Some(at) = pick(&self.network, which) {
                    self.crash_receiving(&self.network[at]);
                }
            }
        }
    }
}

/// Salt and commitment stand before the body, whose length the last 60 bytes and the body itself frame.
fn salt_and_commitment(envelope: &[u8]) -> Vec<u8> {
    let header = 56;
    for padded in 64..envelope.len() {
        let body = padded + 16;
        let Some(at) = envelope.len().checked_sub(header + body + 4) else { break };
        if envelope[at..at + 4] == u32::try_from(body).unwrap().to_be_bytes() {
            return envelope[at - 48..at].to_vec();
        }
    }
    panic!("no body in the envelope");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_genuine_message_opens_exactly_once_or_is_a_named_loss(
        seed in any::<u64>(),
        lazy in prop_oneof![Just(1_u32), Just(4)],
        ops in prop::collection::vec(op(), 1..90),
    ) {
        let cadence = Cadence { messages: lazy, age: std::time::Duration::from_secs(if lazy == 1 { 0 } else { 3600 }) };
        let pair = Pair::introduced(seed, cadence);
        let mut world = World { pair, cadence, sides: BTreeMap::new(), network: Vec::new() };
        for op in &ops {
            world.step(op);
        }
        // What is still under way arrives at last, in any order.
        for sent in std::mem::take(&mut world.network) {
            world.deliver(&sent);
        }
    }
}
