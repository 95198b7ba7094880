//! What an owner, a stranger and somebody with the disk can do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use creto_crypto::{AlgorithmPolicy, KeyRing, MasterKey, Purpose};
use creto_kernel::time::ManualClock;
use creto_kernel::{Clock as _, Coded as _, NhiId, Timestamp};
use creto_storage::{Class, Reference, SealedStore, StorageError};
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
    clock: Arc<ManualClock>,
    ring: Arc<KeyRing>,
    store: SealedStore,
}

fn bench() -> Bench {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000).unwrap()));
    let master = MasterKey::from_hex(&"5a".repeat(32)).unwrap();
    let ring = Arc::new(KeyRing::open(&dir.path().join("keys"), master, AlgorithmPolicy::default(), &*clock).unwrap());
    let store = SealedStore::open_local(&dir.path().join("objects"), Arc::clone(&ring), clock.clone()).unwrap();
    Bench { dir, clock, ring, store }
}

fn owner(name: &str) -> NhiId {
    format!("spiffe://example.org/tenant/acme/agent/{name}").parse().unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, StorageError>) -> &'static str {
    result.unwrap_err().code().as_str()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

impl Bench {
    fn object_file(&self) -> PathBuf {
        files(&self.dir.path().join("objects/objects")).remove(0)
    }

    fn lock_file(&self) -> PathBuf {
        files(&self.dir.path().join("objects/locks")).remove(0)
    }
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_put_and_nothing_on_disk_shows_it() {
    let bench = bench();
    let content = b"the merger closes on friday".as_slice();
    let reference = bench.store.put(&owner("scout"), Class::Confidential, content).await.unwrap();
    let object = bench.store.get(&owner("scout"), &reference).await.unwrap();
    assert_eq!((object.class, object.content.expose()), (Class::Confidential, content));
    assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
    let stored = fs::read(bench.object_file()).unwrap();
    assert!(!stored.windows(6).any(|window| window == b"merger"));
    let path = bench.object_file().display().to_string();
    assert!(!path.contains("scout"), "{path}");
    for empty_or_large in [Vec::new(), vec![7; 3_000_000]] {
        let reference = bench.store.put(&owner("scout"), Class::Public, &empty_or_large).await.unwrap();
        assert_eq!(bench.store.get(&owner("scout"), &reference).await.unwrap().content.expose(), empty_or_large);
    }
}

#[tokio::test]
async fn the_same_content_is_one_object_and_owner_and_class_are_part_of_its_name() {
    let bench = bench();
    let first = bench.store.put(&owner("scout"), Class::Internal, b"same").await.unwrap();
    assert_eq!(bench.store.put(&owner("scout"), Class::Internal, b"same").await.unwrap(), first);
    assert_eq!(files(&bench.dir.path().join("objects/objects")).len(), 1);
    assert_ne!(bench.store.put(&owner("scout"), Class::Public, b"same").await.unwrap(), first);
    assert_ne!(bench.store.put(&owner("other"), Class::Internal, b"same").await.unwrap(), first);
}

#[tokio::test]
async fn another_owner_sees_nothing_even_with_the_reference() {
    let bench = bench();
    let reference = bench.store.put(&owner("scout"), Class::Internal, b"mine").await.unwrap();
    assert_eq!(code(bench.store.get(&owner("other"), &reference).await), "storage.not_found");
    assert_eq!(code(bench.store.delete(&owner("other"), &reference).await), "storage.not_found");
    assert_eq!(code(bench.store.lock(&owner("other"), &reference, Timestamp::MAX).await), "storage.not_found");
    let tenant: NhiId = "spiffe://example.org/tenant/evil/agent/scout".parse().unwrap();
    assert_eq!(code(bench.store.get(&tenant, &reference).await), "storage.not_found");
    bench.store.get(&owner("scout"), &reference).await.unwrap();
}

#[tokio::test]
async fn an_object_moved_to_another_owners_place_does_not_open() {
    let bench = bench();
    let mine = bench.store.put(&owner("scout"), Class::Internal, b"mine").await.unwrap();
    let file = bench.object_file();
    let stranger_reference = bench.store.put(&owner("other"), Class::Internal, b"theirs").await.unwrap();
    let stranger_file = files(&bench.dir.path().join("objects/objects")).into_iter().find(|path| *path != file).unwrap();
    fs::copy(&file, &stranger_file).unwrap();
    assert_eq!(code(bench.store.get(&owner("other"), &stranger_reference).await), "storage.tampered");
    let same_name = stranger_file.with_file_name(file.file_name().unwrap());
    fs::copy(&file, same_name).unwrap();
    assert_eq!(code(bench.store.get(&owner("other"), &mine).await), "storage.tampered");
}

#[tokio::test]
async fn a_changed_byte_or_a_cut_anywhere_is_refused_and_putting_again_repairs() {
    let bench = bench();
    let reference = bench.store.put(&owner("scout"), Class::Restricted, b"content").await.unwrap();
    let file = bench.object_file();
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&file, &changed).unwrap();
        let code = code(bench.store.get(&owner("scout"), &reference).await);
        assert!(matches!(code, "storage.tampered" | "storage.truncated"), "byte {at}: {code}");
        fs::write(&file, &whole[..at]).unwrap();
        assert_eq!(self::code(bench.store.get(&owner("scout"), &reference).await), "storage.truncated", "cut at {at}");
    }
    fs::write(&file, [whole.as_slice(), b"more"].concat()).unwrap();
    assert_eq!(code(bench.store.get(&owner("scout"), &reference).await), "storage.tampered");
    assert_eq!(bench.store.put(&owner("scout"), Class::Restricted, b"content").await.unwrap(), reference);
    assert_eq!(bench.store.get(&owner("scout"), &reference).await.unwrap().content.expose(), b"content");
}

