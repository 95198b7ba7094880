//! What can be typed to administer: keys, agents, accounts, policy, prices.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use creto_kernel::{Micros, Timestamp};

/// A role, as a key carries it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    /// Administers the installation.
    Operator,
    /// Decides what agents ask for.
    Approver,
    /// Acts, under a delegation chain.
    Agent,
    /// Hands in mails that answer ours, for a mail server.
    Mail,
}

impl RoleName {
    /// The word on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Agent => "agent",
            Self::Mail => "mail",
        }
    }
}

/// `creto key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print its token, this once.
    Create(KeyCreateArgs),
    /// List keys, without their tokens.
    List,
    /// End a key.
    Revoke {
        /// The key's id, from `creto key list`.
        id: String,
    },
}

/// `creto key create`.
#[derive(Debug, Args)]
pub(crate) struct KeyCreateArgs {
    /// What the key may do.
    #[arg(long)]
    pub(crate) role: RoleName,
    /// The human it is for; with `--role agent`, the agent; with `--role mail`, the mail server.
    #[arg(long, value_name = "N")]
    pub(crate) name: String,
    /// With `--role agent`: the agent, where `--name` only labels the key.
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// With `--role agent`: the chain it acts under (from `creto agent delegate`); one link from you when absent.
    #[arg(long, value_name = "TOKEN", conflicts_with = "agent")]
    pub(crate) chain: Option<String>,
    /// How long it lives, such as 8h or 30d; 90d when absent.
    #[arg(long, value_name = "D")]
    pub(crate) ttl: Option<String>,
}

/// `creto agent`.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Make an agent.
    Create {
        /// Its name.
        name: String,
    },
    /// List agents.
    List,
    /// Hand authority to an agent, narrowing, and print the chain token.
    Delegate(DelegateArgs),
    /// Stop an agent from acting, until it is resumed.
    Suspend {
        /// Its name.
        name: String,
    },
    /// Let a suspended agent act again.
    Resume {
        /// Its name.
        name: String,
    },
    /// End an agent for good, and every delegation that passes it.
    Revoke {
        /// Its name.
        name: String,
    },
    /// Keys that an agent or you keep yourselves: requests and delegations signed by the one who makes them.
    Key(super::own_keys::OwnKeyArgs),
    /// End one link and every delegation below it.
    RevokeLink {
        /// The link's id, as `creto agent delegate --json` names it.
        link: String,
    },
}

/// `creto agent delegate`.
#[derive(Debug, Args)]
pub(crate) struct DelegateArgs {
    /// The human whose authority it is; you when absent.
    #[arg(long, value_name = "HUMAN")]
    pub(crate) from: Option<String>,
    /// Continue this chain instead.
    #[arg(long, value_name = "TOKEN", conflicts_with = "from")]
    pub(crate) chain: Option<String>,
    /// The agent; made on first use.
    #[arg(long, value_name = "NAME")]
    pub(crate) to: String,
    /// Most it and everybody below it may spend, such as 10.00.
    #[arg(long, value_name = "A")]
    pub(crate) budget: Option<Micros>,
    /// An action it may do, `tool.call` or `tool.*`; may be repeated; the delegator's when absent.
    #[arg(long = "allow", value_name = "ACTION")]
    pub(crate) actions: Vec<String>,
    /// A resource it may act on, `host:example.com` or `tool:*`; may be repeated; the delegator's when absent.
    #[arg(long = "resource", value_name = "R")]
    pub(crate) resources: Vec<String>,
    /// How long it holds, such as 8h or 30d; a day when absent.
    #[arg(long, value_name = "D")]
    pub(crate) ttl: Option<String>,
    /// How many further links may follow.
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<u8>,
}

/// `creto account`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Make a human who can sign in to the console. The password comes from $CRETO_PASSWORD, else it is asked for.
    Create {
        /// Their name.
        #[arg(long, value_name = "N")]
        name: String,
        /// They may also administer, not only decide requests.
        #[arg(long)]
        operator: bool,
    },
    /// Let somebody back in who lost their password or passkeys: prints an address for one use within a day.
    Invite {
        /// Their name.
        name: String,
    },
}

