//! Invoices and what belongs to them, as they are kept and shown. Amounts are in minor units of the invoice's currency.

use std::collections::BTreeMap;

use creto_kernel::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::exact::Exact;
use crate::model::currency::Currency;
use crate::model::customer::Customer;
use crate::model::entry::DefinitionId;
use crate::model::payment::Payment;
use crate::model::subscription::SubscriptionId;
use crate::model::tax::Coupon;

creto_kernel::typed_ids! {
    /// One invoice.
    InvoiceId = "inv";
    /// One line of an invoice.
    FeeId = "fee";
    /// One credit note.
    CreditNoteId = "crn";
    /// One coupon that a customer redeemed.
    AppliedCouponId = "acp";
    /// One run of billing.
    BillingRunId = "brn";
}
creto_db::value_from_text!(InvoiceId, FeeId, CreditNoteId, AppliedCouponId, BillingRunId);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$about])* $variant,)+
        }

        impl $name {
            /// The word in the store and in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// What made an invoice.
    InvoiceKind {
        /// A period of a subscription.
        Subscription = "subscription",
        /// A threshold of usage that was reached.
        ProgressiveBilling = "progressive_billing",
        /// Somebody, by hand.
        OneOff = "one_off",
        /// A purchase of prepaid credits.
        Credit = "credit",
        /// Events of a charge that is paid in advance.
        InAdvance = "in_advance",
        /// The same, collected until their period ends.
        AdvanceCharges = "advance_charges",
    }
}
words! {
    /// Where in its life an invoice is.
    InvoiceStatus {
        /// Open: late events still change it.
        Draft = "draft",
        /// Numbered, and never changed again.
        Finalized = "finalized",
        /// Taken back; its number stays taken.
        Voided = "voided",
        /// Nothing to bill, so it got no number.
        Closed = "closed",
    }
}
words! {
    /// Whether it was paid.
    PaymentStatus {
        /// Not known yet.
        Pending = "pending",
        /// Paid.
        Succeeded = "succeeded",
        /// Not paid.
        Failed = "failed",
    }
}
words! {
    /// What a line is for.
    FeeKind {
        /// The plan's flat fee.
        Subscription = "subscription",
        /// Usage.
        Charge = "charge",
        /// What a minimum leaves to be paid.
        Commitment = "commitment",
        /// An add-on.
        AddOn = "add_on",
        /// Prepaid credits.
        Credit = "credit",
        /// Usage of a period that was final already.
        Adjustment = "adjustment",
    }
}
words! {
    /// Whether a credit note still pays.
    CreditNoteStatus {
        /// Something is left of it.
        Available = "available",
        /// Nothing is left of it.
        Consumed = "consumed",
        /// Taken back.
        Voided = "voided",
    }
}

/// Which events are behind a line: the admissions whose leaves sealed the first and the last batch of them, and the Merkle roots in
/// those leaves. Each event of a batch has a proof to its root: `GET /v1/metering/events/…/proof`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventRange {
    /// How many batches hold events of the line.
    pub batches: u64,
    /// The admission of the first one: its leaf stands in the tenant's log.
    pub first_admission: Option<String>,
    /// The admission of the last one.
    pub last_admission: Option<String>,
    /// Their roots in commit order, as far as they fit.
    #[schema(value_type = Vec<String>)]
    pub roots: Vec<Digest>,
    /// SHA-256 over the bytes of every root, in commit order.
    #[schema(value_type = Option<String>)]
    pub digest: Option<Digest>,
}

/// A tax of a line or of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedTax {
    /// Its code.
    pub code: String,
    /// What the invoice calls it.
    pub name: String,
    /// Percent.
    #[schema(value_type = String)]
    #[serde(with = "crate::core::aggregate::stored")]
    pub rate: Exact,
    /// What it is taken on.
    pub base_cents: i64,
    /// What it comes to; the parts of an invoice add up to its tax.
    pub amount_cents: i64,
}

