//! The keys of one installation: made by policy, sealed at rest under a master key, rotated with grace.
//!
//! Each purpose has its own signing key and sealing key, made on first use; custodial identities have named signing keys. A key that
//! was rotated out no longer signs and its secret is destroyed; what it signed before its grace ended verifies for as long as the ring
//! lives. Sealing keys that were rotated out still open what they sealed.
//!
//! INVARIANT: a key file appears whole or not at all, and the first writer of a place wins: processes that share a directory never make
//! two keys for one place. Each learns of another's keys when it opens the ring, first needs that place, or is to open what they sealed.

mod files;
mod master;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use creto_kernel::{Clock, Timestamp};
use serde::Serialize;

pub use master::{MASTER_KEY_VARIABLE, MasterKey};
pub use record::Role;

use crate::aead;
use crate::encoding::{length_prefixed, take_part};
use crate::error::CryptoError;
use crate::keys::{KeyId, PublicKey, Signature, SigningKey};
use crate::policy::AlgorithmPolicy;
use crate::purpose::Purpose;
use crate::secret::Secret;
use crate::suite::{AeadSuite, SignSuite};
use record::{Held, KeySuite, Material, Plan, Slot};

const SEAL_FORMAT: &[u8] = b"creto-seal-v1";
/// The extension of what a key that left said of its successors.
const STATEMENT: &str = "statement";

#[derive(Default)]
struct Keys {
    /// By generation; the last is the one that signs and seals.
    by_slot: BTreeMap<Slot, BTreeMap<u32, Arc<Held>>>,
    by_id: HashMap<KeyId, Arc<Held>>,
}

impl Keys {
    fn insert(&mut self, held: Held) -> Arc<Held> {
        let held = Arc::new(held);
        self.by_slot.entry(held.header.slot()).or_default().insert(held.header.generation, Arc::clone(&held));
        self.by_id.insert(held.header.key, Arc::clone(&held));
        held
    }

    fn active(&self, slot: &Slot) -> Option<Arc<Held>> {
        self.by_slot.get(slot).and_then(|generations| generations.last_key_value()).map(|(_, held)| Arc::clone(held))
    }
}

/// The keys of one installation.
pub struct KeyRing {
    dir: PathBuf,
    file_key: Secret,
    policy: AlgorithmPolicy,
    opened: Timestamp,
    keys: RwLock<Keys>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing(`{}`, {} keys)", self.dir.display(), self.read().by_id.len())
    }
}

/// The files of keys in a directory.
fn key_files(dir: &Path) -> Result<Vec<PathBuf>, CryptoError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| CryptoError::io(dir, error))? {
        let path = entry.map_err(|error| CryptoError::io(dir, error))?.path();
        if path.extension().is_some_and(|extension| extension == record::EXTENSION) {
            files.push(path);
        }
    }
    Ok(files)
}

/// What the inventory says of one key. It holds no secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeyInfo {
    /// What the key does.
    pub role: Role,
    /// What it is for.
    pub purpose: Purpose,
    /// Whose it is; empty for the purpose's own key.
    pub name: String,
    /// Its suite's identifier.
    pub suite: &'static str,
    /// Its name.
    pub key: KeyId,
    /// How often its place was rotated before it.
    pub generation: u32,
    /// The epoch of the policy it was made under.
    pub policy_epoch: u32,
    /// When it was rotated in, or when the ring that made it on first use was opened.
    pub created: Timestamp,
    /// The end of its grace; `None` while it signs or seals.
    pub verify_until: Option<Timestamp>,
}

impl KeyRing {
    /// Opens the ring in `dir`, which is made if absent, and completes a rotation that a crash cut short.
    ///
    /// # Errors
    /// [`CryptoError::CorruptKeyFile`] names a file that is truncated, changed, or sealed under another master key;
    /// [`CryptoError::PolicyRollback`] when the ring has keys of a newer policy; [`CryptoError::Io`].
    pub fn open(dir: &Path, master: MasterKey, policy: AlgorithmPolicy, clock: &dyn Clock) -> Result<Self, CryptoError> {
        files::create_directory(dir)?;
        let file_key = master.file_key()?;
        let mut keys = Keys::default();
        for path in key_files(dir)? {
            keys.insert(Held::load(&path, &file_key)?);
        }
        let seen = keys.by_id.values().map(|held| held.header.policy_epoch).max().unwrap_or(0);
        if policy.epoch() < seen {
            return Err(CryptoError::PolicyRollback { given: policy.epoch(), seen });
        }
        let ring = Self { dir: dir.to_owned(), file_key, policy, opened: clock.now(), keys: RwLock::new(keys) };
        ring.complete_rotations()?;
        Ok(ring)
    }

