//! A disk in memory that loses power: what was not synced is lost, kept or torn, sector by sector, as a seed says.
//!
//! The model is the one SQLite states for itself: <https://www.sqlite.org/atomiccommit.html>, sections 2 and 9. A write that was not
//! synced may have reached the disk whole, in part, or not at all, in any order with others, and what of it is there may be noise. A sync
//! of a file makes all of it durable, and its name too. Bytes beside a write are never harmed (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::random::Random;
use super::vfs::{self, SharedMemory};
use crate::sqlite::{Settings, Steps};
use crate::{Db, DbError, MigrationSet};

/// What a disk writes at once: a write that was cut consists of these.
const SECTOR: usize = 512;

/// How a connection waits for the disk: `PRAGMA synchronous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// As the server runs: each COMMIT waits for the disk.
    Full,
    /// Only checkpoints wait.
    Normal,
    /// Nothing ever waits.
    Off,
}

impl Synchronous {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
            Self::Off => "off",
        }
    }
}

/// The operation cannot be done: the power is off, or the handle is of an earlier start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PowerIsOff;

/// A disk with one database. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    /// Which start this is: handles of an earlier one are dead.
    start: u64,
    /// Changes of the disk until the power goes; none where it stays.
    left: Option<u64>,
    /// The power goes in the commit after so many, after so many changes of it.
    cut_in: Option<(u64, u64)>,
    off: bool,
    counts: Counts,
}

/// What a disk was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Sectors of writes that a loss of power undid.
    pub lost: u64,
    /// Sectors of which a loss of power left a part, or noise.
    pub torn: u64,
}

/// A file: what is durable, what is seen, and what lies between.
#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    seen: Vec<u8>,
    pending: Vec<Change>,
    /// Whether its name is durable.
    named: bool,
    memory: Arc<SharedMemory>,
    /// The lock each handle holds.
    locks: BTreeMap<u64, i32>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(file, *at, bytes),
            Self::Truncate { length } => file.truncate(*length),
        }
    }
}

/// Bytes between the end and `at` are zero.
fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

/// Disks by name. One that nobody has any more is gone.
fn disks() -> MutexGuard<'static, BTreeMap<String, Weak<Inner>>> {
    static DISKS: OnceLock<Mutex<BTreeMap<String, Weak<Inner>>>> = OnceLock::new();
    DISKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk that a file is on, by the file's name.
pub(super) fn of_file(name: &str) -> Option<Disk> {
    let (disk, _) = name.split_once('.')?;
    disks().get(disk)?.upgrade().map(Disk)
}

impl Drop for Inner {
    fn drop(&mut self) {
        disks().remove(&self.name);
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// An empty disk, with power.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("disk-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let disk = Self(Arc::new(Inner { name: name.clone(), state: Mutex::new(State::default()) }));
        disks().insert(name, Arc::downgrade(&disk.0));
        disk
    }

    /// Another disk with what is durable on this one.
    #[must_use]
    pub fn copied(&self) -> Self {
        let copy = Self::new();
        let files =
            self.state().files.iter().filter(|(_, file)| file.named).map(|(name, file)| (copy.renamed(name), file.as_found())).collect();
        copy.state().files = files;
        copy
    }

    fn renamed(&self, name: &str) -> String {
        let rest = name.split_once('.').map_or("", |(_, rest)| rest);
        format!("{}.{rest}", self.name())
    }

