//! The right edge of a tree in tile form: all that must be remembered to append a leaf and to know the root.

use creto_kernel::Digest;

use crate::core::merkle;
use crate::core::tile::{self, LEVELS_MAX, Row, TILE_WIDTH, TilePath};

/// A row of hashes that make up one tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileRow {
    /// Which tile.
    pub path: TilePath,
    /// Its hashes, as many as the path says.
    pub hashes: Vec<Digest>,
}

/// The hashes of the partial tile at each level.
///
/// INVARIANT: `levels[l]` holds `size / 256^l mod 256` hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    levels: [Vec<Digest>; LEVELS_MAX as usize],
}

impl Frontier {
    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root hash of the tree (RFC 6962 section 2.1).
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut right: Option<Digest> = None;
        for level in &self.levels {
            let row: Vec<Digest> = level.iter().copied().chain(right).collect();
            right = merkle::row_root(&row);
        }
        right.unwrap_or_else(merkle::empty_root)
    }

    /// Appends a leaf's hash; tiles that it filled are added to `filled`, bottom up.
    pub fn push(&mut self, leaf: Digest, filled: &mut Vec<TileRow>) {
        self.size += 1;
        let mut carry = Some(leaf);
        for (level, hashes) in (0..).zip(&mut self.levels) {
            let Some(hash) = carry.take() else { break };
            hashes.push(hash);
            if hashes.len() as u64 == TILE_WIDTH {
                carry = merkle::row_root(hashes);
                let hashes = std::mem::take(hashes);
                // At level 7 the shift would be by all 64 bits; that tile fills with leaf 2⁶⁴, which no log reaches.
                let index = self.size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0).saturating_sub(1);
                filled.extend(TilePath::new(Row::Hashes { level }, index, TILE_WIDTH).map(|path| TileRow { path, hashes }));
            }
        }
    }

    /// The partial tiles, bottom up; levels without one are left out.
    pub fn partial(&self) -> impl Iterator<Item = TileRow> {
        (0..).zip(&self.levels).filter_map(|(level, hashes)| {
            let path = tile::edge_tile(Row::Hashes { level }, self.size)?;
            Some(TileRow { path, hashes: hashes.clone() })
        })
    }

    /// The frontier of a tree of `size` leaves from its partial tiles; `read` is asked for each of them once and must answer as many
    /// hashes as the path says.
    pub fn load<E>(size: u64, mut read: impl FnMut(TilePath) -> Result<Vec<Digest>, E>) -> Result<Self, E> {
        let mut frontier = Self { size, ..Self::default() };
        for (level, hashes) in (0..).zip(&mut frontier.levels) {
            if let Some(path) = tile::edge_tile(Row::Hashes { level }, size) {
                *hashes = read(path)?;
            }
        }
        Ok(frontier)
    }
}
