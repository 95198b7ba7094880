//! `events`: one at a time, or up to a hundred of which all are recorded or none.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::gate::Acting;
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::{TenantId, Timestamp};
use creto_nhi::Role;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, moment};
use super::query::Parameters;
use super::refusal::{EXISTS, Faults, INVALID, MANDATORY, No};
use super::shape::{derived_id, lago_id, many, one};
use super::{Answer, Asked, Body, Here, Lago, Named, lists, makes, reads};
use crate::error::MeteringError;
use crate::model::event::EventInput;
use crate::model::page::{PER_PAGE_MAX, Page};
use crate::service::{Outcome, RecordedEvent, Taking};
use crate::store::events::EventFilter;
use crate::store::subscriptions::SubscriptionFilter;

const ROOT: &str = "event";
/// Most events of one batch, as in Lago.
const BATCH_MAX: usize = 100;
/// Subscriptions, newest first, among which an event is looked for by its own identifier alone.
const LOOK_MAX: u32 = PER_PAGE_MAX;

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, ours) = ("/lago/api/v1/events", Access::Operator);
    vec![
        lists(lago, all, ours, "Lago: events, newest first", list),
        makes(lago, all, Access::Authenticated, "Lago: record an event", create),
        makes(lago, "/lago/api/v1/events/batch", Access::Authenticated, "Lago: record events, all or none", batch),
        reads(lago, "/lago/api/v1/events/{transaction}", ours, "Lago: an event by its sender's identifier", get),
    ]
}

/// The identifier of an event.
pub(super) fn event_id(tenant: &TenantId, subscription: &str, transaction_id: &str) -> String {
    derived_id(&[ROOT, tenant.as_str(), subscription, transaction_id])
}

/// As Lago's clients model it.
async fn shown(lago: &Lago, tenant: &TenantId, event: &RecordedEvent) -> Result<Value, MeteringError> {
    let reader = lago.catalog.reader(tenant).await?;
    let view = reader.subscription(&event.external_subscription_id, event.timestamp).await?;
    Ok(json!({
        "lago_id": event_id(tenant, &event.external_subscription_id, &event.transaction_id),
        "transaction_id": event.transaction_id,
        "lago_customer_id": view.as_ref().map(|view| lago_id(&view.customer.id)),
        "lago_subscription_id": view.as_ref().map(|view| lago_id(&view.subscription.id)),
        "external_subscription_id": event.external_subscription_id,
        "code": event.code,
        "timestamp": event.timestamp,
        "precise_total_amount_cents": event.precise_total_amount_cents,
        "properties": event.properties,
        "created_at": event.received_at,
        "creto": {
            "admission": event.admission, "digest": event.digest, "cost": event.cost, "agent": event.agent,
            "attribution": event.attribution, "cancelled_at": event.cancelled_at,
        },
    }))
}

fn wanted(mut fields: Fields) -> Result<EventInput, No> {
    let (transaction_id, external_subscription_id) = (fields.needed("transaction_id"), fields.needed("external_subscription_id"));
    let code = fields.needed("code");
    let timestamp = fields.value("timestamp", Form::Any);
    let precise_total_amount_cents = fields.value("precise_total_amount_cents", Form::Any);
    let properties = match fields.value("properties", Form::Any) {
        None => Map::new(),
        Some(Value::Object(properties)) => properties,
        Some(_) => {
            fields.fault("properties", INVALID, "`properties` is no object");
            Map::new()
        }
    };
    // Lago's older clients named the customer; the subscription says whose it is.
    fields.unsupported("external_customer_id", &[]);
    fields.done()?;
    Ok(EventInput { transaction_id, external_subscription_id, code, timestamp, properties, precise_total_amount_cents, chain: None })
}

/// Records events under the caller's chain; whoever has none acts for itself.
async fn taken(here: &Lago, caller: &Caller, inputs: &[EventInput]) -> Result<Vec<Outcome>, MeteringError> {
    let chain = match &caller.0.chain {
        Some(chain) => chain.clone(),
        None => here.meter.direct(&caller.0.identity)?,
    };
    let taking = Taking { trusted: caller.0.roles.has(Role::Operator), all_or_none: true };
    let inputs = inputs.iter().cloned().map(Ok).collect();
    let answered = here.meter.ingest_all(Acting { chain: &chain, run: caller.1 }, taking, inputs).await?;
    Ok(answered.events.into_iter().map(|(_, outcome)| outcome).collect())
}

async fn recorded(here: &Lago, tenant: &TenantId, input: &EventInput) -> Result<Value, MeteringError> {
    let event = here.meter.event(tenant, &input.external_subscription_id, &input.transaction_id).await?;
    shown(here, tenant, &event).await
}

/// An identifier that was used is refused, whether the event is the same one or another: as Lago does it.
fn used(input: &EventInput) -> No {
    let said = format!("transaction `{}` was recorded before", input.transaction_id);
    Faults::of("transaction_id", EXISTS, said).into()
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let input = wanted(Fields::of(body, ROOT)?)?;
    let outcomes = taken(&here, &caller, std::slice::from_ref(&input)).await?;
    for outcome in outcomes {
        match outcome {
            Outcome::Recorded { .. } => {}
            Outcome::Duplicate { .. } => return Err(used(&input)),
            Outcome::Refused(error) | Outcome::Quarantined(error) => return Err(error.into()),
        }
    }
    Ok(Json(one(ROOT, recorded(&here, caller.0.tenant(), &input).await?)))
}

