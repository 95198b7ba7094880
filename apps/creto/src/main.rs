//! `creto`: governed runs of any command, and the server behind them.
//!
//! Read on in `cli` (what can be typed), `wiring` (which adapters stand behind which port), `server` (what listens) and
//! `commands` (what each command does).

mod cli;
mod client;
mod commands;
mod config;
mod failure;
mod runs;
mod server;
mod staged;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;

/// A batch of events is made on one thread and freed on another, which glibc's allocator does slowly (docs/decisions/ADR-034-mimalloc.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("CRETO_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::start(format!("the asynchronous runtime does not start: {error}")).report(cli.json),
    };
    let json = cli.json;
    let code = match runtime.block_on(commands::dispatch(cli)) {
        Ok(code) => code,
        Err(failure) => failure.report(json),
    };
    // A read of our standard input may still be waiting; it must not hold up the end.
    runtime.shutdown_background();
    code
}
