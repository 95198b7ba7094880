//! `customers`: making one that is there changes it, as in Lago.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::body::{Fields, Form, read_within, written};
use super::query::Parameters;
use super::refusal::{Faults, INVALID, No};
use super::shape::{derived_id, lago_id, many, one, or_null};
use super::{Answer, Asked, Body, Here, Lago, Named, deletes, lists, makes, reads, taxes};
use crate::error::MeteringError;
use crate::model::customer::{Address, Customer, MetadataEntry};
use crate::model::entry::Defined;

pub(super) const ROOT: &str = "customer";
/// Lago's names of an address's parts, and ours.
const ADDRESS: [(&str, &str); 6] = [
    ("address_line1", "line1"),
    ("address_line2", "line2"),
    ("city", "city"),
    ("zipcode", "zipcode"),
    ("state", "state"),
    ("country", "country"),
];
/// Lago's words for whether an invoice of nothing is finalized: as the house does, no, yes.
const ZERO_INVOICES: [(&str, Option<bool>); 3] = [("inherit", None), ("skip", Some(false)), ("finalize", Some(true))];

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/customers", "/lago/api/v1/customers/{external_id}");
    vec![
        lists(lago, all, Access::Operator, "Lago: customers, newest first", list),
        makes(lago, all, Access::Operator, "Lago: make a customer, or change the one of this identifier", upsert),
        reads(lago, each, Access::Operator, "Lago: a customer", get),
        deletes(lago, each, Access::Operator, "Lago: delete a customer without running subscriptions", delete),
    ]
}

/// As Lago's clients model it.
pub(super) async fn shown(lago: &Lago, tenant: &TenantId, customer: &Defined<Customer>) -> Result<Value, MeteringError> {
    let body = &customer.body;
    let mut document = json!({
        "lago_id": lago_id(&customer.id),
        "external_id": body.external_id,
        "name": or_null(&body.name),
        "firstname": or_null(&body.firstname),
        "lastname": or_null(&body.lastname),
        "customer_type": body.customer_type,
        "email": or_null(&body.email),
        "phone": or_null(&body.phone),
        "url": or_null(&body.url),
        "logo_url": or_null(&body.logo_url),
        "legal_name": or_null(&body.legal_name),
        "legal_number": or_null(&body.legal_number),
        "tax_identification_number": or_null(&body.tax_identification_number),
        "currency": body.currency,
        "timezone": body.timezone,
        "applicable_timezone": body.timezone.as_deref().unwrap_or("UTC"),
        "net_payment_term": body.net_payment_term,
        "finalize_zero_amount_invoice": ZERO_INVOICES.iter().find(|(_, means)| *means == body.finalize_zero_amount_invoice).map(|(word, _)| word),
        "billing_configuration": billing_configuration(body),
        "shipping_address": body.shipping_address.as_ref().map(address),
        "metadata": metadata(customer),
        "taxes": taxes::of_codes(lago, tenant, &body.tax_codes).await?,
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
        "creto": { "id": customer.id, "version": customer.version },
    });
    if let (Some(document), Value::Object(address)) = (document.as_object_mut(), address(&body.address)) {
        document.extend(address);
    }
    Ok(document)
}

fn address(address: &Address) -> Value {
    let texts = [&address.line1, &address.line2, &address.city, &address.zipcode, &address.state, &address.country];
    ADDRESS.iter().zip(texts).map(|((name, _), text)| ((*name).to_owned(), json!(or_null(text)))).collect::<Map<_, _>>().into()
}

/// The provider it pays through, else the first one that knows it, as Lago has room for one.
fn billing_configuration(customer: &Customer) -> Value {
    let provider = customer.payment_provider.as_deref().or_else(|| customer.provider_ids.keys().next().map(String::as_str));
    json!({
        "invoice_grace_period": customer.invoice_grace_period,
        "document_locale": customer.document_locale,
        "payment_provider": provider,
        "payment_provider_code": provider,
        "provider_customer_id": provider.and_then(|name| customer.known_as(name)),
        "sync_with_provider": customer.sync_with_provider,
    })
}

fn metadata(customer: &Defined<Customer>) -> Vec<Value> {
    let id = customer.id.to_string();
    let entry = |(key, entry): (&String, &MetadataEntry)| {
        json!({
            "lago_id": derived_id(&["customer_metadata", &id, key]),
            "key": key, "value": entry.value, "display_in_invoice": entry.display_in_invoice, "created_at": customer.updated_at,
        })
    };
    customer.body.metadata.iter().map(entry).collect()
}

fn wanted(body: Value, carried: Map<String, Value>) -> Result<Customer, No> {
    wanted_of(Fields::of(body, ROOT)?, carried)
}

