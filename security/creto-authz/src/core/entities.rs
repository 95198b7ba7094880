//! Names to Cedar entities. An entity is a pure function of its name (and, for a principal, of its chain's identities).

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy::{Context as CedarContext, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Expr};
use cedar_policy_core::entities as core_entities;
use creto_kernel::{ActionName, NhiId, NhiKind, ResourceName};

use crate::error::AuthzError;
use crate::model::context::Context;

/// The products, whose action names are ours. Every other first word is an application's.
pub(crate) const PRODUCTS: [&str; 10] =
    ["runtime", "messaging", "metering", "oversight", "memory", "storage", "policy", "identity", "audit", "gate"];
/// The group of an application's own actions.
pub(crate) const APPLICATION: &str = "application";

/// An entity's identifier with its hash, which a miss would otherwise compute a dozen times.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) uid: EntityUid,
    pub(crate) hash: u64,
}

impl From<EntityUid> for Named {
    fn from(uid: EntityUid) -> Self {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        Self { hash: hasher.finish(), uid }
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.uid == other.uid
    }
}

/// One entity with everything it is `in`.
///
/// INVARIANT: `ancestors` is complete: an ancestor's ancestors are listed too.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) named: Named,
    pub(crate) ancestors: Vec<Named>,
    entity: Arc<cedar_policy_core::ast::Entity>,
}

impl Node {
    pub(crate) const fn uid(&self) -> &EntityUid {
        &self.named.uid
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn entity(&self) -> Entity {
        cedar_policy_core::ast::Entity::clone(&self.entity).into()
    }
}

/// What Cedar looks attributes and ancestors up in.
///
/// The public constructor copies every entity and computes the transitive closure anew, which costs as much as evaluating. The closure
/// holds by the invariant of [`Node`], so cedar's own core is told so and shares the entities.
pub(crate) fn store(nodes: [&Node; 3]) -> Result<Entities, AuthzError> {
    let entities = nodes.map(|node| node.entity.clone());
    core_entities::Entities::new()
        .add_entities(
            entities,
            None::<&core_entities::NoEntitiesSchema>,
            core_entities::TCComputation::AssumeAlreadyComputed,
            cedar_policy_core::extensions::Extensions::all_available(),
        )
        .map(Entities::from)
        .map_err(|e| cedar(&e))
}

/// The two Cedar contexts of one [`Context`].
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    pub(crate) plain: CedarContext,
    pub(crate) approved: CedarContext,
}

type Attributes = HashMap<String, Expr>;

fn cedar(error: &dyn std::fmt::Display) -> AuthzError {
    AuthzError::PolicyInvalid(format!("cedar refused a name: {error}"))
}

pub(crate) fn uid(type_name: &str, id: &str) -> Result<EntityUid, AuthzError> {
    let type_name: EntityTypeName = type_name.parse().map_err(|e| cedar(&e))?;
    Ok(EntityUid::from_type_name_and_id(type_name, EntityId::new(id)))
}

fn text(value: &str) -> Expr {
    Expr::new_string(value.to_owned())
}

fn node(uid: EntityUid, attributes: Attributes, ancestors: Vec<EntityUid>) -> Result<Node, AuthzError> {
    let entity = Entity::new(uid.clone(), attributes, ancestors.iter().cloned().collect::<HashSet<_>>()).map_err(|e| cedar(&e))?;
    let ancestors = ancestors.into_iter().map(Named::from).collect();
    Ok(Node { named: uid.into(), ancestors, entity: Arc::new(entity.as_ref().clone()) })
}

/// The Cedar type of an identity.
pub(crate) const fn principal_type(kind: NhiKind) -> &'static str {
    match kind {
        NhiKind::Human => "Human",
        NhiKind::Agent => "Agent",
        NhiKind::Service => "Service",
    }
}

/// The entity of an identity, as policies name it.
pub(crate) fn principal_uid(id: &NhiId) -> Result<EntityUid, AuthzError> {
    uid(principal_type(id.kind()), id.as_str())
}

/// The acting identity of a chain, root first: `in` all that delegated to it, and in its tenant.
pub(crate) fn principal(root: &NhiId, hops: &[NhiId], leaf: &NhiId) -> Result<Node, AuthzError> {
    let mut ancestors = hops.iter().filter(|hop| *hop != leaf).map(principal_uid).collect::<Result<Vec<_>, _>>()?;
    ancestors.push(uid("Tenant", leaf.tenant().as_str())?);
    let attributes = Attributes::from([
        ("id".to_owned(), text(leaf.as_str())),
        ("name".to_owned(), text(leaf.name())),
        ("tenant".to_owned(), text(leaf.tenant().as_str())),
        ("root".to_owned(), text(root.as_str())),
        ("root_kind".to_owned(), text(root.kind().as_str())),
        ("chain_depth".to_owned(), Expr::new_long(i64::try_from(hops.len().saturating_sub(1)).unwrap_or(i64::MAX))),
    ]);
    node(principal_uid(leaf)?, attributes, ancestors)
}

/// The group an action is in: its product, or the applications'.
pub(crate) fn action_group(name: &str) -> &str {
    let first = name.split('.').next().unwrap_or_default();
    if PRODUCTS.contains(&first) { first } else { APPLICATION }
}

