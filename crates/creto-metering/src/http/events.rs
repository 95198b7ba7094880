//! Events: in, and read back with their proofs.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use creto_enablement_common::gate::Acting;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::{Coded, Digest, Micros, Timestamp};
use creto_nhi::{Role, VerifiedChain};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{self, BATCH_BYTES_MAX};
use crate::error::MeteringError;
use crate::model::event::EventInput;
use crate::service::{Answered, Backfill, Cancelled, CurrentUsage, EventProof, Meter, Outcome, Receipt, RecordedEvent, Taking};

/// The endpoints of events.
#[must_use]
pub(super) fn endpoints(meter: &Meter) -> Vec<Endpoint> {
    let state = || meter.clone();
    let open = Access::Authenticated;
    vec![
        Endpoint::new(Method::POST, "/v1/metering/events", open, "Record usage: one event, a list, lines or CloudEvents", ingest, state())
            .body_max(BATCH_BYTES_MAX)
            .takes::<EventInput>()
            .answers::<Receipt>(),
        Endpoint::new(
            Method::POST,
            "/v1/metering/backfill",
            Access::Operator,
            "What events of the past would change; they are recorded where `confirm` names exactly that",
            backfill,
            state(),
        )
        .body_max(BATCH_BYTES_MAX)
        .takes::<EventInput>()
        .answers::<Backfill>(),
        Endpoint::new(Method::GET, "/v1/metering/events", Access::Operator, "Events of a subscription and a metric", list, state())
            .answers::<EventList>(),
        Endpoint::new(Method::GET, "/v1/metering/events/{transaction}", Access::Operator, "One event as it is recorded", one, state())
            .answers::<RecordedEvent>(),
        Endpoint::new(
            Method::GET,
            "/v1/metering/events/{transaction}/proof",
            Access::Operator,
            "The proof that an event was recorded",
            proof,
            state(),
        )
        .answers::<EventProof>(),
        Endpoint::new(
            Method::POST,
            "/v1/metering/events/{transaction}/cancel",
            Access::Operator,
            "Cancel an event; its identifier stays used",
            cancel,
            state(),
        )
        .takes::<Of>()
        .answers::<Cancelled>(),
        Endpoint::new(
            Method::POST,
            "/v1/metering/events/{transaction}/amend",
            Access::Operator,
            "Cancel an event and record another one in its place",
            amend,
            state(),
        )
        .takes::<EventInput>()
        .answers::<Receipt>(),
        Endpoint::new(
            Method::GET,
            "/v1/metering/subscriptions/{external_id}/usage",
            Access::Operator,
            "Usage of the period that is under way, rated as it stands",
            current_usage,
            state(),
        )
        .answers::<CurrentUsage>(),
        Endpoint::new(
            Method::PUT,
            "/v1/metering/reporters/{subscription}",
            Access::Operator,
            "Say who may report for a subscription",
            put_reporters,
            state(),
        )
        .takes::<Reporters>()
        .answers::<Reporters>(),
        Endpoint::new(
            Method::GET,
            "/v1/metering/reporters/{subscription}",
            Access::Operator,
            "Who may report for a subscription",
            reporters,
            state(),
        )
        .answers::<Reporters>(),
    ]
}

/// What became of one event of a list.
#[derive(Debug, Serialize, ToSchema)]
struct EventAnswer {
    /// The sender's identifier, where it was read.
    transaction_id: Option<String>,
    /// `recorded`, `duplicate`, `quarantined` or `refused`.
    status: &'static str,
    /// What it cost.
    #[schema(value_type = Option<String>)]
    cost: Option<Micros>,
    /// The code of the error.
    code: Option<&'static str>,
    /// What was wrong.
    detail: Option<String>,
    /// What to do.
    hint: Option<String>,
}

/// What became of a list of events.
#[derive(Debug, Serialize, ToSchema)]
struct BatchReceipt {
    /// The admission that recorded what is new.
    admission: Option<String>,
    /// The root of the tree over what is new, which the audit leaf of the admission names as `events`.
    #[schema(value_type = Option<String>)]
    root: Option<Digest>,
    /// How many are new.
    recorded: u64,
    /// How many were recorded before.
    duplicates: u64,
    /// How many are kept aside, and not recorded.
    quarantined: u64,
    /// How many are not recorded.
    refused: u64,
    /// What the new ones cost.
    #[schema(value_type = String)]
    cost: Micros,
    /// Each event, in the order they were sent.
    events: Vec<EventAnswer>,
}

#[derive(Debug, Serialize, ToSchema)]
struct EventList {
    events: Vec<RecordedEvent>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reporters {
    reporters: Vec<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EventSubscription)]
struct Of {
    /// Whose event.
    subscription: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    #[serde(default)]
    at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    subscription: String,
    code: String,
    #[serde(default)]
    from: Option<Timestamp>,
    #[serde(default)]
    to: Option<Timestamp>,
    #[serde(default)]
    after: i64,
}

