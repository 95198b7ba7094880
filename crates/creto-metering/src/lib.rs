//! Metering: what agents used, what it cost, and ceilings that hold anywhere in the delegation chain.
//!
//! - [`Meter`] takes usage events and answers current usage and cost by delegation tree.
//! - [`Catalog`] holds what is sold and to whom: metrics, plans, taxes, add-ons, coupons, customers, subscriptions.
//! - [`Billing`] turns what was used and agreed into invoices.
//! - [`Payments`] has invoices paid through a provider, of which [`stripe`] is the one there is.
//! - [`Wallets`] holds prepaid credits in a double-entry ledger.
//! - [`RateLimits`] is an inline limit of the Gate: so many actions of each agent in a time, counted in memory.
//! - [`lago`] is Lago's REST API over all of them.
//! - [`QuotaEnforcer`] is another one: so much of a metric in a time, for agents, roots of chains and tenants, debited before it is used.
//! - [`Alerts`] tell somebody when usage or a balance passes a threshold.
//! - [`Budgets`] are money and quota that somebody holds while it works.
//! - [`Accounts`] is the Gate's ledger: it holds money along a chain, then posts or voids it.
//!
//! INVARIANT: dedupe key, event, cost and audit leaf are one commit; a reading after the acknowledgement sees them all.
//!
//! INVARIANT: for every account, spent + held never passes its ceiling at the moment of a hold or a direct posting.

mod accounts;
mod alerts;
mod billing;
mod budgets;
mod catalog;
pub mod core;
mod entitlements;
mod error;
pub mod http;
pub mod lago;
mod limits;
pub mod model;
pub mod payments;
mod preview;
mod quotas;
mod service;
mod store;
#[cfg(feature = "stripe")]
pub mod stripe;
mod wallets;

pub use accounts::{Accounts, LedgerReport};
pub use alerts::{AlertOptions, Alerts};
pub use billing::{
    Billing, ChargeUsage, CouponRedemption, CreditEstimate, CreditRequest, Export, Format, InvoicePreview, InvoicePreviewInput, NoteChange,
    OneOff, OneOffItem, PastUsage, Rerate, RerateChange, RerateInput, UsageSource,
};
pub use budgets::{BudgetInput, BudgetUse, Budgets, HeldBudget, UsageLineInput};
pub use catalog::{Catalog, CatalogReader, Passed, SubscriptionView, Terms};
pub use entitlements::{EntitledAnswer, Question};
pub use error::MeteringError;
pub use limits::{AGENTS_PER_SHARD_MAX, RateLimits};
pub use payments::{PaymentProvider, Payments, PaymentsOptions};
pub use preview::{PREVIEW_EVENTS_MAX, Preview, PreviewInput};
#[cfg(feature = "redis")]
pub use quotas::RedisPools;
pub use quotas::{Pool, PoolError, Pools, QuotaEnforcer, QuotaOptions, QuotaState, Reservation, SubjectState};
pub use service::{
    Answered, Backfill, BackfillChange, BackfillRefusal, Cancelled, CurrentUsage, EventProof, EventsOf, Meter, MetricUsage, Outcome,
    OverTime, OverTimeInput, Receipt, RecordedEvent, Replayed, Taking, UsageLine,
};
pub use store::MIGRATIONS;
pub use store::alerts::ALERT_MIGRATIONS;
pub use store::billing::{BILLING_MIGRATIONS, InvoiceFilter, NoteFilter};
pub use store::catalog::CATALOG_MIGRATIONS;
pub use store::daily::DAILY_MIGRATIONS;
pub use store::entitlements::ENTITLEMENT_MIGRATIONS;
pub use store::events::MIGRATIONS as EVENTS_MIGRATIONS;
pub use store::fees::FeeFilter;
pub use store::lago::LAGO_MIGRATIONS;
pub use store::payments::PAYMENT_MIGRATIONS;
pub use store::quarantine::QUARANTINE_MIGRATIONS;
pub use store::quotas::QUOTA_MIGRATIONS;
pub use store::rerates::RERATE_MIGRATIONS;
pub use store::subscriptions::SubscriptionFilter;
pub use store::wallets::{MovementFilter, WALLET_MIGRATIONS};
pub use wallets::{Filled, Wallets};
