//! Policy slicing: of all policies, those whose scope fits a request.
//!
//! Cedar evaluates every policy it is given. A policy whose scope (`principal`, `action`, `resource` in its head) does not hold is
//! neither satisfied nor in error, so leaving it out changes no decision and no diagnostic; `tests/props.rs` holds that against random
//! requests. The scope is matched exactly here, so a slice holds no policy that Cedar would discard by its head.
//!
//! Each policy is filed under the one entity of its scope that the fewest policies name. A policy that names none (`principal`,
//! `action`, `resource` or only types) cannot be filed and is looked at for every request.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use crate::core::entities::Node;

#[derive(Debug)]
enum Bound {
    Any,
    Is(EntityTypeName),
    Eq(EntityUid),
    In(EntityUid),
    IsIn(EntityTypeName, EntityUid),
}

impl Bound {
    fn entity(&self) -> Option<&EntityUid> {
        match self {
            Self::Any | Self::Is(_) => None,
            Self::Eq(uid) | Self::In(uid) | Self::IsIn(_, uid) => Some(uid),
        }
    }

    fn fits(&self, node: &Node) -> bool {
        match self {
            Self::Any => true,
            Self::Is(name) => node.uid.type_name() == name,
            Self::Eq(uid) => node.uid == *uid,
            Self::In(uid) => is_in(node, uid),
            Self::IsIn(name, uid) => node.uid.type_name() == name && is_in(node, uid),
        }
    }
}

fn is_in(node: &Node, uid: &EntityUid) -> bool {
    node.uid == *uid || node.ancestors.contains(uid)
}

#[derive(Debug)]
struct Scope {
    principal: Bound,
    action: ActionConstraint,
    resource: Bound,
}

impl Scope {
    fn of(policy: &Policy) -> Self {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => Bound::Any,
            PrincipalConstraint::Is(name) => Bound::Is(name),
            PrincipalConstraint::Eq(uid) => Bound::Eq(uid),
            PrincipalConstraint::In(uid) => Bound::In(uid),
            PrincipalConstraint::IsIn(name, uid) => Bound::IsIn(name, uid),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => Bound::Any,
            ResourceConstraint::Is(name) => Bound::Is(name),
            ResourceConstraint::Eq(uid) => Bound::Eq(uid),
            ResourceConstraint::In(uid) => Bound::In(uid),
            ResourceConstraint::IsIn(name, uid) => Bound::IsIn(name, uid),
        };
        Self { principal, action: policy.action_constraint(), resource }
    }

    fn fits(&self, principal: &Node, action: &Node, resource: &Node) -> bool {
        let action_fits = match &self.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => action.uid == *uid,
            ActionConstraint::In(uids) => uids.iter().any(|uid| is_in(action, uid)),
        };
        action_fits && self.principal.fits(principal) && self.resource.fits(resource)
    }

    /// The places it could be filed: each a set of entities of which a fitting request has at least one.
    fn places(&self) -> Vec<(Role, Vec<EntityUid>)> {
        let one = |role, bound: &Bound| bound.entity().map(|uid| (role, vec![uid.clone()]));
        let action = match &self.action {
            ActionConstraint::Any => None,
            ActionConstraint::Eq(uid) => Some(vec![uid.clone()]),
            ActionConstraint::In(uids) => Some(uids.clone()),
        };
        [one(Role::Principal, &self.principal), one(Role::Resource, &self.resource), action.map(|uids| (Role::Action, uids))]
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

type Files = HashMap<EntityUid, Vec<u32>>;

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
        let mut named: HashMap<(Role, EntityUid), u32> = HashMap::new();
        for (role, uids) in scopes.iter().flat_map(Scope::places) {
            for uid in uids {
                *named.entry((role, uid)).or_default() += 1;
            }
        }
        let crowd = |role: Role, uids: &[EntityUid]| uids.iter().filter_map(|uid| named.get(&(role, uid.clone()))).sum::<u32>();
        let mut slicer = Self {
            by_principal: Files::new(),
            by_action: Files::new(),
            by_resource: Files::new(),
            unfiled: Vec::new(),
            scopes: Vec::new(),
        };
        for (position, scope) in (0_u32..).zip(&scopes) {
            match scope.places().into_iter().min_by_key(|(role, uids)| crowd(*role, uids)) {
                Some((role, uids)) => uids.into_iter().for_each(|uid| slicer.file(role, uid, position)),
                None => slicer.unfiled.push(position),
            }
        }
        slicer.scopes = scopes;
        slicer
    }

    fn file(&mut self, role: Role, uid: EntityUid, position: u32) {
        let files = match role {
            Role::Principal => &mut self.by_principal,
            Role::Action => &mut self.by_action,
            Role::Resource => &mut self.by_resource,
        };
        files.entry(uid).or_default().push(position);
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
            for uid in std::iter::once(&node.uid).chain(&node.ancestors) {
                if let Some(positions) = files.get(uid) {
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
