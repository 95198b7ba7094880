//! PQXDH (Signal, "The PQXDH Key Agreement Protocol") with separate signing and agreement identity keys, and a transcript.
//!
//! ```text
//! DH1 = DH(IKa, SPKb)  DH2 = DH(EKa, IKb)  DH3 = DH(EKa, SPKb)  DH4 = DH(EKa, OPKb) if there is one  SS = Encaps(PQPKb)
//! SK  = HKDF(salt 0³², 0xFF³² ‖ DH1 ‖ DH2 ‖ DH3 ‖ DH4? ‖ SS, info = label ‖ suite ‖ H(transcript))
//! ```
//!
//! The transcript names everything both sides must agree on: roles, identities and not only keys (misbinding), every public key, the
//! encapsulation key and its ciphertext (re-encapsulation), prekey ids and kinds, offered and chosen suites, the mode, and the decision the session
//! was opened under. Its digest is the session's id.

use std::sync::Arc;

use creto_kernel::{Digest, NhiId, Timestamp};
use zeroize::Zeroizing;

use crate::core::ratchet::Ratchet;
use crate::core::session::{Role, Session};
use crate::core::suite::{self, AgreementSecret, Entropy, KemSecret, Key, Signer, VerifiedBundle};
use crate::error::MessagingError;
use crate::model::bundle::PrekeyKind;
use crate::model::envelope::{Authorization, Mode, Opening, PrekeysNamed};
use crate::model::identity::{IdentityKeyId, IdentityStatement};
use crate::model::ids::{AgreementPublic, RouteId, SessionId};
use crate::model::suite::SuiteId;
use crate::model::wire::Writer;

const TRANSCRIPT_LABEL: &[u8] = b"creto-messaging/v1/transcript";
const SECRET_LABEL: &[u8] = b"creto-messaging/v1/handshake";

/// An identity with its secret keys, as its own agent holds it.
#[derive(Clone)]
pub struct LocalIdentity {
    /// What peers see.
    pub statement: IdentityStatement,
    /// The secret half of the statement's agreement key.
    pub agreement: AgreementSecret,
    /// Signs with the statement's signing key.
    pub signer: Arc<dyn Signer>,
}

impl std::fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalIdentity({}, {})", self.statement.nhi, self.statement.key_id())
    }
}

/// The secret halves of the prekeys an opening names.
#[derive(Debug)]
pub struct PrekeySecrets {
    /// The signed agreement key.
    pub signed: AgreementSecret,
    /// The one-time agreement key, present exactly when the opening names one.
    pub agreement_once: Option<AgreementSecret>,
    /// The encapsulation key.
    pub kem: KemSecret,
}

/// What a responder asks of an opening.
#[derive(Clone, Copy, Debug)]
pub struct AcceptPolicy<'a> {
    /// Accept openings without a signature too.
    pub allow_deniable: bool,
    /// The initiator's pinned identity key, if it is known.
    pub pinned: Option<IdentityKeyId>,
    /// The identity that sent the envelope.
    pub sender: &'a NhiId,
}

/// Everything both sides must agree on.
struct Transcript<'a> {
    mode: Mode,
    initiator: &'a IdentityStatement,
    responder: &'a IdentityStatement,
    ephemeral: &'a AgreementPublic,
    prekeys: &'a PrekeysNamed,
    signed: &'a [u8],
    agreement_once: Option<&'a [u8]>,
    kem: &'a [u8],
    kem_ciphertext: &'a [u8],
    authorization: &'a Authorization,
}