/// `creto policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Print the policy in force.
    Show,
    /// Put a policy in force.
    Publish {
        /// Cedar policies; `-` reads standard input.
        file: PathBuf,
        /// Only if this version is still the one in force.
        #[arg(long, value_name = "N")]
        based_on: Option<u64>,
    },
    /// Check a policy and show what it would change, without publishing it.
    Check {
        /// Cedar policies; `-` reads standard input.
        file: PathBuf,
    },
    /// List the versions that were published.
    History,
    /// Say why a request is decided as it is.
    Explain {
        /// Such as `tool.call`.
        action: String,
        /// Such as `tool:search`.
        resource: String,
        /// Under this chain; as yourself when absent.
        #[arg(long, value_name = "T")]
        chain: Option<String>,
    },
}

/// `creto meter`.
#[derive(Debug, Subcommand)]
pub(crate) enum MeterCommand {
    /// Check the ledger: debits equal credits, and every counter equals its entries.
    Check,
    /// Define a metric and the price of one unit.
    Price(PriceArgs),
    /// Show what a plan would bill of some events; nothing is recorded.
    Preview(PreviewArgs),
    /// Record usage, as the agent whose sandbox this is.
    Track(TrackArgs),
    /// Record the events of a file, one JSON object on each line; called again, it goes on where it stopped.
    Ingest(IngestArgs),
    /// Show what events of the past would change, and record them where that is confirmed.
    Backfill(BackfillArgs),
    /// Show what a final period comes to under another version of its plan, and bill the difference where that is confirmed.
    Rerate(RerateArgs),
    /// Tell somebody when usage or a balance passes a threshold.
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Ask whether a subscription is entitled to a feature; exit code 1 where it is not.
    Entitled(EntitledArgs),
    /// Write a table as CSV or Parquet: events, ledger, entries, invoices or lines.
    Export(super::meter::ExportArgs),
    /// Events that nothing can price yet: list, replay, discard.
    #[command(subcommand)]
    Quarantine(super::meter::QuarantineCommand),
    /// How long events keep what they are not billed of.
    #[command(subcommand)]
    Retention(super::meter::RetentionCommand),
}

/// `creto meter backfill`.
#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    /// The file, one JSON object on each line.
    pub(crate) file: std::path::PathBuf,
    /// Record exactly what is shown.
    #[arg(long, conflicts_with = "confirm")]
    pub(crate) yes: bool,
    /// Record it where it is still what had this digest.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) confirm: Option<String>,
}

/// `creto meter rerate`.
#[derive(Debug, Args)]
pub(crate) struct RerateArgs {
    /// The subscription.
    pub(crate) subscription: String,
    /// A moment of the period, such as 2026-10-15T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: String,
    /// The version of its plan.
    #[arg(long, value_name = "N")]
    pub(crate) plan_version: u32,
    /// Bill exactly the difference that is shown.
    #[arg(long, conflicts_with = "confirm")]
    pub(crate) yes: bool,
    /// Bill it where it is still what had this digest.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) confirm: Option<String>,
}

/// `creto meter alert`.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Make an alert of a subscription or a wallet.
    Add(Box<AlertArgs>),
    /// List alerts with what they saw last.
    List,
    /// Remove an alert.
    Remove {
        /// Its identifier, as `creto meter alert list` shows it.
        alert: String,
    },
}

