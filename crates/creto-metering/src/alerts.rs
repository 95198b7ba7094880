//! Alerts: somebody is told when usage or a balance passes a threshold.
//!
//! The commit that changes something watched notes that it did; what it came to is looked at right after, by whichever server is there. A
//! subscription that nobody watches costs nothing: who is watched is read with the subscription, until the catalog changes.
//!
//! INVARIANT: a threshold that was passed is told of in one commit with the note that it was: a leaf, an event for webhooks and the state
//! that was compared and set. So nobody is told twice, and whoever dies before has left the note of the change behind.

use std::sync::Arc;

use creto_db::{Db, Sealed};
use creto_kernel::{Clock, Leaf, NhiId, TenantId, Timestamp};

use crate::billing::Billing;
use crate::catalog::{Catalog, SubscriptionView, boxed, canonical_text, commit, event_leaf};
use crate::core::alert::{self, Crossed};
use crate::core::exact::Exact;
use crate::error::MeteringError;
use crate::model::alert::{ALERTS_MAX, Alert, AlertChange, AlertId, AlertRecord, AlertType, Watched};
use crate::model::billable_metric::BillableMetric;
use crate::model::definition::DefinitionError;
use crate::model::entry::DefinitionId;
use crate::model::page::{Listed, Page};
use crate::model::subscription::SubscriptionStatus;
use crate::model::wallets::WalletId;
use crate::service::drafting::charge_period;
use crate::service::{CurrentUsage, Meter};
use crate::store::alerts::{self as store, Due, Mark};
use crate::store::catalog::{self, CHANGED};
use crate::wallets::Wallets;

/// How many changes are read at once.
const DUE_MAX: i64 = 100;
/// How often an alert is looked at again when another server was faster.
const TRIES_MAX: u32 = 16;
/// The alert that is asked for.
const KIND: &str = "alert";

/// What alerts are built from.
#[derive(Debug, Clone)]
pub struct AlertOptions {
    /// The database.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The server's own identity: what is told is told by the service of this name in each tenant.
    pub server: NhiId,
    /// Who knows what was used.
    pub meter: Meter,
    /// Who knows what was billed, and whose wallets pay.
    pub billing: Billing,
}

/// Alerts of a database.
#[derive(Debug, Clone)]
pub struct Alerts {
    options: Arc<AlertOptions>,
}

/// What the alerts of one subscription or wallet compare: read once, for all of them.
enum Looking {
    Subscription { view: Box<SubscriptionView>, usage: CurrentUsage },
    Wallet { id: WalletId },
}

impl Alerts {
    /// The alerts of a database.
    #[must_use]
    pub fn new(options: AlertOptions) -> Self {
        Self { options: Arc::new(options) }
    }

    fn db(&self) -> &Db {
        &self.options.db
    }

    fn catalog(&self) -> &Catalog {
        self.options.billing.catalog()
    }

    fn wallets(&self) -> &Wallets {
        self.options.billing.wallets()
    }

    /// Makes alerts of one subscription or wallet: all of them in one commit, or none. What a value has passed already is told at once.
    pub async fn create(&self, by: &NhiId, watched: Watched, alerts: Vec<Alert>) -> Result<Vec<AlertRecord>, MeteringError> {
        let (tenant, now) = (by.tenant(), self.options.clock.now());
        let (watched, customer, mark) = self.resolve(tenant, watched).await?;
        let known = store::of(self.db(), tenant, &watched).await?.len();
        if alerts.is_empty() || known.saturating_add(alerts.len()) > ALERTS_MAX {
            let problem = format!("are at least one, and at most {ALERTS_MAX} of one {}", watched.kind());
            return Err(DefinitionError::new("alerts", problem).into());
        }
        let (mut writes, mut made) = (Vec::new(), Vec::new());
        for alert in alerts {
            self.check(tenant, &watched, &alert).await?;
            let (id, body) = (AlertId::generate(), canonical_text(&alert)?);
            let watched = watched.clone();
            let it = AlertRecord { id, watched, value: None, looked_at: None, revision: 1, created_at: now, updated_at: now, alert };
            writes.push(store::insert(tenant, &it, customer, &body));
            made.push(it);
        }
        writes.push(store::mark(tenant, &mark, false));
        // Whoever remembers what is watched reads it again.
        writes.push(catalog::bump(tenant));
        let leaf = described(self.leaf(by, "metering.create_alert", &made)?, &made);
        commit(self.db(), Sealed::new(leaf).steps(boxed(writes))).await.map_err(|error| taken(error, &made))?;
        Ok(made)
    }

