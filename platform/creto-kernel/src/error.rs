//! Error codes: one stable name for each way a request can fail, shared by HTTP (RFC 9457 problem type), the CLI, the SDKs and
//! the pages under `docs/errors/`.

use std::fmt;

/// A stable, dotted error name such as `metering.duplicate_conflict`. It never changes once published: programs match on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(&'static str);

impl ErrorCode {
    /// Names a code. `cargo xtask tidy` finds every call and requires the page `docs/errors/<code>.md`.
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        Self(code)
    }

    /// The dotted name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What sort of failure it is. HTTP derives the status from it, the CLI its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is malformed or breaks a rule of its own; the caller must change it. HTTP 422.
    Invalid,
    /// Nobody proved who is calling. HTTP 401.
    Unauthenticated,
    /// The caller is known and not allowed. HTTP 403.
    Denied,
    /// Not there, or not visible to this tenant: the two are never told apart. HTTP 404.
    NotFound,
    /// The state moved on or already holds something else under this key. HTTP 409.
    Conflict,
    /// A named size or depth limit was passed. HTTP 413.
    TooLarge,
    /// A rate, quota or budget said no for now. HTTP 429.
    Limited,
    /// A component this request needs cannot serve it now; nothing was changed; retrying later may help. HTTP 503.
    Unavailable,
    /// Our own fault. HTTP 500.
    Internal,
}

impl Kind {
    /// The HTTP status code of this kind.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 422,
            Self::Unauthenticated => 401,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Limited => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// An error with a stable code. `Display` says what happened, in lowercase, with the input in backticks; [`Coded::hint`] says what
/// to do next.
pub trait Coded: std::error::Error {
    /// The stable code.
    fn code(&self) -> ErrorCode;
    /// What sort of failure it is.
    fn kind(&self) -> Kind;
    /// What the reader can do about it: an exact command, policy line or limit where there is one.
    fn hint(&self) -> Option<String> {
        None
    }
}
