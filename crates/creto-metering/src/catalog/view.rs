//! What ingestion and billing ask of a subscription, kept in memory until the catalog changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use creto_kernel::{TenantId, Timestamp};

use super::Catalog;
use crate::core::period::{self, Period};
use crate::core::zone::{Day, Zone};
use crate::error::MeteringError;
use crate::model::alert::Watched;
use crate::model::billable_metric::BillableMetric;
use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::entry::Defined;
use crate::model::feature::Entitlement;
use crate::model::plan::Plan;
use crate::model::subscription::{Subscription, SubscriptionId};
use crate::service::drafting::charge_period;
use crate::store::{alerts, catalog as store, subscriptions};

/// Most subscriptions of one tenant kept in memory; beyond it they are forgotten and read again.
const SUBSCRIPTIONS_MAX: usize = 100_000;
/// Most tenants kept in memory.
const TENANTS_MAX: usize = 1_000;

/// A subscription with everything its usage and its invoices depend on.
#[derive(Clone, Debug)]
pub struct SubscriptionView {
    /// The subscription.
    pub subscription: Subscription,
    /// Its plan in the version it keeps, with its overrides.
    pub plan: Plan,
    /// The metrics its charges price, by code.
    pub metrics: BTreeMap<String, BillableMetric>,
    /// Who pays.
    pub customer: Defined<Customer>,
    /// The customer's zone: days and periods are counted in it.
    pub zone: Zone,
    /// Of every amount.
    pub currency: Currency,
    /// Whether that is another currency than the tenant's budgets have: its usage is billed, and posted to none of them.
    pub apart: bool,
    /// Whether another plan took over where this one ended: the day of the change is the other one's.
    pub followed: bool,
    /// The subscription under the terms it had before, each until before a moment, oldest first; read with a history alone.
    earlier: Vec<(Timestamp, Arc<SubscriptionView>)>,
    /// What its usage changes that somebody wants to be told of.
    pub(crate) watched: Vec<Watched>,
}

impl SubscriptionView {
    /// Whether it runs at this moment.
    #[must_use]
    pub fn covers(&self, at: Timestamp) -> bool {
        self.subscription.started_at.is_some_and(|start| start <= at) && self.subscription.terminated_at.is_none_or(|end| at < end)
    }

    /// The whole billing period a moment is in, whether or not the subscription covers all of it.
    #[must_use]
    pub fn period(&self, at: Timestamp) -> Period {
        period::containing(self.zone.day(at), self.plan.interval, self.subscription.billing_time, self.anchor())
    }

    /// The day its anniversaries are counted from.
    #[must_use]
    pub fn anchor(&self) -> Day {
        self.zone.day(self.subscription.subscription_at)
    }
}

type Views = Arc<Vec<Arc<SubscriptionView>>>;

/// One tenant's readings, all of one epoch.
#[derive(Debug, Default)]
struct Readings {
    epoch: i64,
    subscriptions: HashMap<String, Views>,
    metrics: HashMap<String, Option<Arc<BillableMetric>>>,
    entitlements: HashMap<String, Arc<Vec<Entitlement>>>,
}

#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<TenantId, Readings>>);

impl Cache {
    fn all(&self) -> MutexGuard<'_, HashMap<TenantId, Readings>> {
        // A reading is replaced whole: what a thread that died left is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get<T>(&self, tenant: &TenantId, epoch: i64, read: impl FnOnce(&Readings) -> Option<T>) -> Option<T> {
        self.all().get(tenant).filter(|readings| readings.epoch == epoch).and_then(read)
    }

    fn put(&self, tenant: &TenantId, epoch: i64, write: impl FnOnce(&mut Readings)) {
        let mut all = self.all();
        if all.len() >= TENANTS_MAX && !all.contains_key(tenant) {
            all.clear();
        }
        let readings = all.entry(tenant.clone()).or_default();
        if epoch < readings.epoch {
            return;
        }
        let sizes = [readings.subscriptions.len(), readings.metrics.len(), readings.entitlements.len()];
        let full = sizes.into_iter().any(|size| size >= SUBSCRIPTIONS_MAX);
        if epoch > readings.epoch || full {
            *readings = Readings { epoch, ..Readings::default() };
        }
        write(readings);
    }
}

