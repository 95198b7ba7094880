//! What holds for all usage: order does not matter, parts make the whole, and no money is lost or made.

use creto_kernel::{Micros, Timestamp};
use creto_metering::core::aggregate::unique::{History, Operation, active_days};
use creto_metering::core::aggregate::{self, DayState, Reading, Value, prorate};
use creto_metering::core::credits::{self, Bucket, Purse};
use creto_metering::core::exact::Exact;
use creto_metering::core::expression::Expression;
use creto_metering::core::invoice::{self, Line, LineCoupon, Off};
use creto_metering::core::price::{self, Usage, tiers};
use creto_metering::core::zone::{Day, Zone};
use creto_metering::core::{fee, posting};
use creto_metering::model::billable_metric::Aggregation;
use creto_metering::model::price::{Percentage, PriceModel, Range, RateRange};
use creto_metering::model::wallet::{Grant, GrantKind, WalletLimits};
use proptest::prelude::*;

const AGGREGATIONS: [&str; 9] = ["count", "sum", "unique_count", "max", "min", "avg", "latest", "weighted_sum", "custom"];

fn number() -> impl Strategy<Value = Exact> {
    (-1_000_000_i64..1_000_000, 0_i32..6).prop_map(|(digits, places)| Exact::from(digits) * Exact::power_of_ten(-places))
}

fn amount() -> impl Strategy<Value = Exact> {
    number().prop_map(|number| number.abs())
}

fn cents() -> impl Strategy<Value = Exact> {
    (0_i64..100_000).prop_map(Exact::from)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(second).unwrap()
}

/// Readings of one aggregation, each with its place in the order of arrival.
fn readings(aggregation: Aggregation) -> impl Strategy<Value = Vec<Reading>> {
    let one = (0_i64..1000, number(), 0_u8..4, any::<bool>());
    prop::collection::vec(one, 0..24).prop_map(move |events| {
        (0_u64..)
            .zip(events)
            .map(|(sequence, (second, number, member, is_add))| {
                let operation = if is_add { Operation::Add } else { Operation::Remove };
                let value = match aggregation {
                    Aggregation::Count => Value::Nothing,
                    Aggregation::UniqueCount => Value::Member(member.to_string(), operation),
                    Aggregation::Custom => Value::Maybe(is_add.then_some(number)),
                    _ => Value::Number(number),
                };
                Reading { at: at(second), sequence, value, precise_total_amount_cents: Exact::from(second) }
            })
            .collect()
    })
}

fn aggregation_and_readings() -> impl Strategy<Value = (Aggregation, Vec<Reading>)> {
    prop::sample::select(AGGREGATIONS.to_vec()).prop_flat_map(|name| {
        let aggregation = Aggregation::named(name).unwrap();
        (Just(aggregation), readings(aggregation))
    })
}

fn state<'a>(aggregation: Aggregation, readings: impl IntoIterator<Item = &'a Reading>) -> DayState {
    let mut state = DayState::empty(aggregation);
    readings.into_iter().for_each(|reading| state.apply(reading).unwrap());
    state
}

fn merged(aggregation: Aggregation, states: &[DayState]) -> DayState {
    let mut all = DayState::empty(aggregation);
    states.iter().for_each(|state| all.merge(state).unwrap());
    all
}

fn ranges() -> impl Strategy<Value = Vec<Range>> {
    let tier = (1_i64..500, amount(), amount());
    prop::collection::vec(tier, 1..6).prop_map(|tiers| {
        let last = tiers.len() - 1;
        let mut end = Exact::ZERO;
        tiers
            .into_iter()
            .enumerate()
            .map(|(index, (length, per_unit_amount, flat_amount))| {
                end += &Exact::from(length);
                Range { from_value: None, to_value: (index < last).then(|| end.clone()), per_unit_amount, flat_amount }
            })
            .collect()
    })
}

fn monotonic_price() -> impl Strategy<Value = PriceModel> {
    let rates = ranges().prop_map(|ranges| PriceModel::GraduatedPercentage {
        ranges: ranges
            .into_iter()
            .map(|range| RateRange {
                from_value: None,
                to_value: range.to_value,
                rate: range.per_unit_amount,
                flat_amount: range.flat_amount,
            })
            .collect(),
    });
    prop_oneof![
        amount().prop_map(|amount| PriceModel::Standard { amount }),
        amount().prop_map(|amount| PriceModel::Flat { amount }),
        ranges().prop_map(|ranges| PriceModel::Graduated { ranges }),
        (amount(), 1_i64..50, 0_i64..100).prop_map(|(amount, size, free)| PriceModel::Package {
            amount,
            package_size: Exact::from(size),
            free_units: Exact::from(free)
        }),
        (amount(), amount())
            .prop_map(|(rate, fixed)| { PriceModel::Percentage(Percentage { rate, fixed_amount: Some(fixed), ..Percentage::default() }) }),
        rates,
    ]
}

