//! The house on a simulated disk: made once, copied for each seed, opened anew in each life.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creto_audit::Sequencer;
use creto_db::testkit::{Disk, Random, Steps, Synchronous, drive};
use creto_kernel::{Clock as _, NhiId, Timestamp};
use creto_metering::Meter;
use creto_metering::model::metric::{Aggregation, Metric};
use creto_nhi::testkit::World;
use creto_nhi::{DelegationChain, VerifiedChain};
use futures::FutureExt as _;

use crate::books::Books;
use crate::house::{House, SETS, server};

/// A subscription of the house, for metrics with a price of their own.
pub(crate) const HOUSE: &str = "reading";
/// A step of the clock is at most so far, either way.
const STEP: Duration = Duration::from_secs(300);
/// How long the sequencer may take to seal what it was given.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every seed begins with.
pub(crate) struct Template {
    disk: Disk,
    world: World,
    chains: Vec<DelegationChain>,
    start: Timestamp,
}

impl Template {
    pub(crate) async fn make() -> Self {
        let disk = Disk::new();
        let books = Books::open(disk.open(SETS).unwrap()).await;
        let Books { house, meter, start, .. } = books;
        let by = server("default");
        for (code, aggregation, field, price) in
            [("pages", Aggregation::Sum, "n", "0.0000007"), ("micros", Aggregation::Sum, "quantity", "0.000001")]
        {
            let metric = Metric { aggregation, field: field.to_owned(), unit_price: price.parse().unwrap() };
            meter.put_metric(&by, code, metric).await.unwrap();
        }
        meter.put_reporters(&by, HOUSE, vec!["*".to_owned()]).await.unwrap();
        let mut chains = Vec::new();
        for (budget, agents) in [
            (None, vec!["planner"]),
            (Some(3_000_000), vec!["planner", "researcher"]),
            (Some(400), vec!["planner", "researcher", "reader"]),
            (Some(20_000_000), vec!["writer", "reader"]),
        ] {
            chains.push(house.world.chain("default", budget.map(creto_kernel::Micros::new), &agents).await);
        }
        Self { disk, world: house.world, chains, start }
    }
}

/// A seed's own disk and log, over its lives.
pub(crate) struct Stage {
    pub(crate) disk: Disk,
    pub(crate) clock: Timestamp,
    synchronous: Synchronous,
    lives: u64,
    log: tempfile::TempDir,
}

/// What clients see of a life.
pub(crate) struct Scene {
    pub(crate) house: House,
    pub(crate) meter: Meter,
    pub(crate) chains: Vec<VerifiedChain>,
    pub(crate) by: NhiId,
    pub(crate) start: Timestamp,
}

/// A database from one start to the next.
pub(crate) struct Life {
    pub(crate) scene: Scene,
    pub(crate) steps: Steps,
}

impl Stage {
    pub(crate) fn of(template: &Template, synchronous: Synchronous) -> Self {
        let log = tempfile::tempdir().unwrap();
        Self { disk: template.disk.copied(), clock: template.world.clock.now(), synchronous, lives: 0, log }
    }

    /// How often the power went.
    pub(crate) const fn cuts(&self) -> u64 {
        self.lives.saturating_sub(1)
    }

    /// Opens the database, sometimes with a cut on the way.
    pub(crate) async fn open(&mut self, template: &Template, random: &mut Random) -> Result<Life, String> {
        loop {
            self.lives += 1;
            if random.one_in(3) {
                self.disk.cut_after(random.below(12));
            }
            let opened = self.disk.open_stepped(self.synchronous, SETS);
            if self.disk.is_off() {
                drop(opened);
                self.disk.restart(&mut random.fork());
                continue;
            }
            self.disk.cut_not();
            let (db, mut steps) = opened.map_err(|e| format!("the database does not open: {e}"))?;
            let settled = async {
                let world = template.world.again(db.clone()).await;
                world.clock.set(self.clock);
                House::of(world, Vec::new()).await
            };
            let house = drive(vec![settled.boxed_local()], &mut steps, &self.disk, random).await.pop().flatten().ok_or("the power went")?;
            let meter = Meter::new(db, Arc::clone(&house.gate), house.accounts.clone(), house.world.clock.clone());
            let verify = |chain: &DelegationChain| house.world.authority.verify(chain, template.world.clock.now());
            let chains = template.chains.iter().map(verify).collect::<Result<_, _>>().map_err(|e| format!("a chain is lost: {e}"))?;
            let scene = Scene { house, meter, chains, by: server("default"), start: template.start };
            return Ok(Life { scene, steps });
        }
    }

    /// Seals every leaf and verifies the log; answers how many entries it has.
    pub(crate) async fn seal(&self, life: &mut Life, random: &mut Random) -> Result<u64, String> {
        let Scene { house, .. } = &life.scene;
        let (db, clock) = (house.db.clone(), house.world.clock.clone());
        let sequencer = Sequencer::start(db, &house.world.keys, self.log.path(), clock).map_err(|e| e.to_string())?;
        let trusted = sequencer.trust().now();
        let stopping =
            async { tokio::time::timeout(PATIENCE, sequencer.stop()).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string()) };
        let stopped = drive(vec![stopping.boxed_local()], &mut life.steps, &self.disk, random).await.pop().flatten();
        stopped.ok_or("the power went")?.map_err(|e| format!("the log does not grow: {e}"))?;
        verified(self.log.path(), &trusted).await
    }
}

async fn verified(log: &Path, trusted: &creto_audit::TrustedKeys) -> Result<u64, String> {
    let report = creto_audit::verify_dir(log, trusted, None).await.map_err(|e| format!("the log does not verify: {e}"))?;
    Ok(report.logs.iter().map(|log| log.size).sum())
}

impl Scene {
    pub(crate) fn now(&self) -> Timestamp {
        self.house.world.clock.now()
    }

    /// One of the chains clients act under.
    pub(crate) fn chain(&self, number: usize) -> &VerifiedChain {
        self.chains.get(number).unwrap()
    }

    /// Time goes on, or back: a clock is set.
    pub(crate) fn step_clock(&self, random: &mut Random) {
        let by = Duration::from_secs(random.below(STEP.as_secs()));
        let now = self.now();
        let back = Timestamp::from_micros(now.as_micros() - i64::try_from(by.as_micros()).unwrap()).unwrap();
        self.house.world.clock.set(if random.one_in(3) { back } else { now.saturating_add(by) });
    }
}
