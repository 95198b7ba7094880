//! One use case: run a command, governed from the first byte to the last.
//!
//! `runtime.exec` is admitted before anything starts and settled when nothing is left; in between, each connection is an admitted
//! `runtime.egress` of its own. All of them name the run.

mod judge;
mod supervise;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use creto_enablement_common::{AdmitRequest, Gate, Granted, Outcome, Refusal};
use creto_kernel::id::{AdmissionId, RunId, SandboxId};
use creto_kernel::{ActionName, Coded, Digest, ErrorCode, Kind, Micros, ResourceName};
use creto_nhi::VerifiedChain;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, json};
use tokio::sync::{mpsc, watch};

use crate::container::{ContainerRuntime, LimitsHeld, SandboxPlan};
use crate::core::bundle::{HOME_DIR, Limits, Mount};
use crate::core::destination::AllowedHost;
use crate::core::env::{Env, compose};
use crate::egress::{EgressJudge, EgressLimits, Gateway, InternalRoute, Resolver, SandboxContext};
use crate::error::RuntimeError;
use crate::link::{Exec, ExecSpec, Stdin};
use crate::pool::{Claimed, WarmPool};

use judge::GateJudge;
pub use judge::Reached;
use supervise::Running;

/// Events of a run that wait for their reader; the command waits beyond.
const EVENTS_MAX: usize = 64;
/// Most arguments of a command.
const ARGUMENTS_MAX: usize = 4096;
/// Longest command, all arguments together, in bytes.
const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// What a runtime service is built from.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// Admits and settles.
    pub gate: Arc<Gate>,
    /// Where sandboxes come from.
    pub pool: WarmPool,
    /// What the pool starts them with: described in each run's report.
    pub container: Arc<dyn ContainerRuntime>,
    /// How names become addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Limits of each run's gateway.
    pub egress: EgressLimits,
    /// The server's own Unix socket, for `http://creto.internal`.
    pub server_socket: Option<PathBuf>,
}

/// Runs commands. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<RuntimeOptions>);

/// What to run.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// The run.
    pub run: RunId,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables over the runtime's own.
    pub env: Env,
    /// Where; `None` is the first mount, else the home folder.
    pub cwd: Option<PathBuf>,
    /// Folders of the host.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
    /// Places the run's owner allows.
    pub allow_hosts: Vec<AllowedHost>,
    /// Longest time; `None` has no end.
    pub timeout: Option<Duration>,
    /// Money held for the execution.
    pub reserve: Micros,
    /// Longest wait for a human, for the execution and for each connection.
    pub wait: Duration,
    /// What the agent says about why; untrusted.
    pub reason: Option<String>,
    /// What the command reads.
    pub input: Input,
    /// Headers that identify this run at the server's own socket.
    pub identity: Vec<(HeaderName, HeaderValue)>,
}

/// What a command reads from its standard input, as an approval binds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    None,
    /// Bytes nobody has seen when the run is admitted: an approver is told that there will be some.
    Stream,
    /// Exactly the bytes of this SHA-256: whoever feeds the run checks them before the first is passed on.
    Bound(Digest),
}

impl Input {
    fn shown(self) -> serde_json::Value {
        match self {
            Self::None => json!("none"),
            Self::Stream => json!("stream"),
            Self::Bound(digest) => json!({ "sha256": digest }),
        }
    }
}

