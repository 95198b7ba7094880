//! The demo's own story (the very file `cargo xtask demo` tells it from), told to servers that die in it: at each point of a commit of
//! each kind of leaf, and wherever else `CRETO_CRASH_ALL` asks for. Then the server is started again, what is in doubt is resolved, the
//! story is told to its end, and nothing is lost, doubled or held.

#[path = "../../../xtask/src/demo/host.rs"]
mod host;
#[path = "../../../xtask/src/demo/story.rs"]
mod story;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::SIGKILL;
use super::day::{Day, Script, check};
use crate::support::{Home, Options, Server, list, runsc, text, until};
use story::{Hosts, Stage, Story, Told};

/// How many servers die at once: each runs a sandbox.
const AT_ONCE: usize = 2;
/// With this variable every visit of every point is one more death; without, the first of each kind of leaf.
const ALL: &str = "CRETO_CRASH_ALL";
/// A story of fewer kinds of leaves is not the demo's.
const KINDS_MIN: usize = 10;
/// Kinds of leaves that a story may do without another time: what is only there when two things meet.
const KINDS_MISSED_MAX: usize = 2;
/// How often alice looks whether she is asked something.
const LOOK: Duration = Duration::from_millis(100);

/// A server that may be dead, as the story uses it.
struct Mortal<'a> {
    home: &'a Home,
    server: &'a Server,
    folder: PathBuf,
    examples: PathBuf,
}

impl<'a> Mortal<'a> {
    fn of(home: &'a Home, server: &'a Server) -> Self {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples");
        Self { home, server, folder: home.data(), examples }
    }

    fn told(&self, command: &mut Command) -> Told<String> {
        // A command beside a dead server would become one of its own.
        if !self.server.is_alive() {
            return Err("the server is dead".to_owned());
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(format!("{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr))) }
    }
}

impl Stage for Mortal<'_> {
    fn text(&self, arguments: &[&str]) -> Told<String> {
        self.told(&mut self.home.command(arguments))
    }
    fn json(&self, arguments: &[&str]) -> Told<Value> {
        let printed = self.told(self.home.command(arguments).arg("--json"))?;
        serde_json::from_str(&printed).map_err(|e| format!("{e}: {printed}"))
    }
    fn with_password(&self, arguments: &[&str], password: &str) -> Told<String> {
        self.told(self.home.command(arguments).env("CRETO_PASSWORD", password))
    }
    fn as_agent(&self, key: &str, arguments: &[&str]) -> Told<String> {
        let state = self.folder.join("planner.state");
        self.told(self.home.command(arguments).args(["--url", &self.server.url(), "--token", key]).env("CRETO_MSG_STATE", state))
    }
    fn stream(&self, arguments: &[&str]) -> Told<()> {
        self.text(arguments).map(drop)
    }
    fn say(&self, _: &str) {}
    fn folder(&self) -> &Path {
        &self.folder
    }
    fn examples(&self) -> &Path {
        &self.examples
    }
}

/// Tells what is left of the story, with alice beside, who approves whatever she is asked.
fn tell(home: &Home, server: &Server, story: &mut Story, hosts: &Hosts, once: bool) -> Told<()> {
    let stage = Mortal::of(home, server);
    story.prepare(&stage, hosts)?;
    let (over, alice) = (AtomicBool::new(false), server.owner().with("creto-as", "alice"));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // A server that dies meanwhile answers nothing, and the run says so.
                let waiting = alice.attempt("GET", "/v1/oversight/requests?state=pending", None);
                for request in
                    waiting.ok().filter(|answer| answer.is_ok()).map(|answer| answer.ok()).iter().flat_map(|a| list(a, "requests"))
                {
                    let path = format!("/v1/oversight/requests/{}/approve", text(request, "id"));
                    let _ = alice.attempt("POST", &path, Some(&json!({ "digest": request["digest"] })));
                }
                thread::sleep(LOOK);
            }
        });
        let ran = story.run(&stage, hosts);
        over.store(true, Ordering::SeqCst);
        ran
    })?;
    story.check(&stage, hosts, once).map(drop)
}

fn options(failpoint: Option<String>) -> Options {
    Options { sandboxes: true, failpoint, ..Options::default() }
}

