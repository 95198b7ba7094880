//! The life of a key ring: made, reopened, rotated, damaged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use creto_crypto::{AlgorithmPolicy, CryptoError, KeyRing, MasterKey, Purpose, PurposeRule, SignSuite, Signature, SigningKey};
use creto_kernel::time::ManualClock;
use creto_kernel::{Coded as _, Timestamp};
use tempfile::TempDir;

const MASTER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs).unwrap()
}

/// Small keys, so that a test can try every byte of a file.
fn small_policy(epoch: u32) -> AlgorithmPolicy {
    let rule = PurposeRule { make: SignSuite::Ed25519, accept: BTreeMap::from([(SignSuite::Ed25519, None)]), ..PurposeRule::hybrid() };
    AlgorithmPolicy::new(epoch, Purpose::ALL.iter().map(|purpose| (*purpose, rule.clone())).collect()).unwrap()
}

fn try_open(dir: &Path, policy: AlgorithmPolicy) -> Result<KeyRing, CryptoError> {
    KeyRing::open(dir, MasterKey::from_hex(MASTER).unwrap(), policy, &ManualClock::at(at(1_000)))
}

fn open(dir: &TempDir) -> KeyRing {
    try_open(dir.path(), AlgorithmPolicy::default()).unwrap()
}

fn key_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_another_process_sealed_in_the_shared_directory_since_is_opened() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (open(&dir), open(&dir));
    let sealed = one.seal(Purpose::Credential, b"endpoint", b"plain").unwrap();
    assert_eq!(two.unseal(Purpose::Credential, b"endpoint", &sealed).unwrap().expose(), b"plain");
    one.rotate(Purpose::Credential, Duration::from_secs(1), at(2_000)).unwrap();
    let sealed = one.seal(Purpose::Credential, b"endpoint", b"later").unwrap();
    assert_eq!(two.unseal(Purpose::Credential, b"endpoint", &sealed).unwrap().expose(), b"later");
    // A key that is nowhere stays unknown.
    let elsewhere = open(&TempDir::new().unwrap()).seal(Purpose::Credential, b"endpoint", b"x").unwrap();
    assert!(matches!(two.unseal(Purpose::Credential, b"endpoint", &elsewhere), Err(CryptoError::UnknownKey(_))));
}

#[test]
fn keys_survive_a_restart_and_are_readable_by_their_owner_only() {
    let dir = TempDir::new().unwrap();
    let nested = dir.path().join("a/keys");
    let ring = try_open(&nested, AlgorithmPolicy::default()).unwrap();
    let signature = ring.sign(Purpose::Delegation, "test", b"message").unwrap();
    let named = ring.signing_key(Purpose::Message, "nhi:acme/agent/scout").unwrap().key_id();
    let sealed = ring.seal(Purpose::Storage, b"owner", b"plain").unwrap();
    drop(ring);

    let ring = try_open(&nested, AlgorithmPolicy::default()).unwrap();
    ring.verify(Purpose::Delegation, "test", b"message", &signature, at(2_000)).unwrap();
    assert_eq!(ring.public(Purpose::Delegation).unwrap().key_id(), signature.key);
    assert_eq!(ring.signing_key(Purpose::Message, "nhi:acme/agent/scout").unwrap().key_id(), named);
    assert_eq!(ring.unseal(Purpose::Storage, b"owner", &sealed).unwrap().expose(), b"plain");
    assert_eq!(fs::metadata(&nested).unwrap().permissions().mode() & 0o777, 0o700);
    for file in key_files(&nested) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        assert!(file.extension().unwrap() == "key", "nothing temporary is left: {}", file.display());
    }
}

#[test]
fn each_purpose_and_each_name_has_its_own_key() {
    let dir = TempDir::new().unwrap();
    let ring = open(&dir);
    let mut ids: Vec<_> = Purpose::ALL.iter().map(|purpose| ring.public(*purpose).unwrap().key_id()).collect();
    ids.push(ring.signing_key(Purpose::Audit, "a").unwrap().key_id());
    ids.push(ring.signing_key(Purpose::Audit, "b").unwrap().key_id());
    ids.push(ring.format_key(Purpose::Audit, "a", SignSuite::Ed25519).unwrap().key_id());
    ids.push(ring.format_key(Purpose::Audit, "a", SignSuite::MlDsa44).unwrap().key_id());
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert_eq!(ring.inventory().len(), count);
    assert!(ring.public_by_id(&ids[0]).is_some());
}

