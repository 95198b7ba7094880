//! `alerts` of a subscription, by its external identifier, and of a customer's wallet, by its code.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read, written};
use super::hooks::organization_id;
use super::metrics;
use super::plan_charges::page_of;
use super::query::Parameters;
use super::refusal::{Faults, INVALID, MANDATORY, No};
use super::shape::{decimal, lago_id, many, one};
use super::{Answer, Asked, Body, Here, Lago, changes, deletes, lists, makes, reads};
use crate::error::MeteringError;
use crate::model::alert::{Alert, AlertChange, AlertRecord, Direction, Threshold, Watched};
use crate::model::billable_metric::BillableMetric;
use crate::model::page::Page;
use crate::model::subscription::SubscriptionStatus;

const ROOT: &str = "alert";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/subscriptions/{external_id}/alerts", "/lago/api/v1/subscriptions/{external_id}/alerts/{alert}");
    let own = "/lago/api/v1/customers/{external_id}/wallets/{wallet}/alerts";
    let own_each = "/lago/api/v1/customers/{external_id}/wallets/{wallet}/alerts/{alert}";
    let ours = Access::Operator;
    vec![
        lists(lago, all, ours, "Lago: alerts of a subscription", list),
        makes(lago, all, ours, "Lago: make an alert of a subscription, or several", create),
        deletes(lago, all, ours, "Lago: remove every alert of a subscription", delete_all),
        reads(lago, each, ours, "Lago: an alert of a subscription", get),
        changes(lago, each, ours, "Lago: change an alert of a subscription", update),
        deletes(lago, each, ours, "Lago: remove an alert of a subscription", delete),
        lists(lago, own, ours, "Lago: alerts of a customer's wallet", list),
        makes(lago, own, ours, "Lago: make an alert of a customer's wallet, or several", create),
        deletes(lago, own, ours, "Lago: remove every alert of a customer's wallet", delete_all),
        reads(lago, own_each, ours, "Lago: an alert of a customer's wallet", get),
        changes(lago, own_each, ours, "Lago: change an alert of a customer's wallet", update),
        deletes(lago, own_each, ours, "Lago: remove an alert of a customer's wallet", delete),
    ]
}

/// The names in a path: a subscription, or a customer and a wallet of it; and the alert's code.
type Which = Path<BTreeMap<String, String>>;

/// What the path names. A subscription may be asked for in a state.
async fn watched(
    here: &Lago,
    tenant: &TenantId,
    path: &BTreeMap<String, String>,
    asked: &mut Parameters,
) -> Result<Watched, MeteringError> {
    let name = |key: &str| path.get(key).map(String::as_str).unwrap_or_default();
    if let Some(code) = path.get("wallet") {
        return Ok(Watched::Wallet(here.wallets.by_code(tenant, name("external_id"), code).await?.record.id.to_string()));
    }
    let external_id = name("external_id");
    let missing = || MeteringError::UnknownDefinition { kind: "subscription", code: external_id.chars().take(80).collect() };
    match asked.text("subscription_status") {
        None => drop(here.catalog.current(tenant, external_id).await?),
        Some(word) => match serde_json::from_value::<SubscriptionStatus>(word.into()) {
            Ok(status) => drop(here.catalog.subscription_in(tenant, external_id, status).await?.ok_or_else(missing)?),
            Err(_) => asked.fault("subscription_status", "is one of `pending`, `active`, `terminated` and `canceled`"),
        },
    }
    Ok(Watched::Subscription(external_id.to_owned()))
}

pub(super) fn shown_threshold(threshold: &Threshold) -> Value {
    json!({ "code": threshold.code, "value": decimal(&threshold.value), "recurring": threshold.recurring })
}

/// As Lago's clients model it.
async fn shown(lago: &Lago, tenant: &TenantId, it: &AlertRecord) -> Result<Value, MeteringError> {
    let alert = &it.alert;
    let metric = match &alert.billable_metric_code {
        Some(code) => match lago.catalog.get::<BillableMetric>(tenant, code).await {
            Ok(metric) => metrics::shown(&metric),
            Err(MeteringError::UnknownDefinition { .. }) => Value::Null,
            Err(error) => return Err(error),
        },
        None => Value::Null,
    };
    let (subscription, wallet) = match &it.watched {
        Watched::Subscription(external_id) => (Some(external_id), None),
        Watched::Wallet(id) => {
            let id = super::wallets::wallet_id(id)?;
            (None, Some(lago.wallets.get(tenant, id).await?.record))
        }
    };
    Ok(json!({
        "lago_id": lago_id(&it.id),
        "lago_organization_id": organization_id(tenant),
        "external_subscription_id": subscription,
        "lago_wallet_id": wallet.as_ref().map(|wallet| lago_id(&wallet.id)),
        "wallet_code": wallet.as_ref().map(|wallet| &wallet.code),
        "billable_metric": metric,
        "alert_type": alert.alert_type,
        "code": alert.code,
        "name": alert.name,
        "direction": match alert.alert_type.direction() {
            Direction::Increasing => "increasing",
            Direction::Decreasing => "decreasing",
        },
        "previous_value": it.value.as_ref().map_or_else(|| "0".to_owned(), decimal),
        "last_processed_at": it.looked_at,
        "thresholds": alert.thresholds.iter().map(shown_threshold).collect::<Vec<_>>(),
        "created_at": it.created_at,
        "creto": { "id": it.id, "revision": it.revision },
    }))
}

