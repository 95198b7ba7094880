//! What every definition of the catalog is checked for: codes, amounts, texts.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::core::exact::Exact;

/// Longest code of a metric, plan, coupon or tax, in bytes.
pub const CODE_BYTES_MAX: usize = 128;
/// Longest external identifier, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest name or description, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Largest amount in minor units a definition may name: a thousand million million leaves room for sums.
pub const AMOUNT_CENTS_MAX: i64 = 1_000_000_000_000_000;

/// Why a definition is refused: which field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct DefinitionError {
    /// Where, as a path: `charges[0].properties.amount`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl DefinitionError {
    /// A refusal of this field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same refusal, seen from the object this field is in.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{outer}{dot}{}", self.field);
        self
    }
}

pub(crate) fn code(field: &str, text: &str) -> Result<(), DefinitionError> {
    if text.is_empty() {
        return Err(DefinitionError::new(field, "is empty"));
    }
    if text.len() > CODE_BYTES_MAX {
        return Err(DefinitionError::new(field, format!("is longer than {CODE_BYTES_MAX} bytes")));
    }
    plain(field, text)
}

/// An identifier that the seller chose: of a customer or a subscription.
pub(crate) fn key(field: &str, text: &str) -> Result<(), DefinitionError> {
    if text.is_empty() {
        return Err(DefinitionError::new(field, "is empty"));
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(DefinitionError::new(field, format!("is longer than {KEY_BYTES_MAX} bytes")));
    }
    plain(field, text)
}

pub(crate) fn text(field: &str, text: &str) -> Result<(), DefinitionError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(DefinitionError::new(field, format!("is longer than {TEXT_BYTES_MAX} bytes")));
    }
    plain(field, text)
}

fn plain(field: &str, text: &str) -> Result<(), DefinitionError> {
    if text.chars().any(char::is_control) {
        return Err(DefinitionError::new(field, "holds control characters"));
    }
    Ok(())
}

pub(crate) fn not_negative(field: &str, value: &Exact) -> Result<(), DefinitionError> {
    if value.is_negative() { Err(DefinitionError::new(field, "is negative")) } else { Ok(()) }
}

pub(crate) fn positive(field: &str, value: &Exact) -> Result<(), DefinitionError> {
    if value.is_positive() { Ok(()) } else { Err(DefinitionError::new(field, "is not above zero")) }
}

pub(crate) fn cents(field: &str, value: i64) -> Result<(), DefinitionError> {
    if (0..=AMOUNT_CENTS_MAX).contains(&value) {
        return Ok(());
    }
    Err(DefinitionError::new(field, format!("is not between 0 and {AMOUNT_CENTS_MAX}")))
}

pub(crate) fn count<T>(field: &str, items: &[T], max: usize) -> Result<(), DefinitionError> {
    if items.len() <= max { Ok(()) } else { Err(DefinitionError::new(field, format!("has more than {max} entries"))) }
}

pub(crate) fn distinct<'a>(field: &str, items: impl IntoIterator<Item = &'a str>) -> Result<(), DefinitionError> {
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        if !seen.insert(item) {
            return Err(DefinitionError::new(field, format!("names `{item}` twice")));
        }
    }
    Ok(())
}

pub(crate) fn read<T: DeserializeOwned>(field: &str, value: Value) -> Result<T, DefinitionError> {
    serde_json::from_value(value).map_err(|e| DefinitionError::new(field, format!("is not what it must be: {e}")))
}
