//! What each command does. Every command but `serve` is a client of the server's HTTP API.

mod run;
mod serve;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

/// What a command works with.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) async fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    if let Command::Serve(args) = cli.command {
        return serve::serve(Config::load(cli.data, args.listen, args.config.as_deref())?).await;
    }
    let config = Config::load(cli.data, None, None)?;
    let session = Session { client: Client::open(config, cli.act_as).await?, json: cli.json };
    let done = match cli.command {
        Command::Serve(_) => Ok(ExitCode::SUCCESS),
        Command::Run(args) => run::run(&session, args).await,
    };
    let closed = session.client.close().await;
    // The command's own failure says more than one of closing.
    let code = done?;
    closed?;
    Ok(code)
}
