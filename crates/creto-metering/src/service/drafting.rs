//! From checked events to a draft: which aggregates each one says something to.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use creto_db::DbError;
use creto_kernel::id::AdmissionId;
use creto_kernel::{Digest, NhiId, TenantId, Timestamp};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::catalog::SubscriptionView;
use crate::core::charging::Terms;
use crate::core::exact::Exact;
use crate::core::expression::EventScope;
use crate::core::matching::{self, Group};
use crate::core::period::{self, Period};
use crate::core::reading::{self, ReadError, reading};
use crate::core::recording::{Drafted, Paying, Share, Slot, SlotKey};
use crate::core::zone::{Day, Zone};
use crate::error::MeteringError;
use crate::model::alert::Watched;
use crate::model::billable_metric::{Aggregation, BillableMetric};
use crate::model::charge::Charge;
use crate::model::event::{self, Event};
use crate::model::metric::Metric;
use crate::model::plan::Interval;
use crate::model::price::PriceModel;
use crate::model::source::Source;
use crate::store::alerts::{Mark, Marks};
use crate::store::recording::{Draft, Told};

/// Minor units of the house's own prices: they are in units of the currency.
const HOUSE_SUBUNITS: u32 = 100;

/// Gathers events, their sources and their aggregates, each once.
#[derive(Debug, Default)]
pub(crate) struct Drafting {
    pub(crate) slots: Vec<Slot>,
    pub(crate) sources: Vec<Source>,
    pub(crate) events: Vec<Drafted>,
    /// For each drafted event, its place among those that were sent.
    pub(crate) places: Vec<usize>,
    /// What these events change that is watched.
    pub(crate) marks: Marks,
    known_slots: HashMap<SlotKey, usize, RandomState>,
    known_levels: HashMap<(String, String, String), usize, RandomState>,
    known_sources: HashMap<Digest, Vec<usize>>,
    periods: HashMap<(usize, Day), Seen, RandomState>,
    /// Slots without filter and groups, by the addresses of their period and their charge, which `periods` keeps.
    plain: HashMap<(usize, usize), usize, RandomState>,
}

/// A subscription, which stays as long as its address says something, and the period.
type Seen = (Arc<SubscriptionView>, Arc<Of>);

/// A billing period of a subscription.
#[derive(Debug)]
struct Of {
    subscription: String,
    from: i64,
    period: Period,
}

impl Drafting {
    /// With these aggregates in their places, and one source.
    pub(crate) fn of(slots: Vec<Slot>, source: Source) -> Self {
        let mut drafting = Self::default();
        for slot in slots {
            drafting.slot(slot.key, (*slot.terms).clone(), slot.priced);
        }
        drafting.source(source);
        drafting
    }

    /// What was gathered, without what gathering more of it takes.
    pub(super) fn copy(&self) -> Self {
        let Self { slots, sources, events, places, marks, .. } = self;
        let (slots, sources, events) = (slots.clone(), sources.clone(), events.clone());
        Self { slots, sources, events, places: places.clone(), marks: marks.clone(), ..Self::default() }
    }

    /// The draft of one commit by `collector`, under the catalog of `epoch`: within ceilings, and all or none.
    pub(crate) fn draft(self, collector: &NhiId, admission: AdmissionId, epoch: i64, now: Timestamp, told: &Told) -> Draft {
        let Self { slots, sources, events, marks, .. } = self;
        Draft {
            tenant: collector.tenant().clone(),
            admission,
            collector: collector.clone(),
            now,
            epoch,
            paying: Paying::WithinCeilings,
            all_or_none: true,
            sources,
            slots,
            events,
            marks,
            rehearsal: None,
            root: None,
            looks: OnceLock::new(),
            told: told.clone(),
        }
    }

    /// The place of a source.
    pub(crate) fn source(&mut self, source: Source) -> usize {
        let same = self.known_sources.entry(source.chain).or_default();
        let found = same.iter().find(|at| self.sources.get(**at).is_some_and(|known| known.attribution == source.attribution));
        if let Some(at) = found {
            return *at;
        }
        let at = self.sources.len();
        same.push(at);
        self.sources.push(source);
        at
    }

