//! Attacks that kill or stall other implementations (research, section 1), and restores.

use creto_kernel::id::MessageId;
use creto_messaging::agent::{Records, prepare_encrypt, read};
use creto_messaging::core::ratchet::{SKIP_MAX, SKIPPED_TTL};
use creto_messaging::model::ids::DeviceId;
use creto_messaging::{Cadence, Mode, Outgoing};
use proptest::prelude::*;

use crate::common::{Pair, Stream, agent, authorization, bundle_of, code, nhi, now, receive, records};

#[test]
fn a_forged_header_does_not_kill_the_session() {
    let mut pair = Pair::introduced(3, Cadence::CLASSIC);
    let first = pair.alice_says(b"one");
    receive(&pair.bob, &first.envelope).unwrap();
    let genuine = pair.alice_says(b"two");
    for round in 0..50_u64 {
        let mut forged = genuine.envelope.to_vec();
        let header_at = forged.len() - 56;
        creto_messaging::Entropy::fill(&mut Stream::new(round), &mut forged[header_at..]).unwrap();
        assert_eq!(code(receive(&pair.bob, &forged)), "messaging.undecryptable");
    }
    assert_eq!(receive(&pair.bob, &genuine.envelope).unwrap().text.as_bytes(), b"two");
    let answer = pair.bob_says(b"three");
    assert_eq!(receive(&pair.alice, &answer.envelope).unwrap().text.as_bytes(), b"three");
}

#[test]
fn forging_on_a_skipped_number_burns_no_key() {
    let mut pair = Pair::introduced(4, Cadence::CLASSIC);
    let first = pair.alice_says(b"one");
    let late = pair.alice_says(b"late");
    let third = pair.alice_says(b"three");
    receive(&pair.bob, &first.envelope).unwrap();
    receive(&pair.bob, &third.envelope).unwrap();
    for at in 0..late.envelope.len() {
        let mut forged = late.envelope.to_vec();
        forged[at] ^= 0x80;
        if at % 7 == 0 {
            assert!(receive(&pair.bob, &forged).is_err(), "byte {at}");
        }
    }
    assert_eq!(receive(&pair.bob, &late.envelope).unwrap().text.as_bytes(), b"late");
    pair.bob.take(late.message).unwrap();
    assert_eq!(code(receive(&pair.bob, &late.envelope)), "messaging.duplicate");
}

#[test]
fn a_gap_up_to_the_limit_is_bridged_and_one_more_is_refused() {
    let mut pair = Pair::introduced(5, Cadence::CLASSIC);
    let first = pair.alice_says(b"first");
    receive(&pair.bob, &first.envelope).unwrap();
    // Alice gets an answer, so that her many messages do not each carry the opening.
    let answer = pair.bob_says(b"answer");
    receive(&pair.alice, &answer.envelope).unwrap();
    let mut sent: Vec<_> = (0..=SKIP_MAX + 1).map(|n| pair.alice_says(&n.to_be_bytes())).collect();
    let beyond = sent.pop().unwrap();
    let within = sent.pop().unwrap();
    assert_eq!(code(receive(&pair.bob, &beyond.envelope)), "messaging.skip_limit");
    receive(&pair.bob, &within.envelope).unwrap();
    assert_eq!(receive(&pair.bob, &beyond.envelope).unwrap().text.as_bytes(), (SKIP_MAX + 1).to_be_bytes());
    assert_eq!(receive(&pair.bob, &sent[0].envelope).unwrap().text.as_bytes(), 0_u32.to_be_bytes());
}

