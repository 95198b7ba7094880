//! Posting what usage costs while it goes on, so that fractions are never lost: round(what it costs so far) − what was posted.

use creto_kernel::Micros;
use creto_kernel::money::MICROS_PER_UNIT;

use crate::core::exact::Exact;
use crate::core::rounding::POSTING;
use crate::model::plan::UsageThreshold;

/// What is to be posted now, in millionths: negative where usage was taken back. `None` beyond the range of an amount.
///
/// Posting after every event and posting once give the same sum.
#[must_use]
pub fn due(cumulative: &Exact, posted: Micros) -> Option<Micros> {
    rounded(cumulative)?.checked_sub(posted)
}

/// An amount in units of the currency, to a millionth.
#[must_use]
pub fn rounded(amount: &Exact) -> Option<Micros> {
    so_far(&(amount * &Exact::from(MICROS_PER_UNIT))).to_i64().map(Micros::new)
}

/// What is posted or billed of `cumulative` once it is in the ledger: whole millionths, or whole minor units.
fn so_far(cumulative: &Exact) -> Exact {
    POSTING.whole(cumulative)
}

/// Progressive billing of one period: what was used and what was billed of it so far, in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Used.
    pub used: Exact,
    /// Most that had been used at any time: a threshold is crossed once.
    pub peak: Exact,
    /// Billed before the period ended.
    pub billed: Exact,
}

impl Progress {
    /// More usage: the amount of the invoice it brings about, if it crosses a threshold. However many it crosses, it is one invoice, of
    /// everything that was not billed before.
    pub fn record(&mut self, cents: &Exact, thresholds: &[UsageThreshold]) -> Option<Exact> {
        self.used += cents;
        let is_crossed = is_crossed(thresholds, &self.peak, &self.used);
        self.peak = self.peak.clone().max(self.used.clone());
        if !is_crossed {
            return None;
        }
        let invoice = so_far(&self.used) - &self.billed;
        self.billed += &invoice;
        Some(invoice)
    }

    /// The period's usage as fees.
    #[must_use]
    pub fn usage_fee(&self) -> Exact {
        so_far(&self.used)
    }
}

/// The invoice at a period's end: the plan's fee and all usage, less what was billed while the period went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// All fees of the period.
    pub fees: Exact,
    /// What was billed before.
    pub progressive_credit: Exact,
    /// What is left to be paid.
    pub total: Exact,
}

/// Closes a period.
#[must_use]
pub fn close(plan_fee: &Exact, progress: &Progress) -> Final {
    let fees = plan_fee + &progress.usage_fee();
    let total = (&fees - &progress.billed).floor_zero();
    Final { fees, progressive_credit: progress.billed.clone(), total }
}

/// Whether a threshold is above `before` and reached by `after`. A recurring one comes again and again after the last of the others.
fn is_crossed(thresholds: &[UsageThreshold], before: &Exact, after: &Exact) -> bool {
    let fixed = || thresholds.iter().filter(|threshold| !threshold.recurring).map(|threshold| Exact::from(threshold.amount_cents));
    if fixed().any(|amount| *before < amount && amount <= *after) {
        return true;
    }
    let last = fixed().max().unwrap_or_default();
    thresholds.iter().filter(|threshold| threshold.recurring).any(|threshold| {
        let times = |amount: &Exact| (amount - &last).over(&Exact::from(threshold.amount_cents)).unwrap_or_default().floor().floor_zero();
        times(after) > times(before)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recurring_threshold_comes_again_after_the_last_of_the_others() {
        let threshold = |amount_cents, recurring| UsageThreshold { amount_cents, threshold_display_name: None, recurring };
        let thresholds = [threshold(100, false), threshold(50, true)];
        let mut progress = Progress::default();
        let invoices: Vec<_> = [99, 1, 49, 1, 120, -80, 79]
            .iter()
            .map(|cents| progress.record(&Exact::from(*cents), &thresholds).map(|i| i.to_string()))
            .collect();
        let expected: [Option<&str>; 7] = [None, Some("100"), None, Some("50"), Some("120"), None, None];
        assert_eq!(invoices, expected.map(|invoice| invoice.map(str::to_owned)));
    }

    #[test]
    fn fractions_of_a_micro_add_up() {
        let third: Exact = Exact::ratio(1_u8, 3_000_000_u32).unwrap();
        let mut cumulative = Exact::ZERO;
        let mut posted = Micros::ZERO;
        let mut postings = Vec::new();
        for _ in 0..6 {
            cumulative += &third;
            let due = due(&cumulative, posted).unwrap();
            posted = posted.checked_add(due).unwrap();
            postings.push(due.get());
        }
        assert_eq!((postings, posted), (vec![0, 1, 0, 0, 1, 0], Micros::new(2)));
    }
}
