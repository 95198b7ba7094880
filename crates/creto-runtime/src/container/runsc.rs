//! gVisor: sandboxes by `runsc` on this host.
//!
//! `runsc run` stays attached: it is the parent of sandbox and gofer, which die with it, and it ends in order when process 1 inside
//! ends. So closing the agent's input clears everything in milliseconds, where a detached container waits a second for process 1 of the
//! host to reap it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use creto_kernel::id::SandboxId;
use futures::future::BoxFuture;

use crate::container::files::{self, SandboxFolder};
use crate::container::keeper::Keeper;
use crate::container::orphans::{self, Owner};
use crate::container::profile::Profile;
use crate::container::{ContainerRuntime, LimitsHeld, Sandbox, SandboxPlan, probe};
use crate::core::bundle::{self, BundlePlan, HostLayout, Limits, MOUNTS_MAX, Mount, MountError};
use crate::error::RuntimeError;
use crate::link::AgentLink;

/// How long a sandbox may take to answer, on a machine that is busy with many.
pub const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Where runsc is and where sandboxes live.
#[derive(Clone, Debug)]
pub struct RunscOptions {
    /// The one to use; `None` looks on `PATH` and in the tools folder and takes the newest.
    pub binary: Option<PathBuf>,
    /// Our own tools folder; `None` is `$CRETO_TOOLS_DIR`, else `~/.local/share/creto/tools`.
    pub tools_dir: Option<PathBuf>,
    /// Where sandboxes keep their folders while they live. One server owns it.
    pub state_dir: PathBuf,
    /// A program of the host that every sandbox finds on its `PATH`, read-only: the one that speaks for the agent inside.
    pub program: Option<PathBuf>,
}

/// A runsc that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// The version it prints.
    pub version: String,
}

/// The hint that goes with every missing runsc.
pub(crate) const INSTALL_HINT: &str = "run `cargo xtask setup`, or install Debian's package `runsc`, or name one in the configuration; `creto doctor` shows what was looked at";

/// The tools folder in force.
#[must_use]
pub fn tools_dir(configured: Option<&Path>) -> Option<PathBuf> {
    let from_env = || env::var_os("CRETO_TOOLS_DIR").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".local/share/creto/tools"));
    configured.map(Path::to_owned).or_else(from_env).or_else(home)
}

/// The newest runsc that runs: the configured one and no other, else those on `PATH` and in the tools folder.
pub fn locate(binary: Option<&Path>, tools: Option<&Path>) -> Result<Found, RuntimeError> {
    let candidates: Vec<PathBuf> = match binary {
        Some(binary) => vec![binary.to_owned()],
        None => {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = env::split_paths(&path).collect::<Vec<_>>().into_iter().chain(tools_dir(tools));
            folders.map(|folder| folder.join("runsc")).filter(|file| file.is_file()).collect()
        }
    };
    let found = candidates.into_iter().filter_map(|path| version(&path).map(|version| Found { path, version }));
    found.max_by_key(|found| release_date(&found.version)).ok_or_else(|| RuntimeError::Unavailable {
        what: match binary {
            Some(binary) => format!("`{}` is not a runsc that runs here", binary.display()),
            None => "no runsc was found on PATH or in the tools directory".to_owned(),
        },
        hint: INSTALL_HINT.to_owned(),
    })
}

fn version(path: &Path) -> Option<String> {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next()?.strip_prefix("runsc version ").map(|version| version.trim().to_owned())
}

/// The date in a version: `0.0~20240729.0` or `release-20240729.0`; 0 where there is none.
fn release_date(version: &str) -> u32 {
    version.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 8).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Sandboxes by runsc.
#[derive(Debug)]
pub struct RunscRuntime {
    launcher: Launcher,
    profile: Profile,
}

