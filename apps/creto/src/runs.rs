//! Governed runs: from what somebody asks for to a chain, a budget and a sandbox, and the identity a run has inside it.

pub(crate) mod http;
mod prepare;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use creto_enablement_common::Refusal;
use creto_kernel::id::{LinkId, RunId};
use creto_kernel::{Coded, ErrorCode, Kind, NhiId};
use creto_nhi::{NhiError, VerifiedChain};
use creto_runtime::link::Stdin;
use creto_runtime::{Input, RunError, RuntimeError};
use tokio::sync::watch;

use crate::wiring::House;

/// How long the end of all runs may take.
const END_TIME: Duration = Duration::from_secs(10);

/// Runs of one server.
#[derive(Debug, Clone)]
pub(crate) struct Runs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    house: Arc<House>,
    live: Mutex<HashMap<RunId, Live>>,
    changed: watch::Sender<usize>,
}

/// A run under way.
#[derive(Debug)]
struct Live {
    token: String,
    chain: VerifiedChain,
    stdin: Option<Stdin>,
    input: Input,
    end: watch::Sender<bool>,
}

/// How a run is refused or fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunsError {
    /// There is no such run under way.
    #[error("there is no run `{0}` under way")]
    Unknown(String),
    /// What was asked for does not fit.
    #[error("{0}")]
    Invalid(String),
    /// This server cannot start sandboxes.
    #[error("sandboxes cannot be started here: {0}")]
    NoRuntime(String),
    /// What was sent is not the input that was admitted.
    #[error("the standard input that was sent is not the one the run was admitted with; nothing of it was passed on, and the run is ended")]
    OtherInput,
    /// It was ended before it began.
    #[error("the run was ended before it began")]
    Ended,
    /// Not even a second can be paid.
    #[error("the budget has {0} left, which does not pay for one second")]
    NoBudget(creto_kernel::Micros),
    #[error(transparent)]
    Nhi(#[from] NhiError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl From<RunError> for RunsError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Refused(refusal) => Self::Refused(refusal),
            RunError::Runtime(error) => Self::Runtime(error),
        }
    }
}

impl Coded for RunsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown(_) => ErrorCode::new("app.unknown_run"),
            Self::Invalid(_) => ErrorCode::new("app.bad_run"),
            Self::NoRuntime(_) => ErrorCode::new("app.no_runtime"),
            Self::OtherInput => ErrorCode::new("app.other_input"),
            Self::Ended => ErrorCode::new("app.run_ended"),
            Self::NoBudget(_) => ErrorCode::new("app.no_budget"),
            Self::Nhi(error) => error.code(),
            Self::Refused(refusal) => refusal.code(),
            Self::Runtime(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Unknown(_) => Kind::NotFound,
            Self::Invalid(_) => Kind::Invalid,
            Self::Ended | Self::OtherInput => Kind::Conflict,
            Self::NoRuntime(_) => Kind::Unavailable,
            Self::NoBudget(_) => Kind::Limited,
            Self::Nhi(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
            Self::Runtime(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRuntime(_) => Some("`creto doctor` says what to install".to_owned()),
            Self::NoBudget(_) => Some("run with a larger `--budget`".to_owned()),
            Self::Nhi(error) => error.hint(),
            Self::Refused(refusal) => refusal.hint(),
            Self::Runtime(error) => error.hint(),
            Self::Unknown(_) | Self::Invalid(_) | Self::Ended | Self::OtherInput => None,
        }
    }
}

impl Runs {
    /// No runs yet.
    pub(crate) fn new(house: Arc<House>) -> Self {
        Self(Arc::new(Inner { house, live: Mutex::default(), changed: watch::Sender::new(0) }))
    }

    /// The run with this token, and its chain; none once it has ended.
    pub(crate) fn find(&self, token: &str) -> Option<(RunId, VerifiedChain)> {
        let live = self.live();
        live.iter().find(|(_, live)| !token.is_empty() && live.token == token).map(|(run, live)| (*run, live.chain.clone()))
    }

    /// Ends every run and waits until each is settled.
    pub(crate) async fn end_all(&self) {
        for run in self.live().values() {
            run.end.send_replace(true);
        }
        let mut changed = self.0.changed.subscribe();
        // Either every run is settled, or what is left is in doubt, which the next start says.
        let _ = tokio::time::timeout(END_TIME, changed.wait_for(|live| *live == 0)).await;
    }

    /// Ends every run that acts for `identity` or on its authority: what a suspension does at once.
    pub(crate) fn end_of(&self, identity: &NhiId) {
        for live in self.live().values().filter(|live| live.chain.hops().iter().any(|hop| hop.identity == *identity)) {
            live.end.send_replace(true);
        }
    }

    /// Ends every run whose chain no longer stands: what another server of the same database revoked.
    pub(crate) async fn end_fallen(&self) {
        let live: Vec<_> = self.live().values().map(|live| (live.chain.clone(), live.end.clone())).collect();
        for (chain, end) in live {
            if self.0.house.gate.standing(&chain).await.is_err() {
                end.send_replace(true);
            }
        }
    }

    /// Ends every run whose chain has this link.
    pub(crate) fn end_under(&self, link: LinkId) {
        for live in self.live().values().filter(|live| live.chain.hops().iter().any(|hop| hop.link == Some(link))) {
            live.end.send_replace(true);
        }
    }

    fn enter(&self, run: RunId, live: Live) -> Entered {
        let mut all = self.live();
        all.insert(run, live);
        self.0.changed.send_replace(all.len());
        Entered { runs: self.clone(), run }
    }

    fn leave(&self, run: RunId) {
        let mut all = self.live();
        all.remove(&run);
        self.0.changed.send_replace(all.len());
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run's place among the live ones; dropping it, for whatever reason, takes its identity away.
#[derive(Debug)]
struct Entered {
    runs: Runs,
    run: RunId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.runs.leave(self.run);
    }
}
