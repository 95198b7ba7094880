//! Merkle tree hashing and proofs (RFC 6962 section 2.1; verification algorithms from RFC 9162 sections 2.1.3.2 and 2.1.4.2).

use creto_kernel::Digest;

/// The hash of a log entry: `SHA-256(0x00 ‖ entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::of_parts(&[&[0x00], entry])
}

/// The hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)`.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[0x01], left.as_bytes(), right.as_bytes()])
}

/// The root of the tree without leaves: `SHA-256("")`.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

/// The root over a row of subtree hashes, of which all but the last are perfect and equally high; `None` for an empty row.
///
/// Splitting at the largest power of two below the row's length is RFC 6962's split of the leaves underneath, because every hash but
/// the last stands for the same power of two of them.
#[must_use]
pub fn row_root(row: &[Digest]) -> Option<Digest> {
    match row {
        [] => None,
        [only] => Some(*only),
        _ => {
            let (left, right) = row.split_at_checked(usize::try_from(split(row.len() as u64)).ok()?)?;
            Some(node_hash(&row_root(left)?, &row_root(right)?))
        }
    }
}

/// The largest power of two below `length`, which is at least 2.
const fn split(length: u64) -> u64 {
    1 << (63 - (length - 1).leading_zeros())
}

/// A perfect subtree: the leaves `index·2^level .. (index+1)·2^level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Height above the leaves.
    pub level: u32,
    /// Position within its level.
    pub index: u64,
}

/// A run of leaves whose subtree hash is one step of a proof: from `start`, inclusive, to `end`, exclusive.
///
/// INVARIANT: `start < end`, and `start` is a multiple of a power of two that is at least the length: only trees that RFC 6962's
/// split makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// The perfect subtrees it consists of, left to right, each smaller than the one before.
    #[must_use]
    pub fn nodes(self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut at = self.start;
        while at < self.end {
            let level = (63 - (self.end - at).leading_zeros()).min(at.trailing_zeros());
            nodes.push(Node { level, index: at >> level });
            at += 1 << level;
        }
        nodes
    }

    /// The span's hash from its nodes' hashes in the order of [`Span::nodes`]; `None` when there are none.
    #[must_use]
    pub fn fold(hashes: &[Digest]) -> Option<Digest> {
        hashes.iter().rev().copied().reduce(|right, left| node_hash(&left, &right))
    }
}

/// The spans whose hashes are the inclusion proof of leaf `index` in a tree of `size` leaves, leaf side first (RFC 6962 section
/// 2.1.1); `None` when the tree has no such leaf.
#[must_use]
pub fn inclusion_spans(index: u64, size: u64) -> Option<Vec<Span>> {
    if index >= size {
        return None;
    }
    let (mut start, mut end) = (0, size);
    let mut spans = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            spans.push(Span { start: middle, end });
            end = middle;
        } else {
            spans.push(Span { start, end: middle });
            start = middle;
        }
    }
    spans.reverse();
    Some(spans)
}

/// The spans whose hashes prove that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962 section 2.1.2);
/// `None` when `old` is greater than `new`. Empty when `old` is 0 or equals `new`: then there is nothing to prove.
#[must_use]
pub fn consistency_spans(old: u64, new: u64) -> Option<Vec<Span>> {
    if old > new {
        return None;
    }
    if old == 0 || old == new {
        return Some(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut spans = Vec::new();
    // The verifier knows the old root, so the old tree's own root is left out while the walk stays on its left edge.
    let mut known_to_verifier = true;
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            spans.push(Span { start: middle, end });
            end = middle;
        } else {
            spans.push(Span { start, end: middle });
            start = middle;
            known_to_verifier = false;
        }
    }
    if !known_to_verifier {
        spans.push(Span { start, end });
    }
    spans.reverse();
    Some(spans)
}

