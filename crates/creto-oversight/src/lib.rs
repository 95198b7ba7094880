//! Oversight: a human decides, once, on exactly this action.
//!
//! - [`Desk`] is the Gate's approvals: it opens requests bound to an action's digest, waits for a decision, and has the approval
//!   consumed by the one admission that acts on it.
//! - [`http::endpoints`] serves the inbox, decisions, and actions that an agent asks for itself.
//!
//! INVARIANT: only an authenticated human with the role `approver` decides; an agent's credential never reaches a decision.
//!
//! INVARIANT: an approval is consumed at most once, by compare-and-set, in the commit that records the intent.
//!
//! INVARIANT: running out of time is a refusal. Nothing ever approves by default.

mod actions;
pub mod bundle;
pub mod channels;
mod clock;
pub mod core;
pub mod desk;
mod edits;
mod error;
pub mod http;
pub mod humanlayer;
pub mod model;
pub mod receipt;
mod store;
pub mod test_mode;

pub use actions::{ADMITTED_PER_AGENT_MAX, ActionInput, Actions, Admitted, OutcomeInput};
pub use channels::{Channel, Channels, ChannelsOptions};
pub use clock::DatabaseClock;
pub use desk::{Desk, People};
pub use edits::Edits;
pub use error::{MailError, OversightError};
pub use store::channels::CHANNEL_MIGRATIONS;
pub use store::mode::MODE_MIGRATIONS;
pub use store::{MIGRATIONS, OPEN_PER_AGENT_MAX};
