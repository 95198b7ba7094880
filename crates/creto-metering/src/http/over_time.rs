//! Usage and costs of a window: what days came to.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem};
use creto_kernel::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::core::tree::CostNode;
use crate::core::zone::Day;
use crate::error::MeteringError;
use crate::service::{Meter, OverTime, OverTimeInput};

/// The endpoints of usage and costs over time.
pub(super) fn endpoints(meter: &Meter) -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            Method::GET,
            "/v1/metering/usage/over-time",
            Access::Operator,
            "Usage over time by metric, agent, model, subscription or property",
            over_time,
            meter.clone(),
        )
        .answers::<OverTime>(),
        Endpoint::new(
            Method::GET,
            "/v1/metering/costs",
            Access::Authenticated,
            "Cost by delegation tree, of days or between two moments",
            costs,
            meter.clone(),
        )
        .answers::<Costs>(),
    ]
}

/// One end of a window: a day, `2026-11-01`, which is all in it; or a moment.
#[derive(Clone, Copy, Debug)]
enum Edge {
    Day(Day),
    Moment(Timestamp),
}

impl Edge {
    const fn day(self) -> Option<Day> {
        if let Self::Day(day) = self { Some(day) } else { None }
    }

    const fn moment(self) -> Option<Timestamp> {
        if let Self::Moment(moment) = self { Some(moment) } else { None }
    }
}

impl<'de> Deserialize<'de> for Edge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self::Day).or_else(|_| text.parse().map(Self::Moment)).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    #[serde(default)]
    from: Option<Edge>,
    #[serde(default)]
    to: Option<Edge>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Costs {
    costs: Vec<CostNode>,
}

async fn over_time(State(meter): State<Meter>, caller: Caller, Query(asked): Query<OverTimeInput>) -> Result<Json<OverTime>, Problem> {
    Ok(Json(meter.over_time(caller.0.tenant(), asked).await?))
}

/// Days are those that usage happened on, each in its subscription's zone; moments are those at which it was posted.
async fn costs(State(meter): State<Meter>, caller: Caller, Query(window): Query<Window>) -> Result<Json<Costs>, Problem> {
    let (tenant, edges) = (caller.0.tenant(), [window.from, window.to]);
    let costs = match (edges.map(|edge| edge?.day()), edges.map(|edge| edge?.moment())) {
        ([from, to], [None, None]) => meter.costs_of_days(tenant, (from, to)).await?,
        ([None, None], [from, to]) => meter.costs(tenant, from.unwrap_or(Timestamp::EPOCH), to.unwrap_or(Timestamp::MAX)).await?,
        _ => return Err(MeteringError::Malformed("`from` and `to` are two days or two moments, not one of each".to_owned()).into()),
    };
    Ok(Json(Costs { costs }))
}
