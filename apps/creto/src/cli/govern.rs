//! What can be typed to watch and decide: requests, doubts, money, runs, the log.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

/// `creto approve`.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The request, from `creto inbox`.
    pub(crate) request: String,
    /// What you want to say about it.
    #[arg(long, value_name = "T")]
    pub(crate) comment: Option<String>,
    /// Approve this digest and nothing else; the one of the action shown when absent.
    #[arg(long, value_name = "D")]
    pub(crate) digest: Option<String>,
}

/// `creto deny`.
#[derive(Debug, Args)]
pub(crate) struct DenyArgs {
    /// The request, from `creto inbox`.
    pub(crate) request: String,
    /// Why; the agent reads it.
    #[arg(long, value_name = "T")]
    pub(crate) comment: Option<String>,
}

/// `creto resolve`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["happened", "did_not_happen"]))]
pub(crate) struct ResolveArgs {
    /// The admission, from `creto doubts`.
    pub(crate) admission: String,
    /// It did happen.
    #[arg(long)]
    pub(crate) happened: bool,
    /// It did not happen.
    #[arg(long)]
    pub(crate) did_not_happen: bool,
}

/// `creto erase`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["request", "run", "agent", "everybody"]))]
pub(crate) struct EraseArgs {
    /// Of this request for approval, and of every attempt at the same action.
    #[arg(long, value_name = "REQ")]
    pub(crate) request: Option<String>,
    /// Of this run.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Of everything this agent did, asked and remembered.
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// Of the whole tenant.
    #[arg(long)]
    pub(crate) everybody: bool,
    /// Only what is older than this, such as 30d.
    #[arg(long, value_name = "D")]
    pub(crate) older_than: Option<String>,
    /// Yes, for good.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `creto audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify every file of the log, offline or from a server.
    Verify(VerifyArgs),
    /// Show an entry, with its proof checked here.
    Show {
        /// A leaf's id, or its position in the log.
        entry: String,
    },
    /// Print the signed checkpoint, to be kept elsewhere: `creto audit pin >FILE`, later `creto audit verify --pin FILE`.
    Pin,
    /// Replace both keys that sign the log. Those that leave vouch for those that come, so `creto audit verify --keys OLDFILE` goes on working.
    Rotate,
}

/// `creto audit verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Verify what this server serves, instead of the files in the data directory.
    #[arg(long, value_name = "U")]
    pub(crate) url: Option<String>,
    /// The key to read it with.
    #[arg(long, env = "CRETO_TOKEN", value_name = "T", hide_env_values = true, requires = "url")]
    pub(crate) token: Option<String>,
    /// The keys to trust, kept from an earlier day, and those that they vouched for since; those beside the log when absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere (`creto audit pin`): the log must extend it.
    #[arg(long, value_name = "FILE")]
    pub(crate) pin: Option<PathBuf>,
}

/// `creto doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The configuration file the server will be started with.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the server will listen.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<std::net::SocketAddr>,
}

/// `creto runs`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RunsArgs {
    /// Which run.
    pub(crate) run: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<RunsCommand>,
}

/// What is done to a run.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// End a run that is under way.
    End {
        /// Which run.
        run: String,
    },
}

/// `creto oversight`.
#[derive(Debug, Subcommand)]
pub(crate) enum OversightCommand {
    /// Verify a receipt or a bundle offline, with keys you keep.
    Verify(ReceiptArgs),
    /// Write the decisions of a time, an agent, a run or a rule to one file that proves them, and that none is missing.
    Export(ExportArgs),
    /// Show the policy documents in force, or publish one.
    Policy(OversightPolicyArgs),
    /// List requests, newest first.
    List(OversightListArgs),
    /// Show one request and everything that happened to it.
    Show {
        /// The request.
        request: String,
    },
    /// List standing grants, or take one back.
    Grants {
        /// The grant to take back.
        #[arg(long, value_name = "GRANT")]
        revoke: Option<String>,
    },
    /// Ask a human a question, as the agent whose sandbox or key this is, and print the answer.
    Ask(OversightAskArgs),
    /// Hand in a mail that answers one of ours, from standard input: for a mail server, whose exit codes it keeps to (sysexits.h).
    ///
    /// The mail becomes a comment on its request and decides nothing. 0: kept, or written by a program and left alone; 65: it cannot be
    /// kept; 67: it answers no mail of ours; 77: not from whom that mail went to; 75: try again later.
    Mail(OversightMailArgs),
    /// Print the receipt of a decided request.
    Receipt {
        /// The request.
        request: String,
    },
    /// Suspend an agent and take back its requests, approvals, standing grants and runs.
    Kill {
        /// The agent's name.
        agent: String,
        /// Why.
        #[arg(long, value_name = "T")]
        reason: String,
    },
}

/// `creto oversight list`.
#[derive(Debug, Args)]
pub(crate) struct OversightListArgs {
    /// Only in this state, such as `pending`, `approved` or `denied`.
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Only of this run.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Only those whose broken glass waits for somebody else to look at it.
    #[arg(long)]
    pub(crate) review: bool,
    /// Only what is older than this request.
    #[arg(long, value_name = "REQUEST")]
    pub(crate) before: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
}

/// `creto oversight mail`.
#[derive(Debug, Args)]
pub(crate) struct OversightMailArgs {
    /// The server, such as http://127.0.0.1:8340; without it, over the owner's socket.
    #[arg(long, env = "CRETO_URL", value_name = "U")]
    pub(crate) url: Option<String>,
    /// A file with the key to show there, from `creto key create --role mail`; `CRETO_TOKEN` when absent.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) token_file: Option<PathBuf>,
}

/// `creto oversight ask`.
#[derive(Debug, Args)]
pub(crate) struct OversightAskArgs {
    /// The question; `-` reads standard input.
    pub(crate) question: String,
    /// A named answer to choose from, beside free words; may be repeated.
    #[arg(long = "option", value_name = "NAME")]
    pub(crate) options: Vec<String>,
    /// How long the question waits for a human, such as 90s, 10m or 2h.
    #[arg(long, value_name = "D", default_value = "1h")]
    pub(crate) timeout: String,
    /// The run and the call within it: asked again under the same names, it is the same question.
    #[arg(long, value_names = ["RUN", "CALL"], num_args = 2)]
    pub(crate) call: Vec<String>,
    #[command(flatten)]
    pub(crate) reach: super::agent::Reach,
}

/// `creto oversight verify`.
#[derive(Debug, Args)]
pub(crate) struct ReceiptArgs {
    /// The file: a receipt, or a bundle.
    pub(crate) file: PathBuf,
    /// The keys to trust, from `/v1/audit/keys`, kept from an earlier day.
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
}

/// `creto oversight export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where the bundle is written.
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// From when, such as 2026-11-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Until before when.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only of this agent.
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<String>,
    /// Only of this run.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Only what this rule asked for.
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Option<String>,
}

/// `creto oversight policy`.
#[derive(Debug, Args)]
pub(crate) struct OversightPolicyArgs {
    /// The rule to publish a document for.
    #[arg(requires = "file")]
    pub(crate) rule: Option<String>,
    /// The document, as JSON.
    pub(crate) file: Option<PathBuf>,
    /// Say what it would have asked of past requests, and publish nothing.
    #[arg(long, requires = "rule")]
    pub(crate) rehearse: bool,
}
