//! Wallets as they are kept, and what happened to them.

use creto_kernel::{Micros, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::core::exact::Exact;
use crate::model::definition::{self, DefinitionError};
use crate::model::entry::DefinitionId;
use crate::model::wallet::Wallet;

creto_kernel::typed_ids! {
    /// One wallet.
    WalletId = "wal";
    /// One movement of credits; what came in keeps its identifier as a lot.
    WalletTransactionId = "wtx";
}
creto_db::value_from_text!(WalletId, WalletTransactionId);

/// Most metadata entries of a wallet or a transaction.
pub const METADATA_MAX: usize = 50;

/// Whether a wallet pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WalletStatus {
    /// It pays.
    Active,
    /// Closed: what is left in it stays, and pays nothing.
    Terminated,
}

impl WalletStatus {
    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Terminated => "terminated",
        }
    }
}

/// What moved credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Paid for; pending until the payment is known.
    Purchased,
    /// Given.
    Granted,
    /// Taken back.
    Voided,
    /// Gone with time.
    Expired,
    /// Paid an invoice.
    Invoiced,
}

impl MovementKind {
    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Purchased => "purchased",
            Self::Granted => "granted",
            Self::Voided => "voided",
            Self::Expired => "expired",
            Self::Invoiced => "invoiced",
        }
    }

    /// Whether credits come in.
    #[must_use]
    pub const fn is_inbound(self) -> bool {
        matches!(self, Self::Purchased | Self::Granted)
    }
}

/// Whether a movement happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MovementStatus {
    /// Its payment is not known yet.
    Pending,
    /// It is in the ledger.
    Settled,
    /// Its payment failed; it never was in the ledger.
    Failed,
}

impl MovementStatus {
    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Failed => "failed",
        }
    }
}

/// A new wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WalletInput {
    /// Whose.
    pub external_customer_id: String,
    /// Its code, unique among the customer's active wallets; made from its identifier when absent.
    #[serde(default)]
    pub code: Option<String>,
    /// What it is.
    pub wallet: Wallet,
    /// Credits bought with it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub paid_credits: Option<Exact>,
    /// Credits given with it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub granted_credits: Option<Exact>,
    /// Further entries of the seller.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// What people name the credits by that it begins with.
    #[serde(default)]
    pub transaction_name: String,
    /// Further entries of the seller on them.
    #[serde(default)]
    pub transaction_metadata: BTreeMap<String, String>,
}

/// Credits in or out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Movement {
    /// Credits bought: pending until their payment is known.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub paid_credits: Option<Exact>,
    /// Credits given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub granted_credits: Option<Exact>,
    /// Credits taken back.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub voided_credits: Option<Exact>,
    /// When the credits that come in are gone; with the wallet when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// Smaller is drawn first; the wallet's when absent.
    #[serde(default)]
    pub priority: Option<u8>,
    /// What people name it by.
    #[serde(default)]
    pub name: String,
    /// The caller's key: sent again, nothing moves again.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Further entries of the seller.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Movement {
    /// Refuses what contradicts itself.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let amounts =
            [("paid_credits", &self.paid_credits), ("granted_credits", &self.granted_credits), ("voided_credits", &self.voided_credits)];
        for (field, amount) in amounts {
            amount.as_ref().map_or(Ok(()), |amount| definition::not_negative(field, amount))?;
        }
        if !amounts.iter().any(|(_, amount)| amount.as_ref().is_some_and(Exact::is_positive)) {
            return Err(DefinitionError::new("paid_credits", "and the other amounts are nothing: nothing would move"));
        }
        definition::text("name", &self.name)?;
        check_metadata(&self.metadata)?;
        self.idempotency_key.as_deref().map_or(Ok(()), |key| definition::key("idempotency_key", key))
    }
}

/// A wallet as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalletRecord {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: WalletId,
    /// Whose.
    #[schema(value_type = String)]
    pub customer: DefinitionId,
    /// The customer's own identifier.
    pub external_customer_id: String,
    /// Its code.
    pub code: String,
    /// What it is.
    pub wallet: Wallet,
    /// Whether it pays.
    pub status: WalletStatus,
    /// Further entries of the seller.
    pub metadata: BTreeMap<String, String>,
    /// When each of its interval rules comes next, in the rules' order.
    #[schema(value_type = Vec<Option<String>>)]
    pub rules_due: Vec<Option<Timestamp>>,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// When it was closed.
    #[schema(value_type = Option<String>)]
    pub terminated_at: Option<Timestamp>,
    /// One more with every change.
    pub revision: u32,
}

/// A wallet with what the ledger says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct WalletState {
    /// The wallet.
    #[serde(flatten)]
    pub record: WalletRecord,
    /// What is in it, in units of its currency.
    #[schema(value_type = String)]
    pub balance: Micros,
    /// What is in it, in credits: exact, a fraction where no decimal is.
    #[schema(value_type = String)]
    pub credits_balance: Exact,
    /// What it paid so far, in units of its currency.
    #[schema(value_type = String)]
    pub consumed: Micros,
    /// What was bought and is not paid yet, in units of its currency.
    #[schema(value_type = String)]
    pub pending: Micros,
    /// When its last movement was.
    #[schema(value_type = Option<String>)]
    pub last_movement_at: Option<Timestamp>,
}

/// One movement as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WalletTransaction {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: WalletTransactionId,
    /// Of which wallet.
    #[schema(value_type = String)]
    pub wallet: WalletId,
    /// What moved.
    pub kind: MovementKind,
    /// Whether it happened.
    pub status: MovementStatus,
    /// How much, in units of the currency.
    #[schema(value_type = String)]
    pub amount: Micros,
    /// How much, in credits.
    #[schema(value_type = String)]
    #[serde(with = "crate::core::aggregate::stored")]
    pub credits: Exact,
    /// Smaller is drawn first.
    pub priority: u8,
    /// When what came in is gone.
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// What people name it by.
    pub name: String,
    /// Who or what asked for it: `manual`, `interval`, `threshold`, `invoice`, `expiry`.
    pub source: String,
    /// The invoice it paid, or that asks for its payment.
    pub invoice: String,
    /// Further entries of the seller.
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it came into the ledger.
    #[schema(value_type = Option<String>)]
    pub settled_at: Option<Timestamp>,
    /// When its payment failed.
    #[schema(value_type = Option<String>)]
    pub failed_at: Option<Timestamp>,
}

/// Credits of one lot that one movement used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreditUse {
    /// The movement that used them.
    #[schema(value_type = String)]
    pub transaction: WalletTransactionId,
    /// The movement they came in with.
    #[schema(value_type = String)]
    pub lot: WalletTransactionId,
    /// How much, in units of the currency.
    #[schema(value_type = String)]
    pub amount: Micros,
}

/// Refuses metadata that is too much or not printable.
pub fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), DefinitionError> {
    if metadata.len() > METADATA_MAX {
        return Err(DefinitionError::new("metadata", format!("has more than {METADATA_MAX} entries")));
    }
    for (key, value) in metadata {
        definition::code("metadata", key)?;
        definition::text("metadata", value)?;
    }
    Ok(())
}
