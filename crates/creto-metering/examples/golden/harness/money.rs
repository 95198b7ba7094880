//! Credits, fees, coupons, taxes and invoices.

use std::collections::BTreeMap;

use creto_metering::core::credits::{self, Balance, Bucket, Purse};
use creto_metering::core::exact::Exact;
use creto_metering::core::fee;
use creto_metering::core::invoice::{self, Line, LineCoupon, Off, Order};
use creto_metering::core::period::Period;
use creto_metering::core::posting::{self, Progress};
use creto_metering::core::zone::Day;
use creto_metering::model::plan::UsageThreshold;
use creto_metering::model::wallet::{Grant, GrantKind, TopUpMethod, TopUpRule, TopUpTrigger, WalletLimits};
use serde::Deserialize;
use serde_json::Value;

use super::input::{Moment, Whole, read};
use super::{Got, Outputs};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrant {
    id: String,
    #[serde(alias = "balance")]
    amount: Exact,
    priority: Whole,
    #[serde(default)]
    expires: Option<Moment>,
    created: Moment,
    #[serde(default)]
    kind: Option<GrantKind>,
}

fn grants(raw: Vec<RawGrant>) -> Vec<Grant> {
    raw.into_iter()
        .map(|grant| Grant {
            id: grant.id,
            remaining: grant.amount,
            priority: grant.priority.small(),
            expires_at: grant.expires.map(|moment| moment.0),
            kind: grant.kind.unwrap_or(GrantKind::Granted),
            created_at: grant.created.0,
        })
        .collect()
}

fn ids(grants: &[Grant]) -> impl Iterator<Item = &str> {
    grants.iter().map(|grant| grant.id.as_str())
}

pub(super) fn credit_drawdown(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        grants: Vec<RawGrant>,
        amount: Exact,
    }
    let input: Input = read(input)?;
    let grants = grants(input.grants);
    let (drawn, error) = match credits::draw_down(&grants, &input.amount) {
        Ok(draw) => (draw.drawn, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let mut outputs = BTreeMap::from([
        ("consumed", Got::from(credits::by_id(ids(&grants), &drawn))),
        ("remaining", Got::from(credits::by_id(ids(&grants), &credits::remaining(&grants, &drawn)))),
    ]);
    outputs.extend(error.map(|error| ("error", error.into())));
    Ok(outputs)
}

pub(super) fn grant_burn(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        grants: Vec<RawGrant>,
        usage: Exact,
    }
    let input: Input = read(input)?;
    let grants = grants(input.grants);
    let draw = credits::burn(&grants, &input.usage);
    let balance = credits::remaining(&grants, &draw.drawn);
    Ok(BTreeMap::from([("balance", credits::by_id(ids(&grants), &balance).into()), ("overage", draw.overage.into())]))
}

pub(super) fn grant_burn_recurring(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        amount: Exact,
        usage_before_recurrence: Exact,
        preserve_overage_into_recurrence: bool,
    }
    let input: Input = read(input)?;
    let balance = credits::after_recurrence(&input.amount, &input.usage_before_recurrence, input.preserve_overage_into_recurrence);
    Ok(BTreeMap::from([("balance_after_recurrence", balance.into())]))
}

