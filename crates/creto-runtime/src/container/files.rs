//! A bundle on disk, and what is read from the host to design it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::core::bundle::{AGENT_PATH, Bundle, ETC_SHARED, HostLayout, RootEntry, SHIM_PATH, USR_LINKS};
use crate::error::RuntimeError;

const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/creto-agent"));
const SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/statx_shim.so"));
/// Names the embedded agent.
pub(crate) const AGENT_FINGERPRINT: &str = env!("CRETO_AGENT_FINGERPRINT");

/// The folders of one sandbox on the host.
#[derive(Clone, Debug)]
pub(crate) struct SandboxFolder {
    pub(crate) path: PathBuf,
}

impl SandboxFolder {
    pub(crate) fn bundle(&self) -> PathBuf {
        self.path.join("bundle")
    }
    /// runsc's own state. INVARIANT: one for each sandbox, because concurrent calls on a shared one race.
    pub(crate) fn root(&self) -> PathBuf {
        self.path.join("root")
    }
    pub(crate) fn sockets(&self) -> PathBuf {
        self.path.join("run")
    }
    pub(crate) fn owner(&self) -> PathBuf {
        self.path.join("owner.json")
    }
}

/// Reads which parts of a root this host has.
pub(crate) fn host_layout() -> HostLayout {
    let mut layout = HostLayout::default();
    for name in USR_LINKS {
        let path = Path::new("/").join(name);
        if let Ok(target) = fs::read_link(&path) {
            layout.root.insert(name.to_owned(), RootEntry::Link(target.to_string_lossy().into_owned()));
        } else if path.is_dir() {
            layout.root.insert(name.to_owned(), RootEntry::Folder);
        }
    }
    let etc = |name: &str| fs::metadata(Path::new("/etc").join(name)).ok().map(|m| (name.to_owned(), m.is_dir()));
    layout.etc = ETC_SHARED.into_iter().filter_map(etc).collect::<BTreeMap<_, _>>();
    layout
}

/// Writes agent and shim where sandboxes of this state folder take them from; answers the agent's path.
pub(crate) fn install_agent(state: &Path) -> Result<PathBuf, RuntimeError> {
    let agent = state.join(format!("agent-{AGENT_FINGERPRINT}"));
    install(&agent, AGENT)
        .and_then(|()| install(&shim_of(&agent), SHIM))
        .map_err(RuntimeError::host(format!("writing `{}`", agent.display())))?;
    Ok(agent)
}

fn shim_of(agent: &Path) -> PathBuf {
    agent.with_extension("so")
}

fn install(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|m| m.len() == bytes.len() as u64) {
        return Ok(());
    }
    // Written beside and renamed: two servers that start together both see a whole file.
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    fs::write(&partial, bytes)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    fs::rename(&partial, path)
}

/// Makes the folders of a sandbox, mode 0700.
pub(crate) fn make_folders(folder: &SandboxFolder) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    for path in [folder.path.clone(), folder.bundle(), folder.root(), folder.sockets()] {
        builder.create(path)?;
    }
    Ok(())
}

/// Writes a bundle.
pub(crate) fn write_bundle(bundle: &Bundle, at: &Path, agent: &Path) -> io::Result<()> {
    let root = at.join("rootfs");
    fs::create_dir(&root)?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
    for folder in &bundle.folders {
        fs::create_dir_all(root.join(folder))?;
    }
    for (path, target) in &bundle.links {
        symlink(target, root.join(path))?;
    }
    for (path, text) in &bundle.files {
        fs::write(root.join(path), text)?;
    }
    place(agent, &root.join(AGENT_PATH.trim_start_matches('/')))?;
    place(&shim_of(agent), &root.join(SHIM_PATH.trim_start_matches('/')))?;
    let config = serde_json::to_vec(&bundle.config)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(at.join("config.json"))?;
    io::Write::write_all(&mut file, &config)
}

/// A second name for the file, or a copy where the file system has none.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

/// Removes a sandbox's folder, unless something is still mounted below it: a mount of the host must never be emptied through it.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| Path::new(point).starts_with(folder));
    if below {
        return Err(io::Error::new(ErrorKind::ResourceBusy, "something is still mounted below it"));
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
