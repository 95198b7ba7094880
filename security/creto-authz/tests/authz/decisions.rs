//! The three outcomes, the chain before them, and the cache behind them.

use std::sync::atomic::Ordering;

use creto_authz::testkit::full_grant;
use creto_authz::{Context, Decision, DenyReason, Session};
use creto_kernel::{Micros, Timestamp};
use creto_nhi::Grant;

use super::support::{Bench, NOW, alice, asks, bench, bench_with, denied, grant, id};

const ALLOW: Decision = Decision::Allow;

/// Asks `pay.now` on `tool:bank`.
fn pay(bench: &Bench, session: &Session) -> Decision {
    bench.check(session, "pay.now", "tool:bank")
}

const PERMIT: &str = r#"@id("permit") permit (principal, action == Action::"pay.now", resource);"#;
const ASK: &str =
    r#"@id("ask") @oversight("finance") forbid (principal, action == Action::"pay.now", resource) unless { context.approved };"#;
const ASK_TOO: &str = r#"@id("ask2") @oversight("security") forbid (principal, action, resource is Tool) unless { context.approved };"#;
const PLAIN: &str = r#"@id("plain") forbid (principal, action == Action::"pay.now", resource);"#;
const STUBBORN: &str =
    r#"@id("stubborn") @oversight("x") forbid (principal, action, resource) unless { context.approved && resource has owner };"#;
const FAILS: &str = r#"@id("fails") permit (principal, action, resource) when { principal.chain_depth * 9223372036854775807 > 1 };"#;
const FAILS_APPROVED: &str =
    r#"@id("fails2") permit (principal, action, resource) when { context.approved && principal.chain_depth * 9223372036854775807 > 1 };"#;

#[tokio::test]
async fn three_outcomes() {
    for (policies, expected) in [
        (vec![PERMIT], ALLOW),
        (vec![ASK], denied(DenyReason::NoPermit)),
        (vec![PERMIT, ASK], asks("finance")),
        (vec![PERMIT, ASK, ASK_TOO], asks("finance")),
        (vec![PERMIT, PLAIN], denied(DenyReason::Forbidden)),
        (vec![PERMIT, ASK, PLAIN], denied(DenyReason::Forbidden)),
        (vec![PERMIT, STUBBORN], denied(DenyReason::Forbidden)),
        (vec![PERMIT, FAILS], denied(DenyReason::EvaluationError)),
        (vec![PERMIT, ASK, FAILS], denied(DenyReason::EvaluationError)),
        (vec![PERMIT, ASK, FAILS_APPROVED], denied(DenyReason::EvaluationError)),
        (vec![PERMIT, FAILS_APPROVED], ALLOW),
    ] {
        let bench = bench_with(&policies.join("\n")).await;
        assert_eq!(pay(&bench, &bench.agent()), expected, "{policies:#?}");
    }
}

#[tokio::test]
async fn an_approval_lifts_only_the_rules_it_was_given_for() {
    let bench = bench_with(&[PERMIT, ASK, ASK_TOO].join("\n")).await;
    let agent = bench.agent();
    let approved = |rules: &[&str]| bench.approved(&agent, "pay.now", "tool:bank", &Context::default(), rules);
    assert_eq!(approved(&[]), asks("finance"));
    assert_eq!(approved(&["finance"]), asks("security"));
    assert_eq!(approved(&["security"]), asks("finance"));
    assert_eq!(approved(&["other"]), asks("finance"));
    assert_eq!(approved(&["finance", "security"]), ALLOW);
}

#[tokio::test]
async fn an_approval_is_never_remembered() {
    let bench = bench_with(&[PERMIT, ASK].join("\n")).await;
    let agent = bench.agent();
    assert_eq!(bench.approved(&agent, "pay.now", "tool:bank", &Context::default(), &["finance"]), ALLOW);
    assert_eq!(pay(&bench, &agent), asks("finance"));
    assert_eq!(bench.approved(&agent, "pay.now", "tool:bank", &Context::default(), &["finance"]), ALLOW);
    assert_eq!(pay(&bench, &agent), asks("finance"));
}

#[tokio::test]
async fn an_approval_lifts_neither_a_plain_forbid_nor_the_chain() {
    let bench = bench_with(&[PERMIT, ASK, PLAIN].join("\n")).await;
    let agent = bench.agent();
    assert_eq!(bench.approved(&agent, "pay.now", "tool:bank", &Context::default(), &["finance"]), denied(DenyReason::Forbidden));
    let narrow = bench.open_with(&[alice(), id("agent", "a")], grant(&["runtime.*"], &["*"]));
    assert_eq!(bench.approved(&narrow, "pay.now", "tool:bank", &Context::default(), &["finance"]), denied(DenyReason::NotGranted));
    bench.revocations.fetch_add(1, Ordering::SeqCst);
    assert_eq!(bench.approved(&agent, "pay.now", "tool:bank", &Context::default(), &["finance"]), denied(DenyReason::ChainStale));
}