    /// An event of a subscription of the house: its metric has a price of its own, and the period is the month in UTC.
    pub(crate) fn house(
        &mut self,
        tenant: &TenantId,
        place: usize,
        event: impl Into<Arc<Event>>,
        source: usize,
        metric: &Metric,
    ) -> Result<(), MeteringError> {
        let event = event.into();
        if metric.aggregation == Aggregation::Sum {
            // Negative usage would make later usage free.
            event.decimal(&metric.field)?;
        }
        let zone = Zone::utc();
        let day = zone.day(event.occurred_at);
        let (first, next) = month(day);
        let key = SlotKey {
            subscription: house_key(&event.subscription),
            period: zone.start(first).as_micros(),
            charge: house_charge(&event.code, metric),
            dims: String::new(),
        };
        let slot = match self.known_slots.get(&key) {
            Some(slot) => *slot,
            None => {
                let terms = house_terms(&event.code, metric, first, next)?;
                self.slot(key, terms, true)
            }
        };
        let share = self.share(slot, day, &event)?;
        let terms = Some(house_words(metric));
        self.push(tenant, place, Drafted { key: Digest::of(b""), event, source, shares: vec![share], terms, seq: None });
        Ok(())
    }

    /// An event of a subscription of the catalog: it counts in every charge of its metric, in the customer's days.
    pub(crate) fn plan(
        &mut self,
        tenant: &TenantId,
        place: usize,
        event: impl Into<Arc<Event>>,
        source: usize,
        view: &Arc<SubscriptionView>,
    ) -> Result<(), MeteringError> {
        let event = event.into();
        let Some(metric) = view.metrics.get(&event.code) else {
            return Err(MeteringError::NotCharged { code: event.code.clone(), plan: view.plan.code.clone() });
        };
        let day = view.zone.day(event.occurred_at);
        let scope = EventScope { code: &event.code, at: event.occurred_at, properties: &event.fields };
        // One that the metric's condition leaves out is kept, and counts nowhere.
        let counts = reading::counts(metric, scope).map_err(unreadable)?;
        let of = self.period(view, day, event.occurred_at);
        for watched in &view.watched {
            self.marks.all.insert(match watched {
                Watched::Subscription(_) => Mark { watched: watched.clone(), subscription: of.subscription.clone(), period: of.from },
                Watched::Wallet(_) => Mark { watched: watched.clone(), subscription: String::new(), period: 0 },
            });
        }
        let mut shares = Vec::new();
        for charge in view.plan.charges.iter().filter(|charge| counts && charge.billable_metric_code == event.code) {
            let filter = matching::filter(metric, charge, &event.fields);
            let pricing = charge.pricing(filter);
            let group = matching::group(&pricing.pricing_group_keys, &event.fields);
            let shown = matching::group(&pricing.presentation_group_keys, &event.fields);
            let priced = Dims { filter, group: group.clone(), shown: Group::new() };
            let slot = self.plan_slot(view, metric, charge, &priced, &of)?;
            shares.push(self.share(slot, day, &event)?);
            if !shown.is_empty() {
                let slot = self.plan_slot(view, metric, charge, &Dims { filter, group, shown }, &of)?;
                shares.push(self.share(slot, day, &event)?);
            }
        }
        self.push(tenant, place, Drafted { key: Digest::of(b""), event, source, shares, terms: None, seq: None });
        Ok(())
    }

    /// The period of a day of a subscription: calendars are asked once for each.
    fn period(&mut self, view: &Arc<SubscriptionView>, day: Day, at: Timestamp) -> Arc<Of> {
        let known = self.periods.entry((Arc::as_ptr(view) as usize, day)).or_insert_with(|| {
            let period = charge_period(view, at);
            let of = Of { subscription: view.subscription.id.to_string(), from: period.from(&view.zone).as_micros(), period };
            // The view stays as long as its address says something here.
            (Arc::clone(view), Arc::new(of))
        });
        Arc::clone(&known.1)
    }

