//! Channels: how people outside the console hear of a request, and how some of them answer.
//!
//! A channel is told by a [`Notice`] of the outbox; what it shows is the request as it stands at delivery. What comes back is parsed by
//! the channel ([`Channel::parse_callback`]) into an [`Answer`], and only [`Channels`] makes a vote of it: for a person whose outside
//! identity was linked by proof, under the digest and revision their card showed.
//!
//! INVARIANT: a channel never decides. What it cannot deliver is tried again, what it cannot parse is refused, and its silence is
//! nothing but silence: deadlines are the desk's.
//!
//! INVARIANT: telling is at least once, under (request, step, position, kind) with the channel and the target: a delivery that is on
//! record is not made again. Between a delivery and its record lies a crash's worth of doubt, so a rare repetition is possible; every
//! card leads to the same request.

mod card;
mod dispatch;
#[cfg(feature = "email")]
pub mod email;
pub mod http;
#[cfg(feature = "email")]
mod mail;
mod people;
mod requested;
#[cfg(feature = "servicenow")]
pub mod servicenow;
#[cfg(feature = "slack")]
pub mod slack;
#[cfg(feature = "teams")]
pub mod teams;
pub mod visible;

use std::fmt;
use std::sync::Arc;

use creto_enablement_common::PublicUrl;
use creto_enablement_common::outbound::OutboundError;
use creto_enablement_common::webhook::Webhooks;
use creto_kernel::id::RequestId;
use creto_kernel::{Clock, Digest, NhiId, TenantId, Timestamp};
use creto_nhi::Credentials;
use futures::future::BoxFuture;

use crate::desk::Desk;
use creto_db::Db;

pub use card::Card;
pub use people::{Link, Preferences, Seen, Signs};

/// Whom a card goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The person, where it is one; a room has none.
    pub person: Option<NhiId>,
    /// The channel's own word: a mail address, a chat user or room, an address.
    pub address: String,
}

/// What an outside service sent us, as it came.
#[derive(Debug)]
pub struct Callback<'a> {
    /// Its headers.
    pub headers: &'a ::http::HeaderMap,
    /// The body, byte for byte.
    pub body: &'a [u8],
    /// When it came.
    pub now: Timestamp,
}

impl Callback<'_> {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What somebody outside wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Yes, to exactly this digest.
    Approve(Digest),
    /// No.
    Deny,
    /// To link their outside identity by this code.
    Link(String),
}

/// A callback that was proved to come from the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The person, in the service's words.
    pub subject: String,
    /// What they want.
    pub wish: Wish,
    /// Which request, unless they link.
    pub request: Option<RequestId>,
    /// The revision their card showed.
    pub revision: Option<u32>,
    /// Where to tell them what came of it, in the service's words.
    pub reply_to: String,
    /// Equal for equal callbacks: what the memory against replays holds.
    pub once: Digest,
}

/// Why a channel could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// It may work later.
    #[error("{0}")]
    Later(String),
    /// It will never work: this target, this card.
    #[error("{0}")]
    Never(String),
    /// A callback that is not proved to come from the service.
    #[error("{0}")]
    Forged(&'static str),
}

impl From<OutboundError> for ChannelError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Unreachable(why) | OutboundError::Authorities(why) => Self::Later(why),
            OutboundError::BadAddress(why) | OutboundError::Forbidden(why) => Self::Never(why),
        }
    }
}

/// A way to people. Stateless: what must be remembered is given back as a reference and comes in again.
pub trait Channel: Send + Sync + fmt::Debug {
    /// Its word, in policies and preferences.
    fn name(&self) -> &'static str;

    /// Rooms and services that are told besides people; people are told at their own addresses.
    fn rooms(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it sends to a place that an agent's request names. An agent must not have us write to anybody in the world.
    fn takes(&self, address: &str) -> bool {
        let _ = address;
        false
    }

    /// How answers to what it sends are read, where it takes such.
    #[cfg(feature = "email")]
    fn replies(&self) -> Option<&email::reply::Replies> {
        None
    }

    /// Tells a target, and answers how the card is found again; empty where cards cannot be changed.
    fn send<'a>(&'a self, card: &'a Card, target: &'a Target) -> BoxFuture<'a, Result<String, ChannelError>>;

    /// Brings a card up to date.
    fn update<'a>(&'a self, card: &'a Card, target: &'a Target, reference: &'a str) -> BoxFuture<'a, Result<(), ChannelError>>;

    /// Proves that a callback is the service's and says what it wants. Channels without callbacks refuse all.
    fn parse_callback(&self, callback: &Callback<'_>) -> Result<Answer, ChannelError> {
        let _ = callback;
        Err(ChannelError::Forged("this channel takes no callbacks"))
    }

    /// Tells whoever answered what came of it.
    fn reply<'a>(&'a self, reply_to: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), ChannelError>> {
        let _ = (reply_to, text);
        Box::pin(async { Ok(()) })
    }
}

/// What channels are built from.
#[derive(Debug, Clone)]
pub struct ChannelsOptions {
    /// The database.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where decisions are made.
    pub desk: Desk,
    /// Who people are.
    pub credentials: Arc<Credentials>,
    /// Where the console is.
    pub public: PublicUrl,
    /// Whoever asked to be told, by webhook.
    pub webhooks: Webhooks,
    /// The tenant whose people the configured services belong to.
    pub tenant: TenantId,
    /// The configured channels.
    pub channels: Vec<Arc<dyn Channel>>,
}

/// All channels of a server. Clones share them.
#[derive(Debug, Clone)]
pub struct Channels(Arc<ChannelsOptions>);

impl Channels {
    /// Channels over their ports.
    #[must_use]
    pub fn new(options: ChannelsOptions) -> Self {
        Self(Arc::new(options))
    }

    /// The channels of this server, by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.channels.iter().map(|channel| channel.name().to_owned()).collect()
    }

    /// The moment now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Whether there is such an identity.
    #[must_use]
    pub fn knows(&self, person: &NhiId) -> bool {
        self.0.credentials.authority().identity(person).is_ok()
    }

    /// Tells whoever answered what came of it; what fails is logged, because the decision stands.
    pub async fn reply(&self, channel: &str, reply_to: &str, text: &str) {
        let Some(channel) = self.channel(channel) else { return };
        if let Err(why) = channel.reply(reply_to, text).await {
            tracing::warn!(channel = channel.name(), %why, "whoever answered could not be told what came of it");
        }
    }

    fn channel(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.0.channels.iter().find(|channel| channel.name() == name)
    }
}
