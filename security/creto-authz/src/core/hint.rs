//! What would allow a request: the exact command or policy line.

use creto_kernel::{Digest, NhiId};

use crate::core::entities::{Node, principal_uid};
use crate::model::decision::{Decision, DenyReason};
use crate::model::explained::PolicyRef;

/// Who asked to do what to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) root: &'a NhiId,
    pub(crate) leaf: &'a NhiId,
    pub(crate) action_name: &'a str,
    pub(crate) resource_name: &'a str,
    pub(crate) action: &'a Node,
    pub(crate) resource: &'a Node,
}

/// The policy line that permits it for everybody who acts on the root's authority.
pub(crate) fn policy_line(wanted: Wanted<'_>) -> Option<String> {
    let root = principal_uid(wanted.root).ok()?;
    let (action, resource) = (wanted.action.uid(), wanted.resource.uid());
    let scope = format!("principal in {root}, action == {action}, resource == {resource}");
    let tag: String = Digest::of(scope.as_bytes()).to_string().chars().take(8).collect();
    Some(format!("@id(\"allow.{}.{tag}\") permit ({scope});", wanted.action_name))
}

/// What to do about a decision; `None` for an allow.
pub(crate) fn hint(decision: &Decision, determining: &[PolicyRef], wanted: Wanted<'_>) -> Option<String> {
    let reason = match decision {
        Decision::Allow => return None,
        Decision::RequiresOversight(rule) => {
            return Some(format!(
                "a human approves it under rule `{rule}`: `creto inbox` lists what waits, `creto approve <request>` answers"
            ));
        }
        Decision::Deny(reason) => reason,
    };
    let ids = determining.iter().map(|policy| format!("`{}`", policy.id)).collect::<Vec<_>>().join(", ");
    match reason {
        DenyReason::NoPermit => no_permit(wanted),
        DenyReason::NotGranted => Some(format!(
            "`{}` needs a link whose grant covers action `{}` on resource `{}`: whoever delegated to it, up to `{}`, can issue one",
            wanted.leaf, wanted.action_name, wanted.resource_name, wanted.root
        )),
        DenyReason::GrantExpired => Some(format!("ask `{}`, or whoever delegated to `{}`, for a new link", wanted.root, wanted.leaf)),
        DenyReason::ChainStale => Some("present the chain again: it is verified against the revocations of now".to_owned()),
        DenyReason::CrossTenant => Some("nothing allows it: no policy and no grant reaches across tenants".to_owned()),
        DenyReason::Forbidden => Some(format!(
            "change or remove policy {ids}, or let a human decide: `@oversight(\"rule\")` before it and `unless {{ context.approved }}` behind it"
        )),
        DenyReason::EvaluationError => Some("correct the policies named in `errors`; until then what they speak of is denied".to_owned()),
        DenyReason::PolicyUnusable => Some("publish a policy that is valid with this version: `creto policy publish <file>`".to_owned()),
    }
}

fn no_permit(wanted: Wanted<'_>) -> Option<String> {
    let line = policy_line(wanted)?;
    let always = format!("add this line to the policy and publish it: {line}");
    if wanted.action_name != "runtime.egress" {
        return Some(always);
    }
    let host = wanted.resource.uid().id().unescaped();
    Some(format!("for one run: `creto run --allow-host {host} -- …`; for always, {always}"))
}
