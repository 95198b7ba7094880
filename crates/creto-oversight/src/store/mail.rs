//! What was answered to mails.

use std::collections::BTreeMap;

use creto_db::{Db, DbError, Row, Sql, Write, params};
use creto_kernel::id::LeafId;
use creto_kernel::{ErrorCode, TenantId, Timestamp};

use crate::model::comment::{COMMENTS_PER_MAIL_MAX, COMMENTS_PER_REQUEST_MAX, MailComment, NewComment, Sender};

/// As many comments as may be were kept, or the request is over.
pub(crate) const NOT_KEPT: ErrorCode = ErrorCode::new("oversight.mail_full");
/// The mail was kept before.
pub(crate) const KEPT_BEFORE: ErrorCode = ErrorCode::new("oversight.busy");

/// What showed a mail's sender and when it was kept, where it was.
pub(crate) async fn kept(db: &Db, tenant: &TenantId, new: &NewComment) -> Result<Option<(Sender, Timestamp)>, DbError> {
    let select = "SELECT sender, at FROM oversight_mail_comment WHERE tenant = $1 AND token_digest = $2 AND message_digest = $3";
    let row = db.query_optional(select, params![tenant, new.token, new.message]).await?;
    row.map(|row| Ok((sender(&row, 0)?, row.time(1)?))).transpose()
}

/// Keeps a comment on a request that waits, while there are fewer than may be; `salt` is that of its leaf's commitment.
pub(crate) fn keep(tenant: &TenantId, new: &NewComment, at: Timestamp, leaf: LeafId, salt: Vec<u8>) -> Write {
    let insert = "INSERT INTO oversight_mail_comment (tenant, request, token_digest, message_digest, person, sender, text, left_out, \
                  attachments, at, leaf, salt) SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12 \
                  WHERE (SELECT COUNT(*) FROM oversight_mail_comment c WHERE c.tenant = $1 AND c.token_digest = $3) < $13 \
                  AND (SELECT COUNT(*) FROM oversight_mail_comment c WHERE c.tenant = $1 AND c.request = $2) < $14 \
                  AND EXISTS (SELECT 1 FROM oversight_request r WHERE r.tenant = $1 AND r.id = $2 AND r.state = 'pending')";
    let values = params![
        tenant,
        new.request,
        new.token,
        new.message,
        &new.from,
        new.sender.as_str(),
        &new.text,
        new.left_out,
        new.attachments,
        at,
        leaf,
        salt,
        COMMENTS_PER_MAIL_MAX,
        COMMENTS_PER_REQUEST_MAX
    ];
    Write::new(insert, values)
        .exactly(1, NOT_KEPT, "as many answers as may be were kept, or the request is over")
        .unique(KEPT_BEFORE, "the mail was kept before")
}

/// The comments of some requests, oldest first.
pub(crate) async fn comments(db: &Db, tenant: &TenantId, requests: &[&str]) -> Result<BTreeMap<String, Vec<MailComment>>, DbError> {
    let list = serde_json::to_string(requests).map_err(|_| unreadable())?;
    let sql = Sql::per_engine(
        "SELECT request, person, sender, text, left_out, attachments, at FROM oversight_mail_comment \
         WHERE tenant = $1 AND request IN (SELECT value FROM json_each($2)) ORDER BY request, at, message_digest",
        "SELECT request, person, sender, text, left_out, attachments, at FROM oversight_mail_comment \
         WHERE tenant = $1 AND request IN (SELECT json_array_elements_text($2::json)) ORDER BY request, at, message_digest",
    );
    let mut all: BTreeMap<String, Vec<MailComment>> = BTreeMap::new();
    for row in &db.query(sql, params![tenant, list]).await? {
        all.entry(row.text(0)?.to_owned()).or_default().push(read(row)?);
    }
    Ok(all)
}

fn unreadable() -> DbError {
    DbError::Corrupt("a comment that came by mail is not one".to_owned())
}

fn sender(row: &Row, column: usize) -> Result<Sender, DbError> {
    Sender::parse(row.text(column)?).ok_or_else(unreadable)
}

fn read(row: &Row) -> Result<MailComment, DbError> {
    let count = |column: usize| u32::try_from(row.int(column)?).map_err(|_| unreadable());
    Ok(MailComment {
        from: row.parse(1)?,
        sender: sender(row, 2)?,
        text: row.text(3)?.to_owned(),
        left_out: count(4)?,
        attachments: count(5)?,
        at: row.time(6)?,
    })
}
