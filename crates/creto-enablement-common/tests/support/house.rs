//! A Gate with its real ports on a given database: policy, chains, money and humans are what the server runs with. Metering's and
//! oversight's own tests use it too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use creto_authz::Authorizer;
use creto_db::{Db, MigrationSet};
use creto_enablement_common::gate::{ActionFilter, ActionRow};
use creto_enablement_common::{AdmitRequest, Extension, Gate, GateOptions, LogHealth};
use creto_kernel::{Clock as _, Leaf, Micros, NhiId, NhiKind};
use creto_metering::Accounts;
use creto_nhi::testkit::{TRUST_DOMAIN, World};
use creto_nhi::{Principal, Role, Roles, VerifiedChain};
use creto_oversight::Desk;
use creto_oversight::model::request::{Request, State};

pub(crate) const SETS: &[MigrationSet] = &[
    creto_nhi::MIGRATIONS,
    creto_authz::MIGRATIONS,
    creto_enablement_common::gate::MIGRATIONS,
    creto_metering::MIGRATIONS,
    creto_metering::CATALOG_MIGRATIONS,
    creto_metering::EVENTS_MIGRATIONS,
    creto_metering::DAILY_MIGRATIONS,
    creto_metering::QUARANTINE_MIGRATIONS,
    creto_metering::WALLET_MIGRATIONS,
    creto_metering::BILLING_MIGRATIONS,
    creto_metering::PAYMENT_MIGRATIONS,
    creto_metering::QUOTA_MIGRATIONS,
    creto_metering::ALERT_MIGRATIONS,
    creto_metering::ENTITLEMENT_MIGRATIONS,
    creto_metering::RERATE_MIGRATIONS,
    creto_oversight::MIGRATIONS,
    creto_oversight::humanlayer::MIGRATIONS,
    creto_oversight::MODE_MIGRATIONS,
];

/// A log that lags as much as the test says.
#[derive(Debug, Default)]
pub(crate) struct Lag(pub(crate) AtomicU64);

impl LogHealth for Lag {
    fn lag(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) struct House {
    pub(crate) db: Db,
    pub(crate) world: World,
    pub(crate) authz: Arc<Authorizer>,
    pub(crate) accounts: Accounts,
    pub(crate) desk: Desk,
    pub(crate) lag: Arc<Lag>,
    pub(crate) gate: Arc<Gate>,
}

impl House {
    pub(crate) async fn open(db: Db, extensions: Vec<Arc<dyn Extension>>) -> Self {
        Self::of(World::open(db).await, extensions).await
    }

    /// A house over a world that was made elsewhere.
    pub(crate) async fn of(world: World, extensions: Vec<Arc<dyn Extension>>) -> Self {
        let db = world.db.clone();
        let authority = world.authority.clone();
        let authz = Authorizer::start(db.clone(), Arc::new(move || authority.revocation_epoch()), world.clock.clone()).await.unwrap();
        let authz = Arc::new(authz);
        let accounts = Accounts::new(db.clone());
        let desk = Desk::new(db.clone(), world.clock.clone(), server("default"));
        let lag = Arc::new(Lag::default());
        let gate = Arc::new(Gate::new(GateOptions {
            authority: world.authority.clone(),
            authz: Arc::clone(&authz),
            extensions,
            ledger: Arc::new(accounts.clone()),
            approvals: Arc::new(desk.clone()),
            log: lag.clone(),
            db: db.clone(),
            clock: world.clock.clone(),
        }));
        Self { db, world, authz, accounts, desk, lag, gate }
    }

    /// A fresh chain from alice through `agents`.
    pub(crate) async fn chain(&self, tenant: &str, budget: Option<i64>, agents: &[&str]) -> VerifiedChain {
        let chain = self.world.chain(tenant, budget.map(Micros::new), agents).await;
        self.world.authority.verify(&chain, self.world.clock.now()).unwrap()
    }

    /// Everything a tenant did, oldest first.
    pub(crate) async fn record(&self, chain: &VerifiedChain) -> Vec<ActionRow> {
        let mut rows = self.gate.actions(chain.tenant(), &ActionFilter::default()).await.unwrap();
        rows.reverse();
        rows
    }

    /// Every leaf of a tenant, in commit order; the ones about identities and policies are not the tests' matter.
    pub(crate) async fn leaves(&self, chain: &VerifiedChain) -> Vec<Leaf> {
        let rows = self.db.query("SELECT body FROM audit_leaf ORDER BY sequence", vec![]).await.unwrap();
        let leaves = rows.iter().map(|row| serde_json::from_slice::<Leaf>(row.blob(0).unwrap()).unwrap());
        let others = ["identity.", "policy.", "nhi.", "delegation."];
        leaves.filter(|leaf| leaf.tenant == *chain.tenant() && !others.iter().any(|o| leaf.action.as_str().starts_with(o))).collect()
    }

    /// What is held over all accounts of the database.
    pub(crate) async fn held(&self) -> i64 {
        let row = self.db.query_optional("SELECT CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM meter_account", vec![]).await.unwrap();
        row.unwrap().int(0).unwrap()
    }
}

pub(crate) fn server(tenant: &str) -> NhiId {
    NhiId::new(TRUST_DOMAIN, &tenant.parse().unwrap(), NhiKind::Service, "creto").unwrap()
}

pub(crate) fn human(tenant: &str, name: &str, roles: Roles) -> Principal {
    Principal::local(NhiId::new(TRUST_DOMAIN, &tenant.parse().unwrap(), NhiKind::Human, name).unwrap(), roles).unwrap()
}

pub(crate) fn approver(tenant: &str) -> Principal {
    human(tenant, "bob", Roles::only(Role::Approver))
}

/// Longer than any test should take; a test that gets here has hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// The request that waits, once there is one.
pub(crate) async fn pending(house: &House, chain: &VerifiedChain) -> Request {
    let mut changes = house.desk.changes();
    loop {
        changes.mark_unchanged();
        if let Some(request) = house.desk.list(chain.tenant(), Some(State::Pending)).await.unwrap().pop() {
            return request;
        }
        tokio::time::timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    }
}

pub(crate) async fn approve(house: &House, open: &Request) {
    house.desk.decide(&approver("default"), open.id.parse().unwrap(), Some(open.digest), None).await.unwrap();
}

pub(crate) fn request<'a>(chain: &'a VerifiedChain, action: &str, resource: &str) -> AdmitRequest<'a> {
    AdmitRequest::new(chain, action.parse().unwrap(), resource.parse().unwrap())
}
