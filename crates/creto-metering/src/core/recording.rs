//! One commit of events, decided: which are new, what each costs, which aggregates and accounts change.
//!
//! What an event costs is what its charge is rated at with it, rounded to a micro, less what was posted for the period before; so
//! fractions of a micro are never lost, however small each event is. Where a price falls with use, nothing is given back: later events
//! cost nothing until the rating has caught up with what was posted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use creto_kernel::{Digest, Micros};

use crate::core::aggregate::unique::MemberState;
use crate::core::aggregate::{Reading, Value};
use crate::core::charging::{Advance, ChargingError, Tally, Terms};
use crate::core::exact::Exact;
use crate::core::posting;
use crate::core::purse::Purse;
use crate::core::zone::Day;
use crate::model::event::Event;
use crate::model::source::Source;

/// Most one event may cost: a million units. A mistaken quantity must not use up an account for ever.
pub const EVENT_COST_MAX: Micros = Micros::new(1_000_000_000_000);

/// Which aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    /// The subscription's own identifier.
    pub subscription: String,
    /// Where the billing period begins, in microseconds.
    pub period: i64,
    /// The charge of its plan.
    pub charge: String,
    /// Filter and groups, as canonical JSON; empty where there are none.
    pub dims: String,
}

/// An aggregate that events of this commit may change.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Which.
    pub key: SlotKey,
    /// How it is rated.
    pub terms: Arc<Terms>,
    /// Whether it is priced; one that is not only shows a part of one that is.
    pub priced: bool,
    /// The first slot of the same charge and groups, whatever its period: a level that is carried over belongs to all of them.
    pub level: usize,
}

impl Slot {
    /// What the members of its period's aggregate belong to.
    #[must_use]
    pub fn whole(&self) -> Scope {
        if self.terms.metric.recurring { Scope::Ever } else { Scope::Period }
    }
}

/// What an event says to one aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which aggregate, by its place.
    pub slot: usize,
    /// The local day.
    pub day: Day,
    /// What was read.
    pub value: Value,
    /// What the event itself says it costs, in minor units.
    pub precise_total_amount_cents: Exact,
}

/// An event that may be recorded.
#[derive(Clone, Debug)]
pub struct Drafted {
    /// The event.
    pub event: Arc<Event>,
    /// Its key in the index of used identifiers.
    pub key: Digest,
    /// Whom it is booked to, by place.
    pub source: usize,
    /// What it says, to each of its aggregates.
    pub shares: Vec<Share>,
    /// The metric of the house it was read by, where it is no plan's.
    pub terms: Option<String>,
    /// Its place, where it has one already: it is replayed.
    pub seq: Option<i64>,
}

/// What a member's history belongs to: the period of a slot, or one of its days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All time, of a metric whose level is carried over.
    Ever,
    /// The whole period.
    Period,
    /// One local day.
    Day(Day),
}

/// A value of a UNIQUE_COUNT: which slot, in what scope, which value.
pub type MemberKey = (usize, Scope, String);

/// An aggregate of one day with what its events cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayTally {
    /// What was used.
    pub tally: Tally,
    /// What was posted for it.
    pub cost: Micros,
}

/// An aggregate of a period with what was posted for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// What was used.
    pub tally: Tally,
    /// What was posted.
    pub posted: Micros,
}

/// The key of a value: what is kept for ever is not the period's.
#[must_use]
pub fn member_key(slots: &[Slot], slot: usize, scope: Scope, value: &str) -> MemberKey {
    let place = if scope == Scope::Ever { slots.get(slot).map_or(slot, |slot| slot.level) } else { slot };
    (place, scope, value.to_owned())
}

/// What the database said, inside the commit.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last place that is taken.
    pub last_seq: i64,
    /// Used identifiers, with their places.
    pub used: HashMap<Digest, i64>,
    /// Accounts.
    pub purse: Purse,
    /// Aggregates of periods, by slot.
    pub running: HashMap<usize, Running>,
    /// Aggregates of days.
    pub days: HashMap<(usize, Day), DayTally>,
    /// Aggregates of everything before the period, of recurring metrics.
    pub carried: HashMap<usize, Tally>,
    /// Values that were active before a period without an aggregate yet, of recurring UNIQUE_COUNTs.
    pub active: HashMap<usize, i64>,
    /// Values of UNIQUE_COUNTs.
    pub members: HashMap<MemberKey, MemberState>,
}

/// Who pays for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paying {
    /// Only as far as every ceiling has room.
    WithinCeilings,
    /// In full: it has happened.
    InFull,
}

