//! Events kept aside: `/v1/metering/quarantine`.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::quarantine::QuarantinedEvent;
use crate::service::{Meter, Replayed};

pub(super) fn endpoints(meter: &Meter) -> Vec<Endpoint> {
    let (path, state) = ("/v1/metering/quarantine", || meter.clone());
    vec![
        Endpoint::new(Method::GET, path, Access::Operator, "Events kept aside because nothing can price them yet", list, state())
            .answers::<Quarantine>(),
        Endpoint::new(Method::PUT, path, Access::Operator, "Keep such events aside, or refuse them", put, state())
            .takes::<Setting>()
            .answers::<Setting>(),
        Endpoint::new(
            Method::POST,
            "/v1/metering/quarantine/replay",
            Access::Operator,
            "Record events kept aside that can be priced by now",
            replay,
            state(),
        )
        .takes::<Page>()
        .answers::<Replays>(),
        Endpoint::new(Method::POST, "/v1/metering/quarantine/discard", Access::Operator, "Let go of an event kept aside", discard, state())
            .takes::<Discarded>()
            .answers::<Discarded>(),
    ]
}

/// What is kept aside.
#[derive(Debug, Serialize, ToSchema)]
struct Quarantine {
    /// Whether what nothing can price is kept aside; else it is refused.
    keep: bool,
    /// In the order of their keys, at most a hundred.
    events: Vec<QuarantinedEvent>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuarantineSetting)]
struct Setting {
    /// Whether what nothing can price is kept aside; else it is refused.
    keep: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuarantinePage)]
struct Page {
    /// The key a page begins after.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    after: Option<Digest>,
}

/// What became of a page of events kept aside.
#[derive(Debug, Serialize, ToSchema)]
struct Replays {
    /// Each of them.
    events: Vec<Replayed>,
    /// Where the next page begins, where there is one.
    #[schema(value_type = Option<String>)]
    next: Option<Digest>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuarantinedEventName)]
struct Discarded {
    /// Whose usage it was said to be.
    external_subscription_id: String,
    /// The sender's identifier.
    transaction_id: String,
}

async fn list(State(meter): State<Meter>, caller: Caller, Query(page): Query<Page>) -> Result<Json<Quarantine>, Problem> {
    let tenant = caller.0.tenant();
    Ok(Json(Quarantine { keep: meter.keeps_quarantine(tenant).await?, events: meter.quarantined(tenant, page.after).await? }))
}

async fn put(State(meter): State<Meter>, caller: Caller, StrictJson(setting): StrictJson<Setting>) -> Result<Json<Setting>, Problem> {
    meter.put_quarantine(&caller.0.identity, setting.keep).await?;
    Ok(Json(setting))
}

async fn replay(State(meter): State<Meter>, caller: Caller, StrictJson(page): StrictJson<Page>) -> Result<Json<Replays>, Problem> {
    let (events, next) = meter.replay_quarantined(&caller.0.identity, page.after).await?;
    Ok(Json(Replays { events, next }))
}

async fn discard(State(meter): State<Meter>, caller: Caller, StrictJson(of): StrictJson<Discarded>) -> Result<Json<Discarded>, Problem> {
    meter.discard_quarantined(&caller.0.identity, &of.external_subscription_id, &of.transaction_id).await?;
    Ok(Json(of))
}
