//! What can be typed to look at usage and costs.

use clap::{Args, ValueEnum};

/// What usage over time is told apart by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum By {
    /// The metric.
    Metric,
    /// Who used it.
    Agent,
    /// The model that events name.
    Model,
    /// The subscription.
    Subscription,
    /// A property that charges group or filter by: `--property`.
    Property,
}

/// How long each row of a table is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Step {
    /// A day.
    Day,
    /// A week, from Monday on.
    Week,
    /// A calendar month.
    Month,
}

/// What a table shows.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Measure {
    /// What it cost.
    Cost,
    /// How many events.
    Events,
    /// How many units.
    Units,
}

/// `creto usage`.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Whose; yours when absent.
    #[arg(long, value_name = "S", conflicts_with_all = ["by", "since", "until", "step", "metric", "property", "show"])]
    pub(crate) subscription: Option<String>,
    /// Show the whole tenant's usage over time, by this.
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Option<By>,
    /// Over time, from this day on: a date, or how far back, such as 30d.
    #[arg(long, value_name = "DAY")]
    pub(crate) since: Option<String>,
    /// Over time, to this day, included; today when absent.
    #[arg(long, value_name = "DAY")]
    pub(crate) until: Option<String>,
    /// How long each row is; a day when absent.
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<Step>,
    /// Of this metric only.
    #[arg(long, value_name = "CODE")]
    pub(crate) metric: Option<String>,
    /// Which property: with `--by property`, or the one that names models.
    #[arg(long, value_name = "NAME")]
    pub(crate) property: Option<String>,
    /// What each row shows; what it cost when absent.
    #[arg(long, value_name = "WHAT")]
    pub(crate) show: Option<Measure>,
}

impl UsageArgs {
    /// Whether usage over time is asked for.
    pub(crate) const fn is_over_time(&self) -> bool {
        self.by.is_some()
            || self.since.is_some()
            || self.until.is_some()
            || self.step.is_some()
            || self.metric.is_some()
            || self.show.is_some()
    }
}

/// `creto costs`.
#[derive(Debug, Args)]
pub(crate) struct CostsArgs {
    /// Of usage from this day on: a date, or how far back, such as 30d. A moment, or hours such as 3h: what was posted since.
    #[arg(long, value_name = "DAY")]
    pub(crate) since: Option<String>,
    /// To this day, included; or before this moment.
    #[arg(long, value_name = "DAY")]
    pub(crate) until: Option<String>,
}