    /// The policy the ring follows.
    #[must_use]
    pub fn policy(&self) -> &AlgorithmPolicy {
        &self.policy
    }

    /// Signs `msg` in `domain` with the purpose's own key.
    ///
    /// # Errors
    /// [`CryptoError::RefusedSuite`] when the policy no longer knows the key's suite; [`CryptoError::Io`] when the key is made now and
    /// cannot be written.
    pub fn sign(&self, purpose: Purpose, domain: &str, msg: &[u8]) -> Result<Signature, CryptoError> {
        self.signing_key(purpose, "")?.sign(domain, msg)
    }

    /// Verifies a signature by a key of this ring, judged by the moment `at`: the moment of the statement, when something trusted dates
    /// it (the audit log), and now otherwise.
    ///
    /// # Errors
    /// [`CryptoError::UnknownKey`], [`CryptoError::WrongPurpose`], [`CryptoError::RefusedSuite`], [`CryptoError::RetiredKey`],
    /// [`CryptoError::BadSignature`], in this order.
    pub fn verify(&self, purpose: Purpose, domain: &str, msg: &[u8], signature: &Signature, at: Timestamp) -> Result<(), CryptoError> {
        let held = self.read().by_id.get(&signature.key).cloned().ok_or(CryptoError::UnknownKey(signature.key))?;
        let header = &held.header;
        if header.purpose != purpose {
            return Err(CryptoError::WrongPurpose { key: header.key, actual: header.purpose, wanted: purpose });
        }
        let public = header.public.as_ref().ok_or(CryptoError::UnknownKey(signature.key))?;
        self.policy.check(purpose, signature.suite, at)?;
        if let Some(until) = header.verify_until.filter(|until| at > *until) {
            return Err(CryptoError::RetiredKey { key: header.key, until });
        }
        public.verify(domain, msg, signature)
    }

    /// The public half of the purpose's own signing key.
    ///
    /// # Errors
    /// As [`KeyRing::sign`].
    pub fn public(&self, purpose: Purpose) -> Result<PublicKey, CryptoError> {
        Ok(self.signing_key(purpose, "")?.public())
    }

    /// A public key the ring holds or has held, by its name.
    #[must_use]
    pub fn public_by_id(&self, key: &KeyId) -> Option<PublicKey> {
        self.read().by_id.get(key).and_then(|held| held.header.public.clone())
    }

    /// The signing key of `purpose` named `name`, such as an identity in custody; the empty name is the purpose's own key. Made on first
    /// use, in the suite the policy makes.
    ///
    /// # Errors
    /// As [`KeyRing::sign`].
    pub fn signing_key(&self, purpose: Purpose, name: &str) -> Result<Arc<SigningKey>, CryptoError> {
        let make = self.policy.make(purpose)?;
        let slot = Slot { role: Role::Sign, purpose, name: name.to_owned(), suite: None };
        self.signing(slot, make)
    }

    /// The signing key of `purpose` named `name` for a published format that asks for `suite`. Made on first use.
    ///
    /// # Errors
    /// [`CryptoError::RefusedSuite`] when the policy does not accept `suite` for `purpose`; otherwise as [`KeyRing::sign`].
    pub fn format_key(&self, purpose: Purpose, name: &str, suite: SignSuite) -> Result<Arc<SigningKey>, CryptoError> {
        let slot = Slot { role: Role::Format, purpose, name: name.to_owned(), suite: Some(suite) };
        self.signing(slot, suite)
    }

    fn signing(&self, slot: Slot, make: SignSuite) -> Result<Arc<SigningKey>, CryptoError> {
        let held = match self.active(&slot) {
            Some(held) => held,
            None => {
                self.refuse_unlisted(slot.purpose, make)?;
                self.create(slot, KeySuite::Sign(make))?
            }
        };
        match &held.material {
            Material::Sign(key) => {
                self.refuse_unlisted(held.header.purpose, key.suite())?;
                Ok(Arc::clone(key))
            }
            Material::Seal(_) | Material::Archived => Err(CryptoError::UnknownKey(held.header.key)),
        }
    }

