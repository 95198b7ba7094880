//! Whatever is built by narrowing verifies; whatever is widened anywhere does not; bytes from outside are read or refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creto_kernel::id::LinkId;
use creto_kernel::{Digest, Micros, NhiId};
use creto_nhi::model::grant::DEPTH_MAX;
use creto_nhi::{DelegationChain, Grant, LinkBody, NhiError};
use proptest::prelude::*;

use crate::fixture::{World, id, identity, later, now, pattern};

/// How one link narrows the one above it, as dice.
#[derive(Debug, Clone)]
struct Dice {
    keep_actions: Vec<bool>,
    keep_resources: Vec<bool>,
    longer: bool,
    budget: Option<u8>,
    shorter_secs: u64,
    depth_drop: u8,
}

fn dice() -> impl Strategy<Value = Dice> {
    let flags = || prop::collection::vec(any::<bool>(), 4);
    (flags(), flags(), any::<bool>(), any::<Option<u8>>(), 0_u64..50, 0_u8..2).prop_map(
        |(keep_actions, keep_resources, longer, budget, shorter_secs, depth_drop)| Dice {
            keep_actions,
            keep_resources,
            longer,
            budget,
            shorter_secs,
            depth_drop,
        },
    )
}

/// Some of the patterns above, at least one, perhaps with a longer prefix.
fn narrower(above: &[creto_nhi::Pattern], keep: &[bool], longer: bool) -> Vec<creto_nhi::Pattern> {
    let mut kept: Vec<_> = above.iter().zip(keep).filter(|(_, keep)| **keep).map(|(pattern, _)| pattern.clone()).collect();
    if kept.is_empty() {
        kept.push(above[0].clone());
    }
    if longer && let Some(prefix) = kept[0].as_str().strip_suffix('*') {
        kept[0] = pattern(&format!("{prefix}x.*"));
    }
    kept
}

fn names(count: usize) -> Vec<NhiId> {
    (0..count).map(|n| if n == 0 { id("human/alice") } else { id(&format!("agent/a{n}")) }).collect()
}

fn world(all: &[Dice]) -> World {
    let names = names(all.len() + 1);
    let mut held = Grant {
        actions: ["runtime.*", "metering.ingest", "messaging.*", "memory.put"].map(pattern).to_vec(),
        resources: ["host:*", "sandbox:default", "metric:*", "tool:x"].map(pattern).to_vec(),
        budget: Some(Micros::new(1_000_000)),
        not_after: later(10_000),
        depth: DEPTH_MAX,
    };
    let mut ceiling = Micros::new(1_000_000);
    let mut bodies = Vec::new();
    for (at, (dice, pair)) in all.iter().zip(names.windows(2)).enumerate() {
        let below = u8::try_from(all.len() - at - 1).unwrap();
        let budget = dice.budget.map(|share| Micros::new(ceiling.get() * i64::from(share) / 255));
        ceiling = budget.unwrap_or(ceiling);
        held = Grant {
            actions: narrower(&held.actions, &dice.keep_actions, dice.longer),
            resources: narrower(&held.resources, &dice.keep_resources, dice.longer),
            budget: if at == 0 { Some(ceiling) } else { budget },
            not_after: later(held.not_after.since(now()).as_secs() - dice.shorter_secs),
            depth: held.depth.saturating_sub(1 + dice.depth_drop).max(below),
        };
        bodies.push(LinkBody {
            id: LinkId::from_bytes([u8::try_from(at).unwrap(); 16]),
            from: pair[0].clone(),
            to: pair[1].clone(),
            grant: held.clone(),
            parent: Digest::of(b"set when signed"),
            issued_at: now(),
        });
    }
    let known = names.iter().map(|name| (name.clone(), identity(name))).collect();
    World { bodies, known, ..World::new() }
}

/// Widens one field of a link beyond what is held above it.
fn widen(world: &mut World, at: usize, field: &str) {
    let above = match at {
        0 => None,
        _ => Some(world.bodies[at - 1].grant.clone()),
    };
    let ceiling = world.bodies[..at].iter().rev().find_map(|body| body.grant.budget);
    let grant = &mut world.bodies[at].grant;
    match (field, above) {
        ("actions", Some(_)) => grant.actions.push(pattern("*")),
        ("resources", Some(_)) => grant.resources.push(pattern("*")),
        ("budget", Some(_)) => grant.budget = Some(Micros::new(ceiling.unwrap().get() + 1)),
        ("not_after", Some(above)) => grant.not_after = above.not_after.saturating_add(std::time::Duration::from_micros(1)),
        (_, Some(above)) => grant.depth = above.depth,
        (_, None) => grant.depth = DEPTH_MAX,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_built_by_narrowing_verifies_and_grants_what_its_last_link_says(all in prop::collection::vec(dice(), 1..=4)) {
        let world = world(&all);
        let chain = world.chain();
        let verified = world.verify(&chain).unwrap();
        let last = &world.bodies.last().unwrap().grant;
        prop_assert_eq!(&verified.effective().actions, &last.actions);
        prop_assert_eq!(&verified.effective().resources, &last.resources);
        prop_assert_eq!(verified.not_after(), last.not_after);
        let ceilings = world.bodies.iter().filter_map(|body| body.grant.budget);
        prop_assert_eq!(verified.effective().budget, ceilings.min());
        prop_assert_eq!(DelegationChain::from_token(&chain.to_token().unwrap()).unwrap(), chain);
    }

    #[test]
    fn any_widened_field_is_refused_by_name(
        all in prop::collection::vec(dice(), 1..=4),
        at in any::<prop::sample::Index>(),
        field in prop::sample::select(vec!["actions", "resources", "budget", "not_after", "depth"]),
    ) {
        let mut world = world(&all);
        let at = at.index(world.bodies.len());
        let field = if at == 0 { "depth" } else { field };
        widen(&mut world, at, field);
        match world.verify(&world.chain()) {
            Err(NhiError::Widened { field: refused }) => prop_assert_eq!(refused, field),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_flipped_bit_of_a_token_is_refused(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let world = World::new();
        let mut json = URL_SAFE_NO_PAD.decode(&world.chain().to_token().unwrap()["creto1.".len()..]).unwrap();
        let at = at.index(json.len());
        json[at] ^= 1_u8 << bit;
        let token = format!("creto1.{}", URL_SAFE_NO_PAD.encode(&json));
        if let Ok(chain) = DelegationChain::from_token(&token) {
            // The letter case of hexadecimal digits is the one thing a reader may not care about: then it is the same chain.
            prop_assert!(chain == world.chain() || world.verify(&chain).is_err());
        }
    }

    #[test]
    fn bytes_from_outside_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), text in any::<String>()) {
        let token = format!("creto1.{}", URL_SAFE_NO_PAD.encode(&bytes));
        prop_assert!(DelegationChain::from_token(&token).is_err());
        prop_assert!(DelegationChain::from_token(&text).is_err());
        let prefixed = format!("creto1.{text}");
        prop_assert!(DelegationChain::from_token(&prefixed).is_err());
    }
}
