//! Egress judged by the Gate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use creto_authz::Context;
use creto_enablement_common::{AdmitRequest, Gate, Granted, Outcome, Refusal, Usage};
use creto_kernel::id::RunId;
use creto_kernel::{Coded, Micros};
use creto_nhi::VerifiedChain;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

use crate::egress::{EgressAdmission, EgressForm, EgressJudge, EgressOutcome, EgressRequest, EgressVerdict, SandboxContext};
use crate::error::RuntimeError;
use crate::service::{RunSpec, action};

/// Most places a report lists; further ones are counted in the log only.
const REACHED_MAX: usize = 1000;

/// One connection that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Reached {
    /// Where to.
    pub destination: String,
    /// Whether it was admitted.
    pub allowed: bool,
    /// Why not, or what went wrong.
    pub message: Option<String>,
    /// Bytes that left the sandbox.
    pub bytes_up: u64,
    /// Bytes that came in.
    pub bytes_down: u64,
}

/// What connections are metered by.
const BYTES_METRIC: &str = "runtime.egress_bytes";
/// Under a budget one connection is paid for up to so many bytes; the program opens another for more.
const CONNECTION_BYTES: u64 = 1 << 30;
/// The part of what a budget has left that one connection may hold: the others, and messages, need some too.
const CONNECTION_SHARE: i64 = 4;
/// A budget that does not pay for so many does not open a connection.
const CONNECTION_BYTES_MIN: u64 = 4 << 10;

pub(super) struct GateJudge {
    gate: Arc<Gate>,
    chain: VerifiedChain,
    run: RunId,
    allow_hosts: Vec<String>,
    wait: Duration,
    reason: Option<String>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    reached: Vec<Reached>,
    cost: Option<Micros>,
}

/// What an admitted connection keeps until it closes.
struct Open {
    granted: Granted,
    destination: String,
}

impl GateJudge {
    pub(super) fn new(gate: Arc<Gate>, chain: VerifiedChain, spec: &RunSpec) -> Self {
        Self {
            gate,
            chain,
            run: spec.run,
            allow_hosts: spec.allow_hosts.iter().map(ToString::to_string).collect(),
            wait: spec.wait,
            reason: spec.reason.clone(),
            record: Mutex::default(),
        }
    }

    /// What was reached so far, and what it cost.
    pub(super) fn record(&self) -> (Vec<Reached>, Micros) {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        (record.reached.clone(), record.cost.unwrap_or(Micros::ZERO))
    }

