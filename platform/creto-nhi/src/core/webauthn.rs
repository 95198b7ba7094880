//! Passkeys: what an authenticator answers, checked as [Web Authentication Level 2](https://www.w3.org/TR/webauthn-2/) says, sections
//! 7.1 (registration) and 7.2 (assertion).
//!
//! The verifier is our own because the challenge is: what a human approves is SHA-256(action digest ‖ nonce), so that the assertion
//! proves, offline and for ever, that this key said yes to this action. Attestation is neither asked for nor believed: which maker an
//! authenticator is from is no part of what we claim.
//!
//! INVARIANT: an assertion counts only with user presence and user verification, for our relying party and our origin.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_crypto::foreign::{EcdsaForm, ForeignKey};
use creto_kernel::Digest;
use serde::{Deserialize, Serialize};

use crate::core::cbor::{self, Cbor};

/// Largest attestation object or authenticator data, in bytes.
pub const AUTHENTICATOR_BYTES_MAX: usize = 8 * 1024;
/// Largest client data, in bytes.
pub const CLIENT_DATA_BYTES_MAX: usize = 4 * 1024;
/// Longest credential identifier, in bytes (section 6.5.1 of the specification allows 1023).
pub const CREDENTIAL_ID_BYTES_MAX: usize = 1023;

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const ATTESTED: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// Why a passkey's answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyFault {
    /// A part cannot be read.
    #[error("its {0} cannot be read")]
    Malformed(&'static str),
    /// It answers another kind of question.
    #[error("it is for another ceremony")]
    Ceremony,
    /// It answers another challenge.
    #[error("it answers another challenge")]
    Challenge,
    /// It was made on another site.
    #[error("it was made for `{0}`")]
    Origin(String),
    /// It is for another relying party.
    #[error("it is for another relying party")]
    RelyingParty,
    /// Nobody touched the authenticator, or it did not check who.
    #[error("the authenticator did not verify its user")]
    Unverified,
    /// A key of a kind that is not accepted.
    #[error("its key is of a kind that is not accepted")]
    Algorithm,
    /// The signature does not verify.
    #[error("its signature does not verify")]
    Signature,
    /// The counter went back: the authenticator may have been copied.
    #[error("its counter went back: the authenticator may have been copied")]
    Counter,
}

/// The site passkeys are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    /// The domain.
    pub id: String,
    /// The page's origin, such as `https://creto.example.com`.
    pub origin: String,
}

/// A passkey's public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alg", rename_all = "lowercase", deny_unknown_fields)]
pub enum PasskeyKey {
    /// ECDSA over P-256 (COSE −7).
    Es256 {
        /// `x ‖ y`, base64url.
        xy: String,
    },
    /// Ed25519 (COSE −8).
    Eddsa {
        /// base64url.
        x: String,
    },
}

impl PasskeyKey {
    /// Of a COSE key (RFC 9053, section 7).
    fn of_cose(cose: &Cbor<'_>) -> Option<Self> {
        let (kind, algorithm, curve) = (cose.at(1)?.int()?, cose.at(3)?.int()?, cose.at(-1)?.int()?);
        let x: &[u8; 32] = cose.at(-2)?.bytes()?.try_into().ok()?;
        match (kind, algorithm, curve) {
            (2, -7, 1) => {
                let y: &[u8; 32] = cose.at(-3)?.bytes()?.try_into().ok()?;
                Some(Self::Es256 { xy: URL_SAFE_NO_PAD.encode([x.as_slice(), y].concat()) })
            }
            (1, -8, 6) => Some(Self::Eddsa { x: URL_SAFE_NO_PAD.encode(x) }),
            _ => None,
        }
    }

    fn key(&self) -> Option<ForeignKey> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        match self {
            Self::Es256 { xy } => Some(ForeignKey::P256(bytes(xy)?.try_into().ok()?)),
            Self::Eddsa { x } => Some(ForeignKey::Ed25519(bytes(x)?.try_into().ok()?)),
        }
    }
}

