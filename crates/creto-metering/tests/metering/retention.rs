//! Events lose what they are not billed of: by age, or because somebody is forgotten. Usage, bills, proofs and idempotency stay.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creto_db::Db;
use creto_db::failpoint::{AFTER_COMMIT, AFTER_STEPS, BEFORE_COMMIT};
use creto_db::testkit::{Schema, each_engine};
use creto_kernel::{Coded as _, Digest, Timestamp};
use creto_metering::model::event::EventInput;
use creto_metering::model::invoice::{InvoiceStatus, PaymentStatus};
use creto_metering::model::page::Page;
use creto_metering::model::retention::{ErasedEvents, Retention};
use creto_metering::{Billing, Catalog, EventsOf, InvoiceFilter, Meter, Outcome, Wallets};
use serde_json::{Value, json};

use super::books::Books;
use super::catalog::read;
use super::child::is_killed;
use super::house::{SETS, server};

const DAY: Duration = Duration::from_secs(24 * 3600);
const KINDS: [&str; 11] = ["count", "sum", "unique_count", "max", "min", "avg", "latest", "weighted_sum", "custom", "grouped", "level"];

fn erased(erased: u64, kept: u64) -> ErasedEvents {
    ErasedEvents { erased, kept }
}

fn days(days: u32) -> Retention {
    Retention { keep_days: Some(days), ..Retention::default() }
}

fn billing(books: &Books, db: Db) -> Billing {
    let clock = books.house.world.clock.clone();
    let catalog = Catalog::new(db.clone(), clock.clone());
    let wallets = Wallets::new(db.clone(), clock.clone(), catalog.clone());
    Billing::new(db, clock, catalog, wallets, Arc::new(books.meter.clone()))
}

/// Two events of each kind, each with what it is billed of and what it is not; the first one is sent alone.
fn said(books: &Books) -> Vec<EventInput> {
    let all = KINDS.iter().flat_map(|kind| [(kind, 1), (kind, 2)]).enumerate();
    all.map(|(at, (kind, n))| {
        let properties = json!({
            "n": n.to_string(), "region": "eu", "size": if n == 1 { "small" } else { "large" }, "agent": "mine", "prompt": "a secret of somebody", "secret": { "deep": [n] }
        });
        books.event(&format!("t{at}"), kind, u64::try_from(at).unwrap() * 3_600, properties)
    })
    .collect()
}

async fn send(books: &Books) -> usize {
    let mut events = said(books);
    let all = events.len();
    books.send(vec![events.remove(0)]).await;
    books.send(events).await;
    all
}

/// Everything that erasing must leave as it is.
async fn told(books: &Books, billing: &Billing) -> String {
    let tenant = books.chain.tenant();
    let usage = books.meter.usage(tenant, "s", Timestamp::EPOCH, Timestamp::MAX).await.unwrap();
    // A window that begins and ends within days reads their events.
    let hours = |hours: u64| books.start.saturating_add(Duration::from_secs(hours * 3_600 + 1));
    let part = books.meter.usage(tenant, "s", hours(3), hours(19)).await.unwrap();
    let mut proofs = Vec::new();
    for event in said(books) {
        proofs.push(books.meter.event_proof(tenant, "s", &event.transaction_id).await.unwrap());
    }
    let mut invoices = Vec::new();
    for invoice in billing.list(tenant, &InvoiceFilter::default(), Page::default()).await.unwrap().items {
        invoices.push(billing.get(tenant, invoice.id).await.unwrap());
    }
    format!("{usage:?}\n{part:?}\n{proofs:?}\n{invoices:?}")
}

/// The period of the events is billed, and everything is old.
async fn billed(books: &Books, billing: &Billing) {
    books.house.world.clock.advance(40 * DAY);
    billing.run(&server("default")).await.unwrap();
}

async fn pay(billing: &Billing) {
    let by = server("default");
    for invoice in billing.list(by.tenant(), &InvoiceFilter::default(), Page::default()).await.unwrap().items {
        if invoice.status == InvoiceStatus::Finalized {
            billing.set_payment(&by, invoice.id, PaymentStatus::Succeeded).await.unwrap();
        }
    }
}

async fn count(db: &Db, sql: &'static str) -> i64 {
    db.query_optional(sql, vec![]).await.unwrap().unwrap().int(0).unwrap()
}

const SECRETS: &str = "SELECT COUNT(*) FROM meter_record WHERE properties LIKE '%secret%' OR transaction_id LIKE 't%'";
const SECRET_ACTIONS: &str = "SELECT COUNT(*) FROM gate_action WHERE arguments LIKE '%secret%'";

