//! Quotas: how much of a metric an agent, the root of a chain or a tenant may use in a time.

use creto_kernel::{Micros, NhiId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::gcra::Rate;
use crate::core::zone::Zone;
use crate::model::definition::{self, DefinitionError};

/// Counts admitted actions: each is one unit.
pub const ACTIONS: &str = "actions";
/// Counts money: what an action reserves, then what it cost.
pub const SPEND: &str = "spend";
/// Most quotas of one tenant.
pub const QUOTAS_MAX: usize = 10_000;
/// Most thresholds of one quota.
pub const THRESHOLDS_MAX: usize = 10;
/// Highest threshold, in percent.
const PERCENT_MAX: u16 = 1_000;
/// Most actions one quota names.
pub const ACTIONS_MAX: usize = 32;
/// Shortest and longest sliding window, in seconds: a minute and 31 days.
pub const SLIDING_SECS: std::ops::RangeInclusive<u32> = 60..=2_678_400;
/// Largest limit and burst of a rate, in units.
const RATE_UNITS_MAX: i64 = 1_000_000_000;
/// Longest window of a rate, in seconds.
const RATE_SECS_MAX: u32 = 3_600;
/// Largest limit, in millionths of a unit: sums of two stay far from the end of the type.
const LIMIT_MAX: i64 = i64::MAX / 4;

creto_kernel::typed_ids! {
    /// One quota and what was counted under it. A quota that begins to count something else gets another one.
    QuotaId = "quota";
}
creto_db::value_from_text!(QuotaId);

/// Whom a quota is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = QuotaScope)]
pub enum Scope {
    /// The tenant as a whole.
    Tenant,
    /// Who stands at the root of a chain: what they and everybody below them do.
    Root,
    /// An agent anywhere in a chain below its root: what it does and what those below it do.
    Agent,
}

impl Scope {
    /// Its name in JSON and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Root => "root",
            Self::Agent => "agent",
        }
    }
}

/// In which time a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = QuotaWindow)]
pub enum Window {
    /// Each hour of UTC.
    Hourly,
    /// Each local day of the zone.
    Daily,
    /// Each local month of the zone.
    Monthly,
    /// For ever.
    Total,
    /// The last `window_secs` seconds, at any moment.
    Sliding,
    /// `limit` units in `window_secs` seconds, evenly, with `burst` of them at once (GCRA); counted by each server for itself.
    Rate,
}

/// What happens at the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AtLimit {
    /// The action is refused.
    #[default]
    Block,
    /// The action is admitted, and what is above the limit is told as overage.
    AllowWithOverage,
    /// The action is admitted; thresholds are told.
    Notify,
}

/// A quota as it is defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Its name, unique in the tenant.
    #[serde(default)]
    pub code: String,
    /// What is counted: `actions`, `spend`, or the code of a metric.
    pub metric: String,
    /// Whom it is about.
    pub scope: Scope,
    /// The name of the root or agent; each of them by itself where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// In which time.
    pub window: Window,
    /// How long a sliding window or that of a rate is, in seconds. A rate's is one second where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_secs: Option<u32>,
    /// Whose days and months, as an IANA zone; UTC where absent.
    #[serde(default = "utc")]
    #[schema(value_type = String)]
    pub timezone: Zone,
    /// How much, as a decimal text.
    #[schema(value_type = String)]
    pub limit: Micros,
    /// Of a rate: how many units at once. One where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// What happens at the limit.
    #[serde(default)]
    pub at_limit: AtLimit,
    /// Percentages of the limit at which somebody is told, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<u16>,
    /// Counts and tells, and refuses nothing: to see what it would do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Which actions it is asked about, as names or beginnings such as `tool.`; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// How much each server may still hand out in a window while what shares leases between servers is gone. Nothing where absent.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    #[schema(value_type = String)]
    pub safe_capacity: Micros,
}

fn utc() -> Zone {
    Zone::utc()
}