/// A passkey that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its identifier, base64url.
    pub credential: String,
    /// Its key.
    pub key: PasskeyKey,
    /// Its counter.
    pub count: u32,
}

/// What the browser gives after a passkey was used, all parts base64url.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// The passkey's identifier.
    pub credential: String,
    /// `clientDataJSON`.
    pub client_data: String,
    /// `authenticatorData`.
    pub authenticator_data: String,
    /// `signature`.
    pub signature: String,
}

#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
}

/// The challenge that client data claims to answer: what a stored ceremony is found by, before anything is verified.
#[must_use]
pub fn claimed_challenge(client_data: &str) -> Option<Vec<u8>> {
    let data = read_client_data(client_data).ok()?.1;
    URL_SAFE_NO_PAD.decode(data.challenge).ok()
}

fn read_client_data(text: &str) -> Result<(Vec<u8>, ClientData), PasskeyFault> {
    let malformed = PasskeyFault::Malformed("client data");
    let bytes = decode(text, CLIENT_DATA_BYTES_MAX).ok_or(malformed.clone())?;
    let data = serde_json::from_slice(&bytes).map_err(|_| malformed)?;
    Ok((bytes, data))
}

fn decode(text: &str, most: usize) -> Option<Vec<u8>> {
    if text.len() > most.saturating_mul(2) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() <= most)
}

fn check_client(text: &str, kind: &str, challenge: &[u8], origin: &str) -> Result<Vec<u8>, PasskeyFault> {
    let (bytes, data) = read_client_data(text)?;
    if data.kind != kind {
        return Err(PasskeyFault::Ceremony);
    }
    if URL_SAFE_NO_PAD.decode(&data.challenge).ok().as_deref() != Some(challenge) {
        return Err(PasskeyFault::Challenge);
    }
    if data.origin != origin || data.cross_origin {
        return Err(PasskeyFault::Origin(data.origin.chars().take(120).collect()));
    }
    Ok(bytes)
}

/// Authenticator data (section 6.1): the hash of the relying party, flags, counter, and what follows.
struct AuthenticatorData<'a> {
    flags: u8,
    count: u32,
    rest: &'a [u8],
}

fn check_authenticator<'a>(bytes: &'a [u8], rp_id: &str) -> Result<AuthenticatorData<'a>, PasskeyFault> {
    let malformed = PasskeyFault::Malformed("authenticator data");
    let (rp, rest) = bytes.split_first_chunk::<32>().ok_or(malformed.clone())?;
    let (flags, rest) = rest.split_first().ok_or(malformed.clone())?;
    let (count, rest) = rest.split_first_chunk::<4>().ok_or(malformed)?;
    if *rp != *Digest::of(rp_id.as_bytes()).as_bytes() {
        return Err(PasskeyFault::RelyingParty);
    }
    if flags & PRESENT == 0 || flags & VERIFIED == 0 {
        return Err(PasskeyFault::Unverified);
    }
    Ok(AuthenticatorData { flags: *flags, count: u32::from_be_bytes(*count), rest })
}

