//! Subscriptions: who pays which plan, since when and until when.

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::definition::{self, DefinitionError};
use crate::model::entry::DefinitionId;
use crate::model::overrides::PlanOverrides;
use crate::model::plan::BillingTime;

creto_kernel::typed_ids! {
    /// One agreement to one plan. A change of plan makes another one under the same external identifier.
    SubscriptionId = "sub";
}
creto_db::value_from_text!(SubscriptionId);

/// Where in its life a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Begins later: at its own date, or when the one before it ends.
    Pending,
    /// Its usage is measured and billed.
    Active,
    /// Over; its last invoice covers it to the moment it ended.
    Terminated,
    /// Never began.
    Canceled,
}

impl SubscriptionStatus {
    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Terminated => "terminated",
            Self::Canceled => "canceled",
        }
    }
}

impl std::str::FromStr for SubscriptionStatus {
    type Err = DefinitionError;
    fn from_str(text: &str) -> Result<Self, DefinitionError> {
        [Self::Pending, Self::Active, Self::Terminated, Self::Canceled]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| DefinitionError::new("status", format!("`{text}` is no status of a subscription")))
    }
}

/// What is asked for: a new subscription, or another plan for one that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionInput {
    /// The seller's own identifier; events name it.
    pub external_id: String,
    /// Who pays.
    pub external_customer_id: String,
    /// Which plan.
    pub plan_code: String,
    /// Which version of it; the one in force when absent.
    #[serde(default)]
    pub plan_version: Option<u32>,
    /// A name that invoices show instead of the plan's.
    #[serde(default)]
    pub name: String,
    /// Where periods begin.
    #[serde(default)]
    pub billing_time: BillingTime,
    /// When it begins; now when absent. A past moment is taken as it is, a future one makes it pending.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub subscription_at: Option<Timestamp>,
    /// When it ends by itself.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub ending_at: Option<Timestamp>,
    /// What differs from the plan for this subscription alone.
    #[serde(default)]
    pub overrides: Option<PlanOverrides>,
}

impl SubscriptionInput {
    /// Refuses what contradicts itself, naming the field.
    pub fn check(&self) -> Result<(), DefinitionError> {
        definition::key("external_id", &self.external_id)?;
        definition::text("name", &self.name)?;
        let ends_before = self.ending_at.is_some_and(|end| self.subscription_at.is_some_and(|begin| end <= begin));
        if ends_before {
            return Err(DefinitionError::new("ending_at", "is not after `subscription_at`"));
        }
        Ok(())
    }
}

/// What a subscription was billed by until a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agreed {
    /// Until before this moment.
    #[schema(value_type = String)]
    pub until: Timestamp,
    /// The plan's version.
    pub plan_version: u32,
    /// What differed from it.
    #[serde(default)]
    pub overrides: Option<PlanOverrides>,
}

/// A subscription as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Subscription {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: SubscriptionId,
    /// The seller's identifier; the rows of one identifier follow each other.
    pub external_id: String,
    /// Who pays.
    #[schema(value_type = String)]
    pub customer: DefinitionId,
    /// The customer's own identifier.
    pub external_customer_id: String,
    /// Which plan.
    #[schema(value_type = String)]
    pub plan: DefinitionId,
    /// Its code when the subscription was made.
    pub plan_code: String,
    /// Its version; kept until the subscription is moved.
    pub plan_version: u32,
    /// What differs from the plan.
    #[serde(default)]
    pub overrides: Option<PlanOverrides>,
    /// What was agreed before, oldest first: a period is billed by what was in force at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Agreed>,
    /// A name that invoices show instead of the plan's.
    #[serde(default)]
    pub name: String,
    /// Where in its life it is.
    pub status: SubscriptionStatus,
    /// Where periods begin.
    pub billing_time: BillingTime,
    /// The day periods are anchored to: the first plan's start, kept over changes of plan.
    #[schema(value_type = String)]
    pub subscription_at: Timestamp,
    /// When it began, or will.
    #[schema(value_type = String)]
    pub begins_at: Timestamp,
    /// When it became active.
    #[schema(value_type = Option<String>)]
    pub started_at: Option<Timestamp>,
    /// When it ends by itself.
    #[schema(value_type = Option<String>)]
    pub ending_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>)]
    pub terminated_at: Option<Timestamp>,
    /// When it was canceled.
    #[schema(value_type = Option<String>)]
    pub canceled_at: Option<Timestamp>,
    /// The one it followed, where the plan was changed.
    #[schema(value_type = Option<String>)]
    pub previous: Option<SubscriptionId>,
    /// The plan of the one it followed.
    pub previous_plan_code: Option<String>,
    /// Whether a cheaper plan waits for the end of the period of the one before it.
    pub is_downgrade: bool,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// One more with every change.
    pub revision: u32,
}

impl Subscription {
    /// The subscription as it was agreed just before a moment; none where that is as it is agreed now.
    #[must_use]
    pub fn agreed_before(&self, at: Timestamp) -> Option<Self> {
        let then = self.earlier.iter().find(|then| then.until >= at)?;
        Some(Self { plan_version: then.plan_version, overrides: then.overrides.clone(), ..self.clone() })
    }
}
