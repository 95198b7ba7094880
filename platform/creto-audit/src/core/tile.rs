//! Where the tree lies: paths, tiles and entry bundles of a tiled log (C2SP tlog-tiles).

use std::fmt;
use std::str::FromStr;

use creto_kernel::Digest;

/// Hashes in a full tile and entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// Bytes of one hash in a tile.
pub const HASH_BYTES: usize = 32;
/// Largest entry, in bytes: a bundle gives its length in 16 bits.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// Longest path we read, in bytes: seven three-digit elements hold any 64-bit index.
const PATH_BYTES_MAX: usize = 64;
/// Levels that a 64-bit tree size can reach: 256⁸ = 2⁶⁴.
pub const LEVELS_MAX: u8 = 8;

/// What a tile file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// Concatenated hashes of subtrees with 256^level leaves.
    Hashes {
        /// 0 holds leaf hashes.
        level: u8,
    },
    /// Length-prefixed entries.
    Entries,
}

/// A tile's or bundle's place: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
///
/// INVARIANT: `width` is 1 to 256; 256 is a full tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    row: Row,
    index: u64,
    width: u16,
}

/// The text is not the path of a tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the path of a tile: expected `tile/<level or entries>/<index>` with an optional `.p/<width>`")]
pub struct TilePathError(String);

/// The bytes are not an entry bundle or tile of the expected width.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// An entry ends past the bundle, or bytes follow the last entry.
    #[error("expected exactly {expected} entries, read {read} before byte {at}")]
    Entries {
        /// How many the bundle must hold.
        expected: usize,
        /// How many were whole.
        read: usize,
        /// Where reading stopped.
        at: usize,
    },
    /// Not `width` hashes.
    #[error("expected {expected} bytes of hashes, found {actual}")]
    Hashes {
        /// 32 times the width.
        expected: usize,
        /// The length found.
        actual: usize,
    },
    /// An entry that no bundle can hold.
    #[error("an entry of {0} bytes is larger than the 65535 a bundle can hold")]
    EntryTooLarge(usize),
}

impl TilePath {
    /// The path of a tile of `width` hashes or entries; `None` unless the width is 1 to 256.
    #[must_use]
    pub const fn new(row: Row, index: u64, width: u64) -> Option<Self> {
        match width {
            #[expect(clippy::cast_possible_truncation, reason = "the pattern holds the width to 256")]
            1..=TILE_WIDTH => Some(Self { row, index, width: width as u16 }),
            _ => None,
        }
    }

    /// What it holds.
    #[must_use]
    pub const fn row(&self) -> Row {
        self.row
    }

    /// Its position in its row.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width as usize
    }

    /// Whether it can still grow.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        (self.width as u64) < TILE_WIDTH
    }

    /// The full tile at this place.
    #[must_use]
    pub const fn full(&self) -> Self {
        Self { row: self.row, index: self.index, width: 256 }
    }

    /// The folder of this place's partial tiles; their names are their widths.
    #[must_use]
    pub fn partial_folder(&self) -> String {
        format!("{}.p", self.full())
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Row::Hashes { level } => write!(f, "tile/{level}/")?,
            Row::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (left, group) in (0..groups.len()).rev().zip(groups.iter().rev()) {
            if left > 0 { write!(f, "x{group:03}/")? } else { write!(f, "{group:03}")? }
        }
        if self.is_partial() { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;
    fn from_str(text: &str) -> Result<Self, TilePathError> {
        // Only the one canonical spelling is a path: what does not print back as it was read is refused.
        parse_loosely(text).filter(|path| path.to_string() == text).ok_or_else(|| TilePathError(text.chars().take(80).collect()))
    }
}

fn parse_loosely(text: &str) -> Option<TilePath> {
    let rest = text.strip_prefix("tile/").filter(|_| text.len() <= PATH_BYTES_MAX)?;
    let (row, rest) = rest.split_once('/')?;
    let row = match row {
        "entries" => Row::Entries,
        level => Row::Hashes { level: level.parse().ok().filter(|level| *level <= 63)? },
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|width| *width < TILE_WIDTH)?),
        None => (rest, TILE_WIDTH),
    };
    let mut number: u64 = 0;
    for group in index.split('/') {
        number = number.checked_mul(1000)?.checked_add(group.trim_start_matches('x').parse().ok()?)?;
    }
    TilePath::new(row, number, width)
}

