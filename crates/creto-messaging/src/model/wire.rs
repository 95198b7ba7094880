//! The binary codec: big-endian integers, fixed fields without a length, variable fields behind a bounded one.

use creto_kernel::{Digest, NhiId, Timestamp};

/// Version of every structure this crate puts on the wire or at rest.
pub const VERSION: u8 = 1;
/// Longest identity text, in bytes: 255 of trust domain, 63 of tenant, 64 of name, and the fixed parts.
pub const NHI_BYTES_MAX: usize = 420;

/// Why bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends inside a field.
    #[error("the bytes end inside `{0}`")]
    Truncated(&'static str),
    /// A length passes its limit.
    #[error("`{field}` is longer than its limit of {limit_bytes} bytes")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its limit.
        limit_bytes: usize,
    },
    /// Bytes follow the last field.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// Another version than ours.
    #[error("version {0} is not known: this program speaks version 1")]
    Version(u8),
    /// A suite nobody defined.
    #[error("suite {0} is not known: this program speaks suite 1")]
    Suite(u8),
    /// A value outside the field's set.
    #[error("`{0}` holds a value that is not allowed")]
    Value(&'static str),
}

/// Builds an encoding. Its caller keeps to the limits: the types it encodes were parsed.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty encoding with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.fixed(&value.to_be_bytes())
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.fixed(&value.to_be_bytes())
    }

    /// A moment: its microseconds, eight bytes, two's complement.
    pub fn time(&mut self, value: Timestamp) -> &mut Self {
        self.fixed(&value.as_micros().to_be_bytes())
    }

    /// Bytes whose length the reader knows.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A digest.
    pub fn digest(&mut self, digest: &Digest) -> &mut Self {
        self.fixed(digest.as_bytes())
    }

    /// Bytes behind a four-byte length. Held at `u32::MAX`, which no limit here comes near.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).fixed(bytes)
    }

    /// An identity behind its length.
    pub fn nhi(&mut self, nhi: &NhiId) -> &mut Self {
        self.bytes(nhi.as_str().as_bytes())
    }

    /// A count, as four bytes.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Zero, or one and what `write` adds.
    pub fn optional<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) -> &mut Self {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    /// What was written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoding.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads an encoding front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    read_bytes: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the start.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, read_bytes: 0 }
    }

    /// How many bytes were read.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.read_bytes
    }

    /// `count` bytes.
    pub fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(WireError::Truncated(field))?;
        self.rest = rest;
        self.read_bytes += count;
        Ok(head)
    }

    /// `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        self.take(N, field)?.try_into().map_err(|_| WireError::Truncated(field))
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A moment.
    pub fn time(&mut self, field: &'static str) -> Result<Timestamp, WireError> {
        Timestamp::from_micros(i64::from_be_bytes(self.array(field)?)).ok_or(WireError::Value(field))
    }

    /// A digest.
    pub fn digest(&mut self, field: &'static str) -> Result<Digest, WireError> {
        self.array(field).map(Digest::from_bytes)
    }

    /// Bytes behind a four-byte length of at most `limit_bytes`.
    pub fn bytes(&mut self, limit_bytes: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let length = self.count(limit_bytes, field)?;
        self.take(length, field)
    }

    /// A count of at most `limit`.
    pub fn count(&mut self, limit: usize, field: &'static str) -> Result<usize, WireError> {
        let count = usize::try_from(self.u32(field)?).map_err(|_| WireError::TooLong { field, limit_bytes: limit })?;
        if count > limit { Err(WireError::TooLong { field, limit_bytes: limit }) } else { Ok(count) }
    }

    /// An identity behind its length.
    pub fn nhi(&mut self, field: &'static str) -> Result<NhiId, WireError> {
        let text = std::str::from_utf8(self.bytes(NHI_BYTES_MAX, field)?).map_err(|_| WireError::Value(field))?;
        text.parse().map_err(|_| WireError::Value(field))
    }

    /// A flag byte, then what `read` takes when it is one.
    pub fn optional<T, E: From<WireError>>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        match self.u8(field)? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(WireError::Value(field).into()),
        }
    }

    /// The version byte, which must be ours.
    pub fn version(&mut self) -> Result<(), WireError> {
        match self.u8("version")? {
            VERSION => Ok(()),
            other => Err(WireError::Version(other)),
        }
    }

    /// Refuses whatever is left.
    pub const fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.rest.len())) }
    }
}
