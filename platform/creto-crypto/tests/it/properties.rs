//! What must hold for every message, whichever bit is changed.

use std::sync::LazyLock;

use creto_crypto::{AeadSuite, CryptoError, PublicKey, Secret, SignSuite, Signature, SigningKey, aead};
use proptest::prelude::*;

static KEYS: LazyLock<Vec<SigningKey>> =
    LazyLock::new(|| SignSuite::ALL.iter().map(|suite| SigningKey::generate(*suite).unwrap()).collect());

fn flip(bytes: &mut [u8], bit: usize) {
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_bit_anywhere_refuses(msg in proptest::collection::vec(any::<u8>(), 1..200), which in 0..4_usize, bit in any::<usize>()) {
        let key = &KEYS[which];
        let public = key.public();
        let signature = key.sign("test/a/v1", &msg).unwrap();
        public.verify("test/a/v1", &msg, &signature).unwrap();

        let mut other = msg.clone();
        flip(&mut other, bit);
        prop_assert!(public.verify("test/a/v1", &other, &signature).is_err(), "message");

        let mut other = signature.clone();
        flip(&mut other.bytes, bit);
        prop_assert!(public.verify("test/a/v1", &msg, &other).is_err(), "signature");

        let mut domain = *b"test/a/v1";
        domain[bit % 9] ^= 1;
        prop_assert!(public.verify(std::str::from_utf8(&domain).unwrap(), &msg, &signature).is_err(), "domain");

        for suite in SignSuite::ALL.iter().filter(|suite| **suite != key.suite()) {
            let claim = Signature { suite: *suite, ..signature.clone() };
            prop_assert!(public.verify("test/a/v1", &msg, &claim).is_err(), "suite");
        }

        let mut bytes = public.as_bytes().to_vec();
        flip(&mut bytes, bit);
        let changed = PublicKey::new(key.suite(), bytes).unwrap();
        let renamed = Signature { key: changed.key_id(), ..signature.clone() };
        prop_assert!(changed.verify("test/a/v1", &msg, &renamed).is_err(), "key");
    }

    #[test]
    fn moving_bytes_between_domain_and_message_refuses(text in "[a-z]{2,20}", at in 1..20_usize) {
        let at = at.min(text.len() - 1);
        let (domain, msg) = text.split_at(at);
        let signature = KEYS[1].sign(domain, msg.as_bytes()).unwrap();
        let (shorter, longer) = text.split_at(at - 1);
        prop_assert!(KEYS[1].public().verify(shorter, longer.as_bytes(), &signature).is_err());
    }

    #[test]
    fn a_hybrid_refuses_when_either_half_is_of_another_message(a in any::<[u8; 16]>(), b in any::<[u8; 16]>()) {
        prop_assume!(a != b);
        let key = &KEYS[0];
        let (of_a, of_b) = (key.sign("test", &a).unwrap(), key.sign("test", &b).unwrap());
        for (classic, quantum) in [(&of_a, &of_b), (&of_b, &of_a)] {
            let spliced = [&classic.bytes[..64], &quantum.bytes[64..]].concat();
            for msg in [&a, &b] {
                let claim = Signature { bytes: spliced.clone(), ..of_a.clone() };
                prop_assert!(key.public().verify("test", msg, &claim).is_err());
            }
        }
    }

    #[test]
    fn half_a_hybrid_signature_is_no_signature_of_its_own(msg in any::<[u8; 16]>()) {
        let whole = KEYS[0].sign("test", &msg).unwrap();
        let public = KEYS[0].public();
        for (suite, key, bytes) in [
            (SignSuite::Ed25519, &public.as_bytes()[..32], &whole.bytes[..64]),
            (SignSuite::MlDsa65, &public.as_bytes()[32..], &whole.bytes[64..]),
        ] {
            let half = PublicKey::new(suite, key.to_vec()).unwrap();
            let claim = Signature { suite, key: half.key_id(), bytes: bytes.to_vec() };
            prop_assert!(half.verify("test", &msg, &claim).is_err());
        }
    }

    #[test]
    fn a_changed_bit_in_a_sealed_text_or_its_data_does_not_open(plain in proptest::collection::vec(any::<u8>(), 0..100), bit in any::<usize>()) {
        let key = Secret::random(aead::KEY_BYTES).unwrap();
        for suite in AeadSuite::ALL {
            let sealed = aead::seal(*suite, &key, b"owner", &plain).unwrap();
            prop_assert_eq!(sealed.len(), plain.len() + aead::OVERHEAD_BYTES);
            let opened = aead::open(*suite, &key, b"owner", &sealed).unwrap();
            prop_assert_eq!(opened.expose(), &plain[..]);
            let mut other = sealed.clone();
            flip(&mut other, bit);
            prop_assert!(aead::open(*suite, &key, b"owner", &other).is_err());
            prop_assert!(aead::open(*suite, &key, b"ownes", &sealed).is_err());
            prop_assert!(aead::open(*suite, &key, b"owner", &sealed[..bit % sealed.len()]).is_err());
        }
    }
}

#[test]
fn stored_signing_keys_are_the_same_after_a_restart() {
    for key in KEYS.iter() {
        let restored = SigningKey::from_secret_bytes(key.suite(), key.to_secret_bytes().expose()).unwrap();
        assert_eq!(restored.public(), key.public());
        let signature = restored.sign("test", b"message").unwrap();
        key.public().verify("test", b"message", &signature).unwrap();
        assert_eq!(signature.bytes.len(), key.suite().signature_bytes());
        assert!(SigningKey::from_secret_bytes(key.suite(), &[1; 31]).is_err());
    }
}

#[test]
fn a_format_signature_never_passes_for_a_statement_in_a_domain() {
    let key = &KEYS[1];
    // The input of `sign`, as a hostile caller would hand it to `sign_format`.
    let mut input = Vec::new();
    for part in [&b"creto-sig-v1"[..], b"ed25519", b"test", b"pay"] {
        input.extend_from_slice(&(part.len() as u64).to_be_bytes());
        input.extend_from_slice(part);
    }
    assert!(matches!(key.sign_format(&input), Err(CryptoError::AmbiguousFormat)));
    assert!(matches!(KEYS[0].sign_format(b"note"), Err(CryptoError::UnsupportedSuite { .. })));
    for key in &KEYS[1..] {
        let signature = key.sign_format(b"note").unwrap();
        key.public().verify_format(b"note", &signature).unwrap();
        assert!(key.public().verify_format(b"not", &signature).is_err());
    }
}

#[test]
fn nonces_and_secrets_do_not_repeat() {
    let key = Secret::random(aead::KEY_BYTES).unwrap();
    let nonces: std::collections::HashSet<Vec<u8>> =
        (0..1_000).map(|_| aead::seal(AeadSuite::Aes256Gcm, &key, b"", b"").unwrap()[..12].to_vec()).collect();
    assert_eq!(nonces.len(), 1_000);
}

#[test]
fn debug_shows_no_secret() {
    let key = SigningKey::from_secret_bytes(SignSuite::Ed25519, &[0xab; 32]).unwrap();
    let secret = key.to_secret_bytes();
    assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
    assert_eq!(format!("{key:?}"), format!("SigningKey(ed25519, {})", key.key_id()));
}