    /// Changes an alert. What it told of stays told.
    pub async fn update(&self, by: &NhiId, id: AlertId, change: AlertChange) -> Result<AlertRecord, MeteringError> {
        let tenant = by.tenant();
        let before = self.get(tenant, id).await?;
        let mut after = before.clone();
        after.alert = change.apply(&before.alert)?;
        self.check(tenant, &after.watched, &after.alert).await?;
        after.revision = before.revision.saturating_add(1);
        after.updated_at = self.options.clock.now();
        let made = [after];
        let [after] = &made;
        let leaf = described(self.leaf(by, "metering.update_alert", &made)?, &made);
        let write = store::replace(tenant, after, &canonical_text(&after.alert)?);
        let mark = self.resolve(tenant, after.watched.clone()).await.map(|(_, _, mark)| store::mark(tenant, &mark, false));
        commit(self.db(), Sealed::new(leaf).step(write).steps(boxed(mark.ok()))).await.map_err(|error| taken(error, &made))?;
        Ok(after.clone())
    }

    /// Removes alerts with what they saw: in one commit.
    pub async fn remove(&self, by: &NhiId, alerts: &[AlertRecord]) -> Result<(), MeteringError> {
        if alerts.is_empty() {
            return Ok(());
        }
        let mut writes: Vec<_> = alerts.iter().flat_map(|it| store::remove(by.tenant(), it)).collect();
        writes.push(catalog::bump(by.tenant()));
        let leaf = described(self.leaf(by, "metering.remove_alert", alerts)?, alerts);
        commit(self.db(), Sealed::new(leaf).steps(boxed(writes))).await
    }

    /// The alert of this identifier.
    pub async fn get(&self, tenant: &TenantId, id: AlertId) -> Result<AlertRecord, MeteringError> {
        store::by_id(self.db(), tenant, id).await?.ok_or_else(|| unknown(&id.to_string()))
    }

    /// The alert of this code of a subscription or wallet.
    pub async fn by_code(&self, tenant: &TenantId, watched: &Watched, code: &str) -> Result<AlertRecord, MeteringError> {
        let found = store::of(self.db(), tenant, watched).await?.into_iter().find(|it| it.alert.code == code);
        found.ok_or_else(|| unknown(code))
    }

    /// Every alert of a subscription or wallet, by their codes.
    pub async fn of(&self, tenant: &TenantId, watched: &Watched) -> Result<Vec<AlertRecord>, MeteringError> {
        Ok(store::of(self.db(), tenant, watched).await?)
    }

    /// A page of a tenant's alerts, newest first.
    pub async fn list(&self, tenant: &TenantId, page: Page) -> Result<Listed<AlertRecord>, MeteringError> {
        Ok(store::list(self.db(), tenant, page).await?)
    }

    /// What is watched is there: under its own name, with whose wallet it is, and what has to be looked at first.
    async fn resolve(&self, tenant: &TenantId, watched: Watched) -> Result<(Watched, Option<DefinitionId>, Mark), MeteringError> {
        match watched {
            Watched::Subscription(external_id) => {
                let subscription = self.catalog().current(tenant, &external_id).await?;
                let view = self.catalog().view(tenant, subscription).await?;
                let at = match view.subscription.status {
                    SubscriptionStatus::Active => self.options.billing.now(tenant).await?,
                    _ => view.subscription.terminated_at.unwrap_or(view.subscription.begins_at),
                };
                let period = charge_period(&view, at).from(&view.zone).as_micros();
                let watched = Watched::Subscription(external_id);
                let mark = Mark { watched: watched.clone(), subscription: view.subscription.id.to_string(), period };
                Ok((watched, None, mark))
            }
            Watched::Wallet(named) => {
                let id: WalletId = named.parse().map_err(|_| MeteringError::UnknownDefinition { kind: "wallet", code: named })?;
                let state = self.wallets().get(tenant, id).await?;
                let mark = Mark::wallet(&id);
                Ok((mark.watched.clone(), Some(state.record.customer), mark))
            }
        }
    }

    async fn check(&self, tenant: &TenantId, watched: &Watched, alert: &Alert) -> Result<(), MeteringError> {
        alert.check()?;
        if alert.alert_type.is_of_wallet() != matches!(watched, Watched::Wallet(_)) {
            let problem = format!("`{}` does not watch a {}", alert.alert_type.as_str(), watched.kind());
            return Err(DefinitionError::new("alert_type", problem).into());
        }
        if let Some(code) = &alert.billable_metric_code {
            self.catalog().get::<BillableMetric>(tenant, code).await?;
        }
        Ok(())
    }

