//! Events that nothing can price yet: refused, or kept aside until they are replayed or discarded.

use creto_db::testkit::each_engine;
use creto_kernel::{Coded as _, Micros};
use creto_metering::model::billable_metric::BillableMetric;
use creto_metering::model::event::EventInput;
use creto_metering::model::metric::{Aggregation, Metric};
use creto_metering::{Catalog, MeteringError, Outcome, Taking};
use serde_json::json;

use super::books::Books;
use super::catalog::read;
use super::house::{SETS, server};

fn said(outcomes: &[(Option<String>, Outcome)]) -> Vec<(&'static str, &'static str)> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Recorded { .. } => ("recorded", ""),
        Outcome::Duplicate { .. } => ("duplicate", ""),
        Outcome::Quarantined(why) => ("quarantined", why.code().as_str()),
        Outcome::Refused(error) => ("refused", error.code().as_str()),
    };
    outcomes.iter().map(|(_, outcome)| word(outcome)).collect()
}

/// One of each that cannot be priced, one good, one that is merely bad.
fn mixed(books: &Books) -> Vec<EventInput> {
    let early = EventInput { timestamp: Some(json!("2020-01-01T00:00:00Z")), ..books.event("early", "sum", 0, json!({ "n": 1 })) };
    vec![
        books.event("good", "sum", 1, json!({ "n": 1 })),
        books.event("metric", "pages", 2, json!({ "n": "2.50" })),
        EventInput { external_subscription_id: "reading".to_owned(), ..books.event("nobody", "pages", 3, json!({ "n": 4 })) },
        early,
        books.event("bad", "sum", 4, json!({ "n": "many" })),
    ]
}

const UNPRICED: [(&str, &str); 5] = [
    ("recorded", ""),
    ("refused", "metering.not_charged"),
    ("refused", "metering.unknown_subscription"),
    ("refused", "metering.not_running"),
    ("refused", "metering.bad_event"),
];

#[tokio::test]
async fn what_nothing_can_price_is_refused_unless_the_tenant_keeps_it() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let by = server("default");
        assert_eq!(said(&books.send(mixed(&books)).await.events), UNPRICED);
        assert!(books.meter.quarantined(by.tenant(), None).await.unwrap().is_empty());
        books.meter.put_quarantine(&by, true).await.unwrap();
        let kept = books.send(mixed(&books)).await;
        let aside = UNPRICED.map(|(word, why)| match (word, why) {
            ("recorded", _) => ("duplicate", ""),
            (_, "metering.bad_event") => ("refused", why),
            _ => ("quarantined", why),
        });
        assert_eq!(said(&kept.events), aside);
        // Again the same is answered the same, and kept once; another event under its identifier is refused.
        assert_eq!(said(&books.send(mixed(&books)).await.events), aside);
        let other = books.send(vec![books.event("metric", "pages", 2, json!({ "n": 3 }))]).await;
        assert_eq!(said(&other.events), [("refused", "metering.duplicate_conflict")]);
        let listed = books.meter.quarantined(by.tenant(), None).await.unwrap();
        let mut names: Vec<_> = listed.iter().map(|kept| (kept.transaction_id.as_str(), kept.reason.as_str())).collect();
        names.sort_unstable();
        let reasons = [("early", "metering.not_running"), ("metric", "metering.not_charged"), ("nobody", "metering.unknown_subscription")];
        assert_eq!(names, reasons);
        // All or nothing keeps nothing, and one alone is answered with why.
        let taking = Taking { trusted: true, all_or_none: true };
        let all = books.meter.ingest_all(&books.chain, taking, vec![Ok(books.event("x", "pages", 2, json!({})))]).await.unwrap();
        assert_eq!(said(&all.events), [("refused", "metering.not_charged")]);
        let taking = Taking { trusted: true, all_or_none: false };
        let one = books.meter.ingest_as(&books.chain, taking, Ok(books.event("y", "pages", 2, json!({})))).await.unwrap_err();
        assert_eq!((one.code().as_str(), one.kind().http_status()), ("metering.quarantined", 404));
        assert_eq!(books.balance().await, Micros::ZERO, "nothing of it counts or costs");
        books.meter.put_quarantine(&by, false).await.unwrap();
        assert_eq!(said(&books.send(vec![books.event("z", "pages", 2, json!({}))]).await.events), [("refused", "metering.not_charged")]);
    })
    .await;
}