#[test]
fn the_key_of_a_missing_message_is_kept_for_its_time_and_then_named_lost() {
    use creto_messaging::{Envelope, agent::prepare_decrypt};
    let mut pair = Pair::introduced(6, Cadence::CLASSIC);
    let authorization = creto_messaging::Authorization { expires: creto_kernel::Timestamp::MAX, ..authorization() };
    let mut seal = |text: &[u8]| {
        let sealed = pair.alice.send(&nhi("bob"), MessageId::generate(), text, &authorization, &mut pair.entropy).unwrap();
        Envelope::from_bytes(sealed.envelope.to_vec()).unwrap()
    };
    let (first, late, third, fourth) = (seal(b"1"), seal(b"2"), seal(b"3"), seal(b"4"));
    pair.bob.receive(first.as_bytes()).unwrap();
    pair.bob.receive(third.as_bytes()).unwrap();
    let session = || read(pair.bob.store(), |records| records.session_by_route(&first.route()).cloned()).unwrap().unwrap();
    let aged = now().saturating_add(SKIPPED_TTL);
    assert!(prepare_decrypt(&session(), &late, aged).is_ok(), "nothing was received since, so the key is still there");
    prepare_decrypt(&session(), &fourth, aged).unwrap().commit(pair.bob.store()).unwrap();
    assert_eq!(code(prepare_decrypt(&session(), &late, aged)), "messaging.key_lost");
}

#[test]
fn a_restored_copy_never_seals_under_the_same_key() {
    let mut pair = Pair::introduced(7, Cadence::CLASSIC);
    let session = read(pair.alice.store(), |records| records.session_with(&nhi("bob")).cloned()).unwrap().unwrap();
    let authorization = authorization();
    let outgoing = Outgoing { message: MessageId::from_bytes([1; 16]), text: b"same text", authorization: &authorization };
    let original = prepare_encrypt(&session, &outgoing, Cadence::CLASSIC, now(), &mut pair.entropy).unwrap();
    let restored = agent(records(&pair.alice), Cadence::CLASSIC);
    let (_, original) = original.commit(pair.alice.store()).unwrap();
    let copy = prepare_encrypt(&session, &outgoing, Cadence::CLASSIC, now(), &mut Stream::new(8)).unwrap();
    let (_, copy) = copy.commit(restored.store()).unwrap();
    // Same chain, same number, same text, yet salt, commitment, body and header all differ.
    let differing = original.envelope.iter().zip(copy.envelope.iter()).filter(|(a, b)| a != b).count();
    assert!(differing > 150, "only {differing} bytes differ");
    receive(&pair.bob, &original.envelope).unwrap();
    assert_eq!(code(receive(&pair.bob, &copy.envelope)), "messaging.duplicate");
}

#[test]
fn two_processes_on_one_session_cannot_both_advance_it() {
    let mut pair = Pair::introduced(9, Cadence::CLASSIC);
    let session = read(pair.alice.store(), |records| records.session_with(&nhi("bob")).cloned()).unwrap().unwrap();
    let authorization = authorization();
    let outgoing = |byte| Outgoing { message: MessageId::from_bytes([byte; 16]), text: b"race", authorization: &authorization };
    let one = prepare_encrypt(&session, &outgoing(1), Cadence::CLASSIC, now(), &mut pair.entropy).unwrap();
    let other = prepare_encrypt(&session, &outgoing(2), Cadence::CLASSIC, now(), &mut pair.entropy).unwrap();
    one.commit(pair.alice.store()).unwrap();
    assert_eq!(code(other.commit(pair.alice.store())), "messaging.stale_state");
}

#[test]
fn a_used_one_time_key_opens_no_second_session() {
    let entropy = &mut Stream::new(10);
    let bob = agent(Records::default(), Cadence::CLASSIC);
    bob.enrol(&nhi("bob"), DeviceId::from_bytes([2; 16]), entropy).unwrap();
    // A directory that lies hands the same one-time keys to two initiators.
    let bundle = bundle_of(&bob.publication(1, entropy).unwrap()).to_bytes();
    let mut open = |name: &str| {
        let initiator = agent(Records::default(), Cadence::CLASSIC);
        initiator.enrol(&nhi(name), DeviceId::from_bytes([3; 16]), entropy).unwrap();
        initiator.open_session(&nhi("bob"), &bundle, None, Mode::Accountable, authorization(), entropy).unwrap();
        initiator.send(&nhi("bob"), MessageId::generate(), b"hello", &authorization(), entropy).unwrap()
    };
    let (first, second) = (open("carol"), open("dave"));
    receive(&bob, &first.envelope).unwrap();
    assert_eq!(code(receive(&bob, &second.envelope)), "messaging.unknown_prekey");
}

