//! A log in memory whose writer can be stopped after any write, and leaves to fill it with.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use creto_audit::{AuditError, LogKeys, LogStore, OriginPrefix, Source, TenantLog, TrustedKeys};
use creto_crypto::{SignSuite, SigningKey};
use creto_kernel::id::{AdmissionId, LeafId};
use creto_kernel::{Leaf, Phase, TenantId, Timestamp};
use futures::future::BoxFuture;

/// Files in memory. After `changes_left` changes every further one fails, as for a process that was stopped there.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemStore(Arc<Mutex<Mem>>);

#[derive(Debug, Default)]
struct Mem {
    files: BTreeMap<String, Vec<u8>>,
    changes: usize,
    changes_left: Option<usize>,
}

impl MemStore {
    pub(crate) fn stop_after(&self, changes: Option<usize>) {
        self.0.lock().unwrap().changes_left = changes;
    }

    pub(crate) fn changes(&self) -> usize {
        self.0.lock().unwrap().changes
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap().files.clone()
    }

    pub(crate) fn replace(&self, files: BTreeMap<String, Vec<u8>>) {
        self.0.lock().unwrap().files = files;
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> io::Result<T> {
        let mut mem = self.0.lock().unwrap();
        match &mut mem.changes_left {
            Some(0) => return Err(io::Error::other("stopped")),
            Some(left) => *left -= 1,
            None => {}
        }
        mem.changes += 1;
        Ok(change(&mut mem.files))
    }
}

impl LogStore for MemStore {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().files.get(path).cloned())
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(|files| drop(files.insert(path.to_owned(), bytes.to_vec())))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let inside = |path: &String| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
        Ok(self.0.lock().unwrap().files.keys().filter_map(inside).collect())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.change(|files| drop(files.remove(path)))
    }
}

impl Source for MemStore {
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, AuditError>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().files.get(path).cloned()) })
    }

    fn list(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, AuditError>> {
        Box::pin(async move { Ok(Some(self.files().into_keys().collect())) })
    }
}

pub(crate) fn keys() -> LogKeys {
    let key = |suite| Arc::new(SigningKey::generate(suite).unwrap());
    LogKeys::new(key(SignSuite::Ed25519), key(SignSuite::MlDsa44)).unwrap()
}

pub(crate) fn trusted(keys: &LogKeys) -> TrustedKeys {
    keys.trusted(OriginPrefix::local())
}

pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(1_700_000_000).unwrap()
}

/// The `number`th leaf of a tenant; `variant` tells apart leaves of one number.
pub(crate) fn leaf(tenant: &str, number: u32, variant: u8) -> Leaf {
    let mut id = [variant; 16];
    id[0] = tenant.as_bytes()[0];
    id[12..].copy_from_slice(&number.to_be_bytes());
    let actor = format!("spiffe://creto.local/tenant/{tenant}/agent/researcher").parse().unwrap();
    let (action, resource) = ("runtime.exec".parse().unwrap(), "sandbox:default".parse().unwrap());
    let admission = AdmissionId::from_bytes([7; 16].map(|b: u8| b ^ (number / 2) as u8));
    // Numbers 10 and 11 are an intent and its outcome, 12 an intent without one.
    let phase = match number {
        10 | 12 => Phase::Intent { admission },
        11 => Phase::Outcome { admission },
        _ => Phase::Event,
    };
    Leaf::event(LeafId::from_bytes(id), now(), actor, action, resource, "allow").at(phase).fact("number", number)
}

pub(crate) fn entries(tenant: &str, numbers: std::ops::Range<u32>, variant: u8) -> Vec<Vec<u8>> {
    numbers.map(|number| leaf(tenant, number, variant).canonical_bytes().unwrap()).collect()
}

/// Appends leaves up to each of `sizes`, one checkpoint for each.
pub(crate) fn grow(store: Arc<dyn LogStore>, keys: &LogKeys, tenant_name: &str, sizes: &[u32], variant: u8) -> Result<(), AuditError> {
    let trusted = trusted(keys);
    let mut log = TenantLog::open(store, &trusted, &tenant(tenant_name))?;
    for size in sizes {
        let from = u32::try_from(log.size()).unwrap();
        if from < *size {
            log = log.append(&entries(tenant_name, from..*size, variant), keys, &trusted, now())?;
        }
    }
    Ok(())
}

/// Files with each checkpoint cut down to what is signed: signatures are randomized, so two runs differ in them.
pub(crate) fn without_signatures(files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let cut = |(path, bytes): (String, Vec<u8>)| match String::from_utf8(bytes.clone()) {
        Ok(note) if path.ends_with("checkpoint") => (path, note.split("\n\n").next().unwrap().as_bytes().to_vec()),
        _ => (path, bytes),
    };
    files.into_iter().map(cut).collect()
}
