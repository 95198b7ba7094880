//! What can be typed about who is told of what happens.

use clap::{Args, Subcommand};

/// `creto webhooks`.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// List endpoints, without their secrets.
    List,
    /// Send events to an address and print its secret, this once.
    Add(WebhookAddArgs),
    /// Send nothing there any more.
    Remove {
        /// The endpoint, from `creto webhooks list`.
        id: String,
    },
    /// Make another secret and print it; the old one signs too for a while.
    Rotate {
        /// The endpoint, from `creto webhooks list`.
        id: String,
        /// How long the old secret signs too, such as 8h; a day when absent.
        #[arg(long, value_name = "D")]
        overlap: Option<String>,
    },
    /// Send a test event.
    Test {
        /// The endpoint, from `creto webhooks list`.
        id: String,
    },
    /// List what was sent, and what came of it.
    Deliveries {
        /// The endpoint, from `creto webhooks list`.
        id: String,
    },
    /// Send a dead letter again.
    Replay {
        /// The endpoint, from `creto webhooks list`.
        id: String,
        /// The message, from `creto webhooks deliveries`.
        message: String,
    },
}

/// `creto webhooks add`.
#[derive(Debug, Args)]
pub(crate) struct WebhookAddArgs {
    /// Where to, such as https://hooks.example.com/creto.
    pub(crate) url: String,
    /// An event type, or the beginning of some such as `oversight.`; may be repeated; all when absent.
    #[arg(long = "event", value_name = "TYPE")]
    pub(crate) events: Vec<String>,
}
