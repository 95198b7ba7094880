//! Sixty-four clients and what they were told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::task::Poll;

use creto_db::testkit::{Disk, Random};
use creto_enablement_common::{Outcome as Ended, Usage};
use creto_kernel::id::AdmissionId;
use creto_kernel::{Coded as _, Digest, Micros};
use creto_metering::model::event::{Event, EventInput};
use creto_metering::{Answered, Meter, MeteringError, Outcome, Taking};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde_json::json;

use super::stage::{HOUSE, Scene};
use crate::books::CODES;
use crate::catalog::read;
use crate::house::request;

const CLIENTS: usize = 64;
const TAKING: Taking = Taking { trusted: true, all_or_none: false };
/// Events happened over so many seconds: two billing periods.
const SPAN_SECS: u64 = 49 * 24 * 3_600;

/// Subscription and transaction identifier.
pub(crate) type Key = (String, String);

/// What the clients sent, and what they were told about it.
#[derive(Default)]
pub(crate) struct Witness {
    /// Every version of an event that was ever sent.
    pub(crate) sent: BTreeMap<Key, Vec<Event>>,
    /// Events that were acknowledged: place, cost, and which version.
    pub(crate) told: BTreeMap<Key, (i64, i64, Event)>,
    /// Those whose first answer was heard.
    recorded: BTreeSet<Key>,
    /// Requests of events that were acknowledged: the root over them.
    pub(crate) roots: BTreeMap<AdmissionId, Digest>,
    /// Cancellations that were tried, and those that were acknowledged.
    pub(crate) cancelling: BTreeSet<Key>,
    pub(crate) cancelled: BTreeSet<Key>,
    /// Actions whose posting was acknowledged: what it cost.
    pub(crate) posted: BTreeMap<AdmissionId, i64>,
    /// Answers that contradict others.
    pub(crate) wrong: Vec<String>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

impl Witness {
    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Takes an answer in. `known` are the events that were acknowledged when it was asked for.
    fn hear(&mut self, events: &[Event], answered: &Answered, known: &BTreeSet<Key>) {
        if let (Some(admission), Some(root)) = (answered.admission, answered.root) {
            self.roots.insert(admission, root);
        }
        for (event, (_, outcome)) in events.iter().zip(&answered.events) {
            let key = key(event);
            let before = self.told.get(&key);
            let (seq, cost) = match outcome {
                // Whoever repeats it may hear of it first.
                Outcome::Recorded { seq, cost } => {
                    if known.contains(&key) || !self.recorded.insert(key.clone()) || before.is_some_and(|(first, ..)| first != seq) {
                        self.wrong.push(format!("{key:?}, told {before:?}, was recorded again at {seq}"));
                    }
                    (*seq, cost.get())
                }
                Outcome::Duplicate { seq, cost, .. } => {
                    if before.is_some_and(|(first, paid, version)| (first, *paid, version) != (seq, cost.get(), event)) {
                        self.wrong.push(format!("{key:?} was answered {before:?}, and then {outcome:?}"));
                    }
                    self.saw("duplicates");
                    (*seq, cost.get())
                }
                Outcome::Refused(error) | Outcome::Quarantined(error) => {
                    match error.code().as_str() {
                        "metering.duplicate_conflict" if before.is_none_or(|(.., version)| version != event) => self.saw("conflicts"),
                        "metering.budget_exceeded" if !known.contains(&key) => self.saw("refused"),
                        _ => self.wrong.push(format!("{key:?}, told {before:?}, was refused: {error}")),
                    }
                    continue;
                }
            };
            self.told.insert(key, (seq, cost, event.clone()));
        }
    }
}

fn key(event: &Event) -> Key {
    (event.subscription.clone(), event.transaction_id.clone())
}

#[derive(Clone, Debug)]
enum Act {
    Send { chain: usize, events: Vec<EventInput> },
    Hold { chain: usize, reserve: i64, spend: Option<i64>, forget: bool },
    Cancel(Key),
    Watch,
}

/// The clients, what each is about to do, and what each was not answered.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) witness: RefCell<Witness>,
    plans: Vec<Act>,
    answered: RefCell<BTreeSet<usize>>,
    unanswered: Vec<Act>,
    history: Vec<Act>,
    sent: u64,
}

