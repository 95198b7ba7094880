//! `wallet_transactions`: credits that were bought, given, taken back, used, and which of them paid for which.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, StrictJson};
use creto_kernel::TenantId;
use serde_json::{Map, Value, json};

use super::amounts::{cents, decimal, entry_list, money, read_list};
use super::body::{Fields, Form, read};
use super::query::Parameters;
use super::refusal::No;
use super::shape::{derived_id, lago_id, many, one, or_null, own_id};
use super::wallets::wallet_id;
use super::{Answer, Asked, Body, Document, Here, Lago, Named, lists, makes, reads};
use crate::core::exact::Exact;
use crate::error::MeteringError;
use crate::model::invoice::InvoiceId;
use crate::model::page::{Listed, Page};
use crate::model::wallets::{CreditUse, Movement, MovementKind, WalletId, WalletRecord, WalletTransaction, WalletTransactionId};
use crate::store::wallets::MovementFilter;

const ROOT: &str = "wallet_transaction";

pub(super) fn endpoints(lago: &Lago) -> Vec<Endpoint> {
    let (all, each) = ("/lago/api/v1/wallet_transactions", "/lago/api/v1/wallet_transactions/{transaction}");
    let of = "/lago/api/v1/wallets/{wallet}/wallet_transactions";
    let operator = Access::Operator;
    vec![
        makes(lago, all, operator, "Lago: buy, give or take back credits", create),
        reads(lago, each, operator, "Lago: one movement of credits", get),
        lists(lago, of, operator, "Lago: movements of a wallet, newest first", list),
        lists(
            lago,
            "/lago/api/v1/wallet_transactions/{transaction}/consumptions",
            operator,
            "Lago: who used the credits of a movement",
            consumptions,
        ),
        lists(lago, "/lago/api/v1/wallet_transactions/{transaction}/fundings", operator, "Lago: which credits a movement used", fundings),
        Endpoint::new(
            Method::POST,
            "/lago/api/v1/wallet_transactions/{transaction}/payment_url",
            operator,
            "Lago: where a purchase is paid; refused, as no payment provider is linked",
            payment_url,
            lago.clone(),
        )
        .answers::<Document>(),
    ]
}

fn transaction_id(named: &str) -> Result<WalletTransactionId, MeteringError> {
    let unknown = || MeteringError::UnknownDefinition { kind: "movement of credits", code: named.chars().take(80).collect() };
    own_id(WalletTransactionId::PREFIX, named).ok_or_else(unknown)
}

/// Wallets that were looked up, by their identifier.
type Looked = BTreeMap<WalletId, WalletRecord>;

async fn wallet_of<'a>(
    lago: &Lago,
    tenant: &TenantId,
    it: &WalletTransaction,
    looked: &'a mut Looked,
) -> Result<&'a WalletRecord, MeteringError> {
    use std::collections::btree_map::Entry;
    match looked.entry(it.wallet) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(place) => Ok(place.insert(lago.wallets.get(tenant, it.wallet).await?.record)),
    }
}

/// As Lago's clients model it.
pub(super) async fn shown(lago: &Lago, tenant: &TenantId, it: &WalletTransaction) -> Result<Value, MeteringError> {
    let mut looked = Looked::new();
    shown_of(lago, tenant, it, &mut looked).await
}

