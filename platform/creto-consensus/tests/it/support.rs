//! Leaves of the tests.

use creto_kernel::id::LeafId;
use creto_kernel::{Leaf, Timestamp};

/// A leaf of its own.
pub(crate) fn leaf() -> Leaf {
    Leaf::event(
        LeafId::generate(),
        Timestamp::EPOCH,
        "spiffe://creto.local/tenant/default/service/s".parse().unwrap(),
        "test.append".parse().unwrap(),
        "stream:one".parse().unwrap(),
        "done",
    )
}
