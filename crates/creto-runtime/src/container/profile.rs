//! How to call the runsc of this machine: found out once, by trying.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything a call of runsc depends on here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The program.
    pub binary: PathBuf,
    /// What it calls its version.
    pub version: String,
    /// How it intercepts system calls: `systrap`, `kvm` or `ptrace`.
    pub platform: String,
    /// Whether it knows `--host-uds`; older ones have `--fsgofer-host-uds`.
    pub host_uds: bool,
    /// Whether it runs as an ordinary user, in a user namespace.
    pub rootless: bool,
    /// Whether it makes control groups.
    pub cgroups: bool,
    /// Why it does not.
    pub cgroups_reason: Option<String>,
    /// Whether its kernel refuses `AT_NO_AUTOMOUNT`, so that commands need the shim.
    pub shim: bool,
}

impl Profile {
    /// The flags in front of every subcommand.
    #[must_use]
    pub fn flags(&self, root: &Path) -> Vec<OsString> {
        let mut state = OsString::from("--root=");
        state.push(root);
        let mut flags = vec![state, "--network=none".into(), "--overlay2=none".into(), format!("--platform={}", self.platform).into()];
        flags.push(if self.host_uds { "--host-uds=open" } else { "--fsgofer-host-uds=true" }.into());
        if self.rootless {
            flags.push("--rootless".into());
        }
        if !self.cgroups {
            flags.push("--ignore-cgroups".into());
        }
        flags
    }
}
