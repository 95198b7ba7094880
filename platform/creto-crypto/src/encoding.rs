//! Unambiguous byte encodings.

/// Each part as its length in eight big-endian bytes, then its bytes: no two different lists of parts give the same bytes, and the
/// encoding of a list begins with the encoding of each of its beginnings.
#[must_use]
pub fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len().saturating_add(8)).sum());
    for part in parts {
        // usize is at most 64 bits on every platform Rust supports, so this widens.
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// Takes one part of [`length_prefixed`] off the front; `None` when it is cut short.
#[must_use]
pub fn take_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_be_bytes(*len)).ok()?)
}

/// Bytes as unpadded base64url text (RFC 4648, section 5), for `#[serde(with = …)]`.
pub(crate) mod base64url {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
