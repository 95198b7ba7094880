//! Add-ons: what is sold once, beside any plan.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::currency::Currency;
use crate::model::definition::{self, DefinitionError};
use crate::model::entry::{Definition, Kind, Reference};

/// Something sold once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddOn {
    /// What invoices name it by.
    pub code: String,
    /// What people name it by.
    #[serde(default)]
    pub name: String,
    /// What the invoice calls it.
    #[serde(default)]
    pub invoice_display_name: Option<String>,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Price of one, in minor units.
    pub amount_cents: i64,
    /// Of the price.
    #[schema(value_type = String)]
    pub amount_currency: Currency,
    /// Taxes of its fees; the customer's where it has none.
    #[serde(default)]
    pub tax_codes: Vec<String>,
}

impl Definition for AddOn {
    const KIND: Kind = Kind::AddOn;

    fn code(&self) -> &str {
        &self.code
    }

    fn check(&self) -> Result<(), DefinitionError> {
        definition::code("code", &self.code)?;
        definition::text("name", &self.name)?;
        definition::text("description", &self.description)?;
        definition::text("invoice_display_name", self.invoice_display_name.as_deref().unwrap_or_default())?;
        definition::cents("amount_cents", self.amount_cents)
    }

    fn references(&self) -> Vec<Reference> {
        self.tax_codes.iter().map(|code| Reference::new(Kind::Tax, code)).collect()
    }
}
