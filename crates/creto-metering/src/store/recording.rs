//! A commit of events as a step: what it asks, and the writes that follow from the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use creto_db::{Decide, Late, Lately, Many, Row, Step, StepError, params};
use creto_enablement_common::ports::Bill;
use creto_kernel::id::AdmissionId;
use creto_kernel::{Digest, ErrorCode, Micros, NhiId, TenantId, Timestamp};

use crate::catalog::boxed;
use crate::core::backfill::Rehearsal;
use crate::core::batch_tree;
use crate::core::charging::Advance;
use crate::core::daily::{self, DailyKey, Used};
use crate::core::recording::{self, Drafted, Fate, Known, MemberKey, Paying, Recording, Scope, Slot};
use crate::core::zone::Day;
use crate::model::account::AccountRef;
use crate::model::billable_metric::Aggregation;
use crate::model::source::{Attribution, Source};
use crate::store::alerts::Marks;
use crate::store::events::{Batch, Record};
use crate::store::ledger::Entry;
use crate::store::{advance, aggregates, daily as dailies, events, ledger};

/// The catalog changed between drafting and committing: the draft is made again.
pub(crate) const CATALOG_CHANGED: ErrorCode = ErrorCode::new("metering.catalog_changed");
pub(crate) const BUDGET_EXCEEDED: ErrorCode = ErrorCode::new("metering.budget_exceeded");
pub(crate) const DUPLICATE: ErrorCode = ErrorCode::new("metering.duplicate_conflict");
pub(crate) const COST_OVERFLOW: ErrorCode = ErrorCode::new("metering.cost_overflow");
pub(crate) const REHEARSED: ErrorCode = ErrorCode::new("metering.rehearsed");
pub(crate) const PLAN_CHANGED: ErrorCode = ErrorCode::new("metering.plan_changed");
pub(crate) const UNPRICED: ErrorCode = ErrorCode::new("metering.unpriced");

/// Events ready to be recorded.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) tenant: TenantId,
    pub(crate) admission: AdmissionId,
    pub(crate) collector: NhiId,
    pub(crate) now: Timestamp,
    /// The catalog they were drafted under.
    pub(crate) epoch: i64,
    pub(crate) paying: Paying,
    /// Whether one event that is not recorded undoes all.
    pub(crate) all_or_none: bool,
    pub(crate) sources: Vec<Source>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) events: Vec<Drafted>,
    /// What of it is watched.
    pub(crate) marks: Marks,
    /// What would change is told, and recorded only where that was agreed to.
    pub(crate) rehearsal: Option<Rehearsal>,
    /// The root over all of them, where whoever asked for them has named it.
    pub(crate) root: Option<Digest>,
    pub(crate) looks: OnceLock<Looks>,
    pub(crate) told: Told,
}

/// Which days, values and rows of days the events touch, each once.
#[derive(Debug)]
pub(crate) struct Looks {
    days: Vec<(usize, Day)>,
    members: Vec<MemberKey>,
    dailies: Vec<DailyKey<usize>>,
}

/// What a commit of events tells the outside, once it has run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) bill: Bill,
    said: Arc<Mutex<Said>>,
}

#[derive(Clone, Debug, Default)]
struct Said {
    fates: Vec<Fate>,
    root: Option<Digest>,
    advances: bool,
}

impl Told {
    fn say(&self, recording: &Recording, root: Digest, short: Micros) {
        self.bill.write(recording.cost());
        self.bill.write_short(short);
        let root = (!recording.recorded.is_empty()).then_some(root);
        let said = Said { fates: recording.fates.clone(), root, advances: !recording.advances.is_empty() };
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// What became of each event; empty before the commit.
    pub(crate) fn fates(&self) -> Vec<Fate> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).fates.clone()
    }

    /// The root of the tree over what was recorded.
    pub(crate) fn root(&self) -> Option<Digest> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).root
    }

    /// Whether an event is to be billed by itself.
    pub(crate) fn advances(&self) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).advances
    }

    /// What the leaf says of it: how many events, and their root.
    pub(crate) fn lately(&self) -> Lately {
        let told = self.clone();
        Lately::new(move || {
            let recorded = told.fates().iter().filter(|fate| matches!(fate, Fate::Recorded { .. })).count();
            let digests = told.root().map(|root| ("events".to_owned(), root));
            Late { facts: BTreeMap::from([("events".to_owned(), recorded.to_string())]), digests: digests.into_iter().collect() }
        })
    }
}

