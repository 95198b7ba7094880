//! `features` and their privileges; `entitlements` of plans and subscriptions.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read, written};
use super::query::Parameters;
use super::refusal::{Faults, INVALID, MANDATORY, No};
use super::shape::{many, one};
use super::{Answer, Asked, Body, Document, Here, Lago, Named, changes, deletes, lists, makes, reads};
use crate::error::MeteringError;
use crate::model::entry::Defined;
use crate::model::feature::{Entitlement, EntitlementChange, Feature, Privilege, PrivilegeValue};
use crate::model::subscription::SubscriptionStatus;

const ROOT: &str = "feature";
const ENTITLEMENT: &str = "entitlement";
const ENTITLEMENTS: &str = "entitlements";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/features", "/lago/api/v1/features/{code}");
    let (plan, planned) = ("/lago/api/v1/plans/{code}/entitlements", "/lago/api/v1/plans/{code}/entitlements/{feature}");
    let own = "/lago/api/v1/subscriptions/{external_id}/entitlements";
    let (open, ours) = (Access::Authenticated, Access::Operator);
    vec![
        lists(lago, all, open, "Lago: features, newest first", list),
        makes(lago, all, ours, "Lago: make a feature", create),
        reads(lago, each, open, "Lago: a feature", get),
        changes(lago, each, ours, "Lago: change a feature; privileges that are not sent stay", update),
        deletes(lago, each, ours, "Lago: delete a feature that nobody is entitled to", delete),
        deletes(
            lago,
            "/lago/api/v1/features/{code}/privileges/{privilege}",
            ours,
            "Lago: take a privilege off a feature, where nobody has it",
            delete_privilege,
        ),
        reads(lago, plan, open, "Lago: what a plan entitles to", of_plan),
        makes(lago, plan, ours, "Lago: what a plan entitles to, in place of what it did", replace_of_plan),
        Endpoint::new(Method::PATCH, plan, ours, "Lago: change what a plan entitles to", merge_of_plan, lago.clone())
            .takes::<Document>()
            .answers::<Document>(),
        reads(lago, planned, open, "Lago: what a plan entitles to of a feature", get_of_plan),
        deletes(lago, planned, ours, "Lago: a plan no longer entitles to a feature", remove_of_plan),
        deletes(
            lago,
            "/lago/api/v1/plans/{code}/entitlements/{feature}/privileges/{privilege}",
            ours,
            "Lago: a plan no longer entitles to a privilege",
            remove_privilege_of_plan,
        ),
        reads(lago, own, ours, "Lago: what a subscription is entitled to", of_subscription),
        Endpoint::new(Method::PATCH, own, ours, "Lago: change what a subscription is entitled to", merge_own, lago.clone())
            .takes::<Document>()
            .answers::<Document>(),
        deletes(
            lago,
            "/lago/api/v1/subscriptions/{external_id}/entitlements/{feature}",
            ours,
            "Lago: a subscription is not entitled to a feature",
            remove_own,
        ),
        deletes(
            lago,
            "/lago/api/v1/subscriptions/{external_id}/entitlements/{feature}/privileges/{privilege}",
            ours,
            "Lago: a subscription is not entitled to a privilege",
            remove_own_privilege,
        ),
    ]
}

fn shown_privilege(it: &Privilege) -> Map<String, Value> {
    let document = json!({ "code": it.code, "name": it.name, "value_type": it.value_type, "config": it.config });
    match document {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// As Lago's clients model it.
pub(super) fn shown(feature: &Defined<Feature>) -> Value {
    json!({
        "code": feature.body.code,
        "name": feature.body.name,
        "description": feature.body.description,
        "privileges": feature.body.privileges.iter().map(shown_privilege).collect::<Vec<_>>(),
        "created_at": feature.created_at,
        "creto": { "id": feature.id, "version": feature.version },
    })
}

fn entitled(it: &Entitlement, privilege: fn(&PrivilegeValue) -> Value) -> Value {
    json!({
        "code": it.code,
        "name": it.name,
        "description": it.description,
        "privileges": it.privileges.iter().map(privilege).collect::<Vec<_>>(),
    })
}

/// What a plan entitles to, as Lago's clients model it.
pub(super) fn of_a_plan(it: &Entitlement) -> Value {
    entitled(it, |worth| {
        let mut members = shown_privilege(&worth.privilege);
        members.insert("value".to_owned(), worth.value.clone());
        Value::Object(members)
    })
}

/// What a subscription is entitled to, as Lago's clients model it.
fn of_its_own(it: &Entitlement) -> Value {
    let mut document = entitled(it, |worth| {
        let mut members = shown_privilege(&worth.privilege);
        members.insert("value".to_owned(), worth.value.clone());
        members.insert("plan_value".to_owned(), json!(worth.plan_value));
        members.insert("override_value".to_owned(), json!(worth.override_value));
        Value::Object(members)
    });
    let own = it.privileges.iter().filter_map(|worth| Some((worth.privilege.code.clone(), worth.override_value.clone()?)));
    let own: Map<String, Value> = own.collect();
    if let Some(members) = document.as_object_mut() {
        members.insert("overrides".to_owned(), own.into());
    }
    document
}

fn all(entitlements: &[Entitlement], each: fn(&Entitlement) -> Value) -> Json<Value> {
    Json(json!({ ENTITLEMENTS: entitlements.iter().map(each).collect::<Vec<_>>() }))
}

fn find<'a>(entitlements: &'a [Entitlement], feature: &str) -> Result<&'a Entitlement, MeteringError> {
    let missing = || MeteringError::UnknownDefinition { kind: ENTITLEMENT, code: feature.chars().take(80).collect() };
    entitlements.iter().find(|it| it.code == feature).ok_or_else(missing)
}

