//! Backfill: events of the past, shown first with what they would change, and recorded only by whoever names what was shown.
//!
//! INVARIANT: what is recorded changes exactly what was agreed to. The figures are decided inside the commit, from what stands there, and
//! one that differs undoes it.

use std::collections::{BTreeMap, HashMap};

use creto_db::{DbError, Deciding, Sealed, Step};
use creto_enablement_common::Effect;
use creto_enablement_common::gate::Acting;
use creto_kernel::id::AdmissionId;
use creto_kernel::{Coded as _, Digest, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::ingest::{Outcome, Taking};
use super::intake::{Intake, Sent, refused, root_of};
use super::{Meter, drafting};
use crate::core::backfill::{Rehearsal, Shift};
use crate::core::exact::Exact;
use crate::core::fee;
use crate::core::matching::Group;
use crate::core::recording::{Drafted, Fate, Slot};
use crate::error::MeteringError;
use crate::model::event::EventInput;
use crate::store::recording::{self, Draft, Told};
use crate::store::rerates;

/// What events of the past would change, or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Backfill {
    /// What is confirmed to record it: over the events and every figure below. None where something is refused, or nothing is new.
    #[schema(value_type = Option<String>)]
    pub digest: Option<Digest>,
    /// Whether it is recorded.
    pub recorded: bool,
    /// The admission that recorded it.
    pub admission: Option<String>,
    /// Events that are new.
    pub events: u64,
    /// Events that were recorded before, and are left out.
    pub duplicates: u64,
    /// Why nothing of it can be recorded.
    pub refused: Vec<BackfillRefusal>,
    /// What changes, by subscription, period, charge, filter and group.
    pub changes: Vec<BackfillChange>,
    /// What all of it costs more, in minor units, where one currency is concerned.
    #[schema(value_type = Option<String>)]
    pub difference_cents: Option<Exact>,
}

/// An event that cannot be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BackfillRefusal {
    /// Its identifier, where it was read.
    pub transaction_id: Option<String>,
    /// The code of the error.
    pub code: &'static str,
    /// Why.
    pub detail: String,
}

/// What one charge comes to in one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BackfillChange {
    /// Whose usage.
    pub external_subscription_id: String,
    /// Where the period begins.
    #[schema(value_type = String)]
    pub from: Timestamp,
    /// Where the next one begins.
    #[schema(value_type = String)]
    pub to: Timestamp,
    /// The charge; a metric of the house has its name alone.
    pub charge: String,
    /// The filter, by its place in the charge.
    pub filter: Option<usize>,
    /// What is priced apart.
    #[schema(value_type = Object)]
    pub group: Group,
    /// Units before.
    #[schema(value_type = String)]
    pub units_before: Exact,
    /// Units after.
    #[schema(value_type = String)]
    pub units_after: Exact,
    /// What they cost before, in units of the currency.
    #[schema(value_type = String)]
    pub amount_before: Exact,
    /// What they cost after.
    #[schema(value_type = String)]
    pub amount_after: Exact,
    /// The difference as a fee, in minor units.
    #[schema(value_type = String)]
    pub difference_cents: Exact,
    /// The final invoice that billed the period: the difference is an adjustment line of the next one.
    pub adjusts: Option<String>,
}

impl Meter {
    /// Shows what events of the past would change; records them where `agreed` is the digest of exactly that. Alerts are not told of it, and
    /// quotas do not count it: it is not used now. Ceilings hold as always.
    pub async fn backfill(
        &self,
        acting: impl Into<Acting<'_>>,
        inputs: Vec<Result<EventInput, MeteringError>>,
        agreed: Option<Digest>,
    ) -> Result<Backfill, MeteringError> {
        let acting = acting.into();
        let reader = self.accounts.reader(acting.chain.tenant()).await?;
        let now = reader.time(self.clock.now());
        let sent: Vec<Sent> = inputs.into_iter().map(|input| Sent::read(input, now)).collect();
        let sent = sent.as_slice();
        self.redrafting(reader, move |reader| async move {
            let now = reader.time(self.clock.now());
            let mut intake = Intake::new(self, acting, Taking { trusted: true, all_or_none: true }, now, sent);
            intake.draft(&reader).await?;
            intake.ask_policy().await?;
            intake.rehearse(agreed).await
        })
        .await
    }
}

