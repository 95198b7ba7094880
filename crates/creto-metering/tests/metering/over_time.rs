//! Usage and costs over time: what is kept of days says what the events say, and no event is read for it.

use std::collections::BTreeMap;

use creto_db::testkit::each_engine;
use creto_db::{Sealed, Write};
use creto_kernel::{Coded as _, Micros, Timestamp};
use creto_metering::core::over_time::{Series, Step};
use creto_metering::core::tree::CostNode;
use creto_metering::model::event::EventInput;
use creto_metering::{OverTime, OverTimeInput};
use creto_nhi::VerifiedChain;
use serde_json::{Value, json};

use super::books::{Books, CODES};
use super::catalog::read;
use super::house::{SETS, server};

/// Longer than any test's clock goes: it stands at 2026-11-22.
const WINDOW: (&str, &str) = ("2026-11-20", "2027-09-30");

async fn over_time(books: &Books, asked: Value) -> OverTime {
    let mut body = json!({ "from": WINDOW.0, "to": WINDOW.1 });
    body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
    books.meter.over_time(books.chain.tenant(), read::<OverTimeInput>(body)).await.unwrap()
}

async fn forget(books: &Books, sql: &'static str) {
    let step = Write::new(sql, vec![]);
    books.house.db.commit(Sealed::new(super::budgets::leaf(&books.chain)).step(step)).await.unwrap();
}

/// By whatever it is told apart, usage over time costs what the ledger says, and counts the events that stand.
pub(crate) async fn adds_up(books: &Books, cost: Micros) {
    let tenant = books.chain.tenant();
    let mut usage = Vec::new();
    for row in books.house.db.query("SELECT DISTINCT subscription FROM meter_record", vec![]).await.unwrap() {
        usage.extend(books.meter.usage(tenant, row.text(0).unwrap(), Timestamp::EPOCH, Timestamp::MAX).await.unwrap());
    }
    let live = i64::try_from(usage.iter().map(|line| line.events).sum::<u64>()).unwrap();
    for by in ["metric", "agent", "model", "subscription"] {
        for step in [Step::Day, Step::Week, Step::Month] {
            let answer = over_time(books, json!({ "by": by, "step": step })).await;
            assert_eq!((answer.total.total.cost, answer.total.total.events), (cost, live), "by {by}");
        }
    }
    let tree = books.meter.costs_of_days(tenant, (None, None)).await.unwrap();
    let posted = books.meter.costs(tenant, Timestamp::EPOCH, Timestamp::MAX).await.unwrap();
    assert_eq!(spenders(tree), spenders(posted), "the tree is the ledger's");
    let by_metric = over_time(books, json!({})).await;
    for code in CODES {
        let said = usage.iter().find(|line| line.code == code);
        let series = by_metric.series.iter().find(|series| series.key.as_deref() == Some(code));
        let adds_up = ["count", "sum", "grouped", "level"].contains(&code);
        let units = series.and_then(|series| series.total.units.clone());
        if let Some(said) = said.filter(|said| adds_up && said.events > 0) {
            assert_eq!(units, Some(said.units.clone()), "{code}");
        }
        assert!(adds_up || units.is_none() || series.is_none_or(|series| series.total.events == 0), "{code} does not add up");
    }
}

/// Without those who have nothing left to pay for.
fn spenders(tree: Vec<CostNode>) -> Vec<CostNode> {
    let spent = tree.into_iter().filter(|node| node.total != Micros::ZERO);
    spent.map(|node| CostNode { children: spenders(node.children), ..node }).collect()
}

fn points(series: &Series) -> Vec<(i64, Option<String>, i64)> {
    let said = |used: &creto_metering::core::daily::Used| (used.events, used.units.as_ref().map(ToString::to_string), used.cost.get());
    series.points.iter().map(said).filter(|point| point.0 != 0 || point.2 != 0).collect()
}

fn named<'a>(answer: &'a OverTime, key: &str) -> &'a Series {
    answer.series.iter().find(|series| series.key.as_deref().is_some_and(|it| it.ends_with(key))).unwrap()
}