pub(super) fn wanted_of(mut fields: Fields, mut carried: Map<String, Value>) -> Result<Customer, No> {
    let place = fields.place();
    let texts = [
        "external_id",
        "name",
        "firstname",
        "lastname",
        "customer_type",
        "email",
        "phone",
        "url",
        "logo_url",
        "legal_name",
        "legal_number",
        "tax_identification_number",
        "currency",
        "timezone",
    ];
    fields.carry_all(&texts, Form::Text, &mut carried);
    fields.carry("net_payment_term", Form::Whole, &mut carried);
    fields.carry("tax_codes", Form::Texts, &mut carried);
    carry_zero_invoices(&mut fields, &mut carried);
    let mut billed_at = carried.remove("address").and_then(as_object).unwrap_or_default();
    ADDRESS.iter().for_each(|(theirs, ours)| fields.carry_as(theirs, ours, Form::Text, &mut billed_at));
    carried.insert("address".to_owned(), billed_at.into());
    if let Some(sent) = fields.value("shipping_address", Form::Any) {
        carried.insert("shipping_address".to_owned(), shipping(sent)?.into());
    }
    if let Some(sent) = fields.value("metadata", Form::Any) {
        carried.insert("metadata".to_owned(), json!(entries(sent)?));
    }
    if let Some(sent) = fields.value("billing_configuration", Form::Any) {
        carry_billing(sent, &mut carried)?;
    }
    for elsewhere in [
        "integration_customers",
        "skip_invoice_custom_sections",
        "invoice_custom_section_codes",
        "billing_entity_code",
        "external_salesforce_id",
    ] {
        fields.unsupported(elsewhere, &[]);
    }
    fields.unsupported("account_type", &[json!("customer")]);
    fields.done()?;
    read_within(&place, carried)
}

fn as_object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

fn carry_zero_invoices(fields: &mut Fields, carried: &mut Map<String, Value>) {
    const NAME: &str = "finalize_zero_amount_invoice";
    let Some(word) = fields.text(NAME) else { return };
    match ZERO_INVOICES.iter().find(|(known, _)| *known == word) {
        Some((_, means)) => drop(carried.insert(NAME.to_owned(), json!(means))),
        None => fields.fault(NAME, INVALID, format!("`{word}` is none of inherit, skip, finalize")),
    }
}

fn shipping(sent: Value) -> Result<Map<String, Value>, No> {
    let (mut fields, mut carried) = (Fields::within(sent, "shipping_address")?, Map::new());
    ADDRESS.iter().for_each(|(theirs, ours)| fields.carry_as(theirs, ours, Form::Text, &mut carried));
    fields.done()?;
    Ok(carried)
}

/// Entries take the place of those before. The identifier of one says nothing that its key does not.
fn entries(sent: Value) -> Result<BTreeMap<String, MetadataEntry>, No> {
    let mut entries = BTreeMap::new();
    let Value::Array(items) = sent else { return Err(Faults::of("metadata", INVALID, "`metadata` is no list").into()) };
    for (index, item) in items.into_iter().enumerate() {
        let mut fields = Fields::within(item, &format!("metadata[{index}]"))?;
        let (key, value) = (fields.needed("key"), fields.text("value").unwrap_or_default());
        let display_in_invoice = fields.value("display_in_invoice", Form::Flag) == Some(Value::Bool(true));
        fields.value("id", Form::Text);
        if entries.contains_key(&key) {
            fields.fault("key", INVALID, format!("`{key}` is there twice"));
        }
        fields.done()?;
        entries.insert(key, MetadataEntry { value, display_in_invoice });
    }
    Ok(entries)
}

fn carry_billing(sent: Value, carried: &mut Map<String, Value>) -> Result<(), No> {
    let mut fields = Fields::within(sent, "billing_configuration")?;
    fields.carry("invoice_grace_period", Form::Whole, carried);
    fields.carry("document_locale", Form::Text, carried);
    let (provider, known_as) = (fields.text("payment_provider"), fields.text("provider_customer_id"));
    if let (Some(provider), Some(known_as)) = (&provider, known_as) {
        let mut known = carried.remove("provider_ids").and_then(as_object).unwrap_or_default();
        known.insert(provider.clone(), known_as.into());
        carried.insert("provider_ids".to_owned(), known.into());
    }
    if let Some(provider) = &provider {
        carried.insert("payment_provider".to_owned(), provider.clone().into());
    }
    // Lago's `sync` asks for it before the answer: here it is done right after, and tried until it is.
    let (at_once, kept) = (fields.value("sync", Form::Flag), fields.value("sync_with_provider", Form::Flag));
    if let Some(kept) = kept.or_else(|| at_once.filter(|sync| *sync == Value::Bool(true))) {
        carried.insert("sync_with_provider".to_owned(), kept);
    }
    fields.unsupported("payment_provider_code", &provider.map(Value::from).into_iter().collect::<Vec<_>>());
    fields.unsupported("provider_payment_methods", &[]);
    fields.unsupported("subscription_invoice_issuing_date_anchor", &[json!("next_period_start")]);
    fields.unsupported("subscription_invoice_issuing_date_adjustment", &[json!("align_with_finalization_date")]);
    fields.done()
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    asked.done()?;
    let tenant = caller.0.tenant();
    let found = here.catalog.list::<Customer>(tenant, page).await?;
    let mut documents = Vec::with_capacity(found.items.len());
    for customer in &found.items {
        documents.push(shown(&here, tenant, customer).await?);
    }
    Ok(Json(many("customers", &found.with(documents), Value::clone)))
}

