//! With its modules the only file that names concrete adapters: which engine, which runtime, which clock stands behind which port.

mod channels;
mod payments;

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use creto_audit::{DirSource, LogReader, Sequencer, Trust, TrustedKeys};
use creto_authz::Authorizer;
use creto_config::RateEntry;
use creto_crypto::{AlgorithmPolicy, KeyRing, MasterKey};
use creto_db::{Db, Dispatcher, MigrationSet};
use creto_enablement_common::gate::ServerId;
use creto_enablement_common::outbound::{Outbound, OutboundOptions};
use creto_enablement_common::webhook::{self, WebhookOptions, Webhooks};
use creto_enablement_common::{Gate, GateOptions, LogHealth, PublicUrl};
use creto_kernel::{Clock, ErrorCode, NhiId, NhiKind, SystemClock, TenantId, Timestamp};
use creto_memory::Memory;
use creto_messaging::Messaging;
use creto_metering::core::gcra::Rate;
use creto_metering::lago::{HookEndpoints, Hooks, Lago, SigningKeys};
use creto_metering::payments::{self as payment_tasks, Payments, PaymentsOptions};
use creto_metering::{
    Accounts, AlertOptions, Alerts, Billing, Budgets, Catalog, Meter, Pools, QuotaEnforcer, QuotaOptions, RateLimits, RedisPools, Wallets,
};
use creto_nhi::{Authority, Credentials, DelegationChain, NhiError, Role, Status, VerifiedChain};
use creto_oversight::humanlayer::HumanLayer;
use creto_oversight::{Actions, Channels, ChannelsOptions, DatabaseClock, Desk, People};
use creto_runtime::container::runsc::RunscOptions;
use creto_runtime::container::selection::{self, Isolation};
use creto_runtime::core::pool::PoolTarget;
use creto_runtime::egress::{EgressLimits, SystemResolver};
use creto_runtime::pool::WarmPool;
use creto_runtime::{Runtime, RuntimeError, RuntimeOptions};
use tokio::sync::watch;

use crate::config::Config;
use crate::failure::Failure;
use crate::server::oidc::Provider;
use crate::staged::Staged;

/// How many actions each agent is admitted to in a second, and at once.
const ACTIONS_PER_SECOND: u32 = 200;
const ACTIONS_BURST: u32 = 2_000;
/// Another process owns the data directory.
pub(crate) const ALREADY_OWNED: ErrorCode = ErrorCode::new("app.already_owned");
/// The identity the server itself acts under.
const SERVER_NAME: &str = "creto";
/// Beside the log: whose signatures on it to trust.
pub(crate) const LOG_KEYS: &str = "log-keys.json";
/// How long a stop waits for leases of quotas to be given back.
const GIVE_BACK_TIME: Duration = Duration::from_secs(5);
/// How long the operator key of the data directory lives; a start after its end makes a new one.
const ADMIN_KEY_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Every service of one server, over one data directory.
pub(crate) struct House {
    pub(crate) data: PathBuf,
    /// How long an open payment is not looked at.
    pub(crate) payments_every: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenant: TenantId,
    pub(crate) server: NhiId,
    pub(crate) human: NhiId,
    pub(crate) db: Db,
    pub(crate) authority: Authority,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) authz: Arc<Authorizer>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) meter: Meter,
    pub(crate) catalog: Catalog,
    pub(crate) wallets: Wallets,
    pub(crate) billing: Billing,
    pub(crate) alerts: Alerts,
    pub(crate) payments: Payments,
    pub(crate) quotas: QuotaEnforcer,
    pub(crate) budgets: Budgets,
    pub(crate) lago: Lago,
    pub(crate) lago_hooks: HookEndpoints,
    /// What deadlines are decided by.
    pub(crate) deadlines: DatabaseClock,
    pub(crate) desk: Desk,
    pub(crate) humanlayer: HumanLayer,
    pub(crate) actions: Actions,
    pub(crate) messaging: Messaging,
    pub(crate) memory: Memory,
    pub(crate) webhooks: Webhooks,
    pub(crate) public: PublicUrl,
    pub(crate) channels: Channels,
    pub(crate) oidc: Option<Provider>,
    pub(crate) sequencer: Arc<Sequencer>,
    pub(crate) log: LogReader,
    pub(crate) log_files: DirSource,
    /// Whose signatures on the log are accepted.
    pub(crate) trusted: Trust,
    ring: Arc<KeyRing>,
    sandboxes: Sandboxes,
    _owner: File,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("data", &self.data).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Lag(Arc<Sequencer>);

