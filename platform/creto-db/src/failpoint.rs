//! Places where a test kills the process, to prove what survives: `CRETO_FAILPOINT=name[@action][:nth]` at process start. With an action
//! only visits count that commit a leaf of this action.
//!
//! The environment is read once; without the variable a point costs one load of an initialised cell.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that arms one point.
pub const ENV: &str = "CRETO_FAILPOINT";

/// Before the first statement of a sealed write.
pub const BEFORE_STEPS: &str = "db.before_steps";
/// After its last statement, still inside its savepoint or transaction.
pub const AFTER_STEPS: &str = "db.after_steps";
/// Before COMMIT.
pub const BEFORE_COMMIT: &str = "db.before_commit";
/// After COMMIT, before anybody is told.
pub const AFTER_COMMIT: &str = "db.after_commit";

/// Every point of a commit, in order.
pub const COMMIT_POINTS: [&str; 4] = [BEFORE_STEPS, AFTER_STEPS, BEFORE_COMMIT, AFTER_COMMIT];

struct Armed {
    name: String,
    action: Option<String>,
    left: AtomicU64,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED.get_or_init(|| parse(&std::env::var(ENV).ok()?)).as_ref()
}

fn parse(text: &str) -> Option<Armed> {
    let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
    let left = AtomicU64::new(nth.parse().ok().filter(|n| *n > 0)?);
    let (name, action) = name.split_once('@').map_or((name, None), |(name, action)| (name, Some(action.to_owned())));
    (!name.is_empty()).then(|| Armed { name: name.to_owned(), action, left })
}

/// Dies here by SIGKILL if this point is armed and this is its nth visit: no destructor runs, no buffer is flushed. `actions` are those of
/// the leaves that are committed here.
pub(crate) fn hit<'a>(name: &str, actions: impl IntoIterator<Item = &'a str>) {
    let Some(armed) = armed() else { return };
    let meant = armed.name == name && armed.action.as_deref().is_none_or(|action| actions.into_iter().any(|a| a == action));
    if meant && armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // SIGKILL cannot be caught; should it be refused, dying loudly is the second best.
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_its_visit() {
        let read = |text: &str| parse(text).map(|a| (a.name, a.action, a.left.into_inner()));
        let point = "db.after_commit".to_owned();
        assert_eq!(read("db.after_commit"), Some((point.clone(), None, 1)));
        assert_eq!(read("db.after_commit:7"), Some((point.clone(), None, 7)));
        assert_eq!(read("db.after_commit@runtime.exec:2"), Some((point, Some("runtime.exec".to_owned()), 2)));
        for bad in ["", ":1", "a:0", "a:x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
