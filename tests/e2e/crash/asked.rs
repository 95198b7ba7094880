//! What humans are asked, on PostgreSQL: the server dies in each commit of requests, edits, votes, decisions, steps, deadlines, uses and
//! outcomes. Several lanes run side by side; in each one server after the other dies over the same database and directory, in a day of its
//! own, and the next one finishes that day.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::day::Died;
use super::{POINTS, SIGKILL};
use crate::support::{Answer, Client, Home, Options, Schema, Server, Sink, list, make_key, text, until_within};

/// Deaths that the days of a test may do without: commits that became one.
const MISSED_MAX: usize = 2;
/// What a dead server had taken upon itself is another's after a minute at most; on a loaded machine that takes a while longer.
const LEASE_MAX: Duration = Duration::from_secs(100);
/// Whatever is one tool's has a chain of two steps.
const RULE: &str =
    "@id(\"t.slow\") @oversight(\"slow\") forbid (principal, action == Action::\"tool.call\", resource) unless { context.approved };";
/// What commits in a day, by the action of its leaf and its turn: requests, the use of one approval and its outcome; an edit and the first
/// of two votes; two decisions.
const COMMITS: [&str; 10] = [
    "tool.call:1",
    "tool.call_with_approval:1",
    "tool.call_with_approval:2",
    "tool.call_with_approval:3",
    "tool.call_with_approval:4",
    "tool.call_with_approval:5",
    "oversight.update:1",
    "oversight.update:2",
    "oversight.decide:1",
    "oversight.decide:2",
];
/// And once its time has come: a step, a deadline, a withdrawal. Each of these days has a database of its own. A timer that a server dies
/// with is fired half a minute later, so they are finished at the end.
const TIMED: [&str; 3] = ["oversight.update:3", "oversight.decide:3", "oversight.decide:4"];

type Step<T = ()> = Result<T, Died>;

#[test]
fn on_postgresql_what_humans_are_asked_survives_dying_before_any_of_its_commits_is_durable() {
    dies_in_each_commit("undone", 4, &POINTS[..3]);
}

#[test]
fn on_postgresql_what_humans_are_asked_survives_dying_before_anybody_is_told_of_any_of_its_commits() {
    dies_in_each_commit("done", 2, &POINTS[3..]);
}

fn dies_in_each_commit(name: &str, lanes: usize, points: &[&str]) {
    let at = |commit: &&'static str| points.iter().map(|point| (format!("{point}@{commit}"), TIMED.contains(commit))).collect::<Vec<_>>();
    let deaths: Vec<(String, bool)> = COMMITS.iter().chain(&TIMED).flat_map(at).collect();
    let (next, died, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let run = |lane: usize| {
        let home = format!("{name}_{lane}");
        let Some(lane) = Lane::open(&home) else { return };
        let (mut later, mut at) = (Vec::<Day>::new(), "the end".to_owned());
        // What a server died with is told again after a minute; one of the tests waits for it.
        let look = |lane: &Lane, server: &Server| {
            lane.check(server);
            if points.contains(&"db.after_commit") {
                lane.told(server);
            }
        };
        let lived = catch_unwind(AssertUnwindSafe(|| {
            while let Some((number, (failpoint, timed))) = Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|n| Some((n, deaths.get(n)?)))
            {
                failpoint.clone_into(&mut at);
                // Timers of another day would count into the turns of this one.
                let own = if *timed { Lane::open(&format!("{home}_{number}")).unwrap() } else { Rc::clone(&lane) };
                let mut day = Day::new(own, number);
                match day.dies(failpoint) {
                    true => println!("died: {failpoint} ({})", died.fetch_add(1, Ordering::SeqCst) + 1),
                    false => println!("not reached: {failpoint}"),
                }
                match timed {
                    true => later.push(day),
                    false => day.finish().stop(),
                }
            }
            for mut day in later {
                format!("the end of {}", day.name).clone_into(&mut at);
                let server = day.finish();
                look(&day.lane, &server);
                server.stop();
            }
            "the end".clone_into(&mut at);
            look(&lane, &lane.home.serve(&lane.options));
        }));
        if lived.is_err() {
            failed.lock().unwrap().push(at);
        }
    };
    thread::scope(|scope| (0..lanes).for_each(|lane| drop(scope.spawn(move || run(lane)))));
    let (died, failed) = (died.into_inner(), failed.into_inner().unwrap());
    println!("{points:?}: died {died} times");
    assert!(failed.is_empty(), "not survived: {failed:?}");
    assert!(next.into_inner() == 0 || died >= deaths.len() - MISSED_MAX, "it died {died} times only, of {}", deaths.len());
}

