//! Policy text to a checked, indexed policy set.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use creto_kernel::{ActionName, Digest};
use quick_cache::sync::Cache;
use serde_json::Value;

use crate::core::entities::{APPLICATION, Node, action_group};
use crate::core::slice::Slicer;
use crate::error::AuthzError;
use crate::model::decision::RuleId;
use crate::model::explained::PolicyRef;

/// The Cedar schema every policy is validated against.
pub const SCHEMA: &str = include_str!("../../policies/schema.cedarschema");
/// The policy of a tenant that has published none.
pub const DEFAULT_POLICY: &str = include_str!("../../policies/default.cedar");

/// Largest policy text, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 2 << 20;
/// Most policies of one tenant.
pub(crate) const POLICIES_MAX: usize = 10_000;
/// Longest `@id`, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 128;
/// Most assembled slices kept per policy set.
const SLICES_MAX: usize = 4_096;

/// What is known of one policy besides its Cedar form.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) effect: Effect,
    pub(crate) rule: Option<RuleId>,
}

/// A checked policy set with its index.
pub(crate) struct Compiled {
    pub(crate) digest: Digest,
    #[cfg(feature = "testkit")]
    pub(crate) schema: Schema,
    #[cfg(feature = "testkit")]
    pub(crate) all: PolicySet,
    policies: Vec<Policy>,
    known: HashMap<PolicyId, Known>,
    slicer: Slicer,
    slices: Cache<Arc<[u32]>, Arc<PolicySet>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("digest", &self.digest).field("policies", &self.policies.len()).finish_non_exhaustive()
    }
}

/// Checks a policy text as publishing does, and counts its policies.
///
/// # Errors
/// `authz.policy_syntax`, `authz.policy_invalid`, `authz.policy_too_large`.
pub fn count_policies(text: &str) -> Result<usize, AuthzError> {
    Compiled::new(text).map(|compiled| compiled.policies.len())
}

fn invalid(message: impl Into<String>) -> AuthzError {
    AuthzError::PolicyInvalid(message.into())
}

impl Compiled {
    /// Parses, checks and indexes.
    pub(crate) fn new(text: &str) -> Result<Self, AuthzError> {
        limit(text.len(), TEXT_BYTES_MAX, "bytes")?;
        let parsed = PolicySet::from_str(text).map_err(|e| AuthzError::PolicySyntax(e.to_string()))?;
        if parsed.templates().next().is_some() {
            return Err(invalid("templates (`?principal`, `?resource`) are not supported: write the policy out"));
        }
        limit(parsed.num_of_policies(), POLICIES_MAX, "policies")?;
        let mut policies = Vec::with_capacity(parsed.num_of_policies());
        let mut known = HashMap::with_capacity(parsed.num_of_policies());
        for policy in parsed.policies() {
            let policy = with_own_id(policy)?;
            let facts = Known { effect: policy.effect(), rule: oversight_rule(&policy)? };
            if known.insert(policy.id().clone(), facts).is_some() {
                return Err(invalid(format!("two policies have `@id(\"{}\")`: give each its own", policy.id())));
            }
            policies.push(policy);
        }
        // Cedar hands policies out in the order of a hash map; a fixed order makes slices and messages the same on every run.
        policies.sort_by(|a, b| a.id().cmp(b.id()));
        let all = PolicySet::from_policies(policies.iter().cloned()).map_err(|e| invalid(e.to_string()))?;
        let schema = schema_for(&policies)?;
        validate(&schema, &all)?;
        Ok(Self {
            digest: Digest::of(text.as_bytes()),
            #[cfg(feature = "testkit")]
            schema,
            #[cfg(feature = "testkit")]
            all,
            slicer: Slicer::new(policies.iter()),
            policies,
            known,
            slices: Cache::new(SLICES_MAX),
        })
    }

    /// The built-in default.
    pub(crate) fn default_set() -> Result<Arc<Self>, AuthzError> {
        static DEFAULT: OnceLock<Arc<Compiled>> = OnceLock::new();
        match DEFAULT.get() {
            Some(compiled) => Ok(compiled.clone()),
            None => {
                let compiled = Arc::new(Self::new(DEFAULT_POLICY)?);
                Ok(DEFAULT.get_or_init(|| compiled).clone())
            }
        }
    }

    /// How many policies.
    pub(crate) fn len(&self) -> usize {
        self.slicer.len()
    }