    fn refuse_unlisted(&self, purpose: Purpose, suite: SignSuite) -> Result<(), CryptoError> {
        match self.policy.rule(purpose) {
            Some(rule) if rule.accept.contains_key(&suite) => Ok(()),
            _ => Err(CryptoError::RefusedSuite { suite: suite.id(), purpose }),
        }
    }

    /// Seals `plain` under the purpose's own sealing key; `aad` is authenticated and not carried. The result names format, suite and key.
    ///
    /// # Errors
    /// As [`KeyRing::sign`].
    pub fn seal(&self, purpose: Purpose, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let make = self.policy.rule(purpose).map(|rule| rule.seal).ok_or(CryptoError::RefusedSuite { suite: "any", purpose })?;
        let slot = Slot { role: Role::Seal, purpose, name: String::new(), suite: None };
        let held = match self.active(&slot) {
            Some(held) => held,
            None => self.create(slot, KeySuite::Seal(make))?,
        };
        let (Material::Seal(key), KeySuite::Seal(suite)) = (&held.material, held.header.suite) else {
            return Err(CryptoError::UnknownKey(held.header.key));
        };
        let mut sealed = length_prefixed(&[SEAL_FORMAT, suite.id().as_bytes(), held.header.key.to_string().as_bytes()]);
        let data = length_prefixed(&[&sealed, purpose.id().as_bytes(), aad]);
        sealed.append(&mut aead::seal(suite, key, &data, plain)?);
        Ok(sealed)
    }