/// The tiles of one row that a tree of `size` leaves has, left to right.
fn row_tiles(row: Row, size: u64) -> impl Iterator<Item = TilePath> {
    let full = 0..row_length(row, size) / TILE_WIDTH;
    full.filter_map(move |index| TilePath::new(row, index, TILE_WIDTH)).chain(edge_tile(row, size))
}

/// How many hashes or entries a row of a tree of `size` leaves has: `floor(size / 256^level)`.
const fn row_length(row: Row, size: u64) -> u64 {
    let level = match row {
        Row::Hashes { level } => level as u32,
        Row::Entries => 0,
    };
    match size.checked_shr(8 * level) {
        Some(length) => length,
        None => 0,
    }
}

/// Every tile and bundle that a tree of `size` leaves must have.
pub fn required(size: u64) -> impl Iterator<Item = TilePath> {
    rows().flat_map(move |row| row_tiles(row, size))
}

/// The tile that holds hash `position` of `level` in a tree of `size` leaves, as wide as that tree makes it; `None` past its edge.
#[must_use]
pub fn tile_with(level: u8, position: u64, size: u64) -> Option<TilePath> {
    let hashes = row_length(Row::Hashes { level }, size);
    let index = position / TILE_WIDTH;
    let width = hashes.checked_sub(index * TILE_WIDTH)?.min(TILE_WIDTH);
    (position < hashes).then(|| TilePath::new(Row::Hashes { level }, index, width))?
}

/// The place at the right edge of `row` in a tree of `size` leaves: where its next hash or entry goes.
#[must_use]
pub const fn edge_index(row: Row, size: u64) -> u64 {
    row_length(row, size) / TILE_WIDTH
}

/// The partial tile at the right edge of `row` in a tree of `size` leaves; `None` where the row ends in a full tile.
#[must_use]
pub fn edge_tile(row: Row, size: u64) -> Option<TilePath> {
    let hashes = row_length(row, size);
    TilePath::new(row, hashes / TILE_WIDTH, hashes % TILE_WIDTH)
}

/// Every row that a tree can have.
pub fn rows() -> impl Iterator<Item = Row> {
    std::iter::once(Row::Entries).chain((0..LEVELS_MAX).map(|level| Row::Hashes { level }))
}

/// The bundle that holds entry `index` in a tree of `size` leaves; `None` past its edge.
#[must_use]
pub fn bundle_with(index: u64, size: u64) -> Option<TilePath> {
    let tile = tile_with(0, index, size)?;
    Some(TilePath { row: Row::Entries, ..tile })
}

/// The bytes of a bundle: each entry behind its length in 16 bits, most significant byte first.
pub fn encode_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, TileError> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLarge(entry.len()))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// Reads exactly `width` entries and nothing after them.
pub fn decode_bundle(bytes: &[u8], width: usize) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::with_capacity(width.min(256));
    let mut rest = bytes;
    let stop = |read: usize, rest: &[u8]| TileError::Entries { expected: width, read, at: bytes.len() - rest.len() };
    while entries.len() < width {
        let (length, after) = rest.split_first_chunk::<2>().ok_or_else(|| stop(entries.len(), rest))?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(length).ok_or_else(|| stop(entries.len(), rest))?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(stop(entries.len(), rest)) }
}

/// The first `width` entries or hashes of a wider file: what the narrower file at its place holds. `None` where it is too short.
#[must_use]
pub fn prefix(row: Row, bytes: &[u8], width: usize) -> Option<&[u8]> {
    match row {
        Row::Hashes { .. } => bytes.get(..width.checked_mul(HASH_BYTES)?),
        Row::Entries => {
            let mut end = 0;
            for _ in 0..width {
                let (length, _) = bytes.get(end..)?.split_first_chunk::<2>()?;
                end += 2 + usize::from(u16::from_be_bytes(*length));
            }
            bytes.get(..end)
        }
    }
}

