//! How a command fails: what happened, the stable code, what to do about it.

use std::fmt;
use std::process::ExitCode;

use creto_kernel::{Coded, ErrorCode};
use serde_json::{Value, json};

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    code: String,
    detail: String,
    hint: Option<String>,
}

/// The exit code of a command that failed by itself, apart from any code a governed command may exit with by convention.
const EXIT_FAILED: u8 = 125;

impl Failure {
    /// A failure of our own making.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>, hint: Option<&str>) -> Self {
        Self { code: code.to_string(), detail: detail.into(), hint: hint.map(str::to_owned) }
    }

    /// Something did not start.
    pub(crate) fn start(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::new("app.start_failed"), detail, None)
    }

    /// What was typed does not fit.
    pub(crate) fn usage(detail: impl Into<String>, hint: &str) -> Self {
        Self::new(ErrorCode::new("app.usage"), detail, Some(hint))
    }

    /// The server answered with something that is not its protocol.
    pub(crate) fn protocol(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::new("app.protocol"), detail, Some("check that `creto` and the server are of the same version"))
    }

    /// A problem document (RFC 9457) that the server answered.
    pub(crate) fn problem(body: &[u8], status: u16) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            code: text("code").unwrap_or_else(|| format!("http.{status}")),
            detail: text("detail").unwrap_or_else(|| format!("the server answered with status {status}")),
            hint: text("hint"),
        }
    }

    /// Its code.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, code: ErrorCode) -> bool {
        self.code == code.as_str()
    }

    /// Tells the reader and gives the exit code.
    pub(crate) fn report(&self, as_json: bool) -> ExitCode {
        if as_json {
            println!("{}", json!({ "code": self.code, "detail": self.detail, "hint": self.hint }));
        } else {
            eprintln!("creto: {self}");
            if let Some(hint) = &self.hint {
                eprintln!("  hint: {hint}");
            }
        }
        ExitCode::from(EXIT_FAILED)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

impl<E: Coded> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { code: error.code().to_string(), detail: error.to_string(), hint: error.hint() }
    }
}
