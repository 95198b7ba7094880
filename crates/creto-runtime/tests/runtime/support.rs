//! A runtime in a folder of its own, and a command run to its end.

use std::path::PathBuf;
use std::time::Duration;

use creto_runtime::container::ContainerRuntime;
use creto_runtime::container::runsc::{RunscOptions, RunscRuntime, locate};
use creto_runtime::link::{Exec, ExecEvent, ExecSpec, Exit};
use creto_runtime::{Sandbox, SandboxPlan};

/// A runtime, and the folder it lives in.
pub(super) struct Host {
    pub(super) runtime: RunscRuntime,
    pub(super) folder: tempfile::TempDir,
}

/// `None` where this machine has no runsc, which is said aloud and fails in CI.
pub(super) async fn host() -> Option<Host> {
    if let Err(error) = locate(None, None) {
        println!("SKIPPED runsc: {error}");
        assert!(std::env::var_os("CI").is_none(), "CI must have runsc: {error}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    // What was found out about this runsc is shared by the tests of one build; each has its own sandboxes.
    let user = rustix::process::geteuid().as_raw();
    let shared = if user == 0 { PathBuf::from(env!("CARGO_TARGET_TMPDIR")) } else { std::env::temp_dir() }.join("creto-test-probe.json");
    let own = folder.path().join("probe.json");
    let _first = std::fs::copy(&shared, &own);
    let runtime = RunscRuntime::open(RunscOptions { binary: None, tools_dir: None, state_dir: folder.path().to_owned(), program: None })
        .await
        .unwrap();
    let partial = shared.with_extension(std::process::id().to_string());
    std::fs::copy(&own, &partial).unwrap();
    std::fs::rename(&partial, &shared).unwrap();
    Some(Host { runtime, folder })
}

impl Host {
    pub(super) async fn sandbox(&self) -> Sandbox {
        let sandbox = self.runtime.start(&SandboxPlan::default()).await.unwrap();
        sandbox.bind(vec![b"PATH=/usr/local/bin:/usr/bin:/bin".to_vec(), b"HOME=/home/agent".to_vec()]).await.unwrap();
        sandbox
    }

    /// What is left of any sandbox on this host: folders, and processes that name this host's folder.
    pub(super) fn left(&self) -> Vec<String> {
        let folders = std::fs::read_dir(self.folder.path().join("sandboxes")).unwrap().flatten().map(|e| e.path().display().to_string());
        let needle = self.folder.path().display().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let cmdline = String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
            cmdline.contains(&needle).then_some(cmdline)
        });
        folders.chain(processes).collect()
    }
}

#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) exit: Option<Exit>,
}

impl Output {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

pub(super) fn argv(words: &[&str]) -> ExecSpec {
    ExecSpec { argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(), ..ExecSpec::default() }
}

pub(super) fn shell(script: &str) -> ExecSpec {
    argv(&["sh", "-c", script])
}

pub(super) async fn finish(mut exec: Exec) -> Output {
    let mut output = Output::default();
    let all = async {
        while output.exit.is_none() {
            match exec.next().await.unwrap() {
                ExecEvent::Stdout(bytes) => output.stdout.extend_from_slice(&bytes),
                ExecEvent::Stderr(bytes) => output.stderr.extend_from_slice(&bytes),
                ExecEvent::Exited(exit) => output.exit = Some(exit),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("the command ends");
    output
}

pub(super) async fn run(sandbox: &Sandbox, spec: ExecSpec) -> Output {
    finish(sandbox.exec(spec).await.unwrap()).await
}
