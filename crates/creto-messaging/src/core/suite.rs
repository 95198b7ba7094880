//! What suite 1 is made of: the only place between the protocol and `creto-crypto`.
//!
//! Keys here are used for one purpose each and carry their role in their type: own and remote, secret and public never mix.

use std::fmt;
use std::sync::Arc;

use creto_crypto::one_time::OneTimeKey;
use creto_crypto::{
    AeadSuite, CryptoError, KemPublicKey, KemSecretKey, KemSuite, PublicKey, Secret, SignSuite, Signature, SigningKey, dh, kdf,
};
use creto_kernel::{NhiId, Timestamp};
use zeroize::Zeroizing;

use crate::error::MessagingError;
use crate::model::bundle::{Bundle, Prekey, PrekeyKind, Publication};
use crate::model::identity::{IdentityKeyId, IdentityStatement};
use crate::model::ids::AgreementPublic;
use crate::model::suite::SuiteId;

const STATEMENT_DOMAIN: &str = "creto-messaging/v1/identity-statement";
const ACCOUNTABLE_DOMAIN: &str = "creto-messaging/v1/accountable-opening";
const SIGN: SignSuite = SignSuite::Ed25519MlDsa65;
const KEM: KemSuite = KemSuite::MlKem768;
const AEAD: AeadSuite = AeadSuite::Aes256Gcm;

/// Where randomness comes from. The system's is [`crate::SystemEntropy`]; vectors and simulations bring recorded ones.
pub trait Entropy {
    /// Fills `out`.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError>;

    /// A fresh encapsulation to `key`: ciphertext and shared secret.
    fn encapsulate(&mut self, key: &KemPublicKey) -> Result<(Vec<u8>, Secret), CryptoError>;

    /// A fresh encapsulation key.
    fn kem_secret(&mut self, suite: KemSuite) -> Result<KemSecretKey, CryptoError>;
}

/// Signs for an identity: a key in memory, or one held elsewhere.
pub trait Signer: Send + Sync {
    /// The public key's bytes.
    fn public(&self) -> Vec<u8>;
    /// The signature's bytes over `message` in `domain`.
    fn sign(&self, domain: &str, message: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

impl Signer for SigningKey {
    fn public(&self) -> Vec<u8> {
        Self::public(self).as_bytes().to_vec()
    }

    fn sign(&self, domain: &str, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Self::sign(self, domain, message).map(|signature| signature.bytes)
    }
}

/// A 32-byte symmetric key: root, chain, header or message. Wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The secret half of an agreement key, with its public half.
#[derive(Clone, PartialEq, Eq)]
pub struct AgreementSecret {
    secret: Key,
    public: AgreementPublic,
}

impl AgreementSecret {
    /// A fresh key.
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, MessagingError> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(bytes.as_mut_slice())?;
        Self::from_bytes(*bytes)
    }

    /// The key of these 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, MessagingError> {
        let public = AgreementPublic::from_bytes(dh::public(&bytes)?);
        Ok(Self { secret: Key::from_bytes(bytes), public })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> AgreementPublic {
        self.public
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    /// What both sides agree on; refuses the all-zero secret of a degenerate key (RFC 7748, section 6.1).
    pub(crate) fn agree(&self, remote: &AgreementPublic) -> Result<Secret, MessagingError> {
        dh::agree(self.expose(), remote.as_bytes()).map_err(|_| MessagingError::WeakKey)
    }
}

impl fmt::Debug for AgreementSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementSecret({})", self.public)
    }
}

/// The secret half of an encapsulation key.
#[derive(Clone, Debug)]
pub struct KemSecret(Arc<KemSecretKey>);

impl KemSecret {
    /// A fresh key.
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, MessagingError> {
        Ok(Self(Arc::new(entropy.kem_secret(KEM)?)))
    }

    /// The key of these stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessagingError> {
        Ok(Self(Arc::new(KemSecretKey::from_secret_bytes(KEM, bytes)?)))
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Secret {
        self.0.to_secret_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        self.0.public().as_bytes().to_vec()
    }

    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret, MessagingError> {
        Ok(self.0.decapsulate(ciphertext)?)
    }
}

/// A fresh signing identity key of suite 1.
pub fn generate_signing(entropy: &mut dyn Entropy) -> Result<SigningKey, MessagingError> {
    let mut seed = Zeroizing::new([0; 64]);
    entropy.fill(seed.as_mut_slice())?;
    signing_from_bytes(seed.as_slice())
}

/// The signing identity key of stored bytes.
pub fn signing_from_bytes(bytes: &[u8]) -> Result<SigningKey, MessagingError> {
    Ok(SigningKey::from_secret_bytes(SIGN, bytes)?)
}

pub(crate) fn encapsulate(public: &[u8], entropy: &mut dyn Entropy) -> Result<(Vec<u8>, Secret), MessagingError> {
    Ok(entropy.encapsulate(&KemPublicKey::new(KEM, public.to_vec())?)?)
}

pub(crate) fn hkdf(salt: &[u8], ikm: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), MessagingError> {
    let derived = kdf::hkdf(salt, ikm, info, out.len())?;
    out.copy_from_slice(derived.expose());
    Ok(())
}

pub(crate) fn hmac(key: &Key, message: &[u8]) -> Key {
    Key::from_bytes(kdf::hmac(key.expose(), message))
}

