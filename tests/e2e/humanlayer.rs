//! HumanLayer's API, as its wire is; its own clients run in `sdk/python/tests/test_humanlayer.py`.

use serde_json::json;

use crate::support::{Cast, Home, Options};

#[test]
fn whoever_refuses_says_it_as_humanlayers_clients_read_it() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    assert_eq!(server.nobody().get("/humanlayer/v1/status").ok(), json!({ "status": "ok" }));
    assert_eq!(cast.agent.get("/humanlayer/v1/project").ok()["slug"], "default");
    // By an access rule, and by authentication before any route is known.
    let refusals = [
        (server.nobody().get("/humanlayer/v1/project"), 401, "http.unauthenticated"),
        (server.bearer("creto_agent_forged").get("/humanlayer/v1/project"), 401, "nhi.credential_malformed"),
    ];
    for (answer, status, code) in refusals {
        let refusal = answer.refused(status, code);
        assert_eq!(refusal["error"]["code"], code, "{refusal}");
        assert!(!refusal["error"]["message"].as_str().unwrap().is_empty(), "{refusal}");
    }
}
