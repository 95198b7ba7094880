//! Every decoder of outside bytes: whatever comes in, it answers without panicking, and what it accepts has one spelling only.

use creto_audit::core::checkpoint::Checkpoint;
use creto_audit::core::note::Note;
use creto_audit::core::tile::{TilePath, decode_bundle, decode_hashes, encode_bundle, encode_hashes};
use creto_audit::{AuditError, LogKeys, TrustedKeys};
use proptest::prelude::*;

use crate::support;

fn check(bytes: &[u8]) {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.encode(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(checkpoint.text(), text);
        }
        if let Ok(path) = text.parse::<TilePath>() {
            assert_eq!(path.to_string(), text);
        }
    }
    for width in [0, 1, 2, 256] {
        if let Ok(entries) = decode_bundle(bytes, width) {
            assert_eq!(encode_bundle(entries).unwrap(), bytes);
        }
        if let Ok(hashes) = decode_hashes(bytes, width) {
            assert_eq!(encode_hashes(&hashes), bytes);
        }
    }
    let refused = TrustedKeys::from_json(bytes);
    assert!(matches!(refused, Ok(_) | Err(AuditError::BadKeys(_))));
}

fn seeds(keys: &LogKeys) -> Vec<Vec<u8>> {
    let store = support::MemStore::default();
    support::grow(std::sync::Arc::new(store.clone()), keys, "acme", &[2], 1).unwrap();
    let files = store.files();
    let paths = files.keys().map(|path| path.trim_start_matches("acme/").as_bytes().to_vec());
    paths.chain(files.values().cloned()).chain([support::trusted(keys).to_json().unwrap()]).collect()
}

#[test]
fn arbitrary_and_mutated_bytes_never_panic_and_have_one_spelling() {
    let seeds = seeds(&support::keys());
    seeds.iter().for_each(|seed| check(seed));
    let mutated = (0..seeds.len(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..300), (seed, at, byte, cut) in mutated)| {
        check(&bytes);
        let mut changed = seeds[seed].clone();
        let at = at.index(changed.len());
        if cut { changed.truncate(at) } else { changed[at] = byte }
        check(&changed);
    });
}