#[test]
fn wrong_purpose_unknown_key_and_downgrade_have_their_own_codes() {
    let dir = TempDir::new().unwrap();
    let ring = open(&dir);
    let code = |result: Result<(), CryptoError>| result.unwrap_err().code().as_str().to_owned();
    let verify = |purpose, signature: &Signature| ring.verify(purpose, "test", b"message", signature, at(2_000));

    let signature = ring.sign(Purpose::Approval, "test", b"message").unwrap();
    verify(Purpose::Approval, &signature).unwrap();
    assert_eq!(code(verify(Purpose::Delegation, &signature)), "crypto.wrong_purpose");
    assert_eq!(code(ring.verify(Purpose::Approval, "test", b"messagf", &signature, at(2_000))), "crypto.bad_signature");

    let stranger = SigningKey::generate(SignSuite::Ed25519MlDsa65).unwrap().sign("test", b"message").unwrap();
    assert_eq!(code(verify(Purpose::Approval, &stranger)), "crypto.unknown_key");

    let stripped = Signature { suite: SignSuite::Ed25519, key: signature.key, bytes: signature.bytes[..64].to_vec() };
    assert_eq!(code(verify(Purpose::Approval, &stripped)), "crypto.refused_suite");
    assert_eq!(ring.format_key(Purpose::Approval, "", SignSuite::Ed25519).unwrap_err().code().as_str(), "crypto.refused_suite");
}

#[test]
fn a_rotated_key_verifies_until_its_grace_ends_and_its_secret_is_gone() {
    let dir = TempDir::new().unwrap();
    let ring = open(&dir);
    let old = ring.sign(Purpose::Audit, "test", b"message").unwrap();
    let sealed = ring.seal(Purpose::Audit, b"", b"plain").unwrap();
    let secret_file = fs::read_to_string(key_files(dir.path()).iter().find(|file| sign_file(file)).unwrap()).unwrap();

    let new = ring.rotate(Purpose::Audit, Duration::from_secs(60), at(2_000)).unwrap();
    assert_ne!(new, old.key);
    for ring in [ring, open(&dir)] {
        assert_eq!(ring.sign(Purpose::Audit, "test", b"message").unwrap().key, new);
        ring.verify(Purpose::Audit, "test", b"message", &old, at(2_060)).unwrap();
        let late = ring.verify(Purpose::Audit, "test", b"message", &old, at(2_061)).unwrap_err();
        assert_eq!(late.code().as_str(), "crypto.retired_key");
        assert!(ring.public_by_id(&old.key).is_some(), "the archived public key stays");
        assert_eq!(ring.unseal(Purpose::Audit, b"", &sealed).unwrap().expose(), b"plain");
        assert_eq!(ring.inventory().len(), 4, "two signing keys, two sealing keys");
    }
    let retired = key_files(dir.path())
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .find(|text| text.contains("\"verify_until\": \""))
        .unwrap();
    let sealed_text = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["sealed"].as_str().unwrap().len();
    assert!(sealed_text(&secret_file) > sealed_text(&retired));
    assert_eq!(sealed_text(&retired), 38, "28 bytes of nonce and tag around nothing");
}

fn sign_file(file: &Path) -> bool {
    fs::read_to_string(file).unwrap().contains("\"role\": \"sign\"")
}

#[test]
fn a_rotation_cut_short_by_a_crash_is_completed_at_the_next_opening() {
    let dir = TempDir::new().unwrap();
    let ring = open(&dir);
    let old = ring.sign(Purpose::Approval, "test", b"message").unwrap();
    let file = key_files(dir.path()).remove(0);
    let before = fs::read(&file).unwrap();
    ring.rotate(Purpose::Approval, Duration::from_secs(60), at(2_000)).unwrap();
    drop(ring);
    // The new key was written, the old one not yet rewritten.
    fs::write(&file, before).unwrap();

    let ring = open(&dir);
    assert!(ring.verify(Purpose::Approval, "test", b"message", &old, at(2_060)).is_ok());
    assert!(ring.verify(Purpose::Approval, "test", b"message", &old, at(2_061)).is_err());
    assert_ne!(ring.sign(Purpose::Approval, "test", b"message").unwrap().key, old.key);
    assert!(fs::read_to_string(&file).unwrap().contains("\"verify_until\": \"1970-01-01T00:34:20.000000Z\""));
}