/// A database and a data directory, with the people and the agent of every day.
struct Lane {
    home: Home,
    options: Options,
    sink: Sink,
    agent: String,
    voters: [String; 2],
    // Last, so that no server uses it when it goes.
    _schema: Schema,
}

impl Lane {
    fn open(name: &str) -> Option<Rc<Self>> {
        let schema = Schema::new(&format!("asked_{name}"))?;
        let (home, sink) = (Home::new(), Sink::new());
        let options = Options { more: format!("{}{}", schema.line(), sink.allowed()), ..Options::default() };
        let server = home.serve(&options);
        let owner = server.owner();
        let policy = owner.get("/v1/policy").ok();
        owner.put("/v1/policy", json!({ "text": format!("{}\n{RULE}\n", text(&policy, "text")) })).ok();
        let asks = |count: u32, steps: Value| {
            let requirement = json!({ "at_least": { "count": count, "of": ["role:approver"] } });
            json!({ "policy": { "requirement": requirement, "separation": "agents", "steps": steps } })
        };
        owner.put("/v1/oversight/policies/require_approval", asks(2, json!([]))).ok();
        owner.put("/v1/oversight/policies/slow", asks(1, json!([{ "after_secs": 1 }, { "after_secs": 3600 }]))).ok();
        owner.post("/v1/webhooks", json!({ "url": sink.url() })).ok();
        let token = |role: &str, name: &str| text(&make_key(&owner, json!({ "role": role, "name": name })), "token").to_owned();
        let (agent, voters) = (token("agent", "worker"), ["ada", "bob"].map(|name| token("approver", name)));
        server.stop();
        Some(Rc::new(Self { home, options, sink, agent, voters, _schema: schema }))
    }

    /// Each request is decided once in the log too.
    fn check(&self, server: &Server) {
        let owner = server.owner();
        server.caught_up();
        let report = &owner.get("/v1/audit/verify").ok()["report"];
        assert_eq!((&report["in_doubt"], &report["outcomes_without_intent"]), (&json!([]), &json!([])), "{report}");
        let (mut decided, mut from) = (BTreeMap::<String, Vec<String>>::new(), 0);
        loop {
            let page = owner.get(&format!("/v1/audit/entries?from={from}")).ok();
            for entry in list(&page, "entries").iter().map(|entry| &entry["entry"]).filter(|entry| entry["action"] == "oversight.decide") {
                decided.entry(text(&entry["facts"], "request").to_owned()).or_default().push(text(entry, "decision").to_owned());
            }
            from += list(&page, "entries").len() as u64;
            if Some(from) >= page["size"].as_u64() {
                break;
            }
        }
        for request in list(&owner.get("/v1/oversight/requests").ok(), "requests") {
            let word = if request["state"] == "executed" { "approved" } else { text(request, "state") };
            assert_eq!(decided.get(text(request, "id")).map(Vec::as_slice), Some([word.to_owned()].as_slice()), "{request}");
        }
    }

    /// Whoever listens was told of each request, whichever server had to.
    fn told(&self, server: &Server) {
        for request in list(&server.owner().get("/v1/oversight/requests").ok(), "requests") {
            for kind in ["opened", "resolved"].into_iter().chain((request["state"] == "cancelled").then_some("escalated")) {
                self.sink.event(&format!("oversight.{kind}"), text(request, "id"), LEASE_MAX);
            }
        }
    }
}

/// What the clients of a day know; a server's death takes nothing of it.
struct Day {
    lane: Rc<Lane>,
    name: String,
    requests: BTreeMap<&'static str, String>,
    /// What a server said is done: the request and the event.
    said: Vec<(&'static str, &'static str)>,
    /// The admissions under which the agent acted.
    acted: Vec<String>,
}