impl Draft {
    /// Accounts of all sources, each once.
    fn accounts(&self) -> Vec<&AccountRef> {
        let all = self.sources.iter().flat_map(|source| &source.accounts).map(|account| (account.account.as_str(), account));
        all.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    fn looks(&self) -> &Looks {
        self.looks.get_or_init(|| {
            let (mut days, mut members) = (BTreeSet::new(), BTreeSet::new());
            let mut last = None;
            for share in self.events.iter().flat_map(|event| &event.shares) {
                // Neighbours mostly touch the same day of the same aggregate.
                if last.replace((share.slot, share.day)) != Some((share.slot, share.day)) {
                    days.insert((share.slot, share.day));
                }
                if let crate::core::aggregate::Value::Member(value, _) = &share.value
                    && let Some(slot) = self.slots.get(share.slot)
                {
                    members.insert(recording::member_key(&self.slots, share.slot, slot.whole(), value));
                    members.insert(recording::member_key(&self.slots, share.slot, Scope::Day(share.day), value));
                }
            }
            Looks {
                days: days.into_iter().collect(),
                members: members.into_iter().collect(),
                dailies: daily::keys(&self.events, &self.slots),
            }
        })
    }

    /// What the commit would cost the caller's own chain where that has no room for it; zero where it has. What is booked to the chain of
    /// a token is that chain's matter.
    fn short(&self, recording: &Recording) -> Micros {
        let own = |place: usize| {
            let source = self.events.get(place).and_then(|event| self.sources.get(event.source));
            source.is_some_and(|source| source.attribution != Attribution::Token)
        };
        let costs = recording.fates.iter().enumerate().filter(|(place, _)| own(*place)).filter_map(|(_, fate)| match fate {
            Fate::Short { cost, .. } => Some((true, *cost)),
            Fate::Recorded { cost, .. } => Some((false, *cost)),
            _ => None,
        });
        let (short, sum) =
            costs.fold((false, Micros::ZERO), |(any, sum), (short, cost)| (any || short, sum.checked_add(cost).unwrap_or(Micros::MAX)));
        if short { sum } else { Micros::ZERO }
    }

    fn recurring(&self) -> Vec<(usize, &Slot)> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.terms.metric.recurring).collect()
    }

    fn known(&self, answers: &[Vec<Row>]) -> Result<(i64, HashMap<usize, i64>, Known), StepError> {
        let [epoch, ends, used, numbered, standing, running, days, carried, active, members] = answers else {
            return Err(StepError::Invalid("a draft asked for something else".to_owned()));
        };
        let corrupt = |e: creto_db::DbError| StepError::Invalid(e.to_string());
        let now = epoch.first().map_or(Ok(0), |row| row.int(0)).map_err(corrupt)?;
        if now != self.epoch {
            return Err(StepError::conflict(CATALOG_CHANGED, "the catalog changed while events were recorded"));
        }
        let looks = self.looks();
        let end = |column| ends.first().map_or(Ok(0), |row| row.int(column)).map_err(corrupt);
        let mut known = Known { last_seq: end(0)?, purse: ledger::purse(standing).map_err(corrupt)?, ..Known::default() };
        known.used = used.iter().map(events::used_row).collect::<Result<_, _>>().map_err(corrupt)?;
        known.running = running.iter().map(aggregates::running_row).collect::<Result<_, _>>().map_err(corrupt)?;
        for row in days {
            let (place, tally) = aggregates::day_row(row).map_err(corrupt)?;
            known.days.extend(looks.days.get(place).map(|key| (*key, tally)));
        }
        known.carried = aggregates::carried_rows(carried).map_err(corrupt)?;
        known.active = active.iter().map(aggregates::active_row).collect::<Result<_, _>>().map_err(corrupt)?;
        for row in members {
            let (place, state) = aggregates::member_row(row).map_err(corrupt)?;
            known.members.extend(looks.members.get(place).map(|key| (key.clone(), state)));
        }
        let mut numbers = HashMap::new();
        for row in numbered {
            let (number, chain, attribution) = events::numbered_row(row).map_err(corrupt)?;
            let place = self.sources.iter().position(|source| source.chain == chain && source.attribution == attribution);
            numbers.extend(place.map(|place| (place, number)));
        }
        Ok((end(1)?, numbers, known))
    }
}

