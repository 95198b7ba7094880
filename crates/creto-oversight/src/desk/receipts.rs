//! The decision of a request, with what opens the log's commitment to it.

use creto_kernel::TenantId;
use creto_kernel::id::{LeafId, RequestId};

use super::Desk;
use crate::core::evolve::evolve;
use crate::error::OversightError;
use crate::model::event::Event;
use crate::receipt::Decision;
use crate::store::requests;

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

impl Desk {
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
