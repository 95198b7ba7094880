//! Known answers of our own: the wire bytes of suite 1 are frozen. `CRETO_BLESS=1` writes the file anew, which is a new wire version.
//!
//! `tests/model.py` checks the same file with an implementation written from the specification alone.

use creto_kernel::Digest;
use creto_kernel::id::MessageId;
use creto_messaging::agent::Records;
use creto_messaging::model::bundle::PrekeyKind;
use creto_messaging::model::ids::DeviceId;
use creto_messaging::{Bundle, Cadence, Envelope, Mode};
use serde_json::{Value, json};

use crate::common::{Stream, agent, authorization, bundle_of, nhi, records};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/s1.json");
const TURNS: [(&str, &[u8]); 7] = [
    ("alice", b"first"),
    ("alice", b"second, still with the opening"),
    ("bob", b"answer"),
    ("alice", b"a new chain"),
    ("alice", b""),
    ("bob", &[0x80; 200]),
    ("alice", b"last"),
];

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// Plays the conversation from stored records; answers session id and envelopes.
fn play(alice: &Value, bob: &Value, bundle: &[u8], kem: &Value) -> (String, Vec<Vec<u8>>) {
    let alice = agent(Records::from_bytes(&bytes(alice)).unwrap(), Cadence::CLASSIC);
    let bob = agent(Records::from_bytes(&bytes(bob)).unwrap(), Cadence::CLASSIC);
    let mut entropy = Stream::new(0xC4E70);
    entropy.kem = Some((bytes(&kem["ciphertext"]), bytes(&kem["secret"])));
    let session = alice.open_session(&nhi("bob"), bundle, None, Mode::Deniable, authorization(), &mut entropy).unwrap();
    let envelopes = TURNS.iter().enumerate().map(|(turn, (from, text))| {
        let (sender, receiver, to) = if *from == "alice" { (&alice, &bob, "bob") } else { (&bob, &alice, "alice") };
        let message = MessageId::from_bytes([turn as u8 + 1; 16]);
        let sealed = sender.send(&nhi(to), message, text, &authorization(), &mut entropy).unwrap();
        assert_eq!(receiver.receive(&sealed.envelope).unwrap().text.as_bytes(), *text);
        sealed.envelope.to_vec()
    });
    let envelopes = envelopes.collect();
    (session.id().to_string(), envelopes)
}

fn generate() -> Value {
    let (alice, bob) = (agent(Records::default(), Cadence::CLASSIC), agent(Records::default(), Cadence::CLASSIC));
    let mut entropy = Stream::new(77);
    alice.enrol(&nhi("alice"), DeviceId::from_bytes([1; 16]), &mut entropy).unwrap();
    bob.enrol(&nhi("bob"), DeviceId::from_bytes([2; 16]), &mut entropy).unwrap();
    let publication = bob.publication(1, &mut entropy).unwrap();
    let bundle = bundle_of(&publication);
    let kem_public = creto_crypto::KemPublicKey::new(creto_crypto::KemSuite::MlKem768, bundle.kem().public.clone()).unwrap();
    let (ciphertext, secret) = kem_public.encapsulate().unwrap();
    let accountable = {
        let alice = agent(records(&alice), Cadence::CLASSIC);
        alice.open_session(&nhi("bob"), &bundle.to_bytes(), None, Mode::Accountable, authorization(), &mut entropy).unwrap();
        let message = MessageId::from_bytes([9; 16]);
        let sealed = alice.send(&nhi("bob"), message, b"signed", &authorization(), &mut entropy).unwrap();
        json!({ "text": hex::encode(b"signed"), "envelope": hex::encode(&sealed.envelope) })
    };
    let kem = json!({ "ciphertext": hex::encode(ciphertext), "secret": hex::encode(secret.expose()) });
    let (alice_records, bob_records) = (json!(hex::encode(records(&alice).to_bytes())), json!(hex::encode(records(&bob).to_bytes())));
    let (session, envelopes) = play(&alice_records, &bob_records, &bundle.to_bytes(), &kem);
    let turns: Vec<Value> = TURNS
        .iter()
        .zip(&envelopes)
        .map(|((from, text), envelope)| json!({ "from": from, "text": hex::encode(text), "envelope": hex::encode(envelope) }))
        .collect();
    json!({
        "suite": 1,
        "time": crate::common::now(),
        "alice_records": alice_records,
        "bob_records": bob_records,
        "bundle": hex::encode(bundle.to_bytes()),
        "kem": kem,
        "session": session,
        "turns": turns,
        "accountable": accountable,
    })
}

fn load() -> Value {
    if std::env::var_os("CRETO_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&generate()).unwrap();
        std::fs::write(PATH, format!("{text}\n")).unwrap();
    }
    serde_json::from_slice(&std::fs::read(PATH).unwrap()).unwrap()
}

#[test]
fn the_wire_bytes_are_those_of_the_committed_vectors() {
    let vectors = load();
    let (session, envelopes) = play(&vectors["alice_records"], &vectors["bob_records"], &bytes(&vectors["bundle"]), &vectors["kem"]);
    assert_eq!(session, vectors["session"]);
    for (turn, envelope) in vectors["turns"].as_array().unwrap().iter().zip(&envelopes) {
        assert_eq!(hex::encode(envelope), turn["envelope"]);
    }
    assert_eq!(envelopes.len(), TURNS.len());
}

#[test]
fn the_signed_opening_of_the_committed_vectors_is_accepted() {
    let vectors: Value = serde_json::from_slice(&std::fs::read(PATH).unwrap()).unwrap();
    let bob = agent(Records::from_bytes(&bytes(&vectors["bob_records"])).unwrap(), Cadence::CLASSIC);
    let envelope = Envelope::from_bytes(bytes(&vectors["accountable"]["envelope"])).unwrap();
    assert_eq!(envelope.opening().unwrap().mode(), Mode::Accountable);
    assert_eq!(envelope.opening().unwrap().prekeys.kem_kind, PrekeyKind::KemOnce);
    assert_eq!(bob.receive(envelope.as_bytes()).unwrap().text.as_bytes(), bytes(&vectors["accountable"]["text"]));
}

#[test]
fn the_committed_bundle_reads_back() {
    let vectors: Value = serde_json::from_slice(&std::fs::read(PATH).unwrap()).unwrap();
    let bundle = bytes(&vectors["bundle"]);
    assert_eq!(Bundle::from_bytes(&bundle).unwrap().to_bytes(), bundle);
    assert_ne!(Digest::of(&bundle), Digest::of(b""));
}
