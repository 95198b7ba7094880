//! What the Gate needs from the products above it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use creto_db::{Message, Step};
use creto_kernel::id::{AdmissionId, HoldId, LeafId, RequestId, RunId};
use creto_kernel::{CanonicalAction, Digest, Micros, NhiId, TenantId, Timestamp};
use creto_nhi::VerifiedChain;
use futures::future::BoxFuture;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// A measured quantity, priced by the ledger when it is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// The metric's code, such as `runtime.seconds`.
    pub code: String,
    /// How much, in the metric's unit.
    pub quantity: Decimal,
}

impl Usage {
    /// What a product measured itself.
    #[must_use]
    pub fn measured(code: &str, quantity: impl Into<Decimal>) -> Self {
        Self { code: code.to_owned(), quantity: quantity.into() }
    }
}

/// What a commit costs. A ledger that prices usage by all the usage before it knows the cost only inside the commit, so its steps write
/// it here; whoever needs it reads it in a later step or after the commit.
#[derive(Clone, Debug, Default)]
pub struct Bill(Arc<Amounts>);

#[derive(Debug, Default)]
struct Amounts {
    cost: AtomicI64,
    short: AtomicI64,
}

impl Bill {
    /// The cost so far: what was written last, zero before.
    #[must_use]
    pub fn cost(&self) -> Micros {
        Micros::new(self.0.cost.load(Ordering::SeqCst))
    }

    /// Writes the cost.
    pub fn write(&self, cost: Micros) {
        self.0.cost.store(cost.get(), Ordering::SeqCst);
    }

    /// What the commit would have cost where a ceiling had no room for it; zero where there was.
    #[must_use]
    pub fn short(&self) -> Micros {
        Micros::new(self.0.short.load(Ordering::SeqCst))
    }

    /// Writes what there was no room for.
    pub fn write_short(&self, wanted: Micros) {
        self.0.short.store(wanted.get(), Ordering::SeqCst);
    }
}

impl From<Micros> for Bill {
    fn from(cost: Micros) -> Self {
        let bill = Self::default();
        bill.write(cost);
        bill
    }
}

/// Steps with the cost they post.
#[derive(Debug)]
pub struct Posting {
    /// To be committed with the outcome.
    pub steps: Vec<Box<dyn Step>>,
    /// What the usage costs; final once the steps have run.
    pub cost: Bill,
}

/// What pays for usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funding {
    /// The effect has happened: it is posted in full, and what was held for it is released.
    Happened(Option<HoldId>),
    /// The effect happens with this very commit: it is posted only where every ceiling of the chain has room.
    Ahead,
}

/// A ceiling somebody may be asked to raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raise {
    /// The account without room.
    pub account: String,
    /// Whose it is.
    pub whose: NhiId,
    /// Its ceiling now.
    pub ceiling: Micros,
    /// What it lacks for what is wanted.
    pub missing: Micros,
    /// What a human is asked for: the step its owner named.
    pub step: Micros,
    /// The name of the terms under which its owner lets a human be asked. Changed terms are other terms.
    pub terms: String,
}

/// Whether a chain has room for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nobody is asked to make any: the refusal stands.
    Nobody,
    /// There is room by now.
    There,
    /// This would make room.
    Raise(Raise),
}

/// Money along a delegation chain.
///
/// INVARIANT: for every account, spent + held never passes its ceiling, whatever runs at the same time: the steps are compare-and-set
/// in the database, and the in-memory view only ever refuses earlier.
pub trait Ledger: Send + Sync + fmt::Debug {
    /// Steps that hold `amount` at every hop of the chain, all or nothing.
    fn hold<'a>(
        &'a self,
        hold: HoldId,
        chain: &'a VerifiedChain,
        amount: Micros,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Box<dyn Step>>, Refusal>>;

    /// Steps that record the usage and post its cost at every hop, as `funding` says. Usage of an effect that has happened is posted in
    /// full even where it costs more than was held: what happened is never lost.
    fn settle<'a>(
        &'a self,
        funding: Funding,
        chain: &'a VerifiedChain,
        admission: AdmissionId,
        usage: &'a [Usage],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Posting, Refusal>>;

    /// Steps that release a hold and post nothing.
    fn void(&self, tenant: &TenantId, hold: HoldId, now: Timestamp) -> Vec<Box<dyn Step>>;

    /// What the tightest ceiling of the chain still allows; `None` without any ceiling.
    fn available<'a>(&'a self, chain: &'a VerifiedChain) -> BoxFuture<'a, Result<Option<Micros>, Refusal>>;

