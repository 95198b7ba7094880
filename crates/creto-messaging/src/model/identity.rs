//! Identity statements: which signing key and which agreement key speak for an identity.

use std::fmt;

use creto_kernel::{Digest, NhiId, Timestamp};

use crate::model::ids::{AgreementPublic, DeviceId};
use crate::model::suite::SuiteId;
use crate::model::wire::{Reader, VERSION, WireError, Writer};

/// Names a signing identity key: SHA-256 over a label, the suite and the public key. What a peer pins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKeyId(Digest);

impl IdentityKeyId {
    /// Names the key `public` of `suite`.
    #[must_use]
    pub fn of(suite: SuiteId, public: &[u8]) -> Self {
        Self(Digest::of_parts(&[b"creto-messaging/v1/identity-key", &[suite.byte()], public]))
    }

    /// Wraps a digest that already names a key.
    #[must_use]
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for IdentityKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for IdentityKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKeyId({})", self.0)
    }
}

/// Binds an identity's agreement key to its signing key, signed by the latter. The two are separate keys, so that no key ever serves two
/// algorithms (recipe 2.2).
///
/// Unverified: [`crate::core::suite::verify_statement`] checks the signature. It proves that the signer owns the signing key, not that the
/// key is the identity's; that comes from a pin ([`IdentityKeyId`]) or, on first contact, from the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityStatement {
    /// Suite of both keys.
    pub suite: SuiteId,
    /// Whose keys.
    pub nhi: NhiId,
    /// On which device.
    pub device: DeviceId,
    /// Signature public key; its length is the suite's.
    pub signing: Vec<u8>,
    /// Agreement public key.
    pub agreement: AgreementPublic,
    /// End of validity, exclusive.
    pub not_after: Timestamp,
    /// Over [`Self::signed_bytes`]; its length is the suite's.
    pub signature: Vec<u8>,
}

impl IdentityStatement {
    /// What the signature covers.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(2600);
        self.encode_unsigned(&mut out);
        out.into_bytes()
    }

    /// The name of its signing key.
    #[must_use]
    pub fn key_id(&self) -> IdentityKeyId {
        IdentityKeyId::of(self.suite, &self.signing)
    }

    fn encode_unsigned(&self, out: &mut Writer) {
        out.u8(VERSION);
        self.suite.encode(out);
        out.nhi(&self.nhi).fixed(self.device.as_bytes()).fixed(&self.signing).fixed(self.agreement.as_bytes()).time(self.not_after);
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Writer) {
        self.encode_unsigned(out);
        out.fixed(&self.signature);
    }

    /// The encoding alone.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(6000);
        self.encode(&mut out);
        out.into_bytes()
    }

    /// Reads one statement, leaving the reader behind it.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        input.version()?;
        let suite = SuiteId::decode(input)?;
        let sizes = suite.sizes();
        Ok(Self {
            suite,
            nhi: input.nhi("identity")?,
            device: DeviceId::from_bytes(input.array("device")?),
            signing: input.take(sizes.signing_public, "signing key")?.to_vec(),
            agreement: AgreementPublic::from_bytes(input.array("agreement key")?),
            not_after: input.time("not_after")?,
            signature: input.take(sizes.signature, "statement signature")?.to_vec(),
        })
    }

    /// Reads bytes that hold one statement and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Reader::new(bytes);
        let statement = Self::decode(&mut input)?;
        input.finish()?;
        Ok(statement)
    }
}