async fn shown_of(lago: &Lago, tenant: &TenantId, it: &WalletTransaction, looked: &mut Looked) -> Result<Value, MeteringError> {
    let wallet = wallet_of(lago, tenant, it, looked).await?.wallet.clone();
    let left = match it.kind.is_inbound() {
        true => Some(lago.wallets.left_of(tenant, it).await?),
        false => None,
    };
    // What expired was taken back by time, in Lago's words.
    let kind = match it.kind {
        MovementKind::Expired => MovementKind::Voided,
        other => other,
    };
    let source = if matches!(it.source.as_str(), "interval" | "threshold") { it.source.as_str() } else { "manual" };
    Ok(json!({
        "lago_id": lago_id(&it.id),
        "lago_wallet_id": lago_id(&it.wallet),
        "lago_invoice_id": it.invoice.parse::<InvoiceId>().ok().map(|id| lago_id(&id)),
        "lago_credit_note_id": null,
        "lago_voided_invoice_id": null,
        "status": it.status,
        "source": source,
        "transaction_status": kind,
        "transaction_type": if it.kind.is_inbound() { "inbound" } else { "outbound" },
        "amount": money(it.amount),
        "credit_amount": decimal(&it.credits),
        "remaining_amount_cents": left.map(|left| cents(left, wallet.currency)),
        "remaining_credit_amount": left.map(|left| decimal(&Exact::from(left).over(&wallet.rate_amount).unwrap_or_default())),
        "priority": it.priority,
        "settled_at": it.settled_at,
        "failed_at": it.failed_at,
        "created_at": it.created_at,
        "invoice_requires_successful_payment": false,
        "metadata": entry_list(&it.id.to_string(), &it.metadata, it.created_at),
        "name": or_null(&it.name),
        "creto": { "id": it.id, "kind": it.kind, "source": it.source },
    }))
}

fn wanted(body: Value) -> Result<(WalletId, Movement), No> {
    let (mut fields, mut carried) = (Fields::of(body, ROOT)?, Map::new());
    let wallet = fields.needed("wallet_id");
    for name in ["paid_credits", "granted_credits", "voided_credits"] {
        fields.carry(name, Form::Decimal, &mut carried);
    }
    fields.carry("name", Form::Text, &mut carried);
    fields.carry("priority", Form::Whole, &mut carried);
    if let Some(sent) = fields.value("metadata", Form::Any) {
        carried.insert("metadata".to_owned(), json!(read_list(sent, "metadata")?));
    }
    for elsewhere in [
        "invoice_requires_successful_payment",
        "ignore_paid_top_up_limits",
        "purchase_order_number",
        "payment_method",
        "invoice_custom_section",
    ] {
        fields.unsupported(elsewhere, &[]);
    }
    fields.done()?;
    Ok((wallet_id(&wallet)?, read(carried)?))
}

async fn create(State(here): Here, caller: Caller, StrictJson(body): Body) -> Answer {
    let (by, tenant) = (&caller.0.identity, caller.0.tenant());
    let (wallet, movement) = wanted(body)?;
    let made = here.wallets.move_credits(by, wallet, movement).await?;
    here.billing.ask_for_payment(by, wallet).await?;
    let (mut documents, mut looked) = (Vec::with_capacity(made.len()), Looked::new());
    for it in made {
        // The invoice that asks for its payment is known now.
        let it = here.wallets.transaction(tenant, it.id).await?;
        documents.push(shown_of(&here, tenant, &it, &mut looked).await?);
    }
    Ok(Json(json!({ "wallet_transactions": documents })))
}

async fn get(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    let tenant = caller.0.tenant();
    let it = here.wallets.transaction(tenant, transaction_id(&named)?).await?;
    Ok(Json(one(ROOT, shown(&here, tenant, &it).await?)))
}

async fn list(State(here): Here, caller: Caller, Path(wallet): Named, Query(asked): Asked) -> Answer {
    let mut asked = Parameters::of(asked);
    let page = asked.page();
    let mut word = |name: &str| asked.text(name).map(Value::String);
    let (status, kind, direction) = (word("status"), word("transaction_status"), word("transaction_type"));
    let mut filter = MovementFilter::default();
    if let Some(status) = status {
        filter.status = serde_json::from_value(status).ok();
        filter.status.is_none().then(|| asked.fault("status", "is none of `pending`, `settled`, `failed`"));
    }
    if let Some(kind) = kind {
        filter.kind = serde_json::from_value(kind).ok();
        filter.kind.is_none().then(|| asked.fault("transaction_status", "is none of `purchased`, `granted`, `voided`, `invoiced`"));
    }
    filter.inbound = match direction.as_ref().and_then(Value::as_str) {
        None => None,
        Some("inbound") => Some(true),
        Some("outbound") => Some(false),
        Some(_) => {
            asked.fault("transaction_type", "is neither `inbound` nor `outbound`");
            None
        }
    };
    asked.done()?;
    let tenant = caller.0.tenant();
    let found = here.wallets.transactions(tenant, wallet_id(&wallet)?, filter, page).await?;
    let (mut documents, mut looked) = (Vec::with_capacity(found.items.len()), Looked::new());
    for it in &found.items {
        documents.push(shown_of(&here, tenant, it, &mut looked).await?);
    }
    let mut documents = documents.into_iter();
    Ok(Json(many("wallet_transactions", &found, |_| documents.next().unwrap_or_default())))
}

