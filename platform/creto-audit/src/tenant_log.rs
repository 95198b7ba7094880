//! One tenant's log as its writer sees it.

use std::sync::Arc;

use creto_kernel::{TenantId, Timestamp};

use crate::core::checkpoint::Checkpoint;
use crate::core::edge::Edge;
use crate::core::tile::{self, TILE_WIDTH, TileError, TilePath};
use crate::error::AuditError;
use crate::keys::{LogKeys, TrustedKeys};
use crate::store::LogStore;

/// Most leaves sealed by one checkpoint.
pub const BATCH_LEAVES_MAX: usize = 1024;

/// The writer of one log.
///
/// INVARIANT: a checkpoint is signed only after every tile it needs is durable, and only for a log whose last signed checkpoint
/// verified and is a prefix of it: the edge comes from that checkpoint, and grows by appending.
#[derive(Debug)]
pub struct TenantLog {
    tenant: TenantId,
    edge: Edge,
    store: Arc<dyn LogStore>,
}

/// The path of a tenant's checkpoint.
#[must_use]
pub fn checkpoint_path(tenant: &TenantId) -> String {
    format!("{tenant}/checkpoint")
}

impl TenantLog {
    /// Opens a log where its checkpoint says it ends. A checkpoint that does not verify, or a right edge that is not what it signs,
    /// refuses: nothing is ever appended to a damaged log.
    pub fn open(store: Arc<dyn LogStore>, trusted: &TrustedKeys, tenant: &TenantId) -> Result<Self, AuditError> {
        let path = checkpoint_path(tenant);
        let Some(bytes) = store.read(&path).map_err(|e| AuditError::io(&path, &e))? else {
            return Ok(Self { tenant: tenant.clone(), edge: Edge::default(), store });
        };
        let signed = trusted.open(tenant, &path, &bytes)?.checkpoint;
        let mut last = path.clone();
        let edge = Edge::load(signed.size, |tile| {
            last = format!("{tenant}/{tile}");
            let bytes = store.read(&last).map_err(|e| Damage::Other(AuditError::io(&last, &e)))?;
            bytes.ok_or_else(|| Damage::Other(AuditError::MissingFile { path: last.clone() }))
        });
        let edge = edge.map_err(|damage| match damage {
            Damage::Other(error) => error,
            Damage::Tile(error) => AuditError::BadTile { path: last.clone(), reason: error.to_string() },
        })?;
        if edge.root() != signed.root {
            let reason = "its root is not that of the tiles at the right edge".to_owned();
            return Err(AuditError::BadCheckpoint { path, reason });
        }
        if !edge.entries_match_hashes() {
            return Err(AuditError::BadEntry { path: last, reason: "its entries are not those that were hashed".to_owned() });
        }
        let log = Self { tenant: tenant.clone(), edge, store };
        log.remove_outgrown(signed.size.saturating_sub(BATCH_LEAVES_MAX as u64))?;
        Ok(log)
    }

    /// Entries under the last checkpoint.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The last entry; `None` in an empty log.
    pub fn last_entry(&self) -> Result<Option<Vec<u8>>, AuditError> {
        let Some(bundle) = self.size().checked_sub(1).and_then(|last| tile::bundle_with(last, self.size())) else { return Ok(None) };
        let path = format!("{}/{bundle}", self.tenant);
        let bytes = self.store.read(&path).map_err(|e| AuditError::io(&path, &e))?;
        let bytes = bytes.ok_or_else(|| AuditError::MissingFile { path: path.clone() })?;
        let entries = tile::decode_bundle(&bytes, bundle.width());
        let entries = entries.map_err(|e| AuditError::BadEntry { path: path.clone(), reason: e.to_string() })?;
        Ok(entries.last().map(|entry| entry.to_vec()))
    }

    /// Appends entries and publishes the checkpoint that covers them. Consumes the writer on failure: what is on disk then is known
    /// only after opening again.
    pub fn append(mut self, entries: &[Vec<u8>], keys: &LogKeys, trusted: &TrustedKeys, now: Timestamp) -> Result<Self, AuditError> {
        let before = self.size();
        let files = self.edge.append(entries).map_err(|error| match error {
            TileError::EntryTooLarge(bytes) => AuditError::EntryTooLarge { bytes },
            other => AuditError::BadTile { path: self.tenant.to_string(), reason: other.to_string() },
        })?;
        for file in files {
            self.write_once(&format!("{}/{}", self.tenant, file.path), &file.bytes)?;
        }
        let checkpoint = Checkpoint { origin: trusted.origin(&self.tenant), size: self.size(), root: self.edge.root() };
        let path = checkpoint_path(&self.tenant);
        self.store.write(&path, &keys.sign(&checkpoint, now)?).map_err(|e| AuditError::io(&path, &e))?;
        self.remove_outgrown(before)?;
        Ok(self)
    }

    /// Tiles are immutable: a tile that is there with other bytes is the trace of another history, and is never replaced.
    fn write_once(&self, path: &str, bytes: &[u8]) -> Result<(), AuditError> {
        match self.store.read(path).map_err(|e| AuditError::io(path, &e))? {
            Some(there) if there == bytes => Ok(()),
            Some(_) => {
                let reason = "a different file already stands where the log grows".to_owned();
                Err(AuditError::Fork { path: path.to_owned(), reason })
            }
            None => self.store.write(path, bytes).map_err(|e| AuditError::io(path, &e)),
        }
    }

    /// Removes the partial tiles that wider ones replaced since the log had `before` entries. Without this, a log that grows one entry
    /// at a time keeps each entry 128 times. A reader who still asks for a narrower one is served the prefix of the wider one.
    fn remove_outgrown(&self, before: u64) -> Result<(), AuditError> {
        let needed: Vec<_> = tile::rows().filter_map(|row| tile::edge_tile(row, self.size())).map(|tile| tile.to_string()).collect();
        for row in tile::rows() {
            for index in tile::edge_index(row, before)..=tile::edge_index(row, self.size()) {
                let Some(place) = TilePath::new(row, index, TILE_WIDTH) else { continue };
                let folder = place.partial_folder();
                let there = format!("{}/{folder}", self.tenant);
                for name in self.store.list(&there).map_err(|e| AuditError::io(&there, &e))? {
                    if !needed.contains(&format!("{folder}/{name}")) {
                        let outgrown = format!("{there}/{name}");
                        self.store.remove(&outgrown).map_err(|e| AuditError::io(&outgrown, &e))?;
                    }
                }
            }
        }
        Ok(())
    }
}

enum Damage {
    Tile(TileError),
    Other(AuditError),
}

impl From<TileError> for Damage {
    fn from(error: TileError) -> Self {
        Self::Tile(error)
    }
}
