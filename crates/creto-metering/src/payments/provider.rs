//! The port to whoever collects payments.
//!
//! Every call may be repeated, also by another process after this one was killed: the provider makes the same thing once.

use std::fmt;
use std::time::Duration;

use creto_enablement_common::outbound::OutboundError;
use creto_kernel::{TenantId, Timestamp};
use futures::future::BoxFuture;

use crate::model::customer::Customer;
use crate::model::entry::DefinitionId;
use crate::model::invoice::{InvoiceDocument, InvoiceId};

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Not now; it may be asked again, not before the time that it named.
    #[error("{why}")]
    Later {
        /// Why.
        why: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// No repetition changes it.
    #[error("{0}")]
    Never(String),
}

impl ProviderError {
    /// Not now.
    pub fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None }
    }
}

impl From<OutboundError> for ProviderError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::BadAddress(why) => Self::Never(why),
            other => Self::later(other.to_string()),
        }
    }
}

/// What comes back from the provider was not sent by it, or not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forged(pub &'static str);

/// A customer that is to be known at the provider.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// Which.
    pub id: DefinitionId,
    /// As it is here.
    pub customer: &'a Customer,
    /// When it was first to be made there.
    pub first_at: Timestamp,
}

/// An invoice that is to be paid through the provider.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// The invoice.
    pub document: &'a InvoiceDocument,
    /// The provider's name of the customer.
    pub customer: &'a str,
    /// The provider's name of the payment, where it is on record.
    pub reference: Option<&'a str>,
    /// When it was first asked for.
    pub first_at: Timestamp,
}

/// How a payment stands, as the provider says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What the provider calls it.
    pub reference: String,
    /// How it stands.
    pub outcome: Outcome,
    /// Where the customer pays.
    pub url: Option<String>,
}

/// What the provider says of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Not known yet.
    Pending,
    /// Paid.
    Paid,
    /// Tried, and not paid; it may still be.
    Failed(String),
    /// Taken back there.
    Withdrawn,
}

/// What a provider tells by itself: a hint where to look, and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The provider's identifier of it.
    pub id: String,
    /// In the provider's words.
    pub kind: String,
    /// What it is about.
    pub about: About,
}

/// What a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A payment that may stand otherwise now.
    Payment {
        /// What the provider calls it.
        reference: String,
        /// The invoice that was noted with it, where one was.
        ours: Option<(TenantId, InvoiceId)>,
    },
    /// The customer's bank took money back for good; by the provider's name of the charge.
    LostDispute(String),
    /// Nothing that matters here.
    Nothing,
}

/// Whoever collects payments.
pub trait PaymentProvider: fmt::Debug + Send + Sync {
    /// Its name, as customers name it.
    fn name(&self) -> &'static str;

    /// Whether real money moves.
    fn is_live(&self) -> bool;

    /// Makes a customer once, and gives its name there.
    fn make_customer<'a>(&'a self, known: Known<'a>) -> BoxFuture<'a, Result<String, ProviderError>>;

    /// Brings a customer up to date.
    fn update_customer<'a>(&'a self, reference: &'a str, known: Known<'a>) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Forgets a customer. One that is not there is forgotten.
    fn forget_customer<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Asks for the payment of an invoice, once.
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Standing, ProviderError>>;

    /// How a payment stands.
    fn look<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Standing, ProviderError>>;

    /// Tries to be paid now, for the `nth` time that somebody wanted so. That it failed is told by the next look.
    fn pay<'a>(&'a self, reference: &'a str, nth: i64) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Asks no more. What is paid by then stays paid, and is told so.
    fn withdraw<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Standing, ProviderError>>;

    /// Asks no more because it was paid elsewhere.
    fn settle<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Standing, ProviderError>>;

    /// The payment that a charge is of.
    fn charged<'a>(&'a self, charge: &'a str) -> BoxFuture<'a, Result<Option<String>, ProviderError>>;

    /// Reads what somebody sent in the provider's name, if it proves to be the provider's.
    fn read_notice(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<Notice, Forged>;
}