    fn leaf(&self, by: &NhiId, action: &str, alerts: &[AlertRecord]) -> Result<Leaf, MeteringError> {
        let resource = match alerts {
            [one] => format!("alert:{}", one.id),
            _ => "alert:several".to_owned(),
        };
        event_leaf(&*self.options.clock, by, action, &resource)
    }

    /// Looks at everything that changed, and tells of what it passed. What cannot be looked at now is looked at the next time.
    ///
    /// Answers how often somebody was told.
    pub async fn look(&self) -> Result<u64, MeteringError> {
        let (mut told, mut after) = (0_u64, None::<Due>);
        loop {
            let page = store::due(self.db(), after.as_ref(), DUE_MAX).await?;
            for due in &page {
                match self.look_at(due).await {
                    Ok(more) => told = told.saturating_add(more),
                    Err(error) => {
                        tracing::warn!(tenant = %due.tenant, watched = due.mark.watched.name(), %error, "an alert cannot be looked at yet");
                    }
                }
            }
            match page.into_iter().last() {
                Some(last) => after = Some(last),
                None => return Ok(told),
            }
        }
    }

    async fn look_at(&self, due: &Due) -> Result<u64, MeteringError> {
        let (tenant, mut told) = (&due.tenant, 0_u64);
        let server = &self.options.server;
        let by = NhiId::new(server.trust_domain(), tenant, server.kind(), server.name());
        let by = by.map_err(|e| DefinitionError::new("tenant", e.to_string()))?;
        let alerts = store::of(self.db(), tenant, &due.mark.watched).await?;
        if !alerts.is_empty() {
            let looking = self.looking(due).await?;
            for alert in alerts {
                told = told.saturating_add(u64::from(self.look_by(&by, due, &looking, alert).await?));
            }
        }
        store::looked(self.db(), due).await?;
        Ok(told)
    }

    async fn looking(&self, due: &Due) -> Result<Looking, MeteringError> {
        let unknown = |kind, code: &str| MeteringError::UnknownDefinition { kind, code: code.to_owned() };
        match &due.mark.watched {
            Watched::Subscription(_) => {
                let named = &due.mark.subscription;
                let id = named.parse().map_err(|_| unknown("subscription", named))?;
                let view = Box::new(self.catalog().view_of(&due.tenant, id).await?);
                let from = Timestamp::from_micros(due.mark.period).unwrap_or(view.subscription.begins_at);
                let usage = self.options.meter.usage_of_period(&due.tenant, &view, charge_period(&view, from)).await?;
                Ok(Looking::Subscription { view, usage })
            }
            Watched::Wallet(named) => Ok(Looking::Wallet { id: named.parse().map_err(|_| unknown("wallet", named))? }),
        }
    }

    /// Whether somebody was told.
    async fn look_by(&self, by: &NhiId, due: &Due, looking: &Looking, alert: AlertRecord) -> Result<bool, MeteringError> {
        let (tenant, now) = (by.tenant(), self.options.clock.now());
        let scope = if alert.alert.alert_type.is_of_period() { due.mark.scope() } else { String::new() };
        let mut alert = alert;
        for _ in 0..TRIES_MAX {
            let (revision, seen) = store::seen(self.db(), tenant, alert.id, &scope).await?;
            let value = self.value(tenant, looking, &alert.alert).await?;
            let direction = alert.alert.alert_type.direction();
            let (crossed, after) = alert::look(&alert.alert.thresholds, direction, seen.as_ref(), &value);
            if crossed.is_empty() || due.quiet {
                if seen.as_ref() == Some(&after) || store::see_quietly(self.db(), tenant, &alert, &scope, revision, &after, now).await? {
                    return Ok(false);
                }
            } else {
                let before = seen.map_or(Exact::ZERO, |seen| seen.value);
                let leaf = self.told_leaf(by, due, looking, &alert, (&before, &value), &crossed)?;
                let writes = store::see(tenant, &alert, &scope, revision, &after, now)?;
                match commit(self.db(), Sealed::new(leaf).steps(boxed(writes))).await {
                    Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {}
                    done => return done.map(|()| true),
                }
            }
            // Somebody else was faster, or the alert was changed or removed.
            match store::by_id(self.db(), tenant, alert.id).await? {
                Some(again) => alert = again,
                None => return Ok(false),
            }
        }
        Err(MeteringError::Conflict { code: CHANGED, message: "the alert is looked at by many at once".to_owned() })
    }

