//! What a commit of events would change: told before it happens, and agreed to by its digest.

use std::sync::{Arc, Mutex, PoisonError};

use creto_kernel::{Digest, canonical};
use serde::Serialize;

use crate::core::charging::ChargingError;
use crate::core::exact::Exact;
use crate::core::recording::{self, Known, Recording, Running, Slot};

/// What one priced aggregate comes to, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// Which, by its place among those of the commit.
    #[serde(skip)]
    pub slot: usize,
    /// The subscription's own identifier.
    pub subscription: String,
    /// Where its period begins, in microseconds.
    pub period: i64,
    /// The charge.
    pub charge: String,
    /// Filter and groups, as they are kept.
    pub dims: String,
    /// Units before and after, as they are billed.
    pub units: [Exact; 2],
    /// What they cost before and after, in units of the currency, unrounded.
    pub amounts: [Exact; 2],
}

/// What would change, once a commit has decided it.
#[derive(Clone, Debug, Default)]
pub struct Rehearsal {
    /// The digest of what was agreed to; none where it is only to be told.
    pub agreed: Option<Digest>,
    said: Arc<Mutex<(Vec<Shift>, Option<Digest>)>>,
}

impl Rehearsal {
    /// Of what was agreed to, or of nothing yet.
    #[must_use]
    pub fn of(agreed: Option<Digest>) -> Self {
        Self { agreed, said: Arc::default() }
    }

    /// What would change, and its digest, once it was decided.
    #[must_use]
    pub fn told(&self) -> (Vec<Shift>, Option<Digest>) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Decides what changes, and answers the digest it is agreed to by: over the events and every figure of it.
    pub fn decide(&self, recording: &Recording, slots: &[Slot], known: &Known, root: &Digest) -> Result<Digest, ChargingError> {
        let shifts = shifts(recording, slots, known)?;
        let text = canonical::to_vec(&(root.to_string(), &shifts)).unwrap_or_default();
        let digest = Digest::of_parts(&[b"creto/backfill/v1", &text]);
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = (shifts, Some(digest));
        Ok(digest)
    }
}

/// Every priced aggregate that a commit changes.
pub fn shifts(recording: &Recording, slots: &[Slot], known: &Known) -> Result<Vec<Shift>, ChargingError> {
    let changed = recording.running.iter().filter_map(|(place, after)| Some((*place, slots.get(*place)?, after)));
    changed.filter(|(_, slot, _)| slot.priced).map(|(place, slot, after)| shift(place, slot, after, known)).collect()
}

fn shift(place: usize, slot: &Slot, after: &Running, known: &Known) -> Result<Shift, ChargingError> {
    let carried = known.carried.get(&place);
    let before = known.running.get(&place).cloned().unwrap_or_else(|| recording::begun(place, slot, known));
    let was_used = known.running.contains_key(&place) || carried.is_some();
    // A flat price is owed from the first event on.
    let amount = if was_used { slot.terms.amount(&before.tally, carried)? } else { Exact::ZERO };
    Ok(Shift {
        slot: place,
        subscription: slot.key.subscription.clone(),
        period: slot.key.period,
        charge: slot.key.charge.clone(),
        dims: slot.key.dims.clone(),
        units: [slot.terms.units(&before.tally, carried)?, slot.terms.units(&after.tally, carried)?],
        amounts: [amount, slot.terms.amount(&after.tally, carried)?],
    })
}
