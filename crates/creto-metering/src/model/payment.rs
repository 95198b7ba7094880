//! What a payment provider was asked for, and what came of it.

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where the asking stands. Whether money came is the invoice's `payment_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// On its way to the provider.
    Asking,
    /// The provider asks the customer for it.
    Open,
    /// The provider has it.
    Paid,
    /// The provider asks for it no more.
    Withdrawn,
    /// The provider refuses it, or was not reached for too long: a dead letter, until somebody asks again.
    GivenUp,
}

impl PaymentState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Asking, Self::Open, Self::Paid, Self::Withdrawn, Self::GivenUp];

    /// The word in the store and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Withdrawn => "withdrawn",
            Self::GivenUp => "given_up",
        }
    }
}

/// The payment of an invoice through a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Payment {
    /// The provider.
    pub provider: String,
    /// Where it stands.
    pub state: PaymentState,
    /// What the provider calls it.
    pub reference: Option<String>,
    /// Where the customer pays.
    pub url: Option<String>,
    /// What stands in the way.
    pub problem: Option<String>,
    /// How often somebody wanted the payment to be tried again.
    #[serde(skip)]
    pub wanted: i64,
    /// How often it was.
    #[serde(skip)]
    pub tried: i64,
    /// When it was first asked for.
    #[schema(value_type = String)]
    pub asked_at: Timestamp,
    /// When the provider last said how it stands.
    #[schema(value_type = String)]
    pub looked_at: Timestamp,
}
