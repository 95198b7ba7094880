//! `creto inbox` at a terminal: what waits, one request in full, and the decision.
//!
//! Plain escape sequences and raw mode are all it needs; what is shown and what a key does is decided in [`view`], without a terminal.

mod view;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::json;
use tokio::sync::mpsc;

use crate::commands::Session;
use crate::commands::answer::{encode, rows};
use crate::commands::decide::PENDING;
use crate::failure::Failure;
use view::{Effect, View, keys};

/// How often the list is read again while nobody types.
const REFRESH: Duration = Duration::from_secs(2);
/// Most bytes of one key or paste.
const READ_BYTES: usize = 1024;

/// Whether somebody sits in front of it: both ends are a terminal.
pub(super) fn is_watched() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Shows the inbox until it is left.
pub(super) async fn open(session: &Session) -> Result<ExitCode, Failure> {
    let broken = |e: &dyn std::fmt::Display| Failure::start(format!("the terminal cannot be used: {e}"));
    let screen = Screen::take().map_err(|e| broken(&e))?;
    let (typed, mut input) = mpsc::channel(16);
    // Ends with the process: a read of a terminal cannot be called off.
    std::thread::spawn(move || {
        let mut buffer = [0; READ_BYTES];
        while let Ok(count @ 1..) = io::stdin().read(&mut buffer) {
            if typed.blocking_send(buffer.iter().copied().take(count).collect::<Vec<u8>>()).is_err() {
                return;
            }
        }
    });
    let mut view = View::default();
    let mut tick = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            _ = tick.tick() => view.show(rows(&session.get(PENDING).await?, "requests").to_vec()),
            bytes = input.recv() => {
                let Some(bytes) = bytes else { break };
                for key in keys(&bytes) {
                    match view.press(key) {
                        Effect::Nothing => {}
                        Effect::Leave => {
                            drop(screen);
                            return Ok(ExitCode::SUCCESS);
                        }
                        Effect::Decide { request, approve, comment } => {
                            let (word, body) = match approve {
                                Some(seen) => ("approve", json!({ "digest": seen.digest, "shown": seen.shown, "comment": comment })),
                                None => ("deny", json!({ "comment": comment })),
                            };
                            let path = format!("/v1/oversight/requests/{}/{word}", encode(&request));
                            // A refusal is the reader's to see, and no end.
                            view.note = match session.send(Method::POST, &path, &body).await {
                                Ok(_) => format!("on record: {word} {request}"),
                                Err(failure) => failure.to_string(),
                            };
                            view.show(rows(&session.get(PENDING).await?, "requests").to_vec());
                        }
                    }
                }
            }
        }
        let size = tcgetwinsize(io::stdout()).map_err(|e| broken(&e))?;
        screen.draw(&view.lines(usize::from(size.ws_col.max(20)), usize::from(size.ws_row.max(6)))).map_err(|e| broken(&e))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A terminal in raw mode on its other screen, until this is dropped.
struct Screen(Termios);

impl Screen {
    fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let screen = Self(before);
        write(b"\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }

    /// Draws whole lines; what was there is overwritten.
    fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut out = String::from("\x1b[H");
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                out.push_str("\r\n");
            }
            out.push_str(line);
            out.push_str("\x1b[K");
        }
        out.push_str("\x1b[J");
        write(out.as_bytes())
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = write(b"\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