impl Day {
    fn new(lane: Rc<Lane>, number: usize) -> Self {
        Self { lane, name: format!("day-{number}"), requests: BTreeMap::new(), said: Vec::new(), acted: Vec::new() }
    }

    /// Whether a server died there, in this day.
    fn dies(&mut self, failpoint: &str) -> bool {
        let lane = Rc::clone(&self.lane);
        let status = match lane.home.try_serve(&Options { failpoint: Some(failpoint.to_owned()), ..lane.options.clone() }) {
            Err(status) => status,
            Ok(server) => match self.live(&server) {
                Err(Died) => server.ended(),
                Ok(()) => return false,
            },
        };
        assert_eq!(status.signal(), Some(SIGKILL), "{status}");
        true
    }

    /// Starts again, finishes the day, and looks at what came of it.
    fn finish(&mut self) -> Server {
        let server = self.lane.home.serve(&self.lane.options);
        self.remembered(&server.owner());
        self.live(&server).unwrap_or_else(|_| panic!("the server died without a failpoint"));
        self.check(&server.owner());
        server
    }

    /// Does what is left of the day.
    fn live(&mut self, server: &Server) -> Step {
        let agent = server.bearer(&self.lane.agent);
        let [ada, bob] = self.lane.voters.each_ref().map(|token| server.bearer(token));
        for what in ["slow", "late", "no", "pay"] {
            self.ask(&agent, what)?;
        }
        if self.shown(&ada, "pay")?["revision"] == 1 {
            self.say(&ada, "pay", "edit", json!({ "revision": 1, "arguments": self.arguments("pay", true) }), "edited")?;
        }
        for (voter, name) in [(&ada, "ada"), (&bob, "bob")] {
            let shown = self.shown(voter, "pay")?;
            let voted = list(&shown, "votes").iter().any(|vote| text(vote, "by").ends_with(name));
            if !voted {
                let vote = json!({ "choice": "approve", "digest": shown["digest"], "revision": shown["revision"] });
                self.say(voter, "pay", "vote", vote, if name == "ada" { "voted ada" } else { "voted bob" })?;
            }
        }
        if self.shown(&ada, "no")?["state"] == "pending" {
            self.say(&ada, "no", "deny", json!({ "comment": "no" }), "rejected")?;
        }
        self.act(&agent)?;
        self.waits(&ada, "slow", |request| request["step"] == 1)?;
        if self.shown(&ada, "slow")?["state"] == "pending" {
            self.say(&agent, "slow", "cancel", json!({}), "cancelled")?;
        }
        self.waits(&ada, "late", |request| request["state"] == "timed_out")
    }

    fn arguments(&self, what: &str, edited: bool) -> Value {
        json!({ "day": self.name, "what": what, "edited": edited })
    }

    fn action(&self, what: &str) -> Value {
        let mut action = json!({
            "action": if what == "slow" { "tool.call" } else { "tool.call_with_approval" }, "resource": "tool:pay_invoice",
            "arguments": self.arguments(what, false), "wait_secs": 0, "timeout_secs": if what == "late" { 2 } else { 3600 }
        });
        if what == "pay" {
            let attempt = json!({ "accepts_edits": true, "attempt_id": self.name, "asker_id": "process-1" });
            action.as_object_mut().unwrap().extend(attempt.as_object().unwrap().clone());
        }
        action
    }

    /// Asks what was not asked yet; where the answer was lost, the very same action finds its request.
    fn ask(&mut self, agent: &Client, what: &'static str) -> Step {
        if !self.requests.contains_key(what) {
            let asked = call(agent, "POST", "/v1/actions", Some(self.action(what)))?.ok();
            assert_eq!(text(&asked, "state"), "pending", "{asked}");
            self.requests.insert(what, text(&asked, "request").to_owned());
            self.said.push((what, "opened"));
        }
        Ok(())
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/oversight/requests/{}", self.requests[what])
    }

    fn shown(&self, reader: &Client, what: &str) -> Step<Value> {
        Ok(call(reader, "GET", &self.path(what), None)?.ok())
    }

