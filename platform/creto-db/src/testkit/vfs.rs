//! SQLite's file system over simulated disks: the one place of this crate that is not safe Rust, because SQLite asks a file system through
//! C functions. Nothing is decided here; [`super::disk`] decides.
//!
//! What the unsafe code relies on, from <https://www.sqlite.org/c3ref/vfs.html> and <https://www.sqlite.org/c3ref/io_methods.html>:
//! - SQLite gives each open file a block of `szOsFile` bytes, aligned for any type, which it passes to every method of that file and to
//!   nobody else at the same time, until `xClose` has returned. [`Open`] is what stands in that block; where `xOpen` failed its methods
//!   are null and SQLite calls none of them.
//! - Names and buffers that SQLite passes are valid for the length of the call; names end with a zero byte.
//! - Memory that `xShmMap` answers is used until `xShmUnmap` of the same file. Each [`Open`] keeps its [`SharedMemory`] alive until then,
//!   also over a restart of its disk. SQLite orders its accesses to it by `xShmLock` and `xShmBarrier`, which here take a mutex.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::ffi;

use super::disk::{self, Disk, Handle, PowerIsOff};
use super::random::Random;
use crate::DbError;

const NAME: &CStr = c"creto-disk";
/// Longest name of a file.
const NAME_BYTES_MAX: c_int = 255;
/// Locks of shared memory.
const LOCKS: usize = 8;
/// The Julian day of 1970-01-01T00:00:00Z, in milliseconds.
const EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

/// The file system's name, which is registered beside the usual ones on first use.
pub(super) fn name() -> Result<&'static str, DbError> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    let code = *REGISTERED.get_or_init(|| {
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<Open>()).unwrap_or(c_int::MAX),
            mxPathname: NAME_BYTES_MAX,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            // No connection of ours loads an extension.
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure is complete for its version, and leaked, so that it lives as long as SQLite may use it.
        unsafe { ffi::sqlite3_vfs_register(vfs, 0) }
    });
    let said = || DbError::Unavailable(format!("the simulated disk cannot be registered: {code}"));
    if code == ffi::SQLITE_OK { NAME.to_str().map_err(|_| said()) } else { Err(said()) }
}

/// What stands in the block of an open file. SQLite reads the first field.
#[repr(C)]
struct Open {
    base: ffi::sqlite3_file,
    file: Option<Box<Opened>>,
}

struct Opened {
    handle: Handle,
    temporary: bool,
    memory: Option<Mapped>,
}

/// A connection's part in the shared memory of a file.
struct Mapped {
    memory: Arc<SharedMemory>,
    shared: u8,
    exclusive: u8,
}

/// The memory that connections of one file share (its WAL index), and its locks.
#[derive(Debug, Default)]
pub(super) struct SharedMemory(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    regions: Vec<Region>,
    /// -1 where one holds it alone, else how many share it.
    locks: [i32; LOCKS],
}

/// A region, never moved until it is dropped.
#[derive(Debug)]
struct Region(*mut [u64]);

// SAFETY: a region is plain memory. Whoever reads or writes it is SQLite, which orders that by its locks and barriers.
unsafe impl Send for Region {}

