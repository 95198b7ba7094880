//! What can be typed about keys of one's own.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::agent::Reach;

/// Where keys of one's own are kept.
#[derive(Debug, Args)]
pub(crate) struct KeyStore {
    /// The folder of the keys, sealed and readable by you alone [default: ~/.local/share/creto-keys].
    #[arg(long, global = true, env = "CRETO_KEYS", value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,
    /// The chain that `--own-key` signs under; the one it was registered with when absent.
    #[arg(long, global = true, env = "CRETO_OWN_CHAIN", value_name = "T")]
    pub(crate) own_chain: Option<String>,
}

/// `creto agent key`.
#[derive(Debug, Args)]
pub(crate) struct OwnKeyArgs {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(subcommand)]
    pub(crate) command: OwnKeyCommand,
}

/// What to do with keys of one's own. Without `--url`, the data directory's server is asked, as its owner.
#[derive(Debug, Subcommand)]
pub(crate) enum OwnKeyCommand {
    /// Make a key in this folder; nobody else learns its private half.
    Create {
        /// A name for it, here.
        name: String,
    },
    /// Register a key for whoever the present credential stands for; from then on only it signs for them.
    Register {
        /// The key.
        name: String,
        /// Make another key in its place first.
        #[arg(long)]
        rotate: bool,
    },
    /// List the keys that are registered.
    List {
        /// Of this agent; yours when absent.
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
    },
    /// End a key: nothing it ever signed counts any more.
    Revoke {
        /// Its identifier, from `creto agent key list`.
        key: String,
        /// Of this agent; yours when absent.
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
    },
    /// Hand authority to an agent by a link that your own key signs, and print the chain token.
    Delegate(OwnDelegateArgs),
    /// Print the header lines that sign one request, for any HTTP client: `curl -H @- …`.
    Headers {
        /// The key.
        name: String,
        /// The method.
        method: String,
        /// The whole URL, as the client will send it.
        target: String,
        /// A file with the body; `-` reads standard input; no body when absent.
        #[arg(long, value_name = "FILE")]
        body: Option<PathBuf>,
    },
}

/// `creto agent key delegate`.
#[derive(Debug, Args)]
pub(crate) struct OwnDelegateArgs {
    /// Your key.
    pub(crate) name: String,
    /// The agent, which exists.
    #[arg(long, value_name = "AGENT")]
    pub(crate) to: String,
    /// Most it and everybody below it may spend, such as 10.00.
    #[arg(long, value_name = "A")]
    pub(crate) budget: Option<String>,
    /// An action it may do, `tool.call` or `tool.*`; may be repeated; all of yours when absent.
    #[arg(long = "allow", value_name = "ACTION")]
    pub(crate) actions: Vec<String>,
    /// A resource it may act on, `host:example.com` or `tool:*`; may be repeated; all of yours when absent.
    #[arg(long = "resource", value_name = "R")]
    pub(crate) resources: Vec<String>,
    /// How long it holds, such as 8h or 30d; never longer than your own chain.
    #[arg(long, value_name = "D", default_value = "24h")]
    pub(crate) ttl: String,
    /// How many further links may follow.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) depth: u8,
}
