//! Where the sequencer writes: the port, and the folder on disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where log files are written. Paths are relative and made by this crate: `<tenant>/tile/0/000`.
pub trait LogStore: Send + Sync + std::fmt::Debug {
    /// A file's bytes; `None` when it is not there.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Puts a file in place: afterwards it is there whole and durable, or, on an error or a crash, as it was before.
    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// The names of the files in a folder, in any order; none when it is not there.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Removes a file that is there, and its folder when that is empty then.
    fn remove(&self, path: &str) -> io::Result<()>;
}

/// A folder on disk, which holds the logs and nothing else. Files take shape in `<folder>.staging` beside it, on the same file system,
/// and are renamed into place.
#[derive(Debug)]
pub struct DirStore {
    root: PathBuf,
    staging: PathBuf,
    next: AtomicU64,
}

impl DirStore {
    /// Opens or creates the folder. What a stopped server left in the staging folder is removed.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn open(root: &Path) -> io::Result<Self> {
        let name = root.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the folder of the logs has no name"))?;
        let mut staging_name = name.to_owned();
        staging_name.push(".staging");
        let staging = root.with_file_name(staging_name);
        if staging.exists() {
            fs::remove_dir_all(&staging)?;
        }
        fs::create_dir_all(&staging)?;
        fs::create_dir_all(root)?;
        sync_folder(root.parent().unwrap_or(root))?;
        Ok(Self { root: root.to_owned(), staging, next: AtomicU64::new(0) })
    }

    /// Creates the folders above a file, each durably.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent().filter(|_| folder != self.root) {
            self.make_folder(above)?;
            fs::create_dir(folder)?;
            sync_folder(above)?;
        }
        Ok(())
    }
}

impl LogStore for DirStore {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let target = self.root.join(path);
        let folder = target.parent().unwrap_or(&self.root);
        self.make_folder(folder)?;
        let staged = self.staging.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let mut file = File::create(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, &target)?;
        sync_folder(folder)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        match fs::read_dir(self.root.join(folder)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let file = self.root.join(path);
        fs::remove_file(&file)?;
        match file.parent().map(fs::remove_dir) {
            Some(Err(e)) if e.kind() != io::ErrorKind::DirectoryNotEmpty => Err(e),
            _ => Ok(()),
        }
    }
}

/// Makes a rename in `folder` durable: only the folder's own sync does.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
