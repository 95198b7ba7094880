//! The bytes of a stored object: `format ‖ suite ‖ class ‖ plain length ‖ sealed data key`, each length-prefixed, then the encryption.
//! Pure: no storage, no clock.

use creto_crypto::encoding::{length_prefixed, take_part};
use creto_crypto::{AeadSuite, KeyRing, Purpose, Secret, aead};
use creto_kernel::NhiId;

use crate::error::StorageError;
use crate::model::{Class, Object, Reference};

const FORMAT: &[u8] = b"creto-object-v1";
const DATA_KEY: &[u8] = b"creto-object-key-v1";
/// More than any header takes.
pub(crate) const HEADER_BYTES_MAX: u64 = 4 * 1024;

pub(crate) fn seal(ring: &KeyRing, owner: &NhiId, class: Class, reference: &Reference, content: &[u8]) -> Result<Vec<u8>, StorageError> {
    let suite = AeadSuite::default();
    let data_key = Secret::random(aead::KEY_BYTES)?;
    let wrapped = ring.seal(Purpose::Storage, &key_data(owner, class, reference), data_key.expose())?;
    let length = (content.len() as u64).to_be_bytes();
    let mut object = length_prefixed(&[FORMAT, suite.id().as_bytes(), class.as_str().as_bytes(), &length, &wrapped]);
    let data = object_data(&object, owner, reference);
    object.append(&mut aead::seal(suite, &data_key, &data, content)?);
    Ok(object)
}

pub(crate) fn open(ring: &KeyRing, owner: &NhiId, reference: &Reference, stored: &[u8]) -> Result<Object, StorageError> {
    let tampered = || StorageError::Tampered(*reference);
    let part = |bytes| take_part(bytes).ok_or(StorageError::Truncated(*reference));
    let (format, rest) = part(stored)?;
    let (suite, rest) = part(rest)?;
    let (class, rest) = part(rest)?;
    let (length, rest) = part(rest)?;
    let (wrapped, body) = part(rest)?;
    if format != FORMAT {
        return Err(tampered());
    }
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| tampered());
    let suite: AeadSuite = text(suite)?.parse().map_err(|_| tampered())?;
    let class: Class = text(class)?.parse().map_err(|_| tampered())?;
    let length = u64::from_be_bytes(length.try_into().map_err(|_| tampered())?);
    if (body.len() as u64) < length.saturating_add(aead::OVERHEAD_BYTES as u64) {
        return Err(StorageError::Truncated(*reference));
    }
    let header = stored.get(..stored.len().saturating_sub(body.len())).ok_or_else(tampered)?;
    let data_key = ring.unseal(Purpose::Storage, &key_data(owner, class, reference), wrapped).map_err(|_| tampered())?;
    let content = aead::open(suite, &data_key, &object_data(header, owner, reference), body).map_err(|_| tampered())?;
    // The encryption proves that we wrote it; this proves that we wrote what the reference names.
    if Reference::of(owner, class, content.expose()) != *reference {
        return Err(tampered());
    }
    Ok(Object { class, content })
}

fn key_data(owner: &NhiId, class: Class, reference: &Reference) -> Vec<u8> {
    length_prefixed(&[DATA_KEY, owner.to_string().as_bytes(), class.as_str().as_bytes(), reference.digest().as_bytes()])
}

/// The header carries the class.
fn object_data(header: &[u8], owner: &NhiId, reference: &Reference) -> Vec<u8> {
    length_prefixed(&[header, owner.to_string().as_bytes(), reference.digest().as_bytes()])
}
