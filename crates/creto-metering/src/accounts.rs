//! The Gate's ledger: money held, posted and voided along a delegation chain.

use std::collections::BTreeMap;
use std::sync::Arc;

use creto_db::{Db, Deciding, Step};
use creto_enablement_common::ports::{Bill, Posting};
use creto_enablement_common::{Funding, Ledger, Raise, Refusal, Room, Usage};
use creto_kernel::id::{AdmissionId, HoldId};
use creto_kernel::{Micros, SystemClock, TenantId, Timestamp};
use creto_nhi::VerifiedChain;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::catalog::SubscriptionView;
use crate::catalog::{Catalog, CatalogReader};
use crate::core::recording::{EVENT_COST_MAX, Paying};
use crate::core::{raise, rate};
use crate::error::MeteringError;
use crate::model::account::{self, AccountRef};
use crate::model::currency::Currency;
use crate::model::event::{Event, EventInput, OWN_PREFIX};
use crate::model::metric::{self, Metric};
use crate::model::source::{Attribution, Source};
use crate::service::drafting::Drafting;
use crate::store;
use crate::store::recording::{Draft, Told};

/// Budgets and the double-entry ledger of a database.
#[derive(Debug, Clone)]
pub struct Accounts {
    db: Db,
    /// Read only: it needs no time but the one it is asked about.
    catalog: Catalog,
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
    /// The same of each currency by itself: they are equal in each.
    pub currencies: Vec<CurrencySums>,
    /// Accounts whose counters disagree with the entries and the open holds.
    pub disagreements: Vec<String>,
    /// Aggregates that a replay of the events does not give; at most the first hundred.
    pub aggregates: Vec<String>,
    /// Whether debits equal credits in each currency, and nothing disagrees.
    pub ok: bool,
}

/// Both sides of the ledgers in one currency.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct CurrencySums {
    /// ISO 4217; none of usage in a tenant that never had a plan.
    pub currency: Option<String>,
    /// Sum of its debits.
    #[schema(value_type = String)]
    pub debits: Micros,
    /// Sum of its credits.
    #[schema(value_type = String)]
    pub credits: Micros,
}