/// How often a leaf of each action is committed in a story nobody dies in.
fn kinds(template: &Home) -> BTreeMap<String, usize> {
    let home = Home::copy_of(template);
    let server = home.serve(&options(None));
    let size = |server: &Server| server.owner().get("/v1/audit/entries?from=0&limit=1").ok()["size"].as_u64().unwrap();
    let before = size(&server);
    tell(&home, &server, &mut Story::default(), &Hosts::start().unwrap(), true).unwrap();
    check(&server, &Day::of(Script::Sandbox));
    let (mut kinds, mut from, size) = (BTreeMap::new(), before, size(&server));
    while from < size {
        let page = server.owner().get(&format!("/v1/audit/entries?from={from}")).ok();
        for entry in list(&page, "entries") {
            *kinds.entry(text(&entry["entry"], "action").to_owned()).or_default() += 1;
            from += 1;
        }
    }
    kinds
}

/// Dies there, or answers `false` where it did not.
fn survives(template: &Home, failpoint: &str) -> bool {
    let (home, hosts, mut story) = (Home::copy_of(template), Hosts::start().unwrap(), Story::default());
    match home.try_serve(&options(Some(failpoint.to_owned()))) {
        Err(status) => assert_eq!(status.signal(), Some(SIGKILL), "{status}"),
        Ok(server) => {
            let told = tell(&home, &server, &mut story, &hosts, true);
            match told {
                Ok(()) if server.is_alive() => return false,
                Ok(()) => {}
                // Its connections close a moment before the process is gone.
                Err(problem) => until(&format!("the server is dead, which would explain: {problem}"), || !server.is_alive()),
            }
            assert_eq!(server.ended().signal(), Some(SIGKILL));
        }
    }
    let server = home.serve(&options(None));
    let day = Day::of(Script::Sandbox);
    day.settle_doubts(&server);
    tell(&home, &server, &mut story, &hosts, false).unwrap();
    check(&server, &day);
    true
}

#[test]
fn the_demo_is_told_to_its_end_after_dying_before_the_first_statement_of_each_kind_of_commit() {
    dies_of_each_kind("db.before_steps");
}

#[test]
fn the_demo_is_told_to_its_end_after_dying_after_the_last_statement_of_each_kind_of_commit() {
    dies_of_each_kind("db.after_steps");
}

#[test]
fn the_demo_is_told_to_its_end_after_dying_before_each_kind_of_commit_is_durable() {
    dies_of_each_kind("db.before_commit");
}

#[test]
fn the_demo_is_told_to_its_end_after_dying_before_anybody_is_told_of_each_kind_of_commit() {
    dies_of_each_kind("db.after_commit");
}

fn dies_of_each_kind(point: &str) {
    if runsc().is_none() {
        return;
    }
    let template = Home::new();
    template.serve(&options(None)).stop();
    let kinds = kinds(&template);
    assert!(kinds.len() >= KINDS_MIN, "{kinds:?}");
    let visits = |count: usize| if std::env::var_os(ALL).is_some() { count } else { 1 };
    let deaths: Vec<String> = kinds
        .iter()
        .flat_map(|(action, count)| (1..=visits(*count)).map(move |nth| (action, nth)))
        .map(|(action, nth)| format!("{point}@{action}:{nth}"))
        .collect();
    let (next, died, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(failpoint) = deaths.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match catch_unwind(AssertUnwindSafe(|| survives(&template, failpoint))) {
                        Ok(true) => println!("survived: {failpoint} ({})", died.fetch_add(1, Ordering::SeqCst) + 1),
                        // Fewer of a kind than in the story that was counted: how often the program spends is not the same each time.
                        Ok(false) => println!("not reached: {failpoint}"),
                        Err(_) => failed.lock().unwrap().push(failpoint.clone()),
                    }
                }
            });
        }
    });
    let (died, failed) = (died.into_inner(), failed.into_inner().unwrap());
    println!("{point}: the demo's server died {died} times, at {} kinds of leaves", kinds.len());
    assert!(failed.is_empty(), "not survived: {failed:?}");
    assert!(died >= kinds.len() - KINDS_MISSED_MAX, "it died {died} times only, of {}", deaths.len());
}
