//! `taxes`.

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read, written};
use super::query::Parameters;
use super::refusal::No;
use super::shape::{derived_id, lago_id, many, number, one, or_null};
use super::{Answer, Asked, Body, Here, Lago, Named, changes, deletes, lists, makes, reads};
use crate::error::MeteringError;
use crate::model::entry::Defined;
use crate::model::tax::Tax;

const ROOT: &str = "tax";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/taxes", "/lago/api/v1/taxes/{code}");
    vec![
        lists(lago, all, Access::Authenticated, "Lago: taxes, newest first", list),
        makes(lago, all, Access::Operator, "Lago: make a tax", create),
        reads(lago, each, Access::Authenticated, "Lago: a tax", get),
        changes(lago, each, Access::Operator, "Lago: change a tax", update),
        deletes(lago, each, Access::Operator, "Lago: delete a tax that nothing names", delete),
    ]
}

/// As Lago's clients model it: its rate is a number there.
pub(super) fn shown(tax: &Defined<Tax>) -> Value {
    let body = &tax.body;
    json!({
        "lago_id": lago_id(&tax.id),
        "name": body.name,
        "code": body.code,
        "rate": number(&body.rate),
        "description": or_null(&body.description),
        "applied_to_organization": body.applied_to_organization,
        "created_at": tax.created_at,
        "creto": { "id": tax.id, "version": tax.version },
    })
}

/// The taxes of these codes, as something that names them shows them.
pub(super) async fn of_codes(lago: &Lago, tenant: &TenantId, codes: &[String]) -> Result<Vec<Value>, MeteringError> {
    let mut taxes = Vec::with_capacity(codes.len());
    for code in codes {
        taxes.push(shown(&lago.catalog.get::<Tax>(tenant, code).await?));
    }
    Ok(taxes)
}

/// The identifier and the description of a tax that a document names by its code: it may have been deleted since.
pub(super) async fn named(lago: &Lago, tenant: &TenantId, code: &str) -> Result<(String, Option<String>), MeteringError> {
    match lago.catalog.get::<Tax>(tenant, code).await {
        Ok(tax) => Ok((lago_id(&tax.id), Some(tax.body.description).filter(|text| !text.is_empty()))),
        Err(MeteringError::UnknownDefinition { .. }) => Ok((derived_id(&["tax", code]), None)),
        Err(error) => Err(error),
    }
}

fn wanted(body: Value, mut carried: Map<String, Value>) -> Result<Tax, No> {
    let mut fields = Fields::of(body, ROOT)?;
    fields.carry_all(&["code", "name", "description"], Form::Text, &mut carried);
    fields.carry("rate", Form::Decimal, &mut carried);
    fields.carry("applied_to_organization", Form::Flag, &mut carried);
    fields.unsupported("applied_to_billing_entities_codes", &[]);
    fields.done()?;
    read(carried)
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    Ok(Json(many("taxes", &here.catalog.list::<Tax>(caller.0.tenant(), page).await?, shown)))
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.create(&caller.0.identity, wanted(body, Map::new())?).await?))))
}

async fn get(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.get(caller.0.tenant(), &code).await?))))
}

/// What is not sent stays as it is.
async fn update(State(here): Here, caller: Caller, Path(code): Named, StrictJson(body): Body) -> Answer {
    let before = here.catalog.get::<Tax>(caller.0.tenant(), &code).await?;
    let next = wanted(body, written(&before.body)?)?;
    Ok(Json(one(ROOT, shown(&here.catalog.update(&caller.0.identity, &code, Some(before.version), next).await?))))
}

async fn delete(State(here): Here, caller: Caller, Path(code): Named) -> Answer {
    Ok(Json(one(ROOT, shown(&here.catalog.delete::<Tax>(&caller.0.identity, &code).await?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_to_the_last_digit_and_shown_as_a_number() {
        for (rate, kept) in [(json!(20.1), "20.1"), (json!("5.5"), "5.5"), (json!(20), "20")] {
            let tax = wanted(json!({ ROOT: { "code": "vat", "name": "VAT", "rate": rate } }), Map::new()).unwrap();
            assert_eq!(tax.rate.to_string(), kept);
            assert_eq!(number(&tax.rate).as_f64(), kept.parse().ok());
        }
        let changed = wanted(
            json!({ ROOT: { "description": "Sales", "rate": null } }),
            written(&wanted(json!({ ROOT: { "code": "v", "rate": 1 } }), Map::new()).unwrap()).unwrap(),
        );
        assert!(changed.is_err(), "a rate is not taken away");
    }
}