/// The spans whose hashes, left to right, complete the leaves `first..end` to the tree of `size` leaves; `None` for a range that is
/// empty or not in the tree. What [`range_root`] takes.
#[must_use]
pub fn range_spans(first: u64, end: u64, size: u64) -> Option<Vec<Span>> {
    if first >= end || end > size {
        return None;
    }
    let (mut spans, mut left) = (Vec::new(), vec![Span { start: 0, end: size }]);
    while let Some(span) = left.pop() {
        if span.end <= first || span.start >= end {
            spans.push(span);
        } else if span.start < first || span.end > end {
            let middle = span.start + split(span.end - span.start);
            left.extend([Span { start: middle, ..span }, Span { end: middle, ..span }]);
        }
    }
    Some(spans)
}

/// The root of the tree of `size` leaves in which the run `leaves` begins at `first`, completed by the hashes of [`range_spans`]; `None`
/// where these are not as many as the tree needs. Whoever finds the signed root has every leaf of the run, in order, and no other.
#[must_use]
pub fn range_root(first: u64, leaves: &[Digest], size: u64, outside: &[Digest]) -> Option<Digest> {
    let end = first.checked_add(u64::try_from(leaves.len()).ok()?)?;
    if leaves.is_empty() || end > size {
        return None;
    }
    let (mut leaves, mut outside) = (leaves.iter(), outside.iter());
    let root = fold(Span { start: 0, end: size }, Span { start: first, end }, &mut leaves, &mut outside)?;
    (leaves.next().is_none() && outside.next().is_none()).then_some(root)
}

/// The hash of `tree` from what is left of both, each taken left to right. It goes no deeper than the tree is high.
fn fold(tree: Span, run: Span, leaves: &mut std::slice::Iter<'_, Digest>, outside: &mut std::slice::Iter<'_, Digest>) -> Option<Digest> {
    if tree.end <= run.start || tree.start >= run.end {
        return outside.next().copied();
    }
    if tree.end - tree.start == 1 {
        return leaves.next().copied();
    }
    let middle = tree.start + split(tree.end - tree.start);
    let left = fold(Span { end: middle, ..tree }, run, leaves, outside)?;
    Some(node_hash(&left, &fold(Span { start: middle, ..tree }, run, leaves, outside)?))
}

