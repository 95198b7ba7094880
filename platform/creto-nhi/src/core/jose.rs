//! ID tokens of identity providers: JSON Web Tokens (RFC 7519) signed with RS256, ES256 or EdDSA, checked as OpenID Connect Core 1.0,
//! section 3.1.3.7 says.
//!
//! INVARIANT: the algorithm is the key's, never the token's alone: `none` and symmetric algorithms do not exist here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_crypto::foreign::{EcdsaForm, ForeignKey};
use creto_kernel::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Largest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Most keys of one provider that are looked at.
pub const KEYS_MAX: usize = 32;
/// How far the provider's clock may be off, in seconds.
const SKEW_SECS: i64 = 60;
/// Oldest token, in seconds: it was made for this very login.
const AGE_SECS_MAX: i64 = 600;

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It cannot be read.
    #[error("it cannot be read")]
    Malformed,
    /// None of the provider's keys is named by it and fits its algorithm.
    #[error("no key of the provider fits it")]
    Key,
    /// The signature does not verify.
    #[error("its signature does not verify")]
    Signature,
    /// A claim is not what it must be.
    #[error("its `{0}` is not what it must be")]
    Claim(&'static str),
}

/// One key of a provider's set (RFC 7517).
#[derive(Debug, Clone)]
pub struct ProviderKey {
    id: Option<String>,
    algorithm: &'static str,
    key: ForeignKey,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

/// The keys of a set that sign and are of a kind we verify; the others are passed over.
#[must_use]
pub fn provider_keys(set: &Value) -> Vec<ProviderKey> {
    let keys = set.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    keys.iter().take(KEYS_MAX).filter_map(|key| provider_key(serde_json::from_value(key.clone()).ok()?)).collect()
}

fn provider_key(jwk: Jwk) -> Option<ProviderKey> {
    let bytes = |text: &Option<String>| text.as_deref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => ("RS256", ForeignKey::rsa(&bytes(&jwk.n)?, &bytes(&jwk.e)?).ok()?),
        ("EC", Some("P-256")) => {
            let point = [bytes(&jwk.x)?, bytes(&jwk.y)?].concat();
            ("ES256", ForeignKey::P256(point.try_into().ok()?))
        }
        ("OKP", Some("Ed25519")) => ("EdDSA", ForeignKey::Ed25519(bytes(&jwk.x)?.try_into().ok()?)),
        _ => return None,
    };
    let signs = jwk.usage.is_none_or(|usage| usage == "sig") && jwk.alg.is_none_or(|alg| alg == algorithm);
    signs.then_some(ProviderKey { id: jwk.kid, algorithm, key })
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// Us.
    pub client: &'a str,
    /// This login.
    pub nonce: &'a str,
    /// When.
    pub now: Timestamp,
}

/// Checks a token and gives its claims.
pub fn verify_id_token(token: &str, keys: &[ProviderKey], expected: Expected<'_>) -> Result<Map<String, Value>, TokenFault> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenFault::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
    let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(TokenFault::Malformed)?;
    let header = object(header)?;
    // RFC 7515, section 4.1.11: what we do not understand must not be passed over.
    if header.contains_key("crit") {
        return Err(TokenFault::Malformed);
    }
    let word = |name: &str| header.get(name).and_then(Value::as_str);
    let (algorithm, id) = (word("alg").ok_or(TokenFault::Malformed)?, word("kid"));
    let fitting = keys.iter().filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.is_none() || key.id.as_deref() == id));
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenFault::Malformed)?;
    let mut outcome = Err(TokenFault::Key);
    for key in fitting {
        outcome = key.key.verify(signed.as_bytes(), &signature, EcdsaForm::Fixed).map_err(|_| TokenFault::Signature);
        if outcome.is_ok() {
            break;
        }
    }
    outcome?;
    let claims = object(claims)?;
    check_claims(&claims, expected)?;
    Ok(claims)
}

fn object(part: &str) -> Result<Map<String, Value>, TokenFault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenFault::Malformed)
}