    fn note(&self, reached: Reached, cost: Micros) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.cost = record.cost.unwrap_or(Micros::ZERO).checked_add(cost).or(Some(Micros::MAX));
        if record.reached.len() < REACHED_MAX {
            record.reached.push(reached);
        }
    }

    async fn admit(&self, asked: &EgressRequest) -> Result<(Granted, Option<u64>), Refusal> {
        let malformed = |error: RuntimeError| Refusal::port(&error);
        let name = action("runtime.egress").map_err(malformed)?;
        let resource =
            asked.destination.resource().ok_or_else(|| malformed(RuntimeError::Invalid("the destination is too long".to_owned())))?;
        let mut request = AdmitRequest::new(&self.chain, name, resource);
        request.context = Context::default().allow_hosts(&self.allow_hosts).map_err(|error| Refusal::port(&error))?;
        // An approval is for the place and the way of speaking, not for one path: a person can judge the former.
        let form = if asked.form == EgressForm::Tunnel { "tunnel" } else { "http" };
        request.arguments.insert("form".to_owned(), json!(form));
        request.run = Some(self.run);
        request.wait = self.wait;
        request.reason.clone_from(&self.reason);
        let paid = match self.paid().await {
            Err(short) => self.raised(&request, short).await?,
            paid => paid?,
        };
        request.reserve = paid.map_or(Micros::ZERO, |paid| paid.reserve);
        Ok((self.gate.admit(request).await?, paid.map(|paid| paid.bytes)))
    }

    /// As [`Self::paid`], once a human has raised a ceiling that does not pay for a connection, where its owner lets one be asked.
    async fn raised(&self, request: &AdmitRequest<'_>, short: Refusal) -> Result<Option<Paid>, Refusal> {
        let least = self.gate.ledger().price(self.chain.tenant(), &[Usage::measured(BYTES_METRIC, CONNECTION_BYTES_MIN)]).await?;
        let wanted = Micros::new(least.get().max(1).saturating_mul(CONNECTION_SHARE));
        if matches!(short, Refusal::BudgetExceeded { .. }) && self.gate.make_room(request, wanted, short.clone()).await? {
            return self.paid().await;
        }
        Err(short)
    }

    /// What a connection under a budget holds, and the bytes that pays for; `None` where no ceiling binds or bytes cost nothing. The
    /// connection ends at that many bytes, so what it costs never passes what was held.
    async fn paid(&self) -> Result<Option<Paid>, Refusal> {
        let ledger = self.gate.ledger();
        let Some(available) = ledger.available(&self.chain).await? else { return Ok(None) };
        let whole = ledger.price(self.chain.tenant(), &[Usage::measured(BYTES_METRIC, CONNECTION_BYTES)]).await?;
        if whole <= Micros::ZERO {
            return Ok(None);
        }
        let share = Micros::new(available.get() / CONNECTION_SHARE);
        let reserve = whole.min(share.max(Micros::new(1)));
        // The price is linear and this rounds down, so what so many bytes cost, rounded, is at most what is held.
        let bytes = i128::from(reserve.get()) * i128::from(CONNECTION_BYTES) / i128::from(whole.get());
        match u64::try_from(bytes) {
            Ok(bytes) if bytes >= CONNECTION_BYTES_MIN && available > Micros::ZERO => Ok(Some(Paid { reserve, bytes })),
            _ => Err(Refusal::BudgetExceeded { message: format!("the budget has {available} left, which does not pay for a connection") }),
        }
    }
}

/// What one connection holds, and how far that goes.
#[derive(Clone, Copy)]
struct Paid {
    reserve: Micros,
    bytes: u64,
}

impl EgressJudge for GateJudge {
    fn judge<'a>(&'a self, _: &'a SandboxContext, asked: &'a EgressRequest) -> BoxFuture<'a, EgressVerdict> {
        Box::pin(async move {
            let destination = asked.destination.to_string();
            match self.admit(asked).await {
                Ok((granted, bytes_max)) => {
                    EgressVerdict::Allow(EgressAdmission { held: Box::new(Open { granted, destination }), bytes_max })
                }
                Err(refusal) => {
                    let message = refusal.to_string();
                    let reached = Reached { destination, allowed: false, message: Some(message.clone()), bytes_up: 0, bytes_down: 0 };
                    self.note(reached, Micros::ZERO);
                    EgressVerdict::Deny { message, hint: refusal.hint() }
                }
            }
        })
    }

    fn closed<'a>(&'a self, _: &'a SandboxContext, admission: EgressAdmission, outcome: EgressOutcome) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Ok(open) = admission.held.downcast::<Open>() else { return };
            let Open { granted, destination } = *open;
            let bytes = outcome.bytes_up.saturating_add(outcome.bytes_down);
            let mut recorded = Outcome { ok: outcome.address.is_some(), ..Outcome::default() };
            recorded.usage.push(Usage::measured(BYTES_METRIC, bytes));
            recorded.facts.insert("bytes_up".to_owned(), outcome.bytes_up.to_string());
            recorded.facts.insert("bytes_down".to_owned(), outcome.bytes_down.to_string());
            recorded.facts.insert("duration_ms".to_owned(), outcome.duration.as_millis().to_string());
            if let Some(address) = outcome.address {
                recorded.facts.insert("address".to_owned(), address.to_string());
            }
            let cost = match self.gate.settle(granted, recorded).await {
                Ok(settled) => settled.cost,
                Err(error) => {
                    tracing::error!(%error, %destination, "a connection's outcome could not be recorded; it is in doubt");
                    Micros::ZERO
                }
            };
            let (bytes_up, bytes_down) = (outcome.bytes_up, outcome.bytes_down);
            self.note(Reached { destination, allowed: true, message: outcome.error, bytes_up, bytes_down }, cost);
        })
    }
}