    fn plan_slot(
        &mut self,
        view: &SubscriptionView,
        metric: &BillableMetric,
        charge: &Charge,
        dims: &Dims,
        of: &Arc<Of>,
    ) -> Result<usize, MeteringError> {
        let plain = (*dims == Dims::default()).then(|| (Arc::as_ptr(of) as usize, std::ptr::from_ref(charge) as usize));
        if let Some(slot) = plain.and_then(|plain| self.plain.get(&plain)) {
            return Ok(*slot);
        }
        let key = SlotKey { subscription: of.subscription.clone(), period: of.from, charge: charge.code.clone(), dims: dims.text()? };
        let slot = match self.known_slots.get(&key) {
            Some(slot) => *slot,
            None => self.slot(key, plan_terms(view, metric, charge, dims.filter, of.period), dims.shown.is_empty()),
        };
        self.plain.extend(plain.map(|plain| (plain, slot)));
        Ok(slot)
    }

    /// The place of an aggregate.
    pub(crate) fn slot(&mut self, key: SlotKey, terms: Terms, priced: bool) -> usize {
        if let Some(at) = self.known_slots.get(&key) {
            return *at;
        }
        let at = self.slots.len();
        let level = *self.known_levels.entry((key.subscription.clone(), key.charge.clone(), key.dims.clone())).or_insert(at);
        self.known_slots.insert(key.clone(), at);
        self.slots.push(Slot { key, terms: Arc::new(terms), priced, level });
        at
    }

    fn share(&self, slot: usize, day: Day, event: &Event) -> Result<Share, MeteringError> {
        let Some(terms) = self.slots.get(slot).map(|slot| &slot.terms) else {
            return Err(MeteringError::UnknownMetric(event.code.clone()));
        };
        let scope = EventScope { code: &event.code, at: event.occurred_at, properties: &event.fields };
        let read = reading(&terms.metric, scope, 0).map_err(unreadable)?;
        let stated = event.total_cents.as_deref().and_then(|cents| cents.parse().ok());
        let precise_total_amount_cents = stated.unwrap_or(read.precise_total_amount_cents);
        Ok(Share { slot, day, value: read.value, precise_total_amount_cents })
    }

    fn push(&mut self, tenant: &TenantId, place: usize, mut drafted: Drafted) {
        drafted.key = event::used_key(tenant, &drafted.event.subscription, &drafted.event.transaction_id);
        self.events.push(drafted);
        self.places.push(place);
    }

    /// By subscription, metric and UTC day, otherwise as sent: events of one aggregate get neighbouring places.
    pub(crate) fn sort(&mut self) {
        let mut both: Vec<(usize, Drafted)> = self.places.drain(..).zip(self.events.drain(..)).collect();
        let day = |event: &Event| crate::store::events::utc_day(event.occurred_at);
        both.sort_by(|(_, a), (_, b)| {
            let (a, b) = (&a.event, &b.event);
            a.subscription.cmp(&b.subscription).then_with(|| a.code.cmp(&b.code)).then_with(|| day(a).cmp(&day(b)))
        });
        (self.places, self.events) = both.into_iter().unzip();
    }
}

/// What tells aggregates of one charge apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dims {
    /// The filter that priced it, by its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<usize>,
    /// What is priced apart.
    #[serde(default, skip_serializing_if = "Group::is_empty")]
    pub(crate) group: Group,
    /// What is shown apart, of an aggregate that is not priced.
    #[serde(default, skip_serializing_if = "Group::is_empty")]
    pub(crate) shown: Group,
}

/// Longest text of filter and groups: it is part of a key.
const DIMS_BYTES_MAX: usize = 1_024;

impl Dims {
    /// As kept.
    fn text(&self) -> Result<String, MeteringError> {
        if *self == Self::default() {
            return Ok(String::new());
        }
        let bad = |problem: String| MeteringError::BadEvent { field: "properties", problem };
        let text = serde_json::to_string(self).map_err(|e| bad(e.to_string()))?;
        if text.len() > DIMS_BYTES_MAX {
            return Err(bad(format!("hold values for groups that are longer than {DIMS_BYTES_MAX} bytes together")));
        }
        Ok(text)
    }

