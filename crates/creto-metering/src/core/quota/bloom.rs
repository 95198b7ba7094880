//! A blocked Bloom filter (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007): every key sets and asks bits
//! of one cache line only.
//!
//! INVARIANT: a key that was inserted is always found. One that was not may be.

/// Bits of one block: a cache line of eight words.
const WORDS: usize = 8;
/// How many bits of its block a key sets.
const PROBES: u32 = 6;
/// Bits for each key: about one false answer in a hundred and fifty.
const BITS_PER_KEY: usize = 12;

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Block([u64; WORDS]);

/// The filter, over hashes that spread well.
#[derive(Clone, Debug)]
pub struct Bloom {
    blocks: Vec<Block>,
}

impl Bloom {
    /// Room for so many keys.
    #[must_use]
    pub fn with_capacity(keys: usize) -> Self {
        let blocks = keys.saturating_mul(BITS_PER_KEY).div_ceil(WORDS * 64).max(1);
        Self { blocks: vec![Block([0; WORDS]); blocks] }
    }

    /// Adds a key.
    pub fn insert(&mut self, hash: u64) {
        let place = self.place(hash);
        if let Some(block) = self.blocks.get_mut(place) {
            for (word, bit) in bits(hash) {
                if let Some(word) = block.0.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// Whether a key may have been added; never no for one that was.
    #[must_use]
    pub fn may_contain(&self, hash: u64) -> bool {
        let found = |block: &Block| bits(hash).all(|(word, bit)| block.0.get(word).is_some_and(|word| word & bit != 0));
        self.blocks.get(self.place(hash)).is_some_and(found)
    }

    /// The block of a key: the high half of the hash, scaled (Lemire, Fast Random Integer Generation in an Interval, 2019).
    fn place(&self, hash: u64) -> usize {
        let scaled = (u128::from(hash >> 32) * self.blocks.len() as u128) >> 32;
        usize::try_from(scaled).unwrap_or_default()
    }
}

/// The bits of a key in its block, from the low half of the hash: which word, and which bit of it.
fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    // Odd multiples of one number walk through the block (Kirsch, Mitzenmacher: Less Hashing, Same Performance, 2006).
    let (mut at, step) = (hash as u32, (hash >> 17) as u32 | 1);
    (0..PROBES).map(move |_| {
        let bit = at >> 23;
        at = at.wrapping_mul(0x9E37_79B1).wrapping_add(step);
        ((bit >> 6) as usize, 1 << (bit & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{BuildHasher, RandomState};

    proptest! {
        #[test]
        fn what_was_inserted_is_always_found(
            keys in prop::collection::vec(any::<u64>(), 0..2_000), others in prop::collection::vec(any::<u64>(), 0..50), room in 0_usize..3_000
        ) {
            let mut bloom = Bloom::with_capacity(room);
            for key in &keys {
                bloom.insert(*key);
            }
            prop_assert!(keys.iter().all(|key| bloom.may_contain(*key)));
            prop_assert!(!keys.is_empty() || !others.iter().any(|key| bloom.may_contain(*key)), "an empty filter knows nobody");
        }
    }

    #[test]
    fn few_strangers_are_taken_for_friends() {
        let (hasher, mut bloom) = (RandomState::new(), Bloom::with_capacity(10_000));
        (0..10_000).for_each(|n| bloom.insert(hasher.hash_one(n)));
        let mistaken = (10_000..210_000).filter(|n| bloom.may_contain(hasher.hash_one(n))).count();
        assert!(mistaken < 4_000, "{mistaken} of 200000: more than one in fifty");
    }
}
