//! Passkeys against an authenticator in software: registered, signed in with, approving one action, and believed nowhere else.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_db::testkit::each_engine;
use creto_db::{Db, MigrationSet};
use creto_kernel::{Coded as _, Digest, NhiId, NhiKind};
use creto_nhi::core::webauthn::{self, Assertion, Evidence, PasskeyFault, RelyingParty};
use creto_nhi::testkit::World;
use creto_nhi::{CHALLENGE_MAX, Principal, Role, Roles};

const SETS: &[MigrationSet] = &[creto_nhi::MIGRATIONS, creto_nhi::PASSKEY_MIGRATIONS];
const PASSWORD: &str = "correct horse battery";

fn party() -> RelyingParty {
    RelyingParty { id: "creto.example".to_owned(), origin: "https://creto.example".to_owned() }
}

/// An authenticator with one key, which answers whatever it is asked.
struct Authenticator {
    pair: EcdsaKeyPair,
    count: u32,
    flags: u8,
}

impl Authenticator {
    fn new() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(), count: 0, flags: 0x05 }
    }

    fn id(&self) -> Vec<u8> {
        Digest::of(self.pair.public_key().as_ref()).as_bytes().to_vec()
    }

    fn client_data(kind: &str, challenge: &str, origin: &str) -> Vec<u8> {
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false,"other":[1,2]}}"#).into_bytes()
    }

    fn data(&self, rp_id: &str, flags: u8) -> Vec<u8> {
        let mut data = Digest::of(rp_id.as_bytes()).as_bytes().to_vec();
        data.push(flags);
        data.extend(self.count.to_be_bytes());
        data
    }

    /// `none` attestation, written by hand: what browsers send.
    fn attestation(&self, rp_id: &str) -> Vec<u8> {
        let point = self.pair.public_key().as_ref();
        let mut data = self.data(rp_id, self.flags | 0x40);
        data.extend([0; 16]);
        data.extend([0, 32]);
        data.extend(self.id());
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..65]);
        let mut object = vec![0xa3];
        object.extend(b"\x63fmt\x64none\x67attStmt\xa0\x68authData\x58");
        object.push(u8::try_from(data.len()).unwrap());
        object.extend(data);
        object
    }

    fn assert(&mut self, challenge: &str, rp_id: &str, origin: &str) -> Assertion {
        self.count += 1;
        let client_data = Self::client_data("webauthn.get", challenge, origin);
        let data = self.data(rp_id, self.flags);
        let signed = [data.as_slice(), Digest::of(&client_data).as_bytes()].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Assertion {
            credential: encode(&self.id()),
            client_data: encode(&client_data),
            authenticator_data: encode(&data),
            signature: encode(signature.as_ref()),
        }
    }

    fn answer(&mut self, challenge: &str) -> Assertion {
        self.assert(challenge, &party().id, &party().origin)
    }
}

/// Ada, signed in, with a passkey.
struct Ada {
    world: World,
    id: NhiId,
    principal: Principal,
    key: Authenticator,
}

impl Ada {
    async fn with_passkey(db: Db) -> Self {
        let world = World::open(db).await;
        let id = world.identity("default", NhiKind::Human, "ada").await;
        world.credentials.create_account(&id, &id, PASSWORD, Roles::only(Role::Approver)).await.unwrap();
        let principal = world.credentials.login(&id, PASSWORD).await.unwrap().principal;
        let ada = Self { world, id, principal, key: Authenticator::new() };
        ada.register(&ada.key).await.unwrap();
        ada
    }

    async fn register(&self, key: &Authenticator) -> Result<(), creto_nhi::NhiError> {
        self.register_with(key, |_| None).await
    }

    async fn register_with(&self, key: &Authenticator, prove: impl FnOnce(&str) -> Option<Assertion>) -> Result<(), creto_nhi::NhiError> {
        let credentials = &self.world.credentials;
        let asked = credentials.passkey_registration(&self.principal, &party()).await?;
        let client = Authenticator::client_data("webauthn.create", &asked.challenge, &party().origin);
        let (client, object) = (URL_SAFE_NO_PAD.encode(client), URL_SAFE_NO_PAD.encode(key.attestation(&party().id)));
        let proof = prove(&asked.challenge);
        credentials.register_passkey(&self.principal, &party(), "laptop", (&client, &object), proof.as_ref()).await.map(|_| ())
    }

