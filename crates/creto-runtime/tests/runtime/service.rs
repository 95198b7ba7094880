//! Runs through a real Gate: admitted, done, settled, on record. Money and humans are others' matter and absent here.

use std::sync::Arc;
use std::time::Duration;

use creto_authz::Authorizer;
use creto_db::{Db, Step};
use creto_enablement_common::gate::{ActionFilter, ActionState};
use creto_enablement_common::ports::Posting;
use creto_enablement_common::{
    Approvals, Change, Found, Funding, Gate, GateOptions, Ledger, LogHealth, OpenRequest, Refusal, Usage, Verdict,
};
use creto_kernel::id::{AdmissionId, HoldId, RequestId, RunId};
use creto_kernel::{Coded, Digest, Micros, TenantId, Timestamp};
use creto_nhi::VerifiedChain;
use creto_nhi::testkit::World;
use creto_runtime::container::ContainerRuntime;
use creto_runtime::core::pool::PoolTarget;
use creto_runtime::egress::{EgressLimits, SystemResolver};
use creto_runtime::pool::WarmPool;
use creto_runtime::{RunEnd, RunError, RunEvent, RunHandle, RunReport, RunSpec, Runtime, RuntimeOptions};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::host;

type Steps = Vec<Box<dyn Step>>;

/// No budgets, no prices, nobody to ask, and a log that keeps up.
#[derive(Debug)]
struct Nothing;

impl Ledger for Nothing {
    fn hold<'a>(&'a self, _: HoldId, _: &'a VerifiedChain, _: Micros, _: Timestamp) -> BoxFuture<'a, Result<Steps, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn settle<'a>(
        &'a self,
        _: Funding,
        _: &'a VerifiedChain,
        _: AdmissionId,
        usage: &'a [Usage],
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Posting, Refusal>> {
        let cost = if usage.iter().any(|used| used.code.starts_with("runtime.")) { Micros::new(1) } else { Micros::ZERO };
        Box::pin(async move { Ok(Posting { steps: Vec::new(), cost: cost.into() }) })
    }
    fn void(&self, _: &TenantId, _: HoldId, _: Timestamp) -> Steps {
        Vec::new()
    }
    fn available<'a>(&'a self, _: &'a VerifiedChain) -> BoxFuture<'a, Result<Option<Micros>, Refusal>> {
        Box::pin(async { Ok(None) })
    }
    fn price<'a>(&'a self, _: &'a TenantId, _: &'a [Usage]) -> BoxFuture<'a, Result<Micros, Refusal>> {
        Box::pin(async { Ok(Micros::ZERO) })
    }
}

impl Approvals for Nothing {
    fn find<'a>(&'a self, _: &'a TenantId, _: Digest, _: Timestamp) -> BoxFuture<'a, Result<Option<Found>, Refusal>> {
        Box::pin(async { Ok(None) })
    }
    fn open<'a>(&'a self, _: &'a OpenRequest) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
    fn opened(&self) {}
    fn wait<'a>(&'a self, _: &'a TenantId, _: RequestId) -> BoxFuture<'a, Result<Verdict, Refusal>> {
        Box::pin(async { Ok(Verdict::TimedOut) })
    }
    fn consume<'a>(&'a self, _: &'a TenantId, _: RequestId, _: Digest, _: AdmissionId) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
    fn consume_done<'a>(&'a self, _: &'a TenantId, _: RequestId, _: Digest, _: AdmissionId) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
    fn withdraw<'a>(&'a self, _: &'a TenantId, _: RequestId, _: &'a str) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
    fn conclude<'a>(&'a self, _: &'a TenantId, _: RequestId, _: AdmissionId, _: Option<bool>) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
}

impl LogHealth for Nothing {
    fn lag(&self) -> u64 {
        0
    }
}

struct Governed {
    runtime: Runtime,
    gate: Arc<Gate>,
    chain: VerifiedChain,
    tenant: TenantId,
    _world: World,
    folder: tempfile::TempDir,
}

async fn governed() -> Option<Governed> {
    let host = host().await?;
    let sets = [creto_nhi::MIGRATIONS, creto_authz::MIGRATIONS, creto_enablement_common::gate::MIGRATIONS];
    let db = Db::open_sqlite(&host.folder.path().join("creto.db"), &sets).unwrap();
    let world = World::open(db.clone()).await;
    let chain = world.chain("default", None, &["planner", "researcher"]).await;
    let chain = world.authority.verify(&chain, creto_kernel::Clock::now(&*world.clock)).unwrap();
    let authority = world.authority.clone();
    let authz = Authorizer::start(db.clone(), Arc::new(move || authority.revocation_epoch()), world.clock.clone()).await.unwrap();
    let gate = Arc::new(Gate::new(GateOptions {
        authority: world.authority.clone(),
        authz: Arc::new(authz),
        extensions: Vec::new(),
        ledger: Arc::new(Nothing),
        approvals: Arc::new(Nothing),
        log: Arc::new(Nothing),
        db,
        clock: world.clock.clone(),
    }));
    let container: Arc<dyn ContainerRuntime> = Arc::new(host.runtime);
    let runtime = Runtime::new(RuntimeOptions {
        gate: Arc::clone(&gate),
        pool: WarmPool::start(Arc::clone(&container), PoolTarget::NONE),
        container,
        resolver: Arc::new(SystemResolver),
        egress: EgressLimits::default(),
        server_socket: None,
    });
    let tenant = chain.tenant().clone();
    Some(Governed { runtime, gate, chain, tenant, _world: world, folder: host.folder })
}