/// The privileges that were sent, over those that are there.
fn privileges(sent: Value, before: &[Privilege]) -> Result<Vec<Value>, No> {
    let Value::Array(items) = sent else { return Err(Fields::no("privileges", INVALID, "are a list")) };
    let mut all: Vec<Value> = before.iter().map(written).map(|it| it.map(Value::Object)).collect::<Result<_, _>>()?;
    for (index, item) in items.into_iter().enumerate() {
        let mut fields = Fields::within(item, &format!("privileges[{index}]"))?;
        let code = fields.needed("code");
        let known = all.iter_mut().find(|it| it.get("code").and_then(Value::as_str) == Some(code.as_str()));
        let mut carried = known.as_ref().and_then(|it| it.as_object()).cloned().unwrap_or_default();
        carried.insert("code".to_owned(), code.into());
        fields.carry_all(&["name", "value_type"], Form::Text, &mut carried);
        fields.carry("config", Form::Any, &mut carried);
        fields.done()?;
        match known {
            Some(known) => *known = carried.into(),
            None => all.push(carried.into()),
        }
    }
    Ok(all)
}

fn wanted(body: Value, before: Option<&Feature>) -> Result<Feature, No> {
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, before.map(written).transpose()?.unwrap_or_default());
    fields.carry_all(&["name", "description"], Form::Text, &mut carried);
    match before {
        None => fields.carry("code", Form::Text, &mut carried),
        Some(before) => fields.unsupported("code", &[json!(before.code)]),
    }
    if let Some(sent) = fields.value("privileges", Form::Any) {
        let before = before.map_or(&[][..], |before| before.privileges.as_slice());
        carried.insert("privileges".to_owned(), privileges(sent, before)?.into());
    }
    if !carried.contains_key("code") {
        fields.fault("code", MANDATORY, "`code` is needed");
    }
    fields.done()?;
    read(carried)
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    let search = asked.text("search_term");
    asked.done()?;
    if let Some(term) = search {
        let found = here.catalog.list::<Feature>(caller.0.tenant(), crate::model::page::Page::new(1, u32::MAX)).await?;
        let has = |it: &Defined<Feature>| it.body.code.contains(&term) || it.body.name.as_deref().is_some_and(|name| name.contains(&term));
        let found = super::plan_charges::page_of(found.items.into_iter().filter(has).collect(), page);
        return Ok(Json(many("features", &found, shown)));
    }
    Ok(Json(many("features", &here.catalog.list::<Feature>(caller.0.tenant(), page).await?, shown)))
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.create(&caller.0.identity, wanted(body, None)?).await?))))
}

async fn get(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.get(caller.0.tenant(), &code).await?))))
}

/// What is not sent stays as it is.
async fn update(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    let before = here.catalog.get::<Feature>(caller.0.tenant(), &code).await?;
    let next = wanted(body, Some(&before.body))?;
    Ok(Json(one(ROOT, shown(&here.catalog.update_feature(&caller.0.identity, &code, next).await?))))
}

async fn delete(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.delete_feature(&caller.0.identity, &code).await?))))
}

async fn delete_privilege(State(here): Here, caller: Caller, Path((code, privilege)): Path<(String, String)>) -> Answer {
    let mut next = here.catalog.get::<Feature>(caller.0.tenant(), &code).await?.body;
    if next.privilege(&privilege).is_none() {
        return Err(MeteringError::UnknownDefinition { kind: "privilege", code: privilege }.into());
    }
    next.privileges.retain(|it| it.code != privilege);
    Ok(Json(one(ROOT, shown(&here.catalog.update_feature(&caller.0.identity, &code, next).await?))))
}

type Sent = BTreeMap<String, BTreeMap<String, Value>>;

/// Values by privilege, by feature.
fn sent(body: Value) -> Result<Sent, No> {
    let no = || Faults::of(ENTITLEMENTS, INVALID, "`entitlements` are values by privilege, by feature").into();
    let Value::Object(mut body) = body else { return Err(no()) };
    let Some(sent) = body.remove(ENTITLEMENTS) else {
        return Err(Faults::of(ENTITLEMENTS, MANDATORY, "the body is `{\"entitlements\": {…}}`").into());
    };
    let sent: Sent = serde_json::from_value(sent).map_err(|_| no())?;
    if !body.is_empty() || sent.values().any(|values| values.values().any(Value::is_null)) {
        return Err(no());
    }
    Ok(sent)
}

