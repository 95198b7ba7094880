//! Prekeys, what an agent publishes, and what one requester gets of it.

use creto_kernel::{NhiId, Timestamp};

use crate::model::identity::IdentityStatement;
use crate::model::ids::DeviceId;
use crate::model::suite::SuiteId;
use crate::model::wire::{Reader, VERSION, WireError, Writer};

/// Most one-time prekeys of one kind in one publication.
pub const ONE_TIME_KEYS_MAX: usize = 100;
/// Longest publication, in bytes: two hundred one-time keys with their signatures.
pub const PUBLICATION_BYTES_MAX: usize = 1 << 20;
/// Longest bundle, in bytes.
pub const BUNDLE_BYTES_MAX: usize = 32 << 10;

/// Numbers a prekey within its device and kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PrekeyId(pub u32);

/// What a prekey is for. The kind chooses the signature's domain, so that a key of one kind never passes for another (public-key
/// confusion, recipe 2.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PrekeyKind {
    /// Agreement, used by many until it is rotated.
    AgreementSigned,
    /// Agreement, used once.
    AgreementOnce,
    /// Encapsulation, used by many when the one-time keys have run out.
    KemLastResort,
    /// Encapsulation, used once.
    KemOnce,
}

impl PrekeyKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::AgreementSigned, Self::AgreementOnce, Self::KemLastResort, Self::KemOnce];

    /// The byte on the wire and in the store.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::AgreementSigned => 1,
            Self::AgreementOnce => 2,
            Self::KemLastResort => 3,
            Self::KemOnce => 4,
        }
    }

    /// Whether the key serves one session only.
    #[must_use]
    pub const fn is_one_time(self) -> bool {
        matches!(self, Self::AgreementOnce | Self::KemOnce)
    }

    /// The signature domain of this kind.
    #[must_use]
    pub const fn domain(self) -> &'static str {
        match self {
            Self::AgreementSigned => "creto-messaging/v1/prekey/agreement-signed",
            Self::AgreementOnce => "creto-messaging/v1/prekey/agreement-once",
            Self::KemLastResort => "creto-messaging/v1/prekey/kem-last-resort",
            Self::KemOnce => "creto-messaging/v1/prekey/kem-once",
        }
    }

    const fn public_bytes(self, suite: SuiteId) -> usize {
        match self {
            Self::AgreementSigned | Self::AgreementOnce => 32,
            Self::KemLastResort | Self::KemOnce => suite.sizes().kem_public,
        }
    }

    /// Reads the byte.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let byte = input.u8("prekey kind")?;
        Self::ALL.into_iter().find(|kind| kind.byte() == byte).ok_or(WireError::Value("prekey kind"))
    }
}

/// A signed prekey. Unverified: [`crate::core::suite::verify_bundle`] checks signature, kind and expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prekey {
    /// What it is for.
    pub kind: PrekeyKind,
    /// Which one.
    pub id: PrekeyId,
    /// End of validity, exclusive.
    pub not_after: Timestamp,
    /// The public key; its length is the kind's in the suite.
    pub public: Vec<u8>,
    /// By the identity's signing key, in the kind's domain, over [`Self::signed_bytes`].
    pub signature: Vec<u8>,
}

impl Prekey {
    /// What the signature covers: also the identity and device, so that nobody re-publishes another's prekey as their own.
    #[must_use]
    pub fn signed_bytes(&self, suite: SuiteId, nhi: &NhiId, device: DeviceId) -> Vec<u8> {
        let mut out = Writer::with_capacity(1700);
        out.u8(VERSION);
        suite.encode(&mut out);
        out.nhi(nhi).fixed(device.as_bytes()).u8(self.kind.byte()).u32(self.id.0).time(self.not_after).fixed(&self.public);
        out.into_bytes()
    }

    fn encode(&self, out: &mut Writer) {
        out.u8(self.kind.byte()).u32(self.id.0).time(self.not_after).fixed(&self.public).fixed(&self.signature);
    }

    fn decode(input: &mut Reader<'_>, suite: SuiteId, expected: PrekeyKind) -> Result<Self, WireError> {
        let kind = PrekeyKind::decode(input)?;
        if kind != expected {
            return Err(WireError::Value("prekey kind"));
        }
        Ok(Self {
            kind,
            id: PrekeyId(input.u32("prekey id")?),
            not_after: input.time("prekey not_after")?,
            public: input.take(kind.public_bytes(suite), "prekey")?.to_vec(),
            signature: input.take(suite.sizes().signature, "prekey signature")?.to_vec(),
        })
    }