#[test]
fn keys_of_a_format_are_replaced_together_once_those_that_leave_have_vouched() {
    let dir = TempDir::new().unwrap();
    let ring = open(&dir);
    let suites = [SignSuite::Ed25519, SignSuite::MlDsa44];
    let old = suites.map(|suite| ring.format_key(Purpose::Audit, "log", suite).unwrap().public());
    let refused = ring.rotate_format(Purpose::Audit, "log", &suites, at(2_000), |_, _| Err::<Vec<u8>, _>(CryptoError::Provider("vouch")));
    assert!(refused.is_err());
    assert_eq!(suites.map(|suite| ring.format_key(Purpose::Audit, "log", suite).unwrap().public()), old, "nobody vouched: nothing changed");

    let mut coming = Vec::new();
    ring.rotate_format(Purpose::Audit, "log", &suites, at(2_000), |leaving, public| {
        assert_eq!(leaving.iter().map(|key| key.public()).collect::<Vec<_>>(), old);
        coming = public.to_vec();
        Ok::<_, CryptoError>(b"they come after us".to_vec())
    })
    .unwrap();
    for ring in [ring, open(&dir)] {
        for (at, suite) in suites.into_iter().enumerate() {
            assert_eq!(ring.format_key(Purpose::Audit, "log", suite).unwrap().public(), coming[at]);
            assert_eq!(ring.format_keys(Purpose::Audit, "log", suite), [old[at].clone(), coming[at].clone()]);
        }
        assert_eq!(ring.statements(Purpose::Audit).unwrap(), [b"they come after us".to_vec()]);
        assert!(ring.statements(Purpose::Identity).unwrap().is_empty());
        let retired = ring.inventory().into_iter().filter(|key| key.verify_until.is_some()).count();
        assert_eq!(retired, 2, "the secrets of those that left are gone");
    }
}

#[test]
fn rotation_of_a_named_key_leaves_its_neighbours_alone() {
    let dir = TempDir::new().unwrap();
    let ring = open(&dir);
    let own = ring.public(Purpose::Identity).unwrap().key_id();
    let other = ring.signing_key(Purpose::Identity, "other").unwrap().key_id();
    let first = ring.signing_key(Purpose::Identity, "name").unwrap().key_id();
    let second = ring.rotate_named(Purpose::Identity, "name", Duration::ZERO, at(2_000)).unwrap();
    let third = ring.rotate_named(Purpose::Identity, "name", Duration::ZERO, at(3_000)).unwrap();
    assert!(first != second && second != third);
    assert_eq!(ring.signing_key(Purpose::Identity, "name").unwrap().key_id(), third);
    assert_eq!(ring.public(Purpose::Identity).unwrap().key_id(), own);
    assert_eq!(ring.signing_key(Purpose::Identity, "other").unwrap().key_id(), other);
    let retired = ring.inventory().into_iter().filter(|info| info.verify_until.is_some()).count();
    assert_eq!(retired, 2);
}

#[test]
fn a_key_file_changed_in_any_byte_or_cut_anywhere_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    try_open(dir.path(), small_policy(1)).unwrap().public(Purpose::Credential).unwrap();
    let file = key_files(dir.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let refuses = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        match try_open(dir.path(), small_policy(1)) {
            Err(CryptoError::CorruptKeyFile { path, .. }) => assert_eq!(path, file),
            other => panic!("{what}: {other:?}"),
        }
    };
    for at in 0..whole.len() - 1 {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        refuses(&changed, &format!("byte {at}"));
        refuses(&whole[..at], &format!("cut at {at}"));
    }
    refuses(&vec![b' '; 100_000], "far too long");
    fs::write(&file, &whole).unwrap();
    try_open(dir.path(), small_policy(1)).unwrap();
    let renamed = file.with_file_name("credential-00000000000000000000000000000000-0.key");
    fs::rename(&file, &renamed).unwrap();
    assert!(matches!(try_open(dir.path(), small_policy(1)), Err(CryptoError::CorruptKeyFile { path, .. }) if path == renamed));
}

