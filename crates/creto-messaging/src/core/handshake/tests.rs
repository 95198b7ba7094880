use super::*;
use crate::SystemEntropy;
use crate::core::session::Outgoing;
use crate::core::suite::{sign_prekey, sign_statement, verify_bundle};
use crate::model::bundle::{Bundle, Prekey, PrekeyId};
use crate::model::envelope::{Envelope, Purpose};
use crate::model::ids::DeviceId;

const NOW: Timestamp = Timestamp::EPOCH;
const POLICY_DENIABLE: bool = true;

struct Party {
    identity: LocalIdentity,
    signed: AgreementSecret,
    once: AgreementSecret,
    last_resort: KemSecret,
    kem_once: KemSecret,
    bundle: Bundle,
}

fn identity(name: &str, agreement: AgreementSecret) -> LocalIdentity {
    let signing = suite::generate_signing(&mut SystemEntropy).unwrap();
    let mut statement = IdentityStatement {
        suite: suite::SUITE,
        nhi: format!("spiffe://creto.local/tenant/default/agent/{name}").parse().unwrap(),
        device: DeviceId::from_bytes([1; 16]),
        signing: Signer::public(&signing),
        agreement: agreement.public(),
        not_after: Timestamp::MAX,
        signature: Vec::new(),
    };
    sign_statement(&mut statement, &signing).unwrap();
    LocalIdentity { statement, agreement, signer: Arc::new(signing) }
}

fn prekey(own: &LocalIdentity, kind: PrekeyKind, id: u32, public: Vec<u8>) -> Prekey {
    let mut prekey = Prekey { kind, id: PrekeyId(id), not_after: Timestamp::MAX, public, signature: Vec::new() };
    sign_prekey(&mut prekey, &own.statement, own.signer.as_ref()).unwrap();
    prekey
}

fn party(name: &str) -> Party {
    let entropy = &mut SystemEntropy;
    let own = identity(name, AgreementSecret::generate(entropy).unwrap());
    let (signed, once) = (AgreementSecret::generate(entropy).unwrap(), AgreementSecret::generate(entropy).unwrap());
    let (last_resort, kem_once) = (KemSecret::generate(entropy).unwrap(), KemSecret::generate(entropy).unwrap());
    let bundle = Bundle {
        statement: own.statement.clone(),
        signed: prekey(&own, PrekeyKind::AgreementSigned, 1, signed.public().as_bytes().to_vec()),
        last_resort: prekey(&own, PrekeyKind::KemLastResort, 2, last_resort.public()),
        agreement_once: Some(prekey(&own, PrekeyKind::AgreementOnce, 3, once.public().as_bytes().to_vec())),
        kem_once: Some(prekey(&own, PrekeyKind::KemOnce, 4, kem_once.public())),
    };
    Party { identity: own, signed, once, last_resort, kem_once, bundle }
}

impl Party {
    fn secrets(&self, opening: &Opening) -> PrekeySecrets {
        PrekeySecrets {
            signed: self.signed.clone(),
            agreement_once: opening.prekeys.agreement_once.map(|_| self.once.clone()),
            kem: if opening.prekeys.kem_kind == PrekeyKind::KemOnce { self.kem_once.clone() } else { self.last_resort.clone() },
        }
    }

    fn accept(&self, opening: &Opening, sender: &NhiId, allow_deniable: bool) -> Result<Session, MessagingError> {
        let policy = AcceptPolicy { allow_deniable, pinned: None, sender };
        accept(&self.identity, &self.secrets(opening), opening, &policy, NOW)
    }
}

fn authorization() -> Authorization {
    Authorization {
        decision: Digest::of(b"decision"),
        policy: Digest::of(b"policy"),
        purpose: Purpose::new("test").unwrap(),
        expires: Timestamp::MAX,
    }
}

fn open_to(alice: &Party, bundle: Bundle, bob: &NhiId, mode: Mode) -> Session {
    let bundle = verify_bundle(bundle, bob, None, NOW).unwrap();
    initiate(&alice.identity, &bundle, mode, authorization(), NOW, &mut SystemEntropy).unwrap()
}

fn first_envelope(session: &Session) -> Envelope {
    let authorization = authorization();
    let outgoing = Outgoing { message: creto_kernel::id::MessageId::generate(), text: b"hello", authorization: &authorization };
    Envelope::from_bytes(session.seal(&outgoing, Default::default(), NOW, &mut SystemEntropy).unwrap().1).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, MessagingError>) -> &'static str {
    creto_kernel::Coded::code(&result.unwrap_err()).as_str()
}

#[test]
fn both_sides_agree_with_and_without_one_time_keys_in_both_modes() {
    let (alice, bob) = (party("alice"), party("bob"));
    for mode in [Mode::Accountable, Mode::Deniable] {
        for one_time in [true, false] {
            let mut bundle = bob.bundle.clone();
            if !one_time {
                (bundle.agreement_once, bundle.kem_once) = (None, None);
            }
            let session = open_to(&alice, bundle, &bob.identity.statement.nhi, mode);
            let envelope = first_envelope(&session);
            let accepted = bob.accept(envelope.opening().unwrap(), envelope.sender(), POLICY_DENIABLE).unwrap();
            assert_eq!((accepted.id(), accepted.route_in(), accepted.mode()), (session.id(), session.route_out, mode));
            assert_eq!(accepted.used_last_resort(), !one_time);
            let (_, text) = accepted.open(&envelope, NOW).unwrap();
            assert_eq!(text.as_bytes(), b"hello");
        }
    }
}

