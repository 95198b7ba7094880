//! One request of events on its way: checked, attributed, drafted, committed at once, answered one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use creto_db::{DbError, Deciding, Step};
use creto_enablement_common::gate::Acting;
use creto_enablement_common::{AdmitRequest, Effect, Refusal};
use creto_kernel::id::AdmissionId;
use creto_kernel::{Coded, Digest, ErrorCode, Micros, TenantId, Timestamp};
use creto_nhi::{DelegationChain, VerifiedChain};
use serde_json::{Map, Value};

use super::Meter;
use super::counting::Counting;
use super::drafting::Drafting;
use super::ingest::{Answered, Outcome, Taking};
use super::quarantine::{self, Aside};
use super::reporters::Allowed;
use crate::catalog::CatalogReader;
use crate::core::aggregate::Value as Reported;
use crate::core::batch_tree;
use crate::core::recording::{Drafted, Fate};
use crate::error::MeteringError;
use crate::model::account;
use crate::model::currency::Currency;
use crate::model::event::{self, Event, EventInput, OWN_PREFIX};
use crate::model::metric::{self, Metric};
use crate::model::quota::SPEND;
use crate::model::source::{Attribution, Source};
use crate::store::cancelling::{Cancelling, GivenBack};
use crate::store::events;
use crate::store::recording::{self, Draft, Told};

/// How long events wait for a human, where policy asks one.
const APPROVAL_WAIT: Duration = Duration::from_secs(600);

/// One event as it was sent, read once.
pub(super) struct Sent {
    id: Option<String>,
    token: Option<String>,
    event: Result<Arc<Event>, MeteringError>,
}

impl Sent {
    pub(super) fn read(input: Result<EventInput, MeteringError>, now: Timestamp) -> Self {
        match input {
            Err(error) => Self { id: None, token: None, event: Err(error) },
            Ok(mut input) => Self {
                id: Some(input.transaction_id.clone()),
                token: input.chain.take(),
                event: input.parse(now).and_then(check_foreign).map(Arc::new),
            },
        }
    }
}

