//! Entries and proofs, as an outsider checks them.

use std::sync::Arc;

use creto_audit::core::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use creto_audit::{AuditError, DirSource, DirStore, LogReader, Source};
use creto_db::Db;

use crate::support::{self, grow, tenant, trusted};

#[tokio::test]
async fn every_entry_is_proven_and_every_growth_consistent() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
    let root = dir.path().join("log");
    let store = Arc::new(DirStore::open(&root).unwrap());
    let reader = LogReader::new(Arc::new(DirSource::new(&root)), trusted(&keys), Db::open_sqlite(&dir.path().join("db"), &[]).unwrap());
    let acme = tenant("acme");
    assert_eq!(reader.checkpoint(&acme).await.unwrap(), None);
    assert!(matches!(reader.entry(&acme, 0).await, Err(AuditError::NotFound(_))));
    let mut seen = Vec::new();
    for size in [1, 2, 255, 256, 257, 300, 520] {
        grow(store.clone(), &keys, "acme", &[size], 1).unwrap();
        seen.push(reader.checkpoint(&acme).await.unwrap().unwrap().checkpoint);
    }
    for index in [0, 1, 254, 255, 256, 300, 511, 512, 519] {
        let proven = reader.prove_entry(&acme, index).await.unwrap();
        let expected = support::leaf("acme", u32::try_from(index).unwrap(), 1).canonical_bytes().unwrap();
        assert_eq!(proven.entry.as_bytes(), expected);
        assert!(verify_inclusion(&leaf_hash(&expected), index, 520, &proven.proof, &seen.last().unwrap().root));
    }
    for old in &seen {
        for new in seen.iter().filter(|new| new.size >= old.size) {
            let proof = reader.consistency(&acme, old.size, new.size).await.unwrap();
            assert!(verify_consistency(old.size, &old.root, new.size, &new.root, &proof), "{} to {}", old.size, new.size);
        }
    }
    assert!(matches!(reader.prove_entry(&acme, 520).await, Err(AuditError::NotFound(_))));
    assert!(matches!(reader.consistency(&acme, 1, 521).await, Err(AuditError::NotFound(_))));
}

#[tokio::test]
async fn a_tile_that_was_outgrown_is_served_from_the_wider_one() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
    let root = dir.path().join("log");
    let store = Arc::new(DirStore::open(&root).unwrap());
    let source = DirSource::new(&root);
    for path in ["acme/tile/0/000.p/5", "acme/tile/entries/000.p/5"] {
        grow(store.clone(), &keys, "acme", &[5], 1).unwrap();
        let narrow = source.get(path).await.unwrap().unwrap();
        for size in [9, 256] {
            grow(store.clone(), &keys, "acme", &[size], 1).unwrap();
            assert!(!root.join(path).exists());
            assert_eq!(source.get(path).await.unwrap().as_ref(), Some(&narrow), "at {size}");
        }
        assert_eq!(source.get(&path.replace("000", "001")).await.unwrap(), None);
        std::fs::remove_dir_all(root.join("acme")).unwrap();
    }
    std::fs::write(dir.path().join("secret"), "x").unwrap();
    for outside in ["../secret", "acme/../../secret", "acme/checkpoint/x", "acme", "", "/etc/passwd"] {
        assert_eq!(source.get(outside).await.unwrap(), None, "{outside}");
    }
}
