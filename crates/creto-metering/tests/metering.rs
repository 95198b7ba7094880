//! Metering behind the real Gate: what is recorded, what it costs, and that no ceiling is passed.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests speak by panicking")]

#[path = "metering/advance.rs"]
mod advance;
#[path = "metering/advance_crash.rs"]
mod advance_crash;
#[path = "metering/alerts.rs"]
mod alerts;
#[path = "metering/billing.rs"]
mod billing;
#[path = "metering/billing_crash.rs"]
mod billing_crash;
#[path = "metering/billing_metered.rs"]
mod billing_metered;
#[path = "metering/bills.rs"]
mod bills;
#[path = "metering/books.rs"]
mod books;
#[path = "metering/budgets.rs"]
mod budgets;
#[path = "metering/catalog.rs"]
mod catalog;
#[path = "metering/child.rs"]
mod child;
#[path = "metering/contention.rs"]
mod contention;
#[path = "metering/crash.rs"]
mod crash;
#[path = "metering/currencies.rs"]
mod currencies;
#[path = "metering/entitlements.rs"]
mod entitlements;
#[path = "metering/golden.rs"]
mod golden;
#[path = "metering/held_budgets.rs"]
mod held_budgets;
#[path = "../../creto-enablement-common/tests/support/house.rs"]
#[expect(dead_code, reason = "the Gate's own tests use the rest")]
mod house;
#[path = "metering/ingest.rs"]
mod ingest;
#[path = "metering/invoice_preview.rs"]
mod invoice_preview;
#[path = "metering/lago.rs"]
mod lago;
#[path = "metering/ledger.rs"]
mod ledger;
#[path = "metering/limits.rs"]
mod limits;
#[path = "metering/over_time.rs"]
mod over_time;
#[path = "metering/past.rs"]
mod past;
#[path = "metering/payments.rs"]
mod payments;
#[path = "metering/preview.rs"]
mod preview;
#[path = "metering/props.rs"]
mod props;
#[path = "metering/quarantine.rs"]
mod quarantine;
#[path = "metering/quota_contention.rs"]
mod quota_contention;
#[cfg(feature = "redis")]
#[path = "metering/quota_redis.rs"]
mod quota_redis;
#[path = "metering/quotas.rs"]
mod quotas;
#[path = "metering/raises.rs"]
mod raises;
#[path = "metering/retention.rs"]
mod retention;
#[path = "metering/simulation.rs"]
mod simulation;
#[path = "metering/wallets.rs"]
mod wallets;
