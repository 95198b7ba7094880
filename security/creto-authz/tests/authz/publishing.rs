//! Versions: stored, recorded, reloaded, compared.

use creto_authz::{Context, DEFAULT_POLICY, Decision, DenyReason, MIGRATIONS};
use creto_db::testkit::each_engine;
use creto_db::{Sealed, Write, params};
use creto_kernel::id::LeafId;
use creto_kernel::{Coded, Leaf};

use super::support::{NOW, alice, bench, bench_with, denied, id, start};

const NOTHING: &str = r#"@id("nothing") forbid (principal, action, resource);"#;
const EVERYTHING: &str = r#"@id("everything") permit (principal, action, resource);"#;

#[tokio::test]
async fn a_published_version_is_recorded_reloaded_and_listed_on_each_engine() {
    each_engine(&[MIGRATIONS], async |db| {
        let (authz, _) = start(db.clone()).await;
        let tenant = alice().tenant().clone();
        let default = authz.current(&tenant).await.unwrap();
        assert_eq!((default.epoch, default.author.is_none(), default.text.as_str()), (0, true, DEFAULT_POLICY));
        let first = authz.publish(&alice(), NOTHING, Some(0)).await.unwrap();
        let second = authz.publish(&alice(), EVERYTHING, Some(1)).await.unwrap();
        assert_eq!(authz.history(&tenant, 10).await.unwrap(), [second.clone(), first]);
        assert_eq!(authz.history(&tenant, 1).await.unwrap().len(), 1);
        let (reloaded, _) = start(db.clone()).await;
        assert_eq!(reloaded.current(&tenant).await.unwrap(), second);
        let other = "other".parse().unwrap();
        assert_eq!((reloaded.history(&other, 10).await.unwrap(), reloaded.current(&other).await.unwrap().epoch), (vec![], 0));
        let leaves = db.query("SELECT body FROM audit_leaf ORDER BY sequence", params![]).await.unwrap();
        let leaf: Leaf = serde_json::from_slice(leaves[1].blob(0).unwrap()).unwrap();
        assert_eq!((leaf.action.as_str(), leaf.resource.as_str(), leaf.actor), ("policy.publish", "policy:default", alice()));
        assert_eq!((leaf.digests["policy"], leaf.facts["epoch"].as_str()), (second.digest, "2"));
    })
    .await;
}

#[tokio::test]
async fn another_server_follows_after_refresh() {
    each_engine(&[MIGRATIONS], async |db| {
        let ((one, _), (two, _)) = (start(db.clone()).await, start(db.clone()).await);
        let handles = |authz: &creto_authz::Authorizer| {
            let session =
                creto_authz::testkit::session(authz, &[alice(), id("agent", "a")], creto_authz::testkit::full_grant(), 0).unwrap();
            let (action, resource) = (authz.action(&"runtime.exec".parse().unwrap()), authz.resource(&"sandbox:x".parse().unwrap()));
            let context = authz.classify(&Context::default());
            authz.check(&session, &action, &resource, &context, NOW)
        };
        assert_eq!(handles(&two), Decision::Allow);
        one.publish(&alice(), NOTHING, None).await.unwrap();
        two.refresh().await.unwrap();
        assert_eq!(handles(&two), denied(DenyReason::Forbidden));
    })
    .await;
}

#[tokio::test]
async fn of_two_publishers_on_one_version_one_wins() {
    each_engine(&[MIGRATIONS], async |db| {
        let ((one, _), (two, _)) = (start(db.clone()).await, start(db.clone()).await);
        let (alice, bob) = (alice(), id("human", "bob"));
        let (a, b) = tokio::join!(one.publish(&alice, NOTHING, Some(0)), two.publish(&bob, EVERYTHING, Some(0)));
        let (won, lost) = match (a, b) {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
            both => panic!("{both:?}"),
        };
        assert_eq!((won.epoch, lost.code().as_str()), (1, "authz.publish_conflict"));
        assert_eq!(one.history(alice.tenant(), 10).await.unwrap(), [won]);
    })
    .await;
}

