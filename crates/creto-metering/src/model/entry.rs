//! What the catalog holds: definitions of one kind and one code, each a JSON document in force under a version.

use std::borrow::Cow;

use creto_kernel::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::model::billable_metric::BillableMetric;
use crate::model::definition::DefinitionError;
use crate::model::page::described;
use crate::model::plan::Plan;
use crate::model::tax::{Coupon, Tax};

creto_kernel::typed_ids! {
    /// One definition of the catalog: a metric, a plan, a tax, an add-on, a coupon, a customer or a feature.
    DefinitionId = "def";
}
creto_db::value_from_text!(DefinitionId);

/// What kind of definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// How events become units.
    Metric,
    /// What a subscription pays.
    Plan,
    /// A rate on top.
    Tax,
    /// Something sold once.
    AddOn,
    /// Something taken off.
    Coupon,
    /// Who is billed.
    Customer,
    /// What a subscription may be entitled to.
    Feature,
}

impl Kind {
    /// The word in the store, in resource names and in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Plan => "plan",
            Self::Tax => "tax",
            Self::AddOn => "add_on",
            Self::Coupon => "coupon",
            Self::Customer => "customer",
            Self::Feature => "feature",
        }
    }

    /// Whether every version is kept: not of customers, whose text can be erased.
    #[must_use]
    pub const fn keeps_versions(self) -> bool {
        !matches!(self, Self::Customer)
    }
}

/// One definition names another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The kind of the named one.
    pub kind: Kind,
    /// Its code.
    pub code: String,
}

impl Reference {
    /// Names the definition of this kind and code.
    #[must_use]
    pub fn new(kind: Kind, code: &str) -> Self {
        Self { kind, code: code.to_owned() }
    }
}

/// A document of the catalog.
pub trait Definition: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Which kind it is.
    const KIND: Kind;

    /// Its code, unique among the definitions of its kind.
    fn code(&self) -> &str;

    /// Refuses what contradicts itself, naming the field. Types that check themselves where they are read need nothing here.
    fn check(&self) -> Result<(), DefinitionError> {
        Ok(())
    }

    /// Which other definitions it names; they exist when it is committed, and are not deleted while it names them.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Refuses a successor that would change what was already measured or billed under this definition.
    fn check_successor(&self, _next: &Self) -> Result<(), DefinitionError> {
        Ok(())
    }
}

/// A definition as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defined<T> {
    /// Its identifier.
    pub id: DefinitionId,
    /// 1 when it was made, one more with every change.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When this version was made.
    pub updated_at: Timestamp,
    /// When it was deleted; such a one is only found by its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// What it says.
    #[serde(flatten)]
    pub body: T,
}

impl<T: ToSchema> PartialSchema for Defined<T> {
    fn schema() -> RefOr<Schema> {
        let text = |about: &str| described(String::schema(), about);
        let own = ObjectBuilder::new()
            .property("id", text("Its identifier."))
            .property("version", described(u32::schema(), "1 when it was made, one more with every change."))
            .property("created_at", text("When it was made."))
            .property("updated_at", text("When this version was made."))
            .property("deleted_at", text("When it was deleted; such a one is only found by its identifier."))
            .required("id")
            .required("version")
            .required("created_at")
            .required("updated_at");
        AllOfBuilder::new().description(Some("A definition as it is kept.")).item(Ref::from_schema_name(T::name())).item(own).into()
    }
}

impl<T: ToSchema> ToSchema for Defined<T> {
    fn name() -> Cow<'static, str> {
        format!("Defined_{}", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

impl Definition for BillableMetric {
    const KIND: Kind = Kind::Metric;

    fn code(&self) -> &str {
        &self.code
    }

    // Usage that was measured one way cannot be read another way: a metric that measures differently is another metric.
    fn check_successor(&self, next: &Self) -> Result<(), DefinitionError> {
        let fixed = |what: &str| Err(DefinitionError::new(what, "of a metric cannot change: define another metric"));
        if self.aggregation_type != next.aggregation_type {
            return fixed("aggregation_type");
        }
        if self.field_name != next.field_name {
            return fixed("field_name");
        }
        if self.expression != next.expression {
            return fixed("expression");
        }
        if self.recurring != next.recurring {
            return fixed("recurring");
        }
        Ok(())
    }
}

impl Definition for Plan {
    const KIND: Kind = Kind::Plan;

    fn code(&self) -> &str {
        &self.code
    }

    fn references(&self) -> Vec<Reference> {
        let metrics = self.charges.iter().map(|charge| Reference::new(Kind::Metric, &charge.billable_metric_code));
        let committed = self.minimum_commitment.iter().flat_map(|commitment| &commitment.tax_codes);
        let taxes = self.tax_codes.iter().chain(self.charges.iter().flat_map(|charge| &charge.tax_codes)).chain(committed);
        metrics.chain(taxes.map(|code| Reference::new(Kind::Tax, code))).collect()
    }

    fn check_successor(&self, next: &Self) -> Result<(), DefinitionError> {
        if self.amount_currency == next.amount_currency {
            return Ok(());
        }
        Err(DefinitionError::new("amount_currency", "of a plan cannot change: make another plan"))
    }
}

impl Definition for Tax {
    const KIND: Kind = Kind::Tax;

    fn code(&self) -> &str {
        &self.code
    }
}

impl Definition for Coupon {
    const KIND: Kind = Kind::Coupon;

    fn code(&self) -> &str {
        &self.code
    }

    fn references(&self) -> Vec<Reference> {
        let plans = self.applies_to.plan_codes.iter().map(|code| Reference::new(Kind::Plan, code));
        plans.chain(self.applies_to.billable_metric_codes.iter().map(|code| Reference::new(Kind::Metric, code))).collect()
    }
}
