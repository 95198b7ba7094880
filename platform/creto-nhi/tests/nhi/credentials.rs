//! Keys, signed requests and sessions, on both engines.

use std::time::Duration;

use creto_crypto::{SignSuite, SigningKey};
use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, Digest, Micros, NhiId, NhiKind, Timestamp};
use creto_nhi::core::proof::{AGE_MAX, RequestParts, SignedFields, sign};
use creto_nhi::testkit::World;
use creto_nhi::{
    AuthMethod, Credentials, DELEGATION_DOMAIN, DelegationChain, KEY_DAYS_MAX, MIGRATIONS, Principal, Role, Roles, SESSION_IDLE_MAX,
    SESSION_MAX,
};

use crate::fixture::code;

const PASSWORD: &str = "correct horse battery staple";

fn tomorrow(world: &World) -> Timestamp {
    world.clock.now().saturating_add(Duration::from_secs(86_400))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_speaks_for_its_identity_in_its_role_until_it_ends() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let credentials = &world.credentials;
        let alice = world.identity("default", NhiKind::Human, "alice").await;
        for role in [Role::Operator, Role::Approver] {
            let issued = credentials.issue_api_key(&alice, &alice, role, None, tomorrow(&world)).await.unwrap();
            let token = issued.token.expose();
            assert!(token.starts_with(&format!("creto_{role}_")), "{token}");
            let principal = credentials.authenticate_bearer(token).await.unwrap();
            assert_eq!(
                (&principal.identity, principal.roles, principal.how),
                (&alice, Roles::only(role), AuthMethod::ApiKey(issued.key.id))
            );
            assert!(principal.chain.is_none());
            assert!(!format!("{issued:?}").contains(&token[token.len() - 64..]), "the secret is not shown");
        }
        let issued = credentials.issue_api_key(&alice, &alice, Role::Operator, None, tomorrow(&world)).await.unwrap();
        let token = issued.token.expose().to_owned();
        let last = if token.ends_with('0') { "1" } else { "0" };
        let wrong_secret = format!("{}{last}", &token[..token.len() - 1]);
        let unknown_id = token.replacen(&hex::encode(issued.key.id.as_bytes()), &"0".repeat(32), 1);
        for (expected, token) in [
            ("nhi.credential_unknown", wrong_secret.as_str()),
            ("nhi.credential_unknown", unknown_id.as_str()),
            ("nhi.credential_unknown", &token.replace("operator", "approver")),
            ("nhi.credential_malformed", &token[1..]),
            ("nhi.credential_malformed", ""),
            ("accepted", &token),
        ] {
            assert_eq!(code(credentials.authenticate_bearer(token).await), expected);
        }
        let stored =
            world.db.query("SELECT secret_digest FROM nhi_credential WHERE id = $1", creto_db::params![issued.key.id]).await.unwrap();
        let secret = hex::decode(&token[token.len() - 64..]).unwrap();
        assert_eq!(stored[0].text(0).unwrap(), Digest::of(&secret).to_string());
        world.clock.advance(Duration::from_secs(86_400));
        assert_eq!(code(credentials.authenticate_bearer(&token).await), "nhi.credential_expired");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_by_the_next_request() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let credentials = &world.credentials;
        let alice = world.identity("default", NhiKind::Human, "alice").await;
        let mallory = world.identity("other", NhiKind::Human, "mallory").await;
        let issued = credentials.issue_api_key(&alice, &alice, Role::Operator, None, tomorrow(&world)).await.unwrap();
        assert_eq!(code(credentials.authenticate_bearer(issued.token.expose()).await), "accepted");
        assert_eq!(code(credentials.revoke_api_key(&mallory, issued.key.id).await), "nhi.credential_not_found");
        assert_eq!(code(credentials.authenticate_bearer(issued.token.expose()).await), "accepted");
        credentials.revoke_api_key(&alice, issued.key.id).await.unwrap();
        assert_eq!(code(credentials.authenticate_bearer(issued.token.expose()).await), "nhi.credential_revoked");
        assert_eq!(code(credentials.revoke_api_key(&alice, issued.key.id).await), "nhi.credential_not_found");
        assert!(credentials.api_keys(alice.tenant()).await.unwrap()[0].revoked_at.is_some());
        assert!(credentials.api_keys(mallory.tenant()).await.unwrap().is_empty());

        let second = credentials.issue_api_key(&alice, &alice, Role::Operator, None, tomorrow(&world)).await.unwrap();
        assert_eq!(code(credentials.authenticate_bearer(second.token.expose()).await), "accepted");
        world.authority.suspend_identity(&alice, &alice).await.unwrap();
        assert_eq!(code(credentials.authenticate_bearer(second.token.expose()).await), "nhi.identity_suspended");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_key_carries_its_chain_and_never_the_role_of_a_person() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let credentials = &world.credentials;
        let chain = world.chain("default", Some(Micros::new(9)), &["planner", "researcher"]).await;
        let (alice, planner, agent) = (chain.links()[0].from.clone(), chain.links()[0].to.clone(), chain.links()[1].to.clone());
        let tool = world.identity("default", NhiKind::Service, "tool").await;
        let end = world.clock.now().saturating_add(Duration::from_secs(600));
        let cases: [(&str, &NhiId, Role, Option<&DelegationChain>, Timestamp); 12] = [
            ("nhi.role_refused", &agent, Role::Operator, None, end),
            ("nhi.role_refused", &agent, Role::Approver, None, end),
            ("nhi.role_refused", &agent, Role::Approver, Some(&chain), end),
            ("nhi.role_refused", &alice, Role::Agent, Some(&chain), end),
            ("nhi.role_refused", &tool, Role::Approver, None, end),
            ("accepted", &tool, Role::Operator, None, end),
            ("nhi.credential_chain", &agent, Role::Agent, None, end),
            ("nhi.credential_chain", &planner, Role::Agent, Some(&chain), end),
            ("nhi.credential_chain", &alice, Role::Operator, Some(&chain), end),
            ("nhi.credential_lifetime", &agent, Role::Agent, Some(&chain), world.clock.now()),
            (
                "nhi.credential_lifetime",
                &agent,
                Role::Agent,
                Some(&chain),
                world.clock.now().saturating_add(Duration::from_secs(u64::from(KEY_DAYS_MAX) * 86_400 + 1)),
            ),
            ("accepted", &agent, Role::Agent, Some(&chain), end),
        ];
        for (at, (expected, identity, role, chain, end)) in cases.into_iter().enumerate() {
            assert_eq!(code(credentials.issue_api_key(&alice, identity, role, chain, end).await), expected, "case {at}");
        }
        let issued = credentials.issue_api_key(&alice, &agent, Role::Agent, Some(&chain), end).await.unwrap();
        let principal = credentials.authenticate_bearer(issued.token.expose()).await.unwrap();
        assert_eq!((&principal.identity, principal.roles), (&agent, Roles::AGENT));
        let verified = principal.chain.unwrap();
        assert_eq!((verified.leaf(), verified.digest(), verified.not_after()), (&agent, chain.digest().unwrap(), end));
        assert_eq!(verified.authority(), world.authority.verify(&chain, world.clock.now()).unwrap().authority());

        world.authority.revoke_link(&alice, chain.links()[0].id).await.unwrap();
        assert_eq!(code(credentials.authenticate_bearer(issued.token.expose()).await), "nhi.link_revoked");
        let mallory = world.identity("other", NhiKind::Human, "mallory").await;
        assert_eq!(code(credentials.issue_api_key(&mallory, &alice, Role::Operator, None, end).await), "nhi.other_tenant");
    })
    .await;
}

