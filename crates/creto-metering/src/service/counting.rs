//! What a request of events counts against quotas, in the commit that records them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use creto_db::Step;
use creto_enablement_common::Refusal;
use creto_kernel::Timestamp;

use crate::core::aggregate::Value as Reported;
use crate::core::recording::{Drafted, Fate};
use crate::model::quota::SPEND;
use crate::quotas::charging::Limited;
use crate::store::quotas::Amount;
use crate::store::recording::Told;

/// One event, in millionths of its metric.
const ONE: i64 = creto_kernel::money::MICROS_PER_UNIT;

/// The limits of those that events are booked to, by their place among the sources.
#[derive(Debug, Default)]
pub(super) struct Counting {
    limits: HashMap<usize, Limited>,
}

/// What a commit counts.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) steps: Vec<Box<dyn Step>>,
    lines: Vec<(Limited, String, Amount)>,
}

impl Counting {
    /// Notes the limits of a source.
    pub(super) fn note(&mut self, source: usize, limited: Option<Limited>) {
        self.limits.extend(limited.map(|limited| (source, limited)));
    }

    /// What these events count once they are recorded: each what it reports under its metric, all what they cost.
    pub(super) fn of(&self, events: &[Drafted], told: &Told, now: Timestamp) -> Result<Counted, Refusal> {
        let mut counted = Counted::default();
        if self.limits.is_empty() {
            return Ok(counted);
        }
        let mut by_metric: BTreeMap<(usize, String), Vec<(usize, i64)>> = BTreeMap::new();
        for (place, drafted) in events.iter().enumerate() {
            let Some(limited) = self.limits.get(&drafted.source) else { continue };
            if limited.concerns(&drafted.event.code) {
                by_metric.entry((drafted.source, drafted.event.code.clone())).or_default().push((place, reported(drafted)));
            }
            if limited.concerns(SPEND) {
                by_metric.entry((drafted.source, SPEND.to_owned())).or_default().push((place, 0));
            }
        }
        for ((source, metric), places) in by_metric {
            let Some(limited) = self.limits.get(&source) else { continue };
            let at_most = places.iter().fold(0_i64, |sum, (_, units)| sum.saturating_add(*units));
            let (spends, said) = (metric == SPEND, told.clone());
            let amount = Amount::Lately(Arc::new(move || recorded(&said.fates(), &places, spends)));
            counted.steps.extend(limited.recording(&metric, &amount, at_most, now)?);
            counted.lines.push((limited.clone(), metric, amount));
        }
        Ok(counted)
    }
}

impl Counted {
    /// The commit has happened.
    pub(super) fn recorded(&self) {
        for (limited, metric, amount) in &self.lines {
            limited.recorded(metric, amount.get());
        }
    }
}

/// What those of the events that are recorded report, or cost.
fn recorded(fates: &[Fate], places: &[(usize, i64)], spends: bool) -> i64 {
    places.iter().fold(0, |sum, (place, units)| match fates.get(*place) {
        Some(Fate::Recorded { cost, .. }) => sum.saturating_add(if spends { cost.get() } else { *units }),
        _ => sum,
    })
}

/// What an event reports, in millionths, rounded up: its number, else one.
fn reported(drafted: &Drafted) -> i64 {
    match drafted.shares.first().map(|share| &share.value) {
        Some(Reported::Number(units) | Reported::Maybe(Some(units))) => {
            (units.clone() * crate::core::exact::Exact::from(ONE)).ceil().to_i64().unwrap_or(i64::MAX / 2).max(0)
        }
        _ => ONE,
    }
}