/// `sum` costs 0.0000003 each, so ten million of them are three; `grouped` has a price for each region.
async fn told(books: &Books) -> VerifiedChain {
    let researcher = books.house.chain("default", None, &["planner", "researcher"]).await;
    let million = |n: u64, model: Value| json!({ "n": n * 1_000_000, "model": model });
    let of_planner = vec![
        books.event("p1", "sum", 3_600, million(10, json!("large"))),
        books.event("p2", "sum", 26 * 3_600, million(20, json!("small"))),
        books.event("p3", "unique_count", 26 * 3_600, json!({ "n": "ada" })),
    ];
    books.send(of_planner).await;
    let of_researcher = vec![
        books.event("r1", "sum", 3_600, million(30, json!("large"))),
        books.event("r2", "sum", 3_600, million(40, Value::Null)),
        books.event("r3", "grouped", 26 * 3_600, json!({ "n": 1, "region": "eu", "size": "large" })),
        books.event("r4", "grouped", 26 * 3_600, json!({ "n": 2, "region": "us", "size": "small" })),
    ];
    books.send_as(&researcher, of_researcher).await;
    researcher
}

#[tokio::test]
async fn usage_over_time_is_told_by_metric_agent_model_subscription_and_property() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        told(&books).await;
        let by_agent = over_time(&books, json!({ "by": "agent", "code": "sum" })).await;
        assert_eq!(points(named(&by_agent, "/researcher")), [(2, Some("70000000".to_owned()), 21_000_000)]);
        let planner = [(1, Some("10000000".to_owned()), 3_000_000), (1, Some("20000000".to_owned()), 6_000_000)];
        assert_eq!(points(named(&by_agent, "/planner")), planner);
        let by_model = over_time(&books, json!({ "by": "model", "code": "sum" })).await;
        let models: Vec<_> = by_model.series.iter().map(|series| (series.key.as_deref().unwrap(), series.total.cost.get())).collect();
        assert_eq!(models, [("large", 12_000_000), ("", 12_000_000), ("small", 6_000_000)], "one without a name is told apart");
        let all = over_time(&books, json!({ "by": "agent" })).await;
        assert!(all.total.total.units.is_none() && all.series.iter().all(|series| series.points.iter().all(|point| point.units.is_none())));
        let by_metric = over_time(&books, json!({})).await;
        assert_eq!(
            named(&by_metric, "unique_count").total.units,
            None,
            "values that are there twice count once: days of them do not add up"
        );
        let by_subscription = over_time(&books, json!({ "by": "subscription", "step": "month" })).await;
        assert_eq!(by_subscription.series.iter().map(|series| series.key.clone().unwrap()).collect::<Vec<_>>(), ["s"]);
        let by_region = over_time(&books, json!({ "by": "property", "property": "region", "code": "grouped" })).await;
        let regions: BTreeMap<_, _> = by_region.series.iter().map(|series| (series.key.as_deref().unwrap(), series.total.events)).collect();
        assert_eq!(regions, BTreeMap::from([("", 1), ("us", 1)]), "the filter for large ones groups by nothing");
        let by_size = over_time(&books, json!({ "by": "model", "property": "size", "code": "grouped" })).await;
        let sizes: BTreeMap<_, _> = by_size.series.iter().map(|series| (series.key.as_deref().unwrap(), series.total.events)).collect();
        assert_eq!(sizes, BTreeMap::from([("", 1), ("large", 1)]), "a filter of one value names it");
        books.balance().await;
    })
    .await;
}

#[tokio::test]
async fn a_day_of_usage_is_the_subscriptions_own() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        // One minute before midnight in New York it is five hours past midnight in UTC.
        let (day, next) = ("2027-01-08", "2027-01-09");
        let since = "2027-01-09T04:59:00Z".parse::<Timestamp>().unwrap().since(books.start).as_secs();
        books.send(vec![books.event("late", "count", since, json!({})), books.event("later", "count", since + 120, json!({}))]).await;
        let of = async |day: &str| {
            let asked = read::<OverTimeInput>(json!({ "from": day, "to": day }));
            books.meter.over_time(books.chain.tenant(), asked).await.unwrap().total.total.events
        };
        assert_eq!((of(day).await, of(next).await), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn what_is_cancelled_or_amended_is_taken_out_of_its_day() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        told(&books).await;
        let by = server("default");
        books.meter.cancel(&by, "s", "r1").await.unwrap();
        let instead = EventInput {
            transaction_id: "p1-again".to_owned(),
            ..books.event("p1", "sum", 3_600, json!({ "n": 1_000_000, "model": "tiny" }))
        };
        books.meter.amend(&by, &books.chain, ("s", "p1"), instead).await.unwrap();
        let by_model = over_time(&books, json!({ "by": "model", "code": "sum" })).await;
        assert_eq!(points(named(&by_model, "large")), []);
        assert_eq!(points(named(&by_model, "tiny")), [(1, Some("1000000".to_owned()), 300_000)]);
        let by_agent = over_time(&books, json!({ "by": "agent", "code": "sum" })).await;
        assert_eq!(points(named(&by_agent, "/researcher")), [(1, Some("40000000".to_owned()), 12_000_000)]);
        books.balance().await;
    })
    .await;
}

