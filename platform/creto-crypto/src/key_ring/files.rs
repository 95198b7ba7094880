//! Files that are whole or absent: written beside their place, flushed, then moved into it, and the directory flushed after.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::CryptoError;
use crate::random;

/// Larger than any file written here, and small enough that a wrong file does no harm.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Makes the directory and its parents, readable by its owner only.
pub(super) fn create_directory(path: &Path) -> Result<(), CryptoError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| CryptoError::io(path, error))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, CryptoError> {
    let io = |error| CryptoError::io(path, error);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(CryptoError::corrupt(path, format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Writes a file that must not exist yet; says whether it was this call that made it.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<bool, CryptoError> {
    let temporary = write_beside(path, bytes)?;
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => flush_directory(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(CryptoError::io(path, error)),
    }
}

/// Writes a file in place of the one that is there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CryptoError> {
    let temporary = write_beside(path, bytes)?;
    fs::rename(&temporary, path).map_err(|error| CryptoError::io(path, error))?;
    flush_directory(path)
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, CryptoError> {
    let mut suffix = [0; 8];
    random::fill(&mut suffix)?;
    let temporary = path.with_extension(format!("{}.tmp", hex::encode(suffix)));
    let io = |error| CryptoError::io(&temporary, error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(temporary)
}

fn flush_directory(path: &Path) -> Result<(), CryptoError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(|error| CryptoError::io(parent, error))
}
