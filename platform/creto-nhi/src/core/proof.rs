//! Proof of possession: a request signed by the acting identity's key (HTTP Message Signatures, RFC 9421, with RFC 9530 digests).
//!
//! The profile is small on purpose: one signature, six covered components in any order, four required parameters. What it must cover is
//! fixed here, because a verifier that accepts what the sender chose to cover protects nothing. ADR-004 says why this standard.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_crypto::{CryptoError, KeyId, PublicKey, Purpose, SignSuite, Signature, SigningKey};
use creto_kernel::{Digest, Timestamp};

use crate::error::NhiError;
use crate::model::identity::Identity;

/// The authorization scheme that carries a chain token.
pub const SCHEME: &str = "Creto ";
/// The `tag` parameter: what this signature is for.
pub const TAG: &str = "creto-chain-v1";
/// The signature domain for suites that no RFC 9421 algorithm names.
pub const PROOF_DOMAIN: &str = "creto/http-request/v1";
/// What a signature must cover, nothing less and nothing more.
pub const COMPONENTS: [&str; 6] = ["@method", "@authority", "@path", "@query", "authorization", "content-digest"];
/// How old a signature may be.
pub const AGE_MAX: Duration = Duration::from_secs(60);
/// How far the client's clock may run ahead.
pub const AHEAD_MAX: Duration = Duration::from_secs(30);
/// Longest `signature-input` and `content-digest`, in bytes.
pub const INPUT_BYTES_MAX: usize = 1024;
/// Longest `signature`, in bytes: a hybrid one in base64.
pub const SIGNATURE_BYTES_MAX: usize = 8 * 1024;

/// A request as received, in the parts its signature covers.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The host the client addressed, with its port unless it is the scheme's own. The caller has checked that it is ours.
    pub authority: &'a str,
    /// The path of the request target, as sent.
    pub path: &'a str,
    /// The query of the request target, as sent and without its `?`.
    pub query: Option<&'a str>,
    /// SHA-256 over the body as received.
    pub body: Digest,
    /// The `authorization` field: `Creto <chain token>`.
    pub authorization: &'a str,
    /// The `content-digest` field.
    pub content_digest: &'a str,
    /// The `signature-input` field.
    pub signature_input: &'a str,
    /// The `signature` field.
    pub signature: &'a str,
}

/// A request signature, read and not yet believed.
#[derive(Debug, Clone)]
pub struct RequestProof {
    /// The key it claims.
    pub key: KeyId,
    /// Good for one use.
    pub nonce: String,
    /// When it was made, by the client's clock.
    pub created: Timestamp,
    base: String,
    alg: Option<String>,
    expires: Option<Timestamp>,
    signature: Vec<u8>,
}

/// The fields a client adds to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFields {
    /// `content-digest`.
    pub content_digest: String,
    /// `signature-input`.
    pub signature_input: String,
    /// `signature`.
    pub signature: String,
}

/// The signature base of RFC 9421, section 2.5: one line for each component, then the parameters.
#[must_use]
pub fn signature_base(lines: &[(&str, &str)], params: &str) -> String {
    let covered: String = lines.iter().map(|(name, value)| format!("\"{name}\": {value}\n")).collect();
    format!("{covered}\"@signature-params\": {params}")
}

/// The `content-digest` field for a body with this digest (RFC 9530).
#[must_use]
pub fn content_digest(body: Digest) -> String {
    format!("sha-256=:{}:", STANDARD.encode(body.as_bytes()))
}