    /// Whether the chain has room for `wanted`, of the accounts whose owners let a human be asked to raise them.
    fn room<'a>(&'a self, chain: &'a VerifiedChain, wanted: Micros, now: Timestamp) -> BoxFuture<'a, Result<Room, Refusal>> {
        let _ = (chain, wanted, now);
        Box::pin(async { Ok(Room::Nobody) })
    }

    /// Steps that count a question against its terms; a conflict where they let nobody be asked now.
    fn asking(&self, tenant: &TenantId, raise: &Raise, now: Timestamp) -> Vec<Box<dyn Step>> {
        let _ = (tenant, raise, now);
        Vec::new()
    }

    /// Steps that raise the ceiling to `ceiling`: compare-and-set on the one, and the terms, it was asked about under.
    fn raised(&self, tenant: &TenantId, raise: &Raise, ceiling: Micros) -> Vec<Box<dyn Step>> {
        let _ = (tenant, raise, ceiling);
        Vec::new()
    }

    /// What `usage` would cost now.
    fn price<'a>(&'a self, tenant: &'a TenantId, usage: &'a [Usage]) -> BoxFuture<'a, Result<Micros, Refusal>>;
}

/// What a human is asked.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// The request's identifier.
    pub id: RequestId,
    /// The complete action, as it will be enforced.
    pub action: CanonicalAction,
    /// Its digest.
    pub digest: Digest,
    /// What a retry is found by: the digest of the action without the policy's version.
    pub lookup: Digest,
    /// The leaf that records the opening.
    pub leaf: LeafId,
    /// Digest of the chain as it was presented: what policy is asked about again under.
    pub presented: Digest,
    /// The tool's JSON Schema, where the agent sent it.
    pub schema: Option<Value>,
    /// Whether the agent does what was approved where a human changed the arguments.
    pub editable: bool,
    /// What the leaf's commitment to the digest is salted with.
    pub salt: [u8; 32],
    /// The policy rule that asked for a human.
    pub rule: String,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// The chain, root first, as identities: what separation of duties is checked against.
    pub hops: Vec<NhiId>,
    /// What the agent says about why; untrusted.
    pub reason: Option<String>,
    /// When it was opened.
    pub now: Timestamp,
    /// When it times out, which is a refusal.
    pub deadline: Timestamp,
}

/// What a human decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, to exactly this digest, once.
    Approved {
        /// By whom.
        by: NhiId,
        /// The rule that asked, as the request was opened with it: what was approved, and nothing that policy asks for since.
        rule: String,
        /// The arguments as a human changed them; `None` where nobody did.
        arguments: Option<Map<String, Value>>,
    },
    /// No.
    Denied {
        /// By whom.
        by: NhiId,
        /// What they said.
        comment: Option<String>,
    },
    /// Nobody decided in time.
    TimedOut,
    /// Withdrawn.
    Cancelled,
}

/// A request that was found for an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub id: RequestId,
    /// The version of the policy it was opened under: part of its digest.
    pub policy: Option<Digest>,
    /// The digest it was opened with, before anybody changed the arguments.
    pub digest: Digest,
}

/// What a request asks about, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// The action, as it was edited last.
    pub action: CanonicalAction,
    /// Digest of the chain as it was presented.
    pub presented: Digest,
    /// The run it belongs to.
    pub run: Option<RunId>,
}

/// Writes of another product that go into the caller's commit.
#[derive(Debug, Default)]
pub struct Change {
    /// Its steps.
    pub steps: Vec<Box<dyn Step>>,
    /// Its messages.
    pub messages: Vec<Message>,
    /// Digests for the caller's leaf.
    pub digests: BTreeMap<String, Digest>,
}

/// Humans who decide.
pub trait Approvals: Send + Sync + fmt::Debug {
    /// The request that is looked up by this and is pending, approved and not yet consumed, or denied and not yet heard of: what a retry
    /// after a crash, or between two calls, finds.
    fn find<'a>(&'a self, tenant: &'a TenantId, lookup: Digest, now: Timestamp) -> BoxFuture<'a, Result<Option<Found>, Refusal>>;

    /// What opens a request.
    fn open<'a>(&'a self, request: &'a OpenRequest) -> BoxFuture<'a, Result<Change, Refusal>>;

    /// Tells whoever watches that a request was opened; called after the commit.
    fn opened(&self);

    /// Resolves when the request is decided or its deadline passes; resolves at once for one already decided, so that a decision made
    /// before the wait is never lost.
    fn wait<'a>(&'a self, tenant: &'a TenantId, request: RequestId) -> BoxFuture<'a, Result<Verdict, Refusal>>;