/// `creto meter alert add`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("watched").required(true).args(["subscription", "wallet"]))]
pub(crate) struct AlertArgs {
    /// Its name among those of what it watches.
    pub(crate) code: String,
    /// What it watches, such as current_usage_amount or wallet_balance_amount.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: String,
    /// The metric, of a type that watches one.
    #[arg(long, value_name = "M")]
    pub(crate) metric: Option<String>,
    /// Whose usage.
    #[arg(long, value_name = "S")]
    pub(crate) subscription: Option<String>,
    /// Whose balance, by the wallet's identifier.
    #[arg(long, value_name = "W")]
    pub(crate) wallet: Option<String>,
    /// Where somebody is told; given several times, at each.
    #[arg(long, value_name = "N", required = true)]
    pub(crate) at: Vec<String>,
    /// And at each such distance beyond the last.
    #[arg(long, value_name = "N")]
    pub(crate) every: Option<String>,
}

/// `creto meter entitled`.
#[derive(Debug, Args)]
pub(crate) struct EntitledArgs {
    /// The subscription.
    pub(crate) subscription: String,
    /// The feature.
    pub(crate) feature: String,
    /// A privilege of it.
    #[arg(long, value_name = "P")]
    pub(crate) privilege: Option<String>,
    /// How much of it: a number at least so large, else this very value.
    #[arg(long, value_name = "V", requires = "privilege")]
    pub(crate) wanted: Option<String>,
}

/// `creto meter ingest`.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// The file.
    pub(crate) file: std::path::PathBuf,
    #[command(flatten)]
    pub(crate) reach: super::agent::Reach,
}

/// `creto budget`.
#[derive(Debug, Subcommand)]
pub(crate) enum BudgetCommand {
    /// Raise, lower or lift the ceiling of an account.
    Set(BudgetArgs),
}

/// `creto budget set`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("ceiling").required(true).args(["amount", "none"]))]
pub(crate) struct BudgetArgs {
    /// The account, as `creto budgets` names it.
    pub(crate) account: String,
    /// The most it may spend and hold, such as 12.50.
    pub(crate) amount: Option<Micros>,
    /// No ceiling.
    #[arg(long)]
    pub(crate) none: bool,
    /// Where something does not fit, ask a human to raise the ceiling by so much, and never by more at a time. Nobody is asked without it.
    #[arg(long, value_name = "STEP", requires = "a_day", conflicts_with = "none")]
    pub(crate) ask_to_raise: Option<Micros>,
    /// How many times a day (UTC) a human may be asked.
    #[arg(long, value_name = "N", requires = "ask_to_raise")]
    pub(crate) a_day: Option<u32>,
    /// Ask nobody from this moment on, such as 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "WHEN", requires = "ask_to_raise")]
    pub(crate) until: Option<Timestamp>,
}

/// `creto meter price`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("aggregation").required(true).args(["sum", "count"]))]
pub(crate) struct PriceArgs {
    /// The metric.
    pub(crate) code: String,
    /// Each event is as many units as this property says.
    #[arg(long, value_name = "FIELD")]
    pub(crate) sum: Option<String>,
    /// Each event is one unit.
    #[arg(long)]
    pub(crate) count: bool,
    /// The price of one unit, such as 0.002.
    #[arg(long, value_name = "P")]
    pub(crate) unit_price: String,
}

/// `creto meter preview`.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// The plan, the period, the events and what is taken off, as `POST /v1/metering/preview` takes them; `-` reads standard input.
    pub(crate) file: std::path::PathBuf,
}

/// `creto meter track`.
#[derive(Debug, Args)]
pub(crate) struct TrackArgs {
    /// The metric.
    pub(crate) code: String,
    /// How many units.
    #[arg(long, value_name = "N")]
    pub(crate) quantity: String,
    /// The property that holds the quantity: the one the metric sums.
    #[arg(long, value_name = "FIELD", default_value = "quantity")]
    pub(crate) field: String,
    /// Your identifier of this usage: sent again, it is the same usage and is counted once. A fresh one when absent.
    #[arg(long, value_name = "T")]
    pub(crate) id: Option<String>,
    /// Whose usage it is; the human's at the root of the chain when absent.
    #[arg(long, value_name = "S")]
    pub(crate) subscription: Option<String>,
    #[command(flatten)]
    pub(crate) reach: super::agent::Reach,
}
