//! The plans of chains that acted lately, kept as a processor's cache keeps lines: a digest has one set, and a set is one cache line of
//! places (set-associative placement; Hennessy, Patterson: Computer Architecture, appendix B).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use creto_kernel::Digest;

use super::index::Plan;

/// Four mebibytes of them, from the first plan on, and at most 393,216 plans, each of which keeps its counters. Of 100,000 chains one in two
/// hundred shares its set with more than fit into it.
const SETS: usize = 1 << 16;
/// Places of a set.
const WAYS: usize = 6;

#[derive(Debug, Default)]
struct Set {
    /// Who is replaced next.
    turn: u8,
    /// A byte of each chain's digest, so that others need not be looked at.
    tags: [u8; WAYS],
    plans: [Option<Arc<Plan>>; WAYS],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(Mutex<Set>);

const _: () = assert!(size_of::<Line>() == 64, "one cache line");

impl Line {
    fn lock(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Plans by the digests of their chains.
#[derive(Debug, Default)]
pub(super) struct Plans(OnceLock<Box<[Line]>>);

impl Plans {
    /// The plan of a chain, where it is remembered.
    pub(super) fn get(&self, chain: &Digest) -> Option<Arc<Plan>> {
        let (set, tag) = place(chain);
        let set = self.0.get()?.get(set)?.lock();
        let places = set.tags.iter().zip(&set.plans);
        places.filter(|(known, _)| **known == tag).filter_map(|(_, plan)| plan.as_ref()).find(|plan| plan.chain == *chain).map(Arc::clone)
    }

    /// Remembers a plan: in the place of the same chain's, else in a free one, of an index that is gone, or whose turn it is.
    pub(super) fn put(&self, plan: &Arc<Plan>) {
        let (set, tag) = place(&plan.chain);
        let lines = self.0.get_or_init(|| (0..SETS).map(|_| Line::default()).collect());
        let Some(line) = lines.get(set) else { return };
        let mut set = line.lock();
        let same = set.plans.iter().position(|known| known.as_ref().is_some_and(|known| known.chain == plan.chain));
        let spare = || set.plans.iter().position(|known| known.as_ref().is_none_or(|known| known.version < plan.version));
        let at = same.or_else(spare).unwrap_or_else(|| {
            set.turn = set.turn.wrapping_add(1);
            usize::from(set.turn) % WAYS
        });
        if let Some(known) = set.tags.get_mut(at) {
            *known = tag;
        }
        if let Some(known) = set.plans.get_mut(at) {
            *known = Some(Arc::clone(plan));
        }
    }
}

const _: () = assert!(SETS == 1 << u16::BITS, "as many as `place` tells apart");

/// The set of a chain, and its tag in there: a digest is spread as it stands.
fn place(chain: &Digest) -> (usize, u8) {
    let [low, high, tag, ..] = *chain.as_bytes();
    (usize::from(u16::from_le_bytes([low, high])), tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(chain: Digest, version: u64) -> Arc<Plan> {
        Arc::new(Plan { chain, version, counters: [].into_iter().collect() })
    }

    /// A chain of one set: they differ where neither the set nor the tag is.
    fn chain(number: u8) -> Digest {
        let mut bytes = [7; 32];
        bytes[31] = number;
        Digest::from_bytes(bytes)
    }

    #[test]
    fn a_chain_finds_its_own_plan_and_no_other() {
        let plans = Plans::default();
        assert!(plans.get(&chain(0)).is_none(), "nothing is remembered yet");
        let known: Vec<_> = (0..WAYS as u8).map(|number| plan(chain(number), 1)).collect();
        known.iter().for_each(|plan| plans.put(plan));
        assert!(known.iter().all(|plan| Arc::ptr_eq(&plans.get(&plan.chain).unwrap(), plan)));
        assert!(plans.get(&chain(WAYS as u8)).is_none(), "the same set and tag, and another chain");
    }

    #[test]
    fn a_new_plan_takes_the_place_of_the_same_chains_then_of_what_is_outdated_and_only_then_of_others() {
        let plans = Plans::default();
        let last = WAYS as u8 - 1;
        (0..=last).for_each(|number| plans.put(&plan(chain(number), if number == last { 1 } else { 2 })));
        let again = plan(chain(0), 2);
        plans.put(&again);
        assert!(Arc::ptr_eq(&plans.get(&chain(0)).unwrap(), &again));
        assert!((0..=last).all(|number| plans.get(&chain(number)).is_some()), "nobody else had to go");
        plans.put(&plan(chain(100), 2));
        assert!(plans.get(&chain(last)).is_none() && plans.get(&chain(100)).is_some(), "the outdated one went");
        plans.put(&plan(chain(101), 2));
        let left = (0..WAYS as u8).chain([100, 101]).filter(|number| plans.get(&chain(*number)).is_some()).count();
        assert!(left == WAYS && plans.get(&chain(101)).is_some(), "one of them went");
    }
}
