//! Ed25519 (RFC 8032) and ML-DSA (FIPS 204), both from 32-byte seeds.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, KeyPair as _, ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65,
    ML_DSA_65_SIGNING, PqdsaKeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

use crate::error::CryptoError;

pub(crate) struct Ed25519Pair(Ed25519KeyPair);

impl Ed25519Pair {
    pub(crate) fn from_seed(seed: &[u8]) -> Result<Self, CryptoError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CryptoError::BadKey("32-byte Ed25519 seed"))?;
        Ok(Self(pair))
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(crate) fn sign(&self, input: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature = self.0.try_sign(input).map_err(|_| CryptoError::Provider("sign"))?;
        Ok(signature.as_ref().to_vec())
    }
}

#[derive(Clone, Copy)]
pub(crate) enum MlDsa {
    L44,
    L65,
}

pub(crate) struct MlDsaPair(PqdsaKeyPair);

impl MlDsaPair {
    pub(crate) fn from_seed(level: MlDsa, seed: &[u8]) -> Result<Self, CryptoError> {
        let algorithm = match level {
            MlDsa::L44 => &ML_DSA_44_SIGNING,
            MlDsa::L65 => &ML_DSA_65_SIGNING,
        };
        let pair = PqdsaKeyPair::from_seed(algorithm, seed).map_err(|_| CryptoError::BadKey("32-byte ML-DSA seed"))?;
        Ok(Self(pair))
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(crate) fn sign(&self, input: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut signature = vec![0; self.0.algorithm().signature_len()];
        let len = self.0.sign(input, &mut signature).map_err(|_| CryptoError::Provider("sign"))?;
        signature.truncate(len);
        Ok(signature)
    }
}

pub(crate) fn verify_ed25519(public: &[u8], input: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    UnparsedPublicKey::new(&ED25519, public).verify(input, signature).map_err(|_| CryptoError::BadSignature)
}

pub(crate) fn verify_ml_dsa(level: MlDsa, public: &[u8], input: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    let algorithm = match level {
        MlDsa::L44 => &ML_DSA_44,
        MlDsa::L65 => &ML_DSA_65,
    };
    UnparsedPublicKey::new(algorithm, public).verify(input, signature).map_err(|_| CryptoError::BadSignature)
}

/// `point` is `x ‖ y`; `der` says how the signature is written.
pub(crate) fn verify_p256(point: &[u8; 64], input: &[u8], signature: &[u8], der: bool) -> Result<(), CryptoError> {
    // SEC 1, section 2.3.3: an uncompressed point begins with 4.
    let mut key = vec![4];
    key.extend_from_slice(point);
    let algorithm = if der { &ECDSA_P256_SHA256_ASN1 } else { &ECDSA_P256_SHA256_FIXED };
    UnparsedPublicKey::new(algorithm, key).verify(input, signature).map_err(|_| CryptoError::BadSignature)
}

/// `n` and `e` are big-endian, without leading zeros.
pub(crate) fn verify_rsa_sha256(n: &[u8], e: &[u8], input: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, input, signature).map_err(|_| CryptoError::BadSignature)
}

/// RSASSA-PKCS1-v1_5 with SHA-256 under a modulus of 2048 bits.
pub(crate) struct RsaPair(RsaKeyPair);

impl RsaPair {
    pub(crate) fn generate() -> Result<Self, CryptoError> {
        RsaKeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|_| CryptoError::Provider("generate an RSA key"))
    }

    /// `pkcs8` is what [`Self::pkcs8`] gives.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, CryptoError> {
        RsaKeyPair::from_pkcs8(pkcs8).map(Self).map_err(|_| CryptoError::BadKey("PKCS#8 RSA key"))
    }

    pub(crate) fn pkcs8(&self) -> Result<Vec<u8>, CryptoError> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| CryptoError::Provider("encode an RSA key"))?;
        Ok(der.as_ref().to_vec())
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5280), DER.
    pub(crate) fn public_spki(&self) -> Result<Vec<u8>, CryptoError> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().map_err(|_| CryptoError::Provider("encode an RSA key"))?;
        Ok(der.as_ref().to_vec())
    }

    pub(crate) fn sign(&self, input: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let signed = self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature);
        signed.map(|()| signature).map_err(|_| CryptoError::Provider("sign"))
    }
}
