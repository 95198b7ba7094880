//! Breaking the glass: approving at once, around the requirement, and answering for it later.

use creto_kernel::id::RequestId;
use creto_kernel::{Digest, NhiId, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::Desk;
use crate::error::OversightError;
use crate::model::command::Command;
use crate::model::request::Request;
use crate::model::voter::Voter;
use crate::store::requests;

/// One revision of a request: what it asked for before and after each edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Revision {
    /// Counts the edits; the first is 1.
    pub revision: u32,
    /// SHA-256 over `action`.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The complete action, as RFC 8785 JSON text.
    pub action: String,
    /// Who edited; nobody the first.
    #[schema(value_type = Option<String>)]
    pub editor: Option<NhiId>,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

impl Desk {
    /// Approves at once, around the requirement. Somebody else must look at it within a day.
    ///
    /// Errors: `oversight.review_overdue` for whoever broke a glass before that nobody has looked at in time.
    pub async fn break_glass(&self, voter: Voter, id: RequestId, digest: Digest, reason: &str) -> Result<Request, OversightError> {
        let person = voter.person().clone();
        if requests::reviews_overdue(&self.db, person.tenant(), &person, self.clock.now()).await? {
            return Err(OversightError::ReviewOverdue);
        }
        self.command(&person, id, &Command::BreakGlass { voter, digest, reason: reason.to_owned() }).await
    }

    /// The revisions of a request, oldest first.
    pub async fn revisions(&self, tenant: &TenantId, id: RequestId) -> Result<Vec<Revision>, OversightError> {
        self.stored(tenant, id).await?;
        let all = requests::revisions(&self.db, tenant, id).await?;
        Ok(all.into_iter().map(|(revision, digest, action, editor, at)| Revision { revision, digest, action, editor, at }).collect())
    }
}
