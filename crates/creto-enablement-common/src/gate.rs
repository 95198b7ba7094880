//! Admit, do, settle.

mod actions;
mod asking;
mod attempt;
mod effects;
mod erasing;
mod ownership;
mod raising;
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use creto_authz::{Authorizer, Decision, RuleId};
use creto_db::{Db, DbError, Late, Lately, Lazily, Sealed};
use creto_kernel::canonical::CanonicalError;
use creto_kernel::id::{AdmissionId, HoldId, LeafId, RequestId, RunId};
use creto_kernel::{CanonicalAction, Clock, Coded, Digest, Kind, Leaf, Micros, NhiId, Phase, TenantId, Timestamp};
use creto_nhi::{Authority, DelegationChain, NhiError, VerifiedChain};

use actions::Closing;
pub use actions::{ActionFilter, ActionRow, ActionState, LIST_MAX, MIGRATIONS};
use asking::Asked;
pub use asking::Reviewed;
pub use attempt::{ATTEMPT_BYTES_MAX, AttemptError, AttemptId};
pub use ownership::{HEARTBEAT, SERVER_LEASE, ServerId};
use ownership::{Live, Unsettled};
pub use raising::{MOVED, RAISE_ACTION, RAISE_RULE, RAISES_OVER};
use raising::{Made, Waiting};
pub use request::{Acting, Admission, AdmitRequest, Effect, Granted, Outcome, Settled};

use crate::ports::{Answer, Approvals, Bill, Change, Demand, Extension, Funding, Held, Lease, Ledger, LogHealth};
use crate::refusal::Refusal;

/// Most leaves the log may be behind before the Gate closes.
pub const LOG_LAG_MAX: u64 = 50_000;

/// Most money one action may hold: a million units. One that could hold everything could stop everybody who shares an account with it.
pub const RESERVE_MAX: Micros = Micros::new(1_000_000_000_000);

/// What a Gate is built from.
#[derive(Debug)]
pub struct GateOptions {
    /// Chains that were verified before the latest revocation are verified again here.
    pub authority: Authority,
    /// Policy.
    pub authz: Arc<Authorizer>,
    /// Inline limits, asked in order.
    pub extensions: Vec<Arc<dyn Extension>>,
    /// Money.
    pub ledger: Arc<dyn Ledger>,
    /// Humans.
    pub approvals: Arc<dyn Approvals>,
    /// The log's health.
    pub log: Arc<dyn LogHealth>,
    /// The database.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The one way to act.
#[derive(Debug)]
pub struct Gate {
    options: GateOptions,
    server: ServerId,
    live: Live,
    unsettled: Unsettled,
}

/// Makes the commitment to an action's digest unguessable.
type Salt = [u8; 32];

/// What a leaf holds of an action: SHA-256(salt ‖ digest). The digest itself could be guessed from few arguments.
fn commitment(salt: &Salt, digest: Digest) -> Digest {
    Digest::of_parts(&[salt, digest.as_bytes()])
}

enum Judgement {
    Allow,
    Deny(Refusal),
    /// Every rule that asks; one request covers them all.
    Oversight(Vec<RuleId>),
}

enum Clearance {
    Cleared(Box<Cleared>),
    Pending(RequestId, Digest),
}

/// A refusal that is not on record yet, with what it is about; nothing where there will be no record.
struct Stopped {
    cleared: Option<Box<Cleared>>,
    refusal: Refusal,
}

impl Stopped {
    /// Whether a ceiling had no room when it was to be committed.
    fn is_short(&self) -> bool {
        self.cleared.is_some() && matches!(self.refusal, Refusal::BudgetExceeded { .. })
    }
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self { cleared: None, refusal }
    }
}

/// What passed policy and, where asked, a human; nothing is committed yet.
struct Cleared {
    admission: AdmissionId,
    salt: Salt,
    action: CanonicalAction,
    digest: Digest,
    /// The digest without the policy's version: what a retry is found by.
    lookup: Digest,
    approval: Option<RequestId>,
    leases: Vec<crate::ports::Lease>,
}

