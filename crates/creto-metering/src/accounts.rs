//! The Gate's ledger: money held, posted and voided along a delegation chain.

use creto_db::{Db, Step};
use creto_enablement_common::ports::Posting;
use creto_enablement_common::{Funding, Ledger, Refusal, Usage};
use creto_kernel::id::{AdmissionId, HoldId};
use creto_kernel::{Micros, TenantId, Timestamp};
use creto_nhi::VerifiedChain;
use futures::future::BoxFuture;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::core::rate;
use crate::error::MeteringError;
use crate::model::account::{self, AccountRef};
use crate::model::event::{Event, EventInput, OWN_PREFIX};
use crate::model::metric::{self, Aggregation, Metric};
use crate::store;

/// Most one usage line may cost: a million units. A mistaken quantity must not use up an account for ever.
const LINE_COST_MAX: Micros = Micros::new(1_000_000_000_000);

/// Budgets and the double-entry ledger of a database.
#[derive(Debug, Clone)]
pub struct Accounts {
    db: Db,
}

/// What `creto meter check` finds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct LedgerReport {
    /// Sum of all debits.
    #[schema(value_type = String)]
    pub debits: Micros,
    /// Sum of all credits.
    #[schema(value_type = String)]
    pub credits: Micros,
    /// Accounts whose counters disagree with the entries and the open holds.
    pub disagreements: Vec<String>,
    /// Whether debits equal credits and nothing disagrees.
    pub ok: bool,
}

impl Accounts {
    /// The accounts in `db`.
    #[must_use]
    pub const fn new(db: Db) -> Self {
        Self { db }
    }

    /// Checks the ledger of a tenant: debits equal credits, counters equal entries, held equals open holds.
    pub async fn check(&self, tenant: &TenantId) -> Result<LedgerReport, MeteringError> {
        let debits = store::side_total(&self.db, tenant, "debit").await?;
        let credits = store::side_total(&self.db, tenant, "credit").await?;
        let disagreements = store::disagreements(&self.db, tenant).await?;
        let ok = debits == credits && disagreements.is_empty();
        Ok(LedgerReport { debits, credits, disagreements, ok })
    }

    /// The metric of this code: the tenant's own, else the built-in one.
    pub(crate) async fn metric(&self, tenant: &TenantId, code: &str) -> Result<Metric, MeteringError> {
        match store::metric(&self.db, tenant, code).await? {
            Some(own) => Ok(own),
            None => metric::built_in(code).ok_or_else(|| MeteringError::UnknownMetric(code.to_owned())),
        }
    }

    async fn line_cost(&self, tenant: &TenantId, usage: &Usage) -> Result<Micros, MeteringError> {
        let metric = self.metric(tenant, &usage.code).await?;
        rate::per_unit(usage.quantity, metric.unit_price)
            .filter(|cost| *cost <= LINE_COST_MAX)
            .ok_or_else(|| MeteringError::CostOverflow(usage.code.clone()))
    }

    async fn posting(
        &self,
        funding: Funding,
        chain: &VerifiedChain,
        admission: AdmissionId,
        usage: &[Usage],
        now: Timestamp,
    ) -> Result<Posting, MeteringError> {
        let tenant = chain.tenant();
        let accounts = account::of_chain(chain);
        let mut steps: Vec<Box<dyn Step>> = Vec::new();
        let mut credits: Vec<(String, Micros)> = Vec::new();
        let mut cost = Micros::ZERO;
        for line in usage {
            let amount = self.line_cost(tenant, line).await?;
            cost = cost.checked_add(amount).ok_or_else(|| MeteringError::CostOverflow(line.code.clone()))?;
            let event = event_of(chain, admission, line, now)?;
            let line_row = store::Line { event: &event, quantity: line.quantity, cost: amount, admission, received_at: now };
            steps.push(Box::new(store::insert_event(chain, &line_row)));
            match credits.iter_mut().find(|(code, _)| *code == line.code) {
                Some((_, sum)) => *sum = sum.checked_add(amount).ok_or_else(|| MeteringError::CostOverflow(line.code.clone()))?,
                None => credits.push((line.code.clone(), amount)),
            }
        }
        if let Funding::Happened(Some(hold)) = funding {
            steps.extend(store::close_hold(tenant, hold, "posted", now).map(|w| Box::new(w) as Box<dyn Step>));
        }
        if cost != Micros::ZERO {
            for account in &accounts {
                steps.push(Box::new(store::open_account(tenant, account)));
                steps.push(Box::new(match funding {
                    Funding::Happened(_) => store::post_on(tenant, account, cost),
                    Funding::Ahead => store::spend_on(tenant, account, cost),
                }));
            }
            steps.extend(entries(chain, admission, &accounts, &credits, cost, now));
        }
        Ok(Posting { steps, cost: cost.into() })
    }
}