    /// As [`Approvals::wait`], for no longer than `patience`; `None` when the request is still pending then. One that is decided already
    /// is answered however short the patience is.
    fn wait_at_most<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: RequestId,
        patience: Duration,
    ) -> BoxFuture<'a, Result<Option<Verdict>, Refusal>> {
        Box::pin(async move { tokio::time::timeout(patience, self.wait(tenant, request)).await.ok().transpose() })
    }

    /// What a request asks about, for whoever finds one that another attempt opened; `None` for what was only declared.
    fn asking<'a>(&'a self, tenant: &'a TenantId, request: RequestId) -> BoxFuture<'a, Result<Option<Asking>, Refusal>> {
        let _ = (tenant, request);
        Box::pin(async { Ok(None) })
    }

    /// What consumes the approval: compare-and-set from approved to consumed by this admission, for this digest.
    fn consume<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: RequestId,
        digest: Digest,
        admission: AdmissionId,
    ) -> BoxFuture<'a, Result<Change, Refusal>>;

    /// What consumes the approval and records that the action was done, for an action that is done by the caller's very commit.
    fn consume_done<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: RequestId,
        digest: Digest,
        admission: AdmissionId,
    ) -> BoxFuture<'a, Result<Change, Refusal>>;

    /// What takes back an approval nobody has used, so that the same action is asked about again.
    fn withdraw<'a>(&'a self, tenant: &'a TenantId, request: RequestId, reason: &'a str) -> BoxFuture<'a, Result<Change, Refusal>>;

    /// Steps that record that the agent was told of a denial: the next attempt asks anew.
    fn heard(&self, tenant: &TenantId, request: RequestId) -> Vec<Box<dyn Step>> {
        let _ = (tenant, request);
        Vec::new()
    }

    /// What records what came of a consumed approval; `None` while nobody knows.
    fn conclude<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: RequestId,
        admission: AdmissionId,
        ok: Option<bool>,
    ) -> BoxFuture<'a, Result<Change, Refusal>>;
}

/// What an inline limit holds for an action that it admitted. Dropped before [`Held::admitted`], everything comes back.
pub trait Held: Send + Sync {
    /// The intent is on record: what was counted stays counted, whatever becomes of the action.
    fn admitted(&self) {}

    /// Steps that count what the action used beyond what was counted when it was admitted, in the commit that says what came of it. They
    /// run after those that write the bill, and perhaps more than once. Of an effect that is this very commit they refuse what does not fit.
    fn settle(&self, funding: Funding, usage: &[Usage], bill: &Bill) -> Vec<Box<dyn Step>> {
        let _ = (funding, usage, bill);
        Vec::new()
    }

    /// That commit has happened: what was counted and not used comes back.
    fn settled(&self) {}
}

/// Holds a place in an in-memory limit; dropping it gives the place back.
pub struct Lease(Box<dyn Held>);

/// A guard that is told nothing.
struct Guard<T>(T);

impl<T: Send + Sync> Held for Guard<T> {}

impl Lease {
    /// Keeps `guard` until the action is settled.
    #[must_use]
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Box::new(Guard(guard)))
    }

    /// Keeps what is told what becomes of the action.
    #[must_use]
    pub fn of(held: impl Held + 'static) -> Self {
        Self(Box::new(held))
    }

    /// What is held.
    pub(crate) fn held(&self) -> &dyn Held {
        &*self.0
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// What an action asks of inline limits.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The action.
    pub action: &'a CanonicalAction,
    /// Money it holds until it is settled.
    pub reserve: Micros,
    /// What it says that it will use.
    pub expects: &'a [Usage],
}

/// What an inline limit answers.
pub enum Answer<'a> {
    /// From memory.
    Now(Result<Lease, Refusal>),
    /// Once it is known.
    Later(BoxFuture<'a, Result<Lease, Refusal>>),
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

impl From<Result<Lease, Refusal>> for Answer<'_> {
    fn from(answer: Result<Lease, Refusal>) -> Self {
        Self::Now(answer)
    }
}

/// An inline limit: quota, rate. Answers from memory wherever it can.
pub trait Extension: Send + Sync + fmt::Debug {
    /// Admits the action or refuses it.
    fn admit<'a>(&'a self, chain: &'a VerifiedChain, demand: Demand<'a>, now: Timestamp) -> Answer<'a>;
}

/// How far the tenant's log is behind the database.
pub trait LogHealth: Send + Sync + fmt::Debug {
    /// Committed leaves that are not yet in a signed tree.
    fn lag(&self) -> u64;
}
