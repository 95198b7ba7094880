//! Put, get, lock and delete, on any object store.

use std::path::Path as FilePath;
use std::sync::Arc;

use creto_crypto::encoding::length_prefixed;
use creto_crypto::{KeyRing, Purpose};
use creto_kernel::{Clock, Digest, NhiId, Timestamp};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};
use tokio::sync::Mutex;

use crate::error::StorageError;
use crate::format;
use crate::model::{Class, Object, Reference};

/// The largest object, in bytes of content. An object is sealed and opened in memory.
pub const OBJECT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// More than any sealed lock takes.
const LOCK_BYTES_MAX: u64 = 4 * 1024;

/// Sealed objects. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct SealedStore {
    objects: Arc<dyn ObjectStore>,
    ring: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
    // Held while a lock is read and acted upon, so that no deletion slips between a lock's check and its extension. An asynchronous mutex:
    // it is meant to be held across the store's answers, and guards no memory.
    retention: Mutex<()>,
}

impl SealedStore {
    /// Objects in `objects`.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, ring: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Self {
        Self { objects, ring, clock, retention: Mutex::new(()) }
    }

    /// Objects in files under `dir`, which is made if absent. Files are flushed before a put returns.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when the directory cannot be made.
    pub fn open_local(dir: &FilePath, ring: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Result<Self, StorageError> {
        std::fs::create_dir_all(dir).map_err(|error| StorageError::Unavailable(format!("`{}`: {error}", dir.display())))?;
        let files = LocalFileSystem::new_with_prefix(dir).map_err(unavailable)?.with_fsync(true);
        Ok(Self::new(Arc::new(files), ring, clock))
    }

    /// Stores `content` for `owner`. Storing the same content again gives the same reference and repairs a damaged object.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`], [`StorageError::Crypto`], [`StorageError::Unavailable`].
    pub async fn put(&self, owner: &NhiId, class: Class, content: &[u8]) -> Result<Reference, StorageError> {
        let size = content.len() as u64;
        if size > OBJECT_BYTES_MAX {
            return Err(StorageError::TooLarge(size));
        }
        let reference = Reference::of(owner, class, content);
        let place = object_place(owner, &reference);
        let sealed = PutPayload::from(format::seal(&self.ring, owner, class, &reference, content)?);
        match self.objects.put_opts(&place, sealed.clone(), PutMode::Create.into()).await {
            Ok(_) => Ok(reference),
            Err(StoreError::AlreadyExists { .. }) => {
                if self.get(owner, &reference).await.is_err() {
                    self.objects.put_opts(&place, sealed, PutMode::Overwrite.into()).await.map_err(unavailable)?;
                }
                Ok(reference)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Stores `content` under a lock until `until`. The lock is written first: a crash leaves a lock without an object, never an object
    /// without its lock.
    ///
    /// # Errors
    /// As [`SealedStore::put`] and [`SealedStore::lock`].
    pub async fn put_locked(&self, owner: &NhiId, class: Class, content: &[u8], until: Timestamp) -> Result<Reference, StorageError> {
        self.extend_lock(owner, &Reference::of(owner, class, content), until).await?;
        self.put(owner, class, content).await
    }

    /// Opens an object of `owner`.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when it is not there or not `owner`'s; [`StorageError::Truncated`]; [`StorageError::Tampered`].
    pub async fn get(&self, owner: &NhiId, reference: &Reference) -> Result<Object, StorageError> {
        let limit = OBJECT_BYTES_MAX.saturating_add(format::HEADER_BYTES_MAX);
        let stored = self.read(&object_place(owner, reference), limit).await?.ok_or(StorageError::NotFound(*reference))?;
        format::open(&self.ring, owner, reference, &stored)
    }

    /// Until when the object is locked; `None` when it never was.
    ///
    /// # Errors
    /// [`StorageError::LockTampered`] when the lock cannot be trusted: treat the object as locked.
    pub async fn locked_until(&self, owner: &NhiId, reference: &Reference) -> Result<Option<Timestamp>, StorageError> {
        let Some(sealed) = self.read(&lock_place(owner, reference), LOCK_BYTES_MAX).await? else {
            return Ok(None);
        };
        let tampered = || StorageError::LockTampered(*reference);
        let text = self.ring.unseal(Purpose::Storage, &lock_data(owner, reference), &sealed).map_err(|_| tampered())?;
        let until = std::str::from_utf8(text.expose()).ok().and_then(|text| text.parse().ok());
        until.map(Some).ok_or_else(tampered)
    }

    /// Locks an object until `until`, or extends its lock to then.
    ///
    /// # Errors
    /// [`StorageError::NotFound`]; [`StorageError::LockShortened`] when it is locked for longer already.
    pub async fn lock(&self, owner: &NhiId, reference: &Reference, until: Timestamp) -> Result<(), StorageError> {
        self.require(owner, reference).await?;
        self.extend_lock(owner, reference, until).await
    }

    /// Deletes an object of `owner`, and its lock.
    ///
    /// # Errors
    /// [`StorageError::NotFound`]; [`StorageError::Locked`] before the lock's date; [`StorageError::LockTampered`].
    pub async fn delete(&self, owner: &NhiId, reference: &Reference) -> Result<(), StorageError> {
        let _retention = self.retention.lock().await;
        self.require(owner, reference).await?;
        let lock = self.locked_until(owner, reference).await?;
        if let Some(until) = lock.filter(|until| self.clock.now() < *until) {
            return Err(StorageError::Locked { reference: *reference, until });
        }
        self.objects.delete(&object_place(owner, reference)).await.map_err(unavailable)?;
        if lock.is_some() {
            self.objects.delete(&lock_place(owner, reference)).await.map_err(unavailable)?;
        }
        Ok(())
    }

    async fn extend_lock(&self, owner: &NhiId, reference: &Reference, until: Timestamp) -> Result<(), StorageError> {
        let _retention = self.retention.lock().await;
        match self.locked_until(owner, reference).await? {
            Some(present) if present > until => Err(StorageError::LockShortened { reference: *reference, until: present }),
            Some(present) if present == until => Ok(()),
            _ => {
                let sealed = self.ring.seal(Purpose::Storage, &lock_data(owner, reference), until.to_string().as_bytes())?;
                self.objects.put(&lock_place(owner, reference), sealed.into()).await.map(drop).map_err(unavailable)
            }
        }
    }

    async fn require(&self, owner: &NhiId, reference: &Reference) -> Result<(), StorageError> {
        match self.objects.head(&object_place(owner, reference)).await {
            Ok(_) => Ok(()),
            Err(StoreError::NotFound { .. }) => Err(StorageError::NotFound(*reference)),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn read(&self, place: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, StorageError> {
        match self.objects.get(place).await {
            Ok(found) if found.meta.size > bytes_max => Err(StorageError::TooLarge(found.meta.size)),
            Ok(found) => Ok(Some(found.bytes().await.map_err(unavailable)?.to_vec())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn unavailable(error: StoreError) -> StorageError {
    StorageError::Unavailable(error.to_string())
}

fn lock_data(owner: &NhiId, reference: &Reference) -> Vec<u8> {
    length_prefixed(&[b"creto-object-lock-v1", owner.to_string().as_bytes(), reference.digest().as_bytes()])
}

fn object_place(owner: &NhiId, reference: &Reference) -> Path {
    place("objects", owner, reference)
}

fn lock_place(owner: &NhiId, reference: &Reference) -> Path {
    place("locks", owner, reference)
}

/// `<sort>/<tenant>/<digest of the owner>/<digest of the object>`: a listing shows tenants, and no other names.
fn place(sort: &str, owner: &NhiId, reference: &Reference) -> Path {
    let (tenant, owner) = (owner.tenant().to_string(), Digest::of(owner.to_string().as_bytes()).to_string());
    Path::from_iter([sort, &tenant, &owner, &reference.digest().to_string()])
}
