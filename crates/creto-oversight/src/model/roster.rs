//! Who is in which group, who is away, and who may not act at all: what a decision reads about people.

use std::collections::{BTreeMap, BTreeSet};

use creto_kernel::{NhiId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::requirement::GroupName;

/// Longest time one delegation lasts: 90 days.
pub const DELEGATION_SECS_MAX: u64 = 90 * 24 * 3600;

/// One human decides for another, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Which.
    pub id: String,
    /// For whom.
    #[schema(value_type = String)]
    pub from: NhiId,
    /// Who decides.
    #[schema(value_type = String)]
    pub to: NhiId,
    /// From when, inclusive.
    #[schema(value_type = String)]
    pub starts: Timestamp,
    /// Until when, exclusive.
    #[schema(value_type = String)]
    pub ends: Timestamp,
    /// Whether `from` is away: notifications go to `to` instead.
    pub out_of_office: bool,
}

impl Delegation {
    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.starts <= now && now < self.ends
    }

    /// Whether both hold at some moment.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.starts < other.ends && other.starts < self.ends
    }
}

/// What is known about people at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Counts up with each change of groups and delegations.
    pub version: i64,
    /// The members of each group.
    pub groups: BTreeMap<GroupName, BTreeSet<NhiId>>,
    /// Every delegation that is not over.
    pub delegations: Vec<Delegation>,
    /// People who may not act: suspended, revoked, gone.
    pub inactive: BTreeSet<NhiId>,
}

impl Roster {
    /// Whether `to` may decide for `from` now. Not through a third person: a delegation cannot be delegated on.
    #[must_use]
    pub fn stands_in(&self, to: &NhiId, from: &NhiId, now: Timestamp) -> bool {
        self.delegations.iter().any(|d| d.to == *to && d.from == *from && d.holds(now))
    }

    /// Refuses a delegation that would let decisions go round in a circle, is over before it starts, lasts too long, or is to oneself.
    pub fn check(&self, wanted: &Delegation) -> Result<(), String> {
        if wanted.from == wanted.to {
            return Err("nobody stands in for themselves".to_owned());
        }
        if wanted.starts >= wanted.ends {
            return Err("it ends before it starts".to_owned());
        }
        if wanted.ends.since(wanted.starts).as_secs() > DELEGATION_SECS_MAX {
            return Err(format!("it lasts longer than {} days", DELEGATION_SECS_MAX / 86_400));
        }
        let mut reached = BTreeSet::from([&wanted.to]);
        let mut open = vec![&wanted.to];
        while let Some(person) = open.pop() {
            for next in self.delegations.iter().filter(|d| d.from == *person && d.overlaps(wanted)) {
                if next.to == wanted.from {
                    return Err(format!("it closes a circle: `{}` already stands in at that time", next.to.name()));
                }
                if reached.insert(&next.to) {
                    open.push(&next.to);
                }
            }
        }
        Ok(())
    }
}
