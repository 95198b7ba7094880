//! When a login may be tried again.

use std::time::Duration;

use creto_kernel::Timestamp;

/// Failures in a row that cost nothing: typing errors.
pub const FREE_FAILURES: u32 = 4;
/// The longest wait.
pub const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// The failures of one account in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// How many.
    pub failures: u32,
    /// Before this moment no attempt counts.
    pub blocked_until: Timestamp,
}

impl Throttle {
    /// How long until an attempt is accepted; zero when it is now.
    #[must_use]
    pub fn wait(self, now: Timestamp) -> Duration {
        self.blocked_until.since(now)
    }

    /// The state after one more failure at `now`: one second, doubling with each failure past the free ones, up to [`WAIT_MAX`].
    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let wait = match failures.saturating_sub(FREE_FAILURES) {
            0 => Duration::ZERO,
            past => Duration::from_secs(1 << (past - 1).min(20)).min(WAIT_MAX),
        };
        Self { failures, blocked_until: now.saturating_add(wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_after_the_free_failures_and_stay_bounded() {
        let now = Timestamp::EPOCH;
        let mut state = Throttle { failures: 0, blocked_until: now };
        let waits: Vec<u64> = (0..18)
            .map(|_| {
                state = state.failed(now);
                state.wait(now).as_secs()
            })
            .collect();
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]);
        let worst = Throttle { failures: u32::MAX, blocked_until: now }.failed(now);
        assert_eq!(worst.wait(now), WAIT_MAX);
        assert_eq!(worst.wait(now.saturating_add(WAIT_MAX)), Duration::ZERO);
    }
}
