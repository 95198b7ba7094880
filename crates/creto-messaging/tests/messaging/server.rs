//! The service behind a real Gate, real policy and real chains, on both engines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use creto_authz::Authorizer;
use creto_crypto::{AlgorithmPolicy, KeyRing, MasterKey};
use creto_db::{Db, MigrationSet, Step, params, testkit};
use creto_enablement_common::ports::{Bill, Posting};
use creto_enablement_common::{
    Approvals, Change, Found, Funding, Gate, GateOptions, Ledger, LogHealth, OpenRequest, Refusal, Usage, Verdict,
};
use creto_kernel::id::{AdmissionId, HoldId, MessageId, RequestId};
use creto_kernel::time::ManualClock;
use creto_kernel::{Clock, Digest, Micros, NhiId, NhiKind, TenantId, Timestamp};
use creto_messaging::model::ids::DeviceId;
use creto_messaging::store::mailbox::MessageName;
use creto_messaging::{Bundle, Cadence, Messaging, MessagingError, Mode};
use creto_nhi::{Authority, VerifiedChain};
use futures::future::BoxFuture;

use crate::common::{MemoryAgent, Stream, agent, authorization, code, now};

const SETS: &[MigrationSet] =
    &[creto_nhi::MIGRATIONS, creto_authz::MIGRATIONS, creto_enablement_common::gate::MIGRATIONS, creto_messaging::MIGRATIONS];

/// Nothing costs anything.
#[derive(Debug)]
struct FreeOfCharge;

impl Ledger for FreeOfCharge {
    fn hold<'a>(&'a self, _: HoldId, _: &'a VerifiedChain, _: Micros, _: Timestamp) -> BoxFuture<'a, Result<Vec<Box<dyn Step>>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn settle<'a>(
        &'a self,
        _: Funding,
        _: &'a VerifiedChain,
        _: AdmissionId,
        _: &'a [Usage],
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Posting, Refusal>> {
        Box::pin(async { Ok(Posting { steps: Vec::new(), cost: Bill::default() }) })
    }

    fn void(&self, _: &TenantId, _: HoldId, _: Timestamp) -> Vec<Box<dyn Step>> {
        Vec::new()
    }

    fn available<'a>(&'a self, _: &'a VerifiedChain) -> BoxFuture<'a, Result<Option<Micros>, Refusal>> {
        Box::pin(async { Ok(None) })
    }

    fn price<'a>(&'a self, _: &'a TenantId, _: &'a [Usage]) -> BoxFuture<'a, Result<Micros, Refusal>> {
        Box::pin(async { Ok(Micros::ZERO) })
    }
}

/// No human is there to ask.
#[derive(Debug)]
struct NobodyHome;

impl Approvals for NobodyHome {
    fn find<'a>(&'a self, _: &'a TenantId, _: Digest, _: Timestamp) -> BoxFuture<'a, Result<Option<Found>, Refusal>> {
        Box::pin(async { Ok(None) })
    }
    fn open<'a>(&'a self, _: &'a OpenRequest) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
    fn opened(&self) {}
    fn wait<'a>(&'a self, _: &'a TenantId, _: RequestId) -> BoxFuture<'a, Result<Verdict, Refusal>> {
        Box::pin(async { Ok(Verdict::TimedOut) })
    }
    fn consume<'a>(&'a self, _: &'a TenantId, _: RequestId, _: Digest, _: AdmissionId) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
    fn consume_done<'a>(&'a self, _: &'a TenantId, _: RequestId, _: Digest, _: AdmissionId) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
    fn withdraw<'a>(&'a self, _: &'a TenantId, _: RequestId, _: &'a str) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
    fn conclude<'a>(&'a self, _: &'a TenantId, _: RequestId, _: AdmissionId, _: Option<bool>) -> BoxFuture<'a, Result<Change, Refusal>> {
        Box::pin(async { Ok(Change::default()) })
    }
}

#[derive(Debug)]
struct UpToDate;

impl LogHealth for UpToDate {
    fn lag(&self) -> u64 {
        0
    }
}