impl Transcript<'_> {
    fn digest(&self) -> Digest {
        let mut out = Writer::with_capacity(16 << 10);
        out.bytes(TRANSCRIPT_LABEL).u8(suite::SUITE.byte()).count(SuiteId::OFFERED.len());
        SuiteId::OFFERED.iter().for_each(|offered| offered.encode(&mut out));
        out.u8(match self.mode {
            Mode::Accountable => 1,
            Mode::Deniable => 2,
        });
        out.bytes(b"initiator").bytes(&self.initiator.to_bytes()).bytes(b"responder").bytes(&self.responder.to_bytes());
        out.fixed(self.ephemeral.as_bytes());
        self.prekeys.encode(&mut out);
        out.bytes(self.signed);
        out.optional(self.agreement_once.as_ref(), |out, key| {
            out.bytes(key);
        });
        out.bytes(self.kem).bytes(self.kem_ciphertext);
        self.authorization.encode(&mut out);
        Digest::of(out.as_bytes())
    }
}

/// What the shared secrets become.
struct Derived {
    root: Key,
    initiator_header: Key,
    responder_header: Key,
    initiator_route: RouteId,
    responder_route: RouteId,
}

fn derive(agreed: &[&[u8]], transcript: &Digest) -> Result<Derived, MessagingError> {
    let mut secrets = Zeroizing::new(Vec::with_capacity(32 * 6));
    secrets.extend_from_slice(&[0xFF; 32]);
    agreed.iter().for_each(|secret| secrets.extend_from_slice(secret));
    let info = [SECRET_LABEL, &[suite::SUITE.byte()], transcript.as_bytes()].concat();
    let mut out = Zeroizing::new([0_u8; 128]);
    suite::hkdf(&[0; 32], &secrets, &info, out.as_mut_slice())?;
    let (keys, routes) = out.split_at(96);
    let mut keys = keys.chunks_exact(32).filter_map(|key| key.try_into().ok()).map(Key::from_bytes);
    let mut routes = routes.chunks_exact(16).filter_map(|route| route.try_into().ok()).map(RouteId::from_bytes);
    let mut key = || keys.next().ok_or(MessagingError::Corrupt("derivation"));
    let (root, initiator_header, responder_header) = (key()?, key()?, key()?);
    let mut route = || routes.next().ok_or(MessagingError::Corrupt("derivation"));
    Ok(Derived { root, initiator_header, responder_header, initiator_route: route()?, responder_route: route()? })
}

