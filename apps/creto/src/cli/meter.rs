//! What can be typed to take tables out, and to look at events that are kept aside.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use creto_kernel::Timestamp;

/// A table that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableName {
    /// Every event: what, when, of whom, for how much, and the batch that proves it.
    Events,
    /// The ledger of prepaid credits.
    Ledger,
    /// The ledger of usage.
    Entries,
    /// Invoices with their sums.
    Invoices,
    /// Lines of invoices.
    Lines,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// Comma-separated values.
    Csv,
    /// Apache Parquet, with typed columns.
    Parquet,
}

/// `creto meter export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Which table.
    #[arg(value_enum)]
    pub(crate) table: TableName,
    /// How it is written.
    #[arg(long, value_enum, default_value = "csv")]
    pub(crate) format: FormatName,
    /// Only what was recorded, made or posted from this moment on (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Only what was so before this moment.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Where to; standard output when absent.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `creto meter retention`.
#[derive(Debug, Subcommand)]
pub(crate) enum RetentionCommand {
    /// Show how long events keep what they are not billed of, and how far erasing came.
    Show,
    /// Say how long; without `--days` and `--months` for ever. Holds are those named now.
    Set {
        /// For so many days since they were recorded.
        #[arg(long, value_name = "N", conflicts_with = "months")]
        days: Option<u32>,
        /// For so many calendar months since they were recorded.
        #[arg(long, value_name = "N")]
        months: Option<u32>,
        /// A customer whose events are on legal hold; may be repeated.
        #[arg(long = "hold-customer", value_name = "C")]
        held_customers: Vec<String>,
        /// A subscription whose events are; may be repeated.
        #[arg(long = "hold-subscription", value_name = "S")]
        held_subscriptions: Vec<String>,
    },
    /// Erase now what is older than that.
    Run,
}

/// `creto meter quarantine`.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List events that are kept aside because nothing can price them yet.
    List,
    /// Keep such events aside from now on.
    Keep,
    /// Refuse such events from now on; those kept aside stay.
    Refuse,
    /// Record those that can be priced by now.
    Replay,
    /// Let go of one.
    Discard {
        /// Whose usage it was said to be.
        #[arg(long, value_name = "S")]
        subscription: String,
        /// The sender's identifier.
        transaction_id: String,
    },
}
