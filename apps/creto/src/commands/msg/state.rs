//! Where this agent's keys and sessions are kept.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use creto_crypto::Secret;
use creto_kernel::{NhiId, SystemClock};
use creto_messaging::model::identity::IdentityStatement;
use creto_messaging::model::ids::DeviceId;
use creto_messaging::{Agent, AgentPolicy, FileStore, SystemEntropy};

use crate::failure::Failure;

/// The key of the sealed file, in bytes.
const KEY_BYTES: usize = 32;

/// This agent over its file, made on first use.
pub(super) fn open(id: &NhiId) -> Result<Agent<FileStore>, Failure> {
    let path = place(id)?;
    let unusable = |e: &io::Error| {
        Failure::usage(
            format!("the message state `{}` cannot be used: {e}", path.display()),
            "name another file with `$CRETO_MSG_STATE`; in a sandbox, one in a folder of `--mount DIR:rw`",
        )
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| unusable(&e))?;
    }
    let mut key = path.clone().into_os_string();
    key.push(".key");
    let key = load_or_create(Path::new(&key)).map_err(|e| unusable(&e))?;
    Ok(Agent::new(FileStore::open(&path, key)?, Arc::new(SystemClock), AgentPolicy::default()))
}

/// The agent's identity keys, made on first use.
pub(super) fn statement(agent: &Agent<FileStore>, id: &NhiId) -> Result<IdentityStatement, Failure> {
    let mut device = [0; 16];
    creto_crypto::random::fill(&mut device)?;
    Ok(agent.enrol(id, DeviceId::from_bytes(device), &mut SystemEntropy)?)
}

fn place(id: &NhiId) -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os("CRETO_MSG_STATE").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| Failure::usage("there is no home directory to keep keys in", "name a file with `$CRETO_MSG_STATE`"))?;
    Ok(PathBuf::from(home).join(".local/share/creto-msg").join(format!("{}.state", id.name())))
}

/// The key beside the file. Two processes that start at once agree on one: it is written whole under another name and then linked, which
/// fails where there is one already.
fn load_or_create(path: &Path) -> io::Result<Secret> {
    if !path.exists() {
        let mut fresh = [0; KEY_BYTES];
        creto_crypto::random::fill(&mut fresh).map_err(io::Error::other)?;
        let staged = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&staged)?;
        let written = file.write_all(&fresh).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| match std::fs::hard_link(&staged, path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
        std::fs::remove_file(&staged)?;
        linked?;
    }
    let mut file = OpenOptions::new().read(true).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("its key `{}` is open to others: `chmod 600` it", path.display())));
    }
    let mut bytes = [0; KEY_BYTES];
    file.read_exact(&mut bytes)?;
    Ok(Secret::copy_of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_nobody_elses_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.state.key");
        let first = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap().expose(), first.expose());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_create(&path).is_err());
    }
}