    /// Waits for what time alone does: nothing is asked that would have it done.
    fn waits(&self, reader: &Client, what: &str, holds: impl Fn(&Value) -> bool) -> Step {
        let mut lives = Ok(());
        until_within(LEASE_MAX, &format!("a timer of `{what}` fires"), || match self.shown(reader, what) {
            Ok(shown) => holds(&shown),
            Err(died) => {
                lives = Err(died);
                true
            }
        });
        lives
    }

    fn say(&mut self, by: &Client, what: &'static str, how: &str, body: Value, event: &'static str) -> Step {
        call(by, "POST", &format!("{}/{how}", self.path(what)), Some(body))?.ok();
        self.said.push((what, event));
        Ok(())
    }

    /// Does what was approved, once, and reports it; where an answer was lost, the attempt is asked about again.
    fn act(&mut self, agent: &Client) -> Step {
        let answer = call(agent, "POST", "/v1/actions", Some(self.action("pay")))?;
        if answer.code() == "gate.attempt_used" {
            return Ok(());
        }
        let granted = answer.ok();
        assert_eq!((text(&granted, "state"), &granted["arguments"]), ("granted", &self.arguments("pay", true)), "{granted}");
        let admission = text(&granted, "admission").to_owned();
        if !self.acted.contains(&admission) {
            self.acted.push(admission.clone());
        }
        call(agent, "POST", &format!("/v1/actions/{admission}/outcome"), Some(json!({ "ok": true })))?.ok();
        self.said.push(("pay", "executed"));
        Ok(())
    }

    /// What a server said is done is done after its death, before anybody repeats anything.
    fn remembered(&self, owner: &Client) {
        for (what, event) in &self.said {
            let history = owner.get(&format!("{}/history", self.path(what))).ok();
            assert!(list(&history, "events").iter().any(|known| word(known) == *event), "`{event}` of `{what}` is lost: {history}");
        }
    }

    /// What holds at the end of a day, wherever a server died in it.
    fn check(&self, owner: &Client) {
        let all = owner.get("/v1/oversight/requests").ok();
        let mut happened: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for request in list(&all, "requests") {
            let action: Value = serde_json::from_str(text(request, "action")).unwrap();
            if action["arguments"]["day"] == self.name {
                let history = owner.get(&format!("/v1/oversight/requests/{}/history", text(request, "id"))).ok();
                let events: Vec<String> = list(&history, "events").iter().map(word).collect();
                assert_eq!(request["seq"].as_u64(), Some(events.len() as u64), "{history}");
                happened.entry(text(&action["arguments"], "what").to_owned()).or_default().push(events);
            }
        }
        // Between the use and the outcome a server may have died once.
        let [pay] = happened["pay"].as_slice() else { panic!("{happened:?}") };
        let pay: Vec<&str> = pay.iter().map(String::as_str).filter(|event| *event != "doubted").collect();
        assert_eq!(pay, ["opened", "edited", "voted ada", "voted bob", "approved", "consumed", "executed"]);
        assert_eq!(happened["no"], [["opened", "voted ada", "rejected"]]);
        assert_eq!(happened["slow"], [["opened", "escalated", "cancelled"]]);
        // One whose answer was lost may be past when it is asked again: that is another request.
        assert!(happened["late"].iter().all(|events| *events == ["opened", "timed_out"]), "{happened:?}");

        let actions = owner.get("/v1/actions").ok();
        let of_day = |action: &&Value| action["approval"] == self.requests["pay"].as_str() && action["state"] != "refused";
        let uses: Vec<&Value> = list(&actions, "actions").iter().filter(of_day).collect();
        let [used] = uses.as_slice() else { panic!("one approval, one use: {uses:?}") };
        assert_eq!(
            (text(used, "state"), [text(used, "admission").to_owned()].as_slice()),
            ("done", self.acted.as_slice()),
            "acted on once"
        );
    }
}

/// An event in a word; of a vote, whose it is too.
fn word(event: &Value) -> String {
    match text(&event["event"], "type") {
        "voted" => format!("voted {}", text(event, "by").rsplit('/').next().unwrap()),
        other => other.to_owned(),
    }
}

fn call(client: &Client, method: &str, path: &str, body: Option<Value>) -> Step<Answer> {
    client.attempt(method, path, body.as_ref()).map_err(|_| Died)
}