/// What became of one drafted event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Recorded at this place, at this cost.
    Recorded {
        /// Where.
        seq: i64,
        /// For how much.
        cost: Micros,
    },
    /// The identifier was used before, at this place: perhaps by an event of the same commit.
    Used {
        /// Where.
        seq: i64,
    },
    /// This account has no room for so much.
    Short {
        /// Which account.
        account: String,
        /// Whose.
        whose: String,
        /// For how much.
        cost: Micros,
    },
    /// What it costs does not fit.
    Unpayable,
    /// Its price cannot be computed.
    Unpriced(String),
}

/// What one commit of events changes.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// What became of each event, in the order they were drafted.
    pub fates: Vec<Fate>,
    /// Those recorded, in the order of their places: by place of the draft.
    pub recorded: Vec<usize>,
    /// Aggregates of periods that changed.
    pub running: BTreeMap<usize, Running>,
    /// Aggregates of days that changed.
    pub days: BTreeMap<(usize, Day), DayTally>,
    /// Values that changed.
    pub members: BTreeMap<MemberKey, MemberState>,
    /// What events brought of charges that are paid in advance: by place of the draft and of the slot.
    pub advances: Vec<(usize, usize, Advance)>,
    /// What each source pays, by metric.
    pub bill: BTreeMap<(usize, String), Micros>,
    /// Accounts after it.
    pub purse: Purse,
}

impl Recording {
    /// What all of it costs; saturates at the largest amount.
    #[must_use]
    pub fn cost(&self) -> Micros {
        self.bill.values().fold(Micros::ZERO, |sum, cost| sum.checked_add(*cost).unwrap_or(Micros::MAX))
    }
}

/// Decides one commit. Events are taken in the order given, each seeing those before it.
#[must_use]
pub fn record(drafted: &[Drafted], slots: &[Slot], sources: &[Source], known: &Known, paying: Paying) -> Recording {
    let mut desk = Desk {
        slots,
        known,
        seq: known.last_seq,
        used: HashMap::with_capacity(drafted.len()),
        running: vec![None; slots.len()],
        days: vec![Vec::new(); slots.len()],
        bill: BTreeMap::new(),
        done: Recording { purse: known.purse.clone(), ..Recording::default() },
    };
    for (at, draft) in drafted.iter().enumerate() {
        let fate = desk.take(at, draft, sources, paying);
        desk.done.fates.push(fate);
    }
    desk.recording()
}

/// What a period begins with, before its first event.
pub(crate) fn begun(at: usize, slot: &Slot, known: &Known) -> Running {
    let active = known.active.get(&at).copied().unwrap_or_default();
    Running { tally: Tally::begin(&slot.terms, active), posted: Micros::ZERO }
}

struct Desk<'a> {
    slots: &'a [Slot],
    known: &'a Known,
    seq: i64,
    used: HashMap<Digest, i64>,
    /// By slot.
    running: Vec<Option<Running>>,
    /// By slot; events of one commit seldom lie on many days.
    days: Vec<Vec<(Day, DayTally)>>,
    bill: BTreeMap<(usize, &'a str), Micros>,
    done: Recording,
}

/// One event's changes, before it is known whether they are paid for.
#[derive(Default)]
struct Trial {
    running: Vec<(usize, Running)>,
    days: Vec<(usize, Day, DayTally)>,
    members: Vec<(MemberKey, MemberState)>,
    advances: Vec<(usize, Advance)>,
    cost: Micros,
}

impl<'a> Desk<'a> {
    fn recording(self) -> Recording {
        let running = self.running.into_iter().enumerate().filter_map(|(slot, running)| Some((slot, running?))).collect();
        let days = self.days.into_iter().enumerate();
        let days = days.flat_map(|(slot, days)| days.into_iter().map(move |(day, tally)| ((slot, day), tally))).collect();
        let bill = self.bill.into_iter().map(|((source, code), cost)| ((source, code.to_owned()), cost)).collect();
        Recording { running, days, bill, ..self.done }
    }

