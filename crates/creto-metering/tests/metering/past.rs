//! What was used and billed in the past, changed on both engines only as it was shown.

use std::sync::Arc;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_kernel::{Coded as _, Digest, Micros, Timestamp};
use creto_metering::model::alert::{Alert, Watched};
use creto_metering::model::event::EventInput;
use creto_metering::model::invoice::{FeeKind, InvoiceKind};
use creto_metering::model::page::Page;
use creto_metering::model::plan::Plan;
use creto_metering::{AlertOptions, Alerts, Billing, Catalog, InvoiceFilter, RerateInput, Wallets};
use serde_json::json;

use super::books::Books;
use super::catalog::read;
use super::house::{SETS, server};

const DAY: u64 = 24 * 3600;

fn billing(books: &Books) -> Billing {
    let (db, clock) = (books.house.db.clone(), books.house.world.clock.clone());
    let catalog = Catalog::new(db.clone(), clock.clone());
    let wallets = Wallets::new(db.clone(), clock.clone(), catalog.clone());
    Billing::new(db, clock, catalog, wallets, Arc::new(books.meter.clone()))
}

fn file(books: &Books) -> Vec<EventInput> {
    let event = |id: &str, secs: u64, n: u32| books.event(id, "grouped", secs, json!({ "n": n, "region": "eu" }));
    vec![event("a", 60, 10), event("b", 120, 20), event("c", 45 * DAY, 5)]
}

