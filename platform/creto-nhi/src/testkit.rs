//! An authority with fresh keys, for tests: a trust domain, a clock that stands still, a human and what they delegate.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a test kit speaks by panicking")]

use std::sync::Arc;
use std::time::Duration;

use creto_crypto::{AlgorithmPolicy, KeyRing, MasterKey};
use creto_db::Db;
use creto_kernel::time::ManualClock;
use creto_kernel::{Clock as _, Digest, Micros, NhiId, NhiKind, TenantId, Timestamp};

use crate::model::chain::Proven;
use crate::{Authority, Credentials, DelegationChain, Grant, Hop, Pattern, VerifiedChain};

/// The trust domain of every identity here.
pub const TRUST_DOMAIN: &str = "creto.test";

/// An authority on a given database, with a key ring in a directory of its own.
#[derive(Debug)]
pub struct World {
    /// The authority.
    pub authority: Authority,
    /// Its credentials.
    pub credentials: Credentials,
    /// Its clock, standing at 2026-11-22T00:00:00Z until moved.
    pub clock: Arc<ManualClock>,
    /// Its key ring.
    pub keys: Arc<KeyRing>,
    /// Its database.
    pub db: Db,
    directory: Arc<tempfile::TempDir>,
}

impl World {
    /// Opens one. The database has [`crate::MIGRATIONS`].
    pub async fn open(db: Db) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_795_305_600).expect("a moment")));
        let master = MasterKey::from_hex(&"5a".repeat(32)).expect("a master key");
        let keys = KeyRing::open(directory.path(), master, AlgorithmPolicy::default(), &*clock).expect("a key ring");
        let keys = Arc::new(keys);
        let authority = Authority::new(db.clone(), Arc::clone(&keys), clock.clone(), TRUST_DOMAIN).await.expect("an authority");
        Self { credentials: Credentials::new(authority.clone()), authority, clock, keys, db, directory }
    }

    /// The same database and keys under a new authority: a restart.
    pub async fn restarted(&self) -> Authority {
        Authority::new(self.db.clone(), Arc::clone(&self.keys), self.clock.clone(), TRUST_DOMAIN).await.expect("an authority")
    }

    /// The same keys over a copy of the database, with a clock of its own that shows the same time.
    pub async fn again(&self, db: Db) -> Self {
        let clock = Arc::new(ManualClock::at(self.clock.now()));
        let authority = Authority::new(db.clone(), Arc::clone(&self.keys), clock.clone(), TRUST_DOMAIN).await.expect("an authority");
        let (keys, directory) = (Arc::clone(&self.keys), Arc::clone(&self.directory));
        Self { credentials: Credentials::new(authority.clone()), authority, clock, keys, db, directory }
    }

    /// Makes an identity of `tenant`, on behalf of the tenant's own service.
    pub async fn identity(&self, tenant: &str, kind: NhiKind, name: &str) -> NhiId {
        let tenant: TenantId = tenant.parse().expect("a tenant");
        let server = NhiId::new(TRUST_DOMAIN, &tenant, NhiKind::Service, "creto").expect("an identity");
        self.authority.create_identity(&server, &tenant, kind, name).await.expect("a new identity").id.clone()
    }

    /// A grant of everything for an hour, with this ceiling and depth.
    #[must_use]
    pub fn grant(&self, budget: Option<Micros>, depth: u8) -> Grant {
        let not_after = self.clock.now().saturating_add(Duration::from_secs(3_600));
        Grant { actions: vec![Pattern::any()], resources: vec![Pattern::any()], budget, not_after, depth }
    }

    /// A human `alice` of `tenant` and a chain from her through `agents`, each made if new, each link one level shallower.
    pub async fn chain(&self, tenant: &str, budget: Option<Micros>, agents: &[&str]) -> DelegationChain {
        let root = self.known_or_new(tenant, NhiKind::Human, "alice").await;
        let mut chain: Option<DelegationChain> = None;
        for (below, name) in (0..u8::try_from(agents.len()).expect("a chain has few links")).rev().zip(agents) {
            let to = self.known_or_new(tenant, NhiKind::Agent, name).await;
            let grant = self.grant(budget, below);
            chain = Some(match &chain {
                None => self.authority.delegate(&root, &to, grant).await.expect("a first link"),
                Some(parent) => self.authority.delegate(parent, &to, grant).await.expect("a further link"),
            });
        }
        chain.expect("at least one agent")
    }

    async fn known_or_new(&self, tenant: &str, kind: NhiKind, name: &str) -> NhiId {
        let id = NhiId::new(TRUST_DOMAIN, &tenant.parse().expect("a tenant"), kind, name).expect("an identity");
        match self.authority.identity(&id) {
            Ok(known) => known.id.clone(),
            Err(_) => self.identity(tenant, kind, name).await,
        }
    }
}

/// A chain of these identities as if it had been verified, for benches that need more chains than can be signed: nothing proves it.
#[must_use]
pub fn unproven(hops: &[NhiId], not_after: Timestamp) -> VerifiedChain {
    let names: Vec<&[u8]> = hops.iter().map(|hop| hop.as_str().as_bytes()).collect();
    let digest = Digest::of_parts(&names);
    let effective = Grant { actions: vec![Pattern::any()], resources: vec![Pattern::any()], budget: None, not_after, depth: 0 };
    let hops: Vec<Hop> = hops.iter().map(|hop| Hop { identity: hop.clone(), link: None, budget: None }).collect();
    VerifiedChain::new(digest, Proven { authority: digest, hops, effective, revocation_epoch: 0 })
}
