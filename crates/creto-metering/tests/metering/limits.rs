//! The rate limit as the Gate asks it.

use std::sync::Arc;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_enablement_common::Outcome;
use creto_enablement_common::gate::ActionState;
use creto_kernel::{Coded, NhiId, NhiKind, Timestamp};
use creto_metering::core::gcra::Rate;
use creto_metering::{AGENTS_PER_SHARD_MAX, RateLimits};

use super::house::{House, SETS, request};

#[tokio::test]
async fn an_agent_past_its_rate_is_refused_on_record_and_admitted_when_it_waited() {
    each_engine(SETS, async |db| {
        let limits = RateLimits::new(Rate::new(1, 2).unwrap()).tenant("generous".parse().unwrap(), Rate::new(100, 100).unwrap());
        let house = House::open(db, vec![Arc::new(limits)]).await;
        let chain = house.chain("default", None, &["planner"]).await;
        let act = async |chain| {
            let granted = house.gate.admit(request(chain, "tool.call", "tool:report")).await?;
            house.gate.settle(granted, Outcome { ok: true, ..Outcome::default() }).await
        };
        act(&chain).await.unwrap();
        act(&chain).await.unwrap();
        let refusal = act(&chain).await.unwrap_err();
        assert_eq!(refusal.code().as_str(), "metering.rate_limited");
        assert!(refusal.to_string().contains("1001 ms"), "{refusal}");
        assert_eq!(house.record(&chain).await[2].state, ActionState::Refused);
        // Another chain of the same agent is the same agent; another agent is not, nor is another tenant's.
        let (again, writer) = (house.chain("default", None, &["planner"]).await, house.chain("default", None, &["writer"]).await);
        assert!(act(&again).await.is_err());
        act(&writer).await.unwrap();
        let generous = house.chain("generous", None, &["planner"]).await;
        for _ in 0..5 {
            act(&generous).await.unwrap();
        }
        house.world.clock.advance(Duration::from_secs(1));
        act(&chain).await.unwrap();
        assert!(act(&chain).await.is_err());
    })
    .await;
}

#[test]
fn the_rate_of_an_agent_goes_before_its_tenants_and_that_before_everybodys() {
    let rate = |burst| Rate::new(1, burst).unwrap();
    let agent = |tenant: &str, name: &str| NhiId::new("creto.test", &tenant.parse().unwrap(), NhiKind::Agent, name).unwrap();
    let limits = RateLimits::new(rate(1)).tenant("acme".parse().unwrap(), rate(3)).agent(agent("acme", "busy"), rate(5));
    let now = Timestamp::from_secs(100).unwrap();
    let admitted = |agent: NhiId| (0..10).filter(|_| limits.check(&agent, now).is_ok()).count();
    assert_eq!([admitted(agent("acme", "busy")), admitted(agent("acme", "idle")), admitted(agent("other", "busy"))], [5, 3, 1]);
}

#[test]
fn memory_is_bounded_by_refusing_and_idle_agents_make_room() {
    let limits = RateLimits::new(Rate::new(1, 1).unwrap());
    let agent = |n: usize| NhiId::new("creto.test", &"default".parse().unwrap(), NhiKind::Agent, &format!("a{n}")).unwrap();
    let at = |secs| Timestamp::from_secs(secs).unwrap();
    let known = AGENTS_PER_SHARD_MAX * 16;
    let refused = (0..known + known / 32).filter(|n| limits.check(&agent(*n), at(100)).is_err()).count();
    assert!(refused >= known / 32, "{refused}");
    // An agent that is remembered keeps its rate however many others knock.
    assert!(limits.check(&agent(0), at(100)).is_err());
    assert_eq!(
        (0..known / 32).filter(|n| limits.check(&agent(known * 2 + n), at(102)).is_err()).count(),
        0,
        "everybody idle was forgotten"
    );
}

#[test]
fn of_many_threads_exactly_the_burst_passes() {
    let limits = RateLimits::new(Rate::new(1, 100).unwrap());
    let agent = NhiId::new("creto.test", &"default".parse().unwrap(), NhiKind::Agent, "a").unwrap();
    let now = Timestamp::from_secs(100).unwrap();
    let passed: usize = std::thread::scope(|scope| {
        let count = || (0..50).filter(|_| limits.check(&agent, now).is_ok()).count();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 100);
}