#[tokio::test]
async fn a_class_cannot_be_lowered_on_disk() {
    let bench = bench();
    let reference = bench.store.put(&owner("scout"), Class::Public, b"a").await.unwrap();
    let file = bench.object_file();
    let text = fs::read(&file).unwrap();
    let at = text.windows(6).position(|window| window == b"public").unwrap();
    // Relabelled as well as anyone without the keys can: the name and its length prefix both fit.
    let mut relabelled = text[..at - 1].to_vec();
    relabelled.push(8);
    relabelled.extend_from_slice(b"internal");
    relabelled.extend_from_slice(&text[at + 6..]);
    fs::write(&file, relabelled).unwrap();
    assert_eq!(code(bench.store.get(&owner("scout"), &reference).await), "storage.tampered");
}

#[tokio::test]
async fn a_locked_object_cannot_be_deleted_before_its_date() {
    let bench = bench();
    let until = bench.clock.now().saturating_add(Duration::from_secs(100));
    let reference = bench.store.put_locked(&owner("scout"), Class::Internal, b"record", until).await.unwrap();
    assert_eq!(code(bench.store.delete(&owner("scout"), &reference).await), "storage.locked");
    bench.clock.advance(Duration::from_micros(99_999_999));
    assert_eq!(code(bench.store.delete(&owner("scout"), &reference).await), "storage.locked");
    bench.clock.advance(Duration::from_micros(1));
    bench.store.delete(&owner("scout"), &reference).await.unwrap();
    assert_eq!(code(bench.store.get(&owner("scout"), &reference).await), "storage.not_found");
    assert_eq!(code(bench.store.delete(&owner("scout"), &reference).await), "storage.not_found");
    assert!(files(&bench.dir.path().join("objects")).is_empty(), "the lock is gone with its object");
}

#[tokio::test]
async fn a_lock_can_only_be_extended() {
    let bench = bench();
    let reference = bench.store.put(&owner("scout"), Class::Internal, b"record").await.unwrap();
    let at = |secs| Timestamp::from_secs(secs).unwrap();
    assert_eq!(bench.store.locked_until(&owner("scout"), &reference).await.unwrap(), None);
    bench.store.lock(&owner("scout"), &reference, at(2_000)).await.unwrap();
    bench.store.lock(&owner("scout"), &reference, at(2_000)).await.unwrap();
    assert_eq!(code(bench.store.lock(&owner("scout"), &reference, at(1_999)).await), "storage.lock_shortened");
    assert_eq!(code(bench.store.put_locked(&owner("scout"), Class::Internal, b"record", at(1_999)).await), "storage.lock_shortened");
    bench.store.lock(&owner("scout"), &reference, at(3_000)).await.unwrap();
    assert_eq!(bench.store.locked_until(&owner("scout"), &reference).await.unwrap(), Some(at(3_000)));
    bench.clock.set(at(4_000));
    assert_eq!(code(bench.store.lock(&owner("scout"), &reference, at(2_500)).await), "storage.lock_shortened");
}

#[tokio::test]
async fn a_damaged_lock_keeps_its_object() {
    let bench = bench();
    let reference = bench.store.put_locked(&owner("scout"), Class::Internal, b"record", bench.clock.now()).await.unwrap();
    let whole = fs::read(bench.lock_file()).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(bench.lock_file(), &changed).unwrap();
        assert_eq!(code(bench.store.delete(&owner("scout"), &reference).await), "storage.lock_tampered", "byte {at}");
        fs::write(bench.lock_file(), &whole[..at]).unwrap();
        assert_eq!(code(bench.store.delete(&owner("scout"), &reference).await), "storage.lock_tampered", "cut at {at}");
    }
    fs::write(bench.lock_file(), whole).unwrap();
    bench.store.delete(&owner("scout"), &reference).await.unwrap();
}

#[tokio::test]
async fn objects_open_after_the_storage_key_was_rotated() {
    let bench = bench();
    let reference = bench.store.put(&owner("scout"), Class::Internal, b"before").await.unwrap();
    bench.ring.rotate(Purpose::Storage, Duration::ZERO, bench.clock.now()).unwrap();
    let after = bench.store.put(&owner("scout"), Class::Internal, b"after").await.unwrap();
    assert_eq!(bench.store.get(&owner("scout"), &reference).await.unwrap().content.expose(), b"before");
    assert_eq!(bench.store.get(&owner("scout"), &after).await.unwrap().content.expose(), b"after");
}

#[tokio::test]
async fn text_that_is_no_reference_or_class_is_refused() {
    for bad in
        ["", "sha256:", "sha256:00", &"0".repeat(64), &format!("sha256:{}", "A".repeat(64)), &format!("sha256:{}/..", "0".repeat(62))]
    {
        assert_eq!(code(bad.parse::<Reference>()), "storage.bad_reference", "{bad}");
    }
    assert_eq!(code("secret".parse::<Class>()), "storage.bad_class");
}

#[tokio::test]
async fn an_object_over_the_limit_is_refused_before_it_is_sealed() {
    let bench = bench();
    let large = vec![0; 64 * 1024 * 1024 + 1];
    assert_eq!(code(bench.store.put(&owner("scout"), Class::Internal, &large).await), "storage.too_large");
    assert!(files(&bench.dir.path().join("objects")).is_empty());
}
