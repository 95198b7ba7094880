//! Charges of plans, as Lago's clients write and read them. Every price model is there under Lago's name; `flat` and `custom` are ours.

use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read_within, written};
use super::refusal::{INVALID, MANDATORY, No};
use super::shape::{derived_id, lago_id, number, own_id};
use super::{Lago, taxes};
use crate::error::MeteringError;
use crate::model::billable_metric::BillableMetric;
use crate::model::charge::{Charge, ChargeFilter};
use crate::model::entry::{Defined, DefinitionId};
use crate::model::plan::Plan;

/// Numbers that Lago's clients read as JSON numbers, where we write decimals as text.
const NUMBERS: [&str; 4] = ["from_value", "to_value", "package_size", "free_units"];

/// The identifier of a plan's charge.
pub(super) fn charge_id(plan: DefinitionId, code: &str) -> String {
    derived_id(&["charge", &plan.to_string(), code])
}

/// The identifier of a charge's filter: its values tell it from the others.
pub(super) fn filter_id(plan: DefinitionId, code: &str, filter: &ChargeFilter) -> String {
    derived_id(&["charge_filter", &plan.to_string(), code, &json!(filter.values).to_string()])
}

/// The charge that a client names by its identifier or its code.
pub(super) fn find<'a>(id: DefinitionId, charges: &'a [Charge], named: &str) -> Result<&'a Charge, MeteringError> {
    let found = charges.iter().find(|charge| charge.code == named || charge_id(id, &charge.code) == named);
    found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "charge", code: named.to_owned() })
}