impl LogHealth for Lag {
    fn lag(&self) -> u64 {
        self.0.lag()
    }
}

/// All tables, in the order their crates depend on each other.
fn migrations() -> Vec<MigrationSet> {
    vec![
        creto_consensus::MIGRATIONS,
        creto_nhi::MIGRATIONS,
        creto_nhi::PASSKEY_MIGRATIONS,
        creto_authz::MIGRATIONS,
        creto_memory::MIGRATIONS,
        creto_enablement_common::gate::MIGRATIONS,
        creto_enablement_common::webhook::MIGRATIONS,
        creto_metering::MIGRATIONS,
        creto_metering::CATALOG_MIGRATIONS,
        creto_metering::EVENTS_MIGRATIONS,
        creto_metering::DAILY_MIGRATIONS,
        creto_metering::QUARANTINE_MIGRATIONS,
        creto_metering::WALLET_MIGRATIONS,
        creto_metering::BILLING_MIGRATIONS,
        creto_metering::PAYMENT_MIGRATIONS,
        creto_metering::QUOTA_MIGRATIONS,
        creto_metering::ALERT_MIGRATIONS,
        creto_metering::ENTITLEMENT_MIGRATIONS,
        creto_metering::RERATE_MIGRATIONS,
        creto_metering::LAGO_MIGRATIONS,
        creto_oversight::MIGRATIONS,
        creto_oversight::CHANNEL_MIGRATIONS,
        creto_oversight::humanlayer::MIGRATIONS,
        creto_oversight::MODE_MIGRATIONS,
        creto_messaging::MIGRATIONS,
    ]
}

