//! Signatures as [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)
//! defines them: `v1,` and the base64 HMAC-SHA-256 of `id.timestamp.body`, one for each secret, parted by spaces.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_crypto::{CryptoError, Secret, kdf};
use creto_kernel::Timestamp;

/// What every serialised secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret that is made here; the specification allows 24 to 64.
const SECRET_BYTES: usize = 32;

/// The secret an endpoint shares with us. `Debug` shows only its length.
#[derive(Debug, Clone)]
pub struct SigningSecret(Secret);

impl SigningSecret {
    /// A fresh one.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self(Secret::random(SECRET_BYTES)?))
    }

    /// By its bytes.
    #[must_use]
    pub const fn of(bytes: Secret) -> Self {
        Self(bytes)
    }

    /// Reads `whsec_` and base64; `None` where it is not that, or not 24 to 64 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (24..=64).contains(&bytes.len()).then(|| Self(Secret::new(bytes)))
    }

    /// The text a receiver configures: shown once.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0.expose()))
    }

    /// The bytes, to be sealed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// The value of `webhook-signature`: signed with every secret that is in force, so that a receiver may change over at any time.
#[must_use]
pub fn sign(id: &str, at: Timestamp, body: &[u8], secrets: &[SigningSecret]) -> String {
    let mut content = format!("{id}.{}.", seconds(at)).into_bytes();
    content.extend_from_slice(body);
    let signatures: Vec<String> =
        secrets.iter().map(|secret| format!("v1,{}", STANDARD.encode(kdf::hmac(secret.expose(), &content)))).collect();
    signatures.join(" ")
}

/// The value of `webhook-timestamp`.
#[must_use]
pub const fn seconds(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_is_signed_as_published() {
        // The test vector of the specification's reference libraries.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_secs(1_614_265_330).unwrap();
        let signature = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#, &[secret]);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_make_two_signatures_and_each_reads_back() {
        let (old, new) = (SigningSecret::generate().unwrap(), SigningSecret::generate().unwrap());
        let both = sign("id", Timestamp::EPOCH, b"x", &[new.clone(), old.clone()]);
        assert_eq!(
            both,
            format!("{} {}", sign("id", Timestamp::EPOCH, b"x", std::slice::from_ref(&new)), sign("id", Timestamp::EPOCH, b"x", &[old]))
        );
        assert_eq!(SigningSecret::parse(&new.to_text()).unwrap().expose(), new.expose());
        for text in ["", "whsec_", "whsec_####", "whsec_YWJj", new.to_text().trim_start_matches("whsec_")] {
            assert!(SigningSecret::parse(text).is_none(), "{text}");
        }
    }
}
