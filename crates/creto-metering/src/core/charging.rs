//! What one charge has used in one period, event by event: its state, and what that costs so far.
//!
//! A state is what [`DayState`] is, with three things beside it: how many values are active (their histories stand in rows of their own),
//! prorated units, and what a price that reads single events has walked over. All are as exact after a million events as after one.
//!
//! Events are walked over in the order they arrived. Two things are made again of more than the state when a period is billed, because
//! late events change them: values of a UNIQUE_COUNT that are carried over or count by days ([`Terms::counts_again`]), and tiers of
//! prorated units above a level that is carried over ([`Terms::walks_again`]).

use std::collections::BTreeMap;

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::aggregate::unique::MemberState;
use crate::core::aggregate::{self, DayState, Level, Mismatch, Reading, Value};
use crate::core::exact::Exact;
use crate::core::expression::Scope;
use crate::core::fee;
use crate::core::period::Period;
use crate::core::price::{self, PriceError, Rated, Transaction, Usage, Walk};
use crate::core::zone::{Day, Zone};
use crate::model::billable_metric::{Aggregation, BillableMetric};
use crate::model::charge::{Charge, Pricing};
use crate::model::price::PriceModel;

/// What each value of a UNIQUE_COUNT did, day by day.
pub type Histories = BTreeMap<String, BTreeMap<Day, MemberState>>;

/// How usage of one filter of a charge is rated in one period.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The metric.
    pub metric: BillableMetric,
    /// The charge.
    pub charge: Charge,
    /// The filter, by its place.
    pub filter: Option<usize>,
    /// Minor units in one unit of the currency.
    pub subunits: Exact,
    /// Where the period begins.
    pub from: Timestamp,
    /// Where the next one begins.
    pub to: Timestamp,
    /// Whose days.
    pub zone: Zone,
    /// The period's last local day.
    pub last_day: Day,
    /// Its days.
    pub days: u32,
    /// Whether it is of another currency than the tenant's budgets: what it costs is billed, and posted to none of them.
    pub apart: bool,
}

/// What a charge has used so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The aggregate; members of a UNIQUE_COUNT are left out.
    pub state: DayState,
    /// How many values are active, of a UNIQUE_COUNT.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub active: i64,
    /// Units by the days they were active, of a prorated SUM.
    #[serde(with = "aggregate::stored", default, skip_serializing_if = "Exact::is_zero")]
    pub prorated: Exact,
    /// What single events have come to, where the price reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<Walk>,
    /// Most that was due for it at any event, in minor units, of a charge that is paid in advance.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak_cents: i64,
}

/// What one event of a charge that is paid in advance is billed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// In minor units.
    pub cents: i64,
    /// The units it brought.
    pub units: Exact,
    /// What they cost, in units of the currency, unrounded.
    pub amount: Exact,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Why usage could not be counted or rated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargingError {
    /// The aggregate is of another kind.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The price failed.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// What it costs is no amount.
    #[error("the cost does not fit")]
    Overflow,
}

impl Tally {
    /// Nothing used.
    #[must_use]
    pub fn empty(aggregation: Aggregation) -> Self {
        Self { state: DayState::empty(aggregation), active: 0, prorated: Exact::ZERO, walk: None, peak_cents: 0 }
    }

    /// What a period begins with, where so many values are active: they are for all of its days.
    #[must_use]
    pub fn begin(terms: &Terms, active: i64) -> Self {
        let prorated = if terms.is_prorated() { Exact::from(active) } else { Exact::ZERO };
        Self { active, prorated, ..Self::empty(terms.metric.aggregation_type) }
    }