#[test]
fn an_opening_without_one_time_keys_is_accepted_once_even_after_its_session_is_lost() {
    let (alice, bob) = (agent(Records::default(), Cadence::CLASSIC), agent(Records::default(), Cadence::CLASSIC));
    let entropy = &mut Stream::new(11);
    alice.enrol(&nhi("alice"), DeviceId::from_bytes([1; 16]), entropy).unwrap();
    bob.enrol(&nhi("bob"), DeviceId::from_bytes([2; 16]), entropy).unwrap();
    let bundle = bundle_of(&bob.publication(0, entropy).unwrap()).to_bytes();
    let session = alice.open_session(&nhi("bob"), &bundle, None, Mode::Accountable, authorization(), entropy).unwrap();
    assert!(session.used_last_resort());
    let sealed = alice.send(&nhi("bob"), MessageId::generate(), b"hi", &authorization(), entropy).unwrap();
    receive(&bob, &sealed.envelope).unwrap();
    assert_eq!(code(receive(&bob, &sealed.envelope)), "messaging.duplicate");
    let envelope = creto_messaging::Envelope::from_bytes(sealed.envelope.to_vec()).unwrap();
    let opening = envelope.opening().unwrap();
    let own = read(bob.store(), |records| records.identity().unwrap().unlock()).unwrap().unwrap();
    let (secrets, until) = read(bob.store(), |records| records.secrets_for(opening, now())).unwrap().unwrap();
    let sender = nhi("alice");
    let policy = creto_messaging::core::handshake::AcceptPolicy { allow_deniable: false, pinned: None, sender: &sender };
    let again = creto_messaging::agent::prepare_accept(&own, &secrets, &envelope, &policy, until, now()).unwrap();
    assert!(["messaging.opening_replayed", "messaging.stale_state"].contains(&code(again.commit(bob.store()))));
}

#[test]
fn simultaneous_openings_both_deliver() {
    let (alice, bob) = (agent(Records::default(), Cadence::CLASSIC), agent(Records::default(), Cadence::CLASSIC));
    let entropy = &mut Stream::new(12);
    for (agent, name) in [(&alice, "alice"), (&bob, "bob")] {
        agent.enrol(&nhi(name), DeviceId::from_bytes([1; 16]), entropy).unwrap();
    }
    let of_alice = bundle_of(&alice.publication(1, entropy).unwrap()).to_bytes();
    let of_bob = bundle_of(&bob.publication(1, entropy).unwrap()).to_bytes();
    alice.open_session(&nhi("bob"), &of_bob, None, Mode::Accountable, authorization(), entropy).unwrap();
    bob.open_session(&nhi("alice"), &of_alice, None, Mode::Accountable, authorization(), entropy).unwrap();
    for _ in 0..3 {
        let to_bob = alice.send(&nhi("bob"), MessageId::generate(), b"from alice", &authorization(), entropy).unwrap();
        let to_alice = bob.send(&nhi("alice"), MessageId::generate(), b"from bob", &authorization(), entropy).unwrap();
        assert_eq!(receive(&bob, &to_bob.envelope).unwrap().text.as_bytes(), b"from alice");
        assert_eq!(receive(&alice, &to_alice.envelope).unwrap().text.as_bytes(), b"from bob");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn texts_of_every_length_arrive_unchanged(text in prop::collection::vec(any::<u8>(), 0..65_536)) {
        let mut pair = Pair::introduced(13, Cadence::CLASSIC);
        let sealed = pair.alice_says(&text);
        let received = receive(&pair.bob, &sealed.envelope).unwrap();
        prop_assert_eq!(received.text.as_bytes(), &text);
    }
}
