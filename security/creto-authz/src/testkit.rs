//! For tests and the bench: sessions without signatures, a policy corpus, and plain Cedar as oracle.

use std::fmt::Write as _;

use cedar_policy::{Entities, Request, Response};
use creto_kernel::{Digest, NhiId, Timestamp};
use creto_nhi::Grant;

use crate::core::decide::{Asked, Judged, decide, decide_over};
use crate::decider::judge;
use crate::handle::{Session, Subject};
use crate::model::decision::Decision;
use crate::model::version::PastRequest;
use crate::service::Authorizer;

/// Opens a session for these identities, root first, as though a chain of them had been verified. `None` without identities.
#[must_use]
pub fn session(authorizer: &Authorizer, hops: &[NhiId], grant: Grant, revocation_epoch: u64) -> Option<Session> {
    let (root, leaf) = (hops.first()?.clone(), hops.last()?.clone());
    let names: Vec<&str> = hops.iter().map(NhiId::as_str).collect();
    let patterns: Vec<&str> = grant.actions.iter().chain(&grant.resources).map(creto_nhi::Pattern::as_str).collect();
    let facts = [names.join("\n"), patterns.join("\n"), grant.not_after.as_micros().to_string()].join("\n\n");
    let chain = Digest::of(facts.as_bytes());
    Some(authorizer.decider.open(Subject { chain, hops: hops.to_vec(), root, leaf, grant, revocation_epoch }))
}

/// A grant of everything, for ever.
#[must_use]
pub fn full_grant() -> Grant {
    let any = vec![creto_nhi::Pattern::any()];
    Grant { actions: any.clone(), resources: any, budget: None, not_after: Timestamp::MAX, depth: 8 }
}

/// How many humans the corpus speaks of.
pub const CORPUS_HUMANS: usize = 50;
/// How many tools and domains the corpus speaks of.
pub const CORPUS_THINGS: usize = 7;

/// The `human`-th human of the corpus.
#[must_use]
pub fn corpus_human(human: usize) -> String {
    format!("spiffe://creto.local/tenant/default/human/h{human}")
}

/// A corpus of `policies` policies, the same on every call: each human has, for each thing, a permit, a forbid that asks the rule
/// `finance` about expensive requests, and a plain forbid for requests labelled `frozen`. Odd things are domains, even ones tools.
///
/// A request has at most three policies in scope.
#[must_use]
pub fn corpus(policies: usize) -> String {
    let mut text = String::new();
    for number in 0..policies {
        let (group, part) = (number / 3, number % 3);
        let (human, thing) = (group % CORPUS_HUMANS, group / CORPUS_HUMANS);
        let scope = if thing.is_multiple_of(2) {
            format!("action == Action::\"work.a{thing}\", resource == Tool::\"t{thing}\"")
        } else {
            format!("action == Action::\"runtime.egress\", resource in Domain::\"d{thing}.example.com\"")
        };
        let scope = format!("(principal in Human::\"{}\", {scope})", corpus_human(human));
        let _infallible = match part {
            0 => writeln!(text, "@id(\"permit.{number}\") permit {scope};"),
            1 => writeln!(
                text,
                "@id(\"ask.{number}\") @oversight(\"finance\") forbid {scope} when {{ context has spend_micros && \
                 context.spend_micros > 5000000 }} unless {{ context.approved }};"
            ),
            _ => writeln!(
                text,
                "@id(\"frozen.{number}\") forbid {scope} when {{ context has labels && context.labels.contains(\"frozen\") }};"
            ),
        };
    }
    text
}

/// `policies` policies whose scope names no entity, so that no slice can leave them out.
#[must_use]
pub fn unsliceable(policies: usize) -> String {
    (0..policies).fold(String::new(), |mut text, number| {
        let _infallible = writeln!(
            text,
            "@id(\"everywhere.{number}\") forbid (principal, action, resource) when {{ context has labels && \
             context.labels.contains(\"stop{number}\") }};"
        );
        text
    })
}

/// Cedar itself over all policies of the tenant, without slice and cache: what the bench compares with. Request and entities are made
/// here, once; each call evaluates. `None` where a handle has no entity or the tenant no usable policy.
pub fn plain_cedar(authorizer: &Authorizer, past: &PastRequest) -> Option<impl Fn() -> Response + use<>> {
    let compiled = authorizer.decider.tenant(past.session.tenant()).in_force().compiled?;
    let asked = asked(past)?;
    let [principal, action, resource] = [asked.principal, asked.action, asked.resource].map(|node| node.uid().clone());
    let request = Request::new(principal, action, resource, asked.situation.plain.clone(), None).ok()?;
    let nodes = [asked.principal, asked.action, asked.resource].map(|node| node.entity());
    let entities = Entities::from_entities(nodes, None).ok()?;
    let cedar = cedar_policy::Authorizer::new();
    Some(move || cedar.is_authorized(&request, &compiled.all, &entities))
}

fn asked(past: &PastRequest) -> Option<Asked<'_>> {
    Some(Asked {
        principal: past.session.0.principal.as_ref()?,
        action: past.action.entry.node.as_ref()?,
        resource: past.resource.entry.node.as_ref()?,
        situation: past.context.entry.situation.as_ref()?,
    })
}

/// A decision with what determined it.
#[derive(Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The decision.
    pub decision: Decision,
    /// The policies that determined it.
    pub determining: Vec<String>,
    /// The policies that failed.
    pub errors: Vec<String>,
    /// How many policies were evaluated.
    pub considered: usize,
}

/// One request decided over its slice, and over all policies: the same but for `considered`, or the slicer is wrong.
#[must_use]
pub fn sliced_and_full(authorizer: &Authorizer, past: &PastRequest) -> Option<(Judgement, Judgement)> {
    let compiled = authorizer.decider.tenant(past.session.tenant()).in_force().compiled?;
    let asked = asked(past)?;
    let plain = |judged: Judged, considered: usize| Judgement {
        decision: judged.decision,
        determining: judged.determining.iter().map(ToString::to_string).collect(),
        errors: judged.errors,
        considered,
    };
    let sliced = decide(&compiled, asked, &[]);
    let considered = sliced.considered;
    Some((plain(sliced, considered), plain(decide_over(&compiled, &compiled.all, asked, &[]), compiled.len())))
}

/// Decides without the cache, chain included: the oracle of the cache.
#[must_use]
pub fn uncached(authorizer: &Authorizer, past: &PastRequest) -> Decision {
    let in_force = authorizer.decider.tenant(past.session.tenant()).in_force();
    judge(&in_force, &past.session, &past.action, &past.resource, &past.context, &[]).decision
}

/// Whether what Cedar is given conforms to the schema, which is what makes strict validation a promise about evaluation.
///
/// Errors: Cedar's message.
pub fn conforms(authorizer: &Authorizer, past: &PastRequest) -> Result<(), String> {
    let missing = || "a handle has no entity".to_owned();
    let compiled = authorizer.decider.tenant(past.session.tenant()).in_force().compiled.ok_or_else(missing)?;
    let asked = asked(past).ok_or_else(missing)?;
    let nodes = [asked.principal, asked.action, asked.resource];
    for context in [&asked.situation.plain, &asked.situation.approved] {
        let [principal, action, resource] = nodes.map(|node| node.uid().clone());
        Request::new(principal, action, resource, context.clone(), Some(&compiled.schema)).map_err(|e| e.to_string())?;
    }
    let entities = nodes.into_iter().filter(|node| node.uid() != asked.action.uid()).map(|node| node.entity());
    Entities::from_entities(entities, Some(&compiled.schema)).map(drop).map_err(|e| e.to_string())
}
