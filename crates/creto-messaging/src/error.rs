//! How messaging fails. A failed decryption never changes state, so each of these can simply be reported.

use creto_crypto::CryptoError;
use creto_db::DbError;
use creto_enablement_common::Refusal;
use creto_kernel::{Coded, ErrorCode, Kind, NhiId};

use crate::model::bundle::{PrekeyId, PrekeyKind};
use crate::model::wire::WireError;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum MessagingError {
    /// The bytes are not what they should be.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The text does not fit a message.
    #[error("a text of {bytes} bytes is longer than the limit of {limit_bytes}")]
    TextTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// A signature does not hold for its kind of statement.
    #[error("the signature of the {0} does not hold")]
    BadSignature(&'static str),
    /// An agreement gave the all-zero secret: the peer's key is degenerate.
    #[error("the peer's agreement key is degenerate")]
    WeakKey,
    /// Keys or a message of somebody else than expected.
    #[error("expected `{expected}`, found `{found}`")]
    WrongIdentity {
        /// Who should stand there.
        expected: NhiId,
        /// Who stands there.
        found: NhiId,
    },
    /// The peer presents another identity key than the pinned one.
    #[error("`{0}` presents another identity key than the one it was known by")]
    IdentityChanged(NhiId),
    /// A statement, prekey or authorization has ended.
    #[error("the {0} has expired")]
    Expired(&'static str),
    /// A deniable opening where policy asks for an accountable one.
    #[error("the opening is not signed, and policy asks for accountable openings")]
    NotAccountable,
    /// The agent has no identity keys yet.
    #[error("this agent has no messaging keys yet")]
    NotEnrolled,
    /// No session has this route.
    #[error("no session knows this message")]
    UnknownSession,
    /// The named prekey is not here: used, expired, or never ours.
    #[error("prekey {} of kind {kind:?} is not here: it was used, has expired, or never existed", id.0)]
    UnknownPrekey {
        /// Its kind.
        kind: PrekeyKind,
        /// Its number.
        id: PrekeyId,
    },
    /// The opening was accepted before.
    #[error("this opening was accepted before")]
    OpeningReplayed,
    /// No key of the session opens the message: forged, corrupted, or from a chain no longer kept.
    #[error("no key of the session opens this message")]
    Undecryptable,
    /// The message was read before.
    #[error("this message was read before")]
    Duplicate,
    /// The key that would open the message was dropped by age or count.
    #[error("the key of this late message is no longer kept")]
    KeyLost,
    /// More messages are missing before this one than may be skipped.
    #[error("{gap} messages are missing before this one, more than the limit of {limit}")]
    SkipLimit {
        /// How many are missing.
        gap: u32,
        /// How many may be.
        limit: u32,
    },
    /// A chain has sent as many messages as it may without an answer.
    #[error("the session has sent too many messages without an answer")]
    ChainExhausted,
    /// Somebody else advanced the stored state first.
    #[error("the stored session moved on: it is no longer at revision {expected}")]
    StaleState {
        /// The revision the change was prepared from.
        expected: u64,
    },
    /// Stored state cannot be read.
    #[error("the stored state is damaged: {0}")]
    Corrupt(&'static str),
    /// The agent's own store cannot serve.
    #[error("the message store cannot serve: {0}")]
    Store(#[source] std::io::Error),
    /// The caller is not the one the request speaks of.
    #[error("`{caller}` may not act for `{owner}`")]
    NotYours {
        /// Who asks.
        caller: NhiId,
        /// Whose keys or messages it is about.
        owner: NhiId,
    },
    /// Nobody published keys under this identity in this tenant.
    #[error("`{0}` has published no keys")]
    NoBundle(NhiId),
    /// The requester has taken its share of one-time keys for now.
    #[error("too many key requests for `{target}`: the next is possible in {retry_secs} s")]
    RateLimited {
        /// Whose keys.
        target: NhiId,
        /// When to try again, in seconds.
        retry_secs: u64,
    },
    /// The stock of one-time keys is full.
    #[error("the stock of one-time keys is full: {stock} are unused, the limit is {limit}")]
    StockFull {
        /// How many are unused.
        stock: u32,
        /// How many may be.
        limit: u32,
    },
    /// The message id names another message already.
    #[error("message id `{0}` was used for another message")]
    MessageConflict(String),
    /// The recipient's mailbox is full.
    #[error("the mailbox of `{0}` is full")]
    MailboxFull(NhiId),
    /// The Gate said no.
    #[error(transparent)]
    Refused(Refusal),
    /// Cryptography failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Coded for MessagingError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Wire(WireError::TooLong { .. }) | Self::TextTooLong { .. } => ErrorCode::new("messaging.too_large"),
            Self::Wire(_) => ErrorCode::new("messaging.malformed"),
            Self::BadSignature(_) => ErrorCode::new("messaging.bad_signature"),
            Self::WeakKey => ErrorCode::new("messaging.weak_key"),
            Self::WrongIdentity { .. } => ErrorCode::new("messaging.wrong_identity"),
            Self::IdentityChanged(_) => ErrorCode::new("messaging.identity_changed"),
            Self::Expired(_) => ErrorCode::new("messaging.expired"),
            Self::NotAccountable => ErrorCode::new("messaging.not_accountable"),
            Self::NotEnrolled => ErrorCode::new("messaging.not_enrolled"),
            Self::UnknownSession => ErrorCode::new("messaging.unknown_session"),
            Self::UnknownPrekey { .. } => ErrorCode::new("messaging.unknown_prekey"),
            Self::OpeningReplayed => ErrorCode::new("messaging.opening_replayed"),
            Self::Undecryptable => ErrorCode::new("messaging.undecryptable"),
            Self::Duplicate => ErrorCode::new("messaging.duplicate"),
            Self::KeyLost => ErrorCode::new("messaging.key_lost"),
            Self::SkipLimit { .. } => ErrorCode::new("messaging.skip_limit"),
            Self::ChainExhausted => ErrorCode::new("messaging.chain_exhausted"),
            Self::StaleState { .. } => ErrorCode::new("messaging.stale_state"),
            Self::Corrupt(_) => ErrorCode::new("messaging.state_corrupt"),
            Self::Store(_) => ErrorCode::new("messaging.store_unavailable"),
            Self::NotYours { .. } => ErrorCode::new("messaging.not_yours"),
            Self::NoBundle(_) => ErrorCode::new("messaging.no_prekeys"),
            Self::RateLimited { .. } => ErrorCode::new("messaging.rate_limited"),
            Self::StockFull { .. } => ErrorCode::new("messaging.stock_full"),
            Self::MessageConflict(_) => ErrorCode::new("messaging.message_conflict"),
            Self::MailboxFull(_) => ErrorCode::new("messaging.mailbox_full"),
            Self::Refused(refusal) => refusal.code(),
            Self::Crypto(error) => error.code(),
            Self::Db(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Wire(WireError::TooLong { .. }) | Self::TextTooLong { .. } => Kind::TooLarge,
            Self::Wire(_) | Self::WeakKey | Self::Undecryptable => Kind::Invalid,
            Self::BadSignature(_)
            | Self::WrongIdentity { .. }
            | Self::IdentityChanged(_)
            | Self::Expired(_)
            | Self::NotAccountable
            | Self::NotYours { .. } => Kind::Denied,
            Self::NotEnrolled | Self::UnknownSession | Self::UnknownPrekey { .. } | Self::KeyLost | Self::NoBundle(_) => Kind::NotFound,
            Self::OpeningReplayed | Self::Duplicate | Self::ChainExhausted | Self::StaleState { .. } | Self::MessageConflict(_) => {
                Kind::Conflict
            }
            Self::SkipLimit { .. } | Self::RateLimited { .. } | Self::StockFull { .. } | Self::MailboxFull(_) => Kind::Limited,
            Self::Corrupt(_) => Kind::Internal,
            Self::Store(_) => Kind::Unavailable,
            Self::Refused(refusal) => refusal.kind(),
            Self::Crypto(error) => error.kind(),
            Self::Db(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::IdentityChanged(peer) => Some(format!("ask `{peer}` over another channel, then remove the pin to accept the new key")),
            Self::NotEnrolled => Some("run `creto msg init`".to_owned()),
            Self::RateLimited { retry_secs, .. } => Some(format!("reuse the session you have, or try again in {retry_secs} s")),
            Self::NoBundle(peer) => Some(format!("`{peer}` publishes keys with `creto msg init`")),
            Self::MailboxFull(peer) => Some(format!("wait until `{peer}` has fetched its messages")),
            Self::StaleState { .. } => Some("load the session again and repeat the operation".to_owned()),
            Self::UnknownPrekey { .. } | Self::SkipLimit { .. } | Self::ChainExhausted => {
                Some("fetch the peer's keys again and open a new session".to_owned())
            }
            Self::Refused(refusal) => refusal.hint(),
            Self::Crypto(error) => error.hint(),
            Self::Db(error) => error.hint(),
            _ => None,
        }
    }
}