pub(super) fn wallet_allocation(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        invoice_total: Exact,
        wallets: Vec<Wallet>,
        fees: Vec<Fee>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wallet {
        id: String,
        balance: Exact,
        priority: Whole,
        created: Moment,
        fee_types: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fee {
        key: String,
        cap: Exact,
    }
    let input: Input = read(input)?;
    let fees: Vec<Bucket> =
        input.fees.into_iter().map(|fee| Bucket { fee_type: fee.key, billable_metric_code: None, cap: fee.cap }).collect();
    let (ids, wallets): (Vec<String>, Vec<Purse>) = input
        .wallets
        .into_iter()
        .map(|wallet| {
            let applies_to = WalletLimits { fee_types: wallet.fee_types, ..WalletLimits::default() };
            let purse = Purse { balance: wallet.balance, priority: wallet.priority.small(), created_at: wallet.created.0, applies_to };
            (wallet.id, purse)
        })
        .unzip();
    let paid = credits::allocate(&input.invoice_total, &wallets, &fees);
    Ok(BTreeMap::from([("allocation", credits::by_id(ids.iter().map(String::as_str), &paid).into())]))
}

pub(super) fn threshold_topup_fixed(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        threshold: Exact,
        paid_credits: Exact,
        granted_credits: Exact,
        ongoing_balance: Exact,
        pending_credits: Exact,
        max: Option<Exact>,
    }
    let input: Input = read(input)?;
    let rule = TopUpRule {
        trigger: TopUpTrigger::Threshold,
        method: TopUpMethod::Fixed,
        threshold_credits: Some(input.threshold),
        interval: None,
        paid_credits: input.paid_credits,
        granted_credits: input.granted_credits,
        target_ongoing_balance: None,
        max_credits: input.max,
    };
    let balance = Balance { ongoing: input.ongoing_balance, pending: input.pending_credits };
    Ok(BTreeMap::from([("paid_credits", credits::top_up(&rule, &balance).into())]))
}

pub(super) fn credit_amount(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        credits: Exact,
        rate: Exact,
        currency_exponent: Whole,
    }
    let input: Input = read(input)?;
    let exponent = i32::try_from(input.currency_exponent.0).map_err(|_| "a currency has no such exponent")?;
    let bought = credits::bought(&input.credits, &input.rate, &Exact::power_of_ten(exponent)).ok_or("a credit is worth nothing")?;
    Ok(BTreeMap::from([("amount_cents", bought.amount_cents.into()), ("credits", bought.credits.into())]))
}

pub(super) fn prorated_fee_tax(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        amount_cents: Exact,
        days: Whole,
        period_days: Whole,
        tax_rate: Exact,
    }
    let input: Input = read(input)?;
    let fee = fee::taxed(&fee::part(&input.amount_cents, input.days.small(), input.period_days.small()), &input.tax_rate);
    Ok(BTreeMap::from([("total", fee.total().into()), ("fee", fee.fee.into()), ("tax", fee.tax.into())]))
}

pub(super) fn true_up(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        min_cents: Exact,
        days: Whole,
        period_days: Whole,
        used_cents: Exact,
    }
    let input: Input = read(input)?;
    let true_up = fee::true_up(&input.min_cents, input.days.small(), input.period_days.small(), &input.used_cents);
    Ok(BTreeMap::from([("true_up", true_up.into())]))
}

pub(super) fn prorated_days(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        amount_cents: Exact,
        from: Day,
        to_inclusive: Day,
        period_from: Day,
        period_to: Day,
    }
    let input: Input = read(input)?;
    let billed = Period { first_day: input.from, last_day: input.to_inclusive };
    let period = Period { first_day: input.period_from, last_day: input.period_to };
    Ok(BTreeMap::from([("fee", fee::plan_fee(&input.amount_cents, billed.days(), period.days()).into())]))
}

pub(super) fn commitment_coefficient(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        from: Day,
        to: Day,
        period_from: Day,
        period_to: Day,
    }
    let input: Input = read(input)?;
    let billed = Period { first_day: input.from, last_day: input.to };
    let period = Period { first_day: input.period_from, last_day: input.period_to };
    Ok(BTreeMap::from([("coefficient", fee::commitment_coefficient(billed, period).into())]))
}