    /// The encoding alone, as the directory stores it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(5000);
        self.encode(&mut out);
        out.into_bytes()
    }

    /// Reads bytes that hold one prekey of the expected kind and nothing else.
    pub fn from_bytes(bytes: &[u8], suite: SuiteId, expected: PrekeyKind) -> Result<Self, WireError> {
        let mut input = Reader::new(bytes);
        let prekey = Self::decode(&mut input, suite, expected)?;
        input.finish()?;
        Ok(prekey)
    }
}

/// What one requester gets: the identity, and one key of each kind that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Whose.
    pub statement: IdentityStatement,
    /// The current signed prekey.
    pub signed: Prekey,
    /// The last-resort encapsulation key; used when `kem_once` is absent.
    pub last_resort: Prekey,
    /// A one-time agreement key, absent when none is left.
    pub agreement_once: Option<Prekey>,
    /// A one-time encapsulation key, absent when none is left.
    pub kem_once: Option<Prekey>,
}

impl Bundle {
    /// The encapsulation key to use: the one-time key when there is one.
    #[must_use]
    pub const fn kem(&self) -> &Prekey {
        match &self.kem_once {
            Some(once) => once,
            None => &self.last_resort,
        }
    }

    /// All prekeys present.
    pub fn prekeys(&self) -> impl Iterator<Item = &Prekey> {
        [Some(&self.signed), Some(&self.last_resort), self.agreement_once.as_ref(), self.kem_once.as_ref()].into_iter().flatten()
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(BUNDLE_BYTES_MAX);
        out.u8(VERSION);
        self.statement.encode(&mut out);
        self.signed.encode(&mut out);
        self.last_resort.encode(&mut out);
        out.optional(self.agreement_once.as_ref(), |out, key| key.encode(out));
        out.optional(self.kem_once.as_ref(), |out, key| key.encode(out));
        out.into_bytes()
    }

    /// Reads bytes that hold one bundle and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Reader::new(bytes);
        input.version()?;
        let statement = IdentityStatement::decode(&mut input)?;
        let suite = statement.suite;
        let bundle = Self {
            signed: Prekey::decode(&mut input, suite, PrekeyKind::AgreementSigned)?,
            last_resort: Prekey::decode(&mut input, suite, PrekeyKind::KemLastResort)?,
            agreement_once: input.optional("agreement_once", |input| Prekey::decode(input, suite, PrekeyKind::AgreementOnce))?,
            kem_once: input.optional("kem_once", |input| Prekey::decode(input, suite, PrekeyKind::KemOnce))?,
            statement,
        };
        input.finish()?;
        Ok(bundle)
    }
}

/// What an agent publishes: its identity, its current keys, and a stock of one-time keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Whose.
    pub statement: IdentityStatement,
    /// The signed prekey; replaces the one before.
    pub signed: Prekey,
    /// The last-resort encapsulation key; replaces the one before.
    pub last_resort: Prekey,
    /// One-time agreement keys; added to the stock. At most [`ONE_TIME_KEYS_MAX`].
    pub agreement_once: Vec<Prekey>,
    /// One-time encapsulation keys; added to the stock. At most [`ONE_TIME_KEYS_MAX`].
    pub kem_once: Vec<Prekey>,
}

impl Publication {
    /// All prekeys.
    pub fn prekeys(&self) -> impl Iterator<Item = &Prekey> {
        [&self.signed, &self.last_resort].into_iter().chain(&self.agreement_once).chain(&self.kem_once)
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION);
        self.statement.encode(&mut out);
        self.signed.encode(&mut out);
        self.last_resort.encode(&mut out);
        for stock in [&self.agreement_once, &self.kem_once] {
            out.count(stock.len());
            stock.iter().for_each(|key| key.encode(&mut out));
        }
        out.into_bytes()
    }

    /// Reads bytes that hold one publication and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Reader::new(bytes);
        input.version()?;
        let statement = IdentityStatement::decode(&mut input)?;
        let suite = statement.suite;
        let stock = |input: &mut Reader<'_>, kind, field| -> Result<Vec<Prekey>, WireError> {
            let count = input.count(ONE_TIME_KEYS_MAX, field)?;
            (0..count).map(|_| Prekey::decode(input, suite, kind)).collect()
        };
        let publication = Self {
            signed: Prekey::decode(&mut input, suite, PrekeyKind::AgreementSigned)?,
            last_resort: Prekey::decode(&mut input, suite, PrekeyKind::KemLastResort)?,
            agreement_once: stock(&mut input, PrekeyKind::AgreementOnce, "agreement_once")?,
            kem_once: stock(&mut input, PrekeyKind::KemOnce, "kem_once")?,
            statement,
        };
        input.finish()?;
        Ok(publication)
    }
}
