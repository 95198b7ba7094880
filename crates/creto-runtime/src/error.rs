//! What can go wrong, each with its stable code.

use std::io;

use creto_kernel::{Coded, ErrorCode, Kind};

use crate::core::bundle::MountError;
use crate::core::destination::DestinationError;
use crate::core::env::EnvError;

/// An error of the runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The component that would run the sandbox is missing or does not work here.
    #[error("{what}")]
    Unavailable {
        /// What is missing, in a sentence.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The sandbox did not come up.
    #[error("the sandbox did not start: {0}")]
    StartFailed(String),
    /// The sandbox ended while it was needed.
    #[error("the sandbox ended unexpectedly: {0}")]
    SandboxLost(String),
    /// The command cannot be started inside.
    #[error("`{program}` could not be started: {message}")]
    ExecFailed {
        /// What was to be started.
        program: String,
        /// The system's error number, 0 where there is none.
        errno: i32,
        /// The system's words.
        message: String,
    },
    /// The run's description breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// A mount is refused.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A destination is refused.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// An environment variable is refused.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// A file or process of the host failed us.
    #[error("{what}: {source}")]
    Host {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl RuntimeError {
    /// Says what was being done when the host failed us.
    pub(crate) fn host(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Host { what, source }
    }
}

impl Coded for RuntimeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable { .. } => ErrorCode::new("runtime.unavailable"),
            Self::StartFailed(_) => ErrorCode::new("runtime.start_failed"),
            Self::SandboxLost(_) => ErrorCode::new("runtime.sandbox_lost"),
            Self::ExecFailed { .. } => ErrorCode::new("runtime.exec_failed"),
            Self::Invalid(_) | Self::Env(_) => ErrorCode::new("runtime.invalid_run"),
            Self::Mount(_) => ErrorCode::new("runtime.mount_refused"),
            Self::Destination(_) => ErrorCode::new("runtime.invalid_destination"),
            Self::Host { .. } => ErrorCode::new("runtime.host_failed"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Unavailable { .. } | Self::StartFailed(_) | Self::SandboxLost(_) => Kind::Unavailable,
            Self::ExecFailed { .. } | Self::Invalid(_) | Self::Env(_) | Self::Mount(_) | Self::Destination(_) => Kind::Invalid,
            Self::Host { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unavailable { hint, .. } => Some(hint.clone()),
            Self::StartFailed(_) => Some("run `creto doctor` to see what this machine lacks".to_owned()),
            Self::ExecFailed { errno: 2, .. } => Some(
                "only the host's /usr and the folders given by --mount exist in the sandbox: install the program there or mount it"
                    .to_owned(),
            ),
            Self::Host { .. } => Some("check free space and the permissions of the data directory".to_owned()),
            _ => None,
        }
    }
}