struct World {
    db: Db,
    clock: Arc<ManualClock>,
    authority: Authority,
    authorizer: Arc<Authorizer>,
    service: Messaging,
    _keys: tempfile::TempDir,
}

struct Member {
    chain: VerifiedChain,
    agent: MemoryAgent,
}

impl Member {
    fn nhi(&self) -> &NhiId {
        self.chain.leaf()
    }
}

impl World {
    async fn new(db: Db) -> Self {
        let clock = Arc::new(ManualClock::at(now()));
        let keys = tempfile::tempdir().unwrap();
        let master = MasterKey::load_or_create(&keys.path().join("master.key")).unwrap();
        let ring = Arc::new(KeyRing::open(&keys.path().join("ring"), master, AlgorithmPolicy::default(), &*clock).unwrap());
        let authority = Authority::new(db.clone(), ring, clock.clone(), "creto.local").await.unwrap();
        let epochs = authority.clone();
        let authorizer = Arc::new(Authorizer::start(db.clone(), Arc::new(move || epochs.revocation_epoch()), clock.clone()).await.unwrap());
        let gate = Arc::new(Gate::new(GateOptions {
            authority: authority.clone(),
            authz: authorizer.clone(),
            extensions: Vec::new(),
            ledger: Arc::new(FreeOfCharge),
            approvals: Arc::new(NobodyHome),
            log: Arc::new(UpToDate),
            db: db.clone(),
            clock: clock.clone() as Arc<dyn Clock>,
        }));
        let service = Messaging::new(db.clone(), gate, clock.clone());
        Self { db, clock, authority, authorizer, service, _keys: keys }
    }

    async fn member(&self, tenant: &str, name: &str) -> Member {
        let tenant: TenantId = tenant.parse().unwrap();
        let founder = NhiId::new("creto.local", &tenant, NhiKind::Service, "founder").unwrap();
        let identity = self.authority.create_identity(&founder, &tenant, NhiKind::Human, name).await.unwrap();
        let chain = self.authority.direct(&identity.id).unwrap();
        let agent = agent(Default::default(), Cadence::CLASSIC);
        agent.enrol(&identity.id, DeviceId::from_bytes([1; 16]), &mut Stream::new(40)).unwrap();
        Member { chain, agent }
    }

    async fn publish(&self, member: &Member, one_time: usize) {
        let publication = member.agent.publication(one_time, &mut Stream::new(41)).unwrap();
        self.service.publish_prekeys(&member.chain, &publication.to_bytes()).await.unwrap();
    }

    async fn introduce(&self, from: &Member, to: &Member) {
        let fetched = self.service.fetch_bundle(&from.chain, to.nhi()).await.unwrap();
        let entropy = &mut Stream::new(42);
        from.agent.open_session(to.nhi(), &fetched.bundle, None, Mode::Accountable, authorization(), entropy).unwrap();
    }

    fn seal(&self, from: &Member, to: &Member, text: &[u8]) -> (MessageId, Vec<u8>) {
        let sealed = from.agent.send(to.nhi(), MessageId::generate(), text, &authorization(), &mut creto_messaging::SystemEntropy).unwrap();
        (sealed.message, sealed.envelope.to_vec())
    }

    async fn deliver(&self, from: &Member, envelope: Vec<u8>) -> Result<creto_messaging::service::Delivered, MessagingError> {
        self.service.deliver(&from.chain, envelope, Duration::ZERO).await
    }