    /// Its name: its files are called so, with an ending.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    fn path(&self) -> std::path::PathBuf {
        format!("{}.db", self.name()).into()
    }

    /// The database on it, as the server opens it.
    ///
    /// # Errors
    /// As [`Db::open_sqlite`].
    pub fn open(&self, sets: &[MigrationSet]) -> Result<Db, DbError> {
        Db::open_on(&self.path(), Settings { vfs: Some(vfs::name()?), ..Settings::default() }, sets)
    }

    /// The database on it without threads: reads are answered at once, and writes wait for [`Steps::step`].
    ///
    /// # Errors
    /// As [`Db::open_sqlite`].
    pub fn open_stepped(&self, synchronous: Synchronous, sets: &[MigrationSet]) -> Result<(Db, Steps), DbError> {
        let settings = Settings { vfs: Some(vfs::name()?), synchronous: synchronous.as_str() };
        Db::open_stepped(&self.path(), settings, sets)
    }

    /// The power goes in the middle of the `changes`th write, sync, truncation or deletion from now.
    pub fn cut_after(&self, changes: u64) {
        self.state().left = Some(changes);
    }

    /// The power goes in the commit after the next `commits`, in the middle of the change after `changes` of it, as [`super::drive`] counts
    /// them: how many pages a commit writes depends on bytes that no seed says.
    pub fn cut_in(&self, commits: u64, changes: u64) {
        self.state().cut_in = Some((commits, changes));
    }

    /// A commit begins.
    pub(super) fn commit_begins(&self) {
        let mut state = self.state();
        match state.cut_in {
            Some((0, changes)) => (state.cut_in, state.left) = (None, Some(changes)),
            Some((commits, changes)) => state.cut_in = Some((commits - 1, changes)),
            None => {}
        }
    }

    /// The power stays.
    pub fn cut_not(&self) {
        let mut state = self.state();
        (state.left, state.cut_in) = (None, None);
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// What it was asked to do since it was made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Loses power, if it has not yet, and starts again: what was synced is there, of the rest whatever `random` says. Handles from
    /// before are dead.
    pub fn restart(&self, random: &mut Random) {
        let mut state = self.state();
        // How much of what was not synced got through: mostly some of it, sometimes none or all.
        let kept_of_eight = {
            let some = random.below(9);
            random.pick(&[0, 8, some]).copied().unwrap_or_default()
        };
        let State { files, counts, .. } = &mut *state;
        files.retain(|_, file| {
            // A name that was not synced may be gone.
            if !file.named && random.below(8) >= kept_of_eight {
                return false;
            }
            file.lose_power(random, kept_of_eight, counts);
            true
        });
        state.start += 1;
        (state.left, state.cut_in, state.off) = (None, None, false);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    /// As it is found after a loss of power in which nothing that was not synced got through.
    fn as_found(&self) -> Self {
        Self { durable: self.durable.clone(), seen: self.durable.clone(), named: true, ..Self::default() }
    }

    fn lose_power(&mut self, random: &mut Random, kept_of_eight: u64, counts: &mut Counts) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { at, bytes } => {
                    let mut place = at;
                    for sector in bytes.chunks(SECTOR) {
                        let kept = random.below(8) < kept_of_eight;
                        if kept && random.one_in(8) {
                            put(&mut self.durable, place, &torn(sector, random));
                            counts.torn += 1;
                        } else if kept {
                            put(&mut self.durable, place, sector);
                        } else {
                            counts.lost += 1;
                        }
                        place += sector.len();
                    }
                }
                Change::Truncate { length } if random.below(8) < kept_of_eight => self.durable.truncate(length),
                Change::Truncate { .. } => {}
            }
        }
        *self = self.as_found();
    }
}

/// The first bytes of a sector; after them, noise.
fn torn(sector: &[u8], random: &mut Random) -> Vec<u8> {
    let whole = random.place(sector.len());
    let mut noise = random.clone();
    sector.iter().enumerate().map(|(at, byte)| if at < whole { *byte } else { noise.draw().to_le_bytes()[0] }).collect()
}

impl State {
    /// Counts one change of the disk. The one that the power goes in is begun, and whoever asked for it does not hear of it.
    fn change(&mut self) -> bool {
        match &mut self.left {
            Some(0) => self.off = true,
            Some(left) => *left -= 1,
            None => {}
        }
        !self.off
    }
}

/// An open file of a disk, of one start.
#[derive(Debug)]
pub(super) struct Handle {
    disk: Disk,
    name: String,
    start: u64,
    number: u64,
}

impl Disk {
    /// Opens a file, which is made if it is not there and `create` says so.
    pub(super) fn file(&self, name: &str, create: bool) -> Result<Option<Handle>, PowerIsOff> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut state = self.state();
        if state.off {
            return Err(PowerIsOff);
        }
        if !state.files.contains_key(name) {
            if !create {
                return Ok(None);
            }
            state.files.insert(name.to_owned(), File::default());
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Handle { disk: self.clone(), name: name.to_owned(), start: state.start, number }))
    }

    pub(super) fn has(&self, name: &str) -> Result<bool, PowerIsOff> {
        let state = self.state();
        if state.off { Err(PowerIsOff) } else { Ok(state.files.contains_key(name)) }
    }

    /// Deletes a file; answers whether it was there. The deletion is durable: SQLite syncs the directory where it depends on it.
    pub(super) fn delete(&self, name: &str) -> Result<bool, PowerIsOff> {
        let mut state = self.state();
        if state.off || !state.change() {
            return Err(PowerIsOff);
        }
        Ok(state.files.remove(name).is_some())
    }
}

