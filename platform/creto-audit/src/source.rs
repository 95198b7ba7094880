//! Where a log is read from: the port, and the folder on disk. Over HTTP the same paths are read by the adapter the binary wires.

use std::io;
use std::path::{Path, PathBuf};

use creto_kernel::TenantId;
use futures::future::BoxFuture;

use crate::core::tile::{self, TilePath};
use crate::error::AuditError;

/// Largest file we read, in bytes: a bundle of 256 entries of 65,535 bytes with their lengths.
pub const FILE_BYTES_MAX: u64 = 256 * (65_535 + 2);
/// Most files of all logs together: more than a hundred million entries.
const FILES_MAX: usize = 1 << 20;

/// How often a partial tile is looked for while wider ones take its place.
const OUTGROWN_TRIES: usize = 16;

/// A place that serves logs under `<tenant>/checkpoint` and `<tenant>/tile/…`. What it answers is not trusted.
pub trait Source: Send + Sync {
    /// A file's bytes; `None` when it is not there. Refuses files over [`FILE_BYTES_MAX`]. A partial tile that a wider one has
    /// replaced is served as the prefix of the wider one: tlog-tiles wants the tiles of every signed checkpoint served.
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, AuditError>>;

    /// The paths of all files, in any order but hash tiles before entry bundles; `None` where the place cannot list them, as HTTP
    /// cannot: then files that should not be there stay unseen.
    fn list(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, AuditError>>;
}

/// The folder of the logs on disk.
#[derive(Debug, Clone)]
pub struct DirSource {
    root: PathBuf,
}

impl DirSource {
    /// Reads from `root`, which holds one folder for each tenant.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Source for DirSource {
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, AuditError>> {
        let (root, path) = (self.root.clone(), path.to_owned());
        Box::pin(blocking(path.clone(), move || {
            // The path may come from outside: only the paths of logs are read, so none leads out of the folder.
            if place(&path).is_none() {
                return Ok(None);
            }
            // A wider tile may take a narrower one's place at any time, so what vanished is looked for again.
            for _ in 0..OUTGROWN_TRIES {
                if let Some(bytes) = read(&root, &path)? {
                    return Ok(Some(bytes));
                }
                let Some((wider, narrow)) = wider(&root, &path)? else { return Ok(None) };
                if let Some(bytes) = read(&root, &wider)? {
                    return Ok(tile::prefix(narrow.row(), &bytes, narrow.width()).map(<[u8]>::to_vec));
                }
            }
            Ok(None)
        }))
    }

    fn list(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, AuditError>> {
        let root = self.root.clone();
        Box::pin(blocking(root.display().to_string(), move || walk(&root).map(Some)))
    }
}

/// Whose file it is, and which tile, or `None` for the checkpoint; `None` altogether for a path that no log has.
pub(crate) fn place(path: &str) -> Option<(TenantId, Option<TilePath>)> {
    let (tenant, file) = path.split_once('/')?;
    let tenant = tenant.parse().ok()?;
    match file {
        "checkpoint" => Some((tenant, None)),
        tile => Some((tenant, Some(tile.parse().ok()?))),
    }
}

fn read(root: &Path, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
    let file = root.join(path);
    let absent = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let meta = match std::fs::symlink_metadata(&file) {
        Err(e) if absent(&e) => return Ok(None),
        meta => meta.map_err(|e| AuditError::io(path, &e))?,
    };
    if !meta.is_file() {
        return Err(AuditError::UnexpectedFile { path: path.to_owned() });
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(AuditError::BadTile { path: path.to_owned(), reason: "it is larger than any file of a log".to_owned() });
    }
    match std::fs::read(&file) {
        Err(e) if absent(&e) => Ok(None),
        bytes => bytes.map(Some).map_err(|e| AuditError::io(path, &e)),
    }
}

/// Where a partial tile is not there: the path of the narrowest wider one at its place, if there is one, and the tile asked for.
fn wider(root: &Path, path: &str) -> Result<Option<(String, TilePath)>, AuditError> {
    let Some((tenant, Some(asked))) = place(path).filter(|(_, tile)| tile.is_some_and(|tile| tile.is_partial())) else {
        return Ok(None);
    };
    let folder = format!("{tenant}/{}", asked.partial_folder());
    let names = match std::fs::read_dir(root.join(&folder)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
            .map_err(|e| AuditError::io(&folder, &e))?,
    };
    let widths = names.iter().filter_map(|name| name.to_str()?.parse::<usize>().ok());
    let found = match widths.filter(|width| *width > asked.width()).min() {
        Some(width) => format!("{folder}/{width}"),
        None => format!("{tenant}/{}", asked.full()),
    };
    Ok(root.join(&found).exists().then_some((found, asked)))
}

async fn blocking<T: Send + 'static>(path: String, work: impl FnOnce() -> Result<T, AuditError> + Send + 'static) -> Result<T, AuditError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(AuditError::Io { path, reason: e.to_string() }),
    }
}

/// All files under `root`, relative to it. A writer puts bundles in place before the tiles that hash them, so `entries` is listed
/// last: whoever finds a tile in the list finds its bundle there too.
fn walk(root: &Path) -> Result<Vec<String>, AuditError> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(root.join(&folder)) {
            // A folder of partial tiles goes away when its tile is full.
            Err(e) if e.kind() == io::ErrorKind::NotFound && !folder.is_empty() => continue,
            entries => entries.map_err(|e| AuditError::io(&folder, &e))?,
        };
        let mut below = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| AuditError::io(&folder, &e))?;
            let name = entry.file_name().into_string();
            let name = name.map_err(|name| AuditError::UnexpectedFile { path: format!("{folder}{}", name.display()) })?;
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type().map_err(|e| AuditError::io(&path, &e))?;
            if kind.is_dir() { below.push(path) } else { files.push(path) }
        }
        if files.len() > FILES_MAX {
            return Err(AuditError::Io { path: folder, reason: format!("there are more than {FILES_MAX} files") });
        }
        below.sort_by_key(|path| !path.ends_with("/entries"));
        folders.extend(below);
    }
    Ok(files)
}