impl RunscRuntime {
    /// Finds runsc, finds out how it works here (the first time by trying, which takes some seconds), and clears what a killed server
    /// left behind.
    ///
    /// Errors: [`RuntimeError::Unavailable`] where no sandbox can be started here, with runsc's own words.
    pub async fn open(options: RunscOptions) -> Result<Self, RuntimeError> {
        let (launcher, found) = blocking(move || {
            let found = locate(options.binary.as_deref(), options.tools_dir.as_deref())?;
            Ok((Launcher::prepare(&options.state_dir, options.program)?, found))
        })
        .await?;
        // Where a runsc is killed its processes become ours to reap: the host's process 1 may take a second, and delete waits for it.
        if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!(%error, "not a child subreaper: ending a killed sandbox will be slower");
        }
        let profile = probe::profile(&launcher, &found).await?;
        let (clearing, sandboxes) = (profile.clone(), launcher.shared.sandboxes.clone());
        let cleared = blocking(move || Ok(orphans::clear(&clearing, &sandboxes))).await?;
        if cleared > 0 {
            tracing::info!(cleared, "cleared sandboxes that a killed server left behind");
        }
        Ok(Self { launcher, profile })
    }

    /// How runsc is called here.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }
}

impl ContainerRuntime for RunscRuntime {
    fn describe(&self) -> String {
        let rootless = if self.profile.rootless { ", rootless" } else { "" };
        format!("runsc {} ({}{rootless})", self.profile.version, self.profile.platform)
    }

    fn limits_held(&self) -> LimitsHeld {
        LimitsHeld { cgroup: self.profile.cgroups, reason: self.profile.cgroups_reason.clone() }
    }

    fn start<'a>(&'a self, plan: &'a SandboxPlan) -> BoxFuture<'a, Result<Sandbox, RuntimeError>> {
        Box::pin(self.launcher.launch(&self.profile, plan, START_TIME_MAX))
    }
}

/// Runs blocking work beside the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RuntimeError::StartFailed(error.to_string())),
    }
}

#[derive(Debug)]
struct Shared {
    agent: PathBuf,
    program: Option<PathBuf>,
    layout: HostLayout,
    sandboxes: PathBuf,
}

/// What every start has in common.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    shared: Arc<Shared>,
    pub(crate) state: PathBuf,
}

impl Launcher {
    fn prepare(state: &Path, program: Option<PathBuf>) -> Result<Self, RuntimeError> {
        let sandboxes = state.join("sandboxes");
        fs::create_dir_all(&sandboxes).map_err(RuntimeError::host(format!("creating `{}`", sandboxes.display())))?;
        let state = fs::canonicalize(state).map_err(RuntimeError::host("resolving the state directory"))?;
        let agent = files::install_agent(&state)?;
        let shared = Shared { agent, program, layout: files::host_layout(), sandboxes: state.join("sandboxes") };
        Ok(Self { shared: Arc::new(shared), state })
    }