fn merge(sent: Sent) -> EntitlementChange {
    EntitlementChange::Patch(sent.into_iter().map(|(code, values)| (code, Some(values))).collect())
}

fn without(feature: &str) -> EntitlementChange {
    EntitlementChange::Patch(BTreeMap::from([(feature.to_owned(), None)]))
}

fn without_privilege(feature: &str, privilege: &str) -> EntitlementChange {
    let gone = BTreeMap::from([(privilege.to_owned(), Value::Null)]);
    EntitlementChange::Patch(BTreeMap::from([(feature.to_owned(), Some(gone))]))
}

async fn of_plan(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    Ok(all(&here.catalog.entitlements_of_plan(caller.0.tenant(), &code).await?, of_a_plan))
}

async fn replace_of_plan(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    let change = EntitlementChange::Replace(sent(body)?);
    Ok(all(&here.catalog.entitle_plan(&caller.0.identity, &code, &change).await?, of_a_plan))
}

async fn merge_of_plan(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    Ok(all(&here.catalog.entitle_plan(&caller.0.identity, &code, &merge(sent(body)?)).await?, of_a_plan))
}

async fn get_of_plan(State(here): Here, caller: Caller, Path((code, feature)): Path<(String, String)>) -> Answer {
    let held = here.catalog.entitlements_of_plan(caller.0.tenant(), &code).await?;
    Ok(Json(one(ENTITLEMENT, of_a_plan(find(&held, &feature)?))))
}

async fn remove_of_plan(State(here): Here, caller: Caller, Path((code, feature)): Path<(String, String)>) -> Answer {
    let held = here.catalog.entitlements_of_plan(caller.0.tenant(), &code).await?;
    let gone = of_a_plan(find(&held, &feature)?);
    here.catalog.entitle_plan(&caller.0.identity, &code, &without(&feature)).await?;
    Ok(Json(one(ENTITLEMENT, gone)))
}

async fn remove_privilege_of_plan(
    State(here): Here,
    caller: Caller,
    Path((code, feature, privilege)): Path<(String, String, String)>,
) -> Answer {
    find(&here.catalog.entitlements_of_plan(caller.0.tenant(), &code).await?, &feature)?;
    let left = here.catalog.entitle_plan(&caller.0.identity, &code, &without_privilege(&feature, &privilege)).await?;
    Ok(Json(one(ENTITLEMENT, of_a_plan(find(&left, &feature)?))))
}

/// A subscription is there, in the state that is asked for.
async fn in_state(here: &Lago, tenant: &TenantId, external_id: &str, asked: Vec<(String, String)>) -> Result<(), No> {
    let mut asked = Parameters::of(asked);
    if let Some(word) = asked.text("subscription_status") {
        match serde_json::from_value::<SubscriptionStatus>(word.into()) {
            Ok(status) => {
                let missing = || MeteringError::UnknownDefinition { kind: "subscription", code: external_id.chars().take(80).collect() };
                here.catalog.subscription_in(tenant, external_id, status).await?.ok_or_else(missing)?;
            }
            Err(_) => asked.fault("subscription_status", "is one of `pending`, `active`, `terminated` and `canceled`"),
        }
    }
    asked.done()
}

async fn of_subscription(State(here): Here, caller: Caller, Path(id): Named, Query(asked): Asked) -> Answer {
    in_state(&here, caller.0.tenant(), &id, asked).await?;
    Ok(all(&here.catalog.entitlements_of(caller.0.tenant(), &id).await?, of_its_own))
}

async fn merge_own(State(here): Here, caller: Caller, Path(id): Named, Query(asked): Asked, StrictJson(body): Body) -> Answer {
    in_state(&here, caller.0.tenant(), &id, asked).await?;
    Ok(all(&here.catalog.entitle(&caller.0.identity, &id, &merge(sent(body)?)).await?, of_its_own))
}

async fn remove_own(State(here): Here, caller: Caller, Path((id, feature)): Path<(String, String)>, Query(asked): Asked) -> Answer {
    in_state(&here, caller.0.tenant(), &id, asked).await?;
    let held = here.catalog.entitlements_of(caller.0.tenant(), &id).await?;
    let gone = of_its_own(find(&held, &feature)?);
    here.catalog.entitle(&caller.0.identity, &id, &without(&feature)).await?;
    Ok(Json(one(ENTITLEMENT, gone)))
}

async fn remove_own_privilege(
    State(here): Here,
    caller: Caller,
    Path((id, feature, privilege)): Path<(String, String, String)>,
    Query(asked): Asked,
) -> Answer {
    in_state(&here, caller.0.tenant(), &id, asked).await?;
    find(&here.catalog.entitlements_of(caller.0.tenant(), &id).await?, &feature)?;
    let left = here.catalog.entitle(&caller.0.identity, &id, &without_privilege(&feature, &privilege)).await?;
    Ok(Json(one(ENTITLEMENT, of_its_own(find(&left, &feature)?))))
}
