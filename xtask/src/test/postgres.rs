//! A PostgreSQL of our own for one test run: in a temporary directory, on a free port, gone afterwards.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::process;
use crate::setup::apt;
use crate::workspace::Fallible;

/// Runs in the server's own account. It ends, stops the server and removes its directory when its standard input closes: that
/// happens whether we finish, fail or are killed.
const GUARD: &str = r#"
set -eu
bin=$1 port=$2
folder=$(mktemp --directory --tmpdir creto-postgres.XXXXXXXX)
trap 'trap - EXIT; "$bin/pg_ctl" --pgdata "$folder/data" --mode immediate stop >/dev/null 2>&1 || :; rm -rf "$folder"' EXIT
trap : INT TERM HUP PIPE
cd "$folder"
"$bin/initdb" --pgdata data --username postgres --auth trust --encoding UTF8 --no-sync >initdb.log 2>&1 || { cat initdb.log >&2; exit 1; }
"$bin/pg_ctl" --pgdata data --log server.log --wait --options \
  "-p $port -k $folder -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200" start >pg_ctl.log 2>&1 \
  || { cat pg_ctl.log server.log >&2; exit 1; }
echo ready || :
read -r _ || :
"#;

/// A running server.
pub(super) struct Postgres {
    guard: Child,
    port: u16,
}

impl Postgres {
    /// Starts one, or says why it cannot.
    pub(super) fn start(path: &OsStr) -> Fallible<Self> {
        let programs = apt::postgres_programs(path).ok_or("initdb is not installed; `cargo xtask setup` installs it")?;
        let port = free_port()?;
        // initdb refuses root.
        let mut command = if process::is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        command.args(["-c", GUARD, "sh"]).arg(&programs).arg(port.to_string()).current_dir("/");
        let mut guard = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start a shell for PostgreSQL: {error}"))?;
        let mut line = String::new();
        if let Some(output) = guard.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        let server = Self { guard, port };
        if line.trim() == "ready" { Ok(server) } else { Err("PostgreSQL did not start, see above".to_owned()) }
    }

    /// How to reach it.
    pub(super) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        if let Err(error) = self.guard.wait() {
            eprintln!("PostgreSQL's guard could not be awaited: {error}");
        }
    }
}

fn free_port() -> Fallible<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("no free port on 127.0.0.1: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn the_server_answers_while_it_is_held_and_is_gone_afterwards() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if apt::postgres_programs(&path).is_none() {
            assert!(std::env::var("CI").is_err(), "initdb is missing in CI");
            eprintln!("SKIPPED postgresql: initdb is not installed");
            return;
        }
        let server = Postgres::start(&path).unwrap();
        let port = server.port;
        assert!(server.url().contains(&port.to_string()));
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(server);
        TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    }
}
