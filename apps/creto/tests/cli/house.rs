//! A data directory with the binary around it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The binary under test.
pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_creto");

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Self { code: output.status.code().expect("ended by itself"), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Demands success and gives the output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Demands success and gives the output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("JSON")
    }

    /// Demands a failure of our own with this code.
    #[track_caller]
    pub(crate) fn refused(self, code: &str) -> String {
        assert_eq!(self.code, 125, "{self:?}");
        assert!(self.err.contains(&format!("({code})")), "{code}: {self:?}");
        self.err
    }
}

/// A data directory and a home of its own.
#[derive(Debug)]
pub(crate) struct House {
    dir: TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        // Short, because the paths of sockets are: the system's folder, not one below the build's.
        let house = Self { dir: tempfile::Builder::new().prefix("creto").tempdir_in("/tmp").expect("a folder") };
        std::fs::create_dir(house.home()).expect("a home");
        house
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// How many files beside the data directory are under way, or were left so.
    pub(crate) fn parts(&self) -> usize {
        let names = std::fs::read_dir(self.dir.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
        names.filter(|path| path.extension().is_some_and(|extension| extension == "part")).count()
    }

    /// A file beside the data directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// The command, not yet started, in an environment that is the same on every machine.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command.args(args).env("CRETO_DATA", self.data()).env("HOME", self.home()).env("USER", "alice").stdin(Stdio::null());
        for name in ["CRETO_URL", "CRETO_TOKEN", "CRETO_AGENT_ID", "CRETO_MSG_STATE", "CRETO_PASSWORD", "CRETO_LOG", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().expect("it starts"))
    }

    /// With something on standard input.
    pub(crate) fn fed(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
        Ran::of(&child.wait_with_output().expect("it ends"))
    }

    /// A server on a free port that answers.
    pub(crate) fn serve(&self) -> Serving {
        let mut child = self.command(&["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        let url = line.strip_prefix("ready on ").map(str::trim).unwrap_or_else(|| panic!("not ready: {line}")).to_owned();
        Serving { child, url }
    }

    /// A key of an agent of this name.
    pub(crate) fn agent_key(&self, name: &str) -> String {
        let made = self.run(&["key", "create", "--role", "agent", "--name", name, "--json"]).json();
        made["token"].as_str().expect("a token").to_owned()
    }
}

/// A server under way; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    pub(crate) url: String,
}

impl Serving {
    /// Sends a signal, waits for the end and gives the exit code.
    pub(crate) fn stop(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
        self.child.wait().expect("it ends").code()
    }

    /// A request with a key; the status and the body, as JSON where it is JSON.
    pub(crate) fn ask(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let host = self.url.strip_prefix("http://").expect("plain HTTP");
        let body = body.map_or_else(String::new, Value::to_string);
        let mut stream = TcpStream::connect(host).expect("it listens");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
