//! The story of the demo, as steps over a server that somebody else starts: the demo tells it once, and the crash matrix of the
//! end-to-end tests (which includes this very file) tells it to servers that die in the middle.
//!
//! INVARIANT: each step may be told again to a server that died in it. The run alone is another one then, under a new delegation.

use std::path::Path;

use serde_json::Value;

use super::host::Host;

/// What a step came to, or in words why it did not.
pub(crate) type Told<T> = Result<T, String>;

/// Alice's password in the story's own, throw-away data directory.
pub(crate) const PASSWORD: &str = "alice-approves-demo";

/// The server and its command line, as the story uses them.
pub(crate) trait Stage {
    /// Runs a command and gives what it printed.
    fn text(&self, arguments: &[&str]) -> Told<String>;
    /// Runs a command with `--json` and reads what it printed.
    fn json(&self, arguments: &[&str]) -> Told<Value>;
    /// Runs a command that reads a new account's password.
    fn with_password(&self, arguments: &[&str], password: &str) -> Told<String>;
    /// Runs a command as an agent outside any sandbox, with its key and its own message state.
    fn as_agent(&self, key: &str, arguments: &[&str]) -> Told<String>;
    /// Runs a command and demands that it succeeds.
    fn stream(&self, arguments: &[&str]) -> Told<()>;
    /// Says what comes next.
    fn say(&self, step: &str);
    /// A folder for the story's own files.
    fn folder(&self) -> &Path;
    /// The folder of examples.
    fn examples(&self) -> &Path;
}

/// The hosts of the outside world.
pub(crate) struct Hosts {
    /// Allowed by the run's owner.
    pub(crate) allowed: Host,
    /// Allowed by nobody.
    pub(crate) refused: Host,
    /// Allowed, and a human is asked.
    pub(crate) ask: Host,
}

impl Hosts {
    /// Starts the three.
    pub(crate) fn start() -> Told<Self> {
        Ok(Self {
            allowed: Host::start("the forecast is sunny")?,
            refused: Host::start("never to be read")?,
            ask: Host::start("the archive is open")?,
        })
    }
}

/// What was told so far; a server's death takes nothing of it.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// Alice's key.
    pub(crate) approver: Option<String>,
    account: bool,
    planner: Option<String>,
    planner_key: Option<String>,
    ready: bool,
}

impl Story {
    /// People, delegations, prices, and the rule that asks alice about the archive.
    pub(crate) fn prepare(&mut self, stage: &impl Stage, hosts: &Hosts) -> Told<()> {
        stage.say("alice has a login and a key of her own; she delegates to planner, planner to researcher, each link narrower");
        if !self.account {
            match stage.with_password(&["account", "create", "--name", "alice", "--operator"], PASSWORD) {
                // Made by a server that died before it said so.
                Err(problem) if problem.contains("exists") => {}
                made => drop(made?),
            }
            self.account = true;
        }
        if self.approver.is_none() {
            self.approver = Some(token(&stage.json(&["key", "create", "--role", "approver", "--name", "alice"])?, "token")?);
        }
        if self.planner.is_none() {
            let link = ["agent", "delegate", "--from", "alice", "--to", "planner", "--budget", "1.00", "--depth", "3"];
            self.planner = Some(token(&stage.json(&link)?, "chain")?);
        }
        let planner = self.planner.as_deref().unwrap_or_default();
        if self.planner_key.is_none() {
            let key = stage.json(&["key", "create", "--role", "agent", "--name", "planner", "--chain", planner])?;
            self.planner_key = Some(token(&key, "token")?);
        }
        if !self.ready {
            stage.text(&["meter", "price", "demo.tokens", "--sum", "quantity", "--unit-price", "0.000003"])?;
            stage.as_agent(self.planner_key.as_deref().unwrap_or_default(), &["msg", "publish"])?;
            publish_policy(stage, hosts.ask.address())?;
            self.ready = true;
        }
        Ok(())
    }

    /// Researcher's program in its sandbox, under alice → planner → researcher.
    pub(crate) fn run(&self, stage: &impl Stage, hosts: &Hosts) -> Told<()> {
        let planner = self.planner.as_deref().unwrap_or_default();
        let mut link = vec!["agent", "delegate", "--chain", planner, "--to", "researcher", "--budget", "0.10", "--depth", "0"];
        for allowed in ["runtime.*", "metering.ingest", "messaging.*"] {
            link.extend(["--allow", allowed]);
        }
        let chain = token(&stage.json(&link)?, "chain")?;
        stage.say("researcher's program runs in gVisor, under alice → planner → researcher");
        let examples = stage.examples();
        let mut arguments = vec!["run".to_owned(), "--chain".to_owned(), chain, "--timeout".to_owned(), "10m".to_owned()];
        arguments.extend(["--reason".to_owned(), "the weekly weather report needs the archive".to_owned()]);
        arguments.extend(["--mount".to_owned(), examples.display().to_string()]);
        for host in [&hosts.allowed, &hosts.ask] {
            arguments.extend(["--allow-host".to_owned(), host.address().to_owned()]);
        }
        let program = examples.join("agents/researcher.py");
        arguments.extend(["--".to_owned(), "/usr/bin/python3".to_owned(), program.display().to_string(), "--all".to_owned()]);
        let steps = [
            ("--dataset", examples.join("dataset").display().to_string()),
            ("--allowed", format!("http://{}/", hosts.allowed.address())),
            ("--refused", format!("http://{}/", hosts.refused.address())),
            ("--ask", format!("http://{}/", hosts.ask.address())),
            ("--code", "demo.tokens".to_owned()),
            ("--to", "planner".to_owned()),
        ];
        for (name, value) in steps {
            arguments.extend([name.to_owned(), value]);
        }
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        stage.stream(&words)
    }