impl Clients {
    /// Decides what each client does next.
    pub(crate) fn plan(&mut self, scene: &Scene, random: &mut Random) {
        self.plans = (0..CLIENTS).map(|_| self.next(scene, random)).collect();
        self.answered.borrow_mut().clear();
        let mut witness = self.witness.borrow_mut();
        for act in &self.plans {
            let Act::Send { events, .. } = act else { continue };
            for event in parsed(scene, events) {
                let versions = witness.sent.entry(key(&event)).or_default();
                if !versions.contains(&event) {
                    versions.push(event);
                }
            }
        }
    }

    fn next(&mut self, scene: &Scene, random: &mut Random) -> Act {
        if !self.unanswered.is_empty() && !random.one_in(3) {
            return self.unanswered.swap_remove(random.place(self.unanswered.len()));
        }
        let told = |random: &mut Random| {
            let witness = self.witness.borrow();
            let at = random.place(witness.told.len());
            witness.told.keys().nth(at).cloned()
        };
        match random.below(16) {
            0..=2 if !self.history.is_empty() => {
                let mut again = random.pick(&self.history).cloned().unwrap();
                if let Act::Send { events, .. } = &mut again {
                    random.shuffle(events);
                }
                again
            }
            3..=5 => {
                let reserve = 1 + i64::try_from(random.below(250)).unwrap();
                let spend = (!random.one_in(4)).then(|| 1 + i64::try_from(random.below(reserve.unsigned_abs())).unwrap());
                Act::Hold { chain: random.place(scene.chains.len()), reserve, spend, forget: random.one_in(8) }
            }
            6 => told(random).map_or(Act::Watch, Act::Cancel),
            7 => {
                // Another event under a used identifier.
                let Some((subscription, id)) = told(random) else { return Act::Watch };
                let event = EventInput { transaction_id: id, external_subscription_id: subscription, ..self.event(scene, random) };
                Act::Send { chain: 0, events: vec![event] }
            }
            8 => Act::Watch,
            _ => {
                let events = (0..=random.below(6)).map(|_| self.event(scene, random)).collect();
                let send = Act::Send { chain: random.place(scene.chains.len()), events };
                self.history.push(send.clone());
                send
            }
        }
    }

    fn event(&mut self, scene: &Scene, random: &mut Random) -> EventInput {
        self.sent += 1;
        let house = random.one_in(5);
        let code = if house { "pages" } else { random.pick(&CODES).unwrap() };
        let value = i64::try_from(random.below(40)).unwrap() - if house { 0 } else { 9 };
        let at = scene.start.saturating_add(std::time::Duration::from_secs(random.below(SPAN_SECS)));
        read(json!({
            "transaction_id": format!("e{}", self.sent), "external_subscription_id": if house { HOUSE } else { "s" }, "code": code, "timestamp": at,
            "properties": {
                "n": value, "region": random.pick(&["east", "west"]), "size": random.pick(&["small", "large"]),
                "agent": random.below(3), "operation_type": if value < 0 { "remove" } else { "add" }
            }
        }))
    }

