//! Builds what runs inside a sandbox, to be embedded: the agent, static for the host's own target (glibc ships `libc.a`, so no second
//! target has to be installed), and the preload shim.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for file in ["agent", "src/wire.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let static_flags = ["-C", "target-feature=+crt-static", "-C", "opt-level=s", "-C", "strip=symbols"];
    rustc(Path::new("agent/main.rs"), &out.join("creto-agent"), &["--crate-type=bin"], &static_flags)?;
    let shim_flags = ["-C", "opt-level=s", "-C", "strip=symbols", "-C", "link-arg=-nostartfiles"];
    rustc(Path::new("agent/statx_shim.rs"), &out.join("statx_shim.so"), &["--crate-type=cdylib"], &shim_flags)?;
    let agent = fs::read(out.join("creto-agent"))?;
    println!("cargo::rustc-env=CRETO_AGENT_FINGERPRINT={:016x}", fingerprint(&agent));
    Ok(())
}

fn rustc(source: &Path, target: &Path, kind: &[&str], flags: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let mut command = Command::new(env::var("RUSTC")?);
    command.args(["--edition", "2024", "--target", &env::var("TARGET")?, "-C", "panic=abort"]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        command.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    // The flags of the surrounding build (a wrapper, coverage) are meant for the host's side only.
    command.args(kind).args(flags).arg("-o").arg(target).arg(source).env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{} was not built: {status}", source.display()).into()) }
}

/// FNV-1a: names the embedded agent's file, so that two builds never share one.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
