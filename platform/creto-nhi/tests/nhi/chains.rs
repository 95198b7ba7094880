//! Every way a chain can be wrong, each with its code; and what a right one yields.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_crypto::{SignSuite, SigningKey};
use creto_kernel::id::LinkId;
use creto_kernel::{Digest, Micros, Timestamp};
use creto_nhi::model::grant::{DEPTH_MAX, PATTERNS_MAX};
use creto_nhi::model::link::{TOKEN_BYTES_MAX, TOKEN_PREFIX};
use creto_nhi::{DELEGATION_DOMAIN, DelegationChain, Link, Pattern, Status};

use crate::fixture::{World, code, id, identity, key_of, later, now, patterns, sign};

#[test]
fn a_right_chain_yields_its_hops_and_the_intersection_of_its_grants() {
    let world = World::new();
    let chain = world.chain();
    let verified = world.verify(&chain).unwrap();
    assert_eq!(verified.root(), &id("human/alice"));
    assert_eq!(verified.leaf(), &id("service/tool"));
    assert_eq!(verified.tenant().as_str(), "default");
    assert_eq!(verified.revocation_epoch(), 7);
    assert_eq!(verified.digest(), chain.digest().unwrap());
    assert_eq!(verified.not_after(), later(1_000));
    let effective = verified.effective();
    assert_eq!((effective.actions.clone(), effective.resources.clone()), (patterns(&["runtime.exec"]), patterns(&["sandbox:default"])));
    assert_eq!((effective.budget, effective.depth), (Some(Micros::new(10)), 0));
    let hops: Vec<_> = verified.hops().iter().map(|hop| (hop.identity.name(), hop.link.is_some(), hop.budget.map(Micros::get))).collect();
    assert_eq!(hops, [("alice", false, None), ("planner", true, Some(100)), ("researcher", true, None), ("tool", true, Some(10))]);
}

#[test]
fn what_a_signer_may_not_say_is_refused_though_it_is_well_signed() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 22] = [
        ("accepted", |_| {}),
        ("nhi.chain_root_kind", |w| w.bodies[0].from = id("agent/alice")),
        ("nhi.chain_delegate_kind", |w| w.bodies[2].to = id("human/alice2")),
        ("nhi.chain_trust_domain", |w| w.bodies[0].from = "spiffe://other.test/tenant/default/human/alice".parse().unwrap()),
        ("nhi.chain_trust_domain", |w| w.bodies[2].to = "spiffe://other.test/tenant/default/agent/x".parse().unwrap()),
        ("nhi.chain_cross_tenant", |w| w.bodies[2].to = "spiffe://creto.test/tenant/other/agent/x".parse().unwrap()),
        ("nhi.chain_cross_tenant", |w| w.bodies[0].from = "spiffe://creto.test/tenant/other/human/alice".parse().unwrap()),
        ("nhi.chain_broken", |w| w.bodies[1].from = id("agent/other")),
        ("nhi.chain_broken", |w| {
            w.bodies.remove(1);
        }),
        ("nhi.chain_broken", |w| w.bodies.swap(1, 2)),
        ("nhi.chain_cycle", |w| w.bodies[2].to = id("agent/planner")),
        ("nhi.chain_cycle", |w| {
            w.bodies[0].from = id("service/tool");
        }),
        ("nhi.grant_invalid", |w| w.bodies[2].grant.actions.clear()),
        ("nhi.grant_invalid", |w| w.bodies[0].grant.resources = vec![Pattern::any(); PATTERNS_MAX + 1]),
        ("nhi.grant_invalid", |w| w.bodies[2].grant.budget = Some(Micros::new(-1))),
        ("nhi.chain_widened", |w| w.bodies[2].grant.budget = Some(Micros::new(101))),
        ("nhi.chain_widened", |w| w.bodies[0].grant.depth = DEPTH_MAX),
        ("nhi.chain_expired", |w| w.bodies[2].grant.not_after = now()),
        ("nhi.chain_not_yet_valid", |w| w.bodies[2].issued_at = later(61)),
        ("accepted", |w| w.bodies[2].issued_at = later(60)),
        ("nhi.link_revoked", |w| w.revoked.push(LinkId::from_bytes([1; 16]))),
        ("accepted", |w| w.revoked.push(LinkId::from_bytes([9; 16]))),
    ];
    for (at, (expected, change)) in cases.into_iter().enumerate() {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(code(world.verify(&world.chain())), expected, "case {at}");
    }
}

