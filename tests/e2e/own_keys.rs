//! Requests and delegations signed by keys that the server does not have.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Client, Home, Options, Server, list, make_key, text};

/// An agent's own machine: a folder of keys, and the command line.
struct Holder<'a> {
    home: &'a Home,
    folder: PathBuf,
}

impl<'a> Holder<'a> {
    fn new(home: &'a Home) -> Self {
        Self { home, folder: home.data().with_file_name("keys") }
    }

    fn ran(&self, words: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = self.home.command(words);
        command.env("CRETO_KEYS", &self.folder);
        for name in ["CRETO_URL", "CRETO_TOKEN", "CRETO_OWN_KEY", "CRETO_OWN_CHAIN", "CRETO_MASTER_KEY"] {
            command.env_remove(name);
        }
        command.envs(env.iter().copied()).output().unwrap()
    }

    fn ok(&self, words: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.ran(words, env);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The header lines for one request.
    fn signed(&self, server: &Server, key: &str, method: &str, host: &str, path: &str, body: Option<&Value>) -> Client {
        let file = self.home.data().with_file_name("body.json");
        let target = format!("http://{host}{path}");
        let mut words = vec!["agent", "key", "headers", key, method, &target];
        let name = file.display().to_string();
        if let Some(body) = body {
            fs::write(&file, body.to_string()).unwrap();
            words.extend(["--body", &name]);
        }
        let lines = self.ok(&words, &[]);
        lines.lines().filter_map(|line| line.split_once(": ")).fold(server.nobody(), |client, (name, value)| client.with(name, value))
    }
}

/// A worker with a registered key of its own, and that key's identifier.
fn enrolled(holder: &Holder<'_>, server: &Server) -> String {
    let made = make_key(&server.owner(), json!({ "role": "agent", "name": "worker" }));
    let env = [("CRETO_URL", server.url()), ("CRETO_TOKEN", text(&made, "token").to_owned())];
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    holder.ok(&["agent", "key", "create", "w"], &[]);
    let registered = holder.ok(&["agent", "key", "register", "w", "--json"], &env);
    text(&serde_json::from_str(&registered).unwrap(), "key").to_owned()
}

#[test]
fn a_request_signed_by_the_agents_own_key_counts_once_unchanged_and_here_alone() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let holder = Holder::new(&home);
    let key = enrolled(&holder, &server);
    let body = json!({ "text": "the harbour opens at six", "source": "observation" });
    let post = || holder.signed(&server, "w", "POST", "localhost", "/v1/memory", Some(&body));

    let signed = post();
    signed.post("/v1/memory", body.clone()).ok();
    signed.post("/v1/memory", body.clone()).refused(401, "nhi.proof_replayed");
    post().post("/v1/memory", json!({ "text": "at seven", "source": "observation" })).refused(401, "nhi.proof_digest");
    post().post("/v1/memory?again=1", body.clone()).refused(401, "nhi.proof_signature");
    let elsewhere = holder.signed(&server, "w", "POST", "creto.example", "/v1/memory", Some(&body));
    elsewhere.post("/v1/memory", body.clone()).refused(401, "nhi.proof_signature");
    elsewhere.hosted("creto.example").post("/v1/memory", body.clone()).refused(401, "app.foreign_host");
    let whoami = holder.signed(&server, "w", "GET", "localhost", "/v1/whoami", None).get("/v1/whoami").ok();
    assert_eq!((text(&whoami, "how"), text(&whoami, "roles")), ("proof_of_possession", "agent"));