/// The catalog as it stands at one moment.
#[derive(Debug, Clone)]
pub struct CatalogReader {
    catalog: Catalog,
    tenant: TenantId,
    epoch: i64,
    test_now: Option<Timestamp>,
}

impl Catalog {
    /// The tenant's catalog as it stands now. One small query; what it answers is then mostly from memory. A change of the catalog, also
    /// by another process, is seen by the next reader.
    pub async fn reader(&self, tenant: &TenantId) -> Result<CatalogReader, MeteringError> {
        let (epoch, test_now) = store::epoch(&self.db, tenant).await?;
        Ok(CatalogReader { catalog: self.clone(), tenant: tenant.clone(), epoch, test_now })
    }

    /// The currency of the tenant's budgets: the one its first plan was made in; none where there never was one.
    pub(crate) async fn budget_currency(&self, tenant: &TenantId) -> Result<Option<Currency>, MeteringError> {
        Ok(store::first_plan(&self.db, tenant).await?.map(|plan| plan.amount_currency))
    }

    /// The tenant's time: its test clock's, where it is in test mode.
    pub(crate) async fn now(&self, tenant: &TenantId) -> Result<Timestamp, MeteringError> {
        Ok(self.reader(tenant).await?.time(self.clock.now()))
    }

    /// Everything about one subscription, read now.
    pub async fn view_of(&self, tenant: &TenantId, id: SubscriptionId) -> Result<SubscriptionView, MeteringError> {
        let subscription = self.subscription_by_id(tenant, id).await?;
        self.view(tenant, subscription).await
    }

    pub(crate) async fn view(&self, tenant: &TenantId, subscription: Subscription) -> Result<SubscriptionView, MeteringError> {
        let customer = self.by_id::<Customer>(tenant, subscription.customer).await?;
        self.view_for(tenant, subscription, customer).await
    }

    /// The same, for a customer as it may not be kept.
    pub(crate) async fn view_for(
        &self,
        tenant: &TenantId,
        subscription: Subscription,
        customer: Defined<Customer>,
    ) -> Result<SubscriptionView, MeteringError> {
        let plan = self.version::<Plan>(tenant, subscription.plan, subscription.plan_version).await?.body;
        let plan = match &subscription.overrides {
            Some(overrides) => overrides.apply(&plan)?,
            None => plan,
        };
        let mut metrics = BTreeMap::new();
        for charge in &plan.charges {
            let code = &charge.billable_metric_code;
            if metrics.contains_key(code) {
                continue;
            }
            // A metric is not deleted while a plan in force names it; an older version may name one that is gone.
            if let Some(read) = store::latest::<BillableMetric>(&self.db, tenant, code).await? {
                metrics.insert(code.clone(), read.defined.body);
            }
        }
        let zone = zone_of(&customer.body)?;
        let currency = plan.amount_currency;
        let apart = self.budget_currency(tenant).await?.is_some_and(|budgets| budgets != currency);
        let followed = match subscription.terminated_at {
            Some(end) => subscriptions::begins_at(&self.db, tenant, &subscription.external_id, end, subscription.id).await?,
            None => false,
        };
        let watched = alerts::on_usage(&self.db, tenant, &subscription.external_id, subscription.customer).await?;
        Ok(SubscriptionView { subscription, plan, metrics, customer, zone, currency, apart, followed, earlier: Vec::new(), watched })
    }

    /// The subscription by what was agreed when a period that ends before `to` did; none where that is what is agreed now.
    pub(crate) async fn view_before(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        to: Timestamp,
    ) -> Result<Option<SubscriptionView>, MeteringError> {
        match view.subscription.agreed_before(to) {
            Some(then) => self.view(tenant, then).await.map(Some),
            None => Ok(None),
        }
    }