/// Opens a session to the holder of a verified bundle. Nothing is sent yet: the opening travels with the session's first messages.
pub fn initiate(
    own: &LocalIdentity,
    peer: &VerifiedBundle,
    mode: Mode,
    authorization: Authorization,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<Session, MessagingError> {
    let bundle = peer.bundle();
    let ephemeral = AgreementSecret::generate(entropy)?;
    let signed = public_of(&bundle.signed.public)?;
    let dh1 = own.agreement.agree(&signed)?;
    let dh2 = ephemeral.agree(&bundle.statement.agreement)?;
    let dh3 = ephemeral.agree(&signed)?;
    let dh4 = bundle.agreement_once.as_ref().map(|once| ephemeral.agree(&public_of(&once.public)?)).transpose()?;
    let (kem_ciphertext, shared) = suite::encapsulate(&bundle.kem().public, entropy)?;
    let prekeys = PrekeysNamed {
        signed: bundle.signed.id,
        agreement_once: bundle.agreement_once.as_ref().map(|once| once.id),
        kem_kind: bundle.kem().kind,
        kem: bundle.kem().id,
    };
    let transcript = Transcript {
        mode,
        initiator: &own.statement,
        responder: &bundle.statement,
        ephemeral: &ephemeral.public(),
        prekeys: &prekeys,
        signed: &bundle.signed.public,
        agreement_once: bundle.agreement_once.as_ref().map(|once| once.public.as_slice()),
        kem: &bundle.kem().public,
        kem_ciphertext: &kem_ciphertext,
        authorization: &authorization,
    }
    .digest();
    let signature = match mode {
        Mode::Accountable => Some(suite::sign_transcript(transcript.as_bytes(), own.signer.as_ref())?),
        Mode::Deniable => None,
    };
    let agreed = [Some(&dh1), Some(&dh2), Some(&dh3), dh4.as_ref(), Some(&shared)];
    let derived = derive(&agreed.iter().flatten().map(|secret| secret.expose()).collect::<Vec<_>>(), &transcript)?;
    let ratchet = Ratchet::initiator(derived.root, signed, derived.initiator_header, derived.responder_header, now, entropy)?;
    let opening =
        Opening { statement: own.statement.clone(), ephemeral: ephemeral.public(), prekeys, kem_ciphertext, authorization, signature };
    Ok(Session {
        id: SessionId::new(transcript),
        role: Role::Initiator,
        own: own.statement.nhi.clone(),
        peer: bundle.statement.nhi.clone(),
        peer_key: bundle.statement.key_id(),
        route_out: derived.initiator_route,
        route_in: derived.responder_route,
        mode,
        last_resort: prekeys.kem_kind == PrekeyKind::KemLastResort,
        opening: Some(Arc::new(opening)),
        revision: 0,
        ratchet,
    })
}

/// Accepts an opening with the secret halves of the prekeys it names. The session is real only once its first message has opened:
/// until then the peer has proved nothing.
pub fn accept(
    own: &LocalIdentity,
    secrets: &PrekeySecrets,
    opening: &Opening,
    policy: &AcceptPolicy<'_>,
    now: Timestamp,
) -> Result<Session, MessagingError> {
    if policy.pinned.is_some_and(|pin| pin != opening.statement.key_id()) {
        return Err(MessagingError::IdentityChanged(policy.sender.clone()));
    }
    suite::verify_statement(&opening.statement, policy.sender, now)?;
    let kem_public = secrets.kem.public();
    let once_public = secrets.agreement_once.as_ref().map(AgreementSecret::public);
    let transcript = Transcript {
        mode: opening.mode(),
        initiator: &opening.statement,
        responder: &own.statement,
        ephemeral: &opening.ephemeral,
        prekeys: &opening.prekeys,
        signed: secrets.signed.public().as_bytes(),
        agreement_once: once_public.as_ref().map(|once| once.as_bytes().as_slice()),
        kem: &kem_public,
        kem_ciphertext: &opening.kem_ciphertext,
        authorization: &opening.authorization,
    }
    .digest();
    match &opening.signature {
        Some(signature) => suite::verify_transcript(transcript.as_bytes(), &opening.statement, signature)?,
        None if policy.allow_deniable => {}
        None => return Err(MessagingError::NotAccountable),
    }
    let dh1 = secrets.signed.agree(&opening.statement.agreement)?;
    let dh2 = own.agreement.agree(&opening.ephemeral)?;
    let dh3 = secrets.signed.agree(&opening.ephemeral)?;
    let dh4 = secrets.agreement_once.as_ref().map(|once| once.agree(&opening.ephemeral)).transpose()?;
    let shared = secrets.kem.decapsulate(&opening.kem_ciphertext)?;
    let agreed = [Some(&dh1), Some(&dh2), Some(&dh3), dh4.as_ref(), Some(&shared)];
    let derived = derive(&agreed.iter().flatten().map(|secret| secret.expose()).collect::<Vec<_>>(), &transcript)?;
    Ok(Session {
        id: SessionId::new(transcript),
        role: Role::Responder,
        own: own.statement.nhi.clone(),
        peer: opening.statement.nhi.clone(),
        peer_key: opening.statement.key_id(),
        route_out: derived.responder_route,
        route_in: derived.initiator_route,
        mode: opening.mode(),
        last_resort: opening.prekeys.kem_kind == PrekeyKind::KemLastResort,
        opening: None,
        revision: 0,
        ratchet: Ratchet::responder(derived.root, secrets.signed.clone(), derived.initiator_header, derived.responder_header),
    })
}

fn public_of(bytes: &[u8]) -> Result<AgreementPublic, MessagingError> {
    bytes.try_into().map(AgreementPublic::from_bytes).map_err(|_| MessagingError::WeakKey)
}

#[cfg(test)]
mod tests;
