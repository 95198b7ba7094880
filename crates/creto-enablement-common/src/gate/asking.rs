//! Asking a human: the request is opened, found again, waited for.

use std::time::Duration;

use creto_authz::{Context, RuleId};
use creto_db::Sealed;
use creto_kernel::id::{LeafId, RequestId};
use creto_kernel::{ActionName, Coded, Digest, Kind, ResourceName, TenantId};
use creto_nhi::NhiError;
use serde_json::{Map, Value};

use super::raising::{self, RAISE_ACTION};
use super::{AdmitRequest, Cleared, Gate, Judgement, attempt, refusal_of, with};
use crate::ports::{Found, OpenRequest, Verdict};
use crate::refusal::Refusal;

/// Longest wait for a human: a week.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often a request is opened for one attempt, where something else was faster each time.
const OPENINGS_MAX: u32 = 8;

/// Between the rules of one request; no rule's name holds it.
const RULES_JOINED_BY: &str = "+";

/// What policy says of an action that somebody else asked about before.
#[derive(Debug)]
pub enum Reviewed {
    /// It needs no human.
    Allowed,
    /// It is denied.
    Denied(Refusal),
    /// These rules ask for a human, joined by `+`.
    Oversight(String),
}

/// What asking a human came to.
pub(super) enum Asked {
    Approved(RequestId),
    Pending(RequestId),
}

impl Gate {
    /// Asks policy again about an action that was asked about before and has other arguments now, under the chain as it was presented
    /// then. Whether a ceiling may be raised is its owner's matter and not policy's: only less than was asked for is taken.
    ///
    /// Errors: `ChainInvalid` where the chain is not registered, has expired, or was revoked.
    pub async fn review(
        &self,
        tenant: &TenantId,
        presented: Digest,
        action: &ActionName,
        resource: &ResourceName,
        context: Context,
        arguments: &Map<String, Value>,
    ) -> Result<Reviewed, Refusal> {
        let invalid = |error: NhiError| Refusal::ChainInvalid { message: error.to_string() };
        let links = self.options.authority.chain(tenant, presented).await.map_err(invalid)?;
        let links = links.ok_or_else(|| Refusal::ChainInvalid { message: "the chain is not registered".to_owned() })?;
        let chain = self.options.authority.verify(&links, self.options.clock.now()).map_err(invalid)?;
        if action.as_str() == RAISE_ACTION {
            return Ok(raising::review(arguments));
        }
        let mut request = AdmitRequest::new(&chain, action.clone(), resource.clone());
        request.context = context;
        Ok(match self.judge(&request, &[]).await? {
            Judgement::Allow => Reviewed::Allowed,
            Judgement::Deny(refusal) => Reviewed::Denied(refusal),
            Judgement::Oversight(rules) => Reviewed::Oversight(rules.iter().map(RuleId::as_str).collect::<Vec<_>>().join(RULES_JOINED_BY)),
        })
    }

    /// Asks a human and evaluates policy again once approved: what was true when the question was asked may no longer be.
    pub(super) async fn ask(
        &self,
        request: &AdmitRequest<'_>,
        cleared: &mut Cleared,
        rules: &[RuleId],
        patience: Duration,
    ) -> Result<Asked, Refusal> {
        let tenant = &cleared.action.tenant.clone();
        let mut opened = 0;
        let id = loop {
            if let Some(id) = self.found(cleared).await? {
                break id;
            }
            opened += 1;
            match self.open(request, cleared, rules).await {
                // Another attempt at the same action opened its request in the same moment, which is waited for; or what approves it
                // beforehand was used up, and a human is asked.
                Err(refusal) if refusal.kind() == Kind::Conflict && opened < OPENINGS_MAX => {}
                outcome => break outcome?,
            }
        };
        let Some(verdict) = self.options.approvals.wait_at_most(tenant, id, patience).await? else {
            return Ok(Asked::Pending(id));
        };
        match verdict {
            Verdict::Approved { rule, arguments, .. } => {
                if let Some(arguments) = arguments {
                    cleared.action.arguments = arguments;
                    cleared.digest = cleared.action.digest().map_err(|e| Refusal::denied(e.to_string()))?;
                }
                let approved: Vec<RuleId> = rule.split(RULES_JOINED_BY).filter_map(RuleId::new).collect();
                match self.judge(request, &approved).await? {
                    Judgement::Allow => Ok(Asked::Approved(id)),
                    Judgement::Deny(refusal) => {
                        self.withdraw(request, cleared, id, "policy denies it since").await?;
                        Err(refusal)
                    }
                    Judgement::Oversight(_) => {
                        self.withdraw(request, cleared, id, "policy asks for more since").await?;
                        Err(Refusal::denied("policy asks for more oversight than when the request was approved"))
                    }
                }
            }
            Verdict::Denied { by, comment } => Err(Refusal::DeniedByHuman { request: id, by: by.name().to_owned(), comment }),
            Verdict::TimedOut | Verdict::Cancelled => Err(Refusal::NotDecided { request: id }),
        }
    }

    /// Gives up an approval that policy no longer takes: where it asks for more, the next attempt opens a request that names every rule.
    async fn withdraw(&self, request: &AdmitRequest<'_>, cleared: &Cleared, id: RequestId, reason: &str) -> Result<(), Refusal> {
        let leaf = self.leaf(request, cleared, "approval_withdrawn", self.options.clock.now()).fact("request", id);
        let change = self.options.approvals.withdraw(&cleared.action.tenant, id, reason).await?;
        self.options.db.commit(with(Sealed::new(leaf), change)).await.map_err(refusal_of)?;
        self.options.approvals.opened();
        Ok(())
    }

    /// The request of this action. It was digested with the policy's version of its own time, and that is the one which counts.
    async fn found(&self, cleared: &mut Cleared) -> Result<Option<RequestId>, Refusal> {
        let found = self.options.approvals.find(&cleared.action.tenant, cleared.lookup, self.options.clock.now()).await?;
        let Some(Found { id, policy, .. }) = found else { return Ok(None) };
        cleared.action.policy = policy;
        cleared.digest = cleared.action.digest().map_err(|e| Refusal::denied(e.to_string()))?;
        Ok(Some(id))
    }

    async fn open(&self, request: &AdmitRequest<'_>, cleared: &Cleared, rules: &[RuleId]) -> Result<RequestId, Refusal> {
        let rule = rules.iter().map(RuleId::as_str).collect::<Vec<_>>().join(RULES_JOINED_BY);
        let now = self.options.clock.now();
        let open = OpenRequest {
            id: RequestId::generate(),
            action: cleared.action.clone(),
            digest: cleared.digest,
            lookup: cleared.lookup,
            leaf: LeafId::generate(),
            presented: request.chain.digest(),
            schema: request.schema.clone(),
            editable: request.editable,
            salt: cleared.salt,
            rule: rule.clone(),
            run: request.run,
            hops: request.chain.hops().iter().map(|hop| hop.identity.clone()).collect(),
            reason: request.reason.clone(),
            now,
            deadline: now.saturating_add(request.wait.min(WAIT_MAX)),
        };
        let mut leaf = self.leaf(request, cleared, "requires_oversight", now).fact("request", open.id).fact("rule", rule);
        leaf.id = open.leaf;
        let mut change = self.options.approvals.open(&open).await?;
        leaf.digests.append(&mut change.digests);
        let sealed = with(Sealed::new(leaf), change).steps(attempt::asked(request, cleared, open.id));
        self.options.db.commit(sealed).await.map_err(refusal_of)?;
        self.options.approvals.opened();
        Ok(open.id)
    }
}
