//! One key and its file.
//!
//! INVARIANT: the header is the associated data of the sealed secret. Purpose, name, suite, dates: nothing in a key file can be changed
//! without the master key. A retired signing key keeps its file with an empty secret, so its dates stay authenticated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use creto_kernel::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::files;
use crate::aead;
use crate::encoding::length_prefixed;
use crate::error::CryptoError;
use crate::kdf;
use crate::keys::{KeyId, PublicKey, SigningKey};
use crate::purpose::Purpose;
use crate::secret::Secret;
use crate::suite::{AeadSuite, SignSuite};

const FORMAT: &[u8] = b"creto-key-v1";
/// The suite key files are sealed with. Another one comes with another `FORMAT`.
const FILE_SUITE: AeadSuite = AeadSuite::Aes256Gcm;
/// The extension of key files.
pub(super) const EXTENSION: &str = "key";

/// What a key of the ring does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs statements in domains, in the suite the policy makes.
    Sign,
    /// Signs in a published format, in the suite that format asks for.
    Format,
    /// Seals bytes at rest.
    Seal,
}

/// The place of a key: its successors by rotation take the same place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Slot {
    pub(super) role: Role,
    pub(super) purpose: Purpose,
    /// Empty for the purpose's own key.
    pub(super) name: String,
    /// Part of the place for format keys only: a signed note wants one key of each type under one name.
    pub(super) suite: Option<SignSuite>,
}

/// The suite of a key, by role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum KeySuite {
    Sign(SignSuite),
    Seal(AeadSuite),
}

impl KeySuite {
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::Sign(suite) => suite.id(),
            Self::Seal(suite) => suite.id(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) role: Role,
    pub(super) purpose: Purpose,
    pub(super) name: String,
    pub(super) generation: u32,
    pub(super) policy_epoch: u32,
    pub(super) suite: KeySuite,
    pub(super) key: KeyId,
    /// Present for signing roles.
    pub(super) public: Option<PublicKey>,
    pub(super) created: Timestamp,
    /// Set when the key is rotated out: signatures judged by a later moment are refused.
    pub(super) verify_until: Option<Timestamp>,
    /// What `verify_until` of the predecessor becomes. Written first, so a rotation cut short by a crash is completed at the next opening.
    pub(super) previous_until: Option<Timestamp>,
}

impl Header {
    pub(super) fn slot(&self) -> Slot {
        let suite = match (self.role, self.suite) {
            (Role::Format, KeySuite::Sign(suite)) => Some(suite),
            _ => None,
        };
        Slot { role: self.role, purpose: self.purpose, name: self.name.clone(), suite }
    }

    /// The file's name follows from the place, so two processes that make the same key meet at the same file.
    fn file_name(&self) -> String {
        let slot = self.slot();
        let role: &[u8] = match slot.role {
            Role::Sign => b"sign",
            Role::Format => b"format",
            Role::Seal => b"seal",
        };
        let suite = slot.suite.map_or("", SignSuite::id);
        let place = Digest::of(&length_prefixed(&[role, slot.purpose.id().as_bytes(), slot.name.as_bytes(), suite.as_bytes()])).to_string();
        let place = place.get(..32).unwrap_or(&place);
        format!("{}-{place}-{}.{EXTENSION}", slot.purpose, self.generation)
    }

    fn associated_data(&self) -> Result<Vec<u8>, CryptoError> {
        let header = serde_json::to_vec(self).map_err(|_| CryptoError::Provider("write a key header"))?;
        Ok(length_prefixed(&[FORMAT, FILE_SUITE.id().as_bytes(), &header]))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: String,
    aead: AeadSuite,
    header: Header,
    #[serde(with = "crate::encoding::base64url")]
    sealed: Vec<u8>,
}

/// The secret half.
pub(super) enum Material {
    Sign(Arc<SigningKey>),
    Seal(Secret),
    /// A retired signing key: its secret is gone.
    Archived,
}

/// A key the ring holds.
pub(super) struct Held {
    pub(super) header: Header,
    pub(super) material: Material,
}

/// What is to be made.
pub(super) struct Plan {
    pub(super) slot: Slot,
    pub(super) suite: KeySuite,
    pub(super) generation: u32,
    pub(super) policy_epoch: u32,
    pub(super) created: Timestamp,
    pub(super) previous_until: Option<Timestamp>,
}

impl Held {
    pub(super) fn generate(plan: Plan) -> Result<Self, CryptoError> {
        let (material, key, public) = match plan.suite {
            KeySuite::Sign(suite) => {
                let key = SigningKey::generate(suite)?;
                let public = key.public();
                (Material::Sign(Arc::new(key)), public.key_id(), Some(public))
            }
            KeySuite::Seal(suite) => {
                let key = Secret::random(aead::KEY_BYTES)?;
                let id = sealing_key_id(suite, &key);
                (Material::Seal(key), id, None)
            }
        };
        let header = Header {
            role: plan.slot.role,
            purpose: plan.slot.purpose,
            name: plan.slot.name,
            generation: plan.generation,
            policy_epoch: plan.policy_epoch,
            suite: plan.suite,
            key,
            public,
            created: plan.created,
            verify_until: None,
            previous_until: plan.previous_until,
        };
        Ok(Self { header, material })
    }