impl RunSpec {
    /// A command with nothing else allowed, and no time to wait for a human.
    #[must_use]
    pub fn new(run: RunId, argv: Vec<String>) -> Self {
        Self {
            run,
            argv,
            env: Env::default(),
            cwd: None,
            mounts: Vec::new(),
            limits: Limits::default(),
            allow_hosts: Vec::new(),
            timeout: None,
            reserve: Micros::ZERO,
            wait: Duration::ZERO,
            reason: None,
            input: Input::None,
            identity: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), RuntimeError> {
        let bytes: usize = self.argv.iter().map(String::len).sum();
        let whole = self.argv.first().is_some_and(|program| !program.is_empty());
        if !whole || self.argv.len() > ARGUMENTS_MAX || bytes > COMMAND_BYTES_MAX || self.argv.iter().any(|a| a.contains('\0')) {
            return Err(RuntimeError::Invalid(format!(
                "the command is empty, holds a NUL byte, or has over {ARGUMENTS_MAX} arguments or {COMMAND_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    /// Everything an approver has to see. Values of variables may be secrets: their names are shown and their values bound by a digest.
    fn arguments(&self) -> Map<String, serde_json::Value> {
        let mut arguments = Map::new();
        let mounts: Vec<_> = self.mounts.iter().map(|m| json!({"path": m.path().to_string_lossy(), "writable": m.writable()})).collect();
        arguments.insert("argv".to_owned(), json!(self.argv));
        arguments.insert("cwd".to_owned(), json!(self.cwd.as_ref().map(|cwd| cwd.to_string_lossy())));
        arguments.insert("env".to_owned(), json!(self.env.names()));
        arguments.insert("env_digest".to_owned(), json!(self.env.digest()));
        arguments.insert("mounts".to_owned(), json!(mounts));
        arguments.insert("allow_hosts".to_owned(), json!(self.allow_hosts.iter().map(ToString::to_string).collect::<Vec<_>>()));
        arguments.insert("stdin".to_owned(), self.input.shown());
        arguments.insert("limits".to_owned(), json!(self.limits));
        arguments.insert("timeout_ms".to_owned(), json!(self.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX))));
        arguments
    }

    fn exec(&self) -> ExecSpec {
        let cwd = self.cwd.clone().or_else(|| self.mounts.first().map(|mount| mount.path().to_owned()));
        let cwd = cwd.unwrap_or_else(|| PathBuf::from(HOME_DIR));
        ExecSpec {
            argv: self.argv.iter().map(|argument| argument.clone().into_bytes()).collect(),
            env: Vec::new(),
            cwd: Some(cwd.to_string_lossy().into_owned().into_bytes()),
        }
    }
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It was not admitted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be started; the admission is settled as failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl Coded for RunError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Runtime(error) => error.code(),
        }
    }
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Runtime(error) => error.kind(),
        }
    }
    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Runtime(error) => error.hint(),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
pub enum RunEnd {
    /// The command returned this code.
    Code(i32),
    /// This signal ended the command.
    Signal(i32),
    /// Its time was over.
    TimedOut,
    /// Somebody ended it.
    Killed,
    /// The sandbox was lost, with the runtime's last words: most often its memory limit.
    Lost(String),
}

impl RunEnd {
    /// The exit code of a shell for this end: 124 for a timeout as timeout(1), 128 and the signal's number for a signal.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Code(code) => *code,
            Self::Signal(signal) => 128 + *signal,
            Self::TimedOut => 124,
            Self::Killed => 130,
            Self::Lost(_) => 137,
        }
    }
}

/// What is known when a run is over.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// Its sandbox.
    pub sandbox: SandboxId,
    /// Its admission.
    pub admission: AdmissionId,
    /// How it ended.
    pub end: RunEnd,
    /// From the start of the command to its end.
    pub duration_ms: u64,
    /// Whether the sandbox was waiting warm.
    pub warm: bool,
    /// What ran it, with version and platform.
    pub runtime: String,
    /// Which limits held.
    pub limits_held: LimitsHeld,
    /// What it asked to reach, in order.
    pub reached: Vec<Reached>,
    /// What execution and connections cost together.
    pub cost: Micros,
    /// Why the outcome could not be recorded, where it could not: the run is then in doubt.
    pub unsettled: Option<String>,
}

/// What happens in a run, in order.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// The command wrote to standard output.
    Stdout(Bytes),
    /// The command wrote to standard error.
    Stderr(Bytes),
    /// It is over, settled, and nothing is left; the last event.
    Finished(Box<RunReport>),
}

/// A run under way. Dropping it ends the run.
#[derive(Debug)]
pub struct RunHandle {
    /// The run.
    pub run: RunId,
    /// What happens. Not reading holds the command up.
    pub events: mpsc::Receiver<RunEvent>,
    /// The command's standard input; take it, write, and end it.
    pub stdin: Option<Stdin>,
    kill: watch::Sender<bool>,
}

impl RunHandle {
    /// Ends the run; its last event still comes.
    pub fn kill(&self) {
        self.kill.send_replace(true);
    }
}

