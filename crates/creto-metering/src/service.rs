//! The use cases of metering.

mod backfill;
mod bell;
pub(crate) mod cancel;
mod counting;
mod current;
pub(crate) mod drafting;
mod ingest;
mod intake;
mod over_time;
mod quarantine;
mod reading;
mod replay;
mod reporters;
mod retention;
pub(crate) mod tallies;
mod usage;

use std::collections::BTreeSet;
use std::sync::Arc;

use creto_db::{Db, DbError, Sealed};
use creto_enablement_common::Gate;
use creto_kernel::id::LeafId;
use creto_kernel::{Clock, Coded, Leaf, Micros, NhiId, TenantId, Timestamp};
use creto_nhi::VerifiedChain;

use self::bell::Bell;
use crate::accounts::{Accounts, LedgerReport};
use crate::core::tree::{self, CostNode};
use crate::core::zone::Day;
use crate::error::MeteringError;
use crate::model::account::{AccountRef, AccountState};
use crate::model::metric::Metric;
use crate::model::raise::RaiseTerms;
use crate::quotas::QuotaEnforcer;
use crate::store;

pub use backfill::{Backfill, BackfillChange, BackfillRefusal};
pub use cancel::Cancelled;
pub use current::{CurrentUsage, UsageLine};
pub use ingest::{Answered, Outcome, Receipt, Taking};
pub use over_time::{OverTime, OverTimeInput};
pub use quarantine::Replayed;
pub use reading::{EventProof, RecordedEvent};
pub use retention::EventsOf;
pub use usage::MetricUsage;

/// Usage events in, current usage and costs out.
#[derive(Debug, Clone)]
pub struct Meter {
    db: Db,
    gate: Arc<Gate>,
    accounts: Accounts,
    clock: Arc<dyn Clock>,
    quotas: Option<QuotaEnforcer>,
    /// Rung when events were recorded that are billed by themselves.
    due: Arc<Bell>,
}

impl Meter {
    /// A meter over the Gate.
    #[must_use]
    pub fn new(db: Db, gate: Arc<Gate>, accounts: Accounts, clock: Arc<dyn Clock>) -> Self {
        Self { db, gate, accounts, clock, quotas: None, due: Arc::default() }
    }

    /// Waits until this server recorded events of charges that are paid in advance, and says whose. What nobody waited for, or was recorded
    /// elsewhere, is found by the next run of billing.
    pub async fn until_due(&self) -> BTreeSet<TenantId> {
        self.due.heard().await
    }

    /// A meter whose events count against quotas.
    #[must_use]
    pub fn with_quotas(mut self, quotas: QuotaEnforcer) -> Self {
        self.quotas = Some(quotas);
        self
    }

    pub(crate) const fn db(&self) -> &Db {
        &self.db
    }

    /// The time, by the server's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The chain of whoever acts for itself: a human or a service that was authenticated.
    pub fn direct(&self, identity: &NhiId) -> Result<VerifiedChain, MeteringError> {
        Ok(self.gate.direct(identity)?)
    }

    /// Cost by delegation tree that was posted between two moments.
    pub async fn costs(&self, tenant: &TenantId, from: Timestamp, to: Timestamp) -> Result<Vec<CostNode>, MeteringError> {
        let mut postings = Vec::new();
        for (path, amount) in store::debits(&self.db, tenant, from, to).await? {
            let path: Vec<String> = serde_json::from_str(&path).map_err(|e| DbError::Corrupt(format!("a ledger path: {e}")))?;
            postings.push((path, amount));
        }
        Ok(tree::build(&postings))
    }

    /// Cost by delegation tree of usage on the days from one to another, both included, each in its subscription's own zone: from what is
    /// kept of days.
    pub async fn costs_of_days(&self, tenant: &TenantId, days: (Option<Day>, Option<Day>)) -> Result<Vec<CostNode>, MeteringError> {
        let (first, last) = (Day::new(0, 1, 1), Day::new(9999, 12, 31));
        let (Some(from), Some(to)) = (days.0.or(first), days.1.or(last)) else { return Ok(Vec::new()) };
        let path = |accounts: Vec<AccountRef>| accounts.into_iter().skip(1).map(|account| account.identity.to_string()).collect();
        let costs = store::daily::costs(&self.db, tenant, (from, to)).await?;
        Ok(tree::build(&costs.into_iter().map(|(accounts, cost)| (path(accounts), cost)).collect::<Vec<(Vec<String>, Micros)>>()))
    }

