//! Webhooks as another maker's receivers expect them: their words, their body, their signature.
//!
//! What is kept until it is delivered is our own event, which holds nothing personal; the body is made of it at each attempt.

use std::fmt::Debug;

use creto_kernel::TenantId;
use creto_kernel::id::OutboxId;
use futures::future::BoxFuture;
use serde_json::Value;

use super::SigningSecret;

/// Why nothing could be said: it is tried again, as an answer that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

/// One attempt to tell an endpoint.
#[derive(Debug)]
pub struct Sending<'a> {
    /// Whose endpoint.
    pub tenant: &'a TenantId,
    /// The message, the same at every attempt.
    pub message: OutboxId,
    /// What it is called in the format.
    pub word: &'a str,
    /// Our own event: what [`super::Webhooks::message`] made.
    pub payload: &'a str,
    /// The endpoint's secret in force.
    pub secret: &'a SigningSecret,
    /// What the format keeps with the endpoint.
    pub settings: &'a Value,
}

/// What is sent: a JSON body, and the headers that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formatted {
    /// The body.
    pub body: String,
    /// The headers, with small letters.
    pub headers: Vec<(&'static str, String)>,
}

/// A format that endpoints can ask for.
pub trait Format: Debug + Send + Sync + 'static {
    /// Its name, kept with the endpoint.
    fn name(&self) -> &'static str;

    /// What it calls an event of ours of this type; nothing where it has no word for it.
    fn word(&self, kind: &str, payload: &str) -> Option<String>;

    /// The body and the headers of one attempt; nothing where there is nothing left to tell.
    fn render<'a>(&'a self, sending: &'a Sending<'a>) -> BoxFuture<'a, Result<Option<Formatted>, FormatError>>;
}
