//! A file that is whole or not there: written beside its place, and given its name once its last byte is on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What everybody may read, as far as the umask lets them.
const READABLE: u32 = 0o666;
/// What only we may read.
const PRIVATE: u32 = 0o600;

/// A file under way. Dropped before it is kept, it is gone, and what stood in its place stays.
#[derive(Debug)]
pub(crate) struct Staged {
    place: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    kept: bool,
}

impl Staged {
    /// Begins a file.
    pub(crate) fn begin(place: &Path) -> io::Result<Self> {
        Self::with_mode(place, READABLE)
    }

    /// Writes a file that only we may read.
    pub(crate) fn write_private(place: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut staged = Self::with_mode(place, PRIVATE)?;
        staged.write_all(bytes)?;
        staged.keep()
    }

    /// The name is our process's own: two that write the same file do not write into each other's, and the last to end wins whole.
    fn with_mode(place: &Path, mode: u32) -> io::Result<Self> {
        let mut part = place.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&part)?;
        Ok(Self { place: place.to_owned(), part, file: BufWriter::new(file), kept: false })
    }

    /// Gives it its name, over what stood there. Bytes and name are on disk when this returns.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.part, &self.place)?;
        self.kept = true;
        let folder = self.place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            // That it could not be removed says less than why it was not kept.
            let _ = fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_what_stood_there_stays_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("bundle");
        fs::write(&place, "old").unwrap();
        let mut staged = Staged::begin(&place).unwrap();
        staged.write_all(b"ne").unwrap();
        staged.write_all(b"w").unwrap();
        assert_eq!((fs::read_to_string(&place).unwrap().as_str(), names(folder.path()).len()), ("old", 2));
        staged.keep().unwrap();
        assert_eq!((fs::read_to_string(&place).unwrap().as_str(), names(folder.path())), ("new", vec!["bundle".to_owned()]));
    }

    #[test]
    fn what_is_given_up_or_cannot_be_kept_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("bundle");
        let mut staged = Staged::begin(&place).unwrap();
        staged.write_all(&[0; 100_000]).unwrap();
        drop(staged);
        assert!(names(folder.path()).is_empty());

        // A folder stands in its place.
        fs::create_dir(&place).unwrap();
        Staged::begin(&place).unwrap().keep().unwrap_err();
        assert_eq!(names(folder.path()), ["bundle"]);
        Staged::begin(&folder.path().join("nowhere/bundle")).unwrap_err();
    }

    #[test]
    fn a_private_file_is_read_by_nobody_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("token");
        Staged::write_private(&place, b"secret").unwrap();
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((fs::read(&place).unwrap(), names(folder.path())), (b"secret".to_vec(), vec!["token".to_owned()]));
    }
}
