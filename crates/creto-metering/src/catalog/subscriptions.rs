//! The life of a subscription: begin, change of plan, move to another version, end. Each is one commit.

use creto_db::{Sealed, Write};
use creto_kernel::{NhiId, TenantId, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Catalog, SubscriptionView, boxed, canonical_text, fresh_salt};
use crate::error::MeteringError;
use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::definition::{self, DefinitionError};
use crate::model::entry::{Defined, Kind};
use crate::model::overrides::PlanOverrides;
use crate::model::page::{Listed, Page};
use crate::model::plan::{Interval, Plan};
use crate::model::subscription::{Agreed, Subscription, SubscriptionId, SubscriptionInput, SubscriptionStatus};
use crate::store::{catalog, subscriptions as store};

/// Most subscriptions that begin or end in one look.
const DUE_MAX: i64 = 500;

/// How often the terms of one subscription change at most.
const EARLIER_MAX: usize = 1_000;

/// What of a subscription can be changed in place. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// A name that invoices show instead of the plan's.
    #[serde(default)]
    pub name: Option<String>,
    /// When it ends by itself.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub ending_at: Option<Timestamp>,
    /// When it begins; of a pending one only.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub subscription_at: Option<Timestamp>,
    /// The plan's version it moves to; usage of the running period is priced by it, and periods that are over keep theirs.
    #[serde(default)]
    pub plan_version: Option<u32>,
    /// What differs from the plan, in place of what differed before; from the running period on.
    #[serde(default)]
    pub overrides: Option<PlanOverrides>,
}

/// What a pass over time did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How many began.
    pub begun: u64,
    /// How many ended.
    pub ended: u64,
}

impl Catalog {
    /// Begins a subscription; for an external identifier that runs already, changes its plan: at once to one that costs as much or more in
    /// a year, at the end of the period to a cheaper one.
    pub async fn subscribe(&self, by: &NhiId, input: SubscriptionInput) -> Result<Subscription, MeteringError> {
        input.check()?;
        let tenant = by.tenant();
        let customer = self.get::<Customer>(tenant, &input.external_customer_id).await?;
        let head = self.get::<Plan>(tenant, &input.plan_code).await?;
        let plan = match input.plan_version {
            Some(version) if version != head.version => self.version::<Plan>(tenant, head.id, version).await?,
            _ => head,
        };
        check_currency(&customer.body, plan.body.amount_currency)?;
        if let Some(overrides) = &input.overrides {
            overrides.apply(&plan.body)?;
        }
        match store::in_state(&self.db, tenant, &input.external_id, SubscriptionStatus::Active).await? {
            None => self.begin(by, &input, &customer, &plan).await,
            Some(running) if running.customer != customer.id || running.plan == plan.id => {
                Err(MeteringError::AlreadyExists { kind: "subscription", code: input.external_id })
            }
            Some(running) => self.change_plan(by, &input, &customer, &plan, running).await,
        }
    }

    async fn begin(
        &self,
        by: &NhiId,
        input: &SubscriptionInput,
        customer: &Defined<Customer>,
        plan: &Defined<Plan>,
    ) -> Result<Subscription, MeteringError> {
        let now = self.now(by.tenant()).await?;
        let begins_at = input.subscription_at.unwrap_or(now);
        let mut made = Subscription::new(input, customer, plan, begins_at, now);
        if begins_at <= now {
            made.status = SubscriptionStatus::Active;
            made.started_at = Some(begins_at);
        }
        let mut writes = store::insert(by.tenant(), &made, &canonical_text(&made)?);
        writes.extend(self.first_currency(by, customer, plan.body.amount_currency)?);
        self.record(by, "metering.subscribe", &made, writes).await?;
        Ok(made)
    }

    async fn change_plan(
        &self,
        by: &NhiId,
        input: &SubscriptionInput,
        customer: &Defined<Customer>,
        plan: &Defined<Plan>,
        running: Subscription,
    ) -> Result<Subscription, MeteringError> {
        let tenant = by.tenant();
        let now = self.now(tenant).await?;
        let view = self.view(tenant, running.clone()).await?;
        let mut made = follower(&view, input, customer, plan, now)?;
        let mut writes = Vec::new();
        if let Some(waiting) = store::in_state(&self.db, tenant, &input.external_id, SubscriptionStatus::Pending).await? {
            writes.extend(replaced(tenant, &waiting.canceled(now))?);
        }
        if !made.is_downgrade {
            writes.extend(replaced(tenant, &running.ended(now, now))?);
            made.status = SubscriptionStatus::Active;
            made.started_at = Some(now);
        }
        writes.extend(store::insert(tenant, &made, &canonical_text(&made)?));
        self.record(by, "metering.change_plan", &made, writes).await?;
        Ok(made)
    }

