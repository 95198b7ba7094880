//! What one charge has used in one period, event by event: its state, and what that costs so far.
//!
//! A state is what [`DayState`] is, with three things beside it: how many values are active (their histories stand in rows of their own),
//! prorated units, and single transactions where a price reads them.

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::aggregate::unique::MemberState;
use crate::core::aggregate::{self, DayState, Level, Mismatch, Reading, Value};
use crate::core::exact::Exact;
use crate::core::expression::Scope;
use crate::core::price::{self, PriceError, Transaction, Usage, percentage};
use crate::core::zone::{Day, Zone};
use crate::model::billable_metric::{Aggregation, BillableMetric};
use crate::model::charge::{Charge, Pricing};
use crate::model::price::{Percentage, PriceModel};

/// Most transactions a price reads of one period; each event beyond them is priced by itself, without what is free.
pub const TRANSACTIONS_MAX: usize = 1_000;

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
    /// Units of each event, where the price reads them, up to [`TRANSACTIONS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<Exact>,
    /// What the events beyond those cost.
    #[serde(with = "aggregate::stored", default, skip_serializing_if = "Exact::is_zero")]
    pub beyond: Exact,
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
    /// The price reads each event, and there are more than it can.
    #[error("the price reads each event of a period, and there are more than {TRANSACTIONS_MAX}")]
    TooMany,
    /// What it costs is no amount.
    #[error("the cost does not fit")]
    Overflow,
}

impl Tally {
    /// Nothing used.
    #[must_use]
    pub fn empty(aggregation: Aggregation) -> Self {
        Self { state: DayState::empty(aggregation), active: 0, prorated: Exact::ZERO, transactions: Vec::new(), beyond: Exact::ZERO }
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
            self.note(reading, day, terms)?;
            return Ok(None);
        };
        let said = MemberState::of(reading.at, reading.sequence, *operation);
        let mut after = member.unwrap_or(said);
        after.merge(&said);
        let was_active = member.is_some_and(|member| member.is_active());
        self.active += i64::from(after.is_active()) - i64::from(was_active);
        if terms.charge.prorated && after.is_active() != was_active {
            self.prorate_member(day, terms, member, after);
        }
        self.state.events = self.state.events.saturating_add(1);
        self.state.precise_total_amount_cents += &reading.precise_total_amount_cents;
        Ok(Some(after))
    }

    /// A value that comes counts from its day on; one that goes counts to its day, that one included; a day counts once.
    fn prorate_member(&mut self, day: Day, terms: &Terms, before: Option<MemberState>, after: MemberState) {
        let went_today = before.is_some_and(|member| terms.zone.day(member.last_at) == day);
        let left = day.days_through(terms.last_day);
        let tomorrow = left.saturating_sub(1);
        if after.is_active() {
            self.prorated += &aggregate::prorate::share(if went_today { tomorrow } else { left }, terms.days);
        } else {
            self.prorated -= &aggregate::prorate::share(tomorrow, terms.days);
        }
    }

    fn note(&mut self, reading: &Reading, day: Day, terms: &Terms) -> Result<(), ChargingError> {
        let one = Exact::ONE;
        let units = match &reading.value {
            Value::Number(units) => units,
            _ => &one,
        };
        if terms.is_prorated_sum() {
            let share = aggregate::prorate::share(day.days_through(terms.last_day), terms.days);
            self.prorated += &(units * &share);
        }
        if !terms.pricing().model.reads_events(terms.charge.prorated) {
            return Ok(());
        }
        match &terms.pricing().model {
            _ if self.transactions.len() < TRANSACTIONS_MAX => self.transactions.push(units.clone()),
            PriceModel::Percentage(price) => {
                self.beyond += &percentage::by_transaction(&without_free(price), std::slice::from_ref(units)).amount
            }
            _ => return Err(ChargingError::TooMany),
        }
        Ok(())
    }
}

impl Terms {
    /// The price.
    #[must_use]
    pub fn pricing(&self) -> &Pricing {
        self.charge.pricing(self.filter)
    }

    /// Units of a tally, as they are billed; `carried` is everything before the period, of a recurring metric.
    pub fn units(&self, tally: &Tally, carried: Option<&Tally>) -> Result<Exact, ChargingError> {
        let aggregation = self.metric.aggregation_type;
        let units = match (&tally.state.level, aggregation) {
            (Level::Unique(_), _) if self.charge.prorated => tally.prorated.clone(),
            (Level::Unique(_), _) => Exact::from(tally.active),
            (Level::Custom(_), _) => self.expressed(tally)?,
            (Level::Sum(_), _) if self.is_prorated_sum() => {
                let before =
                    carried.map_or(Ok(Exact::ZERO), |carried| aggregate::units(aggregation, None, &carried.state, self.from, self.to))?;
                &tally.prorated + &before
            }
            _ => aggregate::units(aggregation, carried.map(|carried| &carried.state), &tally.state, self.from, self.to)?,
        };
        Ok(self.metric.billable(&units))
    }

    fn expressed(&self, tally: &Tally) -> Result<Exact, ChargingError> {
        let names = tally.state.names();
        let units = self.metric.expression.as_ref().map(|expression| expression.number(Scope { event: None, names: &names }));
        Ok(units.transpose().map_err(PriceError::Expression)?.unwrap_or_default())
    }

    fn is_prorated_sum(&self) -> bool {
        self.charge.prorated && self.metric.aggregation_type == Aggregation::Sum
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
        let whole = |units: &Exact| Transaction { full_units: units.clone(), prorated_units: units.clone() };
        Ok(Usage {
            units: self.units(tally, carried)?,
            full_units,
            events: tally.state.events,
            precise_total_amount_cents: tally.state.precise_total_amount_cents.clone(),
            transactions: tally.transactions.iter().map(whole).collect(),
        })
    }

    /// What a tally costs, in units of the currency, unrounded.
    pub fn amount(&self, tally: &Tally, carried: Option<&Tally>) -> Result<Exact, ChargingError> {
        let mut usage = self.usage(tally, carried)?;
        if !tally.beyond.is_zero() {
            usage.units = tally.transactions.iter().cloned().sum();
            usage.events = u64::try_from(tally.transactions.len()).unwrap_or(u64::MAX);
        }
        Ok(price::rate(&self.pricing().model, &usage, &self.subunits)?.amount + &tally.beyond)
    }
}

fn without_free(price: &Percentage) -> Percentage {
    Percentage { free_units_per_events: None, free_units_per_total_aggregation: None, ..price.clone() }
}
