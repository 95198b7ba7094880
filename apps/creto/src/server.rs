//! What listens: HTTP for everybody, a local socket for the owner, an internal socket for sandboxes.
//!
//! One router serves all three; what differs is how a caller proves who they are ([`auth`]).

mod auth;
mod billing;
mod console;
mod evidence;
mod identity;
mod log;
mod memory;
mod messaging;
mod names;
pub(crate) mod oidc;
mod oversight;
mod own_keys;
mod passkeys;
mod policy;
mod privacy;
mod session;
mod system;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use creto_db::Engine;
use creto_enablement_common::gate::HEARTBEAT;
use creto_enablement_common::http::{Dialect, Endpoints, in_dialect};
use creto_kernel::ErrorCode;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::failure::Failure;
use crate::runs::Runs;
use crate::wiring::House;

use auth::{Auth, Channel};

pub(crate) use auth::RUN_TOKEN;

/// Largest request body of any endpoint.
const BODY_BYTES_MAX: usize = 8 << 20;
/// The owner's socket, in the data directory.
pub(crate) const LOCAL_SOCKET: &str = "creto.sock";
const INTERNAL_SOCKET: &str = "internal.sock";
/// The APIs we are compatible with whose clients read refusals in their own words.
const DIALECTS: &[Dialect] = &[creto_oversight::http::humanlayer::DIALECT, creto_metering::lago::DIALECT];

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where HTTP is served, with the port that was chosen.
    pub(crate) address: Option<SocketAddr>,
    house: Arc<House>,
    runs: Runs,
    stop: watch::Sender<bool>,
    tasks: JoinSet<io::Result<()>>,
    sockets: [PathBuf; 2],
}

/// Every route of a server.
pub(crate) fn endpoints(house: &Arc<House>, runs: &Runs) -> Endpoints {
    Endpoints::new()
        .and(system::endpoints(house))
        .and(session::endpoints(house))
        .and(passkeys::endpoints(house))
        .and(oidc::endpoints(house))
        .and(identity::endpoints(house, runs))
        .and(own_keys::endpoints(house, runs))
        .and(policy::endpoints(house))
        .and(privacy::endpoints(house))
        .and(log::endpoints(house))
        .and(messaging::endpoints(house))
        .and(memory::endpoints(house))
        .and(crate::runs::http::endpoints(runs))
        .and(creto_enablement_common::webhook::http::endpoints(&house.webhooks))
        .and(creto_metering::http::endpoints(&house.meter))
        .and(creto_metering::http::catalog::endpoints(&house.catalog))
        .and(creto_metering::http::wallets::endpoints(&house.wallets))
        .and(creto_metering::http::quotas::endpoints(&house.quotas))
        .and(creto_metering::http::quotas::budget_endpoints(&house.budgets))
        .and(creto_metering::http::billing::endpoints(&house.billing))
        .and(creto_metering::http::features::endpoints(&house.catalog))
        .and(creto_metering::http::alerts::endpoints(&house.alerts))
        .and(creto_metering::http::payments::endpoints(&house.payments))
        .and(creto_metering::http::retention::endpoints(&house.meter, &house.billing))
        .and(creto_oversight::channels::http::endpoints(&house.channels))
        .and(creto_metering::http::preview::endpoints(&house.catalog))
        .and(creto_metering::lago::endpoints(&house.lago))
        .and(creto_metering::lago::hook_endpoints(&house.lago_hooks))
        .and(creto_oversight::http::endpoints(&house.desk, &house.actions))
        .and(oversight::endpoints(house, runs))
        .and(evidence::endpoints(house))
        .and(creto_oversight::http::agents::endpoints(&house.desk))
        .and(creto_oversight::http::humanlayer::endpoints(&house.humanlayer))
}

