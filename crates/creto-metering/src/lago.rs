//! Lago's REST API under `/lago/api/v1`, as its own clients speak it (PyPI `lago-python-client` 1.55.0, npm `lago-javascript-client`
//! 1.53.0): each file of this folder translates one of its resources to the use cases of this crate and back, and decides nothing.
//!
//! - [`body`] and [`query`] read what clients send: a field that nobody knows is refused by its name, so that nothing is silently ignored.
//! - [`shape`] writes what they read: the envelope, pages with their totals, identifiers, amounts.
//! - [`refusal`] says no in Lago's words, with our own code, words and hint beside them under `creto`.
//!
//! INVARIANT: what these routes do, the native routes do too: the same use case, the same audit leaf, the same access rule.

mod add_ons;
mod alerts;
mod amounts;
mod body;
mod charges;
mod coupons;
mod credit_notes;
mod customers;
mod events;
mod features;
mod fees;
mod hooks;
mod invoice_preview;
mod invoices;
mod metrics;
mod names;
mod plan_charges;
mod plans;
mod query;
mod refusal;
mod shape;
mod signing;
mod subscription_charges;
mod subscriptions;
mod taxes;
mod usage;
mod wallet_transactions;
mod wallets;
mod webhook_endpoints;

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::PublicUrl;
use creto_enablement_common::http::{Access, Endpoint, StrictJson};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, Type};

use crate::alerts::Alerts;
use crate::billing::Billing;
use crate::catalog::Catalog;
use crate::payments::Payments;
use crate::service::Meter;
use crate::wallets::Wallets;

pub use hooks::Hooks;
pub use refusal::{DIALECT, No};
pub use signing::SigningKeys;
pub use webhook_endpoints::{HookEndpoints, endpoints as hook_endpoints};

/// The use cases that Lago's resources are translated to.
#[derive(Debug, Clone)]
pub struct Lago {
    pub(crate) catalog: Catalog,
    pub(crate) meter: Meter,
    pub(crate) wallets: Wallets,
    pub(crate) billing: Billing,
    pub(crate) alerts: Alerts,
    pub(crate) payments: Payments,
    pub(crate) public: PublicUrl,
}

impl Lago {
    /// Over the use cases of one database.
    #[must_use]
    pub fn new(meter: Meter, payments: Payments, alerts: Alerts, public: PublicUrl) -> Self {
        let billing = payments.billing().clone();
        Self { catalog: billing.catalog().clone(), wallets: billing.wallets().clone(), meter, billing, payments, alerts, public }
    }
}

/// Lago's endpoints.
#[must_use]
pub fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let mut all = metrics::endpoints(lago);
    all.extend(plans::endpoints(lago));
    all.extend(plan_charges::endpoints(lago));
    all.extend(customers::endpoints(lago));
    all.extend(subscriptions::endpoints(lago));
    all.extend(subscription_charges::endpoints(lago));
    all.extend(usage::endpoints(lago));
    all.extend(events::endpoints(lago));
    all.extend(taxes::endpoints(lago));
    all.extend(add_ons::endpoints(lago));
    all.extend(coupons::endpoints(lago));
    all.extend(wallets::endpoints(lago));
    all.extend(wallet_transactions::endpoints(lago));
    all.extend(invoices::endpoints(lago));
    all.extend(invoice_preview::endpoints(lago));
    all.extend(fees::endpoints(lago));
    all.extend(credit_notes::endpoints(lago));
    all.extend(alerts::endpoints(lago));
    all.extend(features::endpoints(lago));
    all
}

/// What every handler answers.
type Answer = Result<Json<Value>, No>;
/// What every handler works with.
type Here = State<Lago>;
/// A body as it was sent.
type Body = StrictJson<Value>;
/// A query as it was sent.
type Asked = Query<Vec<(String, String)>>;
/// The one name in a path.
type Named = Path<String>;

/// Documents as Lago's own OpenAPI description has them: what they hold is written there, and in the product's document what differs.
macro_rules! lago_documents {
    ($($name:ident: $about:literal),+ $(,)?) => {$(
        struct $name;
        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::Object).description(Some($about)).into()
            }
        }
        impl ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                concat!("Lago", stringify!($name)).into()
            }
        }
    )+};
}
lago_documents!(
    Document: "A resource of Lago in its envelope, `{\"<resource>\": {…}}`, as Lago's clients model it",
    Documents: "A page of a resource, `{\"<resources>\": […], \"meta\": {…}}`, as Lago's clients model it",
);

/// A route that reads.
fn reads<H, T>(lago: &Lago, path: &'static str, access: Access, about: &'static str, handler: H) -> Endpoint
where
    H: axum::handler::Handler<T, Lago>,
    T: 'static,
{
    Endpoint::new(axum::http::Method::GET, path, access, about, handler, lago.clone()).answers::<Document>()
}

/// A route that lists.
fn lists<H, T>(lago: &Lago, path: &'static str, access: Access, about: &'static str, handler: H) -> Endpoint
where
    H: axum::handler::Handler<T, Lago>,
    T: 'static,
{
    Endpoint::new(axum::http::Method::GET, path, access, about, handler, lago.clone()).answers::<Documents>()
}

/// A route that makes.
fn makes<H, T>(lago: &Lago, path: &'static str, access: Access, about: &'static str, handler: H) -> Endpoint
where
    H: axum::handler::Handler<T, Lago>,
    T: 'static,
{
    Endpoint::new(axum::http::Method::POST, path, access, about, handler, lago.clone()).takes::<Document>().answers::<Document>()
}

/// A route that changes.
fn changes<H, T>(lago: &Lago, path: &'static str, access: Access, about: &'static str, handler: H) -> Endpoint
where
    H: axum::handler::Handler<T, Lago>,
    T: 'static,
{
    Endpoint::new(axum::http::Method::PUT, path, access, about, handler, lago.clone()).takes::<Document>().answers::<Document>()
}

/// A route that ends or deletes, and answers what it was.
fn deletes<H, T>(lago: &Lago, path: &'static str, access: Access, about: &'static str, handler: H) -> Endpoint
where
    H: axum::handler::Handler<T, Lago>,
    T: 'static,
{
    Endpoint::new(axum::http::Method::DELETE, path, access, about, handler, lago.clone()).answers::<Document>()
}
