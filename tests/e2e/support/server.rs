//! The real binary, serving a directory of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::http::{Client, Place};
use super::until;

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    let path = std::env::var_os("CRETO_BIN").map_or_else(beside_us, PathBuf::from);
    assert!(path.is_file(), "`{}` is not there: run `cargo build -p creto`, or name a binary in CRETO_BIN", path.display());
    path
}

/// `<target>/debug/creto`; we are `<target>/debug/deps/e2e-…`.
fn beside_us() -> PathBuf {
    std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("creto")
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The local tenant, where it is not the default one.
    pub(crate) tenant: Option<&'static str>,
    /// Whether it may find `runsc`. Without, it starts in a fraction of the time.
    pub(crate) sandboxes: bool,
    /// Lines that are made for one test.
    pub(crate) more: String,
    /// Further lines of its configuration.
    pub(crate) lines: &'static str,
    /// Where it is killed.
    pub(crate) failpoint: Option<String>,
    /// Further lines of its configuration file.
    pub(crate) config: &'static str,
    /// Its secrets, as it finds them in its environment.
    pub(crate) secrets: &'static [(&'static str, &'static str)],
}

impl Options {
    pub(crate) fn with_sandboxes() -> Self {
        Self { sandboxes: true, ..Self::default() }
    }
}

/// A data directory, gone with this value.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("creto-e2e-").tempdir().unwrap() }
    }

    /// A copy of a directory that no server owns.
    pub(crate) fn copy_of(other: &Self) -> Self {
        let home = Self::new();
        let copied = Command::new("cp").arg("-a").arg(other.data()).arg(home.data()).status().unwrap();
        assert!(copied.success());
        home
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A command line over this directory.
    pub(crate) fn command(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(binary());
        command.arg("--data").arg(self.data()).args(words).env("USER", "owner").env_remove("CRETO_FAILPOINT").stdin(Stdio::null());
        command
    }

    /// A server that answers.
    pub(crate) fn serve(&self, options: &Options) -> Server {
        self.try_serve(options).unwrap_or_else(|status| panic!("the server ended before it was ready: {status}"))
    }

    /// A server that answers, or how it ended before it did.
    pub(crate) fn try_serve(&self, options: &Options) -> Result<Server, ExitStatus> {
        let config = self.folder.path().join("config.toml");
        let mut lines = format!("{}{}", options.lines, options.more);
        if let Some(tenant) = options.tenant {
            lines.push_str(&format!("tenant = \"{tenant}\"\n"));
        }
        if !options.sandboxes {
            lines.push_str("runsc = \"/nonexistent/runsc\"\n");
        }
        lines.push_str(options.config);
        fs::write(&config, lines).unwrap();
        let mut command = self.command(["serve", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(config).stdout(Stdio::piped()).envs(options.secrets.iter().copied());
        if let Some(failpoint) = &options.failpoint {
            command.env("CRETO_FAILPOINT", failpoint);
        }
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        match line.trim().strip_prefix("ready on http://") {
            Some(address) => Ok(Server {
                child,
                address: address.parse().unwrap(),
                socket: self.data().join("creto.sock"),
                data: self.data(),
                _stdout: stdout,
            }),
            None => Err(child.wait().unwrap()),
        }
    }
}

/// A server that answers; killed with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    socket: PathBuf,
    data: PathBuf,
    // A server whose output nobody holds open would fail to write.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Where it serves HTTP.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until every commit is in the signed log.
    pub(crate) fn caught_up(&self) {
        until("the log has caught up", || self.nobody().get("/metrics").text().contains("creto_log_lag_leaves 0"));
    }

    /// As nobody.
    pub(crate) fn nobody(&self) -> Client {
        Client::new(Place::Tcp(self.address))
    }

    /// With a key.
    pub(crate) fn bearer(&self, token: &str) -> Client {
        self.nobody().with("authorization", &format!("Bearer {token}"))
    }

    /// With the operator key of the data directory.
    pub(crate) fn operator(&self) -> Client {
        self.bearer(fs::read_to_string(self.data.join("admin.token")).unwrap().trim())
    }

    /// Over the owner's socket: operator and approver.
    pub(crate) fn owner(&self) -> Client {
        Client::new(Place::Unix(self.socket.clone()))
    }

    /// Over the socket that sandboxes are led to.
    pub(crate) fn internal(&self) -> Client {
        Client::new(Place::Unix(self.data.join("internal.sock")))
    }

    /// Whether the process runs.
    pub(crate) fn is_alive(&self) -> bool {
        // One that died and was not waited for is there still, as a zombie.
        fs::read_to_string(format!("/proc/{}/stat", self.child.id())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its orderly end.
    pub(crate) fn stop(mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the server ended with {status}");
    }

    /// How it ended by itself, waiting for that.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
