//! The sequencer: appends committed leaves, in the order they were committed, to their tenants' logs.
//!
//! A leaf's position is noted in the database first, then its tiles are written, then the checkpoint is signed. So the log is a function
//! of the database: whoever starts after a crash, at any point, writes the same files and signs the same trees.
//!
//! INVARIANT: two different trees of one size are never signed. Positions are given once (the database keeps the first), entries are
//! read by position, and a log only ever grows from its own verified checkpoint.

mod sweep;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use creto_crypto::KeyRing;
use creto_db::Db;
use creto_kernel::{Clock, TenantId, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::core::checkpoint::OriginPrefix;
use crate::error::AuditError;
use crate::keys::{LogKeys, Trust, TrustedKeys, rotate};
use crate::store::{DirStore, LogStore};
use sweep::Sweeper;

/// Past this many unsealed leaves nothing new is admitted.
pub const LAG_LEAVES_MAX: u64 = 10_000;
/// How often the database is asked without having been woken: other processes commit too, and failed logs are tried again.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Requests to flush that may wait.
const REQUESTS_MAX: usize = 64;

/// What a sequencer needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the leaves are.
    pub db: Db,
    /// Where the logs go.
    pub store: Arc<dyn LogStore>,
    /// Who signs.
    pub keys: LogKeys,
    /// Whose signatures continue a log: the current keys and those before them.
    pub trusted: TrustedKeys,
    /// What dates the signatures.
    pub clock: Arc<dyn Clock>,
}

/// The running sequencer. Dropping it stops the task after the batch at hand; [`Sequencer::stop`] seals what is committed first.
#[derive(Debug)]
pub struct Sequencer {
    commits: watch::Receiver<i64>,
    state: watch::Receiver<State>,
    requests: mpsc::Sender<Request>,
    task: JoinHandle<()>,
    signer: Signer,
}

/// Who signs and whose signatures are accepted.
///
/// INVARIANT: whoever signs is trusted. A rotation adds the new keys to the trusted ones before it lets them sign.
#[derive(Debug, Clone)]
struct Signer {
    keys: Arc<RwLock<LogKeys>>,
    trust: Trust,
}

impl Signer {
    fn now(&self) -> (LogKeys, TrustedKeys) {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        (keys, self.trust.now())
    }
}

/// What the sequencer has achieved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Every leaf committed with a sequence up to here is sealed, but for those of failing tenants.
    pub sealed_through: i64,
    /// Leaves of failing tenants that wait.
    pub held_up: u64,
    /// Logs that cannot grow, and why.
    pub failing: BTreeMap<TenantId, String>,
    /// Why the database could not be asked, when it could not.
    pub database: Option<String>,
    /// How often all pending leaves were looked through.
    pub sweeps: u64,
    /// Whether the task has ended.
    pub stopped: bool,
}

#[derive(Debug)]
enum Request {
    Sweep,
    Stop,
}

impl Sequencer {
    /// Starts on the folder `dir` with the key ring's audit keys, which are made on first use.
    ///
    /// # Errors
    /// Keys that cannot be used, or a folder that cannot be written.
    pub fn start(db: Db, ring: &KeyRing, dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        let keys = LogKeys::of_ring(ring)?;
        let trusted = TrustedKeys::of_ring(ring, OriginPrefix::local())?;
        let store = DirStore::open(dir).map_err(|e| AuditError::io(dir.display().to_string(), &e))?;
        Ok(Self::start_with(Options { db, store: Arc::new(store), keys, trusted, clock }))
    }