#[tokio::test]
async fn a_replay_records_what_can_be_priced_by_now_once_and_keeps_the_rest() {
    each_engine(SETS, async |db| {
        let books = Books::open(db.clone()).await;
        let by = server("default");
        books.meter.put_quarantine(&by, true).await.unwrap();
        books.send(mixed(&books)).await;
        let before = books.balance().await;
        let told = |replayed: Vec<creto_metering::Replayed>| {
            let mut told: Vec<_> =
                replayed.iter().map(|one| (one.transaction_id.clone(), one.status, one.code.unwrap_or_default())).collect();
            told.sort_unstable();
            told
        };
        let (first, next) = books.meter.replay_quarantined(&by, None).await.unwrap();
        assert!(next.is_none() && first.iter().all(|one| one.status == "kept"), "{first:?}");
        // The metric of the house is made, and somebody may report: one of three can be priced.
        let price = Metric { aggregation: Aggregation::Sum, field: "n".to_owned(), unit_price: "0.01".parse().unwrap() };
        books.meter.put_metric(&by, "pages", price).await.unwrap();
        books.meter.put_reporters(&by, "reading", vec!["*".to_owned()]).await.unwrap();
        let expected = [
            ("early".to_owned(), "kept", "metering.not_running"),
            ("metric".to_owned(), "kept", "metering.not_charged"),
            ("nobody".to_owned(), "recorded", ""),
        ];
        assert_eq!(told(books.meter.replay_quarantined(&by, None).await.unwrap().0), expected);
        assert_eq!(books.balance().await.get() - before.get(), 40_000, "four pages at a cent");
        let event = books.meter.event(by.tenant(), "reading", "nobody").await.unwrap();
        assert_eq!((event.agent.name(), event.attribution.as_str()), ("planner", "caller"), "booked to whom it was sent for");
        // Recorded, it is answered as the first time; and it is kept no longer.
        let again = EventInput { external_subscription_id: "reading".to_owned(), ..books.event("nobody", "pages", 3, json!({ "n": 4 })) };
        assert_eq!(said(&books.send(vec![again]).await.events), [("duplicate", "")]);
        assert_eq!(books.meter.quarantined(by.tenant(), None).await.unwrap().len(), 2);
        // The rest is let go of, once.
        for id in ["early", "metric"] {
            books.meter.discard_quarantined(&by, "s", id).await.unwrap();
            let twice = books.meter.discard_quarantined(&by, "s", id).await.unwrap_err();
            assert!(matches!(twice, MeteringError::UnknownEvent(_)), "{twice}");
        }
        assert!(books.meter.quarantined(by.tenant(), None).await.unwrap().is_empty());
        // What was discarded may be sent again.
        let catalog = Catalog::new(db, books.house.world.clock.clone());
        let metric: BillableMetric = read(json!({ "code": "words", "aggregation_type": "count" }));
        catalog.create(&by, metric).await.unwrap();
        assert_eq!(said(&books.send(vec![books.event("early", "sum", 5, json!({ "n": 1 }))]).await.events), [("recorded", "")]);
    })
    .await;
}

#[tokio::test]
async fn what_was_recorded_meanwhile_is_a_duplicate_and_another_event_stays() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let by = server("default");
        books.meter.put_quarantine(&by, true).await.unwrap();
        let own = |id: &str, n: i64| EventInput {
            external_subscription_id: "alice".to_owned(),
            ..books.event(id, "pages", 1, json!({ "n": n }))
        };
        books.send(vec![own("same", 1), own("other", 1)]).await;
        let price = Metric { aggregation: Aggregation::Sum, field: "n".to_owned(), unit_price: "0.01".parse().unwrap() };
        books.meter.put_metric(&by, "pages", price).await.unwrap();
        let sent = books.send(vec![own("same", 1), own("other", 2)]).await;
        assert_eq!(said(&sent.events), [("recorded", ""), ("recorded", "")]);
        let (mut replayed, _) = books.meter.replay_quarantined(&by, None).await.unwrap();
        replayed.sort_by(|a, b| a.transaction_id.cmp(&b.transaction_id));
        let told: Vec<_> = replayed.iter().map(|one| (one.status, one.code.unwrap_or_default())).collect();
        assert_eq!(told, [("kept", "metering.duplicate_conflict"), ("duplicate", "")]);
        let kept = books.meter.quarantined(by.tenant(), None).await.unwrap();
        assert_eq!(kept.iter().map(|kept| kept.transaction_id.as_str()).collect::<Vec<_>>(), ["other"]);
        assert_eq!(books.balance().await, Micros::new(30_000));
    })
    .await;
}
