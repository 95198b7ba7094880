//! The mailboxes: sealed envelopes, bounded by count and bytes for each recipient.

use creto_db::{Db, DbError, Write, params};
use creto_kernel::id::MessageId;
use creto_kernel::{Digest, ErrorCode, NhiId, Timestamp};

use crate::error::MessagingError;
use crate::model::envelope::Envelope;

/// Most messages that may wait for one recipient.
pub const MESSAGES_MAX: u32 = 1_000;
/// Most bytes that may wait for one recipient.
pub const BYTES_MAX: u32 = 32 << 20;
/// Most messages in one fetch, acknowledgement or purge.
pub const BATCH_MAX: u32 = 100;
/// The mailbox has no room.
pub const MAILBOX_FULL: ErrorCode = ErrorCode::new("messaging.mailbox_full");
/// The message id is taken.
pub const MESSAGE_CONFLICT: ErrorCode = ErrorCode::new("messaging.message_conflict");

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Who sent it, as the server authenticated it.
    pub sender: NhiId,
    /// Its name.
    pub message: MessageId,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// The envelope's bytes.
    pub envelope: Vec<u8>,
}

/// Names a message in a recipient's mailbox.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageName {
    /// Who sent it.
    pub sender: NhiId,
    /// Its name, unique for the sender.
    pub message: MessageId,
}

/// The digest of the message a sender sent under this name.
pub async fn digest_of(db: &Db, sender: &NhiId, message: MessageId) -> Result<Option<Digest>, MessagingError> {
    let sql = "SELECT digest FROM messaging_message WHERE tenant = $1 AND sender = $2 AND message = $3";
    let row = db.query_optional(sql, params![sender.tenant(), sender, message]).await?;
    Ok(row.map(|row| row.parse(0)).transpose()?)
}

/// Puts an envelope into its recipient's mailbox, within the limits.
#[must_use]
pub fn enqueue(envelope: &Envelope, digest: Digest, now: Timestamp) -> [Write; 3] {
    let (sender, recipient, bytes) = (envelope.sender(), envelope.recipient(), envelope.as_bytes());
    let tenant = recipient.tenant();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [
        Write::new(
            "INSERT INTO messaging_mailbox (tenant, recipient, messages, bytes) VALUES ($1, $2, 0, 0) \
             ON CONFLICT (tenant, recipient) DO NOTHING",
            params![tenant, recipient],
        ),
        Write::new(
            "UPDATE messaging_mailbox SET messages = messages + 1, bytes = bytes + $1 \
             WHERE tenant = $2 AND recipient = $3 AND messages < $4 AND bytes + $5 <= $6",
            params![length, tenant, recipient, MESSAGES_MAX, length, BYTES_MAX],
        )
        .exactly(1, MAILBOX_FULL, format!("the mailbox of `{recipient}` is full")),
        Write::new(
            "INSERT INTO messaging_message (tenant, sender, message, recipient, digest, bytes, body, accepted, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            params![tenant, sender, envelope.message(), recipient, digest, length, bytes, now, envelope.authorization().expires],
        )
        .unique(MESSAGE_CONFLICT, format!("message id `{}` was used before", envelope.message())),
    ]
}

/// What waits for a recipient, oldest first.
pub async fn waiting(db: &Db, recipient: &NhiId, limit: u32, now: Timestamp) -> Result<Vec<Waiting>, MessagingError> {
    let sql = "SELECT sender, message, accepted, body FROM messaging_message \
               WHERE tenant = $1 AND recipient = $2 AND acknowledged IS NULL AND expires > $3 ORDER BY accepted, message LIMIT $4";
    let rows = db.query(sql, params![recipient.tenant(), recipient, now, limit.min(BATCH_MAX)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Waiting {
                sender: row.parse(0)?,
                message: row.parse(1)?,
                accepted: Timestamp::from_micros(row.int(2)?)
                    .ok_or_else(|| DbError::Corrupt("a message's time is out of range".to_owned()))?,
                envelope: row.blob(3)?.to_vec(),
            })
        })
        .collect()
}

/// The bytes of a message that waits; `None` when it does not (any more).
pub async fn waiting_bytes(db: &Db, recipient: &NhiId, name: &MessageName) -> Result<Option<i64>, MessagingError> {
    let sql = "SELECT bytes FROM messaging_message \
               WHERE tenant = $1 AND recipient = $2 AND sender = $3 AND message = $4 AND acknowledged IS NULL";
    let row = db.query_optional(sql, params![recipient.tenant(), recipient, &name.sender, name.message]).await?;
    Ok(row.map(|row| row.int(0)).transpose()?)
}

/// Forgets the body of a message that its recipient has kept.
#[must_use]
pub fn acknowledge(recipient: &NhiId, name: &MessageName, bytes: i64, now: Timestamp) -> [Write; 2] {
    [
        Write::new(
            "UPDATE messaging_message SET acknowledged = $1, body = NULL \
             WHERE tenant = $2 AND recipient = $3 AND sender = $4 AND message = $5 AND acknowledged IS NULL",
            params![now, recipient.tenant(), recipient, &name.sender, name.message],
        )
        .exactly(1, super::directory::CONTENDED, "another request acknowledged this message first"),
        leave(recipient, bytes),
    ]
}

fn leave(recipient: &NhiId, bytes: i64) -> Write {
    Write::new(
        "UPDATE messaging_mailbox SET messages = messages - 1, bytes = bytes - $1 WHERE tenant = $2 AND recipient = $3",
        params![bytes, recipient.tenant(), recipient],
    )
}

/// An expired row.
#[derive(Clone, Debug)]
pub struct Expired {
    name: MessageName,
    bytes: i64,
    unread: bool,
}

impl Expired {
    /// Whether the recipient never acknowledged it: a message that was lost to time.
    #[must_use]
    pub const fn is_unread(&self) -> bool {
        self.unread
    }
}

/// Rows of a recipient whose authorization has ended.
pub async fn expired(db: &Db, recipient: &NhiId, now: Timestamp) -> Result<Vec<Expired>, MessagingError> {
    let sql = "SELECT sender, message, bytes, acknowledged FROM messaging_message \
               WHERE tenant = $1 AND recipient = $2 AND expires <= $3 ORDER BY expires, message LIMIT $4";
    let rows = db.query(sql, params![recipient.tenant(), recipient, now, BATCH_MAX]).await?;
    rows.iter()
        .map(|row| {
            Ok(Expired {
                name: MessageName { sender: row.parse(0)?, message: row.parse(1)? },
                bytes: row.int(2)?,
                unread: row.opt_int(3)?.is_none(),
            })
        })
        .collect()
}

/// Deletes an expired row.
#[must_use]
pub fn purge(recipient: &NhiId, expired: &Expired) -> Vec<Write> {
    let MessageName { sender, message } = &expired.name;
    let gone = "another request acknowledged or purged this message first";
    let sql = if expired.unread {
        "DELETE FROM messaging_message WHERE tenant = $1 AND recipient = $2 AND sender = $3 AND message = $4 AND acknowledged IS NULL"
    } else {
        "DELETE FROM messaging_message WHERE tenant = $1 AND recipient = $2 AND sender = $3 AND message = $4 AND acknowledged IS NOT NULL"
    };
    let params = params![recipient.tenant(), recipient, sender, *message];
    let delete = Write::new(sql, params).exactly(1, super::directory::CONTENDED, gone);
    if expired.unread { vec![delete, leave(recipient, expired.bytes)] } else { vec![delete] }
}