    /// Starts one sandbox and waits for its agent.
    pub(crate) async fn launch(&self, profile: &Profile, plan: &SandboxPlan, limit: Duration) -> Result<Sandbox, RuntimeError> {
        let begun = Instant::now();
        let id = SandboxId::generate();
        let mut profile = profile.clone();
        // A control group costs a third of the start and holds nothing unless there is a limit.
        profile.cgroups &= plan.limits != Limits::default();
        let (this, plan) = (self.clone(), plan.clone());
        let (mut keeper, stdin, stdout, socket_dir) = blocking(move || this.spawn(id, profile, &plan)).await?;
        let (link, ready) = AgentLink::open(stdin, stdout).map_err(RuntimeError::host("taking over the sandbox's pipes"))?;
        let answer = match tokio::time::timeout(limit, ready).await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(_)) => Err("it ended before its agent answered"),
            Err(_) => Err("its agent did not answer in time"),
        };
        match answer {
            Ok(ready) => {
                Ok(Sandbox { id, link: Some(link), keeper, socket_dir, cold_start: begun.elapsed(), statx_broken: ready.statx_broken })
            }
            Err(why) => {
                drop(link);
                keeper.kill();
                keeper.end().await;
                Err(RuntimeError::StartFailed(format!("{why}: {}", keeper.last_words())))
            }
        }
    }

    fn spawn(&self, id: SandboxId, profile: Profile, plan: &SandboxPlan) -> Result<Spawned, RuntimeError> {
        let mounts = plan.mounts.iter().map(seen).collect::<Result<Vec<_>, _>>()?;
        if mounts.len() > MOUNTS_MAX {
            return Err(MountError::TooMany.into());
        }
        // The tail of a version-7 identifier is its random part; the short form keeps socket paths within 107 bytes.
        let name: String = id.to_string().chars().skip(20).collect();
        let folder = SandboxFolder { path: self.shared.sandboxes.join(&name) };
        let made = self.make(&folder, &name, &profile, plan, &mounts);
        let spawned = made.and_then(|()| run(&profile, &folder, &name));
        match spawned {
            Ok(mut child) => {
                let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
                let sockets = folder.sockets();
                let keeper = Keeper::watch(child, profile, folder, name);
                match (stdin, stdout) {
                    (Some(stdin), Some(stdout)) => Ok((keeper, stdin, stdout, sockets)),
                    _ => Err(RuntimeError::StartFailed("no pipes".to_owned())),
                }
            }
            Err(error) => {
                // The first error is the one to tell; what is left is found at the next start.
                let _left = files::remove(&folder.path);
                Err(error)
            }
        }
    }

    fn make(
        &self,
        folder: &SandboxFolder,
        name: &str,
        profile: &Profile,
        plan: &SandboxPlan,
        mounts: &[(Mount, bool)],
    ) -> Result<(), RuntimeError> {
        let said = || format!("writing the sandbox's folder `{}`", folder.path.display());
        files::make_folders(folder).map_err(RuntimeError::host(said()))?;
        let owner = serde_json::to_vec(&Owner::here(name)).map_err(|error| RuntimeError::host(said())(error.into()))?;
        fs::write(folder.owner(), owner).map_err(RuntimeError::host(said()))?;
        let cgroup = profile.cgroups.then(|| format!("/creto-{name}"));
        let sockets = folder.sockets();
        let plan = BundlePlan {
            hostname: "sandbox",
            socket_dir: &sockets,
            mounts,
            limits: plan.limits,
            cgroup: cgroup.as_deref(),
            shim: profile.shim,
            program: self.shared.program.as_deref(),
        };
        let designed = bundle::design(&plan, &self.shared.layout);
        files::write_bundle(&designed, &folder.bundle(), &self.shared.agent).map_err(RuntimeError::host(said()))
    }
}

type Spawned = (Keeper, std::process::ChildStdin, std::process::ChildStdout, PathBuf);

/// Looks at a mount again at the moment it is used: it must still be the resolved path it was accepted as.
fn seen(mount: &Mount) -> Result<(Mount, bool), RuntimeError> {
    let path = mount.path();
    let resolved = fs::canonicalize(path).map_err(RuntimeError::host(format!("mounting `{}`", path.display())))?;
    if resolved != path {
        return Err(MountError::Relative(path.display().to_string()).into());
    }
    let metadata = fs::metadata(path).map_err(RuntimeError::host(format!("mounting `{}`", path.display())))?;
    Ok((mount.clone(), metadata.is_dir()))
}

fn run(profile: &Profile, folder: &SandboxFolder, name: &str) -> Result<std::process::Child, RuntimeError> {
    let mut command = Command::new(&profile.binary);
    command.args(profile.flags(&folder.root())).arg("run").arg("--bundle").arg(folder.bundle()).arg(name);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // Pipes, never files: runsc would write over a file from its start. A group of its own: Ctrl-C is the server's to handle.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().map_err(RuntimeError::host(format!("starting `{}`", profile.binary.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_told_by_its_date() {
        assert!(release_date("0.0~20240729.0") > release_date("0.0~20221219.0"));
        assert!(release_date("release-20250101.0") > release_date("0.0~20240729.0"));
        assert_eq!(release_date("devel"), 0);
    }
}