    /// The subscription that a change to the plan of this code would make of one that runs.
    pub(crate) async fn changed_to(
        &self,
        tenant: &TenantId,
        view: &SubscriptionView,
        customer: &Defined<Customer>,
        plan_code: &str,
        now: Timestamp,
    ) -> Result<Subscription, MeteringError> {
        let plan = self.get::<Plan>(tenant, plan_code).await?;
        let running = &view.subscription;
        if running.plan == plan.id {
            return Err(MeteringError::AlreadyExists { kind: "subscription", code: running.external_id.clone() });
        }
        check_currency(&customer.body, plan.body.amount_currency)?;
        let input = SubscriptionInput {
            external_id: running.external_id.clone(),
            external_customer_id: running.external_customer_id.clone(),
            plan_code: plan_code.to_owned(),
            plan_version: None,
            name: String::new(),
            billing_time: running.billing_time,
            subscription_at: None,
            ending_at: None,
            overrides: None,
        };
        follower(view, &input, customer, &plan, now)
    }

    /// Changes the terms of a subscription that runs or waits.
    pub async fn amend(&self, by: &NhiId, external_id: &str, terms: Terms) -> Result<Subscription, MeteringError> {
        let tenant = by.tenant();
        let before = self.current(tenant, external_id).await?;
        let now = self.now(tenant).await?;
        if !matches!(before.status, SubscriptionStatus::Active | SubscriptionStatus::Pending) {
            return Err(MeteringError::WrongState(format!("the subscription `{external_id}` is {}", before.status.as_str())));
        }
        if terms.subscription_at.is_some() && before.status != SubscriptionStatus::Pending {
            return Err(MeteringError::WrongState(format!("the subscription `{external_id}` has begun, so its start stays")));
        }
        if terms.ending_at.is_some_and(|end| end <= now) {
            return Err(DefinitionError::new("ending_at", "is not in the future").into());
        }
        definition::text("name", terms.name.as_deref().unwrap_or_default())?;
        let version = terms.plan_version.unwrap_or(before.plan_version);
        let plan = self.version::<Plan>(tenant, before.plan, version).await?;
        if let Some(overrides) = terms.overrides.as_ref().or(before.overrides.as_ref()) {
            overrides.apply(&plan.body)?;
        }
        let overrides = terms.overrides.or_else(|| before.overrides.clone());
        let changes = (version, &overrides) != (before.plan_version, &before.overrides);
        if changes && before.earlier.len() >= EARLIER_MAX {
            return Err(MeteringError::WrongState(format!("the terms of `{external_id}` were changed {EARLIER_MAX} times already")));
        }
        let after = before.next(now, |it| {
            if changes && before.status == SubscriptionStatus::Active {
                let (plan_version, overrides) = (before.plan_version, before.overrides.clone());
                it.earlier.push(Agreed { until: now, plan_version, overrides });
            }
            it.plan_version = version;
            it.name = terms.name.unwrap_or_else(|| it.name.clone());
            it.ending_at = terms.ending_at.or(it.ending_at);
            it.overrides = overrides;
            if let Some(at) = terms.subscription_at {
                it.subscription_at = at;
                it.begins_at = at;
            }
        });
        self.record(by, "metering.amend_subscription", &after, replaced(tenant, &after)?).await?;
        Ok(after)
    }

    /// Ends a subscription now, and cancels what waits behind it.
    pub async fn terminate(&self, by: &NhiId, external_id: &str) -> Result<Subscription, MeteringError> {
        let tenant = by.tenant();
        let now = self.now(tenant).await?;
        let waiting = store::in_state(&self.db, tenant, external_id, SubscriptionStatus::Pending).await?;
        let running = store::in_state(&self.db, tenant, external_id, SubscriptionStatus::Active).await?;
        let (canceled, ended) = (waiting.map(|it| it.canceled(now)), running.map(|it| it.ended(now, now)));
        let mut writes = Vec::new();
        for change in canceled.iter().chain(&ended) {
            writes.extend(replaced(tenant, change)?);
        }
        let shown = ended.or(canceled).ok_or_else(|| unknown(external_id))?;
        self.record(by, "metering.terminate_subscription", &shown, writes).await?;
        Ok(shown)
    }