    /// Takes one event in. Of a UNIQUE_COUNT, `member` is what is known of its value before.
    ///
    /// Answers what is known of the value after.
    pub fn apply(
        &mut self,
        reading: &Reading,
        day: Day,
        terms: &Terms,
        member: Option<MemberState>,
    ) -> Result<Option<MemberState>, ChargingError> {
        let Value::Member(_, operation) = &reading.value else {
            self.state.apply(reading)?;
            self.note(reading, day, terms);
            return Ok(None);
        };
        let said = MemberState::of(reading.at, reading.sequence, *operation);
        let mut after = member.unwrap_or(said);
        after.merge(&said);
        let was_active = member.is_some_and(|member| member.is_active());
        self.active += i64::from(after.is_active()) - i64::from(was_active);
        if after.is_active() != was_active {
            let share = prorate_member(day, terms, member, after);
            if terms.is_prorated() {
                self.prorated += &share;
            }
            let full_units = if after.is_active() { Exact::ONE } else { -Exact::ONE };
            self.walk(terms, &Transaction { full_units, prorated_units: share });
        }
        self.state.events = self.state.events.saturating_add(1);
        self.state.precise_total_amount_cents += &reading.precise_total_amount_cents;
        Ok(Some(after))
    }

    /// What the event that made this of `before` is billed at once, of a charge that is paid in advance: what it costs with it less what
    /// it cost at most before, each rounded, so that the events of a period add up to the period. Nothing is given back: what comes after
    /// something went costs nothing until there is more than there ever was.
    pub fn advance(&mut self, before: &Self, terms: &Terms, carried: Option<&Self>) -> Result<Option<Advance>, ChargingError> {
        let cents = |amount: &Exact| fee::of_amount(amount, &terms.subunits).to_i64().ok_or(ChargingError::Overflow);
        let now = terms.amount(self, carried)?;
        // Before the first event nothing was billed; a level that was carried in is, with its period.
        let is_first = before.state.events == 0 && !terms.metric.recurring;
        let was = if is_first { Exact::ZERO } else { terms.amount(before, carried)? };
        let due_before = before.peak_cents.max(cents(&was)?);
        let due = cents(&now)?.max(due_before);
        self.peak_cents = due;
        let more = due.checked_sub(due_before).ok_or(ChargingError::Overflow)?;
        if more == 0 {
            return Ok(None);
        }
        let units = if is_first { terms.units(self, carried)? } else { terms.units(self, carried)? - terms.units(before, carried)? };
        Ok(Some(Advance { cents: more, units, amount: now - was }))
    }

    fn walk(&mut self, terms: &Terms, next: &Transaction) {
        if self.walk.is_none() {
            self.walk = terms.walk();
        }
        if let Some(walk) = &mut self.walk {
            walk.step(&terms.pricing().model, next);
        }
    }

    fn note(&mut self, reading: &Reading, day: Day, terms: &Terms) {
        if !terms.is_prorated_sum() && !terms.pricing().model.reads_events(terms.is_prorated()) {
            return;
        }
        let next = terms.transaction(reading, day);
        if terms.is_prorated_sum() {
            self.prorated += &next.prorated_units;
        }
        self.walk(terms, &next);
    }
}

/// A value that comes counts from its day on; one that goes counts to its day, that one included; a day counts once.
fn prorate_member(day: Day, terms: &Terms, before: Option<MemberState>, after: MemberState) -> Exact {
    let went_today = before.is_some_and(|member| terms.zone.day(member.last_at) == day);
    let left = day.days_through(terms.last_day);
    let tomorrow = left.saturating_sub(1);
    if after.is_active() { terms.share(if went_today { tomorrow } else { left }) } else { -terms.share(tomorrow) }
}

impl Terms {
    /// Of a filter of a charge, in a period of the customer's days.
    #[must_use]
    pub fn of(metric: &BillableMetric, charge: &Charge, filter: Option<usize>, subunits: Exact, period: Period, zone: &Zone) -> Self {
        Self {
            metric: metric.clone(),
            charge: charge.clone(),
            filter,
            subunits,
            from: period.from(zone),
            to: period.to_exclusive(zone),
            zone: zone.clone(),
            last_day: period.last_day,
            days: period.days(),
            apart: false,
        }
    }

    /// The price.
    #[must_use]
    pub fn pricing(&self) -> &Pricing {
        self.charge.pricing(self.filter)
    }