    /// Starts with all of it chosen by the caller. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start_with(options: Options) -> Self {
        let commits = options.db.commits();
        let signer = Signer { keys: Arc::new(RwLock::new(options.keys.clone())), trust: options.trusted.clone().into() };
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (publish, state) = watch::channel(State::default());
        let task = tokio::spawn(run(Sweeper::new(options, signer.clone()), commits.clone(), inbox, publish));
        Self { commits, state, requests, task, signer }
    }

    /// The keys a verifier needs, as they are now and will be.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.signer.trust.clone()
    }

    /// Replaces both keys at the moment `at`: every checkpoint from now on is signed by new ones, which those before them vouched for. Logs
    /// are signed again as they grow. Servers that share the ring's directory take the new keys up when they next open it.
    ///
    /// # Errors
    /// Keys that cannot be made or written; those that were there go on signing.
    pub fn rotate(&self, ring: &KeyRing, at: Timestamp) -> Result<TrustedKeys, AuditError> {
        // Held throughout: two rotations at once would vouch for one another's keys in no order.
        let mut keys = self.signer.keys.write().unwrap_or_else(PoisonError::into_inner);
        let rotated = rotate(ring, &OriginPrefix::local(), at)?;
        let trusted = TrustedKeys::of_ring(ring, OriginPrefix::local())?;
        self.signer.trust.replace(trusted.clone());
        *keys = rotated;
        Ok(trusted)
    }

    /// How many committed leaves are not in a signed log yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let state = self.state.borrow();
        u64::try_from(self.commits.borrow().saturating_sub(state.sealed_through)).unwrap_or(0).saturating_add(state.held_up)
    }

    /// Every leaf committed with a sequence up to here is sealed, but for those of failing tenants.
    #[must_use]
    pub fn sealed_through(&self) -> i64 {
        self.state.borrow().sealed_through
    }

    /// What it has achieved and what stands in its way; changes are announced.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Whether new actions of a tenant may be admitted: its log grows, and not too much waits.
    ///
    /// # Errors
    /// `audit.stopped`, `audit.stuck`, `audit.lagging`.
    pub fn admit(&self, tenant: &TenantId) -> Result<(), AuditError> {
        let state = self.state.borrow();
        if state.stopped {
            return Err(AuditError::Stopped);
        }
        if let Some(reason) = state.failing.get(tenant) {
            return Err(AuditError::Stuck { tenant: tenant.clone(), reason: reason.clone() });
        }
        let lag = u64::try_from(self.commits.borrow().saturating_sub(state.sealed_through)).unwrap_or(0);
        if lag > LAG_LEAVES_MAX { Err(AuditError::Lagging { lag, limit: LAG_LEAVES_MAX }) } else { Ok(()) }
    }

    /// Waits until everything committed before this call is sealed.
    ///
    /// # Errors
    /// `audit.stuck` when a tenant's log cannot grow; `audit.stopped`; `audit.io` when the database cannot be asked.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let target = *self.commits.borrow();
        let mut state = self.state.clone();
        let before = state.borrow().sweeps;
        if self.requests.send(Request::Sweep).await.is_err() {
            return Err(AuditError::Stopped);
        }
        // A sweep that was running when we asked may have started too early; the second one after it has not.
        let done = state.wait_for(|now| now.stopped || (now.sweeps > before && (now.sealed_through >= target || trouble(now).is_some())));
        let now = done.await.map_err(|_| AuditError::Stopped)?.clone();
        match trouble(&now) {
            Some(error) => Err(error),
            None if now.sealed_through < target => Err(AuditError::Stopped),
            None => Ok(()),
        }
    }

    /// Stops at once, between two writes; what is not sealed is sealed after the next start.
    pub fn halt(&self) {
        self.task.abort();
    }

    /// Seals what is committed, then stops.
    ///
    /// # Errors
    /// As [`Sequencer::flush`]; it is stopped all the same.
    pub async fn stop(self) -> Result<(), AuditError> {
        let flushed = self.flush().await;
        let _ = self.requests.send(Request::Stop).await;
        self.task.await.map_err(|e| AuditError::Io { path: "sequencer".to_owned(), reason: e.to_string() })?;
        flushed
    }
}

fn trouble(state: &State) -> Option<AuditError> {
    if let Some(reason) = &state.database {
        return Some(AuditError::Io { path: "database".to_owned(), reason: reason.clone() });
    }
    state.failing.iter().next().map(|(tenant, reason)| AuditError::Stuck { tenant: tenant.clone(), reason: reason.clone() })
}

/// Announces that the task has ended, however it ends.
struct Announce(watch::Sender<State>);

impl Drop for Announce {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.stopped = true);
    }
}

async fn run(mut sweeper: Sweeper, mut commits: watch::Receiver<i64>, mut inbox: mpsc::Receiver<Request>, publish: watch::Sender<State>) {
    let announce = Announce(publish);
    loop {
        let through = *commits.borrow_and_update();
        let outcome = sweeper.sweep().await;
        announce.0.send_modify(|state| {
            state.sweeps += 1;
            match outcome {
                Ok(swept) => {
                    state.sealed_through = state.sealed_through.max(through);
                    (state.failing, state.held_up, state.database) = (swept.failing, swept.held_up, None);
                }
                Err(error) => state.database = Some(error.to_string()),
            }
        });
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return },
            request = inbox.recv() => match request {
                Some(Request::Sweep) => {}
                Some(Request::Stop) | None => return,
            },
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}
