//! Asking a human: the request is opened, found again, waited for.

use std::time::Duration;

use creto_authz::RuleId;
use creto_db::Sealed;
use creto_kernel::id::RequestId;
use creto_kernel::{Coded, Kind};

use super::{AdmitRequest, Cleared, Gate, Judgement, attempt, refusal_of};
use crate::ports::{OpenRequest, Verdict};
use crate::refusal::Refusal;

/// Longest wait for a human: a week.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Between the rules of one request; no rule's name holds it.
const RULES_JOINED_BY: &str = "+";

/// What asking a human came to.
pub(super) enum Asked {
    Approved(RequestId),
    Pending(RequestId),
}

impl Gate {
    /// Asks a human and evaluates policy again once approved: what was true when the question was asked may no longer be.
    pub(super) async fn ask(
        &self,
        request: &AdmitRequest<'_>,
        cleared: &Cleared,
        rules: &[RuleId],
        patience: Duration,
    ) -> Result<Asked, Refusal> {
        let tenant = &cleared.action.tenant;
        let id = match self.found(cleared).await? {
            Some(id) => id,
            None => match self.open(request, cleared, rules).await {
                // Another attempt at the same action opened its request in the same moment: wait for that one.
                Err(refusal) if refusal.kind() == Kind::Conflict => self.found(cleared).await?.ok_or(refusal)?,
                opened => opened?,
            },
        };
        let Some(verdict) = self.options.approvals.wait_at_most(tenant, id, patience).await? else {
            return Ok(Asked::Pending(id));
        };
        match verdict {
            Verdict::Approved { rule, .. } => {
                let approved: Vec<RuleId> = rule.split(RULES_JOINED_BY).filter_map(RuleId::new).collect();
                match self.judge(request, &approved).await? {
                    Judgement::Allow => Ok(Asked::Approved(id)),
                    Judgement::Deny(refusal) => Err(refusal),
                    Judgement::Oversight(_) => Err(self.withdraw(request, cleared, id).await?),
                }
            }
            Verdict::Denied { by, comment } => Err(Refusal::DeniedByHuman { request: id, by: by.name().to_owned(), comment }),
            Verdict::TimedOut | Verdict::Cancelled => Err(Refusal::NotDecided { request: id }),
        }
    }

    /// Gives up an approval that no longer covers what policy asks, so that the next attempt opens a request that names every rule.
    async fn withdraw(&self, request: &AdmitRequest<'_>, cleared: &Cleared, id: RequestId) -> Result<Refusal, Refusal> {
        let leaf = self.leaf(request, cleared, "approval_withdrawn", self.options.clock.now()).fact("request", id);
        let sealed = Sealed::new(leaf).steps(self.options.approvals.withdraw(&cleared.action.tenant, id));
        self.options.db.commit(sealed).await.map_err(refusal_of)?;
        Ok(Refusal::denied("policy asks for more oversight than when the request was approved"))
    }

    async fn found(&self, cleared: &Cleared) -> Result<Option<RequestId>, Refusal> {
        self.options.approvals.find(&cleared.action.tenant, cleared.digest, self.options.clock.now()).await
    }

    async fn open(&self, request: &AdmitRequest<'_>, cleared: &Cleared, rules: &[RuleId]) -> Result<RequestId, Refusal> {
        let rule = rules.iter().map(RuleId::as_str).collect::<Vec<_>>().join(RULES_JOINED_BY);
        let now = self.options.clock.now();
        let open = OpenRequest {
            id: RequestId::generate(),
            action: cleared.action.clone(),
            digest: cleared.digest,
            salt: cleared.salt,
            rule: rule.clone(),
            run: request.run,
            hops: request.chain.hops().iter().map(|hop| hop.identity.clone()).collect(),
            reason: request.reason.clone(),
            now,
            deadline: now.saturating_add(request.wait.min(WAIT_MAX)),
        };
        let leaf = self.leaf(request, cleared, "requires_oversight", now).fact("request", open.id).fact("rule", rule);
        let asked = attempt::asked(request, cleared, open.id);
        let sealed = Sealed::new(leaf).steps(self.options.approvals.open(&open)?).steps(asked);
        self.options.db.commit(sealed).await.map_err(refusal_of)?;
        self.options.approvals.opened();
        Ok(open.id)
    }
}