fn check_claims(claims: &Map<String, Value>, expected: Expected<'_>) -> Result<(), TokenFault> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let number = |name: &str| claims.get(name).and_then(|value| value.as_i64().or_else(|| whole(value.as_f64()?)));
    if text("iss") != Some(expected.issuer) {
        return Err(TokenFault::Claim("iss"));
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client) {
        return Err(TokenFault::Claim("aud"));
    }
    let authorized = text("azp");
    if (audience.len() > 1 || authorized.is_some()) && authorized != Some(expected.client) {
        return Err(TokenFault::Claim("azp"));
    }
    let now = expected.now.as_micros().div_euclid(1_000_000);
    let expires = number("exp").ok_or(TokenFault::Claim("exp"))?;
    if now >= expires.saturating_add(SKEW_SECS) {
        return Err(TokenFault::Claim("exp"));
    }
    let issued = number("iat").ok_or(TokenFault::Claim("iat"))?;
    if issued > now.saturating_add(SKEW_SECS) || issued < now.saturating_sub(AGE_SECS_MAX) {
        return Err(TokenFault::Claim("iat"));
    }
    if text("nonce") != Some(expected.nonce) {
        return Err(TokenFault::Claim("nonce"));
    }
    if text("sub").is_none_or(|subject| subject.is_empty() || subject.len() > 255) {
        return Err(TokenFault::Claim("sub"));
    }
    Ok(())
}

/// Times may have a fraction (RFC 7519, section 2).
fn whole(seconds: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "bounded before")]
    (seconds.is_finite() && seconds.abs() < 1e15).then_some(seconds as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_token_of_ours_is_refused() {
        let keys = provider_keys(&json!({ "keys": [
            { "kty": "oct", "k": "c2VjcmV0" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB" },
            { "kty": "EC", "crv": "P-256", "kid": "1", "use": "enc", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" },
            { "kty": "EC", "crv": "P-256", "kid": "1", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" },
        ] }));
        assert_eq!(keys.len(), 1, "a symmetric key, a short one and one for encryption are passed over");
        let expected = Expected { issuer: "https://idp", client: "creto", nonce: "n", now: Timestamp::from_secs(1_300_819_300).unwrap() };
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims =
            part(json!({ "iss": "https://idp", "aud": "creto", "sub": "1", "exp": 1_300_819_380, "iat": 1_300_819_290, "nonce": "n" }));
        for (header, fault) in [
            (json!({ "alg": "none" }), TokenFault::Key),
            (json!({ "alg": "HS256", "kid": "1" }), TokenFault::Key),
            (json!({ "alg": "ES256", "kid": "2" }), TokenFault::Key),
            (json!({ "alg": "ES256", "kid": "1", "crit": ["x"] }), TokenFault::Malformed),
            (json!({ "alg": "ES256", "kid": "1" }), TokenFault::Signature),
        ] {
            let token = format!("{}.{claims}.", part(header.clone()));
            assert_eq!(verify_id_token(&token, &keys, expected), Err(fault), "{header}");
        }
        for text in ["", "a", "a.b", "a.b.c", "a.b.c.d", &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(verify_id_token(text, &keys, expected), Err(TokenFault::Malformed));
        }
    }

    #[test]
    fn claims_are_ours_for_this_login_and_now() {
        let expected = Expected { issuer: "https://idp", client: "creto", nonce: "n", now: Timestamp::from_secs(1_000_000).unwrap() };
        let good = json!({ "iss": "https://idp", "aud": "creto", "sub": "1", "exp": 1_000_300, "iat": 999_999.5, "nonce": "n" });
        let with = |name: &str, value: Value| {
            let mut claims = good.as_object().unwrap().clone();
            claims.insert(name.to_owned(), value);
            check_claims(&claims, expected)
        };
        assert_eq!(check_claims(good.as_object().unwrap(), expected), Ok(()));
        assert_eq!(with("aud", json!(["creto"])), Ok(()));
        for (name, value, fault) in [
            ("iss", json!("https://idp/"), "iss"),
            ("aud", json!("other"), "aud"),
            ("aud", json!(["creto", "other"]), "azp"),
            ("azp", json!("other"), "azp"),
            ("exp", json!(999_940), "exp"),
            ("exp", json!("soon"), "exp"),
            ("iat", json!(1_000_061), "iat"),
            ("iat", json!(999_399), "iat"),
            ("nonce", json!("m"), "nonce"),
            ("sub", json!(""), "sub"),
        ] {
            assert_eq!(with(name, value.clone()), Err(TokenFault::Claim(fault)), "{name} {value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in "[A-Za-z0-9_.-]{0,300}") {
            let expected = Expected { issuer: "i", client: "c", nonce: "n", now: Timestamp::EPOCH };
            prop_assert!(verify_id_token(&text, &[], expected).is_err());
        }
    }
}
