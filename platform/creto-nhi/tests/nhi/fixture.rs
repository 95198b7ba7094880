//! A small world without a database: identities with known keys, and chains signed with them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use creto_crypto::{SignSuite, SigningKey};
use creto_kernel::id::LinkId;
use creto_kernel::{Coded, Digest, Micros, NhiId, Timestamp};
use creto_nhi::core::verify::{Knowledge, Rules, verify};
use creto_nhi::model::link::root_anchor;
use creto_nhi::{
    DELEGATION_DOMAIN, DelegationChain, Grant, Identity, IdentityKey, Link, LinkBody, NhiError, Pattern, Status, VerifiedChain,
};

pub(crate) const TRUST_DOMAIN: &str = "creto.test";

pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000).unwrap()
}

pub(crate) fn later(secs: u64) -> Timestamp {
    now().saturating_add(Duration::from_secs(secs))
}

pub(crate) fn id(path: &str) -> NhiId {
    format!("spiffe://{TRUST_DOMAIN}/tenant/default/{path}").parse().unwrap()
}

pub(crate) fn pattern(text: &str) -> Pattern {
    Pattern::try_from(text.to_owned()).unwrap()
}

pub(crate) fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| pattern(text)).collect()
}

/// A key that depends on nothing but its owner.
pub(crate) fn key_of(owner: &NhiId) -> SigningKey {
    SigningKey::from_secret_bytes(SignSuite::Ed25519, Digest::of(owner.as_str().as_bytes()).as_bytes()).unwrap()
}

pub(crate) fn identity(owner: &NhiId) -> Identity {
    let public = key_of(owner).public();
    let key =
        IdentityKey { id: public.key_id(), public, custodial: false, valid_from: Timestamp::EPOCH, valid_until: None, withdrawn: false };
    Identity { id: owner.clone(), status: Status::Active, keys: vec![key] }
}

/// Everything the tables change: what the links say, and what is known.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) bodies: Vec<LinkBody>,
    pub(crate) known: HashMap<NhiId, Identity>,
    pub(crate) revoked: Vec<LinkId>,
    pub(crate) suites: Vec<SignSuite>,
}

impl World {
    /// alice → planner → researcher → tool, each narrower.
    pub(crate) fn new() -> Self {
        let names = [id("human/alice"), id("agent/planner"), id("agent/researcher"), id("service/tool")];
        let grants = [
            (&["runtime.*", "metering.ingest"][..], &["*"][..], Some(100), 3_000, 3),
            (&["runtime.*"], &["host:api.*", "sandbox:*"], None, 2_000, 2),
            (&["runtime.exec"], &["sandbox:default"], Some(10), 1_000, 0),
        ];
        let bodies =
            grants.iter().zip(names.windows(2)).enumerate().map(|(at, ((actions, resources, budget, secs, depth), pair))| LinkBody {
                id: LinkId::from_bytes([u8::try_from(at).unwrap(); 16]),
                from: pair[0].clone(),
                to: pair[1].clone(),
                grant: Grant {
                    actions: patterns(actions),
                    resources: patterns(resources),
                    budget: budget.map(Micros::new),
                    not_after: later(*secs),
                    depth: *depth,
                },
                parent: Digest::of(b"set when signed"),
                issued_at: now(),
            });
        Self {
            bodies: bodies.collect(),
            known: names.iter().map(|name| (name.clone(), identity(name))).collect(),
            revoked: Vec::new(),
            suites: vec![SignSuite::Ed25519],
        }
    }

    /// The links, each signed by its `from` and naming its true parent.
    pub(crate) fn links(&self) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        for body in &self.bodies {
            let parent = links.last().map_or_else(|| root_anchor(&body.from), |link| link.digest().unwrap());
            links.push(sign(LinkBody { parent, ..body.clone() }));
        }
        links
    }

    pub(crate) fn chain(&self) -> DelegationChain {
        DelegationChain::from_links(self.links()).unwrap()
    }

    pub(crate) fn knowledge(&self) -> Knowledge {
        Knowledge {
            identities: self.known.iter().map(|(name, identity)| (name.clone(), Arc::new(identity.clone()))).collect(),
            revoked: self.revoked.iter().copied().collect(),
            epoch: 7,
        }
    }

    pub(crate) fn verify(&self, chain: &DelegationChain) -> Result<VerifiedChain, NhiError> {
        verify(chain, &self.knowledge(), Rules { trust_domain: TRUST_DOMAIN, accepted: &self.suites }, now())
    }
}

pub(crate) fn sign(body: LinkBody) -> Link {
    let signature = key_of(&body.from).sign(DELEGATION_DOMAIN, &body.canonical_bytes().unwrap()).unwrap();
    body.signed(signature)
}

pub(crate) fn code<T>(result: Result<T, NhiError>) -> &'static str {
    result.map_or_else(|e| e.code().as_str(), |_| "accepted")
}