#[tokio::test]
async fn the_grant_is_asked_before_any_policy() {
    let bench = bench_with(r#"@id("all") permit (principal, action, resource);"#).await;
    let agent = bench.open_with(&[alice(), id("agent", "a")], grant(&["runtime.*"], &["host:a.example:443", "sandbox:*"]));
    assert_eq!(bench.check(&agent, "runtime.egress", "host:a.example:443"), ALLOW);
    assert_eq!(bench.check(&agent, "runtime.exec", "sandbox:x"), ALLOW);
    for (action, resource) in
        [("runtime.egress", "host:b.example:443"), ("messaging.deliver", "sandbox:x"), ("runtime.egress", "host:a.example:4433")]
    {
        assert_eq!(bench.check(&agent, action, resource), denied(DenyReason::NotGranted), "{action} {resource}");
    }
}

#[tokio::test]
async fn a_cached_allow_ends_with_the_chain() {
    let bench = bench().await;
    let end = Timestamp::from_secs(100).unwrap();
    let agent = bench.open_with(&[alice(), id("agent", "a")], Grant { not_after: end, ..full_grant() });
    let at = |micros: i64| {
        let now = Timestamp::from_micros(micros).unwrap();
        bench.check_at(&agent, "runtime.exec", "sandbox:x", &Context::default(), now)
    };
    assert_eq!(at(0), ALLOW);
    assert_eq!(at(99_999_999), ALLOW);
    assert_eq!(at(100_000_000), denied(DenyReason::GrantExpired));
    assert_eq!(at(99_999_999), ALLOW);
}

#[tokio::test]
async fn a_revocation_ends_every_session_opened_before_it() {
    let bench = bench().await;
    let agent = bench.agent();
    assert_eq!(bench.check(&agent, "runtime.exec", "sandbox:x"), ALLOW);
    bench.revocations.fetch_add(1, Ordering::SeqCst);
    assert_eq!(bench.check(&agent, "runtime.exec", "sandbox:x"), denied(DenyReason::ChainStale));
    assert_eq!(bench.check(&bench.agent(), "runtime.exec", "sandbox:x"), ALLOW);
}

#[tokio::test]
async fn a_publish_outdates_every_cached_decision_of_its_tenant_and_of_no_other() {
    let bench = bench().await;
    let agent = bench.agent();
    let other = |kind: &str| format!("spiffe://creto.local/tenant/other/{kind}/bob").parse().unwrap();
    let others = bench.open(&[other("human"), other("agent")]);
    assert_eq!((bench.check(&agent, "runtime.exec", "sandbox:x"), bench.check(&others, "runtime.exec", "sandbox:x")), (ALLOW, ALLOW));
    bench.authz.publish(&alice(), PERMIT, None).await.unwrap();
    assert_eq!(bench.check(&agent, "runtime.exec", "sandbox:x"), denied(DenyReason::NoPermit));
    assert_eq!(bench.check(&others, "runtime.exec", "sandbox:x"), ALLOW);
}

#[tokio::test]
async fn different_facts_are_decided_apart() {
    let ask_above = r#"@id("ask") @oversight("finance") forbid (principal, action == Action::"pay.now", resource)
        when { context has spend_micros && context.spend_micros > 5000000 } unless { context.approved };"#;
    let bench = bench_with(&[PERMIT, ask_above].join("\n")).await;
    let agent = bench.agent();
    let spending = |amount: &str| {
        let context = Context::default().spending(amount.parse::<Micros>().unwrap());
        bench.check_at(&agent, "pay.now", "tool:bank", &context, NOW)
    };
    assert_eq!((spending("5"), spending("5.000001"), spending("1")), (ALLOW, asks("finance"), ALLOW));
}

#[tokio::test]
async fn the_same_chain_with_another_grant_shares_nothing() {
    let bench = bench().await;
    let hops = [alice(), id("agent", "a")];
    assert_eq!(bench.check(&bench.open(&hops), "runtime.exec", "sandbox:x"), ALLOW);
    let narrow = bench.open_with(&hops, grant(&["messaging.*"], &["*"]));
    assert_eq!(bench.check(&narrow, "runtime.exec", "sandbox:x"), denied(DenyReason::NotGranted));
}

#[tokio::test]
async fn whoever_delegated_is_an_ancestor() {
    let policy = r#"@id("p") permit (principal in Agent::"spiffe://creto.local/tenant/default/agent/planner", action == Action::"pay.now", resource);
        @id("d") forbid (principal, action == Action::"runtime.egress", resource in Domain::"evil.example");
        @id("e") permit (principal, action == Action::"runtime.egress", resource);"#;
    let bench = bench_with(policy).await;
    assert_eq!(pay(&bench, &bench.agent()), ALLOW);
    assert_eq!(pay(&bench, &bench.open(&[alice(), id("agent", "planner")])), ALLOW);
    assert_eq!(pay(&bench, &bench.open(&[alice(), id("agent", "researcher")])), denied(DenyReason::NoPermit));
    for host in ["host:evil.example:443", "host:x.EVIL.example.:80"] {
        assert_eq!(bench.check(&bench.agent(), "runtime.egress", host), denied(DenyReason::Forbidden), "{host}");
    }
    assert_eq!(bench.check(&bench.agent(), "runtime.egress", "host:notevil.example:443"), ALLOW);
}