impl Gate {
    /// A Gate over its ports, of a server with a name nobody else has.
    #[must_use]
    pub fn new(options: GateOptions) -> Self {
        Self { options, server: ServerId::generate(), live: Live::default(), unsettled: Unsettled::default() }
    }

    /// The same Gate under the name its server keeps between starts: intents of an earlier start under this name are its own.
    #[must_use]
    pub fn of_server(mut self, server: ServerId) -> Self {
        self.server = server;
        self
    }

    /// Admits an action that reaches outside our database: decides, waits for a human where policy asks for one, then commits the
    /// intent together with the held money and the consumed approval.
    ///
    /// Errors: every [`Refusal`]; nothing is held then, and the refusal itself is a leaf ([`Refusal::LogLagging`] alone is not: a leaf
    /// more would only add to the backlog). Dropping the future while a human is asked leaves an open request behind, which a retry of
    /// the same action finds by its digest; dropping it later may leave an intent that nobody settles, which [`Gate::tend`] marks in
    /// doubt. Who cannot wait for a human for as long as it takes calls [`Gate::admit_within`].
    pub async fn admit(&self, request: AdmitRequest<'_>) -> Result<Granted, Refusal> {
        match self.admit_within(request, Duration::MAX).await? {
            Admission::Granted(granted) => Ok(*granted),
            Admission::Pending(request, _) => Err(Refusal::NotDecided { request }),
            Admission::Again(admission) => Err(attempt::used(admission)),
        }
    }

    /// As [`Gate::admit`], but waits for a human no longer than `patience`. Only that wait is cut short: an action that is admitted is
    /// never given up half way.
    ///
    /// A request with an attempt is answered once: asked again, it gets the answer it got first, whatever became of that on its way.
    pub async fn admit_within(&self, request: AdmitRequest<'_>, patience: Duration) -> Result<Admission, Refusal> {
        if let Some(first) = self.first_answer(&request).await? {
            return Ok(first);
        }
        match self.try_admit(&request, patience).await {
            Ok(admission) => Ok(admission),
            Err(stopped) => {
                // Another call of the same attempt may have been faster.
                if stopped.refusal.kind() == Kind::Conflict
                    && let Some(first) = self.first_answer(&request).await?
                {
                    return Ok(first);
                }
                Err(self.recorded(&request, stopped).await)
            }
        }
    }

    /// Admits, and where a ceiling has no room asks whether it may be raised, as its owner wants it, and admits anew.
    async fn try_admit(&self, request: &AdmitRequest<'_>, patience: Duration) -> Result<Admission, Stopped> {
        let mut waiting = Waiting::for_admission(request, patience);
        loop {
            let stopped = match self.admit_once(request, waiting.left()).await {
                Err(stopped) if stopped.is_short() => stopped,
                answer => return answer,
            };
            if let Made::Pending(asked, digest) = self.room_instead_of(request, request.reserve, &mut waiting, stopped).await? {
                return Ok(Admission::Pending(asked, digest));
            }
        }
    }

    async fn admit_once(&self, request: &AdmitRequest<'_>, patience: Duration) -> Result<Admission, Stopped> {
        let cleared = match self.clear(request, patience).await? {
            Clearance::Cleared(cleared) => cleared,
            Clearance::Pending(request, digest) => return Ok(Admission::Pending(request, digest)),
        };
        // Before the commit: an intent that is there and not among the live ones has nobody who will settle it.
        let place = self.live.enter(cleared.admission);
        let committed = self.commit_intent(request, &cleared).await;
        // An intent of which nobody knows whether it is on record counts.
        if !committed.as_ref().is_err_and(is_certain) {
            held(&cleared.leases).for_each(Held::admitted);
        }
        match committed {
            Ok(hold) => Ok(Admission::Granted(Box::new(Granted {
                admission: cleared.admission,
                action: cleared.action,
                digest: cleared.digest,
                salt: cleared.salt,
                chain: request.chain.clone(),
                run: request.run,
                hold,
                approval: cleared.approval,
                again: false,
                leases: cleared.leases,
                _place: place,
            }))),
            Err(refusal) => Err(Stopped { cleared: Some(cleared), refusal }),
        }
    }