async fn ingest(State(meter): State<Meter>, caller: Caller, headers: HeaderMap, bytes: Bytes) -> Result<Response, Problem> {
    let sent = body::read(&headers, &bytes)?;
    let taking = Taking { trusted: caller.0.roles.has(Role::Operator), all_or_none: false };
    let direct: VerifiedChain;
    // Whoever has no chain acts for itself.
    let acting = match &caller.0.chain {
        Some(_) => caller.acting()?,
        None => {
            direct = meter.direct(&caller.0.identity)?;
            Acting { chain: &direct, run: caller.1 }
        }
    };
    let mut events = sent.events;
    if sent.single
        && let Some(event) = events.pop()
    {
        return Ok(Json(meter.ingest_as(acting, taking, event).await?).into_response());
    }
    let answered = meter.ingest_all(acting, taking, events).await?;
    Ok(Json(BatchReceipt::of(answered)).into_response())
}

impl BatchReceipt {
    fn of(answered: Answered) -> Self {
        let mut receipt = Self {
            admission: answered.admission.map(|admission| admission.to_string()),
            root: answered.root,
            recorded: 0,
            duplicates: 0,
            quarantined: 0,
            refused: 0,
            cost: Micros::ZERO,
            events: Vec::with_capacity(answered.events.len()),
        };
        for (transaction_id, outcome) in answered.events {
            let answer = |status, cost| EventAnswer { transaction_id, status, cost, code: None, detail: None, hint: None };
            receipt.events.push(match outcome {
                Outcome::Recorded { cost, .. } => {
                    receipt.recorded += 1;
                    receipt.cost = receipt.cost.checked_add(cost).unwrap_or(Micros::MAX);
                    answer("recorded", Some(cost))
                }
                Outcome::Duplicate { cost, .. } => {
                    receipt.duplicates += 1;
                    answer("duplicate", Some(cost))
                }
                Outcome::Quarantined(why) => {
                    receipt.quarantined += 1;
                    refused(answer("quarantined", None), &why)
                }
                Outcome::Refused(error) => {
                    receipt.refused += 1;
                    refused(answer("refused", None), &error)
                }
            });
        }
        receipt
    }
}

fn refused(answer: EventAnswer, error: &MeteringError) -> EventAnswer {
    EventAnswer { code: Some(error.code().as_str()), detail: Some(error.to_string()), hint: error.hint(), ..answer }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    /// The digest of what was shown.
    #[serde(default)]
    confirm: Option<Digest>,
}

async fn backfill(
    State(meter): State<Meter>,
    caller: Caller,
    Query(confirmed): Query<Confirmed>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Backfill>, Problem> {
    let sent = body::read(&headers, &bytes)?;
    let direct = meter.direct(&caller.0.identity)?;
    let acting = Acting { chain: &direct, run: caller.1 };
    Ok(Json(meter.backfill(acting, sent.events, confirmed.confirm).await?))
}

async fn list(State(meter): State<Meter>, caller: Caller, Query(of): Query<Listing>) -> Result<Json<EventList>, Problem> {
    let between = (of.from.unwrap_or(Timestamp::EPOCH), of.to.unwrap_or(Timestamp::MAX));
    let events = meter.events(caller.0.tenant(), (&of.subscription, &of.code), between, of.after).await?;
    Ok(Json(EventList { events }))
}

async fn one(
    State(meter): State<Meter>,
    caller: Caller,
    Path(transaction): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<RecordedEvent>, Problem> {
    Ok(Json(meter.event(caller.0.tenant(), &of.subscription, &transaction).await?))
}

async fn proof(
    State(meter): State<Meter>,
    caller: Caller,
    Path(transaction): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<EventProof>, Problem> {
    Ok(Json(meter.event_proof(caller.0.tenant(), &of.subscription, &transaction).await?))
}

async fn cancel(
    State(meter): State<Meter>,
    caller: Caller,
    Path(transaction): Path<String>,
    StrictJson(of): StrictJson<Of>,
) -> Result<Json<Cancelled>, Problem> {
    Ok(Json(meter.cancel(&caller.0.identity, &of.subscription, &transaction).await?))
}

/// The event in its place is of the same subscription.
async fn amend(
    State(meter): State<Meter>,
    caller: Caller,
    Path(transaction): Path<String>,
    StrictJson(instead): StrictJson<EventInput>,
) -> Result<Json<Receipt>, Problem> {
    let direct = meter.direct(&caller.0.identity)?;
    let subscription = instead.external_subscription_id.clone();
    Ok(Json(meter.amend(&caller.0.identity, &direct, (&subscription, &transaction), instead).await?))
}

async fn current_usage(
    State(meter): State<Meter>,
    caller: Caller,
    Path(external_id): Path<String>,
    Query(when): Query<At>,
) -> Result<Json<CurrentUsage>, Problem> {
    Ok(Json(meter.current_usage_at(caller.0.tenant(), &external_id, when.at).await?))
}

async fn put_reporters(
    State(meter): State<Meter>,
    caller: Caller,
    Path(subscription): Path<String>,
    StrictJson(input): StrictJson<Reporters>,
) -> Result<Json<Reporters>, Problem> {
    Ok(Json(Reporters { reporters: meter.put_reporters(&caller.0.identity, &subscription, input.reporters).await? }))
}

async fn reporters(State(meter): State<Meter>, caller: Caller, Path(subscription): Path<String>) -> Result<Json<Reporters>, Problem> {
    Ok(Json(Reporters { reporters: meter.reporters(caller.0.tenant(), &subscription).await? }))
}
