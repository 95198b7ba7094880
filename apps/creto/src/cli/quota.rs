//! What can be typed to limit use.

use clap::{Args, Subcommand, ValueEnum};

/// `creto quota`.
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaCommand {
    /// Define a quota, or change it.
    Set(Box<QuotaSetArgs>),
    /// List quotas.
    List,
    /// Show a quota and what its subjects used.
    Show {
        /// Its name.
        code: String,
    },
    /// Remove a quota with what it counted.
    Remove {
        /// Its name.
        code: String,
    },
}

/// In which time a quota counts.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WindowName {
    /// Each hour.
    Hourly,
    /// Each local day.
    Daily,
    /// Each local month.
    Monthly,
    /// For ever.
    Total,
    /// The last `--secs` seconds.
    Sliding,
    /// Evenly, with a burst.
    Rate,
}

/// What happens at the limit.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AtLimitName {
    /// The action is refused.
    Block,
    /// It is admitted, and what is above is told.
    Overage,
    /// It is admitted, and thresholds are told.
    Notify,
}

/// `creto quota set`.
#[derive(Debug, Args)]
pub(crate) struct QuotaSetArgs {
    /// Its name.
    pub(crate) code: String,
    /// What is counted: `actions`, `spend`, or a metric.
    #[arg(long, value_name = "M", default_value = "actions")]
    pub(crate) metric: String,
    /// How much.
    #[arg(long, value_name = "N")]
    pub(crate) limit: String,
    /// In which time.
    #[arg(long, value_enum)]
    pub(crate) window: WindowName,
    /// Of this agent; of each agent by itself where it is `each`.
    #[arg(long, value_name = "A", conflicts_with = "root")]
    pub(crate) agent: Option<String>,
    /// Of whoever this one is at the root of; of each root by itself where it is `each`. Without either it is the tenant's.
    #[arg(long, value_name = "R")]
    pub(crate) root: Option<String>,
    /// How long a sliding window, or that of a rate, is, in seconds.
    #[arg(long, value_name = "S")]
    pub(crate) secs: Option<u32>,
    /// Of a rate: how many at once.
    #[arg(long, value_name = "N")]
    pub(crate) burst: Option<u32>,
    /// Whose days and months.
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// What happens at the limit.
    #[arg(long, value_enum, default_value = "block")]
    pub(crate) at_limit: AtLimitName,
    /// Percentages at which somebody is told, such as 50,80,100.
    #[arg(long, value_name = "P", value_delimiter = ',')]
    pub(crate) alert: Vec<u16>,
    /// Only for these actions, such as `tool.`.
    #[arg(long, value_name = "A", value_delimiter = ',')]
    pub(crate) action: Vec<String>,
    /// Count and tell, refuse nothing.
    #[arg(long)]
    pub(crate) shadow: bool,
    /// How much each server may hand out while Redis is gone.
    #[arg(long, value_name = "N")]
    pub(crate) safe: Option<String>,
}
