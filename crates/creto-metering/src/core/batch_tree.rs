//! The tree over one batch of events: RFC 6962 hashes over the events' digests. The root is in the batch's audit leaf, so that each event
//! is proven by a path of a few hashes and the log's own proof of the leaf.

use creto_audit::core::merkle::{Span, empty_root, inclusion_spans, leaf_hash, row_root, verify_inclusion};
use creto_kernel::Digest;

/// The root over these events, in their order.
#[must_use]
pub fn root(events: &[Digest]) -> Digest {
    row_root(&hashes(events)).unwrap_or_else(empty_root)
}

/// The inclusion proof of event `index`, leaf side first (RFC 6962 section 2.1.1); `None` where there is no such event.
#[must_use]
pub fn proof(events: &[Digest], index: u64) -> Option<Vec<Digest>> {
    let hashes = hashes(events);
    let perfect = |level: u32, index: u64| {
        let from = usize::try_from(index.checked_shl(level)?).ok()?;
        row_root(hashes.get(from..from.checked_add(1_usize.checked_shl(level)?)?)?)
    };
    let of = |span: Span| {
        let nodes = span.nodes().into_iter().map(|node| perfect(node.level, node.index)).collect::<Option<Vec<_>>>()?;
        Span::fold(&nodes)
    };
    inclusion_spans(index, u64::try_from(hashes.len()).ok()?)?.into_iter().map(of).collect()
}

/// Whether `proof` shows that an event of this digest is number `index` of a batch of `size` events under `root`.
#[must_use]
pub fn verify(event: &Digest, index: u64, size: u64, proof: &[Digest], root: &Digest) -> bool {
    verify_inclusion(&leaf_hash(event.as_bytes()), index, size, proof, root)
}

fn hashes(events: &[Digest]) -> Vec<Digest> {
    events.iter().map(|digest| leaf_hash(digest.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_every_small_batch_is_proven_and_no_other() {
        let events: Vec<Digest> = (0..33_u8).map(|n| Digest::of(&[n])).collect();
        for size in 1..=events.len() {
            let batch = &events[..size];
            let root = root(batch);
            for (index, event) in (0_u64..).zip(batch) {
                let path = proof(batch, index).unwrap();
                let n = size as u64;
                assert!(verify(event, index, n, &path, &root), "{index} of {size}");
                assert!(!verify(&Digest::of(b"another"), index, n, &path, &root), "{index} of {size}");
                assert!(n == 1 || !verify(event, (index + 1) % n, n, &path, &root), "{index} of {size}");
            }
        }
        assert_eq!((proof(&events, 33), root(&[])), (None, empty_root()));
    }
}
