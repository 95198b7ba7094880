//! What comes by mail: comments that decide nothing.
//!
//! INVARIANT: a comment is no event of its request. It moves no position that a vote, the agent's wait or a receipt depends on, and the
//! agent's view of the request does not hold it. Its leaf says that a mail was kept for the request and when: who wrote it, how that was
//! shown and what it says are in one commitment, under a salt that is the comment's own.

use creto_db::{DbError, Sealed};
use creto_kernel::id::LeafId;
use creto_kernel::{Digest, NhiId, TenantId, Timestamp, canonical};
use serde_json::json;

use super::Desk;
use crate::error::{MailError, OversightError};
use crate::model::comment::{NewComment, Sender};
use crate::model::request::{COMMENT_BYTES_MAX, Request, State};
use crate::store::mail as store;

impl Desk {
    /// Keeps a comment, once: the comment and its leaf are one commit. `by` is who handed the mail in. Answers what showed its sender and
    /// when it was kept, which for a mail that is delivered again is what was stored.
    ///
    /// # Errors
    /// `oversight.mail_late` where the request is over, `oversight.mail_full`, `oversight.comment_too_long`.
    pub async fn comment(&self, by: &NhiId, new: &NewComment) -> Result<(Sender, Timestamp), OversightError> {
        let tenant = by.tenant();
        if let Some(kept) = store::kept(&self.db, tenant, new).await? {
            return Ok(kept);
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
        let mut salt = vec![0; 32];
        creto_crypto::random::fill(&mut salt).map_err(|_| OversightError::Unreadable)?;
        // Who is on record is who handed it in.
        let leaf = self.leaf(id, by, &stored, &stored, now).digest("comment", commitment(&salt, new)?);
        match self.db.commit(Sealed::new(leaf).step(store::keep(tenant, new, now, id, salt))).await {
            Ok(_) => {
                self.changed();
                Ok((new.sender, now))
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

/// What the log commits to. The request's salt would not do: receipts show it.
fn commitment(salt: &[u8], new: &NewComment) -> Result<Digest, OversightError> {
    let whole = json!({ "channel": "email", "from": new.from, "how": new.sender.as_str(), "text": new.text });
    let bytes = canonical::to_vec(&whole).map_err(|_| OversightError::Unreadable)?;
    Ok(Digest::of_parts(&[salt, &bytes]))
}
