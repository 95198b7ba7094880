//! What can be typed: help, mistakes, completions.

use std::process::Stdio;

use super::house::{House, Ran};

#[test]
fn the_help_of_every_command_names_its_flags() {
    let house = House::new();
    let cases: [(&[&str], &[&str]); 40] = [
        (&[], &["run", "serve", "inbox", "audit", "--data", "--json", "--as"]),
        (&["run"], &["--agent", "--on-behalf-of", "--budget", "--allow-host", "--mount", "--timeout"]),
        (&["serve"], &["--listen", "--config", "--test-mode"]),
        (&["runs"], &["[RUN]"]),
        (&["inbox"], &["--watch"]),
        (&["approve"], &["<REQUEST>", "--comment", "--digest"]),
        (&["deny"], &["<REQUEST>", "--comment"]),
        (&["doubts"], &["Usage"]),
        (&["resolve"], &["<ADMISSION>", "--happened", "--did-not-happen"]),
        (&["usage"], &["--subscription", "--by", "--since", "--until", "--step", "--metric", "--property", "--show"]),
        (&["costs"], &["tree", "--since", "--until"]),
        (&["budgets"], &["ceiling"]),
        (&["meter", "check"], &["ledger"]),
        (&["meter", "price"], &["<CODE>", "--sum", "--count", "--unit-price"]),
        (&["meter", "track"], &["<CODE>", "--quantity", "--id", "--url", "--token"]),
        (&["meter", "export"], &["events", "ledger", "invoices", "lines", "--format", "parquet", "--since", "--until", "--output"]),
        (&["meter", "quarantine"], &["list", "keep", "refuse", "replay", "discard"]),
        (&["meter", "retention", "set"], &["--days", "--months", "--hold-customer", "--hold-subscription"]),
        (&["catalog"], &["metrics", "plans", "customers", "subscriptions", "--put", "--delete"]),
        (&["invoice"], &["list", "show", "pdf", "run", "refresh", "finalize", "void", "paid", "export"]),
        (&["wallet", "move"], &["<WALLET>", "--paid", "--granted", "--voided", "--key"]),
        (&["policy"], &["show", "publish", "check", "history", "explain"]),
        (&["policy", "publish"], &["<FILE>", "--based-on"]),
        (&["policy", "explain"], &["<ACTION>", "<RESOURCE>", "--chain"]),
        (&["agent"], &["create", "list", "delegate", "suspend", "resume", "revoke", "revoke-link"]),
        (&["agent", "delegate"], &["--from", "--chain", "--to", "--budget", "--allow", "--resource", "--ttl", "--depth"]),
        (&["key", "create"], &["--role", "operator", "approver", "agent", "mail", "--name", "--chain", "--ttl"]),
        (&["account", "create"], &["--name", "--operator"]),
        (&["audit"], &["verify", "show", "pin", "rotate"]),
        (&["oversight"], &["verify", "policy", "list", "show", "grants", "ask", "mail", "receipt", "kill"]),
        (&["oversight", "list"], &["--state", "--run", "--review", "--before", "--limit"]),
        (&["oversight", "grants"], &["--revoke"]),
        (&["oversight", "ask"], &["<QUESTION>", "--option", "--timeout", "--call", "--url", "--token"]),
        (&["oversight", "mail"], &["--url", "--token-file", "sysexits", "67"]),
        (&["audit", "verify"], &["--url", "--token", "--keys", "--pin"]),
        (&["msg", "send"], &["--to", "[TEXT]", "--expires", "--fresh", "--url", "--token"]),
        (&["msg", "receive"], &["--wait", "--discard"]),
        (&["memory", "put"], &["<TEXT>", "--source", "--action", "--supersedes"]),
        (&["doctor"], &["--config", "--listen"]),
        (&["completions"], &["<SHELL>", "bash", "zsh", "fish"]),
    ];
    for (command, flags) in cases {
        let help = house.run(&[command, &["--help"]].concat()).ok();
        for flag in flags {
            assert!(help.contains(flag), "`creto {}` does not name {flag}:\n{help}", command.join(" "));
        }
    }
    assert!(!house.data().exists(), "asking for help makes nothing");
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_name_before_anything_happens() {
    let house = House::new();
    let cases: [(&[&str], &str); 8] = [
        (&["inbox", "--wtach"], "--wtach"),
        (&["frobnicate"], "frobnicate"),
        (&["key", "create", "--role", "king", "--name", "x"], "king"),
        (&["key", "create", "--role", "agent", "--name", "x", "--agent", "a", "--chain", "c"], "--chain"),
        (&["resolve", "adm_1"], "--happened"),
        (&["meter", "price", "tokens", "--unit-price", "1"], "--sum"),
        (&["audit", "verify", "--token", "t"], "--url"),
        (&["agent", "delegate"], "--to"),
    ];
    for (typed, named) in cases {
        let ran = house.run(typed);
        assert_eq!(ran.code, 2, "{typed:?} {ran:?}");
        assert!(ran.err.contains(named), "{named}: {}", ran.err);
    }
    assert!(!house.data().exists());
}

#[test]
fn completions_need_no_server_and_survive_a_reader_that_leaves() {
    let house = House::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = house.run(&["completions", shell]).ok();
        assert!(script.contains("approve") && script.contains("unit-price"), "{shell}");
    }
    let mut child = house.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(!house.data().exists());
}