    fn take(&mut self, at: usize, draft: &'a Drafted, sources: &[Source], paying: Paying) -> Fate {
        if let Some(seq) = self.known.used.get(&draft.key).or_else(|| self.used.get(&draft.key)) {
            return Fate::Used { seq: *seq };
        }
        let Some(source) = sources.get(draft.source) else { return Fate::Unpriced("the event has no source".to_owned()) };
        let seq = draft.seq.unwrap_or_else(|| self.seq.saturating_add(1));
        let trial = match self.trial(draft, seq) {
            Ok(trial) if trial.cost <= EVENT_COST_MAX => trial,
            Ok(_) | Err(ChargingError::Overflow) => return Fate::Unpayable,
            Err(error) => return Fate::Unpriced(error.to_string()),
        };
        let cost = trial.cost;
        if cost != Micros::ZERO {
            if paying == Paying::WithinCeilings
                && let Some(short) = self.done.purse.short(&source.accounts, cost)
            {
                return Fate::Short { account: short.account.clone(), whose: short.identity.name().to_owned(), cost };
            }
            if !self.done.purse.spend(&source.accounts, cost) {
                return Fate::Unpayable;
            }
            let bill = self.bill.entry((draft.source, &draft.event.code)).or_default();
            *bill = bill.checked_add(cost).unwrap_or(Micros::MAX);
        }
        self.seq = seq;
        self.used.insert(draft.key, seq);
        for (slot, running) in trial.running {
            if let Some(place) = self.running.get_mut(slot) {
                *place = Some(running);
            }
        }
        for (slot, day, tally) in trial.days {
            let Some(days) = self.days.get_mut(slot) else { continue };
            match days.iter_mut().rev().find(|(known, _)| *known == day) {
                Some((_, place)) => *place = tally,
                None => days.push((day, tally)),
            }
        }
        self.done.members.extend(trial.members);
        self.done.advances.extend(trial.advances.into_iter().map(|(slot, advance)| (at, slot, advance)));
        self.done.recorded.push(at);
        Fate::Recorded { seq, cost }
    }

    fn trial(&self, draft: &Drafted, seq: i64) -> Result<Trial, ChargingError> {
        let mut trial = Trial::default();
        for share in &draft.shares {
            let Some(slot) = self.slots.get(share.slot) else { continue };
            let reading = Reading {
                at: draft.event.occurred_at,
                sequence: u64::try_from(seq).unwrap_or_default(),
                value: share.value.clone(),
                precise_total_amount_cents: share.precise_total_amount_cents.clone(),
            };
            let mut running = self.running(share.slot, slot);
            let before = (slot.priced && slot.terms.charge.pay_in_advance).then(|| running.tally.clone());
            let whole = slot.whole();
            let after = running.tally.apply(&reading, share.day, &slot.terms, self.member(share.slot, whole, &share.value))?;
            self.keep(&mut trial, share, whole, after);
            let mut cost = Micros::ZERO;
            if slot.priced && !slot.terms.apart {
                let amount = slot.terms.amount(&running.tally, self.known.carried.get(&share.slot))?;
                cost = posting::due(&amount, running.posted).ok_or(ChargingError::Overflow)?.max(Micros::ZERO);
                running.posted = running.posted.checked_add(cost).ok_or(ChargingError::Overflow)?;
                trial.cost = trial.cost.checked_add(cost).ok_or(ChargingError::Overflow)?;
            }
            if let Some(before) = before {
                let brought = running.tally.advance(&before, &slot.terms, self.known.carried.get(&share.slot))?;
                trial.advances.extend(brought.map(|brought| (share.slot, brought)));
            }
            let scope = Scope::Day(share.day);
            let mut day = self.day(share.slot, share.day, slot);
            let after = day.tally.apply(&reading, share.day, &slot.terms, self.member(share.slot, scope, &share.value))?;
            self.keep(&mut trial, share, scope, after);
            day.cost = day.cost.checked_add(cost).ok_or(ChargingError::Overflow)?;
            // What only the whole period can say is not kept of a day.
            day.tally.walk = None;
            trial.running.push((share.slot, running));
            trial.days.push((share.slot, share.day, day));
        }
        Ok(trial)
    }

    fn running(&self, at: usize, slot: &Slot) -> Running {
        let running = self.running.get(at).and_then(Option::as_ref).or_else(|| self.known.running.get(&at));
        running.cloned().unwrap_or_else(|| begun(at, slot, self.known))
    }

    fn day(&self, at: usize, day: Day, slot: &Slot) -> DayTally {
        let empty = || DayTally { tally: Tally::empty(slot.terms.metric.aggregation_type), cost: Micros::ZERO };
        let here = self.days.get(at).and_then(|days| days.iter().rev().find(|(known, _)| *known == day)).map(|(_, tally)| tally);
        here.or_else(|| self.known.days.get(&(at, day))).cloned().unwrap_or_else(empty)
    }

    fn member(&self, slot: usize, scope: Scope, value: &Value) -> Option<MemberState> {
        let Value::Member(value, _) = value else { return None };
        let key = member_key(self.slots, slot, scope, value);
        self.done.members.get(&key).or_else(|| self.known.members.get(&key)).copied()
    }

    fn keep(&self, trial: &mut Trial, share: &Share, scope: Scope, after: Option<MemberState>) {
        if let (Value::Member(value, _), Some(after)) = (&share.value, after) {
            trial.members.push((member_key(self.slots, share.slot, scope, value), after));
        }
    }
}