    /// The policies whose scope fits, and how many they are.
    pub(crate) fn slice(&self, principal: &Node, action: &Node, resource: &Node) -> Result<(Arc<PolicySet>, usize), AuthzError> {
        let positions: Arc<[u32]> = self.slicer.slice(principal, action, resource).into();
        let count = positions.len();
        if let Some(set) = self.slices.get(&positions) {
            return Ok((set, count));
        }
        let chosen = positions.iter().filter_map(|&position| self.policies.get(position as usize).cloned());
        let set = Arc::new(PolicySet::from_policies(chosen).map_err(|e| invalid(e.to_string()))?);
        self.slices.insert(positions, set.clone());
        Ok((set, count))
    }

    /// The oversight rule of a policy: `None` for a plain one.
    pub(crate) fn rule(&self, id: &PolicyId) -> Option<&RuleId> {
        self.known.get(id).and_then(|known| known.rule.as_ref())
    }

    /// How an explanation names a policy.
    pub(crate) fn refer(&self, id: &PolicyId) -> PolicyRef {
        let known = self.known.get(id);
        let effect = match known.map(|known| known.effect) {
            Some(Effect::Permit) => "permit",
            _ => "forbid",
        };
        PolicyRef { id: id.to_string(), effect, rule: known.and_then(|known| known.rule.clone()) }
    }
}

fn limit(actual: usize, limit: usize, unit: &'static str) -> Result<(), AuthzError> {
    if actual <= limit { Ok(()) } else { Err(AuthzError::PolicyTooLarge { actual, limit, unit }) }
}

/// Cedar names parsed policies `policy0`, `policy1`, …; ours are named by their `@id`, so that a name survives an edit.
fn with_own_id(policy: &Policy) -> Result<Policy, AuthzError> {
    match policy.annotation("id") {
        Some(id) if !id.is_empty() && id.len() <= ID_BYTES_MAX && !id.chars().any(char::is_control) => Ok(policy.new_id(PolicyId::new(id))),
        Some(id) => Err(invalid(format!("`@id(\"{}\")` does not fit: 1 to {ID_BYTES_MAX} bytes of printable text", id.escape_debug()))),
        None => {
            let text: String = policy.to_string().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect();
            Err(invalid(format!("a policy has no `@id(\"…\")`: give `{text}` one")))
        }
    }
}

/// Reads `@oversight("rule")` and refuses what could never ask a human.
fn oversight_rule(policy: &Policy) -> Result<Option<RuleId>, AuthzError> {
    let Some(name) = policy.annotation("oversight") else { return Ok(None) };
    let id = policy.id();
    let rule = RuleId::new(name)
        .ok_or_else(|| invalid(format!("policy `{id}`: `@oversight` names its rule in 1 to 64 of letters, digits, `.`, `-` and `_`")))?;
    if policy.effect() != Effect::Forbid {
        return Err(invalid(format!("policy `{id}`: `@oversight` belongs on a forbid, `forbid (…) unless {{ context.approved }};`")));
    }
    let json = policy.to_json().map_err(|e| invalid(e.to_string()))?;
    if !reads_approved(&json) {
        return Err(invalid(format!("policy `{id}` has `@oversight` but no approval could lift it: add `unless {{ context.approved }}`")));
    }
    Ok(Some(rule))
}

/// Whether Cedar's JSON form of a policy reads `context.approved` anywhere.
fn reads_approved(json: &Value) -> bool {
    match json {
        Value::Object(fields) => {
            let here = fields.get(".").is_some_and(|access| {
                access.get("attr").and_then(Value::as_str) == Some("approved")
                    && access.pointer("/left/Var").and_then(Value::as_str) == Some("context")
            });
            here || fields.values().any(reads_approved)
        }
        Value::Array(items) => items.iter().any(reads_approved),
        _ => false,
    }
}

/// The schema, with the application's actions that the policies name declared in their group.
fn schema_for(policies: &[Policy]) -> Result<Schema, AuthzError> {
    let base = Schema::from_str(SCHEMA).map_err(|e| invalid(e.to_string()))?;
    let declared: BTreeSet<String> = base.actions().map(|uid| uid.id().unescaped().to_owned()).collect();
    let mut added = BTreeSet::new();
    for policy in policies {
        for uid in named_actions(policy) {
            let name = uid.id().unescaped();
            if declared.contains(name) {
                continue;
            }
            let group = action_group(name);
            if name.parse::<ActionName>().is_err() || group != APPLICATION {
                let ours: Vec<&str> = declared.iter().map(String::as_str).filter(|known| action_group(known) == group).collect();
                return Err(invalid(format!("policy `{}` names {uid}, which does not exist; there are: {}", policy.id(), ours.join(", "))));
            }
            added.insert(name.to_owned());
        }
    }
    if added.is_empty() {
        return Ok(base);
    }
    let mut text = SCHEMA.to_owned();
    for name in added {
        let _infallible = writeln!(
            text,
            "action \"{name}\" in [\"{APPLICATION}\"] appliesTo {{ principal: [Human, Agent, Service], \
             resource: [Host, Sandbox, Metric, Mailbox, Memory, Tool, Identity, Resource], context: Situation }};"
        );
    }
    Schema::from_str(&text).map_err(|e| invalid(e.to_string()))
}