#[test]
fn what_is_known_of_each_identity_decides() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 10] = [
        ("nhi.chain_stranger", |w| {
            w.known.remove(&id("human/alice"));
        }),
        ("nhi.chain_stranger", |w| {
            w.known.remove(&id("service/tool"));
        }),
        ("nhi.identity_suspended", |w| w.known.get_mut(&id("human/alice")).unwrap().status = Status::Suspended),
        ("nhi.identity_suspended", |w| w.known.get_mut(&id("service/tool")).unwrap().status = Status::Suspended),
        ("nhi.identity_revoked", |w| w.known.get_mut(&id("agent/planner")).unwrap().status = Status::Revoked),
        ("nhi.chain_key", |w| w.known.get_mut(&id("agent/planner")).unwrap().keys = identity(&id("agent/other")).keys),
        ("nhi.chain_key", |w| w.known.get_mut(&id("agent/planner")).unwrap().keys[0].valid_from = later(1)),
        ("nhi.chain_key", |w| w.known.get_mut(&id("agent/planner")).unwrap().keys[0].valid_until = Some(now())),
        ("accepted", |w| w.known.get_mut(&id("agent/planner")).unwrap().keys[0].valid_until = Some(later(1))),
        ("nhi.chain_key", |w| w.known.get_mut(&id("agent/planner")).unwrap().keys[0].withdrawn = true),
    ];
    for (at, (expected, change)) in cases.into_iter().enumerate() {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(code(world.verify(&world.chain())), expected, "case {at}");
    }
    let mut hybrid_only = World::new();
    hybrid_only.suites = vec![SignSuite::Ed25519MlDsa65];
    assert_eq!(code(hybrid_only.verify(&hybrid_only.chain())), "crypto.refused_suite");
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    type Change = fn(&mut Vec<Link>);
    let cases: [(&str, Change); 12] = [
        ("nhi.chain_signature", |l| l[2].id = LinkId::from_bytes([8; 16])),
        ("nhi.chain_signature", |l| l[2].grant.budget = Some(Micros::new(9))),
        ("nhi.chain_signature", |l| l[2].grant.not_after = later(999)),
        ("nhi.chain_signature", |l| l[2].grant.actions = patterns(&["runtime.e*"])),
        ("nhi.chain_signature", |l| l[2].issued_at = Timestamp::EPOCH),
        ("nhi.chain_signature", |l| l[2].to = id("agent/other")),
        ("nhi.chain_signature", |l| l[2].signature.bytes[0] ^= 1),
        ("nhi.chain_signature", |l| l[2].signature.suite = SignSuite::MlDsa65),
        ("nhi.chain_key", |l| l[2].signature.key = key_of(&id("agent/other")).key_id()),
        ("nhi.chain_signature", |l| l[2].signature.bytes = l[1].signature.bytes.clone()),
        ("nhi.chain_parent", |l| l[2].parent = Digest::of(b"another parent")),
        ("nhi.chain_signature", |l| l[1].signature.bytes[0] ^= 1),
    ];
    for (at, (expected, change)) in cases.into_iter().enumerate() {
        let mut world = World::new();
        world.known.insert(id("agent/other"), identity(&id("agent/other")));
        let mut links = world.links();
        change(&mut links);
        assert_eq!(code(world.verify(&DelegationChain::from_links(links).unwrap())), expected, "case {at}");
    }
}

#[test]
fn a_link_cannot_be_moved_below_another_parent() {
    let world = World::new();
    let links = world.links();
    let mut wider = world.clone();
    wider.bodies[1].id = LinkId::from_bytes([5; 16]);
    wider.bodies[1].grant.budget = Some(Micros::new(100));
    let moved = vec![links[0].clone(), wider.links()[1].clone(), links[2].clone()];
    assert_eq!(code(world.verify(&DelegationChain::from_links(moved).unwrap())), "nhi.chain_parent");
    let from_root_only = vec![Link { from: id("human/alice"), ..links[1].clone() }];
    assert_eq!(code(world.verify(&DelegationChain::from_links(from_root_only).unwrap())), "nhi.chain_parent");
}

#[test]
fn a_signature_made_for_something_else_is_no_link() {
    let world = World::new();
    let mut links = world.links();
    let body = links[2].body();
    let elsewhere = key_of(&body.from).sign("creto/another/v1", &body.canonical_bytes().unwrap()).unwrap();
    links[2] = body.clone().signed(elsewhere);
    assert_eq!(code(world.verify(&DelegationChain::from_links(links.clone()).unwrap())), "nhi.chain_signature");
    let by_a_stranger = SigningKey::generate(SignSuite::Ed25519).unwrap();
    links[2] = body.clone().signed(by_a_stranger.sign(DELEGATION_DOMAIN, &body.canonical_bytes().unwrap()).unwrap());
    assert_eq!(code(world.verify(&DelegationChain::from_links(links).unwrap())), "nhi.chain_key");
}

#[test]
fn the_number_of_links_is_bounded() {
    assert_eq!(code(DelegationChain::from_links(Vec::new())), "nhi.chain_empty");
    let link = World::new().links().remove(0);
    let deepest = usize::from(DEPTH_MAX);
    assert_eq!(code(DelegationChain::from_links(vec![link.clone(); deepest])), "accepted");
    assert_eq!(code(DelegationChain::from_links(vec![link; deepest + 1])), "nhi.chain_too_deep");
}

