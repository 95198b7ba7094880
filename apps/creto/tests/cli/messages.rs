//! Messages between agents: sealed at one end, opened at the other, read by nobody between.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::Value;

use super::house::{House, Ran, Serving, files};

/// Two agents at one server.
struct Pair {
    house: House,
    server: Option<Serving>,
    tokens: [(&'static str, String); 2],
}

impl Pair {
    fn new() -> Self {
        let house = House::new();
        let server = Some(house.serve());
        let tokens = ["ann", "ben"].map(|name| (name, house.agent_key(name)));
        Self { house, server, tokens }
    }

    fn by(&self, agent: &str, args: &[&str]) -> Ran {
        let token = &self.tokens.iter().find(|(name, _)| *name == agent).unwrap().1;
        let mut command = self.house.command(&[&["msg"], args].concat());
        command.env("CRETO_URL", &self.server.as_ref().unwrap().url).env("CRETO_TOKEN", token);
        Ran::of(&command.output().unwrap())
    }

    fn received(&self, agent: &str) -> Vec<(String, String)> {
        let answer = self.by(agent, &["receive", "--json"]).json();
        let text = |message: &Value, name: &str| message[name].as_str().unwrap().to_owned();
        answer["messages"].as_array().unwrap().iter().map(|m| (text(m, "sender"), text(m, "text"))).collect()
    }
}

#[test]
fn two_agents_talk_and_the_server_never_holds_their_words() {
    let pair = Pair::new();
    pair.by("ben", &["receive"]).ok();
    let words = "the-harbour-at-midnight";
    pair.by("ann", &["send", "--to", "ben", words]).ok();
    pair.by("ann", &["send", "--to", "ben", "a second\nof two lines"]).ok();
    let held = |house: &House| {
        let hit = |file: &std::path::Path| fs::read(file).is_ok_and(|bytes| bytes.windows(words.len()).any(|w| w == words.as_bytes()));
        files(&house.data()).into_iter().find(|file| hit(file))
    };
    assert_eq!(held(&pair.house), None, "the server holds the text");
    let got = pair.received("ben");
    let texts: Vec<_> = got.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, [words, "a second\nof two lines"]);
    assert!(got.iter().all(|(sender, _)| sender.ends_with("/agent/ann")), "{got:?}");
    assert_eq!(pair.received("ben"), [], "each is given once");
    pair.by("ben", &["send", "--to", "ann", "understood"]).ok();
    assert_eq!(pair.by("ann", &["receive", "--wait", "10s"]).ok(), "ben  understood\n");
    assert_eq!(held(&pair.house), None);
    let state = pair.house.home().join(".local/share/creto-msg");
    for file in files(&state) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        assert!(!fs::read(&file).unwrap().windows(words.len()).any(|w| w == words.as_bytes()), "{} is not sealed", file.display());
    }
}

#[test]
fn nobody_is_written_to_who_published_nothing() {
    let pair = Pair::new();
    let refused = pair.by("ann", &["send", "--to", "ben", "hello"]).refused("messaging.no_prekeys");
    assert!(refused.contains("creto msg"), "{refused}");
    pair.by("ben", &["publish"]).ok();
    pair.by("ann", &["send", "--to", "ben", "hello"]).ok();
}

#[test]
fn a_refused_message_is_not_sent_later_and_one_that_waits_survives_a_restart() {
    let mut pair = Pair::new();
    pair.by("ben", &["publish"]).ok();
    pair.by("ann", &["send", "--to", "ben", "one"]).ok();
    let default = pair.house.run(&["policy", "show"]).ok();
    let closed = "@id(\"all\") permit (principal, action, resource);
\
                  @id(\"no\") forbid (principal, action == Action::\"messaging.deliver\", resource);";
    pair.house.run(&["policy", "publish", &pair.house.file("closed.cedar", closed)]).ok();
    pair.by("ann", &["send", "--to", "ben", "refused"]).refused("authz.forbidden");
    pair.house.run(&["policy", "publish", &pair.house.file("default.cedar", &default)]).ok();
    pair.by("ann", &["send", "--to", "ben", "two"]).ok();
    assert_eq!(pair.server.take().unwrap().stop(Signal::TERM), Some(0));
    pair.server = Some(pair.house.serve());
    let texts: Vec<_> = pair.received("ben").into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["one", "two"], "the gap that the refused one left does not keep the next one from opening");
}

#[test]
fn a_peer_with_other_keys_is_not_believed_and_what_cannot_be_opened_is_said() {
    let pair = Pair::new();
    pair.by("ben", &["publish"]).ok();
    pair.by("ann", &["send", "--to", "ben", "for the old keys"]).ok();
    let state = pair.house.home().join(".local/share/creto-msg");
    for file in files(&state).into_iter().filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with("ben.")) {
        fs::remove_file(file).unwrap();
    }
    let ran = pair.by("ben", &["receive"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("cannot be opened") && ran.err.contains("--discard"), "{ran:?}");
    assert_eq!(pair.by("ben", &["receive"]).code, 1, "it was left at the server");
    assert_eq!(pair.by("ben", &["receive", "--discard"]).code, 1);
    pair.by("ben", &["receive"]).ok();
    pair.by("ann", &["send", "--to", "ben", "--fresh", "who are you?"]).refused("messaging.identity_changed");
}

#[test]
fn a_message_is_bound_to_a_purpose_and_an_end() {
    let pair = Pair::new();
    pair.by("ben", &["publish"]).ok();
    pair.by("ann", &["send", "--to", "ben", "--purpose", "Two Words", "x"]).refused("app.usage");
    pair.by("ann", &["send", "--to", "ben", "--expires", "never", "x"]).refused("app.usage");
    pair.by("ann", &["send", "--to", "ben", "--purpose", "hand-over", "--expires", "1h", "x"]).ok();
    let answer = pair.by("ben", &["receive", "--json"]).json();
    assert_eq!(answer["messages"][0]["purpose"], "hand-over");
}