fn named_actions(policy: &Policy) -> Vec<EntityUid> {
    let mut named: Vec<EntityUid> = policy.entity_literals().into_iter().filter(|uid| uid.type_name().to_string() == "Action").collect();
    match policy.action_constraint() {
        ActionConstraint::Any => {}
        ActionConstraint::Eq(uid) => named.push(uid),
        ActionConstraint::In(uids) => named.extend(uids),
    }
    named
}

fn validate(schema: &Schema, policies: &PolicySet) -> Result<(), AuthzError> {
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    let mut errors: Vec<String> = result
        .validation_errors()
        .map(|error| match error.to_string() {
            named if named.starts_with("for policy") => named,
            bare => format!("for policy `{}`, {bare}", error.policy_id()),
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    errors.sort();
    let more = errors.len().saturating_sub(5);
    errors.truncate(5);
    let tail = if more == 0 { String::new() } else { format!("; and {more} more") };
    Err(invalid(errors.join("; ") + &tail))
}

#[cfg(test)]
mod tests {
    use creto_kernel::Coded;

    use super::*;

    #[track_caller]
    fn refused(text: &str, code: &str, says: &str) {
        let error = Compiled::new(text).unwrap_err();
        assert_eq!(error.code().as_str(), code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn the_default_policy_is_valid() {
        assert_eq!(Compiled::default_set().unwrap().len(), 9);
    }

    #[test]
    fn what_is_not_cedar_is_refused() {
        refused("permit (principal, action", "authz.policy_syntax", "");
        refused("permit (principal, action, resource) when { context.approved };", "authz.policy_invalid", "no `@id");
        refused(
            r#"@id("a") permit (principal, action, resource); @id("a") forbid (principal, action, resource);"#,
            "authz.policy_invalid",
            "two policies",
        );
        refused(r#"@id("a") permit (principal == ?principal, action, resource);"#, "authz.policy_invalid", "templates");
    }

    #[test]
    fn a_type_error_is_refused_before_it_can_deny_everybody() {
        for wrong in ["principal.nmae == \"a\"", "context.spend_micros > 5", "principal.chain_depth == \"1\"", "context.aproved"] {
            refused(&format!(r#"@id("x") permit (principal, action, resource) when {{ {wrong} }};"#), "authz.policy_invalid", "x");
        }
    }

    #[test]
    fn a_misspelled_action_of_ours_is_refused_and_an_applications_own_is_typed() {
        refused(r#"@id("x") permit (principal, action == Action::"runtime.exce", resource);"#, "authz.policy_invalid", "runtime.exec");
        refused(r#"@id("x") permit (principal, action == Action::"Pay", resource);"#, "authz.policy_invalid", "does not exist");
        Compiled::new(r#"@id("x") permit (principal, action == Action::"payments.transfer", resource is Tool);"#).unwrap();
        refused(
            r#"@id("x") permit (principal, action == Action::"payments.transfer", resource is Tool) when { resource.host == "a" };"#,
            "authz.policy_invalid",
            "x",
        );
    }

    #[test]
    fn an_oversight_rule_that_no_approval_could_lift_is_refused() {
        refused(r#"@id("x") @oversight("r") forbid (principal, action, resource);"#, "authz.policy_invalid", "context.approved");
        refused(
            r#"@id("x") @oversight("r") permit (principal, action, resource) when { context.approved };"#,
            "authz.policy_invalid",
            "belongs on a forbid",
        );
        refused(
            r#"@id("x") @oversight("a b") forbid (principal, action, resource) unless { context.approved };"#,
            "authz.policy_invalid",
            "names its rule",
        );
        Compiled::new(r#"@id("x") @oversight("r") forbid (principal, action, resource) unless { context.approved };"#).unwrap();
    }

    #[test]
    fn size_is_limited() {
        refused(&" ".repeat(TEXT_BYTES_MAX + 1), "authz.policy_too_large", "bytes");
    }
}
