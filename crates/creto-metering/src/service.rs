//! The use cases of metering.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use creto_db::{Db, DbError, Sealed};
use creto_enablement_common::gate::Acting;
use creto_enablement_common::{AdmitRequest, Effect, Gate, Refusal, Usage};
use creto_kernel::id::LeafId;
use creto_kernel::{Clock, Coded, Leaf, Micros, NhiId, TenantId, Timestamp};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::{Accounts, units};
use crate::core::tree::{self, CostNode};
use crate::error::MeteringError;
use crate::model::account::AccountState;
use crate::model::event::{Event, EventInput, OWN_PREFIX};
use crate::model::metric::{self, Metric};
use crate::store;

/// How long an event waits for a human, where policy asks one.
const APPROVAL_WAIT: Duration = Duration::from_secs(600);

/// What ingesting an event answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Receipt {
    /// The sender's identifier.
    pub transaction_id: String,
    /// The admission that recorded it.
    pub admission: String,
    /// What it cost.
    #[schema(value_type = String)]
    pub cost: Micros,
    /// Whether the same event had been recorded before; then nothing was recorded now.
    pub duplicate: bool,
}

/// Current usage of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MetricUsage {
    /// The metric.
    pub code: String,
    /// How many events.
    pub events: u64,
    /// How many units, as a decimal string.
    #[schema(value_type = String)]
    pub units: Decimal,
    /// What they cost.
    #[schema(value_type = String)]
    pub cost: Micros,
}

/// Usage events in, current usage and costs out.
#[derive(Debug, Clone)]
pub struct Meter {
    db: Db,
    gate: Arc<Gate>,
    accounts: Accounts,
    clock: Arc<dyn Clock>,
}

impl Meter {
    /// A meter over the Gate.
    #[must_use]
    pub const fn new(db: Db, gate: Arc<Gate>, accounts: Accounts, clock: Arc<dyn Clock>) -> Self {
        Self { db, gate, accounts, clock }
    }

