//! The Gate every action passes, and the ports it needs.
//!
//! An action is admitted, done, settled. [`Gate::admit`] asks policy, waits for a human where policy says so, asks the extensions
//! (quota, rate), and commits an intent with the money held and the approval consumed; the caller then does the effect and
//! [`Gate::settle`] commits what came of it with the money posted. An action whose whole effect is our own state is one commit:
//! [`Gate::commit_effect`].
//!
//! INVARIANT: [`Granted`] has private fields and no constructor but the Gate's: code that takes a `Granted` cannot run unadmitted.
//!
//! INVARIANT: while a human is asked, no transaction is open and no money is held.
//!
//! What the server sends elsewhere goes through [`outbound`], which judges every address; [`webhook`] tells whoever asked of what
//! the products did.
//!
//! The ports have one implementation each in the products: metering's `Accounts` is the [`Ledger`], oversight's `Desk` the
//! [`Approvals`]; the binary's `wiring.rs` connects them, so products never import each other.

pub mod address;
pub mod erasure;
pub mod gate;
pub mod http;
pub mod outbound;
pub mod ports;
pub mod public_url;
pub mod refusal;
pub mod webhook;

pub use gate::{Admission, AdmitRequest, Effect, Gate, GateOptions, Granted, Outcome, Settled};
pub use ports::{
    Answer, Approvals, Asking, Change, Demand, Extension, Found, Funding, Held, Lease, Ledger, LogHealth, OpenRequest, Raise, Room, Usage,
    Verdict,
};
pub use public_url::PublicUrl;
pub use refusal::Refusal;