impl House {
    /// Opens a data directory, making it on first use; it has one owner at a time.
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        let data = make_dir(&config.data)?;
        let owner = own(&data)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let db = match &config.file.postgres {
            None => Db::open_sqlite(&data.join("creto.db"), &migrations())?,
            Some(url) => Db::open_postgres(url, &migrations()).await?,
        };
        let kept = config.file.keys_dir.as_ref().unwrap_or(&data);
        let master = match MasterKey::from_env()? {
            Some(master) => master,
            None => MasterKey::load_or_create(&kept.join("master.key"))?,
        };
        let ring = Arc::new(KeyRing::open(&kept.join("keys"), master, AlgorithmPolicy::default(), &*clock)?);
        let (tenant, name) = (config.file.tenant.clone(), local_name());
        let server =
            NhiId::new(&config.file.trust_domain, &tenant, NhiKind::Service, SERVER_NAME).map_err(|e| Failure::start(e.to_string()))?;
        // Before anything else is committed: an installation is one for tests from its first commit or never.
        let test_mode = creto_oversight::test_mode::settle(&db, &server, clock.now(), config.file.test_mode).await?;
        if test_mode {
            tracing::warn!("this installation is for tests: what is decided here binds nobody");
        }
        let authority = Authority::new(db.clone(), Arc::clone(&ring), Arc::clone(&clock), &config.file.trust_domain).await?;
        let credentials = Arc::new(Credentials::new(authority.clone()));
        let human = NhiId::new(&config.file.trust_domain, &tenant, NhiKind::Human, &name).map_err(|e| Failure::start(e.to_string()))?;
        let sequencer = Arc::new(Sequencer::start(db.clone(), &ring, &data.join("log"), Arc::clone(&clock))?);
        write_private(&data.join(LOG_KEYS), &sequencer.trust().now().to_json()?)?;
        let epochs = authority.clone();
        let authz = Arc::new(Authorizer::start(db.clone(), Arc::new(move || epochs.revocation_epoch()), Arc::clone(&clock)).await?);
        let accounts = Accounts::new(db.clone());
        let deadlines = DatabaseClock::start(db.clone()).await?;
        let desk = Desk::new(db.clone(), Arc::new(deadlines.clone()), server.clone()).with_people(Arc::new(Active(authority.clone())));
        let desk = desk.in_test_mode(test_mode);
        let limits = rate_limits(&config.file.rates)?;
        let pools = pools(config, &clock)?;
        let options = QuotaOptions { db: db.clone(), clock: Arc::clone(&clock), server: server.clone(), pools };
        let quotas = QuotaEnforcer::start(options).await?;
        let gate = Gate::new(GateOptions {
            authority: authority.clone(),
            authz: Arc::clone(&authz),
            extensions: vec![Arc::new(limits), Arc::new(quotas.clone())],
            ledger: Arc::new(accounts.clone()),
            approvals: Arc::new(desk.clone()),
            log: Arc::new(Lag(Arc::clone(&sequencer))),
            db: db.clone(),
            clock: Arc::clone(&clock),
        });
        let gate = Arc::new(gate.of_server(server_id(&data)?));
        let outbound = Outbound::new(OutboundOptions {
            allow: config.file.outbound_allow.clone(),
            authorities: config.file.outbound_authorities.clone(),
        });
        let oidc = config.file.oidc.clone().map(|file| Provider::new(file, secret_of("CRETO_OIDC_CLIENT_SECRET"), outbound.clone()));
        let public = PublicUrl::new(config.file.public_url.as_deref());
        let provider = payments::configured(&config.file, &outbound, &clock)?;
        let mut catalog = Catalog::new(db.clone(), Arc::clone(&clock));
        if provider.is_some() {
            catalog = catalog.collected_for(tenant.clone());
        }
        let wallets = Wallets::new(db.clone(), Arc::clone(&clock), catalog.clone());
        let meter = Meter::new(db.clone(), Arc::clone(&gate), accounts, Arc::clone(&clock)).with_quotas(quotas.clone());
        let billing = Billing::new(db.clone(), Arc::clone(&clock), catalog.clone(), wallets.clone(), Arc::new(meter.clone()));
        let alerts = Alerts::new(AlertOptions {
            db: db.clone(),
            clock: Arc::clone(&clock),
            server: server.clone(),
            meter: meter.clone(),
            billing: billing.clone(),
        });
        let payments = Payments::new(PaymentsOptions {
            db: db.clone(),
            clock: Arc::clone(&clock),
            billing: billing.clone(),
            by: server.clone(),
            provider,
        });
        let lago = Lago::new(meter.clone(), payments.clone(), alerts.clone(), public.clone());
        let hook_keys = SigningKeys::new(db.clone(), Arc::clone(&clock), Arc::clone(&ring), public.clone());
        let webhooks = Webhooks::new(WebhookOptions {
            db: db.clone(),
            clock: Arc::clone(&clock),
            ring: Arc::clone(&ring),
            outbound: outbound.clone(),
            formats: vec![Arc::new(Hooks::new(lago.clone(), hook_keys.clone()))],
        });
        let channels = Channels::new(ChannelsOptions {
            db: db.clone(),
            clock: Arc::clone(&clock),
            desk: desk.clone(),
            credentials: Arc::clone(&credentials),
            public: public.clone(),
            webhooks: webhooks.clone(),
            tenant: tenant.clone(),
            channels: channels::configured(&config.file, &outbound)?,
        });
        let sandboxes = Sandboxes::open(config, &data, &gate);
        let log_files = DirSource::new(&data.join("log"));
        let house = Self {
            lago_hooks: HookEndpoints::new(webhooks.clone(), hook_keys),
            lago,
            billing,
            alerts,
            payments,
            budgets: Budgets::new(Arc::clone(&gate), Arc::clone(&clock)),
            quotas,
            wallets,
            catalog,
            meter,
            actions: Actions::new(Arc::clone(&gate)),
            humanlayer: HumanLayer::new(db.clone(), desk.clone()),
            messaging: Messaging::new(db.clone(), Arc::clone(&gate), Arc::clone(&clock)),
            memory: Memory::new(db.clone(), Arc::clone(&clock)),
            webhooks,
            public,
            channels,
            oidc,
            log: LogReader::new(Arc::new(log_files.clone()), sequencer.trust(), db.clone()),
            log_files,
            data,
            payments_every: Duration::from_secs(config.file.stripe.as_ref().map_or(0, |stripe| stripe.poll_secs)),
            clock,
            tenant,
            server,
            human,
            db,
            authority,
            credentials,
            authz,
            gate,
            desk,
            deadlines,
            trusted: sequencer.trust(),
            sequencer,
            ring,
            sandboxes,
            _owner: owner,
        };
        house.first_start().await?;
        let doubts = house.gate.mark_in_doubt(&house.server).await?;
        if doubts > 0 {
            tracing::warn!(doubts, "actions were under way when the server stopped; see `creto doubts`");
        }
        Ok(house)
    }

    /// Makes the identities and the operator key that every installation has; does nothing where they exist.
    async fn first_start(&self) -> Result<(), Failure> {
        for identity in [&self.server, &self.human] {
            self.ensure_identity(identity.kind(), identity.name()).await?;
        }
        let path = self.data.join("admin.token");
        let kept = match fs::read_to_string(&path) {
            Ok(token) => self.credentials.authenticate_bearer(token.trim()).await.is_ok_and(|holder| holder.identity == self.human),
            Err(_) => false,
        };
        if !kept {
            let not_after = self.clock.now().saturating_add(ADMIN_KEY_LIFE);
            let issued = self.credentials.issue_api_key(&self.server, &self.human, Role::Operator, None, not_after).await?;
            write_private(&path, issued.token.expose().as_bytes())?;
        }
        Ok(())
    }

    /// Learns what other servers of the same database changed: identities, revocations, policies. Says whether anything may have ended.
    pub(crate) async fn follow(&self) -> Result<bool, Failure> {
        self.authz.refresh().await?;
        Ok(self.authority.follow().await?)
    }

    /// Replaces the keys that sign the log, and the file beside it that says whom to trust.
    pub(crate) fn rotate_log_keys(&self) -> Result<TrustedKeys, Failure> {
        let trusted = self.sequencer.rotate(&self.ring, self.now())?;
        write_private(&self.data.join(LOG_KEYS), &trusted.to_json()?)?;
        Ok(trusted)
    }

    /// The identity of this name in the local tenant, made if there is none.
    pub(crate) async fn ensure_identity(&self, kind: NhiKind, name: &str) -> Result<NhiId, Failure> {
        let id = NhiId::new(self.authority.trust_domain(), &self.tenant, kind, name)
            .map_err(|e| Failure::usage(e.to_string(), "names use letters, digits, `.`, `-` and `_`"))?;
        if self.authority.identity(&id).is_err() {
            self.authority.create_identity(&self.server, &self.tenant, kind, name).await?;
        }
        Ok(id)
    }

    /// A chain that `caller` sent, verified. A chain token is no credential: it says what may be done for whoever proves to be
    /// its agent, so another tenant's is refused however well it verifies.
    pub(crate) fn verify_own(&self, caller: &NhiId, links: &DelegationChain) -> Result<VerifiedChain, NhiError> {
        let verified = self.authority.verify(links, self.now())?;
        if verified.tenant() == caller.tenant() { Ok(verified) } else { Err(NhiError::OtherTenant(caller.clone())) }
    }

    /// Delivers what commits left to be told, until `stop` changes.
    pub(crate) async fn deliver(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let dispatcher = Dispatcher::new(self.db.clone(), Arc::clone(&self.clock))
            .on(webhook::TOPIC, self.webhooks.clone())
            .on(creto_oversight::model::notice::TOPIC, self.channels.clone());
        // By itself: a payment provider that is slow keeps nobody waiting who is to be told something.
        let mut collecting = Dispatcher::new(self.db.clone(), Arc::clone(&self.clock));
        if self.payments.are_collected() {
            collecting = collecting.on(payment_tasks::TOPIC, self.payments.clone());
        }
        tokio::join!(dispatcher.run(stop.clone()), collecting.run(stop.clone()), self.webhooks.clone().run(stop));
    }

    /// Closes: sandboxes first, then the log.
    pub(crate) async fn close(&self) -> Result<(), Failure> {
        if let Ok((_, pool)) = &*self.sandboxes.ready().await {
            pool.drain().await;
        }
        if let Err(error) = self.gate.leave().await {
            // Its lease runs out by itself.
            tracing::warn!(%error, "other servers are not told of this one's end");
        }
        // What is not given back in time stays counted.
        match tokio::time::timeout(GIVE_BACK_TIME, self.quotas.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "leases of quotas are not given back"),
            Err(_) => tracing::warn!("not all leases of quotas are given back"),
        }
        Ok(self.sequencer.flush().await?)
    }

    /// What starts sandboxes; waits for the first look at this machine, which starts one.
    pub(crate) async fn runtime(&self) -> Result<Runtime, String> {
        self.sandboxes.ready().await.as_ref().as_ref().map(|(runtime, _)| runtime.clone()).map_err(ToString::to_string)
    }

    /// Whether sandboxes can be started; `None` while that is still being looked at.
    pub(crate) fn has_runtime(&self) -> Option<bool> {
        self.sandboxes.0.borrow().as_ref().map(|opened| opened.is_ok())
    }

    /// The moment now.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Who may act, as the authority has it in memory. Somebody it does not know came in by another door and is not its to stop.
