//! One run, from its command's start to the last commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use creto_enablement_common::{Granted, Outcome, Usage};
use creto_kernel::Micros;
use creto_kernel::id::RunId;
use rust_decimal::Decimal;
use tokio::sync::{mpsc, watch};

use crate::egress::Gateway;
use crate::error::RuntimeError;
use crate::link::{Exec, ExecEvent, Exit};
use crate::pool::Claimed;
use crate::service::judge::GateJudge;
use crate::service::{RunEnd, RunEvent, RunReport, RuntimeOptions};

pub(super) struct Running {
    pub(super) options: Arc<RuntimeOptions>,
    pub(super) run: RunId,
    pub(super) timeout: Option<Duration>,
    pub(super) granted: Granted,
    pub(super) claimed: Claimed,
    pub(super) gateway: Gateway,
    pub(super) exec: Exec,
    pub(super) judge: Arc<GateJudge>,
    pub(super) killed: watch::Receiver<bool>,
}

impl Running {
    /// Carries the command's output until it ends, its time is over or nobody wants it any more; then ends everything in the order that
    /// loses nothing: sandbox, connections, settlement.
    pub(super) async fn supervise(mut self, events: mpsc::Sender<RunEvent>) {
        let begun = Instant::now();
        let end = self.carry(&events).await;
        let duration = begun.elapsed();
        let (sandbox, admission) = (self.claimed.sandbox.id(), self.granted.admission());
        let end = match end {
            RunEnd::Lost(why) => RunEnd::Lost(format!("{why}: {}", self.claimed.sandbox.last_words())),
            end => end,
        };
        let clean = self.claimed.sandbox.destroy().await.clean;
        self.gateway.close().await;
        let runtime = self.options.container.describe();
        let settled = self.options.gate.settle(self.granted, outcome(&end, duration, &runtime, clean)).await;
        let (reached, egress_cost) = self.judge.record();
        let (cost, unsettled) = match settled {
            Ok(settled) => (settled.cost.checked_add(egress_cost).unwrap_or(Micros::MAX), None),
            Err(error) => (egress_cost, Some(error.to_string())),
        };
        let report = RunReport {
            run: self.run,
            sandbox,
            admission,
            end,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            warm: self.claimed.warm,
            runtime,
            limits_held: self.options.container.limits_held(),
            reached,
            cost,
            unsettled,
        };
        // Whoever dropped the handle wants no report; the log has it.
        let _unread = events.send(RunEvent::Finished(Box::new(report))).await;
    }

    async fn carry(&mut self, events: &mpsc::Sender<RunEvent>) -> RunEnd {
        let Self { exec, killed, timeout, .. } = self;
        let flow = async {
            loop {
                let event = match exec.next().await {
                    Ok(ExecEvent::Stdout(bytes)) => RunEvent::Stdout(bytes),
                    Ok(ExecEvent::Stderr(bytes)) => RunEvent::Stderr(bytes),
                    Ok(ExecEvent::Exited(Exit::Code(code))) => return RunEnd::Code(code),
                    Ok(ExecEvent::Exited(Exit::Signal(signal))) => return RunEnd::Signal(signal),
                    Err(RuntimeError::SandboxLost(why)) => return RunEnd::Lost(why),
                    Err(error) => return RunEnd::Lost(error.to_string()),
                };
                if events.send(event).await.is_err() {
                    return RunEnd::Killed;
                }
            }
        };
        let time = async {
            match *timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        // The sender of `killed` is part of the handle: its end is the handle's.
        tokio::select! {
            end = flow => end,
            () = time => RunEnd::TimedOut,
            _ = killed.wait_for(|killed| *killed) => RunEnd::Killed,
        }
    }
}

fn outcome(end: &RunEnd, duration: Duration, runtime: &str, clean: bool) -> Outcome {
    let mut outcome = Outcome { ok: *end == RunEnd::Code(0), ..Outcome::default() };
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    outcome.usage.push(Usage::measured("runtime.seconds", Decimal::new(millis, 3)));
    let word = match end {
        RunEnd::Code(_) => "code",
        RunEnd::Signal(_) => "signal",
        RunEnd::TimedOut => "timed_out",
        RunEnd::Killed => "killed",
        RunEnd::Lost(_) => "lost",
    };
    outcome.facts.insert("end".to_owned(), word.to_owned());
    outcome.facts.insert("exit_code".to_owned(), end.exit_code().to_string());
    outcome.facts.insert("duration_ms".to_owned(), millis.to_string());
    outcome.facts.insert("runtime".to_owned(), runtime.to_owned());
    outcome.facts.insert("cleared".to_owned(), clean.to_string());
    outcome
}
