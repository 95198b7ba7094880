//! What subscriptions are entitled to, on both engines.

use std::collections::BTreeMap;

use creto_db::testkit::each_engine;
use creto_kernel::Coded as _;
use creto_metering::model::feature::{EntitlementChange, Feature};
use creto_metering::{Catalog, MeteringError, Question};
use serde_json::{Value, json};

use super::books::Books;
use super::catalog::read;
use super::house::{SETS, server};

fn patch(body: Value) -> EntitlementChange {
    EntitlementChange::Patch(serde_json::from_value(body).unwrap())
}

fn feature(options: &[&str]) -> Feature {
    read(json!({ "code": "models", "privileges": [
        { "code": "max", "value_type": "integer" }, { "code": "tools", "value_type": "boolean" },
        { "code": "provider", "value_type": "select", "config": { "select_options": options } }
    ] }))
}

#[tokio::test]
async fn an_agents_subscription_may_what_its_plan_says_and_what_is_said_for_it_alone() {
    each_engine(SETS, async |db| {
        let books = Books::open(db.clone()).await;
        let (catalog, other) =
            (Catalog::new(db.clone(), books.house.world.clock.clone()), Catalog::new(db, books.house.world.clock.clone()));
        let (by, tenant) = (server("default"), books.chain.tenant());
        catalog.create(&by, feature(&["a", "b"])).await.unwrap();
        let may = async |privilege: Option<&str>, wanted: Option<&str>| {
            // Whoever asks remembers what it read until somebody else changes it.
            other.is_entitled(tenant, "s", "models", Question { privilege, wanted }).await.unwrap().entitled
        };
        assert!(!may(None, None).await);
        let all: BTreeMap<_, _> = serde_json::from_value(json!({ "models": { "max": 5, "tools": false, "provider": "a" } })).unwrap();
        catalog.entitle_plan(&by, "all", &EntitlementChange::Replace(all)).await.unwrap();
        assert!(may(None, None).await && may(Some("max"), Some("5")).await && may(Some("provider"), Some("a")).await);
        assert!(!may(Some("max"), Some("6")).await && !may(Some("tools"), None).await && !may(Some("provider"), Some("b")).await);
        assert!(!may(Some("nothing"), None).await, "what nobody says is a no");
        let held = catalog.entitle(&by, "s", &patch(json!({ "models": { "max": 9, "tools": true, "provider": null } }))).await.unwrap();
        let values: Vec<_> =
            held[0].privileges.iter().map(|it| (it.privilege.code.as_str(), it.value.clone(), it.plan_value.clone())).collect();
        assert_eq!(values, [("max", json!(9), Some(json!(5))), ("tools", json!(true), Some(json!(false)))]);
        assert!(may(Some("max"), Some("9")).await && may(Some("tools"), None).await && !may(Some("provider"), None).await);
        catalog.entitle(&by, "s", &patch(json!({ "models": null }))).await.unwrap();
        assert!(!may(None, None).await, "the plan's feature is not this subscription's");
        catalog.entitle(&by, "s", &patch(json!({ "models": { "provider": "b" } }))).await.unwrap();
        assert!(may(Some("provider"), Some("b")).await && !may(Some("max"), Some("1")).await, "it comes back as it is said");
        // Refused by the name of what is wrong; what is used is not taken away.
        for (change, code) in [
            (json!({ "none": {} }), "metering.unknown_definition"),
            (json!({ "models": { "max": "many" } }), "metering.bad_definition"),
            (json!({ "models": { "colour": "red" } }), "metering.bad_definition"),
            (json!({ "models": { "colour": null } }), "metering.unknown_definition"),
        ] {
            assert_eq!(catalog.entitle(&by, "s", &patch(change)).await.unwrap_err().code().as_str(), code);
        }
        let in_use = |error: MeteringError| assert_eq!(error.code().as_str(), "metering.in_use", "{error}");
        in_use(catalog.delete_feature(&by, "models").await.unwrap_err());
        in_use(catalog.update_feature(&by, "models", feature(&["b"])).await.unwrap_err());
        catalog.update_feature(&by, "models", feature(&["a", "b", "c"])).await.unwrap();
        // It ends with the subscription; then nothing names it but a plan.
        catalog.terminate(&by, "s").await.unwrap();
        assert!(!may(None, None).await);
        catalog.entitle_plan(&by, "all", &patch(json!({ "models": null }))).await.unwrap();
        catalog.delete_feature(&by, "models").await.unwrap();
        assert!(catalog.is_entitled(tenant, "nobody", "models", Question::default()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn who_entitles_and_who_takes_the_privilege_away_at_once_never_both_win() {
    each_engine(SETS, async |db| {
        let books = Books::open(db.clone()).await;
        let by = server("default");
        let servers: Vec<Catalog> = (0..2).map(|_| Catalog::new(db.clone(), books.house.world.clock.clone())).collect();
        for round in 0..10 {
            let code = format!("f{round}");
            let body = |options: Value| {
                let select = json!({ "code": "p", "value_type": "select", "config": { "select_options": options } });
                read::<Feature>(json!({ "code": code, "privileges": [select] }))
            };
            servers[0].create(&by, body(json!(["a", "b"]))).await.unwrap();
            let change = patch(json!({ code.clone(): { "p": "b" } }));
            let (entitled, narrowed) =
                tokio::join!(servers[0].entitle(&by, "s", &change), servers[1].update_feature(&by, &code, body(json!(["a"]))));
            assert!(entitled.is_ok() != narrowed.is_ok(), "one of both: {entitled:?} {narrowed:?}");
        }
    })
    .await;
}