/// One request of events on its way.
pub(super) struct Intake<'a> {
    pub(super) meter: &'a Meter,
    pub(super) acting: Acting<'a>,
    pub(super) taking: Taking,
    pub(super) now: Timestamp,
    pub(super) epoch: i64,
    sent: &'a [Sent],
    pub(super) outcomes: Vec<Option<Outcome>>,
    pub(super) drafting: Drafting,
    counting: Counting,
    /// Whether usage in a currency that is not the budgets' can be booked to a chain.
    apart: HashMap<(Digest, Currency), Result<(), MeteringError>>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(meter: &'a Meter, acting: Acting<'a>, taking: Taking, now: Timestamp, sent: &'a [Sent]) -> Self {
        let outcomes = sent.iter().map(|sent| sent.event.as_ref().err().map(|error| Outcome::Refused(error.clone()))).collect();
        let (drafting, counting, apart) = (Drafting::default(), Counting::default(), HashMap::new());
        Self { meter, acting, taking, now, epoch: 0, sent, outcomes, drafting, counting, apart }
    }

    /// The identifier of an event, where it was read.
    pub(super) fn id(&self, at: usize) -> Option<String> {
        self.sent.get(at).and_then(|sent| sent.id.clone())
    }

    pub(super) fn tenant(&self) -> &'a TenantId {
        self.acting.chain.tenant()
    }

    /// A request that was recorded before as a whole is answered without asking anybody. Only where its first and its last event are
    /// known the others are looked up: the usual request is new.
    pub(super) async fn whole_retry(&mut self) -> Result<Option<Answered>, MeteringError> {
        let known: Vec<(usize, &Event)> =
            self.sent.iter().enumerate().filter_map(|(at, sent)| Some((at, sent.event.as_deref().ok()?))).collect();
        let (Some((_, first)), Some((_, last))) = (known.first(), known.last()) else { return Ok(Some(self.answer(None))) };
        let tenant = self.tenant();
        for event in [first, last] {
            let key = event::used_key(tenant, &event.subscription, &event.transaction_id);
            if events::place(&self.meter.db, tenant, &key).await?.is_none() {
                return Ok(None);
            }
        }
        let mut found = Vec::new();
        for (at, event) in known {
            let key = event::used_key(tenant, &event.subscription, &event.transaction_id);
            let Some(seq) = events::place(&self.meter.db, tenant, &key).await? else { return Ok(None) };
            found.push((at, seq));
        }
        for (at, seq) in found {
            let outcome = self.first_answer(at, seq).await?;
            self.settle(at, outcome);
        }
        Ok(Some(self.answer(None)))
    }

    fn settle(&mut self, at: usize, outcome: Outcome) {
        if let Some(place) = self.outcomes.get_mut(at) {
            *place = Some(outcome);
        }
    }

    /// How an event whose identifier was used is answered: as the first time, or with both digests.
    pub(super) async fn first_answer(&self, at: usize, seq: i64) -> Result<Outcome, MeteringError> {
        let (db, tenant) = (&self.meter.db, self.tenant());
        let lost = || MeteringError::Db(DbError::Corrupt(format!("the event at place {seq} has no batch")));
        let batch = events::batch_of(db, tenant, seq).await?.ok_or_else(lost)?;
        let recorded = batch.digest(seq).ok_or_else(lost)?;
        let sent = self.sent.get(at).and_then(|sent| sent.event.as_ref().ok()).map(|event| event.digest).ok_or_else(lost)?;
        if recorded != sent {
            let transaction = self.id(at).unwrap_or_default();
            return Ok(Outcome::Refused(MeteringError::DuplicateConflict { transaction, recorded, sent }));
        }
        // What was erased cost something all the same, and nobody can say what any more.
        let cost = events::record(db, tenant, seq).await?.map_or(Micros::ZERO, |record| record.cost);
        Ok(Outcome::Duplicate { seq, cost, admission: batch.admission })
    }

    /// Finds for each event whom it is booked to, whether they may report it, and what it counts in.
    pub(super) async fn draft(&mut self, reader: &CatalogReader) -> Result<(), MeteringError> {
        self.epoch = reader.epoch();
        let mut allowed = Allowed::default();
        let caller = self.source(self.acting.chain, Attribution::Caller);
        let mut metrics: HashMap<String, Result<Metric, MeteringError>> = HashMap::new();
        let mut aside = Vec::new();
        for (at, sent) in self.sent.iter().enumerate() {
            let Ok(event) = &sent.event else { continue };
            let token = sent.token.as_deref();
            let drafted = self.draft_one(at, event, (token, caller), reader, &mut allowed, &mut metrics).await;
            match drafted {
                Ok(()) => {}
                Err(error @ MeteringError::Db(_)) => return Err(error),
                Err(why) if quarantine::is_for(&why) && !self.taking.all_or_none => match self.aside(at, event, token, why) {
                    Ok(kept) => aside.push(kept),
                    Err(error) => self.settle(at, Outcome::Refused(error)),
                },
                Err(error) => self.settle(at, Outcome::Refused(error)),
            }
        }
        for (at, outcome) in self.meter.keep_aside(self.acting, aside, self.now).await? {
            self.settle(at, outcome);
        }
        self.drafting.sort();
        Ok(())
    }

    /// An event that may be kept, with whom it would be booked to.
    fn aside(&self, place: usize, event: &Arc<Event>, token: Option<&str>, why: MeteringError) -> Result<Aside, MeteringError> {
        let source = match token {
            Some(token) => Source::of(&self.verified(token)?, Attribution::Token),
            None => Source::of(self.acting.chain, Attribution::Caller),
        };
        Ok(Aside { place, event: Arc::clone(event), source, why })
    }

    async fn draft_one(
        &mut self,
        at: usize,
        event: &Arc<Event>,
        (token, caller): (Option<&str>, usize),
        reader: &CatalogReader,
        allowed: &mut Allowed,
        metrics: &mut HashMap<String, Result<Metric, MeteringError>>,
    ) -> Result<(), MeteringError> {
        let tenant = self.tenant();
        let chain = token.map(|token| self.verified(token)).transpose()?;
        let booked = chain.as_ref().unwrap_or(self.acting.chain);
        let view = reader.subscription(&event.subscription, event.occurred_at).await?;
        if view.is_none() && !reader.history(&event.subscription).await?.is_empty() {
            return Err(MeteringError::NotRunning { subscription: event.subscription.clone(), at: event.occurred_at });
        }
        allowed.check(self, event, booked, view.as_deref()).await?;
        let source = match &chain {
            Some(chain) => self.source(chain, Attribution::Token),
            None => caller,
        };
        if let Some(view) = view {
            if view.apart {
                self.check_currency(booked, view.currency).await?;
            }
            return self.drafting.plan(tenant, at, Arc::clone(event), source, &view);
        }
        if !metrics.contains_key(&event.code) {
            let found = self.meter.accounts.metric(tenant, &event.code).await;
            metrics.insert(event.code.clone(), found);
        }
        match metrics.get(&event.code) {
            Some(Ok(metric)) => self.drafting.house(tenant, at, Arc::clone(event), source, metric),
            Some(Err(error)) => Err(error.clone()),
            None => Err(MeteringError::UnknownMetric(event.code.clone())),
        }
    }

    /// Refuses another currency than the budgets' under a ceiling or a quota of spend; each chain is looked at once.
    async fn check_currency(&mut self, chain: &VerifiedChain, found: Currency) -> Result<(), MeteringError> {
        let key = (chain.digest(), found);
        if !self.apart.contains_key(&key) {
            let accounts = account::of_chain(chain);
            let limited = self.meter.quotas.as_ref().and_then(|quotas| quotas.limited(chain)).is_some_and(|of| of.concerns(SPEND));
            let looked = self.meter.accounts.check_currency(chain.tenant(), &accounts, found, limited).await;
            self.apart.insert(key, looked);
        }
        self.apart.get(&key).cloned().unwrap_or(Ok(()))
    }

    /// Whom events are booked to, with what limits them.
    fn source(&mut self, chain: &VerifiedChain, attribution: Attribution) -> usize {
        let source = self.drafting.source(Source::of(chain, attribution));
        self.counting.note(source, self.meter.quotas.as_ref().and_then(|quotas| quotas.limited(chain)));
        source
    }

    /// The chain of a token: of this tenant, in force, and allowed to report usage at all.
    fn verified(&self, token: &str) -> Result<VerifiedChain, MeteringError> {
        let bad = |problem: String| MeteringError::BadEvent { field: "chain", problem };
        let links = DelegationChain::from_token(token).map_err(|e| bad(format!("is no chain token: {e}")))?;
        let chain = self.meter.gate.verify(&links).map_err(|e| bad(format!("does not verify: {e}")))?;
        if chain.tenant() != self.tenant() {
            return Err(bad("is of another tenant".to_owned()));
        }
        Ok(chain)
    }

    /// Commits what was drafted, after what it takes the place of.
    pub(super) async fn commit(mut self, instead_of: Option<(Cancelling, GivenBack)>) -> Result<Answered, MeteringError> {
        self.ask_policy().await?;
        if self.drafting.events.is_empty() || (self.taking.all_or_none && self.outcomes.iter().any(Option::is_some)) {
            return Ok(self.answer(None));
        }
        let admission = AdmissionId::generate();
        let told = Told::default();
        let mut drafting = std::mem::take(&mut self.drafting);
        let places = std::mem::take(&mut drafting.places);
        let root = (drafting.events.len() > 1).then(|| root_of(&drafting.events));
        let request = self.request(admission, &drafting.events, root)?;
        let mut counted = self.counting.of(&drafting.events, &told, self.meter.clock.now())?;
        let draft = drafting.draft(self.acting.chain.leaf(), admission, self.epoch, self.now, &told);
        let draft = Draft { all_or_none: self.taking.all_or_none, root, ..draft };
        let mut steps: Vec<Box<dyn Step>> = Vec::new();
        let mut late = vec![told.lately()];
        if let Some((cancelled, given)) = instead_of {
            steps.push(Box::new(Deciding(cancelled)));
            late.push(given.lately());
        }
        steps.push(Box::new(Deciding(draft)));
        steps.append(&mut counted.steps);
        let effect = Effect { steps, late, bill: Some(told.bill.clone()), ..Effect::default() };
        let committed = self.meter.gate.commit_effect(request, effect).await;
        let recorded = match &committed {
            Ok(_) => {
                counted.recorded();
                if told.advances() {
                    self.meter.due.ring(self.tenant());
                }
                Some((admission, told.root()))
            }
            // What was decided inside the commit says which event was refused, and why.
            Err(refusal) if said_by_draft(refusal.code()) => None,
            Err(refusal) => return Err(refusal.clone().into()),
        };
        // Of one request that was undone the Gate has asked already, and says so.
        let mut asked: HashMap<String, Refusal> = HashMap::new();
        for (place, fate) in places.into_iter().zip(told.fates()) {
            let outcome = match (fate, &committed) {
                (Fate::Short { .. }, Err(refusal)) if self.sent.len() == 1 => Outcome::Refused(MeteringError::Refused(refusal.clone())),
                (Fate::Short { account, whose, cost }, _) => {
                    let short = match asked.get(&account) {
                        Some(said) => said.clone(),
                        None => self.ask_to_raise(place, &account, &whose, cost).await?,
                    };
                    asked.insert(account, short.clone());
                    Outcome::Refused(MeteringError::Refused(short))
                }
                (fate, _) => self.outcome_of(place, fate, recorded.is_some()).await?,
            };
            self.settle(place, outcome);
        }
        Ok(self.answer(recorded))
    }

    /// Asks, without waiting, whether a ceiling may be raised for an event that did not fit; the refusal says what became of that.
    async fn ask_to_raise(&self, place: usize, account: &str, whose: &str, cost: Micros) -> Result<Refusal, MeteringError> {
        let short = no_room(account, whose, cost);
        let Some(sent) = self.sent.get(place) else { return Ok(short) };
        let Ok(event) = &sent.event else { return Ok(short) };
        let chain = sent.token.as_deref().map(|token| self.verified(token)).transpose()?;
        let acting = Acting { chain: chain.as_ref().unwrap_or(self.acting.chain), run: self.acting.run };
        match self.meter.gate.make_room(&request_for(acting, &event.code)?, cost, short.clone()).await {
            // Where a human has said yes by now, the same event sent again is judged anew.
            Ok(_) => Ok(short),
            Err(refusal) => Ok(refusal),
        }
    }

    async fn outcome_of(&self, place: usize, fate: Fate, committed: bool) -> Result<Outcome, MeteringError> {
        Ok(match fate {
            Fate::Recorded { seq, cost } if committed => Outcome::Recorded { seq, cost },
            // Within a request that was undone there is no first event either.
            Fate::Used { seq } if committed || events::record(&self.meter.db, self.tenant(), seq).await?.is_some() => {
                self.first_answer(place, seq).await?
            }
            fate => Outcome::Refused(refused(fate, || self.id(place).unwrap_or_default())),
        })
    }

    /// Policy is asked about each metric: a request of many must not carry one that may not be reported.
    pub(super) async fn ask_policy(&mut self) -> Result<(), MeteringError> {
        let codes: BTreeSet<&str> = self.drafting.events.iter().map(|drafted| drafted.event.code.as_str()).collect();
        if codes.len() <= 1 {
            return Ok(());
        }
        let mut refused: BTreeMap<String, Refusal> = BTreeMap::new();
        for code in codes {
            let request = request_for(self.acting, code)?;
            if let Err(refusal) = self.meter.gate.permits(&request).await {
                refused.insert(code.to_owned(), refusal);
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let both: Vec<_> = self.drafting.places.drain(..).zip(self.drafting.events.drain(..)).collect();
        for (place, drafted) in both {
            match refused.get(&drafted.event.code) {
                Some(refusal) => self.settle(place, Outcome::Refused(MeteringError::Refused(refusal.clone()))),
                None => {
                    self.drafting.places.push(place);
                    self.drafting.events.push(drafted);
                }
            }
        }
        Ok(())
    }

    /// The action: of one event all that is known, so that an approver sees it; of many, how many and their root.
    pub(super) fn request(
        &self,
        admission: AdmissionId,
        drafted: &[Drafted],
        root: Option<Digest>,
    ) -> Result<AdmitRequest<'a>, MeteringError> {
        let Some(first) = drafted.first() else { return Err(MeteringError::Undone) };
        let mut request = request_for(self.acting, &first.event.code)?;
        request.admission = Some(admission);
        request.wait = APPROVAL_WAIT;
        request.arguments = match root {
            None => Map::from_iter([
                ("properties".to_owned(), Value::Object(first.event.fields.clone())),
                ("quantity".to_owned(), quantity(first).into()),
                ("subscription".to_owned(), first.event.subscription.clone().into()),
                ("transaction_id".to_owned(), first.event.transaction_id.clone().into()),
                ("event".to_owned(), first.event.digest.to_string().into()),
            ]),
            Some(root) => {
                let codes: BTreeSet<&str> = drafted.iter().map(|drafted| drafted.event.code.as_str()).collect();
                Map::from_iter([
                    ("events".to_owned(), drafted.len().to_string().into()),
                    ("metrics".to_owned(), codes.into_iter().take(ARGUMENT_CODES_MAX).collect()),
                    ("root".to_owned(), root.to_string().into()),
                ])
            }
        };
        Ok(request)
    }

    fn answer(&mut self, recorded: Option<(AdmissionId, Option<Digest>)>) -> Answered {
        let undone = || Outcome::Refused(MeteringError::Undone);
        let outcomes = self.outcomes.drain(..).map(|outcome| outcome.unwrap_or_else(undone));
        Answered {
            admission: recorded.map(|(admission, _)| admission),
            root: recorded.and_then(|(_, root)| root),
            events: self.sent.iter().map(|sent| sent.id.clone()).zip(outcomes).collect(),
        }
    }
}