/// Checks a registration (section 7.1). The statement of attestation is not looked at.
pub fn register(party: &RelyingParty, challenge: &[u8], client_data: &str, attestation: &str) -> Result<Registered, PasskeyFault> {
    check_client(client_data, "webauthn.create", challenge, &party.origin)?;
    let malformed = PasskeyFault::Malformed("attestation object");
    let bytes = decode(attestation, AUTHENTICATOR_BYTES_MAX).ok_or(malformed.clone())?;
    let (object, rest) = cbor::read(&bytes).ok_or(malformed.clone())?;
    let data = object.named("authData").and_then(Cbor::bytes).filter(|_| rest.is_empty()).ok_or(malformed.clone())?;
    let data = check_authenticator(data, &party.id)?;
    if data.flags & ATTESTED == 0 {
        return Err(malformed);
    }
    // AAGUID, length, identifier, key (section 6.5.1).
    let (_aaguid, rest) = data.rest.split_first_chunk::<16>().ok_or(malformed.clone())?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(malformed.clone())?;
    let (id, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(malformed.clone())?;
    if id.is_empty() || id.len() > CREDENTIAL_ID_BYTES_MAX {
        return Err(malformed);
    }
    let (cose, rest) = cbor::read(rest).ok_or(malformed.clone())?;
    check_extensions(data.flags, rest)?;
    let key = PasskeyKey::of_cose(&cose).ok_or(PasskeyFault::Algorithm)?;
    Ok(Registered { credential: URL_SAFE_NO_PAD.encode(id), key, count: data.count })
}

fn check_extensions(flags: u8, rest: &[u8]) -> Result<(), PasskeyFault> {
    let whole = match flags & EXTENSIONS {
        0 => rest.is_empty(),
        _ => cbor::read(rest).is_some_and(|(value, rest)| matches!(value, Cbor::Map(_)) && rest.is_empty()),
    };
    if whole { Ok(()) } else { Err(PasskeyFault::Malformed("authenticator data")) }
}

/// Checks an assertion (section 7.2) and gives the authenticator's counter.
pub fn verify(party: &RelyingParty, challenge: &[u8], key: &PasskeyKey, assertion: &Assertion) -> Result<u32, PasskeyFault> {
    let client_data = check_client(&assertion.client_data, "webauthn.get", challenge, &party.origin)?;
    let malformed = PasskeyFault::Malformed("authenticator data");
    let authenticator = decode(&assertion.authenticator_data, AUTHENTICATOR_BYTES_MAX).ok_or(malformed)?;
    let data = check_authenticator(&authenticator, &party.id)?;
    // Nothing that is not asked for: attested data has no place here, and what follows must be extensions.
    if data.flags & ATTESTED != 0 {
        return Err(PasskeyFault::Malformed("authenticator data"));
    }
    check_extensions(data.flags, data.rest)?;
    let signature = decode(&assertion.signature, 1024).ok_or(PasskeyFault::Malformed("signature"))?;
    let mut signed = authenticator.clone();
    signed.extend_from_slice(Digest::of(&client_data).as_bytes());
    let key = key.key().ok_or(PasskeyFault::Algorithm)?;
    key.verify(&signed, &signature, EcdsaForm::Der).map_err(|_| PasskeyFault::Signature)?;
    Ok(data.count)
}

/// Whether a counter may follow another: authenticators that do not count say 0 for ever (section 7.2, step 21).
pub const fn check_count(before: u32, after: u32) -> Result<(), PasskeyFault> {
    if (before == 0 && after == 0) || after > before { Ok(()) } else { Err(PasskeyFault::Counter) }
}

/// The challenge of an approval: SHA-256(action digest ‖ nonce).
#[must_use]
pub fn approval_challenge(digest: Digest, nonce: &[u8; 32]) -> Digest {
    Digest::of_parts(&[digest.as_bytes(), nonce])
}

/// An approval by passkey, whole: what a receipt carries, and what anybody verifies without us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The relying party's domain.
    pub rp_id: String,
    /// The page's origin.
    pub origin: String,
    /// The nonce, base64url.
    pub nonce: String,
    /// The passkey's public key; its digest is in the leaf that registered it.
    pub key: PasskeyKey,
    /// The assertion.
    pub assertion: Assertion,
}

impl Evidence {
    /// Checks, with nothing but this and the digest, that the passkey's holder approved the action.
    pub fn verify(&self, digest: Digest) -> Result<(), PasskeyFault> {
        let nonce: [u8; 32] = decode(&self.nonce, 32).and_then(|bytes| bytes.try_into().ok()).ok_or(PasskeyFault::Malformed("nonce"))?;
        let party = RelyingParty { id: self.rp_id.clone(), origin: self.origin.clone() };
        verify(&party, approval_challenge(digest, &nonce).as_bytes(), &self.key, &self.assertion).map(|_| ())
    }
}
