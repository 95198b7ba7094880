//! Escalation chains through the real binary: who is told at each step, how often, and what becomes of steps that are due while nobody runs.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hours::seconds;
use crate::support::{Cast, Client, Home, Mailbox, Options, Server, Sink, list, make_key, text, until, until_within};

/// Whoever is told something, besides ada, whom [`Cast`] makes.
const OTHERS: [&str; 3] = ["bob", "carol", "dave"];
const SIGKILL: i32 = 9;

/// A server whose approvers have mail, and somebody who is told everything by webhook.
struct Office {
    home: Home,
    options: Options,
    sink: Sink,
    mail: Mailbox,
}

/// Of a chain's steps, whom they tell and after how long the next begins.
type Step = (&'static str, u64);

impl Office {
    fn open() -> (Self, Server) {
        let (home, sink, mail) = (Home::new(), Sink::new(), Mailbox::new());
        let more = format!("outbound_allow = [\"{}\", \"{}\"]\n{}", sink.place(), mail.place(), mail.line());
        let office = Self { home, options: Options { more, ..Options::default() }, sink, mail };
        let server = office.home.serve(&office.options);
        let owner = server.owner();
        for name in OTHERS {
            make_key(&owner, json!({ "role": "approver", "name": name }));
        }
        Cast::of(&server, &owner);
        for name in OTHERS.into_iter().chain(["ada"]) {
            let preferences = json!({ "email": format!("{name}@example.org") });
            assert!(owner.put(&format!("/v1/oversight/people/{name}/preferences"), preferences).is_ok());
        }
        owner.post("/v1/webhooks", json!({ "url": office.sink.url() })).ok();
        (office, server)
    }

    /// Who was written to about a request, under which subject, in order.
    fn mails(&self, request: &str) -> Vec<String> {
        let mails = self.mail.about(request);
        let ids: BTreeSet<_> = mails.iter().map(|mail| &mail.id).collect();
        assert_eq!(ids.len(), mails.len(), "no mail came twice: {mails:?}");
        let subject = |subject: &str| subject.strip_prefix("[creto] ").and_then(|s| s.split_once(": ")).unwrap().0.to_owned();
        mails.iter().map(|mail| format!("{} {}", mail.to.trim_end_matches("@example.org"), subject(&mail.subject))).collect()
    }

    /// What was told of a request by webhook, and at which step it was then, in order.
    fn told(&self, request: &str) -> Vec<String> {
        let keys: Vec<String> = self.sink.about(request).iter().map(|event| text(&event["data"], "key").to_owned()).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "nothing was told twice: {keys:?}");
        let part = |key: &str, place: usize| key.split('/').nth(place).unwrap().to_owned();
        keys.iter().map(|key| format!("{} {}", part(key, 3), part(key, 1))).collect()
    }

    /// Waits until everybody was told of everything that has happened. The outbox is told in the order of commits, some at a time, each
    /// some after those before were acknowledged: when the second of two questions is told, so was whatever came before the first.
    fn all_is_told(&self, server: &Server) {
        let owner = server.owner();
        publish(&owner, &[("ada", LONG_SECS)], json!({}));
        let agent = agent(server);
        for _ in 0..2 {
            let request = asked(&agent, 600);
            until("a question is told", || !self.told(&request).is_empty() && !self.mails(&request).is_empty());
        }
    }
}

fn agent(server: &Server) -> Client {
    server.bearer(text(&make_key(&server.owner(), json!({ "role": "agent", "name": "worker" })), "token"))
}

fn publish(owner: &Client, steps: &[Step], more: Value) {
    let steps: Vec<Value> = steps
        .iter()
        .map(|(name, after_secs)| json!({ "to": [format!("person:spiffe://creto.local/tenant/default/human/{name}")], "after_secs": after_secs }))
        .collect();
    let mut document =
        json!({ "requirement": { "at_least": { "count": 1, "of": ["role:approver"] } }, "separation": "agents", "steps": steps });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    owner.put("/v1/oversight/policies/require_approval", json!({ "policy": document })).ok();
}

