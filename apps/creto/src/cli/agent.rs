//! What can be typed where an agent works: messages and memory.

use clap::{Args, Subcommand};

/// How an agent reaches the server.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// The server, such as http://127.0.0.1:8340; not needed inside a sandbox.
    #[arg(long, global = true, env = "CRETO_URL", value_name = "U")]
    pub(crate) url: Option<String>,
    /// The agent's key; not needed inside a sandbox.
    #[arg(long, global = true, env = "CRETO_TOKEN", value_name = "T", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Sign each request with this key of the agent's own, instead of a token (see `creto agent key`).
    #[arg(long, global = true, env = "CRETO_OWN_KEY", value_name = "NAME", conflicts_with = "token")]
    pub(crate) own_key: Option<String>,
    #[command(flatten)]
    pub(crate) keys: super::own_keys::KeyStore,
}

/// `creto msg`.
#[derive(Debug, Args)]
pub(crate) struct MsgArgs {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(subcommand)]
    pub(crate) command: MsgCommand,
}

/// What to do with messages.
#[derive(Debug, Subcommand)]
pub(crate) enum MsgCommand {
    /// Send a message that only the recipient can read.
    Send {
        /// The agent it is for.
        #[arg(long, value_name = "NAME")]
        to: String,
        /// The text; `-` reads standard input.
        #[arg(default_value = "-")]
        text: String,
        /// How long it may wait to be fetched, such as 1h or 7d.
        #[arg(long, value_name = "D", default_value = "7d")]
        expires: String,
        /// Longest wait where policy asks a human.
        #[arg(long, value_name = "D", default_value = "10m")]
        wait: String,
        /// Why, in the words of your policy: small letters, digits, `_`, `.` and `-`.
        #[arg(long, value_name = "WORD", default_value = "message")]
        purpose: String,
        /// Open a new session first: for a peer that lost its state.
        #[arg(long)]
        fresh: bool,
    },
    /// Fetch, open and print what waits.
    Receive {
        /// Wait this long for a first message.
        #[arg(long, value_name = "D")]
        wait: Option<String>,
        /// Drop messages that cannot be opened, instead of keeping them at the server.
        #[arg(long)]
        discard: bool,
    },
    /// Publish fresh keys, so that others can write to this agent; sending and receiving do it when it is needed.
    #[command(alias = "init")]
    Publish,
}

/// `creto memory`.
#[derive(Debug, Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(subcommand)]
    pub(crate) command: MemoryCommand,
}

/// What to do with memory.
#[derive(Debug, Subcommand)]
pub(crate) enum MemoryCommand {
    /// Remember something.
    Put {
        /// The text; `-` reads standard input.
        text: String,
        /// Where it comes from, such as `observation` or `tool:search`.
        #[arg(long, value_name = "S", default_value = "observation")]
        source: String,
        /// The digest of the action it is a reason of, for whoever is asked to approve it.
        #[arg(long, value_name = "DIGEST")]
        action: Option<String>,
        /// The item it corrects.
        #[arg(long, value_name = "ID")]
        supersedes: Option<String>,
    },
    /// Find items that have every word.
    Search {
        /// The words.
        #[arg(required = true)]
        words: Vec<String>,
        /// Most items.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Read one item.
    Get {
        /// Which.
        id: String,
        /// Print the text exactly as it was written, and nothing else.
        #[arg(long)]
        raw: bool,
    },
    /// Erase an item's text.
    Forget {
        /// Which.
        id: String,
    },
}
