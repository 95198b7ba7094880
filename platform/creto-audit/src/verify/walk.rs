//! One pass over a log from its first entry to its checkpoint: every hash is recomputed, every file compared.

use std::collections::BTreeSet;

use creto_kernel::{Digest, TenantId};

use super::entries::Entries;
use crate::core::checkpoint::Checkpoint;
use crate::core::frontier::{Frontier, TileRow};
use crate::core::merkle;
use crate::core::tile::{self, HASH_BYTES, Row, TILE_WIDTH, TilePath};
use crate::error::AuditError;
use crate::keys::Opened;
use crate::report::LogReport;
use crate::source::Source;
use crate::tenant_log::checkpoint_path;

pub(super) struct Walk<'a> {
    source: &'a dyn Source,
    tenant: &'a TenantId,
    opened: &'a Opened,
    /// Files that are there and were not compared yet.
    listed: BTreeSet<TilePath>,
    frontier: Frontier,
    entries: Entries,
    files: u64,
    mismatches: Mismatches,
}

/// Files that differ from what the entries of the widest bundles make of them. Whether the file or an entry is damaged shows only at
/// the end: if the entries have the signed root, it is the file.
#[derive(Default)]
struct Mismatches {
    any: Option<TilePath>,
    leaf_hashes: Option<TilePath>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a dyn Source, tenant: &'a TenantId, opened: &'a Opened, listed: BTreeSet<TilePath>) -> Self {
        Self {
            source,
            tenant,
            opened,
            listed,
            frontier: Frontier::default(),
            entries: Entries::default(),
            files: 1,
            mismatches: Mismatches::default(),
        }
    }

    pub(super) async fn run(mut self, pins: &[&Checkpoint]) -> Result<LogReport, AuditError> {
        let size = self.opened.checkpoint.size;
        let mut filled = Vec::new();
        let mut pinned = vec![None; pins.len()];
        self.note_pins(pins, &mut pinned);
        for bundle in tile::required(size).filter(|file| file.row() == Row::Entries) {
            for hash in self.bundle(bundle).await? {
                self.frontier.push(hash, &mut filled);
                self.note_pins(pins, &mut pinned);
            }
            for row in std::mem::take(&mut filled) {
                self.tile(&row).await?;
            }
        }
        for row in self.frontier.partial().collect::<Vec<_>>() {
            self.tile(&row).await?;
        }
        self.judge()?;
        for (pin, root) in pins.iter().zip(pinned) {
            if root != Some(pin.root) {
                let reason = format!("its first {} entries are not those of the checkpoint that was seen", pin.size);
                return Err(AuditError::Fork { path: checkpoint_path(self.tenant), reason });
            }
        }
        Ok(LogReport {
            tenant: self.tenant.clone(),
            size,
            root: self.opened.checkpoint.root,
            signed_at_s: self.opened.signed_at_s,
            files: self.files,
            in_doubt: self.entries.in_doubt(),
            outcomes_without_intent: self.entries.outcomes_without_intent,
        })
    }

    fn note_pins(&self, pins: &[&Checkpoint], pinned: &mut [Option<Digest>]) {
        for (pin, root) in pins.iter().zip(pinned) {
            if pin.size == self.frontier.size() {
                *root = Some(self.frontier.root());
            }
        }
    }

    fn name(&self, file: TilePath) -> String {
        format!("{}/{file}", self.tenant)
    }

    async fn read(&mut self, file: TilePath) -> Result<Option<Vec<u8>>, AuditError> {
        let bytes = self.source.get(&self.name(file)).await?;
        self.files += u64::from(bytes.is_some());
        Ok(bytes)
    }

    /// Reads and checks one bundle and the narrower ones beside it; answers the hashes of its entries.
    async fn bundle(&mut self, file: TilePath) -> Result<Vec<Digest>, AuditError> {
        let exact = self.read(file).await?;
        // A server may have filled the bundle since its checkpoint was read; then the full one stands for the partial one.
        let (found, bytes) = match exact {
            Some(bytes) => (file, bytes),
            None if file.is_partial() => (file.full(), self.read(file.full()).await?.ok_or_else(|| self.missing(file))?),
            None => return Err(self.missing(file)),
        };
        let path = self.name(found);
        let bad = |reason: String| AuditError::BadEntry { path: path.clone(), reason };
        let all = tile::decode_bundle(&bytes, found.width()).map_err(|e| bad(e.to_string()))?;
        let (mut hashes, mut ends, mut at) = (Vec::new(), Vec::new(), 0);
        for (index, entry) in (file.index() * TILE_WIDTH..).zip(all).take(file.width()) {
            self.entries.take(self.tenant, index, entry).map_err(|reason| bad(format!("entry {index}: {reason}")))?;
            hashes.push(merkle::leaf_hash(entry));
            at += 2 + entry.len();
            ends.push(at);
        }
        self.listed.remove(&found);
        self.listed.remove(&file);
        let narrower = |width: usize| bytes.get(..ends.get(width.checked_sub(1)?).copied()?);
        self.compare(file, narrower).await?;
        Ok(hashes)
    }

    /// Compares a tile, and the narrower ones beside it, with the hashes it must hold.
    async fn tile(&mut self, row: &TileRow) -> Result<(), AuditError> {
        let expected = tile::encode_hashes(&row.hashes);
        match self.read(row.path).await? {
            Some(bytes) => self.hold_against(row.path, bytes == expected),
            None if row.path.is_partial() => match self.read(row.path.full()).await? {
                Some(bytes) => self.hold_against(row.path.full(), bytes.starts_with(&expected)),
                None => return Err(self.missing(row.path)),
            },
            None => return Err(self.missing(row.path)),
        }
        self.listed.remove(&row.path);
        self.compare(row.path, |width| expected.get(..width.checked_mul(HASH_BYTES)?)).await
    }

    /// Compares the files listed at the place of `widest`, which itself was compared already, with the prefix that is theirs.
    async fn compare<'b>(&mut self, widest: TilePath, prefix: impl Fn(usize) -> Option<&'b [u8]> + Send) -> Result<(), AuditError> {
        let Some(first) = TilePath::new(widest.row(), widest.index(), 1) else { return Ok(()) };
        for file in self.listed.range(first..=widest.full()).copied().collect::<Vec<_>>() {
            self.listed.remove(&file);
            match self.read(file).await? {
                Some(bytes) => self.hold_against(file, prefix(file.width()) == Some(bytes.as_slice())),
                // It was outgrown while we read: the full one must have taken its place.
                None if file.is_partial() && self.source.get(&self.name(file.full())).await?.is_some() => {}
                None => return Err(self.missing(file)),
            }
        }
        Ok(())
    }

    fn hold_against(&mut self, file: TilePath, equal: bool) {
        if !equal {
            self.mismatches.any.get_or_insert(file);
            if file.row() == (Row::Hashes { level: 0 }) {
                self.mismatches.leaf_hashes.get_or_insert(file);
            }
        }
    }

    fn missing(&self, file: TilePath) -> AuditError {
        AuditError::MissingFile { path: self.name(file) }
    }

    /// Names what is damaged, if anything is.
    fn judge(&self) -> Result<(), AuditError> {
        let root_is_signed = self.frontier.root() == self.opened.checkpoint.root;
        match (root_is_signed, self.mismatches.any, self.mismatches.leaf_hashes) {
            (true, None, _) => {}
            (true, Some(file), _) if file.row() == Row::Entries => {
                let reason = "its entries are not those that were signed".to_owned();
                return Err(AuditError::BadEntry { path: self.name(file), reason });
            }
            (true, Some(file), _) => {
                let reason = "its hashes are not those of the signed entries".to_owned();
                return Err(AuditError::BadTile { path: self.name(file), reason });
            }
            (false, _, Some(tile)) => {
                let bundle = TilePath::new(Row::Entries, tile.index(), tile.width() as u64).unwrap_or(tile);
                let reason = "its entries are not those that were hashed and signed".to_owned();
                return Err(AuditError::BadEntry { path: self.name(bundle), reason });
            }
            (false, _, None) => {
                let reason = "its root is not that of the entries".to_owned();
                return Err(AuditError::BadCheckpoint { path: checkpoint_path(self.tenant), reason });
            }
        }
        match self.listed.first() {
            Some(file) => Err(AuditError::UnexpectedFile { path: self.name(*file) }),
            None => Ok(()),
        }
    }
}