impl Handle {
    fn with<T>(&self, work: impl FnOnce(&mut State, &str) -> Result<T, PowerIsOff>) -> Result<T, PowerIsOff> {
        let mut state = self.disk.state();
        if state.off || state.start != self.start || !state.files.contains_key(&self.name) {
            return Err(PowerIsOff);
        }
        work(&mut state, &self.name)
    }

    fn with_file<T>(&self, work: impl FnOnce(&mut File) -> T) -> Result<T, PowerIsOff> {
        self.with(|state, name| state.files.get_mut(name).map(work).ok_or(PowerIsOff))
    }

    /// Reads into `into`; answers how many bytes there were, the rest is zero.
    pub(super) fn read(&self, at: usize, into: &mut [u8]) -> Result<usize, PowerIsOff> {
        self.with_file(|file| {
            let there = file.seen.get(at..).unwrap_or_default();
            let found = there.len().min(into.len());
            for (to, from) in into.iter_mut().zip(there.iter().copied().chain(std::iter::repeat(0))) {
                *to = from;
            }
            found
        })
    }

    pub(super) fn write(&self, at: usize, bytes: &[u8]) -> Result<(), PowerIsOff> {
        self.changing(Change::Write { at, bytes: bytes.to_vec() })
    }

    pub(super) fn truncate(&self, length: usize) -> Result<(), PowerIsOff> {
        self.changing(Change::Truncate { length })
    }

    fn changing(&self, change: Change) -> Result<(), PowerIsOff> {
        self.with(|state, name| {
            let on = state.change();
            state.counts.writes += 1;
            let file = state.files.get_mut(name).ok_or(PowerIsOff)?;
            change.apply(&mut file.seen);
            file.pending.push(change);
            if on { Ok(()) } else { Err(PowerIsOff) }
        })
    }

    /// Makes everything durable that was written before.
    pub(super) fn sync(&self) -> Result<(), PowerIsOff> {
        self.with(|state, name| {
            if !state.change() {
                return Err(PowerIsOff);
            }
            state.counts.syncs += 1;
            let file = state.files.get_mut(name).ok_or(PowerIsOff)?;
            for change in std::mem::take(&mut file.pending) {
                change.apply(&mut file.durable);
            }
            file.named = true;
            Ok(())
        })
    }

    pub(super) fn length(&self) -> Result<usize, PowerIsOff> {
        self.with_file(|file| file.seen.len())
    }

    /// The shared memory of the file's connections, of this start.
    pub(super) fn memory(&self) -> Result<Arc<SharedMemory>, PowerIsOff> {
        self.with_file(|file| Arc::clone(&file.memory))
    }

    /// The next connection begins with empty shared memory.
    pub(super) fn forget_memory(&self) -> Result<(), PowerIsOff> {
        self.with_file(|file| file.memory = Arc::default())
    }

    /// Takes or lets go of a lock of the file: 1 shared, 2 reserved, 3 pending, 4 exclusive, as in
    /// <https://www.sqlite.org/lockingv3.html>. Answers whether it has it.
    pub(super) fn lock(&self, wanted: i32) -> Result<bool, PowerIsOff> {
        self.with_file(|file| {
            let others = file.locks.iter().filter(|(number, _)| **number != self.number).map(|(_, lock)| *lock).max().unwrap_or(0);
            let held = file.locks.get(&self.number).copied().unwrap_or(0);
            let (allowed, instead) = match wanted {
                _ if wanted <= held => (true, held),
                1 => (others < 3, held),
                2 => (others < 2, held),
                // Whoever waits for the readers to go lets no new one in.
                _ => (others < 1, if others < 2 { 3 } else { held }),
            };
            file.locks.insert(self.number, if allowed { wanted.max(held) } else { instead });
            allowed
        })
    }

    pub(super) fn unlock(&self, to: i32) {
        // Of an earlier start nothing is locked any more.
        let _ = self.with_file(|file| match to {
            0 => file.locks.remove(&self.number),
            _ => file.locks.insert(self.number, to),
        });
    }

    /// Whether anybody means to write.
    pub(super) fn is_reserved(&self) -> Result<bool, PowerIsOff> {
        self.with_file(|file| file.locks.values().any(|lock| *lock >= 2))
    }

    pub(super) fn delete(&self) {
        let _ = self.disk.delete(&self.name);
    }
}