/// Reads the fields and checks what needs no key: form, covered components, the body's digest.
pub fn read(parts: &RequestParts<'_>) -> Result<RequestProof, NhiError> {
    let (label, params) = split_label(parts.signature_input, INPUT_BYTES_MAX)?;
    let (signature_label, signature) = split_label(parts.signature, SIGNATURE_BYTES_MAX)?;
    if label != signature_label {
        return Err(NhiError::ProofMalformed("`signature` and `signature-input` have different labels"));
    }
    if parts.content_digest != content_digest(parts.body) {
        return Err(NhiError::ProofDigest);
    }
    let (components, parameters) = params
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .ok_or(NhiError::ProofMalformed("`signature-input` has no list of components"))?;
    let authority = parts.authority.to_ascii_lowercase();
    let query = format!("?{}", parts.query.unwrap_or_default());
    let lines = covered(components, parts, &authority, &query)?;
    let mut parameters = read_parameters(parameters)?;
    if parameters.remove("tag").is_none_or(|tag| tag != TAG) {
        return Err(NhiError::ProofMalformed("the parameter `tag` must be \"creto-chain-v1\""));
    }
    let nonce = parameters.remove("nonce").filter(|nonce| (16..=64).contains(&nonce.len()));
    let proof = RequestProof {
        key: parameters
            .remove("keyid")
            .and_then(|key| key.parse().ok())
            .ok_or(NhiError::ProofMalformed("the parameter `keyid` must be a key identifier"))?,
        nonce: nonce.ok_or(NhiError::ProofMalformed("the parameter `nonce` must have 16 to 64 characters"))?.to_owned(),
        created: seconds(parameters.remove("created"))?.ok_or(NhiError::ProofMalformed("the parameter `created` is missing"))?,
        expires: seconds(parameters.remove("expires"))?,
        alg: parameters.remove("alg").map(str::to_owned),
        base: signature_base(&lines, params),
        signature: signature
            .strip_prefix(':')
            .and_then(|rest| rest.strip_suffix(':'))
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or(NhiError::ProofMalformed("`signature` is not a base64 byte sequence between colons"))?,
    };
    match parameters.is_empty() {
        true => Ok(proof),
        false => Err(NhiError::ProofMalformed("`signature-input` has an unknown parameter")),
    }
}

/// Checks time and signature against the current keys of the acting identity, in the `accepted` suites. Answers until when the nonce
/// must be remembered.
pub fn verify(proof: &RequestProof, identity: &Identity, accepted: &[SignSuite], now: Timestamp) -> Result<Timestamp, NhiError> {
    let fresh = now.since(proof.created) <= AGE_MAX && proof.created.since(now) <= AHEAD_MAX;
    let unexpired = proof.expires.is_none_or(|expires| now < expires);
    if !fresh || !unexpired {
        return Err(NhiError::ProofStale);
    }
    let key = identity.keys.iter().find(|key| key.id == proof.key && key.is_current() && key.signs_at(now));
    let key = key.ok_or_else(|| NhiError::ProofKey(identity.id.clone()))?;
    if !accepted.contains(&key.public.suite()) {
        return Err(CryptoError::RefusedSuite { suite: key.public.suite().id(), purpose: Purpose::Delegation }.into());
    }
    if proof.alg.as_ref().is_some_and(|alg| alg != key.public.suite().id()) {
        return Err(NhiError::ProofSignature);
    }
    verify_base(&key.public, proof)?;
    Ok(proof.created.saturating_add(AGE_MAX + Duration::from_secs(1)))
}

/// Signs a request: the client's side, for SDKs, the CLI and tests. The signature fields of `parts` are not read.
///
/// `nonce` is 16 to 64 characters that were never used with this key, of `A-Z a-z 0-9 - _`.
pub fn sign(parts: &RequestParts<'_>, key: &SigningKey, nonce: &str, created: Timestamp) -> Result<SignedFields, NhiError> {
    let digest = content_digest(parts.body);
    let components = COMPONENTS.map(|name| format!("\"{name}\"")).join(" ");
    let params = format!("({components});created={};keyid=\"{}\";nonce=\"{nonce}\";tag=\"{TAG}\"", created.as_secs(), key.key_id());
    let authority = parts.authority.to_ascii_lowercase();
    let query = format!("?{}", parts.query.unwrap_or_default());
    let signed = RequestParts { content_digest: &digest, ..*parts };
    let base = signature_base(&covered(&components, &signed, &authority, &query)?, &params);
    let signature = match is_published(key.suite()) {
        true => key.sign_format(base.as_bytes())?,
        false => key.sign(PROOF_DOMAIN, base.as_bytes())?.bytes,
    };
    Ok(SignedFields {
        content_digest: digest,
        signature_input: format!("creto={params}"),
        signature: format!("creto=:{}:", STANDARD.encode(signature)),
    })
}

