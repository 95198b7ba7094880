//! Native routes, `/v1/metering/…`.

pub mod alerts;
pub mod billing;
mod body;
pub mod catalog;
mod events;
pub mod features;
mod over_time;
pub mod payments;
pub mod preview;
mod quarantine;
pub mod quotas;
pub mod retention;
pub mod wallets;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::{Micros, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::LedgerReport;
use crate::model::account::AccountState;
use crate::model::metric::Metric;
use crate::model::raise::RaiseTerms;
use crate::service::{Meter, MetricUsage};

/// Metering's endpoints.
#[must_use]
pub fn endpoints(meter: &Meter) -> Vec<Endpoint> {
    let state = || meter.clone();
    let mut all = events::endpoints(meter);
    all.extend(quarantine::endpoints(meter));
    all.extend(over_time::endpoints(meter));
    all.extend([
        Endpoint::new(
            Method::GET,
            "/v1/metering/usage",
            Access::Authenticated,
            "Current usage of a subscription by metric",
            usage,
            state(),
        )
        .answers::<Usages>(),
        Endpoint::new(Method::GET, "/v1/metering/accounts", Access::Operator, "Budgets: ceiling, spent, held", accounts, state())
            .answers::<AccountList>(),
        Endpoint::new(Method::GET, "/v1/metering/check", Access::Operator, "Check the ledger: debits equal credits", check, state())
            .answers::<LedgerReport>(),
        Endpoint::new(Method::PUT, "/v1/metering/metrics/{code}", Access::Operator, "Define a metric and its price", put_metric, state())
            .takes::<Metric>(),
        Endpoint::new(
            Method::PUT,
            "/v1/metering/ceilings",
            Access::Operator,
            "Set or lift the ceiling of an account, and say whether a human may be asked to raise it",
            set_ceiling,
            state(),
        )
        .takes::<CeilingInput>(),
    ]);
    all
}

/// Which usage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    #[serde(default)]
    subscription: Option<String>,
    #[serde(default)]
    from: Option<Timestamp>,
    #[serde(default)]
    to: Option<Timestamp>,
}

impl Window {
    fn from(&self) -> Timestamp {
        self.from.unwrap_or(Timestamp::EPOCH)
    }
    fn to(&self) -> Timestamp {
        self.to.unwrap_or(Timestamp::MAX)
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct Usages {
    usage: Vec<MetricUsage>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AccountList {
    accounts: Vec<AccountState>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CeilingInput {
    account: String,
    #[schema(value_type = Option<String>)]
    ceiling: Option<Micros>,
    /// How a human may be asked to raise it where something does not fit; nobody is asked where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask_to_raise: Option<RaiseTerms>,
}

async fn usage(State(meter): State<Meter>, caller: Caller, Query(window): Query<Window>) -> Result<Json<Usages>, Problem> {
    // Usage without a subscription named is the caller's own: events of our products are recorded under the chain's root.
    let own = caller.0.chain.as_ref().map_or_else(|| caller.0.identity.name(), |chain| chain.root().name());
    let subscription = window.subscription.as_deref().unwrap_or(own);
    let usage = meter.usage(caller.0.tenant(), subscription, window.from(), window.to()).await?;
    Ok(Json(Usages { usage }))
}

async fn accounts(State(meter): State<Meter>, caller: Caller) -> Result<Json<AccountList>, Problem> {
    Ok(Json(AccountList { accounts: meter.accounts(caller.0.tenant()).await? }))
}

async fn check(State(meter): State<Meter>, caller: Caller) -> Result<Json<LedgerReport>, Problem> {
    Ok(Json(meter.check(caller.0.tenant()).await?))
}

async fn put_metric(
    State(meter): State<Meter>,
    caller: Caller,
    Path(code): Path<String>,
    StrictJson(metric): StrictJson<Metric>,
) -> Result<Json<Metric>, Problem> {
    meter.put_metric(&caller.0.identity, &code, metric.clone()).await?;
    Ok(Json(metric))
}

async fn set_ceiling(
    State(meter): State<Meter>,
    caller: Caller,
    StrictJson(input): StrictJson<CeilingInput>,
) -> Result<Json<CeilingInput>, Problem> {
    meter.set_ceiling_asking(&caller.0.identity, &input.account, input.ceiling, input.ask_to_raise.as_ref()).await?;
    Ok(Json(input))
}
