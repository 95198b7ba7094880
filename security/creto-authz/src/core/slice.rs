//! Policy slicing: of all policies, those whose scope fits a request.
//!
//! Cedar evaluates every policy it is given. A policy whose scope (`principal`, `action`, `resource` in its head) does not hold is
//! neither satisfied nor in error, so leaving it out changes no decision and no diagnostic; `tests/props.rs` holds that against random
//! requests. The scope is matched exactly here, so a slice holds no policy that Cedar would discard by its head.
//!
//! Each policy is filed under the one entity of its scope that the fewest policies name. A policy that names none (`principal`,
//! `action`, `resource` or only types) cannot be filed and is looked at for every request.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityTypeName, Policy, PrincipalConstraint, ResourceConstraint};

use crate::core::entities::{Named, Node};

#[derive(Debug)]
enum Bound {
    Any,
    Is(EntityTypeName),
    Eq(Named),
    In(Named),
    IsIn(EntityTypeName, Named),
}

impl Bound {
    fn entity(&self) -> Option<&Named> {
        match self {
            Self::Any | Self::Is(_) => None,
            Self::Eq(uid) | Self::In(uid) | Self::IsIn(_, uid) => Some(uid),
        }
    }

    fn fits(&self, node: &Node) -> bool {
        match self {
            Self::Any => true,
            Self::Is(name) => node.uid().type_name() == name,
            Self::Eq(named) => node.named == *named,
            Self::In(named) => is_in(node, named),
            Self::IsIn(name, named) => node.uid().type_name() == name && is_in(node, named),
        }
    }
}

fn is_in(node: &Node, named: &Named) -> bool {
    node.named == *named || node.ancestors.contains(named)
}

#[derive(Debug)]
enum ActionBound {
    Any,
    Eq(Named),
    In(Vec<Named>),
}

#[derive(Debug)]
struct Scope {
    principal: Bound,
    action: ActionBound,
    resource: Bound,
}

impl Scope {
    fn of(policy: &Policy) -> Self {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => Bound::Any,
            PrincipalConstraint::Is(name) => Bound::Is(name),
            PrincipalConstraint::Eq(uid) => Bound::Eq(uid.into()),
            PrincipalConstraint::In(uid) => Bound::In(uid.into()),
            PrincipalConstraint::IsIn(name, uid) => Bound::IsIn(name, uid.into()),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => Bound::Any,
            ResourceConstraint::Is(name) => Bound::Is(name),
            ResourceConstraint::Eq(uid) => Bound::Eq(uid.into()),
            ResourceConstraint::In(uid) => Bound::In(uid.into()),
            ResourceConstraint::IsIn(name, uid) => Bound::IsIn(name, uid.into()),
        };
        let action = match policy.action_constraint() {
            ActionConstraint::Any => ActionBound::Any,
            ActionConstraint::Eq(uid) => ActionBound::Eq(uid.into()),
            ActionConstraint::In(uids) => ActionBound::In(uids.into_iter().map(Named::from).collect()),
        };
        Self { principal, action, resource }
    }

    fn fits(&self, principal: &Node, action: &Node, resource: &Node) -> bool {
        let action_fits = match &self.action {
            ActionBound::Any => true,
            ActionBound::Eq(named) => action.named == *named,
            ActionBound::In(list) => list.iter().any(|named| is_in(action, named)),
        };
        action_fits && self.principal.fits(principal) && self.resource.fits(resource)
    }

    /// The places it could be filed: each a set of entities of which a fitting request has at least one.
    fn places(&self) -> Vec<(Role, Vec<u64>)> {
        let one = |role, bound: &Bound| bound.entity().map(|named| (role, vec![named.hash]));
        let action = match &self.action {
            ActionBound::Any => None,
            ActionBound::Eq(named) => Some(vec![named.hash]),
            ActionBound::In(list) => Some(list.iter().map(|named| named.hash).collect()),
        };
        [one(Role::Principal, &self.principal), one(Role::Resource, &self.resource), action.map(|hashes| (Role::Action, hashes))]
            .into_iter()
            .flatten()
            .collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Role {
    Principal,
    Action,
    Resource,
}

/// By the hash of an identifier: identifiers that share one share a file, and the scope check tells them apart.
type Files = HashMap<u64, Vec<u32>>;

/// The index over one policy set.
#[derive(Debug)]
pub(crate) struct Slicer {
    scopes: Vec<Scope>,
    by_principal: Files,
    by_action: Files,
    by_resource: Files,
    unfiled: Vec<u32>,
}

impl Slicer {
    /// Indexes policies by their position.
    pub(crate) fn new<'a>(policies: impl Iterator<Item = &'a Policy>) -> Self {
        let scopes: Vec<Scope> = policies.map(Scope::of).collect();
        let mut named: HashMap<(Role, u64), u32> = HashMap::new();
        for (role, hashes) in scopes.iter().flat_map(Scope::places) {
            for hash in hashes {
                *named.entry((role, hash)).or_default() += 1;
            }
        }
        let crowd = |role: Role, hashes: &[u64]| hashes.iter().filter_map(|&hash| named.get(&(role, hash))).sum::<u32>();
        let mut slicer = Self {
            by_principal: Files::new(),
            by_action: Files::new(),
            by_resource: Files::new(),
            unfiled: Vec::new(),
            scopes: Vec::new(),
        };
        for (position, scope) in (0_u32..).zip(&scopes) {
            match scope.places().into_iter().min_by_key(|(role, hashes)| crowd(*role, hashes)) {
                Some((role, hashes)) => hashes.into_iter().for_each(|hash| slicer.file(role, hash, position)),
                None => slicer.unfiled.push(position),
            }
        }
        slicer.scopes = scopes;
        slicer
    }

    fn file(&mut self, role: Role, hash: u64, position: u32) {
        let files = match role {
            Role::Principal => &mut self.by_principal,
            Role::Action => &mut self.by_action,
            Role::Resource => &mut self.by_resource,
        };
        files.entry(hash).or_default().push(position);
    }

    /// How many policies there are.
    pub(crate) fn len(&self) -> usize {
        self.scopes.len()
    }

    /// The positions of all policies whose scope fits, ascending.
    pub(crate) fn slice(&self, principal: &Node, action: &Node, resource: &Node) -> Vec<u32> {
        let mut found = Vec::new();
        let mut keep = |positions: &[u32]| {
            for &position in positions {
                let scope = self.scopes.get(position as usize);
                if scope.is_some_and(|scope| scope.fits(principal, action, resource)) {
                    found.push(position);
                }
            }
        };
        for (files, node) in [(&self.by_principal, principal), (&self.by_action, action), (&self.by_resource, resource)] {
            if files.is_empty() {
                continue;
            }
            for named in std::iter::once(&node.named).chain(&node.ancestors) {
                if let Some(positions) = files.get(&named.hash) {
                    keep(positions);
                }
            }
        }
        keep(&self.unfiled);
        found.sort_unstable();
        found.dedup();
        found
    }
}
