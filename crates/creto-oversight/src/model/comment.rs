//! What people answer to mails about a request. It decides nothing, and the agent that asked never sees it.

use creto_kernel::id::RequestId;
use creto_kernel::{Digest, NhiId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most comments that answer one mail.
pub const COMMENTS_PER_MAIL_MAX: u32 = 20;
/// Most comments of one request.
pub const COMMENTS_PER_REQUEST_MAX: u32 = 100;

/// What shows that a mail comes from its sender's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MailSender)]
pub enum Sender {
    /// A signature (DKIM) of the sender's domain, as a mail server that is configured saw it.
    Dkim,
    /// The policy of the sender's domain (DMARC), as a mail server that is configured saw it.
    Dmarc,
    /// Nothing: whoever knew the mail's address may have written it.
    Unverified,
}

impl Sender {
    /// The word in the store, in leaves and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dkim => "dkim",
            Self::Dmarc => "dmarc",
            Self::Unverified => "unverified",
        }
    }

    /// The sender of this word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Dkim, Self::Dmarc, Self::Unverified].into_iter().find(|sender| sender.as_str() == text)
    }
}

/// What somebody answered to a mail about a request. Untrusted: it came by mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MailComment {
    /// Whose address it came from: to whom the mail went that it answers.
    #[schema(value_type = String)]
    pub from: NhiId,
    /// What shows that it did.
    pub sender: Sender,
    /// What it says.
    pub text: String,
    /// How many lines of quotation were left out.
    pub left_out: u32,
    /// How many attachments were left out.
    pub attachments: u32,
    /// When it came.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// A comment to be kept.
#[derive(Clone, Debug)]
pub struct NewComment {
    /// On which request.
    pub request: RequestId,
    /// The digest of the mail's token that it answers.
    pub token: Digest,
    /// Equal for equal mails.
    pub message: Digest,
    /// Whose address it came from.
    pub from: NhiId,
    /// What shows that it did.
    pub sender: Sender,
    /// What it says.
    pub text: String,
    /// How many lines of quotation were left out.
    pub left_out: u32,
    /// How many attachments were left out.
    pub attachments: u32,
}