    async fn commit_intent(&self, request: &AdmitRequest<'_>, cleared: &Cleared) -> Result<Option<HoldId>, Refusal> {
        let now = self.options.clock.now();
        let hold = (request.reserve > Micros::ZERO).then(HoldId::generate);
        let leaf = self
            .leaf(request, cleared, "allow", now)
            .at(Phase::Intent { admission: cleared.admission })
            .fact("reserved_micros", request.reserve.get());
        let row = ActionRow::open(cleared, request, leaf.id, now)?.holding(hold);
        let sealed = Sealed::new(leaf)
            .steps(attempt::admitted(request, cleared))
            .step(row.insert(ActionState::Intent))
            .step(ownership::own(&cleared.action.tenant, cleared.admission, &self.server));
        let mut sealed = with(sealed, self.consume(cleared).await?);
        if let Some(hold) = hold {
            sealed = sealed.steps(self.options.ledger.hold(hold, request.chain, request.reserve, now).await?);
        }
        self.options.db.commit(sealed).await.map_err(refusal_of)?;
        Ok(hold)
    }

    /// Records what came of an admitted action: posts the usage, releases the hold, concludes the approval.
    ///
    /// Errors: [`Refusal::Port`]. Where the database cannot serve, the outcome is kept and [`Gate::tend`] records it once it can; one
    /// that cannot be recorded for another reason leaves the intent without outcome, which `tend` marks IN_DOUBT.
    pub async fn settle(&self, granted: Granted, outcome: Outcome) -> Result<Settled, Refusal> {
        match self.try_settle(&granted, &outcome).await {
            Err(refusal) if refusal.kind() == Kind::Unavailable => {
                self.unsettled.keep(granted, outcome);
                Err(refusal)
            }
            settled => settled,
        }
    }

    async fn try_settle(&self, granted: &Granted, outcome: &Outcome) -> Result<Settled, Refusal> {
        let now = self.options.clock.now();
        let posting =
            self.options.ledger.settle(Funding::Happened(granted.hold), &granted.chain, granted.admission, &outcome.usage, now).await?;
        let state = if outcome.ok { ActionState::Done } else { ActionState::Failed };
        let action = &granted.action;
        let mut leaf = Leaf::event(
            LeafId::generate(),
            now,
            action.agent.clone(),
            action.action.clone(),
            action.resource.clone(),
            if outcome.ok { "done" } else { "failed" },
        )
        .under(granted.chain.digest())
        .digest("action", commitment(&granted.salt, granted.digest))
        .at(Phase::Outcome { admission: granted.admission });
        if let Some(run) = granted.run {
            leaf = leaf.fact("run", run);
        }
        let note = serde_json::to_string(&outcome.facts).ok();
        leaf.facts.extend(outcome.facts.clone());
        leaf.digests.extend(outcome.digests.clone());
        let closing = Closing {
            tenant: action.tenant.clone(),
            admission: granted.admission,
            from: ActionState::Intent,
            to: state,
            leaf: leaf.id,
            cost: Micros::ZERO,
            note,
            now,
        };
        let bill = posting.cost.clone();
        let close = Lazily(move || closing.costing(bill.cost()).write());
        let disown = ownership::disown(&action.tenant, granted.admission);
        let funding = Funding::Happened(granted.hold);
        let counting = held(&granted.leases).flat_map(|held| held.settle(funding, &outcome.usage, &posting.cost));
        let mut sealed = Sealed::new(leaf).steps(posting.steps).steps(counting).step(close).step(disown).late(billed(&posting.cost));
        if let Some(approval) = granted.approval {
            sealed = with(sealed, self.options.approvals.conclude(&action.tenant, approval, granted.admission, Some(outcome.ok)).await?);
        }
        let committed = self.options.db.commit(sealed).await.map_err(refusal_of)?;
        held(&granted.leases).for_each(Held::settled);
        Ok(Settled { admission: granted.admission, leaf: committed.leaf, cost: posting.cost.cost() })
    }