impl Decide for Draft {
    fn questions(&self) -> Vec<Many> {
        let tenant = &self.tenant;
        let keys: Vec<Digest> = self.events.iter().map(|event| event.key).collect();
        let accounts: Vec<&str> = self.accounts().iter().map(|account| account.account.as_str()).collect();
        let looks = self.looks();
        let recurring = self.recurring();
        let unique = |(_, slot): &(usize, &Slot)| slot.terms.metric.aggregation_type == Aggregation::UniqueCount;
        let (counted, summed): (Vec<_>, Vec<_>) = recurring.into_iter().partition(unique);
        vec![
            Many::new("SELECT epoch FROM meter_catalog_epoch WHERE tenant = $1", params![tenant], vec![]),
            events::ends(tenant),
            // A request of many events is new, or was answered before it came here.
            events::used(tenant, keys).supposed_empty(self.events.len() > 1 && self.rehearsal.is_none()),
            events::numbered(tenant, &self.sources),
            ledger::standing(tenant, &accounts),
            aggregates::running(tenant, &self.slots),
            aggregates::days(tenant, &self.slots, &looks.days),
            aggregates::carried(tenant, &summed),
            aggregates::active(tenant, &counted),
            aggregates::members(tenant, &self.slots, &looks.members.iter().collect::<Vec<_>>()),
            dailies::of_sources(tenant, &self.sources, &looks.dailies),
        ]
    }

