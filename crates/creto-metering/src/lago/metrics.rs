//! `billable_metrics`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::Timestamp;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, moment, read, whole, written};
use super::query::Parameters;
use super::refusal::{INVALID, No};
use super::shape::{decimal, lago_id, many, one, or_null};
use super::{Answer, Asked, Body, Here, Lago, Named, changes, deletes, lists, makes, reads};
use crate::core::expression::{EventScope, Expression, Scope, Term};
use crate::model::billable_metric::{Aggregation, BillableMetric};
use crate::model::entry::Defined;

const ROOT: &str = "billable_metric";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/billable_metrics", "/lago/api/v1/billable_metrics/{code}");
    vec![
        lists(lago, all, Access::Authenticated, "Lago: billable metrics, newest first", list),
        makes(lago, all, Access::Operator, "Lago: make a billable metric", create),
        makes(
            lago,
            "/lago/api/v1/billable_metrics/evaluate_expression",
            Access::Authenticated,
            "Lago: what an expression makes of an event; nothing is recorded",
            evaluate,
        ),
        reads(lago, each, Access::Authenticated, "Lago: a billable metric", get),
        changes(lago, each, Access::Operator, "Lago: change a billable metric", update),
        deletes(lago, each, Access::Operator, "Lago: delete a billable metric that nothing uses", delete),
    ]
}

/// As Lago's clients model it.
pub(super) fn shown(metric: &Defined<BillableMetric>) -> Value {
    let body = &metric.body;
    let weighted = body.aggregation_type == Aggregation::WeightedSum;
    json!({
        "lago_id": lago_id(&metric.id),
        "name": body.name,
        "code": body.code,
        "description": or_null(&body.description),
        "recurring": body.recurring,
        "rounding_function": body.rounding_function,
        "rounding_precision": body.rounding_precision,
        "aggregation_type": format!("{}_agg", body.aggregation_type.as_str()),
        "weighted_interval": weighted.then_some("seconds"),
        "expression": body.expression.as_ref().map(ToString::to_string),
        "field_name": or_null(&body.field_name),
        "created_at": metric.created_at,
        "filters": body.filters,
        "creto": { "id": metric.id, "version": metric.version, "condition": body.condition },
    })
}

fn wanted(body: Value, mut carried: Map<String, Value>) -> Result<BillableMetric, No> {
    let mut fields = Fields::of(body, ROOT)?;
    fields.carry_all(
        &["code", "name", "description", "field_name", "expression", "aggregation_type", "rounding_function"],
        Form::Text,
        &mut carried,
    );
    fields.carry("recurring", Form::Flag, &mut carried);
    fields.carry("rounding_precision", Form::Whole, &mut carried);
    fields.carry("filters", Form::Any, &mut carried);
    // A weighted sum weighs by the exact time; Lago knows this one interval.
    fields.unsupported("weighted_interval", &[json!("seconds")]);
    fields.done()?;
    read(carried)
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let found = here.catalog.list::<BillableMetric>(caller.0.tenant(), page).await?;
    Ok(Json(many("billable_metrics", &found, shown)))
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let metric = here.catalog.create(&caller.0.identity, wanted(body, Map::new())?).await?;
    Ok(Json(one(ROOT, shown(&metric))))
}

async fn get(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.get(caller.0.tenant(), &code).await?))))
}

/// What is not sent stays as it is.
async fn update(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    let before = here.catalog.get::<BillableMetric>(caller.0.tenant(), &code).await?;
    let next = wanted(body, written(&before.body)?)?;
    let metric = here.catalog.update(&caller.0.identity, &code, Some(before.version), next).await?;
    Ok(Json(one(ROOT, shown(&metric))))
}

async fn delete(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    let metric = here.catalog.delete::<BillableMetric>(&caller.0.identity, &code).await?;
    Ok(Json(one(ROOT, shown(&metric))))
}

async fn evaluate(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let now = here.billing.now(caller.0.tenant()).await?;
    Ok(Json(one("expression_result", json!({ "value": evaluated(body, now)? }))))
}

/// What the expression of a body makes of its event: the number or the text that the metric's field would hold.
fn evaluated(body: Value, now: Timestamp) -> Result<String, No> {
    let mut fields = Fields::within(body, "body")?.alone();
    let text = fields.needed("expression");
    let mut event = Fields::within(fields.value("event", Form::Any).unwrap_or_else(|| json!({})), "event")?;
    let code = event.text("code").unwrap_or_default();
    let at = match event.value("timestamp", Form::Any) {
        None => Some(now),
        Some(Value::String(text)) => moment(&text).or_else(|| text.parse().ok().and_then(Timestamp::from_secs)),
        Some(value) => whole(&value).and_then(Timestamp::from_secs),
    };
    let properties = event.value("properties", Form::Any).unwrap_or_else(|| json!({}));
    let (Some(at), Value::Object(properties)) = (at, properties) else {
        return Err(Fields::no("event", INVALID, "`timestamp` is a moment or seconds, and `properties` is an object"));
    };
    fields.done()?;
    event.done()?;
    let scope = Scope { event: Some(EventScope { code: &code, at, properties: &properties }), names: &BTreeMap::new() };
    let value = text.parse::<Expression>().and_then(|expression| expression.evaluate(scope));
    match value.map_err(|e| Fields::no("expression", INVALID, &e.to_string()))? {
        Term::Number(number) => Ok(decimal(&number)),
        Term::Text(text) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_what_is_shown() {
        let sent = json!({
            "name": "Storage", "code": "storage", "description": "GB", "recurring": true, "rounding_function": "ceil", "rounding_precision": 2,
            "aggregation_type": "weighted_sum_agg", "weighted_interval": "seconds", "field_name": "gb",
            "filters": [{ "key": "region", "values": ["eu", "us"] }]
        });
        let metric = wanted(json!({ ROOT: sent }), Map::new()).unwrap();
        let at = creto_kernel::Timestamp::EPOCH;
        let id = crate::model::entry::DefinitionId::generate();
        let defined = Defined { id, version: 1, created_at: at, updated_at: at, deleted_at: None, body: metric };
        let shown = shown(&defined);
        for (field, value) in sent.as_object().unwrap() {
            assert_eq!(&shown[field], value, "{field}");
        }
        let renamed = wanted(json!({ ROOT: { "name": "Disk", "description": null } }), written(&defined.body).unwrap()).unwrap();
        assert_eq!((renamed.name.as_str(), renamed.description.as_str(), &renamed.filters), ("Disk", "", &defined.body.filters));
    }

    #[test]
    fn an_expression_is_tried_on_an_event() {
        let tried = |expression: &str| {
            let event = json!({ "code": "run", "timestamp": 100, "properties": { "ended_at": 160, "units": "1.5" } });
            evaluated(json!({ "expression": expression, "event": event }), Timestamp::EPOCH)
        };
        assert_eq!(tried("(event.properties.ended_at - event.timestamp) * event.properties.units").unwrap(), "90");
        assert_eq!(tried("concat(event.code, '-', event.properties.units)").unwrap(), "run-1.5");
        let refused = Value::from(tried("event.properties.gone * 2").unwrap_err());
        assert_eq!(refused["error_details"], json!({ "expression": [INVALID] }), "{refused}");
    }
}
