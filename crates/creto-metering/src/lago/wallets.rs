//! `wallets`, by their identifier, and by their code under their customer.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::amounts::{cents, decimal, entry_object, read_list, read_object};
use super::body::{Fields, Form, read, written};
use super::query::Parameters;
use super::refusal::{Faults, INVALID, No, UNKNOWN};
use super::shape::{derived_id, lago_id, many, one, or_null, own_id};
use super::{Answer, Asked, Body, Document, Here, Lago, Named, changes, deletes, lists, makes, reads};
use crate::core::exact::Exact;
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::wallet::{TopUpRule, Wallet};
use crate::model::wallets::{WalletId, WalletInput, WalletState, WalletStatus};

const ROOT: &str = "wallet";
/// What Lago has of a wallet and nothing here does.
const ELSEWHERE: [&str; 7] = [
    "invoice_requires_successful_payment",
    "paid_top_up_min_amount_cents",
    "paid_top_up_max_amount_cents",
    "ignore_paid_top_up_limits_on_creation",
    "invoice_custom_section",
    "billing_entity_code",
    "purchase_order_number",
];

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each, entries) = ("/lago/api/v1/wallets", "/lago/api/v1/wallets/{wallet}", "/lago/api/v1/wallets/{wallet}/metadata");
    let own = "/lago/api/v1/customers/{external_id}/wallets";
    let own_each = "/lago/api/v1/customers/{external_id}/wallets/{wallet}";
    let own_entries = "/lago/api/v1/customers/{external_id}/wallets/{wallet}/metadata";
    let operator = Access::Operator;
    let merges = |path| {
        Endpoint::new(Method::PATCH, path, operator, "Lago: put entries on a wallet", merge_entries, lago.clone())
            .takes::<Document>()
            .answers::<Document>()
    };
    vec![
        lists(lago, all, operator, "Lago: wallets with their balances, newest first", list),
        makes(lago, all, operator, "Lago: make a wallet", create),
        reads(lago, each, operator, "Lago: a wallet with its balance", get),
        changes(lago, each, operator, "Lago: change a wallet", update),
        deletes(lago, each, operator, "Lago: close a wallet", terminate),
        makes(lago, entries, operator, "Lago: a wallet's entries, in place of those before", replace_entries),
        merges(entries),
        deletes(lago, entries, operator, "Lago: take all entries off a wallet", delete_entries),
        deletes(lago, "/lago/api/v1/wallets/{wallet}/metadata/{key}", operator, "Lago: take an entry off a wallet", delete_entry),
        lists(lago, own, operator, "Lago: a customer's wallets", list_own),
        makes(lago, own, operator, "Lago: make a customer's wallet", create_own),
        reads(lago, own_each, operator, "Lago: a customer's wallet, by its code", get),
        changes(lago, own_each, operator, "Lago: change a customer's wallet", update),
        deletes(lago, own_each, operator, "Lago: close a customer's wallet", terminate),
        makes(lago, own_entries, operator, "Lago: the entries of a customer's wallet", replace_entries),
        merges(own_entries),
        deletes(lago, own_entries, operator, "Lago: take all entries off a customer's wallet", delete_entries),
        deletes(
            lago,
            "/lago/api/v1/customers/{external_id}/wallets/{wallet}/metadata/{key}",
            operator,
            "Lago: take an entry off a customer's wallet",
            delete_entry,
        ),
    ]
}

/// The names in a path: a wallet by its identifier, or by its code where a customer is named.
type Which = Path<BTreeMap<String, String>>;

/// The wallet a path names.
async fn found(here: &Lago, tenant: &TenantId, path: &BTreeMap<String, String>) -> Result<WalletState, MeteringError> {
    let named = path.get("wallet").map(String::as_str).unwrap_or_default();
    match path.get("external_id") {
        Some(customer) => here.wallets.by_code(tenant, customer, named).await,
        None => here.wallets.get(tenant, wallet_id(named)?).await,
    }
}

pub(super) fn wallet_id(named: &str) -> Result<WalletId, MeteringError> {
    let unknown = || MeteringError::UnknownDefinition { kind: "wallet", code: named.chars().take(80).collect() };
    own_id(WalletId::PREFIX, named).ok_or_else(unknown)
}