    /// Opens what [`KeyRing::seal`] made for the same purpose and associated data, under whichever key of the ring it names.
    ///
    /// # Errors
    /// [`CryptoError::UnknownSuite`], [`CryptoError::UnknownKey`], [`CryptoError::WrongPurpose`]; [`CryptoError::BadCiphertext`] for
    /// anything else.
    pub fn unseal(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Secret, CryptoError> {
        let parsed = SealedParts::parse(sealed)?;
        let known = self.read().by_id.get(&parsed.key).cloned();
        let held = match known {
            Some(held) => held,
            None => self.learn(&parsed.key)?,
        };
        if held.header.purpose != purpose {
            return Err(CryptoError::WrongPurpose { key: parsed.key, actual: held.header.purpose, wanted: purpose });
        }
        match (&held.material, held.header.suite) {
            (Material::Seal(key), KeySuite::Seal(suite)) if suite == parsed.suite => {
                let data = length_prefixed(&[parsed.prefix, purpose.id().as_bytes(), aad]);
                aead::open(suite, key, &data, parsed.body)
            }
            _ => Err(CryptoError::BadCiphertext),
        }
    }

    /// A key that another process made in the shared directory since the ring was opened. Only for what we sealed ourselves: the
    /// directory is read again, which nobody outside may ask for.
    fn learn(&self, key: &KeyId) -> Result<Arc<Held>, CryptoError> {
        for path in key_files(&self.dir)? {
            let held = Held::load(&path, &self.file_key)?;
            if held.header.key == *key {
                return Ok(self.write().insert(held));
            }
        }
        Err(CryptoError::UnknownKey(*key))
    }

    /// Replaces the purpose's own signing key, and its sealing key if it has one, at the moment `at`. The old signing key's secret is
    /// destroyed; what it signed is accepted until `at + grace`. Returns the new signing key's name.
    ///
    /// # Errors
    /// As [`KeyRing::sign`]. Nothing was rotated, or the next opening completes it.
    pub fn rotate(&self, purpose: Purpose, grace: Duration, at: Timestamp) -> Result<KeyId, CryptoError> {
        let sealing = Slot { role: Role::Seal, purpose, name: String::new(), suite: None };
        let seal = self.policy.rule(purpose).map(|rule| rule.seal);
        if let (Some(seal), Some(_)) = (seal, self.active(&sealing)) {
            self.succeed(&sealing, KeySuite::Seal(seal), grace, at)?;
        }
        self.rotate_named(purpose, "", grace, at)
    }

    /// Replaces the signing key of `purpose` named `name`, as [`KeyRing::rotate`] does.
    ///
    /// # Errors
    /// As [`KeyRing::rotate`].
    pub fn rotate_named(&self, purpose: Purpose, name: &str, grace: Duration, at: Timestamp) -> Result<KeyId, CryptoError> {
        let make = self.policy.make(purpose)?;
        let slot = Slot { role: Role::Sign, purpose, name: name.to_owned(), suite: None };
        if self.active(&slot).is_none() {
            return Ok(self.signing(slot, make)?.key_id());
        }
        self.succeed(&slot, KeySuite::Sign(make), grace, at)
    }

    /// Replaces the keys of a published format, one of each of `suites`, at the moment `at`; makes them where there are none yet.
    ///
    /// `vouch` is given the keys that leave and the public halves of those that come, and makes the statement by which whoever trusts the
    /// former may come to trust the latter. It is kept before any key changes: [`KeyRing::statements`]. A crash in between leaves a
    /// statement about keys that nobody has.
    ///
    /// # Errors
    /// Those of `vouch`, and as [`KeyRing::format_key`]. Nothing was rotated, or some of the suites were, and a retired key's secret is
    /// destroyed at the next opening at the latest.
    pub fn rotate_format<E: From<CryptoError>>(
        &self,
        purpose: Purpose,
        name: &str,
        suites: &[SignSuite],
        at: Timestamp,
        vouch: impl FnOnce(&[Arc<SigningKey>], &[PublicKey]) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let leaving = suites.iter().map(|suite| self.format_key(purpose, name, *suite)).collect::<Result<Vec<_>, _>>()?;
        let slot = |suite: SignSuite| Slot { role: Role::Format, purpose, name: name.to_owned(), suite: Some(suite) };
        let coming = suites.iter().map(|suite| self.successor(&slot(*suite), KeySuite::Sign(*suite), Duration::ZERO, at));
        let coming = coming.collect::<Result<Vec<_>, _>>()?;
        let public: Vec<PublicKey> = coming.iter().filter_map(|held| held.header.public.clone()).collect();
        let statement = vouch(&leaving, &public)?;
        if let Some(key) = public.first() {
            files::replace(&self.dir.join(format!("{purpose}-{}.{STATEMENT}", key.key_id())), &statement)?;
        }
        for held in coming {
            let mut keys = self.write();
            let held = self.publish(held)?;
            keys.insert(held);
        }
        Ok(self.complete_rotations()?)
    }

    /// The public halves of a format's keys of one suite: the one that signs last, those before it in their order.
    #[must_use]
    pub fn format_keys(&self, purpose: Purpose, name: &str, suite: SignSuite) -> Vec<PublicKey> {
        let slot = Slot { role: Role::Format, purpose, name: name.to_owned(), suite: Some(suite) };
        let keys = self.read();
        let generations = keys.by_slot.get(&slot).into_iter().flat_map(BTreeMap::values);
        generations.filter_map(|held| held.header.public.clone()).collect()
    }

    /// What keys that left said of those that came, in no order ([`KeyRing::rotate_format`]). The ring does not know its form: whoever reads it
    /// verifies it.
    ///
    /// # Errors
    /// [`CryptoError::Io`].
    pub fn statements(&self, purpose: Purpose) -> Result<Vec<Vec<u8>>, CryptoError> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(|error| CryptoError::io(&self.dir, error))? {
            let path = entry.map_err(|error| CryptoError::io(&self.dir, error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(&format!("{purpose}-")) && path.extension().is_some_and(|extension| extension == STATEMENT) {
                found.push(files::read(&path)?);
            }
        }
        Ok(found)
    }

    /// Every key the ring holds or has held, by purpose, role, name and generation: the cryptographic bill of materials.
    #[must_use]
    pub fn inventory(&self) -> Vec<KeyInfo> {
        let keys = self.read();
        let mut all: Vec<_> = keys.by_slot.values().flat_map(|generations| generations.values()).map(|held| info(&held.header)).collect();
        all.sort_by(|a, b| (a.purpose, a.role, &a.name, a.suite, a.generation).cmp(&(b.purpose, b.role, &b.name, b.suite, b.generation)));
        all
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic elsewhere cannot leave the map half changed: it only ever gains whole entries.
    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self, slot: &Slot) -> Option<Arc<Held>> {
        self.read().active(slot)
    }

    /// Makes the first key of a place, or takes up the one another process made meanwhile.
    fn create(&self, slot: Slot, suite: KeySuite) -> Result<Arc<Held>, CryptoError> {
        let mut keys = self.write();
        if let Some(held) = keys.active(&slot) {
            return Ok(held);
        }
        let plan = Plan { slot, suite, generation: 0, policy_epoch: self.policy.epoch(), created: self.opened, previous_until: None };
        let held = self.publish(Held::generate(plan)?)?;
        Ok(keys.insert(held))
    }

    /// Writes a new key's file; when the file exists already, its key takes the new one's place.
    fn publish(&self, held: Held) -> Result<Held, CryptoError> {
        let path = held.path(&self.dir);
        if files::create(&path, &held.to_file(&self.file_key)?)? { Ok(held) } else { Held::load(&path, &self.file_key) }
    }

    fn succeed(&self, slot: &Slot, suite: KeySuite, grace: Duration, at: Timestamp) -> Result<KeyId, CryptoError> {
        let successor = self.successor(slot, suite, grace, at)?;
        let key = {
            let mut keys = self.write();
            let held = self.publish(successor)?;
            keys.insert(held).header.key
        };
        self.complete_rotations()?;
        Ok(key)
    }

    /// A key for a place that has one; it is in no file yet. Of two that are made at once, the one published first stays.
    fn successor(&self, slot: &Slot, suite: KeySuite, grace: Duration, at: Timestamp) -> Result<Held, CryptoError> {
        let generation = self.active(slot).map_or(0, |held| held.header.generation.saturating_add(1));
        let previous_until = Some(at.saturating_add(grace));
        let plan = Plan { slot: slot.clone(), suite, generation, policy_epoch: self.policy.epoch(), created: at, previous_until };
        Held::generate(plan)
    }

    /// Retires every signing key that has a successor and is not retired yet.
    fn complete_rotations(&self) -> Result<(), CryptoError> {
        let mut keys = self.write();
        let mut retired = Vec::new();
        for generations in keys.by_slot.values() {
            for (old, new) in generations.values().zip(generations.values().skip(1)) {
                if let (Material::Sign(_), Some(until)) = (&old.material, new.header.previous_until) {
                    retired.push(old.retired(until));
                }
            }
        }
        for held in retired {
            files::replace(&held.path(&self.dir), &held.to_file(&self.file_key)?)?;
            keys.insert(held);
        }
        Ok(())
    }
}

fn info(header: &record::Header) -> KeyInfo {
    KeyInfo {
        role: header.role,
        purpose: header.purpose,
        name: header.name.clone(),
        suite: header.suite.id(),
        key: header.key,
        generation: header.generation,
        policy_epoch: header.policy_epoch,
        created: header.created,
        verify_until: header.verify_until,
    }
}

/// A sealed text taken apart: `format ‖ suite ‖ key id`, each length-prefixed, then the authenticated encryption.
struct SealedParts<'a> {
    prefix: &'a [u8],
    suite: AeadSuite,
    key: KeyId,
    body: &'a [u8],
}

impl<'a> SealedParts<'a> {
    fn parse(sealed: &'a [u8]) -> Result<Self, CryptoError> {
        let part = |bytes: &'a [u8]| take_part(bytes).ok_or(CryptoError::BadCiphertext);
        let (format, rest) = part(sealed)?;
        let (suite, rest) = part(rest)?;
        let (key, body) = part(rest)?;
        if format != SEAL_FORMAT {
            return Err(CryptoError::BadCiphertext);
        }
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| CryptoError::BadCiphertext);
        let prefix = sealed.split_at_checked(sealed.len().saturating_sub(body.len())).ok_or(CryptoError::BadCiphertext)?.0;
        Ok(Self { prefix, suite: text(suite)?.parse()?, key: text(key)?.parse().map_err(|_| CryptoError::BadCiphertext)?, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let key = Secret::new(vec![7; aead::KEY_BYTES]);
            prop_assert!(Held::parse(&bytes, &key).is_err());
            prop_assert!(SealedParts::parse(&bytes).is_err());
        }
    }
}
