//! `creto serve`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::failure::Failure;
use crate::server::Server;

/// Where HTTP is served when neither flag nor file says.
pub(super) const LISTEN_DEFAULT: ([u8; 4], u16) = ([127, 0, 0, 1], 8340);

/// Serves until it is told to stop by SIGINT or SIGTERM.
pub(crate) async fn serve(mut config: Config) -> Result<ExitCode, Failure> {
    config.listen.get_or_insert_with(|| LISTEN_DEFAULT.into());
    let unusable = |e: std::io::Error| Failure::start(format!("signals cannot be received: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(unusable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unusable)?;
    let server = Server::start(&config).await?;
    if let Some(address) = server.address {
        println!("ready on http://{address}");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.stop().await?;
    Ok(ExitCode::SUCCESS)
}
