//! The slicer against Cedar over all policies, and the cache against no cache, on random requests over the committed corpus.

use creto_authz::testkit::{
    CORPUS_HUMANS, CORPUS_THINGS, conforms, corpus, corpus_human, full_grant, sliced_and_full, uncached, unsliceable,
};
use creto_authz::{Context, Decision, PastRequest, Session};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::support::{Bench, NOW, alice, bench, id};

/// Policies of every scope form, over the same names as the corpus.
const FORMS: &str = r#"
@id("form.is") forbid (principal is Service, action, resource is Tool) when { context has spend_micros };
@id("form.is_in") permit (principal is Agent in Human::"spiffe://creto.local/tenant/default/human/h1", action in Action::"application", resource);
@id("form.eq") forbid (principal == Agent::"spiffe://creto.local/tenant/default/agent/a3", action, resource is Host in Domain::"example.com");
@id("form.list") permit (principal, action in [Action::"work.a0", Action::"work.a2"], resource == Tool::"t2");
@id("form.group") @oversight("group") forbid (principal, action in [Action::"runtime"], resource in Domain::"d3.example.com") unless { context.approved };
@id("form.host") permit (principal, action == Action::"runtime.egress", resource == Host::"x.d3.example.com:443");
@id("form.fails") permit (principal in Human::"spiffe://creto.local/tenant/default/human/h2", action, resource) when { principal.chain_depth * 9223372036854775807 > 1 };
"#;

#[derive(Debug, Clone)]
struct Drawn {
    human: usize,
    depth: usize,
    service: bool,
    action: String,
    resource: String,
    context: Context,
}

/// Action and resource of one thing, as the corpus pairs them.
fn paired(thing: usize) -> (String, String) {
    if thing.is_multiple_of(2) {
        (format!("work.a{thing}"), format!("tool:t{thing}"))
    } else {
        ("runtime.egress".to_owned(), format!("host:x.d{thing}.example.com:443"))
    }
}

/// Any action with any resource; nine in ten have no policy in scope.
fn unpaired() -> impl Strategy<Value = (String, String)> {
    let things = 0..CORPUS_THINGS + 1;
    let action = prop_oneof![
        things.clone().prop_map(|thing| format!("work.a{thing}")),
        Just("runtime.egress".to_owned()),
        Just("runtime.exec".to_owned())
    ];
    let resource = prop_oneof![
        things.clone().prop_map(|thing| format!("tool:t{thing}")),
        (things, prop_oneof![Just(""), Just("x."), Just("a.b.")], prop_oneof![Just(":443"), Just("")])
            .prop_map(|(thing, sub, port)| format!("host:{sub}d{thing}.example.com{port}")),
        Just("sandbox:s".to_owned()),
    ];
    (action, resource)
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let asked = prop_oneof![3 => (0..CORPUS_THINGS + 1).prop_map(paired), 1 => unpaired()];
    let rarely = || prop::bool::weighted(0.15);
    let context = (rarely(), rarely(), prop_oneof![Just(None), Just(Some(1)), Just(Some(9))]).prop_map(|(frozen, stop, spend)| {
        let labels = [(frozen, "frozen"), (stop, "stop1")].into_iter().filter(|(wanted, _)| *wanted);
        let context = labels.fold(Context::default(), |context, (_, label)| context.label(label).unwrap());
        match spend {
            Some(units) => context.spending(format!("{units}").parse().unwrap()),
            None => context,
        }
    });
    (0..CORPUS_HUMANS.min(8), 0..4_usize, rarely(), asked, context).prop_map(|(human, depth, service, (action, resource), context)| Drawn {
        human,
        depth,
        service,
        action,
        resource,
        context,
    })
}

fn session(bench: &Bench, drawn: &Drawn) -> Session {
    let root = if drawn.service { id("service", "cron") } else { corpus_human(drawn.human).parse().unwrap() };
    let hops: Vec<_> = std::iter::once(root).chain((0..drawn.depth).map(|n| id("agent", &format!("a{}", drawn.human + n)))).collect();
    bench.open_with(&hops, full_grant())
}

