//! What callers bring to the Gate and take from it.

use std::collections::BTreeMap;
use std::time::Duration;

use creto_authz::Context;
use creto_db::{Lately, Message, Step};
use creto_kernel::canonical::CanonicalError;
use creto_kernel::id::{AdmissionId, HoldId, LeafId, RequestId, RunId};
use creto_kernel::{ActionName, CanonicalAction, Digest, Micros, ResourceName};
use creto_nhi::VerifiedChain;
use serde_json::{Map, Value};

use crate::gate::ownership::Place;
use crate::gate::{AttemptId, Salt};
use crate::ports::{Bill, Lease, Usage};

/// On whose authority somebody acts, and in which run.
#[derive(Clone, Copy, Debug)]
pub struct Acting<'a> {
    /// The chain.
    pub chain: &'a VerifiedChain,
    /// The run, where the request came out of one.
    pub run: Option<RunId>,
}

impl<'a> From<&'a VerifiedChain> for Acting<'a> {
    fn from(chain: &'a VerifiedChain) -> Self {
        Self { chain, run: None }
    }
}

/// An action somebody asks to do.
#[derive(Debug)]
pub struct AdmitRequest<'a> {
    /// On whose authority.
    pub chain: &'a VerifiedChain,
    /// What.
    pub action: ActionName,
    /// To what.
    pub resource: ResourceName,
    /// With which arguments, all of them: what a human would be shown.
    pub arguments: Map<String, Value>,
    /// Facts that policies may read; part of the digest.
    pub context: Context,
    /// Money to hold until the action is settled; zero holds none.
    pub reserve: Micros,
    /// What it says that it will use: counted against quotas when it is admitted, and set right when it is settled.
    pub expects: Vec<Usage>,
    /// Whether whoever asks named that money: then an approval is for exactly so much. What the server works out itself differs from one
    /// attempt to the next and is not part of the digest.
    pub reserve_is_asked: bool,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// What the agent says about why. Untrusted; shown to the approver as such.
    pub reason: Option<String>,
    /// Longest wait for a human.
    pub wait: Duration,
    /// What the client calls this attempt, where it may ask again after an answer that was lost.
    pub attempt: Option<AttemptId>,
    /// Which of those who ask under the attempt this is, where several processes may: an admission is given again to the asker that got
    /// it, and to nobody else.
    pub asker: Option<AttemptId>,
    /// The tool's JSON Schema: its digest is part of the action, and changed arguments are checked against it.
    pub schema: Option<Value>,
    /// Whether the caller does what was approved, where a human changed the arguments, instead of what it asked.
    pub editable: bool,
    /// Under which identifier it is recorded, where the effect's own rows name it; else the Gate makes one.
    pub admission: Option<AdmissionId>,
    /// Under which leaf the effect is committed, where the effect's own rows name it; else the Gate makes one. Only for
    /// [`crate::Gate::commit_effect`].
    pub leaf: Option<LeafId>,
}

impl<'a> AdmitRequest<'a> {
    /// A request with no arguments, no context, no reservation and no time to wait.
    #[must_use]
    pub fn new(chain: &'a VerifiedChain, action: ActionName, resource: ResourceName) -> Self {
        Self {
            chain,
            action,
            resource,
            arguments: Map::new(),
            context: Context::default(),
            reserve: Micros::ZERO,
            expects: Vec::new(),
            reserve_is_asked: false,
            attempt: None,
            asker: None,
            run: None,
            reason: None,
            wait: Duration::ZERO,
            schema: None,
            editable: false,
            admission: None,
            leaf: None,
        }
    }

    /// What a retry of this action is found by: the digest of the action without the policy's version.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        self.canonical()?.digest()
    }

    pub(super) fn canonical(&self) -> Result<CanonicalAction, CanonicalError> {
        let schema = self.schema.as_ref().map(creto_kernel::canonical::to_vec).transpose()?;
        Ok(CanonicalAction {
            tenant: self.chain.tenant().clone(),
            agent: self.chain.leaf().clone(),
            chain: self.chain.authority(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            arguments: self.arguments.clone(),
            context: self.context.to_json(),
            reserve: self.reserve_is_asked.then_some(self.reserve),
            schema: schema.map(|bytes| Digest::of(&bytes)),
            policy: None,
        })
    }
}

/// Proof that an action was admitted: its intent is durable, its money held, its approval consumed.
///
/// INVARIANT: only the Gate makes one.
///
/// ```compile_fail,E0451
/// fn forged(other: creto_enablement_common::Granted) -> creto_enablement_common::Granted {
///     creto_enablement_common::Granted { admission: other.admission(), ..other }
/// }
/// ```
///
/// Dropping it unsettled leaves the intent without outcome, which is what happened: nobody knows. [`crate::Gate::tend`] marks it.
#[derive(Debug)]
#[must_use = "an admitted action must be settled, or it stays in doubt"]
pub struct Granted {
    pub(super) admission: AdmissionId,
    pub(super) action: CanonicalAction,
    pub(super) digest: Digest,
    pub(super) salt: Salt,
    pub(super) chain: VerifiedChain,
    pub(super) run: Option<RunId>,
    pub(super) hold: Option<HoldId>,
    pub(super) approval: Option<RequestId>,
    pub(super) again: bool,
    pub(super) leases: Vec<Lease>,
    pub(super) _place: Place,
}

impl Granted {
    /// Ties the outcome to the intent.
    #[must_use]
    pub const fn admission(&self) -> AdmissionId {
        self.admission
    }

    /// What was admitted.
    #[must_use]
    pub const fn action(&self) -> &CanonicalAction {
        &self.action
    }

    /// The digest that was admitted and, where a human was asked, approved.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The request a human approved, where one was asked.
    #[must_use]
    pub const fn approval(&self) -> Option<RequestId> {
        self.approval
    }

    /// Whether it was admitted before, by a server that died since: whoever does not know what became of that must not do it again.
    #[must_use]
    pub const fn again(&self) -> bool {
        self.again
    }
}

/// What [`crate::Gate::admit_within`] answers.
#[derive(Debug)]
pub enum Admission {
    /// Do it now, then settle it.
    Granted(Box<Granted>),
    /// The patience ended before a human decided; the request stays, and the same action asked again finds it. With the digest of
    /// what is asked about.
    Pending(RequestId, Digest),
    /// The same attempt was admitted before and is under way here: its client gets the same answer again, and nothing is done twice.
    Again(AdmissionId),
}

/// What came of an admitted action.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Whether it did what it was meant to.
    pub ok: bool,
    /// What it used.
    pub usage: Vec<Usage>,
    /// Quantities for the leaf: exit codes, byte counts. Never free text from outside.
    pub facts: BTreeMap<String, String>,
    /// Digests for the leaf.
    pub digests: BTreeMap<String, Digest>,
}

/// The effect of an action that is all our own state.
#[derive(Debug, Default)]
pub struct Effect {
    /// The writes.
    pub steps: Vec<Box<dyn Step>>,
    /// Messages that leave with them.
    pub messages: Vec<Message>,
    /// What it used.
    pub usage: Vec<Usage>,
    /// Quantities for the leaf.
    pub facts: BTreeMap<String, String>,
    /// Digests for the leaf.
    pub digests: BTreeMap<String, Digest>,
    /// What else the leaf records, known once the steps have run.
    pub late: Vec<Lately>,
    /// Where the steps write what they cost, of a product that prices its own; `usage` is empty then.
    pub bill: Option<Bill>,
}

/// An action that is over and on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub admission: AdmissionId,
    /// The leaf that records it.
    pub leaf: LeafId,
    /// What it cost.
    pub cost: Micros,
}
