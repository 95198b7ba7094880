//! Features and entitlements: `/v1/metering/features`, `/v1/metering/{plans,subscriptions}/…/entitlements`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::catalog::Paging;
use crate::catalog::Catalog;
use crate::entitlements::{EntitledAnswer, Question};
use crate::model::entry::Defined;
use crate::model::feature::{Entitlement, EntitlementChange, Feature};
use crate::model::page::Listed;

/// The endpoints of features and entitlements.
#[must_use]
pub fn endpoints(catalog: &Catalog) -> Vec<Endpoint> {
    let state = || catalog.clone();
    let (all, one) = ("/v1/metering/features", "/v1/metering/features/{code}");
    let plan = "/v1/metering/plans/{code}/entitlements";
    let own = "/v1/metering/subscriptions/{external_id}/entitlements";
    let (open, operator) = (Access::Authenticated, Access::Operator);
    vec![
        Endpoint::new(Method::GET, all, open, "Features, newest first", list, state()).answers::<Listed<Defined<Feature>>>(),
        Endpoint::new(Method::POST, all, operator, "Make a feature", create, state()).takes::<Feature>().answers::<Defined<Feature>>(),
        Endpoint::new(Method::GET, one, open, "A feature with its privileges", get, state()).answers::<Defined<Feature>>(),
        Endpoint::new(Method::PUT, one, operator, "Put the next version of a feature in force", update, state())
            .takes::<Feature>()
            .answers::<Defined<Feature>>(),
        Endpoint::new(Method::DELETE, one, operator, "Delete a feature that nobody is entitled to", delete, state())
            .answers::<Defined<Feature>>(),
        Endpoint::new(Method::GET, plan, open, "What a plan entitles to", of_plan, state()).answers::<EntitlementList>(),
        Endpoint::new(Method::PUT, plan, operator, "What a plan entitles to, in place of what it did", replace_of_plan, state())
            .takes::<Replacement>()
            .answers::<EntitlementList>(),
        Endpoint::new(Method::PATCH, plan, operator, "Change what a plan entitles to: null removes", patch_of_plan, state())
            .takes::<Patch>()
            .answers::<EntitlementList>(),
        Endpoint::new(Method::GET, own, operator, "What a subscription is entitled to", of_subscription, state())
            .answers::<EntitlementList>(),
        Endpoint::new(Method::PATCH, own, operator, "Change what a subscription is entitled to: null removes", patch_own, state())
            .takes::<Patch>()
            .answers::<EntitlementList>(),
        Endpoint::new(
            Method::GET,
            "/v1/metering/subscriptions/{external_id}/entitlements/{feature}",
            open,
            "Whether a subscription is entitled to a feature, and to so much of a privilege of it",
            ask,
            state(),
        )
        .answers::<EntitledAnswer>(),
    ]
}

#[derive(Debug, Serialize, ToSchema)]
struct EntitlementList {
    entitlements: Vec<Entitlement>,
}

/// Values by privilege, by feature.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EntitlementReplacement)]
struct Replacement {
    entitlements: BTreeMap<String, BTreeMap<String, Value>>,
}

/// Values by privilege, by feature; null removes one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EntitlementPatch)]
struct Patch {
    #[schema(value_type = Object)]
    entitlements: BTreeMap<String, Option<BTreeMap<String, Value>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    privilege: Option<String>,
    /// A number at least so large, else this very value.
    #[serde(default)]
    wanted: Option<String>,
}

async fn list(
    State(catalog): State<Catalog>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<Defined<Feature>>>, Problem> {
    Ok(Json(catalog.list(caller.0.tenant(), paging.page()).await?))
}

async fn create(
    State(catalog): State<Catalog>,
    caller: Caller,
    StrictJson(body): StrictJson<Feature>,
) -> Result<Json<Defined<Feature>>, Problem> {
    Ok(Json(catalog.create(&caller.0.identity, body).await?))
}

async fn get(State(catalog): State<Catalog>, caller: Caller, Path(code): Path<String>) -> Result<Json<Defined<Feature>>, Problem> {
    Ok(Json(catalog.get(caller.0.tenant(), &code).await?))
}

async fn update(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(code): Path<String>,
    StrictJson(body): StrictJson<Feature>,
) -> Result<Json<Defined<Feature>>, Problem> {
    Ok(Json(catalog.update_feature(&caller.0.identity, &code, body).await?))
}

async fn delete(State(catalog): State<Catalog>, caller: Caller, Path(code): Path<String>) -> Result<Json<Defined<Feature>>, Problem> {
    Ok(Json(catalog.delete_feature(&caller.0.identity, &code).await?))
}

async fn of_plan(State(catalog): State<Catalog>, caller: Caller, Path(code): Path<String>) -> Result<Json<EntitlementList>, Problem> {
    Ok(Json(EntitlementList { entitlements: catalog.entitlements_of_plan(caller.0.tenant(), &code).await? }))
}

async fn replace_of_plan(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(code): Path<String>,
    StrictJson(body): StrictJson<Replacement>,
) -> Result<Json<EntitlementList>, Problem> {
    let change = EntitlementChange::Replace(body.entitlements);
    Ok(Json(EntitlementList { entitlements: catalog.entitle_plan(&caller.0.identity, &code, &change).await? }))
}

async fn patch_of_plan(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(code): Path<String>,
    StrictJson(body): StrictJson<Patch>,
) -> Result<Json<EntitlementList>, Problem> {
    let change = EntitlementChange::Patch(body.entitlements);
    Ok(Json(EntitlementList { entitlements: catalog.entitle_plan(&caller.0.identity, &code, &change).await? }))
}

async fn of_subscription(State(catalog): State<Catalog>, caller: Caller, Path(id): Path<String>) -> Result<Json<EntitlementList>, Problem> {
    Ok(Json(EntitlementList { entitlements: catalog.entitlements_of(caller.0.tenant(), &id).await? }))
}

async fn patch_own(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(body): StrictJson<Patch>,
) -> Result<Json<EntitlementList>, Problem> {
    let change = EntitlementChange::Patch(body.entitlements);
    Ok(Json(EntitlementList { entitlements: catalog.entitle(&caller.0.identity, &id, &change).await? }))
}

async fn ask(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path((id, feature)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Json<EntitledAnswer>, Problem> {
    let question = Question { privilege: asked.privilege.as_deref(), wanted: asked.wanted.as_deref() };
    Ok(Json(catalog.is_entitled(caller.0.tenant(), &id, &feature, question).await?))
}
