//! Customers: who is billed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::definition::{self, DefinitionError};
use crate::model::entry::{Definition, Kind, Reference};

/// Most metadata entries of a customer.
pub const METADATA_MAX: usize = 50;
/// The payment providers there are adapters for.
pub const PAYMENT_PROVIDERS: [&str; 1] = ["stripe"];
/// Longest grace period and payment term, in days.
pub const DAYS_MAX: u32 = 3_650;

/// A postal address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Address {
    /// Street and number.
    pub line1: String,
    /// What does not fit the first line.
    pub line2: String,
    /// City.
    pub city: String,
    /// Postal code.
    pub zipcode: String,
    /// State or region.
    pub state: String,
    /// Two letters, ISO 3166-1.
    pub country: String,
}

/// Who is billed. Everything but the identifier, the currency and the terms may belong to a person: the audit log holds a salted digest
/// of it, never the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// The seller's own identifier of this customer.
    pub external_id: String,
    /// Name of the company or person.
    #[serde(default)]
    pub name: String,
    /// First name of a person.
    #[serde(default)]
    pub firstname: String,
    /// Last name of a person.
    #[serde(default)]
    pub lastname: String,
    /// `company` or `individual`, where known.
    #[serde(default)]
    pub customer_type: Option<String>,
    /// Where invoices are sent.
    #[serde(default)]
    pub email: String,
    /// Telephone.
    #[serde(default)]
    pub phone: String,
    /// Web site.
    #[serde(default)]
    pub url: String,
    /// Address of the company's picture.
    #[serde(default)]
    pub logo_url: String,
    /// The legal name, where it differs.
    #[serde(default)]
    pub legal_name: String,
    /// Number in a company register.
    #[serde(default)]
    pub legal_number: String,
    /// Tax identifier, such as a VAT number.
    #[serde(default)]
    pub tax_identification_number: String,
    /// Where it is billed.
    #[serde(default)]
    pub address: Address,
    /// Where goods go, where that differs.
    #[serde(default)]
    pub shipping_address: Option<Address>,
    /// ISO 4217; taken from the first plan or wallet when absent, and never changed once something was billed.
    #[serde(default)]
    pub currency: Option<String>,
    /// IANA time zone; UTC when absent. Days, periods and due dates are counted in it.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Days until an invoice is due; 0 when absent.
    #[serde(default)]
    pub net_payment_term: Option<u32>,
    /// Days an invoice stays a draft, open to late events; 0 when absent.
    #[serde(default)]
    pub invoice_grace_period: Option<u32>,
    /// Whether an invoice of nothing is finalized and numbered; yes when absent.
    #[serde(default)]
    pub finalize_zero_amount_invoice: Option<bool>,
    /// Language of documents, such as `en`.
    #[serde(default)]
    pub document_locale: Option<String>,
    /// Taxes of everything this customer buys; the tenant's own where empty.
    #[serde(default)]
    pub tax_codes: Vec<String>,
    /// Further entries of the seller.
    #[serde(default)]
    pub metadata: BTreeMap<String, MetadataEntry>,
    /// The customer's identifiers at payment providers, by the provider's name.
    #[serde(default)]
    pub provider_ids: BTreeMap<String, String>,
    /// The payment provider that final invoices are paid through, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_provider: Option<String>,
    /// Whether the customer is made at that provider and kept in step there; else `provider_ids` names one that is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sync_with_provider: bool,
}

/// One further entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetadataEntry {
    /// What it says.
    pub value: String,
    /// Whether invoices show it.
    #[serde(default)]
    pub display_in_invoice: bool,
}

impl Customer {
    /// A customer of this identifier, with nothing else known.
    #[must_use]
    pub fn new(external_id: &str) -> Self {
        Self {
            external_id: external_id.to_owned(),
            name: String::new(),
            firstname: String::new(),
            lastname: String::new(),
            customer_type: None,
            email: String::new(),
            phone: String::new(),
            url: String::new(),
            logo_url: String::new(),
            legal_name: String::new(),
            legal_number: String::new(),
            tax_identification_number: String::new(),
            address: Address::default(),
            shipping_address: None,
            currency: None,
            timezone: None,
            net_payment_term: None,
            invoice_grace_period: None,
            finalize_zero_amount_invoice: None,
            document_locale: None,
            tax_codes: Vec::new(),
            metadata: BTreeMap::new(),
            provider_ids: BTreeMap::new(),
            payment_provider: None,
            sync_with_provider: false,
        }
    }