fn past(bench: &Bench, drawn: &Drawn) -> PastRequest {
    bench.request(&session(bench, drawn), &drawn.action, &drawn.resource, &drawn.context)
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[tokio::test]
async fn a_slice_decides_as_all_policies_do() {
    let bench = bench().await;
    bench.authz.publish(&alice(), &(corpus(1_000) + &unsliceable(3) + FORMS), None).await.unwrap();
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    let seen_by_case = std::sync::Mutex::new(&mut seen);
    runner(64)
        .run(&drawn(), |drawn| {
            let past = past(&bench, &drawn);
            let (mut sliced, full) = sliced_and_full(&bench.authz, &past).unwrap();
            prop_assert!(sliced.considered < 20, "{} of {} policies considered", sliced.considered, full.considered);
            *seen_by_case.lock().unwrap().entry(sliced.decision.as_str()).or_default() += 1;
            sliced.considered = full.considered;
            prop_assert_eq!(sliced, full);
            Ok(())
        })
        .unwrap();
    assert_eq!(seen.len(), 3, "the requests must reach every outcome to prove anything: {seen:?}");
}

#[tokio::test]
async fn the_corpus_slices_to_at_most_three() {
    let bench = bench().await;
    bench.authz.publish(&alice(), &corpus(1_000), None).await.unwrap();
    runner(64)
        .run(&drawn(), |drawn| {
            let (sliced, full) = sliced_and_full(&bench.authz, &past(&bench, &drawn)).unwrap();
            prop_assert_eq!(full.considered, 1_000);
            prop_assert!(sliced.considered <= 3);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn the_cache_answers_as_no_cache_would_across_publishes() {
    let bench = bench().await;
    let mut runner = runner(300);
    let (mut allowed, mut epoch) = (0, 0);
    for policies in [150, 60, 300] {
        bench.authz.publish(&alice(), &(corpus(policies) + FORMS), None).await.unwrap();
        let count = std::cell::Cell::new(0);
        runner
            .run(&drawn(), |drawn| {
                let past = past(&bench, &drawn);
                let check = || bench.authz.check(&past.session, &past.action, &past.resource, &past.context, NOW);
                let (first, again) = (check(), check());
                prop_assert_eq!(&first, &uncached(&bench.authz, &past));
                prop_assert_eq!(&first, &again);
                count.set(count.get() + u32::from(first == Decision::Allow));
                Ok(())
            })
            .unwrap();
        allowed += count.get();
        epoch += 1;
        assert_eq!(bench.authz.current(alice().tenant()).await.unwrap().epoch, epoch);
    }
    assert!(allowed > 0, "nothing was ever allowed");
}

#[tokio::test]
async fn what_cedar_is_given_conforms_to_the_schema() {
    let bench = bench().await;
    let agent = bench.agent();
    let context = Context::default().label("a").unwrap().allow_hosts(["h"]).unwrap().spending("1".parse().unwrap());
    for (action, resource) in [
        ("runtime.egress", "host:example.com:443"),
        ("runtime.egress", "host:[::1]"),
        ("runtime.exec", "sandbox:x"),
        ("messaging.deliver", "mailbox:spiffe://creto.local/tenant/default/agent/a"),
        ("metering.ingest", "metric:tokens"),
        ("memory.put", "memory:spiffe://creto.local/tenant/default/agent/a"),
        ("identity.revoke", "agent:a"),
        ("oversight.request", "anything:else"),
    ] {
        for context in [&Context::default(), &context] {
            conforms(&bench.authz, &bench.request(&agent, action, resource, context)).unwrap();
        }
    }
}

#[test]
fn the_corpus_is_the_same_on_every_machine() {
    let digest = creto_kernel::Digest::of(corpus(1_000).as_bytes()).to_string();
    assert_eq!(digest, CORPUS_DIGEST, "numbers measured on another corpus cannot be compared");
}

const CORPUS_DIGEST: &str = "887d1585a07bc221c2bb6b9e3bf0a33fd990e20932d88f365eb18bad9683150c";
