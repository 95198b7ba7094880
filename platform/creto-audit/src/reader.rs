//! Reading a log: its checkpoint, an entry, where a leaf stands, and proofs that an outsider can check.

use std::collections::BTreeMap;
use std::sync::Arc;

use creto_db::{Db, params};
use creto_kernel::id::LeafId;
use creto_kernel::{Digest, TenantId};
use serde::Serialize;

use crate::core::checkpoint::Checkpoint;
use crate::core::merkle::{self, Node, Span};
use crate::core::tile::{self, TILE_WIDTH, TilePath};
use crate::error::AuditError;
use crate::keys::{Opened, Trust};
use crate::source::Source;
use crate::tenant_log::checkpoint_path;

/// A reader of all tenants' logs. Who may read which tenant's is the caller's to decide.
#[derive(Clone)]
pub struct LogReader {
    source: Arc<dyn Source>,
    trusted: Trust,
    db: Db,
}

/// An entry with the proof that it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvenEntry {
    /// Its position.
    pub index: u64,
    /// Its bytes, as text: canonical JSON.
    pub entry: String,
    /// The hashes from the entry to the root, leaf side first (RFC 6962 section 2.1.1).
    pub proof: Vec<Digest>,
    /// The size of the tree the proof is for.
    pub size: u64,
    /// Its root.
    pub root: Digest,
    /// The signed note over size and root.
    pub checkpoint: String,
}

