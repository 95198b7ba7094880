//! HTTP as every product speaks it: access rules, strict bodies, problems, the document.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query};
use axum::http::{Method, Request, StatusCode};
use axum::{Json, Router};
use creto_db::Db;
use creto_enablement_common::http::{Access, Caller, Endpoint, Endpoints, StrictJson};
use creto_kernel::NhiKind;
use creto_metering::Meter;
use creto_nhi::{Principal, Role, Roles};
use creto_oversight::Actions;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::house::{House, SETS, human};

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Note {
    #[schema(value_type = Object)]
    text: Value,
}

async fn echo(StrictJson(note): StrictJson<Note>) -> Json<Note> {
    Json(note)
}

async fn fine() -> &'static str {
    "fine"
}

struct Answer {
    status: StatusCode,
    kind: String,
    body: Value,
}

async fn call(router: Router, method: Method, path: &str, caller: Option<Principal>, body: impl Into<Body>) -> Answer {
    let mut request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    if let Some(principal) = caller {
        request.extensions_mut().insert(Caller(principal, None));
    }
    let response = TowerToHyperService::new(router).call(request).await.unwrap();
    let status = response.status();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answer { status, kind, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
}

/// A house on SQLite: what is asked here never reaches the database.
async fn house() -> (House, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open_sqlite(&folder.path().join("http.db"), SETS).unwrap();
    (House::open(db, Vec::new()).await, folder)
}

#[tokio::test]
async fn each_access_rule_admits_exactly_whom_it_names() {
    let (house, _folder) = house().await;
    let chain = house.chain("default", None, &["planner"]).await;
    let callers = [
        ("nobody", None),
        ("agent", Some(Principal::in_sandbox(chain))),
        ("operator", Some(human("default", "olga", Roles::only(Role::Operator)))),
        ("approver", Some(human("default", "bob", Roles::only(Role::Approver)))),
        (
            "postfix",
            Some(Principal::local(house.world.identity("default", NhiKind::Service, "postfix").await, Roles::only(Role::Mail)).unwrap()),
        ),
        ("both", Some(human("default", "alice", Roles::OPERATOR_AND_APPROVER))),
    ];
    let rules = [
        (Access::Public, ["nobody", "agent", "operator", "approver", "postfix", "both"].as_slice()),
        (Access::Authenticated, &["agent", "operator", "approver", "both"]),
        (Access::Agent, &["agent"]),
        (Access::Approver, &["approver", "both"]),
        (Access::Operator, &["operator", "both"]),
        (Access::Mail, &["postfix", "operator", "both"]),
    ];
    for (access, admitted) in rules {
        for (name, caller) in &callers {
            let endpoints = Endpoints::new().and([Endpoint::new(Method::GET, "/x", access, "x", fine, ())]);
            let answer = call(endpoints.into_router(), Method::GET, "/x", caller.clone(), "").await;
            let expected = match (admitted.contains(name), *name) {
                (true, _) => (StatusCode::OK, None),
                (false, "nobody") => (StatusCode::UNAUTHORIZED, Some("http.unauthenticated")),
                (false, _) => (StatusCode::FORBIDDEN, Some("http.forbidden")),
            };
            assert_eq!((answer.status, answer.body["code"].as_str()), expected, "{access:?} asked by {name}");
            if let Some(code) = expected.1 {
                assert_eq!(answer.kind, "application/problem+json");
                assert_eq!(answer.body["status"], answer.status.as_u16());
                assert_eq!(answer.body["type"], format!("urn:creto:error:{code}"));
                assert!(answer.body["hint"].is_string(), "{access:?} asked by {name} says what to do");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_readers_could_disagree_about_is_refused() {
    let deep = format!(r#"{{"text":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20));
    let huge = format!(r#"{{"text":"{}"}}"#, "x".repeat(3 << 20));
    let cases = [
        (r#"{"text":"a"}"#, 200, "", ""),
        (r#"{"text":9007199254740992}"#, 200, "", ""),
        (r#"{"text":"a","extra":1}"#, 422, "http.bad_body", "extra"),
        (r"{}", 422, "http.bad_body", "text"),
        (r#"{"text":"a","text":"b"}"#, 422, "http.bad_body", "text"),
        (r#"{"text":{"a":1,"a":2}}"#, 422, "http.bad_body", "a"),
        (r#"{"text":9007199254740993}"#, 422, "http.bad_body", "2^53"),
        (r#"{"text":1e300}"#, 422, "http.bad_body", "2^53"),
        (r#"{"text":"a"} {}"#, 422, "http.bad_body", "trailing"),
        ("", 422, "http.bad_body", "EOF"),
        (deep.as_str(), 422, "http.bad_body", "nested too deeply"),
        (large.as_str(), 413, "http.body_too_large", "1048576"),
        (huge.as_str(), 413, "http.body_too_large", "1048576"),
    ];
    for (body, status, code, named) in cases {
        let endpoints = Endpoints::new().and([Endpoint::new(Method::POST, "/echo", Access::Public, "x", echo, ()).takes::<Note>()]);
        let shown: String = body.chars().take(60).collect();
        let answer = call(endpoints.into_router(), Method::POST, "/echo", None, body.to_owned()).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str().unwrap_or_default()), (status, code), "{shown}");
        assert!(answer.body["detail"].as_str().unwrap_or_default().contains(named), "{shown}: {}", answer.body);
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: u32,
}

async fn page(Path(number): Path<u32>, Query(page): Query<Page>) -> String {
    format!("{number} {}", page.limit)
}

#[tokio::test]
async fn a_path_or_query_that_cannot_be_read_is_a_problem_too() {
    for (path, status, named) in [
        ("/page/1?limit=2", 200, ""),
        ("/page/1?limit=x", 422, "limit"),
        ("/page/1?limit=2&colour=red", 422, "colour"),
        ("/page/one?limit=2", 422, "one"),
    ] {
        let endpoints = Endpoints::new().and([Endpoint::new(Method::GET, "/page/{number}", Access::Public, "x", page, ())]);
        let answer = call(endpoints.into_router(), Method::GET, path, None, "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        if status != 200 {
            assert_eq!(
                (answer.kind.as_str(), &answer.body["code"]),
                ("application/problem+json", &Value::from("http.bad_address")),
                "{path}"
            );
            assert!(answer.body["detail"].as_str().unwrap().contains(named), "{path}: {}", answer.body);
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str().filter(|_| name == "$ref") {
                    Some(target) => {
                        found.insert(target.to_owned());
                    }
                    None => references(field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_lists_every_endpoint_and_its_references_resolve() {
    let (house, _folder) = house().await;
    let meter = Meter::new(house.db.clone(), Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
    let actions = Actions::new(Arc::clone(&house.gate));
    let endpoints = Endpoints::new()
        .and(creto_metering::http::endpoints(&meter))
        .and(creto_oversight::http::endpoints(&house.desk, &actions))
        .and([Endpoint::new(Method::GET, "/files/{*path}", Access::Public, "x", fine, ())]);
    let document = endpoints.openapi("creto", "0.1.0");
    for endpoint in endpoints.list() {
        let path = endpoint.path().replace("{*", "{");
        let operation = &document["paths"][&path][endpoint.method().as_str().to_lowercase()];
        assert!(operation["summary"].is_string(), "{endpoint:?} is missing");
        assert_eq!(operation["security"].is_array(), endpoint.access() != Access::Public, "{endpoint:?}");
        for parameter in operation["parameters"].as_array().unwrap() {
            assert!(path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap())), "{endpoint:?}: {parameter}");
        }
        // Some commands need no more than their path; what is only read or removed takes no body.
        let reads = !matches!(*endpoint.method(), Method::GET | Method::DELETE);
        assert!(reads || operation["requestBody"].is_null(), "{endpoint:?}");
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/EventInput"), "{found:?}");
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
}
