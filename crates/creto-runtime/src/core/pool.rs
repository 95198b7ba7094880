//! How many sandboxes wait warm.

use serde::{Deserialize, Serialize};

/// Most sandboxes a pool may hold, whatever is asked: each idle one costs about 13 MiB.
pub const WARM_MAX: usize = 256;

/// What a pool aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolTarget {
    /// Warm sandboxes to keep ready. 0 switches the pool off.
    pub warm: usize,
    /// How many may be started at the same time; starting is bound by processors.
    pub starting_max: usize,
}

impl PoolTarget {
    /// No pool: every sandbox starts cold.
    pub const NONE: Self = Self { warm: 0, starting_max: 0 };
}

/// How many further starts to begin now, with `ready` sandboxes waiting and `starting` on their way.
#[must_use]
pub fn starts_to_begin(target: PoolTarget, ready: usize, starting: usize) -> usize {
    let missing = target.warm.min(WARM_MAX).saturating_sub(ready.saturating_add(starting));
    missing.min(target.starting_max.saturating_sub(starting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_fills_to_its_target_within_the_starting_limit() {
        let target = PoolTarget { warm: 4, starting_max: 2 };
        for (ready, starting, expected) in [(0, 0, 2), (0, 2, 0), (1, 1, 1), (2, 1, 1), (3, 1, 0), (4, 0, 0), (9, 0, 0)] {
            assert_eq!(starts_to_begin(target, ready, starting), expected, "{ready} ready, {starting} starting");
        }
        assert_eq!(starts_to_begin(PoolTarget::NONE, 0, 0), 0);
        assert_eq!(starts_to_begin(PoolTarget { warm: 10_000, starting_max: 10_000 }, 0, 0), WARM_MAX);
    }
}