/// The bytes of a tile.
#[must_use]
pub fn encode_hashes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Reads exactly `width` hashes.
pub fn decode_hashes(bytes: &[u8], width: usize) -> Result<Vec<Digest>, TileError> {
    let (chunks, rest) = bytes.as_chunks::<HASH_BYTES>();
    if chunks.len() != width || !rest.is_empty() {
        return Err(TileError::Hashes { expected: width * HASH_BYTES, actual: bytes.len() });
    }
    Ok(chunks.iter().map(|chunk| Digest::from_bytes(*chunk)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_spelled_as_the_specification_spells_them() {
        for (row, index, width, text) in [
            (Row::Hashes { level: 0 }, 0, 256, "tile/0/000"),
            (Row::Hashes { level: 0 }, 273, 112, "tile/0/273.p/112"),
            (Row::Hashes { level: 5 }, 1_234_067, 256, "tile/5/x001/x234/067"),
            (Row::Entries, 1000, 1, "tile/entries/x001/000.p/1"),
            (Row::Entries, u64::MAX, 255, "tile/entries/x018/x446/x744/x073/x709/x551/615.p/255"),
        ] {
            let path = TilePath::new(row, index, width).unwrap();
            assert_eq!((path.to_string().as_str(), text.parse()), (text, Ok(path)));
        }
        for bad in [
            "",
            "tile/0",
            "tile/0/0",
            "tile/00/000",
            "tile/64/000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/xx001/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p",
            "tile/0/000/",
            "tile/0/+00",
            "tile/Entries/000",
            "tile/entries/../000",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(bad.parse::<TilePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_specifications_example_sizes_have_its_tiles() {
        // tlog-tiles, section "Partial Tiles": sizes 70,000 and 256.
        let count = |level, size| {
            let tiles: Vec<_> = row_tiles(Row::Hashes { level }, size).collect();
            let full = tiles.iter().filter(|t| !t.is_partial()).count();
            (full, tiles.iter().find(|t| t.is_partial()).map(TilePath::width))
        };
        assert_eq!([0, 1, 2, 3].map(|level| count(level, 70_000)), [(273, Some(112)), (1, Some(17)), (0, Some(1)), (0, None)]);
        assert_eq!([0, 1, 2].map(|level| count(level, 256)), [(1, None), (0, Some(1)), (0, None)]);
        assert_eq!(required(0).count(), 0);
        assert_eq!(tile_with(0, 300, 301).unwrap().to_string(), "tile/0/001.p/45");
        assert_eq!(tile_with(1, 0, 301).unwrap().to_string(), "tile/1/000.p/1");
        assert_eq!((tile_with(0, 301, 301), bundle_with(301, 301)), (None, None));
    }

    #[test]
    fn a_bundle_of_another_length_is_refused() {
        let bytes = encode_bundle([b"a".as_slice(), b"", b"ccc"]).unwrap();
        assert_eq!(bytes, b"\0\x01a\0\0\0\x03ccc");
        assert_eq!(decode_bundle(&bytes, 3).unwrap(), [b"a".as_slice(), b"", b"ccc"]);
        for (cut, width) in [(bytes.len(), 2), (bytes.len(), 4), (bytes.len() - 1, 3), (1, 1), (0, 1)] {
            assert!(decode_bundle(&bytes[..cut], width).is_err(), "{cut} {width}");
        }
        assert_eq!(
            [0, 1, 2, 4].map(|width| prefix(Row::Entries, &bytes, width)),
            [Some(&bytes[..0]), Some(&bytes[..3]), Some(&bytes[..5]), None]
        );
        assert_eq!(prefix(Row::Hashes { level: 0 }, &[0; 64], 1).map(<[u8]>::len), Some(32));
        assert_eq!(encode_bundle([vec![0; 65_536].as_slice()]), Err(TileError::EntryTooLarge(65_536)));
        assert!(decode_hashes(&[0; 64], 1).is_err() && decode_hashes(&[0; 63], 2).is_err());
    }
}
