//! Runs of billing: visible, and continued where they stopped. Each step is a commit of its own that can only happen once, so that two
//! runs at once, or one that was killed, bill the same as one that was not.

use creto_db::Sealed;
use creto_kernel::{Micros, NhiId, TenantId, Timestamp};

use super::drafting::{is_in_advance, too_large};
use super::{Billing, store};
use crate::catalog::{SubscriptionView, canonical_text, commit, event_leaf};
use crate::core::exact::Exact;
use crate::core::posting::Progress;
use crate::error::MeteringError;
use crate::model::invoice::{BillingRun, BillingRunId, InvoiceKind};
use crate::model::page::{Listed, PER_PAGE_MAX, Page};
use crate::model::subscription::{Subscription, SubscriptionStatus};
use crate::model::wallet::TopUpTrigger;
use crate::model::wallets::{WalletState, WalletStatus};
use crate::store::catalog::CHANGED;
use crate::store::subscriptions::SubscriptionFilter;

/// Subscriptions and drafts of one step.
const STEP_MAX: i64 = 50;
/// Most failures a run notes.
const FAILURES_MAX: usize = 100;

impl Billing {
    /// Bills everything of the tenant that is due; a run that was cut is continued first.
    pub async fn run(&self, by: &NhiId) -> Result<BillingRun, MeteringError> {
        let tenant = by.tenant();
        let mut run = match store::running(&self.db, tenant).await? {
            Some(run) => run,
            None => match self.begin_run(by).await {
                // Somebody else began one: both go on with it.
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED => match store::running(&self.db, tenant).await? {
                    Some(run) => run,
                    None => self.begin_run(by).await?,
                },
                begun => begun?,
            },
        };
        while !run.done {
            run = self.step(by, run).await?;
        }
        Ok(run)
    }

    /// Whether a run has anything to look at: one that was cut, a subscription, a wallet or a draft. A tenant without any leaves no trace.
    pub async fn is_due(&self, tenant: &TenantId) -> Result<bool, MeteringError> {
        if store::running(&self.db, tenant).await?.is_some() {
            return Ok(true);
        }
        let now = self.now(tenant).await?;
        if !crate::store::subscriptions::due(&self.db, tenant, now, 1).await?.is_empty()
            || !store::due_drafts(&self.db, tenant, now, 1).await?.is_empty()
            || !store::unbilled_purchases(&self.db, tenant, 1).await?.is_empty()
            || self.has_advance(tenant).await?
            || !crate::store::wallets::expired_lots(&self.db, tenant, now, 1).await?.is_empty()
        {
            return Ok(true);
        }
        let mut after = String::new();
        loop {
            let billable = store::billable(&self.db, tenant, &after, STEP_MAX).await?;
            let Some((last, _)) = billable.last() else { break };
            after = last.id.to_string();
            for (subscription, billed_to) in billable {
                let view = self.catalog.view(tenant, subscription).await?;
                let begins = view.plan.pay_in_advance && view.subscription.started_at == Some(billed_to);
                if begins || view.due(billed_to, now).is_some() || !view.plan.usage_thresholds.is_empty() {
                    return Ok(true);
                }
            }
        }
        // Rules of wallets are looked at where there are any.
        let wallets = crate::store::wallets::walk(&self.db, tenant, "", STEP_MAX).await?;
        Ok(wallets.iter().any(|wallet| !wallet.wallet.recurring_transaction_rules.is_empty()))
    }

    async fn begin_run(&self, by: &NhiId) -> Result<BillingRun, MeteringError> {
        let now = self.now(by.tenant()).await?;
        let run = BillingRun {
            id: BillingRunId::generate(),
            until: now,
            done: false,
            stage: "subscriptions".to_owned(),
            cursor: String::new(),
            turned: 0,
            drafted: 0,
            finalized: 0,
            failures: Vec::new(),
            started_at: now,
            finished_at: None,
            revision: 1,
        };
        let leaf = event_leaf(&*self.clock, by, "metering.begin_billing_run", &format!("billing_run:{}", run.id))?.fact("until", run.until);
        commit(&self.db, Sealed::new(leaf).step(store::insert_run(by.tenant(), &run, &canonical_text(&run)?))).await?;
        Ok(run)
    }

    /// One step of a run; what it has done is noted after it was done, and doing it again does nothing.
    async fn step(&self, by: &NhiId, before: BillingRun) -> Result<BillingRun, MeteringError> {
        let mut run = before.clone();
        let next = match run.stage.as_str() {
            "subscriptions" => {
                let passed = self.catalog.pass_time(by, run.until).await?;
                run.turned += passed.begun + passed.ended;
                let (billed, failures) = self.bill_advance(by).await?;
                run.drafted += billed;
                run.failures.extend(failures);
                Some("wallets")
            }
            "wallets" => {
                self.wallets.pass_time(by, run.until).await?;
                self.check_wallets(by).await?;
                run.drafted += self.bill_purchases(by).await?;
                Some("drafts")
            }
            "drafts" => self.draft_some(by, &mut run).await?.then_some("finalize"),
            "finalize" => self.finalize_some(by, &mut run).await?.then_some("done"),
            _ => Some("done"),
        };
        if let Some(stage) = next {
            (run.stage, run.cursor) = (stage.to_owned(), String::new());
        }
        if run.stage == "done" {
            (run.done, run.finished_at) = (true, Some(self.now(by.tenant()).await?));
        }
        self.note_run(by, &before, run).await
    }