    /// The accounts of a tenant.
    pub async fn accounts(&self, tenant: &TenantId) -> Result<Vec<AccountState>, MeteringError> {
        let currency = self.accounts.budget_currency(tenant).await?.map(|currency| currency.as_str().to_owned());
        let mut accounts = store::accounts(&self.db, tenant).await?;
        accounts.iter_mut().for_each(|account| account.currency.clone_from(&currency));
        Ok(accounts)
    }

    /// Checks the books of a tenant: debits equal credits, counters equal entries, held equals the open holds, and a replay of all events
    /// gives the aggregates that are kept.
    pub async fn check(&self, tenant: &TenantId) -> Result<LedgerReport, MeteringError> {
        let mut report = self.accounts.check(tenant).await?;
        report.aggregates = self.replay(tenant).await?;
        report.ok = report.ok && report.aggregates.is_empty();
        Ok(report)
    }

    /// Defines or replaces a metric and its price. Events already recorded keep the price they were recorded at.
    pub async fn put_metric(&self, by: &NhiId, code: &str, metric: Metric) -> Result<(), MeteringError> {
        let metric = metric.check()?;
        let leaf = self.leaf(by, "metering.put_metric", &format!("metric:{code}"))?.fact("unit_price", metric.unit_price);
        self.db.commit(Sealed::new(leaf).step(store::put_metric(by.tenant(), code, &metric))).await?;
        Ok(())
    }

    /// Sets or lifts the ceiling of an account that exists. A ceiling below what is spent and held refuses everything further.
    /// Nobody is asked to raise it from then on.
    pub async fn set_ceiling(&self, by: &NhiId, account: &str, ceiling: Option<Micros>) -> Result<(), MeteringError> {
        self.set_ceiling_asking(by, account, ceiling, None).await
    }

    /// As [`Meter::set_ceiling`], and says how a human may be asked to raise it where something does not fit.
    pub async fn set_ceiling_asking(
        &self,
        by: &NhiId,
        account: &str,
        ceiling: Option<Micros>,
        ask: Option<&RaiseTerms>,
    ) -> Result<(), MeteringError> {
        ask.map_or(Ok(()), |terms| terms.check(ceiling, self.clock.now()))?;
        if ceiling.is_some_and(Micros::is_negative) {
            return Err(MeteringError::BadMetric("a ceiling is not negative".to_owned()));
        }
        let shown = ceiling.map_or_else(|| "none".to_owned(), |c| c.to_string());
        let mut leaf = self.leaf(by, "metering.set_ceiling", &format!("account:{account}"))?.fact("ceiling", shown);
        let terms = match ask {
            Some(terms) => {
                leaf = leaf.fact("ask_to_raise", terms.step).fact("asks_a_day", terms.a_day);
                store::raises::put(by.tenant(), account, terms)
            }
            None => store::raises::remove(by.tenant(), account),
        };
        let unknown = MeteringError::UnknownAccount(account.to_owned());
        let set = store::set_ceiling(by.tenant(), account, ceiling, unknown.code());
        match self.db.commit(Sealed::new(leaf).step(set).step(terms)).await {
            Ok(_) => Ok(()),
            Err(DbError::Conflict { .. }) => Err(unknown),
            Err(error) => Err(error.into()),
        }
    }

    fn leaf(&self, by: &NhiId, action: &str, resource: &str) -> Result<Leaf, MeteringError> {
        let parse = |e: creto_kernel::action::NameError| MeteringError::BadMetric(e.to_string());
        let (action, resource) = (action.parse().map_err(parse)?, resource.parse().map_err(parse)?);
        Ok(Leaf::event(LeafId::generate(), self.clock.now(), by.clone(), action, resource, "done"))
    }
}
