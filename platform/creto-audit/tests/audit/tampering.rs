//! What is not as signed is found and named.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creto_audit::{AuditError, Checkpoint, DirSource, DirStore, LogKeys, Report, Verifier, verify_dir};
use creto_kernel::Coded as _;

use crate::support::{self, MemStore, grow, tenant, trusted};

const SIZES: [u32; 3] = [200, 260, 310];

async fn verify(dir: &Path, keys: &LogKeys, pin: Option<Checkpoint>) -> Result<Report, AuditError> {
    Verifier::new(&DirSource::new(dir), &trusted(keys)).pins(pin).settle(Duration::ZERO).all().await
}

async fn verify_mem(store: &MemStore, keys: &LogKeys, pin: Option<Checkpoint>) -> Result<Report, AuditError> {
    Verifier::new(store, &trusted(keys)).pins(pin).settle(Duration::ZERO).all().await
}

fn pin(store: &MemStore, keys: &LogKeys) -> Checkpoint {
    trusted(keys).open(&tenant("acme"), "pin", &store.files()["acme/checkpoint"]).unwrap().checkpoint
}

fn code(result: Result<Report, AuditError>) -> (String, String) {
    let error = result.unwrap_err();
    (error.code().as_str().to_owned(), error.path().unwrap_or_default().to_owned())
}

fn mem_log(keys: &LogKeys, sizes: &[u32], variant: u8) -> MemStore {
    let store = MemStore::default();
    grow(Arc::new(store.clone()), keys, "acme", sizes, variant).unwrap();
    store
}

#[tokio::test]
async fn a_sound_log_on_disk_verifies_and_shows_what_is_in_doubt() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
    let root = dir.path().join("log");
    let store = Arc::new(DirStore::open(&root).unwrap());
    grow(store.clone(), &keys, "acme", &SIZES, 1).unwrap();
    grow(store, &keys, "other", &[3], 2).unwrap();
    let report = verify_dir(&root, &trusted(&keys), None).await.unwrap();
    let [acme, other] = report.logs.as_slice() else { panic!("{report:?}") };
    assert_eq!((acme.size, other.size), (310, 3));
    assert_eq!(acme.in_doubt.iter().map(|intent| intent.index).collect::<Vec<_>>(), [12]);
    assert_eq!(acme.outcomes_without_intent, [] as [u64; 0]);
    let mut files: Vec<_> = walk(&root.join("acme")).into_iter().map(|(name, _)| name).collect();
    files.sort();
    let expected = ["checkpoint", "tile/0/000", "tile/0/001.p/54", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/54"];
    assert_eq!(files, expected, "only what the tree of 310 entries needs");
    assert_eq!(acme.files, files.len() as u64);
    let alone = Verifier::new(&DirSource::new(&root), &trusted(&keys)).tenant(&tenant("acme")).await.unwrap();
    assert_eq!(alone, *acme);
}

fn walk(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(walk(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.push((name, fs::read(&path).unwrap()));
        }
    }
    found
}

/// Every byte of a short file, a spread of a long one, always with both ends.
fn samples(length: usize, count: usize) -> Vec<usize> {
    let step = length.div_ceil(count).max(1);
    (0..length).step_by(step).chain([1, 2, length - 2, length - 1]).filter(|at| *at < length).collect()
}

#[tokio::test]
async fn one_flipped_bit_in_any_file_is_found_and_the_file_named() {
    let keys = support::keys();
    let store = mem_log(&keys, &SIZES, 1);
    let good = store.files();
    for (path, bytes) in &good {
        for (nth, at) in samples(bytes.len(), 60).into_iter().enumerate() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (nth % 8);
            let mut files = good.clone();
            files.insert(path.clone(), flipped);
            store.replace(files);
            let error = verify_mem(&store, &keys, None).await.expect_err(&format!("byte {at} of {path}"));
            assert_eq!(error.path(), Some(path.as_str()), "byte {at}: {error}");
        }
    }
    store.replace(good);
    verify_mem(&store, &keys, None).await.unwrap();
}

#[tokio::test]
async fn on_disk_a_flipped_a_removed_and_an_added_file_are_named() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), support::keys());
    let root = dir.path().join("log");
    grow(Arc::new(DirStore::open(&root).unwrap()), &keys, "acme", &SIZES, 1).unwrap();
    for (name, bytes) in walk(&root) {
        let path = root.join(&name);
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for wrong in [flipped, [bytes.as_slice(), b"\n"].concat(), bytes[..bytes.len() - 1].to_vec(), Vec::new()] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(code(verify(&root, &keys, None).await).1, name);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(code(verify(&root, &keys, None).await), ("audit.missing_file".to_owned(), name));
        fs::write(&path, bytes).unwrap();
    }
    for added in [
        "acme/notes.txt",
        "acme/tile/0/000.p/x",
        "acme/tile/0/002",
        "acme/tile/3/000.p/1",
        "acme/tile/0/000.tmp",
        "README",
        "Acme/checkpoint",
        "acme/tile/entries/x001/000",
    ] {
        let path = root.join(added);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"x").unwrap();
        assert_eq!(code(verify(&root, &keys, None).await), ("audit.unexpected_file".to_owned(), added.to_owned()));
        fs::remove_file(&path).unwrap();
    }
    std::os::unix::fs::symlink(root.join("acme/checkpoint"), root.join("acme/link")).unwrap();
    assert_eq!(code(verify(&root, &keys, None).await).0, "audit.unexpected_file");
    fs::remove_file(root.join("acme/link")).unwrap();
    verify(&root, &keys, None).await.unwrap();
}

