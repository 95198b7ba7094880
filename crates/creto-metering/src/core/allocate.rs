//! Spreading whole minor units so that the parts always add up to the whole (largest remainder, Hamilton's method).

use crate::core::exact::Exact;
use crate::core::rounding::SHARE;

/// Makes exact parts whole so that they add up to `total`: each is rounded down, and what is left goes one by one to the largest
/// remainders, among equal ones to the first.
///
/// `total` is within one unit a part of the sum of the parts; what is beyond that stays with the first part.
#[must_use]
pub fn whole_parts(total: &Exact, parts: &[Exact]) -> Vec<Exact> {
    let mut whole: Vec<Exact> = parts.iter().map(|part| SHARE.whole(part)).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let remainder = |index: usize| parts.get(index).zip(whole.get(index)).map(|(part, whole)| part - whole);
    order.sort_by_cached_key(|index| (std::cmp::Reverse(remainder(*index)), *index));
    let mut left = total - whole.iter().sum::<Exact>();
    for index in order {
        if left < Exact::ONE {
            break;
        }
        if let Some(part) = whole.get_mut(index) {
            *part += &Exact::ONE;
            left -= &Exact::ONE;
        }
    }
    if let Some(first) = whole.first_mut() {
        *first += &left;
    }
    whole
}

/// Spreads a whole `total` over `weights`, in whole units, as [`precise`] does exactly.
#[must_use]
pub fn spread(total: &Exact, weights: &[Exact]) -> Vec<Exact> {
    whole_parts(total, &precise(total, weights))
}

/// Spreads `total` over `weights` exactly. Without any weight, all of it is the first one's.
#[must_use]
pub fn precise(total: &Exact, weights: &[Exact]) -> Vec<Exact> {
    let sum: Exact = weights.iter().sum();
    let unweighted = |index: usize| if index == 0 { total.clone() } else { Exact::ZERO };
    weights.iter().enumerate().map(|(index, weight)| (total * weight).over(&sum).unwrap_or_else(|| unweighted(index))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(values: &[i64]) -> Vec<Exact> {
        values.iter().map(|value| Exact::from(*value)).collect()
    }

    #[test]
    fn what_is_left_goes_to_the_largest_remainders_then_to_the_first() {
        for (total, weights, parts) in [
            (100, vec![1, 1, 1], vec![34, 33, 33]),
            (10, vec![15, 14, 1], vec![5, 5, 0]),
            (7, vec![0, 0], vec![7, 0]),
            (0, vec![3, 4], vec![0, 0]),
        ] {
            assert_eq!(spread(&Exact::from(total), &exact(&weights)), exact(&parts));
        }
        assert!(spread(&Exact::from(5), &[]).is_empty());
    }

    proptest! {
        #[test]
        fn parts_add_up_and_none_is_a_unit_off(total in 0_i64..1_000_000, weights in prop::collection::vec(0_i64..10_000, 1..20)) {
            let (total, weights) = (Exact::from(total), exact(&weights));
            let parts = spread(&total, &weights);
            prop_assert_eq!(parts.iter().sum::<Exact>(), total.clone());
            if weights.iter().any(Exact::is_positive) {
                for (part, exact) in parts.iter().zip(precise(&total, &weights)) {
                    prop_assert!((part - &exact).abs() < Exact::ONE);
                }
            }
        }
    }
}
