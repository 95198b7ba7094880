//! Signatures in the formats others use. Those of passkeys (WebAuthn) and identity providers (JOSE) are verified here and never accepted
//! where one of our own suites is meant: the type is another. The one kind that is made here is `RS256`, for receivers of webhooks that
//! know nothing else.

use std::fmt;

use crate::error::CryptoError;
use crate::provider;
use crate::secret::Secret;

/// Shortest RSA modulus that is accepted, in bytes: 2048 bits.
const RSA_BYTES_MIN: usize = 256;
/// Longest: 8192 bits.
const RSA_BYTES_MAX: usize = 1024;

/// A public key of somebody else's making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForeignKey {
    /// ECDSA over P-256 with SHA-256 (COSE −7, JOSE `ES256`): the point, `x ‖ y`, 64 bytes.
    P256([u8; 64]),
    /// Ed25519 (COSE −8, JOSE `EdDSA`): 32 bytes.
    Ed25519([u8; 32]),
    /// RSASSA-PKCS1-v1_5 with SHA-256 (COSE −257, JOSE `RS256`).
    Rsa {
        /// The modulus, big-endian, without leading zeros.
        n: Vec<u8>,
        /// The public exponent, likewise.
        e: Vec<u8>,
    },
}

/// How an ECDSA signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcdsaForm {
    /// ASN.1 DER, as WebAuthn has it.
    Der,
    /// `r ‖ s`, as JOSE has it (RFC 7518, section 3.4).
    Fixed,
}

impl ForeignKey {
    /// An RSA key, where its size is acceptable.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`].
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, CryptoError> {
        let trimmed = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        let (n, e) = (trimmed(n), trimmed(e));
        if !(RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&n.len()) || !(1..=8).contains(&e.len()) {
            return Err(CryptoError::BadKey("RSA key of 2048 to 8192 bits"));
        }
        Ok(Self::Rsa { n, e })
    }

    /// Whether `signature` is this key's over `message`. `form` says how ECDSA signatures are written; the others have one form.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`], also for a point that is not on its curve.
    pub fn verify(&self, message: &[u8], signature: &[u8], form: EcdsaForm) -> Result<(), CryptoError> {
        match self {
            Self::P256(point) => provider::verify_p256(point, message, signature, form == EcdsaForm::Der),
            Self::Ed25519(key) => provider::verify_ed25519(key, message, signature),
            Self::Rsa { n, e } => provider::verify_rsa_sha256(n, e, message, signature),
        }
    }
}

/// A key that signs by `RS256` (RFC 7518, section 3.3: RSASSA-PKCS1-v1_5 with SHA-256), of 2048 bits. `Debug` shows nothing of it.
pub struct RsaSigner(provider::RsaPair);

impl RsaSigner {
    /// A fresh one: some hundred milliseconds.
    pub fn generate() -> Result<Self, CryptoError> {
        provider::RsaPair::generate().map(Self)
    }

    /// Reads what [`Self::to_secret`] wrote.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`].
    pub fn from_secret(secret: &Secret) -> Result<Self, CryptoError> {
        provider::RsaPair::from_pkcs8(secret.expose()).map(Self)
    }

    /// The private key as PKCS#8 (RFC 5208), to be sealed.
    pub fn to_secret(&self) -> Result<Secret, CryptoError> {
        self.0.pkcs8().map(Secret::new)
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), DER: what a PEM of `PUBLIC KEY` holds.
    pub fn public_spki(&self) -> Result<Vec<u8>, CryptoError> {
        self.0.public_spki()
    }

    /// The signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.0.sign(message)
    }
}

impl fmt::Debug for RsaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaSigner")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn the_published_examples_of_jose_verify_and_nothing_else_does() {
        // RFC 7515, appendix A.3 (ES256) and RFC 8037, appendix A.4 (Ed25519).
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let mut point = [0; 64];
        point[..32].copy_from_slice(&decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"));
        point[32..].copy_from_slice(&decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"));
        let message =
            b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
        let key = ForeignKey::P256(point);
        key.verify(message, &signature, EcdsaForm::Fixed).unwrap();
        assert!(key.verify(message, &signature, EcdsaForm::Der).is_err());
        assert!(key.verify(b"another", &signature, EcdsaForm::Fixed).is_err());
        assert!(ForeignKey::P256([7; 64]).verify(message, &signature, EcdsaForm::Fixed).is_err(), "not on the curve");

        let key: [u8; 32] = decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").try_into().unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
        ForeignKey::Ed25519(key).verify(message, &signature, EcdsaForm::Fixed).unwrap();
        assert!(ForeignKey::Ed25519(key).verify(b"another", &signature, EcdsaForm::Fixed).is_err());
    }

    #[test]
    fn a_short_rsa_key_is_refused() {
        assert!(ForeignKey::rsa(&[0xff; 128], &[1, 0, 1]).is_err());
        assert!(ForeignKey::rsa(&[0xff; 256], &[]).is_err());
        assert!(ForeignKey::rsa(&[0xff; 256], &[1, 0, 1]).is_ok());
    }

    #[test]
    fn what_is_signed_by_rs256_verifies_under_its_public_key_and_nothing_else_does() {
        let signer = RsaSigner::generate().unwrap();
        let again = RsaSigner::from_secret(&signer.to_secret().unwrap()).unwrap();
        let spki = signer.public_spki().unwrap();
        assert_eq!(spki, again.public_spki().unwrap());
        // The 256 bytes of the modulus stand before the exponent 65537 at the end (RFC 8017, appendix A.1.1).
        let (n, e) = (&spki[spki.len() - 5 - 256..spki.len() - 5], &spki[spki.len() - 3..]);
        let key = ForeignKey::rsa(n, e).unwrap();
        let signature = again.sign(b"a message").unwrap();
        key.verify(b"a message", &signature, EcdsaForm::Fixed).unwrap();
        assert!(key.verify(b"another", &signature, EcdsaForm::Fixed).is_err());
        assert!(RsaSigner::from_secret(&Secret::new(vec![7; 64])).is_err());
        assert_eq!(format!("{signer:?}"), "RsaSigner");
    }
}