    /// A human says what came of an action in doubt. Its held money is released; usage that was never reported is not invented.
    pub async fn resolve_in_doubt(&self, by: &NhiId, admission: AdmissionId, happened: bool) -> Result<Settled, Refusal> {
        let tenant = by.tenant();
        let row = self.action(tenant, admission).await?.ok_or_else(actions::unknown)?;
        if row.state != ActionState::InDoubt {
            return Err(actions::state_changed());
        }
        let now = self.options.clock.now();
        let decision = if happened { "happened" } else { "did_not_happen" };
        let leaf = row.note_leaf(LeafId::generate(), by, "gate.resolve", decision, now)?.at(Phase::Outcome { admission });
        let closing = Closing {
            tenant: tenant.clone(),
            admission,
            from: ActionState::InDoubt,
            to: if happened { ActionState::Done } else { ActionState::Failed },
            leaf: leaf.id,
            cost: Micros::ZERO,
            note: None,
            now,
        };
        let mut sealed = Sealed::new(leaf).step(closing.write());
        if let Some(hold) = row.hold {
            sealed = sealed.steps(self.options.ledger.void(tenant, hold, now));
        }
        if let Some(approval) = row.approval {
            sealed = with(sealed, self.options.approvals.conclude(tenant, approval, admission, Some(happened)).await?);
        }
        let committed = self.options.db.commit(sealed).await.map_err(refusal_of)?;
        Ok(Settled { admission, leaf: committed.leaf, cost: Micros::ZERO })
    }

    /// One action of a tenant.
    pub async fn action(&self, tenant: &TenantId, admission: AdmissionId) -> Result<Option<ActionRow>, Refusal> {
        actions::one(&self.options.db, tenant, admission).await.map_err(refusal_of)
    }

    /// The actions of a tenant, newest first: all of them, of one run, or in one state.
    pub async fn actions(&self, tenant: &TenantId, filter: &ActionFilter) -> Result<Vec<ActionRow>, Refusal> {
        actions::list(&self.options.db, tenant, filter).await.map_err(refusal_of)
    }

    /// What the actions of each run cost together, of the runs from `first` to `last`.
    pub async fn run_costs(&self, tenant: &TenantId, first: RunId, last: RunId) -> Result<BTreeMap<RunId, Micros>, Refusal> {
        actions::costs(&self.options.db, tenant, first, last).await.map_err(refusal_of)
    }

    /// The ledger the Gate holds money with.
    #[must_use]
    pub fn ledger(&self) -> &dyn Ledger {
        &*self.options.ledger
    }

    async fn clear(&self, request: &AdmitRequest<'_>, patience: Duration) -> Result<Clearance, Stopped> {
        let lag = self.options.log.lag();
        if lag > LOG_LAG_MAX {
            return Err(Refusal::LogLagging { lag, limit: LOG_LAG_MAX }.into());
        }
        let mut cleared = Box::new(self.unjudged(request)?);
        match self.pass(request, &mut cleared, patience).await {
            Ok(None) => Ok(Clearance::Cleared(cleared)),
            Ok(Some(pending)) => Ok(Clearance::Pending(pending, cleared.digest)),
            Err(refusal) => Err(Stopped { cleared: Some(cleared), refusal }),
        }
    }

    /// Answers the request that is still pending, if one is.
    async fn pass(&self, request: &AdmitRequest<'_>, cleared: &mut Cleared, patience: Duration) -> Result<Option<RequestId>, Refusal> {
        if request.reserve > RESERVE_MAX {
            return Err(Refusal::BudgetExceeded { message: format!("an action may hold at most {RESERVE_MAX}, not {}", request.reserve) });
        }
        let judged = self.judge(request, &[]).await?;
        if let Judgement::Deny(refusal) = judged {
            return Err(refusal);
        }
        // Before a human is asked: whoever is past their rate does not fill the inbox either.
        for extension in &self.options.extensions {
            let demand = Demand { action: &cleared.action, reserve: request.reserve, expects: &request.expects };
            let lease = match extension.admit(request.chain, demand, self.options.clock.now()) {
                Answer::Now(answer) => answer?,
                Answer::Later(answer) => answer.await?,
            };
            cleared.leases.push(lease);
        }
        match judged {
            Judgement::Allow => {}
            Judgement::Deny(refusal) => return Err(refusal),
            Judgement::Oversight(rules) => match self.ask(request, cleared, &rules, patience).await? {
                Asked::Approved(approval) => cleared.approval = Some(approval),
                Asked::Pending(pending) => return Ok(Some(pending)),
            },
        }
        Ok(None)
    }

