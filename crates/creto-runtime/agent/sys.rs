//! The few system calls `std` has no name for.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};

const P_ALL: c_int = 0;
const WNOHANG: c_int = 1;
const WEXITED: c_int = 4;
const WNOWAIT: c_int = 0x0100_0000;
const EINTR: i32 = 4;
const EINVAL: i32 = 22;
const AT_FDCWD: c_int = -100;
const AT_NO_AUTOMOUNT: c_int = 0x800;
const STATX_BASIC_STATS: c_uint = 0x7ff;

unsafe extern "C" {
    fn waitid(kind: c_int, id: c_uint, info: *mut c_void, options: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

#[cfg(target_arch = "x86_64")]
const SYS_STATX: c_long = 332;
#[cfg(not(target_arch = "x86_64"))]
const SYS_STATX: c_long = 291;

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Waits until some child has ended, without reaping it. `false` when there is no child at all.
pub(crate) fn wait_any_without_reaping() -> bool {
    loop {
        let mut info = [0_u64; 16];
        // SAFETY: siginfo_t is 128 bytes on Linux, and the kernel writes no further.
        let result = unsafe { waitid(P_ALL, 0, info.as_mut_ptr().cast(), WEXITED | WNOWAIT) };
        if result == 0 {
            return true;
        }
        if errno() != EINTR {
            return false;
        }
    }
}

/// Reaps one ended child, if there is one: its process identifier and wait status.
pub(crate) fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` lives through the call.
    let pid = unsafe { waitpid(-1, &raw mut status, WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Sends a signal to a process group. Errors mean that it is gone already.
pub(crate) fn kill_group(group: i32, signal: i32) {
    // Groups 0 and 1 would be our own and everybody's.
    if group > 1 && (1..=64).contains(&signal) {
        // SAFETY: plain integers.
        unsafe { kill(-group, signal) };
    }
}

/// Whether this kernel refuses `AT_NO_AUTOMOUNT` in `statx`, as gVisor did before 2023: `ls` and `stat` of coreutils set it always.
pub(crate) fn statx_is_broken() -> bool {
    let path: *const c_char = c"/".as_ptr();
    let mut buffer = [0_u64; 64];
    // SAFETY: the path ends in NUL, and struct statx is 256 bytes of the 512 given.
    let result = unsafe { syscall(SYS_STATX, AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_BASIC_STATS, buffer.as_mut_ptr()) };
    result != 0 && errno() == EINVAL
}