/// Which event a line bills by itself, of a charge that is paid in advance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdvanceOf {
    /// The sender's identifier of it.
    pub transaction_id: String,
    /// When it happened.
    #[schema(value_type = String)]
    pub occurred_at: Timestamp,
    /// Whether it became an invoice at once; else it is collected until its period ends.
    pub invoiceable: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fee {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: FeeId,
    /// What it is for.
    pub kind: FeeKind,
    /// The charge's, plan's or add-on's code.
    pub code: String,
    /// What the invoice calls it.
    pub name: String,
    /// Of which subscription.
    #[schema(value_type = Option<String>)]
    pub subscription: Option<SubscriptionId>,
    /// The seller's identifier of it.
    pub external_subscription_id: Option<String>,
    /// The plan it was billed under.
    pub plan_code: Option<String>,
    /// The plan's version.
    pub plan_version: Option<u32>,
    /// The metric, of usage.
    pub billable_metric_code: Option<String>,
    /// The charge's filter, by its place.
    pub filter: Option<usize>,
    /// What it is grouped by; events without the property are a group too.
    pub group: BTreeMap<String, Option<String>>,
    /// How many units.
    #[schema(value_type = String)]
    #[serde(with = "crate::core::aggregate::stored")]
    pub units: Exact,
    /// How many events.
    pub events: u64,
    /// The amount before it was rounded, in units of the currency.
    #[schema(value_type = String)]
    #[serde(with = "crate::core::aggregate::stored")]
    pub precise_amount: Exact,
    /// The amount.
    pub amount_cents: i64,
    /// What coupons and progressive billing took off.
    #[schema(value_type = String)]
    #[serde(with = "crate::core::aggregate::stored")]
    pub taken_off_cents: Exact,
    /// Its tax, as it is printed.
    pub taxes_amount_cents: i64,
    /// Percent in all.
    #[schema(value_type = String)]
    #[serde(with = "crate::core::aggregate::stored")]
    pub taxes_rate: Exact,
    /// Each tax.
    pub taxes: Vec<AppliedTax>,
    /// The period it is of.
    #[schema(value_type = Option<String>)]
    pub from: Option<Timestamp>,
    /// Where that period ends, that moment not included.
    #[schema(value_type = Option<String>)]
    pub to: Option<Timestamp>,
    /// What stands behind it.
    pub proof: Option<EventRange>,
    /// The event it bills by itself, of a charge that is paid in advance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advance: Option<AdvanceOf>,
    /// A text of the seller.
    pub description: String,
}

/// Something taken off an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceCredit {
    /// `progressive_billing`, `coupon`, `credit_note` or `wallet`.
    pub kind: String,
    /// Which: the identifier.
    pub id: String,
    /// What the invoice calls it.
    pub name: String,
    /// How much.
    pub amount_cents: i64,
    /// Whether it is taken off before taxes.
    pub before_taxes: bool,
}

/// Which period of which subscription an invoice bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BilledPeriod {
    /// The subscription.
    #[schema(value_type = String)]
    pub subscription: SubscriptionId,
    /// The seller's identifier of it.
    pub external_subscription_id: String,
    /// Where usage begins to count.
    #[schema(value_type = String)]
    pub from: Timestamp,
    /// Where it ends, that moment not included.
    #[schema(value_type = String)]
    pub to: Timestamp,
    /// Events that came in before this moment are in it.
    #[schema(value_type = String)]
    pub seen_to: Timestamp,
}

/// Sums of an invoice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sums {
    /// All lines.
    pub fees_cents: i64,
    /// What was billed before the period ended.
    pub progressive_billing_cents: i64,
    /// What coupons took off.
    pub coupons_cents: i64,
    /// Lines less both.
    pub sub_total_excluding_taxes_cents: i64,
    /// The tax.
    pub taxes_cents: i64,
    /// With tax.
    pub sub_total_including_taxes_cents: i64,
    /// What credit notes paid.
    pub credit_notes_cents: i64,
    /// What prepaid credits paid.
    pub prepaid_credits_cents: i64,
    /// What is to be paid.
    pub total_cents: i64,
}

/// An invoice without its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invoice {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: InvoiceId,
    /// Its number, once it is final.
    pub number: String,
    /// Its place in the tenant's series: 1, 2, 3, … without gaps.
    pub sequence: Option<i64>,
    /// Who pays.
    #[schema(value_type = String)]
    pub customer: DefinitionId,
    /// The customer's own identifier.
    pub external_customer_id: String,
    /// What made it.
    pub kind: InvoiceKind,
    /// Where in its life it is.
    pub status: InvoiceStatus,
    /// Whether it was paid.
    pub payment_status: PaymentStatus,
    /// Of all amounts.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// Its sums.
    pub sums: Sums,
    /// Its taxes: their amounts add up to the tax of the sums.
    pub taxes: Vec<AppliedTax>,
    /// What was taken off.
    pub credits: Vec<InvoiceCredit>,
    /// What it bills.
    pub periods: Vec<BilledPeriod>,
    /// The local day it was issued on.
    pub issuing_date: String,
    /// The local day it is due on.
    pub payment_due_date: String,
    /// Days between both.
    pub net_payment_term: u32,
    /// Whether it belongs to test mode.
    pub test: bool,
    /// Further entries of the seller.
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// When it becomes final by itself.
    #[schema(value_type = String)]
    pub final_at: Timestamp,
    /// When it became final.
    #[schema(value_type = Option<String>)]
    pub finalized_at: Option<Timestamp>,
    /// When it was taken back.
    #[schema(value_type = Option<String>)]
    pub voided_at: Option<Timestamp>,
    /// When a dispute of its payment was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub payment_dispute_lost_at: Option<Timestamp>,
    /// One more with every change.
    pub revision: u32,
}