    /// The chain as it stands now: one verified before the latest revocation is verified again, so that a revocation reaches a run that
    /// is under way and stops nobody else's.
    pub async fn standing(&self, chain: &VerifiedChain) -> Result<VerifiedChain, Refusal> {
        let authority = &self.options.authority;
        if chain.revocation_epoch() == authority.revocation_epoch() {
            return Ok(chain.clone());
        }
        let invalid = |error: &NhiError| Refusal::ChainInvalid { message: error.to_string() };
        match authority.chain(chain.tenant(), chain.digest()).await.map_err(|e| invalid(&e))? {
            Some(links) => authority.verify(&links, self.options.clock.now()).map_err(|e| invalid(&e)),
            None if chain.hops().len() == 1 => authority.direct(chain.root()).map_err(|e| invalid(&e)),
            None => Err(Refusal::ChainInvalid {
                message: "the chain is not registered and something was revoked since it was verified".to_owned(),
            }),
        }
    }

    /// Verifies a chain that came as a token. It proves who delegated what to whom, not who sends it.
    pub fn verify(&self, links: &DelegationChain) -> Result<VerifiedChain, Refusal> {
        let invalid = |error: NhiError| Refusal::ChainInvalid { message: error.to_string() };
        self.options.authority.verify(links, self.options.clock.now()).map_err(invalid)
    }

    /// The chain of a human or a service that acts for itself, whom the caller has authenticated.
    pub fn direct(&self, root: &NhiId) -> Result<VerifiedChain, Refusal> {
        self.options.authority.direct(root).map_err(|error| Refusal::ChainInvalid { message: error.to_string() })
    }

    /// Whether policy allows an action as it is, without asking anybody and without a record: for a part of another action that is
    /// itself admitted.
    pub async fn permits(&self, request: &AdmitRequest<'_>) -> Result<(), Refusal> {
        match self.judge(request, &[]).await? {
            Judgement::Allow => Ok(()),
            Judgement::Deny(refusal) => Err(refusal),
            Judgement::Oversight(_) => Err(Refusal::denied("policy asks a human about this: send it by itself")),
        }
    }

    async fn judge(&self, request: &AdmitRequest<'_>, approved: &[RuleId]) -> Result<Judgement, Refusal> {
        let chain = self.standing(request.chain).await?;
        let authz = &self.options.authz;
        let session = authz.open(&chain);
        let action = authz.action(&request.action);
        let resource = authz.resource(&request.resource);
        let context = authz.classify(&request.context);
        let now = self.options.clock.now();
        let decision = if approved.is_empty() {
            authz.check(&session, &action, &resource, &context, now)
        } else {
            authz.check_approved(&session, &action, &resource, &context, approved, now)
        };
        Ok(match decision {
            Decision::Allow => Judgement::Allow,
            Decision::Deny(reason) => {
                let explained = authz.evaluate(&session, &action, &resource, &context, now);
                Judgement::Deny(Refusal::Denied { code: reason.code(), message: reason.to_string(), hint: explained.hint })
            }
            Decision::RequiresOversight(rule) => {
                let rules = authz.evaluate(&session, &action, &resource, &context, now).rules;
                Judgement::Oversight(if rules.is_empty() { vec![rule] } else { rules })
            }
        })
    }

    async fn consume(&self, cleared: &Cleared) -> Result<Change, Refusal> {
        match cleared.approval {
            Some(approval) => self.options.approvals.consume(&cleared.action.tenant, approval, cleared.digest, cleared.admission).await,
            None => Ok(Change::default()),
        }
    }

    /// Records that a caller refuses an action before it came to the Gate's own judgement: the refusal is a leaf like the Gate's.
    pub async fn refuse(&self, request: &AdmitRequest<'_>, refusal: Refusal) -> Refusal {
        match self.unjudged(request) {
            Ok(cleared) => self.recorded(request, Stopped { cleared: Some(Box::new(cleared)), refusal }).await,
            Err(error) => error,
        }
    }

