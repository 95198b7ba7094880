//! Percentage prices, with free events and free amounts. Of two limits, the one that is reached first ends what is free.

use crate::core::exact::Exact;
use crate::core::price::Rated;
use crate::model::price::Percentage;

/// The price of a total: what is not free at the rate, and the fixed amount for each event that is not free.
///
/// `running_totals` are those of the first events, in order; they need not go on after a limit was reached.
#[must_use]
pub fn total(price: &Percentage, units: &Exact, events: u64, running_totals: &[Exact]) -> Rated {
    if units.is_zero() {
        return Rated::default();
    }
    let (event_limit, amount_limit) = (price.event_limit(), price.amount_limit());
    let passed = amount_limit.is_some_and(|limit| units > limit || running_totals.last().is_some_and(|total| total > limit));
    if event_limit.is_some_and(|limit| events <= limit) && !passed {
        return Rated { free_units: units.clone(), free_events: events, ..Rated::default() };
    }
    let (free_units, free_events) = free(event_limit, amount_limit, passed, running_totals);
    let free_events = free_events.min(events);
    let paid_units = (units - &free_units).floor_zero();
    let fixed = price.fixed_amount.clone().unwrap_or_default() * Exact::from(events - free_events);
    let amount = &paid_units * &price.rate.percent() + fixed;
    Rated { free_units, free_events, ..Rated::over(amount, units) }
}

/// How much of the total is free: no more than the amount limit, and no more than the total at the last event that the event limit
/// lets be free. How many events are: as many as the limit that is reached first allows.
fn free(event_limit: Option<u64>, amount_limit: Option<&Exact>, passed: bool, running_totals: &[Exact]) -> (Exact, u64) {
    let first = event_limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let candidates = running_totals.get(..first.min(running_totals.len())).unwrap_or_default();
    let reached = candidates.last().cloned().unwrap_or_default();
    let Some(amount_limit) = amount_limit else { return event_limit.map_or((Exact::ZERO, 0), |limit| (reached, limit)) };
    let within = candidates.iter().take_while(|total| *total <= amount_limit).count();
    // Where all known totals are within the amount limit and the unknown ones too, the event limit is the one that is reached.
    let all_within = within == candidates.len() && (within >= first || !passed);
    let free_events = match event_limit {
        Some(limit) if all_within => limit,
        _ => u64::try_from(within).unwrap_or(u64::MAX),
    };
    (amount_limit.clone().min(reached), free_events)
}

/// The price of each transaction by itself, in order: the rate of what is not free and the fixed amount, at least the minimum, at most the
/// maximum. A transaction that is wholly free pays nothing; one that straddles the free amount pays on the excess.
#[must_use]
pub fn by_transaction(price: &Percentage, values: &[Exact]) -> Rated {
    let (event_limit, amount_limit) = (price.event_limit(), price.amount_limit());
    let mut is_free = event_limit.is_some() || amount_limit.is_some();
    let mut free_events = 0;
    let mut free_units = Exact::ZERO;
    let mut total = Exact::ZERO;
    let mut amount = Exact::ZERO;
    for (index, value) in (0_u64..).zip(values) {
        is_free = is_free && event_limit.is_none_or(|limit| index < limit);
        total += value;
        let paid = match amount_limit {
            _ if !is_free => Some(value.clone()),
            Some(limit) if total > *limit => {
                is_free = false;
                Some(&total - limit)
            }
            _ => None,
        };
        match paid {
            Some(paid) => {
                free_units += &(value - &paid);
                amount += &one(price, &paid);
            }
            None => {
                free_units += value;
                free_events += 1;
            }
        }
    }
    Rated { free_units, free_events, ..Rated::over(amount, &total) }
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