    /// What an alert compares with its thresholds, now.
    async fn value(&self, tenant: &TenantId, looking: &Looking, alert: &Alert) -> Result<Exact, MeteringError> {
        use AlertType as T;
        let metric = alert.billable_metric_code.as_deref().unwrap_or_default();
        match looking {
            Looking::Subscription { view, usage } => Ok(match alert.alert_type {
                T::BillableMetricCurrentUsageAmount => usage.amount_of(metric),
                T::BillableMetricCurrentUsageUnits => usage.units_of(&view.plan, metric),
                T::LifetimeUsageAmount => self.lifetime_cents(tenant, view).await?,
                T::BillableMetricLifetimeUsageUnits => self.lifetime_units(tenant, view, metric).await?,
                _ => usage.amount_cents.clone(),
            }),
            Looking::Wallet { id } => {
                let state = self.wallets().get(tenant, *id).await?;
                let wallet = &state.record.wallet;
                let credits = |units: Exact| units.over(&wallet.rate_amount).unwrap_or_default();
                let ongoing = async || -> Result<Exact, MeteringError> {
                    let used = self.options.billing.ongoing(tenant, &state).await?;
                    Ok(Exact::from(state.balance) - Exact::from(used))
                };
                Ok(match alert.alert_type {
                    T::WalletBalanceAmount => Exact::from(state.balance) * wallet.currency.subunits(),
                    T::WalletOngoingBalanceAmount => ongoing().await? * wallet.currency.subunits(),
                    T::WalletCreditsOngoingBalance => credits(ongoing().await?),
                    _ => state.credits_balance.clone(),
                })
            }
        }
    }

    async fn lifetime_cents(&self, tenant: &TenantId, view: &SubscriptionView) -> Result<Exact, MeteringError> {
        let billing = &self.options.billing;
        let billed = billing.billed_usage_cents(tenant, &view.subscription.external_id).await?;
        let now = billing.now(tenant).await?;
        let so_far = if view.covers(now) { billing.usage_so_far(tenant, view, now).await?.1.fees_cents } else { 0 };
        Ok(Exact::from(billed) + Exact::from(so_far))
    }

    /// Of every subscription that had the external identifier.
    async fn lifetime_units(&self, tenant: &TenantId, view: &SubscriptionView, metric: &str) -> Result<Exact, MeteringError> {
        let mut units = Exact::ZERO;
        for each in self.catalog().reader(tenant).await?.history(&view.subscription.external_id).await?.iter() {
            units += &self.options.meter.lifetime_units(tenant, each, metric).await?;
        }
        Ok(units)
    }

    fn told_leaf(
        &self,
        by: &NhiId,
        due: &Due,
        looking: &Looking,
        alert: &AlertRecord,
        (before, value): (&Exact, &Exact),
        crossed: &[Crossed],
    ) -> Result<Leaf, MeteringError> {
        let leaf = event_leaf(&*self.options.clock, by, "metering.trigger_alert", &format!("alert:{}", alert.id))?
            .fact("type", alert.alert.alert_type.as_str())
            .fact("value", value)
            .fact("previous", before)
            .fact("crossed", canonical_text(&crossed)?)
            .fact("revision", alert.revision);
        Ok(match looking {
            Looking::Subscription { view, .. } if alert.alert.alert_type.is_of_period() => {
                leaf.fact("subscription", view.subscription.id).fact("period_start_micros", due.mark.period)
            }
            Looking::Subscription { view, .. } => leaf.fact("subscription", view.subscription.id),
            Looking::Wallet { id } => leaf.fact("wallet", id),
        })
    }
}

/// What the leaf of a change says of the alerts.
fn described(leaf: Leaf, alerts: &[AlertRecord]) -> Leaf {
    let each = |of: fn(&AlertRecord) -> String| alerts.iter().map(of).collect::<Vec<_>>().join(" ");
    let thresholds = |it: &AlertRecord| {
        let values = it.alert.thresholds.iter().map(|threshold| threshold.value.to_string());
        values.collect::<Vec<_>>().join(",")
    };
    leaf.fact("alerts", each(|it| it.id.to_string()))
        .fact("types", each(|it| it.alert.alert_type.as_str().to_owned()))
        .fact("thresholds", each(thresholds))
}

fn unknown(code: &str) -> MeteringError {
    MeteringError::UnknownDefinition { kind: KIND, code: code.chars().take(80).collect() }
}

/// A name that is taken is named in the refusal.
fn taken(error: MeteringError, made: &[AlertRecord]) -> MeteringError {
    match error {
        MeteringError::Conflict { code, message } if code == store::EXISTS => {
            let named = made.iter().find(|it| message.contains(&format!("`{}`", it.alert.code)));
            MeteringError::AlreadyExists { kind: KIND, code: named.map(|it| it.alert.code.clone()).unwrap_or_default() }
        }
        other => other,
    }
}
