//! Grants: what a link lets its holder do. A grant only ever narrows.

use creto_kernel::{ActionName, Micros, ResourceName, Timestamp};
use serde::{Deserialize, Serialize};

/// Deepest chain, in links.
pub const DEPTH_MAX: u8 = 8;
/// Most patterns of one kind in one grant.
pub const PATTERNS_MAX: usize = 64;

/// A name or a prefix ending in `*`: `runtime.*`, `host:*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// The text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pattern: write a name, or a prefix ending in a single `*`")]
pub struct PatternError(String);

impl Pattern {
    /// Everything.
    #[must_use]
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Whether `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.0 == name,
        }
    }

    /// Whether everything `other` means is meant here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (Some(wide), Some(narrow)) => narrow.starts_with(wide),
            (Some(wide), None) => other.0.starts_with(wide),
            (None, Some(_)) => false,
            (None, None) => self.0 == other.0,
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        let body = text.strip_suffix('*').unwrap_or(&text);
        let fits =
            !text.is_empty() && text.len() <= 512 && !body.contains('*') && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if fits { Ok(Self(text)) } else { Err(PatternError(text.chars().take(80).collect())) }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

/// What a link lets its holder do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Actions, by name or prefix.
    pub actions: Vec<Pattern>,
    /// Resources, by name or prefix.
    pub resources: Vec<Pattern>,
    /// Ceiling on what the holder and everybody below it may spend together; `None` leaves the ceilings above it in force.
    pub budget: Option<Micros>,
    /// The end of the grant, exclusive.
    pub not_after: Timestamp,
    /// How many further links may follow.
    pub depth: u8,
}

impl Grant {
    /// Whether the grant speaks of this action on this resource. Time, budget and revocation are checked elsewhere.
    #[must_use]
    pub fn permits(&self, action: &ActionName, resource: &ResourceName) -> bool {
        self.actions.iter().any(|p| p.matches(action.as_str())) && self.resources.iter().any(|p| p.matches(resource.as_str()))
    }
}