/// As Lago's clients model it. What is ongoing is the balance less what was used and not billed yet, without tax.
pub(super) async fn shown(lago: &Lago, tenant: &TenantId, state: &WalletState) -> Result<Value, MeteringError> {
    let (record, wallet) = (&state.record, &state.record.wallet);
    let used = lago.billing.ongoing(tenant, state).await?;
    let ongoing = state.balance.checked_sub(used).unwrap_or(state.balance);
    let credits = |amount| Exact::from(amount).over(&wallet.rate_amount).unwrap_or_default();
    let limited = !wallet.applies_to.fee_types.is_empty() || !wallet.applies_to.billable_metric_codes.is_empty();
    Ok(json!({
        "lago_id": lago_id(&record.id),
        "lago_customer_id": lago_id(&record.customer),
        "external_customer_id": record.external_customer_id,
        "status": record.status,
        "currency": wallet.currency,
        "name": or_null(&wallet.name),
        "code": record.code,
        "priority": wallet.priority,
        "rate_amount": decimal(&wallet.rate_amount),
        "credits_balance": decimal(&state.credits_balance),
        "balance_cents": cents(state.balance, wallet.currency),
        "consumed_credits": decimal(&credits(state.consumed)),
        "created_at": record.created_at,
        "expiration_at": wallet.expiration_at,
        "last_balance_sync_at": state.last_movement_at.unwrap_or(record.created_at),
        "last_consumed_credit_at": state.last_movement_at.filter(|_| state.consumed > creto_kernel::Micros::ZERO),
        "terminated_at": record.terminated_at,
        "recurring_transaction_rules": rules(state),
        "ongoing_balance_cents": cents(ongoing, wallet.currency),
        "ongoing_usage_balance_cents": cents(used, wallet.currency),
        "credits_ongoing_balance": decimal(&credits(ongoing)),
        "credits_ongoing_usage_balance": decimal(&credits(used)),
        "applies_to": limited.then(|| json!(wallet.applies_to)),
        "invoice_requires_successful_payment": false,
        "paid_top_up_min_amount_cents": null,
        "paid_top_up_max_amount_cents": null,
        "metadata": entry_object(&record.metadata),
        "creto": { "id": record.id, "revision": record.revision },
    }))
}

fn rules(state: &WalletState) -> Vec<Value> {
    let record = &state.record;
    let id = record.id.to_string();
    let rule = |(at, rule): (usize, &TopUpRule)| {
        json!({
            "lago_id": derived_id(&["top_up_rule", &id, &at.to_string()]),
            "trigger": rule.trigger,
            "method": rule.method,
            "interval": rule.interval,
            "threshold_credits": rule.threshold_credits.as_ref().map(decimal),
            "paid_credits": decimal(&rule.paid_credits),
            "granted_credits": decimal(&rule.granted_credits),
            "target_ongoing_balance": rule.target_ongoing_balance.as_ref().map(decimal),
            "started_at": null,
            "expiration_at": null,
            "status": "active",
            "created_at": record.created_at,
        })
    };
    record.wallet.recurring_transaction_rules.iter().enumerate().map(rule).collect()
}

/// Carries over what a wallet is.
fn carry_wallet(fields: &mut Fields, carried: &mut Map<String, Value>) -> Result<(), No> {
    fields.carry_all(&["name", "currency", "expiration_at"], Form::Text, carried);
    fields.carry("rate_amount", Form::Decimal, carried);
    fields.carry("priority", Form::Whole, carried);
    if let Some(sent) = fields.value("applies_to", Form::Any) {
        let (mut limits, mut into) = (Fields::within(sent, "applies_to")?, Map::new());
        limits.carry_all(&["fee_types", "billable_metric_codes"], Form::Texts, &mut into);
        limits.done()?;
        carried.insert("applies_to".to_owned(), into.into());
    }
    if let Some(sent) = fields.value("recurring_transaction_rules", Form::Any) {
        let at = "recurring_transaction_rules";
        let Value::Array(items) = sent else { return Err(Faults::of(at, INVALID, format!("`{at}` is no list")).into()) };
        let rules: Result<Vec<_>, _> = items.into_iter().enumerate().map(|(index, item)| rule(item, &format!("{at}[{index}]"))).collect();
        carried.insert(at.to_owned(), rules?.into());
    }
    ELSEWHERE.iter().for_each(|name| fields.unsupported(name, &[]));
    fields.unsupported("payment_method", &[]);
    Ok(())
}

fn rule(sent: Value, at: &str) -> Result<Value, No> {
    let (mut fields, mut carried) = (Fields::within(sent, at)?, Map::new());
    fields.text("lago_id");
    fields.carry_all(&["trigger", "method", "interval"], Form::Text, &mut carried);
    let amounts = ["threshold_credits", "paid_credits", "granted_credits", "target_ongoing_balance"];
    amounts.iter().for_each(|name| fields.carry(name, Form::Decimal, &mut carried));
    let elsewhere = [
        "started_at",
        "expiration_at",
        "transaction_metadata",
        "transaction_name",
        "invoice_requires_successful_payment",
        "ignore_paid_top_up_limits",
        "grants_target_top_up",
        "purchase_order_number",
        "payment_method",
        "invoice_custom_section",
    ];
    elsewhere.iter().for_each(|name| fields.unsupported(name, &[]));
    fields.done()?;
    Ok(carried.into())
}