impl Intake<'_> {
    /// What was drafted, told, and recorded where it is agreed to.
    async fn rehearse(&mut self, agreed: Option<Digest>) -> Result<Backfill, MeteringError> {
        let mut plan = Backfill { refused: self.refusals(), ..Backfill::default() };
        if !plan.refused.is_empty() || self.drafting.events.is_empty() {
            return Ok(plan);
        }
        let (rehearsal, told, places) = (Rehearsal::of(None), Told::default(), self.drafting.places.clone());
        let leaf = self.meter.leaf(self.acting.chain.leaf(), "metering.backfill", "events:past")?;
        let draft = self.draft_of(AdmissionId::generate(), &told, rehearsal.clone());
        // It is decided where it would happen, and always undone.
        match self.meter.db.commit(Sealed::new(leaf).step(Deciding(draft))).await {
            Err(DbError::Conflict { code, .. }) if code == recording::REHEARSED => {}
            Err(DbError::Conflict { code, message }) => return Err(MeteringError::Conflict { code, message }),
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(MeteringError::Undone),
        }
        for (place, fate) in places.into_iter().zip(told.fates()) {
            match fate {
                Fate::Recorded { .. } => plan.events += 1,
                Fate::Used { seq } => match self.first_answer(place, seq).await {
                    Ok(Outcome::Refused(error)) => plan.refused.push(refusal(self.id(place), &error)),
                    // Twice within the file.
                    Ok(_) | Err(MeteringError::Db(DbError::Corrupt(_))) => plan.duplicates += 1,
                    Err(error) => return Err(error),
                },
                fate => {
                    let error = refused(fate, || self.id(place).unwrap_or_default());
                    plan.refused.push(refusal(self.id(place), &error));
                }
            }
        }
        let (shifts, digest) = rehearsal.told();
        plan.changes = self.changes(&shifts).await?;
        let currencies: std::collections::BTreeSet<_> =
            shifts.iter().filter_map(|it| self.slot(it)).map(|slot| slot.terms.subunits.clone()).collect();
        plan.difference_cents = (currencies.len() == 1).then(|| plan.changes.iter().map(|change| &change.difference_cents).sum());
        if plan.refused.is_empty() && plan.events > 0 {
            plan.digest = digest;
        }
        match (agreed, plan.digest) {
            (Some(agreed), Some(_)) => self.record_agreed(plan, agreed).await,
            (Some(_), None) if !plan.refused.is_empty() => Err(MeteringError::Conflict {
                code: recording::PLAN_CHANGED,
                message: "events of the backfill are refused now: look at it again".to_owned(),
            }),
            _ => Ok(plan),
        }
    }

    async fn record_agreed(&mut self, mut plan: Backfill, agreed: Digest) -> Result<Backfill, MeteringError> {
        let (admission, told) = (AdmissionId::generate(), Told::default());
        let root = (self.drafting.events.len() > 1).then(|| root_of(&self.drafting.events));
        let request = self.request(admission, &self.drafting.events, root)?;
        let draft = self.draft_of(admission, &told, Rehearsal::of(Some(agreed)));
        let steps: Vec<Box<dyn Step>> = vec![Box::new(Deciding(draft))];
        let effect = Effect {
            steps,
            facts: BTreeMap::from([("backfill".to_owned(), "true".to_owned()), ("alerts".to_owned(), "suppressed".to_owned())]),
            digests: BTreeMap::from([("agreed".to_owned(), agreed)]),
            late: vec![told.lately()],
            bill: Some(told.bill.clone()),
            ..Effect::default()
        };
        self.meter.gate.commit_effect(request, effect).await?;
        (plan.recorded, plan.admission) = (true, Some(admission.to_string()));
        Ok(plan)
    }

    fn draft_of(&self, admission: AdmissionId, told: &Told, rehearsal: Rehearsal) -> Draft {
        let mut draft = self.drafting.copy().draft(self.acting.chain.leaf(), admission, self.epoch, self.now, told);
        draft.marks.quiet = true;
        Draft { all_or_none: false, rehearsal: Some(rehearsal), ..draft }
    }

    fn refusals(&self) -> Vec<BackfillRefusal> {
        let refused = self.outcomes.iter().enumerate().filter_map(|(at, outcome)| match outcome {
            Some(Outcome::Refused(error) | Outcome::Quarantined(error)) => Some(refusal(self.id(at), error)),
            _ => None,
        });
        refused.collect()
    }

    fn slot(&self, shift: &Shift) -> Option<&Slot> {
        self.drafting.slots.get(shift.slot)
    }

    /// The figures by the names that people know, with the final invoices whose periods they are of.
    async fn changes(&self, shifts: &[Shift]) -> Result<Vec<BackfillChange>, MeteringError> {
        let names: HashMap<&str, &str> = self.drafting.events.iter().flat_map(|event| self.named(event)).collect();
        let mut finals: HashMap<&str, Vec<rerates::FinalPeriod>> = HashMap::new();
        let mut changes = Vec::with_capacity(shifts.len());
        for shift in shifts {
            let Some(slot) = self.slot(shift) else { continue };
            let terms = &slot.terms;
            let own = shift.subscription.as_str();
            if !finals.contains_key(own) {
                finals.insert(own, rerates::final_periods(&self.meter.db, self.tenant(), own).await?);
            }
            let billed = finals.get(own).and_then(|all| all.iter().find(|it| it.from >= terms.from && it.from < terms.to));
            let dims = drafting::Dims::parse(&shift.dims)?;
            let [units_before, units_after] = shift.units.clone();
            let [amount_before, amount_after] = shift.amounts.clone();
            let cents = |amount: &Exact| fee::of_amount(amount, &terms.subunits);
            changes.push(BackfillChange {
                external_subscription_id: names.get(own).copied().unwrap_or(own).to_owned(),
                from: terms.from,
                to: terms.to,
                charge: drafting::house_charge_parts(&shift.charge).map_or(shift.charge.as_str(), |(code, _)| code).to_owned(),
                filter: dims.filter,
                group: dims.group,
                difference_cents: cents(&amount_after) - cents(&amount_before),
                units_before,
                units_after,
                amount_before,
                amount_after,
                adjusts: billed.map(|it| it.number.clone()),
            });
        }
        Ok(changes)
    }

    /// The subscriptions that an event counts in, by their own identifiers, with the name it was sent for.
    fn named<'a>(&'a self, event: &'a Drafted) -> impl Iterator<Item = (&'a str, &'a str)> {
        let slots = event.shares.iter().filter_map(|share| self.drafting.slots.get(share.slot));
        slots.map(|slot| (slot.key.subscription.as_str(), event.event.subscription.as_str()))
    }
}

fn refusal(transaction_id: Option<String>, error: &MeteringError) -> BackfillRefusal {
    BackfillRefusal { transaction_id, code: error.code().as_str(), detail: error.to_string() }
}
