//! Warm sandboxes: started ahead of need, nobody's until claimed.
//!
//! INVARIANT: a sandbox serves one claim and is never given back. Whoever claims it finds no trace of another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::container::{ContainerRuntime, Sandbox, SandboxPlan};
use crate::core::pool::{PoolTarget, starts_to_begin};
use crate::error::RuntimeError;

/// How long a warm sandbox may take to take over an identity before it counts as lost.
const BIND_TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Sandbox>,
    starting: usize,
    draining: bool,
}

#[derive(Debug)]
struct Inner {
    runtime: Arc<dyn ContainerRuntime>,
    target: PoolTarget,
    state: Mutex<State>,
    changed: Notify,
}

/// A pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WarmPool(Arc<Inner>);

/// A claimed sandbox.
#[derive(Debug)]
pub struct Claimed {
    /// The sandbox, with its environment bound.
    pub sandbox: Sandbox,
    /// Whether it was waiting.
    pub warm: bool,
}

impl State {
    /// Counts in the starts to begin now; the caller begins them.
    fn begin(&mut self, target: PoolTarget) -> usize {
        let begin = if self.draining { 0 } else { starts_to_begin(target, self.ready.len(), self.starting) };
        self.starting += begin;
        begin
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WarmPool {
    /// A pool that begins to fill at once.
    #[must_use]
    pub fn start(runtime: Arc<dyn ContainerRuntime>, target: PoolTarget) -> Self {
        let pool = Self(Arc::new(Inner { runtime, target, state: Mutex::default(), changed: Notify::new() }));
        pool.refill();
        pool
    }

    /// How many wait warm now.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.0.state().ready.len()
    }

    /// Waits until at least `count` wait warm, or none is being started any more; answers how many wait.
    pub async fn filled(&self, count: usize) -> usize {
        loop {
            let changed = self.0.changed.notified();
            {
                let state = self.0.state();
                if state.ready.len() >= count || state.starting == 0 {
                    return state.ready.len();
                }
            }
            changed.await;
        }
    }

    /// A sandbox with `env` bound: a warm one where the plan allows it and one waits, else a cold one.
    pub async fn claim(&self, plan: &SandboxPlan, env: Vec<Vec<u8>>) -> Result<Claimed, RuntimeError> {
        if plan.is_plain() {
            while let Some(sandbox) = self.take() {
                // One that died while it waited is dropped, and with it cleared up; the next is asked.
                if let Ok(Ok(())) = tokio::time::timeout(BIND_TIME, sandbox.bind(env.clone())).await {
                    return Ok(Claimed { sandbox, warm: true });
                }
            }
        }
        let sandbox = self.0.runtime.start(plan).await?;
        sandbox.bind(env).await?;
        Ok(Claimed { sandbox, warm: false })
    }

    fn take(&self) -> Option<Sandbox> {
        let taken = self.0.state().ready.pop_front();
        self.refill();
        taken
    }

    fn refill(&self) {
        let begin = self.0.state().begin(self.0.target);
        self.begin(begin);
    }

    fn begin(&self, count: usize) {
        for _ in 0..count {
            let pool = self.clone();
            tokio::spawn(async move {
                let started = pool.0.runtime.start(&SandboxPlan::default()).await;
                pool.started(started).await;
            });
        }
    }

    async fn started(&self, started: Result<Sandbox, RuntimeError>) {
        let (surplus, begin) = {
            let mut state = self.0.state();
            state.starting -= 1;
            match started {
                Ok(sandbox) if state.draining => (Some(sandbox), 0),
                Ok(sandbox) => {
                    state.ready.push_back(sandbox);
                    (None, state.begin(self.0.target))
                }
                Err(error) => {
                    // Not tried again until the next claim: a host that cannot start sandboxes is not helped by a busy loop.
                    tracing::warn!(%error, "a warm sandbox could not be started");
                    (None, 0)
                }
            }
        };
        if let Some(sandbox) = surplus {
            sandbox.destroy().await;
        }
        self.0.changed.notify_waiters();
        self.begin(begin);
    }

    /// Ends every waiting sandbox and waits for those that are still being started.
    pub async fn drain(&self) {
        let waiting: Vec<Sandbox> = {
            let mut state = self.0.state();
            state.draining = true;
            state.ready.drain(..).collect()
        };
        futures::future::join_all(waiting.into_iter().map(Sandbox::destroy)).await;
        loop {
            let changed = self.0.changed.notified();
            if self.0.state().starting == 0 {
                return;
            }
            changed.await;
        }
    }
}
