//! Taxes and coupons.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::exact::Exact;
use crate::model::currency::Currency;
use crate::model::definition::{self, DefinitionError};

/// A tax, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "RawTax")]
pub struct Tax {
    /// What plans and customers name it by.
    pub code: String,
    /// What the invoice calls it.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Percent.
    #[schema(value_type = String)]
    pub rate: Exact,
    /// Whether it applies where nothing else names a tax.
    pub applied_to_organization: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTax {
    code: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    rate: Exact,
    #[serde(default)]
    applied_to_organization: bool,
}

impl TryFrom<RawTax> for Tax {
    type Error = DefinitionError;
    fn try_from(raw: RawTax) -> Result<Self, DefinitionError> {
        definition::code("code", &raw.code)?;
        definition::not_negative("rate", &raw.rate)?;
        let name = raw.name.unwrap_or_else(|| raw.code.clone());
        let description = raw.description.unwrap_or_default();
        definition::text("name", &name)?;
        definition::text("description", &description)?;
        Ok(Self { code: raw.code, name, description, rate: raw.rate, applied_to_organization: raw.applied_to_organization })
    }
}

/// What a coupon takes off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discount {
    /// An amount, in minor units.
    Fixed {
        /// How much.
        amount_cents: i64,
        /// In which currency; it applies to invoices in it alone.
        currency: Currency,
    },
    /// A percentage of what it applies to.
    Percentage {
        /// Percent, at most 100.
        rate: Exact,
    },
}

/// How often a coupon applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Frequency {
    /// To one invoice; what is left of a fixed amount, to the next ones.
    Once,
    /// To so many invoices (`frequency_duration`).
    Recurring,
    /// To every invoice.
    Forever,
}

/// What a coupon is limited to; nothing in both lists: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CouponLimits {
    /// Fees of these plans.
    #[serde(default)]
    pub plan_codes: Vec<String>,
    /// Fees of these metrics.
    #[serde(default)]
    pub billable_metric_codes: Vec<String>,
}

