//! Routes of the catalog: `/v1/metering/{billable-metrics,plans,taxes,add-ons,coupons,customers,subscriptions}`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, Type};

use crate::catalog::{Catalog, Terms};
use crate::model::add_on::AddOn;
use crate::model::billable_metric::BillableMetric;
use crate::model::customer::Customer;
use crate::model::entry::{Defined, Definition};
use crate::model::page::{Listed, PER_PAGE_DEFAULT, Page};
use crate::model::plan::Plan;
use crate::model::subscription::{Subscription, SubscriptionInput, SubscriptionStatus};
use crate::model::tax::{Coupon, Tax};
use crate::store::subscriptions::SubscriptionFilter;

/// The paths of one kind.
struct Paths {
    all: &'static str,
    one: &'static str,
    versions: Option<&'static str>,
    /// Who may read: what belongs to persons is the operators'.
    read: Access,
}

/// The catalog's endpoints.
#[must_use]
pub fn endpoints(catalog: &Catalog) -> Vec<Endpoint> {
    let open = Access::Authenticated;
    let mut all = Vec::new();
    all.extend(of_kind::<BillableMetric>(
        catalog,
        &Paths {
            all: "/v1/metering/billable-metrics",
            one: "/v1/metering/billable-metrics/{code}",
            versions: Some("/v1/metering/billable-metrics/{code}/versions"),
            read: open,
        },
    ));
    all.extend(of_kind::<Plan>(
        catalog,
        &Paths {
            all: "/v1/metering/plans",
            one: "/v1/metering/plans/{code}",
            versions: Some("/v1/metering/plans/{code}/versions"),
            read: open,
        },
    ));
    all.extend(of_kind::<Tax>(
        catalog,
        &Paths {
            all: "/v1/metering/taxes",
            one: "/v1/metering/taxes/{code}",
            versions: Some("/v1/metering/taxes/{code}/versions"),
            read: open,
        },
    ));
    all.extend(of_kind::<AddOn>(
        catalog,
        &Paths {
            all: "/v1/metering/add-ons",
            one: "/v1/metering/add-ons/{code}",
            versions: Some("/v1/metering/add-ons/{code}/versions"),
            read: open,
        },
    ));
    all.extend(of_kind::<Coupon>(
        catalog,
        &Paths {
            all: "/v1/metering/coupons",
            one: "/v1/metering/coupons/{code}",
            versions: Some("/v1/metering/coupons/{code}/versions"),
            read: open,
        },
    ));
    all.extend(of_kind::<Customer>(
        catalog,
        &Paths { all: "/v1/metering/customers", one: "/v1/metering/customers/{code}", versions: None, read: Access::Operator },
    ));
    all.extend(subscriptions(catalog));
    all
}

fn of_kind<T: Definition + ToSchema>(catalog: &Catalog, paths: &Paths) -> Vec<Endpoint> {
    let state = || catalog.clone();
    let mut endpoints = vec![
        Endpoint::new(Method::GET, paths.all, paths.read, "List the definitions of a kind, newest first", list::<T>, state())
            .answers::<Listed<Defined<T>>>(),
        Endpoint::new(Method::POST, paths.all, Access::Operator, "Make a definition", create::<T>, state())
            .takes::<T>()
            .answers::<Defined<T>>(),
        Endpoint::new(Method::GET, paths.one, paths.read, "The definition of a code", get::<T>, state()).answers::<Defined<T>>(),
        Endpoint::new(Method::PUT, paths.one, Access::Operator, "Put the next version of a definition in force", update::<T>, state())
            .takes::<T>()
            .answers::<Defined<T>>(),
        Endpoint::new(Method::DELETE, paths.one, Access::Operator, "Delete a definition that nothing uses", delete::<T>, state())
            .answers::<Defined<T>>(),
    ];
    if let Some(path) = paths.versions {
        endpoints.push(
            Endpoint::new(Method::GET, path, paths.read, "Every version of a definition, newest first", versions::<T>, state())
                .answers::<Listed<Defined<T>>>(),
        );
    }
    endpoints
}

fn subscriptions(catalog: &Catalog) -> Vec<Endpoint> {
    let state = || catalog.clone();
    let (all, one) = ("/v1/metering/subscriptions", "/v1/metering/subscriptions/{external_id}");
    vec![
        Endpoint::new(Method::GET, all, Access::Operator, "List subscriptions, newest first", list_subscriptions, state())
            .answers::<Listed<Subscription>>(),
        Endpoint::new(Method::POST, all, Access::Operator, "Begin a subscription, or change the plan of one that runs", subscribe, state())
            .takes::<SubscriptionInput>()
            .answers::<Subscription>(),
        Endpoint::new(Method::GET, one, Access::Operator, "The subscription of an external identifier", get_subscription, state())
            .answers::<Subscription>(),
        Endpoint::new(Method::PUT, one, Access::Operator, "Change the terms of a subscription", amend, state())
            .takes::<Terms>()
            .answers::<Subscription>(),
        Endpoint::new(Method::DELETE, one, Access::Operator, "End a subscription now", terminate, state()).answers::<Subscription>(),
    ]
}