    /// The same key without its secret, accepted until `until`.
    pub(super) fn retired(&self, until: Timestamp) -> Self {
        Self { header: Header { verify_until: Some(until), ..self.header.clone() }, material: Material::Archived }
    }

    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.header.file_name())
    }

    pub(super) fn to_file(&self, file_key: &Secret) -> Result<Vec<u8>, CryptoError> {
        let secret = match &self.material {
            Material::Sign(key) => key.to_secret_bytes(),
            Material::Seal(key) => key.clone(),
            Material::Archived => Secret::new(Vec::new()),
        };
        let sealed = aead::seal(FILE_SUITE, file_key, &self.header.associated_data()?, secret.expose())?;
        let file = KeyFile { format: String::from_utf8_lossy(FORMAT).into_owned(), aead: FILE_SUITE, header: self.header.clone(), sealed };
        let mut text = serde_json::to_vec_pretty(&file).map_err(|_| CryptoError::Provider("write a key file"))?;
        text.push(b'\n');
        Ok(text)
    }

    pub(super) fn load(path: &Path, file_key: &Secret) -> Result<Self, CryptoError> {
        let held = Self::parse(&files::read(path)?, file_key).map_err(|reason| CryptoError::corrupt(path, reason))?;
        if path.file_name().and_then(|name| name.to_str()) != Some(held.header.file_name().as_str()) {
            return Err(CryptoError::corrupt(path, "the file was renamed: its header belongs to another file name"));
        }
        Ok(held)
    }

    /// Reads a key file; `Err` says what is wrong with it.
    pub(super) fn parse(bytes: &[u8], file_key: &Secret) -> Result<Self, String> {
        let file: KeyFile = serde_json::from_slice(bytes).map_err(|error| format!("it is not a key file: {error}"))?;
        if file.format.as_bytes() != FORMAT || file.aead != FILE_SUITE {
            return Err(format!("its format `{}`, `{}` is not known here", file.format.escape_debug(), file.aead));
        }
        let data = file.header.associated_data().map_err(|error| error.to_string())?;
        let secret = aead::open(FILE_SUITE, file_key, &data, &file.sealed)
            .map_err(|_| "it does not open: it was changed, or sealed under another master key".to_owned())?;
        let material = Self::material(&file.header, &secret)?;
        Ok(Self { header: file.header, material })
    }

    fn material(header: &Header, secret: &Secret) -> Result<Material, String> {
        let matches = |id: KeyId| if id == header.key { Ok(()) } else { Err("its key id does not match its key".to_owned()) };
        match (header.role, header.suite) {
            (Role::Sign | Role::Format, KeySuite::Sign(_)) if header.verify_until.is_some() => {
                matches(header.public.as_ref().ok_or("it has no public key")?.key_id())?;
                Ok(Material::Archived)
            }
            (Role::Sign | Role::Format, KeySuite::Sign(suite)) => {
                let key = SigningKey::from_secret_bytes(suite, secret.expose()).map_err(|error| error.to_string())?;
                matches(key.key_id())?;
                if header.public.as_ref() != Some(&key.public()) {
                    return Err("its public key does not match its secret key".to_owned());
                }
                Ok(Material::Sign(Arc::new(key)))
            }
            (Role::Seal, KeySuite::Seal(suite)) if secret.len() == aead::KEY_BYTES => {
                matches(sealing_key_id(suite, secret))?;
                Ok(Material::Seal(secret.clone()))
            }
            _ => Err("its role, suite and secret do not fit together".to_owned()),
        }
    }
}

/// A sealing key has no public half; what names it is a one-way image of it.
fn sealing_key_id(suite: AeadSuite, key: &Secret) -> KeyId {
    KeyId::of(suite.id(), &kdf::hmac(key.expose(), b"creto-seal-key-id-v1"))
}
