//! Ends of sandboxes: in order, by force, and by the death of the server.

use std::path::Path;
use std::time::{Duration, Instant};

use creto_runtime::container::ContainerRuntime;
use creto_runtime::container::runsc::{RunscOptions, RunscRuntime};
use creto_runtime::core::bundle::Limits;
use creto_runtime::{RuntimeError, SandboxPlan};
use rustix::process::{Pid, Signal, kill_process};

use super::support::{argv, host, run, shell};

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_is_quick_and_leaves_nothing() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    let _busy = sandbox.exec(shell("while :; do :; done")).await.unwrap();
    let begun = Instant::now();
    assert!(sandbox.destroy().await.clean);
    assert!(begun.elapsed() < Duration::from_secs(3), "took {:?}", begun.elapsed());
    assert_eq!(host.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_sandbox_ends_it() {
    let Some(host) = host().await else { return };
    drop(host.sandbox().await);
    until("something is left of a dropped sandbox", || host.left().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_given_up_leaves_nothing() {
    let Some(host) = host().await else { return };
    let plan = SandboxPlan::default();
    assert!(tokio::time::timeout(Duration::from_millis(20), host.runtime.start(&plan)).await.is_err());
    until("something is left of a start given up", || host.left().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runtime_process_ends_the_command_and_is_cleared_up() {
    let Some(host) = host().await else { return };
    let sandbox = host.sandbox().await;
    let mut exec = sandbox.exec(argv(&["sleep", "1000"])).await.unwrap();
    let pid = Pid::from_raw(i32::try_from(sandbox.host_pid()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    assert!(matches!(exec.next().await, Err(RuntimeError::SandboxLost(_))));
    assert!(matches!(sandbox.exec(argv(&["true"])).await, Err(RuntimeError::SandboxLost(_))));
    assert!(sandbox.destroy().await.clean);
    assert_eq!(host.left(), Vec::<String>::new());
    assert_eq!(zombies(), Vec::<String>::new());
}

/// Ended processes of this one that nobody reaped.
fn zombies() -> Vec<String> {
    let own = format!(" {} ", std::process::id());
    let stats = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(&format!(" Z{own}")))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_left_is_cleared_at_the_next_start() {
    let Some(host) = host().await else { return };
    // A sandbox whose owner is a process that no longer lives.
    let sandbox = host.sandbox().await;
    let owner = sandbox.folder().join("owner.json");
    let record = std::fs::read_to_string(&owner).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
    record["started_ticks"] = 1.into();
    std::fs::write(&owner, record.to_string()).unwrap();
    let living = host.sandbox().await;
    let state_dir = host.folder.path().to_owned();
    RunscRuntime::open(RunscOptions { binary: None, tools_dir: None, state_dir, program: None }).await.unwrap();
    assert!(!sandbox.folder().exists());
    living.ping().await.unwrap();
    assert!(living.folder().exists(), "a living server's sandbox is not an orphan");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_limit_holds_or_is_said_not_to() {
    let Some(host) = host().await else { return };
    let held = host.runtime.limits_held();
    if !held.cgroup {
        assert!(held.reason.is_some_and(|reason| !reason.is_empty()));
        return;
    }
    let limits = Limits { memory_bytes: Some(128 << 20), ..Limits::default() };
    let sandbox = host.runtime.start(&SandboxPlan { limits, ..SandboxPlan::default() }).await.unwrap();
    let mut exec = sandbox.exec(argv(&["/usr/bin/python3", "-c", "print(len(bytearray(1 << 30)))"])).await.unwrap();
    let end = loop {
        match exec.next().await {
            Ok(creto_runtime::link::ExecEvent::Exited(exit)) => break Some(exit),
            Ok(_) => {}
            Err(RuntimeError::SandboxLost(_)) => break None,
            Err(error) => panic!("{error}"),
        }
    };
    assert_ne!(end, Some(creto_runtime::link::Exit::Code(0)), "a gigabyte fitted into 128 MiB");
    assert!(sandbox.destroy().await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_runsc_says_how_to_get_one() {
    use creto_kernel::Coded;
    let folder = tempfile::tempdir().unwrap();
    let options = RunscOptions {
        binary: Some(Path::new("/no/such/runsc").to_owned()),
        tools_dir: None,
        state_dir: folder.path().to_owned(),
        program: None,
    };
    let error = RunscRuntime::open(options).await.unwrap_err();
    assert_eq!(error.code().as_str(), "runtime.unavailable");
    assert!(error.hint().unwrap().contains("cargo xtask setup"));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_runsc_run_every_kind_of_command() {
    let Some(paths) = std::env::var_os("CRETO_TEST_RUNSC") else {
        println!("SKIPPED other runsc versions: CRETO_TEST_RUNSC names none");
        return;
    };
    for binary in std::env::split_paths(&paths) {
        let folder = tempfile::tempdir().unwrap();
        let options = RunscOptions { binary: Some(binary.clone()), tools_dir: None, state_dir: folder.path().to_owned(), program: None };
        let runtime = RunscRuntime::open(options).await.unwrap();
        let sandbox = runtime.start(&SandboxPlan::default()).await.unwrap();
        sandbox.bind(vec![b"PATH=/usr/bin:/bin".to_vec()]).await.unwrap();
        let output = run(&sandbox, shell("ls -d /usr; stat -c %n /tmp")).await;
        assert_eq!(output.text(), "/usr\n/tmp\n", "{}: {}", binary.display(), String::from_utf8_lossy(&output.stderr));
        assert!(sandbox.destroy().await.clean);
        println!("{}: {}", runtime.describe(), sandbox_words(&runtime));
    }
}

fn sandbox_words(runtime: &RunscRuntime) -> String {
    format!("{:?}", runtime.profile())
}