/// Whether `proof` shows that `leaf` is entry `index` of the tree with `size` leaves and this `root` (RFC 9162 section 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, proof: &[Digest], root: &Digest) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for step in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `new` leaves and `new_root` extends the tree of `old` leaves and `old_root` (RFC 9162
/// section 2.1.4.2). Every tree extends the empty one.
#[must_use]
pub fn verify_consistency(old: u64, old_root: &Digest, new: u64, new_root: &Digest, proof: &[Digest]) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        let Some((first, rest)) = proof.split_first() else { return false };
        (first, rest)
    };
    if rest.is_empty() {
        return false;
    }
    let trailing = (old - 1).trailing_ones();
    let (mut node, mut last) = ((old - 1) >> trailing, (new - 1) >> trailing);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for step in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962's definition, word by word.
    fn root(entries: &[Vec<u8>]) -> Digest {
        match entries {
            [] => empty_root(),
            [entry] => leaf_hash(entry),
            _ => {
                let mut k = 1;
                while k * 2 < entries.len() {
                    k *= 2;
                }
                node_hash(&root(&entries[..k]), &root(&entries[k..]))
            }
        }
    }

    /// The eight inputs of the Certificate Transparency reference tree (google/certificate-transparency, merkletree tests) and its
    /// roots for sizes 1 to 8.
    const INPUTS: [&str; 8] = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hashes(entries: &[Vec<u8>]) -> Vec<Digest> {
        entries.iter().map(|e| leaf_hash(e)).collect()
    }

    fn perfect(hashes: &[Digest], node: Node) -> Digest {
        let from = usize::try_from(node.index << node.level).unwrap();
        row_root(&hashes[from..from + (1 << node.level)]).unwrap()
    }

    fn proof(hashes: &[Digest], spans: &[Span]) -> Vec<Digest> {
        let of = |span: &Span| Span::fold(&span.nodes().into_iter().map(|n| perfect(hashes, n)).collect::<Vec<_>>()).unwrap();
        spans.iter().map(of).collect()
    }

    #[test]
    fn roots_equal_the_reference_trees() {
        let entries: Vec<_> = INPUTS.iter().map(|i| hex::decode(i).unwrap()).collect();
        assert_eq!(empty_root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (size, expected) in (1..).zip(ROOTS) {
            assert_eq!(row_root(&hashes(&entries[..size])).unwrap().to_string(), expected, "size {size}");
        }
    }

    #[test]
    fn every_proof_of_every_small_tree_verifies_and_no_other() {
        let entries: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; usize::from(i)]).collect();
        let hashes = hashes(&entries);
        for size in 1..=entries.len() {
            let (n, full) = (size as u64, root(&entries[..size]));
            assert_eq!(row_root(&hashes[..size]), Some(full));
            for (index, leaf) in (0..n).zip(&hashes) {
                let path = proof(&hashes[..size], &inclusion_spans(index, n).unwrap());
                assert!(verify_inclusion(leaf, index, n, &path, &full), "{index} in {size}");
                assert!(!verify_inclusion(&leaf_hash(b"other"), index, n, &path, &full));
                assert!(!verify_inclusion(leaf, n, n, &path, &full));
                let longer: Vec<_> = path.iter().copied().chain([full]).collect();
                assert!(!verify_inclusion(leaf, index, n, &longer, &full));
                if !path.is_empty() {
                    assert!(!verify_inclusion(leaf, index, n, &path[1..], &full));
                }
            }
            for old in 0..=size {
                let (m, before) = (old as u64, root(&entries[..old]));
                let path = proof(&hashes[..size], &consistency_spans(m, n).unwrap());
                assert!(verify_consistency(m, &before, n, &full, &path), "{old} to {size}");
                assert!(!verify_consistency(m, &leaf_hash(b"other"), n, &full, &path), "{old} to {size}");
                if old > 0 {
                    assert!(!verify_consistency(m, &before, n, &leaf_hash(b"other"), &path), "{old} to {size}");
                }
                for at in 0..path.len() {
                    let mut wrong = path.clone();
                    wrong[at] = leaf_hash(b"other");
                    assert!(!verify_consistency(m, &before, n, &full, &wrong), "{old} to {size}, step {at}");
                }
            }
        }
        assert_eq!((inclusion_spans(3, 3), consistency_spans(4, 3)), (None, None));
    }

    #[test]
    fn every_run_of_every_small_tree_is_proved_whole_and_no_other() {
        let hashes = hashes(&(0..20u8).map(|i| vec![i]).collect::<Vec<_>>());
        for size in 1..=hashes.len() {
            let (n, tree) = (size as u64, &hashes[..size]);
            let full = row_root(tree).unwrap();
            for (first, end) in (0..size).flat_map(|first| (first + 1..=size).map(move |end| (first, end))) {
                let (from, run) = (first as u64, &tree[first..end]);
                let outside = proof(tree, &range_spans(from, end as u64, n).unwrap());
                assert_eq!(range_root(from, run, n, &outside), Some(full), "{first}..{end} of {size}");
                // One left out, one doubled, another place, one hash more: nothing else leads to the root.
                assert_ne!(range_root(from, &run[1..], n, &outside), Some(full));
                assert_ne!(range_root(from, &[run, &run[..1]].concat(), n, &outside), Some(full));
                assert_ne!(range_root(from + 1, run, n, &outside), Some(full));
                assert_eq!(range_root(from, run, n, &[outside, vec![full]].concat()), None);
            }
        }
        assert_eq!((range_spans(3, 3, 5), range_spans(3, 6, 5), range_root(0, &[], 5, &[])), (None, None, None));
    }
}