    fn check_provider(&self) -> Result<(), DefinitionError> {
        for (name, id) in &self.provider_ids {
            definition::code("provider_ids", name)?;
            definition::text("provider_ids", id)?;
        }
        match self.payment_provider.as_deref() {
            None if self.sync_with_provider => {
                Err(DefinitionError::new("payment_provider", "is needed: with whom to keep the customer in step"))
            }
            None => Ok(()),
            Some(name) if !PAYMENT_PROVIDERS.contains(&name) => {
                Err(DefinitionError::new("payment_provider", format!("`{name}` is none of {}", PAYMENT_PROVIDERS.join(", "))))
            }
            Some(name) if !self.sync_with_provider && self.known_as(name).is_none() => {
                Err(DefinitionError::new("sync_with_provider", format!("is needed where the customer has no identifier at `{name}`")))
            }
            Some(_) => Ok(()),
        }
    }

    /// The name a document shows.
    #[must_use]
    pub fn shown_name(&self) -> String {
        let person = format!("{} {}", self.firstname, self.lastname);
        let known = [self.legal_name.as_str(), self.name.as_str(), person.trim(), self.external_id.as_str()];
        known.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned()
    }

    /// The customer's identifier at this provider.
    #[must_use]
    pub fn known_as(&self, provider: &str) -> Option<&str> {
        self.provider_ids.get(provider).map(String::as_str)
    }

    /// Forgets whose it is and keeps what totals and periods depend on: the identifier, the currency, the zone, the terms, the taxes.
    #[must_use]
    pub fn erased(&self) -> Self {
        Self {
            currency: self.currency.clone(),
            timezone: self.timezone.clone(),
            net_payment_term: self.net_payment_term,
            invoice_grace_period: self.invoice_grace_period,
            finalize_zero_amount_invoice: self.finalize_zero_amount_invoice,
            tax_codes: self.tax_codes.clone(),
            ..Self::new(&self.external_id)
        }
    }
}

impl Definition for Customer {
    const KIND: Kind = Kind::Customer;

    fn code(&self) -> &str {
        &self.external_id
    }

    fn check(&self) -> Result<(), DefinitionError> {
        let bad = |field: &str, problem: String| Err(DefinitionError::new(field, problem));
        definition::key("external_id", &self.external_id)?;
        let texts = [
            ("name", &self.name),
            ("firstname", &self.firstname),
            ("lastname", &self.lastname),
            ("email", &self.email),
            ("phone", &self.phone),
            ("url", &self.url),
            ("logo_url", &self.logo_url),
            ("legal_name", &self.legal_name),
            ("legal_number", &self.legal_number),
            ("tax_identification_number", &self.tax_identification_number),
        ];
        for (field, text) in texts {
            definition::text(field, text)?;
        }
        for address in std::iter::once(&self.address).chain(&self.shipping_address) {
            for text in [&address.line1, &address.line2, &address.city, &address.zipcode, &address.state] {
                definition::text("address", text)?;
            }
            let two_letters = address.country.len() == 2 && address.country.bytes().all(|b| b.is_ascii_uppercase());
            if !address.country.is_empty() && !two_letters {
                return bad("country", format!("`{}` is not two capital letters of ISO 3166-1", address.country));
            }
        }
        if let Some(kind) = self.customer_type.as_deref().filter(|kind| !["company", "individual"].contains(kind)) {
            return bad("customer_type", format!("`{kind}` is neither `company` nor `individual`"));
        }
        if let Some(zone) = self.timezone.as_deref() {
            zone.parse::<crate::core::zone::Zone>()?;
        }
        if let Some(code) = self.currency.as_deref() {
            code.parse::<crate::model::currency::Currency>()?;
        }
        for (field, days) in [("net_payment_term", self.net_payment_term), ("invoice_grace_period", self.invoice_grace_period)] {
            if days.is_some_and(|days| days > DAYS_MAX) {
                return bad(field, format!("is longer than {DAYS_MAX} days"));
            }
        }
        self.check_provider()?;
        if self.metadata.len() > METADATA_MAX {
            return bad("metadata", format!("has more than {METADATA_MAX} entries"));
        }
        for (key, entry) in &self.metadata {
            definition::code("metadata", key)?;
            definition::text("metadata", &entry.value)?;
        }
        Ok(())
    }

    fn references(&self) -> Vec<Reference> {
        self.tax_codes.iter().map(|code| Reference::new(Kind::Tax, code)).collect()
    }
}