fn rated(model: &PriceModel, units: &Exact) -> Exact {
    price::rate(model, &Usage::of(units.clone(), 1), &Exact::from(100)).unwrap().amount
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn events_in_any_order_give_the_same_state((aggregation, readings) in aggregation_and_readings(), seed: u64) {
        let mut shuffled: Vec<&Reading> = readings.iter().collect();
        shuffled.sort_by_key(|reading| (reading.sequence.wrapping_mul(seed | 1)).rotate_left(17));
        prop_assert_eq!(state(aggregation, &readings), state(aggregation, shuffled));
    }

    #[test]
    fn states_of_parts_merge_into_the_state_of_the_whole_however_they_are_grouped(
        (aggregation, readings) in aggregation_and_readings(), first in 0_usize..24, second in 0_usize..24
    ) {
        let (first, second) = (first.min(second).min(readings.len()), first.max(second).min(readings.len()));
        let parts = [&readings[..first], &readings[first..second], &readings[second..]].map(|part| state(aggregation, part));
        let [a, b, c] = &parts;
        let whole = state(aggregation, &readings);
        prop_assert_eq!(&merged(aggregation, &parts), &whole);
        prop_assert_eq!(&merged(aggregation, &[a.clone(), merged(aggregation, &[b.clone(), c.clone()])]), &whole);
        prop_assert_eq!(&merged(aggregation, &[c.clone(), a.clone(), b.clone()]), &whole);
    }

    #[test]
    fn a_replay_of_the_events_is_the_state_that_was_kept((aggregation, readings) in aggregation_and_readings(), cancelled in 0_usize..24) {
        let mut kept = state(aggregation, &readings);
        let Some(gone) = readings.get(cancelled) else { return Ok(()) };
        let rest: Vec<&Reading> = readings.iter().filter(|reading| reading.sequence != gone.sequence).collect();
        // Where an event cannot be taken out, the day is replayed, which is what it is compared with.
        if kept.retract(gone).is_ok() {
            prop_assert_eq!(kept, state(aggregation, rest));
        }
    }

    #[test]
    fn a_stored_state_is_read_as_it_was_written((aggregation, readings) in aggregation_and_readings()) {
        let state = state(aggregation, &readings);
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<DayState>(&text).unwrap(), state);
    }

    #[test]
    fn a_weighted_sum_of_two_parts_of_a_period_is_that_of_the_period(readings in readings(Aggregation::WeightedSum), cut in 1_i64..999) {
        let aggregation = Aggregation::WeightedSum;
        let (before, after): (Vec<Reading>, Vec<Reading>) = readings.iter().cloned().partition(|reading| reading.at < at(cut));
        let (first, second) = (state(aggregation, &before), state(aggregation, &after));
        let all = state(aggregation, &readings);
        let mean = |carried: Option<&DayState>, inside: &DayState, from: i64, to: i64| aggregate::units(aggregation, carried, inside, at(from), at(to)).unwrap();
        let whole = mean(None, &all, 0, 1000) * Exact::from(1000);
        let parts = mean(None, &first, 0, cut) * Exact::from(cut) + mean(Some(&first), &second, cut, 1000) * Exact::from(1000 - cut);
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn a_values_days_do_not_depend_on_arrival_and_add_up_over_parts_of_a_period(
        events in prop::collection::vec((0_i64..60 * 86_400, any::<bool>()), 0..12), cut in 1_i32..30
    ) {
        let zone = Zone::utc();
        let mut history = History::default();
        for (sequence, (second, is_add)) in (0_u64..).zip(&events) {
            history.insert(at(*second), sequence, if *is_add { Operation::Add } else { Operation::Remove });
        }
        let mut late = History::default();
        for (sequence, (second, is_add)) in (0_u64..).zip(&events).collect::<Vec<_>>().into_iter().rev() {
            late.insert(at(*second), sequence, if *is_add { Operation::Add } else { Operation::Remove });
        }
        prop_assert_eq!(history.intervals(), late.intervals());
        let first: Day = "1970-01-11".parse().unwrap();
        let (middle, last) = (first.plus_days(cut), first.plus_days(30));
        let days = |from: Day, to: Day| active_days(&history.intervals(), zone.start(from), to, &zone);
        prop_assert_eq!(days(first, last), days(first, middle.plus_days(-1)) + days(middle, last));
    }

    #[test]
    fn prorated_parts_of_a_period_make_the_whole(units in number(), days in 0_u32..31, period in 31_u32..92) {
        let parts = prorate::persisted(&units, days, period) + prorate::persisted(&units, period - days, period);
        prop_assert_eq!(parts, units);
    }

    #[test]
    fn split_billing_bills_what_one_bill_would(ranges in ranges(), lines in prop::collection::vec(1_i64..400, 1..8)) {
        let mut before = Exact::ZERO;
        let mut billed = Exact::ZERO;
        for line in lines.into_iter().map(Exact::from) {
            billed += &tiers::graduated_line(&ranges, &before, &line);
            before += &line;
        }
        prop_assert_eq!(billed, tiers::graduated(&ranges, &before));
    }

    #[test]
    fn posting_as_usage_goes_on_posts_what_posting_once_would(model in monotonic_price(), uses in prop::collection::vec(amount(), 1..12)) {
        let (mut units, mut posted) = (Exact::ZERO, Micros::ZERO);
        for used in uses {
            units += &used;
            let Some(due) = posting::due(&rated(&model, &units), posted) else { return Ok(()) };
            prop_assert!(!due.is_negative());
            posted = posted.checked_add(due).unwrap();
        }
        prop_assert_eq!(Some(posted), posting::rounded(&rated(&model, &units)));
    }

    #[test]
    fn more_units_never_cost_less_where_that_is_promised(model in monotonic_price(), units in amount(), more in amount()) {
        prop_assert!(model.is_monotonic());
        prop_assert!(rated(&model, &units) <= rated(&model, &(&units + &more)));
    }

    #[test]
    fn drawing_credits_moves_every_one_of_them_once(grants in prop::collection::vec((cents(), 0_u32..3, any::<bool>(), 0_i64..3), 0..8), usage in cents()) {
        let grants: Vec<Grant> = grants
            .into_iter()
            .enumerate()
            .map(|(index, (remaining, priority, is_granted, created))| Grant {
                id: index.to_string(),
                remaining,
                priority,
                expires_at: (created == 0).then(|| at(5)),
                kind: if is_granted { GrantKind::Granted } else { GrantKind::Purchased },
                created_at: at(created),
            })
            .collect();
        let draw = credits::burn(&grants, &usage);
        prop_assert_eq!(draw.drawn.iter().sum::<Exact>() + &draw.overage, usage.clone());
        prop_assert!(credits::remaining(&grants, &draw.drawn).iter().all(|left| !left.is_negative()));
        // Nothing is drawn of a later grant while an earlier one has something left.
        let mut is_left = false;
        for index in credits::drawing_order(&grants) {
            prop_assert!(!is_left || draw.drawn[index].is_zero());
            is_left |= draw.drawn[index] < grants[index].remaining;
        }
        let all: Exact = grants.iter().map(|grant| &grant.remaining).sum();
        prop_assert_eq!(credits::draw_down(&grants, &usage).is_ok(), all >= usage);
    }

    #[test]
    fn wallets_pay_no_more_than_they_have_than_is_owed_or_than_they_may(
        wallets in prop::collection::vec((cents(), 0_u32..3, 0_i64..3, 0_u8..3), 0..7), fees in prop::collection::vec(cents(), 2), total in cents()
    ) {
        let types = |kind: u8| match kind {
            0 => Vec::new(),
            1 => vec!["charge".to_owned()],
            _ => vec!["subscription".to_owned()],
        };
        let wallets: Vec<Purse> = wallets
            .into_iter()
            .map(|(balance, priority, created, kind)| Purse {
                balance,
                priority,
                created_at: at(created),
                applies_to: WalletLimits { fee_types: types(kind), ..WalletLimits::default() },
            })
            .collect();
        let buckets: Vec<Bucket> = ["charge", "subscription"]
            .iter()
            .zip(&fees)
            .map(|(key, cap)| Bucket { fee_type: (*key).to_owned(), billable_metric_code: None, cap: cap.clone() })
            .collect();
        let paid = credits::allocate(&total, &wallets, &buckets);
        prop_assert!(wallets.iter().zip(&paid).all(|(wallet, paid)| !paid.is_negative() && *paid <= wallet.balance));
        prop_assert!(paid.iter().sum::<Exact>() <= total.min(fees.iter().sum()));
        for (index, fee) in fees.iter().enumerate() {
            let only: Exact = wallets.iter().zip(&paid).filter(|(w, _)| w.applies_to.fee_types == [buckets[index].fee_type.clone()]).map(|(_, p)| p).sum();
            prop_assert!(only <= *fee);
        }
    }

    #[test]
    fn coupons_and_taxes_add_up_on_every_line(
        fees in prop::collection::vec((cents(), 0_i64..40), 1..9), coupons in prop::collection::vec((cents(), any::<bool>(), 0_usize..9), 0..4)
    ) {
        let lines: Vec<Line> = fees.into_iter().map(|(amount, rate)| Line { amount, tax_rate: Exact::from(rate) }).collect();
        let coupons: Vec<LineCoupon> = coupons
            .into_iter()
            .map(|(off, is_all, line)| LineCoupon { off: Off::Cents(off), lines: (!is_all).then(|| vec![line % lines.len()]) })
            .collect();
        let totals = invoice::totals(&lines, &coupons);
        let amounts: Exact = lines.iter().map(|line| &line.amount).sum();
        prop_assert_eq!(&totals.subtotal + &totals.coupons, amounts);
        prop_assert_eq!(&totals.subtotal + &totals.taxes, totals.total.clone());
        prop_assert_eq!(totals.printed_taxes.iter().sum::<Exact>(), totals.taxes.clone());
        prop_assert_eq!(totals.printed_coupons.iter().sum::<Exact>(), totals.coupons.clone());
        prop_assert!(totals.printed_coupons.iter().zip(&totals.line_coupons).all(|(printed, exact)| (printed - exact).abs() <= Exact::ONE));
        for ((line, coupon), (printed, rounded)) in lines.iter().zip(&totals.line_coupons).zip(totals.printed_taxes.iter().zip(&totals.line_taxes)) {
            prop_assert!(!coupon.is_negative() && *coupon <= line.amount);
            prop_assert!((printed - rounded).abs() <= Exact::ONE);
        }
    }

    #[test]
    fn a_split_coupon_takes_off_each_fee_no_more_than_it_is(fees in prop::collection::vec(cents(), 1..9), off in cents()) {
        let (credit, shares) = invoice::coupon_split(&Off::Cents(off.clone()), &fees);
        prop_assert_eq!(shares.iter().sum::<Exact>(), credit.clone());
        prop_assert_eq!(credit, off.min(fees.iter().sum()));
        prop_assert!(fees.iter().zip(&shares).all(|(fee, share)| !share.is_negative() && share <= fee));
    }

    #[test]
    fn a_minimum_is_reached_exactly_by_its_true_up(min in cents(), used in cents()) {
        let paid = &used + &fee::true_up(&min, 1, 1, &used);
        prop_assert_eq!(paid, used.max(min));
    }

    #[test]
    fn numbers_are_what_integers_say(a in -10_i128.pow(15)..10_i128.pow(15), b in 1_i128..10_i128.pow(15)) {
        let ratio = Exact::ratio(a, b).unwrap();
        prop_assert_eq!(&ratio * &Exact::from(b), Exact::from(a));
        prop_assert_eq!(ratio.floor(), Exact::from(a.div_euclid(b)));
        prop_assert_eq!(Exact::from_stored(&ratio.stored()), Ok(ratio.clone()));
        prop_assert!((&ratio.nearest() - &ratio).abs() <= Exact::ratio(1, 2).unwrap());
    }

    #[test]
    fn no_text_makes_a_parser_fail_otherwise_than_by_saying_so(text in "\\PC{0,60}", words in "[-+*/(),.0-9a-z' ]{0,60}") {
        for text in [text, words] {
            if let Ok(expression) = text.parse::<Expression>() {
                prop_assert_eq!(expression.as_str().parse::<Expression>(), Ok(expression.clone()));
            }
            if let Ok(number) = text.parse::<Exact>() {
                prop_assert_eq!(number.to_string().parse::<Exact>(), Ok(number));
            }
        }
    }
}
