//! The step that cancels one event: its aggregates without it, and what it no longer costs.

use std::collections::{BTreeMap, HashMap};

use creto_db::{DbError, Decide, Late, Lately, Many, Row, Step, StepError, Write, params};
use creto_enablement_common::ports::Bill;
use creto_kernel::id::AdmissionId;
use creto_kernel::{ErrorCode, Micros, NhiId, TenantId, Timestamp};

use crate::core::aggregate::{Reading, Value};
use crate::core::charging::Tally;
use crate::core::daily::{self, DailyKey, Used};
use crate::core::posting;
use crate::core::recording::{self, DayTally, Drafted, Known, MemberKey, Paying, Recording, Running, Scope, Share, Slot};
use crate::model::source::Source;
use crate::service::cancel::ReadBy;
use crate::service::drafting::Drafting;
use crate::store::alerts::Marks;
use crate::store::daily as dailies;
use crate::store::events::{self, Record};
use crate::store::recording::{CATALOG_CHANGED, ledger_steps};
use crate::store::{advance, aggregates};

pub(crate) const CANCELLED: ErrorCode = ErrorCode::new("metering.already_cancelled");

const ALREADY: &str = "the event was cancelled before";

/// What a cancellation gave back, known once it has run.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenBack(Bill);

impl GivenBack {
    pub(crate) fn amount(&self) -> Micros {
        self.0.cost()
    }

    /// What the leaf says of it.
    pub(crate) fn lately(&self) -> Lately {
        let given = self.clone();
        Lately::new(move || Late {
            facts: BTreeMap::from([("given_back_micros".to_owned(), given.amount().get().to_string())]),
            ..Late::default()
        })
    }
}

/// One event to cancel, with how it and its neighbours are read.
#[derive(Debug)]
pub(crate) struct Cancelling {
    pub(crate) tenant: TenantId,
    pub(crate) admission: AdmissionId,
    pub(crate) by: NhiId,
    pub(crate) now: Timestamp,
    pub(crate) epoch: i64,
    pub(crate) record: Record,
    pub(crate) source: Source,
    pub(crate) read_by: ReadBy,
    pub(crate) drafted: Drafted,
    pub(crate) slots: Vec<Slot>,
    pub(crate) window: (Timestamp, Timestamp),
    /// What of it is watched.
    pub(crate) marks: Marks,
    pub(crate) given: GivenBack,
}

/// What is left of the aggregates of one event without it.
#[derive(Default)]
struct Left {
    running: BTreeMap<usize, Tally>,
    days: BTreeMap<usize, Tally>,
    members: BTreeMap<MemberKey, Option<crate::core::aggregate::unique::MemberState>>,
}

impl Cancelling {
    fn days(&self) -> Vec<(usize, crate::core::zone::Day)> {
        self.drafted.shares.iter().map(|share| (share.slot, share.day)).collect()
    }

    /// Whether every aggregate can give the event back by itself; else it is made again of the others.
    fn is_invertible(&self) -> bool {
        self.drafted.shares.iter().all(|share| {
            let Some(terms) = self.slots.get(share.slot).map(|slot| &slot.terms) else { return true };
            let mut probe = Tally::empty(terms.metric.aggregation_type);
            let reading = self.reading(share);
            // What was due at most is known again only from all the others.
            let whole = !terms.charge.prorated && !terms.charge.pay_in_advance && !terms.pricing().model.reads_events(false);
            whole && probe.state.apply(&reading).is_ok() && probe.state.retract(&reading).is_ok()
        })
    }

    /// The row of its day, and what it no longer adds to it.
    fn daily(&self, given: Micros) -> Option<(DailyKey<i64>, Used)> {
        daily::of(&self.drafted, self.record.source, &self.slots, given)
    }

    fn reading(&self, share: &Share) -> Reading {
        Reading {
            at: self.record.occurred_at,
            sequence: u64::try_from(self.record.seq).unwrap_or_default(),
            value: share.value.clone(),
            precise_total_amount_cents: share.precise_total_amount_cents.clone(),
        }
    }

