//! The master key: 32 bytes that seal every other key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::files;
use crate::error::CryptoError;
use crate::kdf;
use crate::secret::Secret;

/// The environment variable [`MasterKey::from_env`] reads.
pub const MASTER_KEY_VARIABLE: &str = "CRETO_MASTER_KEY";
const MASTER_BYTES: usize = 32;
const HEX_DIGITS: usize = 64;

/// The key that seals the ring. It is never used itself: each use has a key derived from it.
#[derive(Clone, Debug)]
pub struct MasterKey(Secret);

impl MasterKey {
    /// Reads the master key file, or makes one with mode 0600. The file holds 64 hexadecimal digits and a newline.
    ///
    /// # Errors
    /// [`CryptoError::MasterKeyExposed`] when group or others have any permission on the file; [`CryptoError::MasterKeyMalformed`];
    /// [`CryptoError::Io`].
    pub fn load_or_create(path: &Path) -> Result<Self, CryptoError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Self::load(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let fresh = Secret::random(MASTER_BYTES)?;
                let text = Secret::new([hex::encode(fresh.expose()).as_bytes(), b"\n"].concat());
                // Whoever made the file first wins, and both read the same key.
                files::create(path, text.expose())?;
                Self::load(path)
            }
            Err(error) => Err(CryptoError::io(path, error)),
        }
    }

    fn load(path: &Path) -> Result<Self, CryptoError> {
        let mode = fs::metadata(path).map_err(|error| CryptoError::io(path, error))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(CryptoError::MasterKeyExposed { path: path.to_owned(), mode });
        }
        let text = Secret::new(files::read(path)?);
        Self::parse(text.expose(), &format!("file `{}`", path.display()))
    }

    /// Reads the master key from the environment variable `CRETO_MASTER_KEY`; `None` when it is not set.
    ///
    /// # Errors
    /// [`CryptoError::MasterKeyMalformed`].
    pub fn from_env() -> Result<Option<Self>, CryptoError> {
        match std::env::var_os(MASTER_KEY_VARIABLE) {
            None => Ok(None),
            Some(text) => Self::parse(text.as_encoded_bytes(), &format!("environment variable `{MASTER_KEY_VARIABLE}`")).map(Some),
        }
    }

    /// The master key from 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`CryptoError::MasterKeyMalformed`].
    pub fn from_hex(text: &str) -> Result<Self, CryptoError> {
        Self::parse(text.as_bytes(), "text")
    }

    fn parse(text: &[u8], source: &str) -> Result<Self, CryptoError> {
        let digits = text.trim_ascii();
        if digits.len() != HEX_DIGITS {
            return Err(CryptoError::MasterKeyMalformed(source.to_owned()));
        }
        let bytes = hex::decode(digits).map_err(|_| CryptoError::MasterKeyMalformed(source.to_owned()))?;
        Ok(Self(Secret::new(bytes)))
    }

    /// The key that seals the files of a ring.
    pub(super) fn file_key(&self) -> Result<Secret, CryptoError> {
        kdf::hkdf(b"creto-master-v1", self.0.expose(), b"key files", crate::aead::KEY_BYTES)
    }
}
