//! Suites: a suite names the algorithms and their composition together. Every artefact carries its suite's identifier, and an
//! identifier never changes meaning.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::CryptoError;

macro_rules! suites {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $id:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every suite of this sort, the default first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The identifier written into artefacts.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),+ }
            }
        }

        impl FromStr for $name {
            type Err = CryptoError;
            fn from_str(text: &str) -> Result<Self, CryptoError> {
                match text {
                    $($id => Ok(Self::$variant),)+
                    other => Err(CryptoError::UnknownSuite(other.chars().take(64).collect())),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.id())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.id())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

suites! {
    /// Signature suites.
    SignSuite {
        /// Ed25519 (RFC 8032) and ML-DSA-65 (FIPS 204) over the same input; both must verify. Keys and signatures are the two
        /// concatenated, Ed25519 first: public 32 + 1952 bytes, signature 64 + 3309, secret seeds 32 + 32.
        #[default]
        Ed25519MlDsa65 = "ed25519+ml-dsa-65",
        /// Ed25519 (RFC 8032): public 32 bytes, signature 64.
        Ed25519 = "ed25519",
        /// ML-DSA-65 (FIPS 204), pure, empty context: public 1952 bytes, signature 3309.
        MlDsa65 = "ml-dsa-65",
        /// ML-DSA-44 (FIPS 204), pure, empty context: public 1312 bytes, signature 2420.
        MlDsa44 = "ml-dsa-44",
    }
}

suites! {
    /// Key encapsulation suites. Every shared secret is 32 bytes.
    KemSuite {
        /// X-Wing (draft-connolly-cfrg-xwing-kem): ML-KEM-768 and X25519 combined by SHA3-256; secret while either stands.
        /// Public 1184 + 32 bytes, ciphertext 1088 + 32, ML-KEM first.
        #[default]
        XWing = "x-wing",
        /// ML-KEM-768 (FIPS 203): public 1184 bytes, ciphertext 1088.
        MlKem768 = "ml-kem-768",
        /// Ephemeral-static X25519 (RFC 7748) with HKDF-SHA-256 over the shared secret and both public keys: public and
        /// ciphertext 32 bytes. Not safe against a quantum computer.
        X25519 = "x25519",
    }
}

suites! {
    /// Authenticated encryption suites: 32-byte keys, 12-byte random nonces, 16-byte tags.
    AeadSuite {
        /// AES-256-GCM (NIST SP 800-38D).
        #[default]
        Aes256Gcm = "aes-256-gcm",
        /// ChaCha20-Poly1305 (RFC 8439).
        ChaCha20Poly1305 = "chacha20-poly1305",
    }
}

impl SignSuite {
    /// Bytes of a public key.
    #[must_use]
    pub const fn public_bytes(self) -> usize {
        match self {
            Self::Ed25519MlDsa65 => 32 + 1952,
            Self::Ed25519 => 32,
            Self::MlDsa65 => 1952,
            Self::MlDsa44 => 1312,
        }
    }

    /// Bytes of a signature.
    #[must_use]
    pub const fn signature_bytes(self) -> usize {
        match self {
            Self::Ed25519MlDsa65 => 64 + 3309,
            Self::Ed25519 => 64,
            Self::MlDsa65 => 3309,
            Self::MlDsa44 => 2420,
        }
    }

    /// Bytes of a secret key in its sealed form: one 32-byte seed for each algorithm.
    #[must_use]
    pub const fn secret_bytes(self) -> usize {
        match self {
            Self::Ed25519MlDsa65 => 64,
            Self::Ed25519 | Self::MlDsa65 | Self::MlDsa44 => 32,
        }
    }
}

impl KemSuite {
    /// Bytes of a public key.
    #[must_use]
    pub const fn public_bytes(self) -> usize {
        match self {
            Self::XWing => 1184 + 32,
            Self::MlKem768 => 1184,
            Self::X25519 => 32,
        }
    }

    /// Bytes of an encapsulated key.
    #[must_use]
    pub const fn ciphertext_bytes(self) -> usize {
        match self {
            Self::XWing => 1088 + 32,
            Self::MlKem768 => 1088,
            Self::X25519 => 32,
        }
    }

    /// Bytes of a secret key in its stored form: the expanded FIPS 203 decapsulation key, then the X25519 scalar.
    #[must_use]
    pub const fn secret_bytes(self) -> usize {
        match self {
            Self::XWing => 2400 + 32,
            Self::MlKem768 => 2400,
            Self::X25519 => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_round_trip_and_unknown_ones_are_refused() {
        for suite in SignSuite::ALL {
            assert_eq!(suite.id().parse::<SignSuite>().unwrap(), *suite);
        }
        for suite in KemSuite::ALL {
            assert_eq!(suite.id().parse::<KemSuite>().unwrap(), *suite);
        }
        for suite in AeadSuite::ALL {
            assert_eq!(suite.id().parse::<AeadSuite>().unwrap(), *suite);
        }
        for bad in ["", "Ed25519", "rsa", "ed25519+ml-dsa-65 ", "ml-dsa-87", "none"] {
            assert!(matches!(bad.parse::<SignSuite>(), Err(CryptoError::UnknownSuite(_))), "{bad}");
        }
    }

    #[test]
    fn the_defaults_are_hybrid() {
        assert_eq!(SignSuite::default(), SignSuite::Ed25519MlDsa65);
        assert_eq!(KemSuite::default(), KemSuite::XWing);
        assert_eq!(AeadSuite::default(), AeadSuite::Aes256Gcm);
    }
}