#[tokio::test]
async fn what_is_old_and_settled_loses_what_it_is_not_billed_of_and_everything_else_stays() {
    each_engine(SETS, async |db| {
        let books = Books::open(db.clone()).await;
        let (billing, by) = (billing(&books, db.clone()), server("default"));
        let all = u64::try_from(send(&books).await).unwrap();
        let meter = &books.meter;
        assert_eq!(meter.pass_retention(&by).await.unwrap(), erased(0, 0), "off by default");
        meter.put_retention(&by, days(30)).await.unwrap();
        assert!(!meter.is_retention_due(by.tenant()).await.unwrap(), "nothing is old");
        assert_eq!(meter.pass_retention(&by).await.unwrap(), erased(0, 0));
        books.house.world.clock.advance(31 * DAY);
        assert!(meter.is_retention_due(by.tenant()).await.unwrap());
        assert_eq!(meter.pass_retention(&by).await.unwrap(), erased(0, all), "nobody was billed yet");
        billed(&books, &billing).await;
        assert_eq!(meter.pass_retention(&by).await.unwrap(), erased(0, all), "nobody has paid yet");
        pay(&billing).await;
        let held = Retention { held_customers: vec!["acme".to_owned()], ..days(30) };
        meter.put_retention(&by, held).await.unwrap();
        assert_eq!(meter.pass_retention(&by).await.unwrap(), erased(0, all), "a hold is on them");
        let held = Retention { held_subscriptions: vec!["s".to_owned()], ..days(30) };
        meter.put_retention(&by, held).await.unwrap();
        assert_eq!(meter.erase_events(&by, &EventsOf::Everybody, Timestamp::MAX).await.unwrap(), erased(0, all), "whoever asks");

        meter.put_retention(&by, days(30)).await.unwrap();
        let (before, spent) = (told(&books, &billing).await, books.balance().await);
        assert!(count(&db, SECRETS).await > 0 && count(&db, SECRET_ACTIONS).await == 1, "the one sent alone is an action too");
        assert_eq!(meter.pass_retention(&by).await.unwrap(), erased(all, 0));
        assert_eq!((count(&db, SECRETS).await, count(&db, SECRET_ACTIONS).await), (0, 0));
        assert_eq!(told(&books, &billing).await, before);
        assert_eq!(books.balance().await, spent, "and a replay gives the aggregates that are kept");
        let state = meter.retention(by.tenant()).await.unwrap();
        assert_eq!((state.erased_to, state.erased), (i64::try_from(all).unwrap(), i64::try_from(all).unwrap()));
        assert_eq!(meter.pass_retention(&by).await.unwrap(), erased(0, 0), "once");

        // Sent again it is the same event, another one is refused, and whoever kept it can show that it is this one.
        let again = books.send(said(&books)).await;
        assert!(again.events.iter().all(|(_, outcome)| matches!(outcome, Outcome::Duplicate { .. })), "{again:?}");
        let other = books.send(vec![books.event("t3", "sum", 3 * 3_600, json!({ "n": "2" }))]).await;
        assert!(matches!(&other.events[0].1, Outcome::Refused(error) if error.code().as_str() == "metering.duplicate_conflict"));
        let shown = meter.event(by.tenant(), "s", "t18").await.unwrap();
        assert!(shown.erased_at.is_some() && shown.transaction_id == format!("creto:erased:{}", shown.seq), "{shown:?}");
        let left = json!({ "n": "1", "region": "eu", "agent": "mine" });
        assert_eq!(Value::Object(shown.properties), left, "what is summed and grouped by; without its size no filter takes it either");
        let kept = said(&books).remove(18).parse(Timestamp::MAX).unwrap();
        assert_eq!(kept.digest_of_content().unwrap(), shown.digest);
        assert_ne!(shown.digest, Digest::of(b""));
        // And it is taken back as any other.
        meter.cancel(&by, "s", "t18").await.unwrap();
        meter.cancel(&by, "s", "t5").await.unwrap();
        books.balance().await;
    })
    .await;
}

#[tokio::test]
async fn who_is_forgotten_takes_with_them_what_their_events_are_not_billed_of_and_nobody_elses() {
    each_engine(SETS, async |db| {
        let books = Books::open(db.clone()).await;
        let (billing, by) = (billing(&books, db.clone()), server("default"));
        let all = u64::try_from(send(&books).await).unwrap();
        billed(&books, &billing).await;
        pay(&billing).await;
        let (meter, now) = (&books.meter, Timestamp::MAX);
        let other = books.house.chain("default", None, &["somebody-else"]).await;
        assert_eq!(meter.erase_events(&by, &EventsOf::Agent(other.leaf().clone()), now).await.unwrap(), erased(0, 0));
        assert_eq!(meter.erase_events(&by, &EventsOf::Customer("nobody".to_owned()), now).await.unwrap(), erased(0, 0));
        let before = told(&books, &billing).await;
        assert_eq!(
            meter.erase_events(&by, &EventsOf::Agent(books.chain.leaf().clone()), books.start).await.unwrap(),
            erased(0, 0),
            "before"
        );
        assert_eq!(meter.erase_events(&by, &EventsOf::Agent(books.chain.leaf().clone()), now).await.unwrap(), erased(all, 0));
        assert_eq!(meter.erase_events(&by, &EventsOf::Customer("acme".to_owned()), now).await.unwrap(), erased(0, 0), "gone already");
        assert_eq!((count(&db, SECRETS).await, told(&books, &billing).await), (0, before));
        books.balance().await;
    })
    .await;
}

