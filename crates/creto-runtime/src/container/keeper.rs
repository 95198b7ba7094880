//! One thread for each sandbox that owns its runtime process: it waits for the end, whatever the cause, and clears up.

use std::collections::VecDeque;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use tokio::sync::watch;

use crate::container::files::{self, SandboxFolder};
use crate::container::profile::Profile;

/// How long a sandbox may take to end in order once its input is closed.
const ORDERLY_END: Duration = Duration::from_secs(3);
/// How long the runtime's own clearing up may take.
const DELETE_TIME: Duration = Duration::from_secs(10);
/// How much of the runtime's last words is kept, in bytes.
const LAST_WORDS_BYTES: usize = 4096;

/// How a sandbox's runtime process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, where it has one.
    pub code: Option<i32>,
    /// Whether everything on the host is gone.
    pub clean: bool,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    pid: u32,
    pidfd: Option<OwnedFd>,
    folder: PathBuf,
    words: Arc<Mutex<VecDeque<u8>>>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Keeper {
    /// Takes over a started runtime process.
    pub(crate) fn watch(child: Child, profile: Profile, folder: SandboxFolder, name: String) -> Self {
        let pid = child.id();
        let pidfd = as_pid(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let words = Arc::<Mutex<VecDeque<u8>>>::default();
        let (sender, ended) = watch::channel(None);
        let path = folder.path.clone();
        let kept = Arc::clone(&words);
        thread::spawn(move || {
            let ended = keep(child, &profile, &folder, &name, &kept);
            sender.send_replace(Some(ended));
        });
        Self { pid, pidfd, folder: path, words, ended }
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn last_words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&words.iter().copied().collect::<Vec<_>>()).trim().to_owned()
    }

    pub(crate) fn kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            // It has ended already: that is what was wanted.
            let _ended = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Waits for the orderly end that closed input brings, then forces it; returns when nothing is left.
    pub(crate) async fn end(&mut self) -> Ended {
        let lost = Ended { code: None, clean: false };
        if let Ok(Ok(ended)) = tokio::time::timeout(ORDERLY_END, self.ended.wait_for(Option::is_some)).await {
            return ended.unwrap_or(lost);
        }
        self.kill();
        self.ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended).unwrap_or(lost)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.ended.borrow().is_none() {
            self.kill();
        }
    }
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn keep(mut child: Child, profile: &Profile, folder: &SandboxFolder, name: &str, words: &Arc<Mutex<VecDeque<u8>>>) -> Ended {
    // In a thread of its own: a stray that inherited the pipe must not hold up the wait for the runtime.
    if let Some(stderr) = child.stderr.take() {
        let words = Arc::clone(words);
        thread::spawn(move || remember(stderr, &words));
    }
    let code = child.wait().ok().and_then(|status| status.code());
    let clean = clear(profile, folder, name);
    Ended { code, clean }
}

fn remember(mut stderr: impl Read, words: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 512];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend(buffer.get(..count).unwrap_or_default());
        let surplus = words.len().saturating_sub(LAST_WORDS_BYTES);
        words.drain(..surplus);
    }
}

/// Removes whatever the runtime left: its state, control group, orphans and folders.
pub(crate) fn clear(profile: &Profile, folder: &SandboxFolder, name: &str) -> bool {
    let left = fs::read_dir(folder.root()).is_ok_and(|mut entries| entries.next().is_some());
    if left {
        let mut delete = Command::new(&profile.binary);
        delete.args(profile.flags(&folder.root())).args(["delete", "--force", name]);
        run_for(&mut delete, DELETE_TIME);
    }
    kill_strays(&folder.root());
    reap_adopted();
    match files::remove(&folder.path) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, folder = %folder.path.display(), "a sandbox's folder could not be removed");
            false
        }
    }
}

/// Runs a command to its end or for so long; its output is of no interest. Answers whether it succeeded.
pub(crate) fn run_for(command: &mut Command, limit: Duration) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    let Some(pidfd) = as_pid(child.id()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return child.wait().is_ok_and(|status| status.success());
    };
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    if !matches!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(1..)) {
        let _ended = child.kill();
    }
    child.wait().is_ok_and(|status| status.success())
}

/// Kills every process that was started for this runsc state folder.
pub(crate) fn kill_strays(root: &Path) {
    let wanted = format!("--root={}", root.display());
    for (pid, folder) in processes() {
        let Ok(cmdline) = fs::read(folder.join("cmdline")) else { continue };
        if cmdline.split(|&b| b == 0).any(|argument| argument == wanted.as_bytes()) && pid != std::process::id() {
            tracing::warn!(pid, "killing a stray process of a sandbox");
            let Some(pidfd) = as_pid(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { continue };
            let _ended = pidfd_send_signal(&pidfd, Signal::KILL);
            await_end(&pidfd);
        }
    }
}

fn await_end(pidfd: &OwnedFd) {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: 2, tv_nsec: 0 };
    let _waited = rustix::event::poll(&mut fds, Some(&timeout));
}

fn processes() -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

/// Names under which runsc's processes run: the sandbox, the gofer and the platform's stubs keep the executable's name or take these.
const ADOPTED: [&str; 4] = ["exe", "runsc-sandbox", "runsc-gofer", "runsc"];

/// Reaps ended processes that fell to us, a child subreaper, when their runsc was killed.
///
/// INVARIANT: a process that somebody here started itself is never reaped: runsc's own process group leader is the one that was, and
/// is left to its keeper.
fn reap_adopted() {
    let own = std::process::id();
    for (pid, folder) in processes() {
        let Ok(stat) = fs::read_to_string(folder.join("stat")) else { continue };
        // pid (comm) state ppid pgrp …; the name may hold anything, its closing bracket is the last one.
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let mut fields = tail.split(' ');
        let (state, parent, group) =
            (fields.next(), fields.next().and_then(|p| p.parse::<u32>().ok()), fields.next().and_then(|p| p.parse::<u32>().ok()));
        let started_here = name == "runsc" && group == Some(pid);
        if state == Some("Z") && parent == Some(own) && ADOPTED.contains(&name) && !started_here {
            let _reaped = waitpid(as_pid(pid), WaitOptions::NOHANG);
        }
    }
}
