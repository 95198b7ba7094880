//! Loss of power, torn writes, duplicates, reordering, clock steps and 64 writers, by seed, through the production code of ingest, hold and
//! posting on SQLite; only its disk and its threads are simulated.
//!
//! A seed is some lives of one database. In each life 64 clients act at once, in an order of the seed's; the power goes somewhere on the
//! way, also while the database is opened or closed. After each life the books are compared with what the clients were told
//! ([`inspect`]). `CRETO_SIM_SEEDS=1000` runs a thousand seeds, `CRETO_SIM_SEED=n` the one that failed. Identifiers and keys are drawn
//! afresh, so that a replay repeats who does what, in which order, and the commit that is cut, but not the bytes of every page.

#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/inspect.rs"]
mod inspect;
#[path = "simulation/stage.rs"]
mod stage;

use std::collections::BTreeMap;

use creto_db::testkit::{Random, Synchronous, drive, seeds};

use clients::{Clients, Witness};
use stage::{Life, Stage, Template};

/// Seeds of an ordinary run: they fit into a minute of a loaded machine.
const SEEDS: u64 = 12;
const LIVES: u64 = 3;
/// Commits of a life, about, and changes of the disk in one: the power goes anywhere in them, or after.
const COMMITS: u64 = 16;
const CHANGES: u64 = 160;

/// What a seed went through.
type Seen = BTreeMap<&'static str, u64>;

/// One seed. `Err` says what was wrong.
async fn run(template: &Template, seed: u64, synchronous: Synchronous) -> Result<Seen, String> {
    let mut random = Random::of(seed);
    let mut stage = Stage::of(template, synchronous);
    let mut clients = Clients::default();
    for life in 0..LIVES {
        let last = life + 1 == LIVES;
        let mut alive = stage.open(template, &mut random.fork()).await?;
        inspect::books(&alive, clients.witness.get_mut()).await?;
        let (commits, changes) = (random.below(COMMITS), random.below(CHANGES));
        if !last {
            stage.disk.cut_in(commits, changes);
        }
        for _ in 0..2 {
            let Life { scene, steps } = &mut alive;
            clients.plan(scene, &mut random);
            drive(clients.act(scene, &stage.disk), steps, &stage.disk, &mut random.fork()).await;
            clients.settle();
            scene.step_clock(&mut random);
            // The log grows meanwhile, and may be ahead of what survives in the database in no case.
            let mut chance = random.fork();
            let sealed = if random.one_in(4) { stage.seal(&mut alive, &mut chance).await.map(|_| ()) } else { Ok(()) };
            if stage.disk.is_off() {
                break;
            }
            sealed?;
        }
        if last {
            inspect::end(&mut alive, &stage, &mut clients, &mut random.fork()).await?;
        } else if !stage.disk.is_off() && random.one_in(2) {
            // While it closes, and moves what is in the write-ahead log to its place.
            stage.disk.cut_after(random.below(40));
        }
        stage.clock = alive.scene.now();
        drop(alive);
        stage.disk.restart(&mut random.fork());
    }
    Ok(counted(&stage, clients.witness.get_mut()))
}

fn counted(stage: &Stage, witness: &Witness) -> Seen {
    let counts = stage.disk.counts();
    let mut seen = witness.seen.clone();
    seen.extend([("cuts", stage.cuts()), ("sectors lost", counts.lost), ("sectors torn", counts.torn), ("syncs", counts.syncs)]);
    seen.insert("events", witness.told.len() as u64);
    seen
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn whatever_fails_replay_is_the_aggregates_debits_are_credits_and_nothing_told_is_lost() {
    runtime().block_on(async {
        let template = Template::make().await;
        let mut all = Seen::new();
        for seed in seeds(SEEDS) {
            let seen = run(&template, seed, Synchronous::Full).await.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
            for (what, times) in seen {
                *all.entry(what).or_default() += times;
            }
        }
        println!("{:?}: {all:?}", seeds(SEEDS));
        // A simulation in which nothing happens proves nothing.
        let rare = [
            "cuts",
            "sectors lost",
            "sectors torn",
            "events",
            "duplicates",
            "conflicts",
            "refused",
            "held",
            "posted",
            "cancelled",
            "unanswered",
        ];
        if seeds(SEEDS).count() >= 12 {
            assert!(rare.iter().all(|what| all.get(what).copied().unwrap_or(0) > 0), "{all:?}");
        }
    });
}

#[test]
fn with_synchronous_off_the_simulation_finds_lost_acknowledgements() {
    runtime().block_on(async {
        let template = Template::make().await;
        let mut found = Vec::new();
        for seed in 0..24 {
            if let Err(wrong) = run(&template, seed, Synchronous::Off).await {
                found.push(wrong);
            }
            if found.iter().any(|wrong| wrong.contains(inspect::LOST)) {
                return;
            }
        }
        panic!("nothing acknowledged was lost without a sync: {found:?}");
    });
}