#[tokio::test]
async fn several_at_once_erase_each_event_once() {
    each_engine(SETS, async |db| {
        let books = many(db.clone()).await;
        let by = server("default");
        let other = Meter::new(db.clone(), Arc::clone(&books.house.gate), books.house.accounts.clone(), books.house.world.clock.clone());
        let (one, two) = tokio::join!(books.meter.pass_retention(&by), other.pass_retention(&by));
        assert_eq!(one.unwrap().erased + two.unwrap().erased, MANY);
        assert_eq!(books.meter.retention(by.tenant()).await.unwrap().erased, i64::try_from(MANY).unwrap());
        books.balance().await;
    })
    .await;
}

/// More than two steps.
const MANY: u64 = 2_400;
/// Where the child finds its database; without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_RETENTION_CRASH_TARGET";

/// Settled events of several steps, all of them old.
async fn many(db: Db) -> Books {
    let books = Books::open(db.clone()).await;
    let billing = billing(&books, db);
    for batch in 0..3 {
        let event = |at: u64| {
            read(json!({
                "transaction_id": format!("t{batch}-{at}"), "external_subscription_id": "s", "code": "sum", "timestamp": books.start,
                "properties": { "n": at, "prompt": "a secret of somebody" }
            }))
        };
        books.send((0..MANY / 3).map(event).collect()).await;
    }
    billed(&books, &billing).await;
    pay(&billing).await;
    books.meter.put_retention(&server("default"), days(30)).await.unwrap();
    books
}

async fn open(target: &str) -> Db {
    match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    }
}

/// A meter of another process.
async fn elsewhere(target: &str) -> (super::house::House, Meter) {
    let db = open(target).await;
    let house = super::house::House::open(db.clone(), Vec::new()).await;
    house.world.clock.advance(100 * DAY);
    let meter = Meter::new(db, Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
    (house, meter)
}

/// The child's part. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_erases_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let (_house, meter) = elsewhere(&target).await;
    meter.pass_retention(&server("default")).await.unwrap();
}

/// Kills a pass at a failpoint and lets another process end it. How many events had been erased by then; nothing where it was not killed.
async fn goes_on(target: &str, point: &str, nth: u32) -> Option<u64> {
    let killed = is_killed("retention::child_erases_until_it_is_killed", &format!("{point}:{nth}"), &[(TARGET, target)]);
    let (house, meter) = elsewhere(target).await;
    let by = server("default");
    let half = u64::try_from(meter.retention(by.tenant()).await.unwrap().erased).unwrap();
    let marked = count(&house.db, "SELECT COUNT(*) FROM meter_record WHERE erased_at IS NOT NULL").await;
    assert_eq!(u64::try_from(marked).unwrap(), half, "{point}:{nth}");
    assert!(meter.check(by.tenant()).await.unwrap().ok, "{point}:{nth}");
    assert_eq!(half + meter.pass_retention(&by).await.unwrap().erased, MANY, "{point}:{nth}");
    assert_eq!(count(&house.db, SECRETS).await, 0, "{point}:{nth}");
    killed.then_some(half)
}

#[tokio::test]
async fn a_pass_killed_at_any_commit_goes_on_where_it_stopped() {
    let first = tempfile::tempdir().unwrap();
    drop(many(open(first.path().join("crash.db").to_str().unwrap()).await).await);
    let mut seen: Vec<(u64, &str, u32)> = Vec::new();
    for nth in 1..40 {
        let before = seen.len();
        for point in [AFTER_STEPS, BEFORE_COMMIT, AFTER_COMMIT] {
            let copy = tempfile::tempdir().unwrap();
            for file in std::fs::read_dir(first.path()).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
            let half = goes_on(copy.path().join("crash.db").to_str().unwrap(), point, nth).await;
            seen.extend(half.map(|half| (half, point, nth)));
        }
        if seen.len() == before {
            break;
        }
    }
    let halves: std::collections::BTreeSet<u64> = seen.iter().map(|(half, ..)| *half).collect();
    assert_eq!(halves.into_iter().collect::<Vec<_>>(), [0, 1_000, 2_000, MANY], "{seen:?}");
    for (half, point, nth) in seen.into_iter().filter(|(half, ..)| *half == 1_000) {
        let Some(schema) = Schema::create().await else { return };
        drop(many(open(&schema.url).await).await);
        assert_eq!(goes_on(&schema.url, point, nth).await, Some(half), "{point}:{nth}");
        schema.drop().await;
    }
}
