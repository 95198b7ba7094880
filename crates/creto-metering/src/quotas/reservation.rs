//! What one action was given of each quota it met.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use creto_kernel::Timestamp;
use smallvec::SmallVec;

use super::Asked;
use super::charging::Counted;
use super::counter::{Short, Want};
use super::index::{COUNTERS, Plan};

/// One quota's part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Which counter of the plan.
    pub(super) place: usize,
    /// How much was taken, in millionths; nothing of one that was only asked whether there is room.
    pub(super) taken: i64,
    /// The start of the span it was taken from.
    pub(super) start: i64,
}

pub(super) type Parts = SmallVec<[Part; COUNTERS]>;

/// Units that were reserved for one action. Dropped before it is admitted, they come back.
#[derive(Debug, Default)]
pub struct Reservation {
    pub(super) plan: Option<Arc<Plan>>,
    pub(super) parts: Parts,
    pub(super) now: Option<Timestamp>,
    pub(super) kept: AtomicBool,
    pub(super) charged: Mutex<Vec<Counted>>,
}

impl Reservation {
    pub(super) fn of(plan: &Arc<Plan>, parts: Parts, now: Timestamp) -> Self {
        Self { plan: Some(Arc::clone(plan)), parts, now: Some(now), kept: AtomicBool::new(false), charged: Mutex::default() }
    }

    /// Takes of every quota that is asked, from memory, all or none; else which counter could not give, and why.
    pub(super) fn take(plan: &Arc<Plan>, asked: Asked<'_>, now: Timestamp) -> Result<Self, (usize, Short)> {
        // All are looked at before any is taken from: their places in memory are fetched side by side.
        let wants: SmallVec<[Option<Want>; COUNTERS]> = plan.counters.iter().map(|counter| asked.want(&counter.limit.quota)).collect();
        let mut parts = Parts::new();
        for ((place, counter), want) in plan.counters.iter().enumerate().zip(wants) {
            let Some(want) = want else { continue };
            match counter.take(want, now) {
                Ok(start) => parts.push(Part { place, taken: taken(want), start }),
                Err(short) => {
                    give_back(plan, &parts);
                    return Err((place, short));
                }
            }
        }
        Ok(Self::of(plan, parts, now))
    }

    /// Keeps what was reserved: it is used.
    pub fn keep(self) {
        self.kept.store(true, Ordering::Release);
    }
}

pub(super) const fn taken(want: Want) -> i64 {
    match want {
        Want::Units(units) => units,
        Want::Room => 0,
    }
}

fn give_back(plan: &Plan, parts: &[Part]) {
    for part in parts {
        if let Some(counter) = plan.counters.get(part.place) {
            counter.put_back(part.start, part.taken);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(plan) = self.plan.as_ref().filter(|_| !self.kept.load(Ordering::Acquire)) {
            give_back(plan, &self.parts);
        }
    }
}