/// An action, in its group.
pub(crate) fn action(name: &ActionName) -> Result<Node, AuthzError> {
    let group = uid("Action", action_group(name.as_str()))?;
    node(uid("Action", name.as_str())?, Attributes::new(), vec![group])
}

/// The Cedar type of a resource kind.
pub(crate) fn resource_type(kind: &str) -> &'static str {
    match kind {
        "host" => "Host",
        "sandbox" => "Sandbox",
        "metric" => "Metric",
        "mailbox" => "Mailbox",
        "memory" => "Memory",
        "tool" => "Tool",
        "agent" | "human" | "service" | "identity" => "Identity",
        _ => "Resource",
    }
}

/// A resource by its name.
pub(crate) fn resource(name: &ResourceName) -> Result<Node, AuthzError> {
    let type_name = resource_type(name.kind());
    if type_name == "Host" {
        return host(name);
    }
    let id = if type_name == "Resource" { name.as_str() } else { name.identifier() };
    let mut attributes = Attributes::from([("kind".to_owned(), text(name.kind())), ("name".to_owned(), text(name.identifier()))]);
    if let Some(owner) = owner(name) {
        attributes.insert("owner".to_owned(), text(owner.as_str()));
    }
    node(uid(type_name, id)?, attributes, Vec::new())
}

/// The identity a resource belongs to, when its identifier is one.
pub(crate) fn owner(name: &ResourceName) -> Option<NhiId> {
    name.identifier().parse().ok()
}

/// A host, in lowercase and without the root's dot, so that no other spelling of a forbidden host slips by.
fn host(name: &ResourceName) -> Result<Node, AuthzError> {
    let (host, port) = host_and_port(name.identifier());
    let address = host.parse::<IpAddr>().ok();
    let host = match address {
        Some(address) => address.to_string(),
        None => host.trim_end_matches('.').to_ascii_lowercase(),
    };
    let full = match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.clone(),
    };
    let mut ancestors = vec![uid("Domain", &host)?];
    if address.is_none() {
        let mut rest = host.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            ancestors.push(uid("Domain", parent)?);
            rest = parent;
        }
    }
    let mut attributes =
        Attributes::from([("kind".to_owned(), text("host")), ("name".to_owned(), text(&full)), ("host".to_owned(), text(&host))]);
    if let Some(port) = port {
        attributes.insert("port".to_owned(), Expr::new_long(i64::from(port)));
    }
    node(uid("Host", &full)?, attributes, ancestors)
}

/// `example.com:443`, `[::1]:443`, `::1`, `example.com`.
fn host_and_port(identifier: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = identifier.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match identifier.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (identifier, None),
        },
        _ => (identifier, None),
    }
}

/// Cedar's form of a context, without and with approval.
pub(crate) fn situation(context: &Context) -> Result<Situation, AuthzError> {
    let strings = |entries: &std::collections::BTreeSet<String>| Expr::new_set(entries.iter().map(|entry| text(entry)));
    let build = |approved: bool| {
        let mut pairs =
            vec![("approved".to_owned(), Expr::new_bool(approved)), ("allowed_hosts".to_owned(), strings(context.allowed_hosts()))];
        if let Some(spend) = context.spend() {
            pairs.push(("spend_micros".to_owned(), Expr::new_long(spend.get())));
        }
        if !context.labels().is_empty() {
            pairs.push(("labels".to_owned(), strings(context.labels())));
        }
        CedarContext::from_pairs(pairs).map_err(|e| cedar(&e))
    };
    Ok(Situation { plain: build(false)?, approved: build(true)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_node(name: &str) -> (String, Vec<String>) {
        let node = resource(&name.parse().unwrap()).unwrap();
        (node.uid().to_string(), node.ancestors.iter().map(|ancestor| ancestor.uid.to_string()).collect())
    }

    #[test]
    fn a_host_is_in_every_domain_above_it() {
        let (uid, ancestors) = host_node("host:api.example.com:443");
        assert_eq!(uid, r#"Host::"api.example.com:443""#);
        assert_eq!(ancestors, [r#"Domain::"api.example.com""#, r#"Domain::"example.com""#, r#"Domain::"com""#]);
    }

    #[test]
    fn every_spelling_of_a_host_is_the_same_entity() {
        for spelling in ["host:API.Example.com:443", "host:api.example.com.:443", "host:api.example.com:0443"] {
            assert_eq!(host_node(spelling), host_node("host:api.example.com:443"), "{spelling}");
        }
        assert_eq!(host_node("host:[0:0::1]:443"), host_node("host:[::1]:443"));
        assert_eq!(host_node("host:10.0.0.1:80").1, [r#"Domain::"10.0.0.1""#]);
        assert_eq!(host_node("host:::1").0, r#"Host::"::1""#);
        assert_eq!(host_node("host:example.com:http").0, r#"Host::"example.com:http""#);
    }

    #[test]
    fn an_action_is_in_the_group_of_its_product() {
        for (name, group) in [("runtime.exec", "runtime"), ("payments.transfer", "application"), ("runtimes.x", "application")] {
            assert_eq!(action_group(name), group);
        }
    }

    #[test]
    fn a_resource_named_after_an_identity_is_owned_by_it() {
        let alice = "spiffe://creto.local/tenant/default/agent/a";
        assert_eq!(owner(&format!("memory:{alice}").parse().unwrap()).unwrap().as_str(), alice);
        assert!(owner(&"memory:shared".parse().unwrap()).is_none());
    }
}
