//! The file store keeps what the memory store keeps, across restarts, processes and crashes.

use std::sync::Arc;

use creto_crypto::Secret;
use creto_kernel::id::MessageId;
use creto_kernel::time::ManualClock;
use creto_messaging::model::ids::DeviceId;
use creto_messaging::{Agent, AgentPolicy, FileStore, Mode};

use crate::common::{Stream, authorization, bundle_of, code, nhi, now};

fn open(path: &std::path::Path) -> Agent<FileStore> {
    let store = FileStore::open(path, Secret::new(vec![7; 32])).unwrap();
    Agent::new(store, Arc::new(ManualClock::at(now())), AgentPolicy::default())
}

#[test]
fn a_conversation_survives_a_restart_between_any_two_steps() {
    let folder = tempfile::tempdir().unwrap();
    let (alice_path, bob_path) = (folder.path().join("alice.json"), folder.path().join("bob.json"));
    let entropy = &mut Stream::new(30);
    open(&alice_path).enrol(&nhi("alice"), DeviceId::from_bytes([1; 16]), entropy).unwrap();
    open(&bob_path).enrol(&nhi("bob"), DeviceId::from_bytes([2; 16]), entropy).unwrap();
    let bundle = bundle_of(&open(&bob_path).publication(1, entropy).unwrap()).to_bytes();
    open(&alice_path).open_session(&nhi("bob"), &bundle, None, Mode::Accountable, authorization(), entropy).unwrap();
    for round in 0..3_u8 {
        let sealed = open(&alice_path).send(&nhi("bob"), MessageId::generate(), &[round], &authorization(), entropy).unwrap();
        assert_eq!(open(&alice_path).outbox().unwrap(), std::slice::from_ref(&sealed), "what was sealed is sent after a crash");
        open(&alice_path).sent(sealed.message).unwrap();
        assert_eq!(open(&bob_path).receive(&sealed.envelope).unwrap().text.as_bytes(), [round]);
        let kept = open(&bob_path).inbox().unwrap();
        assert_eq!(kept.iter().map(|received| received.text.as_bytes()).collect::<Vec<_>>(), [[round]]);
        open(&bob_path).take(sealed.message).unwrap();
        assert_eq!(code(open(&bob_path).receive(&sealed.envelope)), "messaging.duplicate");
        let answer = open(&bob_path).send(&nhi("alice"), MessageId::generate(), b"ok", &authorization(), entropy).unwrap();
        open(&alice_path).receive(&answer.envelope).unwrap();
    }
}

#[test]
fn a_damaged_file_or_another_key_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.json");
    open(&path).enrol(&nhi("alice"), DeviceId::from_bytes([1; 16]), &mut Stream::new(31)).unwrap();
    let good = std::fs::read(&path).unwrap();
    assert_eq!(code(FileStore::open(&path, Secret::new(vec![8; 32]))), "messaging.state_corrupt");
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(code(FileStore::open(&path, Secret::new(vec![7; 32]))), "messaging.state_corrupt", "byte {at}");
        assert_eq!(std::fs::read(&path).unwrap(), bad);
    }
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert_eq!(code(FileStore::open(&path, Secret::new(vec![7; 32]))), "messaging.state_corrupt");
}

#[test]
fn the_file_is_private_and_shows_no_secret() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.json");
    open(&path).enrol(&nhi("alice"), DeviceId::from_bytes([1; 16]), &mut Stream::new(32)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("alice"));
}

#[test]
fn writers_in_parallel_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.json");
    let entropy = &mut Stream::new(33);
    let bob = open(&folder.path().join("bob.json"));
    bob.enrol(&nhi("bob"), DeviceId::from_bytes([2; 16]), entropy).unwrap();
    let bundle = bundle_of(&bob.publication(1, entropy).unwrap()).to_bytes();
    let alice = open(&path);
    alice.enrol(&nhi("alice"), DeviceId::from_bytes([1; 16]), entropy).unwrap();
    alice.open_session(&nhi("bob"), &bundle, None, Mode::Accountable, authorization(), entropy).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let (agent, entropy) = (open(path), &mut Stream::new(100 + seed));
                for _ in 0..5 {
                    while agent.send(&nhi("bob"), MessageId::generate(), b"x", &authorization(), entropy).is_err() {}
                }
            });
        }
    });
    let outbox = alice.outbox().unwrap();
    assert_eq!(outbox.len(), 20);
    for sealed in outbox {
        bob.receive(&sealed.envelope).unwrap();
    }
}