#[tokio::test]
async fn an_invalid_policy_changes_nothing() {
    let bench = bench_with(EVERYTHING).await;
    for bad in ["permit", r#"@id("x") permit (principal, action, resource) when { principal.nope };"#] {
        assert!(bench.authz.publish(&alice(), bad, None).await.is_err());
    }
    assert_eq!(bench.authz.current(alice().tenant()).await.unwrap().epoch, 1);
    assert_eq!(bench.check(&bench.agent(), "pay.now", "tool:bank"), Decision::Allow);
}

#[tokio::test]
async fn a_dry_run_names_what_would_change_and_changes_nothing() {
    let bench = bench().await;
    let agent = bench.agent();
    bench.check(&agent, "runtime.exec", "sandbox:x");
    bench.check(&agent, "runtime.egress", "host:example.com:443");
    let tenant = alice().tenant().clone();
    let dry = bench.authz.dry_run(&tenant, NOTHING, &[]).unwrap();
    assert_eq!((dry.compared, dry.policies), (2, 1));
    let changed: Vec<_> = dry.changes.iter().map(|c| (c.action.as_str(), c.before.clone(), c.after.clone())).collect();
    assert_eq!(
        changed,
        [
            ("runtime.exec", Decision::Allow, denied(DenyReason::Forbidden)),
            ("runtime.egress", denied(DenyReason::NoPermit), denied(DenyReason::Forbidden))
        ]
    );
    assert_eq!(bench.check(&agent, "runtime.exec", "sandbox:x"), Decision::Allow);
    let one = bench.request(&agent, "pay.now", "tool:bank", &Context::default());
    assert_eq!(bench.authz.dry_run(&tenant, EVERYTHING, &[one]).unwrap().changes[0].after, Decision::Allow);
    assert_eq!(bench.authz.dry_run(&tenant, "permit", &[]).unwrap_err().code().as_str(), "authz.policy_syntax");
    assert_eq!(bench.authz.dry_run(&"other".parse().unwrap(), NOTHING, &[]).unwrap().compared, 0);
}

#[tokio::test]
async fn a_stored_policy_that_no_longer_compiles_denies_its_tenant_until_another_is_published() {
    each_engine(&[MIGRATIONS], async |db| {
        let text = r#"@id("old") permit (principal, action == Action::"runtime.gone", resource);"#;
        let digest = creto_kernel::Digest::of(text.as_bytes());
        let leaf =
            Leaf::event(LeafId::generate(), NOW, alice(), "policy.publish".parse().unwrap(), "policy:default".parse().unwrap(), "done");
        let write = Write::new(
            "INSERT INTO authz_policy (tenant, epoch, author, published_at, digest, body) VALUES ($1, $2, $3, $4, $5, $6)",
            params![alice().tenant().clone(), 7_i64, alice(), NOW, digest, text],
        );
        db.commit(Sealed::new(leaf).step(write)).await.unwrap();
        let (authz, _) = start(db).await;
        let session = creto_authz::testkit::session(&authz, &[alice()], creto_authz::testkit::full_grant(), 0).unwrap();
        let check = || {
            let (action, resource) = (authz.action(&"runtime.exec".parse().unwrap()), authz.resource(&"sandbox:x".parse().unwrap()));
            authz.check(&session, &action, &resource, &authz.classify(&Context::default()), NOW)
        };
        assert_eq!(check(), denied(DenyReason::PolicyUnusable));
        assert!(authz.unusable(alice().tenant()).await.unwrap().unwrap().to_string().contains("runtime.gone"));
        assert_eq!(authz.publish(&alice(), DEFAULT_POLICY, None).await.unwrap().epoch, 8);
        assert_eq!(check(), Decision::Allow);
        assert!(authz.unusable(alice().tenant()).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_damaged_stored_version_is_noticed() {
    each_engine(&[MIGRATIONS], async |db| {
        let (authz, _) = start(db.clone()).await;
        authz.publish(&alice(), NOTHING, None).await.unwrap();
        let leaf =
            Leaf::event(LeafId::generate(), NOW, alice(), "policy.publish".parse().unwrap(), "policy:default".parse().unwrap(), "done");
        let tamper = Write::new("UPDATE authz_policy SET body = $1", params![EVERYTHING]);
        db.commit(Sealed::new(leaf).step(tamper)).await.unwrap();
        let error = authz.refresh().await.unwrap_err();
        assert_eq!(error.code().as_str(), "authz.store_damaged");
    })
    .await;
}
