//! Standing grants, and taking everything back from one agent at once.

use std::time::Duration;

use creto_db::Sealed;
use creto_enablement_common::{Change, OpenRequest};
use creto_kernel::id::{LeafId, RequestId};
use creto_kernel::{Coded, Digest, NhiId, TenantId, Timestamp, canonical};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Desk, Setting};
use crate::core::decide::{Facts, decide};
use crate::core::quorum;
use crate::error::OversightError;
use crate::model::case::{Binding, Choice};
use crate::model::command::Command;
use crate::model::plan::{Plan, Risk};
use crate::model::request::State;
use crate::model::voter::Voter;
use crate::store::grants::{self, GRANTS_MAX, Grant};
use crate::store::requests;

/// Longest time a standing grant holds: 30 days.
pub(super) const GRANT_SECS_MAX: u32 = 30 * 24 * 3600;
/// Most uses of a standing grant.
pub(super) const GRANT_USES_MAX: u32 = 10_000;

/// What a human approves ahead, beyond the request they decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// The request it generalises.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// The request's own resource, or a beginning of it followed by `*`; the request's when absent.
    #[serde(default)]
    pub resource: Option<String>,
    /// Arguments that must keep these values; none when absent.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub arguments: Option<Map<String, Value>>,
    /// How many times.
    pub uses_max: u32,
    /// How long, in seconds.
    pub secs: u32,
}

impl Desk {
    /// Gives a standing grant. Only whoever alone could approve the request does, and only where little is at stake.
    ///
    /// Errors: `oversight.bad_input`, `oversight.not_eligible` where the requirement needs more than this one human.
    pub async fn give(&self, voter: &Voter, new: NewGrant) -> Result<Grant, OversightError> {
        let tenant = voter.person().tenant();
        let stored = self.stored(tenant, new.request).await?;
        let case = &stored.case;
        let refuse = |text: &str| Err(OversightError::BadInput(text.to_owned()));
        if !(1..=GRANT_USES_MAX).contains(&new.uses_max) || !(1..=GRANT_SECS_MAX).contains(&new.secs) {
            return refuse("a standing grant has 1 to 10000 uses, and 1 second to 30 days");
        }
        if case.binding == Binding::Declared || case.plan.risk >= Risk::High {
            return refuse("there is no standing grant for what is only declared, or where much is at stake");
        }
        if !matches!(case.state, State::Approved | State::Consumed | State::Executed) {
            return Err(OversightError::AlreadyDecided(case.state));
        }
        let roster = self.roster_for(tenant, case, &Command::Acknowledge { voter: voter.clone() }).await?;
        let mut alone = case.clone();
        alone.votes.retain(|vote| vote.by == *voter.person() && vote.seat == vote.by && vote.choice == Choice::Approve);
        if !quorum::is_met(&alone, &quorum::votes(&alone), &alone.required(), &roster) {
            return Err(OversightError::NotEligible("only whoever alone approved the request gives a standing grant".to_owned()));
        }
        let resource = new.resource.unwrap_or_else(|| case.target.to_string());
        let narrows = resource
            .strip_suffix('*')
            .map_or_else(|| resource == case.target.as_str(), |p| p.contains(':') && case.target.as_str().starts_with(p));
        if !narrows {
            return refuse("`resource` is the request's own, or a beginning of it with its type, followed by `*`");
        }
        let now = self.clock.now();
        if grants::list(&self.db, tenant, Some((&case.agent, now))).await?.len() >= usize::try_from(GRANTS_MAX).unwrap_or(usize::MAX) {
            return refuse("this agent has as many standing grants as it may");
        }
        let leaf = self.people_leaf(voter.person(), "oversight.grant", &format!("agent:{}", case.agent.name()))?;
        let grant = Grant {
            id: LeafId::generate().to_string().replacen(LeafId::PREFIX, "grant", 1),
            agent: case.agent.clone(),
            action: case.tool.to_string(),
            resource,
            rule: stored.rule.clone(),
            arguments: new.arguments,
            uses_max: new.uses_max,
            used: 0,
            expires_at: now.saturating_add(Duration::from_secs(new.secs.into())),
            given_by: voter.person().clone(),
            given_at: now,
            revoked_at: None,
        };
        let arguments = grant.arguments.as_ref().map(serde_json::to_string).transpose().map_err(|_| OversightError::Unreadable)?;
        let leaf = leaf
            .fact("grant", &grant.id)
            .fact("request", new.request)
            .fact("uses_max", grant.uses_max)
            .fact("expires_at", grant.expires_at);
        self.db.commit(Sealed::new(leaf).step(grants::insert(tenant, &grant, arguments))).await?;
        Ok(grant)
    }

    /// The standing grants of a tenant, newest first, also those that hold no more.
    pub async fn grants(&self, tenant: &TenantId) -> Result<Vec<Grant>, OversightError> {
        Ok(grants::list(&self.db, tenant, None).await?)
    }

