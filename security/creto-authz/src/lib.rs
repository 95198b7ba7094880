//! Who may do what: Cedar with three outcomes, policy slicing and a decision cache.
//!
//! A request is asked in three steps, cheapest first. **The chain**: expired, revoked, of another tenant, or a grant that does not cover
//! the action is a [`Decision::Deny`] no policy can lift. **The tenant's policies**: Cedar, default deny, `forbid` wins, any evaluation
//! error is a deny. **Oversight**: a `forbid` annotated `@oversight("rule")` and written `unless { context.approved }` asks a human
//! instead, when nothing else stands against the request: [`Decision::RequiresOversight`].
//!
//! [`Authorizer::check`] is the hot path: handles made once ([`Session`], [`ActionHandle`], [`ResourceHandle`], [`CtxClass`]), one probe
//! of a bounded cache, one comparison each of policy epoch, revocation epoch and expiry; no allocation, no lock across a policy. On a
//! miss only the policies whose scope fits the request are evaluated, because Cedar itself evaluates every policy it is given.
//!
//! INVARIANT: fails closed. Whatever cannot be decided (a damaged policy, an evaluation error, a stale chain) is a deny.
//!
//! INVARIANT: `context.approved` is set by this crate alone, in [`Authorizer::check_approved`], and such a decision is never cached.
//! A caller that sends `approved` is refused by [`Context::from_json`].
//!
//! INVARIANT: entities are a pure function of the handles (the chain's identities, the resource's name), and no policy reads the time,
//! so a cached decision depends on nothing but its key, the policy epoch, the revocation epoch and the chain's expiry.
//!
//! A run may reach more than policy says, without publishing one: `creto run --allow-host h` puts `h` into
//! [`Context::allow_hosts`] of that run's requests, the default policy permits what is in there, and the chain's grant still narrows it.

mod cache;
mod core;
mod decider;
mod error;
mod handle;
mod model;
mod service;
mod store;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use crate::core::compile::{DEFAULT_POLICY, SCHEMA, count_policies};
pub use decider::RevocationEpoch;
pub use error::AuthzError;
pub use handle::{ActionHandle, CtxClass, ResourceHandle, Session};
pub use model::context::Context;
pub use model::decision::{Decision, DenyReason, RuleId};
pub use model::explained::{Explained, PolicyRef};
pub use model::version::{Change, DryRun, PastRequest, PolicyVersion};
pub use service::Authorizer;
pub use store::MIGRATIONS;
