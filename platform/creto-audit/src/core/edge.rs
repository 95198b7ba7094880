//! The growing end of a log: what an append remembers, and which files it makes.

use creto_kernel::Digest;

use crate::core::frontier::{Frontier, TileRow};
use crate::core::merkle;
use crate::core::tile::{self, Row, TILE_WIDTH, TileError, TilePath};

/// The frontier of the tree and the entries of the partial bundle.
///
/// INVARIANT: `entries` holds `size mod 256` entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    frontier: Frontier,
    entries: Vec<Vec<u8>>,
}

/// A file of the log and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileFile {
    /// Where it lies.
    pub path: TilePath,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl Edge {
    /// Number of entries in the log.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root hash of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.frontier.root()
    }

    /// The edge of a log of `size` entries from the partial tiles and bundle at its right; `read` is asked for each of them once.
    /// Hashes are authenticated by comparing [`Edge::root`] with a signed checkpoint, entries by [`Edge::entries_match_hashes`].
    pub fn load<E: From<TileError>>(size: u64, mut read: impl FnMut(TilePath) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        let frontier = Frontier::load(size, |path| Ok::<_, E>(tile::decode_hashes(&read(path)?, path.width())?))?;
        let mut edge = Self { frontier, entries: Vec::new() };
        if let Some(path) = tile::edge_tile(Row::Entries, size) {
            let bytes = read(path)?;
            edge.entries = tile::decode_bundle(&bytes, path.width())?.into_iter().map(<[u8]>::to_vec).collect();
        }
        Ok(edge)
    }

    /// Whether the entries of the partial bundle are those that the level-0 tile hashes.
    #[must_use]
    pub fn entries_match_hashes(&self) -> bool {
        let bottom = self.frontier.partial().find(|row| row.path.row() == Row::Hashes { level: 0 });
        self.entries.iter().map(|entry| merkle::leaf_hash(entry)).eq(bottom.into_iter().flat_map(|row| row.hashes))
    }

    /// Appends entries. Answers the files that the longer log needs and the shorter one did not have: bundles, then tiles, bottom
    /// up, so that whoever sees a tile finds what it hashes. On an error nothing is appended.
    pub fn append(&mut self, entries: &[Vec<u8>]) -> Result<Vec<TileFile>, TileError> {
        let mut next = self.clone();
        let (mut files, mut filled) = (Vec::new(), Vec::new());
        for entry in entries {
            next.entries.push(entry.clone());
            next.frontier.push(merkle::leaf_hash(entry), &mut filled);
            if next.entries.len() as u64 == TILE_WIDTH {
                files.extend(next.bundle(next.size() / TILE_WIDTH - 1)?);
                next.entries.clear();
            }
        }
        if !entries.is_empty() {
            files.extend(next.bundle(next.size() / TILE_WIDTH)?);
        }
        let before: Vec<TilePath> = self.frontier.partial().map(|row| row.path).collect();
        let grown = next.frontier.partial().filter(|row| !before.contains(&row.path));
        let file = |row: TileRow| TileFile { path: row.path, bytes: tile::encode_hashes(&row.hashes) };
        files.extend(filled.into_iter().chain(grown).map(file));
        *self = next;
        Ok(files)
    }

    fn bundle(&self, index: u64) -> Result<Option<TileFile>, TileError> {
        let Some(path) = TilePath::new(Row::Entries, index, self.entries.len() as u64) else { return Ok(None) };
        Ok(Some(TileFile { path, bytes: tile::encode_bundle(self.entries.iter().map(Vec::as_slice))? }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn naive_root(hashes: &[Digest]) -> Digest {
        merkle::row_root(hashes).unwrap_or_else(merkle::empty_root)
    }

    fn entry(i: usize) -> Vec<u8> {
        format!("entry {i}").into_bytes()
    }

    fn grown(sizes: &[usize]) -> (Edge, BTreeMap<TilePath, Vec<u8>>, usize) {
        let (mut edge, mut files, mut at) = (Edge::default(), BTreeMap::new(), 0);
        for add in sizes {
            let batch: Vec<_> = (at..at + add).map(entry).collect();
            at += add;
            for file in edge.append(&batch).unwrap() {
                assert_eq!(files.insert(file.path, file.bytes), None, "{} is written once", file.path);
            }
            for path in tile::required(edge.size()) {
                assert!(files.contains_key(&path), "{path} at {at}");
            }
        }
        (edge, files, at)
    }

    #[test]
    fn a_tree_past_one_full_tile_of_tiles_has_the_right_root_and_files() {
        let (edge, files, size) = grown(&[65_535, 1, 300]);
        let hashes: Vec<_> = (0..size).map(|i| merkle::leaf_hash(&entry(i))).collect();
        assert_eq!(edge.root(), naive_root(&hashes));
        assert_eq!(files.keys().filter(|p| p.row() == Row::Hashes { level: 1 } && !p.is_partial()).count(), 1);
        assert_eq!(files.keys().filter(|p| p.row() == Row::Hashes { level: 2 }).count(), 1);
    }

    #[test]
    fn an_entry_too_large_for_a_bundle_appends_nothing() {
        let (mut edge, _, _) = grown(&[3]);
        let before = edge.clone();
        assert_eq!(edge.append(&[entry(3), vec![0; 65_536]]), Err(TileError::EntryTooLarge(65_536)));
        assert_eq!(edge, before);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn however_it_grew_the_edge_is_the_trees_and_loads_back(sizes in proptest::collection::vec(0usize..300, 1..6)) {
            let (edge, files, size) = grown(&sizes);
            let hashes: Vec<_> = (0..size).map(|i| merkle::leaf_hash(&entry(i))).collect();
            prop_assert_eq!(edge.root(), naive_root(&hashes));
            prop_assert_eq!(edge.size(), size as u64);
            prop_assert!(edge.entries_match_hashes());
            let loaded = Edge::load::<TileError>(edge.size(), |path| Ok(files[&path].clone())).unwrap();
            prop_assert_eq!(loaded, edge);
        }
    }
}
