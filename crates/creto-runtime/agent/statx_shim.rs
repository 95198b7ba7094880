//! Preloaded where the sandbox kernel refuses `AT_NO_AUTOMOUNT` (gVisor before 2023): `statx` without that flag. In a sandbox nothing
//! is automounted, so leaving it out changes no answer.
#![no_std]

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};

const AT_NO_AUTOMOUNT: c_int = 0x800;
#[cfg(target_arch = "x86_64")]
const SYS_STATX: c_long = 332;
#[cfg(not(target_arch = "x86_64"))]
const SYS_STATX: c_long = 291;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn abort() -> !;
}

/// `statx(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut c_void) -> c_int {
    // SAFETY: the caller's arguments go to the same system call; `syscall` sets errno as `statx` would.
    let result = unsafe { syscall(SYS_STATX, dir, path, flags & !AT_NO_AUTOMOUNT, mask, out) };
    if result == 0 { 0 } else { -1 }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process; nothing here panics.
    unsafe { abort() }
}