/// Why an event was not recorded. One that would have been was undone with the others.
pub(super) fn refused(fate: Fate, transaction: impl FnOnce() -> String) -> MeteringError {
    match fate {
        Fate::Recorded { .. } | Fate::Used { .. } => MeteringError::Undone,
        Fate::Short { account, whose, cost } => MeteringError::Refused(no_room(&account, &whose, cost)),
        Fate::Unpayable => MeteringError::CostOverflow(transaction()),
        Fate::Unpriced(why) => MeteringError::Unpriced(why),
    }
}

fn no_room(account: &str, whose: &str, cost: Micros) -> Refusal {
    Refusal::BudgetExceeded { message: format!("the budget of `{whose}` ({account}) has no room for {cost}") }
}

/// The root over events, in their order.
pub(super) fn root_of(drafted: &[Drafted]) -> Digest {
    batch_tree::root(&drafted.iter().map(|drafted| drafted.event.digest).collect::<Vec<_>>())
}

/// How much an event reports, as an approver is shown it.
fn quantity(drafted: &Drafted) -> String {
    match drafted.shares.first().map(|share| &share.value) {
        Some(Reported::Number(units) | Reported::Maybe(Some(units))) => units.to_string(),
        Some(Reported::Member(value, _)) => value.clone(),
        _ => "1".to_owned(),
    }
}

