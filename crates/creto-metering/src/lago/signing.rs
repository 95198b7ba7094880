//! Signatures of webhooks as Lago's receivers check them: `X-Lago-Signature` is a base64 HMAC-SHA-256 of the body under the endpoint's
//! secret, or a JWT (RFC 7519) by `RS256` whose claim `data` is the body and whose issuer is the server's public address.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use creto_crypto::foreign::RsaSigner;
use creto_crypto::{CryptoError, KeyRing, Purpose, kdf};
use creto_db::{Db, DbError, Sealed};
use creto_enablement_common::PublicUrl;
use creto_kernel::{Clock, Digest, NhiId, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::catalog::{commit, event_leaf};
use crate::error::MeteringError;
use crate::store::catalog::CHANGED;
use crate::store::lago as store;

/// Characters of a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// How an endpoint's webhooks are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Algorithm {
    /// By the tenant's RSA key, whose public half anybody of the tenant reads.
    #[default]
    Jwt,
    /// By the endpoint's secret.
    Hmac,
}

impl Algorithm {
    /// Lago's word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Hmac => "hmac",
        }
    }
}

/// The keys that sign webhooks by `RS256`, one for each tenant.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    db: Db,
    clock: Arc<dyn Clock>,
    ring: Arc<KeyRing>,
    public: PublicUrl,
}

impl SigningKeys {
    /// Keys in `db`, sealed by `ring`.
    #[must_use]
    pub const fn new(db: Db, clock: Arc<dyn Clock>, ring: Arc<KeyRing>, public: PublicUrl) -> Self {
        Self { db, clock, ring, public }
    }

    /// The tenant's public key in PEM; made on first use.
    pub(super) async fn public_pem(&self, by: &NhiId) -> Result<String, MeteringError> {
        let tenant = by.tenant();
        if let Some((_, public)) = store::key(&self.db, tenant).await? {
            return Ok(public);
        }
        let signer = tokio::task::spawn_blocking(RsaSigner::generate).await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        let public = pem(&signer.public_spki().map_err(|e| failed(&e))?);
        let secret = signer.to_secret().map_err(|e| failed(&e))?;
        let sealed = self.ring.seal(Purpose::Credential, associated(tenant).as_bytes(), secret.expose()).map_err(|e| failed(&e))?;
        let leaf = event_leaf(&*self.clock, by, "metering.create_webhook_key", "webhook_key:lago")?
            .digest("public_key", Digest::of_parts(&[public.as_bytes()]));
        let write = store::insert_key(tenant, &STANDARD.encode(sealed), &public, self.clock.now());
        match commit(&self.db, Sealed::new(leaf).step(write)).await {
            Ok(()) => Ok(public),
            // Somebody else made the first one.
            Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {
                let kept = store::key(&self.db, tenant).await?;
                kept.map(|(_, public)| public).ok_or_else(|| failed(&"the key that was made meanwhile is gone"))
            }
            Err(error) => Err(error),
        }
    }

    /// The body as a JWT.
    pub(super) async fn jwt(&self, tenant: &TenantId, body: &str) -> Result<String, MeteringError> {
        let kept = store::key(&self.db, tenant).await?;
        let (sealed, _) = kept.ok_or_else(|| failed(&"the tenant has no key that signs webhooks"))?;
        let sealed = STANDARD.decode(sealed).map_err(|e| failed(&e))?;
        let signer = self.unsealed(tenant, &sealed).map_err(|e| failed(&e))?;
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed =
            format!("{}.{}", part(json!({ "alg": "RS256", "typ": "JWT" })), part(json!({ "data": body, "iss": self.public.base() })));
        let signature = signer.sign(signed.as_bytes()).map_err(|e| failed(&e))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn unsealed(&self, tenant: &TenantId, sealed: &[u8]) -> Result<RsaSigner, CryptoError> {
        RsaSigner::from_secret(&self.ring.unseal(Purpose::Credential, associated(tenant).as_bytes(), sealed)?)
    }
}

/// The base64 HMAC-SHA-256 of the body under the secret's text.
pub(super) fn hmac(secret: &str, body: &str) -> String {
    STANDARD.encode(kdf::hmac(secret.as_bytes(), body.as_bytes()))
}

/// What a sealed key is bound to: one that is moved to another tenant does not open.
fn associated(tenant: &TenantId) -> String {
    format!("creto/lago/webhook-key/v1/{tenant}")
}

fn pem(spki: &[u8]) -> String {
    let text = STANDARD.encode(spki);
    let lines: Vec<&str> = text.as_bytes().chunks(PEM_LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn failed(error: &impl std::fmt::Display) -> MeteringError {
    DbError::Unavailable(format!("the key that signs webhooks: {error}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_written_in_lines_of_64() {
        let text = pem(&[7; 100]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1].len(), lines.last().copied()), ("-----BEGIN PUBLIC KEY-----", 64, Some("-----END PUBLIC KEY-----")));
        let decoded = STANDARD.decode(lines[1..lines.len() - 1].concat()).unwrap();
        assert_eq!(decoded, [7; 100]);
    }

    #[test]
    fn an_hmac_is_that_of_rfc_4231() {
        // Test case 2, in base64.
        assert_eq!(hmac("Jefe", "what do ya want for nothing?"), "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
    }
}