impl Accounts {
    /// The accounts in `db`.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { catalog: Catalog::new(db.clone(), Arc::new(SystemClock)), db }
    }

    /// Checks the ledger of a tenant: debits equal credits, counters equal entries, held equals open holds.
    pub async fn check(&self, tenant: &TenantId) -> Result<LedgerReport, MeteringError> {
        let currencies = self.by_currency(tenant).await?;
        let sum = |of: fn(&CurrencySums) -> Micros, side: &str| {
            let all = currencies.iter().map(of).try_fold(Micros::ZERO, Micros::checked_add);
            all.ok_or_else(|| MeteringError::CostOverflow(side.to_owned()))
        };
        let (debits, credits) = (sum(|it| it.debits, "debit")?, sum(|it| it.credits, "credit")?);
        let mut disagreements = store::disagreements(&self.db, tenant).await?;
        disagreements.extend(store::wallets::disagreements(&self.db, tenant).await?);
        let ok = currencies.iter().all(|it| it.debits == it.credits) && disagreements.is_empty();
        Ok(LedgerReport { debits, credits, currencies, disagreements, aggregates: Vec::new(), ok })
    }

    /// The currency of the tenant's budgets.
    pub(crate) async fn budget_currency(&self, tenant: &TenantId) -> Result<Option<Currency>, MeteringError> {
        self.catalog.budget_currency(tenant).await
    }

    /// Both ledgers, of usage and of prepaid credits, currency by currency. Usage is posted in the budgets' currency alone.
    async fn by_currency(&self, tenant: &TenantId) -> Result<Vec<CurrencySums>, MeteringError> {
        let mut sums: BTreeMap<Option<String>, [Micros; 2]> = BTreeMap::new();
        let budgets = self.catalog.budget_currency(tenant).await?.map(|currency| currency.as_str().to_owned());
        let mut add = |currency: Option<String>, side: &str, micros: Micros| {
            let [debits, credits] = sums.entry(currency).or_default();
            let sum = if side == "debit" { debits } else { credits };
            *sum = sum.checked_add(micros).ok_or_else(|| MeteringError::CostOverflow(side.to_owned()))?;
            Ok::<_, MeteringError>(())
        };
        for side in ["debit", "credit"] {
            add(budgets.clone(), side, store::side_total(&self.db, tenant, side).await?)?;
        }
        for (currency, side, micros) in store::wallets::side_totals(&self.db, tenant).await? {
            add(Some(currency), &side, micros)?;
        }
        Ok(sums.into_iter().map(|(currency, [debits, credits])| CurrencySums { currency, debits, credits }).collect())
    }

    /// Refuses to hold money for whoever's own usage would be of another currency than it.
    async fn check_root(&self, chain: &VerifiedChain, now: Timestamp) -> Result<(), MeteringError> {
        let reader = self.reader(chain.tenant()).await?;
        match reader.subscription(chain.root().name(), reader.time(now)).await? {
            Some(view) if view.apart => self.check_currency(chain.tenant(), &account::of_chain(chain), view.currency, false).await,
            _ => Ok(()),
        }
    }

    /// Refuses usage in another currency than the budgets' where any of these accounts has a ceiling, or a quota of spend limits one: it
    /// would not count into it.
    pub(crate) async fn check_currency(
        &self,
        tenant: &TenantId,
        accounts: &[AccountRef],
        found: Currency,
        limited: bool,
    ) -> Result<(), MeteringError> {
        for account in accounts {
            let state = store::account(&self.db, tenant, &account.account).await?;
            if limited || state.map_or(account.ceiling, |state| state.ceiling).is_some() {
                let expected = self.catalog.budget_currency(tenant).await?;
                return Err(MeteringError::BudgetCurrency {
                    account: account.account.clone(),
                    whose: account.identity.name().to_owned(),
                    expected: expected.map_or_else(String::new, |currency| currency.as_str().to_owned()),
                    found: found.as_str().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The metric of this code: the tenant's own, else the built-in one.
    pub(crate) async fn metric(&self, tenant: &TenantId, code: &str) -> Result<Metric, MeteringError> {
        match store::metric(&self.db, tenant, code).await? {
            Some(own) => Ok(own),
            None => metric::built_in(code).ok_or_else(|| MeteringError::UnknownMetric(code.to_owned())),
        }
    }

    /// The tenant's catalog as it stands.
    pub(crate) async fn reader(&self, tenant: &TenantId) -> Result<CatalogReader, MeteringError> {
        self.catalog.reader(tenant).await
    }

    /// Most that usage may turn out to cost: its price by itself, rounded up. A posting adds at most that to what was posted before.
    async fn line_cost(&self, tenant: &TenantId, usage: &Usage) -> Result<Micros, MeteringError> {
        let metric = self.metric(tenant, &usage.code).await?;
        rate::at_most(usage.quantity, metric.unit_price)
            .filter(|cost| *cost <= EVENT_COST_MAX)
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
        let mut steps: Vec<Box<dyn Step>> = Vec::new();
        if let Funding::Happened(Some(hold)) = funding {
            steps.extend(store::close_hold(tenant, hold, "posted", now).map(|w| Box::new(w) as Box<dyn Step>));
        }
        if usage.is_empty() {
            return Ok(Posting { steps, cost: Bill::default() });
        }
        let reader = self.reader(tenant).await?;
        let now = reader.time(now);
        let view = reader.subscription(chain.root().name(), now).await?;
        // What the plan does not charge is priced by the house, in the budgets' own currency.
        let charges = |view: &SubscriptionView| usage.iter().any(|line| view.metrics.contains_key(&line.code));
        if let Some(view) = view.as_deref().filter(|view| view.apart && matches!(funding, Funding::Ahead) && charges(view)) {
            self.check_currency(tenant, &account::of_chain(chain), view.currency, false).await?;
        }
        let mut drafting = Drafting::default();
        let source = drafting.source(Source::of(chain, Attribution::Server));
        for (place, line) in usage.iter().enumerate() {
            // What is beyond any price is refused before it can undo what it belongs to.
            self.line_cost(tenant, line).await?;
            let event = event_of(chain, admission, place, line, now)?;
            match view.as_ref().filter(|view| view.metrics.contains_key(&line.code)) {
                Some(view) => drafting.plan(tenant, place, event, source, view)?,
                None => drafting.house(tenant, place, event, source, &self.metric(tenant, &line.code).await?)?,
            }
        }
        drafting.sort();
        let told = Told::default();
        let paying = if matches!(funding, Funding::Ahead) { Paying::WithinCeilings } else { Paying::InFull };
        let draft = Draft { paying, ..drafting.draft(chain.leaf(), admission, reader.epoch(), now, &told) };
        steps.push(Box::new(Deciding(draft)));
        Ok(Posting { steps, cost: told.bill })
    }
}

/// The event a usage line records, under the admission's identifier.
fn event_of(chain: &VerifiedChain, admission: AdmissionId, place: usize, usage: &Usage, now: Timestamp) -> Result<Event, MeteringError> {
    let input = EventInput {
        transaction_id: format!("{OWN_PREFIX}{admission}:{place}:{}", usage.code),
        external_subscription_id: chain.root().name().to_owned(),
        code: usage.code.clone(),
        timestamp: None,
        properties: Map::from_iter([("quantity".to_owned(), Value::String(usage.quantity.to_string()))]),
        precise_total_amount_cents: None,
        chain: None,
    };
    input.parse(now)
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
            self.check_root(chain, now).await.map_err(refuse)?;
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

    fn room<'a>(&'a self, chain: &'a VerifiedChain, wanted: Micros, now: Timestamp) -> BoxFuture<'a, Result<Room, Refusal>> {
        Box::pin(async move {
            let mut states = Vec::new();
            for account in account::of_chain(chain) {
                let state = store::account(&self.db, chain.tenant(), &account.account).await.map_err(|e| Refusal::port(&e))?;
                states.push((account, state));
            }
            Ok(raise::room(&states, wanted, now))
        })
    }

    fn asking(&self, tenant: &TenantId, raise: &Raise, now: Timestamp) -> Vec<Box<dyn Step>> {
        vec![Box::new(store::raises::stands(tenant, raise)), Box::new(store::raises::ask(tenant, raise, now))]
    }

    fn raised(&self, tenant: &TenantId, raise: &Raise, ceiling: Micros) -> Vec<Box<dyn Step>> {
        vec![Box::new(store::raises::apply(tenant, raise, ceiling))]
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
