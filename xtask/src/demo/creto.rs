//! The server under demonstration and its command line.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

use super::story::Stage;
use crate::workspace::{Fallible, Workspace};

/// A server on a new data directory. Dropping it ends the process.
pub(super) struct Creto {
    binary: PathBuf,
    data: PathBuf,
    tools: PathBuf,
    examples: PathBuf,
    url: String,
    server: Mutex<Option<(Child, BufReader<ChildStdout>)>>,
}

impl Creto {
    pub(super) fn start(workspace: &Workspace) -> Fallible<Self> {
        let binary = workspace.target.join("debug/creto");
        let data = workspace.target.join("demo");
        // The demo's own directory of an earlier time; one that was never made is as good as removed.
        let _ = fs::remove_dir_all(&data);
        let mut creto = Self {
            binary,
            data,
            tools: workspace.tools.clone(),
            examples: workspace.root.join("examples"),
            url: String::new(),
            server: Mutex::new(None),
        };
        let mut child = creto
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("`creto serve` cannot be started: {e}"))?;
        let mut output = BufReader::new(child.stdout.take().ok_or("the server has no output")?);
        let mut line = String::new();
        output.read_line(&mut line).map_err(|e| format!("the server says nothing: {e}"))?;
        line.trim().strip_prefix("ready on ").ok_or("the server did not get ready")?.clone_into(&mut creto.url);
        creto.server = Mutex::new(Some((child, output)));
        println!("▸ {}", line.trim());
        Ok(creto)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--data").arg(&self.data).args(arguments).env("CRETO_TOOLS_DIR", &self.tools);
        command
    }

    /// Stops the server as an operator would, and demands that it ends well.
    pub(super) fn stop(&self) -> Fallible<()> {
        let taken = self.server.lock().map_err(|_| "the server's handle is lost".to_owned())?.take();
        let Some((mut child, _)) = taken else { return Ok(()) };
        let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        if stopped.is_err() {
            // Without kill(1) there is only the hard way.
            child.kill().map_err(|e| format!("the server cannot be stopped: {e}"))?;
        }
        let status = child.wait().map_err(|e| format!("the server cannot be waited for: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}")) }
    }

    /// Flips one byte of each file in copies of the log: each verification must fail and name the file.
    pub(super) fn must_fail_when_tampered(&self) -> Fallible<()> {
        let copy = self.data.with_extension("tampered");
        let broken = |e: std::io::Error| format!("the log cannot be copied: {e}");
        let files = files_below(&self.data.join("log")).map_err(broken)?;
        if files.len() < 3 {
            return Err(format!("the log has only {} files", files.len()));
        }
        for file in &files {
            // A copy of an earlier round; one that was never made is as good as removed.
            let _ = fs::remove_dir_all(&copy);
            copy_tree(&self.data.join("log"), &copy.join("log")).map_err(broken)?;
            fs::copy(self.data.join("log-keys.json"), copy.join("log-keys.json")).map_err(broken)?;
            let name = file.strip_prefix(&self.data).unwrap_or(file);
            let mut bytes = fs::read(file).map_err(broken)?;
            let middle = bytes.len() / 2;
            *bytes.get_mut(middle).ok_or_else(|| format!("`{}` is empty", name.display()))? ^= 1;
            fs::write(copy.join(name), bytes).map_err(broken)?;
            let output = Command::new(&self.binary).arg("--data").arg(&copy).args(["audit", "verify"]).output().map_err(broken)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            if output.status.success() {
                return Err(format!("a flipped byte in `{}` was not noticed", name.display()));
            }
            println!("  ✓ one flipped byte in `{}`: {}", name.display(), said.lines().next().unwrap_or("refused"));
        }
        let _ = fs::remove_dir_all(&copy);
        Ok(())
    }
}

impl Stage for Creto {
    fn text(&self, arguments: &[&str]) -> Fallible<String> {
        finish(self.command(arguments), arguments)
    }

    fn json(&self, arguments: &[&str]) -> Fallible<Value> {
        let mut command = self.command(arguments);
        command.arg("--json");
        let printed = finish(command, arguments)?;
        serde_json::from_str(&printed).map_err(|e| format!("`creto {}` did not print JSON: {e}", arguments.join(" ")))
    }

    fn with_password(&self, arguments: &[&str], password: &str) -> Fallible<String> {
        let mut command = self.command(arguments);
        command.env("CRETO_PASSWORD", password);
        finish(command, arguments)
    }

    fn as_agent(&self, key: &str, arguments: &[&str]) -> Fallible<String> {
        let mut command = self.command(arguments);
        command.args(["--url", &self.url, "--token", key]).env("CRETO_MSG_STATE", self.data.join("planner.state"));
        finish(command, arguments)
    }

    fn stream(&self, arguments: &[&str]) -> Fallible<()> {
        let status = self.command(arguments).stdin(Stdio::null()).status().map_err(|e| format!("`creto` cannot be started: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("the governed run ended with {status}")) }
    }

    fn say(&self, step: &str) {
        println!("{}", step.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"));
    }

    fn folder(&self) -> &Path {
        &self.data
    }

    fn examples(&self) -> &Path {
        &self.examples
    }
}

impl Drop for Creto {
    fn drop(&mut self) {
        if let Ok(Some((mut child, _))) = self.server.lock().map(|mut server| server.take()) {
            // Only after a failure; there is nothing left to report it to.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn finish(mut command: Command, arguments: &[&str]) -> Fallible<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("`creto` cannot be started: {e}"))?;
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|e| format!("`creto` printed something else than text: {e}"));
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let shown: Vec<&str> = arguments.iter().copied().filter(|word| word.len() < 100).collect();
    Err(format!("`creto {}` failed: {}", shown.join(" "), said.trim()))
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy_tree(&entry.path(), &target)? } else { fs::copy(entry.path(), target).map(drop)? }
    }
    Ok(())
}

fn files_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { files.extend(files_below(&entry.path())?) } else { files.push(entry.path()) }
    }
    files.sort();
    Ok(files)
}