#[derive(Debug)]
struct Active(Authority);

impl People for Active {
    fn is_active(&self, person: &NhiId) -> bool {
        self.0.identity(person).map_or(true, |identity| identity.status == Status::Active)
    }
}

/// The runtime, once it is known what this machine can do. Finding out starts a sandbox, so the server does not wait for it.
struct Sandboxes(watch::Receiver<Option<Arc<Opened>>>);

type Opened = Result<(Runtime, WarmPool), RuntimeError>;

impl Sandboxes {
    fn open(config: &Config, data: &Path, gate: &Arc<Gate>) -> Self {
        let (opened, opening) = watch::channel(None);
        let (config, data, gate) = (config.clone(), data.to_owned(), Arc::clone(gate));
        tokio::spawn(async move { opened.send_replace(Some(Arc::new(open_runtime(&config, &data, &gate).await))) });
        Self(opening)
    }

    async fn ready(&self) -> Arc<Opened> {
        let mut opening = self.0.clone();
        match opening.wait_for(Option::is_some).await.map(|opened| opened.clone()) {
            Ok(Some(opened)) => opened,
            _ => Arc::new(Err(RuntimeError::StartFailed("looking for a runtime was given up".to_owned()))),
        }
    }
}

async fn open_runtime(config: &Config, data: &Path, gate: &Arc<Gate>) -> Result<(Runtime, WarmPool), RuntimeError> {
    let options = RunscOptions {
        binary: config.file.runsc.clone(),
        tools_dir: config.file.tools_dir.clone(),
        state_dir: data.join("run"),
        program: std::env::current_exe().ok(),
    };
    let container = selection::open(Isolation::Gvisor, options).await?;
    let warm = config.file.warm_sandboxes;
    let pool = WarmPool::start(Arc::clone(&container), PoolTarget { warm, starting_max: warm.min(1) });
    let runtime = Runtime::new(RuntimeOptions {
        gate: Arc::clone(gate),
        pool: pool.clone(),
        container,
        resolver: Arc::new(SystemResolver),
        egress: EgressLimits::default(),
        server_socket: Some(data.join("internal.sock")),
    });
    Ok((runtime, pool))
}