fn thresholds(sent: Value, at: &str) -> Result<Vec<Value>, No> {
    let Value::Array(items) = sent else { return Err(Fields::no(at, INVALID, "are a list")) };
    let each = |(index, item)| {
        let (mut fields, mut carried) = (Fields::within(item, &format!("{at}[{index}]"))?, Map::new());
        fields.carry("code", Form::Text, &mut carried);
        fields.carry("value", Form::Decimal, &mut carried);
        fields.carry("recurring", Form::Flag, &mut carried);
        if !carried.contains_key("value") {
            fields.fault("value", MANDATORY, "a threshold has a `value`");
        }
        fields.done()?;
        Ok(Value::Object(carried))
    };
    items.into_iter().enumerate().map(each).collect()
}

fn carry(fields: &mut Fields, carried: &mut Map<String, Value>) -> Result<(), No> {
    fields.carry_all(&["code", "name", "billable_metric_code"], Form::Text, carried);
    if let Some(sent) = fields.value("thresholds", Form::Any) {
        carried.insert("thresholds".to_owned(), thresholds(sent, "thresholds")?.into());
    }
    Ok(())
}

fn wanted(mut fields: Fields) -> Result<Alert, No> {
    let mut carried = Map::new();
    carry(&mut fields, &mut carried)?;
    fields.carry("alert_type", Form::Text, &mut carried);
    for name in ["alert_type", "code", "thresholds"] {
        if !carried.contains_key(name) {
            fields.fault(name, MANDATORY, format!("`{name}` is needed"));
        }
    }
    fields.done()?;
    read(carried)
}

async fn list(State(here): Here, caller: Caller, Path(path): Which, Query(asked): Asked) -> Answer {
    let (tenant, mut asked) = (caller.0.tenant(), Parameters::of(asked));
    let page = asked.page();
    let watched = watched(&here, tenant, &path, &mut asked).await?;
    asked.done()?;
    let page = page_of(here.alerts.of(tenant, &watched).await?, page);
    Ok(Json(many("alerts", &page.with(all_shown(&here, tenant, &page.items).await?), Value::clone)))
}

async fn all_shown(here: &Lago, tenant: &TenantId, alerts: &[AlertRecord]) -> Result<Vec<Value>, MeteringError> {
    let mut documents = Vec::with_capacity(alerts.len());
    for alert in alerts {
        documents.push(shown(here, tenant, alert).await?);
    }
    Ok(documents)
}

/// One under `alert`, or several under `alerts`, of which all are made or none.
async fn create(State(here): Here, caller: Caller, Path(path): Which, Query(asked): Asked, StrictJson(body): Body) -> Answer {
    let (tenant, mut asked) = (caller.0.tenant(), Parameters::of(asked));
    let watched = watched(&here, tenant, &path, &mut asked).await?;
    asked.done()?;
    if let Some(Value::Array(items)) = body.get("alerts") {
        let each = |(index, item): (usize, &Value)| wanted(Fields::within(item.clone(), &format!("alerts[{index}]"))?);
        let alerts = items.iter().enumerate().map(each).collect::<Result<Vec<_>, No>>()?;
        let made = here.alerts.create(&caller.0.identity, watched, alerts).await?;
        let page = page_of(all_shown(&here, tenant, &made).await?, Page::new(1, u32::MAX));
        return Ok(Json(many("alerts", &page, Value::clone)));
    }
    let made = here.alerts.create(&caller.0.identity, watched, vec![wanted(Fields::of(body, ROOT)?)?]).await?;
    let [made] = made.as_slice() else { return Err(Faults::of(ROOT, INVALID, "nothing was made").into()) };
    Ok(Json(one(ROOT, shown(&here, tenant, made).await?)))
}

/// The alert that the path names.
async fn found(here: &Lago, caller: &Caller, path: &BTreeMap<String, String>, asked: Vec<(String, String)>) -> Result<AlertRecord, No> {
    let (tenant, mut asked) = (caller.0.tenant(), Parameters::of(asked));
    let watched = watched(here, tenant, path, &mut asked).await?;
    asked.done()?;
    let code = path.get("alert").map(String::as_str).unwrap_or_default();
    Ok(here.alerts.by_code(tenant, &watched, code).await?)
}

async fn get(State(here): Here, caller: Caller, Path(path): Which, Query(asked): Asked) -> Answer {
    let alert = found(&here, &caller, &path, asked).await?;
    Ok(Json(one(ROOT, shown(&here, caller.0.tenant(), &alert).await?)))
}

/// What is not sent stays as it is.
async fn update(State(here): Here, caller: Caller, Path(path): Which, Query(asked): Asked, StrictJson(body): Body) -> Answer {
    let before = found(&here, &caller, &path, asked).await?;
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, Map::new());
    carry(&mut fields, &mut carried)?;
    fields.unsupported("alert_type", &[written(&before.alert)?.remove("alert_type").unwrap_or_default()]);
    fields.done()?;
    let change: AlertChange = read(carried)?;
    let after = here.alerts.update(&caller.0.identity, before.id, change).await?;
    Ok(Json(one(ROOT, shown(&here, caller.0.tenant(), &after).await?)))
}

async fn delete(State(here): Here, caller: Caller, Path(path): Which, Query(asked): Asked) -> Answer {
    let alert = found(&here, &caller, &path, asked).await?;
    let document = shown(&here, caller.0.tenant(), &alert).await?;
    here.alerts.remove(&caller.0.identity, std::slice::from_ref(&alert)).await?;
    Ok(Json(one(ROOT, document)))
}

async fn delete_all(State(here): Here, caller: Caller, Path(path): Which, Query(asked): Asked) -> Result<Response, No> {
    let (tenant, mut asked) = (caller.0.tenant(), Parameters::of(asked));
    let watched = watched(&here, tenant, &path, &mut asked).await?;
    asked.done()?;
    here.alerts.remove(&caller.0.identity, &here.alerts.of(tenant, &watched).await?).await?;
    Ok(StatusCode::OK.into_response())
}
