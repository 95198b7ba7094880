//! Keys of one's own at rest: a key ring in a folder, and beside it the chain that each key signs under.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use creto_crypto::{AlgorithmPolicy, KeyRing, MasterKey, Purpose, SigningKey, random};
use creto_kernel::{Clock as _, Digest, SystemClock};
use creto_nhi::DelegationChain;
use creto_nhi::core::proof::{RequestParts, SCHEME, SignedFields, sign};

use crate::cli::own_keys::KeyStore;
use crate::failure::Failure;

/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The folder, opened.
#[derive(Debug)]
pub(crate) struct OwnKeys {
    folder: PathBuf,
    ring: KeyRing,
    chain: Option<String>,
}

/// Signs requests as one agent.
#[derive(Debug)]
pub(crate) struct Signer {
    key: Arc<SigningKey>,
    authorization: String,
}

impl OwnKeys {
    /// Opens the folder, making it on first use. The ring is sealed under `$CRETO_MASTER_KEY`, else under a key beside it with mode 0600.
    pub(crate) fn open(place: &KeyStore) -> Result<Self, Failure> {
        let folder = match &place.keys {
            Some(folder) => folder.clone(),
            None => home()?.join(".local/share/creto-keys"),
        };
        let ring_folder = folder.join("ring");
        let unusable = |e: std::io::Error| {
            Failure::usage(format!("the keys in `{}` cannot be used: {e}", folder.display()), "name another folder with `--keys DIR`")
        };
        std::fs::create_dir_all(&folder).map_err(unusable)?;
        let master = match MasterKey::from_env()? {
            Some(master) => master,
            None => MasterKey::load_or_create(&folder.join("master.key"))?,
        };
        let ring = KeyRing::open(&ring_folder, master, AlgorithmPolicy::default(), &SystemClock)?;
        Ok(Self { folder, ring, chain: place.own_chain.clone() })
    }

    /// Makes a key.
    pub(super) fn create(&self, name: &str) -> Result<Arc<SigningKey>, Failure> {
        let fits = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && !name.starts_with('.');
        if !fits {
            return Err(Failure::usage(format!("`{name}` is no name for a key"), "use letters, digits, `.`, `-` and `_`; 64 at most"));
        }
        if self.has(name) {
            return Err(Failure::usage(format!("there is a key `{name}` already"), "use it, or name another folder with `--keys DIR`"));
        }
        Ok(self.ring.signing_key(Purpose::Delegation, name)?)
    }

    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Result<Arc<SigningKey>, Failure> {
        if !self.has(name) {
            let detail = format!("there is no key `{name}` in `{}`", self.folder.display());
            return Err(Failure::usage(detail, "make it with `creto agent key create`, or name its folder with `--keys DIR`"));
        }
        Ok(self.ring.signing_key(Purpose::Delegation, name)?)
    }

    /// Makes another key in the place of this one, whose private half is destroyed.
    pub(super) fn rotate(&self, name: &str) -> Result<Arc<SigningKey>, Failure> {
        self.key(name)?;
        self.ring.rotate_named(Purpose::Delegation, name, Duration::ZERO, SystemClock.now())?;
        self.key(name)
    }

    fn has(&self, name: &str) -> bool {
        self.ring.inventory().iter().any(|key| key.purpose == Purpose::Delegation && key.name == name)
    }

    /// Remembers the chain that a key signs under.
    pub(super) fn keep_chain(&self, name: &str, token: &str) -> Result<(), Failure> {
        let path = self.chain_path(name);
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
            file.write_all(token.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|e| Failure::usage(format!("`{}` cannot be written: {e}", path.display()), "free some space"))
    }

    /// The chain a key signs under: the one that was named, else the one remembered; none for a person.
    pub(super) fn chain(&self, name: &str) -> Result<Option<DelegationChain>, Failure> {
        let kept = || std::fs::read_to_string(self.chain_path(name)).ok();
        let token = self.chain.clone().or_else(kept);
        Ok(token.map(|token| DelegationChain::from_token(token.trim())).transpose()?)
    }

    fn chain_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.chain"))
    }

    /// What signs requests with this key, under its chain.
    pub(crate) fn signer(&self, name: &str) -> Result<Signer, Failure> {
        let key = self.key(name)?;
        let chain = self.chain(name)?.ok_or_else(|| {
            Failure::usage(
                format!("it is not known under which delegation the key `{name}` acts"),
                "register it with `creto agent key register`, or name the chain's token with `--own-chain T`",
            )
        })?;
        Ok(Signer { key, authorization: format!("{SCHEME}{}", chain.to_token()?) })
    }
}

impl Signer {
    /// The `authorization` field.
    pub(crate) fn authorization(&self) -> &str {
        &self.authorization
    }

    /// Signs one request: `authority` is what its `host` will say, `target` its path and query.
    pub(crate) fn fields(&self, method: &str, authority: &str, target: &str, body: &[u8]) -> Result<SignedFields, Failure> {
        let mut nonce = [0; 24];
        random::fill(&mut nonce)?;
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let parts = RequestParts {
            method,
            authority,
            path,
            query,
            body: Digest::of(body),
            authorization: &self.authorization,
            content_digest: "",
            signature_input: "",
            signature: "",
        };
        Ok(sign(&parts, &self.key, &hex::encode(nonce), SystemClock.now())?)
    }
}

fn home() -> Result<PathBuf, Failure> {
    let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute());
    home.map(PathBuf::from).ok_or_else(|| Failure::usage("there is no home directory to keep keys in", "name a folder with `--keys DIR`"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_stays_and_is_nobody_elses_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let place = KeyStore { keys: Some(dir.path().join("keys")), own_chain: None };
        let made = OwnKeys::open(&place).unwrap().create("worker").unwrap().key_id();
        let again = OwnKeys::open(&place).unwrap();
        assert_eq!(again.key("worker").unwrap().key_id(), made);
        assert!(again.create("worker").is_err());
        assert!(again.key("other").is_err());
        for bad in ["", "a/b", "..", "a b"] {
            assert!(again.create(bad).is_err(), "{bad}");
        }
        assert_ne!(again.rotate("worker").unwrap().key_id(), made);
        assert!(again.signer("worker").is_err(), "no chain is known");
        let ring = std::fs::read_dir(dir.path().join("keys/ring")).unwrap().map(|entry| entry.unwrap().path());
        for file in ring.chain([dir.path().join("keys/master.key")]) {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
        }
    }
}