/// A coupon, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawCoupon", into = "RawCoupon")]
pub struct Coupon {
    /// What it is redeemed by.
    pub code: String,
    /// What the invoice calls it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it takes off.
    pub discount: Discount,
    /// How often.
    pub frequency: Frequency,
    /// To how many invoices, where it recurs.
    pub frequency_duration: Option<u32>,
    /// When it can no longer be redeemed.
    pub expiration_at: Option<creto_kernel::Timestamp>,
    /// Whether one customer may redeem it more than once.
    pub reusable: bool,
    /// What it is limited to.
    pub applies_to: CouponLimits,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum CouponType {
    FixedAmount,
    Percentage,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawCoupon {
    code: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    coupon_type: CouponType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount_cents: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount_currency: Option<Currency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percentage_rate: Option<Exact>,
    frequency: Frequency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frequency_duration: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiration_at: Option<creto_kernel::Timestamp>,
    #[serde(default = "yes")]
    reusable: bool,
    #[serde(default)]
    applies_to: CouponLimits,
}

const fn yes() -> bool {
    true
}

impl TryFrom<RawCoupon> for Coupon {
    type Error = DefinitionError;
    fn try_from(raw: RawCoupon) -> Result<Self, DefinitionError> {
        definition::code("code", &raw.code)?;
        let name = raw.name.clone().unwrap_or_else(|| raw.code.clone());
        let description = raw.description.clone().unwrap_or_default();
        definition::text("name", &name)?;
        definition::text("description", &description)?;
        match (raw.frequency, raw.frequency_duration) {
            (Frequency::Recurring, None | Some(0)) => {
                return Err(DefinitionError::new("frequency_duration", "is needed by a coupon that recurs"));
            }
            (Frequency::Once | Frequency::Forever, Some(_)) => {
                return Err(DefinitionError::new("frequency_duration", "belongs to a coupon that recurs"));
            }
            _ => {}
        }
        Ok(Self {
            discount: raw.discount()?,
            code: raw.code,
            name,
            description,
            frequency: raw.frequency,
            frequency_duration: raw.frequency_duration,
            expiration_at: raw.expiration_at,
            reusable: raw.reusable,
            applies_to: raw.applies_to,
        })
    }
}

impl RawCoupon {
    fn discount(&self) -> Result<Discount, DefinitionError> {
        match (self.coupon_type, self.amount_cents, self.amount_currency, &self.percentage_rate) {
            (CouponType::FixedAmount, Some(amount_cents), Some(currency), None) => {
                definition::cents("amount_cents", amount_cents)?;
                Ok(Discount::Fixed { amount_cents, currency })
            }
            (CouponType::Percentage, None, None, Some(rate)) => {
                definition::not_negative("percentage_rate", rate)?;
                if *rate > Exact::from(100_u8) {
                    return Err(DefinitionError::new("percentage_rate", "is more than 100"));
                }
                Ok(Discount::Percentage { rate: rate.clone() })
            }
            (CouponType::FixedAmount, ..) => {
                Err(DefinitionError::new("coupon_type", "`fixed_amount` needs `amount_cents` and `amount_currency` alone"))
            }
            (CouponType::Percentage, ..) => Err(DefinitionError::new("coupon_type", "`percentage` needs `percentage_rate` alone")),
        }
    }
}

impl From<Coupon> for RawCoupon {
    fn from(coupon: Coupon) -> Self {
        let (coupon_type, amount_cents, amount_currency, percentage_rate) = match coupon.discount {
            Discount::Fixed { amount_cents, currency } => (CouponType::FixedAmount, Some(amount_cents), Some(currency), None),
            Discount::Percentage { rate } => (CouponType::Percentage, None, None, Some(rate)),
        };
        Self {
            code: coupon.code,
            name: Some(coupon.name),
            description: Some(coupon.description),
            coupon_type,
            amount_cents,
            amount_currency,
            percentage_rate,
            frequency: coupon.frequency,
            frequency_duration: coupon.frequency_duration,
            expiration_at: coupon.expiration_at,
            reusable: coupon.reusable,
            applies_to: coupon.applies_to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn coupons_survive_their_own_json() {
        for body in [
            json!({ "code": "TEN", "coupon_type": "fixed_amount", "amount_cents": 1000, "amount_currency": "EUR", "frequency": "once" }),
            json!({ "code": "PCT", "coupon_type": "percentage", "percentage_rate": "12.5", "frequency": "recurring",
                "frequency_duration": 3, "applies_to": { "plan_codes": ["pro"] } }),
        ] {
            let first: Coupon = serde_json::from_value(body).unwrap();
            let again: Coupon = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
            assert_eq!(first, again);
        }
    }

    #[test]
    fn contradictions_are_refused_by_the_name_of_their_field() {
        let cases: [(Value, &str); 5] = [
            (json!({ "code": "x", "coupon_type": "fixed_amount", "amount_cents": 5, "frequency": "once" }), "coupon_type"),
            (json!({ "code": "x", "coupon_type": "percentage", "percentage_rate": "101", "frequency": "once" }), "percentage_rate"),
            (json!({ "code": "x", "coupon_type": "percentage", "percentage_rate": "1", "frequency": "recurring" }), "frequency_duration"),
            (json!({ "code": "", "coupon_type": "percentage", "percentage_rate": "1", "frequency": "once" }), "code"),
            (json!({ "code": "x", "coupon_type": "percentage", "percentage_rate": "1", "frequency": "once", "a": 1 }), "`a`"),
        ];
        for (body, named) in cases {
            let error = serde_json::from_value::<Coupon>(body.clone()).unwrap_err().to_string();
            assert!(error.contains(named), "{body}: {error}");
        }
        assert!(serde_json::from_value::<Tax>(json!({ "code": "vat", "rate": "-1" })).is_err());
        assert!(serde_json::from_value::<Tax>(json!({ "code": "vat", "rate": "20" })).is_ok());
    }
}