/// As Lago's clients model it.
pub(super) async fn shown(lago: &Lago, tenant: &TenantId, plan: &Defined<Plan>, charge: &Charge) -> Result<Value, MeteringError> {
    let metric = lago.catalog.get::<BillableMetric>(tenant, &charge.billable_metric_code).await;
    let metric = match metric {
        Ok(metric) => Some(lago_id(&metric.id)),
        // An older version of a plan may name a metric that is gone.
        Err(MeteringError::UnknownDefinition { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(json!({
        "lago_id": charge_id(plan.id, &charge.code),
        "lago_billable_metric_id": metric,
        "billable_metric_code": charge.billable_metric_code,
        "code": charge.code,
        "invoice_display_name": charge.invoice_display_name,
        "charge_model": charge.pricing.model.name(),
        "pay_in_advance": charge.pay_in_advance,
        "invoiceable": charge.invoiceable,
        "regroup_paid_fees": charge.regroup_paid_fees,
        "prorated": charge.prorated,
        "min_amount_cents": charge.min_amount_cents,
        "properties": shown_properties(charge.pricing.properties()),
        "filters": charge.filters.iter().map(|filter| shown_filter(plan, charge, filter)).collect::<Vec<_>>(),
        "taxes": taxes::of_codes(lago, tenant, &charge.tax_codes).await?,
        "created_at": plan.created_at,
        "creto": { "max_amount_cents": charge.max_amount_cents },
    }))
}

/// A filter with its identifier.
pub(super) fn shown_filter(plan: &Defined<Plan>, charge: &Charge, filter: &ChargeFilter) -> Value {
    json!({
        "lago_id": filter_id(plan.id, &charge.code, filter),
        "charge_code": charge.code,
        "invoice_display_name": filter.invoice_display_name,
        "properties": shown_properties(filter.pricing.properties()),
        "values": filter.values,
        "created_at": plan.created_at,
    })
}

fn shown_properties(properties: Map<String, Value>) -> Value {
    let mut before = json!(0);
    let shown = |(name, value): (String, Value)| match value {
        Value::Array(items) if name.ends_with("_ranges") => {
            let tiers = items.into_iter().map(|tier| shown_tier(tier, &mut before)).collect();
            (name, Value::Array(tiers))
        }
        value if NUMBERS.contains(&name.as_str()) => (name, as_number(value)),
        value => (name, value),
    };
    let present = properties.into_iter().filter(|(_, value)| !value.is_null());
    present.map(shown).collect::<Map<_, _>>().into()
}

/// A tier begins where the one before it ended, also where nobody wrote that down.
fn shown_tier(tier: Value, before: &mut Value) -> Value {
    let Value::Object(tier) = tier else { return tier };
    let mut shown: Map<String, Value> = tier
        .into_iter()
        .map(|(name, value)| if NUMBERS.contains(&name.as_str()) { (name, as_number(value)) } else { (name, value) })
        .collect();
    if shown.get("from_value").is_none_or(Value::is_null) {
        shown.insert("from_value".to_owned(), before.clone());
    }
    *before = shown.get("to_value").cloned().unwrap_or_default();
    shown.into()
}

fn as_number(value: Value) -> Value {
    match value.as_str().and_then(|text| text.parse().ok()) {
        Some(exact) => {
            let exact: crate::core::exact::Exact = exact;
            exact.to_i64().map_or_else(|| number(&exact), Value::from)
        }
        None => value,
    }
}

/// The charges of a body. One that names a charge of the plan by its identifier changes that one; those of the plan that are not named are
/// gone, as in Lago.
pub(super) async fn wanted_all(lago: &Lago, tenant: &TenantId, sent: Value, plan: Option<&Defined<Plan>>) -> Result<Vec<Charge>, No> {
    let Value::Array(items) = sent else { return Err(Fields::no("charges", INVALID, "`charges` is no list")) };
    let mut charges: Vec<Charge> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let at = format!("charges[{index}]");
        let before = match (item.get("id").and_then(Value::as_str), plan) {
            (Some(id), Some(plan)) => Some(find(plan.id, &plan.body.charges, id)?),
            _ => None,
        };
        let charge = wanted(lago, tenant, Fields::within(item, &at)?, before, &charges).await?;
        charges.push(charge);
    }
    Ok(charges)
}

/// One charge: what `before` says where nothing else is sent. Without a code it is called as its metric, told apart from `others`.
pub(super) async fn wanted(
    lago: &Lago,
    tenant: &TenantId,
    mut fields: Fields,
    before: Option<&Charge>,
    others: &[Charge],
) -> Result<Charge, No> {
    let mut carried = before.map(written).transpose()?.unwrap_or_default();
    fields.text("id");
    let texts = ["code", "charge_model", "invoice_display_name", "billable_metric_code", "regroup_paid_fees"];
    fields.carry_all(&texts, Form::Text, &mut carried);
    fields.carry_all(&["pay_in_advance", "invoiceable", "prorated"], Form::Flag, &mut carried);
    fields.carry("min_amount_cents", Form::Whole, &mut carried);
    fields.carry("tax_codes", Form::Texts, &mut carried);
    if let Some(id) = fields.text("billable_metric_id") {
        carried.insert("billable_metric_code".to_owned(), metric_code(lago, tenant, &id).await?.into());
    }
    if !carried.contains_key("billable_metric_code") {
        fields.fault("billable_metric_id", MANDATORY, "`billable_metric_id` is needed");
    }
    carry_properties(&mut fields, &mut carried);
    if let Some(sent) = fields.value("filters", Form::Any) {
        carried.insert("filters".to_owned(), filters(sent)?);
    }
    for elsewhere in ["applied_pricing_unit", "accepts_target_wallet", "cascade_updates"] {
        fields.unsupported(elsewhere, &[]);
    }
    let at = fields.place();
    fields.done()?;
    if !carried.contains_key("code") {
        let metric = carried.get("billable_metric_code").and_then(Value::as_str).unwrap_or_default();
        carried.insert("code".to_owned(), free_code(metric, others).into());
    }
    read_within(&at, carried)
}

fn free_code(metric: &str, others: &[Charge]) -> String {
    let mut codes = std::iter::once(metric.to_owned()).chain((2_u32..).map(|n| format!("{metric}_{n}")));
    codes.find(|code| others.iter().all(|other| other.code != *code)).unwrap_or_default()
}

/// The code of the metric behind an identifier.
async fn metric_code(lago: &Lago, tenant: &TenantId, id: &str) -> Result<String, MeteringError> {
    let unknown = || MeteringError::UnknownDefinition { kind: "metric", code: id.to_owned() };
    let own: DefinitionId = own_id(DefinitionId::PREFIX, id).ok_or_else(unknown)?;
    let metric = lago.catalog.by_id::<BillableMetric>(tenant, own).await.map_err(|error| match error {
        MeteringError::UnknownDefinition { .. } => unknown(),
        other => other,
    })?;
    if metric.deleted_at.is_some() { Err(unknown()) } else { Ok(metric.body.code) }
}

/// A filter of a body, for the charge it is put into.
pub(super) fn wanted_filter(mut fields: Fields, before: Option<Map<String, Value>>) -> Result<Value, No> {
    let mut carried = before.unwrap_or_default();
    fields.carry("invoice_display_name", Form::Text, &mut carried);
    fields.carry("values", Form::Any, &mut carried);
    carry_properties(&mut fields, &mut carried);
    fields.unsupported("cascade_updates", &[]);
    fields.done()?;
    Ok(carried.into())
}

/// The filters of a charge, by ours.
pub(super) fn filters(sent: Value) -> Result<Value, No> {
    let Value::Array(items) = sent else { return Err(Fields::no("filters", INVALID, "`filters` is no list")) };
    let each = |(index, item)| wanted_filter(Fields::within(item, &format!("filters[{index}]"))?, None);
    items.into_iter().enumerate().map(each).collect::<Result<Vec<_>, No>>().map(Value::Array)
}

/// Properties without what is null; what is shown apart may be written as a key, or as Lago writes it, with how it is shown.
pub(super) fn carry_properties(fields: &mut Fields, carried: &mut Map<String, Value>) {
    let Some(sent) = fields.value("properties", Form::Any) else { return };
    let Value::Object(mut properties) = sent else {
        fields.fault("properties", INVALID, "`properties` is no object");
        return;
    };
    properties.retain(|_, value| !value.is_null());
    if let Some(Value::Array(keys)) = properties.get_mut("presentation_group_keys") {
        for key in keys {
            match key.get("value") {
                Some(Value::String(name)) if is_shown(key) => *key = Value::String(name.clone()),
                Some(_) => fields.fault("properties.presentation_group_keys", INVALID, "what is grouped for showing is shown"),
                None => {}
            }
        }
    }
    carried.insert("properties".to_owned(), properties.into());
}

/// What is grouped to be shown is shown: to hide it asks for something else.
fn is_shown(key: &Value) -> bool {
    key.pointer("/options/display_in_invoice").is_none_or(|shown| *shown == Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(charge: Value) -> Value {
        let charge: Charge = serde_json::from_value(charge).unwrap();
        shown_properties(charge.pricing.properties())
    }

    #[test]
    fn tiers_are_shown_with_numbers_and_where_they_begin() {
        let graduated = json!({ "billable_metric_code": "m", "charge_model": "graduated", "properties": { "graduated_ranges": [
            { "to_value": 10, "per_unit_amount": "0.5", "flat_amount": "0" }, { "from_value": 11, "to_value": null, "per_unit_amount": "0.4", "flat_amount": "1" }
        ] } });
        assert_eq!(
            properties(graduated),
            json!({ "graduated_ranges": [
                { "from_value": 0, "to_value": 10, "per_unit_amount": "0.5", "flat_amount": "0" },
                { "from_value": 11, "to_value": null, "per_unit_amount": "0.4", "flat_amount": "1" }
            ] })
        );
        let package = json!({ "billable_metric_code": "m", "charge_model": "package", "properties": { "amount": "3", "package_size": 1000, "free_units": 50 } });
        assert_eq!(properties(package), json!({ "amount": "3", "package_size": 1000, "free_units": 50 }));
    }

    #[test]
    fn keys_that_are_shown_apart_are_read_in_both_forms() {
        let read = |keys: Value| {
            let mut fields =
                Fields::within(json!({ "properties": { "amount": "1", "presentation_group_keys": keys, "free_units": null } }), "c")
                    .unwrap();
            let mut carried = Map::new();
            carry_properties(&mut fields, &mut carried);
            fields.done().map(|()| carried["properties"].clone())
        };
        let plain = json!({ "amount": "1", "presentation_group_keys": ["region"] });
        assert_eq!(read(json!(["region"])).unwrap(), plain);
        assert_eq!(read(json!([{ "value": "region", "options": { "display_in_invoice": true } }])).unwrap(), plain);
        assert!(read(json!([{ "value": "region", "options": { "display_in_invoice": false } }])).is_err());
    }

    #[test]
    fn charges_without_a_code_are_told_apart() {
        let charge = |code: &str| {
            serde_json::from_value::<Charge>(json!({ "code": code, "billable_metric_code": "m", "charge_model": "dynamic" })).unwrap()
        };
        assert_eq!(free_code("m", &[]), "m");
        assert_eq!(free_code("m", &[charge("m"), charge("m_2")]), "m_3");
    }
}
