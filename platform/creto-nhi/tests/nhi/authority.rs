//! The authority on both engines: what it makes verifies, what it revokes does not, and a restart changes neither.

use std::time::Duration;

use creto_crypto::{SignSuite, SigningKey};
use creto_db::testkit::each_engine;
use creto_kernel::time::ManualClock;
use creto_kernel::{Clock as _, Leaf, Micros, NhiId, NhiKind};
use creto_nhi::testkit::World;
use creto_nhi::{Authority, DELEGATION_DOMAIN, DelegationChain, Grant, MIGRATIONS, VerifiedChain};

use crate::fixture::{code, patterns};

fn verify(authority: &Authority, chain: &DelegationChain, clock: &ManualClock) -> Result<VerifiedChain, creto_nhi::NhiError> {
    authority.verify(chain, clock.now())
}

fn server(tenant: &str) -> NhiId {
    format!("spiffe://creto.test/tenant/{tenant}/service/creto").parse().unwrap()
}

async fn leaves(world: &World) -> Vec<Leaf> {
    let rows = world.db.query("SELECT body FROM audit_leaf ORDER BY sequence", Vec::new()).await.unwrap();
    rows.iter().map(|row| serde_json::from_slice(row.blob(0).unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delegated_verifies_is_recorded_and_survives_a_restart() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let chain = world.chain("default", Some(Micros::new(50)), &["planner", "researcher"]).await;
        let verified = verify(&world.authority, &chain, &world.clock).unwrap();
        assert_eq!((verified.root().name(), verified.leaf().name()), ("alice", "researcher"));
        assert_eq!(verified.effective().budget, Some(Micros::new(50)));
        let restarted = world.restarted().await;
        assert_eq!(verify(&restarted, &chain, &world.clock).unwrap(), verified);
        let stored = restarted.chain(verified.tenant(), verified.digest()).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&chain));
        assert_eq!(restarted.chains_of(verified.root(), verified.leaf()).await.unwrap(), [chain]);
        assert_eq!(restarted.chain(&"other".parse().unwrap(), verified.digest()).await.unwrap(), None);
        let last = leaves(&world).await.pop().unwrap();
        assert_eq!(
            (last.action.as_str(), last.actor.name(), last.resource.as_str()),
            ("nhi.delegate", "planner", "identity:agent/researcher")
        );
        assert_eq!(last.digests["chain"], verified.digest());
        assert_eq!(last.facts["custodial"], "true");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_holds_for_the_next_call_and_after_a_restart() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let chain = world.chain("default", None, &["planner", "researcher"]).await;
        let other = world.chain("default", None, &["bystander"]).await;
        let before = verify(&world.authority, &chain, &world.clock).unwrap();
        assert_eq!(before.revocation_epoch(), world.authority.revocation_epoch());
        let link = chain.links()[0].id;

        // The same link revoked by another tenant is another tenant's business.
        world.authority.revoke_link(&server("other"), link).await.unwrap();
        assert_eq!(code(verify(&world.authority, &chain, &world.clock)), "accepted");

        world.authority.revoke_link(before.root(), link).await.unwrap();
        assert!(world.authority.revocation_epoch() > before.revocation_epoch());
        assert_eq!(code(verify(&world.authority, &chain, &world.clock)), "nhi.link_revoked");
        assert_eq!(code(verify(&world.authority, &other, &world.clock)), "accepted");
        world.authority.revoke_link(before.root(), link).await.unwrap();

        let restarted = world.restarted().await;
        assert_eq!(code(verify(&restarted, &chain, &world.clock)), "nhi.link_revoked");
        assert_eq!(restarted.revocation_epoch(), world.authority.revocation_epoch());
        let leaf = leaves(&world).await.pop().unwrap();
        assert_eq!((leaf.action.as_str(), leaf.resource.as_str()), ("nhi.revoke_link", format!("link:{link}").as_str()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_suspended_resumed_and_revoked() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let chain = world.chain("default", None, &["planner", "researcher"]).await;
        let alice = chain.links()[0].from.clone();
        let planner = chain.links()[0].to.clone();
        let authority = &world.authority;
        let mut epochs = vec![authority.revocation_epoch()];
        authority.suspend_identity(&alice, &planner).await.unwrap();
        epochs.push(authority.revocation_epoch());
        assert_eq!(code(verify(authority, &chain, &world.clock)), "nhi.identity_suspended");
        assert_eq!(code(authority.delegate(&chain, &alice, world.grant(None, 0)).await), "nhi.chain_delegate_kind");
        authority.resume_identity(&alice, &planner).await.unwrap();
        epochs.push(authority.revocation_epoch());
        assert_eq!(code(verify(authority, &chain, &world.clock)), "accepted");
        authority.revoke_identity(&alice, &planner).await.unwrap();
        epochs.push(authority.revocation_epoch());
        assert_eq!(code(verify(authority, &chain, &world.clock)), "nhi.identity_revoked");
        assert_eq!(code(authority.resume_identity(&alice, &planner).await), "nhi.identity_revoked");
        assert_eq!(code(verify(&world.restarted().await, &chain, &world.clock)), "nhi.identity_revoked");
        assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
        assert_eq!(code(authority.direct(&alice)), "accepted");
        authority.revoke_identity(&server("default"), &alice).await.unwrap();
        assert_eq!(code(authority.direct(&alice)), "nhi.identity_revoked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_see_or_touch_each_other() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let chain = world.chain("acme", None, &["planner"]).await;
        let (alice, planner) = (chain.links()[0].from.clone(), chain.links()[0].to.clone());
        let stranger = world.identity("other", NhiKind::Agent, "spy").await;
        let mallory = world.identity("other", NhiKind::Human, "mallory").await;
        let authority = &world.authority;
        let acme = alice.tenant();
        assert_eq!(code(authority.create_identity(&mallory, acme, NhiKind::Agent, "x").await), "nhi.other_tenant");
        assert_eq!(code(authority.suspend_identity(&mallory, &planner).await), "nhi.other_tenant");
        assert_eq!(code(authority.revoke_identity(&mallory, &planner).await), "nhi.other_tenant");
        assert_eq!(code(authority.rotate_key(&mallory, &planner).await), "nhi.other_tenant");
        assert_eq!(code(authority.chains_of(&mallory, &planner).await), "nhi.other_tenant");
        assert_eq!(code(authority.delegate(&alice, &stranger, world.grant(None, 0)).await), "nhi.chain_cross_tenant");
        assert_eq!(code(authority.delegate(&chain, &stranger, world.grant(None, 0)).await), "nhi.chain_cross_tenant");
        assert_eq!(authority.identities(acme).iter().map(|known| known.id.name().to_owned()).collect::<Vec<_>>(), ["planner", "alice"]);
        assert_eq!(code(verify(authority, &chain, &world.clock)), "accepted");
        assert_eq!(code(authority.create_identity(&alice, acme, NhiKind::Agent, "planner").await), "nhi.identity_exists");
        assert_eq!(code(authority.create_identity(&alice, acme, NhiKind::Agent, "no/name").await), "nhi.identity_name");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegation_that_would_not_verify_is_neither_made_nor_recorded() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let chain = world.chain("default", Some(Micros::new(50)), &["planner", "researcher"]).await;
        let tool = world.identity("default", NhiKind::Service, "tool").await;
        let parent = DelegationChain::from_links(chain.links()[..1].to_vec()).unwrap();
        let recorded = leaves(&world).await.len();
        let refused = [
            ("nhi.chain_widened", Grant { budget: Some(Micros::new(51)), ..world.grant(None, 0) }),
            ("nhi.chain_widened", world.grant(None, 1)),
            (
                "nhi.chain_widened",
                Grant { not_after: world.grant(None, 0).not_after.saturating_add(Duration::from_secs(1)), ..world.grant(None, 0) },
            ),
            ("nhi.grant_invalid", Grant { actions: Vec::new(), ..world.grant(None, 0) }),
            ("nhi.chain_expired", Grant { not_after: world.clock.now(), ..world.grant(None, 0) }),
        ];
        for (expected, grant) in refused {
            assert_eq!(code(world.authority.delegate(&parent, &tool, grant).await), expected);
        }
        let agent = &chain.links()[1].to;
        assert_eq!(code(world.authority.delegate(agent, &tool, world.grant(None, 0)).await), "nhi.chain_root_kind");
        let nobody: NhiId = "spiffe://creto.test/tenant/default/human/nobody".parse().unwrap();
        assert_eq!(code(world.authority.delegate(&nobody, &tool, world.grant(None, 0)).await), "nhi.chain_stranger");
        assert_eq!(code(world.authority.direct(agent)), "nhi.chain_root_kind");
        assert_eq!(leaves(&world).await.len(), recorded, "a refusal leaves nothing behind");
        let narrower = Grant { resources: patterns(&["sandbox:default"]), ..world.grant(Some(Micros::new(5)), 0) };
        assert_eq!(code(world.authority.delegate(&parent, &tool, narrower).await), "accepted");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_with_its_own_key_signs_its_links_itself() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let authority = &world.authority;
        let agent = world.identity("default", NhiKind::Agent, "planner").await;
        let own = SigningKey::generate(SignSuite::default()).unwrap();
        let tenant = agent.tenant().clone();
        let made = authority.create_identity_with_key(&server("default"), &tenant, NhiKind::Human, "bob", own.public()).await.unwrap();
        assert!(!made.is_custodial());
        let classic = SigningKey::generate(SignSuite::Ed25519).unwrap().public();
        let refused = authority.create_identity_with_key(&server("default"), &tenant, NhiKind::Human, "eve", classic).await;
        assert_eq!(code(refused), "crypto.refused_suite");

        assert_eq!(code(authority.delegate(&made.id, &agent, world.grant(None, 0)).await), "nhi.not_custodial");
        let body = authority.draft(&made.id, &agent, world.grant(None, 0)).unwrap();
        let signature = own.sign(DELEGATION_DOMAIN, &body.canonical_bytes().unwrap()).unwrap();
        let chain = DelegationChain::from_links(vec![body.clone().signed(signature)]).unwrap();
        let verified = authority.accept(&chain).await.unwrap();
        assert_eq!(verified.root(), &made.id);
        let leaf = leaves(&world).await.pop().unwrap();
        assert_eq!((leaf.actor, leaf.facts["custodial"].as_str()), (made.id.clone(), "false"));

        let stranger = SigningKey::generate(SignSuite::default()).unwrap();
        let forged = body.clone().signed(stranger.sign(DELEGATION_DOMAIN, &body.canonical_bytes().unwrap()).unwrap());
        assert_eq!(code(authority.accept(&DelegationChain::from_links(vec![forged]).unwrap()).await), "nhi.chain_key");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_key_keeps_what_it_signed_and_a_withdrawn_one_loses_it() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let authority = &world.authority;
        let chain = world.chain("default", None, &["planner"]).await;
        let (alice, planner) = (chain.links()[0].from.clone(), chain.links()[0].to.clone());
        let first = authority.identity(&alice).unwrap().current_key().unwrap().id;
        world.clock.advance(Duration::from_secs(1));
        let second = authority.rotate_key(&alice, &alice).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(code(verify(authority, &chain, &world.clock)), "accepted");
        let renewed = authority.delegate(&alice, &planner, world.grant(None, 0)).await.unwrap();
        assert_eq!(renewed.links()[0].signature.key, second);

        let own = SigningKey::generate(SignSuite::default()).unwrap();
        world.clock.advance(Duration::from_secs(1));
        authority.register_key(&alice, &alice, own.public()).await.unwrap();
        assert_eq!(code(authority.delegate(&alice, &planner, world.grant(None, 0)).await), "nhi.not_custodial");
        assert_eq!(code(authority.rotate_key(&alice, &alice).await), "nhi.not_custodial");
        assert_eq!(code(authority.register_key(&alice, &alice, own.public()).await), "nhi.identity_changed");
        assert_eq!(code(verify(authority, &renewed, &world.clock)), "accepted");

        authority.withdraw_key(&alice, &alice, second).await.unwrap();
        for authority in [authority, &world.restarted().await] {
            assert_eq!(code(verify(authority, &renewed, &world.clock)), "nhi.chain_key");
            assert_eq!(code(verify(authority, &chain, &world.clock)), "accepted");
        }
        assert_eq!(code(authority.withdraw_key(&alice, &planner, second).await), "nhi.identity_changed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_verification_ends_with_its_chain() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let chain = world.chain("default", None, &["planner"]).await;
        world.clock.advance(Duration::from_secs(3_599));
        assert_eq!(code(verify(&world.authority, &chain, &world.clock)), "accepted");
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(code(verify(&world.authority, &chain, &world.clock)), "nhi.chain_expired");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_stops_waiting_cannot_part_memory_from_the_database() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let chain = world.chain("default", None, &["planner"]).await;
        let (alice, planner) = (chain.links()[0].from.clone(), chain.links()[0].to.clone());
        let mut commits = world.db.commits();
        {
            let revoke = world.authority.revoke_identity(&alice, &planner);
            let mut revoke = std::pin::pin!(revoke);
            // Polled once, so that it has begun, and then dropped.
            let _ = std::future::poll_fn(|context| std::task::Poll::Ready(revoke.as_mut().poll(context).is_ready())).await;
        }
        let revoked = "SELECT id FROM nhi_identity WHERE status = 'revoked'";
        while world.db.query(revoked, Vec::new()).await.unwrap().is_empty() {
            commits.changed().await.unwrap();
        }
        // The commit was made in its turn, and the next change waits for its own: after it, the one before was learned.
        world.authority.revoke_link(&alice, chain.links()[0].id).await.unwrap();
        assert_eq!(world.authority.identity(&planner).unwrap().status, creto_nhi::Status::Revoked);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_on_the_same_database_learns_by_reloading() {
    each_engine(&[MIGRATIONS], async |db| {
        let world = World::open(db).await;
        let chain = world.chain("default", None, &["planner"]).await;
        let other = world.restarted().await;
        let epoch = other.revocation_epoch();
        world.authority.revoke_link(&chain.links()[0].from, chain.links()[0].id).await.unwrap();
        other.reload().await.unwrap();
        assert!(other.revocation_epoch() > epoch);
        assert_eq!(code(verify(&other, &chain, &world.clock)), "nhi.link_revoked");
    })
    .await;
}