pub(crate) fn action(name: &str) -> Result<ActionName, RuntimeError> {
    name.parse().map_err(|_| RuntimeError::Invalid(format!("`{name}` is not an action")))
}

impl Runtime {
    /// A service over its parts.
    #[must_use]
    pub fn new(options: RuntimeOptions) -> Self {
        Self(Arc::new(options))
    }

    /// Admits and starts a run.
    ///
    /// Errors: [`RunError::Refused`] where the Gate says no; [`RunError::Runtime`] where the sandbox or the command did not start. In
    /// both cases nothing is left behind and no money is held.
    pub async fn run(&self, chain: VerifiedChain, spec: RunSpec) -> Result<RunHandle, RunError> {
        spec.check()?;
        let resource: ResourceName =
            "sandbox:default".parse().map_err(|_| RuntimeError::Invalid("`sandbox:default` is not a resource".to_owned()))?;
        let mut request = AdmitRequest::new(&chain, action("runtime.exec")?, resource);
        request.arguments = spec.arguments();
        request.reserve = spec.reserve;
        request.run = Some(spec.run);
        request.reason.clone_from(&spec.reason);
        request.wait = spec.wait;
        let granted = self.0.gate.admit(request).await?;
        // In a task of its own: from here on the admission is settled even if whoever asked has gone.
        match tokio::spawn(self.clone().begin(chain, spec, granted)).await {
            Ok(started) => started,
            Err(error) => Err(RuntimeError::StartFailed(error.to_string()).into()),
        }
    }

    async fn begin(self, chain: VerifiedChain, spec: RunSpec, granted: Granted) -> Result<RunHandle, RunError> {
        let judge = Arc::new(GateJudge::new(Arc::clone(&self.0.gate), chain.clone(), &spec));
        match self.start(&chain, &spec, &judge).await {
            Ok((claimed, gateway, mut exec)) => {
                let (events_in, events) = mpsc::channel(EVENTS_MAX);
                let (kill, killed) = watch::channel(false);
                let (run, stdin) = (spec.run, exec.take_stdin());
                let running =
                    Running { options: Arc::clone(&self.0), run, timeout: spec.timeout, granted, claimed, gateway, exec, judge, killed };
                tokio::spawn(running.supervise(events_in));
                Ok(RunHandle { run, events, stdin, kill })
            }
            Err(error) => {
                let mut outcome = Outcome::default();
                outcome.facts.insert("code".to_owned(), error.code().to_string());
                if let Err(unsettled) = self.0.gate.settle(granted, outcome).await {
                    tracing::error!(%unsettled, "a run that did not start could not be settled; it is in doubt");
                }
                Err(error.into())
            }
        }
    }

    async fn start(&self, chain: &VerifiedChain, spec: &RunSpec, judge: &Arc<GateJudge>) -> Result<(Claimed, Gateway, Exec), RuntimeError> {
        let plan = SandboxPlan { mounts: spec.mounts.clone(), limits: spec.limits };
        let agent = chain.leaf();
        let env = compose(&agent.to_string(), &spec.run.to_string(), &spec.env, &spec.allow_hosts).pairs();
        let claimed = self.0.pool.claim(&plan, env).await?;
        let internal = self.0.server_socket.clone().map(|socket| InternalRoute { socket, headers: spec.identity.clone() });
        let context = SandboxContext {
            sandbox: claimed.sandbox.id(),
            agent: agent.clone(),
            run: spec.run,
            explicit: spec.allow_hosts.clone(),
            internal,
        };
        let judge = Arc::clone(judge) as Arc<dyn EgressJudge>;
        let gateway = Gateway::start(&claimed.sandbox.egress_socket(), context, judge, Arc::clone(&self.0.resolver), self.0.egress)?;
        match claimed.sandbox.exec(spec.exec()).await {
            Ok(exec) => Ok((claimed, gateway, exec)),
            Err(error) => {
                claimed.sandbox.destroy().await;
                gateway.close().await;
                Err(error)
            }
        }
    }

    /// Ends every warm sandbox; runs under way are ended by dropping their handles.
    pub async fn drain(&self) {
        self.0.pool.drain().await;
    }
}