    /// Begins and ends what is due by `now`; each is a commit of its own, so that a pass that was cut is continued by the next.
    pub async fn pass_time(&self, by: &NhiId, now: Timestamp) -> Result<Passed, MeteringError> {
        let mut passed = Passed::default();
        loop {
            let due = store::due(&self.db, by.tenant(), now, DUE_MAX).await?;
            if due.is_empty() {
                return Ok(passed);
            }
            for subscription in due {
                match self.come_due(by, &subscription, now).await {
                    Ok(()) if subscription.status == SubscriptionStatus::Pending => passed.begun += 1,
                    Ok(()) => passed.ended += 1,
                    // Somebody else was faster; the next look sees what they did.
                    Err(MeteringError::Conflict { code, .. }) if code == catalog::CHANGED => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn come_due(&self, by: &NhiId, subscription: &Subscription, now: Timestamp) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        if let (SubscriptionStatus::Active, Some(end)) = (subscription.status, subscription.ending_at) {
            let over = subscription.ended(end, now);
            return self.record(by, "metering.end_subscription", &over, replaced(tenant, &over)?).await;
        }
        let begun = subscription.begun(now);
        let mut writes = Vec::new();
        if let Some(running) = store::in_state(&self.db, tenant, &subscription.external_id, SubscriptionStatus::Active).await? {
            writes.extend(replaced(tenant, &running.ended(begun.begins_at, now))?);
        }
        writes.extend(replaced(tenant, &begun)?);
        self.record(by, "metering.begin_subscription", &begun, writes).await
    }

    /// The subscription of this identifier that runs; else the one that waits; else the last that ended.
    pub async fn current(&self, tenant: &TenantId, external_id: &str) -> Result<Subscription, MeteringError> {
        use SubscriptionStatus::{Active, Canceled, Pending, Terminated};
        for status in [Active, Pending, Terminated, Canceled] {
            if let Some(found) = store::in_state(&self.db, tenant, external_id, status).await? {
                return Ok(found);
            }
        }
        Err(unknown(external_id))
    }

    /// The subscription of this external identifier in this state.
    pub async fn subscription_in(
        &self,
        tenant: &TenantId,
        external_id: &str,
        status: SubscriptionStatus,
    ) -> Result<Option<Subscription>, MeteringError> {
        Ok(store::in_state(&self.db, tenant, external_id, status).await?)
    }

    /// The subscription of this identifier.
    pub async fn subscription_by_id(&self, tenant: &TenantId, id: SubscriptionId) -> Result<Subscription, MeteringError> {
        store::by_id(&self.db, tenant, id).await?.ok_or_else(|| unknown(&id.to_string()))
    }

    /// A page of subscriptions, newest first.
    pub async fn subscriptions(
        &self,
        tenant: &TenantId,
        filter: &store::SubscriptionFilter,
        page: Page,
    ) -> Result<Listed<Subscription>, MeteringError> {
        Ok(store::list(&self.db, tenant, filter, page).await?)
    }

    /// A page of subscriptions in any of these states, newest first.
    pub async fn subscriptions_in(
        &self,
        tenant: &TenantId,
        filter: &store::SubscriptionFilter,
        states: &[SubscriptionStatus],
        page: Page,
    ) -> Result<Listed<Subscription>, MeteringError> {
        Ok(store::list_in(&self.db, tenant, filter, states, page).await?)
    }

    async fn record(&self, by: &NhiId, action: &str, it: &Subscription, writes: Vec<Write>) -> Result<(), MeteringError> {
        let leaf = self
            .leaf(by, action, "subscription", &it.id)?
            .fact("status", it.status.as_str())
            .fact("plan", it.plan)
            .fact("plan_version", it.plan_version)
            .fact("customer", it.customer)
            .fact("revision", it.revision);
        self.commit(Sealed::new(leaf).steps(boxed(writes))).await
    }

    /// A customer without a currency gets the one it is first billed in.
    pub(crate) fn first_currency(&self, by: &NhiId, customer: &Defined<Customer>, currency: Currency) -> Result<Vec<Write>, MeteringError> {
        if customer.body.currency.is_some() {
            return Ok(Vec::new());
        }
        let body = Customer { currency: Some(currency.as_str().to_owned()), ..customer.body.clone() };
        let (text, salt) = (canonical_text(&body)?, fresh_salt()?);
        let written = catalog::Written {
            kind: Kind::Customer,
            id: customer.id,
            code: &body.external_id,
            version: customer.version.saturating_add(1),
            body: &text,
            salt: &salt,
            now: self.clock.now(),
        };
        Ok(catalog::replace(by.tenant(), &written))
    }
}

/// Amounts of two currencies never meet.
pub(crate) fn check_currency(customer: &Customer, currency: Currency) -> Result<(), MeteringError> {
    match customer.currency.as_deref() {
        Some(own) if own != currency.as_str() => {
            Err(MeteringError::CurrencyMismatch { expected: own.to_owned(), found: currency.as_str().to_owned() })
        }
        _ => Ok(()),
    }
}

/// What a plan costs in a year: what decides between upgrade and downgrade.
fn yearly(plan: &Plan) -> i64 {
    let times = match plan.interval {
        Interval::Weekly => 52,
        Interval::Monthly => 12,
        Interval::Quarterly => 4,
        Interval::Semiannual => 2,
        Interval::Yearly => 1,
    };
    plan.amount_cents.saturating_mul(times)
}

impl Subscription {
    /// One that waits.
    pub(crate) fn new(
        input: &SubscriptionInput,
        customer: &Defined<Customer>,
        plan: &Defined<Plan>,
        begins_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            id: SubscriptionId::generate(),
            external_id: input.external_id.clone(),
            customer: customer.id,
            external_customer_id: customer.body.external_id.clone(),
            plan: plan.id,
            plan_code: plan.body.code.clone(),
            plan_version: plan.version,
            overrides: input.overrides.clone(),
            earlier: Vec::new(),
            name: input.name.clone(),
            status: SubscriptionStatus::Pending,
            billing_time: input.billing_time,
            subscription_at: input.subscription_at.unwrap_or(begins_at),
            begins_at,
            started_at: None,
            ending_at: input.ending_at,
            terminated_at: None,
            canceled_at: None,
            previous: None,
            previous_plan_code: None,
            is_downgrade: false,
            created_at: now,
            updated_at: now,
            revision: 1,
        }
    }

    /// Its next revision.
    fn next(&self, now: Timestamp, change: impl FnOnce(&mut Self)) -> Self {
        let mut after = self.clone();
        after.revision = self.revision.saturating_add(1);
        after.updated_at = now;
        change(&mut after);
        after
    }

    /// The same, as it runs.
    pub(crate) fn begun(&self, now: Timestamp) -> Self {
        self.next(now, |it| {
            it.status = SubscriptionStatus::Active;
            it.started_at = Some(it.begins_at);
        })
    }

    /// The same, over.
    pub(crate) fn ended(&self, at: Timestamp, now: Timestamp) -> Self {
        self.next(now, |it| {
            it.status = SubscriptionStatus::Terminated;
            it.terminated_at = Some(at);
        })
    }

    fn canceled(&self, now: Timestamp) -> Self {
        self.next(now, |it| {
            it.status = SubscriptionStatus::Canceled;
            it.canceled_at = Some(now);
        })
    }
}

/// The subscription that a change of plan makes of one that runs: at once to a plan that costs as much or more in a year, at the end of the
/// period to a cheaper one.
fn follower(
    view: &SubscriptionView,
    input: &SubscriptionInput,
    customer: &Defined<Customer>,
    plan: &Defined<Plan>,
    now: Timestamp,
) -> Result<Subscription, MeteringError> {
    let next_plan = match &input.overrides {
        Some(overrides) => overrides.apply(&plan.body)?,
        None => plan.body.clone(),
    };
    let running = &view.subscription;
    let is_downgrade = yearly(&next_plan) < yearly(&view.plan);
    let begins_at = if is_downgrade { view.period(now).to_exclusive(&view.zone) } else { now };
    Ok(Subscription {
        // Periods keep their day over a change of plan.
        subscription_at: running.subscription_at,
        billing_time: running.billing_time,
        previous: Some(running.id),
        previous_plan_code: Some(running.plan_code.clone()),
        is_downgrade,
        ..Subscription::new(input, customer, plan, begins_at, now)
    })
}

fn replaced(tenant: &TenantId, after: &Subscription) -> Result<Vec<Write>, MeteringError> {
    Ok(store::replace(tenant, after, &canonical_text(after)?))
}

fn unknown(external_id: &str) -> MeteringError {
    MeteringError::UnknownDefinition { kind: "subscription", code: external_id.to_owned() }
}