#[test]
fn another_master_key_does_not_open_the_ring() {
    let dir = TempDir::new().unwrap();
    open(&dir).public(Purpose::Identity).unwrap();
    let other = MasterKey::from_hex(&MASTER.replace("00", "01")).unwrap();
    let error = KeyRing::open(dir.path(), other, AlgorithmPolicy::default(), &ManualClock::at(at(1_000))).unwrap_err();
    assert_eq!(error.code().as_str(), "crypto.corrupt_key_file");
}

#[test]
fn an_older_policy_is_refused_once_a_newer_one_made_a_key() {
    let dir = TempDir::new().unwrap();
    try_open(dir.path(), small_policy(2)).unwrap().public(Purpose::Identity).unwrap();
    let error = try_open(dir.path(), small_policy(1)).unwrap_err();
    assert_eq!(error.code().as_str(), "crypto.policy_rollback");
    try_open(dir.path(), small_policy(3)).unwrap();
}

#[test]
fn a_stronger_policy_stops_old_keys_from_signing_until_they_are_rotated() {
    let dir = TempDir::new().unwrap();
    let old = try_open(dir.path(), small_policy(1)).unwrap().sign(Purpose::Identity, "test", b"message").unwrap();
    let rules = Purpose::ALL.iter().map(|purpose| (*purpose, PurposeRule::hybrid())).collect();
    let ring = try_open(dir.path(), AlgorithmPolicy::new(2, rules).unwrap()).unwrap();
    assert_eq!(ring.sign(Purpose::Identity, "test", b"message").unwrap_err().code().as_str(), "crypto.refused_suite");
    assert_eq!(ring.verify(Purpose::Identity, "test", b"message", &old, at(2_000)).unwrap_err().code().as_str(), "crypto.refused_suite");
    ring.rotate(Purpose::Identity, Duration::ZERO, at(2_000)).unwrap();
    assert_eq!(ring.sign(Purpose::Identity, "test", b"message").unwrap().suite, SignSuite::Ed25519MlDsa65);
}

#[test]
fn sealed_bytes_open_only_for_their_purpose_and_data() {
    let dir = TempDir::new().unwrap();
    let ring = open(&dir);
    let sealed = ring.seal(Purpose::Storage, b"owner", b"plain").unwrap();
    assert!(ring.unseal(Purpose::Storage, b"other", &sealed).is_err());
    assert_eq!(ring.unseal(Purpose::Message, b"owner", &sealed).unwrap_err().code().as_str(), "crypto.wrong_purpose");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(ring.unseal(Purpose::Storage, b"owner", &changed).is_err(), "byte {at}");
        assert!(ring.unseal(Purpose::Storage, b"owner", &sealed[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn two_rings_on_one_directory_agree_whoever_comes_first() {
    let dir = TempDir::new().unwrap();
    let rings: Vec<_> = (0..4).map(|_| Arc::new(open(&dir))).collect();
    let threads: Vec<_> = rings
        .iter()
        .map(|ring| {
            let ring = Arc::clone(ring);
            std::thread::spawn(move || ring.signing_key(Purpose::Message, "agent").unwrap().key_id())
        })
        .collect();
    let mut ids: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(key_files(dir.path()).len(), 1);
}

#[test]
fn the_master_key_file_is_made_private_and_refused_when_others_can_read_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("master.key");
    MasterKey::load_or_create(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.len(), 65);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    MasterKey::load_or_create(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "the second call reads, it does not make");

    for mode in [0o640, 0o604, 0o660, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(MasterKey::load_or_create(&path).unwrap_err().code().as_str(), "crypto.master_key_exposed", "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for bad in ["", "00", &text[..63], "zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"] {
        fs::write(&path, bad).unwrap();
        assert_eq!(MasterKey::load_or_create(&path).unwrap_err().code().as_str(), "crypto.master_key_malformed", "`{bad}`");
    }
}

#[test]
fn key_files_hold_no_seed_in_the_clear() {
    let dir = TempDir::new().unwrap();
    let ring = open(&dir);
    let seed = ring.signing_key(Purpose::Message, "agent").unwrap().to_secret_bytes();
    let bytes = fs::read(&key_files(dir.path())[0]).unwrap();
    assert!(!bytes.windows(32).any(|window| seed.expose().starts_with(window)));
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains(&hex::encode(&seed.expose()[..32])));
}
