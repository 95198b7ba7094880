//! Finds out how a runsc works on this machine, by starting real sandboxes with time limits, and remembers it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::container::files::AGENT_FINGERPRINT;
use crate::container::profile::Profile;
use crate::container::runsc::{Found, INSTALL_HINT, Launcher, START_TIME_MAX};
use crate::container::{Sandbox, SandboxPlan};
use crate::core::bundle::Limits;
use crate::error::RuntimeError;
use crate::link::{ExecEvent, ExecSpec};

/// How long a faster platform may take beyond twice what ptrace took: systrap hangs for ever on some kernels.
const FASTER_PLATFORM_EXTRA: Duration = Duration::from_secs(2);

/// A remembered profile, and what it was found out with.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    key: String,
    profile: Profile,
}

/// The profile of this runsc here.
pub(crate) async fn profile(launcher: &Launcher, found: &Found) -> Result<Profile, RuntimeError> {
    let file = launcher.state.join("probe.json");
    let key = key(found);
    let remembered = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
    if let Some(remembered) = remembered.filter(|r| r.key == key) {
        return Ok(remembered.profile);
    }
    let profile = find_out(launcher, found).await?;
    let remembered = Remembered { key, profile: profile.clone() };
    let written = serde_json::to_vec_pretty(&remembered).map_err(std::io::Error::from).and_then(|bytes| fs::write(&file, bytes));
    if let Err(error) = written {
        tracing::warn!(%error, "what was found out about runsc cannot be remembered; the next start finds out again");
    }
    Ok(profile)
}

/// Everything that may change the answer: the binary, the kernel, who we are, and the embedded agent.
fn key(found: &Found) -> String {
    let (length, changed) = fs::metadata(&found.path).map_or((0, 0), |m| (m.len(), m.mtime()));
    let kernel = rustix::system::uname();
    let user = rustix::process::geteuid().as_raw();
    format!("{}|{length}|{changed}|{}|{user}|{AGENT_FINGERPRINT}", found.path.display(), kernel.release().to_string_lossy())
}

async fn find_out(launcher: &Launcher, found: &Found) -> Result<Profile, RuntimeError> {
    let flags = help(&found.path);
    let rootless = !rustix::process::geteuid().is_root();
    let base = Profile {
        binary: found.path.clone(),
        version: found.version.clone(),
        platform: "ptrace".to_owned(),
        host_uds: flags.contains("-host-uds value"),
        rootless,
        cgroups: false,
        cgroups_reason: None,
        shim: false,
    };
    let mut profile = platform(launcher, base, &flags).await?;
    let limits = Limits { memory_bytes: Some(1 << 30), cpu_millis: None, pids: None };
    profile.cgroups_reason = if rootless {
        Some(
            "an ordinary user may not make control groups: memory, processor and task limits do not hold; time and egress limits do"
                .to_owned(),
        )
    } else {
        let grouped = Profile { cgroups: true, ..profile.clone() };
        attempt(launcher, &grouped, START_TIME_MAX, limits).await.err().map(|error| format!("control groups cannot be made here: {error}"))
    };
    profile.cgroups = profile.cgroups_reason.is_none();
    Ok(profile)
}

/// ptrace works everywhere; a faster platform is taken where it answers within a time measured on ptrace.
async fn platform(launcher: &Launcher, base: Profile, flags: &str) -> Result<Profile, RuntimeError> {
    let (shim, took) = attempt(launcher, &base, START_TIME_MAX, Limits::default()).await.map_err(|error| RuntimeError::Unavailable {
        what: format!("runsc {} cannot start a sandbox on this machine: {error}", base.version),
        hint: INSTALL_HINT.to_owned(),
    })?;
    let base = Profile { shim, ..base };
    // KVM is left out: inside a virtual machine, where most servers run, it answers once and then hangs, and a sandbox that hangs there
    // does not notice that its server died.
    if flags.contains("systrap") {
        let name = "systrap";
        let candidate = Profile { platform: name.to_owned(), ..base.clone() };
        match attempt(launcher, &candidate, took * 2 + FASTER_PLATFORM_EXTRA, Limits::default()).await {
            Ok(_) => return Ok(candidate),
            Err(error) => tracing::info!(platform = name, %error, "this platform does not work here"),
        }
    }
    Ok(base)
}

/// Starts a sandbox, executes something in it, ends it, and tells whether it needs the shim and how long it took.
async fn attempt(launcher: &Launcher, profile: &Profile, limit: Duration, limits: Limits) -> Result<(bool, Duration), RuntimeError> {
    let plan = SandboxPlan { mounts: Vec::new(), limits };
    let sandbox = launcher.launch(profile, &plan, limit).await?;
    let answer = (sandbox.statx_broken, sandbox.cold_start());
    // A platform may carry one process and hang at the second.
    let executed = tokio::time::timeout(limit, execute(&sandbox)).await;
    sandbox.destroy().await;
    match executed {
        Ok(executed) => executed.map(|()| answer),
        Err(_) => Err(RuntimeError::StartFailed("a command in it did not end in time".to_owned())),
    }
}

async fn execute(sandbox: &Sandbox) -> Result<(), RuntimeError> {
    let command = ["/bin/sh", "-c", "/bin/true"].map(|word| word.as_bytes().to_vec()).to_vec();
    let mut exec = match sandbox.exec(ExecSpec { argv: command, env: Vec::new(), cwd: None }).await {
        Ok(exec) => exec,
        // A host without a shell: its sandboxes have none either, and work.
        Err(RuntimeError::ExecFailed { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    while !matches!(exec.next().await?, ExecEvent::Exited(_)) {}
    Ok(())
}

fn help(binary: &Path) -> String {
    let output = Command::new(binary).arg("flags").stdin(Stdio::null()).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr)).unwrap_or_default()
}