#[test]
fn an_identity_that_claims_anothers_agreement_key_gets_no_session() {
    let (alice, bob) = (party("alice"), party("bob"));
    let session = open_to(&alice, bob.bundle.clone(), &bob.identity.statement.nhi, Mode::Accountable);
    let envelope = first_envelope(&session);
    let mallory = identity("mallory", alice.identity.agreement.clone());
    let mut stolen = envelope.opening().unwrap().clone();
    stolen.statement = mallory.statement.clone();
    assert_eq!(code(bob.accept(&stolen, &mallory.statement.nhi, false)), "messaging.bad_signature");

    // Without a signature to stop it, the transcript still differs: other keys, other routes, nothing opens.
    stolen.signature = None;
    let misbound = bob.accept(&stolen, &mallory.statement.nhi, POLICY_DENIABLE).unwrap();
    assert_ne!((misbound.id(), misbound.route_in()), (session.id(), session.route_out));
    assert!(misbound.open(&envelope, NOW).is_err());
}

#[test]
fn every_part_of_an_opening_is_bound() {
    let (alice, bob) = (party("alice"), party("bob"));
    let session = open_to(&alice, bob.bundle.clone(), &bob.identity.statement.nhi, Mode::Accountable);
    let opening = first_envelope(&session).opening().unwrap().clone();
    let changes: [fn(&mut Opening); 6] = [
        |o| o.prekeys.signed = PrekeyId(9),
        |o| o.prekeys.agreement_once = None,
        |o| o.prekeys.kem_kind = PrekeyKind::KemLastResort,
        |o| o.kem_ciphertext[0] ^= 1,
        |o| o.authorization.policy = Digest::of(b"another"),
        |o| o.ephemeral = AgreementPublic::from_bytes([9; 32]),
    ];
    let sender = alice.identity.statement.nhi.clone();
    assert!(bob.accept(&opening, &sender, false).is_ok());
    for change in changes {
        let mut changed = opening.clone();
        change(&mut changed);
        assert_eq!(code(bob.accept(&changed, &sender, false)), "messaging.bad_signature");
    }
}

#[test]
fn a_stripped_signature_is_refused_by_policy_and_by_the_transcript() {
    let (alice, bob) = (party("alice"), party("bob"));
    let session = open_to(&alice, bob.bundle.clone(), &bob.identity.statement.nhi, Mode::Accountable);
    let mut opening = first_envelope(&session).opening().unwrap().clone();
    opening.signature = None;
    let sender = &alice.identity.statement.nhi;
    assert_eq!(code(bob.accept(&opening, sender, false)), "messaging.not_accountable");
    assert_ne!(bob.accept(&opening, sender, POLICY_DENIABLE).unwrap().id(), session.id());
}

#[test]
fn degenerate_agreement_keys_are_refused() {
    let (alice, bob) = (party("alice"), party("bob"));
    let session = open_to(&alice, bob.bundle.clone(), &bob.identity.statement.nhi, Mode::Deniable);
    let mut opening = first_envelope(&session).opening().unwrap().clone();
    opening.ephemeral = AgreementPublic::from_bytes([0; 32]);
    assert_eq!(code(bob.accept(&opening, &alice.identity.statement.nhi, POLICY_DENIABLE)), "messaging.weak_key");

    let mut bundle = bob.bundle.clone();
    bundle.signed = prekey(&bob.identity, PrekeyKind::AgreementSigned, 1, vec![0; 32]);
    let bundle = verify_bundle(bundle, &bob.identity.statement.nhi, None, NOW).unwrap();
    let refused = initiate(&alice.identity, &bundle, Mode::Deniable, authorization(), NOW, &mut SystemEntropy);
    assert_eq!(code(refused), "messaging.weak_key");
}

#[test]
fn a_prekey_signed_as_one_kind_never_passes_as_another() {
    let bob = party("bob");
    let nhi = &bob.identity.statement.nhi;
    let wrong = |bundle: Bundle| code(verify_bundle(bundle, nhi, None, NOW));
    let relabel = |key: &Prekey, kind| Prekey { kind, ..key.clone() };
    let mut bundle = bob.bundle.clone();
    bundle.signed = relabel(bundle.agreement_once.as_ref().unwrap(), PrekeyKind::AgreementSigned);
    assert_eq!(wrong(bundle), "messaging.bad_signature");
    let mut bundle = bob.bundle.clone();
    bundle.kem_once = Some(relabel(&bundle.last_resort, PrekeyKind::KemOnce));
    assert_eq!(wrong(bundle), "messaging.bad_signature");
    let mut bundle = bob.bundle.clone();
    bundle.agreement_once = Some(bundle.signed.clone());
    assert_eq!(wrong(bundle), "messaging.bad_signature");
}

#[test]
fn a_bundle_of_another_identity_key_or_an_expired_one_is_refused() {
    let (alice, bob) = (party("alice"), party("bob"));
    let nhi = &bob.identity.statement.nhi;
    let pin = Some(alice.identity.statement.key_id());
    assert_eq!(code(verify_bundle(bob.bundle.clone(), nhi, pin, NOW)), "messaging.identity_changed");
    assert_eq!(code(verify_bundle(alice.bundle.clone(), nhi, None, NOW)), "messaging.wrong_identity");
    assert_eq!(code(verify_bundle(bob.bundle.clone(), nhi, None, Timestamp::MAX)), "messaging.expired");
    let mut mixed = bob.bundle.clone();
    mixed.signed = alice.bundle.signed.clone();
    assert_eq!(code(verify_bundle(mixed, nhi, None, NOW)), "messaging.bad_signature");
}