    /// What is kept, read back.
    pub(crate) fn parse(text: &str) -> Result<Self, MeteringError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|e| DbError::Corrupt(format!("the groups of an aggregate: {e}")).into())
    }
}

/// The period that a moment's charges are billed in.
pub(crate) fn charge_period(view: &SubscriptionView, at: Timestamp) -> Period {
    if view.plan.bill_charges_monthly && view.plan.interval.months().is_some_and(|months| months > 1) {
        return period::containing(view.zone.day(at), Interval::Monthly, view.subscription.billing_time, view.anchor());
    }
    view.period(at)
}

/// How a filter of a charge is rated in a period.
pub(crate) fn plan_terms(
    view: &SubscriptionView,
    metric: &BillableMetric,
    charge: &Charge,
    filter: Option<usize>,
    period: Period,
) -> Terms {
    Terms { apart: view.apart, ..Terms::of(metric, charge, filter, view.currency.subunits(), period, &view.zone) }
}

/// Whose aggregates they are, of a subscription the catalog does not have.
pub(crate) fn house_key(subscription: &str) -> String {
    format!("{HOUSE_PREFIX}{subscription}")
}

/// Whose they are, by what they are kept under.
pub(crate) fn house_name(key: &str) -> &str {
    key.strip_prefix(HOUSE_PREFIX).unwrap_or(key)
}

const HOUSE_PREFIX: &str = "house:";

/// Between the words of a charge of the house; no code and no field holds it.
const WORDS_JOINED_BY: char = '\u{1f}';

/// A metric of the house at one price: another price is another charge, so that what was used keeps the price it was used at.
pub(crate) fn house_charge(code: &str, metric: &Metric) -> String {
    format!("{code}{WORDS_JOINED_BY}{}", house_words(metric))
}

/// What a record says of the metric it was read by.
fn house_words(metric: &Metric) -> String {
    let price = metric.unit_price.normalize();
    format!("{price}{WORDS_JOINED_BY}{}{WORDS_JOINED_BY}{}", metric.aggregation.as_str(), metric.field)
}

/// The metric of a record's words.
pub(crate) fn house_metric(words: &str) -> Option<Metric> {
    let mut words = words.splitn(3, WORDS_JOINED_BY);
    let unit_price = words.next()?.parse().ok()?;
    let aggregation = Aggregation::named(words.next()?)?;
    Some(Metric { aggregation, field: words.next()?.to_owned(), unit_price })
}

/// The code of a charge of the house, and its metric.
pub(crate) fn house_charge_parts(charge: &str) -> Option<(&str, Metric)> {
    let (code, words) = charge.split_once(WORDS_JOINED_BY)?;
    Some((code, house_metric(words)?))
}

fn unreadable(error: ReadError) -> MeteringError {
    MeteringError::BadEvent { field: "properties", problem: format!("do not fit the metric: {error}") }
}

/// The first day of a month and of the next.
fn month(day: Day) -> (Day, Day) {
    let date = day.date();
    let first = Day::new(date.year(), date.month(), 1).unwrap_or(day);
    (first, first.plus_months(1))
}

fn house_terms(code: &str, metric: &Metric, first: Day, next: Day) -> Result<Terms, MeteringError> {
    let zone = Zone::utc();
    let amount = metric.unit_price.to_string().parse::<Exact>().map_err(|e| MeteringError::BadMetric(e.to_string()))?;
    let last_day = next.plus_days(-1);
    Ok(Terms {
        metric: BillableMetric::new(code, metric.aggregation, &metric.field)?,
        charge: Charge::of(code, PriceModel::Standard { amount }),
        filter: None,
        subunits: Exact::from(HOUSE_SUBUNITS),
        from: zone.start(first),
        to: zone.start(next),
        zone,
        last_day,
        days: first.days_through(last_day),
        apart: false,
    })
}