    /// Takes a standing grant back, and with it every approval that it gave and nobody used.
    pub async fn revoke_grant(&self, by: &NhiId, id: &str) -> Result<(), OversightError> {
        let tenant = by.tenant();
        let unknown = || OversightError::Unknown { what: "grant", id: id.chars().take(80).collect() };
        let found = self.grants(tenant).await?.into_iter().find(|grant| grant.id == id).ok_or_else(unknown)?;
        let leaf = self.people_leaf(by, "oversight.grant", &format!("agent:{}", found.agent.name()))?.fact("grant", id).fact("revoked", 1);
        self.db.commit(Sealed::new(leaf).step(grants::revoke(tenant, id, by, self.clock.now()))).await?;
        for request in requests::open_of(&self.db, tenant, &found.agent).await? {
            if self.stored(tenant, request).await?.case.grant.as_deref() == Some(id) {
                self.take_back(tenant, request, by, "the standing grant was taken back").await?;
            }
        }
        Ok(())
    }

    /// Whether an agent has requests that wait, or approvals it has not used.
    pub async fn has_open(&self, agent: &NhiId) -> Result<bool, OversightError> {
        Ok(!requests::open_of(&self.db, agent.tenant(), agent).await?.is_empty())
    }

    /// Takes everything back from an agent in one commit: its standing grants, its waiting requests, its unused approvals. Answers how
    /// many requests there were.
    pub async fn take_all(&self, by: &NhiId, agent: &NhiId, reason: &str) -> Result<usize, OversightError> {
        self.take_all_by(by, agent, reason, |sealed| Box::pin(async { Ok(self.db.commit(sealed).await.map(drop)?) })).await
    }

    /// As [`Desk::take_all`], in a commit that somebody else makes and adds to: the kill switch, which suspends the agent in it. A request
    /// that moves on meanwhile makes it be prepared again.
    ///
    /// Errors: what `commit` says; `oversight.busy` where requests moved on again and again.
    pub async fn take_all_by<'a, E: From<OversightError> + Coded>(
        &self,
        by: &NhiId,
        agent: &NhiId,
        reason: &str,
        commit: impl Fn(Sealed) -> BoxFuture<'a, Result<(), E>>,
    ) -> Result<usize, E> {
        for _ in 0..super::ATTEMPTS_MAX {
            let (sealed, count) = self.taking(by, agent, reason).await?;
            match commit(sealed).await {
                Ok(()) => {
                    self.changed();
                    return Ok(count);
                }
                Err(error) if error.code() == requests::MOVED_ON => self.forget(by.tenant()),
                Err(error) => return Err(error),
            }
        }
        Err(OversightError::Busy.into())
    }

    async fn taking(&self, by: &NhiId, agent: &NhiId, reason: &str) -> Result<(Sealed, usize), OversightError> {
        let (tenant, now) = (by.tenant(), self.clock.now());
        let leaf_id = LeafId::generate();
        let mut taken = Change::default();
        let mut requests_taken: Vec<(RequestId, Digest)> = Vec::new();
        let command = Command::Revoke { by: by.clone(), reason: reason.to_owned() };
        for id in requests::open_of(&self.db, tenant, agent).await? {
            let before = self.stored(tenant, id).await?;
            let roster = self.roster_for(tenant, &before.case, &command).await?;
            let events = match decide(&before.case, &command, now, &Facts { roster: &roster }) {
                Ok(events) => events,
                // It was used, or ended, since it was listed.
                Err(OversightError::AlreadyDecided(_)) => continue,
                Err(error) => return Err(error),
            };
            let setting = Setting { leaf: Some(leaf_id), roster: Some(roster.version), action: None };
            let (after, change) = self.transition(&before, events, by, now, &setting)?;
            requests_taken.push((id, Digest::of_parts(&[&after.salt, after.case.digest.as_bytes()])));
            taken.steps.extend(change.steps);
            taken.messages.extend(change.messages);
        }
        // One digest for all of them: they may be more than a leaf has room for.
        let all = canonical::to_vec(&requests_taken).map_err(|_| OversightError::Unreadable)?;
        let mut leaf = self.people_leaf(by, "oversight.kill", &format!("agent:{}", agent.name()))?;
        leaf.id = leaf_id;
        let leaf = leaf.fact("requests", requests_taken.len()).digest("requests", Digest::of(&all));
        let sealed = super::sealed(leaf, taken).step(grants::revoke_all(tenant, agent, by, now));
        Ok((sealed, requests_taken.len()))
    }

    async fn take_back(&self, tenant: &TenantId, request: RequestId, by: &NhiId, reason: &str) -> Result<(), OversightError> {
        let command = Command::Revoke { by: by.clone(), reason: reason.to_owned() };
        match self.apply(tenant, request, by, &command).await {
            // It was used, or ended, in the same moment.
            Ok(_) | Err(OversightError::AlreadyDecided(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The standing grant that approves this action now, where one does.
    pub(super) async fn grant_for(&self, request: &OpenRequest, plan: &Plan, now: Timestamp) -> Result<Option<Grant>, OversightError> {
        if plan.risk >= Risk::High {
            return Ok(None);
        }
        let action = &request.action;
        let all = grants::list(&self.db, &action.tenant, Some((&action.agent, now))).await?;
        let covers = |grant: &Grant| grant.covers(action.action.as_str(), action.resource.as_str(), &request.rule, &action.arguments);
        // Of a giver who may not act any more nothing is left.
        Ok(all.into_iter().find(|grant| covers(grant) && self.people.is_active(&grant.given_by)))
    }
}
