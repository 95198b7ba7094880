//! What is forgotten: `/v1/metering/retention`, and customers that are.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};

use crate::billing::Billing;
use crate::model::retention::{ErasedEvents, Retention, RetentionState};
use crate::service::{EventsOf, Meter};

/// Retention's endpoints, and the one that forgets a customer.
#[must_use]
pub fn endpoints(meter: &Meter, billing: &Billing) -> Vec<Endpoint> {
    let (path, operator, state) = ("/v1/metering/retention", Access::Operator, || meter.clone());
    let both = (meter.clone(), billing.clone());
    vec![
        Endpoint::new(Method::GET, path, operator, "How long events keep what they are not billed of", get, state())
            .answers::<RetentionState>(),
        Endpoint::new(Method::PUT, path, operator, "Say how long, and whose events are on hold", put, state())
            .takes::<Retention>()
            .answers::<RetentionState>(),
        Endpoint::new(Method::POST, "/v1/metering/retention/pass", operator, "Erase now what is older than that", pass, state())
            .answers::<ErasedEvents>(),
        Endpoint::new(Method::POST, "/v1/metering/customers/{code}/erase", operator, "Forget whose a customer is", erase, both)
            .answers::<ErasedEvents>(),
    ]
}

async fn get(State(meter): State<Meter>, caller: Caller) -> Result<Json<RetentionState>, Problem> {
    Ok(Json(meter.retention(caller.0.tenant()).await?))
}

async fn put(
    State(meter): State<Meter>,
    caller: Caller,
    StrictJson(setting): StrictJson<Retention>,
) -> Result<Json<RetentionState>, Problem> {
    Ok(Json(meter.put_retention(&caller.0.identity, setting).await?))
}

async fn pass(State(meter): State<Meter>, caller: Caller) -> Result<Json<ErasedEvents>, Problem> {
    Ok(Json(meter.pass_retention(&caller.0.identity).await?))
}

async fn erase(
    State((meter, billing)): State<(Meter, Billing)>,
    caller: Caller,
    Path(code): Path<String>,
) -> Result<Json<ErasedEvents>, Problem> {
    let by = &caller.0.identity;
    billing.erase_customer(by, &code).await?;
    Ok(Json(meter.erase_events(by, &EventsOf::Customer(code), meter.now()).await?))
}
