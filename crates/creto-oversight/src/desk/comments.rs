//! What comes by mail: comments that decide nothing.
//!
//! INVARIANT: a comment is no event of its request. It moves no position that a vote, the agent's wait or a receipt depends on, and the
//! agent's view of the request does not hold it.

use creto_db::{DbError, Sealed};
use creto_kernel::id::LeafId;
use creto_kernel::{Digest, NhiId, TenantId, Timestamp};

use super::Desk;
use crate::error::{MailError, OversightError};
use crate::model::comment::NewComment;
use crate::model::request::{COMMENT_BYTES_MAX, Request, State};
use crate::store::mail as store;

impl Desk {
    /// Keeps a comment, once: the comment and its leaf are one commit. `by` is who handed the mail in. Answers when it was kept.
    ///
    /// # Errors
    /// `oversight.mail_late` where the request is over, `oversight.mail_full`, `oversight.comment_too_long`.
    pub async fn comment(&self, by: &NhiId, new: &NewComment) -> Result<Timestamp, OversightError> {
        let tenant = by.tenant();
        if let Some(at) = store::kept(&self.db, tenant, new).await? {
            return Ok(at);
        }
        if new.text.len() > COMMENT_BYTES_MAX {
            return Err(OversightError::CommentTooLong(COMMENT_BYTES_MAX));
        }
        let stored = self.current(tenant, new.request).await?;
        if stored.case.state != State::Pending {
            return Err(MailError::Late(stored.case.state).into());
        }
        let now = self.clock.now();
        let id = LeafId::generate();
        // Who is on record is who handed it in: what the mail says of its sender is a fact of its own.
        let leaf = self
            .leaf(id, by, &stored, &stored, now)
            .fact("channel", "email")
            .fact("from", &new.from)
            .fact("how", new.sender.as_str())
            .digest("comment", Digest::of_parts(&[&stored.salt, new.text.as_bytes()]));
        match self.db.commit(Sealed::new(leaf).step(store::keep(tenant, new, now, id))).await {
            Ok(_) => {
                self.changed();
                Ok(now)
            }
            // Delivered twice in the same moment.
            Err(DbError::Conflict { code, .. }) if code == store::KEPT_BEFORE => {
                store::kept(&self.db, tenant, new).await?.ok_or(OversightError::Busy)
            }
            Err(DbError::Conflict { code, .. }) if code == store::NOT_KEPT => {
                let state = self.stored(tenant, new.request).await?.case.state;
                Err(if state == State::Pending { MailError::Full } else { MailError::Late(state) }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Requests as approvers see them: with what came by mail.
    pub async fn with_mail(&self, tenant: &TenantId, mut requests: Vec<Request>) -> Result<Vec<Request>, OversightError> {
        let ids: Vec<&str> = requests.iter().map(|request| request.id.as_str()).collect();
        let mut comments = store::comments(&self.db, tenant, &ids).await?;
        for request in &mut requests {
            request.mail = comments.remove(&request.id).unwrap_or_default();
        }
        Ok(requests)
    }
}