/// Asks for something nobody asked for before.
fn asked(agent: &Client, timeout_secs: u64) -> String {
    static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let action = json!({
        "action": "tool.call_with_approval", "resource": "tool:pay_invoice", "arguments": { "number": number }, "wait_secs": 0,
        "timeout_secs": timeout_secs
    });
    let asked = agent.post("/v1/actions", action).ok();
    assert_eq!(text(&asked, "state"), "pending", "{asked}");
    text(&asked, "request").to_owned()
}

fn shown(owner: &Client, request: &str) -> Value {
    owner.get(&format!("/v1/oversight/requests/{request}")).ok()
}

/// What happened to a request, with the step that began where one did.
fn events(owner: &Client, request: &str) -> Vec<String> {
    let history = owner.get(&format!("/v1/oversight/requests/{request}/history")).ok();
    let word = |event: &Value| match event["step"].as_u64() {
        Some(step) => format!("{} {step}", text(event, "type")),
        None => text(event, "type").to_owned(),
    };
    list(&history, "events").iter().map(|event| word(&event["event"])).collect()
}

/// When each of these happened.
fn moments(owner: &Client, request: &str) -> Vec<u64> {
    let history = owner.get(&format!("/v1/oversight/requests/{request}/history")).ok();
    list(&history, "events").iter().map(|event| seconds(&event["at"])).collect()
}

/// How long a step has, in seconds: a machine that stalls for as long begins two at once.
const STEP_SECS: u64 = 4;

#[test]
fn a_chain_that_repeats_tells_each_of_its_people_in_turn_as_often_as_it_says_and_no_more() {
    let (office, server) = Office::open();
    let owner = server.owner();
    let agent = agent(&server);
    publish(&owner, &[("ada", STEP_SECS), ("bob", STEP_SECS)], json!({ "repeat": 1 }));
    // The last of their steps would be over long before they time out.
    let repeats = asked(&agent, 6 * STEP_SECS);
    publish(&owner, &[("ada", STEP_SECS), ("bob", STEP_SECS)], json!({}));
    let once = asked(&agent, 6 * STEP_SECS);
    publish(&owner, &[("carol", STEP_SECS)], json!({ "repeat": 2 }));
    let alone = asked(&agent, 6 * STEP_SECS);

    for (request, steps) in [(&repeats, 3), (&once, 1), (&alone, 2)] {
        until("the last step has begun", || shown(&owner, request)["step"] == steps);
        let waits = shown(&owner, request);
        assert_eq!(waits["due_at"], waits["deadline"], "nothing more begins: {waits}");
    }
    for request in [&repeats, &once, &alone] {
        until("its time is out", || shown(&owner, request)["state"] == "timed_out");
    }
    office.all_is_told(&server);

    assert_eq!(events(&owner, &repeats), ["opened", "escalated 1", "escalated 2", "escalated 3", "timed_out"]);
    let moments = moments(&owner, &repeats);
    assert!(moments.windows(2).all(|pair| pair[1] > pair[0]), "each step has its time: {moments:?}");
    assert_eq!(office.told(&repeats), ["opened 0", "escalated 1", "escalated 2", "escalated 3", "resolved 3"]);
    assert_eq!(office.mails(&repeats), ["ada decide", "bob decide (escalated)", "ada decide (escalated)", "bob decide (escalated)"]);

    assert_eq!(events(&owner, &once), ["opened", "escalated 1", "timed_out"]);
    assert_eq!(office.mails(&once), ["ada decide", "bob decide (escalated)"]);
    assert_eq!(events(&owner, &alone), ["opened", "escalated 1", "escalated 2", "timed_out"]);
    assert_eq!(office.mails(&alone), ["carol decide", "carol decide (escalated)", "carol decide (escalated)"]);
}

/// Until the first step is over, in seconds: long enough for everybody to be told of the request before its server ends.
const FIRST_SECS: u64 = 15;
const LATER_SECS: u64 = 1;
/// How long the step has that begins after the downtime.
const LONG_SECS: u64 = 600;
/// How long people have at the least after a deadline that nobody was up for.
const WINDOW_MIN_SECS: u64 = 300;

