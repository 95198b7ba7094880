//! What became of a reservation: more was used, and is counted in the commit that says so; or less, and the rest comes back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use creto_db::Step;
use creto_enablement_common::ports::Bill;
use creto_enablement_common::{Funding, Held, Refusal, Usage};
use creto_kernel::Timestamp;
use creto_nhi::VerifiedChain;

use super::counter::Want;
use super::filling::busy;
use super::index::Plan;
use super::reservation::{Part, Reservation};
use super::{QuotaEnforcer, used};
use crate::model::quota::{ACTIONS, SPEND};
use crate::store::quotas::{Amount, Charge};

/// What a commit counts of one part, once it has happened.
#[derive(Debug)]
pub(super) struct Counted {
    part: Part,
    amount: Amount,
}

/// How much more than was taken is counted, by the commit.
fn amount(metric: &str, part: &Part, usage: &[Usage], bill: &Bill) -> Option<Amount> {
    match metric {
        ACTIONS => None,
        SPEND => {
            let (bill, taken) = (bill.clone(), part.taken);
            Some(Amount::Lately(Arc::new(move || bill.cost().get().saturating_sub(taken))))
        }
        code => Some(Amount::Known(used(usage, code) - part.taken)),
    }
}

fn charge(plan: &Plan, part: &Part, amount: Amount, now: Timestamp, refuses: bool) -> Option<[Box<dyn Step>; 2]> {
    let counter = plan.counters.get(part.place).filter(|counter| counter.limit.rate.is_none())?;
    let limit = &counter.limit;
    let charge = Charge {
        tenant: limit.tenant.clone(),
        id: limit.id,
        quota: Arc::clone(&limit.quota),
        subject: counter.subject().to_owned(),
        span: counter.span(now),
        amount,
        refuses,
    };
    Some(charge.steps())
}

impl Held for Reservation {
    fn admitted(&self) {
        self.kept.store(true, Ordering::Release);
    }

    fn settle(&self, funding: Funding, usage: &[Usage], bill: &Bill) -> Vec<Box<dyn Step>> {
        let (Some(plan), Some(now)) = (&self.plan, self.now) else { return Vec::new() };
        let (mut steps, mut counted): (Vec<Box<dyn Step>>, Vec<Counted>) = (Vec::new(), Vec::new());
        for part in &self.parts {
            let Some(counter) = plan.counters.get(part.place) else { continue };
            let Some(amount) = amount(&counter.limit.quota.metric, part, usage, bill) else { continue };
            if !matches!(amount, Amount::Known(more) if more <= 0) {
                steps.extend(charge(plan, part, amount.clone(), now, funding == Funding::Ahead).into_iter().flatten());
            }
            counted.push(Counted { part: *part, amount });
        }
        *self.charged.lock().unwrap_or_else(PoisonError::into_inner) = counted;
        steps
    }

    fn settled(&self) {
        let (Some(plan), Some(now)) = (&self.plan, self.now) else { return };
        for Counted { part, amount } in self.charged.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let Some(counter) = plan.counters.get(part.place) else { continue };
            match amount.get() {
                more @ 1.. => {
                    counter.counted(more);
                    counter.hurry(more, now);
                }
                less => counter.put_back(part.start, -less),
            }
        }
    }
}

/// A chain that has limits.
#[derive(Clone, Debug)]
pub(crate) struct Limited(Arc<Plan>);

impl QuotaEnforcer {
    /// The limits of a chain, where it has any.
    pub(crate) fn limited(&self, chain: &VerifiedChain) -> Option<Limited> {
        self.plan(chain).map(Limited)
    }
}

impl Limited {
    /// Whether anybody on the chain has a limit of this metric.
    pub(crate) fn concerns(&self, metric: &str) -> bool {
        self.0.counters.iter().any(|counter| counter.limit.quota.metric == metric)
    }

    /// Steps that count usage of the chain in the commit that records it, and refuse that commit where it does not fit. Rates count
    /// `at_most`, now.
    pub(crate) fn recording(&self, metric: &str, amount: &Amount, at_most: i64, now: Timestamp) -> Result<Vec<Box<dyn Step>>, Refusal> {
        let mut steps = Vec::new();
        for (place, counter) in self.0.counters.iter().enumerate().filter(|(_, counter)| counter.limit.quota.metric == metric) {
            if counter.limit.rate.is_some() {
                counter.take(Want::Units(at_most), now).map_err(|short| short.refusal_of(counter).unwrap_or_else(busy))?;
            }
            let part = Part { place, taken: 0, start: 0 };
            steps.extend(charge(&self.0, &part, amount.clone(), now, true).into_iter().flatten());
        }
        Ok(steps)
    }

    /// The commit has happened.
    pub(crate) fn recorded(&self, metric: &str, amount: i64) {
        self.0.counters.iter().filter(|counter| counter.limit.quota.metric == metric).for_each(|counter| counter.counted(amount));
    }
}