#[test]
fn the_authority_digest_survives_renewal_and_nothing_else() {
    let authority = |change: fn(&mut World)| {
        let mut world = World::new();
        world.known.insert(id("agent/other"), identity(&id("agent/other")));
        change(&mut world);
        world.verify(&world.chain()).unwrap().authority()
    };
    let base = authority(|_| {});
    let same: [fn(&mut World); 4] = [
        |w| w.bodies[2].grant.not_after = later(500),
        |w| w.bodies[1].id = LinkId::from_bytes([5; 16]),
        |w| w.bodies[1].issued_at = Timestamp::EPOCH,
        |w| w.bodies[0].grant.actions.reverse(),
    ];
    for (at, change) in same.into_iter().enumerate() {
        assert_eq!(authority(change), base, "renewal {at}");
    }
    let other: [fn(&mut World); 6] = [
        |w| w.bodies[2].to = id("agent/other"),
        |w| w.bodies[2].grant.budget = Some(Micros::new(9)),
        |w| w.bodies[2].grant.budget = None,
        |w| w.bodies[1].grant.depth = 1,
        |w| w.bodies[1].grant.resources = patterns(&["sandbox:*"]),
        |w| {
            w.bodies.pop();
        },
    ];
    for (at, change) in other.into_iter().enumerate() {
        assert_ne!(authority(change), base, "change {at}");
    }
}

#[test]
fn a_token_reads_back_and_nothing_like_it_does() {
    let chain = World::new().chain();
    let token = chain.to_token().unwrap();
    assert_eq!(DelegationChain::from_token(&token).unwrap(), chain);
    let json = String::from_utf8(URL_SAFE_NO_PAD.decode(token.strip_prefix(TOKEN_PREFIX).unwrap()).unwrap()).unwrap();
    let encode = |json: &str| format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(json));
    assert_eq!(code(DelegationChain::from_token(&encode(&json))), "accepted");
    let cases = [
        ("nhi.chain_malformed", token.replace("creto1.", "creto2.")),
        ("nhi.chain_malformed", format!("{token}=")),
        ("nhi.chain_malformed", format!("{token} ")),
        ("nhi.chain_malformed", token[..token.len() - 4].to_owned()),
        ("nhi.chain_malformed", encode(&json.replacen("\"budget\"", "\"budgets\"", 1))),
        ("nhi.chain_malformed", encode(&json.replacen("{\"links\"", "{\"extra\":1,\"links\"", 1))),
        ("nhi.chain_malformed", encode(&json.replacen("\"depth\":3", "\"depth\":3,\"depth\":4", 1))),
        ("nhi.chain_malformed", encode(&json.replacen("\"depth\":3", "\"depth\":300", 1))),
        ("nhi.chain_malformed", encode(&format!("{json} {{}}"))),
        ("nhi.chain_malformed", encode(&json.replacen("\"runtime.*\"", "\"run*time.*\"", 1))),
        ("nhi.chain_malformed", encode(&json.replacen("\"runtime.*\"", "[[[[\"runtime.*\"]]]]", 1))),
        ("nhi.chain_empty", encode("{\"links\":[]}")),
        ("nhi.chain_malformed", TOKEN_PREFIX.to_owned()),
        ("nhi.chain_too_large", format!("{TOKEN_PREFIX}{}", "A".repeat(TOKEN_BYTES_MAX))),
    ];
    for (at, (expected, token)) in cases.into_iter().enumerate() {
        assert_eq!(code(DelegationChain::from_token(&token)), expected, "case {at}");
    }
}

#[test]
fn the_longest_hybrid_chain_fits_a_token() {
    let names: Vec<_> = (0..=DEPTH_MAX).map(|n| if n == 0 { id("human/alice") } else { id(&format!("agent/{n}")) }).collect();
    let template = World::new().links().remove(0);
    let key = SigningKey::generate(SignSuite::Ed25519MlDsa65).unwrap();
    let links = names.windows(2).map(|pair| {
        let mut body = template.body();
        body.from = pair[0].clone();
        body.to = pair[1].clone();
        body.grant.resources = (0..16).map(|n| patterns(&[&format!("host:service-{n}.some-team.example.com:443")]).remove(0)).collect();
        let signature = key.sign(DELEGATION_DOMAIN, &body.canonical_bytes().unwrap()).unwrap();
        body.signed(signature)
    });
    let chain = DelegationChain::from_links(links.collect()).unwrap();
    assert_eq!(DelegationChain::from_token(&chain.to_token().unwrap()).unwrap(), chain);
}

#[test]
fn signing_again_changes_the_chain_and_not_its_authority() {
    let world = World::new();
    let mut renewed = world.clone();
    renewed.bodies[2].grant.not_after = later(1_500);
    let (old, new) = (world.verify(&world.chain()).unwrap(), renewed.verify(&renewed.chain()).unwrap());
    assert_ne!(old.digest(), new.digest());
    assert_eq!(old.authority(), new.authority());
    assert_eq!(sign(world.bodies[0].clone()), sign(world.bodies[0].clone()));
}
