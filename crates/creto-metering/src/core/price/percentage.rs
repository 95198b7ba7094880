//! Percentage prices, with free events and free amounts. Of two limits, the one that is reached first ends what is free.

use serde::{Deserialize, Serialize};

use crate::core::aggregate::stored;
use crate::core::exact::Exact;
use crate::core::price::Rated;
use crate::model::price::Percentage;

/// What the events of a price of a total have come to, in the order they arrived: all that it reads of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many.
    pub events: u64,
    /// Their running total.
    #[serde(with = "stored")]
    pub total: Exact,
    /// The running total at the last event that the event limit lets be free.
    #[serde(with = "stored")]
    reached: Exact,
    /// Of those, how many came before the running total passed the amount limit.
    within: u64,
    /// Whether it has passed it.
    passed: bool,
}

impl Seen {
    /// Takes the next event in.
    pub fn step(&mut self, price: &Percentage, value: &Exact) {
        self.total += value;
        if price.event_limit().is_none_or(|limit| self.events < limit) {
            self.passed = self.passed || price.amount_limit().is_some_and(|limit| self.total > *limit);
            self.within += u64::from(!self.passed);
            self.reached = self.total.clone();
        }
        self.events = self.events.saturating_add(1);
    }

    /// Those of these running totals; they need not go on after a limit was reached.
    #[must_use]
    pub fn of(price: &Percentage, running_totals: &[Exact]) -> Self {
        let mut seen = Self::default();
        for total in running_totals {
            let value = total - &seen.total;
            seen.step(price, &value);
        }
        seen
    }

    /// How much of the total is free, and how many events: no more than the amount limit, and no more than the total at the last event
    /// that the event limit lets be free; as many events as the limit that is reached first allows.
    fn free(&self, price: &Percentage, is_above: bool) -> (Exact, u64) {
        let event_limit = price.event_limit();
        let Some(amount_limit) = price.amount_limit() else {
            return event_limit.map_or((Exact::ZERO, 0), |limit| (self.reached.clone(), limit));
        };
        let first = event_limit.unwrap_or(u64::MAX);
        // Where all known totals are within the amount limit and the unknown ones too, the event limit is the one that is reached.
        let all_within = self.within == first.min(self.events) && (self.within >= first || !is_above);
        let free_events = match event_limit {
            Some(limit) if all_within => limit,
            _ => self.within,
        };
        (amount_limit.clone().min(self.reached.clone()), free_events)
    }

    /// The price of the total: what is not free at the rate, and the fixed amount for each event that is not free.
    #[must_use]
    pub fn rated(&self, price: &Percentage, units: &Exact, events: u64) -> Rated {
        if units.is_zero() {
            return Rated::default();
        }
        let is_above = price.amount_limit().is_some_and(|limit| units > limit || self.total > *limit);
        if price.event_limit().is_some_and(|limit| events <= limit) && !is_above {
            return Rated { free_units: units.clone(), free_events: events, ..Rated::default() };
        }
        let (free_units, free_events) = self.free(price, is_above);
        let free_events = free_events.min(events);
        let paid_units = (units - &free_units).floor_zero();
        let fixed = price.fixed_amount.clone().unwrap_or_default() * Exact::from(events - free_events);
        let amount = &paid_units * &price.rate.percent() + fixed;
        Rated { free_units, free_events, ..Rated::over(amount, units) }
    }
}

/// The price of a total, of events with these running totals.
#[must_use]
pub fn total(price: &Percentage, units: &Exact, events: u64, running_totals: &[Exact]) -> Rated {
    Seen::of(price, running_totals).rated(price, units, events)
}

/// What the events of a price with a least or a most for each of them have come to, in the order they arrived.
///
/// Each pays the rate of what is not free and the fixed amount, at least the minimum, at most the maximum. One that is wholly free pays
/// nothing; one that straddles the free amount pays on the excess.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Each {
    /// How many.
    events: u64,
    /// Their running total.
    #[serde(with = "stored")]
    total: Exact,
    /// Whether a limit of what is free was reached.
    ended: bool,
    free_events: u64,
    #[serde(with = "stored")]
    free_units: Exact,
    #[serde(with = "stored")]
    amount: Exact,
}

impl Each {
    /// Takes the next event in.
    pub fn step(&mut self, price: &Percentage, value: &Exact) {
        let (event_limit, amount_limit) = (price.event_limit(), price.amount_limit());
        let has_free = event_limit.is_some() || amount_limit.is_some();
        self.ended = self.ended || !has_free || event_limit.is_some_and(|limit| self.events >= limit);
        self.events = self.events.saturating_add(1);
        self.total += value;
        let paid = match amount_limit {
            _ if self.ended => Some(value.clone()),
            Some(limit) if self.total > *limit => {
                self.ended = true;
                Some(&self.total - limit)
            }
            _ => None,
        };
        match paid {
            Some(paid) => {
                self.free_units += &(value - &paid);
                self.amount += &one(price, &paid);
            }
            None => {
                self.free_units += value;
                self.free_events += 1;
            }
        }
    }

    /// What they come to.
    #[must_use]
    pub fn rated(&self) -> Rated {
        Rated { free_units: self.free_units.clone(), free_events: self.free_events, ..Rated::over(self.amount.clone(), &self.total) }
    }
}

/// The price of each transaction by itself, in order.
#[must_use]
pub fn by_transaction(price: &Percentage, values: &[Exact]) -> Rated {
    let mut each = Each::default();
    values.iter().for_each(|value| each.step(price, value));
    each.rated()
}

fn one(price: &Percentage, paid: &Exact) -> Exact {
    let mut amount = paid * &price.rate.percent() + price.fixed_amount.clone().unwrap_or_default();
    if let Some(min) = &price.per_transaction_min_amount {
        amount = amount.max(min.clone());
    }
    if let Some(max) = &price.per_transaction_max_amount {
        amount = amount.min(max.clone());
    }
    amount
}
