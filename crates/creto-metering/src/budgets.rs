//! Budgets that somebody holds while it works: money on every account of its chain and units of every quota, until it says what of them it
//! used. What was used is posted as usage, and the rest is released.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use creto_enablement_common::gate::{Acting, AttemptError};
use creto_enablement_common::{Admission, AdmitRequest, Funding, Gate, Granted, Outcome, Refusal, Settled, Usage};
use creto_kernel::id::AdmissionId;
use creto_kernel::{Clock, Micros, NhiId};
use creto_nhi::VerifiedChain;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::MeteringError;
use crate::model::definition::{self, DefinitionError};
use crate::model::metric;

/// Most budgets that are held by everybody, and by one.
const HELD_MAX: usize = 10_000;
const HELD_BY_ONE_MAX: usize = 256;
/// Most lines of usage of one budget.
const LINES_MAX: usize = 100;

/// So much of a metric.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageLineInput {
    /// The metric.
    pub code: String,
    /// How much, as a decimal text.
    #[schema(value_type = String)]
    pub quantity: Decimal,
}

/// A budget somebody asks for.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetInput {
    /// What it is for; it is in the record.
    pub name: String,
    /// Money to hold, as a decimal text.
    #[serde(default)]
    #[schema(value_type = String)]
    pub amount: Micros,
    /// What will be used at most, of metrics that have quotas.
    #[serde(default)]
    pub expects: Vec<UsageLineInput>,
    /// What the client calls this attempt: asked again under the same name, the answer is the same.
    #[serde(default)]
    pub attempt_id: Option<String>,
}

/// What of a budget was used.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetUse {
    /// Whether what it was held for was done.
    #[serde(default = "yes")]
    pub ok: bool,
    /// What was used.
    #[serde(default)]
    pub usage: Vec<UsageLineInput>,
}

const fn yes() -> bool {
    true
}

/// A budget that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HeldBudget {
    /// Under what it is settled.
    pub admission: String,
    /// The money.
    #[schema(value_type = String)]
    pub amount: Micros,
    /// Whether this attempt was answered before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

#[derive(Debug)]
struct Open {
    chain: VerifiedChain,
    granted: Granted,
}

/// Budgets that are held. They live in memory on purpose: after a crash nobody knows what was used, and the action is in doubt.
#[derive(Debug, Clone)]
pub struct Budgets {
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    open: Arc<Mutex<HashMap<AdmissionId, Open>>>,
}

impl Budgets {
    /// Budgets behind the Gate.
    #[must_use]
    pub fn new(gate: Arc<Gate>, clock: Arc<dyn Clock>) -> Self {
        Self { gate, clock, open: Arc::default() }
    }

    /// The chain of whoever acts for itself.
    pub fn direct(&self, identity: &NhiId) -> Result<VerifiedChain, MeteringError> {
        Ok(self.gate.direct(identity)?)
    }

    /// Holds a budget: an action like every other, admitted by policy and within every ceiling and quota of the chain.
    pub async fn hold(&self, acting: impl Into<Acting<'_>>, input: BudgetInput) -> Result<HeldBudget, MeteringError> {
        let Acting { chain, run } = acting.into();
        definition::code("name", &input.name)?;
        if input.amount.is_negative() {
            return Err(DefinitionError::new("amount", "is negative").into());
        }
        let wrong = |field: &'static str| move |problem: String| MeteringError::from(DefinitionError::new(field, problem));
        let named = |e: creto_kernel::action::NameError| wrong("name")(e.to_string());
        let resource = format!("budget:{}", input.name);
        let mut request = AdmitRequest::new(chain, "metering.budget".parse().map_err(named)?, resource.parse().map_err(named)?);
        request.run = run;
        request.expects = lines("expects", input.expects)?;
        let shown = request.expects.iter().map(|line| (line.code.clone(), Value::String(line.quantity.to_string())));
        request.arguments = Map::from_iter([("expects".to_owned(), Value::Object(shown.collect()))]);
        (request.reserve, request.reserve_is_asked) = (input.amount, true);
        let attempt = input.attempt_id.as_deref().map(str::parse).transpose();
        request.attempt = attempt.map_err(|e: AttemptError| wrong("attempt_id")(e.to_string()))?;
        self.room_for(chain.leaf())?;
        let (admission, again) = match self.gate.admit_within(request, std::time::Duration::ZERO).await? {
            Admission::Granted(granted) => {
                let (admission, again) = (granted.admission(), granted.again());
                self.lock().insert(admission, Open { chain: chain.clone(), granted: *granted });
                (admission, again)
            }
            Admission::Again(admission) => (admission, true),
            Admission::Pending(request, _) => return Err(Refusal::NotDecided { request }.into()),
        };
        Ok(HeldBudget { admission: admission.to_string(), amount: input.amount, again })
    }

    /// Posts what was used, releases the rest. Only by whom it was held for, once.
    pub async fn settle(&self, by: &NhiId, admission: AdmissionId, input: BudgetUse) -> Result<Settled, MeteringError> {
        let unknown = || MeteringError::UnknownDefinition { kind: "budget", code: admission.to_string() };
        let usage = lines("usage", input.usage)?;
        let chain = {
            let open = self.lock();
            let held = open.get(&admission).filter(|held| held.granted.action().agent == *by);
            held.ok_or_else(unknown)?.chain.clone()
        };
        // What cannot be posted is refused before the budget is closed.
        self.gate.ledger().settle(Funding::Ahead, &chain, admission, &usage, self.clock.now()).await?;
        let held = self.lock().remove(&admission).ok_or_else(unknown)?;
        Ok(self.gate.settle(held.granted, Outcome { ok: input.ok, usage, ..Outcome::default() }).await?)
    }

    /// One that never settles must not take the room of the others.
    fn room_for(&self, agent: &NhiId) -> Result<(), Refusal> {
        let open = self.lock();
        let own = open.values().filter(|held| held.granted.action().agent == *agent).count();
        if own >= HELD_BY_ONE_MAX || open.len() >= HELD_MAX {
            return Err(Refusal::RateLimited {
                message: format!("{own} budgets of yours, of {} altogether, wait to be settled", open.len()),
            });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AdmissionId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Usage that a client names: of metrics it may report, each with something of it.
fn lines(field: &str, input: Vec<UsageLineInput>) -> Result<Vec<Usage>, MeteringError> {
    let wrong = |problem: &str| MeteringError::from(DefinitionError::new(field, problem));
    if input.len() > LINES_MAX {
        return Err(wrong("has more than a hundred lines"));
    }
    let line = |UsageLineInput { code, quantity }| {
        if quantity <= Decimal::ZERO {
            return Err(wrong("has a line of nothing"));
        }
        if metric::built_in(&code).is_some() {
            return Err(wrong("names a metric that the server measures itself"));
        }
        Ok(Usage { code, quantity })
    };
    input.into_iter().map(line).collect()
}