/// Which page; numbers outside their range are taken as the nearest inside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

impl Paging {
    pub(super) fn page(&self) -> Page {
        Page::new(self.page.unwrap_or(1), self.per_page.unwrap_or(PER_PAGE_DEFAULT))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasedOn {
    /// The version the caller has seen; another one in force is a conflict.
    #[serde(default)]
    based_on: Option<u32>,
}

async fn list<T: Definition>(
    State(catalog): State<Catalog>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<Defined<T>>>, Problem> {
    Ok(Json(catalog.list(caller.0.tenant(), paging.page()).await?))
}

async fn create<T: Definition>(
    State(catalog): State<Catalog>,
    caller: Caller,
    StrictJson(body): StrictJson<T>,
) -> Result<Json<Defined<T>>, Problem> {
    Ok(Json(catalog.create(&caller.0.identity, body).await?))
}

async fn get<T: Definition>(State(catalog): State<Catalog>, caller: Caller, Path(code): Path<String>) -> Result<Json<Defined<T>>, Problem> {
    Ok(Json(catalog.get(caller.0.tenant(), &code).await?))
}

async fn update<T: Definition>(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(code): Path<String>,
    Query(seen): Query<BasedOn>,
    StrictJson(body): StrictJson<T>,
) -> Result<Json<Defined<T>>, Problem> {
    Ok(Json(catalog.update(&caller.0.identity, &code, seen.based_on, body).await?))
}

async fn delete<T: Definition>(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(code): Path<String>,
) -> Result<Json<Defined<T>>, Problem> {
    Ok(Json(catalog.delete(&caller.0.identity, &code).await?))
}

async fn versions<T: Definition>(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(code): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Listed<Defined<T>>>, Problem> {
    Ok(Json(catalog.versions(caller.0.tenant(), &code, paging.page()).await?))
}

/// Which subscriptions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    customer: Option<String>,
    #[serde(default)]
    plan: Option<String>,
    #[serde(default)]
    status: Option<SubscriptionStatus>,
    #[serde(default)]
    external_id: Option<String>,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    per_page: Option<u32>,
}

async fn list_subscriptions(
    State(catalog): State<Catalog>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Listed<Subscription>>, Problem> {
    let tenant = caller.0.tenant();
    let filter = SubscriptionFilter {
        customer: catalog.id_of::<Customer>(tenant, which.customer.as_deref()).await?,
        plan: catalog.id_of::<Plan>(tenant, which.plan.as_deref()).await?,
        status: which.status,
        external_id: which.external_id,
    };
    let paging = Paging { page: which.page, per_page: which.per_page };
    Ok(Json(catalog.subscriptions(tenant, &filter, paging.page()).await?))
}

async fn subscribe(
    State(catalog): State<Catalog>,
    caller: Caller,
    StrictJson(input): StrictJson<SubscriptionInput>,
) -> Result<Json<Subscription>, Problem> {
    Ok(Json(catalog.subscribe(&caller.0.identity, input).await?))
}

async fn get_subscription(State(catalog): State<Catalog>, caller: Caller, Path(id): Path<String>) -> Result<Json<Subscription>, Problem> {
    Ok(Json(catalog.current(caller.0.tenant(), &id).await?))
}

async fn amend(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(id): Path<String>,
    StrictJson(terms): StrictJson<Terms>,
) -> Result<Json<Subscription>, Problem> {
    Ok(Json(catalog.amend(&caller.0.identity, &id, terms).await?))
}

async fn terminate(State(catalog): State<Catalog>, caller: Caller, Path(id): Path<String>) -> Result<Json<Subscription>, Problem> {
    Ok(Json(catalog.terminate(&caller.0.identity, &id).await?))
}

/// Documents whose form depends on a part of them: what they hold is in the product's document and in Lago's.
macro_rules! open_schema {
    ($($name:ident: $about:literal),+ $(,)?) => {$(
        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::Object).description(Some($about)).into()
            }
        }
        impl ToSchema for $name {}
    )+};
}
open_schema!(
    Plan: "A plan: code, interval, amount_cents, amount_currency, charges and what goes with them",
    Coupon: "A coupon: code, coupon_type, its amount or percentage, frequency and limits",
);