/// The balanced entries of one posting: the acting hop owes the cost, each metric earned its part; the rollup lines repeat the debit for
/// every account of the chain.
fn entries(
    chain: &VerifiedChain,
    admission: AdmissionId,
    accounts: &[AccountRef],
    credits: &[(String, Micros)],
    cost: Micros,
    now: Timestamp,
) -> Vec<Box<dyn Step>> {
    let names: Vec<&str> = chain.hops().iter().map(|hop| hop.identity.as_str()).collect();
    let path = json!(names).to_string();
    let tenant = chain.tenant();
    let insert = |entry: store::Entry<'_>| Box::new(store::insert_entry(tenant, admission, &path, now, &entry)) as Box<dyn Step>;
    let mut steps = Vec::new();
    if let Some(last) = accounts.last() {
        steps.push(insert(store::Entry {
            side: "debit",
            account: &last.account,
            identity: &last.identity,
            hop: accounts.len(),
            micros: cost,
        }));
    }
    for (code, amount) in credits {
        let account = format!("income:{code}");
        steps.push(insert(store::Entry { side: "credit", account: &account, identity: chain.leaf(), hop: 0, micros: *amount }));
    }
    for (hop, account) in accounts.iter().enumerate() {
        steps.push(insert(store::Entry { side: "rollup", account: &account.account, identity: &account.identity, hop, micros: cost }));
    }
    steps
}

/// The event a usage line records: the one that was sent, or one of our own under the admission's identifier.
fn event_of(chain: &VerifiedChain, admission: AdmissionId, usage: &Usage, now: Timestamp) -> Result<Event, MeteringError> {
    let input = match &usage.event {
        Some(sent) => {
            serde_json::from_value(sent.clone()).map_err(|e| MeteringError::BadEvent { field: "body", problem: e.to_string() })?
        }
        None => EventInput {
            transaction_id: format!("{OWN_PREFIX}{admission}:{}", usage.code),
            external_subscription_id: chain.root().name().to_owned(),
            code: usage.code.clone(),
            timestamp: None,
            properties: Map::from_iter([("quantity".to_owned(), Value::String(usage.quantity.to_string()))]),
        },
    };
    input.parse(now)
}

/// How many units an event is.
pub(crate) fn units(event: &Event, metric: &Metric) -> Result<Decimal, MeteringError> {
    match metric.aggregation {
        Aggregation::Count => Ok(Decimal::ONE),
        Aggregation::Sum => event.decimal(&metric.field),
        other => Err(MeteringError::BadMetric(format!("`{}` has no units event by event", other.as_str()))),
    }
}

fn refuse(error: MeteringError) -> Refusal {
    Refusal::port(&error)
}

impl Ledger for Accounts {
    fn hold<'a>(
        &'a self,
        hold: HoldId,
        chain: &'a VerifiedChain,
        amount: Micros,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Step>>, Refusal>> {
        Box::pin(async move {
            let tenant = chain.tenant();
            let mut steps: Vec<Box<dyn Step>> = vec![Box::new(store::open_hold(tenant, hold, amount, now))];
            for account in account::of_chain(chain) {
                steps.push(Box::new(store::open_account(tenant, &account)));
                steps.push(Box::new(store::hold_on(tenant, &account, amount)));
                steps.push(Box::new(store::hold_account(hold, &account)));
            }
            Ok(steps)
        })
    }

    fn settle<'a>(
        &'a self,
        funding: Funding,
        chain: &'a VerifiedChain,
        admission: AdmissionId,
        usage: &'a [Usage],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Posting, Refusal>> {
        Box::pin(async move { self.posting(funding, chain, admission, usage, now).await.map_err(refuse) })
    }

    fn void(&self, tenant: &TenantId, hold: HoldId, now: Timestamp) -> Vec<Box<dyn Step>> {
        store::close_hold(tenant, hold, "voided", now).into_iter().map(|write| Box::new(write) as Box<dyn Step>).collect()
    }

    fn available<'a>(&'a self, chain: &'a VerifiedChain) -> BoxFuture<'a, Result<Option<Micros>, Refusal>> {
        Box::pin(async move {
            let mut tightest: Option<Micros> = None;
            for account in account::of_chain(chain) {
                let state = store::account(&self.db, chain.tenant(), &account.account).await.map_err(|e| Refusal::port(&e))?;
                let left = match state {
                    Some(state) => state.ceiling.map(|ceiling| {
                        Micros::new(ceiling.get().saturating_sub(state.spent.get()).saturating_sub(state.held.get()).max(0))
                    }),
                    None => account.ceiling,
                };
                tightest = match (tightest, left) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            Ok(tightest)
        })
    }

    fn price<'a>(&'a self, tenant: &'a TenantId, usage: &'a [Usage]) -> BoxFuture<'a, Result<Micros, Refusal>> {
        Box::pin(async move {
            let mut total = Micros::ZERO;
            for line in usage {
                let amount = self.line_cost(tenant, line).await.map_err(refuse)?;
                total = total.checked_add(amount).ok_or_else(|| refuse(MeteringError::CostOverflow(line.code.clone())))?;
            }
            Ok(total)
        })
    }
}
