//! This test binary run again as a child that does the work of one test and may die at a failpoint.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use creto_db::failpoint::ENV;

/// How a child that ran this one test ended.
pub(super) fn ended(test: &str, failpoint: &str, environment: &[(&str, &str)]) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .envs(environment.iter().copied())
        .env(ENV, failpoint)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

/// Whether the child died at the failpoint; else it was done before that came.
pub(super) fn is_killed(test: &str, failpoint: &str, environment: &[(&str, &str)]) -> bool {
    let status = ended(test, failpoint, environment);
    assert!(status.success() || status.signal() == Some(9), "{failpoint} ended with {status}");
    !status.success()
}
