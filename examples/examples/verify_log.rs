//! Verifies a server's logs offline: `cargo run -p creto-examples --example verify_log -- DIR [KEYS]`.
//!
//! `DIR` is the server's data directory, or a copy of it; `KEYS` a copy of its `log-keys.json` that was kept elsewhere. Without `KEYS` the
//! one in `DIR` is used, which proves only that the files fit together, not whose they are.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use creto_examples::verify_log::verify;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(data) = arguments.next() else {
        eprintln!("usage: verify_log DIR [KEYS]");
        return ExitCode::from(2);
    };
    let own_keys = data.join("log-keys.json");
    let keys = arguments.next();
    if keys.is_none() {
        eprintln!("note: the keys come from `{}` itself; pass a copy that was kept elsewhere to know whose log it is", data.display());
    }
    match verify(&logs_of(&data), &keys.unwrap_or(own_keys)).await {
        Ok(report) => {
            println!("{report}verified");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("not verified: {error}");
            ExitCode::FAILURE
        }
    }
}

fn logs_of(data: &Path) -> PathBuf {
    data.join("log")
}
