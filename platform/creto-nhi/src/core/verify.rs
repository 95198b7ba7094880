//! Whether a chain holds: the one place where a [`VerifiedChain`] comes from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use creto_crypto::{CryptoError, Purpose, SignSuite};
use creto_kernel::canonical;
use creto_kernel::id::LinkId;
use creto_kernel::{Digest, NhiId, NhiKind, Timestamp};
use serde::Serialize;

use crate::core::narrow::{Authorized, narrow, whole};
use crate::error::NhiError;
use crate::model::chain::{Hop, Proven, VerifiedChain};
use crate::model::identity::{Identity, Status};
use crate::model::link::{DELEGATION_DOMAIN, DelegationChain, Link, root_anchor};

/// How far a signer's clock may run ahead of ours.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

/// What verification needs to know of the world, taken at one moment.
#[derive(Debug, Default, Clone)]
pub struct Knowledge {
    /// The identities the chain names, as far as they are known.
    pub identities: HashMap<NhiId, Arc<Identity>>,
    /// Those of its links that were revoked.
    pub revoked: HashSet<LinkId>,
    /// The revocation epoch of that moment.
    pub epoch: u64,
}

/// The rules of this server.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The trust domain of all identities.
    pub trust_domain: &'a str,
    /// The signature suites accepted in links.
    pub accepted: &'a [SignSuite],
}

/// Verifies shape, identities, narrowing, revocation and, last because they cost most, signatures.
pub fn verify(chain: &DelegationChain, known: &Knowledge, rules: Rules<'_>, now: Timestamp) -> Result<VerifiedChain, NhiError> {
    let root = check_path(chain, rules.trust_domain)?;
    let mut held = whole();
    let mut hops = vec![Hop { identity: root.clone(), link: None, budget: None }];
    for link in chain.links() {
        held = narrow(&held, &link.grant)?;
        check_time(link, now)?;
        if known.revoked.contains(&link.id) {
            return Err(NhiError::LinkRevoked(link.id));
        }
        hops.push(Hop { identity: link.to.clone(), link: Some(link.id), budget: link.grant.budget });
    }
    for hop in &hops {
        active(known, &hop.identity)?;
    }
    let mut parent = root_anchor(root);
    for link in chain.links() {
        if link.parent != parent {
            return Err(NhiError::ParentMismatch(link.id));
        }
        check_signature(link, active(known, &link.from)?, rules)?;
        parent = link.digest()?;
    }
    let authority = authority_digest(root, chain.links())?;
    Ok(VerifiedChain::new(chain.digest()?, Proven { authority, hops, effective: held, revocation_epoch: known.epoch }))
}

/// The chain of a human or a service that acts for itself: no link, everything a root holds. Policy still decides about each action.
pub fn direct(root: &NhiId, known: &Knowledge, trust_domain: &str) -> Result<VerifiedChain, NhiError> {
    check_root(root, trust_domain)?;
    active(known, root)?;
    let authority = authority_digest(root, &[])?;
    let hops = vec![Hop { identity: root.clone(), link: None, budget: None }];
    Ok(VerifiedChain::new(authority, Proven { authority, hops, effective: whole(), revocation_epoch: known.epoch }))
}

/// The identity, if it is known and may act.
pub fn active<'a>(known: &'a Knowledge, id: &NhiId) -> Result<&'a Identity, NhiError> {
    let identity = known.identities.get(id).ok_or_else(|| NhiError::Stranger(id.clone()))?;
    match identity.status {
        Status::Active => Ok(identity),
        Status::Suspended => Err(NhiError::IdentitySuspended(id.clone())),
        Status::Revoked => Err(NhiError::IdentityRevoked(id.clone())),
    }
}

fn check_root(root: &NhiId, trust_domain: &str) -> Result<(), NhiError> {
    if root.trust_domain() != trust_domain {
        return Err(NhiError::ForeignTrustDomain(root.clone()));
    }
    if root.kind() == NhiKind::Agent {
        return Err(NhiError::RootKind(root.clone()));
    }
    Ok(())
}

/// From a root, in one tenant, each link where the one before ended, nobody twice. Answers the root.
fn check_path<'a>(chain: &'a DelegationChain, trust_domain: &str) -> Result<&'a NhiId, NhiError> {
    let root = &chain.links().first().ok_or(NhiError::ChainEmpty)?.from;
    check_root(root, trust_domain)?;
    let mut seen = HashSet::from([root]);
    let mut at = root;
    for link in chain.links() {
        if link.from != *at {
            return Err(NhiError::Broken(link.id));
        }
        at = &link.to;
        if at.trust_domain() != trust_domain {
            return Err(NhiError::ForeignTrustDomain(at.clone()));
        }
        if at.tenant() != root.tenant() {
            return Err(NhiError::CrossTenant(at.clone()));
        }
        if at.kind() == NhiKind::Human {
            return Err(NhiError::DelegateKind(at.clone()));
        }
        if !seen.insert(at) {
            return Err(NhiError::Cycle(at.clone()));
        }
    }
    Ok(root)
}

fn check_time(link: &Link, now: Timestamp) -> Result<(), NhiError> {
    if now >= link.grant.not_after {
        return Err(NhiError::ChainExpired { link: link.id, at: link.grant.not_after });
    }
    if link.issued_at > now.saturating_add(CLOCK_SKEW_MAX) {
        return Err(NhiError::NotYetValid(link.id));
    }
    Ok(())
}

fn check_signature(link: &Link, signer: &Identity, rules: Rules<'_>) -> Result<(), NhiError> {
    let key = signer
        .keys
        .iter()
        .find(|key| key.id == link.signature.key && key.signs_at(link.issued_at))
        .ok_or_else(|| NhiError::ForeignKey { identity: signer.id.clone(), key: link.signature.key })?;
    if !rules.accepted.contains(&key.public.suite()) {
        return Err(CryptoError::RefusedSuite { suite: key.public.suite().id(), purpose: Purpose::Delegation }.into());
    }
    key.public.verify(DELEGATION_DOMAIN, &link.body().canonical_bytes()?, &link.signature).map_err(|_| NhiError::BadSignature(link.id))
}

/// SHA-256 over who delegated what to whom, without expiry, identifiers, moments and signatures, patterns in order: a renewed chain
/// with the same authority has the same digest.
fn authority_digest(root: &NhiId, links: &[Link]) -> Result<Digest, NhiError> {
    #[derive(Serialize)]
    struct Authority<'a> {
        form: &'static str,
        root: &'a NhiId,
        links: Vec<Authorized<'a>>,
    }
    let links = links.iter().map(|link| Authorized::by(&link.to, &link.grant)).collect();
    Ok(Digest::of(&canonical::to_vec(&Authority { form: "creto/authority/v1", root, links })?))
}
