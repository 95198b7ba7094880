//! The same runtime for an ordinary user: no privilege, no control groups, everything else.

use std::os::unix::process::CommandExt;
use std::process::Command;

use creto_runtime::container::runsc::locate;

const NOBODY: u32 = 65534;
const INNER: &str = "CRETO_TEST_ORDINARY_USER";

/// Runs the other tests of this binary once more as `nobody`, in a process of their own.
#[test]
fn an_ordinary_user_runs_commands_too() {
    if std::env::var_os(INNER).is_some() || !rustix::process::geteuid().is_root() {
        return;
    }
    let Ok(found) = locate(None, None) else {
        println!("SKIPPED runsc: none for an ordinary user");
        assert!(std::env::var_os("CI").is_none());
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (binary, test) = (folder.path().join("runsc"), folder.path().join("test"));
    // Copies, because the originals may lie in a folder only root may enter.
    std::fs::copy(&found.path, &binary).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let output = Command::new(&test)
        .args([
            "commands::output",
            "commands::mounts",
            "lifetime::destroying",
            "lifetime::memory",
            "egress::an_allowed",
            "--test-threads=1",
            "--nocapture",
        ])
        .env(INNER, "1")
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("TMPDIR", folder.path())
        .env_remove("CRETO_TOOLS_DIR")
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("5 passed"), "{said}");
}
