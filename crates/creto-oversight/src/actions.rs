//! Actions an agent asks for itself: the SDK's `@require_approval` admits, runs its function, and reports the outcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use creto_authz::Context;
use creto_enablement_common::gate::{Acting, AttemptError};
use creto_enablement_common::{Admission, AdmitRequest, Gate, Granted, Outcome, Refusal, Settled};
use creto_kernel::id::AdmissionId;
use creto_kernel::{Digest, Micros, NhiId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::OversightError;

/// The first words of actions that only the server's own products do: a record of one must mean that it happened.
const RESERVED: [&str; 11] =
    ["runtime", "messaging", "metering", "memory", "oversight", "policy", "identity", "nhi", "audit", "gate", "storage"];

fn check_own(action: &str) -> Result<(), OversightError> {
    let product = action.split('.').next().unwrap_or_default();
    if RESERVED.contains(&product) {
        return Err(OversightError::ReservedAction(action.chars().take(80).collect()));
    }
    Ok(())
}

/// Longest time one HTTP call waits for a human; the agent calls again and finds its request by the digest.
const CALL_WAIT_MAX: Duration = Duration::from_secs(55);
/// How long a request waits for a human when the agent does not say.
const REQUEST_WAIT_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Most admitted actions whose outcome one server waits for.
const ADMITTED_MAX: usize = 10_000;
/// Most of them by one agent.
pub const ADMITTED_PER_AGENT_MAX: usize = 256;

/// An action an agent asks to do.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionInput {
    /// What, such as `tool.call`.
    pub action: String,
    /// To what, such as `tool:pay_invoice`.
    pub resource: String,
    /// With which arguments, all of them.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub arguments: Map<String, Value>,
    /// Facts that policies may read.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub context: Map<String, Value>,
    /// Money to hold, as a decimal string.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub reserve: Option<Micros>,
    /// Why, for the approver. Shown as untrusted.
    #[serde(default)]
    pub reason: Option<String>,
    /// What the client calls this attempt: asked again under the same name, the answer is the same. Of at most 64 letters, digits, `-`,
    /// `_`, `.` and `:`; unique for each attempt of the agent.
    #[serde(default)]
    pub attempt_id: Option<String>,
    /// Which of those who ask under the attempt this is, where several processes may, such as those that take over a workflow: a name it
    /// made for itself, of the same letters. An admission is given again to the asker that got it, and to nobody else.
    #[serde(default)]
    pub asker_id: Option<String>,
    /// How long the request may wait for a human, in seconds; a day when absent.
    #[serde(default)]
    pub timeout_secs: Option<u32>,
    /// How long this call waits for an answer, in seconds; at most 55.
    #[serde(default)]
    pub wait_secs: Option<u32>,
    /// The tool's JSON Schema: its digest is part of the action, and changed arguments are checked against it.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
    /// Whether the agent does what was approved where a human changed the arguments.
    #[serde(default)]
    pub accepts_edits: bool,
}

/// What was approved, where it is not what was asked.
fn changed(asked: &Map<String, Value>, approved: Map<String, Value>) -> Option<Map<String, Value>> {
    (*asked != approved).then_some(approved)
}

/// What asking answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Admitted {
    /// Do it now, then report the outcome under this admission.
    Granted {
        /// Ties the outcome to it.
        admission: String,
        /// What was admitted.
        #[schema(value_type = String)]
        digest: Digest,
        /// The arguments that were approved, where a human changed them: do it with these.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Object>)]
        arguments: Option<Map<String, Value>>,
        /// Whether this attempt was admitted before: whoever does not know what became of that must not do it again.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// A human has not decided yet: ask again with the very same action.
    Pending {
        /// The request.
        request: Option<String>,
        /// What is asked about.
        #[schema(value_type = String)]
        digest: Digest,
    },
}

/// What came of an admitted action, as its agent reports it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeInput {
    /// Whether it was done.
    pub ok: bool,
}

/// Admitted actions that wait for their outcome. They live in memory on purpose: after a crash nobody knows whether the function ran, and
/// the action is in doubt.
#[derive(Debug, Clone)]
pub struct Actions {
    gate: Arc<Gate>,
    admitted: Arc<Mutex<HashMap<AdmissionId, Granted>>>,
}