    fn without(
        &self,
        running: &BTreeMap<usize, Running>,
        days: &BTreeMap<usize, DayTally>,
        carried: &HashMap<usize, Tally>,
        others: &[Row],
    ) -> Result<Left, StepError> {
        let invalid = |e: &dyn std::fmt::Display| StepError::Invalid(e.to_string());
        let mut left = Left::default();
        if self.is_invertible() {
            for share in &self.drafted.shares {
                let take = |tally: Option<&Tally>| {
                    let mut tally = tally.cloned().ok_or_else(|| StepError::Invalid("an aggregate is missing".to_owned()))?;
                    tally.state.retract(&self.reading(share)).map_err(|e| invalid(&e))?;
                    Ok::<_, StepError>(tally)
                };
                left.running.insert(share.slot, take(running.get(&share.slot).map(|running| &running.tally))?);
                left.days.insert(share.slot, take(days.get(&share.slot).map(|day| &day.tally))?);
            }
            return Ok(left);
        }
        let again = self.again(carried, others).map_err(|e| invalid(&e))?;
        for share in &self.drafted.shares {
            let Some(slot) = self.slots.get(share.slot) else { continue };
            let empty = || Tally::empty(slot.terms.metric.aggregation_type);
            left.running.insert(share.slot, again.running.get(&share.slot).map_or_else(empty, |running| running.tally.clone()));
            left.days.insert(share.slot, again.days.get(&(share.slot, share.day)).map_or_else(empty, |day| day.tally.clone()));
            if let Value::Member(value, _) = &share.value {
                for scope in [slot.whole(), Scope::Day(share.day)] {
                    let key = recording::member_key(&self.slots, share.slot, scope, value);
                    let state = again.members.get(&key).copied();
                    left.members.insert(key, state);
                }
            }
        }
        Ok(left)
    }

    /// The aggregates of all other events, from nothing.
    fn again(&self, carried: &HashMap<usize, Tally>, others: &[Row]) -> Result<Recording, crate::error::MeteringError> {
        // The slots of the event come first, so that places mean the same.
        let mut drafting = Drafting::of(self.slots.clone(), self.source.clone());
        let mut events = Vec::new();
        for row in others {
            let record = events::record_row(row)?;
            if record.cancelled_at.is_none() && record.seq != self.record.seq {
                self.read_by.draft(&self.tenant, &mut drafting, &record, 0)?;
                events.extend(drafting.events.drain(..).map(|drafted| Drafted { seq: Some(record.seq), ..drafted }));
            }
        }
        let known = Known { carried: carried.clone(), ..Known::default() };
        let nobody = [Source { accounts: Vec::new(), ..self.source.clone() }];
        Ok(recording::record(&events, &drafting.slots, &nobody, &known, Paying::InFull))
    }
}

impl Decide for Cancelling {
    fn questions(&self) -> Vec<Many> {
        let tenant = &self.tenant;
        let summed: Vec<(usize, &Slot)> = self.slots.iter().enumerate().filter(|(_, slot)| slot.terms.metric.recurring).collect();
        let mut questions = vec![
            Many::new("SELECT epoch FROM meter_catalog_epoch WHERE tenant = $1", params![tenant], vec![]),
            // Somebody else may have been faster, and then the aggregates are without it already.
            Many::new(
                "SELECT seq FROM meter_record WHERE tenant = $1 AND seq = $2 AND cancelled_at IS NULL",
                params![tenant, self.record.seq],
                vec![],
            ),
            aggregates::running(tenant, &self.slots),
            aggregates::days(tenant, &self.slots, &self.days()),
            aggregates::carried(tenant, &summed),
            dailies::one(tenant, self.daily(Micros::ZERO).as_ref().map(|(key, _)| key)),
        ];
        if !self.is_invertible() {
            questions.push(events::all_between(tenant, &self.record.subscription, &self.record.code, self.window));
        }
        questions
    }

