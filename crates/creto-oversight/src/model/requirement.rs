//! Who must agree: a tree over people, roles and groups.

use std::fmt;
use std::str::FromStr;

use creto_kernel::NhiId;
use creto_nhi::Role;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name of a group, in bytes.
pub const GROUP_BYTES_MAX: usize = 64;
/// Deepest requirement.
pub const DEPTH_MAX: usize = 4;
/// Most selectors of one requirement.
pub const SELECTORS_MAX: usize = 32;
/// Most people one requirement may ask for.
pub const PEOPLE_MAX: u32 = 16;
/// Most ways in which one requirement may be met, counted over its `any_of`.
pub const WAYS_MAX: usize = 64;

/// Some people: `person:<SPIFFE ID>`, `role:approver`, `group:<name>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Selector {
    /// One human.
    Person(NhiId),
    /// Whoever has this role: `approver` or `operator`.
    Role(Role),
    /// The members of a group.
    Group(GroupName),
}

/// A group's name: letters, digits, `.`, `-` and `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupName(String);

impl GroupName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GroupName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=GROUP_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{}` is no name of a group: letters, digits, `.`, `-` and `_`", text.chars().take(80).collect::<String>()))
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(id) => write!(f, "person:{id}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

impl FromStr for Selector {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: String| format!("`{}` selects nobody: {why}", text.chars().take(80).collect::<String>());
        match text.split_once(':') {
            Some(("person", id)) => {
                let id: NhiId = id.parse().map_err(|e: creto_kernel::nhi_id::NhiIdError| refuse(e.to_string()))?;
                if id.kind() != creto_kernel::NhiKind::Human {
                    return Err(refuse("only a human decides".to_owned()));
                }
                Ok(Self::Person(id))
            }
            Some(("role", role)) => match role.parse().map_err(refuse)? {
                Role::Agent | Role::Mail => Err(refuse(format!("whoever has the role `{role}` never decides"))),
                role => Ok(Self::Role(role)),
            },
            Some(("group", name)) => name.parse().map(Self::Group).map_err(refuse),
            _ => Err(refuse("write `person:<SPIFFE ID>`, `role:approver` or `group:<name>`".to_owned())),
        }
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What must be agreed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Requirement {
    /// This many different people of those selected.
    AtLeast(Quorum),
    /// Every one of these, each by other people.
    AllOf(Vec<Requirement>),
    /// One of these.
    AnyOf(Vec<Requirement>),
}

/// So many of such people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// How many different people.
    pub count: u32,
    /// Of whom: whoever is selected by one of these.
    pub of: Vec<Selector>,
}

impl Requirement {
    /// So many people of those selected.
    #[must_use]
    pub const fn at_least(count: u32, of: Vec<Selector>) -> Self {
        Self::AtLeast(Quorum { count, of })
    }

    /// One human with the role `approver`: what holds where nothing else was said.
    #[must_use]
    pub fn one_approver() -> Self {
        Self::at_least(1, vec![Selector::Role(Role::Approver)])
    }

    /// Every selector of the tree, each once.
    #[must_use]
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut all: Vec<&Selector> = match self {
            Self::AtLeast(quorum) => quorum.of.iter().collect(),
            Self::AllOf(parts) | Self::AnyOf(parts) => parts.iter().flat_map(Self::selectors).collect(),
        };
        all.sort();
        all.dedup();
        all
    }

    /// Each way to meet it, as quorums that different people must fill.
    #[must_use]
    pub fn ways(&self) -> Vec<Vec<&Quorum>> {
        match self {
            Self::AtLeast(quorum) => vec![vec![quorum]],
            Self::AnyOf(parts) => parts.iter().flat_map(Self::ways).take(WAYS_MAX + 1).collect(),
            Self::AllOf(parts) => parts.iter().fold(vec![Vec::new()], |ways, part| {
                let more = part.ways();
                ways.iter()
                    .flat_map(|way| more.iter().map(move |also| way.iter().chain(also).copied().collect()))
                    .take(WAYS_MAX + 1)
                    .collect()
            }),
        }
    }

    /// Refuses a tree that asks for nobody, or is larger than the limits.
    pub fn check(&self) -> Result<(), String> {
        self.check_depth(1)?;
        if self.selectors().len() > SELECTORS_MAX {
            return Err(format!("a requirement names at most {SELECTORS_MAX} selectors"));
        }
        let ways = self.ways();
        if ways.len() > WAYS_MAX {
            return Err(format!("a requirement can be met in at most {WAYS_MAX} ways"));
        }
        match ways.iter().map(|way| way.iter().map(|quorum| quorum.count).fold(0_u32, u32::saturating_add)).max() {
            Some(people) if people > PEOPLE_MAX => Err(format!("a requirement asks for at most {PEOPLE_MAX} people")),
            _ => Ok(()),
        }
    }

    fn check_depth(&self, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("a requirement is at most {DEPTH_MAX} deep"));
        }
        match self {
            Self::AtLeast(Quorum { count: 0, .. }) => Err("`at_least` asks for nobody: `count` is 0".to_owned()),
            Self::AtLeast(Quorum { of, .. }) if of.is_empty() => Err("`at_least` selects nobody: `of` is empty".to_owned()),
            Self::AtLeast(_) => Ok(()),
            Self::AllOf(parts) | Self::AnyOf(parts) if parts.is_empty() => Err("`all_of` and `any_of` hold at least one part".to_owned()),
            Self::AllOf(parts) | Self::AnyOf(parts) => parts.iter().try_for_each(|part| part.check_depth(depth + 1)),
        }
    }
}