/// Ed25519 signs the bare signature base, as RFC 9421, section 3.3.6 says, so that any library of that standard can sign for us. The
/// other suites have no registered algorithm and sign the base in our domain.
fn is_published(suite: SignSuite) -> bool {
    suite == SignSuite::Ed25519
}

fn verify_base(key: &PublicKey, proof: &RequestProof) -> Result<(), NhiError> {
    let verified = match is_published(key.suite()) {
        true => key.verify_format(proof.base.as_bytes(), &proof.signature),
        false => {
            let signature = Signature { suite: key.suite(), key: proof.key, bytes: proof.signature.clone() };
            key.verify(PROOF_DOMAIN, proof.base.as_bytes(), &signature)
        }
    };
    verified.map_err(|_| NhiError::ProofSignature)
}

fn split_label(field: &str, bytes_max: usize) -> Result<(&str, &str), NhiError> {
    let is_label = |text: &str| {
        text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    match field.split_once('=') {
        Some((label, rest)) if field.len() <= bytes_max && is_label(label) => Ok((label, rest)),
        _ => Err(NhiError::ProofMalformed("`signature-input` and `signature` are each one `label=…` member")),
    }
}

/// The covered lines in the sender's order: each required component once, and no other.
fn covered<'a>(
    components: &str,
    parts: &RequestParts<'a>,
    authority: &'a str,
    query: &'a str,
) -> Result<Vec<(&'static str, &'a str)>, NhiError> {
    let mut lines: Vec<(&'static str, &'a str)> = Vec::with_capacity(COMPONENTS.len());
    for quoted in components.split(' ') {
        let name = COMPONENTS.into_iter().find(|name| quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')) == Some(name));
        let name = name.ok_or(NhiError::ProofMalformed("an unknown component is covered"))?;
        if lines.iter().any(|(seen, _)| *seen == name) {
            return Err(NhiError::ProofMalformed("a component is covered twice"));
        }
        let value = match name {
            "@method" => parts.method,
            "@authority" => authority,
            "@path" => parts.path,
            "@query" => query,
            "authorization" => parts.authorization,
            _ => parts.content_digest,
        };
        // INVARIANT: a value is one line, so that no value can look like another component.
        if value.chars().any(char::is_control) {
            return Err(NhiError::ProofMalformed("a covered value has a control character"));
        }
        lines.push((name, value));
    }
    match COMPONENTS.into_iter().find(|name| !lines.iter().any(|(seen, _)| seen == name)) {
        Some(missing) => Err(NhiError::ProofUncovered(missing)),
        None => Ok(lines),
    }
}

fn read_parameters(text: &str) -> Result<HashMap<&str, &str>, NhiError> {
    let malformed = NhiError::ProofMalformed;
    let mut parameters = HashMap::new();
    let Some(text) = text.strip_prefix(';') else {
        return Err(malformed("`signature-input` has no parameters"));
    };
    for parameter in text.split(';') {
        let (name, value) = parameter.split_once('=').ok_or(malformed("a parameter has no value"))?;
        let is_number = !value.is_empty() && value.len() <= 15 && value.bytes().all(|b| b.is_ascii_digit());
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let is_text = |text: &&str| text.bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && !matches!(b, b'"' | b'\\'));
        let value = match (matches!(name, "created" | "expires"), quoted.filter(is_text)) {
            (true, None) if is_number => value,
            (false, Some(text)) => text,
            _ => return Err(malformed("a parameter has a value of the wrong type")),
        };
        if parameters.insert(name, value).is_some() {
            return Err(malformed("a parameter appears twice"));
        }
    }
    Ok(parameters)
}

fn seconds(value: Option<&str>) -> Result<Option<Timestamp>, NhiError> {
    let read = |text: &str| text.parse().ok().and_then(Timestamp::from_secs);
    value.map(|text| read(text).ok_or(NhiError::ProofMalformed("a moment is out of range"))).transpose()
}

#[cfg(test)]
mod tests;