/// Most metrics that an approver is shown of a request.
const ARGUMENT_CODES_MAX: usize = 50;

pub(super) fn request_for<'a>(acting: Acting<'a>, code: &str) -> Result<AdmitRequest<'a>, MeteringError> {
    let parse = |e: creto_kernel::action::NameError| MeteringError::BadEvent { field: "code", problem: e.to_string() };
    let resource = format!("metric:{code}");
    let mut request = AdmitRequest::new(acting.chain, "metering.ingest".parse().map_err(parse)?, resource.parse().map_err(parse)?);
    request.run = acting.run;
    Ok(request)
}

pub(super) fn said_by_draft(code: ErrorCode) -> bool {
    [recording::BUDGET_EXCEEDED, recording::DUPLICATE, recording::COST_OVERFLOW, recording::UNPRICED].contains(&code)
}

/// What the server measures itself, and the identifiers it records that under, cannot be reported from outside.
fn check_foreign(event: Event) -> Result<Event, MeteringError> {
    let bad = |field, problem: &str| Err(MeteringError::BadEvent { field, problem: problem.to_owned() });
    if event.transaction_id.starts_with(OWN_PREFIX) {
        return bad("transaction_id", "begins with `creto:`, which is kept for what the server measures itself");
    }
    if metric::built_in(&event.code).is_some() {
        return bad("code", "is a metric that the server measures itself");
    }
    Ok(event)
}
