//! The request's state machine.
//!
//! ```text
//! PENDING  → APPROVED → CONSUMED → EXECUTED | FAILED
//! PENDING  → DENIED | TIMED_OUT | CANCELLED
//! APPROVED → CANCELLED (policy asks for more since) | TIMED_OUT (nobody used it for a day)
//! ```

use std::time::Duration;

use creto_kernel::{Digest, Timestamp};

use crate::error::OversightError;
use crate::model::request::State;

/// How long an approval that nobody uses is good: long enough for a retry after a crash, too short to act on a forgotten yes.
pub const APPROVED_FOR: Duration = Duration::from_secs(24 * 3600);

/// What somebody wants to happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// An approver says yes to exactly this digest.
    Approve(Digest),
    /// An approver says no.
    Deny,
    /// Time is up.
    Expire,
    /// The agent no longer wants it, or policy no longer takes the approval.
    Cancel,
    /// An admission uses the approval for exactly this digest.
    Consume(Digest),
    /// The admitted action was done, or failed.
    Conclude {
        /// Whether it was done.
        ok: bool,
    },
}

/// What a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Where the request stands.
    pub state: State,
    /// The action's digest.
    pub digest: Digest,
    /// When it times out.
    pub deadline: Timestamp,
    /// When it was decided, if it was.
    pub decided_at: Option<Timestamp>,
}

/// The next state, or why there is none.
///
/// INVARIANT: the first terminal event wins, and time decides by `now`, not by when a sweeper runs: at or past the deadline nothing but
/// [`Command::Expire`] applies to a pending request, and [`APPROVED_FOR`] after the decision to an approved one.
pub fn decide(facts: &Facts, command: Command, now: Timestamp) -> Result<State, OversightError> {
    let late = now >= facts.deadline;
    let stale = facts.decided_at.is_some_and(|at| now >= at.saturating_add(APPROVED_FOR));
    match (facts.state, command) {
        (State::Pending, Command::Expire) if late => Ok(State::TimedOut),
        (State::Approved, Command::Expire) if stale => Ok(State::TimedOut),
        (State::Approved, Command::Consume(_)) if stale => Err(OversightError::DeadlinePassed),
        (State::Pending | State::Approved, Command::Cancel) => Ok(State::Cancelled),
        (State::Pending, Command::Approve(_) | Command::Deny) if late => Err(OversightError::DeadlinePassed),
        (State::Pending, Command::Approve(digest)) => same(facts, digest, State::Approved),
        (State::Pending, Command::Deny) => Ok(State::Denied),
        (State::Approved, Command::Consume(digest)) => same(facts, digest, State::Consumed),
        (State::Consumed, Command::Conclude { ok: true }) => Ok(State::Executed),
        (State::Consumed, Command::Conclude { ok: false }) => Ok(State::Failed),
        (state, _) => Err(OversightError::AlreadyDecided(state)),
    }
}

fn same(facts: &Facts, digest: Digest, next: State) -> Result<State, OversightError> {
    if facts.digest == digest {
        Ok(next)
    } else {
        Err(OversightError::DigestMismatch { actual: facts.digest.to_string(), sent: digest.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(state: State) -> Facts {
        Facts { state, digest: Digest::of(b"action"), deadline: Timestamp::from_secs(100).unwrap(), decided_at: None }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs).unwrap()
    }

    #[test]
    fn the_life_of_an_approved_request() {
        let digest = Digest::of(b"action");
        assert_eq!(decide(&facts(State::Pending), Command::Approve(digest), at(1)).unwrap(), State::Approved);
        assert_eq!(decide(&facts(State::Approved), Command::Consume(digest), at(1)).unwrap(), State::Consumed);
        assert_eq!(decide(&facts(State::Consumed), Command::Conclude { ok: true }, at(1)).unwrap(), State::Executed);
    }

    #[test]
    fn another_digest_is_neither_approved_nor_consumed() {
        let other = Digest::of(b"another");
        assert!(matches!(decide(&facts(State::Pending), Command::Approve(other), at(1)), Err(OversightError::DigestMismatch { .. })));
        assert!(matches!(decide(&facts(State::Approved), Command::Consume(other), at(1)), Err(OversightError::DigestMismatch { .. })));
    }

    #[test]
    fn at_the_deadline_a_decision_is_late_even_if_the_sweeper_has_not_come() {
        let digest = Digest::of(b"action");
        assert!(matches!(decide(&facts(State::Pending), Command::Approve(digest), at(100)), Err(OversightError::DeadlinePassed)));
        assert!(decide(&facts(State::Pending), Command::Expire, at(99)).is_err());
        assert_eq!(decide(&facts(State::Pending), Command::Expire, at(100)).unwrap(), State::TimedOut);
    }

    #[test]
    fn an_approval_nobody_used_for_a_day_is_used_no_more() {
        let facts = Facts { decided_at: Some(at(50)), ..facts(State::Approved) };
        let (digest, day) = (Digest::of(b"action"), 24 * 3600);
        assert_eq!(decide(&facts, Command::Consume(digest), at(49 + day)).unwrap(), State::Consumed, "its deadline was for the decision");
        assert!(decide(&facts, Command::Expire, at(49 + day)).is_err());
        assert!(matches!(decide(&facts, Command::Consume(digest), at(50 + day)), Err(OversightError::DeadlinePassed)));
        assert_eq!(decide(&facts, Command::Expire, at(50 + day)).unwrap(), State::TimedOut);
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let digest = prop_oneof![Just(Digest::of(b"action")), Just(Digest::of(b"another"))];
        prop_oneof![
            digest.clone().prop_map(Command::Approve),
            Just(Command::Deny),
            Just(Command::Expire),
            Just(Command::Cancel),
            digest.prop_map(Command::Consume),
            any::<bool>().prop_map(|ok| Command::Conclude { ok }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_at_most_one_consumption_and_only_after_one_approval(commands in prop::collection::vec((any_command(), 0_i64..200), 0..40)) {
            let mut state = State::Pending;
            let (mut approved, mut consumed) = (0, 0);
            for (command, time) in commands {
                if let Ok(next) = decide(&facts(state), command, at(time)) {
                    approved += usize::from(next == State::Approved);
                    consumed += usize::from(next == State::Consumed);
                    state = next;
                }
            }
            prop_assert!(consumed <= approved && approved <= 1);
        }
    }
}