    /// Notes how far a run came. Where somebody else continued it meanwhile, theirs stands.
    async fn note_run(&self, by: &NhiId, before: &BillingRun, mut run: BillingRun) -> Result<BillingRun, MeteringError> {
        run.revision = before.revision.saturating_add(1);
        run.failures.truncate(FAILURES_MAX);
        let leaf = event_leaf(&*self.clock, by, "metering.continue_billing_run", &format!("billing_run:{}", run.id))?
            .fact("stage", &run.stage)
            .fact("drafted", run.drafted)
            .fact("finalized", run.finalized);
        match commit(&self.db, Sealed::new(leaf).step(store::replace_run(by.tenant(), &run, &canonical_text(&run)?))).await {
            Ok(()) => Ok(run),
            Err(MeteringError::Conflict { code, .. }) if code == CHANGED => self.billing_run(by.tenant(), run.id).await,
            Err(error) => Err(error),
        }
    }

    /// Whether all subscriptions were looked at.
    async fn draft_some(&self, by: &NhiId, run: &mut BillingRun) -> Result<bool, MeteringError> {
        let due = store::billable(&self.db, by.tenant(), &run.cursor, STEP_MAX).await?;
        let Some((last, _)) = due.last() else { return Ok(true) };
        run.cursor = last.id.to_string();
        for (subscription, billed_to) in due {
            let id = subscription.id;
            match self.bill_subscription(by, subscription, billed_to, run.until).await {
                Ok(drafted) => run.drafted += drafted,
                // Another run was faster.
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {}
                // One subscription that cannot be billed does not keep the others from it.
                Err(error) if is_own(&error) => run.failures.push(format!("{id}: {error}")),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn bill_subscription(
        &self,
        by: &NhiId,
        subscription: Subscription,
        billed_to: Timestamp,
        until: Timestamp,
    ) -> Result<u64, MeteringError> {
        let view = self.catalog.view(by.tenant(), subscription).await?;
        let mut drafted = self.draft_due(by, &view, billed_to, until).await?;
        drafted += u64::from(self.bill_progress(by, &view, until).await?);
        Ok(drafted)
    }

    /// Whether all drafts that are due were finalized.
    async fn finalize_some(&self, by: &NhiId, run: &mut BillingRun) -> Result<bool, MeteringError> {
        let due = store::due_drafts(&self.db, by.tenant(), run.until, STEP_MAX + i64::try_from(run.failures.len()).unwrap_or(0)).await?;
        let mut progressed = false;
        for id in due {
            if run.failures.iter().any(|failure| failure.starts_with(&id.to_string())) {
                continue;
            }
            match self.finalize(by, id).await {
                Ok(_) => {
                    run.finalized += 1;
                    progressed = true;
                }
                // Another run was faster.
                Err(MeteringError::WrongState(_)) => {}
                Err(error) if is_own(&error) => run.failures.push(format!("{id}: {error}")),
                Err(error) => return Err(error),
            }
        }
        Ok(!progressed)
    }

    /// Bills usage of a running period where it has reached a threshold. Whether it did.
    async fn bill_progress(&self, by: &NhiId, view: &SubscriptionView, until: Timestamp) -> Result<bool, MeteringError> {
        let tenant = by.tenant();
        if view.plan.usage_thresholds.is_empty() || view.subscription.status != SubscriptionStatus::Active {
            return Ok(false);
        }
        let period = view.period(until);
        let started = view.subscription.started_at.unwrap_or(until);
        let (from, to) = (period.from(&view.zone).max(started), period.to_exclusive(&view.zone));
        let fees = self.running_fees(tenant, view, from, to).await?;
        let used: i64 = fees.iter().map(|fee| fee.amount_cents).sum();
        let billed = self.billed_before(tenant, view, from, to).await?;
        let mut progress = Progress { used: Exact::from(billed), peak: Exact::from(billed), billed: Exact::from(billed) };
        if progress.record(&Exact::from(used.saturating_sub(billed)), &view.plan.usage_thresholds).is_none() {
            return Ok(false);
        }
        let kind = InvoiceKind::ProgressiveBilling;
        let invoice = self.new_invoice(tenant, &view.customer.body, view.customer.id, view.currency, kind, until).await?;
        let once = format!("progress:{}:{from}:{used}", view.subscription.id);
        match self.insert_draft(by, invoice, fees, &once, billed).await {
            Ok(_) => Ok(true),
            Err(MeteringError::Conflict { code, .. }) if code == CHANGED => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fills up wallets whose balance, less what was used and not billed yet, is at a threshold.
    async fn check_wallets(&self, by: &NhiId) -> Result<(), MeteringError> {
        let tenant = by.tenant();
        let mut after = String::new();
        loop {
            let wallets = crate::store::wallets::walk(&self.db, tenant, &after, STEP_MAX).await?;
            let Some(last) = wallets.last() else { return Ok(()) };
            after = last.id.to_string();
            for wallet in &wallets {
                let rules = &wallet.wallet.recurring_transaction_rules;
                if rules.iter().any(|rule| rule.trigger == TopUpTrigger::Threshold) {
                    let unbilled = self.unbilled(tenant, wallet.customer).await?;
                    self.wallets.check_thresholds(by, wallet.id, unbilled).await?;
                }
            }
        }
    }

    /// What a customer used and was not billed for yet.
    pub async fn unbilled(&self, tenant: &TenantId, customer: crate::model::entry::DefinitionId) -> Result<Micros, MeteringError> {
        let now = self.now(tenant).await?;
        let filter =
            SubscriptionFilter { customer: Some(customer), status: Some(SubscriptionStatus::Active), ..SubscriptionFilter::default() };
        let running = self.catalog.subscriptions(tenant, &filter, Page::new(1, PER_PAGE_MAX)).await?;
        let mut sum = Exact::ZERO;
        for subscription in running.items {
            let view = self.catalog.view(tenant, subscription).await?;
            let period = view.period(now);
            let from = period.from(&view.zone).max(view.subscription.started_at.unwrap_or(now));
            let used = self.usage.used(tenant, &view, from, period.to_exclusive(&view.zone)).await?;
            sum += &used.iter().filter(|used| !is_in_advance(&view, used)).map(|used| &used.amount).sum::<Exact>();
        }
        crate::core::posting::rounded(&sum).ok_or_else(too_large)
    }

    /// What of the customer's unbilled usage would be paid by this wallet: wallets of its currency pay in their order, each what it holds,
    /// and the last one what is left.
    pub async fn ongoing(&self, tenant: &TenantId, wallet: &WalletState) -> Result<Micros, MeteringError> {
        let (id, customer, currency) = (wallet.record.id, wallet.record.customer, wallet.record.wallet.currency);
        if wallet.record.status != WalletStatus::Active {
            return Ok(Micros::ZERO);
        }
        let active = self.wallets.list(tenant, Some(customer), Some(WalletStatus::Active), Page::new(1, PER_PAGE_MAX)).await?;
        let mut own: Vec<WalletState> = active.items.into_iter().filter(|it| it.record.wallet.currency == currency).collect();
        own.sort_by_key(|it| (it.record.wallet.priority, it.record.created_at, it.record.id));
        let mut left = self.unbilled(tenant, customer).await?;
        let last = own.len().saturating_sub(1);
        for (at, it) in own.iter().enumerate() {
            let pays = if at == last { left } else { left.min(it.balance).max(Micros::ZERO) };
            if it.record.id == id {
                return Ok(pays);
            }
            left = left.checked_sub(pays).unwrap_or(Micros::ZERO);
        }
        Ok(Micros::ZERO)
    }

    /// One run.
    pub async fn billing_run(&self, tenant: &TenantId, id: BillingRunId) -> Result<BillingRun, MeteringError> {
        let found = store::run(&self.db, tenant, id).await?;
        found.ok_or_else(|| MeteringError::UnknownDefinition { kind: "billing run", code: id.to_string() })
    }

    /// A page of runs, newest first.
    pub async fn runs(&self, tenant: &TenantId, page: Page) -> Result<Listed<BillingRun>, MeteringError> {
        Ok(store::runs(&self.db, tenant, page).await?)
    }

    /// Every tenant there is something to bill for.
    pub async fn tenants(&self) -> Result<Vec<TenantId>, MeteringError> {
        Ok(store::tenants(&self.db).await?)
    }

    /// Moves the tenant's test clock, forwards only; who drafts events under the time before drafts them again. The first move puts the tenant in test mode for ever, which a tenant that has any
    /// invoice refuses.
    pub async fn set_test_clock(&self, by: &NhiId, now: Timestamp) -> Result<Timestamp, MeteringError> {
        let tenant = by.tenant();
        let revision = store::test_clock(&self.db, tenant).await?.map_or(1, |(_, revision)| revision + 1);
        let leaf = event_leaf(&*self.clock, by, "metering.set_test_clock", &format!("tenant:{tenant}"))?.fact("now", now);
        let moved = [store::set_test_clock(tenant, now, revision), crate::store::catalog::bump(tenant)];
        match commit(&self.db, Sealed::new(leaf).steps(super::steps(moved.into()))).await {
            Err(MeteringError::Conflict { message, .. }) => Err(MeteringError::WrongState(message)),
            Err(error) => Err(error),
            Ok(()) => Ok(now),
        }
    }
}

/// Whether a failure is of one subscription or invoice alone, rather than of the database.
fn is_own(error: &MeteringError) -> bool {
    !matches!(error, MeteringError::Db(_))
}