    /// Units of a tally, as they are billed; `carried` is everything before the period, of a recurring metric.
    pub fn units(&self, tally: &Tally, carried: Option<&Tally>) -> Result<Exact, ChargingError> {
        let aggregation = self.metric.aggregation_type;
        let units = match (&tally.state.level, aggregation) {
            (Level::Unique(_), _) if self.is_prorated() => tally.prorated.clone(),
            (Level::Unique(_), _) => Exact::from(tally.active),
            (Level::Custom(_), _) => self.expressed(tally, carried)?,
            (Level::Sum(_), _) if self.is_prorated_sum() => {
                let before =
                    carried.map_or(Ok(Exact::ZERO), |carried| aggregate::units(aggregation, None, &carried.state, self.from, self.to))?;
                &tally.prorated + &before
            }
            _ => aggregate::units(aggregation, carried.map(|carried| &carried.state), &tally.state, self.from, self.to)?,
        };
        Ok(self.metric.billable(&units))
    }

    fn expressed(&self, tally: &Tally, carried: Option<&Tally>) -> Result<Exact, ChargingError> {
        let mut whole = tally.state.clone();
        if let Some(carried) = carried {
            whole.merge(&carried.state)?;
        }
        let names = whole.names();
        let units = self.metric.expression.as_ref().map(|expression| expression.number(Scope { event: None, names: &names }));
        Ok(units.transpose().map_err(PriceError::Expression)?.unwrap_or_default())
    }

    fn is_prorated(&self) -> bool {
        self.charge.prorated && self.metric.aggregation_type.may_prorate()
    }

    fn is_prorated_sum(&self) -> bool {
        self.charge.prorated && self.metric.aggregation_type == Aggregation::Sum
    }

    fn share(&self, days: u32) -> Exact {
        aggregate::prorate::share(days, self.days)
    }

    /// What an event is to a price that reads it.
    fn transaction(&self, reading: &Reading, day: Day) -> Transaction {
        let full_units = match &reading.value {
            Value::Number(units) => units.clone(),
            Value::Maybe(units) => units.clone().unwrap_or_default(),
            Value::Nothing | Value::Member(..) => Exact::ONE,
        };
        let prorated_units =
            if self.is_prorated() { &full_units * &self.share(day.days_through(self.last_day)) } else { full_units.clone() };
        Transaction { full_units, prorated_units }
    }

    /// Before the first event, where the price reads them and what it has walked over stays.
    fn walk(&self) -> Option<Walk> {
        if self.walks_again() { None } else { Walk::begin(&self.pricing().model, self.is_prorated()) }
    }

    fn is_prorated_graduated(&self) -> bool {
        self.is_prorated() && matches!(self.pricing().model, PriceModel::Graduated { .. })
    }

    /// Whether its values are counted again, day by day, when a period is billed: events that arrive late change since when they count.
    #[must_use]
    pub fn counts_again(&self) -> bool {
        self.metric.aggregation_type == Aggregation::UniqueCount && (self.metric.recurring || self.charge.prorated)
    }

    /// Whether the period's events are walked over again when it is billed, above the level that is carried in.
    #[must_use]
    pub fn walks_again(&self) -> bool {
        self.is_prorated_graduated() && (self.metric.recurring || self.metric.aggregation_type == Aggregation::UniqueCount)
    }