async fn batch(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let inputs = wanted_batch(body)?;
    let outcomes = taken(&here, &caller, &inputs).await?;
    let mut wrong: BTreeMap<String, Value> = BTreeMap::new();
    let mut first = None;
    for (at, (input, outcome)) in inputs.iter().zip(outcomes).enumerate() {
        let refused = match outcome {
            Outcome::Recorded { .. } | Outcome::Refused(MeteringError::Undone) => continue,
            Outcome::Duplicate { .. } => used(input),
            Outcome::Refused(error) | Outcome::Quarantined(error) => No::from(error),
        };
        wrong.insert(at.to_string(), refused.as_details());
        first.get_or_insert(refused);
    }
    if let Some(first) = first {
        return Err(first.about_all(json!(wrong)));
    }
    let tenant = caller.0.tenant();
    let mut events = Vec::with_capacity(inputs.len());
    for input in &inputs {
        events.push(recorded(&here, tenant, input).await?);
    }
    Ok(Json(json!({ "events": events })))
}

/// The events of a batch; what is wrong with any is told under its place, and none is recorded.
fn wanted_batch(mut body: Value) -> Result<Vec<EventInput>, No> {
    let sent = body.as_object_mut().and_then(|body| body.remove("events"));
    let Some(Value::Array(items)) = sent else { return Err(Faults::of("events", MANDATORY, "the body is `{\"events\": […]}`").into()) };
    if items.is_empty() || items.len() > BATCH_MAX {
        return Err(Faults::of("events", "too_many_events", format!("a batch has 1 to {BATCH_MAX} events")).into());
    }
    let (mut inputs, mut wrong, mut seen) = (Vec::with_capacity(items.len()), BTreeMap::new(), BTreeSet::new());
    let mut first = None;
    for (at, item) in items.into_iter().enumerate() {
        let read = Fields::within(item, "event").map(Fields::alone).and_then(wanted).and_then(|input| {
            let fresh = seen.insert((input.external_subscription_id.clone(), input.transaction_id.clone()));
            if fresh { Ok(input) } else { Err(used(&input)) }
        });
        match read {
            Ok(input) => inputs.push(input),
            Err(refused) => {
                wrong.insert(at.to_string(), refused.as_details());
                first.get_or_insert(refused);
            }
        }
    }
    first.map_or(Ok(inputs), |first| Err(first.about_all(json!(wrong))))
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let tenant = caller.0.tenant();
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    let (subscription, code) = (asked.text("external_subscription_id"), asked.text("code"));
    let mut between = [(Timestamp::EPOCH, "timestamp_from"), (Timestamp::MAX, "timestamp_to")];
    let mut narrowed = code.is_some();
    for (at, name) in &mut between {
        let Some(text) = asked.text(name) else { continue };
        narrowed = true;
        match moment(&text) {
            Some(found) => *at = found,
            None => asked.fault(name, &format!("`{text}` is no moment")),
        }
    }
    asked.done()?;
    let [(from, _), (to, _)] = between;
    let filter = match subscription {
        Some(subscription) => Some(EventFilter { subscription, code, from, to }),
        None if narrowed => {
            let said = "events of a metric or a time are found by their subscription";
            return Err(Faults::of("external_subscription_id", MANDATORY, said).into());
        }
        None => None,
    };
    let found = here.meter.event_page(tenant, filter.as_ref(), page).await?;
    let mut documents = Vec::with_capacity(found.items.len());
    for event in &found.items {
        documents.push(shown(&here, tenant, event).await?);
    }
    Ok(Json(many("events", &found.with(documents), Value::clone)))
}

/// Identifiers of events are their subscription's own. Where a client names none, its event is looked for among the newest subscriptions.
async fn get(State(here): Here, caller: Caller, Path(transaction): Named, Query(asked): Asked) -> Answer {
    let tenant = caller.0.tenant();
    let mut asked = Parameters::of(asked);
    let subscription = asked.text("external_subscription_id");
    asked.done()?;
    if let Some(subscription) = subscription {
        let event = here.meter.event(tenant, &subscription, &transaction).await?;
        return Ok(Json(one(ROOT, shown(&here, tenant, &event).await?)));
    }
    let newest = here.catalog.subscriptions(tenant, &SubscriptionFilter::default(), Page::new(1, LOOK_MAX)).await?;
    let mut looked = BTreeSet::new();
    for it in newest.items.iter().filter(|it| looked.insert(it.external_id.as_str())) {
        match here.meter.event(tenant, &it.external_id, &transaction).await {
            Ok(event) => return Ok(Json(one(ROOT, shown(&here, tenant, &event).await?))),
            Err(MeteringError::UnknownEvent(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(MeteringError::UnknownEvent(transaction).into())
}