    /// Records one event under the caller's chain and posts its cost at every hop. The same event again answers as the first time;
    /// another event under the same identifier is refused with both digests.
    pub async fn ingest(&self, acting: impl Into<Acting<'_>>, input: EventInput) -> Result<Receipt, MeteringError> {
        let Acting { chain, run } = acting.into();
        let sent = serde_json::to_value(&input).map_err(|e| MeteringError::BadEvent { field: "body", problem: e.to_string() })?;
        let event = input.parse(self.clock.now())?;
        check_foreign(&event)?;
        if let Some(receipt) = self.first_answer(chain.tenant(), &event).await? {
            return Ok(receipt);
        }
        let metric = self.accounts.metric(chain.tenant(), &event.code).await?;
        let quantity = units(&event, &metric)?;
        let resource = format!("metric:{}", event.code);
        let parse = |e: creto_kernel::action::NameError| MeteringError::BadEvent { field: "code", problem: e.to_string() };
        let mut request = AdmitRequest::new(chain, "metering.ingest".parse().map_err(parse)?, resource.parse().map_err(parse)?);
        request.run = run;
        // What an approver is shown, where policy asks one.
        request.arguments = serde_json::Map::from_iter([
            ("quantity".to_owned(), quantity.to_string().into()),
            ("subscription".to_owned(), event.subscription.clone().into()),
            ("transaction_id".to_owned(), event.transaction_id.clone().into()),
            ("event".to_owned(), event.digest.to_string().into()),
        ]);
        request.wait = APPROVAL_WAIT;
        let effect = Effect {
            usage: vec![Usage { code: event.code.clone(), quantity, event: Some(sent) }],
            digests: BTreeMap::from([("event".to_owned(), event.digest)]),
            ..Effect::default()
        };
        match self.gate.commit_effect(request, effect).await {
            Ok(settled) => Ok(Receipt {
                transaction_id: event.transaction_id,
                admission: settled.admission.to_string(),
                cost: settled.cost,
                duplicate: false,
            }),
            // Another sender of the same identifier was faster: its digest decides.
            Err(Refusal::Port { code, .. }) if code == store::DUPLICATE => {
                let lost = MeteringError::Db(DbError::Unavailable("the event that won the race cannot be read".to_owned()));
                self.first_answer(chain.tenant(), &event).await?.ok_or(lost)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn first_answer(&self, tenant: &TenantId, event: &Event) -> Result<Option<Receipt>, MeteringError> {
        match store::recorded(&self.db, tenant, event).await? {
            None => Ok(None),
            Some(first) if first.digest == event.digest => Ok(Some(Receipt {
                transaction_id: event.transaction_id.clone(),
                admission: first.admission.to_string(),
                cost: first.cost,
                duplicate: true,
            })),
            Some(first) => Err(MeteringError::DuplicateConflict {
                transaction: event.transaction_id.clone(),
                recorded: first.digest,
                sent: event.digest,
            }),
        }
    }

    /// Usage of a subscription between two moments, by metric.
    pub async fn usage(
        &self,
        tenant: &TenantId,
        subscription: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<MetricUsage>, MeteringError> {
        let mut by_code: BTreeMap<String, MetricUsage> = BTreeMap::new();
        for (code, quantity, cost) in store::usage_rows(&self.db, tenant, subscription, from, to).await? {
            let overflow = || MeteringError::CostOverflow(code.clone());
            let sum = by_code.entry(code.clone()).or_insert_with(|| MetricUsage {
                code: code.clone(),
                events: 0,
                units: Decimal::ZERO,
                cost: Micros::ZERO,
            });
            sum.events += 1;
            sum.units = sum.units.checked_add(quantity).ok_or_else(overflow)?;
            sum.cost = sum.cost.checked_add(cost).ok_or_else(overflow)?;
        }
        Ok(by_code.into_values().collect())
    }

    /// Cost by delegation tree between two moments.
    pub async fn costs(&self, tenant: &TenantId, from: Timestamp, to: Timestamp) -> Result<Vec<CostNode>, MeteringError> {
        let mut postings = Vec::new();
        for (path, amount) in store::debits(&self.db, tenant, from, to).await? {
            let path: Vec<String> = serde_json::from_str(&path).map_err(|e| DbError::Corrupt(format!("a ledger path: {e}")))?;
            postings.push((path, amount));
        }
        Ok(tree::build(&postings))
    }

    /// The accounts of a tenant.
    pub async fn accounts(&self, tenant: &TenantId) -> Result<Vec<AccountState>, MeteringError> {
        Ok(store::accounts(&self.db, tenant).await?)
    }

    /// Checks the ledger of a tenant.
    pub async fn check(&self, tenant: &TenantId) -> Result<crate::accounts::LedgerReport, MeteringError> {
        self.accounts.check(tenant).await
    }

    /// Defines or replaces a metric and its price. Events already recorded keep the price they were recorded at.
    pub async fn put_metric(&self, by: &NhiId, code: &str, metric: Metric) -> Result<(), MeteringError> {
        let metric = metric.check()?;
        let leaf = self.leaf(by, "metering.put_metric", &format!("metric:{code}"))?.fact("unit_price", metric.unit_price);
        self.db.commit(Sealed::new(leaf).step(store::put_metric(by.tenant(), code, &metric))).await?;
        Ok(())
    }

    /// Sets or lifts the ceiling of an account that exists. A ceiling below what is spent and held refuses everything further.
    pub async fn set_ceiling(&self, by: &NhiId, account: &str, ceiling: Option<Micros>) -> Result<(), MeteringError> {
        if ceiling.is_some_and(Micros::is_negative) {
            return Err(MeteringError::BadMetric("a ceiling is not negative".to_owned()));
        }
        let shown = ceiling.map_or_else(|| "none".to_owned(), |c| c.to_string());
        let leaf = self.leaf(by, "metering.set_ceiling", &format!("account:{account}"))?.fact("ceiling", shown);
        let unknown = MeteringError::UnknownAccount(account.to_owned());
        match self.db.commit(Sealed::new(leaf).step(store::set_ceiling(by.tenant(), account, ceiling, unknown.code()))).await {
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

/// What the server measures itself, and the identifiers it records that under, cannot be reported from outside.
fn check_foreign(event: &Event) -> Result<(), MeteringError> {
    let bad = |field, problem: &str| Err(MeteringError::BadEvent { field, problem: problem.to_owned() });
    if event.transaction_id.starts_with(OWN_PREFIX) {
        return bad("transaction_id", "begins with `creto:`, which is kept for what the server measures itself");
    }
    if metric::built_in(&event.code).is_some() {
        return bad("code", "is a metric that the server measures itself");
    }
    Ok(())
}
