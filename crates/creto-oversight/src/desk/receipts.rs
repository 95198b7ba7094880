//! The decision of a request, with what opens the log's commitment to it.

use creto_db::params;
use creto_enablement_common::erasure::ERASED;
use creto_kernel::id::{LeafId, RequestId};
use creto_kernel::{Digest, TenantId};

use super::Desk;
use crate::bundle::Document;
use crate::core::evolve::evolve;
use crate::core::policy;
use crate::error::OversightError;
use crate::model::event::Event;
use crate::receipt::Decision;
use crate::store::{policies, requests};

/// What a receipt is made of, before the log's proof.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What was decided.
    pub decision: Decision,
    /// What opens the commitments, in hexadecimal.
    pub salt: String,
    /// The leaf that commits to it.
    pub leaf: LeafId,
}

/// What a bundle holds of one decided request.
#[derive(Clone, Debug)]
pub struct Testimony {
    /// The decision; `None` where its words were erased, or what is stored does not tell of it.
    pub decided: Option<Decided>,
    /// Whether its words were erased.
    pub erased: bool,
    /// Whether a legal hold keeps its words.
    pub held: bool,
    /// The rules that asked, joined by `+`.
    pub rule: String,
}

impl Desk {
    /// What is stored of a decided request, for a bundle.
    pub async fn testimony(&self, tenant: &TenantId, id: RequestId) -> Result<Testimony, OversightError> {
        let held = self.db.query_optional("SELECT 1 FROM oversight_hold WHERE tenant = $1 AND request = $2", params![tenant, id]).await?;
        let held = held.is_some();
        let Some(stored) = requests::one(&self.db, tenant, id).await? else {
            return Ok(Testimony { decided: None, erased: false, held, rule: String::new() });
        };
        let erased = stored.case.digest == ERASED;
        let decided = match erased {
            true => None,
            // What is not told of is left out, and whoever verifies the bundle hears of it.
            false => self.decided(tenant, id).await.map(Some).or_else(|error| match error {
                OversightError::BadInput(_) => Ok(None),
                error => Err(error),
            })?,
        };
        Ok(Testimony { decided, erased, held, rule: stored.rule })
    }

    /// The documents behind what a decision of these rules names as its policy; `None` where they are not found.
    pub async fn documents(&self, tenant: &TenantId, rules: &str, policy: Digest) -> Result<Option<Vec<Document>>, OversightError> {
        let mut choices: Vec<Vec<(Digest, Document)>> = Vec::new();
        for rule in rules.split('+') {
            let mut versions = Vec::new();
            for published in policies::versions(&self.db, tenant, rule).await? {
                let policy = serde_json::to_value(&published.policy).map_err(|_| OversightError::Unreadable)?;
                versions.push((published.digest, Document { rule: rule.to_owned(), version: Some(published.version), policy }));
            }
            let built_in = serde_json::to_value(policy::built_in()).map_err(|_| OversightError::Unreadable)?;
            let digest = policy::digest(&policy::built_in()).map_err(|_| OversightError::Unreadable)?;
            versions.push((digest, Document { rule: rule.to_owned(), version: None, policy: built_in }));
            choices.push(versions);
        }
        let mut tried = 0;
        Ok(combined(&choices, &mut Vec::new(), policy, &mut tried))
    }

    /// The decision of a request as it was written down, whatever became of it since.
    ///
    /// Errors: `oversight.bad_input` for a request that no vote, grant or glass has decided.
    pub async fn decided(&self, tenant: &TenantId, id: RequestId) -> Result<Decided, OversightError> {
        let stored = self.stored(tenant, id).await?;
        let mut case = None;
        for happened in requests::events(&self.db, tenant, id).await? {
            case = evolve(case, &happened.recorded);
            let decides = matches!(happened.recorded.event, Event::Approved { .. } | Event::GlassBroken { .. } | Event::Rejected { .. });
            if let (true, Some(leaf), Some(case)) = (decides, happened.leaf, &case) {
                let decision = Decision::of(case, &happened.recorded.by);
                return Ok(Decided { decision, salt: hex::encode(&stored.salt), leaf });
            }
        }
        Err(OversightError::BadInput(format!("the request is `{}`: there is no decision to prove", stored.case.state.as_str())))
    }
}

/// Most combinations of versions that are tried for one decision: rules seldom ask together, and the latest versions come first.
const COMBINATIONS_MAX: u32 = 4096;

/// The first combination of one of each that `policy` stands for.
fn combined(
    choices: &[Vec<(Digest, Document)>],
    chosen: &mut Vec<(Digest, Document)>,
    policy: Digest,
    tried: &mut u32,
) -> Option<Vec<Document>> {
    let Some(next) = choices.get(chosen.len()) else {
        *tried += 1;
        let digests: Vec<Digest> = chosen.iter().map(|(digest, _)| *digest).collect();
        return (policy::joined(&digests) == policy).then(|| chosen.iter().map(|(_, document)| document.clone()).collect());
    };
    for choice in next {
        if *tried >= COMBINATIONS_MAX {
            return None;
        }
        chosen.push(choice.clone());
        let found = combined(choices, chosen, policy, tried);
        chosen.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}
