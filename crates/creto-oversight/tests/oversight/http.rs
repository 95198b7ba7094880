//! The inbox over HTTP.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use creto_db::Db;
use creto_enablement_common::http::{Caller, Endpoints};
use creto_kernel::Digest;
use creto_nhi::Principal;
use creto_oversight::Actions;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::decisions::asked;
use super::house::{House, SETS, approver};

pub(crate) async fn call(house: &House, caller: Principal, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let actions = Actions::new(Arc::clone(&house.gate));
    let router = Endpoints::new().and(creto_oversight::http::endpoints(&house.desk, &actions)).into_router();
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
    request.extensions_mut().insert(Caller(caller, None));
    let response = TowerToHyperService::new(router).call(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn an_approver_sees_the_whole_action_and_decides_what_they_saw() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(Db::open_sqlite(&folder.path().join("http.db"), SETS).unwrap(), Vec::new()).await;
    let chain = house.chain("default", None, &["planner"]).await;
    let open = asked(&house, &chain, "pay").await;
    let (status, inbox) = call(&house, approver("default"), "GET", "/v1/oversight/requests?state=pending", None).await;
    assert_eq!((status, inbox["requests"].as_array().unwrap().len()), (200, 1), "{inbox}");
    let action: Value = serde_json::from_str(inbox["requests"][0]["action"].as_str().unwrap()).unwrap();
    assert_eq!((&action["arguments"], &action["resource"]), (&json!({ "to": "mallory" }), &json!("tool:pay")));

    let path = format!("/v1/oversight/requests/{}", open.id);
    let approve = format!("{path}/approve");
    let cases = [
        (Principal::in_sandbox(chain.clone()), approve.clone(), json!({ "digest": open.digest }), 403, "http.forbidden"),
        (approver("rival"), approve.clone(), json!({ "digest": open.digest }), 404, "oversight.unknown_request"),
        (approver("default"), approve.clone(), json!({}), 422, "http.bad_body"),
        (approver("default"), approve.clone(), json!({ "digest": "00".repeat(32) }), 409, "oversight.digest_mismatch"),
        (approver("default"), "/v1/oversight/requests/nonsense/deny".to_owned(), json!({}), 404, "oversight.unknown_request"),
    ];
    for (caller, path, body, status, code) in cases {
        let shown = format!("{path} {body}");
        let (answered, problem) = call(&house, caller, "POST", &path, Some(body)).await;
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{shown}: {problem}");
    }
    let body = json!({ "digest": inbox["requests"][0]["digest"], "comment": "fine" });
    let (status, decided) = call(&house, approver("default"), "POST", &approve, Some(body)).await;
    assert_eq!((status, &decided["state"], &decided["comment"]), (200, &json!("approved"), &json!("fine")), "{decided}");
    let (status, again) = call(&house, approver("default"), "POST", &format!("{path}/deny"), Some(json!({}))).await;
    assert_eq!((status, again["code"].as_str()), (409, Some("oversight.already_decided")));
}

#[tokio::test]
async fn hazard_13_no_get_or_head_decides_anything() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(Db::open_sqlite(&folder.path().join("http.db"), SETS).unwrap(), Vec::new()).await;
    let chain = house.chain("default", None, &["planner"]).await;
    let open = asked(&house, &chain, "pay").await;
    let actions = Actions::new(Arc::clone(&house.gate));
    let all = creto_oversight::http::endpoints(&house.desk, &actions);
    let paths: Vec<&str> =
        all.iter().map(creto_enablement_common::http::Endpoint::path).filter(|path| !path.ends_with("/events")).collect();
    assert!(paths.len() > 30, "{paths:?}");
    for path in paths.into_iter().filter(|path| !path.ends_with("/changes")) {
        for what in ["", "?approve=true", "?choice=approve&digest=x"] {
            let path = format!("{}{what}", path.replace("{id}", &open.id).replace("{rule}", "r").replace("{name}", "n"));
            for method in ["GET", "HEAD"] {
                call(&house, approver("default"), method, &path.replace("watch", "watch?wait_secs=0"), None).await;
            }
        }
    }
    let after = house.desk.get(chain.tenant(), open.id.parse().unwrap()).await.unwrap();
    assert_eq!((after.seq, after.state), (open.seq, creto_oversight::model::request::State::Pending));
    assert_eq!(house.leaves(&chain).await.len(), 1, "the asking alone is on record");
}

