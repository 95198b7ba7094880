//! The environment the Python SDK is tested in.

use std::process::Command;

use crate::process;
use crate::workspace::{Fallible, Workspace};

/// What the SDK and its tests import.
const PACKAGES: [&str; 2] = ["httpx", "pytest"];

/// Whether there is an SDK to test.
pub(crate) fn is_wanted(workspace: &Workspace) -> bool {
    workspace.root.join("sdk/python/pyproject.toml").is_file()
}

pub(super) fn missing(workspace: &Workspace) -> Option<String> {
    is_wanted(workspace).then(|| lacking(workspace)).flatten()
}

/// Why the environment cannot run the SDK's tests.
pub(crate) fn lacking(workspace: &Workspace) -> Option<String> {
    let imports = format!("import {}", PACKAGES.join(", "));
    let probe = process::capture(Command::new(workspace.python()).args(["-c", &imports]));
    probe.is_err().then(|| format!("{} cannot import {}", workspace.python().display(), PACKAGES.join(" and ")))
}

pub(super) fn plan(workspace: &Workspace) -> String {
    format!("make {} and install {} from PyPI", workspace.tools.join("venv").display(), PACKAGES.join(", "))
}

pub(super) fn install(workspace: &Workspace) -> Fallible {
    process::inherit(Command::new("python3").args(["-m", "venv"]).arg(workspace.tools.join("venv")))?;
    process::inherit(Command::new(workspace.python()).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))
}