/// Seals with a key that seals nothing else, appending ciphertext and tag to `out`.
pub(crate) fn seal_once(key: &Key, aad: &[u8], plain: &mut Vec<u8>) -> Result<(), MessagingError> {
    Ok(OneTimeKey::new(*key.expose()).seal_in_place(AEAD, aad, plain)?)
}

/// Opens what [`seal_once`] made.
pub(crate) fn open_once(key: &Key, aad: &[u8], sealed: &[u8]) -> Result<Secret, MessagingError> {
    OneTimeKey::new(*key.expose()).open(AEAD, aad, sealed).map_err(|_| MessagingError::Undecryptable)
}

fn verify(public: &[u8], domain: &str, message: &[u8], signature: &[u8], what: &'static str) -> Result<(), MessagingError> {
    let refuse = |_| MessagingError::BadSignature(what);
    let public = PublicKey::new(SIGN, public.to_vec()).map_err(refuse)?;
    let signature = Signature { suite: SIGN, key: public.key_id(), bytes: signature.to_vec() };
    public.verify(domain, message, &signature).map_err(refuse)
}

/// Signs a statement in place.
pub fn sign_statement(statement: &mut IdentityStatement, signer: &dyn Signer) -> Result<(), MessagingError> {
    statement.signature = signer.sign(STATEMENT_DOMAIN, &statement.signed_bytes())?;
    Ok(())
}

/// Signs a prekey in place, for the identity of `statement`.
pub fn sign_prekey(prekey: &mut Prekey, statement: &IdentityStatement, signer: &dyn Signer) -> Result<(), MessagingError> {
    let signed = prekey.signed_bytes(statement.suite, &statement.nhi, statement.device);
    prekey.signature = signer.sign(prekey.kind.domain(), &signed)?;
    Ok(())
}

/// Checks a statement: whose, signature, expiry.
pub fn verify_statement(statement: &IdentityStatement, expected: &NhiId, now: Timestamp) -> Result<(), MessagingError> {
    if statement.nhi != *expected {
        return Err(MessagingError::WrongIdentity { expected: expected.clone(), found: statement.nhi.clone() });
    }
    if now >= statement.not_after {
        return Err(MessagingError::Expired("identity statement"));
    }
    verify(&statement.signing, STATEMENT_DOMAIN, &statement.signed_bytes(), &statement.signature, "identity statement")
}

fn verify_prekey(prekey: &Prekey, kind: PrekeyKind, statement: &IdentityStatement, now: Timestamp) -> Result<(), MessagingError> {
    if prekey.kind != kind {
        return Err(MessagingError::BadSignature("prekey"));
    }
    if now >= prekey.not_after {
        return Err(MessagingError::Expired("prekey"));
    }
    let signed = prekey.signed_bytes(statement.suite, &statement.nhi, statement.device);
    // The domain is that of the slot the key stands in, never one it names itself.
    verify(&statement.signing, kind.domain(), &signed, &prekey.signature, "prekey")
}

/// A bundle whose identity, signatures, kinds and expiries hold.
#[derive(Clone, Debug)]
pub struct VerifiedBundle(Bundle);

impl VerifiedBundle {
    /// The bundle.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.0
    }
}

/// Checks a fetched bundle: that it is of `expected`, under the pinned key where there is one, and that every signature holds.
pub fn verify_bundle(
    bundle: Bundle,
    expected: &NhiId,
    pinned: Option<IdentityKeyId>,
    now: Timestamp,
) -> Result<VerifiedBundle, MessagingError> {
    let statement = &bundle.statement;
    if pinned.is_some_and(|pin| pin != statement.key_id()) {
        return Err(MessagingError::IdentityChanged(expected.clone()));
    }
    verify_statement(statement, expected, now)?;
    verify_prekey(&bundle.signed, PrekeyKind::AgreementSigned, statement, now)?;
    if let Some(once) = &bundle.agreement_once {
        verify_prekey(once, PrekeyKind::AgreementOnce, statement, now)?;
    }
    match &bundle.kem_once {
        Some(once) => verify_prekey(once, PrekeyKind::KemOnce, statement, now)?,
        None => verify_prekey(&bundle.last_resort, PrekeyKind::KemLastResort, statement, now)?,
    }
    Ok(VerifiedBundle(bundle))
}

/// Checks everything an agent publishes, so that the directory never hands out a key its readers would refuse.
pub fn verify_publication(publication: &Publication, expected: &NhiId, now: Timestamp) -> Result<(), MessagingError> {
    let statement = &publication.statement;
    verify_statement(statement, expected, now)?;
    verify_prekey(&publication.signed, PrekeyKind::AgreementSigned, statement, now)?;
    verify_prekey(&publication.last_resort, PrekeyKind::KemLastResort, statement, now)?;
    publication.agreement_once.iter().try_for_each(|key| verify_prekey(key, PrekeyKind::AgreementOnce, statement, now))?;
    publication.kem_once.iter().try_for_each(|key| verify_prekey(key, PrekeyKind::KemOnce, statement, now))
}

pub(crate) fn sign_transcript(transcript: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, MessagingError> {
    Ok(signer.sign(ACCOUNTABLE_DOMAIN, transcript)?)
}

pub(crate) fn verify_transcript(transcript: &[u8], statement: &IdentityStatement, signature: &[u8]) -> Result<(), MessagingError> {
    verify(&statement.signing, ACCOUNTABLE_DOMAIN, transcript, signature, "opening")
}

/// The suite this module implements; every other identifier was refused when it was read.
pub const SUITE: SuiteId = SuiteId::S1;