    /// Everybody at once.
    pub(crate) fn act<'a>(&'a self, scene: &'a Scene, disk: &'a Disk) -> Vec<LocalBoxFuture<'a, ()>> {
        let one = |(at, act): (usize, &'a Act)| {
            async move {
                let done = match act {
                    Act::Send { chain, events } => self.send(scene, *chain, events).await,
                    Act::Hold { chain, reserve, spend, forget } => self.hold(scene, *chain, (*reserve, *spend), *forget).await,
                    Act::Cancel(key) => self.cancel(&scene.meter, scene, key).await,
                    Act::Watch => watch(scene).await,
                };
                match done {
                    Ok(()) => {
                        self.answered.borrow_mut().insert(at);
                    }
                    // What a dying server says is no answer.
                    Err(_) if disk.is_off() => {}
                    Err(wrong) => self.witness.borrow_mut().wrong.push(wrong),
                }
            }
            .boxed_local()
        };
        self.plans.iter().enumerate().map(one).collect()
    }

    /// What was not answered is sent again some time.
    pub(crate) fn settle(&mut self) {
        let answered = self.answered.borrow();
        for (at, act) in self.plans.drain(..).enumerate() {
            if matches!(act, Act::Send { .. }) && !answered.contains(&at) {
                self.unanswered.push(act);
                self.witness.borrow_mut().saw("unanswered");
            }
        }
    }

    /// Everything that was not answered yet, and nothing else.
    pub(crate) fn plan_the_rest(&mut self) -> bool {
        self.plans = std::mem::take(&mut self.unanswered);
        self.answered.borrow_mut().clear();
        !self.plans.is_empty()
    }

    async fn send(&self, scene: &Scene, chain: usize, events: &[EventInput]) -> Result<(), String> {
        // Who is refused while another asks the same may hear of it after the other heard that it is recorded.
        let known: BTreeSet<Key> = self.witness.borrow().told.keys().cloned().collect();
        let inputs = events.iter().cloned().map(Ok).collect();
        let answered = scene.meter.ingest_all(scene.chain(chain), TAKING, inputs).await.map_err(|e| format!("events: {e}"))?;
        if let Some((_, Outcome::Refused(MeteringError::Db(error)))) = answered.events.iter().find(|(_, outcome)| unserved(outcome)) {
            return Err(format!("events: {error}"));
        }
        self.witness.borrow_mut().hear(&parsed(scene, events), &answered, &known);
        Ok(())
    }

    async fn hold(&self, scene: &Scene, chain: usize, (reserve, spend): (i64, Option<i64>), forget: bool) -> Result<(), String> {
        let mut asked = request(scene.chain(chain), "tool.call", "tool:report");
        asked.reserve = Micros::new(reserve);
        let granted = match scene.house.gate.admit(asked).await {
            Ok(granted) => granted,
            Err(refusal) if refusal.code().as_str() == "metering.budget_exceeded" => {
                self.witness.borrow_mut().saw("refused");
                return Ok(());
            }
            Err(refusal) => return Err(format!("hold: {refusal}")),
        };
        self.witness.borrow_mut().saw("held");
        if forget {
            return Ok(());
        }
        let usage = spend.map(|micros| Usage::measured("micros", micros)).into_iter().collect();
        let ended = Ended { ok: spend.is_some(), usage, ..Ended::default() };
        let settled = scene.house.gate.settle(granted, ended).await.map_err(|e| format!("posting: {e}"))?;
        let mut witness = self.witness.borrow_mut();
        witness.saw("posted");
        witness.posted.insert(settled.admission, settled.cost.get());
        if settled.cost.get() != spend.unwrap_or(0) {
            return Err(format!("{spend:?} micros cost {}", settled.cost));
        }
        Ok(())
    }

    async fn cancel(&self, meter: &Meter, scene: &Scene, key: &Key) -> Result<(), String> {
        let first = self.witness.borrow_mut().cancelling.insert(key.clone());
        match meter.cancel(&scene.by, &key.0, &key.1).await {
            Ok(_) => {
                let mut witness = self.witness.borrow_mut();
                witness.saw("cancelled");
                if witness.cancelled.insert(key.clone()) { Ok(()) } else { Err(format!("{key:?} was cancelled twice")) }
            }
            Err(MeteringError::AlreadyCancelled(_)) if !first => Ok(()),
            Err(error) => Err(format!("cancelling {key:?}: {error}")),
        }
    }
}

const fn unserved(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(MeteringError::Db(_)))
}

fn parsed(scene: &Scene, events: &[EventInput]) -> Vec<Event> {
    events.iter().map(|event| event.clone().parse(scene.now()).unwrap()).collect()
}

/// No account is past its ceiling, whoever is half way through what.
async fn watch(scene: &Scene) -> Result<(), String> {
    for _ in 0..3 {
        super::inspect::ceilings(scene).await?;
        let mut went = false;
        futures::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut went, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    Ok(())
}