impl Server {
    /// Opens the house and starts to listen. When it returns, every socket answers.
    pub(crate) async fn start(config: &Config) -> Result<Self, Failure> {
        let names = Arc::new(names::HostNames::new(&config.file, config.listen)?);
        let house = Arc::new(House::open(config).await?);
        let runs = Runs::new(Arc::clone(&house));
        let all = endpoints(&house, &runs);
        let document = all.openapi("creto", env!("CARGO_PKG_VERSION"));
        let router = all.into_router().merge(system::document(document)).merge(console::router());
        let router = router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let guarded = |channel: Channel| {
            let auth = Auth { house: Arc::clone(&house), runs: runs.clone(), names: Arc::clone(&names), channel };
            router.clone().layer(from_fn_with_state(auth, auth::authenticate)).layer(from_fn_with_state(DIALECTS, in_dialect))
        };
        let (deadlines, following) = (house.deadlines.clone(), stopping.clone());
        tasks.spawn(async move {
            deadlines.follow(following).await;
            Ok(())
        });
        let (desk, timers) = (house.desk.clone(), stopping.clone());
        tasks.spawn(async move {
            desk.run_timers(timers).await;
            Ok(())
        });
        let sockets = [house.data.join(LOCAL_SOCKET), house.data.join(INTERNAL_SOCKET)];
        for (path, channel) in sockets.iter().zip([Channel::Local, Channel::Sandbox]) {
            let listener = bind_unix(path)?;
            let serve = axum::serve(listener, guarded(channel).into_make_service_with_connect_info::<auth::Peer>());
            tasks.spawn(serve.with_graceful_shutdown(stopped(stopping.clone())).into_future());
        }
        let delivering = Arc::clone(&house).deliver(stopping.clone());
        tasks.spawn(async move {
            delivering.await;
            Ok(())
        });
        let mut address = None;
        if let Some(wanted) = config.listen {
            let listener = TcpListener::bind(wanted).await.map_err(|e| cannot_listen(wanted, &e))?;
            address = Some(listener.local_addr().map_err(|e| cannot_listen(wanted, &e))?);
            if let Some(bound) = address {
                house.public.listens(bound.port());
            }
            let serve = axum::serve(listener, guarded(Channel::Network).into_make_service());
            tasks.spawn(serve.with_graceful_shutdown(stopped(stopping.clone())).into_future());
        }
        if house.db.engine() == Engine::Postgres {
            tasks.spawn(follow_others(Arc::clone(&house), runs.clone(), stopping.clone()));
        }
        tasks.spawn(billing::bill(Arc::clone(&house), stopping.clone()));
        tasks.spawn(billing::look(Arc::clone(&house), stopping.clone()));
        tasks.spawn(tend_quotas(Arc::clone(&house), stopping.clone()));
        tasks.spawn(look_at_alerts(Arc::clone(&house), stopping.clone()));
        tasks.spawn(heartbeat(Arc::clone(&house), stopping));
        Ok(Self { address, house, runs, stop, tasks, sockets })
    }

    /// The owner's socket.
    pub(crate) fn local_socket(&self) -> &Path {
        let [local, _] = &self.sockets;
        local
    }

    /// Stops: no new requests, runs ended and settled, the log flushed.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.runs.end_all().await;
        self.stop.send_replace(true);
        // A client that never closes its connection does not hold up the stop.
        let _ = tokio::time::timeout(STOP_TIME, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
        for socket in &self.sockets {
            // Gone already is what we want.
            let _ = std::fs::remove_file(socket);
        }
        self.house.close().await
    }
}

const STOP_TIME: std::time::Duration = std::time::Duration::from_secs(5);

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means the server is gone, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// How often a server looks for what others of the same database changed: so long a revocation may take to reach it.
const FOLLOW_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// Learns what other servers decide, and ends the runs that they took the authority from.
async fn follow_others(house: Arc<House>, runs: Runs, stopping: watch::Receiver<bool>) -> io::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
            () = stopped(stopping.clone()) => return Ok(()),
        }
        match house.follow().await {
            Ok(true) => runs.end_fallen().await,
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "what other servers changed cannot be read"),
        }
    }
}

/// How often quotas are looked after: so long a definition may take to reach another server.
const TEND_QUOTAS_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// Looks after quotas: what other servers defined, what nobody uses, what reached a threshold.
async fn tend_quotas(house: Arc<House>, stopping: watch::Receiver<bool>) -> io::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TEND_QUOTAS_EVERY) => {}
            () = stopped(stopping.clone()) => return Ok(()),
        }
        if let Err(error) = house.quotas.tend().await {
            tracing::warn!(%error, "quotas cannot be looked after; they are looked at again");
        }
    }
}

/// How often it is looked for what changed and is watched: so long an alert may take.
const LOOK_AT_ALERTS_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// Tells of thresholds that usage and balances passed. Several servers of one database share what is to be told.
async fn look_at_alerts(house: Arc<House>, stopping: watch::Receiver<bool>) -> io::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AT_ALERTS_EVERY) => {}
            () = stopped(stopping.clone()) => return Ok(()),
        }
        if let Err(error) = house.alerts.look().await {
            tracing::warn!(%error, "alerts cannot be looked at; they are looked at again");
        }
    }
}

/// Says regularly that this server lives, and looks after the intents it opened.
async fn heartbeat(house: Arc<House>, stopping: watch::Receiver<bool>) -> io::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(HEARTBEAT) => {}
            () = stopped(stopping.clone()) => return Ok(()),
        }
        match house.gate.tend(&house.server).await {
            Ok(0) => {}
            Ok(doubts) => tracing::warn!(doubts, "actions were left without an outcome; see `creto doubts`"),
            Err(error) => tracing::error!(%error, "open actions cannot be looked after"),
        }
    }
}

fn cannot_listen(wanted: SocketAddr, error: &io::Error) -> Failure {
    Failure::new(
        ErrorCode::new("app.listen_failed"),
        format!("cannot listen on `{wanted}`: {error}"),
        Some("choose another with `--listen ADDR`; port 0 takes a free one"),
    )
}

/// Binds a socket that only the owner may open. We own the directory's lock, so a socket that is there is a dead one.
fn bind_unix(path: &Path) -> Result<UnixListener, Failure> {
    let refused = |e: io::Error| {
        Failure::new(
            ErrorCode::new("app.listen_failed"),
            format!("cannot listen on `{}`: {e}", path.display()),
            Some("socket paths are at most 107 bytes: choose a shorter `--data DIR`"),
        )
    };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(refused(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(refused)?;
    Ok(listener)
}