impl Region {
    fn new(bytes: usize) -> Self {
        Self(Box::into_raw(vec![0_u64; bytes.div_ceil(size_of::<u64>())].into_boxed_slice()))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` in `new`, dropped once. Every `Opened` that was told of it holds the `SharedMemory` it is in.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    // Only of version 3: no file is mapped into memory.
    xFetch: None,
    xUnfetch: None,
};

/// The open file behind SQLite's pointer.
///
/// # Safety
/// `file` is what SQLite passed to a method of a file that `open` opened.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a mut Opened> {
    // SAFETY: SQLite passes the block that `open` wrote an `Open` to, whose first field is the `sqlite3_file`, and no other method of the
    // same file runs meanwhile.
    unsafe { file.cast::<Open>().as_mut() }.and_then(|open| open.file.as_deref_mut())
}

/// The name behind SQLite's pointer.
///
/// # Safety
/// `name` is null or ends with a zero byte.
unsafe fn text<'a>(name: *const c_char) -> Option<&'a str> {
    // SAFETY: it is not null here, and ends with a zero byte.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }).and_then(|name| name.to_str().ok())
}

/// The file and what SQLite wants of it; `code` says what failed where the power is off.
///
/// # Safety
/// As [`opened`].
unsafe fn on<T>(file: *mut ffi::sqlite3_file, code: c_int, work: impl FnOnce(&mut Opened) -> Result<T, PowerIsOff>) -> Result<T, c_int> {
    // SAFETY: the caller's.
    let opened = unsafe { opened(file) }.ok_or(ffi::SQLITE_MISUSE)?;
    work(opened).map_err(|PowerIsOff| code)
}

const fn code(done: Result<(), c_int>) -> c_int {
    match done {
        Ok(()) => ffi::SQLITE_OK,
        Err(code) => code,
    }
}

/// Writes an answer where SQLite wants it.
///
/// # Safety
/// `into` is null or valid for a write.
unsafe fn answer<T>(into: *mut T, value: T) {
    if !into.is_null() {
        // SAFETY: the caller's.
        unsafe { into.write(value) };
    }
}

fn place(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    static SCRATCH: OnceLock<Disk> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unopened = ffi::sqlite3_file { pMethods: ptr::null() };
    // SAFETY: SQLite passes a block of `szOsFile` bytes, which is the size of an `Open`.
    unsafe { file.cast::<Open>().write(Open { base: unopened, file: None }) };
    // SAFETY: a name that SQLite passes is null or ends with a zero byte.
    let name = unsafe { text(name) };
    let temporary = name.is_none();
    let found = match name {
        Some(name) => disk::of_file(name).map(|disk| disk.file(name, flags & ffi::SQLITE_OPEN_CREATE != 0)),
        // What SQLite puts aside for itself needs no name and survives nothing.
        None => Some(SCRATCH.get_or_init(Disk::new).file(&format!("scratch-{}", NEXT.fetch_add(1, Ordering::Relaxed)), true)),
    };
    let Some(Ok(Some(handle))) = found else { return ffi::SQLITE_CANTOPEN };
    let opened = Some(Box::new(Opened { handle, temporary, memory: None }));
    // SAFETY: as above; the `Open` that is overwritten owns nothing.
    unsafe {
        file.cast::<Open>().write(Open { base: ffi::sqlite3_file { pMethods: &raw const METHODS }, file: opened });
        answer(out_flags, flags);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as `opened`; nobody uses the block after this.
    let Some(open) = (unsafe { file.cast::<Open>().as_mut() }) else { return ffi::SQLITE_MISUSE };
    if let Some(mut opened) = open.file.take() {
        opened.unmap();
        opened.handle.unlock(0);
        if opened.temporary {
            opened.handle.delete();
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, amount: c_int, at: i64) -> c_int {
    let amount = place(i64::from(amount));
    // SAFETY: SQLite's buffer is valid for `amount` bytes for the length of the call. It may not be initialised: zeros come first.
    let into = unsafe {
        into.cast::<u8>().write_bytes(0, amount);
        std::slice::from_raw_parts_mut(into.cast::<u8>(), amount)
    };
    // SAFETY: `file` is SQLite's.
    match unsafe { on(file, ffi::SQLITE_IOERR_READ, |opened| opened.handle.read(place(at), into)) } {
        Ok(found) if found < amount => ffi::SQLITE_IOERR_SHORT_READ,
        found => code(found.map(|_| ())),
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: SQLite's buffer is valid and initialised for `amount` bytes for the length of the call.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), place(i64::from(amount))) };
    // SAFETY: `file` is SQLite's.
    code(unsafe { on(file, ffi::SQLITE_IOERR_WRITE, |opened| opened.handle.write(place(at), bytes)) })
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: `file` is SQLite's.
    code(unsafe { on(file, ffi::SQLITE_IOERR_TRUNCATE, |opened| opened.handle.truncate(place(length))) })
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: `file` is SQLite's.
    code(unsafe { on(file, ffi::SQLITE_IOERR_FSYNC, |opened| opened.handle.sync()) })
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: `file` is SQLite's, `size` is valid for a write.
    code(unsafe {
        on(file, ffi::SQLITE_IOERR_FSTAT, |opened| opened.handle.length())
            .map(|length| answer(size, i64::try_from(length).unwrap_or(i64::MAX)))
    })
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: `file` is SQLite's.
    match unsafe { on(file, ffi::SQLITE_IOERR_LOCK, |opened| opened.handle.lock(wanted)) } {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_BUSY,
        Err(code) => code,
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, to: c_int) -> c_int {
    // SAFETY: `file` is SQLite's.
    code(unsafe {
        on(file, ffi::SQLITE_IOERR_UNLOCK, |opened| {
            opened.handle.unlock(to);
            Ok(())
        })
    })
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: `file` is SQLite's, `out` is valid for a write.
    code(unsafe {
        on(file, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, |opened| opened.handle.is_reserved()).map(|held| answer(out, c_int::from(held)))
    })
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

impl SharedMemory {
    fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The region of this number; none where it is not there and is not to be made.
    fn region(&self, number: usize, bytes: usize, make: bool) -> Option<*mut c_void> {
        self.with(|memory| {
            while make && memory.regions.len() <= number {
                memory.regions.push(Region::new(bytes));
            }
            memory.regions.get(number).map(|region| region.0.cast::<c_void>())
        })
    }
}

impl Opened {
    /// Lets go of the shared memory and of what is locked in it.
    fn unmap(&mut self) {
        if let Some(mut mapped) = self.memory.take() {
            mapped.unlock(u8::MAX);
        }
    }
}

impl Mapped {
    fn lock(&mut self, mask: u8, alone: bool) -> bool {
        let (shared, exclusive) = (self.shared, self.exclusive);
        let taken = self.memory.with(|memory| {
            // What this connection holds already is not in its own way.
            let wanted = |slot: usize| mask & (1 << slot) != 0 && (if alone { exclusive } else { shared }) & (1 << slot) == 0;
            let free = |slot: usize, lock: i32| if alone { lock == i32::from(shared & (1 << slot) != 0) } else { lock >= 0 };
            if memory.locks.iter().enumerate().any(|(slot, lock)| wanted(slot) && !free(slot, *lock)) {
                return false;
            }
            for (slot, lock) in memory.locks.iter_mut().enumerate() {
                if wanted(slot) {
                    *lock = if alone { -1 } else { *lock + 1 };
                }
            }
            true
        });
        if taken {
            *(if alone { &mut self.exclusive } else { &mut self.shared }) |= mask;
        }
        taken
    }

    fn unlock(&mut self, mask: u8) {
        let (shared, exclusive) = (self.shared & mask, self.exclusive & mask);
        self.memory.with(|memory| {
            for (slot, lock) in memory.locks.iter_mut().enumerate() {
                if exclusive & (1 << slot) != 0 {
                    *lock = 0;
                } else if shared & (1 << slot) != 0 {
                    *lock -= 1;
                }
            }
        });
        self.shared &= !mask;
        self.exclusive &= !mask;
    }
}

unsafe extern "C" fn shm_map(file: *mut ffi::sqlite3_file, number: c_int, bytes: c_int, extend: c_int, out: *mut *mut c_void) -> c_int {
    let map = |opened: &mut Opened| {
        if opened.memory.is_none() {
            opened.memory = Some(Mapped { memory: opened.handle.memory()?, shared: 0, exclusive: 0 });
        }
        let memory = opened.memory.as_ref().ok_or(PowerIsOff)?;
        Ok(memory.memory.region(place(number.into()), place(bytes.into()), extend != 0))
    };
    // SAFETY: `file` is SQLite's, `out` is valid for a write.
    code(unsafe { on(file, ffi::SQLITE_IOERR_SHMMAP, map).map(|region| answer(out, region.unwrap_or(ptr::null_mut()))) })
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    let (offset, count) = (place(offset.into()), place(count.into()));
    let mask = (offset..offset + count).filter(|slot| *slot < LOCKS).fold(0_u8, |mask, slot| mask | (1 << slot));
    // SAFETY: `file` is SQLite's.
    let Some(mapped) = (unsafe { opened(file) }).and_then(|opened| opened.memory.as_mut()) else { return ffi::SQLITE_IOERR_SHMLOCK };
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        mapped.unlock(mask);
        return ffi::SQLITE_OK;
    }
    if mapped.lock(mask, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
    // SAFETY: `file` is SQLite's. The mutex, as SQLite's own file systems do, for what a fence alone does not order.
    if let Some(mapped) = unsafe { opened(file) }.and_then(|opened| opened.memory.as_ref()) {
        mapped.memory.with(|_| ());
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: `file` is SQLite's.
    if let Some(opened) = unsafe { opened(file) } {
        opened.unmap();
        if delete != 0 {
            // Of an earlier start there is nothing to forget.
            let _ = opened.handle.forget_memory();
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int) -> c_int {
    // SAFETY: a name that SQLite passes ends with a zero byte.
    let Some((disk, name)) = (unsafe { text(name) }).and_then(|name| Some((disk::of_file(name)?, name))) else {
        return ffi::SQLITE_IOERR_DELETE_NOENT;
    };
    match disk.delete(name) {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(PowerIsOff) => ffi::SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    // SAFETY: a name that SQLite passes ends with a zero byte.
    let name = unsafe { text(name) }.unwrap_or_default();
    match disk::of_file(name).map_or(Ok(false), |disk| disk.has(name)) {
        Ok(there) => {
            // SAFETY: `out` is valid for a write.
            unsafe { answer(out, c_int::from(there)) };
            ffi::SQLITE_OK
        }
        Err(PowerIsOff) => ffi::SQLITE_IOERR_ACCESS,
    }
}

unsafe extern "C" fn full_pathname(_: *mut ffi::sqlite3_vfs, name: *const c_char, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: a name that SQLite passes ends with a zero byte.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > place(size.into()) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: `out` is valid for `size` bytes, and the name is no longer than that; the two do not overlap.
    unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast::<c_char>(), out, name.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, amount: c_int, out: *mut c_char) -> c_int {
    static SEED: AtomicU64 = AtomicU64::new(0);
    let mut random = Random::of(SEED.fetch_add(1, Ordering::Relaxed));
    // SAFETY: SQLite's buffer is valid for `amount` bytes for the length of the call; it is written before it is read.
    let out = unsafe {
        out.cast::<u8>().write_bytes(0, place(amount.into()));
        std::slice::from_raw_parts_mut(out.cast::<u8>(), place(amount.into()))
    };
    out.iter_mut().for_each(|byte| *byte = random.draw().to_le_bytes()[0]);
    amount
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    std::thread::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or_default()));
    micros
}

fn julian_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EPOCH_JULIAN_MS.saturating_add(i64::try_from(since.as_millis()).unwrap_or_default())
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: `out` is valid for a write.
    unsafe { answer(out, julian_ms() as f64 / 86_400_000.0) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: `out` is valid for a write.
    unsafe { answer(out, julian_ms()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