    fn decide(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError> {
        self.steps(answers, false)
    }

    fn decide_supposing(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError> {
        self.steps(answers, true)
    }
}

impl Draft {
    /// INVARIANT: where nobody asked which identifiers are used, either all events are recorded, and the index of used identifiers refuses
    /// one that is used, or it is a conflict, and they are asked for. An event that was recorded before costs nothing: with it supposed new,
    /// others might find no room.
    fn steps(&self, answers: &[Vec<Row>], supposing: bool) -> Result<Vec<Box<dyn Step>>, StepError> {
        let Some((days_so_far, answers)) = answers.split_last() else {
            return Err(StepError::Invalid("a draft asked for something else".to_owned()));
        };
        let (last_source, numbers, known) = self.known(answers)?;
        let recording = recording::record(&self.events, &self.slots, &self.sources, &known, self.paying);
        let numbers = self.number(&recording, numbers, last_source);
        let (records, digests, used) = self.rows(&recording, &numbers);
        let root = self.root.filter(|_| digests.len() == self.events.len()).unwrap_or_else(|| batch_tree::root(&digests));
        self.told.say(&recording, root, self.short(&recording));
        if let Some(rehearsal) = &self.rehearsal {
            self.agreed(rehearsal, &recording, &known, &root)?;
        }
        let refused = recording.fates.iter().find(|fate| !matches!(fate, Fate::Recorded { .. }));
        if let Some(fate) = refused.filter(|_| supposing || self.all_or_none || records.is_empty()) {
            return Err(conflict(fate));
        }
        let Some(first) = records.first().map(|record| record.seq) else { return Ok(Vec::new()) };
        let tenant = &self.tenant;
        let new: Vec<(i64, &Source)> = numbers
            .iter()
            .filter(|(_, number)| **number > last_source)
            .filter_map(|(place, number)| self.sources.get(*place).map(|source| (*number, source)))
            .collect();
        let batch = Batch { first, admission: self.admission, collector: &self.collector, received_at: self.now, root, digests: &digests };
        let mut steps: Vec<Box<dyn Step>> = vec![
            Box::new(events::insert_sources(tenant, &new)),
            Box::new(events::insert_used(tenant, used)),
            Box::new(events::insert_spans(tenant, &events::spans(&records))),
            Box::new(events::insert_records(tenant, records)),
            Box::new(events::insert_batch(tenant, &batch)),
        ];
        steps.extend(self.aggregate_steps(&recording)?);
        steps.extend(self.advance_step(&recording)?);
        steps.push(Box::new(self.daily_step(&recording, &numbers, days_so_far)?));
        steps.extend(self.ledger_steps(&recording));
        steps.extend(boxed(self.marks.writes(tenant)));
        Ok(steps)
    }
}

/// What undoes a commit that would record nothing, or not all.
fn conflict(fate: &Fate) -> StepError {
    match fate {
        Fate::Short { account, whose, cost } => {
            StepError::conflict(BUDGET_EXCEEDED, format!("the budget of `{whose}` ({account}) has no room for {cost}"))
        }
        Fate::Unpayable => StepError::conflict(COST_OVERFLOW, "what the usage costs does not fit"),
        Fate::Unpriced(why) => StepError::conflict(UNPRICED, why.clone()),
        Fate::Used { .. } | Fate::Recorded { .. } => StepError::conflict(DUPLICATE, "the transaction was recorded before"),
    }
}

impl Draft {
    /// Refuses whatever was not agreed to.
    fn agreed(&self, rehearsal: &Rehearsal, recording: &Recording, known: &Known, root: &Digest) -> Result<(), StepError> {
        let invalid = |e: crate::core::charging::ChargingError| StepError::Invalid(e.to_string());
        let digest = rehearsal.decide(recording, &self.slots, known, root).map_err(invalid)?;
        let refused = recording.fates.iter().find(|fate| !matches!(fate, Fate::Recorded { .. } | Fate::Used { .. }));
        match (rehearsal.agreed, refused) {
            (None, _) => Err(StepError::conflict(REHEARSED, "what would change is told, and nothing is recorded")),
            (Some(_), Some(fate)) => Err(conflict(fate)),
            (Some(agreed), None) if agreed != digest => {
                Err(StepError::conflict(PLAN_CHANGED, "what the backfill would change is no longer what was agreed to"))
            }
            _ => Ok(()),
        }
    }

    /// A number for each source that something is booked to: by place.
    fn number(&self, recording: &Recording, mut numbers: HashMap<usize, i64>, mut last: i64) -> BTreeMap<usize, i64> {
        let booked: BTreeSet<usize> = recording.recorded.iter().filter_map(|at| self.events.get(*at)).map(|event| event.source).collect();
        let mut all = BTreeMap::new();
        for place in booked {
            let number = numbers.remove(&place).unwrap_or_else(|| {
                last = last.saturating_add(1);
                last
            });
            all.insert(place, number);
        }
        all
    }

    fn rows(&self, recording: &Recording, numbers: &BTreeMap<usize, i64>) -> (Vec<Record>, Vec<Digest>, Vec<(Digest, i64)>) {
        let (mut records, mut digests, mut used) = (Vec::new(), Vec::new(), Vec::new());
        for at in &recording.recorded {
            let (Some(draft), Some(Fate::Recorded { seq, cost })) = (self.events.get(*at), recording.fates.get(*at)) else { continue };
            let event = &draft.event;
            records.push(Record {
                seq: *seq,
                subscription: event.subscription.clone(),
                transaction_id: event.transaction_id.clone(),
                code: event.code.clone(),
                occurred_at: event.occurred_at,
                timed: event.timed,
                properties: event.properties.clone(),
                total_cents: event.total_cents.clone(),
                source: numbers.get(&draft.source).copied().unwrap_or_default(),
                cost: *cost,
                terms: draft.terms.clone(),
                cancelled_at: None,
                given_back: Micros::ZERO,
                erased_at: None,
            });
            digests.push(event.digest);
            used.push((draft.key, *seq));
        }
        (records, digests, used)
    }

    fn aggregate_steps(&self, recording: &Recording) -> Result<Vec<Box<dyn Step>>, StepError> {
        let key = |slot: &usize| self.slots.get(*slot).map(|slot| &slot.key);
        let running: Vec<_> = recording.running.iter().filter_map(|(slot, running)| Some((key(slot)?, running))).collect();
        let days: Vec<_> = recording.days.iter().filter_map(|((slot, day), tally)| Some((key(slot)?, *day, tally))).collect();
        let members: Vec<_> = recording.members.iter().collect();
        Ok(vec![
            Box::new(aggregates::put_running(&self.tenant, &running)?),
            Box::new(aggregates::put_days(&self.tenant, &days)?),
            Box::new(aggregates::put_members(&self.tenant, &self.slots, &members)),
        ])
    }

    /// What is billed at its event, of charges that are paid in advance; usually nothing.
    fn advance_step(&self, recording: &Recording) -> Result<Option<Box<dyn Step>>, StepError> {
        if recording.advances.is_empty() {
            return Ok(None);
        }
        let row = |(at, slot, brought): &(usize, usize, Advance)| {
            let (event, Fate::Recorded { seq, .. }) = (&self.events.get(*at)?.event, recording.fates.get(*at)?) else { return None };
            Some(advance::Written::event(*seq, self.slots.get(*slot)?, (&event.transaction_id, event.occurred_at), brought))
        };
        let rows: Vec<_> = recording.advances.iter().filter_map(row).collect();
        Ok(Some(Box::new(advance::insert(&self.tenant, &rows)?)))
    }

    /// What was used by each source, metric and model, with what was known of the day.
    fn daily_step(&self, recording: &Recording, numbers: &BTreeMap<usize, i64>, known: &[Row]) -> Result<Many, StepError> {
        let recorded = recording.recorded.iter().filter_map(|at| match (self.events.get(*at), recording.fates.get(*at)) {
            (Some(drafted), Some(Fate::Recorded { cost, .. })) => Some((drafted, *cost)),
            _ => None,
        });
        let mut sums = daily::sums(recorded, &self.slots);
        let wanted = &self.looks().dailies;
        for row in known {
            let (place, used) = dailies::placed_row(row).map_err(|e| StepError::Invalid(e.to_string()))?;
            if let Some(sum) = wanted.get(place).and_then(|key| sums.get_mut(key)) {
                sum.add(&used);
            }
        }
        let numbered = |(key, used): (DailyKey<usize>, Used)| {
            let DailyKey { day, source, code, model } = key;
            Some((DailyKey { day, source: *numbers.get(&source)?, code, model }, used))
        };
        Ok(dailies::put(&self.tenant, &sums.into_iter().filter_map(numbered).collect::<Vec<_>>()))
    }

    fn ledger_steps(&self, recording: &Recording) -> Vec<Box<dyn Step>> {
        let paid: BTreeMap<usize, Micros> = recording.bill.iter().fold(BTreeMap::new(), |mut sums, ((source, _), cost)| {
            let sum = sums.entry(*source).or_insert(Micros::ZERO);
            *sum = sum.checked_add(*cost).unwrap_or(Micros::MAX);
            sums
        });
        let codes = recording.bill.iter().map(|((_, code), cost)| (code.as_str(), *cost));
        let sources: Vec<(&Source, Micros)> = paid.iter().filter_map(|(place, cost)| Some((self.sources.get(*place)?, *cost))).collect();
        ledger_steps(&self.tenant, self.admission, self.now, &self.collector, &sources, codes)
    }
}

/// The balanced entries of one posting: the acting hop of each source owes its part, each metric earned its part; the rollup lines repeat
/// the debit for every account of the chain. Accounts that are not there are opened.
pub(crate) fn ledger_steps<'a>(
    tenant: &TenantId,
    admission: AdmissionId,
    now: Timestamp,
    by: &NhiId,
    sources: &[(&Source, Micros)],
    codes: impl IntoIterator<Item = (&'a str, Micros)>,
) -> Vec<Box<dyn Step>> {
    let mut lines: BTreeMap<(&'static str, String), Entry> = BTreeMap::new();
    let mut add = |entry: Entry| match lines.get_mut(&(entry.side, entry.account.clone())) {
        Some(line) => line.micros = line.micros.checked_add(entry.micros).unwrap_or(Micros::MAX),
        None => {
            lines.insert((entry.side, entry.account.clone()), entry);
        }
    };
    let mut accounts: BTreeMap<&str, &AccountRef> = BTreeMap::new();
    for (source, cost) in sources {
        let path = serde_json::json!(source.path()).to_string();
        let line = |side: &'static str, hop: usize, account: &AccountRef| Entry {
            side,
            account: account.account.clone(),
            identity: account.identity.to_string(),
            hop: i64::try_from(hop).unwrap_or(i64::MAX),
            path: path.clone(),
            micros: *cost,
        };
        source.accounts.last().into_iter().for_each(|last| add(line("debit", source.accounts.len(), last)));
        source.accounts.iter().enumerate().for_each(|(hop, account)| add(line("rollup", hop, account)));
        accounts.extend(source.accounts.iter().map(|account| (account.account.as_str(), account)));
    }
    for (code, cost) in codes {
        let (account, identity) = (format!("income:{code}"), by.to_string());
        add(Entry { side: "credit", account, identity, hop: 0, path: String::new(), micros: cost });
    }
    let lines: Vec<Entry> = lines.into_values().collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let spent: Vec<(&str, Micros)> =
        lines.iter().filter(|line| line.side == "rollup").map(|line| (line.account.as_str(), line.micros)).collect();
    vec![
        Box::new(ledger::open(tenant, &accounts.into_values().collect::<Vec<_>>())),
        Box::new(ledger::spend(tenant, &spent)),
        Box::new(ledger::entries(tenant, admission, now, &lines)),
    ]
}