/// A secret of the environment, where it is set and not empty.
pub(crate) fn secret_of(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The local human's name: the account's, as far as it fits an identity.
fn local_name() -> String {
    let account = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let fits: String = account.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(64).collect();
    if fits.is_empty() { "owner".to_owned() } else { fits }
}

fn make_dir(path: &Path) -> Result<PathBuf, Failure> {
    let refused = |e: std::io::Error| {
        Failure::new(
            ErrorCode::new("app.data_dir"),
            format!("the data directory `{}` cannot be used: {e}", path.display()),
            Some("name another with `--data DIR`, or make this one writable for you"),
        )
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refused)?;
    path.canonicalize().map_err(refused)
}

/// Takes the directory; the lock goes with the process, however it ends.
fn own(data: &Path) -> Result<File, Failure> {
    let path = data.join("lock");
    let unusable = |e: &dyn std::fmt::Display| {
        Failure::new(
            ErrorCode::new("app.data_dir"),
            format!("the lock `{}` cannot be used: {e}", path.display()),
            Some("make the data directory writable for you"),
        )
    };
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(|e| unusable(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            ALREADY_OWNED,
            format!("another server owns `{}`", data.display()),
            Some("stop it, or name another directory with `--data DIR`"),
        )),
        Err(TryLockError::Error(e)) => Err(unusable(&e)),
    }
}