#[tokio::test]
async fn secret_arguments_are_hidden_from_whoever_may_not_see_them_and_stay_in_the_digest() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(Db::open_sqlite(&folder.path().join("http.db"), SETS).unwrap(), Vec::new()).await;
    let chain = house.chain("default", None, &["planner"]).await;
    let operator = super::house::human("default", "olga", creto_nhi::Roles::OPERATOR_AND_APPROVER);
    let document = json!({ "requirement": { "at_least": { "count": 1, "of": ["role:approver"] } }, "secrets": ["to"] });
    let put = json!({ "policy": document });
    assert_eq!(call(&house, operator.clone(), "PUT", "/v1/oversight/policies/require_approval", Some(put)).await.0, 200);
    let open = asked(&house, &chain, "pay").await;
    for path in [
        format!("/v1/oversight/requests/{}", open.id),
        format!("/v1/oversight/requests/{}/revisions", open.id),
        "/v1/oversight/inbox".to_owned(),
        "/v1/oversight/requests".to_owned(),
    ] {
        let (status, hidden) = call(&house, approver("default"), "GET", &path, None).await;
        assert!(status == 200 && !hidden.to_string().contains("mallory") && hidden.to_string().contains("(hidden)"), "{path}: {hidden}");
        let (_, clear) = call(&house, operator.clone(), "GET", &path, None).await;
        assert!(clear.to_string().contains("mallory"), "{path}: {clear}");
    }
    // What they approve is what they were shown: a view that names the digest of the whole.
    let (_, hidden) = call(&house, approver("default"), "GET", &format!("/v1/oversight/requests/{}", open.id), None).await;
    let view = hidden["view"].as_str().unwrap();
    let read: serde_json::Value = serde_json::from_str(view).unwrap();
    assert_eq!((&read["digest"], &read["hidden"]), (&json!(open.digest), &json!(["to"])));
    assert_eq!(read["action"], serde_json::from_str::<serde_json::Value>(hidden["action"].as_str().unwrap()).unwrap());
    let shown = Digest::of(view.as_bytes());
    let vote = |shown: serde_json::Value| json!({ "choice": "approve", "digest": open.digest, "revision": 1, "shown": shown });
    let path = format!("/v1/oversight/requests/{}/vote", open.id);
    for other in [json!(null), json!(open.digest), json!(Digest::of(b"another view"))] {
        let (status, refused) = call(&house, approver("default"), "POST", &path, Some(vote(other))).await;
        assert_eq!((status, &refused["code"]), (409, &json!("oversight.shown_mismatch")), "{refused}");
    }
    let (status, refused) = call(&house, operator.clone(), "POST", &path, Some(vote(json!(shown)))).await;
    assert_eq!((status, &refused["code"]), (409, &json!("oversight.shown_mismatch")), "who sees all of it approves the action itself");
    let batch = json!({ "choice": "approve", "requests": [{ "request": open.id, "digest": open.digest, "revision": 1 }] });
    let (_, refused) = call(&house, approver("default"), "POST", "/v1/oversight/batch", Some(batch)).await;
    assert_eq!(refused["code"], "oversight.shown_mismatch", "{refused}");
    let (status, decided) = call(&house, approver("default"), "POST", &path, Some(vote(json!(shown)))).await;
    assert_eq!((status, &decided["state"], &decided["redacted"]), (200, &json!("approved"), &json!(["to"])), "{decided}");
    let decision = house.desk.decided(chain.tenant(), open.id.parse().unwrap()).await.unwrap().decision;
    assert_eq!(decision.votes[0].shown, Some(shown), "the receipt says what the voter was shown");
}