    /// Counts the values of a UNIQUE_COUNT again: those that are active at the period's end, and the days each was active on. What comes
    /// on a day is walked over before what goes on it.
    pub fn count_again(&self, tally: &mut Tally, histories: &Histories) {
        let first_day = self.zone.day(self.from);
        let mut steps: Vec<(Day, bool, Transaction)> = Vec::new();
        let came =
            |day: Day| (day, false, Transaction { full_units: Exact::ONE, prorated_units: self.share(day.days_through(self.last_day)) });
        let went = |day: Day| {
            let after = self.share(day.days_through(self.last_day).saturating_sub(1));
            (day, true, Transaction { full_units: -Exact::ONE, prorated_units: -after })
        };
        tally.active = 0;
        for history in histories.values() {
            let before = history.range(..first_day).next_back();
            let mut is_active = self.metric.recurring && before.is_some_and(|(_, state)| state.is_active());
            steps.extend(is_active.then(|| came(first_day)));
            for (day, state) in history.range(first_day..=self.last_day) {
                if !is_active && state.added {
                    steps.push(came(*day));
                    is_active = true;
                }
                if is_active && !state.is_active() {
                    steps.push(went(*day));
                    is_active = false;
                }
            }
            tally.active = tally.active.saturating_add(i64::from(is_active));
        }
        if self.is_prorated() {
            tally.prorated = steps.iter().map(|(_, _, step)| &step.prorated_units).sum();
        }
        if self.walks_again() {
            steps.sort_by_key(|(day, goes, _)| (*day, *goes));
            self.walk_again(tally, None, steps.into_iter().map(|(_, _, step)| step));
        }
    }

    /// Walks over the period's events again, in the order they arrived.
    pub fn read_again(&self, tally: &mut Tally, carried: Option<&Tally>, readings: &[Reading]) -> Result<(), ChargingError> {
        let level = match carried {
            Some(carried) => aggregate::units(self.metric.aggregation_type, None, &carried.state, self.from, self.to)?,
            None => Exact::ZERO,
        };
        self.walk_again(tally, Some(level), readings.iter().map(|reading| self.transaction(reading, self.zone.day(reading.at))));
        Ok(())
    }

    fn walk_again(&self, tally: &mut Tally, level: Option<Exact>, steps: impl Iterator<Item = Transaction>) {
        let model = &self.pricing().model;
        let mut walk = Walk::begin(model, self.is_prorated());
        let level = level.map(|level| Transaction { full_units: level.clone(), prorated_units: level });
        if let Some(walk) = &mut walk {
            level.into_iter().chain(steps).for_each(|next| walk.step(model, &next));
        }
        tally.walk = walk;
    }

    /// What a price may read of a tally.
    pub fn usage(&self, tally: &Tally, carried: Option<&Tally>) -> Result<Usage, ChargingError> {
        let full_units = if self.is_prorated_sum() {
            let before = carried.map(|carried| &carried.state);
            Some(aggregate::units(Aggregation::Sum, before, &tally.state, self.from, self.to)?)
        } else if self.charge.prorated && self.metric.aggregation_type == Aggregation::UniqueCount {
            Some(Exact::from(tally.active).floor_zero())
        } else {
            None
        };
        Ok(Usage {
            units: self.units(tally, carried)?,
            full_units: full_units.map(|units| self.metric.billable(&units)),
            events: tally.state.events,
            precise_total_amount_cents: tally.state.precise_total_amount_cents.clone(),
            walk: tally.walk.clone(),
        })
    }

    /// What a tally costs, unrounded.
    pub fn rated(&self, tally: &Tally, carried: Option<&Tally>) -> Result<Rated, ChargingError> {
        Ok(price::rate(&self.pricing().model, &self.usage(tally, carried)?, &self.subunits)?)
    }

    /// What is billed of a tally in all: what it costs, and of a charge that is paid in advance what it cost at most.
    pub fn billed(&self, tally: &Tally, carried: Option<&Tally>) -> Result<Rated, ChargingError> {
        let mut rated = self.rated(tally, carried)?;
        let peak = Exact::from(tally.peak_cents).over(&self.subunits).unwrap_or_default();
        if self.charge.pay_in_advance && fee::of_amount(&rated.amount, &self.subunits) < Exact::from(tally.peak_cents) {
            rated.amount = peak;
        }
        Ok(rated)
    }

    /// What a tally costs, in units of the currency, unrounded.
    pub fn amount(&self, tally: &Tally, carried: Option<&Tally>) -> Result<Exact, ChargingError> {
        Ok(self.rated(tally, carried)?.amount)
    }
}
