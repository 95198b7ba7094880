//! Answers to mails: whose they are, and what becomes of them.

use std::time::Duration;

use creto_crypto::Secret;
use creto_kernel::{Digest, NhiId, Timestamp};
use creto_nhi::{Principal, Status};
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};
use utoipa::ToSchema;

use super::Channels;
use super::email::reply::{Replies, TOKEN_BYTES, Words};
use crate::error::{MailError, OversightError};
use crate::model::comment::{NewComment, Sender};
use crate::model::notice::Notice;
use crate::store::replies as store;

/// How long a mail's address is remembered. What it takes is bounded by its request: nothing is kept once that is over.
const REPLY_TOKEN_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many mails are taken apart at one time.
static READING: Semaphore = Semaphore::const_new(2);
/// The stack of a thread that takes a mail apart: more than a mail that is read needs, as deep as it nests, to be read and released.
pub(super) const STACK_BYTES: usize = 256 << 20;

/// What became of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MailKept {
    /// The request it is a comment on.
    pub request: String,
    /// What shows that it comes from its sender; what showed it the first time where the mail is delivered again.
    pub sender: Sender,
    /// When it was kept, which for a mail that is delivered again is the first time.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

impl Channels {
    /// Makes the token of the address under which a mail is answered: 128 random bits, stored as a digest, bound to request, recipient and
    /// the address the mail goes to.
    pub(super) async fn mint_reply(&self, notice: &Notice, person: &NhiId, address: &str) -> Result<String, OversightError> {
        let secret = Secret::random(TOKEN_BYTES).map_err(|e| OversightError::BadInput(e.to_string()))?;
        let token: String = secret.expose().iter().map(|byte| format!("{byte:02x}")).collect();
        let bound = store::Answering { request: notice.request, person: person.clone(), address: address.to_owned() };
        let (now, until) = (self.0.clock.now(), notice.at.saturating_add(REPLY_TOKEN_MAX));
        store::mint(&self.0.db, &notice.tenant, digest(&token), &bound, now, until).await?;
        Ok(token)
    }

    /// Takes a mail that answers one of ours, byte for byte as a mail server delivers it. It becomes a comment; it never decides.
    ///
    /// The header is read first: whoever has no address of ours, or is not whom that mail went to, is not read further.
    ///
    /// # Errors
    /// `oversight.no_channel` where no answers are taken; `oversight.mail_…`; `oversight.comment_too_long`.
    pub async fn take_mail(&self, by: &Principal, bytes: &[u8]) -> Result<MailKept, OversightError> {
        let replies = self.0.channels.iter().find_map(|channel| channel.replies());
        let replies = replies.ok_or_else(|| OversightError::NoChannel("email.replies".to_owned()))?;
        let envelope = replies.envelope(bytes)?;
        let (tenant, token) = (by.tenant(), digest(&envelope.token));
        let bound = store::answering(&self.0.db, tenant, token, self.0.clock.now()).await?.ok_or(MailError::Unknown)?;
        if !bound.address.eq_ignore_ascii_case(&envelope.from) || !self.may_act(&bound.person) {
            return Err(MailError::Sender.into());
        }
        if replies.authenticated_only && envelope.sender == Sender::Unverified {
            return Err(MailError::Unverified.into());
        }
        let Words { text, left_out, attachments } = words(replies, bytes, &envelope.token).await?;
        let (request, sender) = (bound.request, envelope.sender);
        let new = NewComment { request, token, message: envelope.message, from: bound.person, sender, text, left_out, attachments };
        let (sender, at) = match self.0.desk.comment(&by.identity, &new).await {
            // Erased since.
            Err(OversightError::UnknownRequest(_)) => return Err(MailError::Unknown.into()),
            done => done?,
        };
        Ok(MailKept { request: request.to_string(), sender, at })
    }

    fn may_act(&self, person: &NhiId) -> bool {
        self.0.credentials.authority().identity(person).is_ok_and(|found| found.status == Status::Active)
    }
}

/// 128 random bits, which nobody tries out: a plain digest is as good as a slow one.
fn digest(token: &str) -> Digest {
    Digest::of_parts(&[b"creto/reply-token/v1/", token.as_bytes()])
}

/// Takes a mail apart on a thread of its own, whose stack is large enough for whatever is nested in it.
async fn words(replies: &Replies, bytes: &[u8], token: &str) -> Result<Words, OversightError> {
    let turn = READING.acquire().await.map_err(|_| OversightError::Busy)?;
    let (tell, told) = oneshot::channel();
    let (replies, bytes, token) = (replies.clone(), bytes.to_vec(), token.to_owned());
    let read = move || {
        // Held by the thread: whoever asked may be gone before it is done.
        let _turn = turn;
        drop(tell.send(replies.words(&bytes, &token)));
    };
    std::thread::Builder::new().name("mail".to_owned()).stack_size(STACK_BYTES).spawn(read).map_err(|_| OversightError::Busy)?;
    told.await.map_err(|_| MailError::Unreadable("its parts do not fit together"))?.map_err(OversightError::from)
}