    fn decide(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError> {
        let corrupt = |e: DbError| StepError::Invalid(e.to_string());
        let [epoch, standing, running, days, carried, daily, rest @ ..] = answers else {
            return Err(StepError::Invalid("a cancellation asked for something else".to_owned()));
        };
        if epoch.first().map_or(Ok(0), |row| row.int(0)).map_err(corrupt)? != self.epoch {
            return Err(StepError::conflict(CATALOG_CHANGED, "the catalog changed while an event was cancelled"));
        }
        if standing.is_empty() {
            return Err(StepError::conflict(CANCELLED, ALREADY));
        }
        let mut running: BTreeMap<usize, Running> =
            running.iter().map(aggregates::running_row).collect::<Result<_, _>>().map_err(corrupt)?;
        let wanted = self.days();
        let mut by_slot = BTreeMap::new();
        for row in days {
            let (place, day) = aggregates::day_row(row).map_err(corrupt)?;
            by_slot.extend(wanted.get(place).map(|(slot, _)| (*slot, day)));
        }
        let carried = aggregates::carried_rows(carried).map_err(corrupt)?;
        let left = self.without(&running, &by_slot, &carried, rest.first().map_or(&[], Vec::as_slice))?;
        let back = self.taken_back(&running, &left);
        let mut given = Micros::ZERO;
        for (place, tally) in &left.running {
            let (Some(slot), Some(running)) = (self.slots.get(*place), running.get_mut(place)) else { continue };
            running.tally = tally.clone();
            if slot.priced {
                let amount = slot.terms.amount(tally, carried.get(place)).map_err(|e| StepError::Invalid(e.to_string()))?;
                let less = posting::due(&amount, running.posted).unwrap_or(Micros::ZERO);
                let rest = self.record.cost.checked_sub(given).unwrap_or(Micros::ZERO);
                let back = Micros::ZERO.checked_sub(less).unwrap_or(Micros::ZERO).max(Micros::ZERO).min(rest);
                running.posted = running.posted.checked_sub(back).unwrap_or(Micros::ZERO);
                given = given.checked_add(back).unwrap_or(given);
                if let Some(day) = by_slot.get_mut(place) {
                    day.cost = day.cost.checked_sub(back).unwrap_or(day.cost);
                }
            }
        }
        for (place, tally) in &left.days {
            if let Some(day) = by_slot.get_mut(place) {
                day.tally = tally.clone();
            }
        }
        self.given.0.write(given);
        let daily = daily.first().map(dailies::used_row).transpose().map_err(corrupt)?;
        let mut steps = self.steps(&running, &by_slot, &left, (given, daily))?;
        if !back.is_empty() {
            steps.push(Box::new(advance::insert(&self.tenant, &back)?));
        }
        Ok(steps)
    }
}

impl Cancelling {
    /// What is given back of charges that are paid in advance: as much less as was due at most.
    fn taken_back(&self, running: &BTreeMap<usize, Running>, left: &Left) -> Vec<advance::Written<'_>> {
        let back = |(place, tally): (&usize, &Tally)| {
            let slot = self.slots.get(*place).filter(|slot| slot.priced && slot.terms.charge.pay_in_advance)?;
            let cents = running.get(place)?.tally.peak_cents.checked_sub(tally.peak_cents).filter(|cents| *cents > 0)?;
            Some(advance::Written::taken_back(self.record.seq, slot, (&self.record.transaction_id, self.record.occurred_at), cents))
        };
        left.running.iter().filter_map(back).collect()
    }

    fn steps(
        &self,
        running: &BTreeMap<usize, Running>,
        days: &BTreeMap<usize, DayTally>,
        left: &Left,
        (given, daily): (Micros, Option<Used>),
    ) -> Result<Vec<Box<dyn Step>>, StepError> {
        let key = |slot: &usize| self.slots.get(*slot).map(|slot| &slot.key);
        let periods: Vec<_> = running.iter().filter_map(|(slot, running)| Some((key(slot)?, running))).collect();
        let day_of = |slot: &usize| self.drafted.shares.iter().find(|share| share.slot == *slot).map(|share| share.day);
        let days: Vec<_> = days.iter().filter_map(|(slot, tally)| Some((key(slot)?, day_of(slot)?, tally))).collect();
        let kept: Vec<_> = left.members.iter().filter_map(|(key, state)| Some((key, state.as_ref()?))).collect();
        let gone: Vec<&MemberKey> = left.members.iter().filter(|(_, state)| state.is_none()).map(|(key, _)| key).collect();
        let mark = Write::new(
            "UPDATE meter_record SET cancelled_at = $1, given_back = $2 WHERE tenant = $3 AND seq = $4 AND cancelled_at IS NULL",
            params![self.now, given, &self.tenant, self.record.seq],
        )
        .exactly(1, CANCELLED, ALREADY);
        let mut steps: Vec<Box<dyn Step>> = vec![
            Box::new(mark),
            Box::new(aggregates::put_running(&self.tenant, &periods)?),
            Box::new(aggregates::put_days(&self.tenant, &days)?),
            Box::new(aggregates::put_members(&self.tenant, &self.slots, &kept)),
            Box::new(aggregates::forget_members(&self.tenant, &self.slots, &gone)),
        ];
        // A day that was kept before there were such rows stays without.
        if let (Some((key, part)), Some(used)) = (self.daily(given), daily) {
            steps.push(Box::new(dailies::put(&self.tenant, &[(key, used.without(&part))])));
        }
        if given > Micros::ZERO {
            let back = Micros::ZERO.checked_sub(given).unwrap_or(Micros::ZERO);
            let codes = [(self.record.code.as_str(), back)];
            steps.extend(ledger_steps(&self.tenant, self.admission, self.now, &self.by, &[(&self.source, back)], codes));
        }
        steps.extend(crate::catalog::boxed(self.marks.writes(&self.tenant)));
        Ok(steps)
    }
}
