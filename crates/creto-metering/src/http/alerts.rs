//! Alerts: `/v1/metering/alerts`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::alerts::Alerts;
use crate::error::MeteringError;
use crate::model::alert::{Alert, AlertChange, AlertId, AlertRecord, Watched};
use crate::model::page::{Listed, PER_PAGE_DEFAULT, Page};

/// The alerts' endpoints.
#[must_use]
pub fn endpoints(alerts: &Alerts) -> Vec<Endpoint> {
    let state = || alerts.clone();
    let (all, one, operator) = ("/v1/metering/alerts", "/v1/metering/alerts/{alert}", Access::Operator);
    vec![
        Endpoint::new(Method::GET, all, operator, "Alerts, of all or of one subscription or wallet", list, state())
            .answers::<Listed<AlertRecord>>(),
        Endpoint::new(Method::POST, all, operator, "Tell somebody when usage or a balance passes a threshold", create, state())
            .takes::<AlertsInput>()
            .answers::<AlertList>(),
        Endpoint::new(Method::GET, one, operator, "An alert with what it saw last", get, state()).answers::<AlertRecord>(),
        Endpoint::new(Method::PUT, one, operator, "Change an alert; what it told of stays told", update, state())
            .takes::<AlertChange>()
            .answers::<AlertRecord>(),
        Endpoint::new(Method::DELETE, one, operator, "Remove an alert with what it saw", remove, state()).answers::<AlertRecord>(),
    ]
}

/// Alerts of one subscription or wallet to make: all or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AlertsInput {
    /// `{"subscription": external identifier}` or `{"wallet": identifier}`.
    watched: Watched,
    /// The alerts.
    alerts: Vec<Alert>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AlertList {
    alerts: Vec<AlertRecord>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    subscription: Option<String>,
    #[serde(default)]
    wallet: Option<String>,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

fn id(named: &str) -> Result<AlertId, MeteringError> {
    named.parse().map_err(|_| MeteringError::UnknownDefinition { kind: "alert", code: named.chars().take(80).collect() })
}

async fn list(State(alerts): State<Alerts>, caller: Caller, Query(which): Query<Which>) -> Result<Json<Listed<AlertRecord>>, Problem> {
    let tenant = caller.0.tenant();
    let page = Page::new(which.page.unwrap_or(1), which.per_page.unwrap_or(PER_PAGE_DEFAULT));
    let watched = which.subscription.map(Watched::Subscription).or(which.wallet.map(Watched::Wallet));
    Ok(Json(match watched {
        // They are few: one page holds them.
        Some(watched) => {
            let found = alerts.of(tenant, &watched).await?;
            let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
            Listed::of(found, Page::new(1, PER_PAGE_DEFAULT), count)
        }
        None => alerts.list(tenant, page).await?,
    }))
}

async fn create(
    State(alerts): State<Alerts>,
    caller: Caller,
    StrictJson(input): StrictJson<AlertsInput>,
) -> Result<Json<AlertList>, Problem> {
    Ok(Json(AlertList { alerts: alerts.create(&caller.0.identity, input.watched, input.alerts).await? }))
}

async fn get(State(alerts): State<Alerts>, caller: Caller, Path(named): Path<String>) -> Result<Json<AlertRecord>, Problem> {
    Ok(Json(alerts.get(caller.0.tenant(), id(&named)?).await?))
}

async fn update(
    State(alerts): State<Alerts>,
    caller: Caller,
    Path(named): Path<String>,
    StrictJson(change): StrictJson<AlertChange>,
) -> Result<Json<AlertRecord>, Problem> {
    Ok(Json(alerts.update(&caller.0.identity, id(&named)?, change).await?))
}

async fn remove(State(alerts): State<Alerts>, caller: Caller, Path(named): Path<String>) -> Result<Json<AlertRecord>, Problem> {
    let found = alerts.get(caller.0.tenant(), id(&named)?).await?;
    alerts.remove(&caller.0.identity, std::slice::from_ref(&found)).await?;
    Ok(Json(found))
}
