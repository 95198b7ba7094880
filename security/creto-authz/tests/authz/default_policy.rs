//! What a tenant that published nothing may do.

use creto_authz::{Context, Decision, DenyReason, RuleId};

use super::support::{NOW, alice, bench, denied, id};

const ALLOW: Decision = Decision::Allow;
const NO_PERMIT: Decision = denied(DenyReason::NoPermit);

#[tokio::test]
async fn a_humans_own_agents_may_execute_and_a_services_may_not() {
    let bench = bench().await;
    for action in ["runtime.exec", "runtime.claim", "runtime.release"] {
        assert_eq!(bench.check(&bench.agent(), action, "sandbox:default"), ALLOW, "{action}");
        assert_eq!(bench.check(&bench.open(&[alice()]), action, "sandbox:default"), ALLOW, "{action}");
        let collectors = bench.open(&[id("service", "cron"), id("agent", "collector")]);
        assert_eq!(bench.check(&collectors, action, "sandbox:default"), NO_PERMIT, "{action}");
    }
}

#[tokio::test]
async fn egress_is_denied_unless_the_runs_owner_allowed_the_host() {
    let bench = bench().await;
    let agent = bench.agent();
    let host = |name: &str, allowed: &[&str]| {
        let context = Context::default().allow_hosts(allowed).unwrap();
        bench.check_at(&agent, "runtime.egress", name, &context, NOW)
    };
    assert_eq!(host("host:api.example.com:443", &[]), NO_PERMIT);
    assert_eq!(host("host:api.example.com:443", &["api.example.com"]), ALLOW);
    assert_eq!(host("host:api.example.com:443", &["api.example.com:443"]), ALLOW);
    assert_eq!(host("host:API.EXAMPLE.com.:443", &["Api.Example.Com:443"]), ALLOW);
    assert_eq!(host("host:[::1]:80", &["::1"]), ALLOW);
    for (name, allowed) in [
        ("host:api.example.com:80", "api.example.com:443"),
        ("host:evil.api.example.com:443", "api.example.com"),
        ("host:api.example.com.evil.example:443", "api.example.com"),
        ("host:example.com:443", "api.example.com"),
        ("host:api.example.com:443:1", "api.example.com"),
    ] {
        assert_eq!(host(name, &[allowed]), NO_PERMIT, "{name} by {allowed}");
    }
}

#[tokio::test]
async fn messages_are_delivered_inside_the_tenant_only() {
    let bench = bench().await;
    let agent = bench.agent();
    assert_eq!(bench.check(&agent, "messaging.deliver", "mailbox:planner"), ALLOW);
    assert_eq!(bench.check(&agent, "messaging.deliver", &format!("mailbox:{}", id("agent", "planner"))), ALLOW);
    for kind in ["mailbox", "agent", "memory", "anything"] {
        let other = format!("{kind}:spiffe://creto.local/tenant/other/agent/planner");
        assert_eq!(bench.check(&agent, "messaging.deliver", &other), denied(DenyReason::CrossTenant), "{kind}");
    }
}

#[tokio::test]
async fn usage_is_reported_for_the_own_chain() {
    let bench = bench().await;
    let agent = bench.agent();
    assert_eq!(bench.check(&agent, "metering.ingest", "metric:tokens"), ALLOW);
    assert_eq!(bench.check(&agent, "metering.read", &format!("metric:{}", id("agent", "researcher"))), ALLOW);
    assert_eq!(bench.check(&agent, "metering.read", &format!("metric:{}", id("agent", "stranger"))), NO_PERMIT);
    assert_eq!(bench.check(&agent, "metering.budget", "budget:report"), ALLOW);
    assert_eq!(bench.check(&agent, "metering.configure", "metric:tokens"), NO_PERMIT);
    assert_eq!(bench.check(&bench.open(&[alice()]), "metering.configure", "metric:tokens"), ALLOW);
}

#[tokio::test]
async fn an_agents_memory_is_its_own() {
    let bench = bench().await;
    let agent = bench.agent();
    let (own, planners) = (format!("memory:{}", id("agent", "researcher")), format!("memory:{}", id("agent", "planner")));
    for action in ["memory.put", "memory.search", "memory.get", "memory.history", "memory.invalidate", "memory.forget", "memory.reasoning"]
    {
        assert_eq!(bench.check(&agent, action, &own), ALLOW, "{action}");
        assert_eq!(bench.check(&agent, action, &planners), NO_PERMIT, "{action}");
        assert_eq!(bench.check(&agent, action, "memory:shared"), NO_PERMIT, "{action}");
        assert_eq!(bench.check(&bench.open(&[alice()]), action, &own), ALLOW, "{action}");
    }
}

#[tokio::test]
async fn an_agent_may_ask_a_human_and_never_answer_for_one() {
    let bench = bench().await;
    let agent = bench.agent();
    assert_eq!(bench.check(&agent, "oversight.request", "function:transfer"), ALLOW);
    for (action, resource) in [
        ("oversight.approve", "request:1"),
        ("policy.publish", "policy:default"),
        ("identity.create", "agent:x"),
        ("metering.set_ceiling", "account:x"),
        ("audit.read", "log:default"),
        ("payments.transfer", "tool:bank"),
    ] {
        assert_eq!(bench.check(&agent, action, resource), NO_PERMIT, "{action}");
    }
    assert_eq!(bench.check(&bench.open(&[alice()]), "oversight.approve", "request:1"), ALLOW);
}

#[tokio::test]
async fn a_wrapped_function_waits_for_a_human_and_another_is_only_recorded() {
    let bench = bench().await;
    let agent = bench.agent();
    assert_eq!(bench.check(&agent, "tool.call", "tool:search"), ALLOW);
    let rule = RuleId::new("require_approval").unwrap();
    assert_eq!(bench.check(&agent, "tool.call_with_approval", "tool:pay"), Decision::RequiresOversight(rule));
}
