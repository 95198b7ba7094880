//! Loss of power, by a disk in memory that keeps, drops or tears what was not synced.

use std::collections::BTreeSet;

use creto_db::testkit::{Disk, Random, Synchronous, drive, seeds};
use futures::FutureExt as _;

use crate::support::{SETS, sealed};

/// Numbers written in each life of a database.
const NUMBERS: i64 = 24;
const LIVES: i64 = 4;

/// Numbers acknowledged and lost, over some lives of one disk. Anything else that is wrong is said.
async fn lost(seed: u64, synchronous: Synchronous) -> Result<BTreeSet<i64>, String> {
    let mut random = Random::of(seed);
    let disk = Disk::new();
    let (mut acknowledged, mut lost) = (BTreeSet::new(), BTreeSet::new());
    for life in 0..LIVES {
        let opened = disk.open_stepped(synchronous, SETS);
        let (db, mut steps) = opened.map_err(|e| format!("seed {seed}, life {life}: {e}"))?;
        let rows = db.query("SELECT number FROM item", vec![]).await.map_err(|e| format!("seed {seed}, life {life}: {e}"))?;
        // A torn page may read as rows that were never written.
        let found = rows.iter().map(|row| row.int(0)).collect::<Result<BTreeSet<i64>, _>>();
        let found = found.map_err(|e| format!("seed {seed}, life {life}: {e}"))?;
        lost.extend(acknowledged.difference(&found).copied());
        let check = db.query("PRAGMA integrity_check", vec![]).await.map_err(|e| format!("seed {seed}, life {life}: {e}"))?;
        if check[0].text(0).unwrap() != "ok" {
            return Err(format!("seed {seed}, life {life}: {:?}", check[0].text(0).unwrap()));
        }
        disk.cut_in(random.below(6), random.below(16));
        let numbers: Vec<i64> = (life * NUMBERS..(life + 1) * NUMBERS).collect();
        let callers = numbers.iter().map(|number| db.commit(sealed(*number)).boxed_local()).collect();
        let answers = drive(callers, &mut steps, &disk, &mut random.fork()).await;
        acknowledged.extend(numbers.iter().zip(answers).filter(|(_, answer)| matches!(answer, Some(Ok(_)))).map(|(number, _)| *number));
        drop((db, steps));
        disk.restart(&mut random.fork());
    }
    Ok(lost)
}

#[tokio::test]
async fn what_was_committed_survives_every_loss_of_power() {
    for seed in seeds(60) {
        assert_eq!(lost(seed, Synchronous::Full).await, Ok(BTreeSet::new()), "seed {seed}");
    }
}

/// A simulation that cannot see a missing sync proves nothing.
#[tokio::test]
async fn a_missing_sync_is_seen() {
    for synchronous in [Synchronous::Normal, Synchronous::Off] {
        let mut seen = 0;
        for seed in 0..40 {
            seen += u32::from(lost(seed, synchronous).await != Ok(BTreeSet::new()));
        }
        assert!(seen > 8, "{synchronous:?}: only {seen} of 40 seeds lost something");
    }
}

#[tokio::test]
async fn the_same_seed_cuts_and_tears_the_same() {
    for seed in [3, 5] {
        let once = lost(seed, Synchronous::Normal).await;
        assert_eq!(once, lost(seed, Synchronous::Normal).await, "seed {seed}");
    }
}

#[test]
fn sectors_that_were_not_synced_are_kept_lost_and_torn() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut seen = creto_db::testkit::Counts::default();
    for seed in 0..30 {
        let disk = Disk::new();
        let mut random = Random::of(seed);
        let (db, mut steps) = disk.open_stepped(Synchronous::Full, SETS).unwrap();
        disk.cut_after(2);
        runtime.block_on(drive(vec![db.commit(sealed(1)).boxed_local()], &mut steps, &disk, &mut random));
        assert!(disk.is_off());
        drop((db, steps));
        disk.restart(&mut random);
        let counts = disk.counts();
        (seen.lost, seen.torn) = (seen.lost + counts.lost, seen.torn + counts.torn);
    }
    assert!(seen.lost > 0 && seen.torn > 0, "{seen:?}");
}
