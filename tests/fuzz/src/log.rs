//! The log as a verifier reads it from somebody else.

use std::sync::{Arc, LazyLock};

use creto_audit::core::checkpoint::Checkpoint;
use creto_audit::core::note::Note;
use creto_audit::core::tile::{TilePath, decode_bundle, decode_hashes, encode_bundle, encode_hashes};
use creto_audit::{LogKeys, OriginPrefix, TrustedKeys};
use creto_crypto::{SignSuite, SigningKey};
use creto_oversight::receipt::Receipt;

/// Keys that signed nothing.
static STRANGER: LazyLock<TrustedKeys> = LazyLock::new(|| {
    let key = |suite| Arc::new(SigningKey::generate(suite).expect("randomness"));
    LogKeys::new(key(SignSuite::Ed25519), key(SignSuite::MlDsa44)).expect("a key of each suite").trusted(OriginPrefix::local())
});

/// Signed notes, checkpoints, key files and paths: one spelling each.
pub(crate) fn checkpoint(bytes: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.encode(), bytes);
        accepted = true;
    }
    if let Some(text) = crate::text(bytes) {
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(checkpoint.text(), text);
            accepted = true;
        }
        if let Ok(path) = text.parse::<TilePath>() {
            assert_eq!(path.to_string(), text);
            accepted = true;
        }
    }
    accepted | TrustedKeys::from_json(bytes).is_ok()
}

/// Tiles of hashes and bundles of entries, whole and partial.
pub(crate) fn tile(bytes: &[u8]) -> bool {
    let mut accepted = false;
    for width in [0, 1, 2, 3, 7, 255, 256, 257] {
        if let Ok(entries) = decode_bundle(bytes, width) {
            assert_eq!(encode_bundle(entries).expect("what was read can be written"), bytes);
            accepted = true;
        }
        if let Ok(hashes) = decode_hashes(bytes, width) {
            assert_eq!(encode_hashes(&hashes), bytes);
            accepted = true;
        }
    }
    accepted
}

/// A receipt: it is read whole or not at all, and no keys of ours signed a made one.
pub(crate) fn receipt(bytes: &[u8]) -> bool {
    let Ok(receipt) = Receipt::from_json(bytes) else { return false };
    let again = serde_json::to_vec(&receipt).expect("what was read can be written");
    assert_eq!(Receipt::from_json(&again).expect("what was written is read"), receipt);
    assert!(receipt.verify(&STRANGER).is_err(), "keys that signed nothing vouch for it");
    true
}
