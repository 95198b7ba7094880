//! Reasons, and hints that work.

use creto_authz::{Context, DEFAULT_POLICY, Decision, DenyReason};

use super::support::{NOW, alice, bench, bench_with, denied, grant, id};

/// The policy line a hint quotes.
fn line(hint: &str) -> &str {
    &hint[hint.find("@id(").unwrap()..]
}

#[tokio::test]
async fn the_policy_line_of_a_hint_allows_exactly_what_was_denied() {
    for (action, resource) in [
        ("runtime.egress", "host:api.example.com:443"),
        ("payments.transfer", "tool:bank"),
        ("runtime.restore", "sandbox:x"),
        ("work.do", r#"weird:a"b\c"#),
    ] {
        let bench = bench().await;
        let agent = bench.agent();
        let explained = bench.explain(&agent, action, resource);
        assert_eq!(explained.decision, denied(DenyReason::NoPermit));
        let policy = format!("{DEFAULT_POLICY}\n{}", line(explained.hint.as_deref().unwrap()));
        bench.authz.publish(&alice(), &policy, None).await.unwrap();
        assert_eq!(bench.check(&agent, action, resource), Decision::Allow, "{policy}");
        assert_eq!(bench.explain(&agent, action, resource).hint, None);
        let bobs = bench.open(&[id("human", "bob"), id("agent", "b")]);
        assert_eq!(bench.check(&bobs, action, resource), denied(DenyReason::NoPermit));
    }
}

#[tokio::test]
async fn a_refused_host_is_answered_with_the_command_that_allows_it() {
    let bench = bench().await;
    let agent = bench.agent();
    let hint = bench.explain(&agent, "runtime.egress", "host:API.example.com:443").hint.unwrap();
    let host = hint.split("--allow-host ").nth(1).unwrap().split(' ').next().unwrap();
    let allowed = Context::default().allow_hosts([host]).unwrap();
    assert_eq!(bench.check_at(&agent, "runtime.egress", "host:API.example.com:443", &allowed, NOW), Decision::Allow);
}

#[tokio::test]
async fn reasons_are_named_by_their_id() {
    let policy = r#"@id("open") permit (principal, action == Action::"pay.now", resource);
        @id("limit") @oversight("finance") forbid (principal, action == Action::"pay.now", resource) unless { context.approved };
        @id("elsewhere") permit (principal, action == Action::"pay.later", resource);"#;
    let bench = bench_with(policy).await;
    let explained = bench.explain(&bench.agent(), "pay.now", "tool:bank");
    let ids = |refs: &[creto_authz::PolicyRef]| refs.iter().map(|r| (r.id.clone(), r.effect)).collect::<Vec<_>>();
    assert_eq!(ids(&explained.determining), [("limit".to_owned(), "forbid")]);
    assert_eq!(ids(&explained.would_allow), [("open".to_owned(), "permit")]);
    assert_eq!(explained.rules.iter().map(ToString::to_string).collect::<Vec<_>>(), ["finance"]);
    assert_eq!((explained.considered, explained.policy_epoch), ((2, 3), 1));
    assert!(explained.hint.unwrap().contains("`finance`"));
}

#[tokio::test]
async fn every_deny_says_what_to_do() {
    let policy = r#"@id("no") forbid (principal, action == Action::"pay.now", resource);
        @id("bad") permit (principal, action == Action::"pay.bad", resource) when { principal.chain_depth * 9223372036854775807 > 1 };"#;
    let bench = bench_with(policy).await;
    let agent = bench.agent();
    let forbidden = bench.explain(&agent, "pay.now", "tool:bank");
    assert_eq!(forbidden.decision, denied(DenyReason::Forbidden));
    assert!(forbidden.hint.unwrap().contains("`no`"));
    let broken = bench.explain(&agent, "pay.bad", "tool:bank");
    assert_eq!(broken.decision, denied(DenyReason::EvaluationError));
    assert!(broken.errors[0].contains("bad"), "{:?}", broken.errors);
    let narrow = bench.open_with(&[alice(), id("agent", "a")], grant(&["runtime.*"], &["*"]));
    let hint = bench.explain(&narrow, "pay.now", "tool:bank").hint.unwrap();
    assert!(hint.contains("human/alice") && hint.contains("pay.now"), "{hint}");
}