fn request<'a>(authorization: &'a str, body: &[u8]) -> RequestParts<'a> {
    RequestParts {
        method: "POST",
        authority: "creto.internal",
        path: "/v1/events",
        query: None,
        body: Digest::of(body),
        authorization,
        content_digest: "",
        signature_input: "",
        signature: "",
    }
}

async fn send(credentials: &Credentials, parts: RequestParts<'_>, fields: &SignedFields) -> Result<Principal, creto_nhi::NhiError> {
    let parts = RequestParts {
        content_digest: &fields.content_digest,
        signature_input: &fields.signature_input,
        signature: &fields.signature,
        ..parts
    };
    credentials.authenticate_request(&parts).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_token_is_worth_nothing_without_the_key_of_its_agent() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let credentials = &world.credentials;
        let alice = world.identity("default", NhiKind::Human, "alice").await;
        let own = SigningKey::generate(SignSuite::default()).unwrap();
        let made = world.authority.create_identity_with_key(&alice, alice.tenant(), NhiKind::Agent, "own", own.public()).await.unwrap();
        let chain = world.authority.delegate(&alice, &made.id, world.grant(None, 0)).await.unwrap();
        let authorization = format!("Creto {}", chain.to_token().unwrap());
        let parts = request(&authorization, b"{}");

        let fields = sign(&parts, &own, "nonce-0123456789", world.clock.now()).unwrap();
        let principal = send(credentials, parts, &fields).await.unwrap();
        assert_eq!((&principal.identity, principal.roles, principal.how), (&made.id, Roles::AGENT, AuthMethod::Proof(own.key_id())));
        assert_eq!(principal.chain.unwrap().root(), &alice);
        assert_eq!(code(send(credentials, parts, &fields).await), "nhi.proof_replayed");
        let again = sign(&parts, &own, "nonce-0123456790", world.clock.now()).unwrap();
        assert_eq!(code(send(credentials, RequestParts { body: Digest::of(b"[]"), ..parts }, &again).await), "nhi.proof_digest");
        assert_eq!(code(send(credentials, RequestParts { path: "/v1/other", ..parts }, &again).await), "nhi.proof_signature");
        assert_eq!(code(send(credentials, parts, &again).await), "accepted", "a refused request does not use up its nonce");

        let thief = SigningKey::generate(SignSuite::default()).unwrap();
        let stolen = sign(&parts, &thief, "nonce-0123456789", world.clock.now()).unwrap();
        assert_eq!(code(send(credentials, parts, &stolen).await), "nhi.proof_key");
        let bearer = format!("Bearer {}", chain.to_token().unwrap());
        assert_eq!(code(send(credentials, request(&bearer, b"{}"), &again).await), "nhi.credential_malformed");
        assert_eq!(code(credentials.authenticate_bearer(&chain.to_token().unwrap()).await), "nhi.credential_malformed");

        // A stranger's own root, own key and own link: nobody here knows them.
        let foreign_root: NhiId = "spiffe://creto.test/tenant/default/human/eve".parse().unwrap();
        let body = world.authority.draft(&foreign_root, &made.id, world.grant(None, 0)).unwrap();
        let link = body.clone().signed(thief.sign(DELEGATION_DOMAIN, &body.canonical_bytes().unwrap()).unwrap());
        let foreign = format!("Creto {}", DelegationChain::from_links(vec![link]).unwrap().to_token().unwrap());
        let parts = request(&foreign, b"{}");
        let fields = sign(&parts, &own, "nonce-0123456791", world.clock.now()).unwrap();
        assert_eq!(code(send(credentials, parts, &fields).await), "nhi.chain_stranger");

        let parts = request(&authorization, b"{}");
        let before_restart = sign(&parts, &own, "nonce-0123456792", world.clock.now()).unwrap();
        world.clock.advance(Duration::from_secs(1));
        let restarted = Credentials::new(world.restarted().await);
        assert_eq!(code(send(&restarted, parts, &before_restart).await), "accepted", "it was not used before the restart");
        let other = Credentials::new(world.restarted().await);
        for server in [credentials, &restarted, &other] {
            assert_eq!(code(send(server, parts, &before_restart).await), "nhi.proof_replayed", "used once, at whichever server");
        }
        world.clock.advance(AGE_MAX + Duration::from_secs(2));
        let late = sign(&parts, &own, "nonce-0123456793", world.clock.now()).unwrap();
        assert_eq!(code(send(credentials, parts, &late).await), "accepted");
        let kept = world.db.query("SELECT count(*) FROM nhi_nonce", Vec::new()).await.unwrap();
        assert_eq!(kept[0].int(0).unwrap(), 1, "nonces whose signatures are too old are forgotten");
        world.authority.revoke_identity(&alice, &made.id).await.unwrap();
        assert_eq!(code(send(credentials, parts, &before_restart).await), "nhi.identity_revoked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_and_the_session_ends_in_time() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let credentials = &world.credentials;
        let alice = world.identity("default", NhiKind::Human, "alice").await;
        let agent = world.identity("default", NhiKind::Agent, "agent").await;
        let both = Roles::OPERATOR_AND_APPROVER;
        assert_eq!(code(credentials.create_account(&alice, &agent, PASSWORD, both).await), "nhi.role_refused");
        assert_eq!(code(credentials.create_account(&alice, &agent, PASSWORD, Roles::AGENT).await), "nhi.role_refused");
        assert_eq!(code(credentials.create_account(&alice, &alice, "short", both).await), "nhi.password_length");
        credentials.create_account(&alice, &alice, PASSWORD, both).await.unwrap();
        assert_eq!(code(credentials.create_account(&alice, &alice, PASSWORD, both).await), "nhi.account_exists");

        let login = credentials.login(&alice, PASSWORD).await.unwrap();
        assert_eq!((&login.principal.identity, login.principal.roles), (&alice, both));
        let cookie = login.cookie.expose();
        let principal = credentials.authenticate_session(cookie).await.unwrap();
        assert_eq!((principal.identity, principal.roles, principal.how), (alice.clone(), both, login.principal.how));
        assert_eq!(code(credentials.authenticate_session("creto_session_00").await), "nhi.session_unknown");
        assert_eq!(code(credentials.authenticate_session(&cookie.replace(&cookie[20..24], "ffff")).await), "nhi.session_unknown");

        // Used in time, it lives on; left alone, it ends.
        let nearly = SESSION_IDLE_MAX - Duration::from_secs(1);
        for _ in 0..3 {
            world.clock.advance(nearly);
            assert_eq!(code(credentials.authenticate_session(cookie).await), "accepted");
        }
        world.clock.advance(SESSION_IDLE_MAX);
        assert_eq!(code(credentials.authenticate_session(cookie).await), "nhi.session_expired");

        // However busy, it ends.
        let busy = credentials.login(&alice, PASSWORD).await.unwrap();
        let begun = world.clock.now();
        while world.clock.now().saturating_add(nearly) < begun.saturating_add(SESSION_MAX) {
            world.clock.advance(nearly);
            assert_eq!(code(credentials.authenticate_session(busy.cookie.expose()).await), "accepted");
        }
        world.clock.set(busy.not_after);
        assert_eq!(code(credentials.authenticate_session(busy.cookie.expose()).await), "nhi.session_expired");

        let third = credentials.login(&alice, PASSWORD).await.unwrap();
        credentials.logout(third.cookie.expose()).await.unwrap();
        assert_eq!(code(credentials.authenticate_session(third.cookie.expose()).await), "nhi.session_unknown");
        let fourth = credentials.login(&alice, PASSWORD).await.unwrap();
        credentials.set_password(&alice, &alice, "another long password").await.unwrap();
        assert_eq!(code(credentials.authenticate_session(fourth.cookie.expose()).await), "nhi.session_unknown");
        assert_eq!(code(credentials.login(&alice, PASSWORD).await), "nhi.login_failed");
        let stored = world.db.query("SELECT password FROM nhi_account", Vec::new()).await.unwrap();
        assert!(stored[0].text(0).unwrap().starts_with("$argon2id$"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_session_does_not_fit_another() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let credentials = &world.credentials;
        let alice = world.identity("default", NhiKind::Human, "alice").await;
        credentials.create_account(&alice, &alice, PASSWORD, Roles::only(Role::Approver)).await.unwrap();
        let (one, two) = (credentials.login(&alice, PASSWORD).await.unwrap(), credentials.login(&alice, PASSWORD).await.unwrap());
        assert_eq!(code(credentials.check_csrf(one.cookie.expose(), &one.csrf)), "accepted");
        assert_eq!(credentials.csrf_token(one.cookie.expose()).unwrap(), one.csrf);
        for (cookie, token, expected) in [
            (one.cookie.expose(), two.csrf.as_str(), "nhi.csrf_refused"),
            (one.cookie.expose(), "", "nhi.csrf_refused"),
            (one.cookie.expose(), &one.csrf[1..], "nhi.csrf_refused"),
            ("", one.csrf.as_str(), "nhi.session_unknown"),
        ] {
            assert_eq!(code(credentials.check_csrf(cookie, token)), expected);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_and_tells_nothing() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let credentials = &world.credentials;
        let alice = world.identity("default", NhiKind::Human, "alice").await;
        let nobody: NhiId = "spiffe://creto.test/tenant/default/human/nobody".parse().unwrap();
        credentials.create_account(&alice, &alice, PASSWORD, Roles::only(Role::Approver)).await.unwrap();
        for who in [&alice, &nobody] {
            for _ in 0..5 {
                assert_eq!(code(credentials.login(who, "wrong").await), "nhi.login_failed");
            }
            assert_eq!(code(credentials.login(who, PASSWORD).await), "nhi.login_throttled");
        }
        let restarted = Credentials::new(world.restarted().await);
        assert_eq!(code(restarted.login(&alice, PASSWORD).await), "nhi.login_throttled", "a restart forgets nothing");
        assert_eq!(code(restarted.login(&nobody, PASSWORD).await), "nhi.login_throttled", "nor what it knows of names without an account");
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(code(credentials.login(&alice, PASSWORD).await), "accepted");
        assert_eq!(code(credentials.login(&alice, "wrong").await), "nhi.login_failed");
        assert_eq!(code(credentials.login(&alice, PASSWORD).await), "accepted", "a login clears the count");
        world.authority.suspend_identity(&alice, &alice).await.unwrap();
        assert_eq!(code(credentials.login(&alice, PASSWORD).await), "nhi.identity_suspended");
    })
    .await;
}
