//! Quotas: `/v1/metering/quotas`. Budgets that agents hold for a while: `/v1/metering/budgets`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use creto_enablement_common::gate::Acting;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::Micros;
use creto_kernel::id::AdmissionId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::budgets::{BudgetInput, BudgetUse, Budgets, HeldBudget};
use crate::error::MeteringError;
use crate::model::definition::DefinitionError;
use crate::model::quota::Quota;
use crate::quotas::{QuotaEnforcer, QuotaState};

/// The quotas' endpoints.
#[must_use]
pub fn endpoints(quotas: &QuotaEnforcer) -> Vec<Endpoint> {
    let state = || quotas.clone();
    let (all, one, operator) = ("/v1/metering/quotas", "/v1/metering/quotas/{code}", Access::Operator);
    vec![
        Endpoint::new(Method::GET, all, operator, "List quotas", list, state()).answers::<QuotaList>(),
        Endpoint::new(Method::GET, one, operator, "A quota with what its subjects used", get, state()).answers::<QuotaState>(),
        Endpoint::new(Method::PUT, one, operator, "Define a quota, or change it", put, state()).takes::<Quota>().answers::<QuotaState>(),
        Endpoint::new(Method::DELETE, one, operator, "Remove a quota with what it counted", remove, state()).answers::<QuotaState>(),
    ]
}

/// The endpoints of budgets that are held for a while.
#[must_use]
pub fn budget_endpoints(budgets: &Budgets) -> Vec<Endpoint> {
    let state = || budgets.clone();
    let access = Access::Authenticated;
    vec![
        Endpoint::new(Method::POST, "/v1/metering/budgets", access, "Hold money and quota until they are settled", hold, state())
            .takes::<BudgetInput>()
            .answers::<HeldBudget>(),
        Endpoint::new(Method::POST, "/v1/metering/budgets/{budget}/settle", access, "Say what of it was used", settle, state())
            .takes::<BudgetUse>()
            .answers::<SettledBudget>(),
    ]
}

#[derive(Debug, Serialize, ToSchema)]
struct QuotaList {
    quotas: Vec<QuotaState>,
}

/// A budget that is settled.
#[derive(Debug, Serialize, ToSchema)]
struct SettledBudget {
    /// Which.
    admission: String,
    /// The leaf that records it.
    leaf: String,
    /// What was used of it.
    #[schema(value_type = String)]
    cost: Micros,
}

async fn list(State(quotas): State<QuotaEnforcer>, caller: Caller) -> Result<Json<QuotaList>, Problem> {
    Ok(Json(QuotaList { quotas: quotas.list(caller.0.tenant()).await? }))
}

async fn get(State(quotas): State<QuotaEnforcer>, caller: Caller, Path(code): Path<String>) -> Result<Json<QuotaState>, Problem> {
    Ok(Json(quotas.get(caller.0.tenant(), &code).await?))
}

async fn put(
    State(quotas): State<QuotaEnforcer>,
    caller: Caller,
    Path(code): Path<String>,
    StrictJson(mut quota): StrictJson<Quota>,
) -> Result<Json<QuotaState>, Problem> {
    if quota.code.is_empty() {
        quota.code.clone_from(&code);
    }
    if quota.code != code {
        return Err(MeteringError::from(DefinitionError::new("code", "is not the one in the path")).into());
    }
    Ok(Json(quotas.put(&caller.0.identity, quota).await?))
}

async fn remove(State(quotas): State<QuotaEnforcer>, caller: Caller, Path(code): Path<String>) -> Result<Json<QuotaState>, Problem> {
    Ok(Json(quotas.remove(&caller.0.identity, &code).await?))
}

async fn hold(
    State(budgets): State<Budgets>,
    caller: Caller,
    StrictJson(input): StrictJson<BudgetInput>,
) -> Result<Json<HeldBudget>, Problem> {
    if caller.0.chain.is_some() {
        return Ok(Json(budgets.hold(caller.acting()?, input).await?));
    }
    // Whoever has no chain acts for itself.
    let direct = budgets.direct(&caller.0.identity)?;
    Ok(Json(budgets.hold(Acting { chain: &direct, run: caller.1 }, input).await?))
}

async fn settle(
    State(budgets): State<Budgets>,
    caller: Caller,
    Path(budget): Path<String>,
    StrictJson(input): StrictJson<BudgetUse>,
) -> Result<Json<SettledBudget>, Problem> {
    let unknown = || MeteringError::UnknownDefinition { kind: "budget", code: budget.chars().take(80).collect() };
    let admission: AdmissionId = budget.parse().map_err(|_| unknown())?;
    let settled = budgets.settle(&caller.0.identity, admission, input).await?;
    Ok(Json(SettledBudget { admission: settled.admission.to_string(), leaf: settled.leaf.to_string(), cost: settled.cost }))
}