#[tokio::test]
async fn a_backfill_shows_what_it_changes_and_records_exactly_that() {
    each_engine(SETS, async |db| {
        let books = Books::open(db.clone()).await;
        let (chain, tenant) = (&books.chain, books.chain.tenant());
        let billing = billing(&books);
        let alerts = Alerts::new(AlertOptions {
            db: db.clone(),
            clock: books.house.world.clock.clone(),
            server: server("default"),
            meter: books.meter.clone(),
            billing: billing.clone(),
        });
        let alert = json!({ "code": "a", "alert_type": "current_usage_amount", "thresholds": [{ "value": "115" }] });
        alerts.create(&server("default"), Watched::Subscription("s".to_owned()), vec![read::<Alert>(alert)]).await.unwrap();
        books.send(vec![books.event("first", "grouped", 0, json!({ "n": 10, "region": "eu" }))]).await;
        billing.run(&server("default")).await.unwrap();
        alerts.look().await.unwrap();
        let leaves = books.house.leaves(chain).await.len();
        let all = || file(&books).into_iter().map(Ok).collect::<Vec<_>>();
        let shown = books.meter.backfill(chain, all(), None).await.unwrap();
        assert_eq!((shown.events, shown.duplicates, shown.recorded, shown.refused.len()), (3, 0, false, 0));
        let figures = |at: usize| {
            let change = &shown.changes[at];
            let texts = [&change.units_before, &change.units_after, &change.amount_before, &change.amount_after].map(ToString::to_string);
            (texts.join(" "), change.difference_cents.to_string(), change.adjusts.is_some())
        };
        assert_eq!(shown.changes.len(), 2, "{shown:?}");
        assert_eq!(figures(0), ("10 40 1.1 1.4".to_owned(), "30".to_owned(), true), "the first month is final");
        assert_eq!(figures(1), ("0 5 0 1.05".to_owned(), "105".to_owned(), false));
        assert_eq!(shown.difference_cents.as_ref().map(ToString::to_string).as_deref(), Some("135"));
        assert_eq!((books.house.leaves(chain).await.len(), books.balance().await), (leaves, Micros::new(1_100_000)), "nothing happened");
        // What was agreed to is what happens, or nothing.
        let other = books.meter.backfill(chain, all(), Some(Digest::of(b"x"))).await.unwrap_err();
        assert_eq!(other.code().as_str(), "metering.plan_changed");
        books.send(vec![books.event("meanwhile", "grouped", 1, json!({ "n": 1, "region": "eu" }))]).await;
        assert_eq!(alerts.look().await.unwrap(), 0, "111 cents");
        let late = books.meter.backfill(chain, all(), shown.digest).await.unwrap_err();
        assert_eq!(late.code().as_str(), "metering.plan_changed", "the figures are others now");
        let again = books.meter.backfill(chain, all(), None).await.unwrap();
        let done = books.meter.backfill(chain, all(), again.digest).await.unwrap();
        assert_eq!((done.recorded, done.events, &done.changes), (true, 3, &again.changes));
        assert_eq!(books.balance().await, Micros::new(2_460_000), "1.41 and 1.05");
        let leaf = books.house.leaves(chain).await.pop().unwrap();
        let fact = |name: &str| leaf.facts.get(name).map(String::as_str);
        assert_eq!((fact("backfill"), fact("alerts"), fact("events")), (Some("true"), Some("suppressed"), Some("3")));
        assert_eq!(leaf.digests.get("agreed"), again.digest.as_ref());
        // 141 cents in the first month are past the alert's 115, and nobody is told: also not by what comes next.
        assert_eq!(alerts.look().await.unwrap(), 0);
        books.send(vec![books.event("next", "grouped", 2, json!({ "n": 1, "region": "eu" }))]).await;
        assert_eq!(alerts.look().await.unwrap(), 0);
        // Again it is all there already.
        let again = books.meter.backfill(chain, all(), None).await.unwrap();
        assert_eq!((again.events, again.duplicates, again.digest), (0, 3, None));
        assert!(books.meter.current_usage(tenant, "s", books.start).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_backfill_with_one_event_that_cannot_be_recorded_records_none() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        books.send(vec![books.event("used", "sum", 0, json!({ "n": 1 }))]).await;
        let mut events = file(&books);
        events.push(books.event("used", "sum", 0, json!({ "n": 2 })));
        events.push(books.event("unknown", "nothing", 0, json!({})));
        let shown = books.meter.backfill(&books.chain, events.into_iter().map(Ok).collect(), None).await.unwrap();
        let codes: Vec<_> = shown.refused.iter().map(|refused| refused.code).collect();
        assert_eq!((codes.as_slice(), shown.digest), (&["metering.not_charged"][..], None), "what cannot be drafted is told first");
        let events = vec![file(&books).remove(0), books.event("used", "sum", 0, json!({ "n": 2 }))];
        let all = || events.clone().into_iter().map(Ok).collect::<Vec<_>>();
        let shown = books.meter.backfill(&books.chain, all(), None).await.unwrap();
        let codes: Vec<_> = shown.refused.iter().map(|refused| refused.code).collect();
        assert_eq!((codes.as_slice(), shown.digest), (&["metering.duplicate_conflict"][..], None));
        assert!(books.meter.backfill(&books.chain, all(), Some(Digest::of(b"x"))).await.is_err());
        assert_eq!(books.balance().await, Micros::ZERO);
    })
    .await;
}

#[tokio::test]
async fn a_final_period_is_rated_under_another_version_of_its_plan_only_when_that_is_confirmed() {
    each_engine(SETS, async |db| {
        let books = Books::open(db.clone()).await;
        let (billing, by, tenant) = (billing(&books), server("default"), books.chain.tenant());
        let catalog = Catalog::new(db, books.house.world.clock.clone());
        books.send(vec![books.event("a", "level", 60, json!({ "n": 10 }))]).await;
        billing.run(&by).await.unwrap();
        // Half a unit more for each.
        let plan = catalog.get::<Plan>(tenant, "all").await.unwrap();
        let mut next = serde_json::to_value(&plan.body).unwrap();
        let charges = next["charges"].as_array_mut().unwrap();
        charges.iter_mut().find(|charge| charge["billable_metric_code"] == "level").unwrap()["properties"]["amount"] = json!("0.75");
        let changed: Plan = read(next.clone());
        assert_eq!(catalog.update(&by, "all", None, changed).await.unwrap().version, 2);
        let ask = |confirm: Option<Digest>, version: u32| RerateInput { at: books.start, plan_version: version, confirm };
        let shown = billing.rerate(&by, "s", &ask(None, 2)).await.unwrap();
        let change = &shown.changes[0];
        assert_eq!((shown.changes.len(), change.charge.as_str(), change.billed_cents, change.amount_cents), (1, "level", 500, 750));
        assert_eq!((shown.difference_cents, shown.decided), (250, false));
        let wrong = billing.rerate(&by, "s", &ask(Some(Digest::of(b"x")), 2)).await.unwrap_err();
        assert_eq!(wrong.code().as_str(), "metering.plan_changed");
        let adjustments = async || {
            let invoices = billing.list(tenant, &InvoiceFilter::default(), Page::default()).await.unwrap().items;
            let mut cents = Vec::new();
            for invoice in invoices.iter().filter(|invoice| invoice.kind == InvoiceKind::Subscription) {
                let fees = billing.get(tenant, invoice.id).await.unwrap().fees;
                cents.extend(fees.iter().filter(|fee| fee.kind == FeeKind::Adjustment).map(|fee| fee.amount_cents));
            }
            cents
        };
        let month = async || {
            books.house.world.clock.advance(Duration::from_secs(31 * DAY));
            billing.run(&by).await.unwrap();
        };
        month().await;
        assert_eq!(adjustments().await, Vec::<i64>::new(), "what was only shown changes nothing");
        assert!(billing.rerate(&by, "s", &ask(Some(shown.digest), 2)).await.unwrap().decided);
        month().await;
        assert_eq!(adjustments().await, [250]);
        month().await;
        assert_eq!(adjustments().await, [250], "once");
        assert!(billing.rerate(&by, "s", &ask(None, 2)).await.unwrap().changes.is_empty());
        // Another way of gathering cannot be rated from what was gathered.
        let charges = next["charges"].as_array_mut().unwrap();
        charges.retain(|charge| charge["billable_metric_code"] != "grouped");
        catalog.update(&by, "all", None, read::<Plan>(next)).await.unwrap();
        let refused = billing.rerate(&by, "s", &ask(None, 3)).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "metering.bad_definition", "{refused}");
        let now = RerateInput { at: Timestamp::MAX, ..ask(None, 2) };
        assert_eq!(billing.rerate(&by, "s", &now).await.unwrap_err().code().as_str(), "metering.wrong_state");
    })
    .await;
}