/// An invoice as it is read: with its lines, and whom it was billed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvoiceDocument {
    /// The invoice.
    #[serde(flatten)]
    pub invoice: Invoice,
    /// Its lines.
    pub fees: Vec<Fee>,
    /// The customer as it was when the invoice became final; nothing after an erasure.
    pub billed_to: Option<Customer>,
    /// The audit leaf that made it final.
    pub leaf: Option<String>,
    /// What a payment provider was asked for.
    pub payment: Option<Payment>,
}

/// Why a credit note was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditReason {
    /// Billed twice.
    DuplicatedCharge,
    /// What was sold did not do.
    ProductUnsatisfactory,
    /// The order was changed.
    OrderChange,
    /// The order was canceled.
    OrderCancellation,
    /// The charge was a fraud.
    FraudulentCharge,
    /// Anything else.
    #[default]
    Other,
}

/// A line of a credit note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditItem {
    /// The invoice's line.
    #[schema(value_type = String)]
    pub fee: FeeId,
    /// How much of it, before tax.
    pub amount_cents: i64,
}

/// A credit note as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreditNote {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: CreditNoteId,
    /// Its number: the invoice's, and which note of it.
    pub number: String,
    /// The invoice it corrects.
    #[schema(value_type = String)]
    pub invoice: InvoiceId,
    /// Whose.
    #[schema(value_type = String)]
    pub customer: DefinitionId,
    /// The customer's own identifier.
    pub external_customer_id: String,
    /// Whether it still pays.
    pub status: CreditNoteStatus,
    /// Why.
    pub reason: CreditReason,
    /// A text of the seller.
    pub description: String,
    /// Of all amounts.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// Its lines.
    pub items: Vec<CreditItem>,
    /// What coupons had taken off them.
    pub coupons_cents: i64,
    /// Its tax.
    pub taxes_cents: i64,
    /// Each tax: their amounts add up to it.
    #[serde(default)]
    pub taxes: Vec<AppliedTax>,
    /// What it is worth.
    pub total_cents: i64,
    /// How much of it goes back to the customer's account rather than onto further invoices.
    pub refund_cents: i64,
    /// Whether that went back.
    #[serde(default)]
    pub refund_status: Option<PaymentStatus>,
    /// What is left to pay further invoices with.
    pub balance_cents: i64,
    /// Further entries of the seller.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// When it was taken back.
    #[schema(value_type = Option<String>)]
    pub voided_at: Option<Timestamp>,
    /// One more with every change.
    pub revision: u32,
}

/// A coupon that a customer redeemed, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedCoupon {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: AppliedCouponId,
    /// The coupon's definition.
    #[schema(value_type = String)]
    pub coupon_id: DefinitionId,
    /// What it says.
    pub coupon: Coupon,
    /// Whose.
    #[schema(value_type = String)]
    pub customer: DefinitionId,
    /// The customer's own identifier.
    pub external_customer_id: String,
    /// Whether it still takes something off.
    pub active: bool,
    /// What is left of a fixed amount that applies once.
    pub left_cents: Option<i64>,
    /// To how many further invoices it applies, where it recurs.
    pub left_times: Option<u32>,
    /// When it was redeemed.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>)]
    pub terminated_at: Option<Timestamp>,
    /// One more with every change.
    pub revision: u32,
}

/// A run of billing, as far as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BillingRun {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: BillingRunId,
    /// The moment it bills up to.
    #[schema(value_type = String)]
    pub until: Timestamp,
    /// Whether it is over.
    pub done: bool,
    /// What it does now: `subscriptions`, `wallets`, `drafts`, `finalize`, `done`.
    pub stage: String,
    /// The last subscription it has done.
    pub cursor: String,
    /// Subscriptions that began or ended.
    pub turned: u64,
    /// Drafts it made.
    pub drafted: u64,
    /// Invoices it finalized.
    pub finalized: u64,
    /// What could not be billed, and why; the next run tries again.
    pub failures: Vec<String>,
    /// When it began.
    #[schema(value_type = String)]
    pub started_at: Timestamp,
    /// When it was over.
    #[schema(value_type = Option<String>)]
    pub finished_at: Option<Timestamp>,
    /// One more with every step.
    pub revision: u32,
}