    /// What the server recorded must agree with the story; answers the run. `once` where nothing had to be told again.
    pub(crate) fn check(&self, stage: &impl Stage, hosts: &Hosts, once: bool) -> Told<String> {
        let runs = stage.json(&["runs"])?;
        let run = text(&runs, &["runs", "0", "run"]).ok_or("no run was recorded")?.to_owned();
        let details = stage.json(&["runs", &run])?;
        let actions = at(&details, "actions").and_then(Value::as_array).ok_or("the run has no actions")?;
        let states = |resource: &str| -> Vec<&str> {
            actions.iter().filter(|a| text(a, &["resource"]) == Some(resource)).filter_map(|a| text(a, &["state"])).collect()
        };
        let host = |host: &Host| format!("host:{}", host.address());
        let allowed = states(&host(&hosts.allowed)).contains(&"done") && hosts.allowed.calls() > 0;
        expect(stage, "the allowed host was reached", allowed)?;
        let refused = states(&host(&hosts.refused)) == ["refused"] && hosts.refused.calls() == 0;
        expect(stage, "the other host was refused and never called", refused)?;
        let approval = actions.iter().find(|a| text(a, &["resource"]) == Some(&host(&hosts.ask)) && text(a, &["state"]) == Some("done"));
        let approval = approval.and_then(|action| text(action, &["approval"])).ok_or("nobody was asked about the third host")?;
        if once {
            let asked = at(&details, "requests").and_then(Value::as_array).ok_or("the run has no requests")?;
            let request = asked.iter().find(|r| text(r, &["id"]) == Some(approval)).ok_or("the request is not the run's")?;
            let used = text(request, &["state"]) == Some("executed") && hosts.ask.calls() == 1;
            expect(stage, "alice approved the third host, and the approval was used once", used)?;
            expect(stage, "alice decided", text(request, &["decided_by"]).is_some_and(|by| by.ends_with("/human/alice")))?;
        }
        let budgets = stage.json(&["budgets"])?;
        let accounts = at(&budgets, "accounts").and_then(Value::as_array).ok_or("there are no accounts")?;
        let mut ceilings = accounts.iter().filter(|account| text(account, &["ceiling"]) == Some("0.1"));
        let stopped = ceilings.try_fold(false, |stopped, account| -> Told<bool> {
            let (spent, held) = (micros(text(account, &["spent"]))?, micros(text(account, &["held"]))?);
            if spent + held > 100_000 { Err("a ceiling was passed".to_owned()) } else { Ok(stopped || spent > 60_000) }
        })?;
        expect(stage, "the ceiling stopped the spending", stopped)?;
        expect(stage, "the ledger balances", at(&stage.json(&["meter", "check"])?, "ok") == Some(&Value::Bool(true)))?;
        let doubts = stage.json(&["doubts"])?;
        expect(stage, "nothing is in doubt", at(&doubts, "actions").and_then(Value::as_array).is_some_and(Vec::is_empty))?;
        let received = match stage.as_agent(self.planner_key.as_deref().unwrap_or_default(), &["msg", "receive"]) {
            // A sandbox keeps no keys: the report of a second run comes under other ones, which planner rightly does not believe.
            Err(problem) if !once && problem.contains("messaging.identity_changed") => problem,
            received => received?,
        };
        expect(stage, "planner opened researcher's encrypted report", received.contains("report"))?;
        stage.say(&format!("planner reads\n{received}"));
        Ok(run)
    }
}

fn publish_policy(stage: &impl Stage, ask: &str) -> Told<()> {
    let current = stage.json(&["policy", "show"])?;
    let current = text(&current, &["text"]).ok_or("the policy in force has no text")?;
    if current.contains("demo.archive") {
        // Published by a server that died before it said so.
        return Ok(());
    }
    let rule = format!(
        "\n// A human looks at every connection to the archive.\n@id(\"demo.archive\")\n@oversight(\"egress_review\")\nforbid (\n  principal,\n  \
         action == Action::\"runtime.egress\",\n  resource == Host::\"{ask}\"\n)\nunless {{ context.approved }};\n"
    );
    let file = stage.folder().join("demo-policy.cedar");
    std::fs::write(&file, format!("{current}{rule}")).map_err(|e| format!("`{}` cannot be written: {e}", file.display()))?;
    stage.text(&["policy", "publish", &file.display().to_string()]).map(drop)
}

fn expect(stage: &impl Stage, what: &str, holds: bool) -> Told<()> {
    if holds {
        stage.say(&format!("✓ {what}"));
        Ok(())
    } else {
        Err(format!("this did not happen: {what}"))
    }
}

fn token(answer: &Value, field: &str) -> Told<String> {
    text(answer, &[field]).map(str::to_owned).ok_or_else(|| format!("the answer has no `{field}`: {answer}"))
}

fn at<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    step.parse::<usize>().map_or_else(|_| value.get(step), |index| value.get(index))
}

fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, step| at(value, step))?.as_str()
}

fn micros(amount: Option<&str>) -> Told<i64> {
    let text = amount.ok_or("an amount is not text")?;
    let (units, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{units}{fraction:0<6}").parse().map_err(|e| format!("`{text}` is not an amount: {e}"))
}