#[tokio::test]
async fn narrower_tiles_left_behind_must_be_prefixes() {
    let keys = support::keys();
    let store = mem_log(&keys, &[260], 1);
    let older = store.files();
    grow(Arc::new(store.clone()), &keys, "acme", &[310], 1).unwrap();
    let current = store.files();
    for path in ["acme/tile/0/001.p/4", "acme/tile/entries/001.p/4"] {
        let with = |bytes: Vec<u8>| {
            let mut files = current.clone();
            files.insert(path.to_owned(), bytes);
            store.replace(files);
        };
        with(older[path].clone());
        assert_eq!(verify_mem(&store, &keys, None).await.unwrap().logs[0].files, 7);
        let mut flipped = older[path].clone();
        flipped[9] ^= 1;
        with(flipped);
        assert_eq!(code(verify_mem(&store, &keys, None).await).1, path);
    }
}

#[tokio::test]
async fn an_older_copy_is_a_rollback_under_a_pin() {
    let keys = support::keys();
    let store = mem_log(&keys, &[260], 1);
    let older = store.files();
    let seen_early = pin(&store, &keys);
    grow(Arc::new(store.clone()), &keys, "acme", &[310], 1).unwrap();
    let seen_late = pin(&store, &keys);
    for seen in [&seen_early, &seen_late] {
        verify_mem(&store, &keys, Some(seen.clone())).await.unwrap();
    }
    store.replace(older);
    verify_mem(&store, &keys, Some(seen_early)).await.unwrap();
    let found = code(verify_mem(&store, &keys, Some(seen_late.clone())).await);
    assert_eq!(found, ("audit.rollback".to_owned(), "acme/checkpoint".to_owned()));
    store.replace([].into());
    assert_eq!(code(verify_mem(&store, &keys, Some(seen_late)).await).0, "audit.rollback");
}

#[tokio::test]
async fn an_older_checkpoint_over_newer_tiles_is_a_rollback_without_a_pin() {
    let keys = support::keys();
    let store = mem_log(&keys, &[200], 1);
    let older = store.files()["acme/checkpoint"].clone();
    grow(Arc::new(store.clone()), &keys, "acme", &[210], 1).unwrap();
    let mut files = store.files();
    files.insert("acme/checkpoint".to_owned(), older);
    store.replace(files);
    assert_eq!(code(verify_mem(&store, &keys, None).await).0, "audit.rollback");
}

#[tokio::test]
async fn another_history_is_a_fork_under_a_pin() {
    let keys = support::keys();
    let seen = pin(&mem_log(&keys, &[200], 1), &keys);
    for sizes in [[200], [310]] {
        let other = mem_log(&keys, &sizes, 2);
        verify_mem(&other, &keys, None).await.unwrap();
        let found = code(verify_mem(&other, &keys, Some(seen.clone())).await);
        assert_eq!(found, ("audit.fork".to_owned(), "acme/checkpoint".to_owned()));
    }
}

#[tokio::test]
async fn tiles_of_another_history_under_a_signed_checkpoint_are_refused() {
    let keys = support::keys();
    let store = mem_log(&keys, &[310], 1);
    let checkpoint = store.files()["acme/checkpoint"].clone();
    let mut files = mem_log(&keys, &[310], 2).files();
    files.insert("acme/checkpoint".to_owned(), checkpoint);
    store.replace(files);
    assert_eq!(code(verify_mem(&store, &keys, None).await), ("audit.bad_checkpoint".to_owned(), "acme/checkpoint".to_owned()));
}

#[tokio::test]
async fn entries_must_be_this_tenants_leaves_once_each() {
    let keys = support::keys();
    let leaf = |tenant, number| support::leaf(tenant, number, 1).canonical_bytes().unwrap();
    let loose = String::from_utf8(leaf("acme", 1)).unwrap().replacen('{', "{ ", 1).into_bytes();
    for (second, reason) in [
        (leaf("acme", 0), "there twice"),
        (leaf("other", 1), "belongs to tenant `other`"),
        (loose, "canonical form"),
        (b"hello".to_vec(), "not strict JSON"),
    ] {
        let store = MemStore::default();
        let log = creto_audit::TenantLog::open(Arc::new(store.clone()), &trusted(&keys), &tenant("acme")).unwrap();
        log.append(&[leaf("acme", 0), second], &keys, &trusted(&keys), support::now()).unwrap();
        let error = verify_mem(&store, &keys, None).await.unwrap_err();
        assert!(matches!(&error, AuditError::BadEntry { reason: why, .. } if why.contains("entry 1") && why.contains(reason)), "{error}");
    }
}
