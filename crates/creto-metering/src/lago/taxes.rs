//! `taxes`.

use creto_kernel::TenantId;
use serde_json::{Value, json};

use super::Lago;
use super::shape::{lago_id, number, or_null};
use crate::error::MeteringError;
use crate::model::entry::Defined;
use crate::model::tax::Tax;

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