/// A page of the uses that `side` picks, each with the movement on the other side.
async fn uses(
    here: &Lago,
    caller: &Caller,
    named: &str,
    asked: Vec<(String, String)>,
    root: &'static str,
    side: fn(&CreditUse) -> (WalletTransactionId, WalletTransactionId),
) -> Answer {
    let mut asked = Parameters::of(asked);
    let page: Page = asked.page();
    asked.done()?;
    let (tenant, id) = (caller.0.tenant(), transaction_id(named)?);
    let all: Vec<CreditUse> = here.wallets.uses(tenant, id).await?.into_iter().filter(|it| side(it).0 == id).collect();
    let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let (skip, take) = (usize::try_from(page.offset()).unwrap_or(usize::MAX), usize::try_from(page.limit()).unwrap_or(usize::MAX));
    let (mut documents, mut looked) = (Vec::new(), Looked::new());
    for used in all.iter().skip(skip).take(take) {
        let user = here.wallets.transaction(tenant, used.transaction).await?;
        let other = here.wallets.transaction(tenant, side(used).1).await?;
        let wallet = wallet_of(here, tenant, &user, &mut looked).await?.wallet.clone();
        documents.push(json!({
            "lago_id": derived_id(&["credit_use", &used.transaction.to_string(), &used.lot.to_string()]),
            "amount_cents": cents(used.amount, wallet.currency),
            "credit_amount": decimal(&Exact::from(used.amount).over(&wallet.rate_amount).unwrap_or_default()),
            "created_at": user.created_at,
            "wallet_transaction": shown_of(here, tenant, &other, &mut looked).await?,
        }));
    }
    Ok(Json(many(root, &Listed::of(documents, page, total), Value::clone)))
}

async fn consumptions(State(here): Here, caller: Caller, Path(named): Named, Query(asked): Asked) -> Answer {
    uses(&here, &caller, &named, asked, "wallet_transaction_consumptions", |it| (it.lot, it.transaction)).await
}

async fn fundings(State(here): Here, caller: Caller, Path(named): Named, Query(asked): Asked) -> Answer {
    uses(&here, &caller, &named, asked, "wallet_transaction_fundings", |it| (it.transaction, it.lot)).await
}

async fn payment_url(State(here): Here, caller: Caller, Path(named): Named) -> Answer {
    here.wallets.transaction(caller.0.tenant(), transaction_id(&named)?).await?;
    Err(No::from(MeteringError::NoPaymentProvider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_movement_is_read_with_the_nothings_that_the_client_sends() {
        let wallet = WalletId::generate();
        let sent = json!({
            "wallet_id": lago_id(&wallet), "paid_credits": "10", "granted_credits": 2, "voided_credits": null, "name": "Top-up",
            "metadata": [{ "key": "po", "value": "7" }], "invoice_requires_successful_payment": null, "payment_method": null,
            "ignore_paid_top_up_limits": null, "purchase_order_number": null, "invoice_custom_section": null
        });
        let (named, movement) = wanted(json!({ ROOT: sent })).unwrap();
        assert_eq!((named, movement.name.as_str(), movement.metadata["po"].as_str()), (wallet, "Top-up", "7"));
        assert_eq!(
            (movement.paid_credits, movement.granted_credits, movement.voided_credits),
            (Some(Exact::from(10_u8)), Some(Exact::from(2_u8)), None)
        );
        let nobodys = Value::from(wanted(json!({ ROOT: { "paid_credits": "1" } })).unwrap_err());
        assert_eq!(nobodys["error_details"], json!({ "wallet_id": ["value_is_mandatory"] }));
    }
}
