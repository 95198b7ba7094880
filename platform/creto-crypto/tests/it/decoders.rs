//! Every decoder of bytes from outside, over arbitrary and almost-right bytes: it answers, and what it accepts it gives back unchanged.

use std::sync::LazyLock;

use creto_crypto::{AlgorithmPolicy, KemPublicKey, KemSecretKey, KemSuite, PublicKey, Secret, SignSuite, Signature, SigningKey, aead};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn json<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let text = serde_json::to_vec(&value).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&text).unwrap(), value);
    }
}

fn check(bytes: &[u8]) {
    static KEYS: LazyLock<Vec<KemSecretKey>> =
        LazyLock::new(|| KemSuite::ALL.iter().map(|suite| KemSecretKey::generate(*suite).unwrap()).collect());
    json::<Signature>(bytes);
    json::<PublicKey>(bytes);
    json::<KemPublicKey>(bytes);
    json::<AlgorithmPolicy>(bytes);
    for key in KEYS.iter() {
        assert!(key.decapsulate(bytes).is_err() || bytes.len() == key.suite().ciphertext_bytes());
    }
    for suite in KemSuite::ALL {
        assert!(KemSecretKey::from_secret_bytes(*suite, bytes).is_err() || bytes.len() == 32);
    }
    for suite in SignSuite::ALL {
        assert_eq!(PublicKey::new(*suite, bytes.to_vec()).is_ok(), bytes.len() == suite.public_bytes());
    }
    assert!(aead::open(Default::default(), &Secret::new(vec![0; 32]), b"", bytes).is_err());
}

fn examples() -> Vec<Vec<u8>> {
    let key = SigningKey::generate(SignSuite::Ed25519).unwrap();
    vec![
        serde_json::to_vec(&key.sign("test", b"message").unwrap()).unwrap(),
        serde_json::to_vec(&key.public()).unwrap(),
        serde_json::to_vec(&KemSecretKey::generate(KemSuite::X25519).unwrap().public()).unwrap(),
        serde_json::to_vec(&AlgorithmPolicy::default()).unwrap(),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..1_300)) {
        check(&bytes);
    }

    #[test]
    fn almost_right_bytes(which in 0..4_usize, at in any::<usize>(), byte in any::<u8>(), cut in proptest::option::of(any::<usize>())) {
        static EXAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(examples);
        let mut bytes = EXAMPLES[which].clone();
        check(&bytes);
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len());
        }
        check(&bytes);
    }
}

#[test]
fn unknown_fields_and_other_text_forms_are_refused() {
    let key = SigningKey::generate(SignSuite::Ed25519).unwrap();
    let text = serde_json::to_string(&key.sign("test", b"message").unwrap()).unwrap();
    assert!(serde_json::from_str::<Signature>(&text).is_ok());
    assert!(serde_json::from_str::<Signature>(&text.replacen('{', r#"{"extra":1,"#, 1)).is_err());
    assert!(serde_json::from_str::<Signature>(&text.replace("ed25519", "ED25519")).is_err());
    let id = key.key_id().to_string();
    assert!(serde_json::from_str::<Signature>(&text.replace(&id, &id[..30])).is_err());
    assert_eq!(id.parse::<creto_crypto::KeyId>().unwrap(), key.key_id());
}
