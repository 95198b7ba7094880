//! What can be typed.

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod billing;
pub(crate) mod channels;
pub(crate) mod govern;
pub(crate) mod meter;
pub(crate) mod own_keys;
pub(crate) mod quota;
pub(crate) mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use creto_kernel::Micros;

/// Govern what agents do: who, on whose authority, at what cost, with a human in the loop, and provably.
#[derive(Debug, Parser)]
#[command(name = "creto", version, about, max_term_width = 110)]
pub(crate) struct Cli {
    /// Where everything is kept [default: $XDG_DATA_HOME/creto, else ~/.local/share/creto].
    #[arg(long, global = true, env = "CRETO_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Act as this human of the tenant; only over the owner's socket.
    #[arg(long = "as", global = true, value_name = "HUMAN")]
    pub(crate) act_as: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a sandbox, governed and on record.
    Run(RunArgs),
    /// Serve HTTP, the console and the local sockets.
    Serve(ServeArgs),
    /// List runs, show one as a timeline, or end one that is under way.
    Runs(govern::RunsArgs),
    /// Show what waits for a human; at a terminal, read and decide it there.
    Inbox {
        /// Stay, and show each request as it comes.
        #[arg(long)]
        watch: bool,
        /// Only what is older than this request.
        #[arg(long, value_name = "REQUEST", conflicts_with = "watch")]
        before: Option<String>,
    },
    /// Approve exactly the action that is shown.
    Approve(govern::ApproveArgs),
    /// Deny a request.
    Deny(govern::DenyArgs),
    /// List actions whose outcome nobody knows, because the server stopped while they were under way.
    Doubts,
    /// Say what came of an action in doubt.
    Resolve(govern::ResolveArgs),
    /// Show usage by metric, or over time by metric, agent, model or subscription.
    Usage(usage::UsageArgs),
    /// Show cost by delegation tree.
    Costs(usage::CostsArgs),
    /// Show budgets: ceiling, spent, held.
    Budgets,
    /// Change what may be spent.
    #[command(subcommand)]
    Budget(admin::BudgetCommand),
    /// Prices, the ledger, and usage of your own.
    #[command(subcommand)]
    Meter(admin::MeterCommand),
    /// What is sold and to whom: metrics, plans, taxes, add-ons, coupons, customers, subscriptions.
    Catalog(billing::CatalogArgs),
    /// Invoices: list, show, bill what is due, finalize, void, export.
    #[command(subcommand)]
    Invoice(billing::InvoiceCommand),
    /// Prepaid credits.
    #[command(subcommand)]
    Wallet(billing::WalletCommand),
    /// Quotas: how much of a metric may be used in a time.
    #[command(subcommand)]
    Quota(quota::QuotaCommand),
    /// The policy: read, check, publish, explain.
    #[command(subcommand)]
    Policy(admin::PolicyCommand),
    /// Agents and what is delegated to them.
    #[command(subcommand)]
    Agent(admin::AgentCommand),
    /// Keys for programs.
    #[command(subcommand)]
    Key(admin::KeyCommand),
    /// Logins for people.
    #[command(subcommand)]
    Account(admin::AccountCommand),
    /// Webhooks: whom the server tells of what happens.
    #[command(subcommand)]
    Webhooks(channels::WebhooksCommand),
    /// The log of everything: verify it, show an entry, pin it.
    #[command(subcommand)]
    Audit(govern::AuditCommand),
    /// Oversight: verify a receipt, publish what a rule asks for, stop an agent.
    #[command(subcommand)]
    Oversight(govern::OversightCommand),
    /// Erase what was said: arguments, reasons, comments and memory. What was decided, what it cost and the log stay.
    Erase(govern::EraseArgs),
    /// End-to-end messages between agents; run it where the agent runs.
    Msg(agent::MsgArgs),
    /// What an agent remembers; run it where the agent runs.
    Memory(agent::MemoryArgs),
    /// Check what this machine can run, and say what to install.
    Doctor(govern::DoctorArgs),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// `creto serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to serve HTTP, such as 127.0.0.1:8340; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where clients reach this server, such as https://creto.example: signed requests are taken for its host.
    #[arg(long, value_name = "U")]
    pub(crate) public_url: Option<String>,
    /// A configuration file (TOML) [default: config.toml in the data directory, where there is one].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Begin an installation for tests: its decisions bind nobody, and its receipts say so. It stays one.
    #[arg(long)]
    pub(crate) test_mode: bool,
}

/// `creto run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The agent that runs it; made on first use.
    #[arg(long, value_name = "NAME", default_value = "agent")]
    pub(crate) agent: String,
    /// The human on whose authority; the local one when absent.
    #[arg(long, value_name = "HUMAN")]
    pub(crate) on_behalf_of: Option<String>,
    /// Run under this delegation chain instead (a token from `creto agent delegate`).
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["agent", "on_behalf_of", "budget"])]
    pub(crate) chain: Option<String>,
    /// Most it may spend, such as 2.50.
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) budget: Option<Micros>,
    /// A host it may reach, `HOST` or `HOST:PORT`; may be repeated.
    #[arg(long = "allow-host", value_name = "H")]
    pub(crate) allow_hosts: Vec<String>,
    /// A folder it may see at the same path, read-only unless `:rw`; may be repeated.
    #[arg(long = "mount", value_name = "DIR[:rw]")]
    pub(crate) mounts: Vec<String>,
    /// A variable it gets; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Longest time it may take, such as 90s, 10m or 2h.
    #[arg(long, value_name = "D", default_value = "1h")]
    pub(crate) timeout: String,
    /// Why, for whoever is asked to approve something.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Read the whole standard input first and bind an approval to it; a file always is. At most 8 MiB.
    #[arg(long)]
    pub(crate) bind_stdin: bool,
    /// Do not print the summary at the end.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    pub(crate) argv: Vec<String>,
}