#[tokio::test]
async fn days_that_are_not_what_the_events_say_are_named_by_the_check() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        told(&books).await;
        for (break_it, mend) in [
            (
                "UPDATE meter_daily SET events = events + 1 WHERE model = 'small'",
                "UPDATE meter_daily SET events = events - 1 WHERE model = 'small'",
            ),
            ("UPDATE meter_daily SET units = '7' WHERE model = 'small'", "UPDATE meter_daily SET units = '20000000' WHERE model = 'small'"),
            (
                "UPDATE meter_daily SET cost_micros = cost_micros + 1 WHERE model = 'small'",
                "UPDATE meter_daily SET cost_micros = cost_micros - 1 WHERE model = 'small'",
            ),
            (
                "UPDATE meter_daily SET model = 'other' WHERE model = 'small'",
                "UPDATE meter_daily SET model = 'small' WHERE model = 'other'",
            ),
        ] {
            forget(&books, break_it).await;
            let report = books.meter.check(books.chain.tenant()).await.unwrap();
            assert!(!report.ok && report.aggregates.iter().any(|named| named.starts_with("sum of source 1 on ")), "{break_it}: {report:?}");
            forget(&books, mend).await;
            assert!(books.meter.check(books.chain.tenant()).await.unwrap().ok, "{mend}");
        }
    })
    .await;
}

#[tokio::test]
async fn usage_and_costs_over_time_read_no_event_and_no_posting() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        told(&books).await;
        let answers = async || {
            let mut answers = Vec::new();
            for by in ["metric", "agent", "model", "subscription"] {
                answers.push(over_time(&books, json!({ "by": by })).await);
            }
            (answers, books.meter.costs_of_days(books.chain.tenant(), (None, None)).await.unwrap())
        };
        let before = answers().await;
        for table in ["DELETE FROM meter_record", "DELETE FROM meter_span", "DELETE FROM meter_entry"] {
            forget(&books, table).await;
        }
        assert_eq!(answers().await, before);
    })
    .await;
}

#[tokio::test]
async fn costs_of_days_are_what_each_hop_spent_on_them_over_all_products() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        let researcher = told(&books).await;
        // What the server measures itself, at its own moment: fifty days after the rest, and in UTC.
        super::budgets::priced(&books.house, &researcher).await;
        super::budgets::post(&books.house, &researcher, None, 5).await.unwrap();
        let zone = "America/New_York".parse::<creto_metering::core::zone::Zone>().unwrap();
        let day = |secs: u64| zone.day(books.start.saturating_add(std::time::Duration::from_secs(secs)));
        let tree = async |days| books.meter.costs_of_days(books.chain.tenant(), days).await.unwrap();
        let spent = |node: &CostNode| (node.direct.get(), node.total.get());
        let first = tree((Some(day(3_600)), Some(day(3_600)))).await;
        let (alice, planner) = (&first[0], &first[0].children[0]);
        assert_eq!(
            (spent(alice), spent(planner), spent(&planner.children[0])),
            ((0, 24_000_000), (3_000_000, 24_000_000), (21_000_000, 21_000_000))
        );
        let measured = tree((Some(day(49 * 86_400)), None)).await;
        assert_eq!(spent(&measured[0]), (0, 5));
        assert!(tree((Some(day(200 * 86_400)), None)).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_window_that_cannot_be_answered_says_why() {
    each_engine(SETS, async |db| {
        let books = Books::open(db).await;
        for asked in [
            json!({ "from": "2026-12-02", "to": "2026-12-01" }),
            json!({ "from": "2020-01-01", "to": "2026-12-01" }),
            json!({ "by": "property" }),
            json!({ "by": "agent", "property": "region" }),
        ] {
            let error = books.meter.over_time(books.chain.tenant(), read::<OverTimeInput>(asked.clone())).await.unwrap_err();
            assert_eq!(error.code().as_str(), "metering.malformed_request", "{asked}: {error}");
        }
        let empty = books.meter.over_time(books.chain.tenant(), OverTimeInput::default()).await.unwrap();
        assert_eq!((empty.steps.len(), empty.series.len(), empty.total.points.len()), (30, 0, 30));
    })
    .await;
}
