//! Keys that identities keep themselves, on both engines.

use creto_crypto::{SignSuite, SigningKey};
use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, NhiId, NhiKind};
use creto_nhi::testkit::World;
use creto_nhi::{DELEGATION_DOMAIN, DelegationChain, KeyRegistration, MIGRATIONS, Principal, Role, Roles};

use crate::fixture::code;

async fn newest_fact(world: &World, action: &str, fact: &str) -> String {
    let rows = world.db.query("SELECT body FROM audit_leaf ORDER BY sequence", Vec::new()).await.unwrap();
    let leaves: Vec<creto_kernel::Leaf> = rows.iter().map(|row| serde_json::from_slice(row.blob(0).unwrap()).unwrap()).collect();
    leaves.iter().rev().find(|leaf| leaf.action.as_str() == action).and_then(|leaf| leaf.facts.get(fact).cloned()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_registered_by_its_holder_with_their_present_credential() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let authority = &world.authority;
        let chain = world.chain("default", None, &["worker"]).await;
        let worker = chain.claimed_leaf().unwrap().clone();
        let alice = chain.links()[0].from.clone();
        let end = world.grant(None, 0).not_after;
        let issued = world.credentials.issue_api_key(&alice, &worker, Role::Agent, Some(&chain), end).await.unwrap();
        let principal = world.credentials.authenticate_bearer(issued.token.expose()).await.unwrap();

        let own = SigningKey::generate(SignSuite::default()).unwrap();
        let offered = KeyRegistration::sign(&worker, &own, world.clock.now()).unwrap();
        let in_sandbox = Principal::in_sandbox(authority.verify(&chain, world.clock.now()).unwrap());
        assert_eq!(code(authority.register_own_key(&in_sandbox, &offered).await), "nhi.registration_refused");
        let alice_herself = Principal::local(alice.clone(), Roles::OPERATOR_AND_APPROVER).unwrap();
        assert_eq!(code(authority.register_own_key(&alice_herself, &offered).await), "nhi.registration_refused", "not for another");
        let classic = SigningKey::generate(SignSuite::Ed25519).unwrap();
        let weak = KeyRegistration::sign(&worker, &classic, world.clock.now()).unwrap();
        assert_eq!(code(authority.register_own_key(&principal, &weak).await), "crypto.refused_suite");

        let key = authority.register_own_key(&principal, &offered).await.unwrap();
        assert_eq!(key, own.key_id());
        assert_eq!(newest_fact(&world, "nhi.register_key", "custodial").await, "false");
        let known = authority.identity(&worker).unwrap();
        assert_eq!(known.current_key().map(|key| (key.id, key.custodial)), Some((key, false)));
        assert_eq!(code(authority.register_own_key(&principal, &offered).await), "nhi.identity_changed", "a registration is good once");
        authority.withdraw_key(&worker, &worker, key).await.unwrap();
        assert_eq!(code(authority.register_own_key(&principal, &offered).await), "nhi.identity_changed", "also after a withdrawal");
        authority.suspend_identity(&alice, &worker).await.unwrap();
        let another = SigningKey::generate(SignSuite::default()).unwrap();
        let late = KeyRegistration::sign(&worker, &another, world.clock.now()).unwrap();
        assert_eq!(code(authority.register_own_key(&principal, &late).await), "nhi.identity_suspended");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaf_of_a_link_says_who_held_the_key_that_signed_it() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let authority = &world.authority;
        let worker = world.identity("default", NhiKind::Agent, "worker").await;
        let alice = world.identity("default", NhiKind::Human, "alice").await;
        let custodial = authority.delegate(&alice, &worker, world.grant(None, 0)).await.unwrap();
        authority.accept(&custodial).await.unwrap();
        assert_eq!(newest_fact(&world, "nhi.delegate", "custodial").await, "true", "handing it in does not change who signed it");

        let own = SigningKey::generate(SignSuite::default()).unwrap();
        let herself = Principal::local(alice.clone(), Roles::OPERATOR_AND_APPROVER).unwrap();
        let offered = KeyRegistration::sign(&alice, &own, world.clock.now()).unwrap();
        authority.register_own_key(&herself, &offered).await.unwrap();
        let signed = |to: &NhiId| {
            let body = authority.draft(&alice, to, world.grant(None, 0)).unwrap();
            let signature = own.sign(DELEGATION_DOMAIN, &body.canonical_bytes().unwrap()).unwrap();
            DelegationChain::from_links(vec![body.signed(signature)]).unwrap()
        };
        let chain = signed(&worker);
        authority.accept(&chain).await.unwrap();
        assert_eq!(newest_fact(&world, "nhi.delegate", "custodial").await, "false");
        authority.withdraw_key(&alice, &alice, own.key_id()).await.unwrap();
        assert_eq!(code(authority.verify(&chain, world.clock.now())), "nhi.chain_key", "what a withdrawn key signed counts no more");
        assert_eq!(code(authority.accept(&signed(&worker)).await), "nhi.chain_key");
    })
    .await;
}