impl Governed {
    async fn start(&self, change: impl FnOnce(&mut RunSpec), script: &str) -> Result<RunHandle, RunError> {
        let mut spec = RunSpec::new(RunId::generate(), ["sh", "-c", script].map(str::to_owned).to_vec());
        change(&mut spec);
        self.runtime.run(self.chain.clone(), spec).await
    }

    /// Action, resource and state of everything the run did, oldest first.
    async fn record(&self, run: RunId) -> Vec<(String, String, ActionState)> {
        let filter = ActionFilter { run: Some(run), ..ActionFilter::default() };
        let rows = self.gate.actions(&self.tenant, &filter).await.unwrap();
        rows.into_iter().rev().map(|row| (row.action.to_string(), row.resource.to_string(), row.state)).collect()
    }

    fn left(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("sandboxes")).unwrap().count()
    }
}

async fn finish(mut handle: RunHandle) -> (String, RunReport) {
    let mut output = String::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(60), handle.events.recv()).await.unwrap().unwrap() {
            RunEvent::Stdout(bytes) | RunEvent::Stderr(bytes) => output.push_str(&String::from_utf8_lossy(&bytes)),
            RunEvent::Finished(report) => return (output, *report),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_admitted_done_and_settled() {
    let Some(governed) = governed().await else { return };
    let handle = governed.start(|_| {}, "echo hi $CRETO_AGENT_ID; exit 7").await.unwrap();
    let run = handle.run;
    let (output, report) = finish(handle).await;
    assert_eq!(output, "hi spiffe://creto.test/tenant/default/agent/researcher\n");
    assert_eq!((&report.end, report.end.exit_code(), &report.unsettled), (&RunEnd::Code(7), 7, &None));
    assert_eq!(report.cost, Micros::new(1));
    assert_eq!(governed.record(run).await, [("runtime.exec".to_owned(), "sandbox:default".to_owned(), ActionState::Failed)]);
    assert_eq!(governed.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_binds_the_values_of_variables_and_shows_their_names_only() {
    let Some(governed) = governed().await else { return };
    let mut seen = Vec::new();
    for value in ["sesame", "sesame", "another"] {
        let handle = governed.start(|spec| spec.env.set("API_KEY", value).unwrap(), "true").await.unwrap();
        let run = handle.run;
        finish(handle).await;
        let filter = ActionFilter { run: Some(run), ..ActionFilter::default() };
        let row = governed.gate.actions(&governed.tenant, &filter).await.unwrap().remove(0);
        let arguments: serde_json::Value = serde_json::from_str(&row.arguments).unwrap();
        assert_eq!(arguments["env"], serde_json::json!(["API_KEY"]));
        assert!(!row.arguments.contains(value), "{}", row.arguments);
        seen.push((row.digest, arguments["env_digest"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen[0], seen[1], "the same command is the same action");
    assert!(seen[0].0 != seen[2].0 && seen[0].1 != seen[2].1, "another value is another action: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_is_an_action_and_a_refusal_says_what_allows_it() {
    let Some(governed) = governed().await else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let _read = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfine\n").await.unwrap();
        }
    });
    let script = format!("curl -s http://{place}/a; curl -s http://elsewhere.example.com/");
    let handle = governed.start(|spec| spec.allow_hosts = vec![place.parse().unwrap()], &script).await.unwrap();
    let run = handle.run;
    let (output, report) = finish(handle).await;
    assert!(output.starts_with("fine\n") && output.contains("--allow-host elsewhere.example.com"), "{output}");
    let reached: Vec<_> = report.reached.iter().map(|r| (r.destination.as_str(), r.allowed)).collect();
    assert_eq!(reached, [(place.as_str(), true), ("elsewhere.example.com:80", false)]);
    assert_eq!(report.cost, Micros::new(2));
    let record = governed.record(run).await;
    let egress = |host: &str, state| ("runtime.egress".to_owned(), format!("host:{host}"), state);
    assert!(record.contains(&egress(&place, ActionState::Done)), "{record:?}");
    assert!(record.contains(&egress("elsewhere.example.com:80", ActionState::Refused)), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_when_its_time_is_over_or_nobody_wants_it() {
    let Some(governed) = governed().await else { return };
    let late = governed.start(|spec| spec.timeout = Some(Duration::from_millis(300)), "sleep 1000").await.unwrap();
    assert_eq!(finish(late).await.1.end, RunEnd::TimedOut);
    let killed = governed.start(|_| {}, "sleep 1000").await.unwrap();
    killed.kill();
    assert_eq!(finish(killed).await.1.end, RunEnd::Killed);
    assert_eq!(governed.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_start_is_settled_as_failed() {
    let Some(governed) = governed().await else { return };
    let spec = RunSpec::new(RunId::generate(), vec!["/no/such/program".to_owned()]);
    let run = spec.run;
    let error = governed.runtime.run(governed.chain.clone(), spec).await.unwrap_err();
    assert_eq!(error.code().as_str(), "runtime.exec_failed");
    assert_eq!(governed.record(run).await, [("runtime.exec".to_owned(), "sandbox:default".to_owned(), ActionState::Failed)]);
    assert_eq!(governed.left(), 0);
}
