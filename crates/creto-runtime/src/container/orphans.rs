//! What a killed server left behind: found by the records beside each sandbox, and cleared at the next start.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::container::files::SandboxFolder;
use crate::container::keeper;
use crate::container::profile::Profile;

/// Who made a sandbox. A process number alone could be somebody else's by now, so its start time is kept with it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pid: u32,
    started_ticks: u64,
    /// The container's name at the runtime.
    pub(crate) name: String,
}

impl Owner {
    /// This process.
    pub(crate) fn here(name: &str) -> Self {
        let pid = std::process::id();
        Self { pid, started_ticks: started(pid).unwrap_or(0), name: name.to_owned() }
    }

    fn lives(&self) -> bool {
        started(self.pid) == Some(self.started_ticks)
    }
}

/// When a process was started, in clock ticks since boot (proc(5), field 22 of stat).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Clears every sandbox under `sandboxes` whose owner is gone; answers how many.
pub(crate) fn clear(profile: &Profile, sandboxes: &Path) -> usize {
    let Ok(entries) = fs::read_dir(sandboxes) else { return 0 };
    let mut cleared = 0;
    for entry in entries.flatten() {
        let folder = SandboxFolder { path: entry.path() };
        let Some(owner) = fs::read(folder.owner()).ok().and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok()) else {
            // A folder without a record is either being made at this moment or was never used: it holds no process.
            continue;
        };
        if !owner.lives() && keeper::clear(profile, &folder, &owner.name) {
            cleared += 1;
        }
    }
    cleared
}
