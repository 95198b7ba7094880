//! Child processes with a time budget: output is shown as it comes and kept for counting.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::workspace::Fallible;

/// How long we wait for the last output of a process that has ended, while a grandchild still holds its pipe.
const DRAIN: Duration = Duration::from_secs(3);

/// This very program, also after a build has replaced its file: the kernel keeps the running one.
pub(crate) const OURSELVES: &str = "/proc/self/exe";

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// It ended by itself, with status 0.
    pub(crate) success: bool,
    /// What it said when it did not: `exit status: 1`, `exceeded its budget of 60 s`.
    pub(crate) why: String,
    /// Standard output and error, interleaved by line.
    pub(crate) output: String,
}

/// Runs a command within a budget; past it the whole process tree is killed and the run has failed.
pub(crate) fn run(command: &mut Command, budget: Duration) -> Fallible<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start `{}`: {error}", command.get_program().to_string_lossy()))?;
    let kept = Arc::new(Mutex::new(String::new()));
    let (drained, drains) = mpsc::channel();
    tee(child.stdout.take(), Arc::clone(&kept), drained.clone());
    tee(child.stderr.take(), Arc::clone(&kept), drained);

    let pid = child.id();
    let ended = wait_in_background(child);
    let (success, why) = match ended.recv_timeout(budget) {
        Ok(Ok(status)) => (status.success(), status.to_string()),
        Ok(Err(error)) => (false, error.to_string()),
        Err(_) => {
            kill_tree(pid);
            let _killed = ended.recv_timeout(DRAIN);
            (false, format!("exceeded its budget of {} s", budget.as_secs()))
        }
    };
    for _stream in 0..2 {
        let _quiet = drains.recv_timeout(DRAIN);
    }
    let output = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Finished { success, why, output })
}

/// Runs a command to its end and gives its standard output; a failure carries what it wrote to standard error.
pub(crate) fn capture(command: &mut Command) -> Fallible<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot start `{name}`: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("`{name}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Runs a command with our own terminal; a failure names it.
pub(crate) fn inherit(command: &mut Command) -> Fallible {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("cannot start `{name}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{name}` failed: {status}")) }
}

/// Finds an executable on a search path.
pub(crate) fn which(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|candidate| is_executable(candidate))
}

/// Whether this is a file somebody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The effective user id, from the owner of our own `/proc` entry.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn wait_in_background(mut child: Child) -> mpsc::Receiver<std::io::Result<std::process::ExitStatus>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let _abandoned = sender.send(child.wait());
    });
    receiver
}

fn tee(stream: Option<impl Read + Send + 'static>, kept: Arc<Mutex<String>>, drained: mpsc::Sender<()>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(match stream {
            Some(stream) => stream,
            None => return,
        });
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let mut terminal = std::io::stdout().lock();
            // A closed terminal must not stop the suite: what counts is kept below.
            let _shown = terminal.write_all(&line).and_then(|()| terminal.flush());
            kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
        let _finished = drained.send(());
    });
}

/// Kills a process and everything that descends from it. A process group would be simpler, and would also take Ctrl-C away from it.
fn kill_tree(pid: u32) {
    let doomed: Vec<String> = descendants(pid, &parents()).iter().map(u32::to_string).collect();
    let _sent = Command::new("kill").arg("-KILL").args(doomed).stderr(Stdio::null()).status();
}

fn parents() -> HashMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parent_in_stat(&stat)?))
        })
        .collect()
}

/// The parent's id in `/proc/PID/stat`: the second field after the command's name, which may itself hold spaces and parentheses.
fn parent_in_stat(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(pid: u32, parents: &HashMap<u32, u32>) -> Vec<u32> {
    let mut found = vec![pid];
    loop {
        let before = found.len();
        let next: Vec<u32> =
            parents.iter().filter(|(child, parent)| found.contains(parent) && !found.contains(child)).map(|(child, _)| *child).collect();
        found.extend(next);
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_command_within_its_budget_keeps_both_streams() {
        let finished = run(Command::new("sh").args(["-c", "echo out; echo err >&2"]), Duration::from_secs(20)).unwrap();
        assert!(finished.success);
        assert!(finished.output.contains("out\n") && finished.output.contains("err\n"), "{}", finished.output);
    }

    #[test]
    fn a_failing_command_says_its_status() {
        let finished = run(Command::new("sh").args(["-c", "exit 3"]), Duration::from_secs(20)).unwrap();
        assert!(!finished.success);
        assert!(finished.why.contains('3'), "{}", finished.why);
    }

    #[test]
    fn a_command_past_its_budget_is_killed_with_its_children() {
        let started = Instant::now();
        let finished = run(Command::new("sh").args(["-c", "sleep 617 & echo child $!; wait"]), Duration::from_millis(700)).unwrap();
        assert!(!finished.success);
        assert!(finished.why.contains("budget"), "{}", finished.why);
        assert!(started.elapsed() < Duration::from_secs(60));
        let child = finished.output.trim().trim_start_matches("child ").to_owned();
        let left = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        assert!(!left.contains("617"), "the child survived: {left}");
    }

    #[test]
    fn the_parent_is_read_past_a_command_with_parentheses() {
        assert_eq!(parent_in_stat("12 (a (b) c) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in_stat("nonsense"), None);
    }

    #[test]
    fn grandchildren_are_descendants_and_strangers_are_not() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (9, 8)]);
        let mut found = descendants(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4]);
    }
}
