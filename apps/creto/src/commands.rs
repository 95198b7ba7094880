//! What each command does. Those that need a server are clients of its HTTP API; those that need none never open the data directory.

mod accounts;
mod agents;
mod alerts;
mod answer;
mod audit;
mod billing;
mod completions;
mod decide;
mod doctor;
mod doubts;
mod erase;
mod export;
mod inbox;
mod ingest;
mod keys;
mod memory;
mod metering;
mod msg;
mod over_time;
mod oversight;
mod own_keys;
mod past;
mod policy;
mod quarantine;
mod quota;
mod remote;
mod retention;
mod run;
mod runs;
mod serve;
mod webhooks;

use std::process::ExitCode;

use crate::cli::admin::{AgentCommand, BudgetCommand, MeterCommand};
use crate::cli::govern::{AuditCommand, OversightCommand};
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
    let Cli { data, json, act_as, command } = cli;
    match command {
        Command::Serve(args) => {
            let mut config = Config::load(data, args.listen, args.config.as_deref())?;
            config.file.public_url = args.public_url.or(config.file.public_url);
            config.file.test_mode |= args.test_mode;
            serve::serve(config).await
        }
        Command::Doctor(args) => doctor::doctor(Config::load(data, args.listen, args.config.as_deref())?, json).await,
        Command::Completions { shell } => completions::completions(shell),
        Command::Msg(args) => msg::msg(args, json).await,
        Command::Memory(args) => memory::memory(args, json).await,
        Command::Agent(AgentCommand::Key(args)) => own_keys::own_keys(data, act_as, args, json).await,
        Command::Meter(MeterCommand::Track(args)) => metering::track(args, json).await,
        Command::Oversight(OversightCommand::Verify(args)) => oversight::verify(&args, json),
        Command::Oversight(OversightCommand::Ask(args)) => oversight::ask(args, json).await,
        Command::Oversight(OversightCommand::Mail(args)) => Ok(oversight::mail(Config::load(data, None, None), args, json).await),
        Command::Meter(MeterCommand::Ingest(args)) => ingest::ingest(args, json).await,
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(&Config::load(data, None, None)?, args, json).await,
        command => {
            let client = Client::open(Config::load(data, None, None)?, act_as).await?;
            let session = Session { client, json };
            let done = with_server(&session, command).await;
            let closed = session.client.close().await;
            // The command's own failure says more than one of closing.
            let code = done?;
            closed?;
            Ok(code)
        }
    }
}

async fn with_server(session: &Session, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => run::run(session, args).await,
        Command::Runs(args) => runs::runs(session, args).await,
        Command::Inbox { watch: false, before: None } if !session.json && inbox::is_watched() => inbox::open(session).await,
        Command::Inbox { watch, before } => decide::inbox(session, watch, before.as_deref()).await,
        Command::Approve(args) => decide::approve(session, args).await,
        Command::Deny(args) => decide::deny(session, args).await,
        Command::Doubts => doubts::doubts(session).await,
        Command::Resolve(args) => doubts::resolve(session, args).await,
        Command::Erase(args) => erase::erase(session, args).await,
        Command::Oversight(command) => oversight::oversight(session, command).await,
        Command::Usage(args) if args.is_over_time() => over_time::over_time(session, args).await,
        Command::Usage(args) => metering::usage(session, args.subscription.as_deref()).await,
        Command::Costs(args) => metering::costs(session, &args).await,
        Command::Budgets => metering::budgets(session).await,
        Command::Budget(BudgetCommand::Set(args)) => metering::set_budget(session, args).await,
        Command::Meter(MeterCommand::Check) => metering::check(session).await,
        Command::Meter(MeterCommand::Preview(args)) => metering::preview(session, &args).await,
        Command::Meter(MeterCommand::Price(args)) => metering::price(session, args).await,
        Command::Meter(MeterCommand::Backfill(args)) => past::backfill(session, args).await,
        Command::Meter(MeterCommand::Rerate(args)) => past::rerate(session, args).await,
        Command::Meter(MeterCommand::Alert(command)) => alerts::alert(session, command).await,
        Command::Meter(MeterCommand::Entitled(args)) => alerts::entitled(session, &args).await,
        Command::Meter(MeterCommand::Export(args)) => export::export(session, args).await,
        Command::Meter(MeterCommand::Quarantine(command)) => quarantine::quarantine(session, command).await,
        Command::Meter(MeterCommand::Retention(command)) => retention::retention(session, command).await,
        Command::Catalog(args) => billing::catalog(session, args).await,
        Command::Invoice(command) => billing::invoice(session, command).await,
        Command::Wallet(command) => billing::wallet(session, command).await,
        Command::Quota(command) => quota::quota(session, command).await,
        Command::Policy(command) => policy::policy(session, command).await,
        Command::Agent(command) => agents::agent(session, command).await,
        Command::Key(command) => keys::key(session, command).await,
        Command::Webhooks(command) => webhooks::webhooks(session, command).await,
        Command::Account(command) => accounts::account(session, command).await,
        Command::Audit(AuditCommand::Show { entry }) => audit::show_entry(session, &entry).await,
        Command::Audit(AuditCommand::Pin) => audit::pin(session).await,
        Command::Audit(AuditCommand::Rotate) => audit::rotate(session).await,
        Command::Serve(_)
        | Command::Doctor(_)
        | Command::Completions { .. }
        | Command::Msg(_)
        | Command::Memory(_)
        | Command::Meter(MeterCommand::Track(_) | MeterCommand::Ingest(_))
        | Command::Audit(AuditCommand::Verify(_)) => Err(Failure::protocol("this command needs no server")),
    }
}
