//! A store in one file, for the agent inside a sandbox: no server, no database.
//!
//! The file is JSON around one sealed text: `{"version":1,"sealed":"<base64>"}`. A change is written to a second file, synced, and renamed
//! over the first: a crash leaves the old state or the new. A lock file keeps processes apart; each reads what the other wrote.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_crypto::{AeadSuite, Secret, aead};
use serde::{Deserialize, Serialize};

use crate::agent::SessionStore;
use crate::agent::records::{Delta, Records};
use crate::error::MessagingError;

const LABEL: &[u8] = b"creto-messaging/v1/agent-store";
/// Largest store file, in bytes.
pub const STORE_BYTES_MAX: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreFile {
    version: u8,
    sealed: String,
}

/// Keeps records in a sealed file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    key: Secret,
    // Threads of one process; the lock file is for other processes.
    turn: Mutex<()>,
}

impl FileStore {
    /// The store at `path`, sealed under `key` (32 bytes). A missing file is an empty store; a damaged one, or one sealed under another key,
    /// is refused.
    pub fn open(path: &Path, key: Secret) -> Result<Self, MessagingError> {
        let store = Self { path: path.to_owned(), key, turn: Mutex::new(()) };
        store.locked(|store| store.load().map(drop))?;
        Ok(store)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn locked<T>(&self, work: impl FnOnce(&Self) -> Result<T, MessagingError>) -> Result<T, MessagingError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = private(OpenOptions::new().create(true).truncate(false)).open(self.beside(".lock")).map_err(MessagingError::Store)?;
        lock.lock().map_err(MessagingError::Store)?;
        work(self)
    }

    fn load(&self) -> Result<Records, MessagingError> {
        let text = match fs::metadata(&self.path) {
            Ok(found) if found.len() > STORE_BYTES_MAX => return Err(MessagingError::Corrupt("store file is too large")),
            Ok(_) => fs::read_to_string(&self.path).map_err(MessagingError::Store)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Records::default()),
            Err(error) => return Err(MessagingError::Store(error)),
        };
        let damaged = MessagingError::Corrupt("store file");
        let Ok(StoreFile { version: 1, sealed }) = serde_json::from_str(&text) else { return Err(damaged) };
        let Ok(sealed) = STANDARD.decode(sealed) else { return Err(damaged) };
        let plain = aead::open(AeadSuite::default(), &self.key, LABEL, &sealed)
            .map_err(|_| MessagingError::Corrupt("store file, or another key"))?;
        Records::from_bytes(plain.expose())
    }

    fn save(&self, records: &Records) -> Result<(), MessagingError> {
        let sealed = aead::seal(AeadSuite::default(), &self.key, LABEL, &records.to_bytes())?;
        let text = serde_json::to_vec(&StoreFile { version: 1, sealed: STANDARD.encode(sealed) })
            .map_err(|error| MessagingError::Store(io::Error::other(error)))?;
        self.replace(&text).map_err(MessagingError::Store)
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let fresh = self.beside(".new");
        let mut file = private(OpenOptions::new().create(true).truncate(true)).open(&fresh)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.write(true).mode(0o600)
}

impl SessionStore for FileStore {
    fn view(&self, look: &mut dyn FnMut(&Records)) -> Result<(), MessagingError> {
        self.locked(|store| {
            look(&store.load()?);
            Ok(())
        })
    }

    fn apply(&self, delta: &Delta) -> Result<(), MessagingError> {
        self.locked(|store| {
            let mut records = store.load()?;
            records.check(delta)?;
            records.perform(delta);
            store.save(&records)
        })
    }
}
