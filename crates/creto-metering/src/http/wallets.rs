//! Routes of prepaid credits: `/v1/metering/wallets`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::page::{Listed, PER_PAGE_DEFAULT, Page};
use crate::model::wallet::{TopUpRule, WalletLimits};
use crate::model::wallets::{
    CreditUse, Movement, MovementKind, MovementStatus, WalletId, WalletInput, WalletState, WalletStatus, WalletTransaction,
    WalletTransactionId,
};
use crate::store::wallets::MovementFilter;
use crate::wallets::Wallets;

/// The wallets' endpoints.
#[must_use]
pub fn endpoints(wallets: &Wallets) -> Vec<Endpoint> {
    let state = || wallets.clone();
    let (all, one) = ("/v1/metering/wallets", "/v1/metering/wallets/{wallet}");
    let moves = "/v1/metering/wallets/{wallet}/transactions";
    let (single, uses) = ("/v1/metering/wallet-transactions/{transaction}", "/v1/metering/wallet-transactions/{transaction}/uses");
    let operator = Access::Operator;
    vec![
        Endpoint::new(Method::GET, all, operator, "List wallets with their balances, newest first", list, state())
            .answers::<Listed<WalletState>>(),
        Endpoint::new(Method::POST, all, operator, "Make a wallet", create, state()).takes::<WalletInput>().answers::<WalletState>(),
        Endpoint::new(Method::GET, one, operator, "A wallet with its balance", get, state()).answers::<WalletState>(),
        Endpoint::new(Method::PUT, one, operator, "Change a wallet", update, state()).takes::<Change>().answers::<WalletState>(),
        Endpoint::new(Method::DELETE, one, operator, "Close a wallet", terminate, state()).answers::<WalletState>(),
        Endpoint::new(Method::GET, moves, operator, "Movements of a wallet, newest first", transactions, state())
            .answers::<Listed<WalletTransaction>>(),
        Endpoint::new(Method::POST, moves, operator, "Buy, give or take back credits", move_credits, state())
            .takes::<Movement>()
            .answers::<Movements>(),
        Endpoint::new(Method::GET, single, operator, "One movement", transaction, state()).answers::<WalletTransaction>(),
        Endpoint::new(Method::PUT, single, operator, "Say whether a purchase was paid", decide, state())
            .takes::<Decision>()
            .answers::<WalletTransaction>(),
        Endpoint::new(Method::GET, uses, operator, "Which credits a movement used, and who used its own", of_uses, state())
            .answers::<Uses>(),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    customer: Option<String>,
    #[serde(default)]
    status: Option<WalletStatus>,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichMovements {
    #[serde(default)]
    kind: Option<MovementKind>,
    #[serde(default)]
    status: Option<MovementStatus>,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

/// What of a wallet is changed. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    expiration_at: Option<creto_kernel::Timestamp>,
    #[serde(default)]
    applies_to: Option<WalletLimits>,
    #[serde(default)]
    recurring_transaction_rules: Option<Vec<TopUpRule>>,
    #[serde(default)]
    metadata: Option<std::collections::BTreeMap<String, String>>,
}

/// Whether a purchase was paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Decision {
    paid: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Movements {
    transactions: Vec<WalletTransaction>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Uses {
    uses: Vec<CreditUse>,
}

fn page(page: Option<u32>, per_page: Option<u32>) -> Page {
    Page::new(page.unwrap_or(1), per_page.unwrap_or(PER_PAGE_DEFAULT))
}

/// An identifier out of a path. What is none is nobody's.
pub(super) fn wallet_id(text: &str) -> Result<WalletId, MeteringError> {
    text.parse().map_err(|_| MeteringError::UnknownDefinition { kind: "wallet", code: text.to_owned() })
}

fn transaction_id(text: &str) -> Result<WalletTransactionId, MeteringError> {
    text.parse().map_err(|_| MeteringError::UnknownDefinition { kind: "movement of credits", code: text.to_owned() })
}

async fn list(State(wallets): State<Wallets>, caller: Caller, Query(which): Query<Which>) -> Result<Json<Listed<WalletState>>, Problem> {
    let tenant = caller.0.tenant();
    let customer = wallets.catalog().id_of::<Customer>(tenant, which.customer.as_deref()).await?;
    Ok(Json(wallets.list(tenant, customer, which.status, page(which.page, which.per_page)).await?))
}

async fn create(
    State(wallets): State<Wallets>,
    caller: Caller,
    StrictJson(input): StrictJson<WalletInput>,
) -> Result<Json<WalletState>, Problem> {
    Ok(Json(wallets.create(&caller.0.identity, input).await?))
}

async fn get(State(wallets): State<Wallets>, caller: Caller, Path(id): Path<String>) -> Result<Json<WalletState>, Problem> {
    Ok(Json(wallets.get(caller.0.tenant(), wallet_id(&id)?).await?))
}

async fn update(
    State(wallets): State<Wallets>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(change): StrictJson<Change>,
) -> Result<Json<WalletState>, Problem> {
    let id = wallet_id(&id)?;
    let mut wallet = wallets.get(caller.0.tenant(), id).await?.record.wallet;
    wallet.name = change.name.unwrap_or(wallet.name);
    wallet.priority = change.priority.unwrap_or(wallet.priority);
    wallet.expiration_at = change.expiration_at.or(wallet.expiration_at);
    wallet.applies_to = change.applies_to.unwrap_or(wallet.applies_to);
    wallet.recurring_transaction_rules = change.recurring_transaction_rules.unwrap_or(wallet.recurring_transaction_rules);
    let checked = wallets.checked(wallet)?;
    let changed = wallets.update(&caller.0.identity, id, |it| {
        it.wallet = checked;
        it.metadata = change.metadata.unwrap_or_else(|| it.metadata.clone());
    });
    Ok(Json(changed.await?))
}

async fn terminate(State(wallets): State<Wallets>, caller: Caller, Path(id): Path<String>) -> Result<Json<WalletState>, Problem> {
    Ok(Json(wallets.terminate(&caller.0.identity, wallet_id(&id)?).await?))
}

async fn transactions(
    State(wallets): State<Wallets>,
    caller: Caller,
    Path(id): Path<String>,
    Query(which): Query<WhichMovements>,
) -> Result<Json<Listed<WalletTransaction>>, Problem> {
    let filter = MovementFilter { kind: which.kind, status: which.status, inbound: None };
    let page = page(which.page, which.per_page);
    Ok(Json(wallets.transactions(caller.0.tenant(), wallet_id(&id)?, filter, page).await?))
}

async fn move_credits(
    State(wallets): State<Wallets>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(movement): StrictJson<Movement>,
) -> Result<Json<Movements>, Problem> {
    Ok(Json(Movements { transactions: wallets.move_credits(&caller.0.identity, wallet_id(&id)?, movement).await? }))
}

async fn transaction(State(wallets): State<Wallets>, caller: Caller, Path(id): Path<String>) -> Result<Json<WalletTransaction>, Problem> {
    Ok(Json(wallets.transaction(caller.0.tenant(), transaction_id(&id)?).await?))
}

async fn decide(
    State(wallets): State<Wallets>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(decision): StrictJson<Decision>,
) -> Result<Json<WalletTransaction>, Problem> {
    let (by, id) = (&caller.0.identity, transaction_id(&id)?);
    Ok(Json(if decision.paid { wallets.settle(by, id).await? } else { wallets.fail(by, id).await? }))
}

async fn of_uses(State(wallets): State<Wallets>, caller: Caller, Path(id): Path<String>) -> Result<Json<Uses>, Problem> {
    Ok(Json(Uses { uses: wallets.uses(caller.0.tenant(), transaction_id(&id)?).await? }))
}
