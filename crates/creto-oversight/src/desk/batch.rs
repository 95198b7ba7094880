//! Several decisions at once: all of them or none.

use creto_db::DbError;
use creto_enablement_common::Change;
use creto_kernel::Digest;
use creto_kernel::id::{LeafId, RequestId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Desk, Setting, sealed};
use crate::core::decide::{Facts, decide};
use crate::error::OversightError;
use crate::model::case::Choice;
use crate::model::command::{Ballot, Command};
use crate::model::plan::Risk;
use crate::model::request::Request;
use crate::model::voter::Voter;
use crate::store::requests::MOVED_ON;

/// Most decisions of one batch: their digests fit one leaf.
pub const BATCH_MAX: usize = 50;

/// One decision of a batch. There is no "all of them": each is named with the digest that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchItem {
    /// Which request.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// The digest that was seen.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The digest of the view, where some of the action was hidden.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub shown: Option<Digest>,
    /// The revision that was seen.
    pub revision: u32,
}

impl Desk {
    /// Decides several requests in one commit: all of them or none. The leaf lists a commitment to every digest.
    ///
    /// Errors: those of a single vote, for the first request that refuses; `oversight.not_in_batch` for one whose risk is high, for an
    /// empty batch, one that names a request twice, or more than [`BATCH_MAX`].
    pub async fn batch(
        &self,
        voter: &Voter,
        choice: Choice,
        items: &[BatchItem],
        comment: Option<&str>,
    ) -> Result<Vec<Request>, OversightError> {
        let distinct: std::collections::BTreeSet<RequestId> = items.iter().map(|item| item.request).collect();
        if items.is_empty() || items.len() > BATCH_MAX || distinct.len() != items.len() {
            return Err(OversightError::NotInBatch(format!("a batch names 1 to {BATCH_MAX} different requests")));
        }
        let tenant = voter.person().tenant();
        for _ in 0..super::ATTEMPTS_MAX {
            let (mut all, mut shown) = (Change::default(), Vec::new());
            let (leaf_id, now) = (LeafId::generate(), self.clock.now());
            let mut leaf = self.people_leaf(voter.person(), "oversight.decide", &format!("batch:{leaf_id}"))?;
            leaf.id = leaf_id;
            choice_word(choice).clone_into(&mut leaf.decision);
            for item in items {
                let before = self.stored(tenant, item.request).await?;
                if before.case.plan.risk >= Risk::High {
                    return Err(OversightError::NotInBatch(format!("`{}` is decided alone: its risk is high", item.request)));
                }
                if item.digest != before.case.digest {
                    let (actual, sent) = (before.case.digest.to_string(), item.digest.to_string());
                    return Err(OversightError::DigestMismatch { actual, sent });
                }
                let command = Command::Vote(Ballot {
                    voter: voter.clone(),
                    stands_in_for: None,
                    choice,
                    digest: Some(item.digest),
                    shown: item.shown,
                    revision: Some(item.revision),
                    comment: comment.map(str::to_owned),
                    option: None,
                });
                let roster = self.roster_for(tenant, &before.case, &command).await?;
                let events = decide(&before.case, &command, now, &Facts { roster: &roster })?;
                if events.is_empty() {
                    shown.push(before.shown());
                    continue;
                }
                let setting = Setting { leaf: Some(leaf_id), roster: Some(roster.version), action: None };
                let (after, change) = self.transition(&before, events, voter.person(), now, &setting)?;
                let id = item.request;
                leaf.digests.insert(format!("action.{id}"), Digest::of_parts(&[&after.salt, after.case.digest.as_bytes()]));
                leaf.digests.extend(change.digests.into_iter().map(|(name, digest)| (format!("{name}.{id}"), digest)));
                // Whose it is: what an export for one agent, rule or run goes by.
                leaf = leaf.fact(&format!("agent.{id}"), &after.case.agent).fact(&format!("rule.{id}"), &after.rule);
                if let Some(run) = &after.run {
                    leaf = leaf.fact(&format!("run.{id}"), run);
                }
                all.steps.extend(change.steps);
                all.messages.extend(change.messages);
                shown.push(after.shown());
            }
            let leaf = leaf.fact("requests", items.len()).fact("how", &voter.proof().method);
            match self.db.commit(sealed(leaf, all)).await {
                Ok(_) => {
                    self.changed();
                    return Ok(shown);
                }
                Err(DbError::Conflict { code, .. }) if code == MOVED_ON => self.forget(tenant),
                Err(error) => return Err(error.into()),
            }
        }
        Err(OversightError::Busy)
    }
}

const fn choice_word(choice: Choice) -> &'static str {
    match choice {
        Choice::Approve => "approved",
        Choice::Deny => "denied",
    }
}