    async fn leaves(&self) -> Vec<String> {
        let rows = self.db.query("SELECT body FROM audit_leaf ORDER BY sequence", params![]).await.unwrap();
        rows.iter().map(|row| String::from_utf8(row.blob(0).unwrap().to_vec()).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_exchange_messages_the_server_cannot_read() {
    testkit::each_engine(SETS, async |db| {
        let world = World::new(db).await;
        let (alice, bob) = (world.member("default", "alice").await, world.member("default", "bob").await);
        world.publish(&bob, 2).await;
        world.introduce(&alice, &bob).await;
        let (message, envelope) = world.seal(&alice, &bob, b"the secret report");
        let delivered = world.deliver(&alice, envelope.clone()).await.unwrap();
        assert!(delivered.settled.is_some());
        assert!(world.deliver(&alice, envelope.clone()).await.unwrap().settled.is_none(), "a repeated delivery changes nothing");

        let waiting = world.service.fetch(&bob.chain, 10).await.unwrap();
        assert_eq!(waiting.iter().map(|w| (&w.sender, w.message, &w.envelope)).collect::<Vec<_>>(), [(alice.nhi(), message, &envelope)]);
        assert!(world.service.fetch(&alice.chain, 10).await.unwrap().is_empty(), "a mailbox is its owner's");
        assert_eq!(bob.agent.receive(&waiting[0].envelope).unwrap().text.as_bytes(), b"the secret report");

        let names = [MessageName { sender: alice.nhi().clone(), message }];
        assert_eq!(world.service.acknowledge(&alice.chain, &names).await.unwrap(), 0, "only the recipient acknowledges");
        assert_eq!(world.service.acknowledge(&bob.chain, &names).await.unwrap(), 1);
        assert_eq!(world.service.acknowledge(&bob.chain, &names).await.unwrap(), 0);
        assert!(world.service.fetch(&bob.chain, 10).await.unwrap().is_empty());
        assert!(world.deliver(&alice, envelope).await.unwrap().settled.is_none(), "recognised even after it was acknowledged");

        let everything = world.leaves().await.join("\n");
        for action in ["messaging.publish_prekeys", "messaging.fetch_prekeys", "messaging.deliver", "messaging.acknowledge"] {
            assert!(everything.contains(action), "no leaf for {action}");
        }
        assert!(!everything.contains("secret report"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_one_time_key_is_handed_out_once_and_then_the_last_resort_serves() {
    testkit::each_engine(SETS, async |db| {
        let world = Arc::new(World::new(db).await);
        let bob = world.member("default", "bob").await;
        world.publish(&bob, 4).await;
        let mut tasks = Vec::new();
        for name in ["carol", "dave", "erin", "frank", "grace"] {
            let requester = world.member("default", name).await;
            let (world, target) = (world.clone(), bob.nhi().clone());
            tasks.push(tokio::spawn(async move { world.service.fetch_bundle(&requester.chain, &target).await.unwrap() }));
        }
        let (mut agreements, mut encapsulations, mut last_resorts) = (BTreeSet::new(), BTreeSet::new(), 0);
        for task in tasks {
            let fetched = task.await.unwrap();
            let bundle = Bundle::from_bytes(&fetched.bundle).unwrap();
            assert_eq!(fetched.last_resort, bundle.kem_once.is_none());
            match (bundle.agreement_once, bundle.kem_once) {
                (Some(agreement), Some(kem)) => assert!(agreements.insert(agreement.id) && encapsulations.insert(kem.id)),
                (None, None) => last_resorts += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((agreements.len(), encapsulations.len(), last_resorts), (4, 4, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_requester_cannot_use_up_anothers_keys() {
    testkit::each_engine(SETS, async |db| {
        let world = World::new(db).await;
        let (mallory, bob) = (world.member("default", "mallory").await, world.member("default", "bob").await);
        world.publish(&bob, 20).await;
        for _ in 0..6 {
            world.service.fetch_bundle(&mallory.chain, bob.nhi()).await.unwrap();
        }
        let refused = world.service.fetch_bundle(&mallory.chain, bob.nhi()).await.unwrap_err();
        let MessagingError::RateLimited { retry_secs, .. } = refused else { panic!("{refused}") };
        world.clock.advance(Duration::from_secs(retry_secs));
        world.service.fetch_bundle(&mallory.chain, bob.nhi()).await.unwrap();
        assert_eq!(code(world.service.fetch_bundle(&mallory.chain, bob.nhi()).await), "messaging.rate_limited");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_callers_own_is_refused() {
    testkit::each_engine(SETS, async |db| {
        let world = World::new(db).await;
        let (alice, bob) = (world.member("default", "alice").await, world.member("default", "bob").await);
        let (mallory, outsider) = (world.member("default", "mallory").await, world.member("other", "bob").await);
        world.publish(&bob, 2).await;
        world.publish(&outsider, 2).await;
        let foreign = bob.agent.publication(0, &mut Stream::new(50)).unwrap().to_bytes();
        assert_eq!(code(world.service.publish_prekeys(&mallory.chain, &foreign).await), "messaging.wrong_identity");
        assert_eq!(code(world.service.fetch_bundle(&alice.chain, outsider.nhi()).await), "messaging.no_prekeys");
        assert_eq!(code(world.service.fetch_bundle(&alice.chain, alice.nhi()).await), "messaging.no_prekeys");
        world.introduce(&alice, &bob).await;
        let (_, envelope) = world.seal(&alice, &bob, b"mine");
        assert_eq!(code(world.deliver(&mallory, envelope.clone()).await), "messaging.not_yours");
        assert_eq!(code(world.deliver(&alice, envelope[..100].to_vec()).await), "messaging.malformed");
        assert!(world.service.fetch(&outsider.chain, 10).await.unwrap().is_empty());
        // The same id for another message.
        world.deliver(&alice, envelope.clone()).await.unwrap();
        let mut changed = envelope;
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(code(world.deliver(&alice, changed).await), "messaging.message_conflict");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_stops_where_policy_forbids_it() {
    testkit::each_engine(SETS, async |db| {
        let world = World::new(db).await;
        let (alice, bob) = (world.member("default", "alice").await, world.member("default", "bob").await);
        world.publish(&bob, 1).await;
        world.introduce(&alice, &bob).await;
        let (_, envelope) = world.seal(&alice, &bob, b"no");
        let policy = format!(
            "{}\n@id(\"quiet\") forbid (principal, action == Action::\"messaging.deliver\", resource);",
            creto_authz::DEFAULT_POLICY
        );
        world.authorizer.publish(bob.nhi(), &policy, None).await.unwrap();
        let refused = world.deliver(&alice, envelope).await.unwrap_err();
        assert!(matches!(refused, MessagingError::Refused(Refusal::Denied { .. })), "{refused:?}");
        assert!(world.service.fetch(&bob.chain, 10).await.unwrap().is_empty());
        assert!(world.leaves().await.last().unwrap().contains("\"deny\""), "the refusal is on record");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_messages_leave_and_make_room() {
    testkit::each_engine(SETS, async |db| {
        let world = World::new(db).await;
        let (alice, bob) = (world.member("default", "alice").await, world.member("default", "bob").await);
        world.publish(&bob, 1).await;
        world.introduce(&alice, &bob).await;
        let (_, envelope) = world.seal(&alice, &bob, b"soon gone");
        world.deliver(&alice, envelope.clone()).await.unwrap();
        world.clock.set(authorization().expires);
        assert!(world.service.fetch(&bob.chain, 10).await.unwrap().is_empty());
        assert_eq!(code(world.deliver(&alice, envelope).await), "messaging.expired");
        let row = world.db.query_optional("SELECT messages, bytes FROM messaging_mailbox", params![]).await.unwrap().unwrap();
        assert_eq!((row.int(0).unwrap(), row.int(1).unwrap()), (0, 0));
        assert!(world.leaves().await.iter().any(|leaf| leaf.contains("messaging.expire") && leaf.contains("\"unread\":\"1\"")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_refuses_and_keeps_what_it_has() {
    testkit::each_engine(SETS, async |db| {
        let world = World::new(db).await;
        let (alice, bob) = (world.member("default", "alice").await, world.member("default", "bob").await);
        world.publish(&bob, 1).await;
        world.introduce(&alice, &bob).await;
        let (_, first) = world.seal(&alice, &bob, b"first");
        world.deliver(&alice, first).await.unwrap();
        world.db.upkeep("UPDATE messaging_mailbox SET messages = $1", params![999_i64]).await.unwrap();
        let (_, last) = world.seal(&alice, &bob, b"last that fits");
        world.deliver(&alice, last).await.unwrap();
        let (_, beyond) = world.seal(&alice, &bob, b"one too many");
        assert_eq!(code(world.deliver(&alice, beyond).await), "messaging.mailbox_full");
        assert_eq!(world.service.fetch(&bob.chain, 10).await.unwrap().len(), 2);
    })
    .await;
}
