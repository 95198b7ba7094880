//! What the tests share: an authorizer on a fresh SQLite file, and short forms for names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use creto_authz::testkit::{full_grant, session};
use creto_authz::{Authorizer, Context, Decision, DenyReason, Explained, MIGRATIONS, PastRequest, RuleId, Session};
use creto_db::Db;
use creto_kernel::time::ManualClock;
use creto_kernel::{NhiId, Timestamp};
use creto_nhi::Grant;

/// The time of most tests.
pub(crate) const NOW: Timestamp = Timestamp::EPOCH;

pub(crate) fn id(kind: &str, name: &str) -> NhiId {
    format!("spiffe://creto.local/tenant/default/{kind}/{name}").parse().unwrap()
}

pub(crate) fn alice() -> NhiId {
    id("human", "alice")
}

/// An authorizer, the revocation epoch it reads, and the directory its database lives in.
pub(crate) struct Bench {
    pub(crate) authz: Authorizer,
    pub(crate) revocations: Arc<AtomicU64>,
    _directory: tempfile::TempDir,
}

pub(crate) async fn start(db: Db) -> (Authorizer, Arc<AtomicU64>) {
    let revocations = Arc::new(AtomicU64::new(0));
    let read = revocations.clone();
    let clock = Arc::new(ManualClock::at(NOW));
    let authz = Authorizer::start(db, Arc::new(move || read.load(Ordering::SeqCst)), clock).await.unwrap();
    (authz, revocations)
}

pub(crate) async fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open_sqlite(&directory.path().join("authz.db"), &[MIGRATIONS]).unwrap();
    let (authz, revocations) = start(db).await;
    Bench { authz, revocations, _directory: directory }
}

/// An authorizer whose default tenant has this policy.
pub(crate) async fn bench_with(policy: &str) -> Bench {
    let bench = bench().await;
    bench.authz.publish(&alice(), policy, None).await.unwrap();
    bench
}

pub(crate) fn grant(actions: &[&str], resources: &[&str]) -> Grant {
    let patterns = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned().try_into().unwrap()).collect();
    Grant { actions: patterns(actions), resources: patterns(resources), ..full_grant() }
}

impl Bench {
    /// A session of these identities with a grant of everything.
    pub(crate) fn open(&self, hops: &[NhiId]) -> Session {
        self.open_with(hops, full_grant())
    }

    pub(crate) fn open_with(&self, hops: &[NhiId], grant: Grant) -> Session {
        session(&self.authz, hops, grant, self.revocations.load(Ordering::SeqCst)).unwrap()
    }

    /// alice's agent.
    pub(crate) fn agent(&self) -> Session {
        self.open(&[alice(), id("agent", "planner"), id("agent", "researcher")])
    }

    pub(crate) fn request(&self, session: &Session, action: &str, resource: &str, context: &Context) -> PastRequest {
        PastRequest {
            session: session.clone(),
            action: self.authz.action(&action.parse().unwrap()),
            resource: self.authz.resource(&resource.parse().unwrap()),
            context: self.authz.classify(context),
        }
    }

    pub(crate) fn check_at(&self, session: &Session, action: &str, resource: &str, context: &Context, now: Timestamp) -> Decision {
        let PastRequest { session, action, resource, context } = self.request(session, action, resource, context);
        let missed = self.authz.check(&session, &action, &resource, &context, now);
        let hit = self.authz.check(&session, &action, &resource, &context, now);
        assert_eq!(missed, hit, "the cache changed a decision");
        missed
    }

    pub(crate) fn check(&self, session: &Session, action: &str, resource: &str) -> Decision {
        self.check_at(session, action, resource, &Context::default(), NOW)
    }

    pub(crate) fn approved(&self, session: &Session, action: &str, resource: &str, context: &Context, rules: &[&str]) -> Decision {
        let rules: Vec<RuleId> = rules.iter().map(|rule| RuleId::new(rule).unwrap()).collect();
        let PastRequest { session, action, resource, context } = self.request(session, action, resource, context);
        self.authz.check_approved(&session, &action, &resource, &context, &rules, NOW)
    }

    pub(crate) fn explain(&self, session: &Session, action: &str, resource: &str) -> Explained {
        let PastRequest { session, action, resource, context } = self.request(session, action, resource, &Context::default());
        self.authz.evaluate(&session, &action, &resource, &context, NOW)
    }
}

pub(crate) fn asks(rule: &str) -> Decision {
    Decision::RequiresOversight(RuleId::new(rule).unwrap())
}

pub(crate) const fn denied(reason: DenyReason) -> Decision {
    Decision::Deny(reason)
}