    // The command line signs each of its requests by itself.
    let url = server.url();
    let found = holder.ok(&["memory", "search", "harbour", "--own-key", "w"], &[("CRETO_URL", &url)]);
    assert!(found.contains("the harbour opens at six"), "{found}");
    let listed = holder.ok(&["agent", "key", "list", "--own-key", "w", "--json"], &[("CRETO_URL", &url)]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let custody: Vec<_> = list(&listed, "keys").iter().map(|key| (key["custodial"].clone(), key["current"].clone())).collect();
    assert_eq!(custody, [(json!(true), json!(false)), (json!(false), json!(true))]);

    holder.ok(&["agent", "key", "revoke", &key, "--agent", "worker"], &[]);
    post().post("/v1/memory", body).refused(401, "nhi.proof_key");
}

#[test]
fn a_used_nonce_stays_used_after_a_restart_and_the_server_answers_to_the_names_it_was_told() {
    let home = Home::new();
    let options = Options { lines: "public_url = \"https://creto.example\"\n", ..Options::default() };
    let server = home.serve(&options);
    let holder = Holder::new(&home);
    enrolled(&holder, &server);
    let signed = holder.signed(&server, "w", "GET", "creto.example", "/v1/whoami", None).hosted("creto.example");
    signed.get("/v1/whoami").ok();
    server.kill();
    let server = home.serve(&options);
    signed.to_place_of(&server.nobody()).get("/v1/whoami").refused(401, "nhi.proof_replayed");
    let unused = holder.signed(&server, "w", "GET", "creto.example", "/v1/whoami", None);
    server.kill();
    let server = home.serve(&options);
    unused.to_place_of(&server.nobody()).hosted("other.example").get("/v1/whoami").refused(401, "app.foreign_host");
    unused.to_place_of(&server.nobody()).hosted("creto.example").get("/v1/whoami").ok();
}

#[test]
fn a_person_delegates_by_their_own_key_and_the_log_says_that_the_server_did_not_sign() {
    let home = Home::new();
    let server = home.serve(&Options::default());
    let holder = Holder::new(&home);
    server.owner().post("/v1/identities", json!({ "kind": "agent", "name": "worker" })).ok();
    let custodial = server.owner().post("/v1/delegations", json!({ "to": "worker" })).ok();
    holder.ok(&["agent", "key", "create", "mine"], &[]);
    let registered: Value = serde_json::from_str(&holder.ok(&["agent", "key", "register", "mine", "--json"], &[])).unwrap();
    server.owner().post("/v1/delegations", json!({ "to": "worker" })).refused(409, "nhi.not_custodial");

    let words = ["agent", "key", "delegate", "mine", "--to", "worker", "--budget", "5", "--json"];
    let chain: Value = serde_json::from_str(&holder.ok(&words, &[])).unwrap();
    let key = make_key(&server.owner(), json!({ "role": "agent", "name": "k", "chain": text(&chain, "chain") }));
    assert_eq!(server.bearer(text(&key, "token")).get("/v1/whoami").ok()["chain"].as_array().unwrap().len(), 2);
    let delegations = delegations(&home, &server);
    let of = |answer: &Value| delegations.iter().filter(|leaf| leaf["facts"]["link"] == answer["link"]).cloned().collect::<Vec<_>>();
    assert!(of(&custodial).iter().all(|leaf| leaf["facts"]["custodial"] == "true") && !of(&custodial).is_empty());
    assert!(of(&chain).iter().all(|leaf| leaf["facts"]["custodial"] == "false") && !of(&chain).is_empty());

    // Somebody else's chain, however good, is not handed in by an agent that did not sign it.
    let stranger = make_key(&server.owner(), json!({ "role": "agent", "name": "k2", "chain": text(&custodial, "chain") }));
    let answer = server.bearer(text(&stranger, "token")).post("/v1/chains", json!({ "chain": text(&chain, "chain") }));
    answer.refused(403, "app.not_your_chain");
    holder.ok(&["agent", "key", "revoke", text(&registered, "key")], &[]);
    server.bearer(text(&key, "token")).get("/v1/whoami").refused(401, "nhi.chain_key");
}

/// The leaves of delegations, from the verified log.
fn delegations(home: &Home, server: &Server) -> Vec<Value> {
    server.caught_up();
    let entries = home.data().join("log/default/tile/entries");
    let output = std::process::Command::new("find").arg(&entries).args(["-type", "f"]).output().unwrap();
    let files = String::from_utf8(output.stdout).unwrap();
    let newest = files.lines().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap().to_owned();
    let bytes = fs::read(newest).unwrap();
    let mut rest = bytes.as_slice();
    let mut leaves = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        leaves.push(serde_json::from_slice::<Value>(entry).unwrap());
        rest = after;
    }
    leaves.retain(|leaf| leaf["action"] == "nhi.delegate");
    leaves
}
