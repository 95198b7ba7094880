//! Who may call what: every operation of the server's own OpenAPI document, called by everybody.

use std::path::Path;

use serde_json::json;

use crate::support::{Answer, Cast, Client, Home, Options, text};

/// One operation of the document.
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) access: String,
    pub(crate) has_body: bool,
}

/// Every operation, in the document's order.
pub(crate) fn operations(client: &Client) -> Vec<Operation> {
    let document = client.get("/openapi.json").ok();
    let paths = document["paths"].as_object().unwrap();
    let all: Vec<Operation> = paths
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation)))
        .map(|(path, method, operation)| Operation {
            method: method.to_uppercase(),
            path: path.clone(),
            access: text(operation, "x-access").to_owned(),
            has_body: method != "get" && method != "delete",
        })
        .collect();
    assert!(all.len() > 30, "the document is not whole: {} operations", all.len());
    all
}

/// The path with every parameter replaced.
pub(crate) fn filled(path: &str, value: impl Fn(&str) -> String) -> String {
    path.split('/')
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => value(name),
            None => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// The roles of the matrix, in its order.
const ROLES: [&str; 4] = ["nobody", "agent", "approver", "operator"];

/// What the document promises.
fn admits(access: &str, role: &str) -> bool {
    match access {
        "nothing" => true,
        "an identity" => role != "nobody",
        "a delegation chain" => role == "agent",
        "the role `approver`" => role == "approver",
        "the role `operator`" | "the role `mail` or `operator`" => role == "operator",
        other => panic!("the document has an access rule this test does not know: `{other}`"),
    }
}

/// Whether the access rule let the call through; what the endpoint itself thought of an empty request is another matter.
fn was_admitted(answer: &Answer) -> bool {
    !matches!(answer.code().as_str(), "http.unauthenticated" | "http.forbidden" | "http.no_chain")
}

/// A request that changes nothing: names nobody has, an empty body.
fn call(client: &Client, operation: &Operation) -> Answer {
    let path = filled(&operation.path, |name| {
        match name {
            "tenant" => "default",
            "path" => "checkpoint",
            "kind" => "agent",
            "change" => "suspend",
            _ => "nobody-has-this-name",
        }
        .to_owned()
    });
    client.call(&operation.method, &path, operation.has_body.then(|| json!({})).as_ref())
}

#[test]
fn every_operation_admits_whom_its_access_rule_names_and_nobody_else() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let cast = Cast::of(&server, &server.owner());
    let nobody = server.nobody();
    let clients = [&nobody, &cast.agent, &cast.approver, &cast.operator];
    let mut matrix = String::new();
    let mut wrong = Vec::new();
    for operation in operations(&nobody) {
        let name = format!("{:<6} {}", operation.method, operation.path);
        let mut row = format!("{name:<58}");
        for (role, client) in ROLES.iter().zip(clients) {
            let answer = call(client, &operation);
            let (expected, admitted) = (admits(&operation.access, role), was_admitted(&answer));
            if expected != admitted {
                wrong.push(format!("{name} as {role}: {} {}", answer.status, answer.text()));
            }
            if admitted
                && (answer.status == 405
                    || (answer.status == 404 && answer.header("content-type").is_none())
                    || answer.code() == "http.no_route")
            {
                wrong.push(format!("{name}: in the document, and not served ({})", answer.status));
            }
            if !admitted {
                let (status, code) = if *role == "nobody" { (401, "http.unauthenticated") } else { (403, answer.code().leak() as &str) };
                answer.refused(status, code);
            }
            row.push_str(&format!("  {role}={:<3}", if admitted { "yes" } else { "no" }));
        }
        matrix.push_str(row.trim_end());
        matrix.push('\n');
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    compare(&matrix);
}

/// The committed matrix: a new route, or one that moves to another rule, is a change somebody reads.
fn compare(matrix: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/authorization.snap");
    if std::env::var_os("CRETO_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, matrix).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let missing =
        |of: &str, from: &str| of.lines().filter(|line| !from.lines().any(|l| l == *line)).map(|l| format!("\n  {l}")).collect::<String>();
    assert!(
        committed == matrix,
        "who may call what has changed; if that is meant, run this test with CRETO_UPDATE_SNAPSHOTS=1\ncommitted only:{}\nserved only:{}",
        missing(&committed, matrix),
        missing(matrix, &committed),
    );
}

#[test]
fn a_mail_servers_key_hands_in_mails_and_does_nothing_else() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    let key = crate::support::make_key(&owner, json!({ "role": "mail", "name": "postfix" }));
    assert!(text(&key, "identity").ends_with("/service/postfix"), "{key}");
    owner.post("/v1/keys", json!({ "role": "mail", "name": "creto" })).refused(422, "app.bad_identity_request");
    let postfix = server.bearer(text(&key, "token"));
    let mut wrong = Vec::new();
    for operation in operations(&server.nobody()) {
        let admitted = was_admitted(&call(&postfix, &operation));
        let expected = operation.access == "nothing" || (operation.method == "POST" && operation.path == "/v1/oversight/mail");
        if admitted != expected {
            wrong.push(format!("{} {} ({})", operation.method, operation.path, operation.access));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // This server takes no answers: what comes waits with the mail server.
    postfix.post("/v1/oversight/mail", json!({})).refused(404, "oversight.no_channel");
    let agent = Cast::of(&server, &owner).agent;
    agent.post("/v1/oversight/mail", json!({})).refused(403, "http.forbidden");
    owner.delete(&format!("/v1/keys/{}", text(&key, "id"))).ok();
    postfix.post("/v1/oversight/mail", json!({})).refused(401, "nhi.credential_revoked");
}

#[test]
fn a_credential_that_is_no_good_is_refused_and_not_taken_for_nobody() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let key = crate::support::make_key(&server.owner(), json!({ "role": "operator", "name": "olga" }));
    let olga = server.bearer(text(&key, "token"));
    olga.get("/v1/whoami").ok();
    let mut altered = text(&key, "token").to_owned();
    let last = if altered.pop() == Some('A') { 'B' } else { 'A' };
    altered.push(last);
    for token in ["x", "creto_operator_", altered.as_str()] {
        let answer = server.bearer(token).get("/healthz");
        assert_eq!(answer.status, 401, "`{token}`: {}", answer.text());
    }
    server.owner().delete(&format!("/v1/keys/{}", text(&key, "id"))).ok();
    olga.get("/v1/whoami").refused(401, "nhi.credential_revoked");
    assert_eq!(server.nobody().get("/healthz").text(), "ok\n");
    let cookie = server.nobody().with("cookie", "creto_session=forged");
    assert_eq!(cookie.get("/v1/whoami").status, 401);
    assert_eq!(cookie.post("/v1/policy/explain", json!({})).status, 401);
}

#[test]
fn the_owner_acts_as_no_human_who_was_taken_away() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let owner = server.owner();
    for name in ["ada", "bob"] {
        owner.post("/v1/identities", json!({ "kind": "human", "name": name })).ok();
    }
    let (ada, bob) = (owner.with("creto-as", "ada"), owner.with("creto-as", "bob"));
    assert!(text(&ada.get("/v1/whoami").ok(), "identity").ends_with("/human/ada"));
    owner.post("/v1/identities/human/ada/revoke", json!({})).ok();
    owner.post("/v1/identities/human/bob/suspend", json!({})).ok();
    for (client, path) in [(&ada, "/v1/whoami"), (&ada, "/v1/oversight/requests"), (&bob, "/v1/whoami")] {
        client.get(path).refused(404, "app.no_such_human");
    }
    owner.with("creto-as", "nobody-has-this-name").get("/v1/whoami").refused(404, "app.no_such_human");
    owner.post("/v1/identities/human/bob/resume", json!({})).ok();
    assert!(text(&bob.get("/v1/whoami").ok(), "identity").ends_with("/human/bob"));
}

#[test]
fn a_session_changes_things_only_with_its_own_token() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let sign_in = |name: &str| {
        let login = json!({ "name": name, "password": "correct horse battery" });
        let signed_in = server.nobody().post("/v1/session", login);
        let csrf = text(&signed_in.ok(), "csrf").to_owned();
        let cookie = signed_in.header("set-cookie").expect("a session is a cookie").to_owned();
        for attribute in ["HttpOnly", "SameSite=Strict"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        (server.nobody().with("cookie", cookie.split(';').next().unwrap()), csrf)
    };
    for (name, operator) in [("ada", true), ("bob", false)] {
        server.owner().post("/v1/accounts", json!({ "name": name, "password": "correct horse battery", "operator": operator })).ok();
    }
    let wrong = json!({ "name": "ada", "password": "incorrect horse battery" });
    server.nobody().post("/v1/session", wrong).refused(401, "nhi.login_failed");
    let ((ada, csrf), (bob, csrf_of_bob)) = (sign_in("ada"), sign_in("bob"));
    assert_eq!(ada.get("/v1/whoami").ok()["how"], "session");
    let identity = || json!({ "kind": "agent", "name": "worker" });
    for client in [ada.clone(), ada.with("x-csrf-token", &csrf_of_bob)] {
        client.post("/v1/identities", identity()).refused(403, "nhi.csrf_refused");
    }
    ada.with("x-csrf-token", &csrf).post("/v1/identities", identity()).ok();
    bob.with("x-csrf-token", &csrf_of_bob).post("/v1/identities", identity()).refused(403, "http.forbidden");
    bob.get("/v1/oversight/requests").ok();
    ada.with("x-csrf-token", &csrf).delete("/v1/session").ok();
    assert_eq!(ada.get("/v1/whoami").status, 401, "a session ends where its human signs out");
}