/// A timer that a server took and died with is taken by another after half a minute; on a loaded machine that takes a while longer.
const LEASE_MAX: Duration = Duration::from_secs(75);

/// Requests of which three steps are due while no server runs, and one whose deadline is then.
struct Overdue {
    chains: Vec<String>,
    late: String,
}

impl Overdue {
    /// Asks, ends the server, and comes back when all of it is overdue.
    fn after(office: &Office, server: Server, end: impl FnOnce(Server)) -> Self {
        let (owner, agent) = (server.owner(), agent(&server));
        let chain = [("ada", FIRST_SECS), ("bob", LATER_SECS), ("carol", LATER_SECS), ("dave", LONG_SECS), ("ada", LONG_SECS)];
        publish(&owner, &[("ada", 3600), ("bob", 60), ("carol", 60)], json!({ "on_timeout": "escalate" }));
        let late = asked(&agent, FIRST_SECS);
        publish(&owner, &chain, json!({}));
        let chains: Vec<String> = (0..3).map(|_| asked(&agent, 2 * LONG_SECS)).collect();
        let since = Instant::now();
        office.all_is_told(&server);
        for request in chains.iter().chain([&late]) {
            assert_eq!(events(&owner, request), ["opened"], "the machine is too slow for steps of {FIRST_SECS} s");
        }
        end(server);
        until("three steps are overdue", || since.elapsed() > Duration::from_secs(FIRST_SECS + 2 * LATER_SECS + 1));
        Self { chains, late }
    }

    /// What holds from now on, and for good.
    fn check(&self, office: &Office, server: &Server) {
        let owner = server.owner();
        for request in &self.chains {
            until_within(LEASE_MAX, "the overdue steps have begun", || shown(&owner, request)["step"] == 3);
        }
        until_within(LEASE_MAX, "the next people are asked", || shown(&owner, &self.late)["step"] == 1);
        office.all_is_told(server);
        for request in &self.chains {
            assert_eq!(events(&owner, request), ["opened", "escalated 1", "escalated 2", "escalated 3"], "in order");
            assert_eq!(office.told(request), ["opened 0", "escalated 3"], "who was never asked in time is not told");
            assert_eq!(office.mails(request), ["ada decide", "dave decide (escalated)"]);
            let (begun, due) = (moments(&owner, request)[3], seconds(&shown(&owner, request)["due_at"]));
            assert_eq!(due, begun + LONG_SECS, "the step that began late has its whole time");
        }
        assert_eq!(events(&owner, &self.late), ["opened", "escalated 1"]);
        assert_eq!(office.told(&self.late), ["opened 0", "escalated 1"]);
        assert_eq!(office.mails(&self.late), ["ada decide", "bob decide (escalated)"]);
        let (begun, deadline) = (moments(&owner, &self.late)[1], seconds(&shown(&owner, &self.late)["deadline"]));
        assert!(deadline >= begun + WINDOW_MIN_SECS, "{begun} {deadline}");
    }
}

#[test]
fn steps_that_are_due_while_the_server_is_stopped_fire_in_order_when_it_is_back_and_the_last_is_told_once() {
    let (office, server) = Office::open();
    let overdue = Overdue::after(&office, server, Server::stop);
    let server = office.home.serve(&office.options);
    overdue.check(&office, &server);
    // Another stop fires nothing again.
    server.stop();
    overdue.check(&office, &office.home.serve(&office.options));
}

#[test]
fn steps_that_are_due_while_the_server_is_dead_fire_once_though_it_dies_again_before_anybody_is_told_of_them() {
    let (office, server) = Office::open();
    let overdue = Overdue::after(&office, server, Server::kill);
    let dies = Options { failpoint: Some("db.after_commit@oversight.update".to_owned()), ..office.options.clone() };
    let status = match office.home.try_serve(&dies) {
        Ok(server) => server.ended(),
        Err(status) => status,
    };
    assert_eq!(status.signal(), Some(SIGKILL), "{status}");
    let server = office.home.serve(&office.options);
    overdue.check(&office, &server);
    server.kill();
    overdue.check(&office, &office.home.serve(&office.options));
}