/// What servers share leases of quotas through. One server by itself needs nothing.
fn pools(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Arc<dyn Pools>>, Failure> {
    let Some(url) = secret_of("CRETO_REDIS_URL").or_else(|| config.file.redis.clone()) else { return Ok(None) };
    if config.file.postgres.is_none() {
        return Err(Failure::usage(
            "`redis` is named and `postgres` is not",
            "Redis shares leases between servers of one PostgreSQL; a server with its own file needs none",
        ));
    }
    let pools = RedisPools::new(&url, Arc::clone(clock)).map_err(|e| Failure::usage(e.to_string(), "write `redis://HOST:PORT`"))?;
    Ok(Some(Arc::new(pools)))
}

/// The rates of the configuration over the built-in one.
fn rate_limits(entries: &[RateEntry]) -> Result<RateLimits, Failure> {
    let read = |per_second, burst| {
        Rate::new(per_second, burst).ok_or_else(|| {
            let problem = format!("{per_second} actions a second, {burst} at once, is no rate");
            Failure::usage(problem, "name at least one of each, and no burst that takes over an hour to come back")
        })
    };
    let everybodys = entries.iter().rfind(|entry| entry.tenant.is_none() && entry.agent.is_none());
    let (per_second, burst) = everybodys.map_or((ACTIONS_PER_SECOND, ACTIONS_BURST), |entry| (entry.per_second, entry.burst));
    let mut limits = RateLimits::new(read(per_second, burst)?);
    for entry in entries {
        let rate = read(entry.per_second, entry.burst)?;
        limits = match (&entry.agent, &entry.tenant) {
            (Some(agent), None) => limits.agent(agent.clone(), rate),
            (None, Some(tenant)) => limits.tenant(tenant.clone(), rate),
            (None, None) => limits,
            (Some(_), Some(_)) => {
                return Err(Failure::usage("a rate names a tenant and an agent", "leave the tenant out: the agent's name says it"));
            }
        };
    }
    Ok(limits)
}

/// The name under which this directory's server opens intents, kept between its starts.
fn server_id(data: &Path) -> Result<ServerId, Failure> {
    let path = data.join("server.id");
    let unusable = |problem: String| {
        Failure::new(
            ErrorCode::new("app.data_dir"),
            format!("the server's name in `{}` cannot be used: {problem}", path.display()),
            Some("restore the file from a backup, or delete it: what the server left without outcome is marked once its lease is over"),
        )
    };
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| unusable("it is no server's name".to_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let id = ServerId::generate();
            write_private(&path, id.to_string().as_bytes())?;
            Ok(id)
        }
        Err(e) => Err(unusable(e.to_string())),
    }
}

/// Writes a file that only we may read: whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    Staged::write_private(path, bytes).map_err(|e| {
        Failure::new(
            ErrorCode::new("app.data_dir"),
            format!("`{}` cannot be written: {e}", path.display()),
            Some("free some space, and make the data directory writable for you"),
        )
    })
}
