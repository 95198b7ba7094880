//! `add_ons`.

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read, written};
use super::query::Parameters;
use super::refusal::No;
use super::shape::{lago_id, many, one, or_null};
use super::{Answer, Asked, Body, Here, Lago, Named, changes, deletes, lists, makes, reads, taxes};
use crate::error::MeteringError;
use crate::model::add_on::AddOn;
use crate::model::entry::Defined;

const ROOT: &str = "add_on";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/add_ons", "/lago/api/v1/add_ons/{code}");
    vec![
        lists(lago, all, Access::Authenticated, "Lago: add-ons, newest first", list),
        makes(lago, all, Access::Operator, "Lago: make an add-on", create),
        reads(lago, each, Access::Authenticated, "Lago: an add-on", get),
        changes(lago, each, Access::Operator, "Lago: change an add-on", update),
        deletes(lago, each, Access::Operator, "Lago: delete an add-on", delete),
    ]
}

/// As Lago's clients model it.
async fn shown(lago: &Lago, tenant: &TenantId, add_on: &Defined<AddOn>) -> Result<Value, MeteringError> {
    let body = &add_on.body;
    Ok(json!({
        "lago_id": lago_id(&add_on.id),
        "name": if body.name.is_empty() { &body.code } else { &body.name },
        "invoice_display_name": body.invoice_display_name,
        "code": body.code,
        "description": or_null(&body.description),
        "amount_cents": body.amount_cents,
        "amount_currency": body.amount_currency,
        "taxes": taxes::of_codes(lago, tenant, &body.tax_codes).await?,
        "created_at": add_on.created_at,
        "creto": { "id": add_on.id, "version": add_on.version },
    }))
}

fn wanted(body: Value, mut carried: Map<String, Value>) -> Result<AddOn, No> {
    let mut fields = Fields::of(body, ROOT)?;
    fields.carry_all(&["code", "name", "invoice_display_name", "description", "amount_currency"], Form::Text, &mut carried);
    fields.carry("amount_cents", Form::Whole, &mut carried);
    fields.carry("tax_codes", Form::Texts, &mut carried);
    fields.done()?;
    read(carried)
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let tenant = caller.0.tenant();
    let found = here.catalog.list::<AddOn>(tenant, page).await?;
    let mut documents = Vec::with_capacity(found.items.len());
    for add_on in &found.items {
        documents.push(shown(&here, tenant, add_on).await?);
    }
    let mut documents = documents.into_iter();
    Ok(Json(many("add_ons", &found, |_| documents.next().unwrap_or_default())))
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let add_on = here.catalog.create(&caller.0.identity, wanted(body, Map::new())?).await?;
    Ok(Json(one(ROOT, shown(&here, caller.0.tenant(), &add_on).await?)))
}

async fn get(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    let add_on = here.catalog.get(caller.0.tenant(), &code).await?;
    Ok(Json(one(ROOT, shown(&here, caller.0.tenant(), &add_on).await?)))
}

/// What is not sent stays as it is.
async fn update(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    let before = here.catalog.get::<AddOn>(caller.0.tenant(), &code).await?;
    let next = wanted(body, written(&before.body)?)?;
    let add_on = here.catalog.update(&caller.0.identity, &code, Some(before.version), next).await?;
    Ok(Json(one(ROOT, shown(&here, caller.0.tenant(), &add_on).await?)))
}

async fn delete(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    let add_on = here.catalog.delete(&caller.0.identity, &code).await?;
    Ok(Json(one(ROOT, shown(&here, caller.0.tenant(), &add_on).await?)))
}
