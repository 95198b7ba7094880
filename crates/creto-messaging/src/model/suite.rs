//! Suites by identifier. Nothing outside this file and `core/suite.rs` knows what a suite is made of.

use crate::model::wire::{Reader, WireError, Writer};

/// One fixed choice of agreement, encapsulation, key derivation, encryption and signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SuiteId {
    /// Suite 1: classical agreement and a post-quantum encapsulation together, hybrid signatures.
    S1,
}

/// Lengths that a suite fixes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// An encapsulation public key.
    pub kem_public: usize,
    /// An encapsulation ciphertext.
    pub kem_ciphertext: usize,
    /// A signature public key.
    pub signing_public: usize,
    /// A signature.
    pub signature: usize,
}

impl SuiteId {
    /// Suites this build offers, best first. The list enters the transcript, so that nobody can shorten it unseen.
    pub const OFFERED: &[Self] = &[Self::S1];

    /// The byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::S1 => 1,
        }
    }

    /// Field lengths.
    #[must_use]
    pub const fn sizes(self) -> Sizes {
        match self {
            // FIPS 203 table 3 (k = 3); FIPS 204 table 2 behind RFC 8032's 32 and 64 bytes.
            Self::S1 => Sizes { kem_public: 1184, kem_ciphertext: 1088, signing_public: 32 + 1952, signature: 64 + 3309 },
        }
    }

    /// Writes the byte.
    pub fn encode(self, out: &mut Writer) {
        out.u8(self.byte());
    }

    /// Reads the byte.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        match input.u8("suite")? {
            1 => Ok(Self::S1),
            other => Err(WireError::Suite(other)),
        }
    }
}