const fn zero() -> Micros {
    Micros::ZERO
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(amount: &Micros) -> bool {
    *amount == Micros::ZERO
}

impl Quota {
    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// Which field, and what is wrong with it.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let wrong = |field: &str, problem: &str| Err(DefinitionError::new(field, problem));
        definition::code("code", &self.code)?;
        definition::code("metric", &self.metric)?;
        if self.limit.is_negative() || self.limit.get() > LIMIT_MAX {
            return wrong("limit", "is negative or larger than two million million units");
        }
        if self.safe_capacity.is_negative() || self.safe_capacity > self.limit {
            return wrong("safe_capacity", "is negative or more than the limit");
        }
        match (self.scope, &self.subject) {
            (Scope::Tenant, Some(_)) => return wrong("subject", "is not named by a quota of the whole tenant"),
            (_, Some(name)) => definition::code("subject", name)?,
            (_, None) => {}
        }
        if self.thresholds.len() > THRESHOLDS_MAX
            || !self.thresholds.iter().all(|percent| (1..=PERCENT_MAX).contains(percent))
            || !self.thresholds.is_sorted_by(|a, b| a < b)
        {
            return wrong("thresholds", "are at most ten ascending percentages from 1 to 1000");
        }
        let is_action = |name: &String| !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_graphic());
        if self.actions.len() > ACTIONS_MAX || !self.actions.iter().all(is_action) {
            return wrong("actions", "are at most 32 names such as `tool.call`, or beginnings such as `tool.`");
        }
        self.check_window()
    }

    fn check_window(&self) -> Result<(), DefinitionError> {
        let wrong = |field: &str, problem: &str| Err(DefinitionError::new(field, problem));
        match (self.window, self.window_secs) {
            (Window::Sliding, Some(secs)) if SLIDING_SECS.contains(&secs) => {}
            (Window::Sliding, _) => return wrong("window_secs", "of a sliding window is from 60 to 2678400"),
            (Window::Rate, Some(secs)) if !(1..=RATE_SECS_MAX).contains(&secs) => {
                return wrong("window_secs", "of a rate is from 1 to 3600");
            }
            (Window::Rate, _) => {}
            (_, Some(_)) => return wrong("window_secs", "is for sliding windows and rates only"),
            (_, None) => {}
        }
        match (self.window, self.burst) {
            (Window::Rate, _) if self.rate().is_none() => {
                wrong("limit", "and `burst` of a rate are whole units, at least one, and a burst comes back within an hour")
            }
            (Window::Rate, _) if !self.thresholds.is_empty() => wrong("thresholds", "are not for rates, which count nothing"),
            (Window::Rate, _) | (_, None) => Ok(()),
            (_, Some(_)) => wrong("burst", "is for rates only"),
        }
    }

    /// The rate this is, where it is one.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        let whole = self.limit.get() % creto_kernel::money::MICROS_PER_UNIT == 0;
        let units = self.limit.get() / creto_kernel::money::MICROS_PER_UNIT;
        let burst = self.burst.unwrap_or(1);
        (self.window == Window::Rate && whole && (1..=RATE_UNITS_MAX).contains(&units)).then_some(())?;
        Rate::within(u32::try_from(units).ok()?, self.window_secs.unwrap_or(1), burst)
    }

    /// Whether something is refused at the limit.
    #[must_use]
    pub const fn blocks(&self) -> bool {
        matches!(self.at_limit, AtLimit::Block) && !self.shadow
    }

    /// Whether it goes on counting what another definition counted: the same thing, of the same subjects, in the same windows.
    #[must_use]
    pub fn continues(&self, before: &Self) -> bool {
        (&self.metric, self.scope, &self.subject, self.window, self.window_secs, &self.timezone)
            == (&before.metric, before.scope, &before.subject, before.window, before.window_secs, &before.timezone)
    }

    /// Whether it is asked about an action of this name.
    #[must_use]
    pub fn concerns(&self, action: &str) -> bool {
        let fits = |wanted: &String| wanted == action || (wanted.ends_with('.') && action.starts_with(wanted.as_str()));
        self.actions.is_empty() || self.actions.iter().any(fits)
    }
}

/// What an identity's counts stand under: a human and a service of one name are two.
#[must_use]
pub fn subject_key(identity: &NhiId) -> String {
    format!("{}/{}", identity.kind().as_str(), identity.name())
}

/// What a tenant's own counts stand under.
pub const TENANT_KEY: &str = "tenant";