    /// With the terms it had before: a period has those that were in force at its end, so that they change where a period begins.
    async fn with_earlier(&self, tenant: &TenantId, mut view: SubscriptionView) -> Result<SubscriptionView, MeteringError> {
        for then in view.subscription.earlier.clone() {
            if let Some(before) = self.view_before(tenant, &view, then.until).await? {
                let begins = charge_period(&before, then.until).from(&before.zone);
                view.earlier.push((begins, Arc::new(before)));
            }
        }
        Ok(view)
    }
}

impl CatalogReader {
    /// The catalog as it stands now.
    pub(crate) async fn again(&self) -> Result<Self, MeteringError> {
        self.catalog.reader(&self.tenant).await
    }

    /// Changes with every change of the catalog.
    #[must_use]
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The tenant's time where a server's clock shows this.
    #[must_use]
    pub const fn time(&self, now: Timestamp) -> Timestamp {
        match self.test_now {
            Some(test) => test,
            None => now,
        }
    }

    /// The subscription of this external identifier that runs at `at`, by what is agreed for that period; `None` where there is none.
    pub async fn subscription(&self, external_id: &str, at: Timestamp) -> Result<Option<Arc<SubscriptionView>>, MeteringError> {
        let history = self.history(external_id).await?;
        let found = history.iter().rev().find(|view| view.covers(at));
        Ok(found.map(|view| view.earlier.iter().find(|(until, _)| at < *until).map_or(view, |(_, then)| then)).cloned())
    }

    /// Every subscription of this external identifier that began, oldest first.
    pub async fn history(&self, external_id: &str) -> Result<Arc<Vec<Arc<SubscriptionView>>>, MeteringError> {
        let cache = &self.catalog.cache;
        if let Some(views) = cache.get(&self.tenant, self.epoch, |readings| readings.subscriptions.get(external_id).cloned()) {
            return Ok(views);
        }
        let mut views = Vec::new();
        for subscription in subscriptions::history(&self.catalog.db, &self.tenant, external_id).await? {
            let view = self.catalog.view(&self.tenant, subscription).await?;
            views.push(Arc::new(self.catalog.with_earlier(&self.tenant, view).await?));
        }
        let views = Arc::new(views);
        let kept = Arc::clone(&views);
        cache.put(&self.tenant, self.epoch, |readings| drop(readings.subscriptions.insert(external_id.to_owned(), kept)));
        Ok(views)
    }

    /// What the subscription of this external identifier is entitled to.
    pub async fn entitlements(&self, external_id: &str) -> Result<Arc<Vec<Entitlement>>, MeteringError> {
        let cache = &self.catalog.cache;
        if let Some(held) = cache.get(&self.tenant, self.epoch, |readings| readings.entitlements.get(external_id).cloned()) {
            return Ok(held);
        }
        let held = Arc::new(self.catalog.entitlements_of(&self.tenant, external_id).await?);
        let kept = Arc::clone(&held);
        cache.put(&self.tenant, self.epoch, |readings| drop(readings.entitlements.insert(external_id.to_owned(), kept)));
        Ok(held)
    }

    /// The metric of this code; `None` where there is none.
    pub async fn metric(&self, code: &str) -> Result<Option<Arc<BillableMetric>>, MeteringError> {
        let cache = &self.catalog.cache;
        if let Some(metric) = cache.get(&self.tenant, self.epoch, |readings| readings.metrics.get(code).cloned()) {
            return Ok(metric);
        }
        let read = store::by_code::<BillableMetric>(&self.catalog.db, &self.tenant, code).await?;
        let metric = read.map(|read| Arc::new(read.defined.body));
        cache.put(&self.tenant, self.epoch, |readings| drop(readings.metrics.insert(code.to_owned(), metric.clone())));
        Ok(metric)
    }
}

/// The zone a customer's days are counted in.
pub(crate) fn zone_of(customer: &Customer) -> Result<Zone, MeteringError> {
    match customer.timezone.as_deref() {
        None => Ok(Zone::utc()),
        Some(name) => Ok(name.parse::<Zone>()?),
    }
}
