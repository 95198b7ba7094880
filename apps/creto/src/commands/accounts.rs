//! `creto account`.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use http::Method;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::json;

use crate::cli::admin::AccountCommand;
use crate::commands::Session;
use crate::commands::answer::{encode, text};
use crate::failure::Failure;

/// Makes logins.
pub(super) async fn account(session: &Session, command: AccountCommand) -> Result<ExitCode, Failure> {
    let (name, operator) = match command {
        AccountCommand::Create { name, operator } => (name, operator),
        AccountCommand::Invite { name } => {
            let answer = session.send(Method::POST, &format!("/v1/accounts/{}/invite", encode(&name)), &json!({})).await?;
            return session.answer(&answer, |answer| format!("{}\n", text(answer, "url")));
        }
    };
    let password = match std::env::var("CRETO_PASSWORD") {
        Ok(password) => password,
        Err(_) => ask().await?,
    };
    let body = json!({ "name": name, "password": password, "operator": operator });
    let answer = session.send(Method::POST, "/v1/accounts", &body).await?;
    session.answer(&answer, |answer| format!("`{}` can sign in to the console as {}\n", text(answer, "identity"), text(answer, "roles")))
}

/// Asks for the password: without echo at a terminal, else the first line of standard input.
async fn ask() -> Result<String, Failure> {
    let hidden = io::stdin().is_terminal().then(Hidden::hide).flatten();
    if hidden.is_some() {
        eprint!("password: ");
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    // An interrupt is answered here rather than by the system, so that the terminal echoes again.
    let line = tokio::select! {
        line = read => line.map_err(|e| e.to_string()).and_then(|line| line.map_err(|e| e.to_string())),
        _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
    };
    if hidden.is_some() {
        eprintln!();
    }
    drop(hidden);
    let line = line.map_err(|e| Failure::usage(format!("no password was read: {e}"), "set $CRETO_PASSWORD, or type it"))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::usage("no password was given", "set $CRETO_PASSWORD, or pipe it into standard input"));
    }
    Ok(password.to_owned())
}

/// A terminal that does not echo, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn hide() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
