//! The port to container runtimes, and its adapters.

mod files;
mod keeper;
mod orphans;
mod probe;
mod profile;
pub mod runsc;
pub mod selection;

use std::path::{Path, PathBuf};
use std::time::Duration;

use creto_kernel::id::SandboxId;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::core::bundle::{Limits, Mount};
use crate::error::RuntimeError;
use crate::link::{AgentLink, Exec, ExecSpec};

pub use keeper::Ended;
pub use profile::Profile;

/// What a sandbox is to be, before anybody's identity is bound to it.
#[derive(Clone, Debug, Default)]
pub struct SandboxPlan {
    /// Extra folders of the host.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
}

impl SandboxPlan {
    /// Whether a warm sandbox can serve it: mounts and limits are fixed when a sandbox is made.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.mounts.is_empty() && self.limits == Limits::default()
    }
}

/// A mount from its text, `DIR`, `DIR:ro` or `DIR:rw`: resolved now, so that no symbolic link is followed later.
pub fn resolve_mount(text: &str) -> Result<Mount, RuntimeError> {
    let (path, writable) = match text.rsplit_once(':') {
        Some((path, "rw")) => (path, true),
        Some((path, "ro")) => (path, false),
        _ => (text, false),
    };
    let resolved = std::fs::canonicalize(path).map_err(|error| RuntimeError::Invalid(format!("`{path}` cannot be mounted: {error}")))?;
    Ok(Mount::new(&resolved, writable)?)
}

/// Which limits truly hold in a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LimitsHeld {
    /// Memory, processor and task limits: they need a control group.
    pub cgroup: bool,
    /// Why not, where they do not.
    pub reason: Option<String>,
}

/// Something that makes sandboxes.
pub trait ContainerRuntime: Send + Sync + std::fmt::Debug {
    /// What it is, with version and platform: part of the run's record.
    fn describe(&self) -> String;

    /// Which limits will hold.
    fn limits_held(&self) -> LimitsHeld;

    /// Starts a sandbox and waits until its agent answers. Nothing is left behind on error, or when the future is dropped.
    fn start<'a>(&'a self, plan: &'a SandboxPlan) -> BoxFuture<'a, Result<Sandbox, RuntimeError>>;
}

/// A running sandbox with its resident agent. Dropping it ends it; [`Sandbox::destroy`] also waits until nothing is left.
#[derive(Debug)]
pub struct Sandbox {
    id: SandboxId,
    link: Option<AgentLink>,
    keeper: keeper::Keeper,
    socket_dir: PathBuf,
    cold_start: Duration,
    statx_broken: bool,
}

impl Sandbox {
    /// Which one.
    #[must_use]
    pub const fn id(&self) -> SandboxId {
        self.id
    }

    /// From the decision to start it until the agent answered.
    #[must_use]
    pub const fn cold_start(&self) -> Duration {
        self.cold_start
    }

    /// Where the egress socket of this sandbox has to be. Whoever connects there is this sandbox: the folder is mounted in no other.
    #[must_use]
    pub fn egress_socket(&self) -> PathBuf {
        self.socket_dir.join("egress.sock")
    }

    /// The host's process identifier of the sandbox's runtime process.
    #[must_use]
    pub const fn host_pid(&self) -> u32 {
        self.keeper.pid()
    }

    /// The folder that holds everything this sandbox has on the host.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.keeper.folder()
    }

    fn link(&self) -> Result<&AgentLink, RuntimeError> {
        self.link.as_ref().ok_or_else(|| RuntimeError::SandboxLost("it was destroyed".to_owned()))
    }

    /// Binds identity and environment: every later command has these variables and no others.
    pub async fn bind(&self, env: Vec<Vec<u8>>) -> Result<(), RuntimeError> {
        self.link()?.bind(env).await
    }

    /// Asks whether the agent answers.
    pub async fn ping(&self) -> Result<(), RuntimeError> {
        self.link()?.ping().await
    }

    /// Starts a command.
    pub async fn exec(&self, spec: ExecSpec) -> Result<Exec, RuntimeError> {
        if spec.argv.first().is_none_or(Vec::is_empty) {
            return Err(RuntimeError::Invalid("the command is empty".to_owned()));
        }
        self.link()?.exec(spec).await
    }

    /// The runtime's last words, for a sandbox that was lost.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.keeper.last_words()
    }

    /// Ends the sandbox with every process in it and waits until processes, folders and sockets are gone.
    pub async fn destroy(mut self) -> Ended {
        // The agent is process 1 and ends when its input does; the runtime then clears up in order.
        self.link = None;
        self.keeper.end().await
    }
}