fn new_wallet(body: Value, customer: Option<&str>) -> Result<WalletInput, No> {
    let (mut fields, mut input, mut wallet) = (Fields::of(body, ROOT)?, Map::new(), Map::new());
    match (customer, fields.text("external_customer_id")) {
        (Some(named), Some(sent)) if named != sent => {
            fields.fault("external_customer_id", INVALID, format!("the path names `{named}`"));
        }
        (Some(named), _) => drop(input.insert("external_customer_id".to_owned(), named.into())),
        (None, Some(sent)) => drop(input.insert("external_customer_id".to_owned(), sent.into())),
        (None, None) => drop(fields.needed("external_customer_id")),
    }
    fields.carry("code", Form::Text, &mut input);
    fields.carry("transaction_name", Form::Text, &mut input);
    fields.carry("paid_credits", Form::Decimal, &mut input);
    fields.carry("granted_credits", Form::Decimal, &mut input);
    if let Some(sent) = fields.value("metadata", Form::Any) {
        input.insert("metadata".to_owned(), json!(read_object(sent, "metadata")?));
    }
    if let Some(sent) = fields.value("transaction_metadata", Form::Any) {
        input.insert("transaction_metadata".to_owned(), json!(read_list(sent, "transaction_metadata")?));
    }
    carry_wallet(&mut fields, &mut wallet)?;
    fields.done()?;
    // Told before what is around it: a field of the wallet is named without it.
    read::<Wallet>(wallet.clone())?;
    input.insert("wallet".to_owned(), wallet.into());
    read(input)
}

async fn answered(here: &Lago, caller: &Caller, state: &WalletState) -> Answer {
    Ok(Json(one(ROOT, shown(here, caller.0.tenant(), state).await?)))
}

async fn listed(here: &Lago, caller: &Caller, asked: Vec<(String, String)>, customer: Option<String>) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    let customer = customer.or_else(|| asked.text("external_customer_id"));
    asked.done()?;
    let tenant = caller.0.tenant();
    let customer = here.catalog.id_of::<Customer>(tenant, customer.as_deref()).await?;
    let found = here.wallets.list(tenant, customer, None, page).await?;
    let mut documents = Vec::with_capacity(found.items.len());
    for state in &found.items {
        documents.push(shown(here, tenant, state).await?);
    }
    let mut documents = documents.into_iter();
    Ok(Json(many("wallets", &found, |_| documents.next().unwrap_or_default())))
}

async fn list(State(here): Here, caller: Caller, Query(asked): Asked) -> Answer {
    listed(&here, &caller, asked, None).await
}

async fn list_own(State(here): Here, caller: Caller, Path(external_id): Named, Query(asked): Asked) -> Answer {
    listed(&here, &caller, asked, Some(external_id)).await
}

/// A wallet and what it begins with; an invoice asks for the payment of what was bought.
async fn made(here: &Lago, caller: &Caller, input: WalletInput) -> Answer {
    let by = &caller.0.identity;
    let state = here.wallets.create(by, input).await?;
    here.billing.ask_for_payment(by, state.record.id).await?;
    answered(here, caller, &state).await
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    made(&here, &caller, new_wallet(body, None)?).await
}

async fn create_own(State(here): Here, caller: Caller, Path(external_id): Named, StrictJson(body): Body) -> Answer {
    made(&here, &caller, new_wallet(body, Some(&external_id))?).await
}

async fn get(State(here): Here, caller: Caller, Path(path): Which) -> Answer {
    let state = found(&here, caller.0.tenant(), &path).await?;
    answered(&here, &caller, &state).await
}

/// What is not sent stays as it is.
async fn update(State(here): Here, caller: Caller, Path(path): Which, StrictJson(body): Body) -> Answer {
    let before = found(&here, caller.0.tenant(), &path).await?.record;
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, written(&before.wallet)?);
    let metadata = match fields.value("metadata", Form::Any) {
        Some(sent) => read_object(sent, "metadata")?,
        None => before.metadata,
    };
    carry_wallet(&mut fields, &mut carried)?;
    fields.done()?;
    let wallet: Wallet = read(carried)?;
    let state = here.wallets.update(&caller.0.identity, before.id, |it| (it.wallet, it.metadata) = (wallet, metadata)).await?;
    answered(&here, &caller, &state).await
}

async fn terminate(State(here): Here, caller: Caller, Path(path): Which) -> Answer {
    let before = found(&here, caller.0.tenant(), &path).await?;
    let state = match before.record.status {
        WalletStatus::Terminated => before,
        WalletStatus::Active => here.wallets.terminate(&caller.0.identity, before.record.id).await?,
    };
    answered(&here, &caller, &state).await
}