impl Actions {
    /// Actions over the Gate. An open request lives with the Gate's approvals, not here.
    #[must_use]
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { gate, admitted: Arc::default() }
    }

    /// The Gate that admits.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Asks. Cancel safe: an open request stays and is found again by its digest.
    pub async fn ask(&self, acting: impl Into<Acting<'_>>, input: ActionInput) -> Result<Admitted, OversightError> {
        let Acting { chain, run } = acting.into();
        let bad = |e: &dyn std::fmt::Display| OversightError::BadAction(e.to_string());
        check_own(&input.action)?;
        let mut request = AdmitRequest::new(
            chain,
            input.action.parse().map_err(|e: creto_kernel::action::NameError| bad(&e))?,
            input.resource.parse().map_err(|e: creto_kernel::action::NameError| bad(&e))?,
        );
        request.run = run;
        let asked = input.arguments.clone();
        request.arguments = input.arguments;
        request.schema = input.schema;
        request.editable = input.accepts_edits;
        request.context = Context::from_json(&input.context).map_err(|e| Refusal::port(&e))?;
        request.reserve = input.reserve.unwrap_or(Micros::ZERO);
        request.reserve_is_asked = input.reserve.is_some();
        let name = |text: Option<String>| text.as_deref().map(str::parse).transpose().map_err(|e: AttemptError| bad(&e));
        (request.attempt, request.asker) = (name(input.attempt_id)?, name(input.asker_id)?);
        if request.reserve.is_negative() {
            return Err(OversightError::BadAction("`reserve` is negative".to_owned()));
        }
        request.reason = input.reason;
        request.wait = input.timeout_secs.map_or(REQUEST_WAIT_DEFAULT, |secs| Duration::from_secs(secs.into()));
        self.room_for(chain.leaf())?;
        let wait = input.wait_secs.map_or(CALL_WAIT_MAX, |secs| Duration::from_secs(secs.into())).min(CALL_WAIT_MAX);
        match self.gate.admit_within(request, wait).await? {
            Admission::Granted(granted) => {
                let (admission, digest, again) = (granted.admission(), granted.digest(), granted.again());
                let arguments = changed(&asked, granted.action().arguments.clone());
                self.lock().insert(admission, *granted);
                Ok(Admitted::Granted { admission: admission.to_string(), digest, arguments, again })
            }
            // An answer that was lost on its way is given again.
            Admission::Again(admission) => {
                let row = self.gate.action(chain.tenant(), admission).await?;
                let row = row.ok_or_else(|| OversightError::UnknownAdmission(admission.to_string()))?;
                let done = serde_json::from_str(&row.arguments).map_err(|_| OversightError::Unreadable)?;
                Ok(Admitted::Granted {
                    admission: admission.to_string(),
                    digest: row.digest,
                    arguments: changed(&asked, done),
                    again: true,
                })
            }
            Admission::Pending(request, digest) => Ok(Admitted::Pending { request: Some(request.to_string()), digest }),
        }
    }

    /// One agent that never reports must not take the room of the others.
    fn room_for(&self, agent: &NhiId) -> Result<(), Refusal> {
        let admitted = self.lock();
        let own = admitted.values().filter(|granted| granted.action().agent == *agent).count();
        match (own >= ADMITTED_PER_AGENT_MAX, admitted.len() >= ADMITTED_MAX) {
            (true, _) => Err(Refusal::RateLimited { message: format!("{own} admitted actions of this agent wait for their outcome") }),
            (_, true) => Err(Refusal::RateLimited { message: format!("{ADMITTED_MAX} admitted actions wait for their outcome") }),
            _ => Ok(()),
        }
    }

    /// Records what came of an admitted action; only for the agent that was admitted, once.
    pub async fn report(&self, by: &NhiId, admission: AdmissionId, outcome: &OutcomeInput) -> Result<Settled, OversightError> {
        let unknown = || OversightError::UnknownAdmission(admission.to_string());
        let granted = {
            let mut admitted = self.lock();
            if admitted.get(&admission).is_none_or(|granted| granted.action().agent != *by) {
                return Err(unknown());
            }
            admitted.remove(&admission).ok_or_else(unknown)?
        };
        Ok(self.gate.settle(granted, Outcome { ok: outcome.ok, ..Outcome::default() }).await?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AdmissionId, Granted>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