impl LogReader {
    /// Reads what `source` serves; `db` knows where leaves stand.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, trusted: impl Into<Trust>, db: Db) -> Self {
        Self { source, trusted: trusted.into(), db }
    }

    /// The signed note as it stands, for those who verify it themselves; `None` before the first leaf is sealed.
    pub async fn checkpoint_note(&self, tenant: &TenantId) -> Result<Option<Vec<u8>>, AuditError> {
        self.source.get(&checkpoint_path(tenant)).await
    }

    /// The current checkpoint, its signatures checked; `None` before the first leaf is sealed.
    pub async fn checkpoint(&self, tenant: &TenantId) -> Result<Option<Opened>, AuditError> {
        let bytes = self.checkpoint_note(tenant).await?;
        bytes.map(|bytes| self.trusted.now().open(tenant, &checkpoint_path(tenant), &bytes)).transpose()
    }

    async fn current(&self, tenant: &TenantId) -> Result<Opened, AuditError> {
        self.checkpoint(tenant).await?.ok_or_else(|| AuditError::NotFound(format!("the log of `{tenant}`")))
    }

    /// Where a leaf stands in its tenant's log; `None` when the tenant has no such leaf or it is not sealed yet.
    pub async fn find_leaf(&self, tenant: &TenantId, leaf: LeafId) -> Result<Option<u64>, AuditError> {
        let sql = "SELECT log_index FROM audit_leaf WHERE id = $1 AND tenant = $2 AND log_index IS NOT NULL";
        let Some(row) = self.db.query_optional(sql, params![leaf, tenant]).await? else { return Ok(None) };
        let index = u64::try_from(row.int(0)?).unwrap_or(u64::MAX);
        Ok(self.checkpoint(tenant).await?.filter(|opened| index < opened.checkpoint.size).map(|_| index))
    }

    /// The bytes of an entry.
    ///
    /// # Errors
    /// `audit.not_found` beyond the checkpoint.
    pub async fn entry(&self, tenant: &TenantId, index: u64) -> Result<Vec<u8>, AuditError> {
        let size = self.current(tenant).await?.checkpoint.size;
        self.entry_of(tenant, index, size).await
    }

    /// The signed note as it stands and what it signs, its signatures checked: what proofs are made against.
    ///
    /// # Errors
    /// `audit.not_found` before the first leaf is sealed.
    pub async fn signed(&self, tenant: &TenantId) -> Result<(String, Checkpoint), AuditError> {
        let path = checkpoint_path(tenant);
        let note = self.checkpoint_note(tenant).await?.ok_or_else(|| AuditError::NotFound(format!("the log of `{tenant}`")))?;
        let checkpoint = self.trusted.now().open(tenant, &path, &note)?.checkpoint;
        let note = String::from_utf8(note).map_err(|e| AuditError::BadEntry { path, reason: e.to_string() })?;
        Ok((note, checkpoint))
    }

    /// The entries from `index` on that stand in the same bundle, below `size`: at least one and at most 256.
    ///
    /// # Errors
    /// `audit.not_found` where the log has no such entry.
    pub async fn entries(&self, tenant: &TenantId, index: u64, size: u64) -> Result<Vec<Vec<u8>>, AuditError> {
        let absent = || AuditError::NotFound(format!("entry {index} of `{tenant}`"));
        let bundle = tile::bundle_with(index, size).ok_or_else(absent)?;
        let (found, bytes) = self.fetch(tenant, bundle).await?;
        let damaged = |reason: String| AuditError::BadEntry { path: format!("{tenant}/{found}"), reason };
        let entries = tile::decode_bundle(&bytes, found.width()).map_err(|e| damaged(e.to_string()))?;
        let place = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let most = place(size - index);
        Ok(entries.iter().skip(place(index % TILE_WIDTH)).take(most).map(|entry| entry.to_vec()).collect())
    }

    async fn entry_of(&self, tenant: &TenantId, index: u64, size: u64) -> Result<Vec<u8>, AuditError> {
        let absent = || AuditError::NotFound(format!("entry {index} of `{tenant}`"));
        self.entries(tenant, index, size).await?.into_iter().next().ok_or_else(absent)
    }

    /// An entry with its inclusion proof under the current checkpoint, checked before it is handed out.
    ///
    /// # Errors
    /// `audit.not_found`; `audit.bad_tile` where the files on disk do not prove it.
    pub async fn prove_entry(&self, tenant: &TenantId, index: u64) -> Result<ProvenEntry, AuditError> {
        let (checkpoint, signed) = self.signed(tenant).await?;
        let entry = self.entry_of(tenant, index, signed.size).await?;
        let proof = self.inclusion(tenant, index, signed.size).await?;
        if !merkle::verify_inclusion(&merkle::leaf_hash(&entry), index, signed.size, &proof, &signed.root) {
            let reason = format!("the tiles do not prove entry {index} under the checkpoint of {} entries", signed.size);
            return Err(AuditError::BadTile { path: tenant.to_string(), reason });
        }
        let entry = String::from_utf8(entry).map_err(|e| AuditError::BadEntry { path: checkpoint_path(tenant), reason: e.to_string() })?;
        Ok(ProvenEntry { index, entry, proof, size: signed.size, root: signed.root, checkpoint })
    }

    /// The hashes that prove that the entries `first..end` are these and no others in the tree of the first `size` entries
    /// ([`merkle::range_root`]).
    ///
    /// # Errors
    /// `audit.not_found` for a range that is empty or beyond the log.
    pub async fn range(&self, tenant: &TenantId, first: u64, end: u64, size: u64) -> Result<Vec<Digest>, AuditError> {
        let spans = merkle::range_spans(first, end, size);
        let spans = spans.ok_or_else(|| AuditError::NotFound(format!("entries {first} to {end} of {size}")))?;
        self.hashes(tenant, size, &spans).await
    }

    /// The inclusion proof of entry `index` in the tree of the first `size` entries.
    ///
    /// # Errors
    /// `audit.not_found` when the log is smaller.
    pub async fn inclusion(&self, tenant: &TenantId, index: u64, size: u64) -> Result<Vec<Digest>, AuditError> {
        let spans = merkle::inclusion_spans(index, size).ok_or_else(|| AuditError::NotFound(format!("entry {index} of {size}")))?;
        self.hashes(tenant, size, &spans).await
    }

    /// The proof that the tree of the first `new` entries extends that of the first `old`.
    ///
    /// # Errors
    /// `audit.not_found` when the log is smaller, or `old` is greater than `new`.
    pub async fn consistency(&self, tenant: &TenantId, old: u64, new: u64) -> Result<Vec<Digest>, AuditError> {
        let spans = merkle::consistency_spans(old, new).ok_or_else(|| AuditError::NotFound(format!("size {old} of {new}")))?;
        self.hashes(tenant, new, &spans).await
    }

    async fn hashes(&self, tenant: &TenantId, size: u64, spans: &[Span]) -> Result<Vec<Digest>, AuditError> {
        let current = self.current(tenant).await?.checkpoint.size;
        if size > current {
            return Err(AuditError::NotFound(format!("size {size} of `{tenant}`")));
        }
        let mut tiles = BTreeMap::new();
        let mut hashes = Vec::new();
        for span in spans {
            let mut nodes = Vec::new();
            for node in span.nodes() {
                nodes.push(self.node(tenant, current, node, &mut tiles).await?);
            }
            hashes.extend(Span::fold(&nodes));
        }
        Ok(hashes)
    }

    async fn node(
        &self,
        tenant: &TenantId,
        size: u64,
        node: Node,
        tiles: &mut BTreeMap<TilePath, Vec<Digest>>,
    ) -> Result<Digest, AuditError> {
        let absent = || AuditError::NotFound(format!("a node of size {size} of `{tenant}`"));
        let (level, within) = (u8::try_from(node.level / 8).unwrap_or(u8::MAX), node.level % 8);
        let first = node.index.checked_shl(within).ok_or_else(absent)?;
        let path = tile::tile_with(level, first, size).ok_or_else(absent)?;
        if let std::collections::btree_map::Entry::Vacant(place) = tiles.entry(path) {
            let (found, bytes) = self.fetch(tenant, path).await?;
            let damaged = |e: tile::TileError| AuditError::BadTile { path: format!("{tenant}/{found}"), reason: e.to_string() };
            place.insert(tile::decode_hashes(&bytes, found.width()).map_err(damaged)?);
        }
        let from = usize::try_from(first % TILE_WIDTH).unwrap_or(usize::MAX);
        let row = tiles.get(&path).and_then(|hashes| hashes.get(from..from.checked_add(1 << within)?));
        row.and_then(merkle::row_root).ok_or_else(absent)
    }

    /// A tile or bundle; the full one where the partial one was outgrown.
    async fn fetch(&self, tenant: &TenantId, path: TilePath) -> Result<(TilePath, Vec<u8>), AuditError> {
        for found in [path, path.full()] {
            if let Some(bytes) = self.source.get(&format!("{tenant}/{found}")).await? {
                return Ok((found, bytes));
            }
        }
        Err(AuditError::MissingFile { path: format!("{tenant}/{path}") })
    }
}