pub(super) fn progressive(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        plan_cents: Exact,
        plan_days: Whole,
        period_days: Whole,
        usage_cents: Vec<Exact>,
        thresholds: Vec<Exact>,
    }
    let input: Input = read(input)?;
    let threshold = |amount: &Exact| {
        let amount_cents = amount.to_i64().ok_or("a threshold is a whole number of minor units")?;
        Ok(UsageThreshold { amount_cents, threshold_display_name: None, recurring: false })
    };
    let thresholds: Vec<UsageThreshold> = input.thresholds.iter().map(threshold).collect::<Result<_, &str>>()?;
    let mut progress = Progress::default();
    let invoices: Vec<Exact> = input.usage_cents.iter().filter_map(|cents| progress.record(cents, &thresholds)).collect();
    let plan_fee = fee::plan_fee(&input.plan_cents, input.plan_days.small(), input.period_days.small());
    let closed = posting::close(&plan_fee, &progress);
    Ok(BTreeMap::from([
        ("progressive_invoices", invoices.into()),
        ("final_fees", closed.fees.into()),
        ("progressive_credit", closed.progressive_credit.into()),
        ("final_total", closed.total.into()),
    ]))
}

pub(super) fn coupon_split(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        fees: Vec<Exact>,
        #[serde(default)]
        coupon_percent: Option<Exact>,
        #[serde(default)]
        coupon_cents: Option<Exact>,
    }
    let input: Input = read(input)?;
    let off = match (input.coupon_percent, input.coupon_cents) {
        (Some(percent), None) => Off::Percent(percent),
        (None, Some(cents)) => Off::Cents(cents),
        _ => return Err("a coupon takes off cents or percent".to_owned()),
    };
    let (credit, per_fee) = invoice::coupon_split(&off, &input.fees);
    Ok(BTreeMap::from([("credit", credit.into()), ("per_fee", per_fee.into())]))
}

pub(super) fn coupons_taxes(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        fees: Vec<Fee>,
        coupons_in_order: Vec<Coupon>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fee {
        id: String,
        amount: Exact,
        tax_rate: Exact,
        #[serde(default, rename = "plan")]
        _plan: Option<Value>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Coupon {
        cents: Exact,
        fees: Fees,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Fees {
        Some(Vec<String>),
        All(String),
    }
    let input: Input = read(input)?;
    let place = |id: &String| input.fees.iter().position(|fee| fee.id == *id).ok_or_else(|| format!("there is no fee `{id}`"));
    let coupons: Result<Vec<LineCoupon>, String> = input
        .coupons_in_order
        .into_iter()
        .map(|coupon| {
            let lines = match coupon.fees {
                Fees::Some(ids) => Some(ids.iter().map(place).collect::<Result<_, _>>()?),
                Fees::All(all) if all == "all" => None,
                Fees::All(other) => return Err(format!("`{other}` is not `all`")),
            };
            Ok(LineCoupon { off: Off::Cents(coupon.cents), lines })
        })
        .collect();
    let lines: Vec<Line> = input.fees.iter().map(|fee| Line { amount: fee.amount.clone(), tax_rate: fee.tax_rate.clone() }).collect();
    let totals = invoice::totals(&lines, &coupons?);
    let ids = || input.fees.iter().map(|fee| fee.id.as_str());
    Ok(BTreeMap::from([
        ("fee_coupons", credits::by_id(ids(), &totals.line_coupons).into()),
        ("fee_taxes", credits::by_id(ids(), &totals.line_taxes).into()),
        ("subtotal", totals.subtotal.into()),
        ("taxes", totals.taxes.into()),
        ("total", totals.total.into()),
    ]))
}

pub(super) fn invoice_order(input: Value) -> Result<Outputs, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        subscription: Exact,
        usage: Exact,
        coupons: Exact,
        tax_rate: Exact,
        credit_notes: Exact,
        prepaid: Exact,
    }
    let input: Input = read(input)?;
    let ordered = invoice::order(&Order {
        subscription: input.subscription,
        usage: input.usage,
        coupons: input.coupons,
        tax_rate: input.tax_rate,
        credit_notes: input.credit_notes,
        prepaid: input.prepaid,
    });
    Ok(BTreeMap::from([
        ("subtotal_excl", ordered.subtotal_excl.into()),
        ("tax", ordered.tax.into()),
        ("subtotal_incl", ordered.subtotal_incl.into()),
        ("total", ordered.settled.total.into()),
    ]))
}