/// What is not sent of a customer that is there stays as it is.
async fn upsert(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let (by, tenant) = (&caller.0.identity, caller.0.tenant());
    let named = body.get(ROOT).and_then(|sent| sent.get("external_id")).and_then(Value::as_str).map(str::to_owned);
    let before = match &named {
        Some(external_id) => match here.catalog.get::<Customer>(tenant, external_id).await {
            Ok(found) => Some(found),
            Err(MeteringError::UnknownDefinition { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let customer = match before {
        Some(before) => {
            let next = wanted(body, written(&before.body)?)?;
            here.catalog.update(by, before.body.external_id.as_str(), Some(before.version), next).await?
        }
        None => here.catalog.create(by, wanted(body, Map::new())?).await?,
    };
    Ok(Json(one(ROOT, shown(&here, tenant, &customer).await?)))
}

async fn get(State(here): Here, caller: Caller, Path(external_id): Named) -> Answer {
    let tenant = caller.0.tenant();
    let customer = here.catalog.get::<Customer>(tenant, &external_id).await?;
    Ok(Json(one(ROOT, shown(&here, tenant, &customer).await?)))
}

async fn delete(State(here): Here, caller: Caller, Path(external_id): Named) -> Answer {
    let customer = here.catalog.delete::<Customer>(&caller.0.identity, &external_id).await?;
    Ok(Json(one(ROOT, shown(&here, caller.0.tenant(), &customer).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lago_groups_otherwise_is_carried_over() {
        let sent = json!({
            "external_id": "acme", "name": "Acme", "address_line1": "1 Road", "country": "FR", "currency": "EUR", "net_payment_term": 30,
            "finalize_zero_amount_invoice": "skip", "shipping_address": { "city": "Lyon" }, "tax_codes": ["vat"],
            "metadata": [{ "key": "tier", "value": "gold", "display_in_invoice": true }],
            "billing_configuration": {
                "invoice_grace_period": 3, "document_locale": "fr", "payment_provider": "stripe", "payment_provider_code": "stripe",
                "provider_customer_id": "cus_1", "sync": false
            }
        });
        let customer = wanted(json!({ ROOT: sent }), Map::new()).unwrap();
        assert_eq!((customer.address.line1.as_str(), customer.address.country.as_str()), ("1 Road", "FR"));
        assert_eq!(
            (customer.invoice_grace_period, customer.net_payment_term, customer.finalize_zero_amount_invoice),
            (Some(3), Some(30), Some(false))
        );
        assert_eq!(customer.shipping_address.as_ref().map(|a| a.city.as_str()), Some("Lyon"));
        assert_eq!(customer.provider_ids.get("stripe").map(String::as_str), Some("cus_1"));
        assert!(customer.metadata["tier"].display_in_invoice);
        let changed =
            wanted(json!({ ROOT: { "external_id": "acme", "city": "Paris", "metadata": [] } }), written(&customer).unwrap()).unwrap();
        assert_eq!((changed.address.city.as_str(), changed.address.line1.as_str(), changed.metadata.len()), ("Paris", "1 Road", 0));
    }

    #[test]
    fn what_means_nothing_here_is_refused_by_its_name() {
        let sent =
            json!({ "external_id": "acme", "integration_customers": [{ "integration_type": "netsuite" }], "metadata": [{ "value": "x" }] });
        let details = |no: No| Value::from(no)["error_details"].clone();
        assert_eq!(details(wanted(json!({ ROOT: sent }), Map::new()).unwrap_err()), json!({ "metadata[0].key": ["value_is_mandatory"] }));
        let sent = json!({ "external_id": "acme", "integration_customers": [{}], "finalize_zero_amount_invoice": "maybe" });
        assert_eq!(
            details(wanted(json!({ ROOT: sent }), Map::new()).unwrap_err()),
            json!({ "integration_customers": ["value_is_not_supported"], "finalize_zero_amount_invoice": ["value_is_invalid"] })
        );
    }
}