    async fn challenge(&self) -> String {
        self.world.credentials.passkey_registration(&self.principal, &party()).await.unwrap().challenge
    }
}

#[tokio::test]
async fn a_passkey_is_registered_once_and_signs_in() {
    each_engine(SETS, async |db| {
        let mut ada = Ada::with_passkey(db).await;
        let credentials = &ada.world.credentials;
        let tenant = "default".parse().unwrap();
        let asked = credentials.passkey_login(&tenant, &party()).await.unwrap();
        let answer = ada.key.answer(&asked.challenge);
        let login = credentials.login_by_passkey(&tenant, &party(), &answer).await.unwrap();
        assert_eq!(login.principal.identity, ada.id);
        let again = credentials.login_by_passkey(&tenant, &party(), &answer).await.unwrap_err();
        assert_eq!(again.code().as_str(), "nhi.passkey_refused", "an answer counts once");
        let rival = "rival".parse().unwrap();
        let asked = credentials.passkey_login(&rival, &party()).await.unwrap();
        assert!(credentials.login_by_passkey(&rival, &party(), &ada.key.answer(&asked.challenge)).await.is_err(), "another tenant's");
        let proof = ada.key.answer(&ada.challenge().await);
        credentials.remove_passkey(&ada.principal, &party(), &answer.credential, &proof).await.unwrap();
        let asked = credentials.passkey_login(&tenant, &party()).await.unwrap();
        assert!(credentials.login_by_passkey(&tenant, &party(), &ada.key.answer(&asked.challenge)).await.is_err(), "removed");
    })
    .await;
}