/// Changes a wallet's entries and answers them as they are then.
async fn with_entries(
    here: &Lago,
    caller: &Caller,
    path: &BTreeMap<String, String>,
    change: impl FnOnce(&mut BTreeMap<String, String>) + Send,
) -> Answer {
    let before = found(here, caller.0.tenant(), path).await?.record;
    let state = here.wallets.update(&caller.0.identity, before.id, |it| change(&mut it.metadata)).await?;
    Ok(Json(json!({ "metadata": entry_object(&state.record.metadata) })))
}

/// The entries of a body that holds nothing else.
pub(super) fn sent_entries(body: Value) -> Result<BTreeMap<String, String>, No> {
    let Value::Object(mut members) = body else { return Err(Faults::of("metadata", INVALID, "the body is no object").into()) };
    let sent = members.remove("metadata").unwrap_or(Value::Object(Map::new()));
    match members.keys().next() {
        Some(other) => Err(Faults::of(other, UNKNOWN, format!("there is no `{other}` beside `metadata`")).into()),
        None => read_object(sent, "metadata"),
    }
}

async fn replace_entries(State(here): Here, caller: Caller, Path(path): Which, StrictJson(body): Body) -> Answer {
    let sent = sent_entries(body)?;
    with_entries(&here, &caller, &path, |entries| *entries = sent).await
}

async fn merge_entries(State(here): Here, caller: Caller, Path(path): Which, StrictJson(body): Body) -> Answer {
    let sent = sent_entries(body)?;
    with_entries(&here, &caller, &path, |entries| entries.extend(sent)).await
}

async fn delete_entries(State(here): Here, caller: Caller, Path(path): Which) -> Answer {
    with_entries(&here, &caller, &path, BTreeMap::clear).await
}

async fn delete_entry(State(here): Here, caller: Caller, Path(path): Which) -> Answer {
    let key = path.get("key").cloned().unwrap_or_default();
    with_entries(&here, &caller, &path, |entries| drop(entries.remove(&key))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_is_read_with_what_it_begins_with() {
        let sent = json!({
            "external_customer_id": "acme", "name": "Prepaid", "code": "main", "currency": "EUR", "rate_amount": "0.5", "priority": 3,
            "paid_credits": "100", "granted_credits": 10, "expiration_at": null, "metadata": { "tier": "gold" },
            "transaction_name": "First", "transaction_metadata": [{ "key": "po", "value": "7" }], "applies_to": { "fee_types": ["charge"] },
            "recurring_transaction_rules": [{ "trigger": "threshold", "threshold_credits": "5", "paid_credits": "10", "method": "fixed" }],
            "invoice_requires_successful_payment": false
        });
        let input = new_wallet(json!({ ROOT: sent }), Some("acme")).unwrap();
        assert_eq!((input.code.as_deref(), input.wallet.priority, input.transaction_name.as_str()), (Some("main"), 3, "First"));
        assert_eq!((input.paid_credits, input.granted_credits), (Some(Exact::from(100_u8)), Some(Exact::from(10_u8))));
        assert_eq!((input.metadata["tier"].as_str(), input.transaction_metadata["po"].as_str()), ("gold", "7"));
        assert_eq!(input.wallet.recurring_transaction_rules.len(), 1);
    }

    #[test]
    fn what_means_nothing_here_is_refused_by_its_name() {
        let refused = |sent: Value| Value::from(new_wallet(json!({ ROOT: sent }), Some("acme")).unwrap_err())["error_details"].clone();
        let base = || json!({ "currency": "EUR", "rate_amount": "1" });
        let with = |name: &str, value: Value| {
            let mut sent = base();
            sent[name] = value;
            refused(sent)
        };
        assert_eq!(
            with("invoice_requires_successful_payment", json!(true)),
            json!({ "invoice_requires_successful_payment": ["value_is_not_supported"] })
        );
        assert_eq!(with("external_customer_id", json!("rival")), json!({ "external_customer_id": [INVALID] }));
        assert_eq!(with("rate_amount", json!("0")), json!({ "rate_amount": [INVALID] }));
        assert_eq!(
            with("recurring_transaction_rules", json!([{ "trigger": "interval", "started_at": "2030-01-01T00:00:00Z" }])),
            json!({ "recurring_transaction_rules[0].started_at": ["value_is_not_supported"] })
        );
        let nobodys = Value::from(new_wallet(json!({ ROOT: base() }), None).unwrap_err());
        assert_eq!(nobodys["error_details"], json!({ "external_customer_id": ["value_is_mandatory"] }));
    }
}