    fn unjudged(&self, request: &AdmitRequest<'_>) -> Result<Cleared, Refusal> {
        let unfit = |e: CanonicalError| Refusal::denied(e.to_string());
        let mut action = request.canonical().map_err(unfit)?;
        let lookup = action.digest().map_err(unfit)?;
        action.policy = self.options.authz.policy_digest(&action.tenant);
        let digest = action.digest().map_err(unfit)?;
        let mut salt = Salt::default();
        creto_crypto::random::fill(&mut salt).map_err(|e| Refusal::port(&e))?;
        let admission = request.admission.unwrap_or_else(AdmissionId::generate);
        Ok(Cleared { admission, salt, action, digest, lookup, approval: None, leases: Vec::new() })
    }

    /// Records a refusal as a leaf and gives it back. Where even that fails the refusal still stands: failing closed needs no record.
    async fn recorded(&self, request: &AdmitRequest<'_>, stopped: Stopped) -> Refusal {
        let Stopped { cleared: Some(cleared), refusal } = stopped else { return stopped.refusal };
        let now = self.options.clock.now();
        let leaf = self.leaf(request, &cleared, "deny", now).fact("code", refusal.code());
        let row = match ActionRow::open(&cleared, request, leaf.id, now) {
            Ok(row) => row.refused(&refusal),
            Err(error) => return error,
        };
        let mut sealed = Sealed::new(leaf).step(row.insert(ActionState::Refused));
        if let Refusal::DeniedByHuman { request: denied, .. } = &refusal {
            sealed = sealed.steps(self.options.approvals.heard(&cleared.action.tenant, *denied));
        }
        if let Refusal::DeniedByHuman { request: asked, .. } | Refusal::NotDecided { request: asked } = &refusal {
            sealed = sealed.steps(attempt::refused(request, &cleared, *asked));
        }
        if let Err(error) = self.options.db.commit(sealed).await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
        refusal
    }

    fn leaf(&self, request: &AdmitRequest<'_>, cleared: &Cleared, decision: &str, now: Timestamp) -> Leaf {
        let CanonicalAction { agent, action, resource, .. } = cleared.action.clone();
        let leaf = Leaf::event(LeafId::generate(), now, agent, action, resource, decision)
            .under(request.chain.digest())
            .digest("action", commitment(&cleared.salt, cleared.digest));
        match request.run {
            Some(run) => leaf.fact("run", run),
            None => leaf,
        }
    }
}

/// What inline limits hold.
fn held(leases: &[Lease]) -> impl Iterator<Item = &dyn Held> {
    leases.iter().map(Lease::held)
}

/// Whether nothing was committed for sure: a database that cannot be reached may have done it all the same.
fn is_certain(refusal: &Refusal) -> bool {
    refusal.kind() != Kind::Unavailable
}

/// The cost as the leaf records it.
fn billed(bill: &Bill) -> Lately {
    let bill = bill.clone();
    Lately::new(move || Late { facts: BTreeMap::from([("cost_micros".to_owned(), bill.cost().get().to_string())]), ..Late::default() })
}

/// The commit with what another product adds to it.
fn with(sealed: Sealed, change: Change) -> Sealed {
    change.messages.into_iter().fold(sealed.steps(change.steps), Sealed::message)
}

/// A database error as a refusal that keeps its code; a budget conflict is told apart because callers react to it.
fn refusal_of(error: DbError) -> Refusal {
    match error {
        DbError::Conflict { code, message } if code.as_str() == "metering.budget_exceeded" => Refusal::BudgetExceeded { message },
        DbError::Conflict { code, message } if code.as_str() == "metering.quota_exceeded" => {
            Refusal::QuotaExceeded { message, quota: None }
        }
        DbError::Conflict { code, message } if code.as_str() == "oversight.too_many_open" || code == RAISES_OVER => {
            Refusal::Port { code, kind: Kind::Limited, message }
        }
        other => Refusal::port(&other),
    }
}