#[tokio::test]
async fn whoever_holds_a_passkey_adds_and_removes_passkeys_with_it_and_not_with_a_password_alone() {
    each_engine(SETS, async |db| {
        let mut ada = Ada::with_passkey(db).await;
        let (second, mut foreign) = (Authenticator::new(), Authenticator::new());
        let code = |refused: Result<(), creto_nhi::NhiError>| refused.unwrap_err().code().as_str().to_owned();
        assert_eq!(code(ada.register(&second).await), "nhi.passkey_proof", "the session began with a password");
        assert_eq!(code(ada.register_with(&second, |asked| Some(foreign.answer(asked))).await), "nhi.passkey_proof", "nobody's");
        let mut key = std::mem::replace(&mut ada.key, Authenticator::new());
        let stale = key.answer(&ada.challenge().await);
        assert_eq!(code(ada.register_with(&second, |_| Some(stale)).await), "nhi.passkey_refused", "another question's");
        ada.register_with(&second, |asked| Some(key.answer(asked))).await.unwrap();
        assert_eq!(code(ada.register_with(&second, |asked| Some(key.answer(asked))).await), "nhi.passkey_exists");

        let credentials = &ada.world.credentials;
        let held = URL_SAFE_NO_PAD.encode(second.id());
        let wrong = foreign.answer(&ada.challenge().await);
        assert_eq!(code(credentials.remove_passkey(&ada.principal, &party(), &held, &wrong).await), "nhi.passkey_proof");
        let proof = key.answer(&ada.challenge().await);
        credentials.remove_passkey(&ada.principal, &party(), &held, &proof).await.unwrap();
        assert_eq!(code(credentials.remove_passkey(&ada.principal, &party(), &held, &proof).await), "nhi.passkey_refused", "once");
        assert_eq!(credentials.passkeys(&ada.id).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn of_two_first_passkeys_at_once_one_is_the_first() {
    each_engine(SETS, async |db| {
        let world = World::open(db).await;
        let id = world.identity("default", NhiKind::Human, "ada").await;
        world.credentials.create_account(&id, &id, PASSWORD, Roles::only(Role::Approver)).await.unwrap();
        let principal = world.credentials.login(&id, PASSWORD).await.unwrap().principal;
        let ada = Ada { world, id, principal, key: Authenticator::new() };
        let other = Authenticator::new();
        let (one, two) = tokio::join!(ada.register(&ada.key), ada.register(&other));
        let refused: Vec<_> = [one, two].into_iter().filter_map(Result::err).map(|e| e.code().as_str().to_owned()).collect();
        assert_eq!(refused, ["nhi.passkey_proof"]);
    })
    .await;
}

#[tokio::test]
async fn an_approval_by_passkey_is_for_one_action_once_and_verifies_offline() {
    each_engine(SETS, async |db| {
        let mut ada = Ada::with_passkey(db).await;
        let credentials = &ada.world.credentials;
        let (digest, other) = (Digest::of(b"pay 5"), Digest::of(b"pay 500"));
        let asked = credentials.passkey_approval(&ada.id, &party(), "req_1", digest).await.unwrap();
        let answer = ada.key.answer(&asked.challenge);
        for (request, digest) in [("req_1", other), ("req_2", digest)] {
            let refused = credentials.approve_by_passkey(&ada.id, &party(), request, digest, &answer).await.unwrap_err();
            assert_eq!(refused.code().as_str(), "nhi.passkey_refused");
        }
        let evidence = credentials.approve_by_passkey(&ada.id, &party(), "req_1", digest, &answer).await.unwrap();
        assert!(credentials.approve_by_passkey(&ada.id, &party(), "req_1", digest, &answer).await.is_err(), "once");
        let evidence: Evidence = serde_json::from_str(&evidence).unwrap();
        evidence.verify(digest).unwrap();
        assert_eq!(evidence.verify(other), Err(PasskeyFault::Challenge));

        let asked = credentials.passkey_approval(&ada.id, &party(), "req_1", digest).await.unwrap();
        let answer = ada.key.answer(&asked.challenge);
        ada.world.clock.advance(CHALLENGE_MAX);
        assert!(credentials.approve_by_passkey(&ada.id, &party(), "req_1", digest, &answer).await.is_err(), "too late");
    })
    .await;
}

type Tamper = fn(&mut Authenticator, &str) -> Assertion;

#[tokio::test]
async fn nobody_elses_site_ceremony_user_or_copy_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut ada = Ada::with_passkey(Db::open_sqlite(&folder.path().join("db"), SETS).unwrap()).await;
    let credentials = &ada.world.credentials;
    let digest = Digest::of(b"pay 5");
    let tampered: [(&str, Tamper); 5] = [
        ("another origin", |key, challenge| key.assert(challenge, &party().id, "https://creto.example.evil")),
        ("another relying party", |key, challenge| key.assert(challenge, "evil.example", &party().origin)),
        ("no user verification", |key, challenge| {
            key.flags = 0x01;
            let answer = key.answer(challenge);
            key.flags = 0x05;
            answer
        }),
        ("another key", |key, challenge| Assertion {
            credential: URL_SAFE_NO_PAD.encode(key.id()),
            ..Authenticator::new().answer(challenge)
        }),
        ("a registration's data", |key, challenge| Assertion {
            client_data: URL_SAFE_NO_PAD.encode(Authenticator::client_data("webauthn.create", challenge, &party().origin)),
            ..key.answer(challenge)
        }),
    ];
    for (what, tamper) in tampered {
        let asked = credentials.passkey_approval(&ada.id, &party(), "req_1", digest).await.unwrap();
        let answer = tamper(&mut ada.key, &asked.challenge);
        assert!(credentials.approve_by_passkey(&ada.id, &party(), "req_1", digest, &answer).await.is_err(), "{what}");
    }
    // A copy of the authenticator that was made earlier counts on from there.
    let asked = credentials.passkey_approval(&ada.id, &party(), "req_1", digest).await.unwrap();
    let answer = ada.key.answer(&asked.challenge);
    credentials.approve_by_passkey(&ada.id, &party(), "req_1", digest, &answer).await.unwrap();
    ada.key.count -= 1;
    let asked = credentials.passkey_approval(&ada.id, &party(), "req_1", digest).await.unwrap();
    let answer = ada.key.answer(&asked.challenge);
    let refused = credentials.approve_by_passkey(&ada.id, &party(), "req_1", digest, &answer).await.unwrap_err();
    assert!(refused.to_string().contains("counter"), "{refused}");

    let bob = ada.world.identity("default", NhiKind::Human, "bob").await;
    let refused = credentials.passkey_approval(&bob, &party(), "req_1", digest).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "nhi.passkey_unknown");
    let program = Principal::local(ada.id.clone(), Roles::OPERATOR_AND_APPROVER).unwrap();
    let refused = credentials.passkey_registration(&program, &party()).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "nhi.passkey_session");
}

#[tokio::test]
async fn an_invitation_lets_its_holder_back_in_once_and_ends_what_was_lost() {
    each_engine(SETS, async |db| {
        let ada = Ada::with_passkey(db).await;
        let credentials = &ada.world.credentials;
        let tenant = "default".parse().unwrap();
        let first = credentials.invite(&ada.id, &ada.id).await.unwrap();
        let second = credentials.invite(&ada.id, &ada.id).await.unwrap();
        let password = "another horse battery";
        for token in [first.expose(), "creto_invite_00", ""] {
            assert_eq!(credentials.redeem_invite(&tenant, token, password).await.unwrap_err().code().as_str(), "nhi.invite_unknown");
        }
        assert!(credentials.redeem_invite(&tenant, second.expose(), "short").await.is_err(), "it is not used up by a bad password");
        assert_eq!(credentials.redeem_invite(&tenant, second.expose(), password).await.unwrap(), ada.id);
        assert!(credentials.redeem_invite(&tenant, second.expose(), password).await.is_err(), "once");
        assert_eq!(credentials.passkeys(&ada.id).await.unwrap(), []);
        credentials.login(&ada.id, password).await.unwrap();
        let late = credentials.invite(&ada.id, &ada.id).await.unwrap();
        ada.world.clock.advance(creto_nhi::INVITE_MAX);
        assert!(credentials.redeem_invite(&tenant, late.expose(), password).await.is_err(), "a day");
    })
    .await;
}

#[test]
fn no_byte_of_an_answer_can_be_changed() {
    let mut key = Authenticator::new();
    let challenge = [7; 32];
    let text = URL_SAFE_NO_PAD.encode(challenge);
    let client = URL_SAFE_NO_PAD.encode(Authenticator::client_data("webauthn.create", &text, &party().origin));
    let object = key.attestation(&party().id);
    let made = webauthn::register(&party(), &challenge, &client, &URL_SAFE_NO_PAD.encode(&object)).unwrap();
    let answer = key.answer(&text);
    assert_eq!(webauthn::verify(&party(), &challenge, &made.key, &answer), Ok(1));
    for at in 0..object.len() {
        let mut changed = object.clone();
        changed[at] ^= 0xff;
        // Whatever is still a registration has another identifier, key or maker: never the same key under the same name twice.
        if let Ok(other) = webauthn::register(&party(), &challenge, &client, &URL_SAFE_NO_PAD.encode(&changed)) {
            let verified = webauthn::verify(&party(), &challenge, &other.key, &answer).is_ok();
            assert!(!verified || other.key == made.key, "byte {at}");
        }
        let _ = webauthn::register(&party(), &challenge, &client, &URL_SAFE_NO_PAD.encode(&object[..at]));
    }
    let parts: [fn(&mut Assertion) -> &mut String; 3] = [|a| &mut a.client_data, |a| &mut a.authenticator_data, |a| &mut a.signature];
    for part in parts {
        let mut whole = answer.clone();
        let bytes = URL_SAFE_NO_PAD.decode(part(&mut whole).as_str()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x01;
            *part(&mut whole) = URL_SAFE_NO_PAD.encode(&changed);
            assert!(webauthn::verify(&party(), &challenge, &made.key, &whole).is_err(), "byte {at}");
            *part(&mut whole) = URL_SAFE_NO_PAD.encode(&bytes[..at]);
            assert!(webauthn::verify(&party(), &challenge, &made.key, &whole).is_err(), "cut at {at}");
        }
    }
}
