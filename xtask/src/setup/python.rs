//! The environment the Python SDK is tested in.

use std::process::Command;

use crate::process;
use crate::workspace::{Fallible, Workspace};

/// What the SDK and its tests import, and the requirement that brings it. The clients and frameworks of others, which are the judges, are
/// pinned; what the SDK itself needs is not.
const PACKAGES: [(&str, &str); 15] = [
    ("httpx", "httpx"),
    ("pytest", "pytest"),
    ("humanlayer", "humanlayer==0.7.9"),
    ("lago_python_client", "lago-python-client==1.55.0"),
    ("langgraph", "langgraph==1.2.22"),
    ("langgraph.checkpoint.sqlite", "langgraph-checkpoint-sqlite==3.1.2"),
    ("agents", "openai-agents==0.24.0"),
    ("mcp", "mcp==2.3.0"),
    ("standardwebhooks", "standardwebhooks==1.1.0"),
    ("aiosmtpd", "aiosmtpd==1.4.6"),
    ("slack_sdk", "slack_sdk==3.47.0"),
    ("pysnc", "pysnc==1.2.1"),
    ("stripe", "stripe==16.1.0"),
    ("jwt", "pyjwt[crypto]"),
    ("duckdb", "duckdb==2.0.1"),
];

/// The program that says whether everything is there in its version. Found, not loaded: loading all of it takes seconds.
fn probe() -> String {
    let checks = PACKAGES.map(|(import, requirement)| match requirement.split_once("==") {
        Some((name, pin)) => format!("assert find_spec('{import}') and version('{name}') == '{pin}', '{requirement}'"),
        None => format!("assert find_spec('{import}'), '{requirement}'"),
    });
    format!("from importlib.util import find_spec\nfrom importlib.metadata import version\n{}", checks.join("\n"))
}

fn requirements() -> [&'static str; PACKAGES.len()] {
    PACKAGES.map(|(_, requirement)| requirement)
}

/// Whether there is an SDK to test.
pub(crate) fn is_wanted(workspace: &Workspace) -> bool {
    workspace.root.join("sdk/python/pyproject.toml").is_file()
}

pub(super) fn missing(workspace: &Workspace) -> Option<String> {
    is_wanted(workspace).then(|| lacking(workspace)).flatten()
}

/// Why the environment cannot run the SDK's tests.
pub(crate) fn lacking(workspace: &Workspace) -> Option<String> {
    let found = process::capture(Command::new(workspace.python()).args(["-c", &probe()]));
    found.is_err().then(|| format!("{} lacks one of {}", workspace.python().display(), requirements().join(", ")))
}

pub(super) fn plan(workspace: &Workspace) -> String {
    format!("make {} and install {} from PyPI", workspace.tools.join("venv").display(), requirements().join(", "))
}

pub(super) fn install(workspace: &Workspace) -> Fallible {
    process::inherit(Command::new("python3").args(["-m", "venv"]).arg(workspace.tools.join("venv")))?;
    process::inherit(Command::new(workspace.python()).args(["-m", "pip", "install", "--quiet"]).args(requirements()))
}
